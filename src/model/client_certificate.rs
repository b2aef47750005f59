//! Who a client is by the certificate that it showed in the TLS handshake.

use std::sync::Arc;

use super::distinguished_name;

/// A certificate that an authority of the listener's `client_ca` vouches for and whose key the client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its names as gates write them: its subject in the form of [`distinguished_name`], if it has one, then `dns:NAME`
    /// and `uri:URI` for each of its alternative names. Logs show the first.
    pub names: Box<[Arc<str>]>,
    /// When it begins to be valid, in Unix seconds.
    pub from: u64,
    /// When it ends, in Unix seconds.
    pub until: u64,
    /// The certificate as a Byte Sequence of RFC 8941 section 3.3.5, for `Client-Cert` (RFC 9440 section 2.2).
    pub field: Box<str>,
}

impl ClientCertificate {
    /// What logs call it: its first name.
    pub fn name(&self) -> &str {
        self.names.first().map_or("without a name", |name| name)
    }

    /// Whether it is valid at a moment, in Unix seconds.
    pub const fn is_valid_at(&self, now: u64) -> bool {
        self.from <= now && now <= self.until
    }
}

/// Brings a name that a gate asks for into the form of [`ClientCertificate::names`].
///
/// # Errors
/// What is wrong with it: a clause.
pub fn canonical(text: &str) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("dns:") {
        return dns(name).ok_or_else(|| format!("`{name}` is no host name of one host"));
    }
    if let Some(uri) = text.strip_prefix("uri:") {
        return self::uri(uri).ok_or_else(|| format!("`{uri}` is no URI"));
    }
    distinguished_name::canonical(text)
}

/// A DNS name of a certificate as gates write it, without regard to case (RFC 5280 section 7.2). `None` of what names no
/// single host.
pub fn dns(name: &str) -> Option<String> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let sound = name.len() <= 253 && name.bytes().all(letters) && !name.split('.').any(str::is_empty);
    sound.then(|| format!("dns:{}", name.to_ascii_lowercase()))
}

/// A URI of a certificate as gates write it, byte for byte: no two spellings are the same.
pub fn uri(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let sound = begins && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (sound && !rest.is_empty() && uri.bytes().all(|byte| byte.is_ascii_graphic())).then(|| format!("uri:{uri}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_gates_have_one_form() {
        for (text, form) in [
            ("cn=billing,O=Example", Some("CN=billing,O=Example")),
            ("dns:Billing.Internal", Some("dns:billing.internal")),
            ("uri:spiffe://example.org/billing", Some("uri:spiffe://example.org/billing")),
            ("uri:spiffe://Example.org/Billing", Some("uri:spiffe://Example.org/Billing")),
            ("dns:*.internal", None),
            ("dns:", None),
            ("dns:a..b", None),
            ("dns:a.", None),
            ("dns:b\u{fc}cher", None),
            ("uri:", None),
            ("uri:a", None),
            ("uri:spiffe:", None),
            ("uri:1a:b", None),
            ("uri:spiffe://a b", None),
            ("email:a@example.org", None),
            ("", None),
        ] {
            assert_eq!(canonical(text).ok().as_deref(), form, "{text}");
        }
    }
}
