//! The certificates of listeners: how long they last, and whether they are for the hosts of the applications.

use std::path::Path;

use super::{Finding, Level};
use crate::config::Config;
use crate::proxy::certificate::{self, Certificate};
use crate::review::Policy;
use crate::route::host::Host;
use crate::telemetry::rfc3339;

/// A certificate that ends sooner is worth a warning, in seconds: 30 days.
const SOON: u64 = 30 * 24 * 3600;

/// Looks at all listeners that speak TLS. That certificate and key belong together was checked with the configuration.
pub(super) fn look(config: &Config, policy: &Policy, now: u64) -> Vec<Finding> {
    let applications = policy.routes.iter().flat_map(|file| &file.applications);
    let hosts: Vec<&str> = applications.flat_map(|one| &one.hosts).map(|host| host.value.as_str()).collect();
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let about = format!("listener {}", listener.address);
        if let Some((path, _)) = &listener.tls {
            match certificate::read(path) {
                Ok(chain) => findings.extend(chain_findings(&about, path, &chain, &hosts, now)),
                Err(why) => findings.push(
                    Finding::new(Level::Fail, &about, "certificate", why).help("it must be a PEM chain, leaf first"),
                ),
            }
        }
    }
    findings
}

fn chain_findings(about: &str, path: &Path, chain: &[Certificate], hosts: &[&str], now: u64) -> Vec<Finding> {
    let name = path.display();
    let date = |seconds: u64| rfc3339(seconds.saturating_mul(1000)).split('T').next().unwrap_or_default().to_owned();
    let until = chain.iter().map(|one| one.until).min().unwrap_or_default();
    let from = chain.iter().map(|one| one.from).max().unwrap_or_default();
    let renew = "renew it; the gateway takes the new files within a second, without a restart";
    let expiry = if now >= until {
        Finding::new(Level::Fail, about, "expiry", format!("`{name}` ended on {}", date(until))).help(renew)
    } else if now < from {
        let message = format!("`{name}` is not valid before {}", date(from));
        Finding::new(Level::Fail, about, "expiry", message)
            .help("check this machine's clock, or get another certificate")
    } else if until - now < SOON {
        let days = (until - now) / 86_400;
        Finding::new(Level::Warn, about, "expiry", format!("`{name}` ends in {days} days, on {}", date(until)))
            .help(renew)
    } else {
        Finding::new(Level::Ok, about, "expiry", format!("`{name}` and its key belong together until {}", date(until)))
    };
    let mut findings = vec![expiry];
    let Some(leaf) = chain.first() else { return findings };
    let bare: Vec<&str> = hosts.iter().filter(|host| !covers(leaf, host)).copied().collect();
    findings.push(if bare.is_empty() {
        Finding::new(Level::Ok, about, "names", format!("`{name}` is for all hosts of the applications"))
    } else {
        let names = leaf.names();
        let names = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
        let message = format!("`{name}` is for {names}, and not for {}", bare.join(", "));
        Finding::new(Level::Warn, about, "names", message)
            .help("clients of these hosts will refuse it, unless they come in by another listener")
    });
    findings
}

/// Whether the certificate is for a host as route maps write it; a wildcard stands for any one name below it.
fn covers(leaf: &Certificate, host: &str) -> bool {
    match host.strip_prefix("*.") {
        Some(suffix) => leaf.covers(&format!("portcullis.{suffix}")),
        None => Host::parse(host).is_ok_and(|parsed| leaf.covers(&parsed.name)),
    }
}
