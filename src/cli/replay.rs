//! `portcullis replay`: judges the requests of decision logs by another configuration, and says what it would change for
//! whom.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::policy::Loaded;
use super::shadow::{compared, plural};
use super::{Exit, Failure, Output, complain, data, say};
use crate::admin::groups;
use crate::candidate::{Changes, Key};
use crate::review::replay::{Recorded, Replayed, Replayer, Why};
use crate::telemetry::moment;
use crate::token::Class;

/// The longest line that is read, in bytes; the gateway writes none that is half as long.
const LONGEST: u64 = 64 * 1024;
/// So many lines that are no decisions are named.
const NAMED: usize = 5;

/// `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "A log has no queries, headers, bodies or groups of tokens. Requests that the configuration decides by these are counted as \
not compared, by why; none is guessed. Audiences and app roles are not in the log either, and taken to be what the gates ask for.\n\n\
Exit codes: 0 nothing would be newly denied or allowed, 1 something would, 2 usage or a log that cannot be read, 3 the configuration has \
faults."
)]
pub(super) struct Options {
    /// Decision logs, oldest first; `-` is standard input.
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// The configuration to judge by: a gateway.yaml, or the directory that it lies in.
    #[arg(long, value_name = "DIR")]
    against: PathBuf,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

/// What came of all lines.
#[derive(Default)]
struct Sums {
    lines: u64,
    same: u64,
    reason_changed: u64,
    newly_denied: u64,
    newly_allowed: u64,
    others: [u64; 2],
    not_compared: BTreeMap<&'static str, u64>,
    changes: Changes,
    unreadable: u64,
    /// The first of them, and why.
    named: Vec<String>,
}

/// Reads the logs and says what would change.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let file = if options.against.is_dir() { options.against.join("gateway.yaml") } else { options.against.clone() };
    let loaded = Loaded::read(&file)?;
    let replayer = Replayer::new(&loaded.policy);
    let mut sums = Sums::default();
    for log in &options.logs {
        let failed = |error: io::Error| Failure::new(Exit::Usage, format_args!("{}: {error}", log.display()));
        if log == Path::new("-") {
            read(BufReader::new(io::stdin().lock()), log, &replayer, &mut sums).map_err(failed)?;
        } else {
            read(BufReader::new(File::open(log).map_err(failed)?), log, &replayer, &mut sums).map_err(failed)?;
        }
    }
    for line in &sums.named {
        complain(line);
    }
    let rest = sums.unreadable.saturating_sub(sums.named.len() as u64);
    if rest > 0 {
        complain(format_args!("{} more that no decision stands in", plural(rest, "line")));
    }
    match options.output {
        Output::Json => data(format_args!("{:#}", sums.told())),
        Output::Text => say(compared(&sums.told()).trim_end()),
    }
    Ok(if sums.newly_denied + sums.newly_allowed == 0 { Exit::Ok } else { Exit::Findings })
}

/// Reads one log, line by line; however long it and its lines are, no more than one line is kept.
fn read(mut log: impl BufRead, name: &Path, replayer: &Replayer<'_>, sums: &mut Sums) -> io::Result<()> {
    let (mut bytes, mut number) = (Vec::new(), 0_u64);
    loop {
        bytes.clear();
        if log.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        number += 1;
        let whole = bytes.last() == Some(&b'\n') || (bytes.len() as u64) < LONGEST;
        if !whole {
            log.skip_until(b'\n')?;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        sums.lines += 1;
        let read = if whole { recorded(&bytes) } else { Err(format!("it has more than {LONGEST} bytes")) };
        match read {
            Ok((line, at)) => sums.count(&line, at, replayer.replay(&line)),
            Err(why) => {
                sums.unreadable += 1;
                if sums.named.len() < NAMED {
                    sums.named.push(format!("{}:{number}: no decision stands here: {why}", name.display()));
                }
            }
        }
    }
}

/// Reads one line: what was asked and decided, and when, in seconds since the Unix epoch.
fn recorded(bytes: &[u8]) -> Result<(Recorded, u64), String> {
    let line: Value = serde_json::from_slice(bytes).map_err(|fault| fault.to_string())?;
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let needed = |key: &str| text(key).ok_or_else(|| format!("it has no `{key}`"));
    let denied = match needed("decision")?.as_str() {
        "allow" => None,
        "deny" => Some(needed("reason")?),
        "would_deny" => Some(needed("would_deny")?),
        other => return Err(format!("`{other}` is no decision")),
    };
    let class = match text("caller").as_deref() {
        None => None,
        Some(word) => {
            let class = [Class::User, Class::App].into_iter().find(|class| class.word() == word);
            Some(class.ok_or_else(|| format!("`{word}` is no caller"))?)
        }
    };
    let at = moment(&needed("time")?).ok_or("`time` is no time")?;
    let recorded = Recorded {
        method: needed("method")?,
        host: needed("host")?,
        path: needed("path")?,
        tenant: text("tenant"),
        principal: text("principal"),
        class,
        client: text("client_id"),
        certificate: text("client_certificate").is_some(),
        upgraded: line.get("status").and_then(Value::as_u64) == Some(101),
        denied,
    };
    Ok((recorded, at))
}

impl Sums {
    fn count(&mut self, line: &Recorded, at: u64, replayed: Result<Replayed, Why>) {
        let Replayed { application, route, pattern, denied } = match replayed {
            Ok(replayed) => replayed,
            Err(why) => return *self.not_compared.entry(why.word()).or_default() += 1,
        };
        let (gain, reason) = match (&line.denied, &denied) {
            (None, None) => return self.same += 1,
            (Some(was), Some(is)) if was == is => return self.same += 1,
            (Some(_), Some(_)) => return self.reason_changed += 1,
            (None, Some(is)) => (false, is),
            (Some(was), None) => (true, was),
        };
        *(if gain { &mut self.newly_allowed } else { &mut self.newly_denied }) += 1;
        let stranger = || line.tenant.as_ref().map(|tenant| format!("{tenant}/?")).unwrap_or_default();
        let key = Key {
            gain,
            enforced: true,
            application: application.unwrap_or_default(),
            route: route.unwrap_or_default(),
            method: line.method.as_str().into(),
            principal: line.principal.clone().unwrap_or_else(stranger).into(),
            reason: reason.as_str().into(),
        };
        let path = pattern.unwrap_or_else(|| line.path.clone());
        if !self.changes.add(key, path.into(), at) {
            let [denied, allowed] = &mut self.others;
            *(if gain { allowed } else { denied }) += 1;
        }
    }

    /// The report for programs; lists and sums as `/shadow` has them.
    fn told(&self) -> Value {
        let changes = self.changes.sorted();
        let of = |gain: bool| groups(changes.iter().filter(move |(key, _)| key.gain == gain));
        let not_compared: serde_json::Map<String, Value> = Why::ALL
            .into_iter()
            .map(|why| (why.word().to_owned(), json!(self.not_compared.get(why.word()).unwrap_or(&0))))
            .collect();
        let [others_denied, others_allowed] = self.others;
        json!({
            "lines": self.lines,
            "unreadable": self.unreadable,
            "requests": {
                "seen": self.lines - self.unreadable,
                "judged": self.same + self.reason_changed + self.newly_denied + self.newly_allowed,
                "same": self.same,
                "reason_changed": self.reason_changed,
                "newly_denied": self.newly_denied,
                "newly_allowed": self.newly_allowed,
                "not_judged": not_compared,
            },
            "others": { "newly_denied": others_denied, "newly_allowed": others_allowed },
            "denied": of(false),
            "allowed": of(true),
        })
    }
}
