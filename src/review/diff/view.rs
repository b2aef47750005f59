//! One route of one policy, and the respects in which it differs from another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::Method;

use super::Direction;
use super::routes::Aspect;
use crate::courtesy::in_turns;
use crate::document::routes::{ApplicationDocument, RouteDocument};
use crate::model::{Level, Status};
use crate::policy::{BundleId, Domain, Normal, ProfileId, Reach, Rules, Variable};
use crate::policy::{object_in_words, reach, requirement, scopes_in_words};
use crate::review::Policy;
use crate::route::{Access, Application, Mode, Readings, Route};

/// Principals that are looked at in one turn of the thread.
const A_TURN: u32 = 2_048;
/// To see what comes of what somebody holds takes as long as so many looks at principals.
const A_HOLDING: usize = 20;

/// An application of one side, with all that belongs to it.
pub(super) struct Served<'p> {
    pub(super) side_policy: &'p Policy,
    pub(super) compiled: &'p Application,
    pub(super) document: &'p ApplicationDocument,
    domain: Option<&'p Domain>,
}

impl<'p> Served<'p> {
    pub(super) fn all(policy: &'p Policy) -> BTreeMap<&'p str, Self> {
        let applications = policy.snapshot.routes.applications().iter();
        let found = applications.filter_map(|compiled| {
            let (_, document) = policy.application(compiled)?;
            let domain = policy.snapshot.domains.get(compiled.domain);
            Some((document.name.value.as_str(), Self { side_policy: policy, compiled, document, domain }))
        });
        found.collect()
    }

    pub(super) fn views(&self) -> Vec<View<'_>> {
        let routes = self.document.routes.iter().zip(self.compiled.routes());
        routes.map(|(document, compiled)| View { of: self, document, compiled }).collect()
    }

    /// The route that would take a request of this method for a path like this one.
    pub(super) fn taker(&self, path: &str, method: &str) -> Option<&Route> {
        let sample: Vec<String> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x-any-value".to_owned() } else { part.to_owned() })
            .collect();
        let sample = sample.join("/");
        let readings = Readings::new(&sample, self.compiled.backend).ok()?;
        self.compiled.route(&readings.first, &method.parse::<Method>().ok()?)
    }
}

/// A respect in which what was possible is a set.
pub(super) fn sets(what: &'static str, from: &BTreeSet<String>, to: &BTreeSet<String>) -> Option<Aspect> {
    let direction = match (to.is_superset(from), from.is_superset(to)) {
        (true, true) => return None,
        (true, false) => Direction::Gain,
        (false, true) => Direction::Loss,
        (false, false) => Direction::Unclear,
    };
    let text = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<String>>().join(", ");
    Some(Aspect { what, from: text(from), to: text(to), direction })
}

/// One route of one side.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    of: &'v Served<'v>,
    pub(super) document: &'v RouteDocument,
    compiled: &'v Route,
}

impl<'v> View<'v> {
    pub(super) fn id(&self) -> &'v str {
        &self.document.id.value
    }

    fn methods(&self) -> BTreeSet<String> {
        self.document.methods.iter().map(|method| method.value.clone()).collect()
    }

    /// The path with its variables unnamed.
    fn path(&self) -> String {
        let part = |part: &str| match part.strip_prefix('{') {
            Some(rest) if rest.ends_with("...}") => "{...}".to_owned(),
            Some(_) => "{}".to_owned(),
            None => part.to_owned(),
        };
        self.document.path.value.split('/').map(part).collect::<Vec<String>>().join("/")
    }

    pub(super) fn takes(&self) -> (String, BTreeSet<String>) {
        (self.path(), self.methods())
    }

    /// How little is asked, whatever the rules.
    pub(super) const fn openness(&self) -> u8 {
        match (&self.compiled.access, self.compiled.mode) {
            (Access::Public, _) => 3,
            (_, Mode::Shadow) => 2,
            (Access::GateOnly, Mode::Enforce) => 1,
            (Access::Rules(_), Mode::Enforce) => 0,
        }
    }

    fn rules(&self) -> Option<(&'v Domain, &'v Rules)> {
        match &self.compiled.access {
            Access::Rules(rules) => Some((self.of.domain?, rules)),
            Access::Public | Access::GateOnly => None,
        }
    }

    /// How path variables are called: as in the file, or, to compare, by where they stand.
    fn called(&self, compare: bool) -> impl Fn(Variable) -> String {
        let path = &self.document.path.value;
        let parts: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|part| part.trim_matches(['{', '}']).trim_end_matches("...").to_owned())
            .collect();
        move |variable| {
            let (Variable::Segment(index) | Variable::Rest(index)) = variable;
            let name = parts.get(index).filter(|_| !compare).cloned();
            name.unwrap_or_else(|| format!("{{{index}}}"))
        }
    }

    fn requirement(&self, compare: bool) -> Option<Normal> {
        let (domain, rules) = self.rules()?;
        requirement(domain, rules, &self.called(compare))
    }

    /// What it asks, in words.
    pub(super) fn asks(&self) -> String {
        let asked = match &self.compiled.access {
            Access::Public => "public".to_owned(),
            Access::GateOnly => "the gate only".to_owned(),
            Access::Rules(_) => self.requirement(false).map(|normal| normal.text()).unwrap_or_default(),
        };
        match self.compiled.mode {
            Mode::Shadow if !matches!(self.compiled.access, Access::Public) => format!("in shadow, {asked}"),
            Mode::Shadow | Mode::Enforce => asked,
        }
    }

    fn scopes(&self, compare: bool) -> String {
        let Some((domain, rules)) = self.rules() else { return String::new() };
        let object = object_in_words(domain, rules, &self.called(compare)).map(|object| format!("object = {object}"));
        let scopes = scopes_in_words(domain, rules, &self.called(compare));
        scopes.into_iter().chain(object).collect::<Vec<String>>().join("; ")
    }

    /// What `by_method` means, if anything asks for it.
    fn levels(&self) -> BTreeMap<String, Level> {
        let asks =
            self.rules().is_some_and(|(_, rules)| rules.demands().rights.iter().any(|(_, level)| level.is_none()));
        let methods = self.methods().into_iter().filter(|_| asks);
        methods.filter_map(|name| Some((name.clone(), self.compiled.level(&name.parse().ok()?)))).collect()
    }

    /// Whether WebSockets pass, which only routes with GET ever let.
    fn websockets(&self) -> BTreeSet<String> {
        let passes = self.compiled.websocket && self.methods().contains("GET");
        passes.then(|| "true".to_owned()).into_iter().collect()
    }

    fn trailers(&self) -> BTreeSet<String> {
        self.compiled.trailers.names().iter().map(ToString::to_string).collect()
    }

    pub(super) fn aspects(&self, new: &Self) -> Vec<Aspect> {
        let mut aspects = Vec::new();
        let unclear = |what, from: String, to: String| Aspect { what, from, to, direction: Direction::Unclear };
        if self.path() != new.path() {
            aspects.push(unclear("path", self.document.path.value.clone(), new.document.path.value.clone()));
        }
        aspects.extend(sets("methods", &self.methods(), &new.methods()).map(|mut aspect| {
            // Requests that another route takes now are not refused.
            let path = &self.document.path.value;
            if self.methods().difference(&new.methods()).any(|method| new.of.taker(path, method).is_some()) {
                aspect.direction = Direction::Unclear;
            }
            aspect
        }));
        let (old, asked) = (self.requirement(true), new.requirement(true));
        let direction = match (self.openness().cmp(&new.openness()), &old, &asked) {
            (std::cmp::Ordering::Less, ..) => Direction::Gain,
            (std::cmp::Ordering::Greater, ..) => Direction::Loss,
            (_, Some(old), Some(new)) => match (new.implies(old), old.implies(new)) {
                (true, true) => Direction::Neutral,
                (true, false) => Direction::Loss,
                (false, true) => Direction::Gain,
                (false, false) => Direction::Unclear,
            },
            _ => Direction::Unclear,
        };
        if self.openness() != new.openness() || old != asked {
            aspects.push(Aspect { what: "requirement", from: self.asks(), to: new.asks(), direction });
        }
        if self.openness() == new.openness() && self.scopes(true) != new.scopes(true) {
            aspects.push(unclear("scopes", self.scopes(false), new.scopes(false)));
        }
        aspects.extend(sets("websocket", &self.websockets(), &new.websockets()));
        aspects.extend(sets("trailers", &self.trailers(), &new.trailers()));
        let (old, new) = (self.levels(), new.levels());
        for (method, to) in &new {
            let Some(from) = old.get(method).filter(|from| *from != to) else { continue };
            let direction = if to < from { Direction::Gain } else { Direction::Loss };
            let text = |level: Level| format!("{method} means {}", level.name());
            aspects.push(Aspect { what: "levels", from: text(*from), to: text(*to), direction });
        }
        aspects
    }

    /// How many principals may use it somewhere; `None` where no principal is asked for, where tokens may bring any
    /// principal further rights, and where it would take too long to say.
    pub(super) fn users(&self) -> Option<usize> {
        let methods = self.document.methods.iter().filter_map(|method| method.value.parse::<Method>().ok());
        let levels: BTreeSet<Level> = methods.map(|method| self.compiled.level(&method)).collect();
        let Some(everybody) = self.of.side_policy.everybody() else {
            return users(self.of.compiled, self.compiled, self.of.domain?, &levels).map(|(users, _)| users);
        };
        let mut all = everybody.routes.applications().iter();
        let application = all.find(|application| application.name == self.of.compiled.name)?;
        let route = application.routes().iter().find(|route| route.id == self.compiled.id)?;
        let domain = everybody.domains.get(application.domain)?;
        if !everybody.may_take(domain.counts().0) {
            return None;
        }
        let (users, holdings) = users(application, route, domain, &levels)?;
        everybody.took(holdings.saturating_mul(A_HOLDING));
        Some(users)
    }

    /// The route of the other side that takes, or took, its requests.
    pub(super) fn taken_by(&self, other: Option<&Served<'_>>) -> Option<String> {
        let path = &self.document.path.value;
        let mut methods = self.document.methods.iter();
        methods.find_map(|method| other?.taker(path, &method.value)).map(|route| route.id.to_string())
    }
}

/// See [`View::users`]; and how many holdings there are. Whoever shares a profile, and has the same grants of its own,
/// shares the answer.
fn users(
    application: &Application,
    route: &Route,
    domain: &Domain,
    levels: &BTreeSet<Level>,
) -> Option<(usize, usize)> {
    let rules = match &route.access {
        Access::Rules(rules) if !domain.maps_tokens() => rules,
        Access::Rules(_) | Access::Public | Access::GateOnly => return None,
    };
    let mut known: HashMap<(ProfileId, &[BundleId]), bool> = HashMap::new();
    let may = in_turns(A_TURN, domain.everybody()).filter(|principal| {
        let reaches =
            || levels.iter().any(|level| !matches!(reach(domain, rules, *principal, *level), Reach::Never(_)));
        principal.status() == Status::Active
            && application.gate.tenants.contains(&principal.key().tenant)
            && *known.entry((principal.profile(), principal.own())).or_insert_with(reaches)
    });
    let users = may.count();
    Some((users, known.len()))
}
