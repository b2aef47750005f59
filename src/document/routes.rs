//! `routes.yaml` as written: applications, their routes, and what each route requires.

use std::fmt;

use super::entrance::{BackendDocument, CallersDocument, CorsDocument, MetadataDocument, TokenPlaceDocument};
use super::upstream::UpstreamDocument;
use super::{Entries, Literal, Located};
use crate::diag::Place;
use crate::model::Mode;

/// The whole file.
#[derive(Clone, Debug, Default)]
pub struct RoutesDocument {
    /// Deployment flags that requirements may ask for; seen by the applications of this file only.
    pub settings: Entries<Literal>,
    /// Backends by name.
    pub upstreams: Vec<UpstreamDocument>,
    /// Named requirements for all applications of this file.
    pub define: Vec<Definition>,
    /// What is protected.
    pub applications: Vec<ApplicationDocument>,
    /// Requests with the decision that they must get.
    pub tests: Vec<TestDocument>,
}

/// A named requirement.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name.
    pub name: Located<String>,
    /// What it stands for.
    pub requirement: Located<Term>,
}

/// One entry of `applications`.
#[derive(Clone, Debug)]
pub struct ApplicationDocument {
    /// The name, for logs and metrics.
    pub name: Located<String>,
    /// Exact hosts or `*.suffix`; at least one.
    pub hosts: Vec<Located<String>>,
    /// The grants document that decides.
    pub domain: Located<String>,
    /// Where permitted requests go.
    pub upstream: Located<String>,
    /// Who may come in at all.
    pub gate: GateDocument,
    /// Named requirements for this application.
    pub define: Vec<Definition>,
    /// The routes.
    pub routes: Vec<RouteDocument>,
    /// Whether the caller's `Authorization` goes on to the backend. Default: false.
    pub forward_authorization: bool,
    /// Header names with `_` or `.` that go on to the backend; all others of that kind are dropped.
    pub allow_headers: Vec<Located<String>>,
    /// Header names that never go on to the backend as clients write them, in any spelling.
    pub remove_headers: Vec<Located<String>>,
    /// Whether refusals tell clients the code with its subject (`full`) or without (`code`, the default).
    pub full_detail: bool,
    /// What the backend is told of the caller beside its name; each at most once. Default: nothing.
    pub identity_headers: Vec<IdentityHeader>,
    /// Where tokens are looked for. None written: in `Authorization` only.
    pub token: Vec<TokenPlaceDocument>,
    /// Which web pages of other origins may call it. Default: the gateway says nothing about that.
    pub cors: Option<CorsDocument>,
    /// Whether the gateway answers for the resource's metadata. Default: it does not.
    pub resource_metadata: Option<MetadataDocument>,
    /// How its backend reads paths. Default: strictly.
    pub backend: BackendDocument,
    /// Whether WebSockets pass, where a route does not say otherwise. Default: true.
    pub websocket: bool,
    /// Whether a stream goes on after its token has expired (`keep`) or ends then (`close`, the default).
    pub keeps_expired: bool,
    /// Whether what is decided is done, where a route does not say otherwise. Default: it is.
    pub mode: Option<Located<Mode>>,
    /// `connection_auth`, where it is on: `Authorization` of NTLM and Negotiate goes on to the backend. Default: off.
    pub connection_auth: Option<Place>,
}

/// One word of `identity_headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityHeader {
    /// `groups`: `X-Auth-Request-Groups`.
    Groups,
    /// `scopes`: `X-Portcullis-Scopes`.
    Scopes,
    /// `assertion`: `X-Portcullis-Assertion`.
    Assertion,
    /// `client_certificate`: `Client-Cert` (RFC 9440).
    ClientCertificate,
}

/// `gate` of an application.
#[derive(Clone, Debug)]
pub struct GateDocument {
    /// Where it stands.
    pub place: Place,
    /// Names of tenants; at least one.
    pub tenants: Vec<Located<String>>,
    /// Values of `aud`, one of which the token must carry; at least one.
    pub audiences: Vec<Located<String>>,
    /// Clients (`azp`, `appid`) with which callers may come in. Empty: with any.
    pub clients: Vec<Located<String>>,
    /// Whether only people, or only applications, may come in. Default: both.
    pub callers: Option<Located<CallersDocument>>,
    /// App roles, one of which the token must carry. Empty: none is asked for.
    pub app_roles: Vec<Located<String>>,
    /// Names of certificates, one of which the client's own must have. Empty: none is asked for.
    pub client_certificates: Vec<Located<String>>,
}

/// One entry of `routes`.
#[derive(Clone, Debug)]
pub struct RouteDocument {
    /// The id, unique in the application; logs and metrics name it.
    pub id: Located<String>,
    /// Methods in upper case; at least one.
    pub methods: Vec<Located<String>>,
    /// The path pattern.
    pub path: Located<String>,
    /// The level that `by_method` means for a method, in place of the table's.
    pub levels: Entries<Located<String>>,
    /// The object whose attributes scopes and comparisons may use.
    pub object: Option<ObjectDocument>,
    /// Named scopes.
    pub scopes: Vec<ScopeDocument>,
    /// Whether WebSockets pass. Default: as the application says.
    pub websocket: Option<bool>,
    /// What the route asks.
    pub access: AccessDocument,
    /// Trailer fields that pass, in lower case. Default: none.
    pub trailers: Vec<Located<String>>,
    /// Whether what is decided is done. Default: as the application says.
    pub mode: Option<Located<Mode>>,
}

/// Exactly one of `public: true`, `gate_only: true`, `require`.
#[derive(Clone, Debug)]
pub enum AccessDocument {
    /// Anybody, without a token.
    Public,
    /// Whoever passes the gate, known principal or not.
    GateOnly,
    /// Whoever meets the requirement.
    Require(Located<Term>),
}

/// `object` of a route.
#[derive(Clone, Debug)]
pub struct ObjectDocument {
    /// The kind: objects are named `KIND:KEY` in the grants document.
    pub kind: Located<String>,
    /// `path.VARIABLE`, whose value is the key.
    pub key: Located<String>,
}

/// One entry of `scopes` of a route.
#[derive(Clone, Debug)]
pub struct ScopeDocument {
    /// The name; `main` is what rights without `@SCOPE` are asked at.
    pub name: Located<String>,
    /// Where its value stands.
    pub origin: OriginDocument,
    /// What holds when no value is there. Default: [`MissingDocument::Deny`].
    pub missing: Located<MissingDocument>,
}

/// Where the value of a scope stands.
#[derive(Clone, Debug)]
pub enum OriginDocument {
    /// `from` and `kind`: places in the request (`path.x`, `query.x`, `form.x`, `header.x`, `object.x`), of which all that are
    /// present must agree, and the kind of node or alias that the value names.
    Request {
        /// The places, at least one.
        from: Vec<Located<String>>,
        /// The kind.
        kind: Located<String>,
    },
    /// `node`: always this one.
    Node(Located<String>),
}

/// `missing` of a scope.
#[derive(Clone, Debug, PartialEq)]
pub enum MissingDocument {
    /// The request is denied.
    Deny,
    /// The scope stays empty; a right asked at it is denied.
    Skip,
    /// The value of another scope of the route.
    SameAs(Located<String>),
    /// This node.
    Node(Located<String>),
    /// One of these, by a condition on settings.
    When {
        /// The condition.
        condition: Box<Located<Condition>>,
        /// When it holds.
        then: Box<Located<MissingDocument>>,
        /// When it does not.
        otherwise: Box<Located<MissingDocument>>,
    },
}

/// A requirement or one term of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A list: all must hold, left to right.
    All(Vec<Located<Term>>),
    /// `any`: one must hold, tried left to right.
    Any(Vec<Located<Term>>),
    /// A right as written (`RIGHT[:LEVEL] [@SCOPE[/*]]`), or the name of a definition.
    Right(String),
    /// `flag`: the principal has it.
    Flag(String),
    /// `not_flag`: the principal does not have it.
    NotFlag(String),
    /// `unless_denied`: the right (`RIGHT [@SCOPE]`) is not denied.
    UnlessDenied(String),
    /// `when`, `then`, `else`: asked only if the condition holds, or does not.
    When {
        /// The condition.
        condition: Located<Condition>,
        /// Asked when it holds.
        then: Box<Located<Term>>,
        /// Asked when it does not.
        otherwise: Option<Box<Located<Term>>>,
    },
    /// A condition that must hold.
    Condition {
        /// The condition.
        condition: Located<Condition>,
        /// The code of the denial when it does not.
        reason: Located<String>,
    },
    /// `eq`, `in`, `not_in`, `lt`: a comparison that must hold.
    Compare {
        /// Which.
        comparison: Comparison,
        /// The first operand: a reference (`path.x`, `setting.x` ...) or a literal.
        left: Located<Literal>,
        /// The second.
        right: Located<Literal>,
        /// The code of the denial when it does not hold.
        reason: Located<String>,
    },
}

/// How two operands are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Both are the same.
    Eq,
    /// The first is an element of the second.
    In,
    /// The first is no element of the second.
    NotIn,
    /// The first is a smaller number than the second.
    Lt,
}

/// A condition on settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A list: all must hold.
    All(Vec<Located<Condition>>),
    /// `any`: one must hold.
    Any(Vec<Located<Condition>>),
    /// `setting`, with or without a test.
    Setting {
        /// The name.
        name: Located<String>,
        /// What is asked of its value.
        test: SettingTest,
    },
}

/// What a condition asks of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingTest {
    /// It is `true`.
    True,
    /// `is`: it equals this.
    Is(Located<Literal>),
    /// `bit: N`: it has this bit (a power of two).
    Bit(Located<i64>),
    /// `bit: {of, map}`: it has the bit that the operand's value names.
    BitOf {
        /// The operand, such as `object.kind`.
        of: Located<String>,
        /// Its values and their bits.
        map: Entries<Located<i64>>,
    },
}

/// One entry of `tests`.
#[derive(Clone, Debug)]
pub struct TestDocument {
    /// Where the entry stands.
    pub place: Place,
    /// The id.
    pub id: Located<String>,
    /// The principal's id; without it the request carries no token.
    pub principal: Option<Located<String>>,
    /// `METHOD URL`.
    pub request: Located<String>,
    /// Headers of the request.
    pub headers: Entries<Located<String>>,
    /// Fields of the form in its body; without any it has no body.
    pub form: Entries<Located<String>>,
    /// Claims of the token in place of the ordinary ones (`tenant`, `aud`, `roles`, `client`, `class`).
    pub token: Entries<Located<Literal>>,
    /// Settings in place of the file's.
    pub settings: Entries<Literal>,
    /// What a database would say of objects that are looked up: `KIND:KEY` and attributes.
    pub objects: Entries<Entries<Literal>>,
    /// Whether the request must be allowed.
    pub allow: bool,
    /// How the code of the denial must begin.
    pub reason: Option<Located<String>>,
}

impl fmt::Display for Term {
    /// The term in short, close to how it is written; lists by what is in them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(list) if list.is_empty() => out.write_str("nothing"),
            Self::All(_) => out.write_str("all of"),
            Self::Any(_) => out.write_str("any of"),
            Self::Right(text) => out.write_str(text),
            Self::Flag(name) => write!(out, "flag {name}"),
            Self::NotFlag(name) => write!(out, "not flag {name}"),
            Self::UnlessDenied(text) => write!(out, "unless denied {text}"),
            Self::When { condition, .. } => write!(out, "when {}", condition.value),
            Self::Condition { condition, .. } => write!(out, "{}", condition.value),
            Self::Compare { comparison, left, right, .. } => {
                let word = match comparison {
                    Comparison::Eq => "eq",
                    Comparison::In => "in",
                    Comparison::NotIn => "not_in",
                    Comparison::Lt => "lt",
                };
                write!(out, "{} {word} {}", left.value, right.value)
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = |out: &mut fmt::Formatter<'_>, list: &[Located<Self>], word: &str| {
            for (number, condition) in list.iter().enumerate() {
                if number > 0 {
                    write!(out, " {word} ")?;
                }
                write!(out, "{}", condition.value)?;
            }
            Ok(())
        };
        match self {
            Self::All(list) => several(out, list, "and"),
            Self::Any(list) => several(out, list, "or"),
            Self::Setting { name, test } => match test {
                SettingTest::True => write!(out, "setting {}", name.value),
                SettingTest::Is(value) => write!(out, "setting {} is {}", name.value, value.value),
                SettingTest::Bit(bit) => write!(out, "setting {} has bit {}", name.value, bit.value),
                SettingTest::BitOf { of, .. } => write!(out, "setting {} has the bit of {}", name.value, of.value),
            },
        }
    }
}
