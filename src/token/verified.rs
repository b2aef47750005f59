//! What a verified token says.

use std::sync::Arc;

use super::IssuerId;
use super::fault::Fault;
use crate::model::PrincipalKey;

/// Whether a token speaks for a person or for an application itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// A user, through a client that acts for it (delegated permissions).
    #[default]
    User,
    /// An application as itself (client credentials).
    App,
}

impl Class {
    /// The word in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::App => "app",
        }
    }
}

/// The groups of a principal, as far as its token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// These and no others; perhaps none.
    Listed(Box<[Box<str>]>),
    /// More than fit into a token, so it names none: not a member of nothing, and not known to be one of anything.
    Unknown,
}

impl Groups {
    /// These groups.
    pub fn listed(names: &[String]) -> Self {
        Self::Listed(names.iter().map(|name| name.as_str().into()).collect())
    }
}

/// What a verified token says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The issuer.
    pub issuer: IssuerId,
    /// Name of the tenant or issuer.
    pub tenant: Arc<str>,
    /// `tid` and `oid`, or what stands for them at another issuer.
    pub principal: PrincipalKey,
    /// The `oid`, or the subject at another issuer, as text for logs.
    pub subject: Box<str>,
    /// Whether a person or an application asks.
    pub class: Class,
    /// `azp` or `appid`: the client that got the token.
    pub client: Option<Arc<str>>,
    /// `preferred_username`, `upn` or `unique_name`: display only, printable ASCII only, else absent.
    pub username: Option<Box<str>>,
    /// `aud`, at least one. Whether one of them is the application's is for its gate to say.
    pub audiences: Vec<Box<str>>,
    /// `roles`.
    pub roles: Vec<Box<str>>,
    /// `groups`.
    pub groups: Groups,
    /// `uti` or `jti`.
    pub token_id: Option<Arc<str>>,
    /// `iat`, or where it is missing `nbf`, in Unix seconds.
    pub issued_at: u64,
    /// Whether the client can handle a claims challenge (`xms_cc` holds `cp1`).
    pub takes_challenges: bool,
    /// When the token is valid.
    pub window: Window,
}

impl Verified {
    /// About how many bytes its texts take, with the lists that they stand in.
    pub(super) fn text_bytes(&self) -> usize {
        let list = |texts: &[Box<str>]| texts.iter().map(|text| size_of::<Box<str>>() + text.len()).sum::<usize>();
        let text = |text: Option<&str>| text.map_or(0, str::len);
        let groups = match &self.groups {
            Groups::Listed(groups) => list(groups),
            Groups::Unknown => 0,
        };
        let texts = self.subject.len()
            + text(self.client.as_deref())
            + text(self.username.as_deref())
            + text(self.token_id.as_deref());
        texts + list(&self.audiences) + list(&self.roles) + groups
    }
}

/// When a token is valid, in Unix seconds, none above 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// `nbf`, or `iat` where it is missing.
    pub not_before: u64,
    /// `iat`, or `nbf` where it is missing.
    pub issued: u64,
    /// `exp`.
    pub until: u64,
}

impl Window {
    /// Whether the token is valid at `now`, clocks differing by up to `leeway` seconds.
    pub(super) fn check(self, now: u64, leeway: u64) -> Result<(), Fault> {
        if now >= self.until.saturating_add(leeway) {
            return Err(Fault::Expired);
        }
        let latest = now.saturating_add(leeway);
        if latest < self.not_before {
            return Err(Fault::NotYetValid);
        }
        if latest < self.issued {
            return Err(Fault::IssuedInFuture);
        }
        Ok(())
    }
}

/// The part of a token that names the caller.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) principal: PrincipalKey,
    pub(super) subject: Box<str>,
    pub(super) class: Class,
    pub(super) client: Option<Arc<str>>,
    pub(super) username: Option<Box<str>>,
}
