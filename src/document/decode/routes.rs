//! Reads `routes.yaml`.

use super::term::{missing, requirement, term};
use super::upstream::upstream;
use super::{Field, cases, conflict, entrance, fields, file, scalar, unknown};
use crate::diag::Report;
use crate::document::entrance::CallersDocument;
use crate::document::parse::{Entry, Node};
use crate::document::routes::{
    AccessDocument, ApplicationDocument, Definition, GateDocument, IdentityHeader, MissingDocument, ObjectDocument,
    OriginDocument, RouteDocument, RoutesDocument, ScopeDocument,
};
use crate::document::{Entries, Located};
use crate::model::{Level, Mode};

/// Reads the whole file. `None` when it is no map or of another version.
pub(in crate::document) fn routes(root: &Node, report: &mut Report) -> Option<RoutesDocument> {
    let keys = ["version", "settings", "upstreams", "define", "applications", "tests"];
    let [_, settings, upstreams, define, applications, tests] = file(root, keys, report)?;
    Some(RoutesDocument {
        settings: settings.literals(report),
        upstreams: upstreams
            .entries(report)
            .iter()
            .filter_map(|entry| upstream(entry.name(), &entry.value, report))
            .collect(),
        define: definitions(define, report),
        applications: applications.items(report).iter().filter_map(|node| application(node, report)).collect(),
        tests: cases::cases(tests, report),
    })
}

fn definitions(field: Field<'_>, report: &mut Report) -> Vec<Definition> {
    let entries = field.entries(report);
    let definition = |entry: &Entry| {
        let requirement = term(&entry.value, report)?;
        Some(Definition { name: entry.name(), requirement })
    };
    entries.iter().filter_map(definition).collect()
}

fn application(node: &Node, report: &mut Report) -> Option<ApplicationDocument> {
    let keys = [
        "name",
        "hosts",
        "domain",
        "upstream",
        "gate",
        "define",
        "routes",
        "forward_authorization",
        "allow_headers",
        "remove_headers",
        "detail_to_client",
        "identity_headers",
        "token",
        "cors",
        "resource_metadata",
        "backend",
        "websocket",
        "on_expiry",
        "connection_auth",
        "mode",
    ];
    let [name, hosts, domain, upstream, gate, define, routes, rest @ ..] =
        fields(node, "this application", keys, report)?;
    let [forward_authorization, allow_headers, remove_headers, detail, identity, token, cors, rest @ ..] = rest;
    let [metadata, backend, streams @ ..] = rest;
    let [websocket, on_expiry, connection_auth, mode] = streams;
    let name = name.need_text(report);
    let hosts = hosts.some_texts(report);
    let domain = domain.need_text(report);
    let upstream = upstream.need_text(report);
    let gate = gate.need(report).and_then(|node| self::gate(node, report));
    let define = definitions(define, report);
    routes.need(report);
    let routes = routes.items(report).iter().filter_map(|node| route(node, report)).collect();
    let forward_authorization = forward_authorization.flag(false, report);
    let allow_headers = allow_headers.texts(report);
    let remove_headers = remove_headers.texts(report);
    let full_detail = detail.choice(&[("code", false), ("full", true)], report);
    let identity_headers = self::identity_headers(identity, report);
    let token = entrance::token(token, report);
    let cors = entrance::cors(cors, report);
    let resource_metadata = entrance::metadata(metadata, report);
    let backend = entrance::backend(backend, report);
    let websocket = websocket.flag(true, report);
    let keeps_expired = on_expiry.choice(&[("close", false), ("keep", true)], report);
    let connection_auth = connection_auth
        .node
        .filter(|node| scalar::flag(node, connection_auth.key, report).unwrap_or_default())
        .map(|node| node.place);
    let mode = self::mode(mode, report);
    Some(ApplicationDocument {
        name: name?,
        hosts,
        domain: domain?,
        upstream: upstream?,
        gate: gate?,
        define,
        routes,
        forward_authorization,
        allow_headers,
        remove_headers,
        full_detail,
        identity_headers,
        token,
        cors,
        resource_metadata,
        backend,
        websocket,
        keeps_expired,
        mode,
        connection_auth,
    })
}

fn mode(field: Field<'_>, report: &mut Report) -> Option<Located<Mode>> {
    let words = [Mode::Enforce, Mode::Shadow].map(|mode| (mode.word(), mode));
    let node = field.node?;
    Some(Located::new(node.place, scalar::choice(node, field.key, &words, report)?))
}

fn identity_headers(field: Field<'_>, report: &mut Report) -> Vec<IdentityHeader> {
    let known = [
        ("groups", IdentityHeader::Groups),
        ("scopes", IdentityHeader::Scopes),
        ("assertion", IdentityHeader::Assertion),
        ("client_certificate", IdentityHeader::ClientCertificate),
    ];
    let written = field.texts(report);
    check_distinct(&written, report);
    let mut headers = Vec::new();
    for word in &written {
        match known.iter().find(|(name, _)| *name == word.value) {
            Some((_, header)) => headers.push(*header),
            None => {
                let subject = format!("identity header `{}`", word.value);
                unknown("unknown_value", word.place, &subject, &word.value, &known.map(|(name, _)| name), report);
            }
        }
    }
    headers
}

fn gate(node: &Node, report: &mut Report) -> Option<GateDocument> {
    let keys = ["tenants", "audiences", "clients", "callers", "app_roles", "client_certificates"];
    let [tenants, audiences, clients, callers, app_roles, certificates] = fields(node, "this gate", keys, report)?;
    let words = [("users", CallersDocument::Users), ("apps", CallersDocument::Apps)];
    Some(GateDocument {
        place: node.place,
        tenants: tenants.some_texts(report),
        audiences: audiences.some_texts(report),
        clients: clients.texts_unless_empty(report),
        callers: callers
            .node
            .and_then(|node| Some(Located::new(node.place, scalar::choice(node, callers.key, &words, report)?))),
        app_roles: app_roles.texts_unless_empty(report),
        client_certificates: certificates.texts_unless_empty(report),
    })
}

fn route(node: &Node, report: &mut Report) -> Option<RouteDocument> {
    let keys = [
        "id",
        "match",
        "levels",
        "object",
        "scopes",
        "websocket",
        "public",
        "gate_only",
        "require",
        "trailers",
        "mode",
    ];
    let [id, matching, levels, object, scopes, websocket, public, gate_only, require, trailers, mode] =
        fields(node, "this route", keys, report)?;
    let id = id.need_text(report);
    let matching = matching.need(report).and_then(|node| {
        let [methods, path] = fields(node, "this `match`", ["methods", "path"], report)?;
        let methods = methods.some_texts(report);
        check_methods(&methods, report);
        Some((methods, path.need_text(report)?))
    });
    let levels = self::levels(levels, report);
    let object = object.node.and_then(|node| {
        let [kind, key] = fields(node, "this object", ["kind", "key"], report)?;
        let (kind, key) = (kind.need_text(report), key.need_text(report));
        Some(ObjectDocument { kind: kind?, key: key? })
    });
    let scopes = scopes.entries(report).iter().filter_map(|entry| scope(entry.name(), &entry.value, report)).collect();
    let websocket = websocket.node.and_then(|node| scalar::flag(node, websocket.key, report));
    let access = access(node, [public, gate_only, require], report);
    let trailers = trailers.texts(report);
    let mode = self::mode(mode, report);
    let (methods, path) = matching?;
    Some(RouteDocument { id: id?, methods, path, levels, object, scopes, websocket, access: access?, trailers, mode })
}

/// Methods are tokens (RFC 9110, section 9.1), case-sensitive; all in use are written in upper case.
fn check_methods(methods: &[Located<String>], report: &mut Report) {
    for method in methods {
        let token = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
        if !method.value.chars().all(token) || method.value.is_empty() {
            let message = format!("`{}` is no method", method.value);
            let found = report.error("bad_value", method.place, message);
            found.help(format!("write methods in upper case, such as `{}`", example(&method.value)));
        }
    }
    check_distinct(methods, report);
}

fn check_distinct(list: &[Located<String>], report: &mut Report) {
    for (index, word) in list.iter().enumerate() {
        if let Some(first) = list.iter().take(index).find(|first| first.value == word.value) {
            let message = format!("`{}` stands in this list for the second time", word.value);
            report
                .error("duplicate_value", word.place, message)
                .help("remove one of the two")
                .also(first.place, "first here");
        }
    }
}

fn example(method: &str) -> String {
    let upper = method.to_ascii_uppercase();
    if !upper.is_empty() && upper.chars().all(|c| c.is_ascii_uppercase()) { upper } else { "GET".to_owned() }
}

fn levels(field: Field<'_>, report: &mut Report) -> Entries<Located<String>> {
    let levels = field.pairs(report);
    let known = [Level::Read, Level::Write, Level::Delete].map(Level::name);
    for (method, level) in &levels {
        check_methods(std::slice::from_ref(method), report);
        if Level::parse(&level.value).is_none() {
            let subject = format!("level `{}`", level.value);
            unknown("unknown_value", level.place, &subject, &level.value, &known, report);
        }
    }
    levels
}

fn scope(name: Located<String>, node: &Node, report: &mut Report) -> Option<ScopeDocument> {
    let keys = ["from", "kind", "node", "missing"];
    let [from, kind, fixed, absent] = fields(node, "this scope", keys, report)?;
    let missing = match absent.node {
        Some(node) => missing(node, report),
        None => Some(Located::new(node.place, MissingDocument::Deny)),
    };
    let origin = match (fixed.node, from.node.map(|node| (from.key, node)).or(kind.node.map(|node| (kind.key, node)))) {
        (Some(fixed), Some(other)) => {
            conflict(("node", fixed), other, "a scope has either `node`, or `from` and `kind`", report);
            None
        }
        (Some(node), None) => {
            if let Some(absent) = absent.node {
                conflict(
                    ("node", node),
                    ("missing", absent),
                    "a fixed node is never missing: remove `missing`",
                    report,
                );
            }
            fixed.need_text(report).map(OriginDocument::Node)
        }
        (None, _) => {
            let from = from.some_texts(report);
            let kind = kind.need_text(report);
            kind.map(|kind| OriginDocument::Request { from, kind })
        }
    };
    Some(ScopeDocument { name, origin: origin?, missing: missing? })
}

/// Exactly one of `public: true`, `gate_only: true` and `require`.
fn access(route: &Node, ways: [Field<'_>; 3], report: &mut Report) -> Option<AccessDocument> {
    let [public, gate_only, require] = ways;
    let mut written = ways.into_iter().filter_map(|way| Some((way.key, way.node?)));
    let first = written.next();
    let mut sound = true;
    for second in written {
        sound = false;
        if let Some(first) = first {
            conflict(
                first,
                second,
                "a route has exactly one of `public: true`, `gate_only: true` and `require`",
                report,
            );
        }
    }
    if first.is_none() {
        report
            .error("missing_access", route.place, "this route says nothing about who may use it")
            .help("add one of `require: ...`, `gate_only: true`, `public: true`");
    }
    let public = switch(public, report);
    let gate_only = switch(gate_only, report);
    let require = require.node.map(|node| requirement(node, report));
    match (sound, public, gate_only, require) {
        (true, Some(on), _, _) => on.then_some(AccessDocument::Public),
        (true, None, Some(on), _) => on.then_some(AccessDocument::GateOnly),
        (true, None, None, Some(term)) => term.map(AccessDocument::Require),
        _ => None,
    }
}

/// `public` and `gate_only` can only be true: false would say what the other keys say.
fn switch(field: Field<'_>, report: &mut Report) -> Option<bool> {
    let node = field.node?;
    let on = scalar::flag(node, field.key, report);
    if on == Some(false) {
        report
            .error("bad_value", node.place, format!("`{}` can only be `true`", field.key))
            .help(format!("remove `{}` and say with `require` who may use the route", field.key));
    }
    Some(on.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::entrance::{BackendDocument, TokenPlaceDocument};
    use crate::document::{Literal, read_routes};
    use crate::model::Dialect;

    const EVERY_SHAPE: &str = r#"
version: 1
settings: {list: [a, b], on: true, mask: 7, word: x}
upstreams:
  oms: {servers: [http://127.0.0.1:9001, http://127.0.0.1:9002], ca: ca.pem}
  ips: {servers: http://127.0.0.1:9003}
define:
  edit: [view, {flag: ips.editor}]
applications:
  - name: oms
    hosts: [oms.example.org, "*.oms.example.org"]
    domain: ips_oms
    upstream: oms
    gate: {tenants: [uss, usw], audiences: api://oms, clients: c1, callers: apps, app_roles: [IPS Access], client_certificates: dns:a.test}
    define: {view: r1}
    forward_authorization: true
    allow_headers: [x_a]
    remove_headers: [x-b]
    detail_to_client: full
    identity_headers: [groups, scopes, assertion, client_certificate]
    token: [bearer, {cookie: erp_token}, {header: X-Token}]
    cors: {origins: "https://a.example.org", methods: [GET], headers: [], expose: X-A, credentials: true, max_age: 1h}
    resource_metadata: {scopes: [read]}
    backend: {dialect: iis, encoded_slash: true, semicolon: true, case_insensitive: false}
    websocket: false
    on_expiry: keep
    connection_auth: true
    routes:
      - id: a
        match: {methods: [PUT, PATCH], path: "/t/{t}/o/{o}"}
        levels: {DELETE: write}
        object: {kind: officer, key: path.o}
        scopes: &officer
          main: {from: [path.t, object.t], kind: territory}
          command: {from: object.command, kind: command, missing: {same_as: main}}
          fixed: {node: org:1}
          skipped: {from: query.s, kind: s, missing: skip}
          other: {from: query.s, kind: s, missing: {node: company}}
          either: {from: query.s, kind: s, missing: {when: {setting: on}, then: deny, else: {node: company}}}
        require: [edit, oms.officer:write @command/*]
      - {id: b, match: {methods: GET, path: /b}, scopes: *officer, public: true, trailers: [x-checksum]}
      - {id: c, match: {methods: [GET], path: /c}, websocket: true, gate_only: true}
      - {id: d, match: {methods: [GET], path: /d}, require: []}
      - {id: e, match: {methods: [GET], path: /e}, require: r1 @root/*}
  - name: ips
    hosts: ips.example.org
    domain: ips_oms
    upstream: ips
    gate: {tenants: uss, audiences: x}
    backend: tomcat
    routes: []
tests:
  - {id: T1, as: olga, request: "PUT https://oms.example.org/", headers: {X-T: USS}, token: {roles: [], aud: api://oms}, settings: {on: false, mask: 71}, expect: deny, reason: right_missing:r1}
  - {id: T2, request: GET https://ips.example.org/, expect: allow}
"#;

    fn read(text: &str) -> (RoutesDocument, Report) {
        let mut report = Report::new();
        let source = report.add_source("routes.yaml", text);
        (read_routes(source, &mut report).unwrap(), report)
    }

    fn plain(texts: &[Located<String>]) -> Vec<&str> {
        texts.iter().map(|text| text.value.as_str()).collect()
    }

    #[test]
    fn every_shape_is_read() {
        let (document, report) = read(EVERY_SHAPE);
        assert_eq!(report.render(), "");
        let settings: Vec<&Literal> = document.settings.iter().map(|(_, value)| value).collect();
        let text = |word: &str| Literal::Text(word.to_owned());
        let list = Literal::List(vec![text("a"), text("b")]);
        assert_eq!(settings, [&list, &Literal::Bool(true), &Literal::Int(7), &text("x")]);
        assert_eq!(document.upstreams[0].servers.len(), 2);
        assert_eq!(document.upstreams[0].tls.ca.as_ref().unwrap().value, "ca.pem");
        assert_eq!(plain(&document.upstreams[1].servers), ["http://127.0.0.1:9003"]);
        assert_eq!(document.define[0].name.value, "edit");
        let [oms, ips] = document.applications.as_slice() else { panic!() };
        assert_eq!(plain(&oms.hosts), ["oms.example.org", "*.oms.example.org"]);
        assert_eq!((oms.domain.value.as_str(), oms.upstream.value.as_str()), ("ips_oms", "oms"));
        assert_eq!((plain(&oms.gate.tenants), plain(&oms.gate.audiences)), (vec!["uss", "usw"], vec!["api://oms"]));
        assert_eq!(plain(&oms.gate.app_roles), ["IPS Access"]);
        assert_eq!((plain(&oms.gate.client_certificates), ips.gate.client_certificates.len()), (vec!["dns:a.test"], 0));
        assert!(oms.forward_authorization && oms.full_detail && !ips.forward_authorization && !ips.full_detail);
        assert_eq!((plain(&oms.allow_headers), plain(&oms.remove_headers)), (vec!["x_a"], vec!["x-b"]));
        assert_eq!((oms.define.len(), ips.remove_headers.len()), (1, 0));
        let all = {
            use IdentityHeader::{Assertion, ClientCertificate, Groups, Scopes};
            [Groups, Scopes, Assertion, ClientCertificate]
        };
        assert_eq!((oms.identity_headers.as_slice(), ips.identity_headers.as_slice()), (&all[..], &[][..]));
        assert!(ips.routes.is_empty() && ips.gate.app_roles.is_empty());
        let callers = oms.gate.callers.as_ref().map(|callers| callers.value);
        assert_eq!((plain(&oms.gate.clients), callers), (vec!["c1"], Some(CallersDocument::Apps)));
        assert!(ips.gate.clients.is_empty() && ips.gate.callers.is_none());
        let [TokenPlaceDocument::Bearer(_), TokenPlaceDocument::Cookie(cookie), TokenPlaceDocument::Header(header)] =
            oms.token.as_slice()
        else {
            panic!("{:?}", oms.token)
        };
        assert_eq!((cookie.value.as_str(), header.value.as_str()), ("erp_token", "X-Token"));
        let cors = oms.cors.as_ref().unwrap();
        assert_eq!((plain(&cors.origins), plain(&cors.expose)), (vec!["https://a.example.org"], vec!["X-A"]));
        assert_eq!(plain(cors.methods.as_ref().unwrap()), ["GET"]);
        assert!(cors.headers.as_ref().unwrap().is_empty() && cors.credentials.value && cors.max_age.as_secs() == 3600);
        assert_eq!(plain(&oms.resource_metadata.as_ref().unwrap().scopes), ["read"]);
        assert!(ips.token.is_empty() && ips.cors.is_none() && ips.resource_metadata.is_none());
        let (yes, no) = (Some(true), Some(false));
        let spelled =
            BackendDocument { dialect: Dialect::Iis, encoded_slash: yes, semicolon: yes, case_insensitive: no };
        let plain_tomcat = BackendDocument { dialect: Dialect::Tomcat, ..BackendDocument::default() };
        assert_eq!((oms.backend, ips.backend), (spelled, plain_tomcat));
        let [a, b, c, d, e] = oms.routes.as_slice() else { panic!() };
        assert_eq!((plain(&a.methods), a.path.value.as_str()), (vec!["PUT", "PATCH"], "/t/{t}/o/{o}"));
        assert_eq!((a.levels[0].0.value.as_str(), a.levels[0].1.value.as_str()), ("DELETE", "write"));
        let object = a.object.as_ref().unwrap();
        assert_eq!((object.kind.value.as_str(), object.key.value.as_str()), ("officer", "path.o"));
        let missing: Vec<String> = a.scopes.iter().map(|scope| format!("{:?}", scope.missing.value)).collect();
        let starts = ["Deny", "SameAs", "Deny", "Skip", "Node", "When"];
        assert!(missing.iter().zip(starts).all(|(missing, start)| missing.starts_with(start)), "{missing:?}");
        assert!(matches!(&a.scopes[0].origin, OriginDocument::Request { from, kind }
            if plain(from) == ["path.t", "object.t"] && kind.value == "territory"));
        assert!(matches!(&a.scopes[2].origin, OriginDocument::Node(node) if node.value == "org:1"));
        assert_eq!((b.scopes.len(), plain(&b.trailers), plain(&a.trailers)), (6, vec!["x-checksum"], vec![]));
        assert!(matches!(b.access, AccessDocument::Public) && matches!(c.access, AccessDocument::GateOnly));
        assert!(matches!(&d.access, AccessDocument::Require(term) if format!("{:?}", term.value) == "All([])"));
        assert!(
            matches!(&e.access, AccessDocument::Require(term) if format!("{:?}", term.value) == "Right(\"r1 @root/*\")")
        );
        let [first, second] = document.tests.as_slice() else { panic!() };
        assert_eq!(first.principal.as_ref().unwrap().value, "olga");
        assert_eq!((first.headers.len(), first.token.len(), first.settings.len()), (1, 2, 2));
        assert_eq!(first.token[0].1.value, Literal::List(vec![]));
        assert_eq!((first.allow, first.reason.as_ref().unwrap().value.as_str()), (false, "right_missing:r1"));
        assert!(second.allow && second.principal.is_none() && second.reason.is_none());
    }

    #[test]
    fn identity_headers_are_four_words_each_at_most_once() {
        for (list, kept, messages) in [
            ("scopes", 1, &[][..]),
            ("[groups, group]", 1, &["unknown identity header `group`"]),
            ("[scopes, scopes]", 2, &["`scopes` stands in this list for the second time"]),
        ] {
            let text = EVERY_SHAPE.replace("[groups, scopes, assertion, client_certificate]", list);
            let (document, report) = read(&text);
            let found: Vec<&str> = report.diagnostics().iter().map(|found| found.message.as_str()).collect();
            assert_eq!((document.applications[0].identity_headers.len(), found.as_slice()), (kept, messages), "{list}");
        }
        let (_, report) = read(&EVERY_SHAPE.replace("[groups, scopes, assertion, client_certificate]", "[group]"));
        assert!(report.render().contains("did you mean `groups`?"), "{}", report.render());
    }

    #[test]
    fn faults_of_the_entrance_are_told_each_at_its_place() {
        for (written, broken, messages) in [
            ("clients: c1", "clients: []", &["`clients` must have at least one entry"][..]),
            ("callers: apps", "callers: app", &["unknown value `app` of `callers`"]),
            ("[bearer, {cookie: erp_token}, {header: X-Token}]", "[]", &["`token` must have at least one entry"]),
            ("[bearer, {cookie: erp_token}, {header: X-Token}]", "baerer", &["unknown place of a token `baerer`"]),
            ("{header: X-Token}]", "{}]", &["this token place names neither `cookie` nor `header`"]),
            ("{header: X-Token}]", "{cookie: a, header: b}]", &["`cookie` and `header` exclude each other"]),
            ("origins: \"https://a.example.org\"", "origins: []", &["`origins` must have at least one entry"]),
            ("methods: [GET], headers", "methods: [], headers", &["`methods` must have at least one entry"]),
            ("max_age: 1h", "max_age: 25h", &["`max_age` must be 0s to 24h"]),
            ("{scopes: [read]}", "{scopes: []}", &["`scopes` must have at least one entry"]),
            ("backend: tomcat", "backend: tomcats", &["unknown value `tomcats` of `backend`"]),
            ("backend: tomcat", "backend: [php]", &["`backend` must be a word or a map, but is a list"]),
            ("{dialect: iis,", "{dialect: ISS,", &["unknown value `ISS` of `dialect`"]),
            ("semicolon: true", "semicolons: true", &["unknown key `semicolons` in this backend"]),
            ("semicolon: true", "semicolon: 1", &["`semicolon` must be `true` or `false`, but is a word"]),
            ("{scopes: [read]}", "yes", &["`resource_metadata` must be `true` or `false`, but is a word"]),
        ] {
            assert!(EVERY_SHAPE.contains(written), "{written}");
            let (_, report) = read(&EVERY_SHAPE.replace(written, broken));
            let found: Vec<&str> = report.diagnostics().iter().map(|found| found.message.as_str()).collect();
            assert_eq!(found, messages, "{broken}");
        }
    }

    #[test]
    fn what_is_broken_is_left_out_and_the_rest_is_read() {
        let text = EVERY_SHAPE.replace("id: c,", "di: c,").replace("expect: allow", "expect: alow");
        let (document, report) = read(&text);
        assert_eq!(report.errors(), 3);
        assert_eq!(document.applications[0].routes.len(), 4);
        assert_eq!(document.tests.len(), 1);
    }
}
