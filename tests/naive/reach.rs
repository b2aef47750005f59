//! Where a run has been: which reasons, which rules, and how often a rule made the difference. A comparison that never
//! reaches a rule says nothing about it.

use std::collections::BTreeMap;
use std::fmt;

use crate::evaluator::{Answer, judge};
use crate::world::{Across, Request, World};

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Reach {
    decisions: usize,
    counts: BTreeMap<String, usize>,
}

/// How often each reason must have come up.
const REASONS: [(&str, usize); 22] = [
    ("allow", 2_000),
    ("no_token", 200),
    ("no_route", 100),
    ("no_route:method", 100),
    ("gate_tenant", 100),
    ("gate_audience", 100),
    ("gate_app_role", 100),
    ("principal_unknown", 200),
    ("principal_inactive", 200),
    ("principal_deleted", 50),
    ("principal_reserved", 50),
    ("groups_unknown", 100),
    ("scope_missing", 500),
    ("scope_unknown", 500),
    ("scope_ambiguous", 50),
    ("scope_conflict", 100),
    ("flag_missing", 60),
    ("flag_forbids", 50),
    ("right_missing", 500),
    ("right_level", 100),
    ("right_denied", 100),
    ("condition", 20),
];

/// How often each rule must have been looked at.
const RULES: [(&str, usize); 40] = [
    ("scope.node", 200),
    ("scope.path", 200),
    ("scope.query", 200),
    ("scope.form", 50),
    ("scope.header", 100),
    ("scope.object", 100),
    ("scope.agree", 50),
    ("scope.alias", 100),
    ("scope.several_values", 100),
    ("missing.deny", 200),
    ("missing.skip", 200),
    ("missing.same_as", 100),
    ("missing.node", 200),
    ("missing.when", 100),
    ("term.right", 2_000),
    ("term.right_below", 500),
    ("term.right_from_the_request", 50),
    ("term.by_method", 500),
    ("term.any", 500),
    ("term.defined", 200),
    ("term.unless_denied.true", 50),
    ("term.unless_denied.false", 10),
    ("term.when.Some(true)", 200),
    ("term.when.Some(false)", 200),
    ("term.when.None", 20),
    ("term.holds.true", 50),
    ("term.holds.false", 50),
    ("condition.bit_of.true", 50),
    ("condition.bit_of.false", 50),
    ("operand.constant", 200),
    ("operand.path", 200),
    ("operand.query", 100),
    ("operand.form", 30),
    ("operand.header", 50),
    ("operand.object", 100),
    ("operand.setting", 100),
    ("operand.count", 50),
    ("operand.principal_id", 50),
    ("operand.absent", 100),
    ("term.lt.true", 10),
];

/// How often each comparison must have come out each way.
const COMPARISONS: [(&str, usize); 7] = [
    ("term.eq.true", 10),
    ("term.eq.false", 100),
    ("term.in.true", 50),
    ("term.in.false", 100),
    ("term.not_in.true", 50),
    ("term.not_in.false", 50),
    ("term.lt.false", 50),
];

/// How often the answer must have been another one without a rule, and under another strategy.
const DIFFERENCES: usize = 10;

/// A world in which one rule is another.
type Change = fn(&mut World);

const CHANGES: [(&str, Change); 16] = [
    ("tree or flat", |world| world.strategy.flat = !world.strategy.flat),
    ("union or nearest", |world| world.strategy.nearest = !world.strategy.nearest),
    ("boundary", |world| world.strategy.boundary = false),
    ("caps", |world| world.strategy.caps.clear()),
    ("implications", |world| world.implies.clear()),
    ("chains of implications", |world| {
        let brought: Vec<String> = world.implies.iter().flat_map(|(_, brought)| brought.clone()).collect();
        world.implies.retain(|(bringer, _)| !brought.contains(bringer));
    }),
    ("parents of groups", |world| world.groups.iter_mut().for_each(|group| group.parents.clear())),
    ("flags of groups", |world| world.groups.iter_mut().for_each(|group| group.flags.clear())),
    ("inactive groups", |world| world.groups.iter_mut().for_each(|group| group.inactive = false)),
    ("groups of tokens", |world| world.token_groups.clear()),
    ("roles of tokens", |world| world.token_roles.clear()),
    ("included roles", |world| world.roles.iter_mut().for_each(|role| role.includes.clear())),
    ("without of roles", |world| world.roles.iter_mut().for_each(|role| role.without.clear())),
    ("levels of methods", |world| world.routes.iter_mut().for_each(|route| route.levels.clear())),
    ("levels of the forest", |world| world.forest.iter_mut().for_each(|(_, parent)| *parent = "root".into())),
    ("competing routes", |world| world.routes.truncate(1)),
];

impl Reach {
    /// Counts the decisions of a world, on all of which both agree.
    pub fn count(&mut self, world: &World, judged: &[(Request, Answer)]) {
        let across = world.strategy.across.name();
        for (_, answer) in judged {
            self.decisions += 1;
            let code = match answer.text.split_once(':') {
                Some(("no_route", _)) | None => answer.text.as_str(),
                Some((code, _)) => code,
            };
            let outcome = if code == "allow" { "allow" } else { "deny" };
            self.add(code);
            self.add(&format!("{across}: {outcome}"));
            answer.seen.iter().for_each(|rule| self.add(rule));
        }
        for (what, change) in CHANGES {
            let mut changed = world.clone();
            change(&mut changed);
            self.compare(&changed, judged, what);
        }
        for other in Across::ALL.into_iter().filter(|other| *other != world.strategy.across) {
            let mut changed = world.clone();
            changed.strategy.across = other;
            self.compare(&changed, judged, &format!("{across} or {}", other.name()));
        }
    }

    fn add(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn compare(&mut self, changed: &World, judged: &[(Request, Answer)], what: &str) {
        for (request, answer) in judged {
            // Before the requirement is looked at, few rules matter, and comparing takes time.
            let matters =
                answer.text == "principal_inactive" || answer.seen.iter().any(|rule| rule.starts_with("term."));
            if matters && judge(changed, request).text != answer.text {
                self.add(&format!("differs: {what}"));
            }
        }
    }

    /// How many decisions were counted.
    pub const fn decisions(&self) -> usize {
        self.decisions
    }

    /// What came up less often than it must.
    pub fn unreached(&self) -> Vec<String> {
        let changes = CHANGES.iter().map(|(what, _)| (format!("differs: {what}"), DIFFERENCES));
        let pairs = Across::ALL.iter().flat_map(|a| Across::ALL.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
        let pairs = pairs.map(|(a, b)| (format!("differs: {} or {}", a.name(), b.name()), DIFFERENCES));
        let outcomes = Across::ALL
            .iter()
            .flat_map(|across| ["allow", "deny"].map(|end| (format!("{}: {end}", across.name()), 300)));
        let named = REASONS.iter().chain(&RULES).chain(&COMPARISONS).map(|(what, least)| ((*what).to_owned(), *least));
        let asked = named.chain(changes).chain(pairs).chain(outcomes);
        let found = |what: &str| self.counts.get(what).copied().unwrap_or_default();
        asked
            .filter(|(what, least)| found(what) < *least)
            .map(|(what, least)| format!("{what}: {} of at least {least}", found(&what)))
            .collect()
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} decisions", self.decisions)?;
        self.counts.iter().try_for_each(|(what, count)| writeln!(out, "{count:8}  {what}"))
    }
}
