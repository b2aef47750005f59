//! The outside of a token: three segments of a JWS in compact form (RFC 7515 section 7.1) and its header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::Fault;
use super::strict::{Flaw, Json, Object};
use super::verify::Algorithms;

/// Largest token that is looked at, in bytes. Entra's largest, with 200 groups, have about 12 KB.
const TOKEN_BYTES: usize = 32 * 1024;
/// Largest header in bytes of JSON.
const HEADER_BYTES: usize = 2 * 1024;
/// Longest `kid` in bytes, in tokens and keys alike.
pub(super) const KID_BYTES: usize = 128;
/// Header members that change how a token is read. The gateway understands none of them, and ignoring one could mean
/// reading another token than the issuer wrote: RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1.
const CHANGES_READING: [&str; 5] = ["crit", "b64", "zip", "enc", "cty"];

/// A signature algorithm that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    Rs256,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 section 3.4).
    Es256,
}

impl Algorithm {
    /// Reads the name of RFC 7518 section 3.1.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A token taken apart; nothing of it is believed yet.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// What the signature covers: the first two segments and the dot between.
    pub(super) signed: &'a str,
    /// The signature, base64url.
    pub(super) signature: &'a str,
    /// `alg`.
    pub(super) algorithm: Algorithm,
    /// `kid`.
    pub(super) kid: String,
    /// The payload.
    pub(super) payload: Object,
}

/// Takes a token apart.
pub(super) fn split(token: &str, allowed: Algorithms) -> Result<Parts<'_>, Fault> {
    if token.len() > TOKEN_BYTES {
        return Err(Fault::TooLarge);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed)?;
    let header = decode(header)?;
    let payload = decode(payload)?;
    decode(signature)?;
    let (algorithm, kid) = read_header(&header, allowed)?;
    let payload = Object::read(&payload).map_err(|flaw| fault_of(flaw, Fault::MalformedPayload))?;
    Ok(Parts { signed, signature, algorithm, kid, payload })
}

/// Decodes one segment, which must be the one canonical spelling of at least one byte (RFC 4648 sections 3.5 and 5).
fn decode(segment: &str) -> Result<Vec<u8>, Fault> {
    match URL_SAFE_NO_PAD.decode(segment) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Fault::Malformed),
    }
}

/// Reads what is needed of the header. Keys that a token brings along or points to (`jwk`, `jku`, `x5u`, `x5c`) are
/// not even looked at: the key is always one of ours.
fn read_header(json: &[u8], allowed: Algorithms) -> Result<(Algorithm, String), Fault> {
    if json.len() > HEADER_BYTES {
        return Err(Fault::MalformedHeader);
    }
    let header = Object::read(json).map_err(|flaw| fault_of(flaw, Fault::MalformedHeader))?;
    let algorithm = match header.text("alg").and_then(Algorithm::parse) {
        Some(Algorithm::Rs256) if allowed.rs256 => Algorithm::Rs256,
        Some(Algorithm::Es256) if allowed.es256 => Algorithm::Es256,
        _ => return Err(Fault::AlgorithmNotAllowed),
    };
    if CHANGES_READING.iter().any(|name| header.has(name)) {
        return Err(Fault::HeaderNotAllowed);
    }
    match header.get("typ") {
        None => {}
        Some(Json::Text(typ)) if typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt") => {}
        Some(_) => return Err(Fault::WrongType),
    }
    match header.text("kid") {
        Some(kid) if (1..=KID_BYTES).contains(&kid.len()) => Ok((algorithm, kid.to_owned())),
        _ => Err(Fault::BadKeyId),
    }
}

fn fault_of(flaw: Flaw, syntax: Fault) -> Fault {
    match flaw {
        Flaw::Syntax => syntax,
        Flaw::Duplicate => Fault::DuplicateName,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Algorithms = Algorithms { rs256: true, es256: true };

    fn token(header: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"))
    }

    #[test]
    fn a_token_is_three_canonical_segments() {
        let good = token(r#"{"alg":"RS256","kid":"k"}"#);
        assert!(split(&good, BOTH).is_ok());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for bad in [
            String::new(),
            ".".into(),
            "..".into(),
            signed.into(),
            format!("{signed}."),
            format!(".{good}"),
            format!("{good}.c2ln"),
            format!("{good}.c2ln.c2ln"),
            format!("{good}="),
            format!("{good} "),
            format!("{signed}.c2lnaA=="),
            // The same byte with a trailing bit set.
            format!("{signed}.QR"),
            format!("{signed}.c2l+"),
            format!("{signed}.c2l\n"),
            format!("{signed}.c2lnä"),
        ] {
            assert_eq!(split(&bad, BOTH).unwrap_err(), Fault::Malformed, "{bad}");
        }
    }

    #[test]
    fn size_is_checked_before_anything_else() {
        assert_eq!(split(&"a".repeat(TOKEN_BYTES + 1), BOTH).unwrap_err(), Fault::TooLarge);
        assert_eq!(split(&"a".repeat(TOKEN_BYTES), BOTH).unwrap_err(), Fault::Malformed);
        let long = format!(r#"{{"alg":"RS256","kid":"k","x":"{}"}}"#, "x".repeat(HEADER_BYTES));
        assert_eq!(split(&token(&long), BOTH).unwrap_err(), Fault::MalformedHeader);
    }

    #[test]
    fn headers_are_read_strictly() {
        let kid = |length: usize| format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(length));
        for (header, expected) in [
            (r#"{"alg":"RS256","kid":"k"}"#, None),
            (r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#, None),
            (r#"{"alg":"ES256","kid":"k","typ":"at+JWT"}"#, None),
            (
                r#"{"alg":"RS256","kid":"k","jwk":{"kty":"oct"},"jku":1,"x5u":[],"x5c":null,"x5t":"k","nonce":"n"}"#,
                None,
            ),
            ("[]", Some(Fault::MalformedHeader)),
            ("{", Some(Fault::MalformedHeader)),
            (r#"{"alg":"RS256","kid":"k","kid":"k"}"#, Some(Fault::DuplicateName)),
            (r#"{"alg":"RS256","\u0061lg":"none","kid":"k"}"#, Some(Fault::DuplicateName)),
            (r#"{"kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"none","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"nOnE","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"HS256","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"PS256","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"rs256","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"RS256 ","kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":["RS256"],"kid":"k"}"#, Some(Fault::AlgorithmNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","crit":[]}"#, Some(Fault::HeaderNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","b64":true}"#, Some(Fault::HeaderNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","zip":null}"#, Some(Fault::HeaderNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","enc":"A256GCM"}"#, Some(Fault::HeaderNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","cty":"JWT"}"#, Some(Fault::HeaderNotAllowed)),
            (r#"{"alg":"RS256","kid":"k","typ":"dpop+jwt"}"#, Some(Fault::WrongType)),
            (r#"{"alg":"RS256","kid":"k","typ":null}"#, Some(Fault::WrongType)),
            (r#"{"alg":"RS256"}"#, Some(Fault::BadKeyId)),
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
        let only_es = Algorithms { rs256: false, es256: true };
        assert_eq!(split(&token(r#"{"alg":"RS256","kid":"k"}"#), only_es).unwrap_err(), Fault::AlgorithmNotAllowed);
        assert!(split(&token(r#"{"alg":"ES256","kid":"k"}"#), only_es).is_ok());
    }
}
