//! How the keys of issuers are fetched, kept and replaced, over real sockets: what brings keys and what never does, how
//! often an issuer is asked, and that no answer makes anything worse.

#[path = "support/identity_provider.rs"]
mod identity_provider;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::snapshot::{Live, Snapshot};
use portcullis::source::jwks::{self, From, Intervals, KeySource};
use portcullis::telemetry::Telemetry;
use portcullis::token::mint::DEVELOPMENT_KID_PREFIX;
use portcullis::token::{
    Algorithms, Fault, Issuer, IssuerId, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Rules, TokenFault,
    Verifier, WantedKey,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use identity_provider::{Answer, Server, Signer};

const NOW: u64 = 1_790_000_000;
const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const OBJECT: &str = "22222222-2222-2222-2222-222222222222";
const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
const V1: IssuerId = IssuerId(0);
const V2: IssuerId = IssuerId(1);
/// Where the keys of the two stand, and where those of an application.
const K1: KeySourceId = KeySourceId(0);
const K2: KeySourceId = KeySourceId(1);
const APP: KeySourceId = KeySourceId(2);
const RULES: Rules =
    Rules { leeway: 60, max_lifetime: 28 * 3600, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };

/// A verifier of two issuers with keys of their own each; an application may sign for the second.
fn verifier(v1: &str, v2: &str) -> Verifier {
    let own = |source| KeyUse { source, audiences: None };
    let application = KeyUse { source: APP, audiences: Some(vec![CLIENT.into(), format!("api://{CLIENT}").into()]) };
    let issuer = |url: &str, kind, keys| Issuer {
        tenant: Arc::from("uss"),
        tenant_id: TENANT.parse().unwrap(),
        url: url.to_owned(),
        kind,
        keys,
        authorization_uri: None,
    };
    let issuers = vec![
        issuer(v1, IssuerKind::EntraV1, vec![own(K1)]),
        issuer(v2, IssuerKind::EntraV2, vec![own(K2), application]),
    ];
    Verifier::new(Issuers::new(issuers), RULES, 10)
}

/// What a user's v2 token of an issuer says.
fn user(issuer: &str) -> Value {
    json!({
        "aud": "api://oms", "iss": issuer, "iat": NOW - 300, "nbf": NOW - 300, "exp": NOW + 3600, "azp": CLIENT,
        "oid": OBJECT, "scp": "access_as_user", "sub": "pairwise", "tid": TENANT, "ver": "2.0",
    })
}

fn user_v1(issuer: &str) -> Value {
    with(with(user(issuer), "ver", json!("1.0")), "appid", json!(CLIENT))
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn wanted(kid: &str) -> WantedKey {
    WantedKey { issuer: V2, kid: kid.into() }
}

fn set(keys: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
}

fn seconds_now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Short intervals for tests; what is not tested lasts for ever.
const QUICK: Intervals = Intervals {
    refresh: Duration::from_secs(3600),
    wake: Duration::from_secs(3600),
    retry: Duration::from_millis(20),
    retry_longest: Duration::from_millis(50),
    file: Duration::from_millis(20),
    keep: Duration::from_secs(24 * 3600),
    fetch: Duration::from_secs(10),
};

/// A running key keeper.
struct Keeping {
    live: Arc<Live>,
    wake: mpsc::Sender<WantedKey>,
    task: tokio::task::JoinHandle<()>,
}

impl Keeping {
    fn start(intervals: Intervals, sources: Vec<KeySource>) -> Self {
        Self::start_with(intervals, sources, KeyRing::empty(3))
    }

    fn start_with(intervals: Intervals, sources: Vec<KeySource>, ring: KeyRing) -> Self {
        let live = Arc::new(Live::new(Snapshot {
            serial: 1,
            loaded_at: NOW,
            routes: Arc::default(),
            domains: Arc::default(),
            keys: Arc::new(ring),
            revoked: Arc::default(),
        }));
        let (wake, woken) = mpsc::channel(128);
        let telemetry = Telemetry::new("0.0.0", false);
        let task = tokio::spawn(jwks::keep(intervals, sources, Arc::clone(&live), telemetry, woken));
        Self { live, wake, task }
    }

    fn kids(&self, issuer: IssuerId) -> Vec<String> {
        self.kids_of(KeySourceId(issuer.0))
    }

    fn kids_of(&self, source: KeySourceId) -> Vec<String> {
        let keys = &self.live.load().keys;
        keys.get(source).map(|keys| keys.kids().map(String::from).collect()).unwrap_or_default()
    }

    async fn wake(&self, kid: &str) {
        self.wake.send(wanted(kid)).await.unwrap();
    }

    async fn until(&self, issuer: IssuerId, kids: &[&str]) {
        eventually(&format!("{issuer:?} has {kids:?}"), || self.kids(issuer) == kids).await;
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}

/// Long enough for a fetch that must not happen, or must not change anything, to have happened.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

const DISCOVERY: [&str; 2] = ["/.well-known/openid-configuration", "/v2.0/.well-known/openid-configuration"];

/// The `iss` of an issuer whose documents `server` holds.
fn url_at(server: &Server, issuer: IssuerId) -> String {
    if issuer == V1 { format!("{}/", server.base) } else { format!("{}/v2.0", server.base) }
}

/// Puts an issuer's discovery document on the server and returns where to find it.
fn discovery(server: &Server, issuer: IssuerId) -> KeySource {
    let path = DISCOVERY[usize::from(issuer.0)];
    let url = url_at(server, issuer);
    server
        .answer(path, Answer::json(&json!({"issuer": url, "jwks_uri": format!("{}/keys", server.base), "other": []})));
    let from = From::Discovery { document: format!("{}{path}", server.base), ca: server.ca.clone() };
    KeySource { id: KeySourceId(issuer.0), issuer, url, application: None, from, development: true }
}

fn publish(server: &Server, keys: &[Value]) {
    server.answer("/keys", Answer::json(&json!({ "keys": keys })));
}

#[tokio::test]
async fn keys_come_by_discovery_of_both_versions_over_http_and_tls() {
    for server in [Server::http().await, Server::https().await] {
        let signer = Signer::p256();
        publish(&server, &[signer.jwk("one")]);
        let keeping = Keeping::start(QUICK, vec![discovery(&server, V1), discovery(&server, V2)]);
        keeping.until(V1, &["one"]).await;
        keeping.until(V2, &["one"]).await;

        let (v1, v2) = (url_at(&server, V1), url_at(&server, V2));
        let verifier = verifier(&v1, &v2);
        for (claims, issuer) in [(user_v1(&v1), V1), (user(&v2), V2)] {
            let token = signer.sign(r#"{"alg":"ES256","kid":"one"}"#, &claims.to_string());
            assert_eq!(verifier.verify(&token, &keeping.live.load().keys, NOW).unwrap().issuer, issuer);
        }
        assert_eq!(keeping.live.load().serial, 1, "keys are not policy");
    }
}

#[tokio::test]
async fn bad_answers_bring_no_keys() {
    let good = Signer::p256().jwk("one");
    let keys = json!({ "keys": [good] });
    let large = Answer::text(vec![b' '; 1024 * 1024 + 1]);
    let server = Server::http().await;
    let url = url_at(&server, V2);
    let document = |issuer: &str, jwks: &str| Answer::json(&json!({"issuer": issuer, "jwks_uri": jwks}));
    let here = format!("{}/keys", server.base);
    let elsewhere = Server::http().await;
    elsewhere.answer("/keys", Answer::json(&keys));
    elsewhere.answer("/discovery", document(&url, &here));
    server.answer("/loop", Answer::redirect(302, "/loop"));
    server.answer("/1", Answer::redirect(302, "/2"));
    server.answer("/2", Answer::redirect(302, "/3"));
    server.answer("/3", Answer::redirect(302, "/4"));
    server.answer("/4", Answer::json(&keys));
    let deep = |depth: usize| format!("{{\"keys\":[{good}],\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let twice = format!("{{\"keys\":[],\"keys\":[{good}]}}");
    let many = json!({ "keys": vec![good.clone(); 1001] });
    let padded = |length: usize| URL_SAFE_NO_PAD.encode(vec![0xff; length]);
    let weak = json!({"kty": "RSA", "kid": "weak", "n": padded(128), "e": "AQAB"});
    let only = |key: Value| Answer::json(&json!({ "keys": [key] }));
    for (what, discovery_answer, keys_answer) in [
        ("another issuer", document(&format!("{url}/"), &here), Answer::json(&keys)),
        ("a template", document("https://login.microsoftonline.com/{tenantid}/v2.0", &here), Answer::json(&keys)),
        ("not JSON", Answer::text("<html>"), Answer::json(&keys)),
        (
            "two issuers",
            Answer::text(format!("{{\"issuer\":\"x\",\"issuer\":\"{url}\",\"jwks_uri\":\"{here}\"}}")),
            Answer::json(&keys),
        ),
        ("keys that are no JSON", document(&url, &here), Answer::text("<html>")),
        ("no keys URL", Answer::json(&json!({"issuer": url})), Answer::json(&keys)),
        ("a relative keys URL", document(&url, "/keys"), Answer::json(&keys)),
        ("plain HTTP elsewhere", document(&url, "http://192.0.2.1/keys"), Answer::json(&keys)),
        ("a redirect", Answer::redirect(302, &format!("{}/discovery", elsewhere.base)), Answer::json(&keys)),
        ("a redirect of the keys", document(&url, &here), Answer::redirect(307, &format!("{}/keys", elsewhere.base))),
        ("a redirect for ever", document(&url, &here), Answer::redirect(302, "/loop")),
        ("four redirects", document(&url, &here), Answer::redirect(302, "/1")),
        ("a redirect to a file", document(&url, &here), Answer::redirect(302, "file:///etc/passwd")),
        ("a redirect to nowhere", document(&url, &here), Answer::status(302)),
        ("a choice", document(&url, &here), Answer::redirect(300, "/4")),
        ("an error", Answer::status(500), Answer::json(&keys)),
        ("no content", document(&url, &here), Answer::status(204)),
        ("a large document", large.clone(), Answer::json(&keys)),
        ("large keys", document(&url, &here), large),
        ("a document without end", Answer::text("{ ").endless(), Answer::json(&keys)),
        ("keys without end", document(&url, &here), Answer::text(vec![b' '; 65536]).endless()),
        ("keys that are deep", document(&url, &here), Answer::text(deep(17))),
        ("keys that are very deep", document(&url, &here), Answer::text(deep(400_000))),
        ("a document that is deep", Answer::text("[".repeat(900_000)), Answer::json(&keys)),
        ("two lists of keys", document(&url, &here), Answer::text(twice)),
        ("a thousand and one keys", document(&url, &here), Answer::json(&many)),
        ("a secret key", document(&url, &here), only(with(good.clone(), "d", json!("AQAB")))),
        ("a weak key", document(&url, &here), only(weak)),
        ("a curve that is not used", document(&url, &here), only(with(good.clone(), "crv", json!("P-384")))),
        ("a point off the curve", document(&url, &here), only(with(good.clone(), "x", json!(padded(32))))),
        ("a key for encryption", document(&url, &here), only(with(good.clone(), "use", json!("enc")))),
        ("an X.509 URL in place of a key", document(&url, &here), only(json!({"kid": "x", "x5u": "http://x/"}))),
        ("no keys", document(&url, &here), Answer::json(&json!({"keys": []}))),
        ("only unusable keys", document(&url, &here), Answer::json(&json!({"keys": [{"kty": "oct", "k": "AA"}]}))),
    ] {
        let source = discovery(&server, V2);
        server.answer(DISCOVERY[1], discovery_answer);
        server.answer("/keys", keys_answer);
        let tried = server.count(DISCOVERY[1]);
        let keeping = Keeping::start(QUICK, vec![source]);
        eventually(what, || server.count(DISCOVERY[1]) >= tried + 2).await;
        assert!(keeping.kids(V2).is_empty(), "{what}");
    }
    assert_eq!(elsewhere.count("/keys") + elsewhere.count("/discovery"), 0, "another server was asked");
}

#[tokio::test]
async fn redirects_within_the_server_are_followed_three_times() {
    let server = Server::https().await;
    let mut source = discovery(&server, V2);
    source.from = From::Discovery { document: format!("{}/start", server.base), ca: server.ca.clone() };
    server.answer("/start", Answer::redirect(301, DISCOVERY[1]));
    server.answer("/keys", Answer::redirect(302, &format!("{}/b", server.base)));
    server.answer("/b", Answer::redirect(307, "c?d=e"));
    server.answer("/c?d=e", Answer::redirect(308, "/f"));
    server.answer("/f", Answer::json(&json!({ "keys": [Signer::p256().jwk("one")] })));
    let keeping = Keeping::start(QUICK, vec![source]);
    keeping.until(V2, &["one"]).await;
}

#[tokio::test]
async fn an_answer_that_is_too_slow_is_not_waited_for() {
    let server = Server::https().await;
    let source = discovery(&server, V2);
    let keys = json!({ "keys": [Signer::p256().jwk("one")] });
    server.answer("/keys", Answer::json(&keys).after(Duration::from_millis(400)));
    let impatient = Intervals { fetch: Duration::from_millis(100), ..QUICK };
    let keeping = Keeping::start(impatient, vec![source]);
    eventually("two attempts", || server.count("/keys") >= 2).await;
    assert!(keeping.kids(V2).is_empty());
    server.answer("/keys", Answer::json(&keys));
    keeping.until(V2, &["one"]).await;
}

#[tokio::test]
async fn keys_come_from_a_document_without_discovery() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let from = From::Jwks { document: format!("{}/keys", server.base), ca: server.ca.clone() };
    let keeping = Keeping::start(QUICK, vec![KeySource { from, ..discovery(&server, V2) }]);
    keeping.until(V2, &["one"]).await;
    assert_eq!(server.count(DISCOVERY[1]), 0);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (server, other) = (Server::https().await, Server::https().await);
    publish(&server, &[Signer::p256().jwk("one")]);
    let mut strangers = discovery(&server, V1);
    strangers.from = From::Discovery { document: format!("{}{}", server.base, DISCOVERY[0]), ca: other.ca.clone() };
    let mut public = discovery(&server, V2);
    public.from = From::Discovery { document: format!("{}{}", server.base, DISCOVERY[1]), ca: None };
    let keeping = Keeping::start(QUICK, vec![strangers, public]);
    a_while().await;
    assert!(keeping.kids(V1).is_empty() && keeping.kids(V2).is_empty());
    assert_eq!(server.count(DISCOVERY[0]) + server.count(DISCOVERY[1]), 0, "nothing was sent");
}

#[tokio::test]
async fn keys_do_not_come_over_plain_http_when_the_document_came_over_tls() {
    let (server, plain) = (Server::https().await, Server::http().await);
    publish(&plain, &[Signer::p256().jwk("one")]);
    let source = discovery(&server, V2);
    let jwks = format!("{}/keys", plain.base);
    server.answer(DISCOVERY[1], Answer::json(&json!({"issuer": source.url, "jwks_uri": jwks})));
    let keeping = Keeping::start(QUICK, vec![source]);
    eventually("two attempts", || server.count(DISCOVERY[1]) >= 2).await;
    assert_eq!((plain.count("/keys"), keeping.kids(V2).len()), (0, 0));
}

#[tokio::test]
async fn a_wake_picks_a_rotation_up_at_once_and_then_not_again_for_a_while() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let keeping = Keeping::start(QUICK, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    let generation = keeping.live.load().keys.generation();

    publish(&server, &[Signer::p256().jwk("two")]);
    keeping.wake("two").await;
    keeping.until(V2, &["two"]).await;
    assert_ne!(keeping.live.load().keys.generation(), generation);

    publish(&server, &[Signer::p256().jwk("three")]);
    for _ in 0..20 {
        keeping.wake("three").await;
    }
    keeping.wake.send(WantedKey { issuer: IssuerId(99), kid: "new".into() }).await.unwrap();
    a_while().await;
    assert_eq!(keeping.kids(V2), ["two"]);
    assert_eq!(server.count("/keys"), 2, "once at start, once for the first wake");
}

#[tokio::test]
async fn a_rotation_within_the_cooldown_is_picked_up_when_it_is_over_without_another_wake() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let intervals = Intervals { wake: Duration::from_millis(400), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    keeping.wake("made-up").await;
    eventually("the first fetch on demand", || server.count("/keys") == 2).await;
    publish(&server, &[Signer::p256().jwk("two")]);
    keeping.wake("two").await;
    a_while().await;
    assert_eq!(keeping.kids(V2), ["one"], "within the cooldown");
    keeping.until(V2, &["two"]).await;
    assert_eq!(server.count("/keys"), 3);
}

#[tokio::test]
async fn a_key_that_a_fetch_did_not_bring_is_not_fetched_for_again_for_two_cooldowns() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let intervals = Intervals { wake: Duration::from_secs(1), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    for _ in 0..14 {
        keeping.wake("made-up").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.count("/keys"), 2, "once at start, once for the first token with the key");
    publish(&server, &[Signer::p256().jwk("two")]);
    keeping.wake("two").await;
    keeping.until(V2, &["two"]).await;
    keeping.wake("made-up").await;
    eventually("a fetch, since other keys may have come", || server.count("/keys") == 4).await;
    keeping.wake("two").await;
    a_while().await;
    assert_eq!(server.count("/keys"), 4, "a key that is there is not fetched");
}

#[tokio::test]
async fn made_up_keys_use_up_nothing_of_the_background() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let intervals = Intervals { refresh: Duration::from_millis(300), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    keeping.wake("made-up").await;
    eventually("the one fetch on demand", || server.count("/keys") >= 2).await;
    publish(&server, &[Signer::p256().jwk("two")]);
    for number in 0..10 {
        keeping.wake(&format!("made-up-{number}")).await;
    }
    keeping.until(V2, &["two"]).await;
}

#[tokio::test]
async fn many_wakes_make_one_fetch_however_slow_it_is() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let keeping = Keeping::start(QUICK, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    let slow = Answer::json(&json!({ "keys": [Signer::p256().jwk("two")] })).after(Duration::from_millis(300));
    server.answer("/keys", slow);
    for number in 0..100 {
        keeping.wake(if number % 2 == 0 { "two" } else { "made-up" }).await;
    }
    eventually("the fetch runs", || server.count("/keys") == 2).await;
    for _ in 0..50 {
        keeping.wake("two").await;
    }
    keeping.until(V2, &["two"]).await;
    a_while().await;
    assert_eq!((server.count(DISCOVERY[1]), server.count("/keys")), (2, 2));
}

/// A source of keys that are an application's own.
fn of_application(server: &Server) -> KeySource {
    let path = format!("{}?appid={CLIENT}", DISCOVERY[1]);
    let url = url_at(server, V2);
    let keys = format!("{}/keys?appid={CLIENT}", server.base);
    server.answer(&path, Answer::json(&json!({"issuer": url, "jwks_uri": keys})));
    let from = From::Discovery { document: format!("{}{path}", server.base), ca: server.ca.clone() };
    KeySource { id: APP, issuer: V2, url, application: Some(CLIENT.into()), from, development: true }
}

fn publish_own(server: &Server, keys: &[Value]) {
    server.answer(&format!("/keys?appid={CLIENT}"), Answer::json(&json!({ "keys": keys })));
}

#[tokio::test]
async fn the_keys_of_an_application_sign_for_it_and_nobody_else() {
    let server = Server::https().await;
    let (tenant, owner) = (Signer::p256(), Signer::p256());
    publish(&server, &[tenant.jwk("tenant"), tenant.jwk("both")]);
    publish_own(&server, &[owner.jwk("own"), owner.jwk("both")]);
    let keeping = Keeping::start(QUICK, vec![discovery(&server, V1), discovery(&server, V2), of_application(&server)]);
    keeping.until(V2, &["both", "tenant"]).await;
    eventually("the application's keys", || keeping.kids_of(APP) == ["both", "own"]).await;
    let (v1, v2) = (url_at(&server, V1), url_at(&server, V2));
    let verifier = verifier(&v1, &v2);
    let keys = Arc::clone(&keeping.live.load().keys);
    let verify = |signer: &Signer, kid: &str, claims: Value| {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        verifier.verify(&signer.sign(&header, &claims.to_string()), &keys, NOW).map(|_| ())
    };
    let to = |audience: Value| with(user(&v2), "aud", audience);
    let api = format!("api://{CLIENT}");
    assert_eq!(verify(&owner, "own", to(json!(CLIENT))), Ok(()));
    assert_eq!(verify(&owner, "own", to(json!(api))), Ok(()));
    assert_eq!(verify(&tenant, "tenant", to(json!("api://oms"))), Ok(()));
    let foreign = Err(TokenFault::Invalid(Fault::KeyAudience));
    for audience in [json!("api://oms"), json!([CLIENT, "api://oms"]), json!(["api://oms", CLIENT]), json!(OBJECT)] {
        assert_eq!(verify(&owner, "own", to(audience.clone())), foreign, "{audience}");
    }
    let forged = Err(TokenFault::Invalid(Fault::BadSignature));
    assert_eq!(verify(&owner, "both", to(json!(CLIENT))), forged, "the tenant's own key of a name comes first");
    assert_eq!(verify(&tenant, "both", to(json!("api://oms"))), Ok(()));
    let other_issuer = with(user_v1(&v1), "aud", json!(CLIENT));
    let unknown = TokenFault::UnknownKey(WantedKey { issuer: V1, kid: "own".into() });
    assert_eq!(verify(&owner, "own", other_issuer), Err(unknown), "keys sign for the issuer that lists them only");
}

#[tokio::test]
async fn all_sources_of_an_issuer_are_woken_each_with_its_own_budget() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("tenant")]);
    publish_own(&server, &[Signer::p256().jwk("own")]);
    let keeping = Keeping::start(QUICK, vec![discovery(&server, V1), discovery(&server, V2), of_application(&server)]);
    keeping.until(V1, &["tenant"]).await;
    keeping.until(V2, &["tenant"]).await;
    eventually("the application's keys", || keeping.kids_of(APP) == ["own"]).await;
    publish_own(&server, &[Signer::p256().jwk("new")]);
    keeping.wake("new").await;
    eventually("the application's new keys", || keeping.kids_of(APP) == ["new"]).await;
    a_while().await;
    let own = format!("/keys?appid={CLIENT}");
    assert_eq!((server.count(&own), server.count("/keys")), (2, 3), "both of the issuer, and none of the other one");
}

#[test]
fn without_the_issuers_own_keys_nothing_is_said_about_a_token() {
    let (tenant, owner) = (Signer::p256(), Signer::p256());
    let verifier = verifier("https://one.example/", "https://two.example/");
    let token = tenant.sign(r#"{"alg":"ES256","kid":"tenant"}"#, &user("https://two.example/").to_string());
    let only_application = KeyRing::empty(3).with(APP, set(&[owner.jwk("own")]), NOW);
    let unavailable = TokenFault::KeysUnavailable(wanted("tenant"));
    assert_eq!(verifier.verify(&token, &only_application, NOW).unwrap_err(), unavailable);
}

#[test]
fn a_change_of_one_issuers_keys_leaves_the_remembered_tokens_of_the_others() {
    let (one, two) = (Signer::p256(), Signer::p256());
    let (v1, v2) = ("https://one.example/", "https://two.example/");
    let verifier = verifier(v1, v2);
    let ring = KeyRing::empty(3).with(K1, set(&[one.jwk("one")]), NOW).with(K2, set(&[two.jwk("two")]), NOW);
    let ring = ring.with(APP, set(&[Signer::p256().jwk("own")]), NOW);
    let first = one.sign(r#"{"alg":"ES256","kid":"one"}"#, &user_v1(v1).to_string());
    let second = two.sign(r#"{"alg":"ES256","kid":"two"}"#, &user(v2).to_string());
    let (kept, dropped) = (verifier.verify(&first, &ring, NOW).unwrap(), verifier.verify(&second, &ring, NOW).unwrap());
    let known = verifier.lookups().hits;

    let changed = ring.with(APP, set(&[Signer::p256().jwk("own")]), NOW);
    assert!(Arc::ptr_eq(&kept, &verifier.verify(&first, &changed, NOW).unwrap()));
    assert!(!Arc::ptr_eq(&dropped, &verifier.verify(&second, &changed, NOW).unwrap()), "any of its sources counts");
    assert_eq!(verifier.lookups().hits, known + 1);
    let gone = changed.without(K1);
    assert_eq!(
        verifier.verify(&first, &gone, NOW).unwrap_err(),
        TokenFault::KeysUnavailable(WantedKey { issuer: V1, kid: "one".into() })
    );
    let other = changed.with(K1, set(&[two.jwk("one")]), NOW);
    assert_eq!(verifier.verify(&first, &other, NOW).unwrap_err(), TokenFault::Invalid(Fault::BadSignature));
}

#[tokio::test]
async fn keys_are_refreshed_in_the_background_and_bad_documents_keep_the_old_ones() {
    let server = Server::https().await;
    let one = Signer::p256().jwk("one");
    publish(&server, std::slice::from_ref(&one));
    let intervals = Intervals { refresh: Duration::from_millis(30), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    let generation = keeping.live.load().keys.generation();

    let mine = Signer::p256().jwk("mine");
    let (secret, twin) = (with(mine.clone(), "d", json!("AA")), Signer::p256().jwk("mine"));
    let symmetric = json!({"kty": "oct", "kid": "one", "k": "c2VjcmV0"});
    for bad in [
        Answer::json(&json!({"keys": []})),
        Answer::json(&json!({"keys": [symmetric]})),
        Answer::json(&json!({"keys": [secret]})),
        Answer::json(&json!({"keys": [mine, twin]})),
        Answer::json(&json!([])),
        Answer::text("{\"keys\":["),
        Answer::text(""),
        Answer::status(503),
        Answer::redirect(302, "http://192.0.2.1/keys"),
    ] {
        server.answer("/keys", bad.clone());
        let tried = server.count("/keys");
        eventually("two fetches", || server.count("/keys") >= tried + 2).await;
        assert_eq!(keeping.kids(V2), ["one"], "{}", String::from_utf8_lossy(&bad.body));
    }
    publish(&server, &[one]);
    let tried = server.count("/keys");
    eventually("two fetches", || server.count("/keys") >= tried + 2).await;
    assert_eq!(keeping.live.load().keys.generation(), generation, "the same keys are the same generation");

    publish(&server, &[Signer::p256().jwk("two")]);
    keeping.until(V2, &["two"]).await;
}

#[tokio::test]
async fn a_key_whose_secret_half_is_shown_is_out_of_use_though_no_other_comes() {
    let server = Server::https().await;
    let (one, two) = (Signer::p256().jwk("one"), Signer::p256().jwk("two"));
    publish(&server, &[one.clone(), two.clone()]);
    let intervals = Intervals { refresh: Duration::from_millis(30), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one", "two"]).await;
    publish(&server, &[with(one, "d", json!("AA"))]);
    keeping.until(V2, &["two"]).await;
    publish(&server, &[with(two, "d", json!("AA"))]);
    keeping.until(V2, &[]).await;
}

#[tokio::test]
async fn a_key_that_was_asked_for_too_early_is_found_soon_after_it_came() {
    let server = Server::https().await;
    publish(&server, &[Signer::p256().jwk("one")]);
    let keeping = Keeping::start(Intervals { wake: Duration::from_millis(100), ..QUICK }, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    keeping.wake("new").await;
    eventually("it was looked for", || server.count("/keys") == 2).await;
    publish(&server, &[Signer::p256().jwk("new")]);
    for _ in 0..100 {
        keeping.wake("new").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if keeping.kids(V2) == ["new"] {
            return;
        }
    }
    panic!("not within two seconds");
}

#[test]
fn no_application_can_take_the_name_of_anothers_key() {
    let signers = [Signer::p256(), Signer::p256(), Signer::p256()];
    let [tenant, a, b] = [0, 1, 2].map(KeySourceId);
    let own = |source, audience: &str| KeyUse { source, audiences: Some(vec![audience.into()]) };
    let v2 = "https://login.example.org/v2.0";
    let issuer = Issuer {
        tenant: Arc::from("uss"),
        tenant_id: TENANT.parse().unwrap(),
        url: v2.to_owned(),
        kind: IssuerKind::EntraV2,
        keys: vec![KeyUse { source: tenant, audiences: None }, own(a, "api://a"), own(b, "api://b")],
        authorization_uri: None,
    };
    let verifier = Verifier::new(Issuers::new(vec![issuer]), RULES, 10);
    let sets = signers.each_ref().map(|signer| {
        let document = json!({ "keys": [signer.jwk("same")] }).to_string();
        Arc::new(KeySet::parse(document.as_bytes()).unwrap())
    });
    let [of_tenant, of_a, of_b] = sets;
    let applications = KeyRing::empty(3).with(a, of_a, NOW).with(b, of_b, NOW);
    let believed = |ring: &KeyRing, signer: usize, audience: &str| {
        let claims = with(user(v2), "aud", json!(audience)).to_string();
        verifier.verify(&signers[signer].sign(r#"{"alg":"ES256","kid":"same"}"#, &claims), ring, NOW).is_ok()
    };
    for (signer, audience, expected) in [
        (1, "api://a", true),
        (2, "api://b", true),
        (1, "api://b", false),
        (2, "api://a", false),
        (1, "api://c", false),
    ] {
        assert_eq!(believed(&applications, signer, audience), expected, "{signer} for {audience}");
    }
    let all = applications.with(tenant, of_tenant, NOW);
    assert!(believed(&all, 0, "api://a") && !believed(&all, 1, "api://a"), "the tenant's own key comes first");
}

#[tokio::test]
async fn a_failure_at_start_is_retried_until_keys_come_and_holds_nobody_else_up() {
    let (down, up) = (Server::https().await, Server::https().await);
    publish(&up, &[Signer::p256().jwk("up")]);
    publish(&down, &[Signer::p256().jwk("down")]);
    let source = discovery(&down, V1);
    down.answer(DISCOVERY[0], Answer::status(503));
    let keeping = Keeping::start_with(QUICK, vec![source, discovery(&up, V2)], KeyRing::empty(2));
    keeping.until(V2, &["up"]).await;
    assert!(!keeping.live.load().keys.complete());
    eventually("three attempts", || down.count(DISCOVERY[0]) >= 3).await;
    discovery(&down, V1);
    keeping.until(V1, &["down"]).await;
    assert!(keeping.live.load().keys.complete());
}

#[tokio::test]
async fn keys_that_nobody_confirms_for_too_long_are_withdrawn_and_come_back() {
    let server = Server::https().await;
    let key = Signer::p256().jwk("one");
    publish(&server, &[key]);
    let intervals = Intervals { refresh: Duration::from_millis(50), keep: Duration::from_secs(1), ..QUICK };
    let keeping = Keeping::start(intervals, vec![discovery(&server, V2)]);
    keeping.until(V2, &["one"]).await;
    server.answer(DISCOVERY[1], Answer::status(500));
    keeping.until(V2, &[]).await;
    discovery(&server, V2);
    keeping.until(V2, &["one"]).await;
}

fn file_sources(path: &std::path::Path) -> Vec<KeySource> {
    [(V1, "https://one.example/"), (V2, "https://two.example/")]
        .map(|(issuer, url)| KeySource {
            id: KeySourceId(issuer.0),
            issuer,
            url: url.to_owned(),
            application: None,
            from: From::File(path.to_owned()),
            development: true,
        })
        .to_vec()
}

fn write(path: &PathBuf, keys: &[Value]) {
    std::fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
}

#[tokio::test]
async fn key_files_are_read_at_start_and_again_when_they_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    write(&path, &[Signer::p256().jwk("one")]);
    let now = seconds_now();
    let sources = file_sources(&path);
    let ring = jwks::load_files(&sources, KeyRing::empty(2), now).unwrap();
    assert!(ring.complete() && ring.fetched_at(K1) == Some(now));

    let keeping = Keeping::start_with(QUICK, sources, ring);
    let before = keeping.live.load();
    a_while().await;
    assert!(Arc::ptr_eq(&before, &keeping.live.load()), "an unchanged file is not news");

    write(&path, &[Signer::p256().jwk("two")]);
    keeping.until(V1, &["two"]).await;
    keeping.until(V2, &["two"]).await;

    for bad in ["", "{\"keys\":[]}", "{\"keys\":["] {
        std::fs::write(&path, bad).unwrap();
        a_while().await;
        assert_eq!(keeping.kids(V2), ["two"], "{bad}");
    }
    std::fs::remove_file(&path).unwrap();
    a_while().await;
    assert_eq!(keeping.kids(V2), ["two"]);
    write(&path, &[Signer::p256().jwk("three")]);
    keeping.until(V2, &["three"]).await;
}

#[tokio::test]
async fn a_development_key_that_turns_up_later_is_refused_where_others_can_connect() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    write(&path, &[Signer::p256().jwk("one")]);
    let sources: Vec<_> = file_sources(&path).into_iter().map(|s| KeySource { development: false, ..s }).collect();
    let ring = jwks::load_files(&sources, KeyRing::empty(2), seconds_now()).unwrap();
    let keeping = Keeping::start_with(QUICK, sources, ring);
    write(&path, &[Signer::p256().jwk(&format!("{DEVELOPMENT_KID_PREFIX}0123456789abcdef"))]);
    a_while().await;
    assert_eq!(keeping.kids(V2), ["one"]);
}

#[test]
fn key_files_that_cannot_be_read_at_start_are_all_named_once() {
    let directory = tempfile::tempdir().unwrap();
    let (absent, empty) = (directory.path().join("absent.json"), directory.path().join("empty.json"));
    write(&empty, &[]);
    let sources = [file_sources(&absent), file_sources(&empty), file_sources(directory.path())].concat();
    let faults = jwks::load_files(&sources, KeyRing::empty(2), NOW).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|(path, _)| path.as_path()).collect();
    assert_eq!(paths, [absent.as_path(), empty.as_path(), directory.path()]);
    assert!(faults[0].1.contains("No such file"), "{faults:?}");
    assert!(faults[1].1.contains("no usable key"), "{faults:?}");
    assert!(faults[2].1.contains("not a file"), "{faults:?}");
}
