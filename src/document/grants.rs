//! `grants.yaml` as written: one domain, its scopes and roles, and who holds what.

use super::people::PeopleFile;
use super::{Entries, Literal, Located};
use crate::diag::Place;
use crate::model::{Level, Status};

/// The whole file.
#[derive(Clone, Debug)]
pub struct GrantsDocument {
    /// The name that applications use.
    pub domain: Located<String>,
    /// How conflicts are settled.
    pub strategy: StrategyDocument,
    /// The catalogue of rights; where it stands, a name outside it is an error. An empty list is none.
    pub rights: Option<Vec<Located<String>>>,
    /// Scope nodes and their parents (`root` for the top).
    pub forest: Entries<Located<String>>,
    /// Other names of nodes, by kind: value and node.
    pub aliases: Entries<Entries<Located<String>>>,
    /// A right and the rights that it brings.
    pub implies: Entries<Vec<Located<String>>>,
    /// Roles.
    pub roles: Vec<RoleDocument>,
    /// Groups.
    pub groups: Vec<GroupDocument>,
    /// Principals.
    pub principals: Vec<PrincipalDocument>,
    /// Files with more of them.
    pub principals_from: Vec<PeopleFile>,
    /// Values of a token's `groups` and the groups that they make its principal a member of.
    pub token_groups: Entries<Located<String>>,
    /// The same for values of a token's `roles`.
    pub token_roles: Entries<Located<String>>,
    /// What the gateway knows of the backend's objects: `KIND:KEY` and attributes.
    pub objects: Entries<Entries<Literal>>,
    /// Kinds of objects of which a database knows instead, asked when a request needs one. They stand in gateway.yaml.
    pub looked_up: Vec<LookedUp>,
    /// Rights that nobody should hold together in one scope; decisions never look at them.
    pub conflicts: Vec<ConflictDocument>,
    /// What `lint` is to look for; decisions never look at it.
    pub lint: LintDocument,
}

/// A kind of objects that are looked up when a request needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// The kind.
    pub kind: String,
    /// The attributes that such an object may have.
    pub attributes: Vec<String>,
}

/// One entry of `conflicts`.
#[derive(Clone, Debug)]
pub struct ConflictDocument {
    /// Where the entry stands.
    pub place: Place,
    /// Two rights, `RIGHT[:LEVEL]`.
    pub rights: [Located<String>; 2],
    /// Why.
    pub reason: Option<Located<String>>,
}

/// `lint`.
#[derive(Clone, Debug, Default)]
pub struct LintDocument {
    /// Ids of principals that a vendor ships and that should not stay in use.
    pub vendor_accounts: Vec<Located<String>>,
    /// Rights (`RIGHT[:LEVEL]`) that somebody must hold.
    pub must_be_held: Vec<Located<String>>,
}

/// `strategy`.
#[derive(Clone, Debug, Default)]
pub struct StrategyDocument {
    /// `rights`. Default: tree.
    pub rights: RightsShape,
    /// `within`. Default: union.
    pub within: Within,
    /// `across`. Default: deny_overrides.
    pub across: Across,
    /// `boundary`: grants count only in the principal's assigned subtrees. Default: false.
    pub boundary: bool,
    /// `caps`: a flag and the highest level that remains to whoever has it.
    pub caps: Entries<Located<Level>>,
}

/// How names of rights relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RightsShape {
    /// Dotted names; a grant on a prefix covers everything below it, by whole segments.
    #[default]
    Tree,
    /// Opaque names; a dot is a letter like any other.
    Flat,
}

/// How the grants of one source that cover the same right and scope combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Within {
    /// All count: a denial wins, then the highest level.
    #[default]
    Union,
    /// Only the nearest counts: nearest scope first, then nearest right.
    Nearest,
}

/// How the results of several sources combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Across {
    /// A denial of any source wins, then the highest level.
    #[default]
    DenyOverrides,
    /// A denial of any source wins, then the principal's own level, then the highest of its groups.
    DenyIndividualFirst,
    /// The principal's own result wins, be it a denial; then its groups, of which a denial wins.
    IndividualFirst,
    /// The lowest result of those that say anything wins; a denial is the lowest.
    MostRestrictive,
    /// The highest result wins; a denial is the lowest.
    MostPermissive,
}

/// One entry of `roles`.
#[derive(Clone, Debug)]
pub struct RoleDocument {
    /// The name.
    pub name: Located<String>,
    /// A reserved role is the system's own: it spells out its rights, so that no other role can change it.
    pub reserved: bool,
    /// `sha256:` and the SHA-256 of what a reserved role gives, in hexadecimal: an edit of the role is then a fault.
    pub digest: Option<Located<String>>,
    /// Roles whose rights it has too.
    pub includes: Vec<Located<String>>,
    /// `RIGHT[:LEVEL]`.
    pub rights: Vec<Located<String>>,
    /// Rights of included roles that it does not have.
    pub without: Vec<Located<String>>,
}

/// One entry of `groups`.
#[derive(Clone, Debug)]
pub struct GroupDocument {
    /// The name.
    pub name: Located<String>,
    /// Groups whose grants, flags and status its members inherit too.
    pub parents: Vec<Located<String>>,
    /// Flags of its members.
    pub flags: Vec<Located<String>>,
    /// `inactive` makes every member inactive.
    pub status: Status,
    /// Grants of its members.
    pub grants: Vec<GrantDocument>,
}

/// One entry of `principals`.
#[derive(Clone, Debug)]
pub struct PrincipalDocument {
    /// The id, for logs, tests and the backend.
    pub id: Located<String>,
    /// The name of its tenant in `gateway.yaml`.
    pub tenant: Located<String>,
    /// What names it there.
    pub known_by: PrincipalName,
    /// The state of the account.
    pub status: Status,
    /// Its flags.
    pub flags: Vec<Located<String>>,
    /// Its groups.
    pub groups: Vec<Located<String>>,
    /// Scope nodes in whose subtrees it exists; `None` where the key is absent.
    pub boundary: Option<Vec<Located<String>>>,
    /// Its own grants.
    pub grants: Vec<GrantDocument>,
}

/// What names a principal at its tenant.
#[derive(Clone, Debug)]
pub enum PrincipalName {
    /// `oid`: its object id in a tenant of Entra ID, a GUID.
    ObjectId(Located<String>),
    /// `subject`: what the tokens of another issuer say.
    Subject(Located<String>),
}

impl PrincipalName {
    /// The text, whichever of the two it is.
    pub const fn text(&self) -> &Located<String> {
        match self {
            Self::ObjectId(text) | Self::Subject(text) => text,
        }
    }

    /// The key that it is written under.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::ObjectId(_) => "oid",
            Self::Subject(_) => "subject",
        }
    }
}

/// One entry of `grants`.
#[derive(Clone, Debug)]
pub enum GrantDocument {
    /// `RIGHT[:LEVEL|:deny] [@NODE]`.
    Right(Located<String>),
    /// `{role, at}`.
    Role {
        /// Where the entry stands.
        place: Place,
        /// The role.
        role: Located<String>,
        /// Nodes; empty: the root.
        at: Vec<Located<String>>,
    },
    /// `{rights, at}`.
    Rights {
        /// Where the entry stands.
        place: Place,
        /// `RIGHT[:LEVEL|:deny]`.
        rights: Vec<Located<String>>,
        /// Nodes; empty: the root.
        at: Vec<Located<String>>,
    },
}

impl GrantDocument {
    /// Where the entry stands.
    pub const fn place(&self) -> Place {
        match self {
            Self::Right(written) => written.place,
            Self::Role { place, .. } | Self::Rights { place, .. } => *place,
        }
    }
}

impl RightsShape {
    /// The word that the file has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Flat => "flat",
        }
    }
}

impl Within {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Union, Self::Nearest];

    /// The word that the file has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Union => "union",
            Self::Nearest => "nearest",
        }
    }
}

impl Across {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DenyOverrides,
        Self::DenyIndividualFirst,
        Self::IndividualFirst,
        Self::MostRestrictive,
        Self::MostPermissive,
    ];

    /// The word that the file has for it.
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
