//! Principals in files of their own: they mean what the same principals mean in YAML, their faults are told where they
//! are, and operators' tools know where each stands.

mod support;

use std::fs;
use std::path::Path;

use portcullis::diag::Report;
use portcullis::document::grants::PrincipalDocument;
use portcullis::document::people::{PeopleFile, PeopleFormat};
use portcullis::document::{self, Located};
use portcullis::model::{Guid, Tenant};
use portcullis::policy::Domain;
use portcullis::reload::{self, PolicyFiles};
use portcullis::route::{self, Inputs};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use support::people::{json_lines, table};

/// Names with everything in them that could part one from another.
const NAMES: [&str; 14] =
    ["a", "a b", "a,b", "a@b", "a\\b", " a", "a ", "a\tb", "a\nb", "ä€😀", "\"a\"", "{a}", "role=a", "null"];
const FLAGS: [&str; 4] = ["f", "a,b", "f\\s", "ü"];
const RIGHTS: [&str; 4] = ["r", "r.s", "r.s:read", "t:deny"];

fn tenants() -> Vec<Tenant> {
    let key = |tenant: Guid, subject: &str| {
        let digest = reload::sha256(subject.as_bytes());
        portcullis::model::PrincipalKey { tenant, object: Guid::of_digest(digest) }
    };
    vec![Tenant::of_objects("t", Guid(1)), Tenant::of_objects("u", Guid(2)), Tenant::of_subjects("s o", Guid(3), key)]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn list(texts: &[impl AsRef<str>]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A grants document with nodes, roles and groups of all names.
fn head(boundary: bool) -> String {
    let each = |line: &dyn Fn(usize, &str) -> String| {
        NAMES.iter().enumerate().map(|(number, name)| format!("  {}: {}\n", quoted(name), line(number, name))).collect()
    };
    let nodes: String = each(&|number, _| quoted(if number > 3 { NAMES[number % 3] } else { "root" }));
    let roles: String = each(&|number, _| format!("{{rights: [{}, v{number}]}}", RIGHTS[number % RIGHTS.len()]));
    let groups: String = each(&|number, _| {
        let status = if number == 5 { "inactive" } else { "active" };
        let node = NAMES[(number + 3) % NAMES.len()];
        let grant = format!("{{rights: [{}, w{number}], at: {}}}", RIGHTS[number % RIGHTS.len()], quoted(node));
        format!("{{status: {status}, flags: [g{number}], grants: [{grant}]}}")
    });
    format!(
        "version: 1\ndomain: d\nstrategy: {{boundary: {boundary}}}\nscopes:\n  forest:\n{}roles:\n{roles}groups:\n{groups}",
        nodes.lines().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

/// An entry of `grants` in YAML.
fn grant() -> impl Strategy<Value = String> {
    let nodes = || subsequence(NAMES.to_vec(), 1..3);
    prop_oneof![
        select(RIGHTS.to_vec()).prop_map(quoted),
        (select(RIGHTS.to_vec()), select(NAMES.to_vec())).prop_map(|(right, node)| {
            let right = format!("{right} @{node}");
            if node.trim() == node { quoted(&right) } else { quoted("r") }
        }),
        select(NAMES.to_vec()).prop_map(|role| format!("{{role: {}}}", quoted(role))),
        (select(NAMES.to_vec()), nodes()).prop_map(|(role, at)| format!(
            "{{role: {}, at: {}}}",
            quoted(role),
            list(&at)
        )),
        (subsequence(RIGHTS.to_vec(), 1..4), nodes()).prop_map(|(rights, at)| format!(
            "{{rights: {}, at: {}}}",
            list(&rights),
            list(&at)
        )),
    ]
}

/// The keys of a principal, its id and what names it aside.
fn principal(boundary: bool) -> impl Strategy<Value = String> {
    let boundaries = proptest::option::of(subsequence(NAMES.to_vec(), 0..4));
    let parts = (
        select(vec!["active", "inactive", "deleted", "reserved"]),
        subsequence(FLAGS.to_vec(), 0..3),
        subsequence(NAMES.to_vec(), 0..4),
        boundaries,
        vec(grant(), 0..6),
    );
    parts.prop_map(move |(status, flags, groups, nodes, grants)| {
        let nodes = nodes.filter(|_| boundary).map(|nodes| format!(", boundary: {}", list(&nodes)));
        format!(
            "status: {status}, flags: {}, groups: {}{}, grants: [{}]",
            list(&flags),
            list(&groups),
            nodes.unwrap_or_default(),
            grants.join(", ")
        )
    })
}

/// A grants document.
fn grants() -> impl Strategy<Value = String> {
    let people = any::<bool>().prop_flat_map(|boundary| (Just(boundary), vec((principal(boundary), 0..5_u8), 1..12)));
    people.prop_map(|(boundary, people)| {
        let mut text = format!("{}principals:\n", head(boundary));
        for (number, (principal, kind)) in people.iter().enumerate() {
            let odd = NAMES[number % NAMES.len()];
            let id = format!("{odd}{number}{odd}");
            let who = match kind {
                0 => {
                    format!("tenant: s o, subject: {}", quoted(&format!("{number}{}", odd.replace(['\t', '\n'], "x"))))
                }
                1 => format!("tenant: u, oid: {}", Guid(number as u128)),
                _ => format!("tenant: t, oid: {}", Guid(number as u128)),
            };
            text.push_str(&format!("  - {{id: {}, {who}, {principal}}}\n", quoted(&id)));
        }
        text
    })
}

/// All that a domain says of these principals.
fn told(domain: &Domain, people: &[PrincipalDocument]) -> Vec<String> {
    let mut lines = vec![format!("{} principals", domain.counts().0)];
    for written in people {
        let tenants = tenants();
        let tenant = tenants.iter().find(|tenant| *tenant.name == *written.tenant.value).unwrap();
        let found = domain.principal(tenant.principal(&written.known_by.text().value).unwrap()).unwrap();
        lines.push(format!("{:?} {:?} {:?}", found.id(), found.status(), found.groups()));
        let mut flags: Vec<_> =
            domain.flags().filter(|(flag, _)| domain.bears(found, *flag)).map(|(_, name)| name).collect();
        // Numbered as they were met, which depends on how lines are written.
        flags.sort_unstable();
        lines.push(format!("{flags:?}"));
        let mut rights: Vec<_> = domain.rights().collect();
        rights.sort_by_key(|(_, name)| *name);
        for (right, name) in rights {
            let held = domain.scopes().map(|(scope, _)| format!("{:?}", domain.held(found, right, scope)));
            lines.push(format!("{name}: {}", held.collect::<Vec<_>>().join(" ")));
        }
    }
    lines
}

/// Compiles a grants document; `file` is the format and the text of its principals, if they are not in it.
fn compiled(grants: &str, file: Option<(PeopleFormat, String)>) -> Vec<String> {
    let mut report = Report::new();
    let source = report.add_source("grants.yaml", grants);
    let mut document = document::read_grants(source, &mut report).unwrap();
    let people = document.principals.clone();
    if let Some((format, text)) = file {
        document.principals.clear();
        let source = Some(report.add_source("people", text));
        let name = Located::new(document.domain.place, "people".to_owned());
        document.principals_from.push(PeopleFile { name, format, source });
    }
    let (grants, tenants) = ([document], tenants());
    let inputs = Inputs {
        routes: &[],
        grants: &grants,
        tenants: &tenants,
        files: &|_| Err(String::new()),
        taken: &[],
        sha256: reload::sha256,
    };
    let compiled = route::compile(inputs, &mut report).unwrap_or_else(|| panic!("{}", report.render()));
    told(compiled.domains.iter().next().unwrap(), &people)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn principals_mean_the_same_however_they_are_written(grants in grants()) {
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", grants.as_str());
        let people = document::read_grants(source, &mut report).unwrap().principals;
        prop_assert!(!report.has_errors(), "{}", report.render());
        let yaml = compiled(&grants, None);
        for file in [
            (PeopleFormat::Table, table(&people, "")),
            (PeopleFormat::Table, table(&people, "  ")),
            (PeopleFormat::Table, table(&people, "").replace('\n', "\r\n\n")),
            (PeopleFormat::JsonLines, json_lines(&people, false)),
            (PeopleFormat::JsonLines, json_lines(&people, true)),
        ] {
            let text = file.1.clone();
            prop_assert_eq!(&compiled(&grants, Some(file)), &yaml, "{}", text);
        }
    }
}

/// A folder with a grants document and other files.
struct Folder(tempfile::TempDir);

const GRANTS: &str = "version: 1\ndomain: d\nscopes: {forest: {n: root}}\nroles: {R: {rights: [a]}}\ngroups: {G: {}}\n";

impl Folder {
    fn new(rest: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.yaml"), "version: 1\napplications: []\n").unwrap();
        fs::write(folder.path().join("grants.yaml"), format!("{GRANTS}{rest}")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn policy(&self) -> PolicyFiles {
        let at = |name: &str| vec![self.path().join(name)];
        PolicyFiles { routes: at("routes.yaml"), grants: at("grants.yaml"), tenants: tenants(), feeds: Vec::new() }
    }

    /// What `serve` finds, as `code file:line:column` of each fault and of what belongs to it.
    fn faults(&self) -> Vec<String> {
        let mut report = Report::new();
        let loaded = reload::load(&self.policy(), &mut report);
        assert_eq!(loaded.compiled.is_none(), report.has_errors());
        told_of(&report)
    }

    /// The same of what operators' tools read.
    fn faults_of_tools(&self) -> Vec<String> {
        let mut report = Report::new();
        reload::load_for_review(&self.policy(), &mut report);
        told_of(&report)
    }
}

fn told_of(report: &Report) -> Vec<String> {
    let place = |place| {
        let found = report.locate(place);
        let name = Path::new(&*found.file).file_name().unwrap().to_str().unwrap();
        format!(" {name}:{}:{}", found.line, found.column)
    };
    let one = |found: &portcullis::diag::Diagnostic| {
        let related = found.related.iter().map(|(other, _)| place(*other)).collect::<String>();
        format!("{}{}{related}", found.code, found.place.map(place).unwrap_or_default())
    };
    let mut told: Vec<String> = report.diagnostics().iter().map(one).collect();
    told.sort();
    told
}

const OID: &str = "af2facf6-51e1-5546-8211-837b70c9cfe";

#[test]
fn every_name_that_does_not_resolve_is_told_where_it_stands() {
    let head = "id\ttenant\toid\tflags\tgroups\tgrants\n";
    let lines = [
        format!("a\tt\t{OID}1\tf\tG\trole=R@n"),
        format!("b\tx\t{OID}2\tf\tG\trole=R@n"),
        format!("c\tt\t{OID}3\tf\tH\trole=R@n"),
        format!("d\tt\t{OID}4\tf\tG\trole=S@n"),
        format!("e\tt\t{OID}5\tf\tG\ta, role=R@m"),
        format!("f\tt\t{OID}6\tf\tG\ta:most"),
        format!("g\tt\t{OID}x\tf\tG\ta"),
        format!("h\ts o\t{OID}7\tf\tG\ta"),
        format!("i\tt\t{OID}8\tf f\tG\ta"),
        format!("j\tt\t{OID}9\tf\tG\ta!"),
        format!("k\tt\t{OID}a\tf\tH\ta,role=R"),
    ];
    let folder = Folder::new("principals_from: [p.tsv]\n", &[("p.tsv", &format!("{head}{}\n", lines.join("\n")))]);
    let expected = [
        "bad_guid p.tsv:8:5",
        "bad_level p.tsv:7:46",
        "bad_name p.tsv:10:42",
        "bad_name p.tsv:11:46",
        "unknown_name p.tsv:12:44",
        "unknown_name p.tsv:3:3",
        "unknown_name p.tsv:4:44",
        "unknown_name p.tsv:5:51",
        "unknown_name p.tsv:6:56",
        "wrong_principal_name p.tsv:9:7",
    ];
    assert_eq!(folder.faults(), expected);
    assert_eq!(folder.faults_of_tools(), expected);
}

#[test]
fn two_with_one_id_or_one_key_are_told_with_both_places_wherever_they_stand() {
    let line = |id: &str, oid: u8| format!("{id}\tt\t{OID}{oid}\n");
    let object = |id: &str, oid: u8| format!("{{\"id\":\"{id}\",\"tenant\":\"t\",\"oid\":\"{OID}{oid}\"}}\n");
    let rest = format!("principals: [{{id: a, tenant: t, oid: {OID}1}}]\nprincipals_from: [p.tsv, q.jsonl]\n");
    let table = format!("id\ttenant\toid\n{}{}{}", line("b", 2), line("a", 3), line("c", 2));
    let objects = format!("{}{}{}", object("d", 1), object("b", 5), object("e", 6));
    let folder = Folder::new(&rest, &[("p.tsv", &table), ("q.jsonl", &objects)]);
    let expected = [
        "duplicate_principal p.tsv:3:1 grants.yaml:6:19",
        "duplicate_principal p.tsv:4:5 p.tsv:2:5",
        "duplicate_principal q.jsonl:1:30 grants.yaml:6:38",
        "duplicate_principal q.jsonl:2:7 p.tsv:2:1",
    ];
    assert_eq!(folder.faults(), expected);
    assert_eq!(folder.faults_of_tools(), expected);
}

#[test]
fn a_file_that_cannot_be_used_is_told_where_it_is_named() {
    let head = "id\ttenant\toid\n";
    let cases = [
        ("[none.tsv]", vec![], "unreadable_file grants.yaml:6:19"),
        ("[p.csv]", vec![("p.csv", head)], "unknown_format grants.yaml:6:19"),
        ("[p.tsv, p.tsv]", vec![("p.tsv", head)], "duplicate_file grants.yaml:6:26 grants.yaml:6:19"),
        ("p.tsv", vec![("p.tsv", "")], "empty p.tsv:1:1"),
        ("p.tsv", vec![("p.tsv", "id\ttenant\toid\na\tt")], "unfinished_line p.tsv:2:1"),
    ];
    for (named, files, expected) in cases {
        let folder = Folder::new(&format!("principals_from: {named}\n"), &files);
        assert_eq!(folder.faults(), [expected]);
        assert_eq!(folder.faults_of_tools(), [expected]);
    }
}

#[test]
fn bytes_that_are_no_text_and_files_that_are_too_large_are_refused() {
    let folder = Folder::new("principals_from: p.tsv\n", &[]);
    let path = folder.path().join("p.tsv");
    fs::write(&path, b"id\ttenant\toid\na\xff\tt\to\n").unwrap();
    assert_eq!(folder.faults(), ["not_utf8 p.tsv:2:2"]);
    fs::File::create(&path).unwrap().set_len((1 << 30) + 1).unwrap();
    assert_eq!(folder.faults(), ["unreadable_file grants.yaml:6:18"]);
}

#[test]
fn a_policy_changes_with_the_files_that_it_names() {
    let folder = Folder::new("principals_from: p.tsv\n", &[("p.tsv", &format!("id\ttenant\toid\na\tt\t{OID}1\n"))]);
    let content = || reload::load(&folder.policy(), &mut Report::new()).content;
    let first = content();
    let path = folder.path().join("p.tsv");
    assert_eq!(first.named().collect::<Vec<_>>(), std::slice::from_ref(&path));
    assert_eq!(content(), first);
    fs::write(&path, format!("id\ttenant\toid\na\tt\t{OID}2\n")).unwrap();
    assert_ne!(content(), first);
}

#[test]
fn operators_tools_know_where_each_principal_stands() {
    let table = format!("id\ttenant\toid\tgrants\n\na\tt\t{OID}1\trole=R@n, a\n");
    let objects = format!("{{\"id\":\"b\",\"tenant\":\"t\",\"oid\":\"{OID}2\",\"grants\":[\"a @n\"]}}\n");
    let folder = Folder::new("principals_from: [p.tsv, q.jsonl]\n", &[("p.tsv", &table), ("q.jsonl", &objects)]);
    let mut report = Report::new();
    let policy = reload::load_for_review(&folder.policy(), &mut report).unwrap();
    let world = policy.worlds().next().unwrap();
    let at = |place| {
        let found = report.locate(place);
        format!("{}:{}", found.line, found.column)
    };
    let found = [0, 1].map(|number| {
        let origin = world.origins.principal(number).unwrap();
        let grants: Vec<String> = origin.grants().iter().map(|grant| at(grant.place)).collect();
        (world.domain.principals().get(number).unwrap().id().to_owned(), at(origin.place), grants)
    });
    assert_eq!(found[0], ("a".to_owned(), "3:1".to_owned(), vec!["3:42".to_owned(), "3:52".to_owned()]));
    assert_eq!(found[1], ("b".to_owned(), "1:7".to_owned(), vec!["1:79".to_owned()]));
}
