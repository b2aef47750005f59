//! A made-up certificate authority and one certificate of it, for the demo's TLS listener.

use rcgen::{BasicConstraints, CertificateParams, DnType, Error, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// What the demo writes into its folder, all in PEM.
#[derive(Debug)]
pub(super) struct MadeUp {
    /// The authority's certificate, for `curl --cacert`. Its key is forgotten at once.
    pub(super) authority: String,
    /// The certificate of the listener.
    pub(super) certificate: String,
    /// The key of the listener.
    pub(super) key: String,
}

/// Makes both for these hosts (DNS names or addresses).
///
/// # Errors
/// When a host is neither, or the system has no randomness to give.
pub(super) fn make(hosts: &[&str]) -> Result<MadeUp, Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "portcullis demo, not to be trusted");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let certificate = CertificateParams::new(hosts)?.signed_by(&key, &issuer)?;
    Ok(MadeUp { authority: authority_certificate.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_an_authority_and_another_certificate() {
        let made = make(&["oms.example.org", "127.0.0.1"]).unwrap();
        assert!(made.authority.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_ne!(made.authority, made.certificate);
    }
}
