//! Where principals come from: a tenant of Entra ID, or any other issuer of tokens.

use std::sync::Arc;

use super::{Guid, PrincipalKey};

/// Longest subject, in bytes. OpenID Connect Core 1.0 section 2 allows 255 characters.
const SUBJECT_BYTES: usize = 256;

/// A tenant or issuer that gates and principals may name.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The name that documents and logs use.
    pub name: Arc<str>,
    /// The tenant id; at another issuer, the digest of its URL.
    pub id: Guid,
    /// What its principals are named by.
    pub naming: Naming,
}

/// What the principals of a tenant are named by.
#[derive(Clone, Copy, Debug)]
pub enum Naming {
    /// The object id (`oid`), a GUID: a tenant of Entra ID.
    ObjectId,
    /// The subject: any other issuer. The function makes the key of a subject at the issuer with this id.
    Subject(fn(Guid, &str) -> PrincipalKey),
}

impl Tenant {
    /// A tenant of Entra ID.
    pub fn of_objects(name: &str, id: Guid) -> Self {
        Self { name: name.into(), id, naming: Naming::ObjectId }
    }

    /// Another issuer; `key` makes the keys of its subjects.
    pub fn of_subjects(name: &str, id: Guid, key: fn(Guid, &str) -> PrincipalKey) -> Self {
        Self { name: name.into(), id, naming: Naming::Subject(key) }
    }

    /// The key of a principal by what the tenant names it by; `None` if the text cannot be that.
    pub fn principal(&self, text: &str) -> Option<PrincipalKey> {
        match self.naming {
            Naming::ObjectId => Some(PrincipalKey { tenant: self.id, object: text.parse().ok()? }),
            Naming::Subject(key) => is_subject(text).then(|| key(self.id, text)),
        }
    }
}

/// Whether a text can name a subject: 1 to 256 bytes without control characters, which no issuer writes and which could
/// forge lines of a log.
pub fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_tenant_takes_its_kind_of_name() {
        let oid = "01866573-306f-411e-9b7a-1047ad550d48";
        let key = |tenant, subject: &str| PrincipalKey { tenant, object: Guid(subject.len() as u128) };
        let (entra, other) = (Tenant::of_objects("uss", Guid(7)), Tenant::of_subjects("sso", Guid(8), key));
        assert_eq!(entra.principal(oid).unwrap(), PrincipalKey { tenant: Guid(7), object: oid.parse().unwrap() });
        assert_eq!(other.principal("auth0|1").unwrap(), PrincipalKey { tenant: Guid(8), object: Guid(7) });
        assert_eq!(other.principal(oid).unwrap().tenant, Guid(8));
        assert!(other.principal(&"x".repeat(256)).is_some());
        for bad in ["auth0|1", ""] {
            assert!(entra.principal(bad).is_none(), "{bad}");
        }
        for bad in ["", "a\nb", "a\u{0}", "a\u{85}", &"x".repeat(257)] {
            assert!(other.principal(bad).is_none(), "{bad:?}");
        }
    }
}
