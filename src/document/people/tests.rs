//! What lines mean, and what is told of those that mean nothing.

use super::*;
use crate::document::grants::{GrantDocument, PrincipalName};
use crate::model::Status;

/// The principals of a text, and the codes of what is wrong with it.
fn read(format: PeopleFormat, text: &str) -> (Vec<PrincipalDocument>, Vec<&'static str>) {
    let mut report = Report::new();
    let source = report.add_source("people", text);
    let found = read_people(source, format, &mut report);
    (found, report.diagnostics().iter().map(|found| found.code).collect())
}

/// The one principal of a table with these columns and cells.
fn row(columns: &str, cells: &str) -> PrincipalDocument {
    let (found, faults) = read(PeopleFormat::Table, &format!("id\ttenant\toid\t{columns}\np\tt\to\t{cells}\n"));
    assert_eq!(faults, [""; 0], "{cells}");
    found.into_iter().next().unwrap()
}

fn plain(texts: &[Located<String>]) -> Vec<&str> {
    texts.iter().map(|text| text.value.as_str()).collect()
}

/// An entry of `grants` as it was understood.
fn told(grant: &GrantDocument) -> String {
    match grant {
        GrantDocument::Right(text) => text.value.clone(),
        GrantDocument::Role { role, at, .. } => format!("role {:?} at {:?}", role.value, plain(at)),
        GrantDocument::Rights { rights, at, .. } => format!("rights {:?} at {:?}", plain(rights), plain(at)),
    }
}

#[test]
fn the_end_of_a_name_says_how_a_file_is_written() {
    for (name, format) in [
        ("people.tsv", Some(PeopleFormat::Table)),
        ("a.b/people.jsonl", Some(PeopleFormat::JsonLines)),
        ("people.json", None),
        ("people.TSV", None),
        ("tsv", None),
        ("a.tsv/people", None),
    ] {
        assert_eq!(PeopleFormat::of(name), format, "{name}");
    }
}

#[test]
fn columns_stand_in_any_order_and_what_is_empty_has_the_default() {
    let text = "grants\tsubject\tid\tstatus\toid\ttenant\n\tauth0|1\ta\t\t\tsso\nr , s\t\tb b\tdeleted\tGUID\tuss\n";
    let (found, faults) = read(PeopleFormat::Table, text);
    assert_eq!(faults, [""; 0]);
    let [a, b] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((a.id.value.as_str(), a.tenant.value.as_str(), a.status), ("a", "sso", Status::Active));
    assert!(matches!(&a.known_by, PrincipalName::Subject(text) if text.value == "auth0|1"));
    assert!(a.flags.is_empty() && a.groups.is_empty() && a.boundary.is_none() && a.grants.is_empty());
    assert_eq!((b.id.value.as_str(), b.status, b.grants.len()), ("b b", Status::Deleted, 2));
    assert!(matches!(&b.known_by, PrincipalName::ObjectId(text) if text.value == "GUID"));
}

#[test]
fn lists_are_parted_by_commas_and_a_backslash_keeps_what_belongs_to_a_name() {
    let cases: &[(&str, &[&str])] = &[
        ("a", &["a"]),
        ("a,b", &["a", "b"]),
        (" a ,  b ", &["a", "b"]),
        ("a b,c", &["a b", "c"]),
        (r"a\,b,c", &["a,b", "c"]),
        (r"a\\,b", &[r"a\", "b"]),
        (r"\sa\s,\t\n\r", &[" a ", "\t\n\r"]),
        (r"a@b,c\@d", &["a@b", "c@d"]),
        ("null,~,true,1", &["null", "~", "true", "1"]),
        ("\"a\",[b]", &["\"a\"", "[b]"]),
    ];
    for (cell, entries) in cases {
        assert_eq!(plain(&row("groups", cell).groups), *entries, "{cell}");
    }
}

#[test]
fn a_grant_is_a_right_or_a_role_and_its_node_begins_at_the_first_bare_at() {
    let cases = [
        ("r", "r"),
        ("r:read @territory:USS", "r:read @territory:USS"),
        ("r:deny@a@b", "r:deny@a@b"),
        ("role=Data Entry", r#"role "Data Entry" at []"#),
        ("role=Chief@org:1@2", r#"role "Chief" at ["org:1@2"]"#),
        (" role= a @ b ", r#"role "a" at ["b"]"#),
        (r"role=a\@b@c", r#"role "a@b" at ["c"]"#),
        (r"role=a\\@c", r#"role "a\\" at ["c"]"#),
        (r"role=role\=", "bad_escape"),
        (r"r@a\,b", r#"rights ["r"] at ["a,b"]"#),
        (r"r:read@\sa", r#"rights ["r:read"] at [" a"]"#),
        (r"r@", "r@"),
        (r"role=@", r#"role "" at [""]"#),
    ];
    for (cell, meant) in cases {
        let (found, faults) = read(PeopleFormat::Table, &format!("id\ttenant\toid\tgrants\np\tt\to\t{cell}\n"));
        let found: Vec<String> = found.iter().flat_map(|principal| &principal.grants).map(told).collect();
        assert_eq!(
            found.into_iter().chain(faults.into_iter().map(str::to_owned)).collect::<Vec<_>>(),
            [meant],
            "{cell}"
        );
    }
}

#[test]
fn a_line_of_json_has_the_keys_and_shapes_of_an_entry_of_yaml() {
    let text = r#"
        {"id": "a", "tenant": "t", "oid": "1", "status": "inactive", "flags": "x", "groups": ["g", "h\u00e4"],
    "#;
    let line = format!(
        "{} {}\n",
        text.trim().replace('\n', ""),
        r#""boundary": [], "grants": ["r:read @n", {"role": "R", "at": ["n", "m"]}, {"rights": "r"}]}"#
    );
    let (found, faults) = read(PeopleFormat::JsonLines, &line);
    assert_eq!(faults, [""; 0]);
    let [a] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((a.id.value.as_str(), a.status, plain(&a.flags)), ("a", Status::Inactive, vec!["x"]));
    assert_eq!((plain(&a.groups), plain(a.boundary.as_ref().unwrap())), (vec!["g", "hä"], vec![]));
    let grants: Vec<String> = a.grants.iter().map(told).collect();
    assert_eq!(grants, ["r:read @n", r#"role "R" at ["n", "m"]"#, r#"rights ["r"] at []"#]);
}

#[test]
fn numbers_and_truth_values_of_json_are_texts_as_in_yaml_and_nothing_is_a_fault() {
    let (found, faults) = read(PeopleFormat::JsonLines, "{\"id\":1e3,\"tenant\":true,\"oid\":-0.50,\"status\":null}\n");
    assert_eq!((found.len(), faults), (1, vec!["wrong_type"]));
    let PrincipalDocument { id, tenant, known_by, .. } = &found[0];
    assert_eq!((id.value.as_str(), tenant.value.as_str(), known_by.text().value.as_str()), ("1e3", "true", "-0.50"));
}

/// Lines, and the code of the one fault that each has.
const FAULTY_ROWS: &[(&str, &str)] = &[
    ("a\tt\to\t\t", "wrong_cells"),
    ("a\tt\to\t\t\t\t", "wrong_cells"),
    ("a", "wrong_cells"),
    ("\tt\to\t\t\t", "missing_key"),
    ("a\t \to\t\t\t", "missing_key"),
    ("a\tt\t\t\t\t", "missing_key"),
    ("a\tt\to\ts\t\t", "conflict"),
    ("a\tt\to\t\tr,,s\t", "empty_entry"),
    ("a\tt\to\t\tr,\t", "empty_entry"),
    ("a\tt\to\t\t\\x\t", "bad_escape"),
    ("CORP\\a\tt\to\t\t\t", "bad_escape"),
    ("a\\\tt\to\t\t\t", "bad_escape"),
    ("a\rb\tt\to\t\t\t", "control_character"),
    ("a\u{7f}\tt\to\t\t\t", "control_character"),
    ("a\tt\to\t\t\tactiv", "unknown_value"),
];

const FAULTY_OBJECTS: &[(&str, &str)] = &[
    ("{", "syntax"),
    ("{\"id\":\"a\"} x", "syntax"),
    ("id: a", "syntax"),
    ("{'id':'a'}", "syntax"),
    ("{\"id\":\"\\ud800\",\"tenant\":\"t\",\"oid\":\"o\"}", "syntax"),
    ("[]", "wrong_type"),
    ("\"a\"", "wrong_type"),
    ("null", "wrong_type"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"id\":\"b\"}", "duplicate_key"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"grants\":[{\"role\":\"a\",\"role\":\"b\"}]}", "duplicate_key"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"flag\":[]}", "unknown_key"),
    ("{\"id\":\"a\",\"tenant\":\"t\"}", "missing_key"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"subject\":\"s\"}", "conflict"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"grants\":\"r\"}", "wrong_type"),
    ("{\"id\":\"a\",\"tenant\":\"t\",\"oid\":\"o\",\"grants\":[[[[[[[[[]]]]]]]]]}", "too_deep"),
    ("{\"id\":[\"a\"],\"tenant\":\"t\",\"oid\":\"o\"}", "wrong_type"),
];

#[test]
fn every_fault_of_a_line_is_told_and_leaves_the_other_lines_alone() {
    let table =
        |line: &str| format!("id\ttenant\toid\tsubject\tgrants\tstatus\nx\tt\to\t\t\t\n{line}\ny\tt\to\t\t\t\n");
    let json = |line: &str| {
        let sound = "{\"id\":\"x\",\"tenant\":\"t\",\"oid\":\"o\"}";
        format!("{sound}\n{line}\n{sound}\n")
    };
    let rows = FAULTY_ROWS.iter().map(|(line, code)| (PeopleFormat::Table, table(line), line, code));
    let objects = FAULTY_OBJECTS.iter().map(|(line, code)| (PeopleFormat::JsonLines, json(line), line, code));
    for (format, text, line, code) in rows.chain(objects) {
        let (found, faults) = read(format, &text);
        assert_eq!(faults, [*code], "{line}");
        let sound = found.iter().filter(|principal| principal.id.value == "x" || principal.id.value == "y").count();
        assert_eq!(sound, 2, "{line}");
    }
}

#[test]
fn what_is_taken_apart_quickly_is_only_what_has_no_fault_of_its_line() {
    let faulty = [
        (PeopleFormat::Table, "id\ttenant\toid\tsubject\tgrants\tstatus\n", FAULTY_ROWS),
        (PeopleFormat::JsonLines, "", FAULTY_OBJECTS),
    ];
    // These are faults of a single text, which is looked at apart.
    let of_texts = ["empty_entry", "unknown_value", "too_deep"];
    for (format, head, lines) in faulty {
        for (line, code) in lines.iter().filter(|(_, code)| !of_texts.contains(code)) {
            let text = format!("{head}{line}\n");
            let mut report = Report::new();
            let source = report.add_source("people", text.as_str());
            let reader = Reader::new(source, format, &text, &mut report).unwrap();
            let line = reader.lines().iter().next().unwrap();
            let inner = line.text.contains("\"role\":\"a\",\"role\"");
            assert_eq!(reader.quick(line, &mut Vec::new()).is_some(), inner, "{code}: {}", line.text);
        }
    }
}

#[test]
fn a_person_taken_apart_is_the_principal_of_the_line() {
    let cases = [
        (
            PeopleFormat::Table,
            "id\tflags\ttenant\toid\tsubject\tgrants\tboundary\n p \ta, b\tt\t\ts\tr:read @n , role=R\tn\n",
        ),
        (
            PeopleFormat::JsonLines,
            "{ \"id\" : \"p\\u0020\", \"tenant\":\"t\",\"subject\":\"s\",\"flags\":[\"a\", \"b\"],\"boundary\":\"n\",\"grants\":[\"r\" , {\"role\":\"R\"}]}\n",
        ),
    ];
    for (format, text) in cases {
        let mut report = Report::new();
        let source = report.add_source("people", text);
        let reader = Reader::new(source, format, text, &mut report).unwrap();
        let line = reader.lines().iter().next().unwrap();
        let mut grants = Vec::new();
        let quick = reader.quick(line, &mut grants).unwrap();
        let document = reader.document(line, &mut report).unwrap();
        assert_eq!(quick.id, document.id.value);
        assert_eq!(quick.known_by, KnownBy::Subject(document.known_by.text().value.as_str().into()));
        assert_eq!(grants.len(), document.grants.len());
        for (written, grant) in grants.iter().zip(&document.grants) {
            let place = grant.place();
            assert_eq!(text[place.start as usize..place.end as usize].trim_matches('"'), written.trim_matches('"'));
        }
        assert_eq!(report.errors(), 0);
    }
}

#[test]
fn the_first_line_of_a_table_names_known_columns_each_once_and_those_that_everybody_needs() {
    for (head, code) in [
        ("id\ttenant\toid\trole", "unknown_column"),
        ("ID\tid\ttenant\toid", "unknown_column"),
        ("id\ttenant\toid\tid", "duplicate_column"),
        ("id\ttenant", "missing_column"),
        ("id\toid", "missing_column"),
        ("tenant\toid", "missing_column"),
    ] {
        let (found, faults) = read(PeopleFormat::Table, &format!("{head}\na\tb\tc\td\n"));
        assert_eq!((found.len(), faults), (0, vec![code]), "{head}");
    }
    let (found, faults) = read(PeopleFormat::Table, "id\ttenant\tsubject\n");
    assert_eq!((found.len(), faults), (0, vec![]));
}

#[test]
fn a_line_has_a_most_length() {
    let line = |length: usize| format!("id\ttenant\toid\np\tt\t{}\n", "x".repeat(length - 4));
    assert_eq!(read(PeopleFormat::Table, &line(Bounds::LINE)).1, [""; 0]);
    assert_eq!(read(PeopleFormat::Table, &line(Bounds::LINE + 1)).1, ["line_too_long"]);
}

#[test]
fn after_many_faults_the_rest_is_not_read() {
    let text = format!("id\ttenant\toid\n{}", "x\n".repeat(3 * Bounds::FAULTS));
    let mut report = Report::new();
    let source = report.add_source("people", text);
    read_people(source, PeopleFormat::Table, &mut report);
    assert_eq!(report.errors(), Bounds::FAULTS + 1);
}

#[test]
fn no_more_principals_are_read_than_there_may_be() {
    let text = "id\ttenant\toid\na\tt\to\nb\tt\to\n";
    for (most, faults) in [(0, 1), (1, 1), (2, 0)] {
        let mut report = Report::new();
        let source = report.add_source("people", text);
        let found = read_up_to(most, source, PeopleFormat::Table, &mut report);
        assert_eq!((found.len(), report.errors()), (most, faults));
    }
}

#[test]
fn a_document_names_so_many_files_at_most() {
    let names: Vec<String> = (0..=Bounds::FILES).map(|number| format!("{number}.tsv")).collect();
    for (count, faults) in [(Bounds::FILES, 0), (Bounds::FILES + 1, 1)] {
        let mut report = Report::new();
        let text = format!("version: 1\ndomain: d\nprincipals_from: [{}]\n", names[..count].join(", "));
        let source = report.add_source("grants.yaml", text);
        let document = crate::document::read_grants(source, &mut report).unwrap();
        assert_eq!((document.principals_from.len(), report.errors()), (Bounds::FILES, faults));
    }
}
