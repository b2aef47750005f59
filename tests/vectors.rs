//! Public test vectors (see `tests/vectors/README.md`): signatures, keys and JSON as others defined them, and where the
//! product's verdict differs from theirs, why. A difference that is not listed fails, and so does a listed one that is
//! no more.

#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/token_world.rs"]
mod token_world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::token::{Algorithms, Fault, KeyRing, KeySet, Rules, TokenFault, Verifier};
use serde_json::{Value, json};

use token_world::{NOW, OF_OKTA, OF_V1, OF_V2, RULES, World, base64, fault_of, issuers};

/// Differences from the verdicts of one file: the numbers of the vectors, and the reason for all of them.
struct Differing {
    file: &'static str,
    vectors: &'static [u64],
    because: &'static str,
}

const SYMMETRIC: &str = "an HMAC key would be a shared secret: keys of the type `oct` are never taken";
const OTHER_HASH: &str = "RS256, PS256 and ES256 are the only algorithms; the key is for another one";
const OTHER_NAME: &str = "the key says PS256, the token PS384: an `alg` in a key is binding";
const ROCA: &str = "the key was made by a broken chip, which cannot be seen without a test of its own; issuers that are \
                    trusted to name their keys are trusted to make them";

const DIFFERING: &[Differing] = &[
    Differing {
        file: "json_web_signature_test",
        vectors: &[1, 348, 352, 357, 358, 359, 372, 373, 376, 377],
        because: SYMMETRIC,
    },
    Differing {
        file: "json_web_signature_test",
        vectors: &[264, 265, 266, 267, 268, 269, 270, 271, 320, 321, 322, 323, 325, 326, 327, 328, 347, 351],
        because: OTHER_HASH,
    },
    Differing { file: "json_web_signature_test", vectors: &[346, 350], because: OTHER_NAME },
    Differing { file: "json_web_key_test", vectors: &[2, 13, 14, 15], because: SYMMETRIC },
    Differing { file: "json_web_key_test", vectors: &[7], because: ROCA },
    Differing { file: "json_web_crypto_test", vectors: &[1, 48], because: SYMMETRIC },
    Differing { file: "json_web_crypto_test", vectors: &[46], because: ROCA },
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// The groups of a file of Wycheproof with their tests.
fn tests(file: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = file["testGroups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test)))
}

/// Compares the verdicts on a file with those of the file: which vectors differ without being listed, and which are
/// listed without differing.
fn compare(file: &str, verdicts: &BTreeMap<u64, (bool, bool)>) {
    let differing = verdicts.iter().filter(|(_, (expected, found))| expected != found).map(|(id, _)| *id);
    let differing: BTreeSet<u64> = differing.collect();
    let rows: Vec<&Differing> = DIFFERING.iter().filter(|row| row.file == file).collect();
    let listed: BTreeSet<u64> = rows.iter().flat_map(|row| row.vectors.iter().copied()).collect();
    let reasons: Vec<&str> = rows.iter().map(|row| row.because).collect();
    assert_eq!(differing, listed, "{file}: the vectors on which we differ, and those listed because {reasons:#?}");
}

/// The set of usable keys of a JWK or of a JWK set, those without a name named `none`.
fn usable(keys: &Value) -> Option<KeySet> {
    let mut keys = keys.get("keys").cloned().unwrap_or_else(|| json!([keys]));
    for key in keys.as_array_mut()? {
        if let Some(key) = key.as_object_mut() {
            key.entry("kid").or_insert_with(|| json!("none"));
        }
    }
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).ok()
}

/// Whether the signature of a JWS is that of the key which its header names, with the algorithm that it names.
fn verifies(keys: &KeySet, jws: &str) -> bool {
    let Some((signed, signature)) = jws.rsplit_once('.') else { return false };
    let header = signed.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let Some(header) = header else { return false };
    let (kid, alg) = (header["kid"].as_str().unwrap_or("none"), header["alg"].as_str().unwrap_or_default());
    keys.verifies(kid, alg, signed.as_bytes(), signature)
}

#[test]
fn signatures_and_keys_of_wycheproof_are_judged_as_it_says() {
    for name in ["json_web_signature_test", "json_web_key_test", "json_web_crypto_test"] {
        let file = read(&format!("wycheproof/{name}.json"));
        let mut verdicts = BTreeMap::new();
        for (group, test) in tests(&file) {
            let Some(jws) = test["jws"].as_str() else { continue };
            let keys = usable(group.get("public").unwrap_or(&group["private"]));
            let found = keys.is_some_and(|keys| verifies(&keys, jws));
            verdicts.insert(test["tcId"].as_u64().unwrap(), (test["result"] == "valid", found));
        }
        compare(name, &verdicts);
    }
}

#[test]
fn raw_signatures_of_wycheproof_are_judged_as_it_says() {
    for (name, alg, total) in [
        ("ecdsa_secp256r1_sha256_p1363_test", "ES256", 262),
        ("rsa_signature_2048_sha256_test", "RS256", 259),
        ("rsa_pss_2048_sha256_mgf1_32_test", "PS256", 108),
    ] {
        let file = read(&format!("wycheproof/{name}.json"));
        let mut verdicts = BTreeMap::new();
        for (group, test) in tests(&file) {
            let keys = usable(&jwk_of(group)).unwrap_or_else(|| panic!("{name} {}: no key", test["tcId"]));
            let (message, signature) = (hex(&test["msg"]), base64(hex(&test["sig"])));
            let found = keys.verifies("none", alg, &message, &signature);
            // What is `acceptable` may be refused.
            verdicts.insert(test["tcId"].as_u64().unwrap(), (test["result"] == "valid", found));
        }
        assert_eq!(verdicts.len(), total);
        compare(name, &verdicts);
    }
}

/// The key of a group of raw signatures, which is not given as a JWK everywhere.
fn jwk_of(group: &Value) -> Value {
    let bytes = |name: &str| hex(&group["publicKey"][name]);
    let whole = |name: &str| base64(bytes(name).into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>());
    match group["type"].as_str().unwrap() {
        "EcdsaP1363Verify" => {
            let point = bytes("uncompressed");
            json!({"kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..])})
        }
        _ => json!({"kty": "RSA", "n": whole("modulus"), "e": whole("publicExponent")}),
    }
}

fn hex(text: &Value) -> Vec<u8> {
    let digits: Vec<u8> =
        text.as_str().unwrap().chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Every text of a document that may be a token: compact serializations, and the JSON ones as a client might send them.
fn tokens(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("jws" | "jwe" | "compact", Value::String(token)) => found.push(token.clone()),
                    ("json" | "json_flat", Value::Object(_)) => found.push(value.to_string()),
                    _ => tokens(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| tokens(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// All keys of a document, whole sets first.
fn keys_of(document: &Value, found: &mut Vec<KeySet>) {
    match document {
        Value::Object(members) => {
            if members.contains_key("kty") || members.contains_key("keys") {
                found.extend(usable(&public(document)));
            }
            members.values().for_each(|value| keys_of(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The public half of a key.
fn public(key: &Value) -> Value {
    let mut key = key.clone();
    if let Some(members) = key.as_object_mut() {
        members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    }
    key
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            files_below(&entry, found);
        } else if entry.extension().is_some_and(|ending| ending == "json") {
            found.push(entry);
        }
    }
}

#[test]
fn no_token_of_any_collection_is_believed_whichever_of_its_keys_are_ours() {
    let rules = Rules { algorithms: Algorithms { rs256: true, ps256: true, es256: true }, ..RULES };
    let verifier = Verifier::new(issuers(), rules, 1000);
    let (mut files, mut judged) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for name in ["wycheproof", "rfc7520-cookbook", "rfc"] {
        files_below(&folder().join(name), &mut files);
    }
    assert_eq!(files.len(), 7 + 30 + 1);
    for file in files {
        let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let groups = document.get("testGroups").or(document.get("vectors")).and_then(Value::as_array);
        for group in groups.unwrap_or(&vec![document.clone()]) {
            let (mut found, mut keys) = (Vec::new(), Vec::new());
            tokens(group, &mut found);
            keys_of(group, &mut keys);
            let rings = keys.into_iter().map(|keys| {
                let keys = Arc::new(keys);
                let ring = KeyRing::empty(4).with(OF_V1, Arc::clone(&keys), NOW).with(OF_V2, Arc::clone(&keys), NOW);
                ring.with(OF_OKTA, keys, NOW)
            });
            let rings: Vec<KeyRing> = rings.chain([KeyRing::empty(4)]).collect();
            for (token, ring) in found.iter().flat_map(|token| rings.iter().map(move |ring| (token, ring))) {
                for now in [NOW, 1_300_819_000] {
                    let refusal = verifier.verify(token, ring, now).expect_err(token);
                    *judged.entry(fault_of(&refusal).map_or("keys_unavailable", Fault::word)).or_default() += 1;
                }
            }
        }
    }
    let expected = [
        ("algorithm_not_allowed", 68),
        ("encrypted", 334),
        ("malformed", 304),
        ("malformed_payload", 1898),
        ("no_key_id", 12),
        ("not_base64url", 192),
        ("symmetric_algorithm", 94),
    ];
    assert_eq!(judged, BTreeMap::from(expected), "payloads of the collections are no claims, so none gets further");
}

#[test]
fn examples_of_the_rfcs_verify_as_far_as_their_algorithms_are_ours_and_are_refused_as_tokens() {
    let world = World::new();
    for (name, verified, fault) in [
        ("rfc7515-A.1-HS256", false, Fault::SymmetricAlgorithm),
        ("rfc7515-A.2-RS256", true, Fault::NoKeyId),
        ("rfc7515-A.3-ES256", true, Fault::NoKeyId),
        ("rfc7515-A.5-none", false, Fault::NotBase64url),
        ("rfc7797-4.2-b64-false-detached", false, Fault::NotBase64url),
    ] {
        let file = read("rfc/rfc7515_rfc7797.json");
        let vector = file["vectors"].as_array().unwrap().iter().find(|vector| vector["name"] == name).unwrap();
        let jws = vector["jws"].as_str().unwrap();
        assert_eq!(usable(&vector["key"]).is_some_and(|keys| verifies(&keys, jws)), verified, "{name}");
        assert_eq!(world.verify(jws).unwrap_err(), TokenFault::Invalid(fault), "{name}");
    }
    for (name, verified) in [
        ("4_1.rsa_v15_signature", true),
        ("4_2.rsa-pss_signature", false),
        ("4_3.ecdsa_signature", false),
        ("4_4.hmac-sha2_integrity_protection", false),
    ] {
        let file = read(&format!("rfc7520-cookbook/jws/{name}.json"));
        let keys = usable(&public(&file["input"]["key"]));
        let jws = file["output"]["compact"].as_str().unwrap();
        assert_eq!(keys.is_some_and(|keys| verifies(&keys, jws)), verified, "{name}");
    }
}

#[test]
fn headers_that_change_how_a_payload_is_read_are_refused_even_with_an_algorithm_of_ours() {
    let world = World::new();
    for (members, fault) in [
        (r#""b64":false,"crit":["b64"]"#, Fault::CriticalHeader),
        (r#""b64":false"#, Fault::UnencodedPayload),
        (
            r#""crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":true"#,
            Fault::CriticalHeader,
        ),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"rsa",{members}}}"#);
        let token = world.rsa.sign(&header, &token_world::user().to_string());
        assert_eq!(world.verify(&token).unwrap_err(), TokenFault::Invalid(fault), "{members}");
    }
}

#[test]
fn the_keys_of_rfc_7520_are_usable_if_they_are_public_and_of_a_type_that_is_used() {
    for (name, usable_alone) in [
        ("3_1.ec_public_key", false),
        ("3_2.ec_private_key", false),
        ("3_3.rsa_public_key", true),
        ("3_4.rsa_private_key", false),
        ("3_5.symmetric_key_mac_computation", false),
        ("3_6.symmetric_key_encryption", false),
    ] {
        let key = read(&format!("rfc7520-cookbook/jwk/{name}.json"));
        assert_eq!(usable(&key).is_some(), usable_alone, "{name}");
    }
}

/// What the reader of tokens makes of a text, told by the first fault that a payload of it has: whether it was read.
fn payload_verdict(world: &World, json: &[u8]) -> Result<(), Fault> {
    let signed = format!("{}.{}", base64(r#"{"alg":"RS256","kid":"rsa"}"#), base64(json));
    match fault_of(&world.verify(&format!("{signed}.AAAA")).unwrap_err()) {
        // What follows the reading.
        Some(Fault::NoIssuer | Fault::BadSignature) => Ok(()),
        fault => Err(fault.unwrap()),
    }
}

/// The same as one claim of a payload that is otherwise as it should be.
fn claim_verdict(world: &World, json: &[u8]) -> Result<(), Fault> {
    let whole = token_world::user().to_string();
    let payload = [whole.trim_end_matches('}').as_bytes(), b",\"more\":", json, b"}"].concat();
    payload_verdict(world, &payload)
}

/// Whether the reader of key documents gets as far as to look for keys in a text.
fn is_read_as_key_document(json: &[u8]) -> bool {
    KeySet::parse(json).is_err_and(|fault| fault.why.contains("no list `keys`"))
}

/// `y_` files that are refused all the same, as payloads or as claims.
const NAMES_TWICE: [&str; 2] = ["y_object_duplicated_key", "y_object_duplicated_key_and_value"];

/// Files that a reader may take or not, and that ours takes as a claim; it refuses all others of them. Numbers beyond what
/// every reader holds are read, but count as no number where one is needed.
const TAKEN: [&str; 5] = [
    "i_number_double_huge_neg_exp",
    "i_number_real_underflow",
    "i_number_too_big_neg_int",
    "i_number_too_big_pos_int",
    "i_number_very_big_negative_int",
];

#[test]
fn json_is_read_as_jsontestsuite_says() {
    let world = World::new();
    let (mut files, mut taken, mut counts) = (Vec::new(), Vec::new(), BTreeMap::<char, usize>::new());
    files_below(&folder().join("jsontestsuite/test_parsing"), &mut files);
    for file in files {
        let (name, json) = (file.file_stem().unwrap().to_str().unwrap(), fs::read(&file).unwrap());
        let (payload, claim) = (payload_verdict(&world, &json), claim_verdict(&world, &json));
        let is_object = json.trim_ascii_start().starts_with(b"{");
        *counts.entry(name.chars().next().unwrap()).or_default() += 1;
        match name.split('_').next() {
            Some("y") if NAMES_TWICE.contains(&name) => {
                assert_eq!((payload, claim), (Err(Fault::PayloadNameTwice), Err(Fault::PayloadNameTwice)), "{name}");
                assert!(!is_read_as_key_document(&json), "{name}");
            }
            Some("y") => {
                assert_eq!(claim, Ok(()), "{name}");
                assert_eq!(payload.is_ok(), is_object, "{name}: {payload:?}");
                assert_eq!(is_read_as_key_document(&json), is_object, "{name}");
            }
            Some("n") => {
                let refused = |verdict: &Result<(), Fault>| match verdict {
                    Err(Fault::MalformedPayload) => true,
                    Err(Fault::TooLarge) => json.len() > 20_000,
                    Err(Fault::NotBase64url) => json.is_empty(),
                    _ => false,
                };
                assert!(refused(&payload) && refused(&claim), "{name}: {payload:?} {claim:?}");
                assert!(!is_read_as_key_document(&json), "{name}");
            }
            Some("i") if claim.is_ok() => taken.push(name.to_owned()),
            Some("i") => assert!(payload.is_err() && !is_read_as_key_document(&json), "{name}: {claim:?}"),
            _ => panic!("{name}"),
        }
    }
    assert_eq!(counts, BTreeMap::from([('i', 35), ('n', 188), ('y', 95)]));
    assert_eq!(taken, TAKEN, "of those that a reader may take or not");
}

#[test]
fn values_that_readers_change_are_refused_or_mean_the_same_to_all() {
    let world = World::new();
    for (name, expected) in [
        ("number_-9223372036854775808", Ok(())),
        ("object_same_key_different_values", Err(Fault::PayloadNameTwice)),
        ("object_same_key_same_value", Err(Fault::PayloadNameTwice)),
        ("object_same_key_unclear_values", Err(Fault::PayloadNameTwice)),
        // Two names to a computer, though one to the eye: neither is a name that is looked for.
        ("object_key_nfc_nfd", Ok(())),
        ("string_1_escaped_invalid_codepoint", Err(Fault::MalformedPayload)),
        ("string_1_invalid_codepoint", Err(Fault::MalformedPayload)),
        ("string_2_escaped_invalid_codepoints", Err(Fault::MalformedPayload)),
        ("string_3_invalid_codepoints", Err(Fault::MalformedPayload)),
        ("string_with_escaped_NULL", Ok(())),
    ] {
        let json = fs::read(folder().join(format!("jsontestsuite/test_transform/{name}.json"))).unwrap();
        assert_eq!(claim_verdict(&world, &json), expected, "{name}");
    }
}
