//! The outside of a token and the JSON of its payload.

use portcullis::token::Fault;
use serde_json::json;

use crate::header::nested;
use crate::token_world::{HEADER, World, assembled, base64, user, with};
use crate::{Row, row};

/// The three parts of a good token.
fn parts(world: &World) -> [String; 3] {
    let token = world.token(&user());
    let mut parts = token.split('.').map(str::to_owned);
    [(); 3].map(|()| parts.next().unwrap())
}

/// A payload given as text, signed.
fn saying(world: &World, payload: &str) -> String {
    world.rsa.sign(HEADER, payload)
}

pub fn base64url(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let names = ["header", "payload", "signature"];
    for place in 0..3 {
        let mut changed = |what: &str, change: &dyn Fn(&str) -> String| {
            let mut parts = parts(world);
            parts[place] = change(&parts[place]);
            rows.push(row(format!("{}: {what}", names[place]), parts.join("."), Fault::NotBase64url));
        };
        for letters in [
            "=", "==", "===", " ", "\n", "\r\n", "\t", "\u{0}", "+", "/", "%3D", "!", "\u{e9}", "\u{200b}", "A A",
            "\u{feff}",
        ] {
            changed(&format!("{letters:?} behind"), &|part| format!("{part}{letters}"));
            changed(&format!("{letters:?} before"), &|part| format!("{letters}{part}"));
        }
        for letter in ["+", "/", "=", " ", "\n", "~", "*", "\u{0}"] {
            changed(&format!("{letter:?} within"), &|part| format!("{}{letter}{}", &part[..8], &part[9..]));
        }
        changed("nothing", &|_| String::new());
        changed("one letter", &|_| "A".into());
        changed("a length that no bytes have", &|part| {
            let whole = part.len() / 4 * 4;
            format!("{}A", &part[..whole])
        });
    }
    // Spare bits at the end that are not zero: the signature's 342 letters leave four of them.
    let [header, payload, signature] = parts(world);
    let last = signature.chars().next_back().unwrap();
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.find(last).unwrap();
    for bits in 1..16 {
        let other = &letters[at + bits..=at + bits];
        let token = format!("{header}.{payload}.{}{other}", &signature[..signature.len() - 1]);
        rows.push(row(format!("signature: spare bits {bits}"), token, Fault::NotBase64url));
    }
    for (what, header) in [("one spare byte", "eyJhbGciOiJSUzI1NiJ9IH"), ("two spare bytes", "eyJhbGciOiJSUzI1NiJ9IC5")]
    {
        rows.push(row(
            format!("header: {what}, bits set"),
            format!("{header}.{payload}.{signature}"),
            Fault::NotBase64url,
        ));
    }
    rows
}

pub fn structure(world: &World) -> Vec<Row> {
    let [header, payload, signature] = parts(world);
    let token = world.token(&user());
    let mut rows = Vec::new();
    for (what, text) in [
        ("nothing", String::new()),
        ("one part", header.clone()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.{signature}")),
        ("six parts", format!("{token}.{token}")),
        ("a dot before", format!(".{token}")),
        ("a dot behind", format!("{token}.")),
        ("two dots in place of one", format!("{header}..{payload}.{signature}")),
        ("only a dot", ".".into()),
        ("three dots", "...".into()),
        (
            "general JSON serialization",
            json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]}).to_string(),
        ),
        (
            "flattened JSON serialization",
            json!({"payload": payload, "protected": header, "signature": signature}).to_string(),
        ),
        ("the whole token encoded once more", base64(&token)),
        ("a SAML assertion", base64("<saml:Assertion/>")),
        ("an opaque token", "0.AX0AYo8Q".replace('.', "")),
    ] {
        rows.push(row(what, text, Fault::Malformed));
    }
    for (what, text) in [
        ("five parts", format!("{token}.{payload}.{signature}")),
        ("five parts, a direct key", format!("{header}..{payload}.{signature}.AAAA")),
        ("two tokens with a comma", format!("{token},{token}")),
        ("four dots", "....".into()),
        ("a JWE", "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA".into()),
    ] {
        rows.push(row(what, text, Fault::Encrypted));
    }
    for (what, text) in [
        ("two dots", "..".into()),
        ("no signature", format!("{header}.{payload}.")),
        ("a detached payload", format!("{header}..{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("a scheme before", format!("Bearer {token}")),
        ("in quotation marks", format!("\"{token}\"")),
        ("a space before", format!(" {token}")),
        ("a line end behind", format!("{token}\n")),
        ("a full-width dot", token.replacen('.', "\u{ff0e}.", 1)),
        ("a percent sign", token.replacen('e', "%65", 1)),
    ] {
        rows.push(row(what, text, Fault::NotBase64url));
    }
    for (what, text) in [
        ("signature and payload exchanged", format!("{header}.{signature}.{payload}")),
        ("a nested token", world.rsa.sign(HEADER, &token)),
        ("a nested token in JSON", world.rsa.sign(HEADER, &json!(token).to_string())),
    ] {
        rows.push(row(what, text, Fault::MalformedPayload));
    }
    let swapped = format!("{payload}.{header}.{signature}");
    rows.push(row("header and payload exchanged", swapped, Fault::NoAlgorithm));
    rows.push(row(
        "signature in place of the header",
        format!("{signature}.{payload}.{header}"),
        Fault::MalformedHeader,
    ));
    rows.push(row("the header as the payload", format!("{header}.{header}.{signature}"), Fault::NoIssuer));
    rows
}

pub fn sizes(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let token = world.token(&user());
    for (what, text) in [
        ("one byte over 32 KiB", "a".repeat(32 * 1024 + 1)),
        ("a megabyte", "a".repeat(1 << 20)),
        ("a megabyte of dots", ".".repeat(1 << 20)),
        ("a long signature", format!("{token}{}", "A".repeat(32 * 1024))),
        ("a signed token that is too long", world.token(&with(user(), "x", json!("x".repeat(30_000))))),
    ] {
        rows.push(row(what, text, Fault::TooLarge));
    }
    for (what, header) in [
        ("a header over 2 KiB", json!({"alg": "RS256", "kid": "rsa", "x": "x".repeat(2048)}).to_string()),
        ("a header of spaces", format!("{}{HEADER}", " ".repeat(2048))),
        ("a header with a long chain", json!({"alg": "RS256", "kid": "rsa", "x5c": vec!["MIIC"; 500]}).to_string()),
    ] {
        rows.push(row(what, world.rsa.sign(&header, &user().to_string()), Fault::HeaderTooLarge));
    }
    rows.push(row("32 KiB without a dot", "a".repeat(32 * 1024), Fault::Malformed));
    rows.push(row("32 KiB of dots", ".".repeat(32 * 1024), Fault::Malformed));
    rows
}

pub fn payload_json(world: &World) -> Vec<Row> {
    let good = user().to_string();
    let inside = |more: &str| format!("{},{more}}}", good.trim_end_matches('}'));
    let mut rows = Vec::new();
    for payload in [
        "[]",
        "null",
        "true",
        "0",
        "\"x\"",
        "{",
        "[{}]",
        " ",
        "{}x",
        "{}{}",
        "not json",
        "<a/>",
        "a=1&b=2",
        "{}\u{0}",
        "\u{feff}{}",
        "{a:1}",
        "{'a':1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1;\"b\":2}",
        "{1:2}",
        "{null:1}",
        "//\n{}",
        "#\n{}",
    ] {
        rows.push(row(format!("payload {payload:?}"), saying(world, payload), Fault::MalformedPayload));
    }
    for more in [
        r#""x":01"#,
        r#""x":1."#,
        r#""x":.1"#,
        r#""x":+1"#,
        r#""x":0x10"#,
        r#""x":1e"#,
        r#""x":NaN"#,
        r#""x":-Infinity"#,
        r#""x":1e999"#,
        r#""x":undefined"#,
        r#""x":True"#,
        r#""x":"\a""#,
        r#""x":"\u12""#,
        r#""x":"\udc00""#,
        r#""x":"\ud800\u0041""#,
        "\"x\":\"\t\"",
        "\"x\":\"\u{1}\"",
        r#""x":'y'"#,
        r#""x":[1,]"#,
        r#""x":[1 2]"#,
        r#""x":{"y":1"#,
        r#""x":]"#,
        "/**/\"x\":1",
        r#""x":1,,"y":2"#,
        r#""x" 1"#,
        r#"x:1"#,
    ] {
        rows.push(row(format!("payload with {more:?}"), saying(world, &inside(more)), Fault::MalformedPayload));
    }
    for levels in [16, 17, 100, 2_000] {
        let more = format!(
            "\"x\":{}",
            if levels < 101 { nested(levels).to_string() } else { "[".repeat(levels) + &"]".repeat(levels) }
        );
        rows.push(row(format!("{levels} lists in a claim"), saying(world, &inside(&more)), Fault::MalformedPayload));
        let more = format!("\"x\":{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        rows.push(row(format!("{levels} objects in a claim"), saying(world, &inside(&more)), Fault::MalformedPayload));
    }
    for bytes in [
        &b"{\"iss\":\"\xff\"}"[..],
        b"{\"\xed\xa0\x80\":1}",
        b"\xef\xbb\xbf{}",
        b"{}\x00",
        b"\xff\xfe{\x00}\x00",
        b"{\"iss\":\"\xc0\xaf\"}",
    ] {
        let token = format!("{}.{}.{}", base64(HEADER), base64(bytes), base64([1; 256]));
        rows.push(row(format!("payload bytes {bytes:?}"), token, Fault::MalformedPayload));
    }
    rows
}

pub fn duplicate_names(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let good = user();
    for (name, value) in good.as_object().unwrap() {
        let good = good.to_string();
        let front = good.replacen('{', &format!("{{\"{name}\":{value},"), 1);
        rows.push(row(format!("{name} twice, the same"), saying(world, &front), Fault::PayloadNameTwice));
        let back = format!("{},\"{name}\":null}}", good.trim_end_matches('}'));
        rows.push(row(format!("{name} twice, then null"), saying(world, &back), Fault::PayloadNameTwice));
        let first = name.chars().next().unwrap();
        let escaped = format!("\\u{:04x}{}", first as u32, &name[1..]);
        let front = good.replacen('{', &format!("{{\"{escaped}\":\"x\","), 1);
        rows.push(row(format!("{name} twice, escaped"), saying(world, &front), Fault::PayloadNameTwice));
    }
    for (what, more) in [
        ("in an object", r#""x":{"a":1,"a":1}"#),
        ("in an object of a list", r#""x":[0,{"a":1,"a":2}]"#),
        ("deep", r#""x":{"y":{"z":{"a":1,"\u0061":1}}}"#),
        ("unknown", r#""x":1,"x":1"#),
        ("empty", r#""":1,"":2"#),
        ("in the overage", r#""_claim_names":{"groups":"a","groups":"b"}"#),
    ] {
        let payload = format!("{},{more}}}", good.to_string().trim_end_matches('}'));
        rows.push(row(format!("a name twice: {what}"), saying(world, &payload), Fault::PayloadNameTwice));
    }
    let token = assembled(HEADER, r#"{"iss":1,"iss":1}"#, &[1; 256]);
    rows.push(row("a name twice, not signed", token, Fault::PayloadNameTwice));
    rows
}
