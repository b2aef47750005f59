//! Issuers other than Entra ID: which of their tokens are believed and as whom, in the shapes of Keycloak, Okta and
//! Auth0, and the whole gateway with one of each.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/wire.rs"]
mod wire;

use std::process::Command;
use std::sync::{Arc, LazyLock};

use portcullis::model::{Guid, PrincipalKey};
use portcullis::token::mint::SubjectToken;
use portcullis::token::{
    Algorithms, Class, Groups, Issuer, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Profile, Rules,
    TokenFault, Verified, Verifier, principal_of,
};
use serde_json::{Value, json};

use backend::{Backend, until};
use gateway::{HOME, KEY, Setup, now};
use identity_provider::{Answer, Server, Signer};
use wire::get;

const NOW: u64 = 1_790_000_000;
const URL: &str = "https://sso.example.org/realms/erp";
/// The tenant id of the issuer.
const ID: Guid = Guid(42);

static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::p256);

fn profile() -> Profile {
    Profile {
        subject: "sub".into(),
        client: None,
        roles: "roles".into(),
        groups: "groups".into(),
        username: "preferred_username".into(),
        audiences: Vec::new(),
    }
}

/// Verifies what an issuer of this profile signed.
fn verify(profile: Profile, claims: &Value) -> Result<Arc<Verified>, TokenFault> {
    verify_with(profile, r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#, claims)
}

fn verify_with(profile: Profile, header: &str, claims: &Value) -> Result<Arc<Verified>, TokenFault> {
    let source = KeySourceId(0);
    let issuer = Issuer {
        tenant: Arc::from("sso"),
        tenant_id: ID,
        url: URL.into(),
        kind: IssuerKind::Other(Arc::new(profile)),
        keys: vec![KeyUse { source, audiences: None }],
        authorization_uri: None,
    };
    let algorithms = Algorithms { rs256: true, ps256: false, es256: true };
    let verifier =
        Verifier::new(Issuers::new(vec![issuer]), Rules { leeway: 60, max_lifetime: 100_800, algorithms }, 1);
    let keys = KeySet::parse(json!({"keys": [SIGNER.jwk("k")]}).to_string().as_bytes()).unwrap();
    let ring = KeyRing::empty(1).with(source, Arc::new(keys), NOW);
    verifier.verify(&SIGNER.sign(header, &claims.to_string()), &ring, NOW)
}

fn word(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Invalid(fault) => fault.word(),
        other => panic!("{other:?}"),
    }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

/// An access token of Keycloak.
fn keycloak() -> Value {
    json!({
        "exp": NOW + 300, "iat": NOW, "auth_time": NOW - 10, "jti": "onrtac:7f3c", "iss": URL,
        "aud": ["erp", "account"], "sub": "36fa0f91-f94d-4a0c-afed-6b7d952e47da", "typ": "Bearer", "azp": "spa",
        "sid": "2a88c258", "acr": "1", "allowed-origins": ["https://erp.example.org"],
        "realm_access": {"roles": ["offline_access", "clerk"]},
        "resource_access": {"account": {"roles": ["view-profile"]}, "erp": {"roles": ["approver"]}},
        "scope": "openid email profile", "email_verified": true, "preferred_username": "olga",
        "groups": ["/north", "/south"],
    })
}

fn of_keycloak() -> Profile {
    Profile { roles: "realm_access.roles".into(), ..profile() }
}

/// An access token of a custom authorization server of Okta.
fn okta() -> Value {
    json!({
        "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "iss": URL, "aud": "api://default",
        "iat": NOW, "exp": NOW + 3600, "cid": "0oabskvc6442nkvQO0h7", "uid": "00u5t60iloOHN9pBi0h7",
        "scp": ["offline_access", "openid"], "auth_time": NOW - 20, "sub": "olga@example.org",
        "groups": ["Everyone", "Clerks"],
    })
}

/// An access token of Auth0 in the shape that it has by default.
fn auth0() -> Value {
    json!({
        "iss": URL, "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "aud": ["https://erp", "https://t.auth0.com/userinfo"],
        "iat": NOW, "exp": NOW + 86_400, "azp": "my_client_id", "scope": "openid profile read:orders",
        "permissions": ["read:orders"], "https://erp.example.org/roles": ["clerk"],
    })
}

fn of_auth0() -> Profile {
    Profile { roles: "https://erp.example.org/roles".into(), ..profile() }
}

/// A token as RFC 9068 section 2.2 has it.
fn rfc9068() -> Value {
    json!({
        "iss": URL, "sub": "5ba552d67", "aud": "https://rs.example.com/", "exp": NOW + 3600, "iat": NOW,
        "jti": "dbe39bf3a3ba4238a513f51d6e1691c4", "client_id": "s6BhdRkqt3", "scope": "openid profile",
    })
}

#[test]
fn tokens_of_users_are_believed_as_their_issuers_write_them() {
    let of_okta = || Profile { subject: "uid".into(), ..profile() };
    let of_client = || Profile { roles: "resource_access.erp.roles".into(), ..of_keycloak() };
    for (profile, claims, subject, client, roles, groups) in [
        (of_keycloak(), keycloak(), "36fa0f91-f94d-4a0c-afed-6b7d952e47da", "spa", "offline_access clerk", 2),
        (of_client(), keycloak(), "36fa0f91-f94d-4a0c-afed-6b7d952e47da", "spa", "approver", 2),
        (profile(), okta(), "olga@example.org", "0oabskvc6442nkvQO0h7", "", 2),
        (of_okta(), okta(), "00u5t60iloOHN9pBi0h7", "0oabskvc6442nkvQO0h7", "", 2),
        (of_auth0(), auth0(), "auth0|5f7c8ec7c33c6c004bbafe82", "my_client_id", "clerk", 0),
        (profile(), rfc9068(), "5ba552d67", "s6BhdRkqt3", "", 0),
        // ADFS and others write a single name in place of a list of one.
        (profile(), with(rfc9068(), "roles", json!("clerk")), "5ba552d67", "s6BhdRkqt3", "clerk", 0),
        (profile(), with(rfc9068(), "nbf", json!(NOW)), "5ba552d67", "s6BhdRkqt3", "", 0),
        // Cognito marks its tokens.
        (profile(), with(without(rfc9068(), "scope"), "token_use", json!("access")), "5ba552d67", "s6BhdRkqt3", "", 0),
        // Older Keycloaks repeat the nonce of the sign-in.
        (
            of_keycloak(),
            with(keycloak(), "nonce", json!("n")),
            "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
            "spa",
            "offline_access clerk",
            2,
        ),
    ] {
        let verified = verify(profile, &claims).unwrap_or_else(|fault| panic!("{fault:?}: {claims}"));
        assert_eq!((&*verified.subject, verified.client.as_deref()), (subject, Some(client)), "{claims}");
        assert_eq!(verified.principal, principal_of(ID, subject));
        assert_eq!((verified.roles.join(" "), verified.class), (roles.to_owned(), Class::User), "{claims}");
        let Groups::Listed(listed) = &verified.groups else { panic!("{claims}") };
        assert_eq!(listed.len(), groups, "{claims}");
    }
    let verified = verify(of_keycloak(), &keycloak()).unwrap();
    assert_eq!((verified.username.as_deref(), verified.token_id.as_deref()), (Some("olga"), Some("onrtac:7f3c")));
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT"] {
        let header = json!({"alg": "ES256", "kid": "k", "typ": typ}).to_string();
        assert!(verify_with(profile(), &header, &rfc9068()).is_ok(), "{typ}");
    }
}

#[test]
fn groups_that_are_elsewhere_are_unknown() {
    let nested = Profile { groups: "resource.groups".into(), ..profile() };
    for (profile, claims, unknown) in [
        (profile(), with(okta(), "_claim_names", json!({"groups": "src1"})), true),
        (profile(), with(okta(), "_claim_names", json!({"address": "src1"})), false),
        (nested.clone(), with(okta(), "_claim_names", json!({"resource": "src1"})), true),
        (nested, with(okta(), "_claim_names", json!({"resource.groups": "src1"})), true),
        (profile(), with(okta(), "hasgroups", json!(true)), true),
        (profile(), with(okta(), "hasgroups", json!("True")), true),
        (profile(), with(okta(), "hasgroups", json!("false")), false),
    ] {
        let verified = verify(profile, &claims).unwrap();
        assert_eq!(verified.groups == Groups::Unknown, unknown, "{claims}");
    }
}

#[test]
fn an_application_that_speaks_for_itself_is_told_from_a_user() {
    let service = |account: &str, client: &str| {
        let claims = with(keycloak(), "preferred_username", json!(format!("service-account-{account}")));
        with(with(claims, "azp", json!(client)), "client_id", json!(client))
    };
    for (claims, class) in [
        (with(okta(), "sub", json!("0oabskvc6442nkvQO0h7")), Class::App),
        (with(rfc9068(), "sub", json!("s6BhdRkqt3")), Class::App),
        (with(with(auth0(), "sub", json!("my_client_id@clients")), "gty", json!("client-credentials")), Class::App),
        (with(auth0(), "gty", json!("password")), Class::User),
        (service("batch", "batch"), Class::App),
        (service("batch", "Batch"), Class::App),
        (service("batch", "other"), Class::User),
        // A user may choose such a name; only for a service account Keycloak names the client twice.
        (without(service("batch", "batch"), "client_id"), Class::User),
        (okta(), Class::User),
    ] {
        assert_eq!(verify(profile(), &claims).unwrap().class, class, "{claims}");
    }
}

#[test]
fn what_is_no_access_token_is_refused() {
    let id_token = json!({
        "iss": URL, "sub": "5ba552d67", "aud": "s6BhdRkqt3", "exp": NOW + 3600, "iat": NOW, "auth_time": NOW,
        "nonce": "n", "at_hash": "x", "azp": "s6BhdRkqt3", "preferred_username": "olga",
    });
    let bare = without(without(without(id_token.clone(), "nonce"), "at_hash"), "auth_time");
    for (what, claims, expected) in [
        ("an ID token", id_token.clone(), "id_token"),
        ("an ID token of the code flow", without(id_token.clone(), "at_hash"), "id_token"),
        ("an ID token without nonce", without(id_token.clone(), "nonce"), "id_token"),
        ("an ID token with the time only", with(bare.clone(), "auth_time", json!(NOW)), "id_token"),
        ("an ID token with the least", bare.clone(), "not_an_access_token"),
        ("an ID token with roles", with(bare.clone(), "roles", json!(["clerk"])), "not_an_access_token"),
        ("an ID token of Keycloak", with(keycloak(), "typ", json!("ID")), "id_token"),
        ("an ID token of Okta", with(without(without(okta(), "scp"), "cid"), "amr", json!(["pwd"])), "id_token"),
        ("an ID token that has a scope", with(id_token.clone(), "scope", json!("openid")), "id_token"),
        (
            "an ID token with nonce and scope",
            with(with(bare.clone(), "nonce", json!("n")), "scope", json!("x")),
            "id_token",
        ),
        (
            "an ID token that says what it is",
            with(with(bare.clone(), "scope", json!("x")), "token_use", json!("id")),
            "id_token",
        ),
        ("an ID token with an empty scope", with(bare.clone(), "scope", json!("")), "not_an_access_token"),
        ("an ID token with an odd scope", with(bare.clone(), "scope", json!({"a": 1})), "not_an_access_token"),
        ("a marked ID token with the hash", with(keycloak(), "at_hash", json!("x")), "id_token"),
        ("a refresh token of Keycloak", with(keycloak(), "typ", json!("Refresh")), "not_an_access_token"),
        ("an offline token of Keycloak", with(keycloak(), "typ", json!("Offline")), "not_an_access_token"),
        ("a logout token", with(keycloak(), "typ", json!("Logout")), "not_an_access_token"),
        ("a token that is bound to a key", with(keycloak(), "typ", json!("DPoP")), "not_an_access_token"),
        ("a mark that is no text", with(keycloak(), "typ", json!(["Bearer"])), "not_an_access_token"),
        ("another use", with(rfc9068(), "token_use", json!("refresh")), "not_an_access_token"),
        ("two marks that contradict", with(keycloak(), "token_use", json!("id")), "id_token"),
    ] {
        assert_eq!(word(verify(profile(), &claims).unwrap_err()), expected, "{what}");
    }
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "id+jwt", "at+jwt "] {
        let header = json!({"alg": "ES256", "kid": "k", "typ": typ}).to_string();
        assert_eq!(word(verify_with(profile(), &header, &rfc9068()).unwrap_err()), "wrong_type", "{typ}");
    }
}

#[test]
fn hostile_claims_are_refused() {
    let nested = Profile { subject: "user.id".into(), client: Some("app.id".into()), ..profile() };
    for (profile, claims, expected) in [
        (profile(), with(rfc9068(), "iss", json!(format!("{URL}/"))), "unknown_issuer"),
        (profile(), with(rfc9068(), "iss", json!(URL.to_uppercase())), "unknown_issuer"),
        (profile(), without(rfc9068(), "sub"), "bad_subject"),
        (profile(), with(rfc9068(), "sub", json!("")), "bad_subject"),
        (profile(), with(rfc9068(), "sub", json!(["5ba552d67"])), "bad_subject"),
        (profile(), with(rfc9068(), "sub", json!(7)), "bad_subject"),
        (profile(), with(rfc9068(), "sub", json!("olga\r\nadmin: true")), "bad_subject"),
        (profile(), with(rfc9068(), "sub", json!("x".repeat(257))), "bad_subject"),
        (nested.clone(), with(rfc9068(), "user", json!("id")), "bad_subject"),
        (nested.clone(), with(rfc9068(), "user", json!({"id": {"id": "x"}})), "bad_subject"),
        (nested, with(rfc9068(), "user", json!({"id": "x"})), "no_client"),
        (profile(), with(rfc9068(), "client_id", json!(["a"])), "bad_client"),
        (profile(), with(rfc9068(), "client_id", json!("")), "bad_client"),
        (profile(), with(rfc9068(), "roles", json!({"clerk": true})), "bad_roles"),
        (profile(), with(rfc9068(), "roles", json!(["clerk", 1])), "bad_roles"),
        (profile(), with(rfc9068(), "roles", json!("")), "bad_roles"),
        (of_keycloak(), with(keycloak(), "realm_access", json!({"roles": null})), "bad_roles"),
        (profile(), with(rfc9068(), "groups", json!(null)), "bad_groups"),
        (profile(), with(rfc9068(), "jti", json!("")), "bad_token_id"),
        (profile(), without(rfc9068(), "aud"), "no_audience"),
        (profile(), without(without(rfc9068(), "iat"), "nbf"), "no_start"),
        (profile(), without(rfc9068(), "exp"), "no_expiry"),
        (profile(), with(rfc9068(), "cnf", json!({"jkt": "x"})), "proof_of_possession"),
        (profile(), with(rfc9068(), "Sub", json!("admin")), "look_alike_claim"),
        (profile(), with(rfc9068(), "ROLES", json!(["admin"])), "look_alike_claim"),
        (profile(), with(rfc9068(), "Client_Id", json!("x")), "look_alike_claim"),
        (of_keycloak(), with(keycloak(), "Realm_Access", json!({"roles": ["admin"]})), "look_alike_claim"),
        (Profile { groups: "Groups".into(), ..profile() }, with(rfc9068(), "groups", json!([])), "look_alike_claim"),
    ] {
        assert_eq!(word(verify(profile, &claims).unwrap_err()), expected, "{claims}");
    }
    let own = Profile { groups: "Groups".into(), ..profile() };
    assert!(verify(own, &with(rfc9068(), "Groups", json!(["a"]))).is_ok(), "the claim's own name is no look-alike");
    assert!(verify(profile(), &with(rfc9068(), "OID", json!("x"))).is_ok(), "nobody reads that here");
}

#[test]
fn an_issuer_may_admit_some_audiences_only() {
    let profile = Profile { audiences: vec!["erp".into(), "https://erp".into()], ..profile() };
    assert!(verify(profile.clone(), &keycloak()).is_ok());
    assert!(verify(profile.clone(), &auth0()).is_ok());
    assert_eq!(word(verify(profile, &okta()).unwrap_err()), "issuer_audience");
}

#[test]
fn minted_tokens_are_believed_wherever_the_claims_stand() {
    let paths = Profile {
        subject: "user.id".into(),
        client: Some("app".into()),
        roles: "realm_access.roles".into(),
        username: "user.name".into(),
        ..profile()
    };
    for profile in [profile(), paths, of_auth0()] {
        let token = SubjectToken {
            issuer: URL,
            profile: &profile,
            subject: "auth0|1",
            audience: "erp",
            roles: &["clerk"],
            username: "olga",
            token_id: "1",
            now: NOW,
            lifetime: 60,
        };
        let claims = token.claims();
        let verified = verify(profile, &claims).unwrap_or_else(|fault| panic!("{fault:?}: {claims}"));
        assert_eq!((&*verified.subject, verified.roles.join(" ").as_str()), ("auth0|1", "clerk"));
        assert_eq!(verified.username.as_deref(), Some("olga"));
    }
}

const KEYCLOAK: &str = "https://sso.example.org/realms/erp";
const OKTA: &str = "https://example.okta.com/oauth2/default";

/// A gateway that believes an Entra tenant, a Keycloak and an Okta with keys in a file, and an Auth0 by discovery.
fn setup(backend: &Backend, auth0: &Server) -> Setup {
    let setup = Setup::before(backend);
    let gate = "tenants: [home, sso, okta, auth0]";
    let grants = "  - {id: kay, tenant: sso, subject: 36fa0f91-f94d-4a0c-afed-6b7d952e47da, grants: [things]}\n  \
                  - {id: oki, tenant: okta, subject: 00u5t60iloOHN9pBi0h7, grants: [things:read]}\n  \
                  - {id: aud, tenant: auth0, subject: \"auth0|1\", grants: [things]}\n";
    Setup {
        routes: setup
            .routes
            .replace("tenants: [home]", gate)
            .replace("audiences: [\"api://app\"]", "audiences: [\"api://app\", erp]"),
        grants: format!("{}{grants}", setup.grants),
        more: format!(
            "issuers:\n  \
             - {{name: sso, issuer: \"{KEYCLOAK}\", jwks: dev.jwks.json, audiences: [erp], roles: realm_access.roles}}\n  \
             - {{name: okta, issuer: \"{OKTA}\", jwks: dev.jwks.json, subject: uid, roles: groups}}\n  \
             - {{name: auth0, issuer: \"{}/\", roles: permissions}}\n",
            auth0.base
        ),
        ..setup
    }
}

/// Puts the documents of an issuer on its server.
fn publish(server: &Server, keys: &[Value]) {
    let document =
        json!({"issuer": format!("{}/", server.base), "jwks_uri": format!("{}/.well-known/jwks.json", server.base)});
    server.answer("/.well-known/openid-configuration", Answer::json(&document));
    server.answer("/.well-known/jwks.json", Answer::json(&json!({ "keys": keys })));
}

fn fresh(mut claims: Value, issuer: &str) -> Value {
    for (name, value) in [("iss", json!(issuer)), ("iat", json!(now() - 5)), ("exp", json!(now() + 300))] {
        claims[name] = value;
    }
    with(claims, "aud", json!(["erp"]))
}

#[test]
fn principals_of_all_issuers_get_what_their_grants_say() {
    let (backend, server, signer) = (Backend::hello(), Server::on_a_thread(), Signer::rsa());
    publish(&server, &[signer.jwk("a0")]);
    let gateway = setup(&backend, &server).start();
    until(|| gateway.admin("GET", "/readyz", "").status == 200, "the keys are there");

    let mint = |claims: Value| KEY.mint(&claims).unwrap();
    let kay = with(fresh(keycloak(), KEYCLOAK), "realm_access", json!({"roles": ["Access"]}));
    let oki = with(fresh(okta(), OKTA), "groups", json!(["Access"]));
    let aud = with(
        with(fresh(auth0(), &format!("{}/", server.base)), "sub", json!("auth0|1")),
        "permissions",
        json!(["Access"]),
    );
    let auth0_token = |claims: &Value| signer.sign(r#"{"alg":"RS256","typ":"JWT","kid":"a0"}"#, &claims.to_string());
    let read = |token: &str| gateway.ask(get("/things/1", token)).verdict();
    let write = |token: &str| {
        let request = format!(
            "PUT /things/1 HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        gateway.ask(request).verdict()
    };
    let (allowed, level) = ((200, String::new()), (403, "right_level".to_owned()));
    for (who, token, writes) in [
        ("olga", gateway::token("olga"), &allowed),
        ("kay", mint(kay.clone()), &allowed),
        ("oki", mint(oki.clone()), &level),
        ("aud", auth0_token(&aud), &allowed),
    ] {
        assert_eq!((read(&token), &write(&token)), (allowed.clone(), writes), "{who}");
    }

    let invalid = (401, "invalid_token".to_owned());
    for (what, token, expected) in [
        ("an ID token", mint(with(kay.clone(), "typ", json!("ID"))), invalid.clone()),
        ("the issuer of another", mint(with(aud.clone(), "iss", json!(OKTA))), invalid.clone()),
        (
            "a subject of another issuer",
            mint(with(oki.clone(), "uid", json!("auth0|1"))),
            (403, "principal_unknown".into()),
        ),
        (
            "a name in place of the subject",
            mint(with(oki.clone(), "uid", json!("oki"))),
            (403, "principal_unknown".into()),
        ),
        ("no role", mint(with(kay.clone(), "realm_access", json!({"roles": []}))), (403, "gate_app_role".into())),
        ("an audience of another issuer", mint(with(kay.clone(), "aud", json!("api://app"))), invalid.clone()),
        ("the key of another issuer", mint(aud.clone()), invalid.clone()),
        (
            "a key that nobody has",
            Signer::rsa().sign(r#"{"alg":"RS256","kid":"a0"}"#, &aud.to_string()),
            invalid.clone(),
        ),
    ] {
        let answered = read(&token);
        assert_eq!(answered, expected, "{what}");
    }
    let oid_of_olga = mint(with(kay, "sub", json!("00000000-0000-0000-0000-000000000001")));
    assert_eq!(
        read(&oid_of_olga),
        (403, "principal_unknown".into()),
        "an object id of Entra is a subject like any other here"
    );
}

#[test]
fn operators_see_the_keys_of_every_issuer() {
    let (backend, server) = (Backend::hello(), Server::on_a_thread());
    let gateway = setup(&backend, &server).start();
    let issuer = format!("{}/", server.base);
    let ready = gateway.admin("GET", "/readyz", "");
    assert_eq!(
        (ready.status, &ready.json()["missing"]),
        (503, &json!([{"what": "keys", "tenant": "auth0", "issuer": issuer}]))
    );
    let token = with(fresh(auth0(), &issuer), "sub", json!("auth0|1"));
    let signer = Signer::p256();
    let token = signer.sign(r#"{"alg":"ES256","kid":"late"}"#, &token.to_string());
    assert_eq!(gateway.ask(get("/things/1", &token)).verdict(), (503, "keys_unavailable".into()));

    publish(&server, &[signer.jwk("late")]);
    until(|| gateway.admin("GET", "/readyz", "").status == 200, "the keys come");
    let keys = gateway.admin("GET", "/readyz", "").json()["keys"].clone();
    let named: Vec<&str> = keys.as_array().unwrap().iter().map(|set| set["tenant"].as_str().unwrap()).collect();
    assert_eq!(named, ["home", "home", "away", "away", "sso", "okta", "auth0"]);
    assert!(keys.as_array().unwrap().iter().all(|set| set["stale"] == json!(false) && set["age_seconds"].is_u64()));
    gateway.ask(get("/things/1", &gateway::token("olga")));
    gateway.ask(get("/things/1", &gateway::token("nils")));
    let metrics = gateway.admin("GET", "/metrics", "").text();
    for expected in [
        &format!("portcullis_keys_age_seconds{{issuer=\"{issuer}\"}} "),
        &format!("portcullis_keys_age_seconds{{issuer=\"{KEYCLOAK}\"}} "),
        "portcullis_token_cache_lookups_total{result=\"miss\"} ",
        "portcullis_token_cache_entries ",
    ] {
        assert!(metrics.contains(expected), "{expected} is missing in\n{metrics}");
    }
    let status = gateway.admin("GET", "/status", "").json();
    assert_eq!((&status["keys"][6]["keys"], &status["keys"][6]["issuer"]), (&json!(1), &json!(issuer)));
    assert!(status["token_cache"]["misses"].as_u64().unwrap() >= 3, "{status}");
}

#[test]
fn the_log_tells_of_strangers_by_their_subject_and_of_secret_keys_as_an_error() {
    let (backend, server, signer) = (Backend::hello(), Server::on_a_thread(), Signer::p256());
    publish(&server, &[signer.jwk("a0"), with(Signer::p256().jwk("leaked"), "d", json!("AQAB"))]);
    let gateway = Setup { decisions: true, ..setup(&backend, &server) }.spawn();
    until(|| gateway.admin("GET", "/readyz", "").status == 200, "the keys are there");
    gateway.logs("a secret key is published");
    let line = gateway.log().lines().find(|line| line.contains("a secret key")).unwrap().to_owned();
    assert!(line.contains("ERROR") && line.contains("`leaked`") && !line.contains("AQAB"), "{line}");

    let claims = with(fresh(auth0(), &format!("{}/", server.base)), "permissions", json!(["Access"]));
    for (subject, shown) in [
        ("auth0|\"x\"", "auth0|\"x\"".to_owned()),
        ("\u{202e}x", "\\u{202e}x".into()),
        (&"é".repeat(128), "é".repeat(128)),
    ] {
        let claims = with(claims.clone(), "sub", json!(subject)).to_string();
        let token = signer.sign(r#"{"alg":"ES256","kid":"a0"}"#, &claims);
        assert_eq!(gateway.ask(get("/things/1", &token)).verdict().0, 403);
        assert_eq!(gateway.decision()["reason"], format!("principal_unknown:{shown}"));
    }
}

#[test]
fn an_application_with_keys_of_its_own_may_call_as_itself_only() {
    const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
    let (backend, server) = (Backend::hello(), Server::on_a_thread());
    let (tenant, owner) = (Signer::p256(), Signer::p256());
    for (version, issuer) in
        [("", format!("{}/{HOME}/", server.base)), ("/v2.0", format!("{}/{HOME}/v2.0", server.base))]
    {
        for query in [String::new(), format!("?appid={CLIENT}")] {
            let document = json!({"issuer": issuer, "jwks_uri": format!("{}/keys{query}", server.base)});
            let path = format!("/{HOME}{version}/.well-known/openid-configuration{query}");
            server.answer(&path, Answer::json(&document));
        }
    }
    server.answer("/keys", Answer::json(&json!({"keys": [tenant.jwk("tenant")]})));
    server.answer(&format!("/keys?appid={CLIENT}"), Answer::json(&json!({"keys": [owner.jwk("own")]})));
    let own = format!("[{{appid: {CLIENT}, audiences: [erp]}}]");
    let tenants = format!("{{name: home, id: {HOME}, authority: \"{}\", app_keys: {own}}}", server.base);
    let setup = Setup::before(&backend);
    let audiences = "audiences: [\"api://app\", erp]";
    let routes = setup.routes.replace("audiences: [\"api://app\"]", audiences);
    let gateway = Setup { tenants, routes, decisions: true, ..setup }.spawn();
    until(|| gateway.admin("GET", "/readyz", "").status == 200, "the keys are there");
    let keys = gateway.admin("GET", "/readyz", "").json()["keys"].clone();
    let applications: Vec<&Value> = keys.as_array().unwrap().iter().map(|set| &set["application"]).collect();
    assert_eq!(applications, [&Value::Null, &json!(CLIENT), &Value::Null, &json!(CLIENT)]);
    let metrics = gateway.admin("GET", "/metrics", "").text();
    for label in [format!("{}/{HOME}/v2.0", server.base), format!("{}/{HOME}/v2.0?appid={CLIENT}", server.base)] {
        assert!(metrics.contains(&format!("portcullis_keys_age_seconds{{issuer=\"{label}\"}}")), "{metrics}");
        assert!(
            metrics.contains(&format!("portcullis_keys_fetched_timestamp_seconds{{issuer=\"{label}\"}}")),
            "{metrics}"
        );
    }

    let claims = |audience: &str| {
        json!({
            "iss": format!("{}/{HOME}/v2.0", server.base), "aud": audience, "iat": now() - 5, "nbf": now() - 5,
            "exp": now() + 300, "tid": HOME, "oid": "00000000-0000-0000-0000-000000000001", "sub": "x",
            "azp": CLIENT, "scp": "all", "ver": "2.0", "roles": ["Access"],
        })
    };
    for (signer, kid, audience, expected) in [
        (&tenant, "tenant", "api://app", ""),
        (&tenant, "tenant", "erp", ""),
        (&owner, "own", "erp", ""),
        (&owner, "own", "api://app", "invalid_token:key_audience"),
        (&owner, "tenant", "erp", "invalid_token:bad_signature"),
        (&tenant, "own", "erp", "invalid_token:bad_signature"),
    ] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        gateway.ask(get("/things/1", &signer.sign(&header, &claims(audience).to_string())));
        let reason = gateway.decision()["reason"].clone();
        assert_eq!(reason.as_str().unwrap_or_default(), expected, "{kid} for {audience}");
    }
}

fn run(gateway: &gateway::Door, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let folder = gateway.file("gateway.yaml").parent().unwrap().to_owned();
    let done = command.args(arguments).args(["--config", "gateway.yaml"]).current_dir(folder).output().unwrap();
    let text = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (done.status.code().unwrap(), text)
}

#[test]
fn tools_know_principals_by_subject() {
    let (backend, server) = (Backend::hello(), Server::on_a_thread());
    publish(&server, &[Signer::p256().jwk("a0")]);
    let gateway = setup(&backend, &server).start();
    std::fs::write(gateway.file("dev.key.pem"), KEY.to_pem()).unwrap();
    for who in ["kay", "oki"] {
        let (code, token) = run(&gateway, &["token", "mint", "--as", who]);
        assert_eq!(code, 0, "{token}");
        assert_eq!(gateway.ask(get("/things/1", token.trim())).verdict(), (200, String::new()), "{who}");
    }
    let (code, text) = run(&gateway, &["token", "mint", "--as", "aud"]);
    assert!(code == 1 && text.contains("signs with keys of its own"), "{text}");

    let explain = |who: &str| run(&gateway, &["explain", "--as", who, "GET https://app.test/things/1"]);
    assert_eq!(explain("kay").0, 0, "{}", explain("kay").1);
    let (_, text) = explain("auth0/auth0|1");
    assert!(!text.contains("principal_unknown"), "named by issuer and subject: {text}");
    let (_, text) = explain("auth0/auth0|nobody");
    assert!(text.contains("principal_unknown:auth0|nobody"), "{text}");
    let (code, text) = explain("home/auth0|1");
    assert!(code == 2 && text.contains("names nobody at `home`"), "{code} {text}");
}

#[test]
fn principals_are_named_as_their_tenant_names_them() {
    let (backend, server) = (Backend::hello(), Server::on_a_thread());
    let setup = setup(&backend, &server);
    for (principal, fault) in [
        ("tenant: sso, oid: 00000000-0000-0000-0000-00000000000a", "error[wrong_principal_name]"),
        ("tenant: home, subject: x", "error[wrong_principal_name]"),
        ("tenant: sso, subject: \"\"", "error[bad_subject]"),
        ("tenant: sso, subject: \"a\\nb\"", "error[bad_subject]"),
        ("tenant: okta, subject: 00u5t60iloOHN9pBi0h7", "error[duplicate_principal]"),
        ("tenant: nowhere, subject: x", "has no tenant `nowhere`"),
        ("tenant: sso", "error[missing_key]"),
        ("tenant: sso, subject: x, oid: x", "error[conflict]"),
    ] {
        let folder = setup.write();
        let grants = format!("{}  - {{id: new, {principal}}}\n", setup.grants);
        std::fs::write(folder.path().join("grants.yaml"), grants).unwrap();
        let mut report = portcullis::diag::Report::new();
        let config = portcullis::config::load(&folder.path().join("gateway.yaml"), &mut report).unwrap();
        portcullis::reload::load(&config.policy, &mut report);
        assert_eq!(report.errors(), 1, "{principal}: {}", report.render());
        assert!(report.render().contains(fault), "{principal}: {}", report.render());
    }
    // The same subject at two issuers is two principals.
    let folder = setup.write();
    let grants = format!("{}  - {{id: new, tenant: sso, subject: 00u5t60iloOHN9pBi0h7}}\n", setup.grants);
    std::fs::write(folder.path().join("grants.yaml"), grants).unwrap();
    let mut report = portcullis::diag::Report::new();
    let config = portcullis::config::load(&folder.path().join("gateway.yaml"), &mut report).unwrap();
    let compiled = portcullis::reload::load(&config.policy, &mut report).compiled;
    assert!(compiled.is_some(), "{}", report.render());
    let keys: Vec<PrincipalKey> =
        config.policy.tenants.iter().filter_map(|tenant| tenant.principal("00u5t60iloOHN9pBi0h7")).collect();
    assert_eq!(keys.len(), 3, "the issuers, not the tenants of Entra ID");
    assert!(keys[0] != keys[1] && keys[0].object == keys[1].object);
}
