//! Reads the entrance of an application: `token`, `cors`, `resource_metadata`, `backend`.

use super::{Field, Name, conflict, fields, not_empty, scalar, unknown, wrong};
use crate::diag::Report;
use crate::document::Located;
use crate::document::entrance::{BackendDocument, CorsDocument, MetadataDocument, TokenPlaceDocument};
use crate::document::parse::{Node, Shape};
use crate::model::Dialect;

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

/// `backend`: a dialect, or a map that also says what differs from it.
pub(super) fn backend(field: Field<'_>, report: &mut Report) -> BackendDocument {
    let Some(node) = field.node else { return BackendDocument::default() };
    match node.shape() {
        Shape::Scalar { .. } if !node.is_nothing() => {
            BackendDocument { dialect: dialect(field, report), ..BackendDocument::default() }
        }
        Shape::Map(_) => {
            let keys = ["dialect", "encoded_slash", "semicolon", "case_insensitive"];
            let Some([name, encoded_slash, semicolon, case_insensitive]) = fields(node, "this backend", keys, report)
            else {
                return BackendDocument::default();
            };
            let exception = |field: Field<'_>, report: &mut Report| scalar::flag(field.node?, field.key, report);
            BackendDocument {
                dialect: dialect(name, report),
                encoded_slash: exception(encoded_slash, report),
                semicolon: exception(semicolon, report),
                case_insensitive: exception(case_insensitive, report),
            }
        }
        Shape::Scalar { .. } | Shape::List(_) => {
            wrong(node, Name::Key(field.key), "a word or a map", report)
                .help("write `strict`, `iis`, `tomcat`, `php` or `{dialect: ..., semicolon: true}`");
            BackendDocument::default()
        }
    }
}

fn dialect(field: Field<'_>, report: &mut Report) -> Dialect {
    field.choice(&Dialect::ALL.map(|dialect| (dialect.word(), dialect)), report)
}
