//! Which certificate a client is shown: the one for the name that it asks for (SNI, RFC 6066 section 3), or the first.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate;

/// The certificates of one listener by the names that they are for.
#[derive(Debug)]
pub(super) struct BySni {
    default: Arc<CertifiedKey>,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`, which stands for one label (RFC 9525 section 6.3).
    wildcards: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl BySni {
    /// The first certificate is shown where none is for the name. Of two for the same name the earlier counts.
    pub(super) fn new(default: Arc<CertifiedKey>, more: &[Arc<CertifiedKey>]) -> Self {
        let mut made = Self { default, exact: HashMap::new(), wildcards: HashMap::new() };
        for key in std::iter::once(&Arc::clone(&made.default)).chain(more) {
            for name in key.cert.first().map(certificate::names).unwrap_or_default() {
                let name = canonical(&name).into_owned();
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut made.wildcards, suffix),
                    None => (&mut made.exact, name.as_str()),
                };
                names.entry(name.into()).or_insert_with(|| Arc::clone(key));
            }
        }
        made
    }

    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(canonical) else { return &self.default };
        let wildcard = || {
            let (label, suffix) = name.split_once('.')?;
            self.wildcards.get(suffix).filter(|_| !label.is_empty())
        };
        self.exact.get(&*name).or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.of(hello.server_name())))
    }
}

/// A name without regard to case and without a final dot.
pub(super) fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn pair(names: &[&str]) -> Arc<CertifiedKey> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![made.cert.der().clone()], key, &default_provider()).unwrap())
    }

    #[test]
    fn the_certificate_for_the_name_is_shown_or_else_the_first() {
        let (first, exact, wild) =
            (pair(&["first.test", "*.first.test"]), pair(&["b.test", "x.wild.test"]), pair(&["*.wild.test", "b.test"]));
        let by_sni = BySni::new(Arc::clone(&first), &[Arc::clone(&exact), Arc::clone(&wild)]);
        for (name, shown) in [
            (None, &first),
            (Some("first.test"), &first),
            (Some("a.first.test"), &first),
            (Some("nobody.test"), &first),
            (Some("b.test"), &exact),
            (Some("B.Test"), &exact),
            (Some("b.test."), &exact),
            (Some("x.wild.test"), &exact),
            (Some("y.wild.test"), &wild),
            (Some("z.y.wild.test"), &first),
            (Some("wild.test"), &first),
            (Some(".wild.test"), &first),
        ] {
            assert!(Arc::ptr_eq(by_sni.of(name), shown), "{name:?}");
        }
    }
}
