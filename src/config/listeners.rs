//! `listeners` and `admin`: addresses, certificates, and who may be reached from where.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;

use super::{Base, Seen};
use crate::admin::token::MIN_TOKEN;
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{
    AdminDocument, ClientsDocument, GatewayDocument, HstsDocument, ListenerDocument, MinVersionDocument, PairDocument,
    TlsDocument,
};
use crate::proxy::tls::{ClientFiles, MinVersion, PairFiles, ServerTls, TlsFiles};
use crate::route::certificate_name;

/// One address where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Its certificates; without them the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether each connection must begin with a header of the PROXY protocol, from a trusted proxy.
    pub proxy_protocol: bool,
    /// `Strict-Transport-Security` of all answers.
    pub hsts: Option<HeaderValue>,
    /// The port of HTTPS that all requests are sent to; nothing else is answered then.
    pub redirect_to_https: Option<u16>,
}

/// Where operators connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The file with the bearer token of calls that change something; without it they are refused.
    pub token_file: Option<PathBuf>,
    /// Whether an upstream without any fit server makes the process unready.
    pub ready_needs_upstreams: bool,
    /// Its certificates; without them the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Names of the certificates that count like the token; without any, all that its authorities vouch for.
    pub operators: Vec<Arc<str>>,
}

/// What `listeners` and `admin` say; complete only if no fault was reported.
pub(super) struct Listeners {
    pub(super) clients: Vec<Listener>,
    pub(super) admin: Option<Admin>,
}

pub(super) fn resolve(document: &GatewayDocument, base: &Base, report: &mut Report) -> Listeners {
    let mut seen = Seen::new();
    let clients = document.listeners.iter().filter_map(|one| client(one, base, &mut seen, report)).collect();
    if document.trusted_proxies.is_empty() {
        for asked in document.listeners.iter().map(|one| &one.proxy_protocol).filter(|asked| asked.value) {
            report
                .error("nobody_trusted", asked.place, "`proxy_protocol` needs `trusted_proxies`")
                .help("name the addresses of the load balancers: connections of everybody else are closed");
        }
    }
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
        Some(tls) => Some(self::tls(tls, base, report)?),
        None => {
            // One that only redirects reads no token.
            let guarded = written.insecure_plaintext || written.redirect_to_https.is_some();
            if address.is_some_and(|address| !is_loopback(address)) && !guarded {
                plaintext(&written.address, report);
            }
            None
        }
    };
    Some(Listener {
        address: address?,
        tls,
        proxy_protocol: written.proxy_protocol.value,
        hsts: written.hsts.as_ref().and_then(hsts),
        redirect_to_https: written.redirect_to_https.as_ref().map(|port| port.value),
    })
}

/// The field of RFC 6797 section 6.1.
fn hsts(written: &HstsDocument) -> Option<HeaderValue> {
    let HstsDocument { place: _, max_age, include_subdomains, preload } = *written;
    let mut value = format!("max-age={}", max_age.as_secs());
    for (asked, directive) in [(include_subdomains, "; includeSubDomains"), (preload, "; preload")] {
        if asked {
            value.push_str(directive);
        }
    }
    // Digits and fixed words.
    HeaderValue::try_from(value).ok()
}

fn plaintext(written: &Located<String>, report: &mut Report) {
    report
        .error("plaintext_listener", written.place, format!("plain HTTP on `{}` is open to the network", written.value))
        .help(
            "tokens would cross the network in the clear: add `tls`, listen on 127.0.0.1, or say \
             `insecure_plaintext: true` where something in front of the gateway ends TLS",
        );
}

/// The certificates of a listener, if all can be read and belong to their keys.
fn tls(tls: &TlsDocument, base: &Base, report: &mut Report) -> Option<TlsFiles> {
    let TlsDocument { pair, certificates, min_version, clients } = tls;
    let pairs = || std::iter::once(pair).chain(certificates);
    let names = pairs().flat_map(|pair| [&pair.certificate, &pair.key]);
    let names = names.chain(clients.iter().flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crl)));
    let readable: Vec<bool> = names.map(|name| base.read(name, report).is_some()).collect();
    if readable.contains(&false) {
        return None;
    }
    let files =
        |pair: &PairDocument| PairFiles { certificate: base.path(&pair.certificate), key: base.path(&pair.key) };
    let files = TlsFiles {
        default: files(pair),
        more: certificates.iter().map(files).collect(),
        min_version: match min_version {
            MinVersionDocument::Tls12 => MinVersion::Tls12,
            MinVersionDocument::Tls13 => MinVersion::Tls13,
        },
        clients: clients.as_ref().map(|ClientsDocument { ca, crl, required }| ClientFiles {
            ca: base.path(ca),
            crl: crl.as_ref().map(|name| base.path(name)),
            required: *required,
        }),
    };
    let faults = match ServerTls::load(files.clone()) {
        Ok(_) => return Some(files),
        Err(faults) => faults,
    };
    let at = |name: &Located<String>, fault: &PathBuf| base.path(name) == *fault;
    for fault in faults {
        let owner = pairs().find(|pair| at(&pair.certificate, &fault.path) || at(&pair.key, &fault.path));
        match (owner, clients) {
            (None, Some(clients)) => {
                let name = clients.crl.as_ref().filter(|name| at(name, &fault.path)).unwrap_or(&clients.ca);
                let message = format!("this file cannot be used: {fault}");
                let help = "`client_ca` holds PEM certificates of authorities, `client_crl` their revocation lists";
                report.error("bad_certificate", name.place, message).help(help);
            }
            (owner, _) => {
                let pair = owner.unwrap_or(pair);
                report
                    .error(
                        "bad_certificate",
                        pair.certificate.place,
                        format!("this certificate cannot be used: {fault}"),
                    )
                    .also(pair.key.place, "with this key");
            }
        }
    }
    None
}

fn admin(written: &AdminDocument, base: &Base, seen: &mut Seen<SocketAddr>, report: &mut Report) -> Option<Admin> {
    let address = address(&written.address, seen, report);
    let tls = match &written.tls {
        Some(tls) => Some(self::tls(tls, base, report)?),
        None => None,
    };
    let beyond = address.is_some_and(|address| !is_loopback(address));
    if let Some(name) = &written.token_file {
        if base.read(name, report).is_some_and(|token| token.trim_ascii().len() < MIN_TOKEN) {
            let message = format!("the token in `{}` has fewer than {MIN_TOKEN} characters", name.value);
            report.error("weak_token", name.place, message).help("make one with `openssl rand -hex 32`");
        }
        if beyond && tls.is_none() {
            let message = format!("the admin token crosses the network of `{}` in the clear", written.address.value);
            report
                .warning("plaintext_admin", written.address.place, message)
                .help("add `tls` to `admin`, or listen on 127.0.0.1");
        }
    } else if beyond && tls.as_ref().is_none_or(|tls| tls.clients.is_none()) {
        let message = format!("the admin listener on `{}` is open to the network", written.address.value);
        report
            .error("admin_without_token", written.address.place, message)
            .help("add `token_file`, or `tls` with `client_ca`, or listen on 127.0.0.1");
    }
    Some(Admin {
        address: address?,
        token_file: written.token_file.as_ref().map(|name| base.path(name)),
        ready_needs_upstreams: written.ready_needs_upstreams,
        tls,
        operators: written.operators.iter().filter_map(|name| certificate_name(name, report)).collect(),
    })
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
