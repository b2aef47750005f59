//! Signing with a development key: for the demo, `token mint` and tests. Never with any other key.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::issuer::{IssuerKind, Profile};
use super::jwk::Material;
use super::keys::KeySet;
use crate::model::Guid;

/// Every development key's `kid` begins so; the product refuses such keys on a listener beyond loopback.
pub const DEVELOPMENT_KID_PREFIX: &str = "portcullis-development-";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// The client that minted tokens say asked for them.
const CLIENT: &str = "de7e1000-0000-4000-8000-000000000000";

/// A development signing key (RSA 2048, RS256).
pub struct DevelopmentKey {
    pair: KeyPair,
    kid: String,
    pkcs8: Vec<u8>,
}

/// Why a key is not usable: a clause for an operator, without any key material.
#[derive(Debug, PartialEq, Eq)]
pub struct MintFault(pub String);

impl fmt::Display for MintFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for MintFault {}

impl fmt::Debug for DevelopmentKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DevelopmentKey({})", self.kid)
    }
}

impl DevelopmentKey {
    /// Makes a new one; its `kid` is the prefix and 16 hex digits that derive from the key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, MintFault> {
        let pair = KeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| MintFault("a development key could not be generated".into()))?;
        let digits: String = digest(&SHA256, pair.public_key().as_ref())
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self::with_kid(pair, format!("{DEVELOPMENT_KID_PREFIX}{digits}"))
    }

    /// Takes a PKCS#8 PEM private key whose public half stands in the JWKS document `jwks` under a development `kid`.
    ///
    /// # Errors
    /// The PEM is not an RSA key, the document is unusable, or the key is any but a development key of the document.
    pub fn from_pem(pem: &str, jwks: &[u8]) -> Result<Self, MintFault> {
        let der = pem_body(pem).ok_or_else(|| {
            MintFault(format!("the signing key is not a PKCS#8 PEM file (it has no block `{PEM_BEGIN}`)"))
        })?;
        let pair = KeyPair::from_pkcs8(&der)
            .map_err(|_| MintFault("the signing key is not an unencrypted RSA key in PKCS#8 form".into()))?;
        let set = KeySet::parse(jwks).map_err(|fault| MintFault(fault.why))?;
        let mut others = Vec::new();
        for kid in set.kids_of(&material(&pair)) {
            if kid.starts_with(DEVELOPMENT_KID_PREFIX) {
                return Self::with_kid(pair, kid.to_owned());
            }
            others.push(format!("`{}`", kid.escape_debug()));
        }
        Err(MintFault(match others.is_empty() {
            true => "the signing key is refused: its public half is not in the key document of the tenant".into(),
            false => format!(
                "the signing key is refused: it is published as {}, and only keys whose `kid` begins with \
                 `{DEVELOPMENT_KID_PREFIX}` sign development tokens",
                others.join(", ")
            ),
        }))
    }

    fn with_kid(pair: KeyPair, kid: String) -> Result<Self, MintFault> {
        let der: Pkcs8V1Der<'_> =
            pair.as_der().map_err(|_| MintFault("the signing key cannot be written in PKCS#8 form".into()))?;
        let pkcs8 = der.as_ref().to_vec();
        Ok(Self { pair, kid, pkcs8 })
    }

    /// The key's `kid`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private key as PKCS#8 PEM (RFC 7468 section 10).
    pub fn to_pem(&self) -> String {
        let mut pem = format!("{PEM_BEGIN}\n");
        for (position, character) in STANDARD.encode(&self.pkcs8).chars().enumerate() {
            if position > 0 && position % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push('\n');
        pem.push_str(PEM_END);
        pem.push('\n');
        pem
    }

    /// The public key as a JWKS document (RFC 7517 section 5).
    pub fn jwks(&self) -> String {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let document = json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(&public.n),
            "e": URL_SAFE_NO_PAD.encode(&public.e),
        }] });
        format!("{document:#}\n")
    }

    /// Signs a payload and returns the token.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn mint(&self, claims: &Value) -> Result<String, MintFault> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid });
        let mut token =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| MintFault("the token could not be signed".into()))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// What an ordinary access token of a user says; [`UserToken::claims`] writes it as Entra does.
#[derive(Clone, Debug)]
pub struct UserToken<'a> {
    /// `tid`.
    pub tenant_id: Guid,
    /// `oid`.
    pub object_id: Guid,
    /// `iss`.
    pub issuer: &'a str,
    /// Which of the two shapes of Entra ID the issuer writes; any other kind counts as version 2.0.
    pub kind: IssuerKind,
    /// `aud`.
    pub audience: &'a str,
    /// `roles`; left out when empty.
    pub roles: &'a [&'a str],
    /// `preferred_username` (v2), `upn` and `unique_name` (v1).
    pub username: &'a str,
    /// When the token is issued, in Unix seconds.
    pub now: u64,
    /// How long it is valid, in seconds.
    pub lifetime: u64,
}

impl UserToken<'_> {
    /// The payload.
    pub fn claims(&self) -> Value {
        // Entra's `sub` is another one in each application and never the `oid`.
        let subject = digest(&SHA256, format!("{}/{}", self.object_id, self.audience).as_bytes());
        let mut claims = json!({
            "aud": self.audience,
            "iss": self.issuer,
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now.saturating_add(self.lifetime),
            "oid": self.object_id.to_string(),
            "scp": "access_as_user",
            "sub": URL_SAFE_NO_PAD.encode(subject),
            "tid": self.tenant_id.to_string(),
        });
        let own = match &self.kind {
            IssuerKind::EntraV1 => json!({
                "ver": "1.0", "appid": CLIENT, "appidacr": "0", "upn": self.username, "unique_name": self.username,
            }),
            IssuerKind::EntraV2 | IssuerKind::Other(_) => json!({
                "ver": "2.0", "azp": CLIENT, "azpacr": "0", "preferred_username": self.username,
            }),
        };
        if let (Value::Object(claims), Value::Object(own)) = (&mut claims, own) {
            claims.extend(own);
            if !self.roles.is_empty() {
                claims.insert("roles".into(), json!(self.roles));
            }
        }
        claims
    }
}

/// What an access token of an issuer other than Entra ID says; [`SubjectToken::claims`] writes it as RFC 9068 section 2.2
/// has it, with the claims where the issuer's profile looks for them.
#[derive(Clone, Debug)]
pub struct SubjectToken<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// Where the issuer says what.
    pub profile: &'a Profile,
    /// Whom the token is for.
    pub subject: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// The roles; left out when empty.
    pub roles: &'a [&'a str],
    /// The name for display.
    pub username: &'a str,
    /// Tells this token from all others (`jti`).
    pub token_id: &'a str,
    /// When the token is issued, in Unix seconds.
    pub now: u64,
    /// How long it is valid, in seconds.
    pub lifetime: u64,
}

impl SubjectToken<'_> {
    /// The payload.
    pub fn claims(&self) -> Value {
        let Profile { subject, client, roles, groups: _, username, audiences: _ } = self.profile;
        let mut claims = Map::new();
        set(&mut claims, username, self.username.into());
        if !self.roles.is_empty() {
            set(&mut claims, roles, json!(self.roles));
        }
        for (name, value) in [
            ("iss", json!(self.issuer)),
            ("aud", json!(self.audience)),
            ("iat", json!(self.now)),
            ("exp", json!(self.now.saturating_add(self.lifetime))),
            ("jti", json!(self.token_id)),
            ("sub", json!(self.subject)),
            ("client_id", json!(CLIENT)),
        ] {
            claims.insert(name.into(), value);
        }
        set(&mut claims, subject, self.subject.into());
        if let Some(client) = client {
            set(&mut claims, client, CLIENT.into());
        }
        Value::Object(claims)
    }
}

/// Writes a claim where a profile finds it: names with dots are paths, unless they are URLs.
fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.').filter(|_| !name.contains("://")) {
        None => {
            claims.insert(name.into(), value);
        }
        Some((first, rest)) => {
            let inner = claims.entry(first).or_insert_with(|| json!({}));
            if !inner.is_object() {
                *inner = json!({});
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn material(pair: &KeyPair) -> Material {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    Material::Rsa { n: public.n, e: public.e }
}

fn pem_body(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(PEM_BEGIN)?;
    let (body, _) = rest.split_once(PEM_END)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_and_read() {
        let key = DevelopmentKey::generate().unwrap();
        assert_eq!(key.kid().len(), DEVELOPMENT_KID_PREFIX.len() + 16);
        let pem = key.to_pem();
        assert!(pem.lines().all(|line| line.len() <= 64), "lines of PEM have 64 characters");
        let again = DevelopmentKey::from_pem(&pem, key.jwks().as_bytes()).unwrap();
        assert_eq!((again.kid(), again.to_pem(), again.jwks()), (key.kid(), pem, key.jwks()));
        let claims = json!({"a": 1});
        assert_eq!(again.mint(&claims), key.mint(&claims), "RS256 signatures are deterministic");
    }

    #[test]
    fn any_other_key_is_refused() {
        let (key, other) = (DevelopmentKey::generate().unwrap(), DevelopmentKey::generate().unwrap());
        let renamed = key.jwks().replace(DEVELOPMENT_KID_PREFIX, "production-");
        for (pem, jwks, why) in [
            (key.to_pem(), other.jwks(), "is not in the key document"),
            (key.to_pem(), renamed, "is published as `production-"),
            (key.to_pem(), "{}".into(), "no list `keys`"),
            ("nonsense".into(), key.jwks(), "not a PKCS#8 PEM file"),
            (key.to_pem().replace("PRIVATE KEY", "RSA PRIVATE KEY"), key.jwks(), "not a PKCS#8 PEM file"),
            (format!("{PEM_BEGIN}\nAAAA\n{PEM_END}\n"), key.jwks(), "not an unencrypted RSA key"),
        ] {
            let fault = DevelopmentKey::from_pem(&pem, jwks.as_bytes()).unwrap_err();
            assert!(fault.0.contains(why), "{fault}");
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = DevelopmentKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("DevelopmentKey({})", key.kid()));
    }
}
