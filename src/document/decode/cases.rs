//! `tests:` of a route map or of a file of their own.

use super::scalar;
use super::{Entry, Field, Name, entries, fields, file};
use crate::diag::Report;
use crate::document::parse::Node;
use crate::document::routes::TestDocument;
use crate::document::{Entries, Literal, Located};

/// A file that holds nothing but tests.
pub(in crate::document) fn tests(root: &Node, report: &mut Report) -> Option<Vec<TestDocument>> {
    let [_, tests] = file(root, ["version", "tests"], report)?;
    Some(cases(tests, report))
}

/// The entries of `tests:`.
pub(super) fn cases(tests: Field<'_>, report: &mut Report) -> Vec<TestDocument> {
    tests.items(report).iter().filter_map(|node| test(node, report)).collect()
}

fn test(node: &Node, report: &mut Report) -> Option<TestDocument> {
    let keys = ["id", "as", "request", "headers", "form", "token", "settings", "objects", "expect", "reason"];
    let [id, principal, request, headers, form, token, settings, objects, expect, reason] =
        fields(node, "this test", keys, report)?;
    let id = id.need_text(report);
    let principal = principal.text(report);
    let request = request.need_text(report);
    if let Some(request) = &request
        && request.value.split_once(' ').is_none_or(|(method, url)| method.is_empty() || url.trim().is_empty())
    {
        report
            .error("bad_value", request.place, "`request` must be a method and a URL")
            .help("write `GET https://host/path`");
    }
    let headers = headers.pairs(report);
    let form = form.pairs(report);
    let token = token.node.map(|node| claims(node, report)).unwrap_or_default();
    let settings = settings.literals(report);
    let objects = objects
        .entries(report)
        .iter()
        .map(|entry| (entry.name(), scalar::literals(&entry.value, Name::Key(&entry.key), report)))
        .collect();
    let reason = reason.text(report);
    let words = [("allow", true), ("deny", false)];
    let allow = expect.need(report).and_then(|node| scalar::choice(node, "expect", &words, report));
    if let (Some(true), Some(reason)) = (allow, &reason) {
        report
            .error("conflict", reason.place, "a request that is allowed has no `reason`")
            .help("remove `reason`, or write `expect: deny`");
    }
    Some(TestDocument {
        place: node.place,
        id: id?,
        principal,
        request: request?,
        headers,
        form,
        token,
        settings,
        objects,
        allow: allow?,
        reason,
    })
}

fn claims(node: &Node, report: &mut Report) -> Entries<Located<Literal>> {
    // The keys are checked, then read in the order of writing.
    if fields(node, "this token", ["tenant", "aud", "roles", "groups", "client", "class"], report).is_none() {
        return Vec::new();
    }
    let entries = entries(node, Name::Key("token"), report).unwrap_or_default();
    let claim = |entry: &Entry| {
        let value = scalar::literal(&entry.value, Name::Key(&entry.key), report)?;
        Some((entry.name(), Located::new(entry.value.place, value)))
    };
    entries.iter().filter_map(claim).collect()
}
