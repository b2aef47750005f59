//! What values of the request and of objects name: nodes by their own names and by aliases. Two that could be taken for
//! one another are told, and values of objects that name nothing are faults.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Asking, Builder, scalars};
use crate::diag::{Place, Report, suggest};
use crate::document::Literal;
use crate::document::grants::GrantsDocument;
use crate::policy::domain::{KindId, ScopeId};
use crate::policy::rules::{Origin, Rules, Spot};

/// What the objects of a kind say of an attribute: each value once, with the first place and how often it is said.
pub(super) type Said = HashMap<Box<str>, (Place, usize)>;

/// Which attributes of its object a route reads scopes from: attribute and kind of scope, and where the scope stands.
pub(super) type Read = Vec<(u32, u32, Place)>;

impl Builder {
    /// Gives nodes their other names, and tells of names that differ in nothing that a reader would see as a difference.
    pub(super) fn aliases(&mut self, document: &GrantsDocument, report: &mut Report) {
        let mut taken: HashMap<(&str, &str), Place> = HashMap::new();
        for (name, _) in &document.forest {
            if let Some(parts) = name.value.split_once(':') {
                taken.insert(parts, name.place);
            }
        }
        for (kind, values) in &document.aliases {
            for (value, node) in values {
                let Some(scope) = self.node(node, report) else { continue };
                let known =
                    self.domain.kinds.find(&kind.value).and_then(|kind| {
                        self.domain.values.get(usize::try_from(kind).ok()?)?.get(value.value.as_str())
                    });
                let key = (kind.value.as_str(), value.value.as_str());
                if known.is_some_and(|known| known != scope) {
                    let message = format!("`{}:{}` is already the name of another node", kind.value, value.value);
                    let found = report.error("alias_clash", value.place, message);
                    found.help("use another kind, or the node itself");
                    if let Some(first) = taken.get(&key) {
                        found.also(*first, "the other one");
                    }
                } else {
                    self.name_scope(&kind.value, &value.value, scope);
                    taken.entry(key).or_insert(value.place);
                }
            }
        }
        self.tell_look_alikes(taken, report);
    }

    /// Values of one kind that many readers take for the same, but that name different nodes.
    fn tell_look_alikes(&self, taken: HashMap<(&str, &str), Place>, report: &mut Report) {
        let mut names: Vec<_> = taken.into_iter().collect();
        names.sort_unstable_by_key(|(_, place)| *place);
        let mut first: HashMap<(&str, String), (&str, Place, ScopeId)> = HashMap::new();
        for ((kind, value), place) in names {
            let number = self.domain.kinds.find(kind).unwrap_or(u32::MAX);
            let Some(node) = self.domain.scope(KindId(number), value) else { continue };
            match first.get(&(kind, folded(value))) {
                Some((other, other_place, other_node)) if *other_node != node => {
                    let message = format!("`{kind}:{value}` and `{kind}:{other}` name different nodes");
                    let found = report.warning("look_alike", place, message);
                    found.help("values are compared as text, letter by letter; many backends take these for the same");
                    found.also(*other_place, "the other one");
                }
                Some(_) => {}
                None => {
                    first.insert((kind, folded(value)), (value, place, node));
                }
            }
        }
    }

    /// Notes what an object says of an attribute.
    pub(super) fn note(&mut self, kind: u32, attribute: u32, value: &Literal, place: Place) {
        let said = Arc::make_mut(&mut self.said).entry((kind, attribute)).or_default();
        for text in scalars(value) {
            said.entry(text.into()).or_insert((place, 0)).1 += 1;
        }
    }

    /// Notes what a route reads of its object.
    pub(super) fn note_reads(&mut self, rules: &Rules, asking: &Asking<'_>) {
        let Some(object) = &rules.object else { return };
        let mut read = Read::new();
        for (rule, written) in rules.scopes.iter().zip(&asking.route.scopes) {
            if let Origin::Request { places, kind } = &rule.origin
                && *kind != KindId(u32::MAX)
            {
                let attributes = places.iter().filter_map(|place| match place {
                    Spot::Object(attribute) => Some(attribute.0),
                    Spot::Path(_) | Spot::Query(_) | Spot::Form(_) | Spot::Header(_) => None,
                });
                read.extend(attributes.map(|attribute| (attribute, kind.0, written.name.place)));
            }
        }
        self.routes_about.entry(object.kind.0).or_default().push(read);
    }

    /// A value of an object that names no node counts on a route whatever else the request says, so the request is
    /// refused. Where every route about such objects reads it so, the objects are lost: that is a slip of the pen. Where
    /// some do not, such objects may be none of the others' business.
    pub(super) fn check_values(&self, report: &mut Report) {
        let mut kinds: Vec<_> = self.routes_about.iter().collect();
        kinds.sort_unstable_by_key(|(kind, _)| **kind);
        for (kind, routes) in kinds {
            let mut attributes: Vec<u32> = routes.iter().flatten().map(|(attribute, _, _)| *attribute).collect();
            attributes.sort_unstable();
            attributes.dedup();
            for attribute in attributes {
                self.check_attribute(*kind, attribute, routes, report);
            }
        }
    }

    fn check_attribute(&self, kind: u32, attribute: u32, routes: &[Read], report: &mut Report) {
        let Some(said) = self.said.get(&(kind, attribute)) else { return };
        let reads = || routes.iter().flatten().filter(|(read, _, _)| *read == attribute);
        let mut values: Vec<_> = said.iter().collect();
        values.sort_unstable_by_key(|(_, (place, _))| *place);
        for (value, (at, times)) in values {
            let unknown = |scope: u32| self.domain.scope(KindId(scope), value).is_none();
            let refuses = |route: &Read| route.iter().any(|(read, scope, _)| *read == attribute && unknown(*scope));
            let wrong = reads().find(|(_, scope, _)| unknown(*scope));
            let Some((_, scope, place)) = wrong.filter(|_| routes.iter().all(refuses)) else { continue };
            let (attribute, scope_name) = (self.domain.attributes.name(attribute), self.domain.kinds.name(*scope));
            let message = format!("`{attribute}` is `{value}`, but no node or alias is `{scope_name}:{value}`");
            let names = usize::try_from(*scope).ok().and_then(|scope| self.domain.values.get(scope));
            let names = names.into_iter().flat_map(|names| names.iter()).map(|(name, _)| name);
            let near = if report.errors() < 100 { suggest(value, names) } else { None };
            let help = near.map_or_else(|| "add the node, or leave the attribute out".to_owned(), meant);
            // Of a document that was taken in before, what it says still stands where it stood in its text.
            let at = Place { source: self.source, ..*at };
            let found = report.error("unknown_scope_value", at, message);
            found.help(help).also(*place, format!("read here; objects that say so: {times}"));
        }
    }
}

fn meant(near: &str) -> String {
    format!("did you mean `{near}`?")
}

/// A value without what many readers pass over: letter case, blanks around it, zeros in front of a number.
fn folded(value: &str) -> String {
    let lower = value.trim().to_lowercase();
    match lower.trim_start_matches('0') {
        "" if !lower.is_empty() => "0".to_owned(),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.to_owned(),
        _ => lower,
    }
}
