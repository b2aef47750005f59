//! The gateway's no, whatever the cause. The causes themselves are listed in [`Reason`].

use std::num::NonZeroU32;
use std::sync::Arc;

use http::HeaderValue;

use crate::model::Reason;
use crate::policy::{Denial, Domain, Rules};
use crate::token::{Fault, TokenFault, WantedKey};

/// Why a request goes no further, and what the answer and the log need to say so.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The methods that a 405 names in `Allow`, separated by commas.
    pub allow: Option<Arc<str>>,
    /// A key whose issuer should be asked for it.
    pub wake: Option<Box<WantedKey>>,
    /// What is wrong with the token, if that is why.
    pub token_fault: Option<Fault>,
    /// Where a client without a valid token reads how to get one (RFC 9728 section 5.1).
    pub resource_metadata: Option<Box<str>>,
    /// After how many seconds the client may ask again, where that is known.
    pub retry_after: Option<NonZeroU32>,
    /// What `WWW-Authenticate` says in place of the words for the reason.
    pub challenge: Option<Box<HeaderValue>>,
    /// The code that the configuration gives instead of the reason's own.
    code: Option<Arc<str>>,
    /// The code with its subject, where it has one.
    full: Option<Box<str>>,
    right: Option<Box<str>>,
    scope: Option<Box<str>>,
}

impl Refusal {
    /// A refusal without a subject, such as the data plane itself decides on (timeouts, upstream faults, overload).
    pub const fn of(reason: Reason) -> Self {
        Self {
            reason,
            allow: None,
            wake: None,
            token_fault: None,
            resource_metadata: None,
            retry_after: None,
            challenge: None,
            code: None,
            full: None,
            right: None,
            scope: None,
        }
    }

    /// A refusal with a word about what exactly was wrong.
    pub fn about(reason: Reason, subject: &str) -> Self {
        Self { full: Some(format!("{}:{subject}", reason.code()).into()), ..Self::of(reason) }
    }

    /// A refusal that was given before, for those who only compare: its reason and its code with the subject.
    pub(super) fn repeated(reason: Reason, full: &str) -> Self {
        Self { full: Some(full.into()), ..Self::of(reason) }
    }

    /// A refusal that says when to ask again, in seconds from now.
    pub fn retrying_after(self, seconds: u64) -> Self {
        Self { retry_after: NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// A refusal that names the methods which would have been right.
    pub(super) fn allowing(self, methods: &str) -> Self {
        Self { allow: Some(methods.into()), ..self }
    }

    /// A refusal that names the document in which a client reads how to get a token, if it is about a token.
    pub(super) fn describing(self, url: Option<Box<str>>) -> Self {
        let wants_token = matches!(self.reason, Reason::NoToken | Reason::InvalidToken);
        Self { resource_metadata: url.filter(|_| wants_token), ..self }
    }

    /// A denial of the policy.
    pub(super) fn denied(denial: &Denial, domain: &Domain, rules: &Rules) -> Self {
        let code = denial.code(rules);
        Self {
            code: (code != denial.reason.code()).then(|| code.into()),
            full: Some(denial.text(domain, rules).into()),
            right: denial.right(domain).map(Box::from),
            scope: denial.scope(domain).map(Box::from),
            ..Self::of(denial.reason)
        }
    }

    /// The stable code without its subject.
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or(self.reason.code())
    }

    /// The code with its subject, for the log.
    pub fn full_code(&self) -> &str {
        self.full.as_deref().unwrap_or(self.code())
    }

    /// The right that was asked for, if the refusal is about one.
    pub fn right(&self) -> Option<&str> {
        self.right.as_deref()
    }

    /// The scope node that it was asked at, if the refusal is about a right.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        let invalid =
            |fault: Fault| Self { token_fault: Some(fault), ..Self::about(Reason::InvalidToken, fault.word()) };
        match fault {
            TokenFault::Invalid(fault) => invalid(fault),
            TokenFault::UnknownKey(key) => Self { wake: Some(Box::new(key)), ..invalid(Fault::UnknownKey) },
            TokenFault::KeysUnavailable(key) => Self { wake: Some(Box::new(key)), ..Self::of(Reason::KeysUnavailable) },
        }
    }
}
