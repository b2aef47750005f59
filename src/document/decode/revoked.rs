//! Reads `revoked.yaml`, and the same entries as operators send them.

use super::{Field, conflict, fields, file, not_empty, scalar};
use crate::diag::Report;
use crate::document::parse::{Node, Shape};
use crate::document::revoked::{PrincipalNameDocument, RevocationDocument, TargetDocument};
use crate::telemetry;

/// Most entries of one document.
const ENTRIES: usize = 1_000_000;

/// Reads the whole file. `None` when it is no map, of another version, or has no `revoked`: that would take back
/// everything, so it must be said (`revoked: []`).
pub(in crate::document) fn revoked(root: &Node, report: &mut Report) -> Option<Vec<RevocationDocument>> {
    let [_, revoked] = file(root, ["version", "revoked"], report)?;
    revoked.need(report)?;
    Some(entries(revoked, report))
}

/// Reads one entry, or `{revoked: [...]}` with at least one.
pub(in crate::document) fn revocations(root: &Node, report: &mut Report) -> Option<Vec<RevocationDocument>> {
    let several = matches!(root.shape(), Shape::Map(entries) if entries.iter().any(|entry| &*entry.key == "revoked"));
    if !several {
        return entry(root, report).map(|entry| vec![entry]);
    }
    let [revoked] = fields(root, "this body", ["revoked"], report)?;
    not_empty(revoked.need(report)?, "revoked", report);
    Some(entries(revoked, report))
}

fn entries(field: Field<'_>, report: &mut Report) -> Vec<RevocationDocument> {
    let items = field.items(report);
    if items.len() > ENTRIES {
        let place = field.node.map(|node| node.place);
        let message = format!("`revoked` has {} entries, of which {ENTRIES} are read at most", items.len());
        report.error("too_large", place, message).help("take out those whose tokens have expired long since");
        return Vec::new();
    }
    items.iter().filter_map(|node| entry(node, report)).collect()
}

fn entry(node: &Node, report: &mut Report) -> Option<RevocationDocument> {
    let keys = ["principal", "issued_before", "uti", "jti", "tenant", "added_at"];
    let [principal, issued_before, uti, jti, tenant, added_at] = fields(node, "this revocation", keys, report)?;
    let named: Vec<_> = [principal, uti, jti].into_iter().filter_map(|field| Some((field.key, field.node?))).collect();
    let (first, rest) = named.split_first().map_or((None, &[][..]), |(first, rest)| (Some(*first), rest));
    if let Some(second) = rest.first()
        && let Some(first) = first
    {
        conflict(first, *second, "make two entries of it", report);
        return None;
    }
    let added_at = moment(added_at, report);
    let target = match first {
        Some(("principal", named)) => {
            outside("tenant", tenant, "name the tenant inside of `principal`", report);
            let issued_before = moment(issued_before, report);
            self::principal(named, issued_before?, report)
        }
        Some(_) => {
            outside("issued_before", issued_before, "one token was issued at one moment: leave it out", report);
            let id = if uti.node.is_some() { uti.text(report) } else { jti.text(report) };
            Some(TargetDocument::Token { id: id?, tenant: tenant.text(report) })
        }
        None => {
            let message = "this revocation says neither whose tokens nor which token";
            report
                .error("missing_key", node.place, message)
                .help("add `principal: {tenant: ..., oid: ...}` or `uti: ...`");
            None
        }
    };
    Some(RevocationDocument { place: node.place, target: target?, added_at: added_at? })
}

/// Reports a key that cannot stand where it does.
fn outside(key: &str, field: Field<'_>, help: &str, report: &mut Report) {
    if let Some(node) = field.node {
        report.error("conflict", node.place, format!("`{key}` cannot stand in this revocation")).help(help);
    }
}

fn principal(node: &Node, issued_before: Option<u64>, report: &mut Report) -> Option<TargetDocument> {
    let [tenant, oid, subject] = fields(node, "this revoked principal", ["tenant", "oid", "subject"], report)?;
    let tenant = tenant.need_text(report);
    let name = match (oid.node, subject.node) {
        (Some(first), Some(second)) => {
            conflict(("oid", first), ("subject", second), "a principal has one of them", report);
            None
        }
        (None, Some(_)) => subject.text(report).map(PrincipalNameDocument::Subject),
        (_, None) => oid.need_text(report).map(PrincipalNameDocument::Oid),
    };
    Some(TargetDocument::Principal { tenant: tenant?, name: name?, issued_before })
}

/// A moment, where there is one: RFC 3339 or Unix seconds. `None` when it is neither.
fn moment(field: Field<'_>, report: &mut Report) -> Option<Option<u64>> {
    let Some(node) = field.node else { return Some(None) };
    let written = scalar::text(node, super::Name::Key(field.key), report)?;
    let seconds = telemetry::moment(&written.value);
    if seconds.is_none() {
        let message = format!("`{}` must be a moment, but is `{}`", field.key, written.value);
        report
            .error("bad_value", node.place, message)
            .help("write it as RFC 3339 does, `2026-11-22T10:00:00Z`, or as Unix seconds");
    }
    seconds.map(Some)
}

#[cfg(test)]
mod tests {
    use crate::diag::Report;
    use crate::document::revoked::{PrincipalNameDocument, RevocationDocument, TargetDocument};
    use crate::document::{read_revocations, read_revoked};

    fn read(text: &str) -> (Option<Vec<RevocationDocument>>, Report) {
        let mut report = Report::new();
        let source = report.add_source("revoked.yaml", text);
        (read_revoked(source, &mut report), report)
    }

    fn codes(report: &Report) -> Vec<&'static str> {
        report.diagnostics().iter().map(|found| found.code).collect()
    }

    #[test]
    fn every_key_is_read() {
        let (entries, report) = read(
            "version: 1
revoked:
  - {principal: {tenant: uss, oid: 0f6f}}
  - {principal: {tenant: sso, subject: \"a/b\"}, issued_before: 2026-11-22T10:00:00Z, added_at: 7}
  - {uti: x, tenant: uss}
  - {jti: 12}
",
        );
        assert_eq!(report.render(), "");
        let entries = entries.unwrap();
        let TargetDocument::Principal { tenant, name: PrincipalNameDocument::Oid(oid), issued_before: None } =
            &entries[0].target
        else {
            panic!("{entries:?}")
        };
        assert_eq!((tenant.value.as_str(), oid.value.as_str()), ("uss", "0f6f"));
        let TargetDocument::Principal { name: PrincipalNameDocument::Subject(subject), issued_before, .. } =
            &entries[1].target
        else {
            panic!("{entries:?}")
        };
        assert_eq!((subject.value.as_str(), *issued_before), ("a/b", Some(1_795_341_600)));
        assert_eq!((entries[0].added_at, entries[1].added_at), (None, Some(7)));
        let TargetDocument::Token { id, tenant: Some(tenant) } = &entries[2].target else { panic!("{entries:?}") };
        assert_eq!((id.value.as_str(), tenant.value.as_str()), ("x", "uss"));
        assert!(matches!(&entries[3].target, TargetDocument::Token { id, tenant: None } if id.value == "12"));
    }

    #[test]
    fn nothing_is_revoked_only_where_the_file_says_so() {
        assert!(read("version: 1\nrevoked: []\n").0.is_some_and(|entries| entries.is_empty()));
        for text in
            ["", "\n", "# only a comment\n", "version: 1\n", "version: 1\nrevoked:\n", "version: 1\nrevoked: {}\n"]
        {
            assert!(read(text).1.has_errors(), "{text:?}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let cases = [
            ("{}", "missing_key"),
            ("{tenant: uss}", "missing_key"),
            ("{principal: {tenant: uss}}", "missing_key"),
            ("{principal: {oid: x}}", "missing_key"),
            ("{principal: {tenant: uss, oid: x, subject: y}}", "conflict"),
            ("{principal: {tenant: uss, oid: x}, uti: y}", "conflict"),
            ("{uti: x, jti: y}", "conflict"),
            ("{principal: {tenant: uss, oid: x}, tenant: uss}", "conflict"),
            ("{uti: x, issued_before: 1}", "conflict"),
            ("{principal: {tenant: uss, oid: x}, issued_before: now}", "bad_value"),
            ("{principal: {tenant: uss, oid: x}, issued_before: 1795341600000}", "bad_value"),
            ("{principal: {tenant: uss, oid: x}, issued_before: }", "wrong_type"),
            ("{uti: x, added_at: soon}", "bad_value"),
            ("{principal: uss}", "wrong_type"),
            ("{principal: {tenant: uss, oid: x}, reason: theft}", "unknown_key"),
            ("{uti: }", "wrong_type"),
            ("word", "wrong_type"),
        ];
        let text: String = cases.iter().map(|(entry, _)| format!("  - {entry}\n")).collect();
        let (_, report) = read(&format!("version: 1\nrevoked:\n{text}"));
        assert_eq!(codes(&report), cases.map(|(_, code)| code));
        for (number, found) in report.diagnostics().iter().enumerate() {
            assert_eq!(report.locate(found.place.unwrap()).line, number + 3, "{}", found.message);
        }
    }

    #[test]
    fn operators_send_one_entry_or_a_list_of_them() {
        let read = |text: &str| {
            let mut report = Report::new();
            let source = report.add_source("the request", text);
            (read_revocations(source, &mut report).map_or(0, |entries| entries.len()), codes(&report))
        };
        assert_eq!(read("{\"uti\": \"x\"}"), (1, vec![]));
        assert_eq!(read("{\"revoked\": [{\"uti\": \"x\"}, {\"uti\": \"\\u0079\"}]}"), (2, vec![]));
        assert_eq!(read("{\"revoked\": []}"), (0, vec!["empty_list"]));
        assert_eq!(read("{\"revoked\": [{\"uti\": \"x\"}], \"version\": 1}"), (1, vec!["unknown_key"]));
        assert_eq!(read("{\"uti\": \"x\", \"uti\": \"y\"}"), (1, vec!["duplicate_key"]));
        assert_eq!(read("[{\"uti\": \"x\"}]"), (0, vec!["wrong_type"]));
    }
}
