//! From `upstreams` as written to backends.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};

use super::{
    Balance, ClientIdentity, Credentials, Ejection, HealthCheck, HostHeader, Patience, Prefix, Protocol, Retries,
    Rewrite, Secret, Server, Transport, Upstream, UpstreamLimits,
};
use crate::diag::Report;
use crate::document::Located;
use crate::document::routes::ApplicationDocument;
use crate::document::upstream::{
    BalanceDocument, CredentialsDocument, CredentialsKind, HealthDocument, PathDocument, ProtocolDocument,
    UpstreamDocument, UpstreamTlsDocument,
};
use crate::policy::Rules;
use crate::route::canonical::{self, CanonicalPath};
use crate::route::host::Host;
use crate::route::{Access, Backend, ReadFile, Route};

/// Compiles one entry. All faults are reported; what is left of an entry with faults is never used.
pub(in crate::route) fn compile(document: &UpstreamDocument, files: ReadFile<'_>, report: &mut Report) -> Upstream {
    let limits = &document.limits;
    let timeouts = &document.timeouts;
    Upstream {
        name: document.name.value.as_str().into(),
        id: document.name.value.as_str().into(),
        servers: servers(document, report),
        transport: Arc::new(transport(document, files, report)),
        host: host(document.host.as_ref(), report),
        rewrite: rewrite(&document.path, report),
        credentials: document.credentials.as_ref().and_then(|written| credentials(written, files, report)),
        balance: match document.balance {
            BalanceDocument::LeastRequests => Balance::LeastRequests,
            BalanceDocument::RoundRobin => Balance::RoundRobin,
        },
        health: document.health.as_ref().and_then(|health| self::health(health, report)),
        ejection: Ejection {
            failures: document.ejection.failures,
            time: document.ejection.time,
            most: document.ejection.most,
        },
        limits: UpstreamLimits {
            requests: limits.requests,
            queue: limits.queue,
            queue_time: limits.queue_time,
            head_bytes: limits.head_bytes,
        },
        retries: Retries { attempts: document.retries.attempts, budget: document.retries.budget },
        patience: Patience {
            connect: timeouts.connect,
            response: timeouts.response,
            response_body: timeouts.response_body,
            idle: timeouts.idle,
        },
    }
}

fn servers(document: &UpstreamDocument, report: &mut Report) -> Vec<Server> {
    let mut servers: Vec<(Server, &Located<String>)> = Vec::new();
    for written in &document.servers {
        match Server::parse(&written.value) {
            Ok(server) => match servers.iter().find(|(known, _)| *known == server) {
                Some((_, first)) => {
                    let message = format!("the server `{}` is listed twice", server.name);
                    report
                        .error("duplicate_server", written.place, message)
                        .help("remove one of the two")
                        .also(first.place, "the other one");
                }
                None => servers.push((server, written)),
            },
            Err(message) => {
                let help = "write `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`";
                report.error("bad_url", written.place, message).help(help);
            }
        }
    }
    servers.into_iter().map(|(server, _)| server).collect()
}

fn transport(document: &UpstreamDocument, files: ReadFile<'_>, report: &mut Report) -> Transport {
    let UpstreamTlsDocument { ca, client_certificate, client_key, server_name } = &document.tls;
    let certificates = "it must be a PEM file with `-----BEGIN CERTIFICATE-----` blocks";
    let ca = ca.as_ref().and_then(|file| pem(file, "CERTIFICATE-----", "certificate", certificates, files, report));
    let chain = client_certificate
        .as_ref()
        .and_then(|file| pem(file, "CERTIFICATE-----", "certificate", certificates, files, report));
    let key = client_key.as_ref().and_then(|file| {
        let help = "it must be a PEM file with a `-----BEGIN PRIVATE KEY-----` block";
        pem(file, "PRIVATE KEY-----", "private key", help, files, report)
    });
    let client = chain.zip(key).map(|(chain, key)| ClientIdentity { chain: chain.into(), key: Secret::new(key) });
    let server_name = server_name.as_ref().and_then(|written| match Host::parse(&written.value) {
        Ok(Host { name, port: None }) if !name.starts_with('[') => Some(Arc::from(&*name)),
        Ok(_) | Err(_) => {
            let message = format!("`{}` is no name that a certificate could have", written.value);
            report.error("bad_host", written.place, message).help("write a host name without a port");
            None
        }
    });
    let protocol = match document.protocol {
        ProtocolDocument::Http1 => Protocol::Http1,
        ProtocolDocument::Http2 => Protocol::Http2,
    };
    Transport { protocol, ca: ca.map(Arc::from), client, server_name }
}

/// Reads a file that must have a PEM block of this kind; whether it can be used is for those who use it.
fn pem(
    file: &Located<String>,
    block: &str,
    what: &str,
    help: &str,
    files: ReadFile<'_>,
    report: &mut Report,
) -> Option<Vec<u8>> {
    let pem = read(file, files, report)?;
    let text = String::from_utf8_lossy(&pem);
    if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(block)) {
        return Some(pem);
    }
    report.error("bad_certificate", file.place, format!("`{}` holds no {what}", file.value)).help(help);
    None
}

fn read(file: &Located<String>, files: ReadFile<'_>, report: &mut Report) -> Option<Vec<u8>> {
    match files(file) {
        Ok(bytes) => Some(bytes),
        Err(message) => {
            report.error("unreadable", file.place, message).help("a path is relative to this file");
            None
        }
    }
}

fn host(written: Option<&Located<String>>, report: &mut Report) -> HostHeader {
    match written.map(|written| (written, written.value.as_str())) {
        None | Some((_, "preserve")) => HostHeader::Preserve,
        Some((_, "server")) => HostHeader::Server,
        Some((written, _)) => host_value(written, report).map_or(HostHeader::Preserve, HostHeader::Named),
    }
}

fn host_value(written: &Located<String>, report: &mut Report) -> Option<HeaderValue> {
    let value = Host::parse(&written.value).ok().and_then(|_| HeaderValue::from_str(&written.value).ok());
    if value.is_none() {
        let help = "write `preserve`, `server`, or a name such as `app.internal:8080`";
        report.error("bad_host", written.place, format!("`{}` is no host", written.value)).help(help);
    }
    value
}

fn rewrite(document: &PathDocument, report: &mut Report) -> Rewrite {
    let mut prefix = |written: &Option<Located<String>>| {
        let written = written.as_ref()?;
        Prefix::parse(&written.value)
            .map_err(|message| {
                let help = "write whole segments of letters, digits, `-`, `.`, `_` and `~`, such as `/app/v2`";
                report.error("bad_path", written.place, message).help(help);
            })
            .ok()
    };
    Rewrite { strip: prefix(&document.strip), add: prefix(&document.add) }
}

fn credentials(document: &CredentialsDocument, files: ReadFile<'_>, report: &mut Report) -> Option<Credentials> {
    let file = &document.from_file;
    let bytes = read(file, files, report)?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let message = format!("`{}` is not in UTF-8", file.value);
        report.error("bad_credentials", file.place, message).help("put the secret alone into the file");
        return None;
    };
    // Editors end a file with a line break.
    let secret = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    let made = match &document.kind {
        CredentialsKind::Basic(user) => Credentials::basic(&user.value, secret),
        CredentialsKind::Header(name) => Credentials::header(&name.value, secret),
        CredentialsKind::Query(name) => Credentials::query(&name.value, secret),
    };
    made.map_err(|message| {
        report.error("bad_credentials", document.place, message).help("the file holds the secret and nothing else");
    })
    .ok()
}

fn health(document: &HealthDocument, report: &mut Report) -> Option<HealthCheck> {
    let path = &document.path;
    let target = path.value.parse::<Uri>().ok().filter(|target| {
        let own = target.scheme().is_none() && target.authority().is_none();
        own && canonical::check_target(target).is_ok() && CanonicalPath::new(target.path()).is_ok()
    });
    if target.is_none() {
        let message = format!("`{}` is no path and query", path.value);
        report.error("bad_path", path.place, message).help("write one such as `/health`");
    }
    Some(HealthCheck {
        target: target?,
        host: document.host.as_ref().and_then(|written| host_value(written, report)),
        statuses: document.status.iter().filter_map(|status| u16::try_from(status.value).ok()).collect(),
        interval: document.interval,
        timeout: document.timeout,
        healthy: document.healthy,
        unhealthy: document.unhealthy,
    })
}

/// Checks that an application and its upstream fit: every route has what the upstream strips, and what the upstream is
/// shown takes part in no decision.
pub(in crate::route) fn check_routes(
    application: &ApplicationDocument,
    (routes, backend): (&[Route], Backend),
    upstream: &Upstream,
    report: &mut Report,
) {
    if let Some(strip) = &upstream.rewrite.strip {
        let folded = backend.case_insensitive;
        for route in application.routes.iter().filter(|route| strip.rest(&route.path.value, folded).is_none()) {
            let message = format!(
                "the upstream `{}` strips `{}`, with which `{}` does not begin",
                upstream.name,
                strip.as_str(),
                route.path.value
            );
            report
                .error("strip_mismatch", route.path.place, message)
                .help("put the prefix in front of the path, or leave `path.strip` of the upstream out");
        }
    }
    if let Some(place) = application.connection_auth.filter(|_| upstream.transport.protocol == Protocol::Http2) {
        let message = format!("`connection_auth` with the upstream `{}`, which speaks HTTP/2", upstream.name);
        report.error("conflict", place, message).help(
            "requests of many share a connection of HTTP/2, so nobody can authenticate one; use `protocol: http1`",
        );
    }
    let rules = || {
        routes.iter().filter_map(|route| match &route.access {
            Access::Rules(rules) => Some(rules),
            Access::Public | Access::GateOnly => None,
        })
    };
    let clash = match &upstream.credentials {
        None => None,
        Some(Credentials::Header { name, .. }) => header_clash(application, name, rules()).or_else(|| {
            // Many servers merge trailers into the headers.
            let passes = routes.iter().any(|route| route.trailers.permits(name));
            passes.then(|| format!("a route lets `{name}` pass in `trailers`"))
        }),
        Some(Credentials::Query { name, .. }) => rules()
            .any(|rules| rules.query_names().any(|read| read.eq_ignore_ascii_case(name)))
            .then(|| format!("the query parameter `{name}` decides on a route")),
    };
    if let Some(clash) = clash {
        let message = format!("{clash}, and the upstream `{}` is shown its credentials there", upstream.name);
        report.error("credentials_clash", application.upstream.place, message).help(
            "choose another name in `credentials` of the upstream: this one cannot be the client's and the gateway's",
        );
    }
}

fn header_clash<'r>(
    application: &ApplicationDocument,
    name: &HeaderName,
    mut rules: impl Iterator<Item = &'r Rules>,
) -> Option<String> {
    if *name == http::header::AUTHORIZATION && application.forward_authorization {
        return Some("`forward_authorization` sends the caller's `Authorization`".to_owned());
    }
    if RESERVED.contains(&name.as_str()) || RESERVED_FAMILIES.iter().any(|family| name.as_str().starts_with(family)) {
        return Some(format!("the header `{name}` belongs to the connection or to the gateway"));
    }
    let read = rules.any(|rules| rules.header_names().any(|read| read == name.as_str()));
    read.then(|| format!("the header `{name}` decides on a route"))
}

/// Headers that frame the message, belong to one connection, or are the gateway's own.
const RESERVED: [&str; 17] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];
/// The same by how they begin.
const RESERVED_FAMILIES: [&str; 4] = ["x-auth-request-", "x-forwarded-", "x-portcullis", "sec-websocket-"];

/// All upstreams of a file by name.
pub(in crate::route) type ByName<'d> = HashMap<&'d str, Arc<Upstream>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read_routes;

    fn files(file: &Located<String>) -> Result<Vec<u8>, String> {
        match file.value.as_str() {
            "ca.pem" => Ok(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".to_vec()),
            "key.pem" => Ok(b"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n".to_vec()),
            "secret" => Ok(b"s3cret\r\n".to_vec()),
            "binary" => Ok(vec![0xff]),
            "empty" => Ok(Vec::new()),
            other => Err(format!("cannot read `{other}`")),
        }
    }

    fn compiled(upstream: &str) -> (Upstream, String) {
        let mut report = Report::new();
        let text = format!("version: 1\nupstreams:\n  a: {upstream}\n");
        let source = report.add_source("r.yaml", &text);
        let document = read_routes(source, &mut report).unwrap();
        let upstream = compile(&document.upstreams[0], &files, &mut report);
        (upstream, report.render())
    }

    #[test]
    fn a_backend_is_what_its_entry_says() {
        let (upstream, faults) = compiled(
            "{servers: [\"https://a\", \"unix:/run/a\"], protocol: http2, tls: {ca: ca.pem, client_certificate: ca.pem, \
             client_key: key.pem, server_name: A.Internal}, host: b:8080, path: {strip: /x, add: /y}, credentials: \
             {header: X-Key, from_file: secret}, health: {path: \"/h?a=b\", status: 204}}",
        );
        assert_eq!(faults, "");
        assert_eq!(upstream.servers.len(), 2);
        let transport = &upstream.transport;
        assert_eq!((transport.protocol, transport.server_name.as_deref()), (Protocol::Http2, Some("a.internal")));
        assert!(transport.ca.is_some() && transport.client.is_some());
        assert_eq!(upstream.host, HostHeader::Named(HeaderValue::from_static("b:8080")));
        assert_eq!(upstream.rewrite.apply("/x/1", false).as_deref(), Some("/y/1"));
        let Some(Credentials::Header { value, .. }) = &upstream.credentials else { panic!() };
        assert_eq!(value, "s3cret");
        let health = upstream.health.unwrap();
        assert_eq!((health.target.to_string().as_str(), health.statuses.as_slice()), ("/h?a=b", &[204][..]));
    }

    #[test]
    fn what_is_left_out_is_what_a_plain_backend_has() {
        let (upstream, faults) = compiled("{servers: \"http://a\"}");
        assert_eq!(faults, "");
        assert_eq!(upstream, Upstream::plain("a", vec![Server::parse("http://a").unwrap()]));
    }

    #[test]
    fn every_fault_is_told() {
        for (written, code) in [
            ("{servers: ftp://a}", "bad_url"),
            ("{servers: [\"http://a\", \"http://A:80\"]}", "duplicate_server"),
            ("{servers: \"http://a\", ca: nowhere}", "unreadable"),
            ("{servers: \"http://a\", ca: secret}", "bad_certificate"),
            ("{servers: \"http://a\", tls: {client_certificate: ca.pem, client_key: ca.pem}}", "bad_certificate"),
            ("{servers: \"http://a\", tls: {server_name: \"a:1\"}}", "bad_host"),
            ("{servers: \"http://a\", host: \"a b\"}", "bad_host"),
            ("{servers: \"http://a\", path: {strip: /a/}}", "bad_path"),
            ("{servers: \"http://a\", path: {add: /../a}}", "bad_path"),
            ("{servers: \"http://a\", credentials: {basic: u, from_file: nowhere}}", "unreadable"),
            ("{servers: \"http://a\", credentials: {basic: \"u:v\", from_file: secret}}", "bad_credentials"),
            ("{servers: \"http://a\", credentials: {header: a, from_file: empty}}", "bad_credentials"),
            ("{servers: \"http://a\", credentials: {header: a, from_file: binary}}", "bad_credentials"),
            ("{servers: \"http://a\", health: {path: \"http://b/\"}}", "bad_path"),
            ("{servers: \"http://a\", health: {path: /a/../b}}", "bad_path"),
        ] {
            let (_, faults) = compiled(written);
            assert!(faults.contains(&format!("error[{code}]")), "{written}: {faults}");
        }
    }
}
