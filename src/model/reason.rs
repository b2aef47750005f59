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
    /// No route of the application has this path.
    NoRoute,
    /// A route has this path, but not with this method.
    NoRouteMethod,
    /// No bearer token came with the request.
    NoToken,
    /// Credentials came twice or in a form that cannot be read.
    MalformedCredentials,
    /// The token is not one that this gateway believes.
    InvalidToken,
    /// The keys of the token's issuer have not been fetched yet, or are too old.
    KeysUnavailable,
    /// The tenant may not come in to this application.
    GateTenant,
    /// The token is meant for another application.
    GateAudience,
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
