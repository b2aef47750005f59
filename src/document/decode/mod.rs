//! From trees of nodes to documents: every fault of shape is reported, and what is sound is read on.
//!
//! A map is read by naming its keys once ([`fields`]), which yields one [`Field`] for each in the same order: a key
//! that is named is known, and all others are reported.

mod cases;
mod database;
mod entrance;
mod gateway;
mod grants;
mod listeners;
mod log;
mod reload;
mod revoked;
mod routes;
mod scalar;
mod shadow;
mod term;
mod traces;
mod upstream;

pub(super) use cases::tests;
pub(super) use gateway::gateway;
pub(super) use grants::{grants, principal};
pub(super) use revoked::{revocations, revoked};
pub(super) use routes::routes;

use std::fmt::{self, Display, Formatter};

use super::parse::{Entry, Node, Shape};
use super::syntax::{lone_variable, quote};
use super::{Entries, Literal, Located};
use crate::diag::{Place, Report, suggest};

/// How a value is called in messages.
#[derive(Clone, Copy)]
enum Name<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An entry of the list, or a value of the map, that a key has.
    EntryOf(&'a str),
    /// What it is, for values that no key names.
    Kind(&'a str),
}

impl Display for Name<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(out, "`{key}`"),
            Self::EntryOf(key) => write!(out, "an entry of `{key}`"),
            Self::Kind(kind) => out.write_str(kind),
        }
    }
}

/// One key of a map that is being read, present or not.
#[derive(Clone, Copy)]
struct Field<'n> {
    key: &'static str,
    /// The value; `None` where the key is absent.
    node: Option<&'n Node>,
    /// The map that has or should have it.
    map: Place,
    /// What the map is: "this route".
    what: &'static str,
}

/// Reads a map with these keys and no others. `None` when the node is no map.
fn fields<'n, const N: usize>(
    node: &'n Node,
    what: &'static str,
    keys: [&'static str; N],
    report: &mut Report,
) -> Option<[Field<'n>; N]> {
    let Shape::Map(entries) = node.shape() else {
        wrong(node, what, "a map", report).also_known(&keys);
        return None;
    };
    let mut found = keys.map(|key| Field { key, node: None, map: node.place, what });
    for entry in entries {
        match found.iter_mut().find(|field| *field.key == *entry.key) {
            Some(field) => field.node = Some(&entry.value),
            None => unknown(
                "unknown_key",
                entry.place,
                &format!("key `{}` in {what}", entry.key),
                &entry.key,
                &keys,
                report,
            ),
        }
    }
    Some(found)
}

impl<'n> Field<'n> {
    /// The value of a key that must be there.
    fn need(self, report: &mut Report) -> Option<&'n Node> {
        if self.node.is_none() {
            report
                .error("missing_key", self.map, format!("`{}` is missing in {}", self.key, self.what))
                .help(format!("add `{}: ...`", self.key));
        }
        self.node
    }

    /// The keys of a map that may be absent as a whole.
    fn section<const N: usize>(
        self,
        what: &'static str,
        keys: [&'static str; N],
        report: &mut Report,
    ) -> [Field<'n>; N] {
        let read = self.node.and_then(|node| fields(node, what, keys, report));
        read.unwrap_or_else(|| keys.map(|key| Field { key, node: None, map: self.map, what }))
    }

    fn text(self, report: &mut Report) -> Option<Located<String>> {
        scalar::text(self.node?, Name::Key(self.key), report)
    }

    fn need_text(self, report: &mut Report) -> Option<Located<String>> {
        scalar::text(self.need(report)?, Name::Key(self.key), report)
    }

    /// A list of texts, or a single one; empty where the key is absent.
    fn texts(self, report: &mut Report) -> Vec<Located<String>> {
        self.node.map(|node| texts(node, self.key, report)).unwrap_or_default()
    }

    /// A list of texts, or a single one: at least one.
    fn some_texts(self, report: &mut Report) -> Vec<Located<String>> {
        let Some(node) = self.need(report) else {
            return Vec::new();
        };
        not_empty(node, self.key, report);
        texts(node, self.key, report)
    }

    /// The same where the key is there at all: an empty list would open what a list narrows.
    fn texts_unless_empty(self, report: &mut Report) -> Vec<Located<String>> {
        if self.node.is_some() { self.some_texts(report) } else { Vec::new() }
    }

    fn flag(self, default: bool, report: &mut Report) -> bool {
        self.node.and_then(|node| scalar::flag(node, self.key, report)).unwrap_or(default)
    }

    /// One of a few words; the first of them where the key is absent.
    fn choice<T: Copy + Default>(self, choices: &[(&'static str, T)], report: &mut Report) -> T {
        self.node.and_then(|node| scalar::choice(node, self.key, choices, report)).unwrap_or_default()
    }

    /// The entries of a list; none where the key is absent.
    fn items(self, report: &mut Report) -> &'n [Node] {
        let Some(node) = self.node else {
            return &[];
        };
        let Shape::List(items) = node.shape() else {
            wrong(node, Name::Key(self.key), "a list", report);
            return &[];
        };
        items
    }

    /// The entries of a map whose keys are names; none where the key is absent.
    fn entries(self, report: &mut Report) -> &'n [Entry] {
        self.node.and_then(|node| entries(node, Name::Key(self.key), report)).unwrap_or_default()
    }

    /// A map of names to constants.
    fn literals(self, report: &mut Report) -> Entries<Literal> {
        self.node.map(|node| scalar::literals(node, Name::Key(self.key), report)).unwrap_or_default()
    }

    /// A map of names to texts.
    fn pairs(self, report: &mut Report) -> Entries<Located<String>> {
        self.entries(report)
            .iter()
            .filter_map(|entry| Some((entry.name(), scalar::text(&entry.value, Name::EntryOf(self.key), report)?)))
            .collect()
    }
}

impl Entry {
    fn name(&self) -> Located<String> {
        Located::new(self.place, self.key.to_string())
    }
}

/// The entries of a map; `None` when the node is none.
fn entries<'n>(node: &'n Node, name: Name<'_>, report: &mut Report) -> Option<&'n [Entry]> {
    let Shape::Map(entries) = node.shape() else {
        wrong(node, name, "a map", report);
        return None;
    };
    Some(entries)
}

/// A list of texts, or a single one in place of a list.
fn texts(node: &Node, key: &str, report: &mut Report) -> Vec<Located<String>> {
    match node.shape() {
        Shape::List(items) => items.iter().filter_map(|item| scalar::text(item, Name::EntryOf(key), report)).collect(),
        Shape::Scalar { .. } => scalar::text(node, Name::Key(key), report).into_iter().collect(),
        Shape::Map(_) => {
            wrong(node, Name::Key(key), "a text or a list of texts", report);
            Vec::new()
        }
    }
}

/// Reports an empty list.
fn not_empty(node: &Node, key: &str, report: &mut Report) {
    if matches!(node.shape(), Shape::List(items) if items.is_empty()) {
        report
            .error("empty_list", node.place, format!("`{key}` must have at least one entry"))
            .help("name at least one, or remove the key");
    }
}

/// Reads the map that a whole file is, `version` among its keys. Another version ends the reading, for what its other
/// keys mean is not known.
fn file<'n, const N: usize>(root: &'n Node, keys: [&'static str; N], report: &mut Report) -> Option<[Field<'n>; N]> {
    const WHAT: &str = "this file";
    let entries = entries(root, Name::Kind(WHAT), report)?;
    match entries.iter().find(|entry| &*entry.key == "version").map(|entry| &entry.value) {
        Some(node) => match scalar::integer(node, Name::Key("version"), report) {
            Some(1) | None => {}
            Some(other) => {
                report
                    .error("version", node.place, format!("this build reads version 1 of this file, not {other}"))
                    .help("use a build that reads it, or write the file for version 1");
                return None;
            }
        },
        None => {
            report
                .error("missing_key", root.place, "`version` is missing in this file")
                .help("begin the file with `version: 1`, the one version that this build reads");
        }
    }
    fields(root, WHAT, keys, report)
}

/// Reports two keys of which only one may stand in a map.
fn conflict(first: (&str, &Node), second: (&str, &Node), help: &str, report: &mut Report) {
    let (first, second) = if first.1.place <= second.1.place { (first, second) } else { (second, first) };
    let message = format!("`{}` and `{}` exclude each other", first.0, second.0);
    report.error("conflict", second.1.place, message).help(help).also(first.1.place, format!("`{}` is here", first.0));
}

/// Reports a word that is none of those known, with the one that was meant if that can be told. `subject` is how the
/// word is called, itself included.
fn unknown(code: &'static str, place: Place, subject: &str, word: &str, known: &[&str], report: &mut Report) {
    let list = quoted(known);
    let help = match suggest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? known: {list}"),
        None => format!("known: {list}"),
    };
    report.error(code, place, format!("unknown {subject}")).help(help);
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Reports a value of the wrong type.
fn wrong<'r>(node: &Node, name: impl Display, wanted: &str, report: &'r mut Report) -> Wrong<'r> {
    let is = match node.shape() {
        _ if node.is_nothing() => "nothing",
        Shape::Scalar { plain: false, .. } => "a quoted text",
        Shape::Scalar { .. } => "a word",
        Shape::List(_) => "a list",
        Shape::Map(entries) if entries.is_empty() => "an empty map",
        Shape::Map(_) => "a map",
    };
    let found = report.error("wrong_type", node.place, format!("{name} must be {wanted}, but is {is}"));
    let known = if let Some(variable) = lone_variable(node) {
        Some(quote(&variable))
    } else if node.is_nothing() {
        Some("write the value, or leave the key out".to_owned())
    } else {
        None
    };
    let settled = known.is_some();
    found.help(known.unwrap_or_else(|| format!("write {wanted}")));
    Wrong { found, settled }
}

/// A report of a wrong type that may get better help.
struct Wrong<'r> {
    found: &'r mut crate::diag::Diagnostic,
    /// Whether its help cannot be bettered.
    settled: bool,
}

impl Wrong<'_> {
    fn also_known(self, keys: &[&str]) {
        self.help(&format!("its keys are {}", quoted(keys)));
    }

    fn help(self, help: &str) {
        if !self.settled {
            self.found.help(help);
        }
    }
}
