//! Every way the gateway says no: the one closed list of reasons, each with its status, stable code and texts.
//!
//! `docs/reasons.md` is made from this file. There is no `_` arm anywhere here, so a new reason must be finished
//! before it compiles.

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The target, path or query has a form that two readers could read differently.
    BadTarget,
    /// A header has such a form.
    BadHeader,
    /// The method is one that the gateway never forwards (CONNECT, TRACE).
    MethodForbidden,
    /// No application has this host.
    NoApplication,
    /// A web page of another origin may not call this application so.
    CorsRefused,
    /// No route of the application has this path.
    NoRoute,
    /// A route has this path, but not with this method.
    NoRouteMethod,
    /// No bearer token came with the request.
    NoToken,
    /// Credentials came twice or in a form that cannot be read.
    MalformedCredentials,
    /// A token in a cookie came with a request that another site may have made.
    CrossSite,
    /// The token is not one that this gateway believes.
    InvalidToken,
    /// The keys of the token's issuer have not been fetched yet, or are too old.
    KeysUnavailable,
    /// The tenant may not come in to this application.
    GateTenant,
    /// The token is meant for another application.
    GateAudience,
    /// The client that got the token may not be used for this application.
    GateClient,
    /// People or applications, whichever of the two the token speaks for, may not come in to this application.
    GateCaller,
    /// The token lacks the app role that the application asks for.
    GateAppRole,
    /// Nobody with this tenant and object id is known.
    PrincipalUnknown,
    /// The account, or a group of it, is inactive.
    PrincipalInactive,
    /// The account is deleted.
    PrincipalDeleted,
    /// The account is the system's own and never a caller.
    PrincipalReserved,
    /// The token names none of its many groups, and one of them could forbid this.
    GroupsUnknown,
    /// The request does not say in which scope it acts.
    ScopeMissing,
    /// The scope that the request names does not exist.
    ScopeUnknown,
    /// The request names its scope in a way that can be read differently.
    ScopeAmbiguous,
    /// Two places of the request name different scopes.
    ScopeConflict,
    /// The principal lacks a flag.
    FlagMissing,
    /// The principal has a flag that forbids this.
    FlagForbids,
    /// The principal does not hold the right here.
    RightMissing,
    /// The principal holds the right here, but at a lower level.
    RightLevel,
    /// The right is denied to the principal here.
    RightDenied,
    /// A comparison or condition of the requirement does not hold; the requirement names the code.
    Requirement,
    /// The request body broke off or has broken framing.
    BadBody,
    /// The client sent its request body too slowly.
    BodyTimeout,
    /// No server of the upstream could be reached.
    UpstreamUnreachable,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream's answer is not HTTP that may be relayed.
    UpstreamInvalid,
    /// The gateway has too many requests in flight.
    Overloaded,
    /// The gateway failed; nothing was forwarded.
    Internal,
}

impl Reason {
    /// Every reason, in the order in which a request meets them.
    pub const ALL: &'static [Self] = &[
        Self::BadTarget,
        Self::BadHeader,
        Self::MethodForbidden,
        Self::NoApplication,
        Self::CorsRefused,
        Self::NoRoute,
        Self::NoRouteMethod,
        Self::NoToken,
        Self::MalformedCredentials,
        Self::CrossSite,
        Self::InvalidToken,
        Self::KeysUnavailable,
        Self::GateTenant,
        Self::GateAudience,
        Self::GateClient,
        Self::GateCaller,
        Self::GateAppRole,
        Self::PrincipalUnknown,
        Self::PrincipalInactive,
        Self::PrincipalDeleted,
        Self::PrincipalReserved,
        Self::GroupsUnknown,
        Self::ScopeMissing,
        Self::ScopeUnknown,
        Self::ScopeAmbiguous,
        Self::ScopeConflict,
        Self::FlagMissing,
        Self::FlagForbids,
        Self::RightMissing,
        Self::RightLevel,
        Self::RightDenied,
        Self::Requirement,
        Self::BadBody,
        Self::BodyTimeout,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamInvalid,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The stable code for logs, metrics and clients. [`Reason::Requirement`] is replaced by the configured code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadTarget => "bad_target",
            Self::BadHeader => "bad_header",
            Self::MethodForbidden => "method_forbidden",
            Self::NoApplication => "no_application",
            Self::CorsRefused => "cors_refused",
            Self::NoRoute => "no_route",
            Self::NoRouteMethod => "no_route",
            Self::NoToken => "no_token",
            Self::MalformedCredentials => "malformed_credentials",
            Self::CrossSite => "cross_site",
            Self::InvalidToken => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::GateTenant => "gate_tenant",
            Self::GateAudience => "gate_audience",
            Self::GateClient => "gate_client",
            Self::GateCaller => "gate_caller",
            Self::GateAppRole => "gate_app_role",
            Self::PrincipalUnknown => "principal_unknown",
            Self::PrincipalInactive => "principal_inactive",
            Self::PrincipalDeleted => "principal_deleted",
            Self::PrincipalReserved => "principal_reserved",
            Self::GroupsUnknown => "groups_unknown",
            Self::ScopeMissing => "scope_missing",
            Self::ScopeUnknown => "scope_unknown",
            Self::ScopeAmbiguous => "scope_ambiguous",
            Self::ScopeConflict => "scope_conflict",
            Self::FlagMissing => "flag_missing",
            Self::FlagForbids => "flag_forbids",
            Self::RightMissing => "right_missing",
            Self::RightLevel => "right_level",
            Self::RightDenied => "right_denied",
            Self::Requirement => "requirement",
            Self::BadBody => "bad_body",
            Self::BodyTimeout => "body_timeout",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status (RFC 9110 section 15).
    pub const fn status(self) -> u16 {
        match self {
            Self::BadTarget => 400,
            Self::BadHeader => 400,
            Self::MethodForbidden => 405,
            Self::NoApplication => 421,
            Self::CorsRefused => 403,
            Self::NoRoute => 404,
            Self::NoRouteMethod => 405,
            Self::NoToken => 401,
            Self::MalformedCredentials => 400,
            Self::CrossSite => 403,
            Self::InvalidToken => 401,
            Self::KeysUnavailable => 503,
            Self::GateTenant => 403,
            Self::GateAudience => 403,
            Self::GateClient => 403,
            Self::GateCaller => 403,
            Self::GateAppRole => 403,
            Self::PrincipalUnknown => 403,
            Self::PrincipalInactive => 403,
            Self::PrincipalDeleted => 403,
            Self::PrincipalReserved => 403,
            Self::GroupsUnknown => 403,
            Self::ScopeMissing => 403,
            Self::ScopeUnknown => 403,
            Self::ScopeAmbiguous => 403,
            Self::ScopeConflict => 403,
            Self::FlagMissing => 403,
            Self::FlagForbids => 403,
            Self::RightMissing => 403,
            Self::RightLevel => 403,
            Self::RightDenied => 403,
            Self::Requirement => 403,
            Self::BadBody => 400,
            Self::BodyTimeout => 408,
            Self::UpstreamUnreachable => 502,
            Self::UpstreamTimeout => 504,
            Self::UpstreamInvalid => 502,
            Self::Overloaded => 503,
            Self::Internal => 500,
        }
    }

    /// What clients read: true, and no help to an attacker.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadTarget => "The request target is not acceptable",
            Self::BadHeader => "A request header is not acceptable",
            Self::MethodForbidden => "The method is not allowed",
            Self::NoApplication => "This host is not served here",
            Self::CorsRefused => "Web pages of this origin may not call the application so",
            Self::NoRoute => "There is no such resource",
            Self::NoRouteMethod => "The method is not allowed for this resource",
            Self::NoToken => "Authentication is required",
            Self::MalformedCredentials => "The credentials are malformed",
            Self::CrossSite => "The request may come from another site",
            Self::InvalidToken => "The access token is invalid or expired",
            Self::KeysUnavailable => "Tokens cannot be verified at the moment",
            Self::GateTenant => "Your organisation may not use this application",
            Self::GateAudience => "The token is not meant for this application",
            Self::GateClient => "This client may not be used for this application",
            Self::GateCaller => "This kind of account may not use this application",
            Self::GateAppRole => "You are not assigned to this application",
            Self::PrincipalUnknown => "You are not known to this application",
            Self::PrincipalInactive => "Your account is inactive",
            Self::PrincipalDeleted => "Your account is deleted",
            Self::PrincipalReserved => "This account cannot be used",
            Self::GroupsUnknown => "Your group memberships cannot be determined",
            Self::ScopeMissing => "The request does not say where it acts",
            Self::ScopeUnknown => "The place that the request names is not known",
            Self::ScopeAmbiguous => "The request names its place ambiguously",
            Self::ScopeConflict => "The request names different places",
            Self::FlagMissing => "You may not do this",
            Self::FlagForbids => "You may not do this",
            Self::RightMissing => "You may not do this",
            Self::RightLevel => "You may not do this",
            Self::RightDenied => "You may not do this",
            Self::Requirement => "You may not do this",
            Self::BadBody => "The request body is malformed",
            Self::BodyTimeout => "The request body came too slowly",
            Self::UpstreamUnreachable => "The application cannot be reached",
            Self::UpstreamTimeout => "The application did not answer in time",
            Self::UpstreamInvalid => "The application gave an invalid answer",
            Self::Overloaded => "The gateway is busy",
            Self::Internal => "The gateway failed",
        }
    }

    /// The header field that the status calls for, or nothing.
    pub const fn header(self) -> &'static str {
        match self {
            Self::MethodForbidden | Self::NoRouteMethod => "Allow",
            Self::KeysUnavailable | Self::Overloaded => "Retry-After",
            Self::BodyTimeout => "Connection",
            Self::NoToken | Self::MalformedCredentials | Self::InvalidToken => "WWW-Authenticate",
            Self::GateTenant | Self::GateAudience | Self::GateClient | Self::GateCaller => "WWW-Authenticate",
            Self::GateAppRole | Self::PrincipalUnknown | Self::PrincipalInactive => "WWW-Authenticate",
            Self::PrincipalDeleted | Self::PrincipalReserved | Self::GroupsUnknown => "WWW-Authenticate",
            Self::ScopeMissing | Self::ScopeUnknown | Self::ScopeAmbiguous => "WWW-Authenticate",
            Self::ScopeConflict | Self::FlagMissing | Self::FlagForbids => "WWW-Authenticate",
            Self::RightMissing | Self::RightLevel | Self::RightDenied | Self::Requirement => "WWW-Authenticate",
            Self::BadTarget | Self::BadHeader | Self::NoApplication | Self::CorsRefused | Self::NoRoute => "",
            // Another token would not help.
            Self::CrossSite => "",
            Self::BadBody | Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamInvalid => "",
            Self::Internal => "",
        }
    }

    /// What it means, for operators.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::BadTarget => {
                "The path, query or target form could be read differently by two readers (dot segments, empty segments, encoded separators, bad or needless percent-encoding, misspelt scope parameters); the subject says which."
            }
            Self::BadHeader => {
                "Host is missing, repeated or malformed, or disagrees with the target; the subject says which."
            }
            Self::MethodForbidden => "CONNECT and TRACE are never forwarded.",
            Self::NoApplication => "No application in routes.yaml has the request's host.",
            Self::CorsRefused => {
                "A CORS preflight whose origin, method or headers (the subject says which) are not in `cors`."
            }
            Self::NoRoute => "No route of the application matches the path.",
            Self::NoRouteMethod => "A route matches the path (the subject is `method`), but none with this method.",
            Self::NoToken => {
                "No token in a place where the application looks for one (other credentials do not count)."
            }
            Self::MalformedCredentials => {
                "A token came more than once or in two places, or in a form that cannot be read."
            }
            Self::CrossSite => {
                "The token is in a cookie, the method is not a safe one, and neither `Sec-Fetch-Site` nor `Origin` shows that the application's own page asks."
            }
            Self::InvalidToken => "The token failed a check; the subject says which (log only).",
            Self::KeysUnavailable => {
                "The signing keys of the token's issuer have not been fetched, or are older than a day."
            }
            Self::GateTenant => "The token's tenant is not among `gate.tenants` of the application.",
            Self::GateAudience => "None of the token's audiences is among `gate.audiences`.",
            Self::GateClient => "The token's client (`azp` or `appid`, the subject) is not among `gate.clients`.",
            Self::GateCaller => {
                "The token speaks for a user or an app (the subject), and `gate.callers` says the other."
            }
            Self::GateAppRole => "The token carries none of `gate.app_roles`.",
            Self::PrincipalUnknown => "No principal of the domain has the token's tenant and object id.",
            Self::PrincipalInactive => "The principal, or a group of it, is inactive.",
            Self::PrincipalDeleted => "The principal is deleted.",
            Self::PrincipalReserved => "The principal is reserved for the system.",
            Self::GroupsUnknown => {
                "The principal has too many groups for its token to list, and a group of `token_groups` may take rights away."
            }
            Self::ScopeMissing => {
                "No value for the scope that the subject names is in the request or known of the object."
            }
            Self::ScopeUnknown => "The value of the scope that the subject names is no node or alias.",
            Self::ScopeAmbiguous => "A scope header came twice or with a comma, or too many values were named.",
            Self::ScopeConflict => "Path, query, header and object do not all name the same scope.",
            Self::FlagMissing => "The principal lacks the flag that the subject names.",
            Self::FlagForbids => "The principal has the flag that the subject names, and the route forbids it.",
            Self::RightMissing => "The principal does not hold the right at the scope that the subject names.",
            Self::RightLevel => "The principal holds the right at a lower level than is asked (`held<asked`).",
            Self::RightDenied => "A denial of the right covers the scope.",
            Self::Requirement => {
                "A comparison or condition of the route does not hold. The code is the `reason` that routes.yaml gives it."
            }
            Self::BadBody => "The framing of the request body broke, or the client went away before its end.",
            Self::BodyTimeout => "No piece of the body came within `timeouts.client_body`.",
            Self::UpstreamUnreachable => "No server of the upstream accepted a connection; the log names the server.",
            Self::UpstreamTimeout => "No response head came within `timeouts.response`.",
            Self::UpstreamInvalid => "The upstream's answer is not HTTP, broke off, or switched protocols unasked.",
            Self::Overloaded => "More requests were in flight than `limits.requests`.",
            Self::Internal => "A fault of the gateway; nothing was forwarded. The process log has the details.",
        }
    }

    /// What to do about it, for operators.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::BadTarget => "Send the target in its canonical form.",
            Self::BadHeader => "Send one well-formed Host that agrees with the target.",
            Self::MethodForbidden => "Use another method.",
            Self::NoApplication => "Check the host name, or add it to `hosts` of an application.",
            Self::CorsRefused => "Add what is missing to `cors` if that page may call.",
            Self::NoRoute => "Add a route; what is not mapped is denied.",
            Self::NoRouteMethod => "Add the method to a route, or use one that `Allow` names.",
            Self::NoToken => "Send `Authorization: Bearer TOKEN`, or sign in.",
            Self::MalformedCredentials => "Send exactly one token, in one place.",
            Self::CrossSite => {
                "Call from the application's own origin, or list the page's in `cors` with `credentials`."
            }
            Self::InvalidToken => "Get a new token for this application; see the subject in the log.",
            Self::KeysUnavailable => "Check that the gateway reaches the issuer; /readyz names it.",
            Self::GateTenant => "Add the tenant to the gate if it may come in.",
            Self::GateAudience => "Request a token for this application.",
            Self::GateClient => "Add the client to the gate if it may be used.",
            Self::GateCaller => "Sign in as what the gate admits, or change `gate.callers`.",
            Self::GateAppRole => "Assign the user or group to the app role in Entra ID.",
            Self::PrincipalUnknown => "Add the principal to the grants document.",
            Self::PrincipalInactive => "Set its `status` to active.",
            Self::PrincipalDeleted => "Restore the principal.",
            Self::PrincipalReserved => "Use a personal account.",
            Self::GroupsUnknown => {
                "Let the token list only groups assigned to the application, or list the principal's groups in the grants document."
            }
            Self::ScopeMissing => "Send the parameter or header that the route reads, or add the object.",
            Self::ScopeUnknown => "Check the value, or add the node.",
            Self::ScopeAmbiguous => "Name one place.",
            Self::ScopeConflict => "Name the same place everywhere.",
            Self::FlagMissing => "Give the flag to the principal or one of its groups.",
            Self::FlagForbids => "Remove the flag.",
            Self::RightMissing => "Grant the right there or above.",
            Self::RightLevel => "Grant the higher level.",
            Self::RightDenied => "Remove the denial.",
            Self::Requirement => "See the route's `require`.",
            Self::BadBody => "Send a complete body.",
            Self::BodyTimeout => "Send the body faster.",
            Self::UpstreamUnreachable => "Check the application and `upstreams` in routes.yaml.",
            Self::UpstreamTimeout => "Check the application, or raise the limit.",
            Self::UpstreamInvalid => "Check the application.",
            Self::Overloaded => "Try again; raise the limit or add capacity.",
            Self::Internal => "Report it with the request id.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_listed_once() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason:?}");
        }
        assert_eq!(Reason::ALL.last(), Some(&Reason::Internal));
    }
}
