//! Every way the gateway says no: the one closed list of reasons, each with its status, stable code and texts.
//!
//! `docs/reasons.md` is made from this file.

/// Declares the reasons, each with all that is to be said of it, so that none can be left half finished.
macro_rules! reasons {
    ($(
        $(#[$about:meta])*
        $reason:ident: $code:literal, $status:literal, $header:literal,
        title: $title:literal,
        cause: $cause:literal,
        remedy: $remedy:literal;
    )*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$about])* $reason,)*
        }

        impl Reason {
            /// Every reason, in the order in which a request meets them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The stable code for logs, metrics and clients. [`Reason::Requirement`] is replaced by the configured code.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$reason => $code,)*
                }
            }

            /// The HTTP status (RFC 9110 section 15).
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$reason => $status,)*
                }
            }

            /// The header field that the status calls for, or nothing.
            pub const fn header(self) -> &'static str {
                match self {
                    $(Self::$reason => $header,)*
                }
            }

            /// What clients read: true, and no help to an attacker.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$reason => $title,)*
                }
            }

            /// What it means, for operators.
            pub const fn cause(self) -> &'static str {
                match self {
                    $(Self::$reason => $cause,)*
                }
            }

            /// What to do about it, for operators.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$reason => $remedy,)*
                }
            }
        }
    };
}

reasons! {
    /// The target, path or query has a form that two readers could read differently.
    BadTarget: "bad_target", 400, "",
        title: "The request target is not acceptable",
        cause: "The path, query or target form could be read differently by two readers (dot segments, empty segments, encoded separators, parameters of segments, scripts with path info, bad or needless percent-encoding, a scheme that is not the connection's, misspelt scope parameters, a parameter that names another method); the subject says which.",
        remedy: "Send the target in its canonical form, or declare `backend` of the application if its server needs such paths.";
    /// The path and query are longer than this gateway reads.
    TargetTooLong: "target_too_long", 414, "",
        title: "The request target is too long",
        cause: "Path and query together have more bytes than `limits.target_bytes`.",
        remedy: "Send less in the URL, or raise the limit.";
    /// The head has more fields than this gateway reads.
    HeadTooLarge: "head_too_large", 431, "",
        title: "The request has too many header fields",
        cause: "The head of an HTTP/2 request has more fields than `limits.headers`. Heads over `limits.head_bytes`, and all such heads of HTTP/1.1, are answered 431 without a body before they become a request; `portcullis_heads_rejected_total` counts them.",
        remedy: "Send fewer fields, or raise the limit.";
    /// A header has such a form.
    BadHeader: "bad_header", 400, "",
        title: "A request header is not acceptable",
        cause: "Host is missing, repeated or malformed, or disagrees with the target; or a field that frames the message (`Content-Length`, `Transfer-Encoding`, the end of a line) has a form that two readers could read differently; or a value of HTTP/2 begins or ends with a blank; or a cookie has the name of a parameter that the route's rules read, and the backend's `dialect` lets it take that one's place (`cookie_overrides_query`); the subject says which.",
        remedy: "Send one well-formed Host that agrees with the target, and one framing in its plain form; give the cookie another name.";
    /// The request expects something that the gateway does not do.
    ExpectationFailed: "expectation_failed", 417, "",
        title: "The expectation cannot be met",
        cause: "`Expect` asks for something other than `100-continue`, or asks twice.",
        remedy: "Send the request without `Expect`.";
    /// The request has passed gateways of this kind too often.
    LoopDetected: "loop_detected", 508, "",
        title: "The request goes round in a circle",
        cause: "`Via` names too many gateways of this kind: an upstream of this gateway leads back to it.",
        remedy: "Check where `upstreams` lead.";
    /// A client asks for a WebSocket in a form that is none.
    BadHandshake: "bad_handshake", 400, "",
        title: "The WebSocket handshake is malformed",
        cause: "The request asks for a WebSocket, but not as RFC 6455 section 4.1 or RFC 8441 has it; the subject says what is wrong: `method`, `upgrade`, `connection`, `key`, `version` or `body`.",
        remedy: "Use a client that speaks version 13 of the protocol, and let no proxy before the gateway change the handshake.";
    /// The method is one that the gateway never forwards (CONNECT, TRACE).
    MethodForbidden: "method_forbidden", 405, "Allow",
        title: "The method is not allowed",
        cause: "CONNECT and TRACE are never forwarded. With the subject `websocket`, a WebSocket was asked for (over HTTP/2, or running when the policy changed) where `websocket` is `false`.",
        remedy: "Use another method.";
    /// No application has this host.
    NoApplication: "no_application", 421, "",
        title: "This host is not served here",
        cause: "No application in routes.yaml has the request's host.",
        remedy: "Check the host name, or add it to `hosts` of an application.";
    /// The connection was made for a host of another application.
    Misdirected: "misdirected_request", 421, "",
        title: "This host must be asked on a connection of its own",
        cause: "The TLS handshake asked for a host (SNI, the subject) that belongs to another application than the request's host.",
        remedy: "Open a connection for the host; a proxy in between must not share one among hosts.";
    /// A web page of another origin may not call this application so.
    CorsRefused: "cors_refused", 403, "",
        title: "Web pages of this origin may not call the application so",
        cause: "A CORS preflight whose origin, method or headers (the subject says which) are not in `cors`.",
        remedy: "Add what is missing to `cors` if that page may call.";
    /// No route of the application has this path.
    NoRoute: "no_route", 404, "",
        title: "There is no such resource",
        cause: "No route of the application matches the path.",
        remedy: "Add a route; what is not mapped is denied.";
    /// A route has this path, but not with this method.
    NoRouteMethod: "no_route", 405, "Allow",
        title: "The method is not allowed for this resource",
        cause: "A route matches the path (the subject is `method`), but none with this method.",
        remedy: "Add the method to a route, or use one that `Allow` names.";
    /// No bearer token came with the request.
    NoToken: "no_token", 401, "WWW-Authenticate",
        title: "Authentication is required",
        cause: "No token in a place where the application looks for one (other credentials do not count).",
        remedy: "Send `Authorization: Bearer TOKEN`, or sign in.";
    /// Credentials came twice or in a form that cannot be read.
    MalformedCredentials: "malformed_credentials", 400, "WWW-Authenticate",
        title: "The credentials are malformed",
        cause: "A token came more than once or in two places, or in a form that cannot be read.",
        remedy: "Send exactly one token, in one place.";
    /// A token in a cookie came with a request that another site may have made.
    CrossSite: "cross_site", 403, "",
        title: "The request may come from another site",
        cause: "The token is in a cookie, the method is not a safe one, and neither `Sec-Fetch-Site` nor `Origin` shows that the application's own page asks.",
        remedy: "Call from the application's own origin, or list the page's in `cors` with `credentials`.";
    /// The token is not one that this gateway believes.
    InvalidToken: "invalid_token", 401, "WWW-Authenticate",
        title: "The access token is invalid or expired",
        cause: "The token failed a check; the subject says which (log only).",
        remedy: "Get a new token for this application; see the subject in the log.";
    /// The keys of the token's issuer have not been fetched yet, or are too old.
    KeysUnavailable: "keys_unavailable", 503, "Retry-After",
        title: "Tokens cannot be verified at the moment",
        cause: "The signing keys of the token's issuer have not been fetched, or are older than `tokens.keep`.",
        remedy: "Check that the gateway reaches the issuer; /readyz names it.";
    /// The tenant may not come in to this application.
    GateTenant: "gate_tenant", 403, "WWW-Authenticate",
        title: "Your organisation may not use this application",
        cause: "The token's tenant is not among `gate.tenants` of the application.",
        remedy: "Add the tenant to the gate if it may come in.";
    /// The token is meant for another application.
    GateAudience: "gate_audience", 403, "WWW-Authenticate",
        title: "The token is not meant for this application",
        cause: "None of the token's audiences is among `gate.audiences`.",
        remedy: "Request a token for this application.";
    /// The client that got the token may not be used for this application.
    GateClient: "gate_client", 403, "WWW-Authenticate",
        title: "This client may not be used for this application",
        cause: "The token's client (`azp` or `appid`, the subject) is not among `gate.clients`.",
        remedy: "Add the client to the gate if it may be used.";
    /// People or applications, whichever of the two the token speaks for, may not come in to this application.
    GateCaller: "gate_caller", 403, "WWW-Authenticate",
        title: "This kind of account may not use this application",
        cause: "The token speaks for a user or an app (the subject), and `gate.callers` says the other.",
        remedy: "Sign in as what the gate admits, or change `gate.callers`.";
    /// The token lacks the app role that the application asks for.
    GateAppRole: "gate_app_role", 403, "WWW-Authenticate",
        title: "You are not assigned to this application",
        cause: "The token carries none of `gate.app_roles`.",
        remedy: "Assign the user or group to the app role in Entra ID.";
    /// The client's certificate is not one that the application asks for.
    GateCertificate: "gate_certificate", 403, "",
        title: "Your certificate may not be used for this application",
        cause: "None of the names of the client's TLS certificate (the subject; `none` without one, `expired` where it ended since the handshake) is among `gate.client_certificates`.",
        remedy: "Connect with such a certificate, or add the name to the gate as the log writes it.";
    /// Nobody with this tenant and object id is known.
    PrincipalUnknown: "principal_unknown", 403, "WWW-Authenticate",
        title: "You are not known to this application",
        cause: "No principal of the domain has the token's tenant and object id.",
        remedy: "Add the principal to the grants document.";
    /// Nobody is known because the database has not confirmed for too long who holds what.
    GrantsStale: "grants_stale", 503, "Retry-After",
        title: "Permissions cannot be determined at present",
        cause: "The rows of the database that feeds the domain are older than `max_staleness`, and `on_stale` is `deny`.",
        remedy: "See to the database and the way to it; `/status` says why it gives no answer.";
    /// The account, or a group of it, is inactive.
    PrincipalInactive: "principal_inactive", 403, "WWW-Authenticate",
        title: "Your account is inactive",
        cause: "The principal, or a group of it, is inactive.",
        remedy: "Set its `status` to active.";
    /// The account is deleted.
    PrincipalDeleted: "principal_deleted", 403, "WWW-Authenticate",
        title: "Your account is deleted",
        cause: "The principal is deleted.",
        remedy: "Restore the principal.";
    /// The account is the system's own and never a caller.
    PrincipalReserved: "principal_reserved", 403, "WWW-Authenticate",
        title: "This account cannot be used",
        cause: "The principal is reserved for the system.",
        remedy: "Use a personal account.";
    /// The token names none of its many groups, and one of them could forbid this.
    GroupsUnknown: "groups_unknown", 403, "WWW-Authenticate",
        title: "Your group memberships cannot be determined",
        cause: "The principal has too many groups for its token to list, and a group of `token_groups` may take rights away.",
        remedy: "Let the token list only groups assigned to the application, or list the principal's groups in the grants document.";
    /// The body is not the form that the route reads.
    FormType: "form_type", 415, "",
        title: "The body must be a form",
        cause: "The route reads fields of a form, and the body is none that it reads: the subject says whether by `content_type`, `charset` or `content_encoding`.",
        remedy: "Send `application/x-www-form-urlencoded` in UTF-8, not compressed.";
    /// The form is larger than the gateway reads.
    FormTooLarge: "form_too_large", 413, "",
        title: "The form is too large",
        cause: "The route reads fields of a form, and the body is longer than `limits.form_bytes`.",
        remedy: "Send less, or raise the limit.";
    /// The form could be read in two ways.
    BadForm: "bad_form", 400, "",
        title: "The form is not acceptable",
        cause: "The route reads fields of a form, and the form could be read differently by two readers (bad encoding, misspelt scope fields, too many pairs, a field that names another method); the subject says which.",
        remedy: "Send each field once under its own name, encoded as browsers do.";
    /// A form could say something else than the query that was judged.
    FormOverridesQuery: "form_overrides_query", 415, "",
        title: "A form is not accepted here",
        cause: "The route's rules read the query, the backend's `dialect` lets fields of a body take its place, and the body may have fields (the subject says by what).",
        remedy: "Let the route read `form.NAME` as well, name the place in the path, or send another content type.";
    /// The object that the request is about is not known to the database that knows such objects.
    ObjectUnknown: "object_unknown", 403, "WWW-Authenticate",
        title: "What the request is about is not known",
        cause: "The query for the object (`objects` of `postgres`) gives no row for the key in the path; or the subject says that the row has another id (`id`), that the database takes the key for no key at all (`value`), or that it is one that is never asked for (`key`).",
        remedy: "Check the path, or add the row.";
    /// The database that knows the object gave no answer that counts.
    ObjectUnavailable: "object_unavailable", 503, "Retry-After",
        title: "What the request is about cannot be looked up at present",
        cause: "The object has to be looked up in a database, and that was not to be had: the subject says whether the answer was `late`, the database is `away`, the answer was `bad` (see the process log), too many wait (`busy`), or nobody may ask (`not_looked_up`: tools without a database, and a path in which too many objects could be read).",
        remedy: "See to the database and the way to it; `portcullis_object_lookups_total` counts what becomes of look-ups.";
    /// The request does not say in which scope it acts.
    ScopeMissing: "scope_missing", 403, "WWW-Authenticate",
        title: "The request does not say where it acts",
        cause: "No value for the scope that the subject names is in the request or known of the object.",
        remedy: "Send the parameter, field or header that the route reads, or add the object.";
    /// The scope that the request names does not exist.
    ScopeUnknown: "scope_unknown", 403, "WWW-Authenticate",
        title: "The place that the request names is not known",
        cause: "The value of the scope that the subject names is no node or alias.",
        remedy: "Check the value, or add the node.";
    /// The request names its scope in a way that can be read differently.
    ScopeAmbiguous: "scope_ambiguous", 403, "WWW-Authenticate",
        title: "The request names its place ambiguously",
        cause: "A scope header came twice or with a comma, or too many values were named.",
        remedy: "Name one place.";
    /// Two places of the request name different scopes.
    ScopeConflict: "scope_conflict", 403, "WWW-Authenticate",
        title: "The request names different places",
        cause: "Path, query, form, header and object do not all name the same scope.",
        remedy: "Name the same place everywhere.";
    /// The principal lacks a flag.
    FlagMissing: "flag_missing", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "The principal lacks the flag that the subject names.",
        remedy: "Give the flag to the principal or one of its groups.";
    /// The principal has a flag that forbids this.
    FlagForbids: "flag_forbids", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "The principal has the flag that the subject names, and the route forbids it.",
        remedy: "Remove the flag.";
    /// The principal does not hold the right here.
    RightMissing: "right_missing", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "The principal does not hold the right at the scope that the subject names.",
        remedy: "Grant the right there or above.";
    /// The principal holds the right here, but at a lower level.
    RightLevel: "right_level", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "The principal holds the right at a lower level than is asked (`held<asked`).",
        remedy: "Grant the higher level.";
    /// The right is denied to the principal here.
    RightDenied: "right_denied", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "A denial of the right covers the scope.",
        remedy: "Remove the denial.";
    /// A comparison or condition of the requirement does not hold; the requirement names the code.
    Requirement: "requirement", 403, "WWW-Authenticate",
        title: "You may not do this",
        cause: "A comparison or condition of the route does not hold. The code is the `reason` that routes.yaml gives it.",
        remedy: "See the route's `require`.";
    /// The request body broke off or has broken framing.
    BadBody: "bad_body", 400, "",
        title: "The request body is malformed",
        cause: "The framing of the request body broke, or the client went away before its end.",
        remedy: "Send a complete body.";
    /// The client sent its request body too slowly.
    BodyTimeout: "body_timeout", 408, "Connection",
        title: "The request body came too slowly",
        cause: "No piece of the body came within `timeouts.client_body`, or not the whole of a form that the route reads, or (subject `request`) its end not within `timeouts.request`.",
        remedy: "Send the body faster.";
    /// The whole of the request took too long.
    RequestTimeout: "request_timeout", 504, "",
        title: "The request took too long",
        cause: "The answer had not come to its end within `timeouts.request`.",
        remedy: "Ask for less at once, or raise the limit.";
    /// No server of the upstream could be reached.
    UpstreamUnreachable: "upstream_unreachable", 502, "",
        title: "The application cannot be reached",
        cause: "No server of the upstream accepted a connection; the log names the server.",
        remedy: "Check the application and `upstreams` in routes.yaml.";
    /// The upstream did not answer in time.
    UpstreamTimeout: "upstream_timeout", 504, "",
        title: "The application did not answer in time",
        cause: "No response head came within `timeouts.response`.",
        remedy: "Check the application, or raise the limit.";
    /// The upstream's answer is not HTTP that may be relayed.
    UpstreamInvalid: "upstream_invalid", 502, "",
        title: "The application gave an invalid answer",
        cause: "The upstream's answer is not HTTP, broke off, or switched protocols unasked.",
        remedy: "Check the application.";
    /// The client or the principal asks too often.
    RateLimited: "rate_limited", 429, "Retry-After",
        title: "Too many requests",
        cause: "More requests came than `rates.per_client` or `rates.per_principal` allows; the subject is `client` or `principal`. Or a client sent more bad tokens than `limits.failed_tokens_per_client`; the subject is `bad_tokens`.",
        remedy: "Ask again after `Retry-After` seconds; raise the rate or limit if it was meant to be allowed.";
    /// The decision cannot be logged.
    AuditUnavailable: "audit_unavailable", 503, "Retry-After",
        title: "The gateway cannot log what it does",
        cause: "`audit.required` is set, and the decision could not be logged: the disk is full, the file or the daemon is gone, or lines come faster than they are taken. Nothing was forwarded.",
        remedy: "Make the destination of `log.to` writable; the process log says what is wrong. The gateway goes on by itself.";
    /// The upstream has too many requests running and waiting.
    UpstreamOverloaded: "upstream_overloaded", 503, "Retry-After",
        title: "The application is busy",
        cause: "`limits.requests` of the upstream that the subject names were running, and none ended within `limits.queue_time`, or `limits.queue` were waiting.",
        remedy: "Try again; raise the limit or add servers.";
    /// The gateway has too many requests in flight.
    Overloaded: "overloaded", 503, "Retry-After",
        title: "The gateway is busy",
        cause: "More requests were in flight than `limits.requests`.",
        remedy: "Try again; raise the limit or add capacity.";
    /// The gateway failed; nothing was forwarded.
    Internal: "internal", 500, "",
        title: "The gateway failed",
        cause: "A fault of the gateway; nothing was forwarded. The process log has the details.",
        remedy: "Report it with the request id.";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn codes_are_snake_case_and_unique_but_for_a_route_without_the_method() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len() - 1, "{codes:?}");
    }
}
