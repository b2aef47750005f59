//! Key documents that an issuer should never publish.

use std::sync::Arc;

use portcullis::token::{Fault, KeyRing, KeySet};
use serde_json::{Value, json};

use crate::identity_provider::Signer;
use crate::token_world::{HEADER, NOW, OF_V1, OF_V2, World, base64, keys, user, with, without};
use crate::{Row, row};

pub fn poisoned(world: &World) -> Vec<Row> {
    let (attacker, other) = (Signer::rsa(), Signer::p256());
    let payload = user().to_string();
    let mut rows = Vec::new();
    let mut add = |what: &str, entries: &[Value], token: String, fault: Fault| {
        // One good key more, so that the document is a set of keys at all.
        let entries: Vec<Value> = entries.iter().cloned().chain([other.jwk("unrelated")]).collect();
        rows.push(Row { ring: Some(world.with_keys(&entries)), ..row(format!("keys: {what}"), token, fault) });
    };
    let jwk = || attacker.jwk("rsa");
    let signed = || attacker.sign(HEADER, &payload);
    let p256 = || attacker_p256(&other);
    for (what, entry) in [
        ("for encryption", with(jwk(), "use", json!("enc"))),
        ("use in capitals", with(jwk(), "use", json!("SIG"))),
        ("use null", with(jwk(), "use", json!(null))),
        ("use a list", with(jwk(), "use", json!(["sig"]))),
        ("key_ops without verify", with(jwk(), "key_ops", json!(["sign"]))),
        ("key_ops to encrypt", with(jwk(), "key_ops", json!(["encrypt", "wrapKey"]))),
        ("key_ops empty", with(jwk(), "key_ops", json!([]))),
        ("key_ops a text", with(jwk(), "key_ops", json!("verify"))),
        ("key_ops null", with(jwk(), "key_ops", json!(null))),
        ("alg RS384", with(jwk(), "alg", json!("RS384"))),
        ("alg RSA-OAEP", with(jwk(), "alg", json!("RSA-OAEP"))),
        ("alg none", with(jwk(), "alg", json!("none"))),
        ("alg HS256", with(jwk(), "alg", json!("HS256"))),
        ("alg null", with(jwk(), "alg", json!(null))),
        ("a private exponent", with(jwk(), "d", json!("AQAB"))),
        ("a private prime", with(jwk(), "p", json!("AQAB"))),
        ("an HMAC key beside", with(jwk(), "k", json!("c2VjcmV0"))),
        ("kty in small letters", with(jwk(), "kty", json!("rsa"))),
        ("kty EC", with(jwk(), "kty", json!("EC"))),
        ("kty oct", with(jwk(), "kty", json!("oct"))),
        ("no kty", without(jwk(), "kty")),
        ("no modulus", without(jwk(), "n")),
        ("no exponent", without(jwk(), "e")),
        ("exponent 1", with(jwk(), "e", json!("AQ"))),
        ("exponent 2", with(jwk(), "e", json!("Ag"))),
        ("exponent of 34 bits", with(jwk(), "e", json!("AgAAAAE"))),
        ("exponent a number", with(jwk(), "e", json!(65537))),
        ("modulus padded", with(jwk(), "n", json!(format!("{}==", jwk()["n"].as_str().unwrap())))),
        ("modulus with a space", with(jwk(), "n", json!(format!(" {}", jwk()["n"].as_str().unwrap())))),
        ("modulus of 1024 bits", with(jwk(), "n", json!(base64([0xc1; 128])))),
        ("modulus of 16384 bits", with(jwk(), "n", json!(base64([0xc1; 2048])))),
        ("issuer null", with(jwk(), "issuer", json!(null))),
        ("kid with a space", with(jwk(), "kid", json!("rsa "))),
        ("kid in capitals", with(jwk(), "kid", json!("RSA"))),
        ("kid a list", with(jwk(), "kid", json!(["rsa"]))),
        ("no kid", without(jwk(), "kid")),
        ("a text", jwk().to_string().into()),
        ("in a list", json!([jwk()])),
        ("in a set of its own", json!({ "keys": [jwk()] })),
        ("a certificate only", json!({"kty": "RSA", "kid": "rsa", "x5c": ["MIIC"]})),
        ("a URL only", json!({"kty": "RSA", "kid": "rsa", "x5u": "https://attacker.example"})),
        ("Edwards curve", json!({"kty": "OKP", "crv": "Ed25519", "kid": "rsa", "x": base64([1; 32])})),
    ] {
        add(what, &[entry], signed(), Fault::UnknownKey);
    }
    for (what, entry) in [
        ("crv P-384", with(p256(), "crv", json!("P-384"))),
        ("crv secp256k1", with(p256(), "crv", json!("secp256k1"))),
        ("no crv", without(p256(), "crv")),
        ("y of another point", with(p256(), "y", world.p256.jwk("p256")["y"].clone())),
        ("the point at infinity", with(with(p256(), "x", json!(base64([0; 32]))), "y", json!(base64([0; 32])))),
        ("x beyond the field", with(p256(), "x", json!(base64([0xff; 32])))),
        ("x of 31 bytes", with(p256(), "x", json!(base64([1; 31])))),
        ("x of 33 bytes", with(p256(), "x", json!(base64([0; 33])))),
        ("no y", without(p256(), "y")),
        ("alg ES384", with(p256(), "alg", json!("ES384"))),
        ("alg RS256", with(p256(), "alg", json!("RS256"))),
        ("a private scalar", with(p256(), "d", json!(base64([1; 32])))),
    ] {
        let token = other.sign(r#"{"alg":"ES256","kid":"p256"}"#, &payload);
        add(&format!("P-256: {what}"), &[entry], token, Fault::UnknownKey);
    }
    let ours = world.rsa.jwk("rsa");
    let mine = || world.token(&user());
    for (what, token) in
        [("a second key of the name, its token", signed()), ("a second key of the name, our token", mine())]
    {
        add(what, &[ours.clone(), jwk()], token.clone(), Fault::UnknownKey);
        add(&format!("{what}, first"), &[jwk(), ours.clone()], token.clone(), Fault::UnknownKey);
        add(&format!("{what}, among three"), &[ours.clone(), jwk(), ours.clone()], token, Fault::UnknownKey);
    }
    add(
        "the same key for two issuers",
        &[ours.clone(), with(ours.clone(), "issuer", json!("https://x"))],
        mine(),
        Fault::UnknownKey,
    );
    add(
        "an RSA and an EC key of one name",
        &[ours.clone(), with(p256(), "kid", json!("rsa"))],
        mine(),
        Fault::UnknownKey,
    );
    add("of another issuer", &[with(ours.clone(), "issuer", json!("https://x"))], mine(), Fault::KeyIssuer);
    add("of an issuer that is empty", &[with(ours.clone(), "issuer", json!(""))], mine(), Fault::KeyIssuer);
    add(
        "of a template that is not ours",
        &[with(ours.clone(), "issuer", json!("{tenantid}"))],
        mine(),
        Fault::KeyIssuer,
    );
    add("for PS256 only", &[with(ours.clone(), "alg", json!("PS256"))], mine(), Fault::KeyMismatch);
    add("another key of the name alone", &[jwk()], mine(), Fault::BadSignature);
    add("withdrawn", &[], mine(), Fault::UnknownKey);
    let secret = json!({"kty": "oct", "kid": "rsa", "k": base64("secret"), "alg": "HS256"});
    add("an HMAC key of the name", &[secret], mine(), Fault::UnknownKey);
    rows
}

/// The public half of a key on P-256 under the name that tokens use.
fn attacker_p256(signer: &Signer) -> Value {
    signer.jwk("p256")
}

#[test]
fn documents_that_are_no_key_sets_are_not_taken_at_all() {
    let (rsa, p256) = (Signer::rsa(), Signer::p256());
    let good = json!({ "keys": keys(&rsa, &p256) }).to_string();
    assert_eq!(KeySet::parse(good.as_bytes()).unwrap().len(), 15);
    let twice = good.replacen("\"kid\":\"rsa\"", "\"kid\":\"rsa\",\"\\u006bid\":\"p256\"", 1);
    for document in [
        "",
        "[]",
        "{}",
        "null",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[{}]}",
        "{\"Keys\":[]}",
        &good[1..],
        &good[..good.len() - 1],
        &twice,
        &good.replacen('{', "{\"keys\":[],", 1),
        &format!("{good}{good}"),
        &format!("\u{feff}{good}"),
        "<html><body>502 Bad Gateway</body></html>",
    ] {
        assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn a_set_of_a_thousand_keys_is_taken_and_each_is_found() {
    let signer = Signer::p256();
    let entries: Vec<Value> = (0..1000).map(|number| signer.jwk(&format!("key-{number}"))).collect();
    let set = Arc::new(KeySet::parse(json!({ "keys": entries }).to_string().as_bytes()).unwrap());
    let ring = KeyRing::empty(4).with(OF_V1, Arc::clone(&set), NOW).with(OF_V2, set, NOW);
    let world = World::new();
    for number in [0, 1, 499, 998, 999] {
        let token = signer.sign(&format!(r#"{{"alg":"ES256","kid":"key-{number}"}}"#), &user().to_string());
        assert!(world.verifier.verify(&token, &ring, NOW).is_ok(), "{number}");
    }
}
