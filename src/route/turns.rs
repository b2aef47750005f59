//! Requests that another route takes than before: every pair of routes, an old one and a new one, that some request goes
//! from and to.
//!
//! Which route takes a request depends on patterns only, so a request whose route changes is taken by a changed route
//! before or after. Where the patterns of two routes meet, a request with names in the open places that no file has is
//! taken, on both sides, by routes that take all others there as well unless more specific ones do, which are looked at
//! for themselves. So it is enough to try one such request for each pair of which one is changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use http::Method;

use super::canonical::MAX_SEGMENTS;
use super::dialect::Readings;
use super::host::Host;
use super::pattern::{Pattern, Segment, write};
use super::{Application, Route, RouteMap};

/// A segment that no file names.
const ANY: &str = "x-any-value";

/// A route and the application that it belongs to.
pub type Taker<'r> = (&'r Arc<Application>, &'r Route);

/// Some requests that were taken by one route, or none, and are by another, or none.
#[derive(Clone, Debug)]
pub struct Turn<'r> {
    /// What took them.
    pub old: Option<Taker<'r>>,
    /// What takes them.
    pub new: Option<Taker<'r>>,
    /// Whether the old map has no application for their host.
    pub fresh: bool,
    /// One of them: the method, and the host with the path.
    pub sample: (Method, String),
}

/// All turns between two maps. `sign` says what tells about a route: of two routes of equal signs, nothing changes for
/// anybody by going from one to the other.
pub fn turns<'r, S: Clone + Eq + Hash>(
    (old, new): (&'r RouteMap, &'r RouteMap),
    sign: impl Fn(usize, &Arc<Application>, &Route) -> S,
) -> Vec<Turn<'r>> {
    // By the hosts that lead from one to the other.
    let mut pairs: BTreeMap<(Option<usize>, Option<usize>), String> = BTreeMap::new();
    for (name, port) in old.names().chain(new.names()) {
        let host = Host { name: name.as_str().into(), port };
        let number = |map: &RouteMap| {
            let found = map.application(&host)?;
            map.applications.iter().position(|application| Arc::ptr_eq(application, found))
        };
        let pair = (number(old), number(new));
        pairs.entry(pair).or_insert(port.map_or_else(|| name.clone(), |port| format!("{name}:{port}")));
    }
    let mut found = Vec::new();
    for ((before, after), host) in pairs {
        let before = Side::new(before.and_then(|number| old.applications.get(number)), |of, route| sign(0, of, route));
        let after = Side::new(after.and_then(|number| new.applications.get(number)), |of, route| sign(1, of, route));
        found.extend(Pair { before, after, host }.turns());
    }
    found
}

/// One application of a pair; there may be none.
struct Side<'r, S> {
    application: Option<&'r Arc<Application>>,
    signs: Vec<S>,
}

struct Pair<'r, S> {
    before: Side<'r, S>,
    after: Side<'r, S>,
    host: String,
}

impl<'r, S: Clone + Eq + Hash> Side<'r, S> {
    fn new(application: Option<&'r Arc<Application>>, sign: impl Fn(&Arc<Application>, &Route) -> S) -> Self {
        let signs =
            |application: &Arc<Application>| application.routes.iter().map(|route| sign(application, route)).collect();
        Self { application, signs: application.map(signs).unwrap_or_default() }
    }

    fn routes(&self) -> &'r [Route] {
        self.application.map(|application| application.routes()).unwrap_or_default()
    }

    /// The route of a request, by number.
    fn takes(&self, path: &str, method: &Method) -> Option<usize> {
        let application = self.application?;
        let readings = Readings::new(path, application.backend).ok()?;
        application.table.find(&readings.first, method)
    }

    /// The routes, by number, whose signs the other side does not have.
    fn changed(&self, other: &Self, all: bool) -> Vec<usize> {
        let known: HashSet<&S> = other.signs.iter().collect();
        let signs = self.signs.iter().enumerate();
        signs.filter(|(_, sign)| all || !known.contains(sign)).map(|(number, _)| number).collect()
    }

    fn taker(&self, number: Option<usize>) -> Option<Taker<'r>> {
        Some((self.application?, self.routes().get(number?)?))
    }
}

impl<'r, S: Clone + Eq + Hash> Pair<'r, S> {
    fn turns(&self) -> Vec<Turn<'r>> {
        // Backends that read paths in other ways may take any request for another.
        let backend = |side: &Side<'_, S>| side.application.map(|application| application.backend);
        let all = backend(&self.before) != backend(&self.after);
        let (gone, come) = (self.before.changed(&self.after, all), self.after.changed(&self.before, all));
        let longest = self.before.routes().iter().chain(self.after.routes());
        let longest = longest.map(|route| route.pattern.segments.len()).max().unwrap_or(0);
        let mut met: BTreeMap<(Option<usize>, Option<usize>), (Method, String)> = BTreeMap::new();
        let mut meet = |one: &Route, other: &Route| {
            let methods = one.methods.iter().filter(|method| other.methods.contains(method));
            let methods: Vec<&Method> = methods.collect();
            if methods.is_empty() {
                return;
            }
            for path in meeting(&one.pattern, &other.pattern, longest) {
                for method in &methods {
                    let pair = (self.before.takes(&path, method), self.after.takes(&path, method));
                    met.entry(pair).or_insert_with(|| ((*method).clone(), path.clone()));
                }
            }
        };
        for (changed, (own, others)) in
            [(&gone, (self.before.routes(), self.after.routes())), (&come, (self.after.routes(), self.before.routes()))]
        {
            for route in changed.iter().filter_map(|number| own.get(*number)) {
                meet(route, route);
                others.iter().for_each(|other| meet(route, other));
            }
        }
        let differ = |(before, after): &(Option<usize>, Option<usize>)| {
            let sign = |side: &'_ Side<'r, S>, number: &Option<usize>| side.signs.get((*number)?).cloned();
            sign(&self.before, before) != sign(&self.after, after)
        };
        let turns = met.into_iter().filter(|(pair, _)| differ(pair)).map(|((before, after), (method, path))| Turn {
            old: self.before.taker(before),
            new: self.after.taker(after),
            fresh: self.before.application.is_none(),
            sample: (method, format!("{}{path}", self.host)),
        });
        turns.collect()
    }
}

/// Paths that both patterns take, with names in the open places that no file has: one, or one of each length up to one
/// more than `longest` where both take a rest. Empty if there are none.
fn meeting(one: &Pattern, other: &Pattern, longest: usize) -> BTreeSet<String> {
    let mut path = String::new();
    let mut at = 0;
    loop {
        match (one.segments.get(at), other.segments.get(at)) {
            (None, None) => return BTreeSet::from([path]),
            (Some(Segment::Rest(_)), Some(Segment::Rest(_))) => return rests(&path, longest.saturating_sub(at) + 1),
            (Some(Segment::Rest(_)), Some(_)) => return followed(&path, other, at, longest),
            (Some(_), Some(Segment::Rest(_))) => return followed(&path, one, at, longest),
            (Some(one), Some(other)) => match (one, other) {
                (Segment::Literal(one), Segment::Literal(other)) => {
                    if one != other && one.to_lowercase() != other.to_lowercase() {
                        return BTreeSet::new();
                    }
                    push(&mut path, one);
                }
                (Segment::Literal(text), _) | (_, Segment::Literal(text)) => {
                    if text.is_empty() {
                        return BTreeSet::new();
                    }
                    push(&mut path, text);
                }
                _ => push(&mut path, ANY),
            },
            (Some(_), None) | (None, Some(_)) => return BTreeSet::new(),
        }
        at += 1;
    }
}

fn push(path: &mut String, segment: &str) {
    path.push('/');
    if segment == ANY {
        path.push_str(ANY);
    } else {
        segment.chars().for_each(|character| write(character, path));
    }
}

/// What a pattern takes from one of its segments on, where the other takes any rest that is not empty.
fn followed(path: &str, pattern: &Pattern, from: usize, longest: usize) -> BTreeSet<String> {
    let mut path = path.to_owned();
    for (at, segment) in pattern.segments.iter().enumerate().skip(from) {
        match segment {
            Segment::Literal(text) if text.is_empty() && at == from => return BTreeSet::new(),
            Segment::Literal(text) => push(&mut path, text),
            Segment::Variable(_) => push(&mut path, ANY),
            Segment::Rest(_) => return rests(&path, longest.saturating_sub(at) + 1),
        }
    }
    BTreeSet::from([path])
}

/// Rests of each length, without and with a slash at the end.
fn rests(path: &str, longest: usize) -> BTreeSet<String> {
    let mut path = path.to_owned();
    let mut found = BTreeSet::new();
    for _ in 0..longest.min(MAX_SEGMENTS) {
        push(&mut path, ANY);
        found.extend([path.clone(), format!("{path}/")]);
    }
    found
}
