//! The issuers: their discovery documents and keys, and whether their clocks and this one agree.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Level, milliseconds};
use crate::source::http::{FetchFault, Stage};
use crate::source::jwks::look::{self, Leg, Look, Unusable};
use crate::source::jwks::{From, KeySource};
use crate::token::{KeySet, Refused};

/// Clocks that differ by more are worth a warning, in seconds.
const CLOCK: u64 = 30;

/// Looks at one source of keys.
pub(super) async fn look(source: KeySource, leeway: u64, within: Duration) -> Vec<Finding> {
    let about = match &source.application {
        Some(application) => format!("issuer {} for {application}", source.url),
        None => format!("issuer {}", source.url),
    };
    let file = match &source.from {
        From::File(path) => Some(path.display().to_string()),
        From::Discovery { .. } | From::Jwks { .. } => None,
    };
    let Look { legs, keys } = look::look(Arc::new(source), within).await;
    let mut findings = Vec::new();
    if let Err(Unusable::Unreached(url, fault)) = &keys {
        findings.push(unreached(&about, url, fault));
    }
    let unreached = usize::from(!findings.is_empty());
    let answered = legs.iter().take(legs.len().saturating_sub(unreached));
    for Leg { url, took, .. } in answered {
        findings.push(Finding::new(Level::Ok, &about, "reach", format!("`{url}` answered in {}", milliseconds(*took))));
    }
    match &keys {
        Ok(set) => findings.extend(usable(&about, set, file.as_deref())),
        Err(Unusable::Refused(why)) => findings.push(
            Finding::new(Level::Fail, &about, "keys", why.clone())
                .help("the document must be this issuer's own, and its `jwks_uri` must lead to keys for signatures"),
        ),
        Err(Unusable::Unreached(..)) => {}
    }
    // The answer that took the shortest tells the time best.
    let told = legs.iter().filter_map(|leg| Some((leg.took, leg.ahead?))).min_by_key(|(took, _)| *took);
    findings.extend(told.map(|(_, ahead)| clock(&about, ahead, leeway)));
    findings
}

fn unreached(about: &str, url: &str, fault: &FetchFault) -> Finding {
    let help = match fault.stage {
        Stage::Name => "check the name, and that this machine can resolve it (DNS)",
        Stage::Connection => {
            "check that nothing between here and there (firewall, routing) stops it; the gateway uses no proxy"
        }
        Stage::Tls => {
            "the certificate must be valid, for this host, and of a trusted authority; name your own authority with `ca`"
        }
        Stage::Answer => "the address must answer 200 with the document; look at `authority` and the tenant id",
        Stage::Time => "it is too slow, or a firewall swallows the packets; try a longer `--timeout`",
    };
    Finding::new(Level::Fail, about, "reach", format!("`{url}`: {}", fault.cause)).help(help)
}

fn usable(about: &str, set: &KeySet, file: Option<&str>) -> Vec<Finding> {
    let from = file.map_or_else(String::new, |file| format!(" in `{file}`"));
    let kids: Vec<String> = set.kids().take(10).map(|kid| kid.escape_debug().to_string()).collect();
    let message =
        format!("{} usable {}{from}: {}", set.len(), if set.len() == 1 { "key" } else { "keys" }, kids.join(", "));
    let mut findings = vec![Finding::new(Level::Ok, about, "keys", message)];
    findings.extend(set.refused().iter().map(|Refused { why, exposed }| {
        match exposed {
            false => Finding::new(Level::Warn, about, "refused_key", why.clone())
                .help("tokens signed with it are refused; tell whoever runs the issuer if that is not meant"),
            true => Finding::new(Level::Fail, about, "exposed_key", why.clone())
                .help("tell whoever runs the issuer at once: others can sign tokens with a key that is published so"),
        }
    }));
    findings
}

fn clock(about: &str, ahead: i64, leeway: u64) -> Finding {
    let apart = ahead.unsigned_abs();
    let level = match apart {
        _ if apart > leeway => Level::Fail,
        _ if apart > CLOCK => Level::Warn,
        _ => Level::Ok,
    };
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let message = match apart {
        0..=1 => "this machine's clock and the issuer's agree".to_owned(),
        _ => format!("this machine's clock is {apart} s {way} the issuer's"),
    };
    let finding = Finding::new(level, about, "clock", message);
    if level == Level::Ok {
        return finding;
    }
    finding.help(format!("`tokens.leeway` is {leeway} s; keep the clock right with NTP rather than raise it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little() {
        for (ahead, leeway, level, part) in [
            (0, 60, Level::Ok, "agree"),
            (-30, 60, Level::Ok, "30 s ahead of"),
            (31, 60, Level::Warn, "31 s behind"),
            (-60, 60, Level::Warn, "60 s ahead of"),
            (61, 60, Level::Fail, "61 s behind"),
            (5, 0, Level::Fail, "5 s behind"),
            (i64::MIN, 300, Level::Fail, "ahead of"),
        ] {
            let finding = clock("issuer", ahead, leeway);
            assert_eq!(finding.level, level, "{ahead}");
            assert!(finding.message.contains(part), "{}", finding.message);
        }
    }
}
