//! Reads an entry of `upstreams`.

use std::time::Duration;

use super::{Field, conflict, fields, scalar};
use crate::diag::Report;
use crate::document::Located;
use crate::document::parse::{Node, Shape};
use crate::document::upstream::{
    BalanceDocument, CredentialsDocument, CredentialsKind, EjectionDocument, HealthDocument, PathDocument,
    ProtocolDocument, RetriesDocument, UpstreamDocument, UpstreamLimitsDocument, UpstreamTimeoutsDocument,
    UpstreamTlsDocument,
};

/// Milliseconds in a second and in a day.
const KIB: u64 = 1024;
const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;

pub(super) fn upstream(name: Located<String>, node: &Node, report: &mut Report) -> Option<UpstreamDocument> {
    let keys = [
        "servers",
        "protocol",
        "ca",
        "tls",
        "host",
        "path",
        "credentials",
        "balance",
        "health",
        "ejection",
        "limits",
        "retries",
        "timeouts",
    ];
    let [servers, protocol, ca, tls, host, path, credentials, rest @ ..] = fields(node, "this upstream", keys, report)?;
    let [balance, health, ejection, limits, retries, timeouts] = rest;
    Some(UpstreamDocument {
        name,
        servers: servers.some_texts(report),
        protocol: protocol.choice(&[("http1", ProtocolDocument::Http1), ("http2", ProtocolDocument::Http2)], report),
        tls: self::tls(ca, tls, report),
        host: host.text(report),
        path: self::path(path, report),
        credentials: self::credentials(credentials, report),
        balance: balance.choice(
            &[("least_requests", BalanceDocument::LeastRequests), ("round_robin", BalanceDocument::RoundRobin)],
            report,
        ),
        health: self::health(health, report),
        ejection: self::ejection(ejection, report),
        limits: self::limits(limits, report),
        retries: self::retries(retries, report),
        timeouts: self::timeouts(timeouts, report),
    })
}

fn tls(ca: Field<'_>, section: Field<'_>, report: &mut Report) -> UpstreamTlsDocument {
    let keys = ["ca", "client_certificate", "client_key", "server_name"];
    let [inner, client_certificate, client_key, server_name] = section.section("this upstream tls", keys, report);
    if let (Some(short), Some(long)) = (ca.node, inner.node) {
        conflict(("ca", short), ("tls.ca", long), "`ca` is short for `tls: {ca: ...}`; keep one", report);
    }
    let pairs = [(client_certificate, client_key), (client_key, client_certificate)];
    for (there, missing) in pairs {
        if there.node.is_some() {
            missing.need(report);
        }
    }
    UpstreamTlsDocument {
        ca: ca.text(report).or_else(|| inner.text(report)),
        client_certificate: client_certificate.text(report),
        client_key: client_key.text(report),
        server_name: server_name.text(report),
    }
}

fn path(section: Field<'_>, report: &mut Report) -> PathDocument {
    let [strip, add] = section.section("this upstream path", ["strip", "add"], report);
    PathDocument { strip: strip.text(report), add: add.text(report) }
}

fn credentials(field: Field<'_>, report: &mut Report) -> Option<CredentialsDocument> {
    let node = field.node?;
    let [basic, header, query, from_file] =
        fields(node, "this upstream credentials", ["basic", "header", "query", "from_file"], report)?;
    let from_file = from_file.need_text(report);
    let kinds: Vec<(Field<'_>, &Node)> =
        [basic, header, query].into_iter().filter_map(|field| Some((field, field.node?))).collect();
    if let [(first, node), (second, other), ..] = kinds[..] {
        conflict((first.key, node), (second.key, other), "a backend is shown one of them", report);
        return None;
    }
    let Some((field, _)) = kinds.first() else {
        report
            .error("missing_key", node.place, "these credentials name neither `basic`, `header` nor `query`")
            .help("write `{basic: USER, from_file: FILE}`, `{header: NAME, from_file: FILE}` or `{query: NAME, from_file: FILE}`");
        return None;
    };
    let name = field.text(report)?;
    let kind = match field.key {
        "basic" => CredentialsKind::Basic(name),
        "header" => CredentialsKind::Header(name),
        _ => CredentialsKind::Query(name),
    };
    Some(CredentialsDocument { place: node.place, kind, from_file: from_file? })
}

fn health(field: Field<'_>, report: &mut Report) -> Option<HealthDocument> {
    let node = field.node?;
    let keys = ["path", "host", "status", "interval", "timeout", "healthy", "unhealthy"];
    let [path, host, status, interval, timeout, healthy, unhealthy] =
        fields(node, "this upstream health", keys, report)?;
    let path = path.need_text(report);
    Some(HealthDocument {
        host: host.text(report),
        status: statuses(status, report),
        interval: interval.duration(10 * SECOND, 100..=DAY, report),
        timeout: timeout.duration(2 * SECOND, 10..=600 * SECOND, report),
        healthy: small(healthy.number(2, 1..=100, report)),
        unhealthy: small(unhealthy.number(3, 1..=100, report)),
        path: path?,
    })
}

fn statuses(field: Field<'_>, report: &mut Report) -> Vec<Located<i64>> {
    let Some(node) = field.node else { return Vec::new() };
    super::not_empty(node, field.key, report);
    let items = match node.shape() {
        Shape::List(items) => items,
        Shape::Scalar { .. } | Shape::Map(_) => std::slice::from_ref(node),
    };
    let mut statuses = Vec::new();
    for item in items {
        let Some(number) = scalar::integer(item, super::Name::Key(field.key), report) else { continue };
        if (100..=599).contains(&number) {
            statuses.push(Located::new(item.place, number));
        } else {
            report.error("out_of_range", item.place, "a status is 100 to 599").help("write one such as `200`");
        }
    }
    statuses
}

fn ejection(section: Field<'_>, report: &mut Report) -> EjectionDocument {
    let [failures, time, most] = section.section("this upstream ejection", ["failures", "time", "most"], report);
    EjectionDocument {
        failures: small(failures.number(5, 0..=1_000, report)),
        time: time.duration(10 * SECOND, 100..=DAY, report),
        most: small(most.number(50, 0..=100, report)),
    }
}

fn limits(section: Field<'_>, report: &mut Report) -> UpstreamLimitsDocument {
    let [requests, queue, queue_time, head_bytes] =
        section.section("this upstream limits", ["requests", "queue", "queue_time", "head_bytes"], report);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    UpstreamLimitsDocument {
        requests: count(requests.number(1_024, 1..=1_048_576, report)),
        queue: count(queue.number(256, 0..=1_048_576, report)),
        queue_time: queue_time.duration(SECOND, 10..=600 * SECOND, report),
        head_bytes: count(head_bytes.size(64 * KIB, 8 * KIB..=1024 * KIB, report)),
    }
}

fn retries(section: Field<'_>, report: &mut Report) -> RetriesDocument {
    let [attempts, budget] = section.section("this upstream retries", ["attempts", "budget"], report);
    RetriesDocument {
        attempts: small(attempts.number(2, 0..=10, report)),
        budget: small(budget.number(20, 0..=100, report)),
    }
}

fn timeouts(section: Field<'_>, report: &mut Report) -> UpstreamTimeoutsDocument {
    let keys = ["connect", "response", "response_body", "idle"];
    let [connect, response, response_body, idle] = section.section("this upstream timeouts", keys, report);
    let mut own =
        |field: Field<'_>| -> Option<Duration> { field.node.map(|_| field.duration(60 * SECOND, 10..=DAY, report)) };
    UpstreamTimeoutsDocument {
        connect: own(connect),
        response: own(response),
        response_body: own(response_body),
        idle: own(idle),
    }
}

/// A number that was read within bounds far below the largest.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read_routes;

    fn read(upstream: &str) -> (Vec<UpstreamDocument>, String) {
        let mut report = Report::new();
        let source = report.add_source("r.yaml", format!("version: 1\nupstreams:\n  a: {upstream}\n"));
        let document = read_routes(source, &mut report);
        (document.map(|document| document.upstreams).unwrap_or_default(), report.render())
    }

    #[test]
    fn what_is_left_out_has_the_default_of_its_field() {
        let (found, faults) = read("{servers: [\"http://a\"]}");
        assert_eq!(faults, "");
        let a = &found[0];
        assert_eq!((a.protocol, a.balance), (ProtocolDocument::Http1, BalanceDocument::LeastRequests));
        assert!(a.host.is_none() && a.credentials.is_none() && a.health.is_none());
        assert!(a.path.strip.is_none() && a.path.add.is_none() && a.tls.ca.is_none());
        assert_eq!((a.ejection.failures, a.ejection.time.as_secs(), a.ejection.most), (5, 10, 50));
        assert_eq!((a.limits.requests, a.limits.queue, a.limits.queue_time.as_secs()), (1024, 256, 1));
        assert_eq!(a.limits.head_bytes, 65_536);
        assert_eq!((a.retries.attempts, a.retries.budget), (2, 20));
        assert!(a.timeouts.connect.is_none() && a.timeouts.idle.is_none());
    }

    #[test]
    fn every_key_is_read() {
        let (found, faults) = read(
            "{servers: [\"https://a\", \"unix:/run/a\"], protocol: http2, tls: {ca: ca.pem, client_certificate: c.crt, \
             client_key: c.key, server_name: a.internal}, host: server, path: {strip: /x, add: /y}, credentials: \
             {basic: gateway, from_file: password.txt}, balance: round_robin, health: {path: /h, host: h, status: [200, \
             204], interval: 1s, timeout: 2s, healthy: 3, unhealthy: 4}, ejection: {failures: 0, time: 5s, most: 100}, \
             limits: {requests: 6, queue: 7, queue_time: 8s, head_bytes: 9KiB}, retries: {attempts: 9, budget: 10}, timeouts: {connect: \
             11s, response: 12s, response_body: 13s, idle: 14s}}",
        );
        assert_eq!(faults, "");
        let a = &found[0];
        assert_eq!((a.protocol, a.balance), (ProtocolDocument::Http2, BalanceDocument::RoundRobin));
        let text = |value: &Option<Located<String>>| value.as_ref().unwrap().value.clone();
        let tls = [&a.tls.ca, &a.tls.client_certificate, &a.tls.client_key, &a.tls.server_name].map(text);
        assert_eq!(tls, ["ca.pem", "c.crt", "c.key", "a.internal"]);
        assert_eq!([&a.host, &a.path.strip, &a.path.add].map(text), ["server", "/x", "/y"]);
        let credentials = a.credentials.as_ref().unwrap();
        assert!(matches!(&credentials.kind, CredentialsKind::Basic(user) if user.value == "gateway"));
        assert_eq!(credentials.from_file.value, "password.txt");
        let health = a.health.as_ref().unwrap();
        assert_eq!((health.path.value.as_str(), text(&health.host)), ("/h", "h".to_owned()));
        assert_eq!(health.status.iter().map(|status| status.value).collect::<Vec<_>>(), [200, 204]);
        assert_eq!((health.interval.as_secs(), health.timeout.as_secs()), (1, 2));
        assert_eq!((health.healthy, health.unhealthy), (3, 4));
        assert_eq!((a.ejection.failures, a.ejection.time.as_secs(), a.ejection.most), (0, 5, 100));
        assert_eq!((a.limits.requests, a.limits.queue, a.limits.queue_time.as_secs()), (6, 7, 8));
        assert_eq!(a.limits.head_bytes, 9 * 1024);
        assert_eq!((a.retries.attempts, a.retries.budget), (9, 10));
        let UpstreamTimeoutsDocument { connect, response, response_body, idle } = a.timeouts;
        let seconds = [connect, response, response_body, idle].map(|time| time.unwrap().as_secs());
        assert_eq!(seconds, [11, 12, 13, 14]);
    }

    #[test]
    fn half_a_thing_and_two_of_one_kind_are_faults() {
        for (written, said) in [
            ("{servers: a, ca: x, tls: {ca: y}}", "tls.ca"),
            ("{servers: a, tls: {client_certificate: x}}", "`client_key` is missing"),
            ("{servers: a, tls: {client_key: x}}", "`client_certificate` is missing"),
            ("{servers: a, credentials: {from_file: x}}", "neither `basic`, `header` nor `query`"),
            ("{servers: a, credentials: {basic: u, query: q, from_file: x}}", "`query`"),
            ("{servers: a, credentials: {basic: u}}", "`from_file` is missing"),
            ("{servers: a, health: {}}", "`path` is missing"),
            ("{servers: a, health: {path: /, status: [99]}}", "100 to 599"),
            ("{servers: a, health: {path: /, status: []}}", "status"),
            ("{servers: a, protocol: http3}", "http3"),
            ("{servers: []}", "servers"),
        ] {
            let (_, faults) = read(written);
            assert!(faults.contains(said), "{written}: {faults}");
        }
    }
}
