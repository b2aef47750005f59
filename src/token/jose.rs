//! The outside of a token: three segments of a JWS in compact form (RFC 7515 section 7.1) and its header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::Fault;
use super::strict::{Flaw, Json, Object};
use super::verify::Algorithms;

/// Largest token that is looked at, in bytes. Entra's largest, with 200 groups, have about 12 KB.
const TOKEN_BYTES: usize = 32 * 1024;
/// What `typ` may be.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
/// Largest header in bytes of JSON.
const HEADER_BYTES: usize = 2 * 1024;
/// Longest `kid` in bytes, in tokens and keys alike.
pub(super) const KID_BYTES: usize = 128;
/// Header members that change how a token is read. The gateway understands none of them, and ignoring one could mean
/// reading another token than the issuer wrote.
const CHANGES_READING: [(&str, Fault); 5] = [
    ("crit", Fault::CriticalHeader),
    ("b64", Fault::UnencodedPayload),
    ("zip", Fault::Compressed),
    ("enc", Fault::EncryptedContent),
    ("cty", Fault::Nested),
];

/// A signature algorithm that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    Rs256,
    /// RSASSA-PSS with SHA-256 (RFC 7518 section 3.5).
    Ps256,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 section 3.4).
    Es256,
}

impl Algorithm {
    /// Reads the name of RFC 7518 section 3.1.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    /// Whether the configuration lets tokens be signed so.
    const fn is_allowed(self, allowed: Algorithms) -> bool {
        match self {
            Self::Rs256 => allowed.rs256,
            Self::Ps256 => allowed.ps256,
            Self::Es256 => allowed.es256,
        }
    }
}

/// The three parts of a token, each of them canonical base64url; nothing of it is believed yet.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    /// What the signature covers: the first two segments and the dot between.
    pub(super) signed: &'a str,
    /// The header, decoded.
    pub(super) header: Vec<u8>,
    /// The payload, decoded.
    pub(super) payload: Vec<u8>,
    /// The signature, base64url.
    pub(super) signature: &'a str,
}

/// Takes a token apart.
pub(super) fn segments(token: &str) -> Result<Segments<'_>, Fault> {
    if token.len() > TOKEN_BYTES {
        return Err(Fault::TooLarge);
    }
    match token.bytes().filter(|byte| *byte == b'.').count() {
        2 => {}
        4 => return Err(Fault::Encrypted),
        _ => return Err(Fault::Malformed),
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed)?;
    let (header, payload) = (decode(header)?, decode(payload)?);
    decode(signature)?;
    Ok(Segments { signed, header, payload, signature })
}

/// Header and payload of a text that is no token as a whole, as far as they can be decoded: to tell people what they have
/// there. Nothing may rest on it.
pub(super) fn readable(token: &str) -> [Option<Vec<u8>>; 2] {
    if token.len() > TOKEN_BYTES {
        return [None, None];
    }
    let mut segments = token.split('.').map(|segment| decode(segment).ok());
    let (header, payload) = (segments.next().flatten(), segments.next().flatten());
    // The second part of an encrypted token is its key.
    [header, payload.filter(|_| segments.count() < 3)]
}

/// Decodes one segment, which must be the one canonical spelling of at least one byte (RFC 4648 sections 3.5 and 5).
fn decode(segment: &str) -> Result<Vec<u8>, Fault> {
    match URL_SAFE_NO_PAD.decode(segment) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Fault::NotBase64url),
    }
}

/// Reads the header.
pub(super) fn header(json: &[u8]) -> Result<Object, Fault> {
    if json.len() > HEADER_BYTES {
        return Err(Fault::HeaderTooLarge);
    }
    Object::read(json).map_err(|flaw| match flaw {
        Flaw::Syntax => Fault::MalformedHeader,
        Flaw::Duplicate => Fault::HeaderNameTwice,
    })
}

/// Reads the payload.
pub(super) fn payload(json: &[u8]) -> Result<Object, Fault> {
    Object::read(json).map_err(|flaw| match flaw {
        Flaw::Syntax => Fault::MalformedPayload,
        Flaw::Duplicate => Fault::PayloadNameTwice,
    })
}

/// What a header asks for: the algorithm and the `kid`. Keys that a token brings along or points to (`jwk`, `jku`,
/// `x5u`, `x5c`) are not even looked at: the key is always one of ours.
pub(super) fn asked(header: &Object, allowed: Algorithms) -> Result<(Algorithm, &str), Fault> {
    let algorithm = algorithm(header, allowed)?;
    extensions(header)?;
    typ(header)?;
    Ok((algorithm, kid(header)?))
}

/// `alg`: one of those that are configured.
pub(super) fn algorithm(header: &Object, allowed: Algorithms) -> Result<Algorithm, Fault> {
    let name = header.text("alg").ok_or(Fault::NoAlgorithm)?;
    match Algorithm::parse(name) {
        Some(algorithm) if algorithm.is_allowed(allowed) => Ok(algorithm),
        None if name.eq_ignore_ascii_case("none") => Err(Fault::Unsigned),
        None if matches!(name, "HS256" | "HS384" | "HS512") => Err(Fault::SymmetricAlgorithm),
        Some(_) | None => Err(Fault::AlgorithmNotAllowed),
    }
}

/// No member that changes how the token is read.
pub(super) fn extensions(header: &Object) -> Result<(), Fault> {
    match CHANGES_READING.iter().find(|(name, _)| header.has(name)) {
        Some((_, fault)) => Err(*fault),
        None => Ok(()),
    }
}

/// `typ`: absent, `JWT` (RFC 7519 section 5.1) or `at+jwt` (RFC 9068 section 2.1), also in its long form, in any letter
/// case.
pub(super) fn typ(header: &Object) -> Result<(), Fault> {
    match header.get("typ") {
        None => Ok(()),
        Some(Json::Text(typ)) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) => Ok(()),
        Some(_) => Err(Fault::WrongType),
    }
}

/// `kid`: a short string, used to find one of our keys and for nothing else.
pub(super) fn kid(header: &Object) -> Result<&str, Fault> {
    match header.get("kid") {
        None => Err(Fault::NoKeyId),
        Some(Json::Text(kid)) if (1..=KID_BYTES).contains(&kid.len()) => Ok(kid),
        Some(_) => Err(Fault::BadKeyId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Algorithms = Algorithms { rs256: true, ps256: false, es256: true };

    /// What comes of the outside of a token, its payload included.
    fn split(token: &str, allowed: Algorithms) -> Result<(), Fault> {
        let segments = segments(token)?;
        let read = header(&segments.header)?;
        asked(&read, allowed)?;
        payload(&segments.payload).map(|_| ())
    }

    fn token(header: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"))
    }

    #[test]
    fn a_token_is_three_canonical_segments() {
        let good = token(r#"{"alg":"RS256","kid":"k"}"#);
        assert!(split(&good, BOTH).is_ok());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for (bad, fault) in [
            (String::new(), Fault::Malformed),
            (".".into(), Fault::Malformed),
            ("..".into(), Fault::NotBase64url),
            (signed.into(), Fault::Malformed),
            (format!("{signed}."), Fault::NotBase64url),
            (format!(".{good}"), Fault::Malformed),
            (format!("{good}.c2ln"), Fault::Malformed),
            (format!("{good}.c2ln.c2ln"), Fault::Encrypted),
            (format!("{good}="), Fault::NotBase64url),
            (format!("{good} "), Fault::NotBase64url),
            (format!("{signed}.c2lnaA=="), Fault::NotBase64url),
            // The same byte with a trailing bit set.
            (format!("{signed}.QR"), Fault::NotBase64url),
            (format!("{signed}.c2l+"), Fault::NotBase64url),
            (format!("{signed}.c2l\n"), Fault::NotBase64url),
            (format!("{signed}.c2lnä"), Fault::NotBase64url),
        ] {
            assert_eq!(split(&bad, BOTH).unwrap_err(), fault, "{bad}");
        }
    }

    #[test]
    fn size_is_checked_before_anything_else() {
        assert_eq!(split(&"a".repeat(TOKEN_BYTES + 1), BOTH).unwrap_err(), Fault::TooLarge);
        assert_eq!(split(&"a".repeat(TOKEN_BYTES), BOTH).unwrap_err(), Fault::Malformed);
        let long = format!(r#"{{"alg":"RS256","kid":"k","x":"{}"}}"#, "x".repeat(HEADER_BYTES));
        assert_eq!(split(&token(&long), BOTH).unwrap_err(), Fault::HeaderTooLarge);
    }

    #[test]
    fn headers_are_read_strictly() {
        let kid = |length: usize| format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(length));
        let deep = format!(r#"{{"alg":"RS256","kid":"k","x":{}{}}}"#, "[".repeat(17), "]".repeat(17));
        for (header, expected) in [
            (r#"{"alg":"RS256","kid":"k"}"#, None),
            (r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#, None),
            (r#"{"alg":"ES256","kid":"k","typ":"at+JWT"}"#, None),
            (r#"{"alg":"ES256","kid":"k","typ":"application/at+jwt"}"#, None),
            (r#"{"alg":"ES256","kid":"k","typ":"application/jwt"}"#, Some(Fault::WrongType)),
            (r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#, Some(Fault::WrongType)),
            (
                r#"{"alg":"RS256","kid":"k","jwk":{"kty":"oct"},"jku":1,"x5u":[],"x5c":null,"x5t":"k","nonce":"n"}"#,
                None,
            ),
            ("[]", Some(Fault::MalformedHeader)),
            ("{", Some(Fault::MalformedHeader)),
            (&deep, Some(Fault::MalformedHeader)),
            (r#"{"alg":"RS256","kid":"k","kid":"k"}"#, Some(Fault::HeaderNameTwice)),
            (r#"{"alg":"RS256","\u0061lg":"none","kid":"k"}"#, Some(Fault::HeaderNameTwice)),
            (r#"{"kid":"k"}"#, Some(Fault::NoAlgorithm)),
            (r#"{"alg":["RS256"],"kid":"k"}"#, Some(Fault::NoAlgorithm)),
            (r#"{"alg":"none","kid":"k"}"#, Some(Fault::Unsigned)),
            (r#"{"alg":"nOnE","kid":"k"}"#, Some(Fault::Unsigned)),
            (r#"{"alg":"HS256","kid":"k"}"#, Some(Fault::SymmetricAlgorithm)),
            (r#"{"alg":"HS512","kid":"k"}"#, Some(Fault::SymmetricAlgorithm)),
            (r#"{"alg":"PS256","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"RS384","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"rs256","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"RS256 ","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","crit":[]}"#, Some(Fault::CriticalHeader)),
            (r#"{"alg":"RS256","kid":"k","b64":true}"#, Some(Fault::UnencodedPayload)),
            (r#"{"alg":"RS256","kid":"k","zip":null}"#, Some(Fault::Compressed)),
            (r#"{"alg":"RS256","kid":"k","enc":"A256GCM"}"#, Some(Fault::EncryptedContent)),
            (r#"{"alg":"RS256","kid":"k","cty":"JWT"}"#, Some(Fault::Nested)),
            (r#"{"alg":"RS256","kid":"k","typ":"dpop+jwt"}"#, Some(Fault::WrongType)),
            (r#"{"alg":"RS256","kid":"k","typ":null}"#, Some(Fault::WrongType)),
            (r#"{"alg":"RS256"}"#, Some(Fault::NoKeyId)),
            (r#"{"alg":"RS256","kid":1}"#, Some(Fault::BadKeyId)),
            (&kid(0), Some(Fault::BadKeyId)),
            (&kid(KID_BYTES), None),
            (&kid(KID_BYTES + 1), Some(Fault::BadKeyId)),
        ] {
            assert_eq!(split(&token(header), BOTH).err(), expected, "{header}");
        }
    }

    #[test]
    fn only_configured_algorithms_are_allowed() {
        let only = |name| Algorithms { rs256: name == "RS256", ps256: name == "PS256", es256: name == "ES256" };
        for allowed in ["RS256", "PS256", "ES256"] {
            for asked in ["RS256", "PS256", "ES256"] {
                let expected = (asked != allowed).then_some(Fault::AlgorithmNotAllowed);
                let token = token(&format!(r#"{{"alg":"{asked}","kid":"k"}}"#));
                assert_eq!(split(&token, only(allowed)).err(), expected, "{asked} where {allowed} is allowed");
            }
        }
    }
}
