//! Signing with a development key: for the demo, `token mint` and tests. Never with any other key.
/// Every development key's `kid` begins so; the product refuses such keys on a listener beyond loopback.
pub const DEVELOPMENT_KID_PREFIX: &str = "portcullis-development-";
/// A development signing key (RSA 2048, RS256).
pub struct DevelopmentKey {}
/// Why a key is not usable.
#[derive(Debug)]
pub struct MintFault(pub String);
impl DevelopmentKey {
    /// Makes a new one; its kid is the prefix and 16 hex digits.
    pub fn generate() -> Result<Self, MintFault> {
        todo!()
    }
    /// Takes a PKCS#8 PEM private key whose public half stands in `jwks` under a development kid; refuses any other.
    pub fn from_pem(_pem: &str, _jwks: &[u8]) -> Result<Self, MintFault> {
        todo!()
    }
    /// The private key as PKCS#8 PEM.
    pub fn to_pem(&self) -> String {
        todo!()
    }
    /// The public key as a JWKS document.
    pub fn jwks(&self) -> String {
        todo!()
    }
    /// Signs a payload.
    pub fn mint(&self, _claims: &serde_json::Value) -> Result<String, MintFault> {
        todo!()
    }
}
