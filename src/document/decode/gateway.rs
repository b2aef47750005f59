//! Reads `gateway.yaml`.

use super::listeners::listener;
use super::{Field, fields, file, scalar};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::gateway::{
    AdminDocument, AppKeysDocument, GatewayDocument, IssuerDocument, LimitsDocument, RateDocument, RatesDocument,
    RevokedFilesDocument, TenantDocument, TimeoutsDocument, TokensDocument,
};
use crate::document::parse::{Node, Shape};

const CLOUDS: [(&str, ()); 3] = [("global", ()), ("usgov", ()), ("china", ())];

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const KIB: u64 = 1024;

/// Reads the whole file. `None` when it is no map or of another version.
pub(in crate::document) fn gateway(root: &Node, report: &mut Report) -> Option<GatewayDocument> {
    refuse_variables(root, report);
    let keys = [
        "version",
        "listeners",
        "admin",
        "routes",
        "grants",
        "revoked",
        "reload",
        "shadow",
        "tenants",
        "issuers",
        "tokens",
        "trusted_proxies",
        "limits",
        "timeouts",
        "rates",
        "log",
        "audit",
        "traces",
    ];
    let [
        _,
        listeners,
        admin,
        routes,
        grants,
        revoked,
        reload,
        shadow,
        tenants,
        issuers,
        tokens,
        trusted,
        limits,
        timeouts,
        rates,
        log,
        audit,
        traces,
    ] = file(root, keys, report)?;
    if let Some(node) = listeners.need(report) {
        super::not_empty(node, "listeners", report);
    }
    let (grants, databases) = super::database::grants(grants, report);
    Some(GatewayDocument {
        listeners: listeners.items(report).iter().filter_map(|node| listener(node, report)).collect(),
        admin: admin.node.and_then(|node| self::admin(node, report)),
        routes: routes.some_texts(report),
        grants,
        databases,
        revoked: self::revoked(revoked, report),
        reload: super::reload::reload(reload, report),
        shadow: super::shadow::shadow(shadow, report),
        tenants: tenants.items(report).iter().filter_map(|node| tenant(node, report)).collect(),
        issuers: issuers.items(report).iter().filter_map(|node| issuer(node, report)).collect(),
        tokens: self::tokens(tokens, report),
        trusted_proxies: trusted.texts(report),
        limits: self::limits(limits, report),
        timeouts: self::timeouts(timeouts, report),
        rates: self::rates(rates, report),
        log: super::log::log(log, report),
        audit: super::log::audit(audit, report),
        traces: super::traces::traces(traces, report),
    })
}

/// `${NAME}` stands for a variable of the environment in secrets, and in nothing else: what a process does must not
/// depend on where it was started. The URL of a database is the one key that may be a secret.
fn refuse_variables(node: &Node, report: &mut Report) {
    match node.shape() {
        Shape::Scalar { text, .. } => refuse_variable(text, node.place, report),
        Shape::List(items) => items.iter().for_each(|item| refuse_variables(item, report)),
        Shape::Map(entries) => {
            for entry in entries {
                refuse_variable(&entry.key, entry.place, report);
                match (&*entry.key, entry.value.shape()) {
                    ("postgres", Shape::Map(inner)) => {
                        let others = inner.iter().filter(|inner| &*inner.key != "url");
                        others.for_each(|inner| refuse_variables(&inner.value, report));
                    }
                    _ => refuse_variables(&entry.value, report),
                }
            }
        }
    }
}

fn refuse_variable(text: &str, place: Place, report: &mut Report) {
    if text.contains("${") {
        report.error("environment", place, "`${...}` cannot stand here").help(
            "variables of the environment may stand in secrets only: as the whole `url` of a database; write the value",
        );
    }
}

fn admin(node: &Node, report: &mut Report) -> Option<AdminDocument> {
    let keys = ["address", "token_file", "ready_needs_upstreams", "tls", "operators"];
    let [address, token_file, needs_upstreams, tls, names] = fields(node, "`admin`", keys, report)?;
    let (address, token_file) = (address.need_text(report), token_file.text(report));
    let ready_needs_upstreams = needs_upstreams.flag(false, report);
    let tls = match tls.node {
        Some(node) => Some(super::listeners::operators(node, report)?),
        None => None,
    };
    let operators = names.texts_unless_empty(report);
    if let (Some(node), None) = (names.node, tls.as_ref().and_then(|tls| tls.clients.as_ref())) {
        report
            .error("missing_key", node.place, "`operators` needs `tls` with `client_ca`")
            .help("say with `client_ca` whose certificates operators show, or remove it");
    }
    Some(AdminDocument { address: address?, token_file, ready_needs_upstreams, tls, operators })
}

fn revoked(section: Field<'_>, report: &mut Report) -> RevokedFilesDocument {
    let [files, store] = section.section("`revoked`", ["files", "store"], report);
    RevokedFilesDocument { files: files.texts(report), store: store.text(report) }
}

fn tenant(node: &Node, report: &mut Report) -> Option<TenantDocument> {
    let keys = ["name", "id", "cloud", "authority", "v1_issuer", "keys", "ca", "app_keys"];
    let [name, id, cloud, authority, v1_issuer, keys, ca, app_keys] = fields(node, "this tenant", keys, report)?;
    let (name, id) = (name.need_text(report), id.need_text(report));
    let cloud = self::cloud(cloud, report);
    let [authority, v1_issuer, keys, ca] = [authority, v1_issuer, keys, ca].map(|field| field.text(report));
    let app_keys = app_keys.items(report).iter().filter_map(|node| self::app_keys(node, report)).collect();
    Some(TenantDocument { place: node.place, name: name?, id: id?, cloud, authority, v1_issuer, keys, ca, app_keys })
}

fn cloud(field: Field<'_>, report: &mut Report) -> Option<Located<String>> {
    let node = field.node?;
    if matches!(node.shape(), Shape::Scalar { text, .. } if **text == *"germany") {
        report
            .error("closed_cloud", node.place, "the German cloud was closed in October 2021")
            .help("its tenants moved to the global cloud: leave `cloud` out");
        return None;
    }
    word(field, &CLOUDS, report)
}

fn app_keys(node: &Node, report: &mut Report) -> Option<AppKeysDocument> {
    let [appid, audiences] = fields(node, "this entry of `app_keys`", ["appid", "audiences"], report)?;
    let (appid, audiences) = (appid.need_text(report), audiences.texts(report));
    Some(AppKeysDocument { place: node.place, appid: appid?, audiences })
}

/// A word of a closed list, as text.
pub(super) fn word(field: Field<'_>, choices: &[(&'static str, ())], report: &mut Report) -> Option<Located<String>> {
    let node = field.node?;
    scalar::choice(node, field.key, choices, report)?;
    field.text(report)
}

fn issuer(node: &Node, report: &mut Report) -> Option<IssuerDocument> {
    let keys = ["name", "issuer", "jwks", "audiences", "subject", "client", "roles", "groups", "username", "ca"];
    let [name, issuer, jwks, audiences, subject, client, roles, groups, username, ca] =
        fields(node, "this issuer", keys, report)?;
    let (name, issuer) = (name.need_text(report), issuer.need_text(report));
    let audiences = audiences.texts_unless_empty(report);
    let [jwks, subject, client, roles, groups, username, ca] =
        [jwks, subject, client, roles, groups, username, ca].map(|field| field.text(report));
    Some(IssuerDocument {
        place: node.place,
        name: name?,
        issuer: issuer?,
        jwks,
        audiences,
        subject,
        client,
        roles,
        groups,
        username,
        ca,
    })
}

fn tokens(section: Field<'_>, report: &mut Report) -> TokensDocument {
    let keys = ["leeway", "max_lifetime", "algorithms", "cache_entries", "cache_bytes", "refresh", "cooldown", "keep"];
    let [leeway, max_lifetime, algorithms, cache_entries, cache_bytes, refresh, cooldown, keep] =
        section.section("`tokens`", keys, report);
    let located = |field: Field<'_>| field.node.map_or(field.map, |node| node.place);
    let default = ["RS256", "ES256"].map(|name| Located::new(located(algorithms), name.to_owned()));
    TokensDocument {
        leeway: Located::new(located(leeway), leeway.duration(60 * SECOND, 0..=300 * SECOND, report)),
        max_lifetime: Located::new(
            located(max_lifetime),
            max_lifetime.duration(28 * HOUR, SECOND..=31 * 24 * HOUR, report),
        ),
        algorithms: match algorithms.node {
            Some(_) => algorithms.some_texts(report),
            None => default.into(),
        },
        cache_entries: cache_entries.number(100_000, 0..=10_000_000, report),
        cache_bytes: cache_bytes.size(256 * 1024 * KIB, 0..=64 * 1024 * 1024 * KIB, report),
        refresh: Located::new(located(refresh), refresh.duration(HOUR, 10 * SECOND..=24 * HOUR, report)),
        cooldown: Located::new(located(cooldown), cooldown.duration(300 * SECOND, SECOND..=HOUR, report)),
        keep: Located::new(located(keep), keep.duration(24 * HOUR, 60 * SECOND..=7 * 24 * HOUR, report)),
    }
}

fn limits(section: Field<'_>, report: &mut Report) -> LimitsDocument {
    let keys = [
        "connections",
        "connections_per_client",
        "requests",
        "head_bytes",
        "target_bytes",
        "headers",
        "form_bytes",
        "streams",
        "failed_tokens_per_client",
        "upstream_idle",
    ];
    let [
        connections,
        per_client,
        requests,
        head_bytes,
        target_bytes,
        headers,
        form_bytes,
        streams,
        failed_tokens,
        upstream_idle,
    ] = section.section("`limits`", keys, report);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    LimitsDocument {
        connections: count(connections.number(16_384, 1..=1_048_576, report)),
        connections_per_client: count(per_client.number(1_024, 1..=1_048_576, report)),
        requests: count(requests.number(8_192, 1..=1_048_576, report)),
        head_bytes: count(head_bytes.size(64 * KIB, 16 * KIB..=1024 * KIB, report)),
        target_bytes: count(target_bytes.size(16 * KIB, KIB..=60 * KIB, report)),
        headers: count(headers.number(100, 1..=1_024, report)),
        form_bytes: count(form_bytes.size(64 * KIB, 1..=16 * 1024 * KIB, report)),
        streams: u32::try_from(streams.number(128, 1..=65_535, report)).unwrap_or(u32::MAX),
        failed_tokens_per_client: u32::try_from(failed_tokens.number(100, 0..=1_000_000, report)).unwrap_or(u32::MAX),
        upstream_idle: count(upstream_idle.number(128, 0..=65_535, report)),
    }
}

fn timeouts(section: Field<'_>, report: &mut Report) -> TimeoutsDocument {
    let keys = [
        "handshake",
        "client_head",
        "client_idle",
        "client_body",
        "request",
        "connect",
        "response",
        "response_body",
        "upstream_idle",
        "tunnel_idle",
        "drain",
    ];
    let [
        handshake,
        client_head,
        client_idle,
        client_body,
        request,
        connect,
        response,
        response_body,
        upstream_idle,
        tunnel_idle,
        drain,
    ] = section.section("`timeouts`", keys, report);
    // Short ones are for tests; none at all would end every request.
    let range = 10..=24 * HOUR;
    TimeoutsDocument {
        handshake: handshake.duration(10 * SECOND, range.clone(), report),
        client_head: client_head.duration(30 * SECOND, range.clone(), report),
        client_idle: client_idle.duration(60 * SECOND, range.clone(), report),
        client_body: client_body.duration(30 * SECOND, range.clone(), report),
        request: request.duration(HOUR, 0..=24 * HOUR, report),
        connect: connect.duration(5 * SECOND, range.clone(), report),
        response: response.duration(60 * SECOND, range.clone(), report),
        response_body: response_body.duration(60 * SECOND, range.clone(), report),
        upstream_idle: upstream_idle.duration(30 * SECOND, range.clone(), report),
        tunnel_idle: tunnel_idle.duration(HOUR, range, report),
        drain: drain.duration(30 * SECOND, 0..=24 * HOUR, report),
    }
}

fn rates(section: Field<'_>, report: &mut Report) -> RatesDocument {
    let [per_client, per_principal] = section.section("`rates`", ["per_client", "per_principal"], report);
    let [per_client, per_principal] =
        [per_client, per_principal].map(|field| field.node.and_then(|node| rate(node, report)));
    RatesDocument { per_client, per_principal }
}

fn rate(node: &Node, report: &mut Report) -> Option<RateDocument> {
    const MOST: u64 = 1_000_000;
    let [requests, per, burst] = fields(node, "this rate", ["requests", "per", "burst"], report)?;
    requests.need(report)?;
    let requests = requests.number(1, 1..=MOST, report);
    let (written, per) = (burst, per.duration(SECOND, 10..=24 * HOUR, report));
    let burst = burst.number(requests, 1..=MOST, report);
    let refilled = per.as_millis().saturating_mul(u128::from(burst)) / u128::from(requests.max(1));
    if refilled > u128::from(31 * 24 * HOUR) {
        let place = written.node.map_or(node.place, |node| node.place);
        report
            .error("out_of_range", place, "`burst` must be earned again within 31 days at this rate")
            .help("write a smaller `burst` or a higher rate");
        return None;
    }
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Some(RateDocument { requests: count(requests), per, burst: count(burst) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::diag::Report;
    use crate::document::gateway::{IssuerDocument, MinVersionDocument};
    use crate::document::read_gateway;

    fn read(text: &str) -> (crate::document::gateway::GatewayDocument, Report) {
        let mut report = Report::new();
        let source = report.add_source("gateway.yaml", text);
        (read_gateway(source, &mut report).unwrap(), report)
    }

    #[test]
    fn what_is_left_out_has_the_default_of_its_field() {
        let (document, report) = read("version: 1\nlisteners: [{address: 127.0.0.1:1}]\nroutes: r\ngrants: [g, h]\n");
        assert_eq!(report.render(), "");
        let listener = &document.listeners[0];
        assert!(!listener.insecure_plaintext && listener.tls.is_none() && !listener.proxy_protocol.value);
        assert!(listener.hsts.is_none() && listener.redirect_to_https.is_none());
        assert_eq!((document.routes.len(), document.grants.len()), (1, 2));
        assert!(document.revoked.files.is_empty() && document.revoked.store.is_none());
        assert!(document.admin.is_none() && document.tenants.is_empty() && document.trusted_proxies.is_empty());
        let tokens = &document.tokens;
        assert_eq!(tokens.leeway.value, Duration::from_secs(60));
        assert_eq!(tokens.max_lifetime.value, Duration::from_secs(28 * 3600));
        assert_eq!((tokens.cache_entries, tokens.cache_bytes), (100_000, 256 * 1024 * 1024));
        let keys = [&tokens.refresh, &tokens.cooldown, &tokens.keep].map(|time| time.value.as_secs());
        assert_eq!(keys, [3600, 300, 24 * 3600]);
        let algorithms: Vec<&str> = tokens.algorithms.iter().map(|name| name.value.as_str()).collect();
        assert_eq!(algorithms, ["RS256", "ES256"]);
        let limits = &document.limits;
        assert_eq!((limits.connections, limits.requests, limits.head_bytes), (16_384, 8_192, 65_536));
        assert_eq!((limits.headers, limits.streams, limits.upstream_idle), (100, 128, 128));
        assert_eq!(limits.failed_tokens_per_client, 100);
        assert_eq!(limits.form_bytes, 65_536);
        assert_eq!((limits.connections_per_client, limits.target_bytes), (1_024, 16_384));
        assert!(document.rates.per_client.is_none() && document.rates.per_principal.is_none());
        let timeouts = &document.timeouts;
        let seconds = [
            timeouts.handshake,
            timeouts.client_head,
            timeouts.client_idle,
            timeouts.client_body,
            timeouts.request,
            timeouts.connect,
            timeouts.response,
            timeouts.response_body,
            timeouts.upstream_idle,
            timeouts.tunnel_idle,
            timeouts.drain,
        ];
        assert_eq!(seconds.map(|time| time.as_secs()), [10, 30, 60, 30, 3600, 5, 60, 60, 30, 3600, 30]);
        assert!(document.log.decisions);
        assert_eq!(document.log.level.value, "info");
    }

    #[test]
    fn every_key_is_read() {
        let (document, report) = read(
            "version: 1
listeners:
  - {address: 0.0.0.0:8443, tls: {certificate: a.crt, key: a.key, certificates: [{certificate: b.crt, key: b.key}], min_version: 1.3, client_ca: ca.pem, client_certificate: optional, client_crl: crl.pem}, proxy_protocol: true, hsts: {max_age: 365d, include_subdomains: true, preload: true}}
  - {address: 0.0.0.0:80, insecure_plaintext: true, redirect_to_https: {port: 8443}}
admin: {address: 127.0.0.1:9901, token_file: admin.token, ready_needs_upstreams: true}
routes: [routes.yaml, maps]
grants: grants.yaml
revoked: {files: [a.yaml, b.yaml], store: c.yaml}
tenants:
  - {name: uss, id: 1111, cloud: usgov, authority: https://login, v1_issuer: https://sts, keys: k.json, ca: ca.pem, app_keys: [{appid: c, audiences: api://c}, {appid: d}]}
issuers:
  - {name: sso, issuer: https://i, jwks: j.json, audiences: [x, y], subject: s, client: c, roles: r.s, groups: g, username: u, ca: i.pem}
  - {name: plain, issuer: i}
tokens: {leeway: 0s, max_lifetime: 500m, algorithms: ES256, cache_entries: 0, cache_bytes: 1KiB, refresh: 10s, cooldown: 1s, keep: 1m}
trusted_proxies: [10.0.0.0/8]
limits: {connections: 1, connections_per_client: 6, requests: 2, head_bytes: 1MiB, target_bytes: 2KiB, headers: 3, form_bytes: 2KiB, streams: 4, failed_tokens_per_client: 7, upstream_idle: 5}
timeouts: {handshake: 1s, client_head: 2s, client_idle: 90s, client_body: 3s, request: 0s, connect: 400ms, response: 5m, response_body: 6h, upstream_idle: 7s, tunnel_idle: 8m, drain: 0s}
rates: {per_client: {requests: 200, per: 2s, burst: 400}, per_principal: {requests: 5}}
log: {decisions: false, level: debug, to: {file: d.jsonl, rotate: {size: 1MiB, keep: 2}}}
audit: {required: true}
",
        );
        assert_eq!(report.render(), "");
        let tls = document.listeners[0].tls.as_ref().unwrap();
        let pairs: Vec<_> = std::iter::once(&tls.pair).chain(&tls.certificates).collect();
        let pairs: Vec<_> = pairs.iter().map(|pair| (&*pair.certificate.value, &*pair.key.value)).collect();
        assert_eq!(pairs, [("a.crt", "a.key"), ("b.crt", "b.key")]);
        let clients = tls.clients.as_ref().unwrap();
        assert_eq!((&*clients.ca.value, &*clients.crl.as_ref().unwrap().value), ("ca.pem", "crl.pem"));
        assert!(!clients.required && tls.min_version == MinVersionDocument::Tls13);
        let hsts = document.listeners[0].hsts.as_ref().unwrap();
        assert_eq!(hsts.max_age, Duration::from_secs(365 * 86_400));
        assert!(hsts.include_subdomains && hsts.preload && document.listeners[0].proxy_protocol.value);
        assert!(document.listeners[1].insecure_plaintext);
        assert_eq!(document.listeners[1].redirect_to_https.as_ref().map(|port| port.value), Some(8443));
        let admin = document.admin.unwrap();
        assert_eq!(admin.address.value, "127.0.0.1:9901");
        assert_eq!(admin.token_file.unwrap().value, "admin.token");
        assert!(admin.ready_needs_upstreams);
        let files: Vec<&str> = document.revoked.files.iter().map(|file| file.value.as_str()).collect();
        assert_eq!((files, document.revoked.store.unwrap().value.as_str()), (vec!["a.yaml", "b.yaml"], "c.yaml"));
        let tenant = &document.tenants[0];
        assert_eq!((tenant.name.value.as_str(), tenant.id.value.as_str()), ("uss", "1111"));
        let optional = [&tenant.cloud, &tenant.authority, &tenant.v1_issuer, &tenant.keys, &tenant.ca];
        let optional = optional.map(|value| value.as_ref().map(|text| text.value.as_str()));
        assert_eq!(
            optional,
            [Some("usgov"), Some("https://login"), Some("https://sts"), Some("k.json"), Some("ca.pem")]
        );
        let apps: Vec<_> = tenant.app_keys.iter().map(|app| (&*app.appid.value, app.audiences.len())).collect();
        assert_eq!(apps, [("c", 1), ("d", 0)]);
        let [sso, plain] = &document.issuers[..] else { panic!() };
        assert_eq!((sso.name.value.as_str(), sso.issuer.value.as_str(), sso.audiences.len()), ("sso", "https://i", 2));
        let optional = |issuer: &IssuerDocument| {
            let IssuerDocument { jwks, subject, client, roles, groups, username, ca, .. } = issuer.clone();
            [jwks, subject, client, roles, groups, username, ca].map(|value| value.map(|text| text.value))
        };
        let told = optional(sso).map(Option::unwrap_or_default);
        assert_eq!(told, ["j.json", "s", "c", "r.s", "g", "u", "i.pem"]);
        assert!(plain.audiences.is_empty() && optional(plain).iter().all(Option::is_none));
        assert_eq!(document.tokens.leeway.value, Duration::ZERO);
        assert_eq!(document.tokens.max_lifetime.value, Duration::from_secs(30_000));
        let tokens = &document.tokens;
        assert_eq!((tokens.algorithms.len(), tokens.cache_entries, tokens.cache_bytes), (1, 0, 1024));
        let keys = [&tokens.refresh, &tokens.cooldown, &tokens.keep].map(|time| time.value.as_secs());
        assert_eq!(keys, [10, 1, 60]);
        assert_eq!(document.trusted_proxies[0].value, "10.0.0.0/8");
        let limits = &document.limits;
        assert_eq!((limits.connections, limits.requests, limits.head_bytes), (1, 2, 1_048_576));
        assert_eq!((limits.headers, limits.streams, limits.upstream_idle), (3, 4, 5));
        assert_eq!(limits.failed_tokens_per_client, 7);
        assert_eq!((limits.connections_per_client, limits.target_bytes), (6, 2048));
        let rates = [document.rates.per_client, document.rates.per_principal].map(Option::unwrap);
        let told = rates.map(|rate| (rate.requests, rate.per.as_secs(), rate.burst));
        assert_eq!(told, [(200, 2, 400), (5, 1, 5)]);
        let timeouts = &document.timeouts;
        assert_eq!(timeouts.connect, Duration::from_millis(400));
        assert_eq!((timeouts.client_idle.as_secs(), timeouts.request), (90, Duration::ZERO));
        assert_eq!(timeouts.response, Duration::from_secs(300));
        assert_eq!(timeouts.response_body, Duration::from_secs(21_600));
        assert_eq!(timeouts.tunnel_idle, Duration::from_secs(480));
        assert_eq!(timeouts.drain, Duration::ZERO);
        assert!(!document.log.decisions && document.audit.required.value);
        assert_eq!(document.log.level.value, "debug");
    }
}
