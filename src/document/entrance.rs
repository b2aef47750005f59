//! The entrance of an application as written: where its callers' tokens stand, which web pages may call it, what it
//! says of itself to clients that have no token yet, and how its backend reads paths.

use std::time::Duration;

use super::Located;
use crate::diag::Place;
use crate::model::Dialect;

/// One entry of `token` of an application.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenPlaceDocument {
    /// `bearer`: the header `Authorization` (RFC 6750 section 2.1).
    Bearer(Place),
    /// `{cookie: NAME}`.
    Cookie(Located<String>),
    /// `{header: NAME}`: of trusted proxies only.
    Header(Located<String>),
}

/// `cors` of an application: which web pages of other origins may call it.
#[derive(Clone, Debug)]
pub struct CorsDocument {
    /// Where it stands.
    pub place: Place,
    /// Origins (`https://HOST[:PORT]`), or `*` alone; at least one.
    pub origins: Vec<Located<String>>,
    /// Methods that a preflight may ask for. Default: all that routes of the application have.
    pub methods: Option<Vec<Located<String>>>,
    /// Request headers that a preflight may ask for. Default: `Authorization` and `Content-Type`.
    pub headers: Option<Vec<Located<String>>>,
    /// Response headers that pages may read beside those that every page may.
    pub expose: Vec<Located<String>>,
    /// Whether pages may call with cookies. Default: false.
    pub credentials: Located<bool>,
    /// How long browsers may remember a preflight. Default: 10 minutes.
    pub max_age: Duration,
}

/// `resource_metadata` of an application that has it (RFC 9728).
#[derive(Clone, Debug)]
pub struct MetadataDocument {
    /// Where it stands.
    pub place: Place,
    /// `scopes_supported`. Empty: none are named.
    pub scopes: Vec<Located<String>>,
}

/// `backend` of an application: how it reads paths. What is not written is as the dialect has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendDocument {
    /// The kind of server.
    pub dialect: Dialect,
    /// Whether `%2F` may stand in a segment.
    pub encoded_slash: Option<bool>,
    /// Whether `;` may stand in a segment.
    pub semicolon: Option<bool>,
    /// Whether letter case makes no difference to literals of routes.
    pub case_insensitive: Option<bool>,
}

/// `callers` of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallersDocument {
    /// `users`: people, through a client that acts for them.
    Users,
    /// `apps`: applications as themselves.
    Apps,
}
