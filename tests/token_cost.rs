//! What a token may cost: time on one processor. The limit is for the build of tests, so what operators build with
//! `--release` stays further below it.

#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/token_world.rs"]
mod token_world;

use std::fmt::Write;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity_provider::Signer;
use portcullis::token::{KeyRing, Verifier};
use serde_json::{Value, json};

use token_world::{HEADER, NOW, RULES, World, assembled, base64, issuers, user, with};

/// What one token may cost on a machine of its own.
const LIMIT: Duration = Duration::from_millis(2);
/// What the bare signature of an ordinary token costs there, by the library below. Where it costs more, the machine is slow
/// or busy, and the limit grows with it.
const SIGNATURE: Duration = Duration::from_micros(26);
/// How often each token is verified.
const ROUNDS: u32 = 100;

/// The time of one verification: the least of many, because other work on the machine only ever adds.
fn cost(verifier: &Verifier, token: &str, ring: &KeyRing) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        let _ = verifier.verify(token, ring, NOW);
        began.elapsed()
    });
    rounds.min().unwrap()
}

/// The time of one bare RS256 verification, the key parsed each time.
fn bare(world: &World) -> Duration {
    let Signer::Rsa(pair) = &world.rsa else { panic!("the signer is of another kind") };
    let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let token = world.token(&user());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
        began.elapsed()
    });
    rounds.min().unwrap()
}

/// An object whose one member is text as long as a payload can have.
fn filled(piece: &str) -> String {
    let good = user().to_string();
    let room = 24_000 - good.len();
    format!("{},\"x\":\"{}\"}}", good.trim_end_matches('}'), piece.repeat(room / piece.len()))
}

/// An object with as many members as fit.
fn many_names(name: impl Fn(usize) -> String) -> String {
    many_names_in(23_900, name)
}

/// The same in so many bytes.
fn many_names_in(bytes: usize, name: impl Fn(usize) -> String) -> String {
    let mut payload = user().to_string();
    payload.pop();
    for number in 0.. {
        let member = format!(",\"{}\":0", name(number));
        if payload.len() + member.len() > bytes {
            break;
        }
        payload.push_str(&member);
    }
    payload + "}"
}

/// The costliest tokens of up to 32 KiB, with the keys that they are verified with.
fn costly(world: &World) -> Vec<(String, String, KeyRing)> {
    let ring = || world.ring.clone();
    let signed = |payload: &str| world.rsa.sign(HEADER, payload);
    let inside = |more: &str| format!("{},\"x\":{more}}}", user().to_string().trim_end_matches('}'));
    let mut wide = String::from("[");
    (0..5_500).for_each(|number| write!(wide, "{},", number % 10).unwrap());
    let wide = wide + "[[],{}]]";
    let rows = (0..1_100).map(|number| format!("{{\"{number}\":{{}}}}")).collect::<Vec<_>>().join(",");
    let mut tokens = vec![
        ("many short names".to_owned(), signed(&many_names(|number| format!("{number:x}")))),
        ("many names that begin alike".into(), signed(&many_names(|number| format!("{}{number}", "x".repeat(60))))),
        ("many names in escapes".into(), signed(&many_names(|number| format!("\\u{number:04x}")))),
        ("names in falling order".into(), signed(&many_names(|number| format!("{:06}", 999_999 - number)))),
        ("names as long as those that are checked".into(), signed(&many_names(|number| format!("{number:03x}")))),
        ("a wide list".into(), signed(&inside(&wide))),
        ("a list of small objects".into(), signed(&inside(&format!("[{rows}]")))),
        ("a list of empty texts".into(), signed(&inside(&format!("[{}\"\"]", "\"\",".repeat(7_000))))),
        ("deep, again and again".into(), {
            let one = format!("{}{}", "[".repeat(14), "]".repeat(14));
            signed(&inside(&format!("[{}0]", format!("{one},").repeat(700))))
        }),
        ("too deep".into(), signed(&inside(&"[".repeat(20_000)))),
        ("a number of 20,000 digits".into(), signed(&inside(&"9".repeat(20_000)))),
        ("a fraction of 20,000 digits".into(), signed(&inside(&format!("0.{}", "9".repeat(20_000))))),
        ("an exponent of 20,000 digits".into(), signed(&inside(&format!("1e{}", "9".repeat(20_000))))),
        ("an exponent of 20,000 zeros".into(), signed(&inside(&format!("1e-{}1", "0".repeat(20_000))))),
        ("many numbers that are hard to round".into(), {
            let hard = "9007199254740993.0000000000000000000000000000000000000001,2.2250738585072011e-308,";
            signed(&inside(&format!("[{}0]", hard.repeat(250))))
        }),
        ("escapes".into(), signed(&filled("\\u0041"))),
        ("escaped pairs".into(), signed(&filled("\\ud83e\\udd89"))),
        ("escaped quotation marks".into(), signed(&filled("\\\""))),
        ("letters of four bytes".into(), signed(&filled("\u{1f989}"))),
        ("many groups".into(), {
            let groups: Value =
                (0..600).map(|number| json!(format!("{number:08x}-0000-4000-8000-000000000000"))).collect();
            signed(&with(user(), "groups", groups).to_string())
        }),
        ("many roles".into(), signed(&with(user(), "roles", json!(vec!["r"; 5_500])).to_string())),
        ("many audiences".into(), signed(&with(user(), "aud", json!(vec!["api://a"; 2_200])).to_string())),
        ("a long scope".into(), signed(&with(user(), "scp", json!(" ".repeat(22_000))).to_string())),
        ("a long issuer".into(), signed(&with(user(), "iss", json!("h".repeat(22_000))).to_string())),
        ("32 KiB of dots".into(), ".".repeat(32 * 1024)),
        ("32 KiB of letters".into(), "A".repeat(32 * 1024)),
        ("a signature of 24 KB".into(), assembled(HEADER, &user().to_string(), &[7; 23_000])),
        ("a header of 2 KiB".into(), world.rsa.sign(&format!("{}{HEADER}", " ".repeat(2_000)), &user().to_string())),
        ("a header of 24 KB".into(), world.rsa.sign(&format!("{}{HEADER}", " ".repeat(22_000)), &user().to_string())),
    ];
    for (_, token) in &mut tokens {
        assert!(token.len() <= 32 * 1024);
    }
    let mut rows: Vec<_> = tokens.into_iter().map(|(what, token)| (what, token, ring())).collect();

    // The costliest key that is taken: 8192 bits, and an exponent of 33 bits, all of them ones.
    let mut modulus = vec![0xa5; 1024];
    (modulus[0], modulus[1023]) = (0xff, 0x43);
    let large = json!({"kty": "RSA", "kid": "rsa", "n": base64(&modulus), "e": base64([1, 0xff, 0xff, 0xff, 0xff])});
    let large = world.with_keys(&[large]);
    modulus[0] = 0x7f;
    // The signature takes room, too.
    let long = assembled(HEADER, &many_names_in(22_700, |number| format!("{number:x}")), &modulus);
    rows.push(("a signature of 8192 bits".into(), assembled(HEADER, &user().to_string(), &modulus), large.clone()));
    assert!(long.len() <= 32 * 1024, "the costliest token is too long to be looked at");
    rows.push(("a signature of 8192 bits under many names".into(), long, large));
    let p256 = world.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &many_names(|number| format!("{number:x}")));
    rows.push(("ES256 under many names".into(), p256, ring()));
    let keys: Vec<Value> = (0..1000).map(|number| world.p256.jwk(&format!("{}{number}", "k".repeat(120)))).collect();
    let header = format!(r#"{{"alg":"ES256","kid":"{}x"}}"#, "k".repeat(120));
    rows.push((
        "an unknown key among a thousand".into(),
        world.p256.sign(&header, &user().to_string()),
        world.with_keys(&keys),
    ));
    rows
}

#[test]
fn no_token_costs_more_than_two_milliseconds() {
    let world = World::new();
    // Without a memory, so that each verification is a cold one.
    let verifier = Verifier::new(issuers(), RULES, 0);
    let mut costs: Vec<(Duration, String)> = Vec::new();
    for (what, token, ring) in costly(&world) {
        let busy = bare(&world).as_secs_f64() / SIGNATURE.as_secs_f64();
        costs.push((cost(&verifier, &token, &ring).div_f64(busy.max(1.0)), what));
    }
    costs.sort();
    costs.iter().rev().take(8).for_each(|(cost, what)| println!("{cost:>12.1?}  {what}"));
    let over: Vec<_> = costs.iter().filter(|(cost, _)| *cost > LIMIT).collect();
    assert!(over.is_empty(), "{over:?}");
    let ordinary = cost(&verifier, &world.token(&user()), &world.ring);
    assert!(ordinary < bare(&world) * 4, "an ordinary token costs {ordinary:?}");
}
