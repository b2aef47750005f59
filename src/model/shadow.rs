//! What becomes of a refusal where the gateway only watches: most are logged and the request goes on, and those that
//! protect the protocol, the upstream or the gateway itself stand.

use super::Reason;

/// Whether what is decided is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A refused request goes no further.
    #[default]
    Enforce,
    /// A request that the policy refuses is logged, counted and forwarded.
    Shadow,
}

impl Mode {
    /// The word in files and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// What a reason means for a request in [`Mode::Shadow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InShadow {
    /// It is refused all the same.
    Refused,
    /// It goes on, and nobody vouches for who asks.
    Unnamed,
    /// It goes on with the name of its principal, of whom only a permission is missing.
    Named,
}

impl InShadow {
    /// The words of the reference.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unnamed => "forwarded",
            Self::Named => "forwarded, named",
        }
    }
}

impl Reason {
    /// What becomes in [`Mode::Shadow`] of a request that is refused for this.
    pub const fn in_shadow(self) -> InShadow {
        match self {
            // Who asks is known of both; only what may be done is not.
            Self::ObjectUnknown
            | Self::ObjectUnavailable
            | Self::ScopeMissing
            | Self::ScopeUnknown
            | Self::ScopeAmbiguous
            | Self::ScopeConflict
            | Self::FlagMissing
            | Self::FlagForbids
            | Self::RightMissing
            | Self::RightLevel
            | Self::RightDenied
            | Self::Requirement => InShadow::Named,
            Self::NoRoute
            | Self::NoRouteMethod
            | Self::NoToken
            | Self::CrossSite
            | Self::InvalidToken
            | Self::KeysUnavailable
            | Self::GateTenant
            | Self::GateAudience
            | Self::GateClient
            | Self::GateCaller
            | Self::GateAppRole
            | Self::GateCertificate
            | Self::PrincipalUnknown
            | Self::GrantsStale
            | Self::PrincipalInactive
            | Self::PrincipalDeleted
            | Self::PrincipalReserved
            | Self::GroupsUnknown => InShadow::Unnamed,
            Self::BadTarget
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BadHeader
            | Self::ExpectationFailed
            | Self::LoopDetected
            | Self::BadHandshake
            | Self::MethodForbidden
            | Self::NoApplication
            | Self::Misdirected
            | Self::CorsRefused
            | Self::MalformedCredentials
            | Self::FormType
            | Self::FormTooLarge
            | Self::BadForm
            | Self::FormOverridesQuery
            | Self::BadBody
            | Self::BodyTimeout
            | Self::RequestTimeout
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamInvalid
            | Self::RateLimited
            | Self::AuditUnavailable
            | Self::UpstreamOverloaded
            | Self::Overloaded
            | Self::Internal => InShadow::Refused,
        }
    }
}
