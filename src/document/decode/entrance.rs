//! Reads the entrance of an application: `token`, `cors`, `resource_metadata`.

use super::{Field, conflict, fields, not_empty, scalar, unknown, wrong};
use crate::diag::Report;
use crate::document::Located;
use crate::document::entrance::{CorsDocument, MetadataDocument, TokenPlaceDocument};
use crate::document::parse::{Node, Shape};

/// The default of `max_age`, and its bounds, in milliseconds.
const MAX_AGE: u64 = 600_000;
const MAX_AGES: std::ops::RangeInclusive<u64> = 0..=86_400_000;

/// `token`: one place or a list of places; empty where nothing is written.
pub(super) fn token(field: Field<'_>, report: &mut Report) -> Vec<TokenPlaceDocument> {
    let Some(node) = field.node else { return Vec::new() };
    not_empty(node, field.key, report);
    match node.shape() {
        Shape::List(items) => items.iter().filter_map(|item| place(item, report)).collect(),
        Shape::Scalar { .. } | Shape::Map(_) => place(node, report).into_iter().collect(),
    }
}

fn place(node: &Node, report: &mut Report) -> Option<TokenPlaceDocument> {
    match node.shape() {
        Shape::Scalar { text, .. } if &**text == "bearer" => Some(TokenPlaceDocument::Bearer(node.place)),
        Shape::Scalar { text, .. } if matches!(&**text, "cookie" | "header") => {
            report
                .error("unknown_value", node.place, format!("`{text}` needs the name of the {text}"))
                .help(format!("write `{{{text}: NAME}}`"));
            None
        }
        Shape::Scalar { text, .. } if !node.is_nothing() => {
            let subject = format!("place of a token `{text}`");
            unknown("unknown_value", node.place, &subject, text, &["bearer", "cookie", "header"], report);
            None
        }
        Shape::Map(_) => {
            let [cookie, header] = fields(node, "this token place", ["cookie", "header"], report)?;
            match (cookie.node, header.node) {
                (None, None) => {
                    let help = "write `bearer`, `{cookie: NAME}` or `{header: NAME}`";
                    report
                        .error("missing_key", node.place, "this token place names neither `cookie` nor `header`")
                        .help(help);
                    None
                }
                (Some(first), Some(second)) => {
                    let help = "write two entries, each with one of them";
                    conflict(("cookie", first), ("header", second), help, report);
                    None
                }
                (None, Some(_)) => header.text(report).map(TokenPlaceDocument::Header),
                (Some(_), None) => cookie.need_text(report).map(TokenPlaceDocument::Cookie),
            }
        }
        Shape::Scalar { .. } | Shape::List(_) => {
            wrong(node, "a place of a token", "`bearer`, `{cookie: NAME}` or `{header: NAME}`", report);
            None
        }
    }
}

/// `cors`.
pub(super) fn cors(field: Field<'_>, report: &mut Report) -> Option<CorsDocument> {
    let node = field.node?;
    let keys = ["origins", "methods", "headers", "expose", "credentials", "max_age"];
    let [origins, methods, headers, expose, credentials, max_age] = fields(node, "this cors", keys, report)?;
    let credentials_at = credentials.node.map_or(node.place, |node| node.place);
    Some(CorsDocument {
        place: node.place,
        origins: origins.some_texts(report),
        methods: methods.node.is_some().then(|| methods.some_texts(report)),
        headers: headers.node.is_some().then(|| headers.texts(report)),
        expose: expose.texts(report),
        credentials: Located::new(credentials_at, credentials.flag(false, report)),
        max_age: max_age.duration(MAX_AGE, MAX_AGES, report),
    })
}

/// `resource_metadata`: `true`, `false` (the default) or a map.
pub(super) fn metadata(field: Field<'_>, report: &mut Report) -> Option<MetadataDocument> {
    let node = field.node?;
    if let Shape::Map(_) = node.shape() {
        let [scopes] = fields(node, "this resource_metadata", ["scopes"], report)?;
        return Some(MetadataDocument { place: node.place, scopes: scopes.some_texts(report) });
    }
    let on = scalar::flag(node, field.key, report)?;
    on.then_some(MetadataDocument { place: node.place, scopes: Vec::new() })
}
