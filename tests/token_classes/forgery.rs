//! Signatures that are not what they should be.

use std::fs;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::token::Fault;
use serde_json::{Value, json};

use crate::identity_provider::Signer;
use crate::number::Number;
use crate::token_world::{HEADER, World, assembled, base64, user, with};
use crate::{Row, row};

/// What stands before a SHA-256 digest in a signature of PKCS #1 v1.5 (RFC 8017 section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// The key of RFC 7520 section 3.4, whose private exponent is known, so that any block can be signed with it.
struct KnownKey(Value);

impl KnownKey {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/rfc7520-cookbook/jwk/3_4.rsa_private_key.json");
        Self(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }

    fn number(&self, name: &str) -> Number {
        Number::read(&URL_SAFE_NO_PAD.decode(self.0[name].as_str().unwrap()).unwrap(), 64)
    }

    fn jwk(&self) -> Value {
        json!({"kty": "RSA", "kid": "rsa", "n": self.0["n"], "e": self.0["e"]})
    }

    /// The signature that opens to this block of 256 bytes.
    fn sign(&self, block: &[u8]) -> Vec<u8> {
        Number::read(block, 64).power(&self.number("d"), &self.number("n")).bytes()
    }
}

/// A block of 256 bytes: 0, the type, filling, 0, and what follows.
fn block(kind: u8, filling: u8, end: &[u8]) -> Vec<u8> {
    let mut block = vec![filling; 256 - end.len()];
    (block[0], block[1]) = (0, kind);
    *block.last_mut().unwrap() = 0;
    block.extend(end);
    block
}

pub fn rsa(world: &World) -> Vec<Row> {
    let payload = user().to_string();
    let signed = format!("{}.{}", base64(HEADER), base64(&payload));
    let hash = digest(&SHA256, signed.as_bytes());
    let hash = hash.as_ref();
    let info = [&SHA256_PREFIX[..], hash].concat();
    let right = block(1, 0xff, &info);

    let mut rows = Vec::new();
    let key = KnownKey::read();
    let ring = world.with_keys(&[key.jwk()]);
    let token = |block: &[u8]| assembled(HEADER, &payload, &key.sign(block));
    // The arithmetic is right: what the library would have signed is believed.
    assert!(world.verifier.verify(&token(&right), &ring, crate::NOW).is_ok());

    let without_null = [&[0x30, 0x2f, 0x30, 0x0b][..], &SHA256_PREFIX[4..15], &[0x04, 0x20], hash].concat();
    let long_form = [&[0x30, 0x81, 0x31][..], &SHA256_PREFIX[2..], hash].concat();
    let of_sha1 = |hash: &[u8]| {
        [&[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14][..], hash].concat()
    };
    let other = |last: u8, length: u8, hash: &[u8]| {
        let mut prefix = SHA256_PREFIX;
        (prefix[1], prefix[14], prefix[18]) = (0x11 + length, last, length);
        [&prefix[..], hash].concat()
    };
    let mut changed = right.clone();
    changed[100] = 0;
    let mut short = vec![0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    short.extend(&info);
    let garbage_behind: Vec<u8> = short.iter().copied().chain(std::iter::repeat(0)).take(256).collect();
    let in_parameters = {
        let inner = [&SHA256_PREFIX[4..15], &[0x04, 0x81, 0x80][..], &[0_u8; 128]].concat();
        [&[0x30, 0x81, 0xb4, 0x30, 0x81, 0x8f][..], &inner, &[0x04, 0x20], hash].concat()
    };
    for (what, block) in [
        ("no padding", [&[0; 205][..], &info].concat()),
        ("type 0", block(0, 0, &info)),
        ("type 2", block(2, 0xaa, &info)),
        ("filled with zeros", block(1, 0, &info)),
        ("filled with other bytes", block(1, 0xfe, &info)),
        ("a zero in the filling", changed),
        ("short filling, garbage behind", garbage_behind),
        ("garbage in the parameters", block(1, 0xff, &in_parameters)),
        ("garbage behind the digest", block(1, 0xff, &[&info[..], &[0; 8]].concat())),
        ("no NULL", block(1, 0xff, &without_null)),
        ("a length in long form", block(1, 0xff, &long_form)),
        ("the digest alone", block(1, 0xff, hash)),
        ("the digest without its last byte", block(1, 0xff, &info[..info.len() - 1])),
        ("a digest of zeros", block(1, 0xff, &[&SHA256_PREFIX[..], &[0; 32]].concat())),
        ("another digest", block(1, 0xff, &[&SHA256_PREFIX[..], digest(&SHA256, b"x").as_ref()].concat())),
        (
            "the digest of the payload only",
            block(1, 0xff, &[&SHA256_PREFIX[..], digest(&SHA256, payload.as_bytes()).as_ref()].concat()),
        ),
        ("SHA-1", block(1, 0xff, &of_sha1(digest(&SHA1_FOR_LEGACY_USE_ONLY, signed.as_bytes()).as_ref()))),
        ("SHA-384", block(1, 0xff, &other(2, 48, digest(&SHA384, signed.as_bytes()).as_ref()))),
        ("SHA-512", block(1, 0xff, &other(3, 64, digest(&SHA512, signed.as_bytes()).as_ref()))),
        ("SHA-256 said to be SHA-512", block(1, 0xff, &other(3, 32, hash))),
        ("the message itself", [&[0; 240][..], &signed.as_bytes()[..16]].concat()),
        ("one", [&[0; 255][..], &[1]].concat()),
        ("zero", vec![0; 256]),
    ] {
        let row =
            Row { ring: Some(ring.clone()), ..row(format!("RSA block: {what}"), token(&block), Fault::BadSignature) };
        rows.push(row);
    }
    // A signature plus the modulus opens to the same block.
    let (n, s) = (key.number("n"), Number::read(&key.sign(&right), 64));
    let mut more = s.bytes();
    let sum: Vec<u8> = {
        let mut carry = 0;
        for (byte, other) in more.iter_mut().zip(n.bytes()).rev() {
            let sum = u16::from(*byte) + u16::from(other) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        if carry > 0 { [&[1], &more[..]].concat() } else { more }
    };
    let mut difference = n.clone();
    difference.subtract(&s);
    for (what, signature) in [
        ("s + n", sum),
        ("n - s", difference.bytes()),
        ("n", n.bytes()),
        ("a leading zero", [&[0], &s.bytes()[..]].concat()),
        ("a trailing zero", [&s.bytes()[..], &[0]].concat()),
        ("without its first byte", s.bytes()[1..].to_vec()),
        ("without its last byte", s.bytes()[..255].to_vec()),
        ("reversed", s.bytes().into_iter().rev().collect()),
        ("twice", [s.bytes(), s.bytes()].concat()),
        ("in hexadecimal", s.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()),
        ("in base64 once more", base64(s.bytes()).into_bytes()),
    ] {
        let token = assembled(HEADER, &payload, &signature);
        rows.push(Row {
            ring: Some(ring.clone()),
            ..row(format!("RSA signature: {what}"), token, Fault::BadSignature)
        });
    }
    for length in [1, 2, 32, 64, 128, 255, 256, 257, 512, 4_096] {
        for byte in [0, 1, 0xff] {
            let token = assembled(HEADER, &payload, &vec![byte; length]);
            rows.push(row(format!("RSA signature: {length} bytes {byte}"), token, Fault::BadSignature));
        }
    }
    let good = world.token(&user());
    let (_, signature) = good.rsplit_once('.').unwrap();
    let other = world.token(&with(user(), "oid", json!(crate::token_world::CLIENT)));
    let (head, _) = other.rsplit_once('.').unwrap();
    rows.push(row("RSA signature of another payload", format!("{head}.{signature}"), Fault::BadSignature));
    let header = r#"{"alg":"RS256","kid":"rsa-named"}"#;
    let token = format!("{}.{}.{signature}", base64(header), base64(&payload));
    rows.push(row("RSA signature of another header", token, Fault::BadSignature));
    rows.push(row("RSA, another key", Signer::rsa().sign(HEADER, &payload), Fault::BadSignature));
    rows.push(row("RS256 in the header, signed ES256", world.p256.sign(HEADER, &payload), Fault::BadSignature));
    rows
}

/// The order of P-256 (FIPS 186-4 D.1.2.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// An integer in DER: no leading zeros but one before a high bit.
fn der_integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let zero: &[u8] = if bytes[start] > 0x7f { &[0] } else { &[] };
    let value = [zero, &bytes[start..]].concat();
    [&[2, u8::try_from(value.len()).unwrap()][..], &value].concat()
}

pub fn ecdsa(world: &World) -> Vec<Row> {
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let payload = user().to_string();
    let good = world.p256.sign(header, &payload);
    let signature = URL_SAFE_NO_PAD.decode(good.rsplit_once('.').unwrap().1).unwrap();
    let (r, s) = signature.split_at(32);
    let plus = |value: u8| {
        let mut bytes = ORDER;
        bytes[31] = bytes[31].wrapping_add(value);
        bytes.to_vec()
    };
    let small = |value: u8| [&[0; 31][..], &[value]].concat();
    let mut rows = Vec::new();
    let edges = [
        ("0", small(0)),
        ("1", small(1)),
        ("2", small(2)),
        ("n - 1", plus(0xff)),
        ("n", plus(0)),
        ("n + 1", plus(1)),
        ("2^256 - 1", vec![0xff; 32]),
    ];
    let mut add =
        |what: String, bytes: Vec<u8>| rows.push(row(what, assembled(header, &payload, &bytes), Fault::BadSignature));
    for (of_r, first) in &edges {
        for (of_s, second) in &edges {
            add(format!("(r, s) = ({of_r}, {of_s})"), [&first[..], second].concat());
        }
        add(format!("r = {of_r}"), [&first[..], s].concat());
        add(format!("s = {of_r}"), [r, first].concat());
    }
    let integers = [der_integer(r), der_integer(s)].concat();
    let der = [&[0x30, u8::try_from(integers.len()).unwrap()][..], &integers].concat();
    for (what, bytes) in [
        ("in DER", der.clone()),
        ("in DER, cut to 64 bytes", der.iter().copied().take(64).collect()),
        ("r and s exchanged", [s, r].concat()),
        ("little-endian", r.iter().rev().chain(s.iter().rev()).copied().collect()),
        ("r alone", r.to_vec()),
        ("without its last byte", signature[..63].to_vec()),
        ("without its first byte", signature[1..].to_vec()),
        ("a zero behind", [&signature[..], &[0]].concat()),
        ("a zero before", [&[0], &signature[..]].concat()),
        ("a zero before each half", [&[0], r, &[0], s].concat()),
        ("as long as for P-384", [&[0; 16], r, &[0; 16], s].concat()),
        ("as long as for P-521", [&[0; 34], r, &[0; 34], s].concat()),
        ("twice", [&signature[..], &signature].concat()),
        ("in base64 once more", base64(&signature).into_bytes()),
    ] {
        add(format!("ECDSA signature: {what}"), bytes);
    }
    for length in [1, 31, 32, 63, 65, 72, 96, 132, 256, 4_096] {
        add(format!("ECDSA signature: {length} bytes zero"), vec![0; length]);
    }
    let other = world.p256.sign(header, &with(user(), "roles", json!(["Admin"])).to_string());
    let head = other.rsplit_once('.').unwrap().0;
    rows.push(row("ECDSA signature of another payload", format!("{head}.{}", base64(&signature)), Fault::BadSignature));
    rows.push(row("ECDSA, another key", Signer::p256().sign(header, &payload), Fault::BadSignature));
    rows.push(row("ES256 in the header, signed RS256", world.rsa.sign(header, &payload), Fault::BadSignature));
    rows
}

/// A signature (r, s) and its mirror (r, n - s) are both the signer's (RFC 7518 section 3.4 allows either, and issuers
/// write either), so both texts are the same token: one more reason not to revoke by text.
#[test]
fn both_forms_of_an_ecdsa_signature_mean_the_same() {
    let world = World::new();
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let token = world.p256.sign(header, &user().to_string());
    let signature = URL_SAFE_NO_PAD.decode(token.rsplit_once('.').unwrap().1).unwrap();
    let mut mirrored = Number::read(&ORDER, 8);
    mirrored.subtract(&Number::read(&signature[32..], 8));
    let mirror = assembled(header, &user().to_string(), &[&signature[..32], &mirrored.bytes()].concat());
    assert_ne!(mirror, token);
    let (one, other) = (world.verify(&token).unwrap(), world.verify(&mirror).unwrap());
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}
