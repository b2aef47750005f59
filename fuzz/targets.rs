//! What the fuzz targets do with their input, shared with `tests/fuzz_corpus.rs`, which runs the same functions on the
//! seeds. A target fails if anything panics, and if a token is believed or a request let through that a plain reading
//! of the input says must not be.
#![allow(dead_code, reason = "each fuzz target uses one of these functions")]

#[path = "../tests/support/world.rs"]
mod world;

use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Request};
use portcullis::pep::{self, Verdict};
use portcullis::proxy::proxy_protocol::{Parsed, Source, parse};
use portcullis::route::canonical::CanonicalPath;
use portcullis::route::host::Host;
use portcullis::route::{Backend, Dialect, Readings};
use portcullis::token::{
    Algorithms, Issuer, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Rules, Verified, Verifier,
};
use serde_json::{Value, json};
use world::{ENVIRONMENT, NOW, World};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const V1: &str = "https://sts.windows.net/11111111-1111-4111-8111-111111111111/";
const V2: &str = "https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111/v2.0";
/// The payload beside a header that is tried; the seeds of payloads have the same times.
const PAYLOAD: &str = r#"{"iss":"https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111/v2.0","aud":"api://app","exp":1800003600,"nbf":1799999990,"iat":1799999990,"ver":"2.0","tid":"11111111-1111-4111-8111-111111111111","oid":"00000000-0000-4000-8000-000000000000","azp":"22222222-2222-4222-8222-222222222222","scp":"access_as_user","sub":"x"}"#;
/// Stands for a good token in the lines of `Authorization`.
const PLACE: &str = "TOKEN";

/// An issuer whose key signs whatever is tried, so that the checks behind the signature are reached.
struct Signing {
    pair: EcdsaKeyPair,
    ring: KeyRing,
    verifier: Verifier,
}

static SIGNING: LazyLock<Signing> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    let document = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "key", "x": x, "y": y}]});
    let keys = Arc::new(KeySet::parse(document.to_string().as_bytes()).unwrap());
    let issuer = |url: &str, kind| Issuer {
        tenant: Arc::from("t"),
        tenant_id: TENANT.parse().unwrap(),
        url: url.into(),
        kind,
        keys: vec![KeyUse { source: KeySourceId(0), audiences: None }],
        authorization_uri: None,
    };
    let issuers = Issuers::new(vec![issuer(V1, IssuerKind::EntraV1), issuer(V2, IssuerKind::EntraV2)]);
    let rules =
        Rules { leeway: 60, max_lifetime: 100_800, algorithms: Algorithms { rs256: true, ps256: true, es256: true } };
    let ring = KeyRing::empty(1).with(KeySourceId(0), keys, NOW);
    Signing { pair, ring, verifier: Verifier::new(issuers, rules, 100) }
});

/// Signs and verifies a token; whatever the verdict, it is the same the second time.
fn verified(header: &[u8], payload: &[u8]) -> Option<Arc<Verified>> {
    let Signing { pair, ring, verifier } = &*SIGNING;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let (first, again) = (verifier.verify(&token, ring, NOW), verifier.verify(&token, ring, NOW));
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    first.ok()
}

/// A token with this header.
pub fn header(data: &[u8]) {
    let Some(_) = verified(data, PAYLOAD.as_bytes()) else { return };
    let header: Value = serde_json::from_slice(data).unwrap();
    assert!(data.len() <= 2048);
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &json!("key")));
    for name in ["crit", "b64", "zip", "enc", "cty"] {
        assert!(header.get(name).is_none(), "{name}");
    }
}

/// A token with this payload.
pub fn payload(data: &[u8]) {
    let Some(token) = verified(br#"{"alg":"ES256","kid":"key"}"#, data) else { return };
    let claims: Value = serde_json::from_slice(data).unwrap();
    let text = |name: &str| claims[name].as_str().unwrap();
    let seconds = |name: &str| claims[name].as_f64().unwrap();
    let (client, version) = if text("iss") == V1 { ("appid", "1.0") } else { ("azp", "2.0") };
    assert!([V1, V2].contains(&text("iss")));
    assert_eq!(text("ver"), version);
    assert!(text("tid").eq_ignore_ascii_case(TENANT));
    assert!(text("oid").eq_ignore_ascii_case(&token.subject));
    assert!(text(client).eq_ignore_ascii_case(token.client.as_deref().unwrap()));
    assert!(seconds("exp") + 60.0 > NOW as f64 && seconds("nbf") - 60.0 <= NOW as f64);
    assert!(seconds("exp") - seconds("nbf") <= 100_860.0);
    assert!(
        claims.get("scp").is_some() || claims.get("idtyp").is_some() || text("sub").eq_ignore_ascii_case(text("oid"))
    );
    assert!(!token.audiences.is_empty() && claims.get("cnf").is_none());
}

/// This key document.
pub fn jwks(data: &[u8]) {
    let Ok(keys) = KeySet::parse(data) else { return };
    let again = KeySet::parse(data).unwrap();
    assert!(keys == again && keys.refused() == again.refused());
    let document: Value = serde_json::from_slice(data).unwrap();
    let entries = document["keys"].as_array().unwrap();
    assert!((1..=entries.len()).contains(&keys.len()));
    for kid in keys.kids() {
        assert!((1..=128).contains(&kid.len()));
        let named: Vec<&Value> =
            entries.iter().filter(|entry| entry["kid"] == kid && entry.get("d").is_none()).collect();
        assert!(named.iter().any(|entry| entry["kty"] == "RSA" || entry["kty"] == "EC"), "{kid}");
        assert!(!keys.verifies(kid, "RS256", b"", "AAAA") && !keys.verifies(kid, "ES256", b"", "AAAA"));
    }
}

/// A policy with one application that its gate guards, and a token that may pass.
static GATE: LazyLock<(World, String)> = LazyLock::new(|| {
    let gateway = format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [r]\ngrants: [g]\ntenants: [{{name: t, id: {TENANT}}}]\n"
    );
    let routes = "version: 1\nupstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}\napplications:\n  - name: app\n    hosts: [app.example.org]\n    domain: d\n    upstream: app\n    gate: {tenants: [t], audiences: [api://app]}\n    routes: [{id: any, match: {methods: [GET], path: /}, gate_only: true}]\n";
    let grants =
        "version: 1\ndomain: d\nprincipals:\n  - {id: olga, tenant: t, oid: 00000000-0000-4000-8000-000000000000}\n";
    let world = World::from_texts(&gateway, routes, grants);
    let token = world.token("olga", "app.example.org", &[]);
    (world, token)
});

/// A request with these lines of `Authorization`, where `TOKEN` stands for a good one.
pub fn authorization(data: &[u8]) {
    let (world, token) = &*GATE;
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut request = Request::builder().uri("/").header("host", "app.example.org");
    for line in &lines {
        let line = replaced(line, token.as_bytes());
        let Ok(value) = HeaderValue::from_bytes(&line) else { return };
        request = request.header("authorization", value);
    }
    let judged = world.judge(request.body(()).unwrap().into_parts().0);
    let [line] = lines[..] else { return assert!(judged.is_err(), "several lines") };
    let text = String::from_utf8_lossy(line);
    let (scheme, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let plain = scheme.eq_ignore_ascii_case("bearer") && rest.trim_start_matches(' ') == PLACE;
    assert_eq!(judged.is_ok(), plain, "{text:?}: {judged:?}");
}

/// A connection that begins with these bytes. Read piece by piece as they are asked for, they come to the same end, and the
/// address that is found stands in them.
pub fn proxy_protocol(data: &[u8]) {
    let (mut read, mut found) = (0, None);
    while let Ok(parsed) = parse(&data[..read]) {
        match parsed {
            Parsed::Wants(more) => {
                assert!(more > 0 && read + more <= 4096);
                read += more;
                if read > data.len() {
                    return;
                }
            }
            Parsed::Whole(source) => {
                found = Some(source);
                break;
            }
        }
    }
    let Some(Source::Client(client)) = found else { return };
    let header = &data[..read];
    let (address, port) = (client.ip(), client.port());
    if let Some(line) = header.strip_prefix(b"PROXY ") {
        let line = std::str::from_utf8(line.strip_suffix(b"\r\n").unwrap()).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words.len(), words[0]), (5, if address.is_ipv4() { "TCP4" } else { "TCP6" }));
        assert_eq!((words[1].parse(), words[3].parse()), (Ok(address), Ok(port)));
    } else {
        let (octets, ports) = match address {
            std::net::IpAddr::V4(four) => (four.octets().to_vec(), 24),
            std::net::IpAddr::V6(six) => (six.octets().to_vec(), 48),
        };
        assert_eq!((header[12], &header[16..16 + octets.len()]), (0x21, octets.as_slice()));
        assert_eq!(header[ports..ports + 2], port.to_be_bytes());
        assert_eq!(read, 16 + usize::from(u16::from_be_bytes([header[14], header[15]])));
    }
}

fn replaced(line: &[u8], token: &[u8]) -> Vec<u8> {
    match line.windows(PLACE.len()).position(|part| part == PLACE.as_bytes()) {
        Some(place) => [&line[..place], token, &line[place + PLACE.len()..]].concat(),
        None => line.to_vec(),
    }
}

/// This path, before every kind of backend.
pub fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    for dialect in Dialect::ALL {
        for exceptions in 0..8 {
            let [encoded_slash, semicolon, case_insensitive] = [1, 2, 4].map(|bit| exceptions & bit != 0);
            let backend = Backend { dialect, encoded_slash, semicolon, case_insensitive };
            let Ok(readings) = Readings::new(raw, backend) else { continue };
            assert!(readings.iter().count() <= 12, "{raw:?}");
            readings.iter().for_each(|path| harmless(path, raw, backend));
            if dialect == Dialect::Strict && exceptions == 0 {
                let plain: Vec<String> = raw[1..].split('/').map(percent_decoded).collect();
                let read: Vec<_> = (0..readings.first.len()).map(|at| readings.first.segment(at).unwrap()).collect();
                assert!(plain == read && readings.others.is_empty(), "{raw:?}");
            }
        }
    }
}

/// No reading has what is refused in a path.
fn harmless(path: &CanonicalPath<'_>, raw: &str, backend: Backend) {
    let last = path.len() - 1;
    for at in 0..=last {
        let segment = path.segment(at).unwrap();
        let names: Vec<&str> = segment.split('/').collect();
        assert!(names.len() == 1 || backend.encoded_slash, "{raw:?} {segment:?}");
        for name in &names {
            assert!(!name.is_empty() || (names.len() == 1 && at == last), "{raw:?} {segment:?}");
            assert!(!name.ends_with(['.', ' ']) && !name.starts_with(' '), "{raw:?} {name:?}");
            assert!(!name.contains(['\\', '%', '?', '#']) && !name.chars().any(char::is_control), "{raw:?} {name:?}");
            assert!(!name.contains(';') || backend.semicolon, "{raw:?} {name:?}");
        }
    }
    assert_eq!(path.rest(last), path.segment(last));
    assert!(path.rest(0).unwrap().len() < raw.len());
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).unwrap()
}

/// This host.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(host) = Host::parse(text) else { return };
    let canonical = host.to_string();
    assert_eq!(Host::parse(&canonical).unwrap(), host, "{text:?}");
    assert!(host.is_written(canonical.as_bytes()) && host.is_written(data) == (text == canonical), "{text:?}");
    assert!(host.name.len() <= 253 && host.port != Some(0), "{text:?}");
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.:[]".contains(c);
    assert!(host.name.chars().all(letters) && !host.name.ends_with('.') && !host.name.is_empty(), "{text:?}");
    assert!(host.name.starts_with('[') || !host.name.contains([':', '[', ']']), "{text:?}");
}

/// A request with these header lines (`NAME:VALUE`), where `TOKEN` stands for a good token.
pub fn headers(data: &[u8]) {
    let (world, token) = &*GATE;
    let mut request = Request::builder().uri("/");
    let mut lines = Vec::new();
    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let value = replaced(line[colon + 1..].trim_ascii(), token.as_bytes());
        let Ok(name) = HeaderName::from_bytes(&line[..colon]) else { return };
        let Ok(value) = HeaderValue::from_bytes(&value) else { return };
        lines.push((name.clone(), value.clone()));
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    let head = request.into_parts().0;
    let Verdict::Permitted(permitted) = pep::authorize(&world.snapshot, &world.verifier, head, ENVIRONMENT) else {
        return;
    };
    let (head, ..) = permitted.into_parts();
    let all = |name: HeaderName| lines.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value);
    let hosts: Vec<_> = all(HOST).collect();
    assert_eq!(hosts.len(), 1, "{}", data.escape_ascii());
    let name = hosts[0].to_str().unwrap().to_ascii_lowercase();
    let name = name.split(':').next().unwrap();
    assert_eq!(name.strip_suffix('.').unwrap_or(name), "app.example.org");
    let sent: Vec<_> = head.headers.get_all(HOST).iter().collect();
    assert_eq!(sent.len(), 1);
    assert!(Host::parse(sent[0].to_str().unwrap()).unwrap().is_written(sent[0].as_bytes()));
    let codings: Vec<_> = all(TRANSFER_ENCODING).collect();
    assert!(codings.is_empty() || (codings.len() == 1 && codings[0].as_bytes().eq_ignore_ascii_case(b"chunked")));
    let tokens = all(http::header::AUTHORIZATION).filter(|value| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    });
    assert_eq!(tokens.count(), 1);
}
