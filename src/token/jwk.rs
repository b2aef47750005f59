//! One entry of a JWKS document (RFC 7517 section 4): which keys are usable, and why the others are not.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use super::jose::{Algorithm, KID_BYTES};
use super::keys::Refused;
use super::strict::{Json, Object};

/// Members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1). Whoever publishes one has lost it.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Smallest and largest accepted RSA modulus in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Exponents from here on are refused: none in use is larger, and large ones only cost time.
const RSA_EXPONENT_END: u64 = 1 << 33;

/// The numbers of a public key, big-endian and without leading zeros where their length is not fixed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Modulus and exponent.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// A point of P-256 in uncompressed form: 4, x, y.
    P256(Vec<u8>),
}

/// The name of a secret key that an entry of `keys` shows whose public half may be in use.
pub(super) fn shown(entry: &Json) -> Option<&str> {
    let Json::Object(entry) = entry else { return None };
    let asymmetric = matches!(entry.text("kty"), Some("RSA" | "EC"));
    entry.text("kid").filter(|_| asymmetric && PRIVATE.iter().any(|name| entry.has(name)))
}

/// A key that signatures are verified with.
#[derive(Clone)]
pub(super) struct Key {
    /// `kid`.
    pub(super) kid: Box<str>,
    /// `issuer`, an extension of Entra: whose tokens the key signs, perhaps with `{tenantid}` in it.
    pub(super) issuer: Option<Box<str>>,
    /// The algorithms that the key may be used with: those of its type, or the one that `alg` names.
    algorithms: &'static [Algorithm],
    /// The numbers, to tell whether two keys are the same.
    pub(super) material: Material,
    /// The key as the verifying library wants it.
    pub(super) decoding: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.issuer == other.issuer
            && self.algorithms == other.algorithms
            && self.material == other.material
    }
}

/// What keys of one type are used with, each also on its own.
const OF_RSA: [&[Algorithm]; 3] = [&[Algorithm::Rs256, Algorithm::Ps256], &[Algorithm::Rs256], &[Algorithm::Ps256]];
const OF_P256: [&[Algorithm]; 1] = [&[Algorithm::Es256]];

impl Key {
    /// Whether tokens of this algorithm may be verified with the key.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether a signature (base64url) over `signed` is this key's.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        let name = match algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        };
        self.is_for(algorithm) && jsonwebtoken::crypto::verify(signature, signed, &self.decoding, name).unwrap_or(false)
    }

    /// Reads one entry of `keys`, or says in a few words why it is not used.
    pub(super) fn read(entry: &Json) -> Result<Self, Refused> {
        let unusable = |why| Refused { why, exposed: false };
        let Json::Object(object) = entry else { return Err(unusable("an entry is not an object".into())) };
        let Some(name) = PRIVATE.iter().find(|name| object.has(name)) else {
            return Self::read_public(object).map_err(unusable);
        };
        let kid = object.text("kid").unwrap_or_default().chars().take(KID_BYTES).collect::<String>();
        let kid = kid.escape_debug();
        let why = format!("key `{kid}` is refused: `{name}` is a member of a secret key, which is now known to others");
        Err(Refused { why, exposed: true })
    }

    fn read_public(entry: &Object) -> Result<Self, String> {
        let kid = match entry.text("kid") {
            Some(kid) if (1..=KID_BYTES).contains(&kid.len()) => kid,
            Some(_) => return Err("a key has a `kid` that is empty or longer than 128 bytes".into()),
            None => return Err("a key has no `kid`".into()),
        };
        // A `kid` may hold any character; escaped, it cannot forge a line of the log.
        Self::read_named(entry, kid).map_err(|why| format!("key `{}` {why}", kid.escape_debug()))
    }

    fn read_named(entry: &Object, kid: &str) -> Result<Self, String> {
        match entry.get("use") {
            None => {}
            Some(Json::Text(purpose)) if purpose == "sig" => {}
            Some(_) => return Err("is not for signatures (`use`)".into()),
        }
        match entry.get("key_ops").map(Json::texts) {
            None => {}
            Some(Some(operations)) if operations.contains(&"verify") => {}
            Some(_) => return Err("is not for verifying (`key_ops`)".into()),
        }
        let (of_type, material) = match entry.text("kty") {
            Some("RSA") => (&OF_RSA[..], rsa(entry)?),
            Some("EC") => (&OF_P256[..], p256(entry)?),
            _ => return Err("is of a type that is not supported (`kty` is neither `RSA` nor `EC`)".into()),
        };
        let named = |algorithms: &&&[Algorithm]| match entry.get("alg") {
            None => true,
            Some(Json::Text(name)) => Algorithm::parse(name).is_some_and(|named| **algorithms == [named]),
            Some(_) => false,
        };
        let algorithms = of_type.iter().find(named).ok_or("is for another algorithm (`alg`)")?;
        let issuer = match entry.get("issuer") {
            None => None,
            Some(Json::Text(issuer)) => Some(issuer.as_str().into()),
            Some(_) => return Err("has an `issuer` that is not text".into()),
        };
        let decoding = material.prepare()?;
        Ok(Self { kid: kid.into(), issuer, algorithms, material, decoding })
    }
}

impl Material {
    /// Makes the key for the verifying library, which itself accepts any bytes as a key: so the key is first shown
    /// to the library below it, which finds points off the curve and impossible moduli.
    fn prepare(&self) -> Result<DecodingKey, String> {
        let broken = |_| String::from("is not a possible public key");
        match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(broken)?;
                Ok(DecodingKey::from_rsa_raw_components(n, e))
            }
            Self::P256(point) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(broken)?;
                Ok(DecodingKey::from_ec_der(point))
            }
        }
    }
}

fn rsa(entry: &Object) -> Result<Material, String> {
    let (n, e) = (number(entry, "n")?, number(entry, "e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("has {bits} bits; RSA keys of 2048 to 8192 bits are used"));
    }
    let exponent = e.iter().take(8).fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    if e.len() > 5 || !(3..RSA_EXPONENT_END).contains(&exponent) || exponent % 2 == 0 {
        return Err("has an exponent that is even, below 3 or above 33 bits".into());
    }
    if n.last().is_none_or(|byte| byte % 2 == 0) {
        return Err("has an even modulus".into());
    }
    Ok(Material::Rsa { n, e })
}

fn p256(entry: &Object) -> Result<Material, String> {
    if entry.text("crv") != Some("P-256") {
        return Err("is on a curve that is not supported (`crv` is not `P-256`)".into());
    }
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(entry, name)?;
        if coordinate.len() != 32 {
            return Err(format!("has a coordinate `{name}` that is not 32 bytes long"));
        }
        point.extend(coordinate);
    }
    Ok(Material::P256(point))
}

/// An integer without the leading zeros that some issuers write although RFC 7518 section 2 says not to.
fn number(entry: &Object, name: &str) -> Result<Vec<u8>, String> {
    let padded = bytes(entry, name)?;
    Ok(padded.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(entry: &Object, name: &str) -> Result<Vec<u8>, String> {
    let text = entry.text(name).ok_or_else(|| format!("has no `{name}`"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("has a `{name}` that is not canonical base64url"))
}
