//! What the gateway tells clients that have no token yet (RFC 9728), and the words of every challenge (RFC 6750).

use crate::backend::Backend;
use crate::gateway::{AWAY, HOME, Pass, Setup, now, token};
use crate::places::with;
use crate::wire::{get, request};

const PATH: &str = "/.well-known/oauth-protected-resource";
const ON: &str = "    resource_metadata: true\n";

#[test]
fn metadata_names_the_resource_and_who_issues_tokens_for_it() {
    let backend = Backend::hello();
    let gateway = with(&backend, "    resource_metadata: {scopes: [Orders.Read, Orders.Write]}\n", false).start();
    let answer = gateway.ask(get(PATH, ""));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("x-portcullis"), Some("answered"));
    let expected = serde_json::json!({
        "resource": "https://app.test",
        "authorization_servers": [format!("https://login.microsoftonline.com/{HOME}/v2.0")],
        "scopes_supported": ["Orders.Read", "Orders.Write"],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(answer.json(), expected);
    assert!(!answer.text().contains(AWAY), "only tenants that may come in");
    let mut client = gateway.connect();
    let head = client.send(request("HEAD", PATH, "", "", "")).answer_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
    // Any other method, and any other path, is a request like all others.
    for (method, target) in [("POST", PATH), ("OPTIONS", PATH), ("GET", "/.well-known/oauth-protected-resource/x")] {
        assert_eq!(gateway.ask(request(method, target, "", "", "")).verdict(), (401, "no_token".into()));
    }
    assert_eq!(gateway.ask(get(PATH, "garbage")).status, 200, "no token is needed, and none is looked at");
    assert_eq!(backend.connections(), 0);
    drop(gateway);

    let gateway = with(&backend, ON, false).start();
    assert!(gateway.ask(get(PATH, "")).json().get("scopes_supported").is_none());
    let port = gateway.ask(format!("GET {PATH} HTTP/1.1\r\nHost: APP.test:8443\r\n\r\n"));
    assert_eq!(port.json()["resource"], "https://app.test:8443", "the name by which the client asked");
    drop(gateway);

    let gateway = Setup::before(&backend).start();
    assert_eq!(gateway.ask(get(PATH, "")).verdict(), (401, "no_token".into()), "off unless it is asked for");
}

#[test]
fn every_answer_about_a_token_has_the_words_of_its_standard() {
    let backend = Backend::hello();
    let tenants = format!(
        "{{name: home, id: {HOME}, keys: dev.jwks.json}}, {{name: away, id: {AWAY}, authority: \"http://127.0.0.1:9\"}}"
    );
    let told = format!("resource_metadata=\"https://app.test{PATH}\"");
    let olga = token("olga");
    let expired = Pass { issued: now() - 7200, ..Pass::default() }.token();
    let audience = Pass { audience: "api://other", ..Pass::default() }.token();
    let keyless = Pass { tenant: AWAY, authority: "http://127.0.0.1:9", ..Pass::default() }.token();
    let (realm, invalid) = (
        "Bearer realm=\"portcullis\"",
        "error=\"invalid_token\", error_description=\"The access token is invalid or expired\"",
    );
    let bad = |token: &str| format!("authorization: Bearer {token}\r\n");
    // Lines, target; status, reason, challenge, `Retry-After`.
    let cases = [
        (String::new(), "/things/1", 401, "no_token", format!("{realm}, {told}"), None),
        ("authorization: Basic eDp5\r\n".into(), "/things/1", 401, "no_token", format!("{realm}, {told}"), None),
        (String::new(), "/things/1?access_token=x", 401, "no_token", format!("{realm}, {told}"), None),
        (bad("garbage"), "/things/1", 401, "invalid_token", format!("{realm}, {invalid}, {told}"), None),
        (bad("a.b.c"), "/things/1", 401, "invalid_token", format!("{realm}, {invalid}, {told}"), None),
        (bad(&expired), "/things/1", 401, "invalid_token", format!("{realm}, {invalid}, {told}"), None),
        (bad(&format!("{olga}x")), "/things/1", 401, "invalid_token", format!("{realm}, {invalid}, {told}"), None),
        (
            bad(&olga).repeat(2),
            "/things/1",
            400,
            "malformed_credentials",
            format!("{realm}, error=\"invalid_request\""),
            None,
        ),
        (
            bad(&olga),
            "/things/1?access_token=x",
            400,
            "malformed_credentials",
            format!("{realm}, error=\"invalid_request\""),
            None,
        ),
        (bad("a b"), "/things/1", 400, "malformed_credentials", format!("{realm}, error=\"invalid_request\""), None),
        (bad(&audience), "/things/1", 403, "gate_audience", format!("{realm}, error=\"insufficient_scope\""), None),
        (bad(&olga), "/secrets/1", 403, "right_missing", format!("{realm}, error=\"insufficient_scope\""), None),
        (bad(&keyless), "/things/1", 503, "keys_unavailable", String::new(), Some("5")),
    ];
    for full in [false, true] {
        let lines = if full { format!("{ON}    detail_to_client: full\n") } else { ON.to_owned() };
        let gateway = Setup { tenants: tenants.clone(), ..with(&backend, &lines, false) }.start();
        for (lines, target, status, reason, challenge, retry) in &cases {
            let case = format!("{target} {lines}");
            let answer = gateway.ask(request("GET", target, "", lines, ""));
            assert_eq!(answer.status, *status, "{case}");
            assert_eq!(answer.header("www-authenticate").unwrap_or_default(), *challenge, "{case}");
            assert_eq!(answer.header("retry-after"), *retry, "{case}");
            let said = answer.verdict().1;
            if !full || *status == 401 {
                assert_eq!(said, *reason, "{case}");
            }
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn the_gate_admits_listed_clients_and_one_kind_of_caller() {
    let backend = Backend::hello();
    let ask = |gate: &str| {
        let setup = Setup::before(&backend);
        let routes = setup.routes.replace("app_roles: [Access]", &format!("app_roles: [Access], {gate}"));
        Setup { routes, ..setup }.start().ask(get("/lobby", &token("olga"))).verdict()
    };
    // The client of the tokens that tests mint.
    let client = "de7e1000-0000-4000-8000-000000000000";
    for (gate, status, reason) in [
        (format!("clients: [{client}]"), 200, ""),
        (format!("clients: [other, {}]", client.to_uppercase()), 200, ""),
        ("clients: [de7e1000-0000-4000-8000-000000000001]".into(), 403, "gate_client"),
        ("callers: users".into(), 200, ""),
        ("callers: apps".into(), 403, "gate_caller"),
        ("clients: [other], callers: apps".into(), 403, "gate_client"),
    ] {
        assert_eq!(ask(&gate), (status, reason.to_owned()), "{gate}");
    }
}
