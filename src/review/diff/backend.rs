//! What is behind an application: the servers that permitted requests go to, what they are asked for there and as whom.
//! No decision changes with it, but what a decision opens does.

use std::collections::BTreeSet;

use super::Direction;
use super::routes::Aspect;
use crate::route::Application;
use crate::route::upstream::{Credentials, HostHeader, Protocol, Upstream};

/// The respects in which what is behind an application differs. How its servers are balanced, limited, tried again and
/// asked for their health is none: whoever is served is served the same.
pub(super) fn aspects(old: &Application, new: &Application) -> Vec<Aspect> {
    let (old, new) = (&*old.upstream, &*new.upstream);
    let mut aspects = Vec::new();
    let mut compare = |what, words: fn(&Upstream) -> String, differ: bool, direction| {
        let (from, mut to) = (words(old), words(new));
        if from != to || differ {
            if from == to {
                // What differs is in files and may be secret.
                to.push_str(" (other content)");
            }
            aspects.push(Aspect { what, from, to, direction });
        }
    };
    compare("servers", servers, false, Direction::Neutral);
    compare("protocol", protocol, false, Direction::Neutral);
    compare("tls", tls, old.transport != new.transport && protocol(old) == protocol(new), Direction::Neutral);
    compare("host", host, false, Direction::Unclear);
    compare("path", path, false, Direction::Unclear);
    compare("credentials", credentials, old.credentials != new.credentials, Direction::Unclear);
    aspects
}

fn servers(upstream: &Upstream) -> String {
    let names: BTreeSet<&str> = upstream.servers.iter().map(|server| &*server.name).collect();
    names.into_iter().collect::<Vec<&str>>().join(", ")
}

fn protocol(upstream: &Upstream) -> String {
    let protocol = match upstream.transport.protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
    };
    protocol.to_owned()
}

fn tls(upstream: &Upstream) -> String {
    let transport = &upstream.transport;
    let authorities = if transport.ca.is_some() { "ca" } else { "public authorities" };
    let mut words = vec![authorities.to_owned()];
    words.extend(transport.client.iter().map(|_| "client_certificate".to_owned()));
    words.extend(transport.server_name.iter().map(|name| format!("server_name {name}")));
    words.join(", ")
}

fn host(upstream: &Upstream) -> String {
    match &upstream.host {
        HostHeader::Preserve => "preserve".to_owned(),
        HostHeader::Server => "server".to_owned(),
        HostHeader::Named(name) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
    }
}

fn path(upstream: &Upstream) -> String {
    let strip = upstream.rewrite.strip.iter().map(|prefix| format!("strip {}", prefix.as_str()));
    let add = upstream.rewrite.add.iter().map(|prefix| format!("add {}", prefix.as_str()));
    strip.chain(add).collect::<Vec<String>>().join(", ")
}

fn credentials(upstream: &Upstream) -> String {
    match &upstream.credentials {
        None => String::new(),
        Some(Credentials::Header { name, .. }) => format!("header {name}"),
        Some(Credentials::Query { name, .. }) => format!("query {name}"),
    }
}
