//! `GET /openapi.json`: all pages with their parameters, answers and schemas, for programs and their makers.

/// The document.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::admin::pages::{PAGES, Page};

    fn document() -> Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    /// Each method of each path, and whether it needs the token.
    type Calls = BTreeSet<(String, String, bool)>;

    #[test]
    fn every_page_is_in_it_with_its_methods_and_nothing_else_is() {
        let document = document();
        let told: Calls = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().iter().map(move |(method, call)| (path, method, call))
            })
            .map(|(path, method, call)| {
                let guarded = call["security"] == serde_json::json!([{"token": []}, {"certificate": []}]);
                assert!(guarded || call.get("security").is_none(), "{path}");
                for status in ["401", "403", "429"] {
                    assert_eq!(call["responses"].get(status).is_some(), guarded, "{method} {path} {status}");
                }
                (path.clone(), method.to_uppercase(), guarded)
            })
            .collect();
        let answered: Calls = PAGES
            .iter()
            .flat_map(|entry| entry.methods.split(", ").map(move |method| (entry, method)))
            // It comes with GET, as the document says.
            .filter(|(_, method)| *method != "HEAD")
            .map(|(entry, method)| (entry.path.to_owned(), method.to_owned(), matches!(entry.page, Page::Guarded(_))))
            .collect();
        assert_eq!(told, answered);
    }

    #[test]
    fn what_it_refers_to_is_there_and_what_is_there_is_referred_to() {
        let document = document();
        let mut referred = BTreeSet::new();
        let mut rest = vec![&document];
        while let Some(value) = rest.pop() {
            match value {
                Value::Object(members) => rest.extend(members.values()),
                Value::Array(items) => rest.extend(items),
                _ => {}
            }
            if let Some(Value::String(name)) = value.get("$ref") {
                assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
                referred.insert(name.clone());
            }
        }
        for kind in ["schemas", "responses"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(referred.contains(&format!("#/components/{kind}/{name}")), "{name}");
            }
        }
    }
}
