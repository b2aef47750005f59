//! What the gateway tells a backend about a caller, signed: a JWT (RFC 7519) that lives for a minute, so that a backend
//! need not believe its network. The key is made at the start of the process and never leaves it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;

use crate::model::PrincipalKey;

/// `iss` of every assertion.
pub const ISSUER: &str = "portcullis";
/// How long an assertion is valid, in seconds.
pub const LIFETIME: u64 = 60;

/// The key that this process signs assertions with (P-256, ES256: RFC 7518 section 3.4).
pub struct AssertionKey {
    pair: EcdsaKeyPair,
    kid: String,
    /// The first segment of every assertion, with its dot.
    head: String,
    jwks: String,
}

/// Why there is no key or no assertion: the system has no randomness to give.
#[derive(Debug, PartialEq, Eq)]
pub struct AssertionFault;

impl fmt::Display for AssertionFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no assertion could be signed: the system has no randomness to give")
    }
}

impl std::error::Error for AssertionFault {}

impl From<Unspecified> for AssertionFault {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

/// What an assertion says.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// `aud`: the name of the application that it is for.
    pub application: &'a str,
    /// `route`: the id of the route that was taken.
    pub route: &'a str,
    /// `sub`: the principal's id; without one the claim is left out.
    pub principal: Option<&'a str>,
    /// `tid` and `oid`.
    pub key: PrincipalKey,
    /// `jti`: the id of the request.
    pub request: &'a str,
    /// `iat` and `nbf`, in Unix seconds; `exp` is [`LIFETIME`] later.
    pub now: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    tid: String,
    oid: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    route: &'a str,
}

impl AssertionKey {
    /// Makes a new one; its `kid` is its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, AssertionFault> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        // An uncompressed point: 4, x, y.
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(AssertionFault) };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        let key = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y });
        let head = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "typ": "JWT", "kid": kid }).to_string()) + ".";
        Ok(Self { pair, kid, head, jwks: format!("{}\n", json!({ "keys": [key] })) })
    }

    /// The key's `kid`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JWKS document (RFC 7517 section 5).
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Signs an assertion and returns the token.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn sign(&self, assertion: &Assertion<'_>) -> Result<String, AssertionFault> {
        let claims = Claims {
            iss: ISSUER,
            aud: assertion.application,
            sub: assertion.principal,
            tid: assertion.key.tenant.to_string(),
            oid: assertion.key.object.to_string(),
            iat: assertion.now,
            nbf: assertion.now,
            exp: assertion.now.saturating_add(LIFETIME),
            jti: assertion.request,
            route: assertion.route,
        };
        let mut token = self.head.clone();
        // Texts and numbers always have a JSON form.
        let claims = serde_json::to_vec(&claims).map_err(|_| AssertionFault)?;
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "AssertionKey({})", self.kid)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;

    use super::*;
    use crate::model::Guid;

    const ASSERTION: Assertion<'_> = Assertion {
        application: "app",
        route: "thing \"edit\"",
        principal: Some("olga é"),
        key: PrincipalKey { tenant: Guid(1), object: Guid(2) },
        request: "0123",
        now: 1_800_000_000,
    };

    fn read(token: &str, key: &AssertionKey) -> Result<Value, jsonwebtoken::errors::Error> {
        let keys: JwkSet = serde_json::from_str(key.jwks()).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_audience(&["app"]);
        rules.set_issuer(&[ISSUER]);
        // The moment of the test is not that of the assertion.
        rules.validate_exp = false;
        let jwk = keys
            .find(&decode_header(token)?.kid.unwrap_or_default())
            .ok_or(jsonwebtoken::errors::ErrorKind::InvalidKeyFormat)?;
        Ok(decode(token, &DecodingKey::from_jwk(jwk)?, &rules)?.claims)
    }

    #[test]
    fn an_assertion_says_who_called_and_is_verified_with_the_published_key() {
        let key = AssertionKey::generate().unwrap();
        let token = key.sign(&ASSERTION).unwrap();
        let header = decode_header(&token).unwrap();
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("JWT")));
        assert_eq!(
            read(&token, &key).unwrap(),
            json!({
                "iss": "portcullis", "aud": "app", "sub": "olga é",
                "tid": "00000000-0000-0000-0000-000000000001", "oid": "00000000-0000-0000-0000-000000000002",
                "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_060,
                "jti": "0123", "route": "thing \"edit\"",
            })
        );
        let other = AssertionKey::generate().unwrap();
        assert!(other.kid() != key.kid() && read(&token, &other).is_err());
        let mut forged = token.into_bytes();
        let middle = forged.len() / 2;
        forged[middle] ^= 1;
        assert!(read(&String::from_utf8(forged).unwrap(), &key).is_err());
    }

    #[test]
    fn without_a_principal_there_is_no_subject() {
        let key = AssertionKey::generate().unwrap();
        let token = key.sign(&Assertion { principal: None, ..ASSERTION }).unwrap();
        assert!(read(&token, &key).unwrap().get("sub").is_none());
    }

    #[test]
    fn debug_output_and_the_published_document_show_no_secret() {
        let key = AssertionKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("AssertionKey({})", key.kid()));
        let keys: Value = serde_json::from_str(key.jwks()).unwrap();
        let members: Vec<&String> = keys["keys"][0].as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}
