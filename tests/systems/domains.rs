//! Domains do not leak into each other: whatever else is loaded, each decides as if it were alone.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use http::HeaderValue;
use http::request::Parts;
use portcullis::document::Literal;
use portcullis::document::grants::{Across, GrantDocument, GrantsDocument, Within};
use portcullis::document::routes::RoutesDocument;
use portcullis::model::Status;
use proptest::prelude::*;

use crate::examples;
use crate::world::{World, request_of};

static ALL: LazyLock<World> = LazyLock::new(|| World::load(&examples().join("all")));

/// One system: its route map and its grants.
type System = (RoutesDocument, GrantsDocument);

fn system(number: usize) -> System {
    (ALL.routes[number].clone(), ALL.grants[number].clone())
}

/// What the twin of a system has in other places than the original.
#[derive(Clone, Debug)]
struct Twist {
    /// Principals have the grants, flags and states of others, so many places further.
    turn: usize,
    /// Objects have the attributes of others of their kind.
    turn_objects: usize,
    within: Within,
    across: Across,
    /// The state of every principal, if it is not the original's.
    status: Option<Status>,
}

/// The same system again under other hosts and another name, with the same people, rights, scopes and objects, but
/// everything that decides mixed up.
fn twin(number: usize, twist: &Twist) -> System {
    let (mut routes, mut grants) = system(number);
    grants.domain.value += "_twin";
    grants.strategy.within = twist.within;
    grants.strategy.across = twist.across;
    let originals = grants.principals.clone();
    for (at, principal) in grants.principals.iter_mut().enumerate() {
        let other = &originals[(at + twist.turn) % originals.len()];
        principal.grants.clone_from(&other.grants);
        principal.flags.clone_from(&other.flags);
        principal.groups.clone_from(&other.groups);
        principal.boundary.clone_from(&other.boundary);
        principal.status = twist.status.unwrap_or(other.status);
    }
    let kind = |name: &str| name.split(':').next().unwrap().to_owned();
    let originals = grants.objects.clone();
    for (at, (name, attributes)) in grants.objects.iter_mut().enumerate() {
        let alike: Vec<_> = originals.iter().filter(|(other, _)| kind(&other.value) == kind(&name.value)).collect();
        attributes.clone_from(&alike[(at + twist.turn_objects) % alike.len()].1);
    }
    for (_, value) in &mut routes.settings {
        if let Literal::Bool(on) = value {
            *on = !*on;
        }
    }
    routes.tests.clear();
    for application in &mut routes.applications {
        application.name.value += "_twin";
        application.domain.value += "_twin";
        for host in &mut application.hosts {
            host.value = format!("twin.{}", host.value);
        }
    }
    (routes, grants)
}

fn twists() -> impl Strategy<Value = Twist> {
    let across = prop::sample::select(vec![
        Across::DenyOverrides,
        Across::DenyIndividualFirst,
        Across::IndividualFirst,
        Across::MostRestrictive,
        Across::MostPermissive,
    ]);
    let status = prop::sample::select(vec![None, Some(Status::Active), Some(Status::Inactive), Some(Status::Reserved)]);
    (0..50_usize, 0..9_usize, any::<bool>(), across, status).prop_map(
        |(turn, turn_objects, nearest, across, status)| {
            let within = if nearest { Within::Nearest } else { Within::Union };
            Twist { turn, turn_objects, within, across, status }
        },
    )
}

/// The request of a case with the token of any principal of its system.
fn ask(number: usize, case: usize, principal: usize) -> Parts {
    static TOKENS: LazyLock<Mutex<HashMap<(String, String), HeaderValue>>> = LazyLock::new(Mutex::default);
    static HEADS: LazyLock<Vec<Vec<Parts>>> = LazyLock::new(|| {
        let heads = |routes: &RoutesDocument| routes.tests.iter().map(|test| ALL.request(test)).collect();
        ALL.routes.iter().map(heads).collect()
    });
    let tests = &ALL.routes[number].tests;
    let test = case % tests.len();
    let mut head = HEADS[number][test].clone();
    let (_, host, _) = request_of(&tests[test]);
    let principals = &ALL.grants[number].principals;
    let principal = principals[principal % principals.len()].id.value.clone();
    let mut tokens = TOKENS.lock().unwrap();
    let token = tokens
        .entry((principal, host.to_owned()))
        .or_insert_with_key(|(principal, host)| format!("Bearer {}", ALL.token(principal, host, &[])).parse().unwrap());
    head.headers.insert("authorization", token.clone());
    head
}

fn decided(world: &World, head: Parts) -> String {
    world.judge(head).err().unwrap_or_else(|| "allow".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_domain_decides_as_if_it_were_alone(
        number in 0..4_usize,
        order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        others in 0..4_usize,
        twins in prop::collection::vec((0..4_usize, twists(), any::<bool>()), 0..2),
        questions in prop::collection::vec((any::<usize>(), any::<usize>()), 300),
    ) {
        let mut systems: Vec<System> =
            order.into_iter().filter(|other| *other != number).take(others).map(system).collect();
        for (original, twist, first) in &twins {
            let at = if *first { 0 } else { systems.len() };
            systems.insert(at, twin(*original, twist));
        }
        let at = questions[0].0 % (systems.len() + 1);
        systems.insert(at, system(number));
        let alone = ALL.with(vec![ALL.routes[number].clone()], vec![ALL.grants[number].clone()]).unwrap();
        let (routes, grants) = systems.into_iter().unzip();
        let together = ALL.with(routes, grants).unwrap();
        for (case, principal) in questions {
            let head = ask(number, case, principal);
            let target = format!("{} {}", head.method, head.uri);
            prop_assert_eq!(decided(&alone, head.clone()), decided(&together, head), "{}", target);
        }
    }
}

#[test]
fn a_twin_that_grants_everything_to_everybody_changes_nothing() {
    for number in 0..4 {
        let twist = Twist {
            turn: 0,
            turn_objects: 0,
            within: Within::Union,
            across: Across::MostPermissive,
            status: Some(Status::Active),
        };
        let (routes, mut grants) = twin(number, &twist);
        let whole: Vec<GrantDocument> =
            grants.principals.iter().flat_map(|principal| principal.grants.clone()).collect();
        for principal in &mut grants.principals {
            principal.grants.clone_from(&whole);
        }
        let alone = ALL.with(vec![ALL.routes[number].clone()], vec![ALL.grants[number].clone()]).unwrap();
        let together =
            ALL.with(vec![routes, ALL.routes[number].clone()], vec![grants, ALL.grants[number].clone()]).unwrap();
        let mut differs = 0;
        for case in 0..ALL.routes[number].tests.len() {
            for principal in 0..ALL.grants[number].principals.len() {
                let head = ask(number, case, principal);
                assert_eq!(decided(&alone, head.clone()), decided(&together, head.clone()));
                let mut elsewhere = head;
                let host = format!("twin.{}", elsewhere.headers["host"].to_str().unwrap());
                elsewhere.headers.insert("host", host.parse().unwrap());
                differs +=
                    usize::from(decided(&together, elsewhere.clone()) != decided(&alone, ask(number, case, principal)));
            }
        }
        assert!(differs > 100, "the twin decides as the original does, so this shows nothing: {differs}");
    }
}
