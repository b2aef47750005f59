//! `portcullis token explain`: what it says of tokens of every kind, how it ends, and what it never shows.

#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/process.rs"]
mod process;

use std::fs;

use identity_provider::Signer;
use process::{Done, portcullis, shell};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: u64 = 1_790_000_000;
const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const FAR: &str = "44444444-4444-4444-4444-444444444444";
const OLGA: &str = "22222222-2222-2222-2222-222222222222";
const CLIENT: &str = "33333333-3333-3333-3333-333333333333";

const GATEWAY: &str = "\
version: 1
listeners: [{address: 127.0.0.1:0}]
routes: [routes.yaml]
grants: [grants.yaml]
tenants:
  - {name: uss, id: 11111111-1111-1111-1111-111111111111, keys: keys.json}
  - {name: far, id: 44444444-4444-4444-4444-444444444444}
tokens:
  leeway: 30s
issuers:
  - name: sso
    issuer: https://sso.example.org/main/
    jwks: https://sso.example.org/keys
    audiences: [\"api://app\"]
";
const ROUTES: &str = "\
version: 1
upstreams: {u: {servers: [\"http://127.0.0.1:1\"]}}
applications:
  - name: app
    hosts: [app.example.org]
    domain: d
    upstream: u
    gate:
      tenants: [uss, far]
      audiences: [\"api://app\"]
      app_roles: [user]
    routes: [{id: r, match: {methods: [GET], path: /}, gate_only: true}]
  - name: other
    hosts: [other.example.org]
    domain: d
    upstream: u
    gate: {tenants: [far], audiences: [\"api://app\"]}
    routes: [{id: r, match: {methods: [GET], path: /}, gate_only: true}]
  - name: batch
    hosts: [batch.example.org]
    domain: d
    upstream: u
    gate:
      tenants: [uss]
      audiences: [\"api://app\"]
      clients: [33333333-3333-3333-3333-333333333333]
      callers: apps
    routes: [{id: r, match: {methods: [GET], path: /}, gate_only: true}]
  - name: portal
    hosts: [portal.example.org]
    domain: d
    upstream: u
    gate: {tenants: [sso], audiences: [\"api://app\"]}
    routes: [{id: r, match: {methods: [GET], path: /}, gate_only: true}]
";
const GRANTS: &str = "\
version: 1
domain: d
principals:
  - {id: olga, tenant: uss, oid: 22222222-2222-2222-2222-222222222222}
  - {id: ann, tenant: sso, subject: \"auth0|ann\"}
";

/// A configuration with two tenants and another issuer: the keys of `uss` are in a file, the others would be fetched.
struct World {
    folder: TempDir,
    signer: Signer,
}

impl World {
    fn new() -> Self {
        let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::p256());
        let keys = json!({"keys": [signer.jwk("one")]}).to_string();
        for (name, text) in [
            ("gateway.yaml", GATEWAY),
            ("routes.yaml", ROUTES),
            ("grants.yaml", GRANTS),
            ("keys.json", &keys),
            ("downloaded.json", &keys),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, signer }
    }

    fn sign(&self, claims: &Value) -> String {
        self.signer.sign(r#"{"typ":"JWT","alg":"ES256","kid":"one"}"#, &claims.to_string())
    }

    fn explain(&self, token: &str, further: &[&str]) -> Done {
        fs::write(self.folder.path().join("token"), token).unwrap();
        let at = NOW.to_string();
        let arguments = [&["token", "explain", "--token-file", "token"], further].concat();
        let at: &[&str] = if further.contains(&"--at") { &[] } else { &["--at", &at] };
        portcullis(self.folder.path(), &[&arguments, at].concat())
    }
}

fn user() -> Value {
    json!({
        "aud": "api://app", "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": NOW - 300,
        "nbf": NOW - 300, "exp": NOW + 3600, "azp": CLIENT, "oid": OLGA, "preferred_username": "olga@example.org",
        "scp": "access_as_user", "sub": "pairwise-subject", "tid": TENANT, "ver": "2.0", "roles": ["user"],
        "name": "Olga Olsen", "ipaddr": "10.11.12.13", "onprem_sid": "S-1-5-21-1", "custom": "internal remark",
    })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, names: &[&str]) -> Value {
    for name in names {
        object.as_object_mut().unwrap().remove(*name);
    }
    object
}

fn of_far(claims: Value) -> Value {
    let issuer = format!("https://login.microsoftonline.com/{FAR}/v2.0");
    with(with(claims, "tid", json!(FAR)), "iss", json!(issuer))
}

#[test]
fn a_good_token_is_believed_and_may_come_in() {
    let world = World::new();
    let token = world.sign(&user());
    for named in [&["--application", "app"][..], &["--host", "app.example.org"], &[]] {
        let done = world.explain(&token, named);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{named:?}\n{}", done.out);
        assert!(done.out.starts_with("believed\n"), "{}", done.out);
        assert!(done.out.contains("✓ principal olga, active"), "{}", done.out);
        assert!(done.out.contains("exp") && done.out.contains("2026-09-21T15:13:20Z (in 60 min)"), "{}", done.out);
    }
}

#[test]
fn each_fault_is_named_with_its_place_and_what_to_change() {
    let world = World::new();
    let late = (NOW + 7200).to_string();
    let good = world.sign(&user());
    let cut = good.rsplit_once('.').unwrap().0;
    let elsewhere = with(user(), "tid", json!(CLIENT));
    let elsewhere = with(elsewhere, "iss", json!(format!("https://sts.windows.net/{CLIENT}/")));
    let slash = with(user(), "iss", json!(format!("https://login.microsoftonline.com/{TENANT}/v2.0/")));
    let id_token = without(user(), &["scp", "azp"]);
    let graph = with(user(), "aud", json!("https://graph.microsoft.com")).to_string();
    let graph = Signer::p256().sign(r#"{"alg":"ES256","kid":"one","nonce":"n"}"#, &graph);
    let ps256 = world.signer.sign(r#"{"alg":"PS256","kid":"one"}"#, &user().to_string());
    let unknown = world.signer.sign(r#"{"alg":"ES256","kid":"two"}"#, &user().to_string());
    for (token, further, parts) in [
        (
            good.as_str(),
            &["--at", &late][..],
            &["expired", "gateway.yaml:9:11: `tokens.leeway` is 30 s", "(60 min ago)"][..],
        ),
        (&good, &["--at", "2026-09-21T13:00:00Z"], &["not_yet_valid", "compare the clocks"]),
        (cut, &[], &["malformed", "truncated", "kid", "access_as_user"]),
        (&format!("{cut}.AAAA"), &[], &["bad_signature", "✓ the token is valid now"]),
        (&world.sign(&elsewhere), &[], &["unknown_issuer", "gateway.yaml: `tenants` (uss, far) has no tenant", CLIENT]),
        (&world.sign(&slash), &[], &["unknown_issuer", "gateway.yaml:6:5: tenant `uss` has the issuer", "/v2.0/`"]),
        (&world.sign(&id_token), &[], &["id_token", "hint: This is an ID token"]),
        (&graph, &[], &["graph_token", "hint: The token is for Microsoft Graph"]),
        (&ps256, &[], &["algorithm_not_allowed", "`tokens.algorithms` admits RS256, ES256; the token says `PS256`"]),
        (&unknown, &[], &["unknown_key", "gateway.yaml:6:", "called `two`"]),
        ("nonsense", &[], &["malformed", "not reached"]),
        ("a.b.c.d.e", &[], &["encrypted"]),
    ] {
        let done = world.explain(token, further);
        assert_eq!((done.code, done.err.as_str()), (1, ""), "{parts:?}\n{}", done.out);
        assert!(done.out.starts_with(&format!("not believed: {}\n", parts[0])), "{parts:?}\n{}", done.out);
        for part in parts {
            assert!(done.out.contains(part), "{part:?} is not in\n{}", done.out);
        }
    }
}

#[test]
fn a_gate_that_refuses_is_named_with_its_line() {
    let world = World::new();
    for (claims, application, reason, part) in [
        (
            with(user(), "aud", json!("api://x")),
            "app",
            "gate_audience",
            "routes.yaml:10:19: `gate.audiences` lists api://app; the token says api://x",
        ),
        (
            without(user(), &["roles"]),
            "app",
            "gate_app_role",
            "routes.yaml:11:19: `gate.app_roles` lists user; the token says none",
        ),
        (user(), "other", "gate_tenant", "routes.yaml:17:22: `gate.tenants` lists far; the token says uss"),
        (
            with(user(), "azp", json!(OLGA)),
            "batch",
            "gate_client",
            &format!("routes.yaml:26:17: `gate.clients` lists {CLIENT}; the token says {OLGA}"),
        ),
        (user(), "batch", "gate_caller", "routes.yaml:27:16: `gate.callers` is apps; the token speaks for: user"),
    ] {
        let done = world.explain(&world.sign(&claims), &["--application", application]);
        assert_eq!(done.code, 1, "{}", done.out);
        assert!(done.out.starts_with("believed, but the gate"), "{}", done.out);
        assert!(done.out.contains(&format!("application {application}: {reason}")), "{}", done.out);
        assert!(done.out.contains(part), "{part}\n{}", done.out);
        assert_eq!(world.explain(&world.sign(&claims), &[]).code, 0, "no application was asked for");
    }
    let stranger = world.explain(&world.sign(&with(user(), "oid", json!(CLIENT))), &["--application", "app"]);
    assert_eq!(stranger.code, 0, "who may do what is not the gate's question");
    assert!(stranger.out.starts_with("believed, but unknown to the grants of app\n"), "{}", stranger.out);
    let nowhere = world.explain(&world.sign(&with(user(), "oid", json!(CLIENT))), &[]);
    assert!(nowhere.out.starts_with("believed\n"), "{}", nowhere.out);
    assert!(
        stranger.out.contains("✗ principal unknown") && stranger.out.contains("grants.yaml:2:9: `principals` of `d`")
    );
}

#[test]
fn without_keys_nothing_is_decided_and_a_downloaded_document_brings_them() {
    let world = World::new();
    let token = world.sign(&of_far(user()));
    let done = world.explain(&token, &[]);
    assert_eq!(done.code, 1);
    assert!(done.out.starts_with("not decided"), "{}", done.out);
    assert!(done.out.contains("? the signature is the key's: not checked: no keys offline"), "{}", done.out);
    assert!(done.out.contains("✓ the token is valid now"), "{}", done.out);
    assert!(done.out.contains("--jwks") && done.out.contains(".well-known/openid-configuration"), "{}", done.out);
    let done = world.explain(&token, &["--jwks", "downloaded.json"]);
    assert_eq!(done.code, 0, "{}", done.out);
    let done = world.explain(&token, &["--jwks", "routes.yaml"]);
    assert_eq!(done.code, 2, "{}", done.err);
}

/// A user's token of the other issuer.
fn of_sso() -> Value {
    json!({
        "aud": "api://app", "iss": "https://sso.example.org/main/", "iat": NOW - 300, "exp": NOW + 3600,
        "sub": "auth0|ann", "scope": "read write", "client_id": "spa", "gty": "authorization_code",
    })
}

#[test]
fn a_token_of_another_issuer_is_explained_by_its_entry_and_its_subject() {
    let world = World::new();
    let of_two = world.signer.sign(r#"{"alg":"ES256","kid":"two"}"#, &of_sso().to_string());
    let from = |issuer: &str| world.sign(&with(of_sso(), "iss", json!(issuer)));
    let brought = &["--application", "portal", "--jwks", "downloaded.json"][..];
    for (token, further, code, begins, part) in [
        (
            world.sign(&of_sso()),
            &[][..],
            1,
            "not decided",
            "gateway.yaml:11:5: the gateway would fetch them; give `--jwks` what `https://sso.example.org/keys` answers",
        ),
        (world.sign(&of_sso()), brought, 0, "believed\n", "caller  user, tenant sso, subject auth0|ann, "),
        (world.sign(&of_sso()), brought, 0, "believed\n", "✓ principal ann, active"),
        (world.sign(&of_sso()), brought, 0, "believed\n", "read write"),
        (world.sign(&of_sso()), brought, 0, "believed\n", "authorization_code"),
        (
            world.sign(&with(of_sso(), "aud", json!("api://x"))),
            brought,
            1,
            "not believed: issuer_audience",
            "gateway.yaml:14:17: `audiences` of `sso` lists api://app; the token says `api://x`",
        ),
        (
            of_two,
            brought,
            1,
            "not believed: unknown_key",
            "gateway.yaml:13:11: none of the keys at hand is called `two`",
        ),
        (
            from("https://sso.example.org/main"),
            brought,
            1,
            "not believed: unknown_issuer",
            "gateway.yaml:12:13: issuer `sso` is `https://sso.example.org/main/`; the token says \
             `https://sso.example.org/main`",
        ),
        (from("https://sso.exmaple.org/main/"), brought, 1, "not believed", "gateway.yaml:12:13: issuer `sso` is"),
        (
            from("https://elsewhere.test/"),
            brought,
            1,
            "not believed: unknown_issuer",
            "gateway.yaml: `issuers` (sso) and `tenants` (uss, far) have none that writes `https://elsewhere.test/`",
        ),
        (
            world.sign(&with(of_sso(), "sub", json!("auth0|bob"))),
            brought,
            0,
            "believed, but unknown to the grants of portal\n",
            "`principals` of `d` has none with tenant `sso` and subject `auth0|bob`",
        ),
    ] {
        let done = world.explain(&token, further);
        assert_eq!((done.code, done.err.as_str()), (code, ""), "{part}\n{}", done.out);
        assert!(done.out.starts_with(begins), "{begins}\n{}", done.out);
        assert!(done.out.contains(part), "{part}\n{}", done.out);
        assert!(done.out.matches("auth0|ann").count() <= 1, "the claim itself is masked\n{}", done.out);
    }
    let done = world.explain(&world.sign(&of_sso()), &["--output", "json"]);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(said["caller"]["subject"], "auth0|ann", "{said:#}");
    let done = world.explain(&world.sign(&user()), &["--output", "json"]);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(said["caller"]["oid"], OLGA, "{said:#}");
}

#[test]
fn a_revoked_token_is_not_believed_and_the_entry_is_named() {
    let world = World::new();
    let file = |name: &str| world.folder.path().join(name);
    let configured = format!("{GATEWAY}revoked: {{files: [revoked.yaml], store: store.yaml}}\n");
    fs::write(file("gateway.yaml"), configured).unwrap();
    let list = |entry: &str| format!("version: 1\nrevoked:\n  - {{uti: another}}\n  - {{{entry}}}\n");
    let token = world.sign(&with(user(), "uti", json!("this-one")));
    let principal = format!("principal: {{tenant: uss, oid: {OLGA}}}");
    let before = |moment: u64| format!("{principal}, issued_before: {moment}");
    let passes = "✓ neither the token nor its principal is revoked";
    for (entry, code, part) in [
        (principal.clone(), 1, ":4:5: every token of the principal is revoked"),
        (
            before(NOW - 60),
            1,
            ":4:5: every token of the principal issued before 2026-09-21T14:12:20Z is revoked; this one was issued at \
             2026-09-21T14:08:20Z",
        ),
        ("uti: this-one".to_owned(), 1, ":4:5: this one token is revoked, by its id"),
        (before(NOW - 300), 0, passes),
        ("uti: a-third".to_owned(), 0, passes),
    ] {
        for (revoked, other) in [("revoked.yaml", "store.yaml"), ("store.yaml", "revoked.yaml")] {
            fs::write(file(revoked), list(&entry)).unwrap();
            fs::write(file(other), list("uti: unrelated")).unwrap();
            let done = world.explain(&token, &[]);
            assert_eq!((done.code, done.err.as_str()), (code, ""), "{entry}\n{}", done.out);
            assert_eq!(done.out.starts_with("not believed: revoked\n"), code == 1, "{}", done.out);
            let part = if code == 1 { format!("{revoked}{part}") } else { part.to_owned() };
            assert!(done.out.contains(&part), "{part}\n{}", done.out);
            let done = world.explain(&token, &["--output", "json"]);
            let said: Value = serde_json::from_str(&done.out).unwrap();
            let step = said["checks"].as_array().unwrap().last().unwrap();
            let (result, fault) = if code == 1 { ("failed", json!("revoked")) } else { ("ok", Value::Null) };
            assert_eq!((&step["check"], &step["result"]), (&json!("revoked"), &json!(result)), "{said:#}");
            assert_eq!((&said["believed"], &said["fault"]), (&json!(code == 0), &fault), "{said:#}");
        }
    }
    fs::remove_file(file("store.yaml")).unwrap();
    assert_eq!(world.explain(&token, &[]).code, 0, "nothing was ever revoked by a call");
    let unread = world.explain("nonsense", &[]);
    assert!(unread.out.contains("· neither the token nor its principal is revoked: not reached"), "{}", unread.out);
    fs::write(file("revoked.yaml"), list("uit: this-one")).unwrap();
    let broken = world.explain(&token, &[]);
    assert_eq!((broken.code, broken.out.as_str()), (3, ""), "nobody can tell what it revokes");
}

#[test]
fn what_stands_around_a_token_is_noted_and_standard_input_will_do() {
    let world = World::new();
    let token = world.sign(&user());
    let done = world.explain(&format!("Bearer {token}\r\n"), &[]);
    assert_eq!((done.code, done.out.matches("note: ").count()), (0, 2), "{}", done.out);
    let done = world.explain(&format!("{token}\n"), &[]);
    assert_eq!((done.code, done.out.matches("note: ").count()), (0, 0), "{}", done.out);
    let line = format!("printf %s '{token}' | portcullis token explain --at {NOW}");
    let done = shell(world.folder.path(), &line);
    assert_eq!((done.code, done.out.matches("note: ").count()), (0, 0), "{done:?}");
}

#[test]
fn nobody_learns_from_it_who_somebody_is_and_nobody_can_use_it_as_a_token() {
    let world = World::new();
    let hostile = with(user(), "aud", json!("api://app\u{1b}[2J\n✓ forged"));
    for (claims, output) in [(user(), "text"), (user(), "json"), (hostile.clone(), "text"), (hostile, "json")] {
        let token = world.sign(&claims);
        let done = world.explain(&token, &["--output", output]);
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        for secret in [
            header,
            payload,
            signature,
            "Olga",
            "olga@example.org",
            "example.org\"",
            "10.11.12.13",
            "S-1-5-21",
            "pairwise",
            "internal remark",
            "\u{1b}",
            "\n✓ forged",
        ] {
            assert!(!done.out.contains(secret), "{secret:?} is in\n{}", done.out);
        }
    }
}

#[test]
fn the_form_for_programs_says_the_same() {
    let world = World::new();
    for (claims, believed, fault) in [
        (user(), json!(true), Value::Null),
        (with(user(), "exp", json!(NOW - 100)), json!(false), json!("expired")),
        (of_far(user()), Value::Null, Value::Null),
    ] {
        let done = world.explain(&world.sign(&claims), &["--output", "json", "--application", "app"]);
        let said: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!((&said["believed"], &said["fault"]), (&believed, &fault), "{said:#}");
        assert_eq!(said["good"], json!(done.code == 0));
        let failed = said["checks"].as_array().unwrap().iter().find(|check| check["result"] == "failed");
        assert_eq!(failed.map_or(Value::Null, |check| check["fault"].clone()), fault);
        assert_eq!(said["applications"][0]["gate"][1]["passes"], json!(true), "{said:#}");
        assert_eq!(said["claims"]["exp"]["seconds"], claims["exp"]);
    }
}

#[test]
fn what_makes_no_sense_is_exit_code_2_and_a_broken_configuration_3() {
    let world = World::new();
    let token = world.sign(&user());
    for (token, further) in [
        ("", &[][..]),
        (" \n", &[]),
        ("Bearer ", &[]),
        (&"a".repeat(64 * 1024 + 1), &[]),
        (&token, &["--application", "none"]),
        (&token, &["--host", "nowhere.example.org"]),
        (&token, &["--host", "app.example.org", "--application", "app"]),
        (&token, &["--at", "yesterday"]),
        (&token, &["--jwks", "absent.json"]),
    ] {
        let done = world.explain(token, further);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{further:?}");
        assert!(!done.err.contains(token) || token.trim().is_empty(), "{}", done.err);
    }
    let large = world.explain(&"a".repeat(40_000), &[]);
    assert!(large.code == 1 && large.out.starts_with("not believed: too_large"), "{}", large.out);
    process::edit(&world.folder.path().join("gateway.yaml"), "leeway", "leewya");
    let done = world.explain(&token, &[]);
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("gateway.yaml:9"), "{}", done.err);
}
