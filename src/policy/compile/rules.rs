//! What one route asks: its object, its scopes and its requirement.

use std::sync::Arc;

use super::condition::{self, Folded, Settings};
use super::requirement::Writer;
use super::{Builder, unknown};
use crate::diag::Report;
use crate::document::Located;
use crate::document::routes::{Definition, MissingDocument, OriginDocument, RouteDocument, ScopeDocument, Term};
use crate::policy::domain::{AttributeId, KindId};
use crate::policy::rules::{MAX_SCOPES, Missing, ObjectRule, Origin, Rules, ScopeRule, Spot, Variable};

/// What surrounds a requirement: everything that its names may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'d> {
    /// The route.
    pub route: &'d RouteDocument,
    /// What it requires.
    pub requirement: &'d Located<Term>,
    /// The variables of its path.
    pub variables: &'d [(Box<str>, Variable)],
    /// Settings of the file.
    pub settings: Settings<'d>,
    /// Named requirements: the application's own first, then the file's.
    pub definitions: [&'d [Definition]; 2],
}

impl Asking<'_> {
    /// The variable that `path.NAME` refers to, or a report that there is none.
    pub(super) fn variable(&self, name: &str, at: &Located<impl Sized>, report: &mut Report) -> Option<Variable> {
        let found = self.variables.iter().find(|(known, _)| **known == *name).map(|(_, variable)| *variable);
        if found.is_none() {
            let message = format!("the path has no variable `{{{name}}}`");
            unknown(report, at.place, message, name, self.variables.iter().map(|(name, _)| &**name));
        }
        found
    }

    /// The number of a scope of the route.
    pub(super) fn scope(&self, name: &str) -> Option<u8> {
        let position = self.route.scopes.iter().position(|scope| scope.name.value == name)?;
        u8::try_from(position).ok()
    }
}

impl Builder {
    /// Compiles what a route asks. Faults are reported; the result then serves only to find more of them.
    pub fn rules(&mut self, asking: Asking<'_>, report: &mut Report) -> Rules {
        let mut rules = Rules::default();
        if let Some(object) = &asking.route.object {
            let kind = KindId(self.kind(&object.kind.value));
            if !self.carried.is_empty() && !self.carried.contains_key(&kind.0) {
                let known = self.carried.keys().map(|kind| self.domain.kinds.name(*kind));
                let message = format!("there is no object of kind `{}`", object.kind.value);
                unknown(report, object.kind.place, message, &object.kind.value, known);
            }
            let key = match object.key.value.strip_prefix("path.") {
                Some(name) => asking.variable(name, &object.key, report),
                None => {
                    let message = format!("`{}` is no path variable", object.key.value);
                    report.error("bad_reference", object.key.place, message).help("write `path.NAME`");
                    None
                }
            };
            rules.object = key.map(|key| ObjectRule { kind, key });
        }
        if let Some(excess) = asking.route.scopes.get(MAX_SCOPES) {
            let message = format!("a route has at most {MAX_SCOPES} scopes");
            report
                .error("too_many_scopes", excess.name.place, message)
                .help("leave out those that nothing is asked at");
        }
        for scope in &asking.route.scopes {
            let rule = self.scope_rule(scope, &asking, &mut rules, report);
            rules.scopes.push(rule);
        }
        self.note_reads(&rules, &asking);
        let mut writer = Writer::new(self, asking, &mut rules, report);
        writer.whole();
        self.forbidden |= rules.demands().not_flags.iter().fold(0, |flags, flag| flags | flag.mask());
        rules
    }

    fn scope_rule(
        &mut self,
        scope: &ScopeDocument,
        asking: &Asking<'_>,
        rules: &mut Rules,
        report: &mut Report,
    ) -> ScopeRule {
        let name: Arc<str> = scope.name.value.as_str().into();
        if scope.name.value == "root" {
            let message = "`root` is always the node above all others; a scope needs another name";
            report.error("reserved_name", scope.name.place, message).help("rename it, here and in `require`");
        }
        let missing = self.missing(&scope.missing, asking, 0, report);
        let origin = match &scope.origin {
            OriginDocument::Node(node) => self.node(node, report).map(Origin::Node),
            OriginDocument::Request { from, kind } => {
                // Kinds of objects have numbers too.
                let names_nodes = |number: u32| {
                    let values = usize::try_from(number).ok().and_then(|number| self.domain.values.get(number));
                    values.is_some_and(|values| !values.is_empty())
                };
                let known = self.domain.kinds.find(&kind.value).filter(|number| names_nodes(*number));
                if known.is_none() {
                    let message = format!("no scope node or alias is of kind `{}`", kind.value);
                    let kinds = self.domain.kinds.all().iter().map(|kind| &**kind);
                    let kinds = kinds.filter(|name| self.domain.kinds.find(name).is_some_and(names_nodes));
                    unknown(report, kind.place, message, &kind.value, kinds);
                }
                let places = from.iter().filter_map(|place| self.spot(place, asking, rules, report)).collect();
                known.map(|kind| Origin::Request { places, kind: KindId(kind) })
            }
        };
        // A fault was reported, so these rules will not be used.
        let origin = origin.unwrap_or(Origin::Request { places: Vec::new(), kind: KindId(u32::MAX) });
        ScopeRule { name, origin, missing }
    }

    fn spot(
        &mut self,
        place: &Located<String>,
        asking: &Asking<'_>,
        rules: &mut Rules,
        report: &mut Report,
    ) -> Option<Spot> {
        match place.value.split_once('.') {
            Some(("path", name)) => asking.variable(name, place, report).map(Spot::Path),
            Some(("query", name)) if !name.is_empty() => Some(Spot::Query(query_name(name, rules))),
            Some(("form", name)) if !name.is_empty() => Some(Spot::Form(form_name(name, rules))),
            Some(("header", name)) => header_name(name, place, rules, report).map(Spot::Header),
            Some(("object", name)) => self.attribute(name, place, asking, report).map(Spot::Object),
            _ => {
                let message = format!("`{}` is no place in a request", place.value);
                report
                    .error("bad_reference", place.place, message)
                    .help("write `path.NAME`, `query.NAME`, `form.NAME`, `header.NAME` or `object.NAME`");
                None
            }
        }
    }

    /// An attribute of the route's object.
    pub(super) fn attribute(
        &mut self,
        name: &str,
        at: &Located<impl Sized>,
        asking: &Asking<'_>,
        report: &mut Report,
    ) -> Option<AttributeId> {
        let Some(object) = &asking.route.object else {
            let message = format!("`object.{name}` needs an `object:` in the route");
            report.error("bad_reference", at.place, message).help("add `object: {kind: KIND, key: path.NAME}`");
            return None;
        };
        let id = self.domain.attributes.intern(name);
        // Where no object of the kind is known yet, nothing can be said about its attributes.
        let kind = self.domain.kinds.find(&object.kind.value);
        if let Some(carried) = kind.and_then(|kind| self.carried.get(&kind))
            && !carried.contains(&id)
        {
            let known = carried.iter().map(|attribute| self.domain.attributes.name(*attribute));
            let message = format!("no object of kind `{}` has the attribute `{name}`", object.kind.value);
            unknown(report, at.place, message, name, known);
        }
        Some(AttributeId(id))
    }

    /// `hops` counts how often `same_as` was followed: a scope may take its value from one that takes its own.
    fn missing(
        &self,
        missing: &Located<MissingDocument>,
        asking: &Asking<'_>,
        hops: usize,
        report: &mut Report,
    ) -> Missing {
        match &missing.value {
            MissingDocument::Deny => Missing::Deny,
            MissingDocument::Skip => Missing::Skip,
            MissingDocument::Node(node) => self.node(node, report).map_or(Missing::Deny, Missing::Node),
            MissingDocument::SameAs(name) => {
                let Some(position) = asking.scope(&name.value) else {
                    let known = asking.route.scopes.iter().map(|scope| scope.name.value.as_str());
                    let message = format!("the route has no scope `{}`", name.value);
                    unknown(report, name.place, message, &name.value, known);
                    return Missing::Deny;
                };
                if hops >= MAX_SCOPES {
                    let message = format!("`{}` takes its value from itself", name.value);
                    report.error("cycle", name.place, message).help("give one scope of the cycle another `missing`");
                    return Missing::Deny;
                }
                let other = asking.route.scopes.get(usize::from(position));
                // Followed here only to find cycles: whether the other has a value of its own is for each request to say.
                if let Some(other) = other {
                    self.missing(&other.missing, asking, hops + 1, report);
                }
                Missing::SameAs(position)
            }
            MissingDocument::When { condition, then, otherwise } => {
                match condition::fold(condition, asking.settings, report) {
                    Folded::Known(true) => self.missing(then, asking, hops, report),
                    Folded::Known(false) => self.missing(otherwise, asking, hops, report),
                    Folded::Faulty => Missing::Deny,
                    Folded::Bit { .. } => {
                        let message = "what holds for a missing scope may depend on settings only";
                        report.error("unsupported", condition.place, message).help("ask for a bit by its number");
                        Missing::Deny
                    }
                }
            }
        }
    }
}

/// Notes a query parameter that the decision reads.
pub(super) fn query_name(name: &str, rules: &mut Rules) -> Box<str> {
    if !rules.query_names.iter().any(|known| **known == *name) {
        rules.query_names.push(name.into());
    }
    name.into()
}

/// Notes a field of a form that the decision reads.
pub(super) fn form_name(name: &str, rules: &mut Rules) -> Box<str> {
    if !rules.form_names.iter().any(|known| **known == *name) {
        rules.form_names.push(name.into());
    }
    name.into()
}

/// A header's name, in lower case as it is compared.
pub(super) fn header_name(
    name: &str,
    at: &Located<impl Sized>,
    rules: &mut Rules,
    report: &mut Report,
) -> Option<Box<str>> {
    let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(token) {
        let message = format!("`{name}` is no name of a header that may be trusted");
        report.error("bad_name", at.place, message).help("use letters, digits and `-`");
        return None;
    }
    let name: Box<str> = name.to_ascii_lowercase().into();
    if !rules.header_names.contains(&name) {
        rules.header_names.push(name.clone());
    }
    Some(name)
}
