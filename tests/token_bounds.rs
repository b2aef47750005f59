//! What tokens may take: memory, which is bounded, and connections to elsewhere, of which there are none.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/token_world.rs"]
mod token_world;
#[path = "support/wire.rs"]
mod wire;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use portcullis::token::Verifier;
use serde_json::{Value, json};

use backend::Backend;
use gateway::{KEY, Pass, Setup};
use identity_provider::Signer;
use token_world::{NOW, RULES, World, base64, issuers, user, with};

/// One test at a time: memory is counted by thread, and what one thread gives up another may free.
static ALONE: Mutex<()> = Mutex::new(());

/// A bad token of its own for each number, four in ten of which get as far as the signature.
fn bad(parts: &[&str], number: usize) -> String {
    let own = base64(format!("{number:0>64}"));
    match number % 10 {
        0..4 => format!("{}.{}.{own}{}", parts[0], parts[1], &parts[2][own.len()..]),
        4 => format!("{}.{own}.{}", parts[0], parts[2]),
        5 => format!("{own}.{}.{}", parts[1], parts[2]),
        6 => format!("{}.{}.{}", base64(format!(r#"{{"alg":"RS256","kid":"{number}"}}"#)), parts[1], parts[2]),
        7 => format!("{}.{}.{}{own}=", parts[0], parts[1], parts[2]),
        8 => own,
        _ => format!("{}.{}.{}.{own}.", parts[0], parts[1], parts[2]),
    }
}

#[test]
fn a_flood_of_bad_tokens_neither_pushes_good_ones_out_nor_takes_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let tokens: Vec<String> =
        (0..500).map(|number| world.token(&with(user(), "uti", json!(number.to_string())))).collect();
    let first: Vec<_> = tokens.iter().map(|token| world.verify(token).unwrap()).collect();
    let parts: Vec<&str> = tokens[0].split('.').collect();
    let taken = measure(|| {
        for number in 0..200_000 {
            assert!(world.verify(&bad(&parts, number)).is_err(), "{number}");
        }
    });
    assert!(taken.bytes_current < 256 * 1024, "{taken:?}");
    assert!(taken.bytes_max < 1024 * 1024, "{taken:?}");
    for (token, first) in tokens.iter().zip(&first) {
        assert!(Arc::ptr_eq(first, &world.verify(token).unwrap()), "a good token was forgotten");
    }
}

#[test]
fn a_flood_of_good_tokens_takes_no_more_memory_than_configured() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::new();
    let verifier = Verifier::new(issuers(), RULES, 100);
    let flood = |numbers: std::ops::Range<usize>| {
        measure(|| {
            for number in numbers {
                let claims = with(user(), "uti", json!(number.to_string())).to_string();
                let token = world.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &claims);
                assert!(verifier.verify(&token, &world.ring, NOW).is_ok());
            }
        })
    };
    // What the cache needs for its books, once.
    let (first, second) = (flood(0..5_000), flood(5_000..15_000));
    assert!(first.bytes_current < 8 * 1024 * 1024, "{first:?}");
    assert!(second.bytes_current < 512 * 1024, "{second:?}");
}

#[test]
fn no_address_in_a_token_is_ever_asked() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", stranger.local_addr().unwrap());
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let status = |token: &str| {
        gateway.ask(format!("GET /lobby HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n")).status
    };

    let good = Pass::default().token();
    let payload: Value = {
        use base64::Engine;
        let part = good.split('.').nth(1).unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let attacker = Signer::rsa();
    for kid in [KEY.kid(), "another"] {
        for name in ["jku", "x5u", "jwks_uri", "jwk", "iss", "kid"] {
            let value = if name == "jwk" { with(attacker.jwk(kid), "x5u", json!(url)) } else { json!(url) };
            let header = with(json!({"alg": "RS256", "kid": kid}), name, value).to_string();
            assert_eq!(status(&attacker.sign(&header, &payload.to_string())), 401, "{header}");
        }
    }
    for name in ["iss", "jku", "jwks_uri", "idp"] {
        let claims = with(payload.clone(), name, json!(url)).to_string();
        let header = json!({"alg": "RS256", "kid": KEY.kid()}).to_string();
        assert_eq!(status(&attacker.sign(&header, &claims)), 401, "{claims}");
    }
    let overage = with(payload, "_claim_names", json!({"groups": "src1"}));
    let overage = with(overage, "_claim_sources", json!({"src1": {"endpoint": url}}));
    assert_eq!(status(&KEY.mint(&overage).unwrap()), 200, "groups elsewhere are not fetched");

    thread::sleep(Duration::from_millis(300));
    assert_eq!(stranger.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected");
}
