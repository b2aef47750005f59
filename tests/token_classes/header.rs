//! What stands in the header.

use aws_lc_rs::hmac;
use portcullis::token::Fault;
use serde_json::{Value, json};

use crate::identity_provider::Signer;
use crate::token_world::{TENANT, World, assembled, base64, user, user_v1, v1_url, with};
use crate::{Row, row};

/// An ordinary payload under a header, signed with the RSA key.
fn under(world: &World, header: &str) -> String {
    world.rsa.sign(header, &user().to_string())
}

/// A header with one member more.
fn with_member(name: &str, value: &Value) -> String {
    format!(r#"{{"typ":"JWT","alg":"RS256","kid":"rsa",{}:{value}}}"#, json!(name))
}

pub fn algorithms(world: &World) -> Vec<Row> {
    let payload = user().to_string();
    let mut rows = Vec::new();
    for name in ["none", "None", "NONE", "nOnE"] {
        let header = format!(r#"{{"alg":"{name}","kid":"rsa"}}"#);
        rows.push(row(format!("alg {name}, signed"), under(world, &header), Fault::Unsigned));
        let empty = assembled(&header, &payload, b"");
        rows.push(row(format!("alg {name}, without a signature"), empty, Fault::NotBase64url));
        let zero = assembled(&header, &payload, &[0]);
        rows.push(row(format!("alg {name}, one byte as the signature"), zero, Fault::Unsigned));
    }
    for name in [
        "none ",
        " none",
        "none\u{0}",
        "n\u{f6}ne",
        "",
        "rs256",
        "RS256 ",
        " RS256",
        "RS256\u{0}",
        "RS256,none",
        "Rs256",
        "RSA256",
        "SHA256withRSA",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "RS384",
        "RS512",
        "RS1",
        "PS256",
        "PS384",
        "PS512",
        "ES384",
        "ES512",
        "ES256K",
        "EdDSA",
        "Ed25519",
        "ML-DSA-44",
        "RSA1_5",
        "RSA-OAEP",
        "ECDH-ES",
        "A128KW",
        "dir",
        "hs256",
        "HS1",
        "HS256/64",
        "RS\u{ff12}\u{ff15}\u{ff16}",
    ] {
        let header = json!({"alg": name, "kid": "rsa"}).to_string();
        rows.push(row(format!("alg {name:?}"), under(world, &header), Fault::AlgorithmNotAllowed));
    }
    for value in [json!(null), json!(1), json!(true), json!(["RS256"]), json!(["none", "RS256"]), json!({"RS256": 1})] {
        let header = json!({"alg": value, "kid": "rsa"}).to_string();
        rows.push(row(format!("alg {value}"), under(world, &header), Fault::NoAlgorithm));
    }
    rows.push(row("no alg", under(world, r#"{"kid":"rsa"}"#), Fault::NoAlgorithm));
    rows.push(row("ALG in its place", under(world, r#"{"ALG":"RS256","kid":"rsa"}"#), Fault::NoAlgorithm));

    // A public key as the secret of an HMAC, in the forms in which libraries have been handed it.
    let jwk = world.rsa.jwk("rsa");
    let modulus = jwk["n"].as_str().unwrap();
    let jwks = json!({ "keys": [jwk] }).to_string();
    let secrets =
        [("modulus", modulus.to_owned()), ("JWK", jwk.to_string()), ("JWKS", jwks), ("nothing", String::new())];
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for (what, secret) in &secrets {
            let key = hmac::Key::new(algorithm, secret.as_bytes());
            let tagged = |header: &str| {
                let signed = format!("{}.{}", base64(header), base64(&payload));
                format!("{signed}.{}", base64(hmac::sign(&key, signed.as_bytes())))
            };
            let header = format!(r#"{{"alg":"{name}","kid":"rsa"}}"#);
            rows.push(row(format!("{name} with the {what}"), tagged(&header), Fault::SymmetricAlgorithm));
            let claimed = tagged(r#"{"alg":"RS256","kid":"rsa"}"#);
            rows.push(row(format!("{name} with the {what}, as RS256"), claimed, Fault::BadSignature));
            let claimed = tagged(r#"{"alg":"ES256","kid":"p256"}"#);
            rows.push(row(format!("{name} with the {what}, as ES256"), claimed, Fault::BadSignature));
        }
    }
    for (alg, kid) in
        [("RS256", "p256"), ("ES256", "rsa"), ("RS256", "p256-named"), ("ES256", "rsa-named"), ("RS256", "rsa-pss")]
    {
        let header = format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#);
        rows.push(row(format!("{alg} with {kid}, signed RS256"), under(world, &header), Fault::KeyMismatch));
        let signed = world.p256.sign(&header, &payload);
        rows.push(row(format!("{alg} with {kid}, signed ES256"), signed, Fault::KeyMismatch));
    }
    rows
}

pub fn extensions(world: &World) -> Vec<Row> {
    let values = [json!(null), json!(true), json!(false), json!([]), json!({}), json!(""), json!("x"), json!(0)];
    let mut rows = Vec::new();
    for (name, fault, own) in [
        ("crit", Fault::CriticalHeader, vec![json!(["b64"]), json!(["exp"]), json!(["alg"]), json!(["nonce", "kid"])]),
        ("b64", Fault::UnencodedPayload, vec![json!("false")]),
        ("zip", Fault::Compressed, vec![json!("DEF"), json!("GZIP")]),
        ("enc", Fault::EncryptedContent, vec![json!("A128GCM"), json!("A128CBC-HS256")]),
        ("cty", Fault::Nested, vec![json!("JWT"), json!("jwt"), json!("application/jwt"), json!("JSON")]),
    ] {
        for value in values.iter().chain(&own) {
            let token = under(world, &with_member(name, value));
            rows.push(row(format!("{name} {value}"), token, fault));
        }
    }
    let both = r#"{"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]}"#;
    rows.push(row("crit with its b64", under(world, both), Fault::CriticalHeader));
    let escaped = r#"{"alg":"RS256","kid":"rsa","\u0063rit":["x"],"x":1}"#;
    rows.push(row("crit in escapes", under(world, escaped), Fault::CriticalHeader));
    let first = r#"{"crit":["x"],"alg":"RS256","kid":"rsa","x":1}"#;
    rows.push(row("crit before all others", under(world, first), Fault::CriticalHeader));
    rows
}

pub fn embedded_keys(_: &World) -> Vec<Row> {
    let payload = user().to_string();
    let mut rows = Vec::new();
    for (kind, alg, own, attacker) in
        [("RSA", "RS256", "rsa", Signer::rsa()), ("P-256", "ES256", "p256", Signer::p256())]
    {
        for (kid, fault) in [(own, Fault::BadSignature), ("attacker", Fault::UnknownKey)] {
            let key = attacker.jwk(kid);
            for (name, value) in [
                ("jwk", key.clone()),
                ("jwk", json!({ "keys": [key] })),
                ("jwks", json!({ "keys": [key] })),
                ("jku", json!("https://attacker.example/keys")),
                ("jku", json!("https://login.microsoftonline.com/common/discovery/v2.0/keys")),
                ("jku", json!("http://127.0.0.1:1/keys")),
                ("jku", json!("file:///tmp/keys.json")),
                ("x5u", json!("https://attacker.example/chain.pem")),
                ("x5c", json!(["MIIBszCCAVmgAwIBAgIUAttacker"])),
                ("x5t", json!(own)),
                ("x5t#S256", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
                ("key", key.clone()),
            ] {
                let header = json!({"alg": alg, "kid": kid, name: value}).to_string();
                rows.push(row(format!("{kind} {kid}: {name} {value}"), attacker.sign(&header, &payload), fault));
            }
        }
        let header = json!({"alg": alg, "jwk": attacker.jwk(own), "x5t": own}).to_string();
        rows.push(row(format!("{kind}: jwk without kid"), attacker.sign(&header, &payload), Fault::NoKeyId));
    }
    rows
}

pub fn key_ids(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for kid in [
        "RSA",
        " rsa",
        "rsa ",
        "rsa\u{0}",
        "\u{0}rsa",
        "rsa\n",
        "rs",
        "rsaa",
        "r%73a",
        "./rsa",
        "rsa/../rsa",
        "../../../../dev/null",
        "/proc/self/environ",
        "C:\\keys\\rsa",
        "rsa' OR '1'='1",
        "rsa'; DROP TABLE keys; --",
        "*",
        "rsa*",
        "${jndi:ldap://x/a}",
        "$(id)",
        "|id",
        "https://attacker.example/keys#rsa",
        "rs\u{430}",
        "\u{ff52}\u{ff53}\u{ff41}",
        "rsa\u{301}",
        "0",
        "null",
        "{tenantid}",
        "rsa,p256",
        "own-",
        "\u{feff}rsa",
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        rows.push(row(format!("kid {kid:?}"), under(world, &header), Fault::UnknownKey));
    }
    for kid in [
        json!(null),
        json!(""),
        json!(0),
        json!(true),
        json!(["rsa"]),
        json!({"rsa": 1}),
        json!("k".repeat(129)),
        json!("\u{e9}".repeat(65)),
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        rows.push(row(format!("kid {kid}"), under(world, &header), Fault::BadKeyId));
    }
    for header in [
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"RS256","Kid":"rsa"}"#,
        r#"{"alg":"RS256","x5t":"rsa"}"#,
        r#"{"alg":"RS256","kid ":"rsa"}"#,
    ] {
        rows.push(row(format!("no kid: {header}"), under(world, header), Fault::NoKeyId));
    }
    // The keys of single applications are looked for only where the tenant's own issuer says so.
    let v1 = with(user_v1(), "aud", json!("api://custom"));
    let token = world.application.sign(r#"{"alg":"ES256","kid":"own"}"#, &v1.to_string());
    rows.push(row("an application's key for the other issuer of the tenant", token, Fault::UnknownKey));
    let foreign = with(user(), "iss", json!(v1_url(TENANT)));
    let token = Signer::p256().sign(r#"{"alg":"ES256","kid":"own"}"#, &foreign.to_string());
    rows.push(row("an application's kid, another key, the other issuer", token, Fault::UnknownKey));
    rows
}

pub fn types(world: &World) -> Vec<Row> {
    let typ = [
        json!(null),
        json!(""),
        json!(1),
        json!(["JWT"]),
        json!("JWE"),
        json!("JOSE"),
        json!("JOSE+JSON"),
        json!("JWT "),
        json!("dpop+jwt"),
        json!("id+jwt"),
        json!("logout+jwt"),
        json!("secevent+jwt"),
        json!("refresh+jwt"),
        json!("token-introspection+jwt"),
        json!("oauth-authz-req+jwt"),
        json!("application/json"),
        json!("pop"),
        json!("SAML"),
        json!("J\u{ff37}T"),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for typ in typ {
        let header = json!({"alg": "RS256", "kid": "rsa", "typ": typ}).to_string();
        rows.push(row(format!("typ {typ}"), under(world, &header), Fault::WrongType));
    }
    rows
}

pub fn json(world: &World) -> Vec<Row> {
    let good = r#"{"alg":"RS256","kid":"rsa"}"#;
    let deep = with_member("x", &nested(16));
    let mut rows = Vec::new();
    for header in [
        "[]",
        "null",
        "1",
        "\"RS256\"",
        "{",
        "}",
        "{}}",
        "{}{}",
        " ",
        "{alg:\"RS256\",\"kid\":\"rsa\"}",
        "{'alg':'RS256','kid':'rsa'}",
        r#"{"alg":"RS256","kid":"rsa",}"#,
        r#"{"alg":"RS256" "kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"rsa"}x"#,
        r#"{"alg":"RS256","kid":"rsa"},{}"#,
        r#"{"alg":"RS256","kid":"rsa"/**/}"#,
        r#"{"alg":"RS256","kid":"rsa","x":01}"#,
        r#"{"alg":"RS256","kid":"rsa","x":NaN}"#,
        r#"{"alg":"RS256","kid":"rsa","x":"\ud800"}"#,
        r#"{"alg":"RS256","kid":"rsa","x":"\x41"}"#,
        "{\"alg\":\"RS256\",\"kid\":\"rsa\"}\u{0}",
        "\u{feff}{\"alg\":\"RS256\",\"kid\":\"rsa\"}",
        "{\"alg\":\"RS256\",\"kid\":\"rsa\n\"}",
        &deep,
    ] {
        rows.push(row(format!("header {header:?}"), under(world, header), Fault::MalformedHeader));
    }
    for bytes in [
        &b"\xff\xfe"[..],
        b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}",
        b"{\"alg\":\"RS256\",\"kid\":\"\xc1\xa1\"}",
        b"\x00",
    ] {
        let token = format!("{}.{}.{}", base64(bytes), base64(user().to_string()), base64([1; 256]));
        rows.push(row(format!("header bytes {bytes:?}"), token, Fault::MalformedHeader));
    }
    for members in [
        r#""alg":"RS256""#,
        r#""alg":"none""#,
        r#""\u0061lg":"none""#,
        r#""kid":"p256""#,
        r#""\u006bid":"rsa""#,
        r#""k\u0069d":"rsa""#,
        r#""x":1,"x":1"#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[{"a":1,"\u0061":2}]"#,
        r#""":1,"":1"#,
    ] {
        let header = good.replacen('{', &format!("{{{members},"), 1);
        rows.push(row(format!("header {header}"), under(world, &header), Fault::HeaderNameTwice));
        let header = format!("{},{members}}}", good.trim_end_matches('}'));
        rows.push(row(format!("header {header}"), under(world, &header), Fault::HeaderNameTwice));
    }
    rows
}

/// A list in a list and so on.
pub fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}
