//! A policy world as plain data: names are texts, hierarchies are parent pointers, nothing is resolved. What the
//! generator makes, the writer writes down as the three files, and the evaluator judges by.

/// A whole world: one domain, one application on one host.
#[derive(Clone, Debug)]
pub struct World {
    pub strategy: Strategy,
    /// Whether the grants document carries a catalogue of all rights.
    pub catalogue: bool,
    /// Nodes and what they lie below.
    pub forest: Vec<(String, String)>,
    /// Kind, value, node.
    pub aliases: Vec<(String, String, String)>,
    pub implies: Vec<(String, Vec<String>)>,
    pub roles: Vec<Role>,
    pub groups: Vec<Group>,
    pub principals: Vec<Principal>,
    /// Values of a token's `groups`, and the groups that they stand for.
    pub token_groups: Vec<(String, String)>,
    /// The same for its `roles`.
    pub token_roles: Vec<(String, String)>,
    /// `KIND:KEY` and attributes.
    pub objects: Vec<(String, Vec<(String, Value)>)>,
    pub settings: Vec<(String, Value)>,
    pub gate: Gate,
    pub definitions: Vec<Definition>,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug)]
pub struct Strategy {
    pub flat: bool,
    pub nearest: bool,
    pub across: Across,
    pub boundary: bool,
    pub caps: Vec<(String, Level)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    DenyOverrides,
    DenyIndividualFirst,
    IndividualFirst,
    MostRestrictive,
    MostPermissive,
}

impl Across {
    pub const ALL: [Self; 5] = [
        Self::DenyOverrides,
        Self::DenyIndividualFirst,
        Self::IndividualFirst,
        Self::MostRestrictive,
        Self::MostPermissive,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DenyOverrides => "deny_overrides",
            Self::DenyIndividualFirst => "deny_individual_first",
            Self::IndividualFirst => "individual_first",
            Self::MostRestrictive => "most_restrictive",
            Self::MostPermissive => "most_permissive",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Read,
    Write,
    Delete,
}

impl Level {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow(Level),
    Deny,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Value>),
}

#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub reserved: bool,
    pub includes: Vec<String>,
    pub without: Vec<String>,
    pub rights: Vec<(String, Effect)>,
}

#[derive(Clone, Debug)]
pub struct Grant {
    pub given: Given,
    /// Nodes; none stands for the root.
    pub at: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Given {
    Role(String),
    Rights(Vec<(String, Effect)>),
}

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub parents: Vec<String>,
    pub flags: Vec<String>,
    pub inactive: bool,
    pub grants: Vec<Grant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    Inactive,
    Deleted,
    Reserved,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
            Self::Reserved => "reserved",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Principal {
    pub id: String,
    /// The tenant's name.
    pub tenant: String,
    pub oid: String,
    pub status: Status,
    pub flags: Vec<String>,
    pub groups: Vec<String>,
    pub boundary: Option<Vec<String>>,
    pub grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
pub struct Gate {
    pub tenants: Vec<String>,
    pub audiences: Vec<String>,
    pub app_roles: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Definition {
    pub name: String,
    /// In the application, or for all applications of the file.
    pub of_application: bool,
    pub term: Term,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub id: String,
    pub pattern: Vec<Segment>,
    pub methods: Vec<String>,
    pub levels: Vec<(String, Level)>,
    /// Kind, and the path variable with the key.
    pub object: Option<(String, String)>,
    pub scopes: Vec<Scope>,
    pub access: Access,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    Variable(String),
    Rest(String),
}

#[derive(Clone, Debug)]
pub enum Access {
    Public,
    GateOnly,
    Require(Term),
}

#[derive(Clone, Debug)]
pub struct Scope {
    pub name: String,
    pub origin: Origin,
    pub missing: Missing,
}

#[derive(Clone, Debug)]
pub enum Origin {
    Node(String),
    /// Places, and the kind of node that their values name.
    From(Vec<Reference>, String),
}

#[derive(Clone, Debug)]
pub enum Missing {
    Deny,
    Skip,
    SameAs(String),
    Node(String),
    When(Condition, Box<Missing>, Box<Missing>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Path(String),
    Query(String),
    Form(String),
    Header(String),
    Object(String),
    Setting(String),
    Count(String),
    PrincipalId,
}

#[derive(Clone, Debug)]
pub enum Operand {
    Of(Reference),
    Constant(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    In,
    NotIn,
    Lt,
}

impl Comparison {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Lt => "lt",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Level(Level),
    ByMethod,
}

#[derive(Clone, Debug)]
pub enum Term {
    All(Vec<Term>),
    Any(Vec<Term>),
    /// The name may hold one `{variable}`; `at` is a scope of the route or `root`, `below` is `/*`.
    Right {
        name: String,
        asked: Asked,
        at: Option<String>,
        below: bool,
    },
    UnlessDenied {
        name: String,
        at: Option<String>,
    },
    Defined(String),
    Flag(String),
    NotFlag(String),
    When(Condition, Box<Term>, Option<Box<Term>>),
    Holds(Condition, String),
    Compare(Comparison, Operand, Operand, String),
}

#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Setting(String, Test),
}

#[derive(Clone, Debug)]
pub enum Test {
    True,
    Is(Value),
    Bit(i64),
    BitOf(Reference, Vec<(String, i64)>),
}

/// A request as its sender means it: nothing is encoded yet.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    /// Without any field there is no body.
    pub form: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub caller: Option<Caller>,
    /// Whether values of the query and the form are written percent-encoded throughout.
    pub encoded: bool,
}

/// Who asks, by the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    pub tenant: String,
    pub oid: String,
    pub audience: String,
    pub roles: Vec<String>,
    pub groups: Claimed,
}

/// The groups of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claimed {
    Listed(Vec<String>),
    /// Too many to be listed.
    Unknown,
}
