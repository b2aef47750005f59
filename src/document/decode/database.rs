//! Reads the entries of `grants` of `gateway.yaml`: paths, and databases.

use super::{Field, Name, conflict, fields, not_empty, scalar, texts};
use crate::diag::Report;
use crate::document::Located;
use crate::document::database::{DatabaseDocument, ObjectsDocument, QueriesDocument};
use crate::document::parse::{Entry, Node, Shape};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;

const ON_STALE: [(&str, bool); 2] = [("serve", false), ("deny", true)];

/// Paths of documents, and databases.
pub(super) fn grants(field: Field<'_>, report: &mut Report) -> (Vec<Located<String>>, Vec<DatabaseDocument>) {
    let Some(node) = field.need(report) else { return Default::default() };
    not_empty(node, field.key, report);
    let Shape::List(items) = node.shape() else { return (texts(node, field.key, report), Vec::new()) };
    let (mut paths, mut databases) = (Vec::new(), Vec::new());
    for item in items {
        match item.shape() {
            Shape::Map(_) => {
                let entry = fields(item, "this entry of `grants`", ["postgres"], report);
                let named = entry.and_then(|[postgres]| postgres.need(report));
                databases.extend(named.and_then(|node| database(node, report)));
            }
            Shape::Scalar { .. } | Shape::List(_) => paths.extend(scalar::text(item, Name::EntryOf("grants"), report)),
        }
    }
    (paths, databases)
}

fn database(node: &Node, report: &mut Report) -> Option<DatabaseDocument> {
    let keys = [
        "domain",
        "url",
        "url_file",
        "tls",
        "ca",
        "insecure_plaintext",
        "queries",
        "objects",
        "notify",
        "poll",
        "reconcile",
        "max_staleness",
        "on_stale",
        "connect_timeout",
        "statement_timeout",
        "load_timeout",
        "start_timeout",
    ];
    let [
        domain,
        url,
        url_file,
        tls,
        ca,
        insecure_plaintext,
        queries,
        objects,
        notify,
        poll,
        reconcile,
        max_staleness,
        on_stale,
        connect_timeout,
        statement_timeout,
        load_timeout,
        start_timeout,
    ] = fields(node, "`postgres`", keys, report)?;
    match (url.node, url_file.node) {
        (Some(first), Some(second)) => {
            conflict(("url", first), ("url_file", second), "name the database once", report);
        }
        (None, None) => drop(url.need(report)),
        _ => {}
    }
    let queries = match queries.node {
        Some(node) => Some(self::queries(node, report)?),
        None => None,
    };
    let is_own = queries.is_none();
    Some(DatabaseDocument {
        place: node.place,
        domain: domain.need_text(report)?,
        url: url.text(report),
        url_file: url_file.text(report),
        tls: tls.flag(false, report),
        ca: ca.text(report),
        insecure_plaintext: insecure_plaintext.flag(false, report),
        queries,
        objects: objects.entries(report).iter().filter_map(|entry| kind(entry, is_own, report)).collect(),
        notify: notify.text(report),
        poll: poll.duration(5 * SECOND, SECOND..=60 * MINUTE, report),
        reconcile: reconcile.duration(5 * MINUTE, SECOND..=DAY, report),
        max_staleness: max_staleness.duration(15 * MINUTE, 2 * SECOND..=30 * DAY, report),
        deny_when_stale: on_stale.choice(&ON_STALE, report),
        connect_timeout: connect_timeout.duration(5 * SECOND, 100..=MINUTE, report),
        statement_timeout: statement_timeout.duration(10 * SECOND, 100..=10 * MINUTE, report),
        load_timeout: load_timeout.duration(5 * MINUTE, SECOND..=60 * MINUTE, report),
        start_timeout: start_timeout.duration(30 * SECOND, 0..=60 * MINUTE, report),
    })
}

fn queries(node: &Node, report: &mut Report) -> Option<QueriesDocument> {
    let keys = ["principals", "principals_by_id", "changes", "position"];
    let [principals, by_id, changes, position] = fields(node, "`queries`", keys, report)?;
    Some(QueriesDocument {
        principals: principals.need_text(report)?,
        principals_by_id: by_id.text(report),
        changes: changes.text(report),
        position: position.text(report),
    })
}

/// A kind of objects that are looked up, in the product's own schema or another one. An attribute that is named twice is one.
fn kind(entry: &Entry, is_own: bool, report: &mut Report) -> Option<ObjectsDocument> {
    let keys = ["query", "attributes", "ttl", "wait", "most"];
    let [query, attributes, ttl, wait, most] = fields(&entry.value, "this kind of objects", keys, report)?;
    let kind = entry.name();
    if kind.value.contains(':') {
        let message = format!("`{}` is no kind of objects", kind.value);
        report.error("bad_name", kind.place, message).help("write what stands before the `:` in names of objects");
    }
    let query = query.text(report);
    if !is_own && query.is_none() {
        report
            .error("missing_key", entry.value.place, "`query` is missing")
            .help("with `queries`, nobody knows how objects are stored: write the query for the row of the key `$1`");
    }
    let mut attributes = attributes.some_texts(report);
    attributes.sort_by(|a, b| a.value.cmp(&b.value));
    attributes.dedup_by(|a, b| a.value == b.value);
    if let Some(reserved) = attributes.iter().find(|attribute| attribute.value == "id") {
        report
            .error("reserved_name", reserved.place, "the column `id` is the key, which is no attribute")
            .help("leave it out; the query must give it all the same");
    }
    Some(ObjectsDocument {
        kind,
        query,
        attributes,
        ttl: ttl.duration(30 * SECOND, 100..=60 * MINUTE, report),
        wait: wait.duration(500, 10..=10 * SECOND, report),
        most: most.number(10_000, 1..=1_000_000, report),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::gateway::GatewayDocument;
    use crate::document::read_gateway;

    fn read(grants: &str) -> (GatewayDocument, Report) {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: 127.0.0.1:1}}]\nroutes: r\ngrants: {grants}\n");
        let source = report.add_source("gateway.yaml", text);
        (read_gateway(source, &mut report).unwrap(), report)
    }

    #[test]
    fn a_database_stands_among_the_paths_and_has_defaults() {
        let (document, report) = read("[a.yaml, {postgres: {domain: d, url: u}}, b]");
        assert_eq!(report.render(), "");
        assert_eq!(document.grants.iter().map(|path| path.value.as_str()).collect::<Vec<_>>(), ["a.yaml", "b"]);
        let [database] = &document.databases[..] else { panic!() };
        assert_eq!((database.domain.value.as_str(), database.url.as_ref().unwrap().value.as_str()), ("d", "u"));
        assert!(database.queries.is_none() && database.notify.is_none() && database.ca.is_none());
        assert!(!(database.tls || database.insecure_plaintext || database.deny_when_stale));
        let times = [database.poll, database.reconcile, database.max_staleness, database.connect_timeout];
        assert_eq!(times.map(|time| time.as_secs()), [5, 300, 900, 5]);
        let times = [database.statement_timeout, database.load_timeout, database.start_timeout];
        assert_eq!(times.map(|time| time.as_secs()), [10, 300, 30]);
    }

    #[test]
    fn every_key_of_it_is_read() {
        let (document, report) = read(
            "[{postgres: {domain: d, url_file: f, tls: true, ca: c, insecure_plaintext: true, notify: n, poll: 1s, \
             reconcile: 2s, max_staleness: 3s, on_stale: deny, connect_timeout: 4s, statement_timeout: 5s, \
             load_timeout: 6s, start_timeout: 7s, \
             queries: {principals: a, principals_by_id: b, changes: c, position: d}}}]",
        );
        assert_eq!(report.render(), "");
        let database = &document.databases[0];
        let texts =
            [&database.url_file, &database.ca, &database.notify].map(|text| text.as_ref().unwrap().value.as_str());
        assert_eq!(texts, ["f", "c", "n"]);
        assert!(database.url.is_none() && database.tls && database.insecure_plaintext && database.deny_when_stale);
        let times = [
            database.poll,
            database.reconcile,
            database.max_staleness,
            database.connect_timeout,
            database.statement_timeout,
            database.load_timeout,
            database.start_timeout,
        ];
        assert_eq!(times.map(|time| time.as_secs()), [1, 2, 3, 4, 5, 6, 7]);
        let queries = database.queries.as_ref().unwrap();
        let others = [&queries.principals_by_id, &queries.changes, &queries.position];
        assert_eq!(queries.principals.value, "a");
        assert_eq!(others.map(|query| query.as_ref().unwrap().value.as_str()), ["b", "c", "d"]);
    }

    #[test]
    fn kinds_of_objects_have_queries_attributes_and_bounds() {
        let (document, report) = read(
            "[{postgres: {domain: d, url: u, objects: {ship: {query: q, attributes: [b, a, b]}, \
             \"to port\": {query: r, attributes: c, ttl: 100ms, wait: 10ms, most: 1}}}}]",
        );
        assert_eq!(report.render(), "");
        let [ship, port] = &document.databases[0].objects[..] else { panic!() };
        let names: Vec<_> = ship.attributes.iter().map(|attribute| attribute.value.as_str()).collect();
        assert_eq!((ship.kind.value.as_str(), names), ("ship", vec!["a", "b"]));
        assert_eq!(ship.query.as_ref().unwrap().value, "q");
        assert_eq!((ship.ttl.as_secs(), ship.wait.as_millis(), ship.most), (30, 500, 10_000));
        assert_eq!((port.ttl.as_millis(), port.wait.as_millis(), port.most), (100, 10, 1));
        for (objects, code) in [
            ("{ship: {query: q}}", "missing_key"),
            ("{ship: {attributes: [a]}}, queries: {principals: p}", "missing_key"),
            ("{ship: {query: q, attributes: []}}", "empty_list"),
            ("{ship: {query: q, attributes: [a, id]}}", "reserved_name"),
            ("{\"ship:1\": {query: q, attributes: [a]}}", "bad_name"),
            ("{ship: {query: q, attributes: [a], ttl: 2h}}", "out_of_range"),
            ("{ship: {query: q, attributes: [a], wait: 1m}}", "out_of_range"),
            ("{ship: {query: q, attributes: [a], most: 0}}", "out_of_range"),
            ("{ship: {query: q, attributes: [a], most: 1, x: 1}}", "unknown_key"),
        ] {
            let report = read(&format!("[{{postgres: {{domain: d, url: u, objects: {objects}}}}}]")).1;
            let codes: Vec<_> = report.diagnostics().iter().map(|found| found.code).collect();
            assert!(codes.contains(&code), "{objects}: {codes:?}");
        }
    }

    #[test]
    fn a_url_may_be_a_variable_and_nothing_else_may() {
        assert_eq!(read("[{postgres: {domain: d, url: \"${X}\"}}]").1.render(), "");
        for grants in
            ["[{postgres: {domain: \"${X}\", url: u}}]", "[\"${X}\"]", "[{postgres: {domain: d, url_file: \"${X}\"}}]"]
        {
            let codes: Vec<_> = read(grants).1.diagnostics().iter().map(|found| found.code).collect();
            assert_eq!(codes, ["environment"], "{grants}");
        }
    }

    #[test]
    fn what_it_cannot_do_without_is_asked_for() {
        for (grants, code) in [
            ("[{postgres: {url: u}}]", "missing_key"),
            ("[{postgres: {domain: d}}]", "missing_key"),
            ("[{postgres: {domain: d, url: u, url_file: f}}]", "conflict"),
            ("[{postgres: {domain: d, url: u, queries: {changes: c}}}]", "missing_key"),
            ("[{postgresql: {domain: d, url: u}}]", "unknown_key"),
            ("[]", "empty_list"),
        ] {
            let report = read(grants).1;
            assert!(report.diagnostics().iter().any(|found| found.code == code), "{grants}: {}", report.render());
        }
    }
}
