//! Laws that hold in every world, whatever its rules say. Each looks at two worlds, or at two requests, of which one
//! must not be allowed more than the other, or both the same.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::engine::{judge, load, load_beside};
use crate::evaluator::{level_of, route_of};
use crate::held::at_or_below;
use crate::run::run;
use crate::world::{
    Access, Across, Effect, Given, Grant, Group, Principal, Request, Role, Route, Segment, Status, Term, World,
};
use crate::worlds::{Sketch, sketch, world};
use crate::write::{target, told};

/// Worlds that each law is tried on, and the requests to each.
const WORLDS: usize = 200;
const A_WORLD: usize = 30;
/// Denials in ten grants, where there are some.
pub const DENIALS: u32 = 2;

/// A world, requests, and numbers to choose by.
pub type Case = (World, Vec<Sketch>, Vec<Index>);

fn cases(denials: u32) -> impl Strategy<Value = Case> {
    (world(denials), vec(sketch(), A_WORLD), vec(any::<Index>(), 6))
}

/// Tries a law on worlds of its own.
pub fn law(denials: u32, test: impl Fn(&Case) -> Result<(), String>) {
    run(2, WORLDS, &cases(denials), |(world, _, _)| told(world), test);
}

/// Tries a law of two worlds of which the second never allows more. It must allow less now and then, or the law was
/// never put to the test.
fn law_of_less(denials: u32, change: impl Fn(&World, &[Index]) -> Option<(World, World)>) {
    let lost = Cell::new(0_usize);
    let test = |(world, sketches, choices): &Case| {
        let Some((one, other)) = change(world, choices) else { return Ok(()) };
        lost.set(lost.get() + never_more(&one, &other, sketches)?);
        Ok(())
    };
    // Most changes change nothing, so there are more worlds.
    run(2, 2 * WORLDS, &cases(denials), |(world, _, _)| told(world), test);
    assert!(lost.get() >= 10, "only {} decisions differ", lost.get());
}

/// What the engine says of all requests in two worlds.
fn answers(one: &World, other: &World, sketches: &[Sketch]) -> Result<Vec<(Request, String, String)>, String> {
    let (of_one, of_other) = (load(one)?, load(other)?);
    let both = sketches.iter().map(|sketch| {
        let request = sketch.sent_to(one);
        let answers = (judge(&of_one, &request), judge(&of_other, &request));
        (request, answers.0, answers.1)
    });
    Ok(both.collect())
}

/// Whether two worlds say the very same of all requests.
fn same(one: &World, other: &World, sketches: &[Sketch]) -> Result<(), String> {
    for (request, before, after) in answers(one, other, sketches)? {
        if before != after {
            return Err(format!("{}: {before}, then {after}", sent(&request)));
        }
    }
    Ok(())
}

/// Whether the second world allows nothing that the first does not; how often it allows less.
fn never_more(one: &World, other: &World, sketches: &[Sketch]) -> Result<usize, String> {
    let mut less = 0;
    for (request, before, after) in answers(one, other, sketches)? {
        if before != "allow" && after == "allow" {
            return Err(format!("{}: {before}, then allow with\n{}", sent(&request), told(other)));
        }
        less += usize::from(before == "allow" && after != "allow");
    }
    Ok(less)
}

/// A request as a failure tells it.
pub fn sent(request: &Request) -> String {
    format!("{} {} {:?} by {:?}", request.method, target(request), request.headers, request.caller)
}

/// The grants of one of the principals or groups.
fn source<'w>(world: &'w mut World, which: &Index) -> &'w mut Vec<Grant> {
    let of_principals = world.principals.iter_mut().map(|principal| &mut principal.grants);
    let mut all: Vec<_> = of_principals.chain(world.groups.iter_mut().map(|group| &mut group.grants)).collect();
    let number = which.index(all.len());
    all.swap_remove(number)
}

/// The list in another order.
fn turned<T>(list: &mut [T], by: &Index) {
    if !list.is_empty() {
        list.rotate_left(by.index(list.len()));
        if by.index(2) == 0 {
            list.reverse();
        }
    }
}

#[test]
fn the_order_of_what_is_written_never_matters() {
    law(DENIALS, |(world, sketches, choices)| {
        let mut turned_world = world.clone();
        let by = &choices[0];
        turned(&mut turned_world.forest, by);
        turned(&mut turned_world.aliases, by);
        turned(&mut turned_world.implies, by);
        turned(&mut turned_world.strategy.caps, by);
        turned(&mut turned_world.objects, by);
        turned(&mut turned_world.settings, by);
        turned(&mut turned_world.definitions, by);
        turned(&mut turned_world.roles, by);
        for role in &mut turned_world.roles {
            turned(&mut role.rights, by);
            turned(&mut role.includes, by);
        }
        turned(&mut turned_world.groups, by);
        for group in &mut turned_world.groups {
            turned(&mut group.parents, by);
        }
        turned(&mut turned_world.principals, by);
        for principal in &mut turned_world.principals {
            turned(&mut principal.groups, by);
            turned(&mut principal.flags, by);
            principal.boundary.iter_mut().for_each(|nodes| turned(nodes, by));
        }
        for number in 0..turned_world.principals.len() + turned_world.groups.len() {
            let grants = match turned_world.principals.get_mut(number) {
                Some(principal) => &mut principal.grants,
                None => &mut turned_world.groups[number - 3].grants,
            };
            turned(grants, by);
            for grant in grants {
                turned(&mut grant.at, by);
            }
        }
        turned(&mut turned_world.token_groups, by);
        turned(&mut turned_world.token_roles, by);
        turned(&mut turned_world.routes, by);
        turned_world.routes.iter_mut().for_each(|route| turned(&mut route.methods, by));
        // Requests are made for the routes in their first order.
        same(world, &turned_world, sketches)
    });
}

/// Whether one more denial never adds access under a strategy: everywhere where denials win or never count for more than
/// nothing; elsewhere a denial of a right that brings another can take the individual's own, lower level away.
fn denials_only_take_away(world: &World) -> bool {
    matches!(world.strategy.across, Across::DenyOverrides | Across::MostPermissive) || world.implies.is_empty()
}

fn with_a_denial(world: &World, choices: &[Index]) -> World {
    let mut denied = world.clone();
    let right = choices[0].get(&["a", "a.b", "a.b.c"]).to_string();
    let node = choices[1].get(&world.forest).0.clone();
    let at = if choices[2].index(2) == 0 { Vec::new() } else { vec![node] };
    source(&mut denied, &choices[3]).push(Grant { given: Given::Rights(vec![(right, Effect::Deny)]), at });
    denied
}

#[test]
fn a_denial_never_adds_access() {
    law_of_less(DENIALS, |world, choices| {
        denials_only_take_away(world).then(|| (world.clone(), with_a_denial(world, choices)))
    });
}

#[test]
fn without_implications_a_denial_never_adds_access_under_any_strategy() {
    law_of_less(DENIALS, |world, choices| {
        let mut world = world.clone();
        world.implies.clear();
        let denied = with_a_denial(&world, choices);
        Some((world, denied))
    });
}

/// The same world, with a strategy under which no grant hides another: more grants mean more access where nothing is
/// denied.
fn adding_up(world: &World, choice: &Index) -> World {
    let mut world = world.clone();
    world.strategy.nearest = false;
    world.strategy.across = *choice.get(&[Across::DenyOverrides, Across::MostPermissive]);
    world
}

#[test]
fn without_denials_removing_grants_never_adds_access_where_they_add_up() {
    law_of_less(0, |world, choices| {
        let world = adding_up(world, &choices[2]);
        let mut fewer = world.clone();
        let grants = source(&mut fewer, &choices[0]);
        grants.truncate(choices[1].index(grants.len() + 1));
        Some((world, fewer))
    });
}

#[test]
fn without_denials_narrowing_grants_never_adds_access_where_they_add_up() {
    law_of_less(0, |world, choices| {
        let world = adding_up(world, &choices[2]);
        let mut narrowed = world.clone();
        for grant in source(&mut narrowed, &choices[0]) {
            let nodes = if grant.at.is_empty() { vec!["root".to_owned()] } else { grant.at.clone() };
            grant.at = nodes.iter().map(|node| choices[3].get(&at_or_below(&world, node)).clone()).collect();
        }
        Some((world, narrowed))
    });
}

#[test]
fn what_is_unrelated_changes_nothing() {
    law(DENIALS, |(world, sketches, choices)| {
        let mut more = world.clone();
        let right = (
            "a.b.c".to_owned(),
            if choices[0].index(2) == 0 { Effect::Deny } else { Effect::Allow(crate::world::Level::Delete) },
        );
        let grant = Grant { given: Given::Rights(vec![right.clone()]), at: Vec::new() };
        let role = Role {
            name: "Unused".into(),
            reserved: false,
            includes: Vec::new(),
            without: Vec::new(),
            rights: vec![right],
        };
        more.roles.insert(0, role);
        let parents = more.groups.iter().map(|group| group.name.clone()).collect();
        let flags = vec!["f".into(), "unused".into()];
        let group = Group { name: "Empty".into(), parents, flags, inactive: true, grants: vec![grant.clone()] };
        more.groups.insert(0, group);
        more.forest.insert(0, ("moon:1".into(), "root".into()));
        more.objects.insert(0, ("doc:unknown".into(), vec![("extra".into(), crate::world::Value::Bool(true))]));
        let stranger = Principal {
            id: "stranger".into(),
            tenant: "t2".into(),
            oid: "00000000-0000-4000-8000-0000000000ff".into(),
            status: Status::Active,
            flags: vec!["ro".into()],
            groups: vec!["Empty".into()],
            boundary: None,
            grants: vec![grant],
        };
        more.principals.insert(0, stranger);
        let elsewhere = Route {
            id: "elsewhere".into(),
            pattern: vec![Segment::Literal("elsewhere".into()), Segment::Rest("r".into())],
            methods: vec!["GET".into(), "PUT".into()],
            levels: Vec::new(),
            object: None,
            scopes: Vec::new(),
            access: Access::Require(Term::Flag("unused".into())),
        };
        more.routes.push(elsewhere);
        same(world, &more, sketches)
    });
}

#[test]
fn another_domain_changes_nothing() {
    let pairs = (cases(DENIALS), world(DENIALS));
    run(
        3,
        WORLDS,
        &pairs,
        |(case, other)| format!("{}--- beside\n{}", told(&case.0), told(other)),
        |(case, other)| {
            let (world, sketches, _) = case;
            let (alone, beside) = (load(world)?, load_beside(world, other)?);
            for request in sketches.iter().map(|sketch| sketch.sent_to(world)) {
                let (before, after) = (judge(&alone, &request), judge(&beside, &request));
                if before != after {
                    return Err(format!("{}: {before}, then {after}", sent(&request)));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn head_needs_what_get_needs() {
    law(DENIALS, |(world, sketches, _)| {
        let loaded = load(world)?;
        for sketch in sketches {
            let get = Request { method: "GET".into(), ..sketch.sent_to(world) };
            let head = Request { method: "HEAD".into(), ..get.clone() };
            let (of_get, of_head) = (judge(&loaded, &get), judge(&loaded, &head));
            if of_get != of_head {
                return Err(format!("{}: {of_get}, but HEAD {of_head}", sent(&get)));
            }
        }
        Ok(())
    });
}

#[test]
fn who_may_do_more_by_method_may_do_less() {
    let compared = Cell::new(0_usize);
    law(DENIALS, |(world, sketches, _)| {
        let loaded = load(world)?;
        for request in sketches.iter().map(|sketch| sketch.sent_to(world)) {
            let Some(route) = route_of(world, &request.method, &request.path) else { continue };
            for method in &route.methods {
                let other = Request { method: method.clone(), ..request.clone() };
                let same_route = route_of(world, method, &request.path).is_some_and(|found| found.id == route.id);
                if !same_route || level_of(route, method) > level_of(route, &request.method) {
                    continue;
                }
                compared.set(compared.get() + 1);
                if judge(&loaded, &request) == "allow" && judge(&loaded, &other) != "allow" {
                    return Err(format!("{} is allowed, but not with {method}", sent(&request)));
                }
            }
        }
        Ok(())
    });
    assert!(compared.get() > 1_000, "only {} pairs", compared.get());
}
