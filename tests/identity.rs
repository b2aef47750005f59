//! What a backend is told of the caller, through a whole gateway: headers that cannot be forged, and an assertion that
//! the backend can verify with the key of the admin listener.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use backend::{Backend, Seen};
use gateway::{Gateway, HOME, Setup, now, token};

const GRANTS: &str = "version: 1
domain: app
scopes: {forest: {\"place:north\": root, \"place:arctic\": \"place:north\", \"place:south\": root}}
groups:
  Everybody: {}
  \"Field, staff\": {parents: [Everybody], grants: [places @place:north]}
principals:
  - {id: olga, tenant: home, oid: 00000000-0000-0000-0000-000000000001, groups: [\"Field, staff\"], grants: [places:read @place:south]}
  - {id: vera, tenant: home, oid: 00000000-0000-0000-0000-000000000002, groups: [\"Field, staff\"], grants: [places:deny @place:arctic]}
";
const FORGED: &str = "X-Auth-Request-User: root\r\nX-Auth-Request-Groups: Admins\r\nX_Auth_Request_Groups: Admins\r\n\
                      X-Portcullis-Scopes: root\r\nx-portcullis-assertion: a.b.c\r\nX_Portcullis_Assertion: a.b.c\r\n";
const TOLD: [&str; 3] = ["x-auth-request-groups", "x-portcullis-scopes", "x-portcullis-assertion"];

/// A gateway whose application asks for these headers.
fn gateway(backend: &Backend, identity_headers: &str) -> Gateway {
    let mut setup = Setup::before(backend);
    let routes =
        setup.routes.replace("    routes:\n", &format!("    identity_headers: {identity_headers}\n    routes:\n"));
    assert_ne!(routes, setup.routes);
    (setup.routes, setup.grants) = (routes, GRANTS.to_owned());
    setup.start()
}

/// Sends one request with forged headers; what the backend got, and the request's id.
fn sent(backend: &Backend, gateway: &Gateway, who: Option<&str>, path: &str) -> (Seen, String) {
    let authorization = who.map(|who| format!("Authorization: Bearer {}\r\n", token(who))).unwrap_or_default();
    let answer = gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{authorization}{FORGED}\r\n"));
    assert_eq!(answer.verdict(), (200, String::new()), "{path}");
    (backend.seen().pop().unwrap(), answer.header("x-request-id").unwrap().to_owned())
}

/// The claims of an assertion, verified as a backend does it.
fn verified(gateway: &Gateway, assertion: &str) -> Value {
    let answer = gateway.admin("GET", "/.well-known/jwks.json", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwk-set+json")));
    let keys: JwkSet = serde_json::from_slice(&answer.body).unwrap();
    let header = decode_header(assertion).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("JWT")));
    let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["app"]);
    rules.set_issuer(&["portcullis"]);
    rules.set_required_spec_claims(&["aud", "iss", "exp", "nbf"]);
    (rules.leeway, rules.validate_nbf) = (0, true);
    decode(assertion, &key, &rules).unwrap().claims
}

#[test]
fn the_backend_is_told_what_its_application_asks_for() {
    let backend = Backend::hello();
    let gateway = gateway(&backend, "[groups, scopes, assertion]");
    let begun = now();
    let (seen, request) = sent(&backend, &gateway, Some("olga"), "/places/arctic");
    assert_eq!(seen.header("x-auth-request-user"), Some("olga"));
    assert_eq!(seen.header("x-auth-request-groups"), Some("Everybody,Field%2C%20staff"));
    assert_eq!(seen.header("x-portcullis-scopes"), Some("place:north"));
    // By its name: an assertion may have any letters.
    assert!(
        seen.head.lines().all(|line| !line.split(':').next().unwrap().to_lowercase().contains("x_")),
        "{}",
        seen.head
    );

    let claims = verified(&gateway, seen.header("x-portcullis-assertion").unwrap());
    let issued = claims["iat"].as_u64().unwrap();
    assert!((begun..=now()).contains(&issued), "{claims}");
    let expected = json!({
        "iss": "portcullis", "aud": "app", "sub": "olga", "tid": HOME, "oid": "00000000-0000-0000-0000-000000000001",
        "iat": issued, "nbf": issued, "exp": issued + 60, "jti": request, "route": "place",
    });
    assert_eq!(claims, expected);

    // The gate lets her in, but nobody looked up who she is.
    let (seen, _) = sent(&backend, &gateway, Some("olga"), "/lobby");
    let claims = verified(&gateway, seen.header("x-portcullis-assertion").unwrap());
    assert_eq!((claims.get("sub"), &claims["route"]), (None, &json!("lobby")));
    assert_eq!((seen.all("x-auth-request-groups"), seen.all("x-portcullis-scopes")), (vec![], vec![]));

    // North is not all hers, and half the truth would be none.
    let (seen, _) = sent(&backend, &gateway, Some("vera"), "/places/north");
    assert_eq!((seen.header("x-portcullis-scopes"), seen.header("x-auth-request-user")), (None, Some("vera")));
}

#[test]
fn nobody_is_told_anything_of_strangers() {
    let backend = Backend::hello();
    let gateway = gateway(&backend, "[groups, scopes, assertion]");
    for who in [None, Some("olga")] {
        let (seen, _) = sent(&backend, &gateway, who, "/health");
        assert!(TOLD.iter().all(|name| seen.all(name).is_empty()), "{}", seen.head);
        assert_eq!(seen.header("x-auth-request-user"), None);
    }
}

#[test]
fn what_is_not_asked_for_is_not_sent_and_forged_headers_never_pass() {
    let backend = Backend::hello();
    for (asked, told) in
        [("[]", None), ("groups", Some(TOLD[0])), ("scopes", Some(TOLD[1])), ("assertion", Some(TOLD[2]))]
    {
        let gateway = gateway(&backend, asked);
        let (seen, _) = sent(&backend, &gateway, Some("olga"), "/places/south");
        for name in TOLD {
            assert_eq!(seen.header(name).is_some(), told == Some(name), "{asked}: {name}");
        }
        for forged in ["Admins", "root", "a.b.c"] {
            assert!(!seen.head.lines().any(|line| line.ends_with(forged)), "{}", seen.head);
        }
    }
}
