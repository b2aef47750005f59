//! Issuers of every kind, their keys and their tokens, for tests of the verifier: an Entra tenant with both versions and
//! an application with keys of its own, a second tenant, and an issuer that is not Entra ID.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::token::{
    Algorithms, Fault, Issuer, IssuerId, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Profile, Rules,
    TokenFault, Verified, Verifier,
};
use serde_json::{Value, json};

use crate::identity_provider::Signer;

/// The moment of all verifications, in Unix seconds.
pub const NOW: u64 = 1_790_000_000;
pub const TENANT: &str = "11111111-1111-1111-1111-111111111111";
pub const PARTNER: &str = "44444444-4444-4444-4444-444444444444";
pub const OBJECT: &str = "22222222-2222-2222-2222-22222222222a";
pub const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
/// Microsoft's tenant of personal accounts.
pub const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
pub const OKTA: &str = "https://id.example.org/oauth2/default";

pub const V1: IssuerId = IssuerId(0);
pub const V2: IssuerId = IssuerId(1);
pub const OF_V1: KeySourceId = KeySourceId(0);
pub const OF_V2: KeySourceId = KeySourceId(1);
pub const OF_APPLICATION: KeySourceId = KeySourceId(2);
pub const OF_OKTA: KeySourceId = KeySourceId(3);

pub const RULES: Rules =
    Rules { leeway: 60, max_lifetime: 28 * 3600, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };
/// The header that most tokens have.
pub const HEADER: &str = r#"{"typ":"JWT","alg":"RS256","kid":"rsa"}"#;

pub fn v1_url(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

pub fn v2_url(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

pub fn issuers() -> Issuers {
    let entra = |name: &str, tenant: &str, url: String, kind, keys| Issuer {
        tenant: Arc::from(name),
        tenant_id: tenant.parse().unwrap(),
        url,
        kind,
        keys,
        authorization_uri: None,
    };
    let shared = |source| KeyUse { source, audiences: None };
    let own = KeyUse { source: OF_APPLICATION, audiences: Some(vec!["api://custom".into()]) };
    let profile = Profile {
        subject: "sub".into(),
        client: None,
        roles: "realm_access.roles".into(),
        groups: "groups".into(),
        username: "preferred_username".into(),
        audiences: vec!["api://oms".into(), "api://other".into()],
    };
    Issuers::new(vec![
        entra("uss", TENANT, v1_url(TENANT), IssuerKind::EntraV1, vec![shared(OF_V1)]),
        entra("uss", TENANT, v2_url(TENANT), IssuerKind::EntraV2, vec![shared(OF_V2), own]),
        entra("partner", PARTNER, v2_url(PARTNER), IssuerKind::EntraV2, vec![shared(OF_V2)]),
        Issuer {
            tenant: Arc::from("okta"),
            tenant_id: "55555555-5555-5555-5555-555555555555".parse().unwrap(),
            url: OKTA.into(),
            kind: IssuerKind::Other(Arc::new(profile)),
            keys: vec![shared(OF_OKTA)],
            authorization_uri: None,
        },
    ])
}

/// A verifier, its keys and the pairs behind them.
pub struct World {
    pub verifier: Verifier,
    pub ring: KeyRing,
    pub rsa: Signer,
    pub p256: Signer,
    /// The key of the application that has its own.
    pub application: Signer,
}

impl World {
    pub fn new() -> Self {
        Self::with_rules(RULES)
    }

    pub fn with_rules(rules: Rules) -> Self {
        let (rsa, p256, application) = (Signer::rsa(), Signer::p256(), Signer::p256());
        let keys = set(&keys(&rsa, &p256));
        let ring = KeyRing::empty(4)
            .with(OF_V1, Arc::clone(&keys), NOW)
            .with(OF_V2, Arc::clone(&keys), NOW)
            .with(OF_APPLICATION, set(&[application.jwk("own")]), NOW)
            .with(OF_OKTA, keys, NOW);
        Self { verifier: Verifier::new(issuers(), rules, 1000), ring, rsa, p256, application }
    }

    pub fn verify(&self, token: &str) -> Result<Arc<Verified>, TokenFault> {
        self.verifier.verify(token, &self.ring, NOW)
    }

    /// Signs a payload with the RSA key under the ordinary header.
    pub fn token(&self, payload: &Value) -> String {
        self.rsa.sign(HEADER, &payload.to_string())
    }

    /// The ring with the shared keys of the tenants replaced.
    pub fn with_keys(&self, entries: &[Value]) -> KeyRing {
        self.ring.with(OF_V2, set(entries), NOW)
    }
}

/// The entries of the shared key document.
pub fn keys(rsa: &Signer, p256: &Signer) -> Vec<Value> {
    let template = json!("https://login.microsoftonline.com/{tenantid}/v2.0");
    vec![
        rsa.jwk("rsa"),
        p256.jwk("p256"),
        with(rsa.jwk("rsa-template"), "issuer", template.clone()),
        with(rsa.jwk("rsa-consumers"), "issuer", json!(v2_url(CONSUMERS))),
        with(rsa.jwk("rsa-tenant"), "issuer", json!(v2_url(TENANT))),
        with(rsa.jwk("rsa-named"), "alg", json!("RS256")),
        with(rsa.jwk("rsa-pss"), "alg", json!("PS256")),
        with(rsa.jwk("rsa-x5c"), "x5c", json!(["MIIC/zCCAeegAwIBAgIJ"])),
        without(without(rsa.jwk("rsa-bare"), "use"), "x5t"),
        with(without(rsa.jwk("rsa-ops"), "use"), "key_ops", json!(["verify"])),
        with(p256.jwk("p256-named"), "alg", json!("ES256")),
        with(p256.jwk("p256-template"), "issuer", template),
        rsa.jwk(&"k".repeat(128)),
        rsa.jwk("nOo3ZDrODXEK1jKWhXslHR_KXEg"),
        rsa.jwk("schlüssel/ünf"),
    ]
}

pub fn set(entries: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({ "keys": entries }).to_string().as_bytes()).unwrap())
}

/// What a user's v2 token says.
pub fn user() -> Value {
    json!({
        "aud": "api://oms", "iss": v2_url(TENANT), "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600,
        "azp": CLIENT, "azpacr": "0", "oid": OBJECT, "preferred_username": "olga@example.org",
        "scp": "access_as_user", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "tid": TENANT, "ver": "2.0",
        "roles": ["IPS Access"], "uti": "zXGaMJNq-UuBTK-b9aNLAA", "rh": "0.AX0A", "aio": "AVQAq/8TAAAA",
    })
}

/// What a user's v1 token says.
pub fn user_v1() -> Value {
    all(
        without(without(without(user(), "azp"), "azpacr"), "preferred_username"),
        &[
            ("iss", json!(v1_url(TENANT))),
            ("ver", json!("1.0")),
            ("appid", json!(CLIENT)),
            ("appidacr", json!("1")),
            ("upn", json!("olga@example.org")),
            ("unique_name", json!("olga@example.org")),
            ("acr", json!("1")),
            ("amr", json!(["pwd", "mfa"])),
            ("ipaddr", json!("192.0.2.1")),
            ("family_name", json!("Ó Súilleabháin")),
            ("given_name", json!("Olga")),
            ("onprem_sid", json!("S-1-5-21-1")),
        ],
    )
}

/// What an application's own v2 token says.
pub fn app() -> Value {
    all(without(without(user(), "scp"), "preferred_username"), &[("sub", json!(OBJECT)), ("azpacr", json!("2"))])
}

/// What an application's own v1 token says.
pub fn app_v1() -> Value {
    let claims = ["scp", "upn", "unique_name", "amr", "family_name", "given_name", "onprem_sid", "ipaddr"];
    with(claims.into_iter().fold(user_v1(), without), "sub", json!(OBJECT))
}

/// What a token of the issuer that is not Entra ID says.
pub fn okta() -> Value {
    json!({
        "iss": OKTA, "aud": "api://oms", "sub": "olga", "iat": NOW - 300, "exp": NOW + 3600, "jti": "AT.1",
        "client_id": "spa", "realm_access": {"roles": ["reader"]}, "groups": ["Everyone"], "scp": ["openid"],
    })
}

pub fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

pub fn all(object: Value, members: &[(&str, Value)]) -> Value {
    members.iter().fold(object, |object, (name, value)| with(object, name, value.clone()))
}

pub fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

/// Base64url without padding.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of three texts, the signature given as bytes.
pub fn assembled(header: &str, payload: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", base64(header), base64(payload), base64(signature))
}

/// The fault of a refusal; there is always some key, so keys are never unavailable unless a test withdraws them.
pub fn fault_of(refusal: &TokenFault) -> Option<Fault> {
    match refusal {
        TokenFault::Invalid(fault) => Some(*fault),
        TokenFault::UnknownKey(_) => Some(Fault::UnknownKey),
        TokenFault::KeysUnavailable(_) => None,
    }
}
