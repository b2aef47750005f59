//! What a candidate changes, and for how many, told from the compiled tables alone: fast enough for a million principals,
//! and without the documents. Where only requests would show what changes, it counts as a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::policy::{self, AskedByName, Domains, FlagId, Pass, Program, State, changed_objects};
use crate::route::{Access, Application, Mode, Route, RouteMap, Taker, Turn, turns};

/// The most routes that are listed.
const LISTED: usize = 50;

/// What is compared: a route map and the domains that belong to it.
pub type Tables<'t> = (&'t RouteMap, &'t Domains);

/// What changes; see the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// Domain by domain, by name.
    pub domains: BTreeMap<Arc<str>, policy::Impact>,
    /// Requests that ask for less than any requirement now and did not before: some of them.
    pub opened: Vec<Opened>,
    /// How many more of these there are.
    pub more_opened: usize,
    /// Applications that are gone, by name.
    pub gone: Vec<Arc<str>>,
    /// How many pairs of routes there are that some request goes from and to: a measure of how much the map changes.
    pub turns: usize,
}

/// Requests that are open to more than principals now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The application.
    pub application: Arc<str>,
    /// The route that takes them; empty where an application lets pass what no route takes.
    pub route: Arc<str>,
    /// One of them, such as `GET app.example.org/status`.
    pub sample: String,
    /// Whether not even a token is asked for; otherwise one that passes the gate.
    pub public: bool,
    /// The route that took them, if there was one.
    pub before: Option<Arc<str>>,
}

/// Compares two policies.
pub fn impact(old: Tables<'_>, new: Tables<'_>) -> Impact {
    let signs = [signs(old), signs(new)];
    let sign = |side: usize, (application, route): Taker<'_>| {
        signs.get(side).and_then(|signs| signs.get(&(Arc::clone(&application.name), Arc::clone(&route.id))))
    };
    let whole = |side: usize, application: &Arc<Application>, route: &Route| {
        sign(side, (application, route)).map(|sign| Arc::clone(&sign.whole))
    };
    let found = turns((old.0, new.0), whole);
    let mut impact = Impact { turns: found.len(), gone: gone(old.0, new.0), ..Impact::default() };
    for opened in unrouted(old.0, new.0).into_iter().chain(found.iter().filter_map(opened)) {
        if impact.opened.len() < LISTED {
            impact.opened.push(opened);
        } else {
            impact.more_opened += 1;
        }
    }
    let (mut before, mut after) = (Passes::default(), Passes::default());
    for turn in &found {
        let [from, to] = [(0, turn.old), (1, turn.new)].map(|(side, taker)| taker.and_then(|taker| sign(side, taker)));
        let (gain, lose) = ways(from, to);
        turn.old.filter(|_| lose).into_iter().for_each(|taker| before.add(old.1, taker));
        let gain = gain && !is_new_page(turn);
        turn.new.filter(|_| gain).into_iter().for_each(|taker| after.add(new.1, taker));
    }
    let mut asked = AskedByName::default();
    note_asked(old, &mut asked);
    note_asked(new, &mut asked);
    let names: BTreeSet<&Arc<str>> = old.1.iter().chain(new.1.iter()).map(|domain| domain.name()).collect();
    for name in names {
        let [one, other] = [old, new].map(|(_, domains)| domains.iter().find(|domain| domain.name() == name));
        let kinds = one.zip(other).map(|(one, other)| changed_objects(one, other)).unwrap_or_default();
        before.add_about(old, name, &kinds);
        after.add_about(new, name, &kinds);
        let one = one.map(|domain| State { domain, passes: before.of(name) });
        let other = other.map(|domain| State { domain, passes: after.of(name) });
        impact.domains.insert(Arc::clone(name), policy::Impact::of(one.as_ref(), other.as_ref(), &asked));
    }
    impact
}

fn gone(old: &RouteMap, new: &RouteMap) -> Vec<Arc<str>> {
    let known: BTreeSet<&Arc<str>> = new.applications().iter().map(|application| &application.name).collect();
    let names = old.applications().iter().map(|application| &application.name);
    names.filter(|name| !known.contains(name)).cloned().collect()
}

/// What tells about a route.
struct Sign {
    /// All of it.
    whole: Arc<str>,
    /// Who may come in to the application, and how.
    entrance: Arc<str>,
    /// The domain, and what `by_method` means.
    terms: String,
    /// How little is asked.
    openness: u8,
    program: Option<Program>,
}

type Signs = HashMap<(Arc<str>, Arc<str>), Sign>;

fn signs((map, domains): Tables<'_>) -> Signs {
    let mut signs = Signs::new();
    for application in map.applications() {
        let entrance: Arc<str> = entrance(application).into();
        let domain = domains.get(application.domain);
        for route in application.routes() {
            let program = match (&route.access, domain) {
                (Access::Rules(rules), Some(domain)) => Some(Program::of(domain, rules)),
                _ => None,
            };
            let mut methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
            methods.sort_unstable();
            let mut levels: Vec<String> =
                route.levels().iter().map(|(method, level)| format!("{method}: {}", level.name())).collect();
            levels.sort_unstable();
            let openness = openness(route);
            let terms = format!("{} {levels:?}", domain.map_or("", |domain| domain.name()));
            let (shape, text) = (route.pattern.shape(), program.as_ref().map_or("", Program::text));
            let whole = format!("{methods:?} {shape}\n{openness}\n{terms}\n{entrance}\n{text}").into();
            let sign = Sign { whole, entrance: Arc::clone(&entrance), terms, openness, program };
            signs.insert((Arc::clone(&application.name), Arc::clone(&route.id)), sign);
        }
    }
    signs
}

/// Who may come in to an application, and how; equal texts, equal entrances.
fn entrance(application: &Application) -> String {
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list
    };
    let texts = |list: &[Box<str>]| sorted(list.iter().map(ToString::to_string).collect());
    let gate = &application.gate;
    let tenants = sorted(gate.tenants.iter().map(ToString::to_string).collect());
    let certificates = sorted(gate.client_certificates.iter().map(ToString::to_string).collect());
    let (audiences, clients, roles) = (texts(&gate.audiences), texts(&gate.clients), texts(&gate.app_roles));
    let (callers, token, backend) = (&gate.callers, &application.token, &application.backend);
    let connection = application.connection_auth;
    format!(
        "{tenants:?} {audiences:?} {clients:?} {roles:?} {certificates:?} {callers:?} {token:?} {backend:?} {connection}"
    )
}

/// The openness of a route that asks, and lets everybody pass whatever the answer.
const SHADOW: u8 = 2;

const fn openness(route: &Route) -> u8 {
    match (&route.access, route.mode) {
        (Access::Public, _) => 3,
        (_, Mode::Shadow) => SHADOW,
        (Access::GateOnly, Mode::Enforce) => 1,
        (Access::Rules(_), Mode::Enforce) => 0,
    }
}

/// Whether somebody may gain, and lose, by going from one route to another.
fn ways(old: Option<&Sign>, new: Option<&Sign>) -> (bool, bool) {
    match (old, new) {
        (None, None) => (false, false),
        (None, Some(_)) => (true, false),
        (Some(_), None) => (false, true),
        (Some(old), Some(new)) if old.openness >= SHADOW || new.openness >= SHADOW => {
            (old.openness < SHADOW, new.openness < SHADOW)
        }
        (Some(old), Some(new)) if old.entrance != new.entrance || old.terms != new.terms => (true, true),
        (Some(old), Some(new)) if old.openness != new.openness => {
            (new.openness > old.openness, new.openness < old.openness)
        }
        (Some(old), Some(new)) => match (&old.program, &new.program) {
            (Some(old), Some(new)) if old != new => (!new.implies(old), !old.implies(new)),
            _ => (false, false),
        },
    }
}

/// Whether a route is for requests that nobody could make before, and no more than its file spells out: a page that is new,
/// or an application. What it asks is what its author wants of those who come, so this is nobody's gain.
fn is_new_page(turn: &Turn<'_>) -> bool {
    turn.old.is_none() && turn.new.is_some_and(|(_, route)| turn.fresh || !route.pattern.takes_any_rest())
}

fn opened(turn: &Turn<'_>) -> Option<Opened> {
    let (application, route) = turn.new?;
    let before = turn.old.map_or(0, |(_, route)| openness(route));
    let (method, url) = &turn.sample;
    (openness(route) > before).then(|| Opened {
        application: Arc::clone(&application.name),
        route: Arc::clone(&route.id),
        sample: format!("{method} {url}"),
        public: route.is_open(),
        before: turn.old.map(|(_, route)| Arc::clone(&route.id)),
    })
}

/// Applications that only watch now: requests that none of their routes takes go on, too.
fn unrouted(old: &RouteMap, new: &RouteMap) -> Vec<Opened> {
    let watches = |map: &RouteMap, name: &str| {
        map.applications().iter().any(|application| *application.name == *name && application.mode == Mode::Shadow)
    };
    let names = new.applications().iter().map(|application| &application.name);
    let opened = names.filter(|name| watches(new, name) && !watches(old, name)).map(|name| Opened {
        application: Arc::clone(name),
        route: "".into(),
        sample: "what no route takes".to_owned(),
        public: true,
        before: None,
    });
    opened.collect()
}

/// Ways through routes by domain, each once.
#[derive(Default)]
struct Passes<'p>(BTreeMap<Arc<str>, BTreeMap<String, Pass<'p>>>);

impl<'p> Passes<'p> {
    fn add(&mut self, domains: &'p Domains, (application, route): Taker<'p>) {
        let Some(domain) = domains.get(application.domain) else { return };
        let tenants = Some(application.gate.tenants.as_slice()).filter(|_| !route.is_open());
        let rules = match &route.access {
            _ if route.is_open() => None,
            Access::Rules(rules) => Some(rules),
            Access::Public | Access::GateOnly => None,
        };
        let text = rules.map(|rules| Program::of(domain, rules).text().to_owned());
        let key = format!("{tenants:?} {text:?}");
        self.0.entry(Arc::clone(domain.name())).or_default().insert(key, Pass { tenants, rules });
    }

    /// Adds all routes of a domain that are about objects of these kinds.
    fn add_about(&mut self, (map, domains): Tables<'p>, name: &str, kinds: &BTreeSet<String>) {
        for application in map.applications() {
            let Some(domain) = domains.get(application.domain).filter(|domain| **domain.name() == *name) else {
                continue;
            };
            for route in application.routes() {
                let Access::Rules(rules) = &route.access else { continue };
                if !route.is_open() && rules.object_kind(domain).is_some_and(|kind| kinds.contains(kind)) {
                    self.add(domains, (application, route));
                }
            }
        }
    }

    fn of(&mut self, domain: &str) -> Vec<Pass<'p>> {
        self.0.remove(domain).unwrap_or_default().into_values().collect()
    }
}

/// Notes what the routes of one side ask by name.
pub(super) fn note_asked<'t>((map, domains): Tables<'t>, asked: &mut AskedByName<'t>) {
    for application in map.applications() {
        let Some(domain) = domains.get(application.domain) else { continue };
        for route in application.routes() {
            let Access::Rules(rules) = &route.access else { continue };
            let demands = rules.demands();
            let names = |flags: &[FlagId]| flags.iter().map(|flag| domain.flag_name(*flag)).collect::<Vec<_>>();
            asked.flags.extend(names(&demands.flags));
            asked.not_flags.extend(names(&demands.not_flags));
            asked.undenied.extend(demands.undenied.iter().map(|right| domain.right_name(*right)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::diag::Report;
    use crate::document::{read_grants, read_routes};
    use crate::model::{Guid, Status, Tenant};
    use crate::policy::Taken;
    use crate::review::diff::{Direction, diff};
    use crate::review::small::{PEOPLE, compiled, world};
    use crate::review::{Asker, Claims, Policy, Request};
    use crate::route::{Compiled, Inputs, compile};

    /// Every request that tells one small world from another.
    fn requests(asker: &Asker) -> Vec<Request> {
        let paths = ["/", "/a", "/a/b", "/a/z", "/z", "/z/b", "/z/z", "/a/b/z", "/z/z/z", "/last"];
        let queries = ["", "?n=a", "?n=b", "?n=c", "?m=x"];
        let mut all = Vec::new();
        for path in paths {
            for query in queries {
                for method in ["GET", "POST", "PUT"] {
                    let line = format!("{method} http://app.test{path}{query}");
                    all.push(Request::parse(&line, Vec::new(), asker.clone()).unwrap());
                }
            }
        }
        all
    }

    /// Of each request whether it passes, and the route that takes it.
    fn tried(policy: &Policy, asker: &Asker) -> Vec<(bool, Option<Arc<str>>)> {
        let tried = |request: Request| match request.try_on(policy) {
            Ok(tried) => (tried.refusal.is_none(), tried.grounds.route),
            Err(_) => (false, None),
        };
        requests(asker).into_iter().map(tried).collect()
    }

    fn takes_any_rest(policy: &Policy, id: &str) -> bool {
        let routes = policy.snapshot.routes.applications().iter().flat_map(|application| application.routes());
        routes.into_iter().any(|route| *route.id == *id && route.pattern.takes_any_rest())
    }

    fn of(old: &Policy, new: &Policy) -> Impact {
        let tables = |policy: &'_ Policy| (Arc::clone(&policy.snapshot.routes), Arc::clone(&policy.snapshot.domains));
        let ((routes, domains), (new_routes, new_domains)) = (tables(old), tables(new));
        impact((&routes, &domains), (&new_routes, &new_domains))
    }

    /// Who asks as the token of the gate of either side would have it.
    fn asker(id: &str) -> Asker {
        let audiences = Some(vec!["a".to_owned()]);
        Asker::Bearer(id.to_owned(), Claims { audiences, ..Claims::default() })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn nobody_whose_requests_are_decided_otherwise_is_missed_and_nothing_is_made_up_where_nothing_changes(
            choices in prop::collection::vec(any::<u8>(), 90),
            edits in prop::collection::vec((0_usize..90, any::<u8>()), 0..4),
        ) {
            let mut edited = choices.clone();
            for (at, choice) in edits {
                edited[at] = choice;
            }
            let (Some(old), Some(new)) = (compiled(&world(&choices)), compiled(&world(&edited))) else { return Ok(()) };
            let impact = of(&old, &new);
            let domain = &impact.domains["d"];
            let active = |policy: &Policy, name: &str| {
                policy.principal(None, name).is_some_and(|known| known.status == Status::Active)
            };
            for number in 1..=PEOPLE {
                let (id, name) = (format!("t/00000000-0000-0000-0000-00000000000{number}"), format!("p{number}"));
                let (before, after) = (tried(&old, &asker(&id)), tried(&new, &asker(&id)));
                let gains = before.iter().zip(&after).any(|((before, from), (after, to))| {
                    // A page that is new and spelled out is nobody's gain.
                    let told = from.is_some() || to.as_ref().is_some_and(|to| takes_any_rest(&new, to));
                    !before && *after && told
                });
                let loses = before.iter().zip(&after).any(|((before, _), (after, _))| *before && !after);
                let counted = |who: &[Arc<str>]| who.iter().any(|id| **id == *name);
                if gains {
                    // Whoever is nobody here passes where nobody is asked who it is.
                    let told = if active(&new, &name) { counted(&domain.gaining) } else { impact.turns > 0 };
                    prop_assert!(told, "{name} gains: {impact:?}");
                }
                if loses && active(&old, &name) {
                    prop_assert!(counted(&domain.losing), "{name} loses: {impact:?}");
                }
            }
            // Strangers.
            let (before, after) = (tried(&old, &Asker::Nobody), tried(&new, &Asker::Nobody));
            let opens = before.iter().zip(&after).any(|((before, _), (after, _))| !before && *after);
            prop_assert!(!opens || impact.opened.iter().any(|opened| opened.public), "{impact:?}");
            for opened in impact.opened.iter().filter(|opened| opened.public) {
                let (method, url) = opened.sample.split_once(' ').unwrap();
                let request = Request::parse(&format!("{method} http://{url}"), Vec::new(), Asker::Nobody).unwrap();
                let passes = |policy: &Policy| request.try_on(policy).unwrap().refusal.is_none();
                prop_assert_eq!((passes(&old), passes(&new)), (false, true), "{:?}", opened);
            }
            let difference = diff(&old, &new);
            if difference.is_empty() {
                prop_assert_eq!((domain.gain, domain.lose, impact.turns), (0, 0, 0), "{:?}", impact);
            }
            // Where routes ask what they asked, rights are counted as they are compared one by one.
            if impact.turns == 0 && difference.domains.iter().all(|domain| domain.world.is_empty() && domain.flags.is_empty()) {
                let mut gaining: BTreeSet<&str> = BTreeSet::new();
                let mut losing: BTreeSet<&str> = BTreeSet::new();
                for domain in &difference.domains {
                    for change in &domain.access {
                        let who = change.at.iter().flat_map(|(_, who)| who.iter().map(|id| &**id));
                        match change.direction() {
                            Direction::Gain => gaining.extend(who),
                            _ => losing.extend(who),
                        }
                    }
                }
                let counted = |who: &[Arc<str>]| -> BTreeSet<String> {
                    // Of those who come, go or are switched, rights are not all that changes.
                    who.iter().filter(|id| active(&old, id) && active(&new, id)).map(ToString::to_string).collect()
                };
                let (gained, lost) = (counted(&domain.gaining), counted(&domain.losing));
                prop_assert!(gained.iter().all(|id| gaining.contains(id.as_str())), "{gained:?} {gaining:?}");
                prop_assert!(lost.iter().all(|id| losing.contains(id.as_str())), "{lost:?} {losing:?}");
            }
        }
    }

    /// A policy as it is published, going on from what was taken in of its grants before; and what is told of it.
    fn published((routes, grants): &(String, String), taken: &[Option<Arc<Taken>>]) -> (Option<Published>, String) {
        let mut report = Report::new();
        // The text of the grants is another one by number each time.
        let sources = if taken.is_empty() { 0 } else { 3 };
        for _ in 0..sources {
            report.add_source("others.yaml", "");
        }
        let routes = report.add_source("routes.yaml", routes.as_str());
        let grants = report.add_source("grants.yaml", grants.as_str());
        let (Some(routes), Some(grants)) = (read_routes(routes, &mut report), read_grants(grants, &mut report)) else {
            return (None, report.render());
        };
        let (routes, grants) = (vec![routes], vec![grants]);
        let tenants = vec![Tenant::of_objects("t", Guid(1))];
        let files = &|_: &_| Err("no files".to_owned());
        let inputs = Inputs { routes: &routes, grants: &grants, tenants: &tenants, files, taken, sha256: |_| [0; 32] };
        let compiled = compile(inputs, &mut report);
        let published = compiled.map(|Compiled { routes: map, domains, taken, .. }| {
            let tables = (Arc::new(map), Arc::new(domains));
            (Policy::for_trials((routes, grants), tenants, tables, |_| [0; 32]), taken)
        });
        (published, report.render())
    }

    type Published = (Policy, Vec<Option<Arc<Taken>>>);

    /// What one changes of another, whatever the order in which principals come.
    fn sorted(old: &Policy, new: &Policy) -> Impact {
        let mut impact = of(old, new);
        for domain in impact.domains.values_mut() {
            domain.gaining.sort_unstable();
            domain.losing.sort_unstable();
        }
        impact
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Whatever the routes were before, and before that.
        #[test]
        fn what_was_taken_in_before_makes_the_policy_that_compiling_all_anew_makes(
            choices in prop::collection::vec(any::<u8>(), 90),
            edits in prop::collection::vec(prop::collection::vec((40_usize..90, any::<u8>()), 0..12), 2),
        ) {
            let (routes, grants) = world(&choices);
            let (Some((mut old, mut taken)), _) = published(&(routes, grants.clone()), &[]) else { return Ok(()) };
            prop_assert!(taken.iter().all(Option::is_some));
            for edits in edits {
                let mut edited = choices.clone();
                for (at, choice) in edits {
                    edited[at] = choice;
                }
                let texts = (world(&edited).0, grants.clone());
                let ((anew, told), (again, told_again)) = (published(&texts, &[]), published(&texts, &taken));
                prop_assert_eq!(told, told_again);
                prop_assert_eq!(anew.is_some(), again.is_some());
                let (Some((anew, _)), Some((again, next))) = (anew, again) else { continue };
                for number in 1..=PEOPLE {
                    let asker = asker(&format!("p{number}"));
                    prop_assert_eq!(tried(&anew, &asker), tried(&again, &asker));
                }
                prop_assert_eq!(sorted(&old, &anew), sorted(&old, &again));
                let same = of(&anew, &again);
                let domain = &same.domains["d"];
                prop_assert_eq!((domain.gain, domain.lose, same.turns), (0, 0, 0), "{:?}", same);
                (old, taken) = (again, next);
            }
        }
    }

    #[test]
    fn most_worlds_of_the_property_compile() {
        let compile = |seed: u8| {
            compiled(&world(
                &(0..90)
                    .map(|at: u8| at.wrapping_mul(7).wrapping_add(seed.wrapping_mul(31)) ^ seed)
                    .collect::<Vec<_>>(),
            ))
        };
        let good = (0..100).filter(|seed| compile(*seed).is_some()).count();
        assert!(good > 15, "{good}");
    }
}
