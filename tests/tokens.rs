//! Tokens through the public API, with real signatures: which are believed, why the others are not, what is remembered.

#[path = "support/identity_provider.rs"]
mod identity_provider;

use std::sync::Arc;

use portcullis::model::Guid;
use portcullis::token::mint::{DevelopmentKey, UserToken};
use portcullis::token::{
    Algorithms, Check, Fault, Inspection, Issuer, IssuerId, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse,
    LocalVerifier, Outcome, Rules, TokenFault, Verified, Verifier, Verify, WantedKey,
};
use serde_json::{Value, json};

use identity_provider::Signer;

const NOW: u64 = 1_790_000_000;
const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const OBJECT: &str = "22222222-2222-2222-2222-222222222222";
const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
const V1: IssuerId = IssuerId(0);
const V2: IssuerId = IssuerId(1);
/// Where the keys of the two stand.
const K1: KeySourceId = KeySourceId(0);
const K2: KeySourceId = KeySourceId(1);
const RULES: Rules =
    Rules { leeway: 60, max_lifetime: 28 * 3600, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };

fn v1_url() -> String {
    format!("https://sts.windows.net/{TENANT}/")
}

fn v2_url() -> String {
    format!("https://login.microsoftonline.com/{TENANT}/v2.0")
}

fn issuers(v1: &str, v2: &str) -> Issuers {
    let issuer = |url: &str, kind, source| Issuer {
        tenant: Arc::from("uss"),
        tenant_id: TENANT.parse().unwrap(),
        url: url.to_owned(),
        kind,
        keys: vec![KeyUse { source, audiences: None }],
        authorization_uri: None,
    };
    Issuers::new(vec![issuer(v1, IssuerKind::EntraV1, K1), issuer(v2, IssuerKind::EntraV2, K2)])
}

fn verifier() -> Verifier {
    Verifier::new(issuers(&v1_url(), &v2_url()), RULES, 1000)
}

fn set(keys: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
}

/// A verifier, its keys and the pairs behind them.
struct World {
    verifier: Verifier,
    ring: KeyRing,
    rsa: Signer,
    p256: Signer,
}

impl World {
    fn new() -> Self {
        let (rsa, p256) = (Signer::rsa(), Signer::p256());
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let consumers = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        let keys = set(&[
            rsa.jwk("rsa"),
            p256.jwk("p256"),
            with(rsa.jwk("rsa-template"), "issuer", json!(template)),
            with(rsa.jwk("rsa-consumers"), "issuer", json!(consumers)),
            with(p256.jwk("p256-named"), "alg", json!("ES256")),
        ]);
        let ring = KeyRing::empty(2).with(K1, Arc::clone(&keys), NOW).with(K2, keys, NOW);
        Self { verifier: verifier(), ring, rsa, p256 }
    }

    fn verify(&self, token: &str) -> Result<Arc<Verified>, TokenFault> {
        let verdict = self.verifier.verify(token, &self.ring, NOW);
        agrees(&self.verifier.inspect(token, &self.ring, NOW), verdict.as_ref().map(|_| ()));
        verdict
    }

    /// Signs a payload with the RSA key under an ordinary header.
    fn token(&self, payload: &Value) -> String {
        self.rsa.sign(r#"{"typ":"JWT","alg":"RS256","kid":"rsa"}"#, &payload.to_string())
    }
}

/// Whether an inspection says what verification says: all checks pass, or the first that does not is the fault.
fn agrees(inspection: &Inspection, verdict: Result<(), &TokenFault>) {
    let first = inspection.steps.iter().map(|step| step.outcome).find(|outcome| *outcome != Outcome::Passed);
    let expected = match verdict {
        Ok(()) => None,
        Err(TokenFault::Invalid(fault)) => Some(Outcome::Failed(*fault)),
        Err(TokenFault::UnknownKey(_)) => Some(Outcome::Failed(Fault::UnknownKey)),
        Err(TokenFault::KeysUnavailable(_)) => Some(Outcome::NoKeys),
    };
    assert_eq!(first, expected, "{:?}", inspection.steps);
    assert_eq!(inspection.verdict.as_ref().map(|_| ()), verdict);
    assert_eq!(inspection.steps.iter().map(|step| step.check).collect::<Vec<_>>(), Check::ALL);
}

/// What a user's v2 token says.
fn user() -> Value {
    json!({
        "aud": "api://oms", "iss": v2_url(), "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600, "azp": CLIENT,
        "azpacr": "0", "oid": OBJECT, "preferred_username": "olga@example.org", "scp": "access_as_user",
        "sub": "pairwise", "tid": TENANT, "ver": "2.0", "roles": ["IPS Access"], "uti": "x", "rh": "y",
    })
}

fn wanted(kid: &str) -> WantedKey {
    WantedKey { issuer: V2, kid: kid.into() }
}

fn word_of(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Invalid(fault) => fault.word(),
        TokenFault::UnknownKey(_) => Fault::UnknownKey.word(),
        TokenFault::KeysUnavailable(_) => "keys_unavailable",
    }
}

/// What a user's v1 token says.
fn user_v1() -> Value {
    let mut claims = without(without(user(), "azp"), "preferred_username");
    for (name, value) in
        [("iss", json!(v1_url())), ("ver", json!("1.0")), ("appid", json!(CLIENT)), ("upn", json!("olga@example.org"))]
    {
        claims = with(claims, name, value);
    }
    claims
}

/// What an application's own v2 token says.
fn app() -> Value {
    with(without(without(user(), "scp"), "preferred_username"), "sub", json!(OBJECT))
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn good_tokens_are_believed() {
    let world = World::new();
    for claims in [
        user(),
        user_v1(),
        app(),
        with(app(), "idtyp", json!("app")),
        with(with(app(), "idtyp", json!("app")), "sub", json!("pairwise")),
        with(user(), "idtyp", json!("user")),
        with(user(), "aud", json!(["api://oms", "api://other"])),
        with(user(), "tid", json!(TENANT.to_uppercase())),
        with(user(), "exp", json!(NOW - 59)),
        with(user(), "nbf", json!(NOW + 60)),
        with(user(), "exp", json!(1.79e9 + 3600.0)),
        with(user(), "exp", json!(NOW - 300 + 28 * 3600)),
        with(user(), "unknown", json!({"deep": [{"a": [1.5, -1, null, true]}]})),
        without(user(), "roles"),
        without(user(), "iat"),
        without(user(), "preferred_username"),
    ] {
        let verified = world.verify(&world.token(&claims)).unwrap_or_else(|fault| panic!("{fault:?}: {claims}"));
        assert_eq!(verified.principal.tenant, TENANT.parse::<Guid>().unwrap());
        assert_eq!(verified.principal.object, OBJECT.parse::<Guid>().unwrap());
        assert_eq!((&*verified.tenant, &*verified.audiences[0]), ("uss", "api://oms"));
    }
    let verified = world.verify(&world.token(&user())).unwrap();
    assert_eq!((verified.issuer, verified.window.until), (V2, NOW + 3600));
    assert_eq!((&*verified.roles[0], verified.username.as_deref()), ("IPS Access", Some("olga@example.org")));
    assert_eq!(world.verify(&world.token(&user_v1())).unwrap().issuer, V1);
}

#[test]
fn good_headers_are_believed() {
    let world = World::new();
    let claims = user().to_string();
    for (signer, header) in [
        (&world.rsa, json!({"alg": "RS256", "kid": "rsa"})),
        (&world.rsa, json!({"alg": "RS256", "kid": "rsa", "typ": "jwt", "x5t": "rsa"})),
        (&world.rsa, json!({"alg": "RS256", "kid": "rsa-template", "typ": "at+jwt"})),
        (&world.p256, json!({"alg": "ES256", "kid": "p256"})),
        (&world.p256, json!({"alg": "ES256", "kid": "p256-named"})),
    ] {
        let token = signer.sign(&header.to_string(), &claims);
        assert!(world.verify(&token).is_ok(), "{header}");
    }
    let v1 = world.rsa.sign(r#"{"alg":"RS256","kid":"rsa-template"}"#, &user_v1().to_string());
    assert!(world.verify(&v1).is_ok(), "v1 keys are published under the v2 issuer");
}

#[test]
fn each_fault_of_the_claims_has_its_word() {
    let world = World::new();
    let id_token = without(without(user(), "scp"), "azp");
    for (claims, word) in [
        (without(user(), "iss"), "no_issuer"),
        (with(user(), "iss", json!([v2_url()])), "no_issuer"),
        (with(user(), "iss", json!(format!("{}/", v2_url()))), "unknown_issuer"),
        (with(user(), "iss", json!("https://login.microsoftonline.com/{tenantid}/v2.0")), "unknown_issuer"),
        (without(user(), "ver"), "no_version"),
        (with(user(), "ver", json!("1.0")), "wrong_version"),
        (with(user(), "ver", json!(2.0)), "no_version"),
        (with(user_v1(), "ver", json!("2.0")), "wrong_version"),
        (without(user(), "tid"), "no_tenant"),
        (with(user(), "tid", json!(OBJECT)), "wrong_tenant"),
        (with(user(), "tid", json!([TENANT])), "no_tenant"),
        (with(user(), "tid", json!(format!("{{{TENANT}}}"))), "no_tenant"),
        (without(user(), "aud"), "no_audience"),
        (with(user(), "aud", json!("")), "bad_audience"),
        (with(user(), "aud", json!([])), "bad_audience"),
        (with(user(), "aud", json!(["api://oms", 1])), "bad_audience"),
        (with(user(), "aud", json!(["api://oms", ""])), "bad_audience"),
        (with(user(), "aud", json!({"api://oms": true})), "bad_audience"),
        (without(user(), "exp"), "no_expiry"),
        (without(user(), "nbf"), "no_start"),
        (with(user(), "exp", json!(format!("{}", NOW + 3600))), "bad_expiry"),
        (with(user(), "exp", json!(null)), "bad_expiry"),
        (with(user(), "exp", json!(-1)), "bad_expiry"),
        (with(user(), "exp", json!(NOW as f64 + 0.5)), "bad_expiry"),
        (with(user(), "exp", json!(u64::MAX)), "bad_expiry"),
        (with(user(), "exp", json!(1e300)), "bad_expiry"),
        (with(user(), "nbf", json!("0")), "bad_start"),
        (with(user(), "iat", json!(true)), "bad_issue_time"),
        (with(user(), "nbf", json!(NOW + 3601)), "times_contradict"),
        (with(user(), "exp", json!(NOW - 60)), "expired"),
        (with(user(), "exp", json!(NOW - 300)), "expired"),
        (with(user(), "nbf", json!(NOW + 61)), "not_yet_valid"),
        (with(user(), "iat", json!(NOW + 61)), "issued_in_future"),
        (with(user(), "exp", json!(1_u64 << 53)), "lifetime_too_long"),
        (with(user(), "exp", json!(NOW - 300 + 28 * 3600 + 61)), "lifetime_too_long"),
        (with(user(), "nbf", json!(0)), "lifetime_too_long"),
        (without(user(), "oid"), "no_object_id"),
        (with(user(), "oid", json!("olga")), "bad_object_id"),
        (with(user(), "oid", json!([OBJECT])), "bad_object_id"),
        (id_token, "id_token"),
        (without(user(), "scp"), "not_an_access_token"),
        (with(user(), "scp", json!("")), "bad_scopes"),
        (with(user(), "scp", json!(["access_as_user"])), "bad_scopes"),
        (with(app(), "scp", json!(" ")), "bad_scopes"),
        (with(app(), "idtyp", json!("user")), "bad_token_kind"),
        (with(user(), "idtyp", json!("app")), "bad_token_kind"),
        (with(user(), "idtyp", json!(["user"])), "bad_token_kind"),
        (without(user(), "azp"), "no_client"),
        (with(user(), "azp", json!("")), "bad_client"),
        (with(without(user(), "azp"), "appid", json!(CLIENT)), "no_client"),
        (without(user_v1(), "appid"), "no_client"),
        (with(user(), "cnf", json!({"kid": "x"})), "proof_of_possession"),
        (with(user(), "cnf", json!(null)), "proof_of_possession"),
        (with(user(), "roles", json!("IPS Access")), "bad_roles"),
        (with(user(), "roles", json!(["IPS Access", 1])), "bad_roles"),
        (with(user(), "roles", json!(null)), "bad_roles"),
    ] {
        assert_eq!(word_of(world.verify(&world.token(&claims)).unwrap_err()), word, "{claims}");
    }
    let twice = user().to_string().replacen('{', &format!("{{\"oid\":\"{CLIENT}\","), 1);
    let escaped = user().to_string().replacen('{', &format!("{{\"\\u006fid\":\"{CLIENT}\","), 1);
    for (payload, word) in [
        (twice.as_str(), "payload_name_twice"),
        (escaped.as_str(), "payload_name_twice"),
        ("[]", "malformed_payload"),
        ("{", "malformed_payload"),
        ("null", "malformed_payload"),
        ("{}\u{0}", "malformed_payload"),
    ] {
        let token = world.rsa.sign(r#"{"alg":"RS256","kid":"rsa"}"#, payload);
        assert_eq!(word_of(world.verify(&token).unwrap_err()), word, "{payload}");
    }
}

#[test]
fn each_fault_of_header_key_and_signature_has_its_word() {
    let world = World::new();
    let claims = user().to_string();
    for (signer, header, expected) in [
        (&world.rsa, r#"{"alg":"RS256","kid":"p256"}"#, TokenFault::Invalid(Fault::KeyMismatch)),
        (&world.p256, r#"{"alg":"ES256","kid":"rsa"}"#, TokenFault::Invalid(Fault::KeyMismatch)),
        (&world.rsa, r#"{"alg":"RS256","kid":"rsa-consumers"}"#, TokenFault::Invalid(Fault::KeyIssuer)),
        (&world.p256, r#"{"alg":"RS256","kid":"rsa"}"#, TokenFault::Invalid(Fault::BadSignature)),
        (&world.rsa, r#"{"alg":"ES256","kid":"p256"}"#, TokenFault::Invalid(Fault::BadSignature)),
        (&world.rsa, r#"{"alg":"RS256","kid":"new"}"#, TokenFault::UnknownKey(wanted("new"))),
        (&world.rsa, r#"{"alg":"RS256","kid":"RSA"}"#, TokenFault::UnknownKey(wanted("RSA"))),
        (&world.rsa, r#"{"alg":"none","kid":"rsa"}"#, TokenFault::Invalid(Fault::Unsigned)),
        (&world.rsa, r#"{"alg":"HS256","kid":"rsa"}"#, TokenFault::Invalid(Fault::SymmetricAlgorithm)),
        (&world.rsa, r#"{"alg":"RS256","kid":"rsa","crit":["b64"]}"#, TokenFault::Invalid(Fault::CriticalHeader)),
        (&world.rsa, r#"{"alg":"RS256","kid":"rsa","typ":"JWE"}"#, TokenFault::Invalid(Fault::WrongType)),
        (&world.rsa, r#"{"alg":"RS256"}"#, TokenFault::Invalid(Fault::NoKeyId)),
        (&world.rsa, r#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#, TokenFault::Invalid(Fault::HeaderNameTwice)),
    ] {
        assert_eq!(world.verify(&signer.sign(header, &claims)).unwrap_err(), expected, "{header}");
    }
    let graph = with(user(), "aud", json!("00000003-0000-0000-c000-000000000000")).to_string();
    let foreign = Signer::rsa().sign(r#"{"alg":"RS256","kid":"rsa","nonce":"n"}"#, &graph);
    assert_eq!(world.verify(&foreign).unwrap_err(), TokenFault::Invalid(Fault::GraphToken));

    let empty = KeyRing::empty(2);
    let token = world.token(&user());
    assert_eq!(world.verifier.verify(&token, &empty, NOW).unwrap_err(), TokenFault::KeysUnavailable(wanted("rsa")));
}

#[test]
fn an_inspection_goes_on_after_a_fault_where_there_is_more_to_say() {
    let world = World::new();
    let inspect = |token: &str| world.verifier.inspect(token, &world.ring, NOW);
    let failed = |inspection: &Inspection| -> Vec<&'static str> {
        let fault = |outcome| if let Outcome::Failed(fault) = outcome { Some(Fault::word(fault)) } else { None };
        inspection.steps.iter().filter_map(|step| fault(step.outcome)).collect()
    };
    let claims = with(with(with(user(), "exp", json!(NOW - 120)), "oid", json!("olga")), "roles", json!("x"));
    let token = Signer::rsa().sign(r#"{"alg":"RS256","kid":"rsa","typ":"JWE","zip":1}"#, &claims.to_string());
    let inspection = inspect(&token);
    let expected = ["compressed", "wrong_type", "bad_signature", "expired", "bad_object_id", "bad_roles"];
    assert_eq!(failed(&inspection), expected);
    assert!(inspection.said.is_none());

    let expired = inspect(&world.token(&with(user(), "exp", json!(NOW - 120))));
    assert_eq!(expired.said.unwrap().principal.object, OBJECT.parse::<Guid>().unwrap(), "to show what would come next");

    let token = world.token(&user());
    let (cut, _) = token.rsplit_once('.').unwrap();
    let inspection = inspect(cut);
    assert_eq!(failed(&inspection), ["malformed"]);
    assert_eq!(inspection.text("iss"), Some(v2_url().as_str()), "what is there is shown");
    assert_eq!(inspection.outcome(Check::Signature), Outcome::NotReached);

    let keyless = world.verifier.inspect(&token, &KeyRing::empty(2), NOW);
    agrees(&keyless, Err(&TokenFault::KeysUnavailable(wanted("rsa"))));
    for (check, outcome) in [
        (Check::Signature, Outcome::NoKeys),
        (Check::AudienceOfKey, Outcome::NoKeys),
        (Check::Now, Outcome::Passed),
        (Check::Caller, Outcome::Passed),
    ] {
        assert_eq!(keyless.outcome(check), outcome, "{check:?}");
    }
    let graph = with(with(user(), "aud", json!("https://graph.microsoft.com")), "iss", json!("https://elsewhere"));
    assert!(inspect(&world.token(&graph)).for_graph, "named though another fault comes first");
}

#[test]
fn a_token_changed_in_any_byte_is_not_believed() {
    let world = World::new();
    for token in [world.token(&user()), world.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &user().to_string())] {
        assert!(world.verify(&token).is_ok());
        // Each place once; a changed header or payload may fail before its signature does, but never passes.
        for position in (0..token.len()).step_by(7).chain(token.len() - 4..token.len()) {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(world.verify(&changed).is_err(), "changed at {position}");
        }
        assert!(world.verify(&token[..token.len() - 1]).is_err());
        assert!(world.verify(&format!("{token}A")).is_err());
    }
}

#[test]
fn names_are_passed_on_only_if_they_can_be_shown_anywhere() {
    let world = World::new();
    for (name, expected) in [
        (json!("olga@example.org"), Some("olga@example.org")),
        (json!("olga\r\nX-Admin: yes"), None),
        (json!("ölga"), None),
        (json!("a\u{0}b"), None),
        (json!(""), None),
        (json!("x".repeat(257)), None),
        (json!(["olga"]), None),
    ] {
        let verified = world.verify(&world.token(&with(user(), "preferred_username", name))).unwrap();
        assert_eq!(verified.username.as_deref(), expected);
    }
}

#[test]
fn a_remembered_token_is_the_same_verdict_without_another_verification() {
    let world = World::new();
    let token = world.token(&user());
    let first = world.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &world.verify(&token).unwrap()));
    assert!(!Arc::ptr_eq(&first, &world.verify(&world.token(&with(user(), "uti", json!("other")))).unwrap()));
}

#[test]
fn a_remembered_token_expires() {
    let world = World::new();
    let token = world.token(&user());
    let at = |now| world.verifier.verify(&token, &world.ring, now);
    assert!(at(NOW).is_ok());
    assert!(at(NOW + 3659).is_ok());
    assert_eq!(at(NOW + 3660).unwrap_err(), TokenFault::Invalid(Fault::Expired));
    assert!(at(NOW).is_ok(), "a clock that is set back makes it valid again");
    assert_eq!(at(NOW - 361).unwrap_err(), TokenFault::Invalid(Fault::NotYetValid));
    assert_eq!(at(u64::MAX).unwrap_err(), TokenFault::Invalid(Fault::Expired));
    assert_eq!(at(0).unwrap_err(), TokenFault::Invalid(Fault::NotYetValid));
}

/// A verifier of a thread's own, and how many tokens it had to verify so far.
fn local() -> (LocalVerifier, impl Fn() -> u64) {
    let shared = Arc::new(verifier());
    (LocalVerifier::new(Arc::clone(&shared)), move || shared.lookups().misses)
}

#[test]
fn what_a_thread_remembers_ends_with_its_keys_and_its_time_as_it_does_for_all() {
    let world = World::new();
    let token = world.token(&user());
    let (local, _) = local();
    let ask = |ring: &KeyRing, now| local.verify(&token, ring, now).map(|_| ());
    let expired = Err(TokenFault::Invalid(Fault::Expired));
    let rotated = world.ring.with(K2, set(&[world.p256.jwk("p256")]), NOW);
    let other = world.ring.with(K2, set(&[Signer::rsa().jwk("rsa")]), NOW);
    let kept = world.ring.with(K1, set(&[world.rsa.jwk("rsa")]), NOW);
    for (ring, now, expected) in [
        (&world.ring, NOW, Ok(())),
        (&world.ring, NOW + 3659, Ok(())),
        (&world.ring, NOW + 3660, expired),
        (&world.ring, NOW, Ok(())),
        (&world.ring, NOW - 361, Err(TokenFault::Invalid(Fault::NotYetValid))),
        (&kept, NOW, Ok(())),
        (&rotated, NOW, Err(TokenFault::UnknownKey(wanted("rsa")))),
        (&rotated, NOW, Err(TokenFault::UnknownKey(wanted("rsa")))),
        (&world.ring, NOW, Ok(())),
        (&other, NOW, Err(TokenFault::Invalid(Fault::BadSignature))),
        (&world.ring.without(K2), NOW, Err(TokenFault::KeysUnavailable(wanted("rsa")))),
        (&world.ring, NOW, Ok(())),
    ] {
        assert_eq!(ask(ring, now), expected, "at {now} with {ring:?}");
    }
}

#[test]
fn what_a_thread_does_not_know_it_learns_from_the_others() {
    let world = World::new();
    let shared = Arc::new(verifier());
    let [one, other] = [(); 2].map(|()| LocalVerifier::new(Arc::clone(&shared)));
    let token = world.token(&user());
    assert!(other.recall(token.as_bytes(), &world.ring, NOW).is_none());
    let verified = one.verify(&token, &world.ring, NOW).unwrap();
    for verifier in [&one, &other, &other] {
        assert!(Arc::ptr_eq(&verified, &verifier.recall(token.as_bytes(), &world.ring, NOW).unwrap().unwrap()));
    }
    assert_eq!((shared.lookups().hits, shared.lookups().misses), (3, 1));
}

#[test]
fn a_genuine_token_whose_time_is_not_now_is_verified_once_and_a_forged_one_each_time() {
    let world = World::new();
    let times =
        |from: u64, until: u64| with(with(with(user(), "iat", json!(from)), "nbf", json!(from)), "exp", json!(until));
    let bad_roles = with(times(NOW - 7200, NOW - 3600), "roles", json!("no list"));
    for (token, fault, verified) in [
        (world.token(&times(NOW - 7200, NOW - 3600)), Fault::Expired, 1),
        (world.token(&times(NOW + 3600, NOW + 7200)), Fault::NotYetValid, 1),
        (world.token(&bad_roles), Fault::Expired, 5),
        (Signer::rsa().sign(r#"{"alg":"RS256","kid":"rsa"}"#, &user().to_string()), Fault::BadSignature, 5),
    ] {
        let (local, misses) = local();
        for _ in 0..5 {
            assert_eq!(local.verify(&token, &world.ring, NOW).unwrap_err(), TokenFault::Invalid(fault));
        }
        assert_eq!(misses(), verified, "{fault:?}");
    }
}

#[test]
fn a_withdrawn_key_stops_a_remembered_token_at_once() {
    let world = World::new();
    let token = world.token(&user());
    assert!(world.verify(&token).is_ok());

    let rotated = world.ring.with(K2, set(&[world.p256.jwk("p256")]), NOW);
    assert_eq!(world.verifier.verify(&token, &rotated, NOW).unwrap_err(), TokenFault::UnknownKey(wanted("rsa")));
    let other = world.ring.with(K2, set(&[Signer::rsa().jwk("rsa")]), NOW);
    assert_eq!(world.verifier.verify(&token, &other, NOW).unwrap_err(), TokenFault::Invalid(Fault::BadSignature));
    let gone = world.ring.without(K2);
    assert_eq!(world.verifier.verify(&token, &gone, NOW).unwrap_err(), TokenFault::KeysUnavailable(wanted("rsa")));
    assert!(world.verify(&token).is_ok(), "with the old keys it is as good as before");
}

#[test]
fn no_token_gets_the_verdict_of_another() {
    let world = World::new();
    let good = world.token(&user());
    assert!(world.verify(&good).is_ok());
    let (head, tail) = good.rsplit_once('.').unwrap();
    let other = world.token(&with(user(), "oid", json!(CLIENT)));
    let (other_head, _) = other.rsplit_once('.').unwrap();
    let rest = &head[head.find('.').unwrap()..];
    let none = format!("eyJhbGciOiJub25lIn0{rest}.{tail}");
    for forged in
        [format!("{other_head}.{tail}"), none, format!("{head}.AAAA"), format!("{good}="), good.to_lowercase()]
    {
        assert!(world.verify(&forged).is_err(), "{forged}");
    }
    let verified = world.verify(&other).unwrap();
    assert_eq!(verified.principal.object, CLIENT.parse::<Guid>().unwrap());
}

#[test]
fn memory_for_tokens_is_bounded() {
    let world = World::new();
    let verifier = Verifier::new(issuers(&v1_url(), &v2_url()), RULES, 0);
    let token = world.token(&user());
    let first = verifier.verify(&token, &world.ring, NOW).unwrap();
    assert!(!Arc::ptr_eq(&first, &verifier.verify(&token, &world.ring, NOW).unwrap()), "nothing is remembered");
}

#[test]
fn minted_tokens_of_both_versions_are_believed() {
    let key = DevelopmentKey::generate().unwrap();
    let keys = Arc::new(KeySet::parse(key.jwks().as_bytes()).unwrap());
    assert!(keys.has_development_key());
    assert!(!set(&[Signer::p256().jwk("p256")]).has_development_key());
    let ring = KeyRing::empty(2).with(K1, Arc::clone(&keys), NOW).with(K2, keys, NOW);
    for (issuer, kind) in [(v1_url(), IssuerKind::EntraV1), (v2_url(), IssuerKind::EntraV2)] {
        let claims = UserToken {
            tenant_id: TENANT.parse().unwrap(),
            object_id: OBJECT.parse().unwrap(),
            issuer: &issuer,
            kind,
            audience: "api://oms",
            roles: &["IPS Access"],
            username: "olga@example.org",
            now: NOW,
            lifetime: 3600,
        }
        .claims();
        let verified = verifier().verify(&key.mint(&claims).unwrap(), &ring, NOW).unwrap();
        assert_eq!(verified.username.as_deref(), Some("olga@example.org"));
        assert_eq!((&*verified.roles[0], verified.window.until), ("IPS Access", NOW + 3600));
    }
}
