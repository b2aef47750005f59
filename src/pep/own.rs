//! What the gateway answers itself, without the backend: CORS preflights (the Fetch standard) and the metadata of a
//! protected resource (RFC 9728), without a token; and an OPTIONS that may go no further.

use http::Method;
use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use http::request::Parts;

use super::Refusal;
use crate::model::Reason;
use crate::route::host::Host;
use crate::route::{Application, Cors, METADATA_PATH};
use crate::token::{IssuerKind, Issuers};

/// What the gateway itself answers to a request that it forwards to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes to a preflight; what exactly is allowed stands in `cors` of the application.
    Preflight,
    /// What clients without a token want to know.
    Metadata(Metadata),
    /// That the same thing is to be asked for at this URL of HTTPS.
    Redirect(Box<str>),
    /// An OPTIONS that may go no further than here (RFC 9110 section 7.6.2), with the methods of its path. It was
    /// permitted like one that goes on.
    Options(Box<str>),
}

impl Answer {
    /// The word in logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Metadata(_) => "resource_metadata",
            Self::Redirect(_) => "redirect_to_https",
            Self::Options(_) => "options",
        }
    }
}

/// The metadata of a protected resource (RFC 9728 section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `resource`.
    pub resource: Box<str>,
    /// `authorization_servers`; filled in by whoever knows the issuers.
    pub issuers: Vec<Box<str>>,
}

impl Metadata {
    /// Names the issuers of the tenants that may come in. Entra's two issuers of a tenant are one service under two
    /// names, so the newer stands for both.
    pub(super) fn name_issuers(&mut self, application: &Application, issuers: &Issuers) {
        let admitted = |tenant| application.gate.tenants.contains(tenant);
        let newer =
            |tenant| issuers.iter().any(|(_, other)| other.kind == IssuerKind::EntraV2 && other.tenant_id == tenant);
        let named = issuers.iter().filter(|(_, issuer)| {
            admitted(&issuer.tenant_id) && !(issuer.kind == IssuerKind::EntraV1 && newer(issuer.tenant_id))
        });
        self.issuers = named.map(|(_, issuer)| issuer.url.as_str().into()).collect();
    }
}

/// The gateway's own answer to a request, if it has one.
///
/// # Errors
/// [`Reason::CorsRefused`] for a preflight that asks for more than `cors` admits.
pub(super) fn answer(application: &Application, host: &Host<'_>, head: &Parts) -> Result<Option<Answer>, Refusal> {
    if let Some(cors) = application.cors.as_ref().filter(|_| is_preflight(head)) {
        let preflight = check_preflight(cors, &head.headers).map(|()| Some(Answer::Preflight));
        return preflight.map_err(|subject| Refusal::about(Reason::CorsRefused, subject));
    }
    let asks = matches!(head.method, Method::GET | Method::HEAD) && head.uri.path() == METADATA_PATH;
    let metadata = || Answer::Metadata(Metadata { resource: resource(host).into(), issuers: Vec::new() });
    Ok((asks && application.resource_metadata.is_some()).then(metadata))
}

/// Where clients read what the application says of itself, if it does.
pub(super) fn metadata_url(application: &Application, host: &Host<'_>) -> Option<Box<str>> {
    application.resource_metadata.as_ref().map(|_| format!("{}{METADATA_PATH}", resource(host)).into())
}

/// The identifier of the protected resource: what stands before it may be anything, but its clients use TLS.
fn resource(host: &Host<'_>) -> String {
    match host.port {
        None | Some(80 | 443) => format!("https://{}", host.name),
        Some(port) => format!("https://{}:{port}", host.name),
    }
}

fn is_preflight(head: &Parts) -> bool {
    let has = |name: &HeaderName| head.headers.contains_key(name);
    head.method == Method::OPTIONS && has(&ORIGIN) && has(&ACCESS_CONTROL_REQUEST_METHOD)
}

/// Says what of a preflight is not admitted. The path plays no part, so that strangers learn no routes.
fn check_preflight(cors: &Cors, headers: &HeaderMap) -> Result<(), &'static str> {
    let one = |name: &HeaderName, admitted: &dyn Fn(&[u8]) -> bool| {
        let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        values.next().is_some_and(admitted) && values.next().is_none()
    };
    if !one(&ORIGIN, &|origin| cors.admits(origin)) {
        return Err("origin");
    }
    if !one(&ACCESS_CONTROL_REQUEST_METHOD, &|method| cors.admits_method(method)) {
        return Err("method");
    }
    let lines = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    if names.all(|name| name.is_empty() || cors.admits_header(name)) { Ok(()) } else { Err("headers") }
}
