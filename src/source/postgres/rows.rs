//! Rows as JSON lines: each an object with the keys of an entry of `principals`, which is what files of principals have
//! as well. The id stands first.
//!
//! Texts and lists keep apart what the database keeps apart: no name that stands in a column can become two, or turn
//! into something else, whatever is in it.

use std::borrow::Cow;

use tokio_postgres::Column;
use tokio_postgres::types::{Kind, Type};

use super::Fault;

/// The columns that may be there, `id` first, and whether they are lists.
const COLUMNS: [(&str, bool); 9] = [
    ("id", false),
    ("tenant", false),
    ("oid", false),
    ("subject", false),
    ("status", false),
    ("flags", true),
    ("groups", true),
    ("boundary", true),
    ("grants", true),
];

/// Where an object begins.
const BEGIN: &str = "{\"id\":";

/// Rows as JSON lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All lines, each with its end.
    pub text: String,
    /// How many.
    pub count: usize,
}

/// Which of the columns a query has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape(Vec<(&'static str, bool)>);

impl Shape {
    /// Checks the columns of a query.
    pub(super) fn of(columns: &[Column]) -> Result<Self, Fault> {
        for column in columns {
            let Some((name, is_list)) = COLUMNS.iter().find(|(name, _)| *name == column.name()) else {
                let known = COLUMNS.map(|(name, _)| format!("`{name}`")).join(", ");
                return Err(Fault::new(format!("the query has a column `{}`; known: {known}", column.name())));
            };
            let kind = column.type_();
            let lists = matches!(kind.kind(), Kind::Array(_)) || [Type::JSON, Type::JSONB].contains(kind);
            if *is_list != lists {
                let wanted = if *is_list { "an array or JSON" } else { "a single value" };
                return Err(Fault::new(format!("the column `{name}` of the query must be {wanted}, but is {kind}")));
            }
        }
        let has = |name: &str| columns.iter().filter(|column| column.name() == name).count();
        if let Some((name, _)) = COLUMNS.iter().find(|(name, _)| has(name) > 1) {
            return Err(Fault::new(format!("the query has two columns `{name}`")));
        }
        let missing = [("id", has("id")), ("tenant", has("tenant")), ("oid` or `subject", has("oid") + has("subject"))];
        if let Some((name, _)) = missing.into_iter().find(|(_, count)| *count == 0) {
            return Err(Fault::new(format!("the query has no column `{name}`")));
        }
        Ok(Self(COLUMNS.into_iter().filter(|(name, _)| has(name) > 0).collect()))
    }

    /// What is to be selected of the query, named `p`: texts, and lists as JSON.
    pub(super) fn selected(&self) -> String {
        let one = |(name, is_list): &(&str, bool)| match is_list {
            true => format!("to_jsonb(p.\"{name}\")::text"),
            false => format!("p.\"{name}\"::text"),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Adds a line. `cell` has the value of a column by its number.
    pub(super) fn add<'c>(
        &self,
        lines: &mut Lines,
        cell: impl Fn(usize) -> Result<Option<&'c str>, Fault>,
    ) -> Result<(), Fault> {
        let text = &mut lines.text;
        for (number, (name, is_list)) in self.0.iter().enumerate() {
            let value = cell(number)?;
            // No list is none, and of `oid` and `subject` one may be missing. Anything else that is null is a fault of
            // the row: a state that is not known is not `active`.
            if value.is_none() && (*is_list || matches!(*name, "oid" | "subject")) {
                continue;
            }
            text.push_str(if number == 0 { "{" } else { "," });
            text.push('"');
            text.push_str(name);
            text.push_str("\":");
            match value {
                Some(value) if *is_list => text.push_str(value),
                Some(value) => quote(value, text)?,
                None => text.push_str("null"),
            }
        }
        text.push_str("}\n");
        lines.count += 1;
        Ok(())
    }
}

/// Adds a text as a string of JSON.
fn quote(text: &str, out: &mut String) -> Result<(), Fault> {
    if text.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\')) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return Ok(());
    }
    out.push_str(&serde_json::to_string(text).map_err(|error| Fault::new(error.to_string()))?);
    Ok(())
}

/// The id that a line begins with; nothing if it is null.
pub fn id_of(line: &str) -> Option<Cow<'_, str>> {
    let rest = line.strip_prefix(BEGIN)?;
    let inner = rest.strip_prefix('"')?;
    let end = inner.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (plain, behind) = inner.split_at_checked(end)?;
    if behind.starts_with('"') {
        return Some(Cow::Borrowed(plain));
    }
    let mut first = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    first.next()?.ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape() -> Shape {
        Shape(
            COLUMNS
                .into_iter()
                .filter(|(name, _)| ["id", "tenant", "oid", "status", "grants"].contains(name))
                .collect(),
        )
    }

    fn line(cells: [Option<&str>; 5]) -> String {
        let mut lines = Lines::default();
        shape().add(&mut lines, |number| Ok(cells[number])).unwrap();
        lines.text
    }

    #[test]
    fn a_row_is_an_object_with_its_id_first_and_without_what_it_does_not_say() {
        assert_eq!(
            line([Some("olga"), Some("t"), Some("1"), Some("active"), Some("[\"a\"]")]),
            "{\"id\":\"olga\",\"tenant\":\"t\",\"oid\":\"1\",\"status\":\"active\",\"grants\":[\"a\"]}\n"
        );
        assert_eq!(line([None, Some("t"), None, None, None]), "{\"id\":null,\"tenant\":\"t\",\"status\":null}\n");
    }

    #[test]
    fn texts_and_lists_are_selected_as_such() {
        assert_eq!(
            shape().selected(),
            "p.\"id\"::text, p.\"tenant\"::text, p.\"oid\"::text, p.\"status\"::text, to_jsonb(p.\"grants\")::text"
        );
    }

    proptest! {
        #[test]
        fn every_text_stays_one_text_on_one_line(id in any::<String>(), tenant in any::<String>()) {
            let line = line([Some(&id), Some(&tenant), None, Some("active"), None]);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["id"].as_str(), Some(id.as_str()));
            prop_assert_eq!(read["tenant"].as_str(), Some(tenant.as_str()));
            prop_assert_eq!(id_of(&line).unwrap(), id);
        }
    }
}
