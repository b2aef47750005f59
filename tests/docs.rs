//! The reference documents agree with the code.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::diag::Report;
use portcullis::document;
use portcullis::model::Reason;
use portcullis::token::Fault;

/// Set to anything, it makes the tests write what they would compare with.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reasons() -> String {
    let mut page = "\
# Reasons
Every way the gateway says no. Made from `src/model/reason.rs`; a test keeps it so
(`PORTCULLIS_WRITE_DOCS=1 cargo test --test docs` writes it anew).

Clients get the code without its subject in the member `reason` of the answer (RFC 9457), or the whole reason for an
application with `detail_to_client: full`; a 401 never says more than `no_token` or `invalid_token`. The decision log has
the code as `decision` `deny` with `reason` and its subject, such as `right_missing:oms.officer@territory:USS`. Codes are
stable: alarms and support scripts may rely on them. `body_timeout`, `bad_body`, `request_timeout`, `rate_limited:principal`,
`audit_unavailable` and the `upstream_` codes belong to requests that were permitted and failed later: their `decision` is `allow` (but `deny`
where a form did not come that the route reads), and a backend that dies in the middle of its answer leaves the status that
it began with beside `upstream_invalid`. Status 499 means that the client went away, or
that a drain came to its deadline.

The line of a WebSocket that passed is written when it ends, with status 101, or 200 over HTTP/2. Its `reason` is null if
both sides closed it, the reason of a refusal if it was judged again and might not go on, and otherwise a word that is no
refusal: `client_lost`, `upstream_lost`, `tunnel_idle` (`timeouts.tunnel_idle`) or `drained`.

Where a comparison or condition in routes.yaml has a `reason` of its own, that word is the code; its status is 403.

With `mode: shadow`, what is refused goes on or not as the column `in shadow` says, with the name of the caller where it says
`named`; the line of what goes on has `decision` `would_deny`, the reason as `would_deny`, and as `reason` only what went wrong
afterwards.

| code | status | header | in shadow | clients read | cause | remedy |
|---|---|---|---|---|---|---|
"
    .to_owned();
    for reason in Reason::ALL {
        let header = if reason.header().is_empty() { String::new() } else { format!("`{}`", reason.header()) };
        let (code, status) = (reason.code(), reason.status());
        let shadow = reason.in_shadow().words();
        let (title, cause, remedy) = (reason.title(), reason.cause(), reason.remedy());
        writeln!(page, "| `{code}` | {status} | {header} | {shadow} | {title} | {cause} | {remedy} |").unwrap();
    }
    page += "
## Causes of `invalid_token`
The subject of `invalid_token` in the log (`invalid_token:expired`) and the label `cause` of
`portcullis_tokens_refused_total`, in the order of the checks. Clients read one text for all of them.

| cause | meaning |
|---|---|
";
    for fault in Fault::ALL {
        writeln!(page, "| `{}` | {} |", fault.word(), fault.meaning()).unwrap();
    }
    page
}

#[test]
fn the_page_of_reasons_is_made_from_the_code() {
    let path = root("docs/reasons.md");
    let made = reasons();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let different = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert_eq!(different, None, "run with {WRITE}=1 to write the page anew");
    assert_eq!(made.len(), written.len(), "run with {WRITE}=1 to write the page anew");
}

/// Documents with the key `qqq` in each map that the code reads, and the places on the page where its keys stand: what
/// the diagnostic calls the map, and the heading.
const GATEWAY: &str = "
version: 1
qqq: 1
listeners:
  - {address: 'a:1', qqq: 1, tls: {certificate: c, key: k, qqq: 1, certificates: [{certificate: c, key: k, qqq: 1}]}, hsts: {max_age: 1s, qqq: 1}}
  - {address: 'a:2', redirect_to_https: {port: 1, qqq: 1}}
admin: {address: 'a:1', qqq: 1}
routes: [r]
grants: [g, {qqq: 1, postgres: {domain: d, url: u, qqq: 1, queries: {principals: q, qqq: 1}}}]
revoked: {qqq: 1}
reload: {qqq: 1, gate: {qqq: 1}}
shadow: {qqq: 1}
tenants: [{name: n, id: i, qqq: 1, app_keys: [{appid: a, qqq: 1}]}]
issuers: [{name: n, issuer: i, qqq: 1}]
tokens: {qqq: 1}
limits: {qqq: 1}
timeouts: {qqq: 1}
rates: {qqq: 1, per_client: {requests: 1, qqq: 1}}
log: {qqq: 1, to: {file: f, qqq: 1, rotate: {qqq: 1}}}
audit: {qqq: 1}
";
const GATEWAY_TO_SYSLOG: &str =
    "{version: 1, listeners: [{address: 'a:1'}], routes: [r], grants: [g], log: {to: {syslog: s, qqq: 1}}}";
const ROUTES: &str = "
version: 1
qqq: 1
upstreams:
  u:
    servers: [s]
    qqq: 1
    tls: {qqq: 1}
    path: {qqq: 1}
    credentials: {basic: u, from_file: f, qqq: 1}
    health: {path: /, qqq: 1}
    ejection: {qqq: 1}
    limits: {qqq: 1}
    retries: {qqq: 1}
    timeouts: {qqq: 1}
define:
  a: {qqq: right}
  b: {any: [x], qqq: 1}
  c: {when: {setting: s, qqq: 1}, then: x, qqq: 1}
  d: {setting: s, reason: r, qqq: 1}
  e: {eq: [a, b], reason: r, qqq: 1}
  f: {setting: s, reason: r, bit: {of: o, map: {}, qqq: 1}}
applications:
  - name: n
    hosts: [h]
    domain: d
    upstream: u
    qqq: 1
    gate: {tenants: [t], audiences: [a], qqq: 1}
    token: {cookie: c, qqq: 1}
    cors: {origins: [o], qqq: 1}
    resource_metadata: {scopes: [s], qqq: 1}
    backend: {dialect: iis, qqq: 1}
    routes:
      - id: i
        qqq: 1
        match: {methods: [GET], path: /, qqq: 1}
        object: {kind: k, key: path.x, qqq: 1}
        scopes: {main: {from: path.x, kind: k, qqq: 1, missing: {same_as: other, qqq: 1}}}
        require: x
tests: [{id: i, request: GET http://h/, expect: allow, qqq: 1, token: {qqq: 1}}]
";
const GRANTS: &str = "
version: 1
domain: d
qqq: 1
strategy: {qqq: 1}
scopes: {qqq: 1}
roles: {r: {qqq: 1}}
groups: {g: {qqq: 1}}
principals: [{id: i, tenant: t, oid: o, qqq: 1, grants: [{role: r, qqq: 1}]}]
conflicts: [{rights: [a, b], qqq: 1}]
lint: {qqq: 1}
";
const REVOKED: &str = "
version: 1
qqq: 1
revoked: [{uti: x, qqq: 1}, {principal: {tenant: t, oid: o, qqq: 1}}]
";

/// Every list of keys that the code knows, with what the keys are in.
fn known_keys() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let all = [
        ("gateway.yaml", GATEWAY),
        ("another gateway.yaml", GATEWAY_TO_SYSLOG),
        ("routes.yaml", ROUTES),
        ("grants.yaml", GRANTS),
        ("revoked.yaml", REVOKED),
    ];
    for (name, text) in all {
        let mut report = Report::new();
        let source = report.add_source(name, text);
        match name {
            "gateway.yaml" | "another gateway.yaml" => drop(document::read_gateway(source, &mut report)),
            "routes.yaml" => drop(document::read_routes(source, &mut report)),
            "grants.yaml" => drop(document::read_grants(source, &mut report)),
            _ => drop(document::read_revoked(source, &mut report)),
        }
        for finding in report.diagnostics().iter().filter(|finding| finding.message.contains("`qqq`")) {
            let help = finding.help.as_deref().unwrap();
            let keys = help.split("known: ").nth(1).unwrap().split(", ").map(|key| key.trim_matches('`').to_owned());
            let what =
                finding.message.split("`qqq`").nth(1).unwrap().trim_start_matches(" in ").replace("this file", name);
            found.push((what, keys.collect()));
        }
        assert_eq!(text.matches("qqq").count(), found_in(&report), "{name}: {:#?}", report.diagnostics());
    }
    found
}

fn found_in(report: &Report) -> usize {
    report.diagnostics().iter().filter(|finding| finding.message.contains("`qqq`")).count()
}

/// The section of the page that the keys of a map stand in.
fn heading(what: &str) -> &str {
    match what.trim_start_matches("this ").trim_matches('`') {
        "any" | "when" | "comparison" | "" => "requirement",
        "bit" => "condition",
        "log file" | "syslog" | "rotate" => "log",
        "match" | "object" => "route",
        "missing" => "scope",
        "entry of `app_keys" => "app_keys",
        "entry of `certificates" => "tls",
        "redirect_to_https" => "listener",
        "entry of `grants" => "gateway.yaml",
        "token" => "test",
        part if part.starts_with("upstream ") => "upstream",
        "token place" => "Where the token is",
        "resource_metadata" => "application",
        "revoked principal" => "revocation",
        other => other,
    }
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let found = page
        .split("\n#")
        .find(|section| section.trim_start_matches('#').lines().next() == Some(&format!(" {heading}")));
    found.unwrap_or_else(|| panic!("no section `{heading}`"))
}

#[test]
fn every_key_that_the_code_reads_is_in_the_reference() {
    let page = fs::read_to_string(root("docs/configuration.md")).unwrap();
    let known = known_keys();
    assert!(known.len() >= 30, "{known:#?}");
    for (what, keys) in known {
        let section = section(&page, heading(&what));
        for key in keys {
            assert!(section.contains(&format!("`{key}`")), "`{key}` of {what} is not in section `{}`", heading(&what));
        }
    }
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_code() {
    let page = fs::read_to_string(root("docs/configuration.md")).unwrap();
    let mut report = Report::new();
    let source = report.add_source("g", "{version: 1, listeners: [{address: 'a:1'}], routes: [r], grants: [g]}");
    let read = document::read_gateway(source, &mut report).unwrap();
    let (limits, timeouts) = (&read.limits, &read.timeouts);
    let seconds = |duration: Duration| format!("{}s", duration.as_secs());
    let rows = [
        ("shadow", "for", format!("{}h", read.shadow.longest.as_secs() / 3600)),
        ("tokens", "leeway", seconds(read.tokens.leeway.value)),
        ("tokens", "max_lifetime", format!("{}h", read.tokens.max_lifetime.value.as_secs() / 3600)),
        ("tokens", "cache_entries", read.tokens.cache_entries.to_string()),
        ("tokens", "cache_bytes", format!("{}MiB", read.tokens.cache_bytes >> 20)),
        ("tokens", "refresh", format!("{}h", read.tokens.refresh.value.as_secs() / 3600)),
        ("tokens", "cooldown", format!("{}m", read.tokens.cooldown.value.as_secs() / 60)),
        ("tokens", "keep", format!("{}h", read.tokens.keep.value.as_secs() / 3600)),
        ("limits", "connections", limits.connections.to_string()),
        ("limits", "connections_per_client", limits.connections_per_client.to_string()),
        ("limits", "requests", limits.requests.to_string()),
        ("limits", "head_bytes", format!("{}KiB", limits.head_bytes / 1024)),
        ("limits", "target_bytes", format!("{}KiB", limits.target_bytes / 1024)),
        ("limits", "headers", limits.headers.to_string()),
        ("limits", "form_bytes", format!("{}KiB", limits.form_bytes / 1024)),
        ("limits", "streams", limits.streams.to_string()),
        ("limits", "failed_tokens_per_client", limits.failed_tokens_per_client.to_string()),
        ("limits", "upstream_idle", limits.upstream_idle.to_string()),
        ("timeouts", "handshake", seconds(timeouts.handshake)),
        ("timeouts", "client_head", seconds(timeouts.client_head)),
        ("timeouts", "client_idle", seconds(timeouts.client_idle)),
        ("timeouts", "request", format!("{}h", timeouts.request.as_secs() / 3600)),
        ("timeouts", "client_body", seconds(timeouts.client_body)),
        ("timeouts", "connect", seconds(timeouts.connect)),
        ("timeouts", "response", seconds(timeouts.response)),
        ("timeouts", "response_body", seconds(timeouts.response_body)),
        ("timeouts", "upstream_idle", seconds(timeouts.upstream_idle)),
        ("timeouts", "tunnel_idle", format!("{}h", timeouts.tunnel_idle.as_secs() / 3600)),
        ("timeouts", "drain", seconds(timeouts.drain)),
        ("log", "decisions", read.log.decisions.to_string()),
        ("log", "level", read.log.level.value.clone()),
        ("audit", "required", read.audit.required.value.to_string()),
    ];
    for (what, keys) in known_keys() {
        for key in keys.iter().filter(|_| ["limits", "timeouts"].contains(&heading(&what))) {
            let compared = rows.iter().any(|(section, row, _)| *section == heading(&what) && row == key);
            assert!(compared, "the default of `{key}` of {what} is not compared");
        }
    }
    for (heading, key, default) in rows {
        let row = section(&page, heading).lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
        assert_eq!(row.split(" | ").nth(2).unwrap(), format!("`{default}`"), "{heading}.{key}");
    }
}

#[test]
fn every_test_that_the_table_of_bounds_names_exists() {
    let page = fs::read_to_string(root("docs/testing.md")).unwrap();
    let named: Vec<(&str, &str)> = page.split('`').filter_map(|span| span.split_once(".rs::")).collect();
    assert!(named.len() > 40, "only {} are named", named.len());
    for (file, test) in named {
        let text = fs::read_to_string(root(&format!("{file}.rs"))).unwrap_or_else(|fault| panic!("{file}.rs: {fault}"));
        assert!(text.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
    }
}
