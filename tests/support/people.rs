//! Principals as they are in documents, written as the files that documents may name.

use portcullis::document::Located;
use portcullis::document::grants::{GrantDocument, PrincipalDocument, PrincipalName};
use portcullis::model::Status;
use serde_json::{Map, Value, json};

/// All of them as a table. `pad` stands around cells and entries, where it does not count.
pub fn table(people: &[PrincipalDocument], pad: &str) -> String {
    let mut text = "id\ttenant\toid\tsubject\tstatus\tflags\tgroups\tboundary\tgrants\n".to_owned();
    for principal in people {
        let known_by = escaped(&principal.known_by.text().value);
        let (oid, subject) = match principal.known_by {
            PrincipalName::ObjectId(_) => (known_by, String::new()),
            PrincipalName::Subject(_) => (String::new(), known_by),
        };
        let status = if principal.status == Status::Active { "" } else { principal.status.name() };
        let list = |texts: &[Located<String>]| texts.iter().map(|text| escaped(&text.value)).collect::<Vec<_>>();
        let cells = [
            vec![escaped(&principal.id.value)],
            vec![escaped(&principal.tenant.value)],
            vec![oid],
            vec![subject],
            vec![status.to_owned()],
            list(&principal.flags),
            list(&principal.groups),
            list(principal.boundary.as_deref().unwrap_or_default()),
            principal.grants.iter().flat_map(entries).collect(),
        ];
        let cells = cells.map(|entries| format!("{pad}{}{pad}", entries.join(&format!("{pad},{pad}"))));
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

/// A text that stands for itself wherever it is put.
fn escaped(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let spaces = |count: usize| "\\s".repeat(count);
    let before = text.len() - text.trim_start_matches(' ').len();
    let after = if inner.is_empty() { 0 } else { text.len() - before - inner.len() };
    let letters = inner.chars().map(|letter| match letter {
        '\\' | ',' | '@' => format!("\\{letter}"),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        other => other.to_string(),
    });
    format!("{}{}{}", spaces(before), letters.collect::<String>(), spaces(after))
}

/// The entries of a table that mean what an entry of YAML means.
fn entries(grant: &GrantDocument) -> Vec<String> {
    let nodes = |given: String, at: &[Located<String>]| match at {
        [] => vec![given],
        at => at.iter().map(|node| format!("{given}@{}", escaped(&node.value))).collect(),
    };
    match grant {
        GrantDocument::Right(text) => match text.value.split_once('@') {
            Some((right, node)) => vec![format!("{}@{}", escaped(right.trim()), escaped(node.trim()))],
            None => vec![escaped(&text.value)],
        },
        GrantDocument::Role { role, at, .. } => nodes(format!("role={}", escaped(&role.value)), at),
        GrantDocument::Rights { rights, at, .. } => {
            rights.iter().flat_map(|right| nodes(escaped(&right.value), at)).collect()
        }
    }
}

/// All of them as JSON lines. `ascii`: other letters are written by number.
pub fn json_lines(people: &[PrincipalDocument], ascii: bool) -> String {
    let line = |principal: &PrincipalDocument| {
        let text = object(principal).to_string();
        let letters = text.chars().map(|letter| match letter {
            letter if ascii && !letter.is_ascii() => {
                letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
            letter => letter.to_string(),
        });
        letters.chain(["\n".to_owned()]).collect::<String>()
    };
    people.iter().map(line).collect()
}

fn object(principal: &PrincipalDocument) -> Value {
    let list = |texts: &[Located<String>]| texts.iter().map(|text| Value::from(text.value.as_str())).collect::<Value>();
    let mut object = Map::new();
    object.insert("id".into(), principal.id.value.as_str().into());
    object.insert("tenant".into(), principal.tenant.value.as_str().into());
    object.insert(principal.known_by.key().into(), principal.known_by.text().value.as_str().into());
    if principal.status != Status::Active {
        object.insert("status".into(), principal.status.name().into());
    }
    for (key, texts) in [("flags", &principal.flags), ("groups", &principal.groups)] {
        if !texts.is_empty() {
            object.insert(key.into(), list(texts));
        }
    }
    if let Some(boundary) = &principal.boundary {
        object.insert("boundary".into(), list(boundary));
    }
    let grants = principal.grants.iter().map(|grant| match grant {
        GrantDocument::Right(text) => text.value.as_str().into(),
        GrantDocument::Role { role, at, .. } if at.is_empty() => json!({"role": role.value}),
        GrantDocument::Role { role, at, .. } => json!({"role": role.value, "at": list(at)}),
        GrantDocument::Rights { rights, at, .. } if at.is_empty() => json!({"rights": list(rights)}),
        GrantDocument::Rights { rights, at, .. } => json!({"rights": list(rights), "at": list(at)}),
    });
    object.insert("grants".into(), grants.collect());
    Value::Object(object)
}
