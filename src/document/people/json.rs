//! JSON lines: each an object with the keys and shapes of an entry of `principals`.
//!
//! The syntax of all but [`plain`] lines is checked by the library, which also says where each value stands; what a value means is left to the code
//! that reads YAML. Numbers and truth values where a text belongs are texts as they are written, as in YAML.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::Line;
use super::{KnownBy, Person, plain, scalar};
use crate::diag::Report;
use crate::document::parse::{Entry, Node, Shape};

/// Levels of nesting; a principal needs four.
const DEPTH: usize = 8;

/// See [`super::Reader::quick`].
pub(super) fn quick<'t>(line: Line<'t>, grants: &mut Vec<&'t str>) -> Option<Person<'t>> {
    let found = plain::read(line.text, grants).or_else(|| {
        grants.clear();
        fields(line.text, grants)
    });
    let [id, tenant, oid, subject, status, flags, groups, boundary, _] = found?.0;
    let known_by = match (oid, subject) {
        (Some(oid), None) => KnownBy::ObjectId(text(oid)?),
        (None, Some(subject)) => KnownBy::Subject(text(subject)?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let written = |value: Option<&'t str>| value.unwrap_or_default();
    let standing = [tenant?, written(status), written(flags), written(groups)];
    Some(Person { id: text(id?)?, known_by, standing, boundary: written(boundary) })
}

/// The fields of a line, and the entries of `grants`, as they are written.
pub(super) fn fields<'t>(text: &'t str, held: &mut Vec<&'t str>) -> Option<Fields<'t>> {
    let found: Fields<'t> = serde_json::from_str(text).ok()?;
    let [.., grants] = found.0;
    if let Some(grants) = grants {
        let items: Items<'t> = serde_json::from_str(grants).ok()?;
        held.extend(items.0);
    }
    Some(found)
}

/// What is in quotes.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// The map that YAML would have had in place of a line. `None` if it is no JSON.
pub(super) fn node(line: Line<'_>, report: &mut Report) -> Option<Node> {
    let refuse = |error: &serde_json::Error, report: &mut Report| {
        let at = error.column().saturating_sub(1).min(line.text.len());
        let mut message = error.to_string();
        // What the library adds is the place, of which it knows a part only.
        message.truncate(message.rfind(" at line ").unwrap_or(message.len()));
        report
            .error("syntax", line.stretch(at..at), format!("this is not valid JSON: {message}"))
            .help("each line is an object such as `{\"id\": \"olga\", \"tenant\": \"uss\", \"oid\": \"...\"}`");
    };
    match serde_json::from_str::<&RawValue>(line.text) {
        Ok(raw) => tree(raw.get(), line, DEPTH, report),
        Err(error) => {
            refuse(&error, report);
            None
        }
    }
}

/// The node of a value that is valid JSON; its strings may still say what is no text.
fn tree(raw: &str, line: Line<'_>, depth: usize, report: &mut Report) -> Option<Node> {
    let place = line.place_of(raw);
    let Some(below) = depth.checked_sub(1) else {
        report
            .error("too_deep", place, format!("lists and maps are nested more than {DEPTH} deep"))
            .help("a principal needs no such depth");
        return None;
    };
    let shape = match raw.as_bytes().first() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(raw).ok()?;
            let mut entries: Vec<Entry> = Vec::new();
            for (key, value) in pairs {
                let place = line.place_of(key);
                let key = unquoted(key, line, report)?;
                if let Some(first) = entries.iter().find(|known| *known.key == *key) {
                    report
                        .error("duplicate_key", place, format!("the key `{key}` stands here for the second time"))
                        .help("remove one of the two")
                        .also(first.place, "first here");
                    continue;
                }
                entries.push(Entry { place, key: key.into(), value: tree(value, line, below, report)? });
            }
            Shape::Map(entries.into())
        }
        Some(b'[') => {
            let Items(items) = serde_json::from_str(raw).ok()?;
            let nodes: Option<Vec<Node>> = items.into_iter().map(|item| tree(item, line, below, report)).collect();
            Shape::List(nodes?.into())
        }
        Some(b'"') => return Some(scalar(place, unquoted(raw, line, report)?)),
        _ => Shape::Scalar { text: raw.into(), plain: true },
    };
    Some(Node::new(place, shape))
}

/// The text of a string. Half of a surrogate pair is no text.
fn unquoted(raw: &str, line: Line<'_>, report: &mut Report) -> Option<String> {
    let text = serde_json::from_str(raw).ok();
    if text.is_none() {
        report
            .error("syntax", line.place_of(raw), "this is not valid JSON: it is no text")
            .help("write letters as they are, or each as a whole: `\\ud83d\\ude00`");
    }
    text
}

/// The values of the keys that a principal has, as they are written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'t>(pub(super) [Option<&'t str>; 9]);

/// The keys, in the order of [`Fields`].
pub(super) const KEYS: [&str; 9] =
    ["id", "tenant", "oid", "subject", "status", "flags", "groups", "boundary", "grants"];

impl<'t> Deserialize<'t> for Fields<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'t> Visitor<'t> for FieldsVisitor {
    type Value = Fields<'t>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a principal")
    }

    fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<Fields<'t>, M::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<&str>()? {
            let slot = KEYS.iter().position(|known| *known == key).and_then(|index| fields.0.get_mut(index));
            let value: &'t RawValue = map.next_value()?;
            match slot {
                Some(slot) if slot.is_none() && value.get() != "null" => *slot = Some(value.get()),
                _ => return Err(serde::de::Error::custom("not plain")),
            }
        }
        Ok(fields)
    }
}

/// The entries of a list, as they are written.
struct Items<'t>(Vec<&'t str>);

impl<'t> Deserialize<'t> for Items<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'t> Visitor<'t> for ItemsVisitor {
    type Value = Items<'t>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'t>>(self, mut list: S) -> Result<Items<'t>, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<&'t RawValue>()? {
            items.push(item.get());
        }
        Ok(Items(items))
    }
}

/// The keys and values of an object, as they are written.
struct Pairs<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Deserialize<'t> for Pairs<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'t> Visitor<'t> for PairsVisitor {
    type Value = Pairs<'t>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<Pairs<'t>, M::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<&'t RawValue, &'t RawValue>()? {
            pairs.push((key.get(), value.get()));
        }
        Ok(Pairs(pairs))
    }
}
