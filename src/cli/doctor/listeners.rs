//! The certificates of listeners: how long they last, and whether they are for the hosts of the applications.

use std::path::Path;

use super::{Finding, Level};
use crate::config::Config;
use crate::proxy::certificate::{self, Certificate};
use crate::proxy::tls::TlsFiles;
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
        if let Some(files) = &listener.tls {
            findings.extend(listener_findings(&about, files, &hosts, now));
        }
    }
    let asks = |files: &TlsFiles| files.clients.is_some();
    if !config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).any(asks) {
        let applications = policy.routes.iter().flat_map(|file| &file.applications);
        for one in applications.filter(|one| !one.gate.client_certificates.is_empty()) {
            let about = format!("application {}", one.name.value);
            let message = "its gate asks for client certificates, and no listener does: all its callers are refused";
            findings.push(
                Finding::new(Level::Fail, &about, "client_certificates", message)
                    .help("add `client_ca` to the `tls` of a listener"),
            );
        }
    }
    findings
}

fn listener_findings(about: &str, files: &TlsFiles, hosts: &[&str], now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let read = |path: &Path, findings: &mut Vec<Finding>| match certificate::read(path) {
        Ok(chain) => Some(chain),
        Err(why) => {
            let help = "it must be a PEM file of certificates, a chain with its leaf first";
            findings.push(Finding::new(Level::Fail, about, "certificate", why).help(help));
            None
        }
    };
    let mut leaves = Vec::new();
    for pair in files.pairs() {
        if let Some(chain) = read(&pair.certificate, &mut findings) {
            let good = format!("`{}` and its key belong together", pair.certificate.display());
            findings.push(expiry(about, &pair.certificate, &chain, &good, now));
            leaves.extend(chain.into_iter().next());
        }
    }
    if let Some(clients) = &files.clients
        && let Some(authorities) = read(&clients.ca, &mut findings)
    {
        let good = format!("the authorities of clients in `{}` are good", clients.ca.display());
        findings.push(expiry(about, &clients.ca, &authorities, &good, now));
    }
    if !leaves.is_empty() {
        let paths: Vec<String> = files.pairs().map(|pair| format!("`{}`", pair.certificate.display())).collect();
        findings.push(covered(about, &paths.join(", "), &leaves, hosts));
    }
    findings
}

fn expiry(about: &str, path: &Path, chain: &[Certificate], good: &str, now: u64) -> Finding {
    let name = path.display();
    let date = |seconds: u64| rfc3339(seconds.saturating_mul(1000)).split('T').next().unwrap_or_default().to_owned();
    let until = chain.iter().map(|one| one.until).min().unwrap_or_default();
    let from = chain.iter().map(|one| one.from).max().unwrap_or_default();
    let renew = "renew it; the gateway takes the new files within a second, without a restart";
    if now >= until {
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
        Finding::new(Level::Ok, about, "expiry", format!("{good} until {}", date(until)))
    }
}

/// Whether each host has a certificate among those of a listener; `paths` is how they are called.
fn covered(about: &str, paths: &str, leaves: &[Certificate], hosts: &[&str]) -> Finding {
    let (verb, them) = if leaves.len() == 1 { ("is", "it") } else { ("are", "them") };
    let bare: Vec<&str> = hosts.iter().filter(|host| !leaves.iter().any(|leaf| covers(leaf, host))).copied().collect();
    if bare.is_empty() {
        return Finding::new(Level::Ok, about, "names", format!("{paths} {verb} for all hosts of the applications"));
    }
    let names: Vec<String> = leaves.iter().flat_map(Certificate::names).collect();
    let names = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
    let message = format!("{paths} {verb} for {names}, and not for {}", bare.join(", "));
    Finding::new(Level::Warn, about, "names", message)
        .help(format!("clients of these hosts will refuse {them}, unless they come in by another listener"))
}

/// Whether the certificate is for a host as route maps write it; a wildcard stands for any one name below it.
fn covers(leaf: &Certificate, host: &str) -> bool {
    match host.strip_prefix("*.") {
        Some(suffix) => leaf.covers(&format!("portcullis.{suffix}")),
        None => Host::parse(host).is_ok_and(|parsed| leaf.covers(&parsed.name)),
    }
}
