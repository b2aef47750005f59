//! What operators see: the admin listener, keys that are not there yet, and the decision log.

use serde_json::json;

use crate::backend::{Backend, reply, until};
use crate::gateway::{ADMIN_TOKEN, HOME, KEY, Pass, Setup, token};
use crate::wire::{get, request};

#[test]
fn the_admin_listener_answers_its_pages() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    gateway.ask(get("/things/1", &token("olga")));
    gateway.ask(get("/secrets/1", &token("olga")));
    assert_eq!(gateway.admin("GET", "/livez", "").json(), json!({"status": "alive"}));
    let ready = gateway.admin("GET", "/readyz", "");
    let mut body = ready.json();
    let (keys, checks) = (body["keys"].take(), body["checks"].take());
    assert_eq!((ready.status, body), (200, json!({"status": "ready", "serial": 1, "keys": null, "checks": null})));
    let checks: Vec<_> = checks.as_array().unwrap().iter().map(|check| (&check["check"], &check["state"])).collect();
    let expected = ["draining", "policy", "decision_log", "keys", "keys", "keys", "keys", "upstream"];
    assert!(checks.iter().all(|(_, state)| **state == json!("ok")), "{checks:?}");
    assert!(checks.iter().map(|(name, _)| name.as_str()).eq(expected.map(Some)), "{checks:?}");
    let sets: Vec<_> = keys.as_array().unwrap().iter().map(|set| (&set["tenant"], &set["stale"])).collect();
    assert!(sets.iter().all(|(_, stale)| **stale == json!(false)), "{keys}");
    let tenants: Vec<_> = sets.iter().filter_map(|(tenant, _)| tenant.as_str()).collect();
    assert_eq!(tenants, ["home", "home", "away", "away"]);
    assert!(keys[0]["age_seconds"].as_u64().unwrap() < 60, "{keys}");
    let version = gateway.admin("GET", "/version", "").json();
    assert_eq!(version, json!({"name": "portcullis", "version": env!("CARGO_PKG_VERSION")}));
    let status = gateway.admin("GET", "/status", "").json();
    let counts = json!({"applications": 1, "routes": 9, "domains": 1, "principals": 4, "grants": 6});
    assert_eq!(
        (&status["serial"], &status["ready"], &status["counts"]),
        (&json!(1), &json!(true), &counts),
        "{status:#}"
    );
    let metrics = gateway.admin("GET", "/metrics", "");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let metrics = metrics.text();
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for wanted in ["portcullis_", "route=\"thing\"", "right_missing"] {
        assert!(metrics.contains(wanted), "{wanted}:\n{metrics}");
    }
    for never in ["olga", "/things/1", "app.test"] {
        assert!(!metrics.contains(never), "{never}:\n{metrics}");
    }
}

#[test]
fn the_admin_listener_says_no_in_order() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    assert_eq!(gateway.admin("GET", "/nothing", "").status, 404);
    assert_eq!(gateway.admin("POST", "/livez", "").status, 405);
    assert_eq!(gateway.admin("GET", "/reload", "").status, 405);
    assert_eq!(gateway.admin("POST", "/reload", "").status, 401);
    assert_eq!(gateway.admin("POST", "/reload", "Authorization: Bearer wrong\r\n").status, 401);
    let allowed = gateway.admin("POST", "/reload", &format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"));
    assert_eq!((allowed.status, &allowed.json()["outcome"]), (200, &json!("unchanged")));
    // The two listeners have nothing in common.
    assert_eq!(gateway.ask("GET /livez HTTP/1.1\r\nHost: app.test\r\n\r\n").status, 401);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn calls_of_operators_are_logged_with_who_made_them_and_what_came_of_them() {
    let backend = Backend::hello();
    let gateway = Setup { log: "level: info".to_owned(), ..Setup::before(&backend) }.spawn();
    let good = format!("Authorization: Bearer {ADMIN_TOKEN}\r\n");
    let calls = [
        ("POST", "/reload?dry_run=true&secret=s", "", "status=401 outcome=\"no_token\""),
        ("POST", "/reload", "Authorization: Bearer wrong-token\r\n", "status=401 outcome=\"invalid_token\""),
        ("POST", "/reload?bogus=secret", &good, "status=400 outcome=\"bad_query\""),
        ("POST", "/reload", &good, "status=200 outcome=\"unchanged\""),
        ("GET", "/revoked", &good, "status=200 outcome=\"done\""),
        ("DELETE", "/revoked", &good, "status=409 outcome=\"no_store\""),
    ];
    for (method, path, lines, wanted) in calls {
        gateway.admin(method, path, lines);
        let page = path.split('?').next().unwrap();
        gateway.logs("by=127.0.0.1:");
        gateway.logs(&format!("method={method} path=\"{page}\" {wanted}"));
    }
    gateway.admin("GET", "/status", "");
    let log = gateway.log();
    for never in ["secret", "wrong-token", ADMIN_TOKEN, "/status"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
}

#[test]
fn without_keys_the_gateway_starts_and_waits_for_them() {
    let backend = Backend::hello();
    // The issuer's port is known, but nobody is there yet.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let authority = format!("http://{address}");
    let tenants = format!("{{name: home, id: {HOME}, authority: \"{authority}\"}}");
    let gateway = Setup { tenants, ..Setup::before(&backend) }.spawn();
    let token = Pass { authority: &authority, ..Pass::default() }.token();

    let ready = gateway.admin("GET", "/readyz", "");
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("1")));
    assert_eq!(ready.json()["missing"][0]["what"], "keys", "{}", ready.text());
    assert_eq!(gateway.admin("GET", "/livez", "").status, 200);
    let answer = gateway.ask(get("/things/1", &token));
    assert_eq!(answer.verdict(), (503, "keys_unavailable".into()));
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    // What needs no key works.
    assert_eq!(gateway.ask(get("/health", "")).status, 200);
    assert_eq!(gateway.ask(get("/things/1", "")).status, 401);
    assert_eq!(backend.heads(), 1);

    let listener = std::net::TcpListener::bind(address).unwrap();
    let issuer = Backend::at(listener, move |number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = crate::backend::read_request(number, &mut stream, &mut buffer, record) {
            let base = format!("http://{}", seen.header("host").unwrap());
            let body = match seen.target() {
                target if target.ends_with("/keys") => KEY.jwks(),
                target => {
                    let issuer = if target.contains("/v2.0/") {
                        format!("{base}/{HOME}/v2.0")
                    } else {
                        format!("{base}/{HOME}/")
                    };
                    json!({"issuer": issuer, "jwks_uri": format!("{base}/{HOME}/keys")}).to_string()
                }
            };
            reply(&mut stream, "200 OK", body.as_bytes());
        }
    });
    until(|| gateway.admin("GET", "/readyz", "").status == 200, "the keys");
    assert_eq!(gateway.ask(get("/things/1", &token)).status, 200);
    assert!(issuer.heads() >= 2);
}

#[test]
fn the_decision_log_says_everything_but_secrets() {
    let backend = Backend::hello();
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    let token = token("olga");
    let lines = "Cookie: session=secret-cookie\r\nX-Api-Key: secret-key\r\n";
    let answer = gateway.ask(request("PUT", "/things/1?password=secret-query", &token, lines, "secret-body"));
    assert_eq!(answer.status, 200);
    let line = gateway.decision_line();
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    let mut fields: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let mut expected = [
        "time",
        "request_id",
        "serial",
        "application",
        "route",
        "method",
        "host",
        "path",
        "tenant",
        "principal",
        "caller",
        "client_id",
        "token_id",
        "client_certificate",
        "client",
        "decision",
        "reason",
        "right",
        "scope",
        "status",
        "upstream",
        "bytes_in",
        "bytes_out",
        "decide_us",
        "upstream_us",
        "total_us",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    for (field, value) in [
        ("request_id", json!(answer.header("x-request-id").unwrap())),
        ("serial", json!(1)),
        ("application", json!("app")),
        ("route", json!("thing")),
        ("method", json!("PUT")),
        ("host", json!("app.test")),
        ("path", json!("/things/1")),
        ("tenant", json!("home")),
        ("principal", json!("olga")),
        ("caller", json!("user")),
        ("client_id", json!("de7e1000-0000-4000-8000-000000000000")),
        ("client", json!("127.0.0.1")),
        ("decision", json!("allow")),
        ("reason", json!(null)),
        ("status", json!(200)),
        ("upstream", json!(backend.url())),
        ("bytes_in", json!(11)),
        ("bytes_out", json!(5)),
    ] {
        assert_eq!(entry[field], value, "{field}: {line}");
    }
    assert!(
        entry["upstream_us"].as_u64().unwrap() > 0 && entry["total_us"].as_u64() >= entry["upstream_us"].as_u64(),
        "{line}"
    );

    gateway.ask(get("/places/east?token=secret-query", &token));
    let refused_line = gateway.decision_line();
    let refused: serde_json::Value = serde_json::from_str(&refused_line).unwrap();
    for (field, value) in [
        ("decision", json!("deny")),
        ("reason", json!("right_missing:places@place:east")),
        ("right", json!("places")),
        ("scope", json!("place:east")),
        ("status", json!(403)),
        ("upstream", json!(null)),
        ("bytes_in", json!(0)),
        ("upstream_us", json!(0)),
    ] {
        assert_eq!(refused[field], value, "{field}: {refused_line}");
    }
    gateway.ask(get("/things/1", "forged.secret-token.x"));
    let forged = gateway.decision_line();
    assert!(forged.contains("invalid_token:"), "the log says which check failed: {forged}");
    for line in [&line, &refused_line, &forged, &gateway.log()] {
        assert!(!line.contains("secret-") && !line.contains(&token) && !line.contains(&token[..40]), "{line}");
    }
}

#[test]
fn a_client_that_did_not_wait_for_its_answer_is_in_the_log() {
    let backend = Backend::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        crate::backend::Then::Close
    });
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    let mut client = gateway.connect();
    client.send(get("/things/1", &token("olga")));
    until(|| backend.heads() == 1, "the request at the backend");
    drop(client);
    let line = gateway.decision();
    assert_eq!((&line["decision"], &line["status"]), (&json!("allow"), &json!(499)), "{line}");
}

#[test]
fn an_answer_that_broke_off_is_in_the_log() {
    let backend = Backend::start(|_, stream| {
        crate::backend::say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        crate::backend::Then::Close
    });
    let gateway = Setup { decisions: true, ..Setup::before(&backend) }.spawn();
    assert!(!gateway.ask(get("/things/1", &token("olga"))).whole);
    let line = gateway.decision();
    assert_eq!((&line["decision"], &line["reason"]), (&json!("allow"), &json!("upstream_invalid")), "{line}");
    assert_eq!((&line["status"], &line["bytes_out"]), (&json!(200), &json!(4)), "{line}");
}
