//! Reads `grants.yaml`.

use super::{Field, Name, conflict, fields, quoted, scalar, texts, version, wrong};
use crate::diag::Report;
use crate::document::grants::{
    Across, GrantDocument, GrantsDocument, GroupDocument, PrincipalDocument, RightsShape, RoleDocument,
    StrategyDocument, Within,
};
use crate::document::parse::{Entry, Node, Shape};
use crate::document::{Literal, Located};
use crate::model::{Level, Status};

const SHAPES: [(&str, RightsShape); 2] = [("tree", RightsShape::Tree), ("flat", RightsShape::Flat)];

const WITHIN: [(&str, Within); 2] = [("union", Within::Union), ("nearest", Within::Nearest)];

const ACROSS: [(&str, Across); 5] = [
    ("deny_overrides", Across::DenyOverrides),
    ("deny_individual_first", Across::DenyIndividualFirst),
    ("individual_first", Across::IndividualFirst),
    ("most_restrictive", Across::MostRestrictive),
    ("most_permissive", Across::MostPermissive),
];

const LEVELS: [(&str, Level); 3] = [("read", Level::Read), ("write", Level::Write), ("delete", Level::Delete)];

const STATUS: [(&str, Status); 4] = [
    ("active", Status::Active),
    ("inactive", Status::Inactive),
    ("deleted", Status::Deleted),
    ("reserved", Status::Reserved),
];

const GROUP_STATUS: [(&str, Status); 2] = [("active", Status::Active), ("inactive", Status::Inactive)];

/// Reads the whole file. `None` when it is no map, of another version, or names no domain.
pub(in crate::document) fn grants(root: &Node, report: &mut Report) -> Option<GrantsDocument> {
    let keys =
        ["version", "domain", "strategy", "rights", "scopes", "implies", "roles", "groups", "principals", "objects"];
    let [written, domain, strategy, rights, scopes, implies, roles, groups, principals, objects] =
        fields(root, "this file", keys, report)?;
    version(written, report)?;
    let domain = domain.need_text(report);
    let strategy = strategy.node.and_then(|node| self::strategy(node, report)).unwrap_or_default();
    let rights = Some(rights.texts(report)).filter(|rights| !rights.is_empty());
    let (forest, aliases) = scopes.node.and_then(|node| self::scopes(node, report)).unwrap_or_default();
    let implies = implies.entries(report).iter().map(|entry| (entry.name(), texts(&entry.value, "implies", report)));
    let implies = implies.collect();
    let roles = roles.entries(report).iter().filter_map(|entry| role(entry, report)).collect();
    let groups = groups.entries(report).iter().filter_map(|entry| group(entry, report)).collect();
    let principals = principals.items(report).iter().filter_map(|node| principal(node, report)).collect();
    let objects = objects.entries(report).iter().map(|entry| (entry.name(), attributes(entry, report))).collect();
    Some(GrantsDocument {
        domain: domain?,
        strategy,
        rights,
        forest,
        aliases,
        implies,
        roles,
        groups,
        principals,
        objects,
    })
}

fn strategy(node: &Node, report: &mut Report) -> Option<StrategyDocument> {
    let keys = ["rights", "within", "across", "boundary", "caps"];
    let [rights, within, across, boundary, caps] = fields(node, "this strategy", keys, report)?;
    Some(StrategyDocument {
        rights: rights.choice(&SHAPES, report),
        within: within.choice(&WITHIN, report),
        across: across.choice(&ACROSS, report),
        boundary: boundary.flag(false, report),
        caps: caps.entries(report).iter().filter_map(|entry| cap(entry, report)).collect(),
    })
}

fn cap(entry: &Entry, report: &mut Report) -> Option<(Located<String>, Located<Level>)> {
    let level = scalar::choice(&entry.value, &entry.key, &LEVELS, report)?;
    Some((entry.name(), Located::new(entry.value.place, level)))
}

type Pairs = Vec<(Located<String>, Located<String>)>;

fn scopes(node: &Node, report: &mut Report) -> Option<(Pairs, Vec<(Located<String>, Pairs)>)> {
    let [forest, aliases] = fields(node, "`scopes`", ["forest", "aliases"], report)?;
    let forest = forest.pairs(report);
    let kinds = aliases.entries(report).iter();
    let aliases = kinds.map(|kind| {
        let field = Field { key: "aliases", node: Some(&kind.value), map: kind.place, what: "this kind" };
        (kind.name(), field.pairs(report))
    });
    Some((forest, aliases.collect()))
}

fn role(entry: &Entry, report: &mut Report) -> Option<RoleDocument> {
    let keys = ["reserved", "includes", "rights", "without"];
    let [reserved, includes, rights, without] = fields(&entry.value, "this role", keys, report)?;
    Some(RoleDocument {
        name: entry.name(),
        reserved: reserved.flag(false, report),
        includes: includes.texts(report),
        rights: rights.texts(report),
        without: without.texts(report),
    })
}

fn group(entry: &Entry, report: &mut Report) -> Option<GroupDocument> {
    let keys = ["parents", "flags", "status", "grants"];
    let [parents, flags, status, grants] = fields(&entry.value, "this group", keys, report)?;
    Some(GroupDocument {
        name: entry.name(),
        parents: parents.texts(report),
        flags: flags.texts(report),
        status: status.choice(&GROUP_STATUS, report),
        grants: grants_of(grants, report),
    })
}

fn principal(node: &Node, report: &mut Report) -> Option<PrincipalDocument> {
    let keys = ["id", "tenant", "oid", "status", "flags", "groups", "boundary", "grants"];
    let [id, tenant, oid, status, flags, groups, boundary, grants] = fields(node, "this principal", keys, report)?;
    let (id, tenant, oid) = (id.need_text(report), tenant.need_text(report), oid.need_text(report));
    let status = match status.node {
        // A fault must not leave an account in use.
        Some(node) => scalar::choice(node, "status", &STATUS, report).unwrap_or(Status::Inactive),
        None => Status::Active,
    };
    let flags = flags.texts(report);
    let groups = groups.texts(report);
    let boundary = boundary.node.map(|_| boundary.texts(report));
    let grants = grants_of(grants, report);
    Some(PrincipalDocument { id: id?, tenant: tenant?, oid: oid?, status, flags, groups, boundary, grants })
}

fn grants_of(field: Field<'_>, report: &mut Report) -> Vec<GrantDocument> {
    field.items(report).iter().filter_map(|node| grant(node, report)).collect()
}

fn grant(node: &Node, report: &mut Report) -> Option<GrantDocument> {
    match node.shape() {
        Shape::Scalar { .. } => scalar::text(node, Name::EntryOf("grants"), report).map(GrantDocument::Right),
        Shape::Map(_) => {
            let [role, rights, at] = fields(node, "this grant", ["role", "rights", "at"], report)?;
            let at = at.texts(report);
            match (role.node, rights.node) {
                (Some(first), Some(second)) => {
                    conflict(("role", first), ("rights", second), "make two grants of it", report);
                    None
                }
                (_, Some(_)) => {
                    Some(GrantDocument::Rights { place: node.place, rights: rights.some_texts(report), at })
                }
                (Some(_), None) => Some(GrantDocument::Role { place: node.place, role: role.need_text(report)?, at }),
                (None, None) => {
                    report
                        .error("missing_key", node.place, "this grant has neither `role` nor `rights`")
                        .help("write `{role: ROLE, at: NODE}`, `{rights: [RIGHT], at: NODE}` or `RIGHT:LEVEL @NODE`");
                    None
                }
            }
        }
        Shape::List(_) => {
            wrong(node, Name::EntryOf("grants"), "a text or a map", report)
                .help(&format!("a map has the keys {}", quoted(&["role", "rights", "at"])));
            None
        }
    }
}

fn attributes(entry: &Entry, report: &mut Report) -> Vec<(Located<String>, Literal)> {
    super::entries(&entry.value, Name::Key(&entry.key), report)
        .iter()
        .filter_map(|attribute| {
            let value = scalar::literal(&attribute.value, Name::Key(&attribute.key), report)?;
            Some((attribute.name(), value))
        })
        .collect()
}
