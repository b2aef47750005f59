//! What is written down and never asked for: rights, flags, definitions, settings, upstreams.

use std::collections::{BTreeMap, BTreeSet};

use super::holders::Holders;
use super::{Code, Finding, add, routes as asking};
use crate::diag::Place;
use crate::document::routes::{AccessDocument, Condition, MissingDocument, RoutesDocument, SettingTest, Term};
use crate::document::{Literal, Located};
use crate::policy::RightId;
use crate::review::{Policy, World};
use crate::route::Access;

/// Rights and flags of a domain.
pub(super) fn grants(policy: &Policy, world: World<'_>, holders: &Holders<'_>, found: &mut Vec<Finding>) {
    let asked = asking::asked(policy, world);
    let domain = world.domain;
    // What covers or brings an asked right is used.
    let used: BTreeSet<RightId> = asked
        .keys()
        .flat_map(|right| domain.bringers(*right).iter().chain([right]).copied().collect::<Vec<_>>())
        .flat_map(|right| domain.rights_over(right).collect::<Vec<_>>())
        .collect();
    for (right, place) in written(world) {
        if domain.find_right(right).is_some_and(|right| !used.contains(&right)) {
            add(found, Code::UnusedRight, place, format!("no route asks for `{right}`"));
        }
    }
    asking::nobody_may(policy, world, holders, found);
    flags(policy, world, found);
}

/// Every right that the document names, and where it does so first.
fn written(world: World<'_>) -> BTreeMap<&str, Place> {
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    let mut note = |name, place: Place| {
        let known = first.entry(name).or_insert(place);
        *known = place.min(*known);
    };
    let document = world.document;
    for right in document.rights.iter().flatten() {
        note(&right.value, right.place);
    }
    for right in document.roles.iter().flat_map(|role| &role.rights) {
        note(right.value.split(':').next().unwrap_or_default().trim(), right.place);
    }
    let groups = world.origins.groups().iter().flat_map(|group| group.grants());
    let principals = (0..world.domain.principals().len()).filter_map(|number| world.origins.principal(number));
    let grants = groups.chain(principals.flat_map(|principal| principal.grants()));
    for grant in grants.filter(|grant| grant.role.is_none()) {
        note(world.domain.right_name(grant.right), grant.place);
    }
    first
}

fn flags(policy: &Policy, world: World<'_>, found: &mut Vec<Finding>) {
    let mut asked: BTreeSet<&str> = world.document.strategy.caps.iter().map(|(flag, _)| flag.value.as_str()).collect();
    for application in policy.snapshot.routes.applications() {
        let Some(domain) = policy.snapshot.domains.get(application.domain) else { continue };
        for route in application.routes().iter().filter(|_| domain.name() == world.domain.name()) {
            if let Access::Rules(rules) = &route.access {
                let rules = rules.demands();
                asked.extend(rules.flags.iter().chain(&rules.not_flags).map(|flag| domain.flag_name(*flag)));
            }
        }
    }
    let groups = world.document.groups.iter().flat_map(|group| &group.flags);
    let principals = world.document.principals.iter().flat_map(|principal| &principal.flags);
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for flag in groups.chain(principals) {
        if !asked.contains(flag.value.as_str()) && told.insert(&flag.value) {
            add(found, Code::UnusedFlag, flag.place, format!("nothing asks for the flag `{}`", flag.value));
        }
    }
}

/// Definitions, settings and upstreams of the route maps.
pub(super) fn routes(policy: &Policy, found: &mut Vec<Finding>) {
    for file in &policy.routes {
        let mut named = Named::default();
        named.file(file);
        let definitions = file.applications.iter().flat_map(|application| &application.define).chain(&file.define);
        for definition in definitions.filter(|definition| !named.words.contains(definition.name.value.as_str())) {
            let message = format!("no requirement names the definition `{}`", definition.name.value);
            add(found, Code::UnusedDefinition, definition.name.place, message);
        }
        for (setting, _) in file.settings.iter().filter(|(name, _)| !named.settings.contains(name.value.as_str())) {
            add(found, Code::UnusedSetting, setting.place, format!("nothing asks for the setting `{}`", setting.value));
        }
        for upstream in &file.upstreams {
            if !file.applications.iter().any(|application| application.upstream.value == upstream.name.value) {
                let message = format!("no application names the upstream `{}`", upstream.name.value);
                add(found, Code::UnusedUpstream, upstream.name.place, message);
            }
        }
    }
}

/// The names that the requirements of a file use.
#[derive(Default)]
struct Named<'d> {
    words: BTreeSet<&'d str>,
    settings: BTreeSet<&'d str>,
}

impl<'d> Named<'d> {
    fn file(&mut self, file: &'d RoutesDocument) {
        for definition in &file.define {
            self.term(&definition.requirement);
        }
        for application in &file.applications {
            for definition in &application.define {
                self.term(&definition.requirement);
            }
            for route in &application.routes {
                if let AccessDocument::Require(term) = &route.access {
                    self.term(term);
                }
                for scope in &route.scopes {
                    self.missing(&scope.missing);
                }
            }
        }
    }

    fn term(&mut self, term: &'d Located<Term>) {
        match &term.value {
            Term::All(list) | Term::Any(list) => list.iter().for_each(|term| self.term(term)),
            Term::Right(name) => {
                self.words.insert(name);
            }
            Term::Flag(_) | Term::NotFlag(_) | Term::UnlessDenied(_) => {}
            Term::When { condition, then, otherwise } => {
                self.condition(condition);
                self.term(then);
                otherwise.iter().for_each(|term| self.term(term));
            }
            Term::Condition { condition, .. } => self.condition(condition),
            Term::Compare { left, right, .. } => {
                for side in [left, right] {
                    if let Literal::Text(text) = &side.value {
                        self.settings.extend(text.strip_prefix("setting."));
                    }
                }
            }
        }
    }

    fn condition(&mut self, condition: &'d Located<Condition>) {
        match &condition.value {
            Condition::All(list) | Condition::Any(list) => list.iter().for_each(|one| self.condition(one)),
            Condition::Setting { name, test } => {
                self.settings.insert(&name.value);
                if let SettingTest::BitOf { of, .. } = test {
                    self.settings.extend(of.value.strip_prefix("setting."));
                }
            }
        }
    }

    fn missing(&mut self, missing: &'d Located<MissingDocument>) {
        if let MissingDocument::When { condition, then, otherwise } = &missing.value {
            self.condition(condition);
            self.missing(then);
            self.missing(otherwise);
        }
    }
}
