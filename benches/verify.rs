//! Verification of a token beside what it is made of: the whole of it, `jsonwebtoken` alone with the checks that it can
//! do, and the bare signature; then a token found among the verified ones, by one thread and by two.
//!
//! Run with `cargo bench --bench verify`. Compare figures of one run only.

#[path = "../tests/support/identity_provider.rs"]
mod identity_provider;
#[path = "../tests/support/token_world.rs"]
mod token_world;

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis::token::{KeyRing, LocalVerifier, Verifier, Verify};
use serde::Deserialize;
use serde_json::json;

use identity_provider::Signer;
use token_world::{HEADER, NOW, RULES, TENANT, World, issuers, user, v2_url, with};

/// The claims that decisions rest on, as an application with `jsonwebtoken` would declare them.
#[derive(Deserialize)]
#[allow(dead_code, reason = "reading them is what is measured")]
struct Claims {
    iss: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    tid: String,
    oid: String,
    ver: String,
    azp: String,
    scp: Option<String>,
    roles: Vec<String>,
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let world = World::new();
    // A memory without room forgets at once, so every verification is a cold one.
    let forgetful = Verifier::new(issuers(), RULES, 0);
    let payload = user().to_string();
    for (name, signer, header, algorithm) in [
        ("RS256", &world.rsa, HEADER, Algorithm::RS256),
        ("ES256", &world.p256, r#"{"typ":"JWT","alg":"ES256","kid":"p256"}"#, Algorithm::ES256),
    ] {
        let token = signer.sign(header, &payload);
        criterion.bench_function(&format!("verify/cold {name}"), |bencher| {
            bencher.iter(|| assert!(black_box(forgetful.verify(&token, &world.ring, NOW)).is_ok()));
        });
        let (key, mut rules) = (decoding(signer), Validation::new(algorithm));
        rules.set_audience(&["api://oms"]);
        rules.set_issuer(&[v2_url(TENANT)]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        rules.validate_nbf = true;
        // The token is from a fixed moment, but the comparison is made all the same.
        rules.leeway = 1_000_000_000;
        criterion.bench_function(&format!("verify/jsonwebtoken {name}"), |bencher| {
            bencher.iter(|| assert!(black_box(jsonwebtoken::decode::<Claims>(&token, &key, &rules)).is_ok()));
        });
        primitive(&mut criterion, name, signer, &token);
    }

    // Refused at the issuer: all of the reading, none of the signature.
    let foreign = world.token(&with(user(), "iss", json!("https://elsewhere.example/")));
    criterion.bench_function("verify/reading alone", |bencher| {
        bencher.iter(|| assert!(black_box(forgetful.verify(&foreign, &world.ring, NOW)).is_err()));
    });

    remembered(&mut criterion, &world);
    criterion.final_summary();
}

/// How many live tokens there are where there are many.
const MANY: usize = 10_000;

/// A token found again: by the verifier that all threads share, and by those that threads have in front of it; always the
/// same one, and a different one out of many each time.
fn remembered(criterion: &mut Criterion, world: &World) {
    // An ordinary token of 1.2 KB.
    let long = with(user(), "aio", json!("A".repeat(320)));
    let token = |number: usize| {
        let claims = with(long.clone(), "uti", json!(number.to_string())).to_string();
        world.p256.sign(r#"{"typ":"JWT","alg":"ES256","kid":"p256"}"#, &claims)
    };
    let tokens: Vec<String> = (0..MANY).map(token).collect();
    for (what, tokens) in [("one token", &tokens[..1]), ("one of 10,000 tokens", &tokens[..])] {
        for (how, threads) in [("", 1), (", two threads", 2)] {
            criterion.bench_function(&format!("verify/remembered, {what}{how}"), |bencher| {
                let shared = Arc::new(Verifier::new(issuers(), RULES, 100_000));
                bencher.iter_custom(|times| on(threads, || Arc::clone(&shared), tokens, &world.ring, times));
            });
            criterion.bench_function(&format!("verify/remembered by the thread, {what}{how}"), |bencher| {
                let shared = Arc::new(Verifier::new(issuers(), RULES, 100_000));
                let local = || LocalVerifier::new(Arc::clone(&shared));
                bencher.iter_custom(|times| on(threads, local, tokens, &world.ring, times));
            });
        }
    }
}

/// How often more than asked for, so that what is not measured does not take most of the time.
const MORE: u32 = 100;

/// How long it takes so many threads to verify so many tokens each, in no order, once they have all seen each.
fn on<V: Verify>(
    threads: usize,
    verifier: impl Fn() -> V + Sync,
    tokens: &[String],
    ring: &KeyRing,
    times: u64,
) -> Duration {
    let run = || {
        let verifier = verifier();
        assert!(tokens.iter().all(|token| verifier.verify(token, ring, NOW).is_ok()));
        let began = Instant::now();
        let mut at = 1_usize;
        for _ in 0..times * u64::from(MORE) {
            at = at.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            assert!(black_box(verifier.verify(&tokens[(at >> 33) % tokens.len()], ring, NOW)).is_ok());
        }
        began.elapsed() / MORE
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

fn decoding(signer: &Signer) -> DecodingKey {
    let jwk = signer.jwk("key");
    let text = |name: &str| jwk[name].as_str().unwrap();
    match signer {
        Signer::Rsa(_) => DecodingKey::from_rsa_components(text("n"), text("e")),
        Signer::P256(_) => DecodingKey::from_ec_components(text("x"), text("y")),
    }
    .unwrap()
}

/// The signature only: with a key that was parsed before, and with one that is parsed each time.
fn primitive(criterion: &mut Criterion, name: &str, signer: &Signer, token: &str) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (prepared, each_time): (ParsedPublicKey, Box<dyn Fn() -> bool>) = match signer {
        Signer::Rsa(pair) => {
            let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            let prepared = public.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap();
            let (signed, signature) = (signed.to_owned(), signature.clone());
            (
                prepared,
                Box::new(move || public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok()),
            )
        }
        Signer::P256(pair) => {
            let point = pair.public_key().as_ref().to_vec();
            let prepared = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).unwrap();
            let (signed, signature) = (signed.to_owned(), signature.clone());
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            (prepared, Box::new(move || key.verify(signed.as_bytes(), &signature).is_ok()))
        }
    };
    criterion.bench_function(&format!("verify/signature {name}, key prepared"), |bencher| {
        bencher.iter(|| assert!(black_box(prepared.verify_sig(signed.as_bytes(), &signature)).is_ok()));
    });
    criterion.bench_function(&format!("verify/signature {name}, key parsed each time"), |bencher| {
        bencher.iter(|| assert!(black_box(each_time())));
    });
}
