//! The upstreams: whether each server's name resolves, and whether it takes connections, shows a certificate that is
//! believed and speaks HTTP.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Level, milliseconds};
use crate::proxy::probe::{ProbeFault, Reached, Stage, probe};
use crate::review::Policy;
use crate::route::{Server, Upstream};

/// All servers, each once for each upstream that names it.
pub(super) fn servers(policy: &Policy) -> Vec<(Arc<Upstream>, Server)> {
    let mut found: Vec<(Arc<Upstream>, Server)> = Vec::new();
    for application in policy.snapshot.routes.applications() {
        let upstream = &application.upstream;
        for server in &upstream.servers {
            if !found.iter().any(|(known, same)| known == upstream && same == server) {
                found.push((Arc::clone(upstream), server.clone()));
            }
        }
    }
    found
}

/// Looks at one server.
pub(super) async fn look(upstream: &Upstream, server: &Server, within: Duration) -> Vec<Finding> {
    let about = format!("upstream {} {}", upstream.name, server.name);
    let finding = match tokio::time::timeout(within, probe(server, &upstream.transport, within)).await {
        Ok(Ok(reached)) => good(&about, &reached, server),
        Ok(Err(fault)) => bad(&about, fault, upstream.transport.ca.is_some()),
        Err(_) => Finding::new(Level::Fail, &about, "reach", format!("no answer within {} s", within.as_secs()))
            .help("it is too slow, or a firewall swallows the packets; try a longer `--timeout`"),
    };
    vec![finding]
}

fn good(about: &str, reached: &Reached, server: &Server) -> Finding {
    let Reached { address, status, took } = reached;
    let with = if server.tls { " over TLS, its certificate is believed" } else { "" };
    let message = format!("{address} answered in {}{with} (status {status})", milliseconds(*took));
    Finding::new(Level::Ok, about, "reach", message)
}

fn bad(about: &str, fault: ProbeFault, own_ca: bool) -> Finding {
    let (check, help) = match fault.stage {
        Stage::Name => ("name", "check the name, and that this machine can resolve it (DNS)"),
        Stage::Connection => ("connection", "check that it runs, and listens where `servers` of the upstream says"),
        Stage::Tls if own_ca => ("tls", "its certificate must be valid, for this name, and of an authority in `ca`"),
        Stage::Tls => ("tls", "its certificate must be valid, for this name, and of a public authority; else set `ca`"),
        Stage::Answer => {
            ("answer", "it must speak the `protocol` of the upstream; check the port, and whether it wants `https`")
        }
    };
    Finding::new(Level::Fail, about, check, fault.cause).help(help)
}
