//! `mode: shadow` through a whole gateway: what the policy would refuse is logged, counted and forwarded, and what protects
//! the protocol and the gateway is refused all the same.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/websocket.rs"]
mod websocket;
#[path = "support/wire.rs"]
mod wire;

use backend::{Backend, until};
use gateway::{AWAY, Door, Pass, Setup, now, routes, token};
use serde_json::Value;
use wire::{Client, get, request};

const TOLD: [&str; 5] = [
    "x-auth-request-user",
    "x-auth-request-preferred-username",
    "x-auth-request-groups",
    "x-portcullis-scopes",
    "x-portcullis-assertion",
];
const FORGED: &str = "X-Auth-Request-User: root\r\nX-Auth-Request-Groups: Admins\r\nX-Portcullis-Scopes: root\r\n\
                      X-Portcullis-Assertion: a.b.c\r\n";

/// The route map with further keys of its application.
fn mapped(backend: &Backend, keys: &str) -> String {
    routes(&[backend.url()]).replace("    routes:\n", &format!("    {keys}\n    routes:\n"))
}

/// A gateway whose application is in shadow.
fn in_shadow(backend: &Backend) -> Setup {
    let routes = mapped(backend, "mode: shadow\n    identity_headers: [groups, scopes, assertion]");
    Setup { routes, decisions: true, ..Setup::before(backend) }
}

fn refused_for(line: &Value) -> (String, String) {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (text("decision"), text("would_deny"))
}

#[test]
fn what_the_policy_refuses_is_forwarded_and_logged_with_its_reason() {
    let backend = Backend::hello();
    let gateway = in_shadow(&backend).spawn();
    let pass = |pass: Pass<'_>| pass.token();
    let cases = [
        (get("/things/1", ""), "no_token", None),
        (get("/things/1", "a.b.c"), "invalid_token:malformed", None),
        (get("/things/1", &pass(Pass { issued: now() - 90_000, ..Pass::default() })), "invalid_token:expired", None),
        (get("/things/1", &pass(Pass { tenant: AWAY, ..Pass::default() })), "gate_tenant:away", None),
        (
            get("/things/1", &pass(Pass { audience: "api://other", ..Pass::default() })),
            "gate_audience:api://other",
            None,
        ),
        (get("/things/1", &pass(Pass { roles: &["Other"], ..Pass::default() })), "gate_app_role:Other", None),
        (get("/nowhere", &token("olga")), "no_route", None),
        (request("DELETE", "/staff", &token("olga"), "", ""), "no_route:method", None),
        (get("/things/1", &token("nobody")), "principal_unknown:00000000-0000-0000-0000-000000000005", None),
        (get("/things/1", &token("ina")), "principal_inactive", None),
        (get("/secrets/1", &token("olga")), "right_missing:secrets@root", Some("olga")),
        (request("PUT", "/things/1", &token("vera"), "", ""), "right_level:things:read<write@root", Some("vera")),
        (get("/places/south", &token("olga")), "right_denied:places@place:south", Some("olga")),
        (get("/places/mars", &token("olga")), "scope_unknown:main", Some("olga")),
        (get("/staff", &token("olga")), "flag_missing:staff", Some("olga")),
        (get("/guests", &token("olga")), "flag_forbids:member", Some("olga")),
        (get("/kinds/c", &token("olga")), "value_not_allowed", Some("olga")),
    ];
    for (number, (request, reason, named)) in cases.iter().enumerate() {
        let request = request.replacen("\r\n\r\n", &format!("\r\n{FORGED}\r\n"), 1);
        let answer = gateway.ask(request);
        assert_eq!(answer.verdict(), (200, String::new()), "{reason}");
        let line = gateway.decision();
        let (decision, found) = refused_for(&line);
        assert_eq!((decision.as_str(), line["mode"].as_str()), ("would_deny", Some("shadow")), "{line}");
        assert!(found.starts_with(reason.split(':').next().unwrap()), "{found} instead of {reason}");
        assert_eq!(line["reason"], Value::Null, "{line}");
        let seen = backend.wait_for(number + 1).pop().unwrap();
        assert_eq!(seen.header("x-auth-request-user"), *named, "{reason}");
        assert_eq!(seen.header("authorization"), None, "{reason}");
        for name in TOLD.iter().filter(|_| named.is_none()).chain(&TOLD[3..]) {
            assert_eq!(seen.header(name), None, "{reason}: {name}");
        }
    }
    let page = gateway.admin("GET", "/metrics", "").text();
    for series in [
        "portcullis_shadow_denials_total{application=\"app\",route=\"thing\",reason=\"no_token\"} 1",
        "portcullis_shadow_denials_total{application=\"app\",route=\"thing\",reason=\"invalid_token\"} 2",
        "portcullis_shadow_denials_total{application=\"app\",route=\"kind\",reason=\"value_not_allowed\"} 1",
        "portcullis_requests_total{application=\"app\",route=\"secret\",decision=\"would_deny\",reason=\"\",status=\"2xx\"} 1",
    ] {
        assert!(page.contains(series), "{series} in\n{page}");
    }
    assert!(!page.contains("decision=\"deny\""), "{page}");
    assert_eq!(gateway.admin("GET", "/status", "").json()["shadow"]["applications"], 1);
}

#[test]
fn what_protects_the_protocol_and_the_gateway_is_refused_in_shadow_too() {
    let backend = Backend::hello();
    let setup = in_shadow(&backend);
    let more = "rates: {per_principal: {requests: 1, per: 1h}}\n".to_owned();
    let gateway = Setup { more, ..setup }.spawn();
    let olga = token("olga");
    let twice = format!("Authorization: Bearer {olga}\r\n");
    for (request, status, reason) in [
        (get("/things/../secrets/1", &olga), 400, "bad_target"),
        (get("/things/%2e%2e/1", ""), 400, "bad_target"),
        (request("TRACE", "/things/1", &olga, "", ""), 405, "method_forbidden"),
        (request("GET", "/things/1", &olga, &twice, ""), 400, "malformed_credentials"),
        (request("GET", "/things/1", "", "Expect: more\r\n", ""), 417, "expectation_failed"),
        (request("GET", "/places/north", &olga, "Host: other.test\r\n", ""), 400, "bad_header"),
        ("GET /things/1 HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(), 421, "no_application"),
        (request("GET", "/things/1", &olga, "Upgrade: websocket\r\nConnection: upgrade\r\n", ""), 400, "bad_handshake"),
    ] {
        assert_eq!(gateway.ask(&request).verdict(), (status, reason.to_owned()), "{request}");
        assert_eq!(refused_for(&gateway.decision()), ("deny".to_owned(), String::new()), "{request}");
    }
    assert_eq!(backend.heads(), 0);
    assert_eq!(gateway.ask(get("/secrets/1", &olga)).status, 200);
    assert_eq!(gateway.ask(get("/secrets/1", &olga)).verdict(), (429, "rate_limited".to_owned()));
}

#[test]
fn what_is_allowed_goes_on_alike_in_both_modes() {
    let heads = ["enforce", "shadow"].map(|mode| {
        let backend = Backend::hello();
        let routes = mapped(&backend, &format!("mode: {mode}\n    identity_headers: [groups, scopes]"));
        let gateway = Setup { routes, decisions: true, ..Setup::before(&backend) }.spawn();
        let allowed = [("GET", "/things/1"), ("PUT", "/things/2"), ("GET", "/lobby"), ("GET", "/places/north")];
        for (method, target) in allowed {
            let answer = gateway.ask(request(method, target, &token("olga"), "X-Request-Id: given\r\n", ""));
            assert_eq!(answer.verdict(), (200, String::new()), "{mode} {target}");
            assert_eq!(refused_for(&gateway.decision()), ("allow".to_owned(), String::new()), "{mode} {target}");
        }
        assert!(!gateway.admin("GET", "/metrics", "").text().contains("portcullis_shadow_denials_total{"));
        let own = |name: &str| TOLD.contains(&name);
        let told = |head: &str| -> Vec<String> {
            head.lines()
                .filter(|line| own(&line.split(':').next().unwrap().to_ascii_lowercase()))
                .map(String::from)
                .collect()
        };
        backend
            .wait_for(allowed.len())
            .iter()
            .map(|seen| (seen.line().to_owned(), told(&seen.head)))
            .collect::<Vec<_>>()
    });
    assert_eq!(heads[0], heads[1]);
    assert!(
        heads[0][0].1.iter().any(|line| line.to_ascii_lowercase().starts_with("x-auth-request-user: olga")),
        "{heads:?}"
    );
}

#[test]
fn a_route_says_otherwise_than_its_application() {
    let backend = Backend::hello();
    let secret = "require: [secrets]";
    let enforced = mapped(&backend, "mode: shadow").replace(secret, "require: [secrets], mode: enforce");
    let gateway = Setup { routes: enforced, ..Setup::before(&backend) }.start();
    assert_eq!(gateway.ask(get("/secrets/1", &token("olga"))).verdict(), (403, "right_missing".to_owned()));
    assert_eq!(gateway.ask(get("/staff", "")).status, 200);
    let watched = routes(&[backend.url()]).replace(secret, "require: [secrets], mode: shadow");
    let gateway = Setup { routes: watched, ..Setup::before(&backend) }.start();
    assert_eq!(gateway.ask(get("/secrets/1", "")).status, 200);
    assert_eq!(gateway.ask(get("/staff", "")).verdict(), (401, "no_token".to_owned()));
    assert_eq!(gateway.ask(get("/nowhere", &token("olga"))).verdict(), (404, "no_route".to_owned()));
}

fn listening(gateway: &Door, token: &str) -> Client {
    let mut client = gateway.connect();
    client.send(get("/things/1", token));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.take(14).unwrap(), b"9\r\ndata: x\n\n\r\n");
    client
}

#[test]
fn a_stream_in_shadow_outlives_what_the_policy_takes_away_and_ends_when_it_is_enforced() {
    let backend = Backend::events();
    let gateway = Setup { routes: mapped(&backend, "mode: shadow"), ..Setup::before(&backend) }.start();
    let mut clients =
        [listening(&gateway, ""), listening(&gateway, &token("olga")), listening(&gateway, &token("nils"))];
    let grants = std::fs::read_to_string(gateway.file("grants.yaml")).unwrap();
    gateway.replace("grants.yaml", &grants.replace("grants: [things, places @", "grants: [places @"));
    until(|| gateway.serial() == 2, "the grants without the right");
    assert_eq!(gateway.metric("portcullis_exchanges_cut_total"), 0);
    gateway.replace("routes.yaml", &mapped(&backend, "mode: enforce"));
    until(|| gateway.metric("portcullis_exchanges_cut_total") == 3, "the ends of the streams");
    assert!(clients.iter_mut().all(Client::is_ended));
}

#[test]
fn a_form_that_the_policy_refuses_reaches_the_backend_whole_and_one_that_nobody_can_read_is_refused() {
    let backend = Backend::hello();
    let place = "scopes: {main: {from: form.place, kind: place}}, require: [places]";
    let file = format!("      - {{id: file, match: {{methods: [POST], path: /file}}, {place}}}\n");
    let mut routes = mapped(&backend, "mode: shadow");
    routes.push_str(&file);
    let gateway = Setup { routes, decisions: true, ..Setup::before(&backend) }.spawn();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let bodies = [("place=north", None), ("place=south&note=1", Some("right_denied:places@place:south"))];
    for (number, (body, denied)) in bodies.into_iter().enumerate() {
        assert_eq!(gateway.ask(request("POST", "/file", &token("olga"), form, body)).status, 200);
        let seen = backend.wait_for(number + 1).pop().unwrap();
        assert_eq!((seen.whole, seen.body.as_slice()), (true, body.as_bytes()));
        assert_eq!(gateway.decision()["would_deny"].as_str(), denied);
    }
    // What cannot be read as a form may be read otherwise by the backend, so it is no matter of the policy.
    let odd = gateway.ask(request("POST", "/file", &token("olga"), form, "place=%zz"));
    assert_eq!(odd.verdict(), (400, "bad_form".to_owned()));
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn a_websocket_that_the_policy_refuses_is_opened_and_logged_as_such() {
    let backend = websocket::echo();
    let listens = "{id: chat, match: {methods: [GET], path: /chat}, require: [secrets], websocket: true}";
    let mut routes = mapped(&backend, "mode: shadow\n    websocket: false");
    routes.push_str(&format!("      - {listens}\n"));
    let gateway = Setup { routes, decisions: true, ..Setup::before(&backend) }.spawn();
    let mut client = gateway.connect();
    client.send(websocket::handshake("/chat", &token("nils"), ""));
    assert_eq!(client.head().unwrap().status, 101);
    websocket::echoes(&mut client, "hello");
    drop(client);
    let line = gateway.decision();
    assert_eq!(refused_for(&line), ("would_deny".to_owned(), "right_missing:secrets@root".to_owned()));
    assert_eq!(line["status"], 101);
    // Where WebSockets do not pass, the mode opens none.
    let other = gateway.ask(websocket::handshake("/staff", &token("nils"), ""));
    assert_ne!(other.status, 101);
}

#[test]
fn the_gate_holds_a_reload_that_stops_enforcing() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).spawn();
    let route = routes(&[backend.url()]).replace("require: [secrets]", "require: [secrets], mode: shadow");
    let nowhere = mapped(&backend, "mode: shadow").replace("}\n      - {", ", mode: enforce}\n      - {");
    for (edited, told) in [(route, "become public by the route `secret`"), (nowhere, "that no route of `app` takes")] {
        gateway.replace("routes.yaml", &edited);
        gateway.logs(told);
        assert_eq!(gateway.serial(), 1);
        assert_eq!(gateway.ask(get("/secrets/1", &token("olga"))).verdict(), (403, "right_missing".to_owned()));
    }
}
