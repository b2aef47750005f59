//! Reads the entries of `grants` of `gateway.yaml`: paths, and databases.

use super::{Field, Name, conflict, fields, not_empty, scalar, texts};
use crate::diag::Report;
use crate::document::Located;
use crate::document::database::{DatabaseDocument, QueriesDocument};
use crate::document::parse::{Node, Shape};

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
    Some(DatabaseDocument {
        place: node.place,
        domain: domain.need_text(report)?,
        url: url.text(report),
        url_file: url_file.text(report),
        tls: tls.flag(false, report),
        ca: ca.text(report),
        insecure_plaintext: insecure_plaintext.flag(false, report),
        queries,
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
