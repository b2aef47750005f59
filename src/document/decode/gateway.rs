//! Reads `gateway.yaml`.

use super::{Field, fields, scalar, version};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::gateway::{
    AdminDocument, GatewayDocument, IssuerDocument, LimitsDocument, ListenerDocument, LogDocument, TenantDocument,
    TimeoutsDocument, TlsDocument, TokensDocument,
};
use crate::document::parse::{Node, Shape};

const CLOUDS: [(&str, ()); 3] = [("global", ()), ("usgov", ()), ("china", ())];

const LOG_LEVELS: [(&str, ()); 4] = [("error", ()), ("warn", ()), ("info", ()), ("debug", ())];

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
        "tenants",
        "issuers",
        "tokens",
        "trusted_proxies",
        "limits",
        "timeouts",
        "log",
    ];
    let [written, listeners, admin, routes, grants, tenants, issuers, tokens, trusted, limits, timeouts, log] =
        fields(root, "this file", keys, report)?;
    version(written, report)?;
    if let Some(node) = listeners.need(report) {
        super::not_empty(node, "listeners", report);
    }
    Some(GatewayDocument {
        listeners: listeners.items(report).iter().filter_map(|node| listener(node, report)).collect(),
        admin: admin.node.and_then(|node| self::admin(node, report)),
        routes: routes.some_texts(report),
        grants: grants.some_texts(report),
        tenants: tenants.items(report).iter().filter_map(|node| tenant(node, report)).collect(),
        issuers: issuers.items(report).iter().map(|node| issuer(node, report)).collect(),
        tokens: self::tokens(tokens, report),
        trusted_proxies: trusted.texts(report),
        limits: self::limits(limits, report),
        timeouts: self::timeouts(timeouts, report),
        log: self::log(log, report),
    })
}

/// `${NAME}` stands for a variable of the environment in secrets, and in nothing else: what a process does must not
/// depend on where it was started. No key of this version is a secret.
fn refuse_variables(node: &Node, report: &mut Report) {
    match node.shape() {
        Shape::Scalar { text, .. } => refuse_variable(text, node.place, report),
        Shape::List(items) => items.iter().for_each(|item| refuse_variables(item, report)),
        Shape::Map(entries) => {
            for entry in entries {
                refuse_variable(&entry.key, entry.place, report);
                refuse_variables(&entry.value, report);
            }
        }
    }
}

fn refuse_variable(text: &str, place: Place, report: &mut Report) {
    if text.contains("${") {
        report
            .error("environment", place, "`${...}` cannot stand here")
            .help("variables of the environment may stand in secrets only, and no key of this version is one: write the value");
    }
}

fn listener(node: &Node, report: &mut Report) -> Option<ListenerDocument> {
    let [address, tls, plaintext] = fields(node, "this listener", ["address", "tls", "insecure_plaintext"], report)?;
    let address = address.need_text(report);
    let insecure_plaintext = plaintext.flag(false, report);
    let encrypted = match tls.node {
        Some(node) => Some(self::tls(node, report)?),
        None => None,
    };
    Some(ListenerDocument { place: node.place, address: address?, tls: encrypted, insecure_plaintext })
}

fn tls(node: &Node, report: &mut Report) -> Option<TlsDocument> {
    let [certificate, key] = fields(node, "this `tls`", ["certificate", "key"], report)?;
    let (certificate, key) = (certificate.need_text(report), key.need_text(report));
    Some(TlsDocument { certificate: certificate?, key: key? })
}

fn admin(node: &Node, report: &mut Report) -> Option<AdminDocument> {
    let [address, token_file] = fields(node, "`admin`", ["address", "token_file"], report)?;
    let (address, token_file) = (address.need_text(report), token_file.text(report));
    Some(AdminDocument { address: address?, token_file })
}

fn tenant(node: &Node, report: &mut Report) -> Option<TenantDocument> {
    let keys = ["name", "id", "cloud", "authority", "keys", "ca"];
    let [name, id, cloud, authority, keys, ca] = fields(node, "this tenant", keys, report)?;
    let (name, id) = (name.need_text(report), id.need_text(report));
    let cloud = word(cloud, &CLOUDS, report);
    let (authority, keys, ca) = (authority.text(report), keys.text(report), ca.text(report));
    Some(TenantDocument { place: node.place, name: name?, id: id?, cloud, authority, keys, ca })
}

/// A word of a closed list, as text.
fn word(field: Field<'_>, choices: &[(&'static str, ())], report: &mut Report) -> Option<Located<String>> {
    let node = field.node?;
    scalar::choice(node, field.key, choices, report)?;
    field.text(report)
}

fn issuer(node: &Node, report: &mut Report) -> IssuerDocument {
    report
        .error("unsupported", node.place, "other OIDC issuers are not supported by this version")
        .help("remove the entry; tenants of Entra stand under `tenants`");
    IssuerDocument { place: node.place }
}

fn tokens(section: Field<'_>, report: &mut Report) -> TokensDocument {
    let keys = ["leeway", "max_lifetime", "algorithms", "cache_entries"];
    let [leeway, max_lifetime, algorithms, cache_entries] = section.section("`tokens`", keys, report);
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
    }
}

fn limits(section: Field<'_>, report: &mut Report) -> LimitsDocument {
    let keys = ["connections", "requests", "head_bytes", "headers", "streams", "upstream_idle"];
    let [connections, requests, head_bytes, headers, streams, upstream_idle] =
        section.section("`limits`", keys, report);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    LimitsDocument {
        connections: count(connections.number(16_384, 1..=1_048_576, report)),
        requests: count(requests.number(8_192, 1..=1_048_576, report)),
        head_bytes: count(head_bytes.size(64 * KIB, 16 * KIB..=1024 * KIB, report)),
        headers: count(headers.number(100, 1..=1_024, report)),
        streams: u32::try_from(streams.number(128, 1..=65_535, report)).unwrap_or(u32::MAX),
        upstream_idle: count(upstream_idle.number(128, 0..=65_535, report)),
    }
}

fn timeouts(section: Field<'_>, report: &mut Report) -> TimeoutsDocument {
    let keys =
        ["handshake", "client_head", "client_body", "connect", "response", "response_body", "upstream_idle", "drain"];
    let [handshake, client_head, client_body, connect, response, response_body, upstream_idle, drain] =
        section.section("`timeouts`", keys, report);
    // Short ones are for tests; none at all would end every request.
    let range = 10..=24 * HOUR;
    TimeoutsDocument {
        handshake: handshake.duration(10 * SECOND, range.clone(), report),
        client_head: client_head.duration(30 * SECOND, range.clone(), report),
        client_body: client_body.duration(30 * SECOND, range.clone(), report),
        connect: connect.duration(5 * SECOND, range.clone(), report),
        response: response.duration(60 * SECOND, range.clone(), report),
        response_body: response_body.duration(60 * SECOND, range.clone(), report),
        upstream_idle: upstream_idle.duration(30 * SECOND, range, report),
        drain: drain.duration(30 * SECOND, 0..=24 * HOUR, report),
    }
}

fn log(section: Field<'_>, report: &mut Report) -> LogDocument {
    let [decisions, level] = section.section("`log`", ["decisions", "level"], report);
    let default = || Located::new(level.map, "info".to_owned());
    LogDocument {
        decisions: decisions.flag(true, report),
        level: word(level, &LOG_LEVELS, report).unwrap_or_else(default),
    }
}
