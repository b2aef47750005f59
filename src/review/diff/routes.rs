//! Routes and applications: what is new, gone, wide open or closed now, and what is asked in another way.

use std::collections::{BTreeMap, BTreeSet};

use super::backend;
use super::view::{Served, View, sets};
use super::{Direction, Side, SidedPlace};
use crate::document::routes::TestDocument;
use crate::model::{Guid, Mode};
use crate::review::Policy;
use crate::route::host::Host;
use crate::token::Class;

/// What a route was and is, in one respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aspect {
    /// `path`, `methods`, `requirement` ...
    pub what: &'static str,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Which way this goes.
    pub direction: Direction,
}

/// What became of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteChangeKind {
    /// It asks less than any requirement now: public, or the gate only.
    Opened,
    /// It is new.
    Added,
    /// It asks something else, or takes other requests.
    Changed,
    /// It has another id.
    Renamed,
    /// It asks more than it did: it was public, or asked for the gate only.
    Closed,
    /// It is gone.
    Removed,
}

/// One route that changes.
#[derive(Clone, Debug)]
pub struct RouteChange {
    /// The application.
    pub application: String,
    /// The route's id; the new one where it has two.
    pub route: String,
    /// What became of it.
    pub kind: RouteChangeKind,
    /// Which way it goes.
    pub direction: Direction,
    /// Where it stands.
    pub place: SidedPlace,
    /// The respects in which it differs.
    pub aspects: Vec<Aspect>,
    /// How many principals could use it somewhere, and can: at most these, whatever requests say. `None` where it asks
    /// for none, or tokens may bring any principal further rights.
    pub before: Option<usize>,
    /// The same for the new side.
    pub now: Option<usize>,
    /// Of a new route, the one that took its requests before; of one that is gone, the one that takes them now.
    pub instead: Option<String>,
}

/// An application that comes, goes, or has another gate.
#[derive(Clone, Debug)]
pub struct ApplicationChange {
    /// Its name.
    pub name: String,
    /// `Some(New)` if it is new, `Some(Old)` if it is gone.
    pub only: Option<Side>,
    /// Which way it goes.
    pub direction: Direction,
    /// Where it stands.
    pub place: SidedPlace,
    /// The respects in which it differs.
    pub aspects: Vec<Aspect>,
}

/// A test that comes, goes or asks something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestChange {
    /// Its id.
    pub id: String,
    /// What it was, in short.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

pub(super) struct Routes {
    pub(super) applications: Vec<ApplicationChange>,
    pub(super) routes: Vec<RouteChange>,
    pub(super) tests: Vec<TestChange>,
}

pub(super) fn compare(old: &Policy, new: &Policy) -> Routes {
    let (before, now) = (Served::all(old), Served::all(new));
    let mut found = Routes { applications: Vec::new(), routes: Vec::new(), tests: tests(old, new) };
    let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    for name in names {
        let (old, new) = (before.get(name), now.get(name));
        found.applications.extend(application(name, old, new));
        routes(name, old, new, &mut found.routes);
    }
    found.applications.sort_by_key(|change| change.direction);
    found.routes.sort_by(|a, b| {
        let width = |change: &RouteChange| (change.direction, change.kind, std::cmp::Reverse(change.now));
        width(a).cmp(&width(b)).then_with(|| (&a.application, &a.route).cmp(&(&b.application, &b.route)))
    });
    found
}

fn application(name: &str, old: Option<&Served<'_>>, new: Option<&Served<'_>>) -> Option<ApplicationChange> {
    let change = |only, direction, side, served: &Served<'_>, aspects| ApplicationChange {
        name: name.to_owned(),
        only,
        direction,
        place: (side, served.document.name.place),
        aspects,
    };
    match (old, new) {
        (None, None) => None,
        // What it opens is a matter of its routes.
        (None, Some(new)) => Some(change(Some(Side::New), Direction::Neutral, Side::New, new, Vec::new())),
        (Some(old), None) => Some(change(Some(Side::Old), Direction::Loss, Side::Old, old, Vec::new())),
        (Some(old), Some(new)) => {
            let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
            // By id: a name may stand for another tenant now.
            let tenant = |id: &Guid| {
                let named = |policy: &Policy| {
                    policy.tenants.iter().find(|known| known.id == *id).map(|known| known.name.to_string())
                };
                let name = named(new.side_policy);
                let before = || named(old.side_policy).map(|name| format!("{name} ({id})"));
                name.or_else(before).unwrap_or_else(|| id.to_string())
            };
            let gate = |served: &Served<'_>| {
                let gate = &served.compiled.gate;
                let tenants = gate.tenants.iter().map(tenant).collect::<BTreeSet<String>>();
                let certificates = gate.client_certificates.iter().map(ToString::to_string).collect();
                [tenants, texts(&gate.audiences), texts(&gate.app_roles), texts(&gate.clients), certificates]
            };
            let [old_tenants, old_audiences, old_roles, old_clients, old_certificates] = gate(old);
            let [tenants, audiences, roles, clients, certificates] = gate(new);
            let mut aspects = Vec::new();
            aspects.extend(sets("tenants", &old_tenants, &tenants));
            aspects.extend(sets("audiences", &old_audiences, &audiences));
            aspects.extend(asked("clients", &old_clients, &clients));
            let callers = |served: &Served<'_>| {
                let both = [Class::User, Class::App].into_iter();
                let admitted = both.filter(|class| served.compiled.gate.callers.is_none_or(|only| only == *class));
                admitted.map(|class| class.word().to_owned()).collect()
            };
            aspects.extend(sets("callers", &callers(old), &callers(new)));
            aspects.extend(asked("app_roles", &old_roles, &roles));
            aspects.extend(asked("client_certificates", &old_certificates, &certificates));
            aspects.extend(sets("token", &token_places(old), &token_places(new)));
            aspects.extend(sets("cors", &pages(old), &pages(new)));
            let admits = |served: &Served<'_>| served.compiled.backend.words().into_iter().map(str::to_owned).collect();
            aspects.extend(sets("backend", &admits(old), &admits(new)));
            let only = |holds: bool, word: &str| BTreeSet::from_iter(holds.then(|| word.to_owned()));
            let keeps = |served: &Served<'_>| only(served.compiled.keeps_expired, "keep");
            aspects.extend(sets("on_expiry", &keeps(old), &keeps(new)));
            let binds = |served: &Served<'_>| only(served.compiled.connection_auth, "true");
            aspects.extend(sets("connection_auth", &binds(old), &binds(new)));
            let watches = |served: &Served<'_>| only(served.compiled.mode == Mode::Shadow, "shadow");
            aspects.extend(sets("mode", &watches(old), &watches(new)));
            aspects.extend(backend::aspects(old.compiled, new.compiled));
            aspects.extend(sets("hosts", &hosts(old), &hosts(new)).map(|mut aspect| {
                // A host that another application takes over is not closed.
                let taken = |host: &str| {
                    let host = Host::parse(host.trim_start_matches('*').trim_start_matches('.'));
                    host.is_ok_and(|host| new.side_policy.snapshot.routes.application(&host).is_some())
                };
                if aspect.direction == Direction::Loss && hosts(old).difference(&hosts(new)).any(|host| taken(host)) {
                    aspect.direction = Direction::Unclear;
                }
                aspect
            }));
            let domain = |served: &Served<'_>| served.document.domain.value.clone();
            if domain(old) != domain(new) {
                let (from, to) = (domain(old), domain(new));
                aspects.push(Aspect { what: "domain", from, to, direction: Direction::Unclear });
            }
            let direction = together(&aspects);
            (!aspects.is_empty()).then(|| change(None, direction, Side::New, new, aspects))
        }
    }
}

/// A respect in which one of a set is asked for; without any, none is.
fn asked(what: &'static str, from: &BTreeSet<String>, to: &BTreeSet<String>) -> Option<Aspect> {
    let mut aspect = sets(what, from, to)?;
    match (from.is_empty(), to.is_empty()) {
        (true, _) => aspect.direction = Direction::Loss,
        (_, true) => aspect.direction = Direction::Gain,
        (false, false) => {}
    }
    Some(aspect)
}

/// Where an application looks for tokens.
fn token_places(served: &Served<'_>) -> BTreeSet<String> {
    let places = &served.compiled.token;
    let bearer = places.bearer.then(|| "bearer".to_owned()).into_iter();
    let cookies = places.cookies.iter().map(|name| format!("cookie {name}"));
    bearer.chain(cookies).chain(places.headers.iter().map(|name| format!("header {name}"))).collect()
}

/// Which web pages may call an application, and how.
fn pages(served: &Served<'_>) -> BTreeSet<String> {
    let Some(cors) = &served.compiled.cors else { return BTreeSet::new() };
    let origins = cors.origins().into_iter();
    let with = |origin: &str| [origin.to_owned(), format!("{origin} with cookies")];
    origins.flat_map(with).filter(|page| cors.credentials || !page.ends_with("with cookies")).collect()
}

/// The hosts of an application as they are compared.
fn hosts(served: &Served<'_>) -> BTreeSet<String> {
    let canonical = |written: &str| {
        let (wildcard, name) = written.strip_prefix("*.").map_or(("", written), |name| ("*.", name));
        match Host::parse(name) {
            Ok(Host { name, port: None | Some(80 | 443) }) => format!("{wildcard}{name}"),
            Ok(Host { name, port: Some(port) }) => format!("{wildcard}{name}:{port}"),
            Err(_) => written.to_owned(),
        }
    };
    served.document.hosts.iter().map(|host| canonical(&host.value)).collect()
}

/// Which way several respects go together.
fn together(aspects: &[Aspect]) -> Direction {
    aspects.iter().map(|aspect| aspect.direction).fold(Direction::Neutral, |a, b| match (a, b) {
        (Direction::Neutral, other) | (other, Direction::Neutral) => other,
        (a, b) if a == b => a,
        _ => Direction::Unclear,
    })
}

fn routes(name: &str, old: Option<&Served<'_>>, new: Option<&Served<'_>>, found: &mut Vec<RouteChange>) {
    let (mut before, mut now) =
        (old.map(Served::views).unwrap_or_default(), new.map(Served::views).unwrap_or_default());
    let mut pairs = Vec::new();
    // By id first, then by what they match.
    for same in [|a: &View<'_>, b: &View<'_>| a.id() == b.id(), |a: &View<'_>, b: &View<'_>| a.takes() == b.takes()] {
        before.retain(|view| match now.iter().position(|other| same(view, other)) {
            Some(position) => {
                pairs.push((*view, now.swap_remove(position)));
                false
            }
            None => true,
        });
    }
    let change = |view: &View<'_>, side, kind, direction| RouteChange {
        application: name.to_owned(),
        route: view.id().to_owned(),
        kind,
        direction,
        place: (side, view.document.id.place),
        aspects: Vec::new(),
        before: None,
        now: None,
        instead: None,
    };
    for view in now {
        let mut added = change(&view, Side::New, RouteChangeKind::Added, Direction::Gain);
        added.now = view.users();
        added.instead = view.taken_by(old);
        if added.now == Some(0) {
            added.direction = if added.instead.is_some() { Direction::Loss } else { Direction::Neutral };
        }
        added.aspects.push(Aspect {
            what: "requirement",
            from: String::new(),
            to: view.asks(),
            direction: added.direction,
        });
        found.push(added);
    }
    for view in before {
        let mut removed = change(&view, Side::Old, RouteChangeKind::Removed, Direction::Loss);
        removed.before = view.users();
        removed.instead = view.taken_by(new);
        if removed.instead.is_some() {
            removed.direction = Direction::Unclear;
        }
        found.push(removed);
    }
    for (old, new) in pairs {
        let aspects = old.aspects(&new);
        let renamed = old.id() != new.id();
        if aspects.is_empty() && !renamed {
            continue;
        }
        let kind = match new.openness().cmp(&old.openness()) {
            std::cmp::Ordering::Greater => RouteChangeKind::Opened,
            std::cmp::Ordering::Less => RouteChangeKind::Closed,
            std::cmp::Ordering::Equal if aspects.is_empty() => RouteChangeKind::Renamed,
            std::cmp::Ordering::Equal => RouteChangeKind::Changed,
        };
        let mut changed = change(&new, Side::New, kind, together(&aspects));
        changed.aspects = aspects;
        if renamed {
            let (from, to) = (old.id().to_owned(), new.id().to_owned());
            changed.aspects.push(Aspect { what: "id", from, to, direction: Direction::Neutral });
        }
        if kind != RouteChangeKind::Renamed {
            (changed.before, changed.now) = (old.users(), new.users());
        }
        found.push(changed);
    }
}

fn tests(old: &Policy, new: &Policy) -> Vec<TestChange> {
    let all = |policy: &Policy| -> BTreeMap<String, String> {
        policy.routes.iter().flat_map(|file| &file.tests).map(|test| (test.id.value.clone(), in_short(test))).collect()
    };
    let (old, new) = (all(old), all(new));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pairs = ids.into_iter().map(|id| (id, old.get(id).cloned(), new.get(id).cloned()));
    pairs.filter(|(_, from, to)| from != to).map(|(id, from, to)| TestChange { id: id.clone(), from, to }).collect()
}

fn in_short(test: &TestDocument) -> String {
    let mut text = test.request.value.clone();
    let mut add = |what: &str, mut pairs: Vec<String>| {
        pairs.sort_unstable();
        if !pairs.is_empty() {
            text.push_str(&format!(" {what} {}", pairs.join(", ")));
        }
    };
    add("as", test.principal.iter().map(|id| id.value.clone()).collect());
    add("with", test.headers.iter().map(|(name, value)| format!("{}: {}", name.value, value.value)).collect());
    add("token", test.token.iter().map(|(name, value)| format!("{}: {}", name.value, value.value)).collect());
    add("settings", test.settings.iter().map(|(name, value)| format!("{}: {value}", name.value)).collect());
    add("expect", vec![if test.allow { "allow" } else { "deny" }.to_owned()]);
    add("reason", test.reason.iter().map(|reason| reason.value.clone()).collect());
    text
}
