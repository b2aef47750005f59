//! `listeners` and `admin`: addresses, certificates, and who may be reached from where.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Base, Seen};
use crate::admin::token::MIN_TOKEN;
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{AdminDocument, GatewayDocument, ListenerDocument, TlsDocument};
use crate::proxy::tls::ServerTls;

/// One address where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificate chain and key (PEM); without them the listener speaks plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The file with the bearer token of calls that change something; without it they are refused.
    pub token_file: Option<PathBuf>,
}

/// What `listeners` and `admin` say; complete only if no fault was reported.
pub(super) struct Listeners {
    pub(super) clients: Vec<Listener>,
    pub(super) admin: Option<Admin>,
}

pub(super) fn resolve(document: &GatewayDocument, base: &Base, report: &mut Report) -> Listeners {
    let mut seen = Seen::new();
    let clients = document.listeners.iter().filter_map(|one| client(one, base, &mut seen, report)).collect();
    let admin = document.admin.as_ref().and_then(|written| admin(written, base, &mut seen, report));
    Listeners { clients, admin }
}

/// The first client listener that others than this machine can reach, as written.
pub(super) fn first_beyond_loopback(document: &GatewayDocument) -> Option<&Located<String>> {
    let beyond = |text: &str| text.parse().is_ok_and(|address| !is_loopback(address));
    document.listeners.iter().map(|listener| &listener.address).find(|address| beyond(&address.value))
}

fn client(
    written: &ListenerDocument,
    base: &Base,
    seen: &mut Seen<SocketAddr>,
    report: &mut Report,
) -> Option<Listener> {
    let address = address(&written.address, seen, report);
    let tls = match &written.tls {
        Some(tls) => Some(pair(tls, base, report)?),
        None => {
            if address.is_some_and(|address| !is_loopback(address)) && !written.insecure_plaintext {
                plaintext(&written.address, report);
            }
            None
        }
    };
    Some(Listener { address: address?, tls })
}

fn plaintext(written: &Located<String>, report: &mut Report) {
    report
        .error("plaintext_listener", written.place, format!("plain HTTP on `{}` is open to the network", written.value))
        .help(
            "tokens would cross the network in the clear: add `tls`, listen on 127.0.0.1, or say \
             `insecure_plaintext: true` where something in front of the gateway ends TLS",
        );
}

/// The certificate and key of a listener, if both can be read and belong together.
fn pair(tls: &TlsDocument, base: &Base, report: &mut Report) -> Option<(PathBuf, PathBuf)> {
    let readable = [&tls.certificate, &tls.key].map(|name| base.read(name, report).is_some());
    if readable.contains(&false) {
        return None;
    }
    let (certificate, key) = (base.path(&tls.certificate), base.path(&tls.key));
    match ServerTls::load(&certificate, &key) {
        Ok(_) => Some((certificate, key)),
        Err(error) => {
            report
                .error("bad_certificate", tls.certificate.place, format!("this certificate cannot be used: {error}"))
                .also(tls.key.place, "with this key");
            None
        }
    }
}

fn admin(written: &AdminDocument, base: &Base, seen: &mut Seen<SocketAddr>, report: &mut Report) -> Option<Admin> {
    let address = address(&written.address, seen, report);
    if let Some(name) = &written.token_file {
        if base.read(name, report).is_some_and(|token| token.trim_ascii().len() < MIN_TOKEN) {
            let message = format!("the token in `{}` has fewer than {MIN_TOKEN} characters", name.value);
            report.error("weak_token", name.place, message).help("make one with `openssl rand -hex 32`");
        }
    } else if address.is_some_and(|address| !is_loopback(address)) {
        let message = format!("the admin listener on `{}` is open to the network", written.address.value);
        report
            .error("admin_without_token", written.address.place, message)
            .help("add `token_file`, or listen on 127.0.0.1");
    }
    Some(Admin { address: address?, token_file: written.token_file.as_ref().map(|name| base.path(name)) })
}

fn address(written: &Located<String>, seen: &mut Seen<SocketAddr>, report: &mut Report) -> Option<SocketAddr> {
    let Ok(address) = written.value.parse::<SocketAddr>() else {
        report
            .error("bad_address", written.place, format!("`{}` is not an address and port", written.value))
            .help("write an IP address and a port, such as `127.0.0.1:8080`, `0.0.0.0:8443` or `[::1]:8080`");
        return None;
    };
    // Port 0 is a different port each time.
    if address.port() != 0
        && let Some(before) = seen.before(address, written.place)
    {
        report
            .error("duplicate_address", written.place, format!("`{address}` is listened on twice"))
            .also(before, "here as well");
    }
    Some(address)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
