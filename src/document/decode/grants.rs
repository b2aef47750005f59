//! Reads `grants.yaml`.

use super::{Field, Name, conflict, fields, file, quoted, scalar, texts, wrong};
use crate::diag::Report;
use crate::document::grants::{
    Across, ConflictDocument, GrantDocument, GrantsDocument, GroupDocument, LintDocument, PrincipalDocument,
    PrincipalName, RightsShape, RoleDocument, StrategyDocument, Within,
};
use crate::document::parse::{Entry, Node, Shape};
use crate::document::people::{Bounds, PeopleFile, PeopleFormat};
use crate::document::{Entries, Located};
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
    let keys = [
        "version",
        "domain",
        "strategy",
        "rights",
        "scopes",
        "implies",
        "roles",
        "groups",
        "principals",
        "principals_from",
        "token_groups",
        "token_roles",
        "objects",
        "conflicts",
        "lint",
    ];
    let [
        _,
        domain,
        strategy,
        rights,
        scopes,
        implies,
        roles,
        groups,
        principals,
        principals_from,
        token_groups,
        token_roles,
        objects,
        conflicts,
        lint,
    ] = file(root, keys, report)?;
    let domain = domain.need_text(report);
    let strategy = strategy.node.and_then(|node| self::strategy(node, report)).unwrap_or_default();
    let rights = Some(rights.texts(report)).filter(|rights| !rights.is_empty());
    let [forest, aliases] = scopes.section("`scopes`", ["forest", "aliases"], report);
    let forest = forest.pairs(report);
    let aliases = aliases_of(aliases, report);
    let implies = implies.entries(report).iter().map(|entry| (entry.name(), texts(&entry.value, "implies", report)));
    let implies = implies.collect();
    let roles = roles.entries(report).iter().filter_map(|entry| role(entry, report)).collect();
    let groups = groups.entries(report).iter().filter_map(|entry| group(entry, report)).collect();
    let principals = principals.items(report).iter().filter_map(|node| principal(node, report)).collect();
    let principals_from = people_files(principals_from, report);
    let (token_groups, token_roles) = (token_groups.pairs(report), token_roles.pairs(report));
    let objects = objects
        .entries(report)
        .iter()
        .map(|entry| (entry.name(), scalar::literals(&entry.value, Name::Key(&entry.key), report)))
        .collect();
    let conflicts = conflicts.items(report).iter().filter_map(|node| separate(node, report)).collect();
    let [vendor_accounts, must_be_held] = lint.section("`lint`", ["vendor_accounts", "must_be_held"], report);
    let lint =
        LintDocument { vendor_accounts: vendor_accounts.texts(report), must_be_held: must_be_held.texts(report) };
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
        principals_from,
        token_groups,
        token_roles,
        objects,
        looked_up: Vec::new(),
        conflicts,
        lint,
    })
}

/// An entry of `conflicts`: a list of two rights, or a map with them and a reason.
fn separate(node: &Node, report: &mut Report) -> Option<ConflictDocument> {
    let (rights, reason) = match node.shape() {
        Shape::Map(_) => {
            let [rights, reason] = fields(node, "this conflict", ["rights", "reason"], report)?;
            (rights.some_texts(report), reason.text(report))
        }
        Shape::List(_) | Shape::Scalar { .. } => (texts(node, "conflicts", report), None),
    };
    let Ok(rights) = <[Located<String>; 2]>::try_from(rights) else {
        report
            .error("wrong_type", node.place, "a conflict is between two rights")
            .help("write `[RIGHT, RIGHT]` or `{rights: [RIGHT, RIGHT], reason: \"text\"}`");
        return None;
    };
    Some(ConflictDocument { place: node.place, rights, reason })
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

/// Other names of nodes, one map for each kind.
fn aliases_of(field: Field<'_>, report: &mut Report) -> Entries<Entries<Located<String>>> {
    let kinds = field.entries(report).iter();
    let kinds = kinds.map(|kind| {
        let field = Field { key: "aliases", node: Some(&kind.value), map: kind.place, what: "this kind" };
        (kind.name(), field.pairs(report))
    });
    kinds.collect()
}

fn role(entry: &Entry, report: &mut Report) -> Option<RoleDocument> {
    let keys = ["reserved", "digest", "includes", "rights", "without"];
    let [reserved, digest, includes, rights, without] = fields(&entry.value, "this role", keys, report)?;
    Some(RoleDocument {
        name: entry.name(),
        reserved: reserved.flag(false, report),
        digest: digest.text(report),
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

/// Reads an entry of `principals`.
pub(in crate::document) fn principal(node: &Node, report: &mut Report) -> Option<PrincipalDocument> {
    let keys = ["id", "tenant", "oid", "subject", "status", "flags", "groups", "boundary", "grants"];
    let [id, tenant, oid, subject, status, flags, groups, boundary, grants] =
        fields(node, "this principal", keys, report)?;
    let (id, tenant, known_by) = (id.need_text(report), tenant.need_text(report), known_by(oid, subject, report));
    let status = status.choice(&STATUS, report);
    let flags = flags.texts(report);
    let groups = groups.texts(report);
    let boundary = boundary.node.map(|_| boundary.texts(report));
    let grants = grants_of(grants, report);
    Some(PrincipalDocument { id: id?, tenant: tenant?, known_by: known_by?, status, flags, groups, boundary, grants })
}

/// The files of principals, each once.
fn people_files(field: Field<'_>, report: &mut Report) -> Vec<PeopleFile> {
    let mut files: Vec<PeopleFile> = Vec::new();
    for name in field.texts(report) {
        let Some(format) = PeopleFormat::of(&name.value) else {
            let message = format!("`{}` is no file of principals", name.value);
            report.error("unknown_format", name.place, message).help("its name ends in `.tsv` or `.jsonl`");
            continue;
        };
        if let Some(first) = files.iter().find(|known| known.name.value == name.value) {
            report
                .error("duplicate_file", name.place, format!("`{}` stands here for the second time", name.value))
                .help("remove one of the two")
                .also(first.name.place, "first here");
            continue;
        }
        if files.len() == Bounds::FILES {
            let message = format!("more than {} files of principals", Bounds::FILES);
            report.error("too_large", name.place, message).help("join some of them");
            break;
        }
        files.push(PeopleFile { name, format, source: None });
    }
    files
}

/// `oid` or `subject`: one of them, and not both.
fn known_by(oid: Field<'_>, subject: Field<'_>, report: &mut Report) -> Option<PrincipalName> {
    match (oid.node, subject.node) {
        (Some(by_oid), Some(by_subject)) => {
            let help = "a tenant of Entra ID names its principals by `oid`, any other issuer by `subject`";
            conflict(("oid", by_oid), ("subject", by_subject), help, report);
            None
        }
        (None, Some(_)) => subject.text(report).map(PrincipalName::Subject),
        (Some(_), None) => oid.text(report).map(PrincipalName::ObjectId),
        (None, None) => {
            report
                .error("missing_key", oid.map, format!("`oid` is missing in {}", oid.what))
                .help("add `oid: ...`, or `subject: ...` for a principal of another issuer than Entra ID");
            None
        }
    }
}

fn grants_of(field: Field<'_>, report: &mut Report) -> Vec<GrantDocument> {
    field.items(report).iter().filter_map(|node| grant(node, report)).collect()
}

fn grant(node: &Node, report: &mut Report) -> Option<GrantDocument> {
    match node.shape() {
        Shape::Scalar { .. } => scalar::text(node, Name::EntryOf("grants"), report).map(GrantDocument::Right),
        Shape::Map(_) => {
            let [role, rights, at] = fields(node, "this grant", ["role", "rights", "at"], report)?;
            // An empty list is no root: whoever writes one may have meant nowhere.
            let at = if at.node.is_some() { at.some_texts(report) } else { Vec::new() };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Literal, read_grants};

    const EVERY_SHAPE: &str = r#"
version: 1
domain: d
strategy: {rights: flat, within: nearest, across: most_restrictive, boundary: true, caps: {ro: read}}
rights: [a, b.c]
scopes:
  forest:
    org:1: root      # comment
    "org:10": org:1
  aliases:
    shopId: {1000: org:1, 1001: org:10}
    shopName: {Test Shop DE: org:10}
implies: {api.write: [api.read], api.all: api.write}
roles:
  Data Entry: {rights: [
    a:read, b:write]}
  Chief: {includes: Data Entry, without: [a], rights: b, reserved: true}
  Empty: {}
groups:
  TeamA: {parents: [Operators], flags: ro, status: inactive, grants: [operations:write, object:deny @company:ABC]}
principals:
  - {id: a, tenant: t, oid: af2facf6-51e1-5546-8211-837b70c9cfec}
  - {id: 1000, tenant: t, oid: 2, status: reserved, flags: [x, y], groups: TeamA, boundary: [], grants: [r @territory:USS]}
  - id: IOM Admin
    tenant: t
    oid: 3
    status: deleted
    boundary: org:1
    grants:
      - {role: Data Entry}
      - {role: Chief, at: org:10}
      - {rights: [object:write], at: [x:1, "y:2"]}
token_groups: {0F6F1C2E-5d3a-4c1b-9b57-3f1f3a7f9e10: TeamA, "1000": TeamA}
token_roles: {IPS Access: TeamA}
conflicts: [[a, "b.c:write"], {rights: [a, b.c], reason: four eyes}]
lint: {vendor_accounts: admin, must_be_held: ["a:write"]}
objects:
  invoice:J3: {kind: journal, paid: true, count: 3, approvals: [fay, gil], none: []}
"#;

    fn read(text: &str) -> (GrantsDocument, Report) {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", text);
        (read_grants(source, &mut report).unwrap(), report)
    }

    fn plain(texts: &[Located<String>]) -> Vec<&str> {
        texts.iter().map(|text| text.value.as_str()).collect()
    }

    fn pairs(texts: &[(Located<String>, Located<String>)]) -> Vec<(&str, &str)> {
        texts.iter().map(|(left, right)| (left.value.as_str(), right.value.as_str())).collect()
    }

    #[test]
    fn every_shape_is_read() {
        let (document, report) = read(EVERY_SHAPE);
        assert_eq!(report.render(), "");
        assert_eq!(document.domain.value, "d");
        let strategy = &document.strategy;
        assert_eq!((strategy.rights, strategy.within), (RightsShape::Flat, Within::Nearest));
        assert_eq!((strategy.across, strategy.boundary), (Across::MostRestrictive, true));
        assert_eq!(strategy.caps[0].1.value, Level::Read);
        assert_eq!(plain(document.rights.as_ref().unwrap()), ["a", "b.c"]);
        assert_eq!(pairs(&document.forest), [("org:1", "root"), ("org:10", "org:1")]);
        assert_eq!(document.aliases[0].0.value, "shopId");
        assert_eq!(pairs(&document.aliases[0].1), [("1000", "org:1"), ("1001", "org:10")]);
        assert_eq!(pairs(&document.aliases[1].1), [("Test Shop DE", "org:10")]);
        assert_eq!(plain(&document.implies[0].1), ["api.read"]);
        assert_eq!(plain(&document.implies[1].1), ["api.write"]);
        assert_eq!(plain(&document.roles[0].rights), ["a:read", "b:write"]);
        let chief = &document.roles[1];
        assert_eq!((plain(&chief.includes), plain(&chief.without)), (vec!["Data Entry"], vec!["a"]));
        assert!(chief.reserved && !document.roles[2].reserved);
        let team = &document.groups[0];
        assert_eq!((plain(&team.parents), plain(&team.flags)), (vec!["Operators"], vec!["ro"]));
        assert_eq!((team.status, team.grants.len()), (Status::Inactive, 2));
        let [first, second, third] = document.principals.as_slice() else { panic!() };
        assert_eq!((first.status, first.boundary.is_none()), (Status::Active, true));
        assert_eq!((second.id.value.as_str(), second.status), ("1000", Status::Reserved));
        assert_eq!((plain(&second.flags), plain(&second.groups)), (vec!["x", "y"], vec!["TeamA"]));
        assert!(second.boundary.as_ref().unwrap().is_empty());
        assert!(matches!(&second.grants[0], GrantDocument::Right(text) if text.value == "r @territory:USS"));
        assert_eq!((third.id.value.as_str(), third.status), ("IOM Admin", Status::Deleted));
        assert_eq!(plain(third.boundary.as_ref().unwrap()), ["org:1"]);
        assert!(matches!(&third.grants[0], GrantDocument::Role { at, .. } if at.is_empty()));
        assert!(matches!(&third.grants[1], GrantDocument::Role { at, .. } if plain(at) == ["org:10"]));
        assert!(matches!(&third.grants[2], GrantDocument::Rights { at, .. } if plain(at) == ["x:1", "y:2"]));
        let by_group = [("0F6F1C2E-5d3a-4c1b-9b57-3f1f3a7f9e10", "TeamA"), ("1000", "TeamA")];
        assert_eq!(pairs(&document.token_groups), by_group);
        assert_eq!(pairs(&document.token_roles), [("IPS Access", "TeamA")]);
        let (name, attributes) = &document.objects[0];
        assert_eq!(name.value, "invoice:J3");
        let text = |word: &str| Literal::Text(word.to_owned());
        let values: Vec<Literal> = attributes.iter().map(|(_, value)| value.clone()).collect();
        let [first, second] = document.conflicts.as_slice() else { panic!() };
        assert_eq!((plain(&first.rights), first.reason.is_none()), (vec!["a", "b.c:write"], true));
        assert_eq!(second.reason.as_ref().unwrap().value, "four eyes");
        assert_eq!(plain(&document.lint.vendor_accounts), ["admin"]);
        assert_eq!(plain(&document.lint.must_be_held), ["a:write"]);
        let approvals = Literal::List(vec![text("fay"), text("gil")]);
        assert_eq!(values, [text("journal"), Literal::Bool(true), Literal::Int(3), approvals, Literal::List(vec![])]);
    }

    #[test]
    fn a_principal_is_named_by_its_object_id_or_its_subject() {
        let principal =
            |names: &str| read(&format!("version: 1\ndomain: d\nprincipals: [{{id: a, tenant: t{names}}}]\n"));
        let (document, report) = principal(", subject: auth0|1");
        assert_eq!(report.render(), "");
        assert!(matches!(&document.principals[0].known_by, PrincipalName::Subject(text) if text.value == "auth0|1"));
        for (names, code) in [("", "missing_key"), (", oid: x, subject: y", "conflict")] {
            let (document, report) = principal(names);
            assert!(document.principals.is_empty());
            assert_eq!(report.diagnostics().iter().map(|found| found.code).collect::<Vec<_>>(), [code], "{names}");
        }
    }

    #[test]
    fn little_is_needed_and_an_empty_catalogue_is_none() {
        let (document, report) = read("version: 1\ndomain: d\nrights: []\nroles: {}\nprincipals: []\n");
        assert_eq!(report.render(), "");
        assert!(document.rights.is_none());
        assert_eq!(document.strategy.across, Across::DenyOverrides);
    }

    #[test]
    fn a_conflict_is_between_two_rights() {
        for (conflict, faults) in [("[a, b]", 0), ("[a]", 1), ("[a, b, c]", 1), ("{rights: [a]}", 1), ("a", 1)] {
            let (_, report) = read(&format!("version: 1\ndomain: d\nconflicts: [{conflict}]\n"));
            assert_eq!(report.errors(), faults, "{conflict}: {}", report.render());
        }
    }

    #[test]
    fn without_a_domain_there_is_no_document_but_all_faults_are_reported() {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", "version: 1\nroles: []\nprincipals: {}\n");
        assert!(read_grants(source, &mut report).is_none());
        assert_eq!(report.errors(), 3);
    }
}
