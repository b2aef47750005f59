//! `diff` misses no gain: whatever part of a random world changes, a request that is denied before and allowed after
//! makes it say that somebody gains, or may.

use std::cell::Cell;
use std::collections::BTreeSet;

use portcullis::review::diff::diff;
use proptest::collection::vec;

use crate::engine;
use crate::explained::policy;
use crate::fit::fit;
use crate::run::run;
use crate::world::World;
use crate::worlds::{Sketch, sketch, world};
use crate::write::{target, told};

const PAIRS: usize = 600;
const A_PAIR: usize = 40;

/// The parts of a world that are changed one at a time.
const PARTS: usize = 16;

/// A world with one part of another.
fn mixed(one: &World, other: &World, part: usize) -> World {
    let (mut mixed, other) = (one.clone(), other.clone());
    match part {
        0 => mixed.strategy = other.strategy,
        1 => mixed.forest = other.forest,
        2 => mixed.aliases = other.aliases,
        3 => mixed.implies = other.implies,
        4 => mixed.roles = other.roles,
        5 => mixed.groups = other.groups,
        6 => mixed.principals = other.principals,
        7 => mixed.objects = other.objects,
        8 => mixed.settings = other.settings,
        9 => mixed.gate = other.gate,
        10 => mixed.definitions = other.definitions,
        11 => mixed.routes = other.routes,
        12 => {
            if let (Some(own), Some(others)) = (mixed.routes.first_mut(), other.routes.first()) {
                own.access = others.access.clone();
            }
        }
        13 => (mixed.token_groups, mixed.token_roles) = (other.token_groups, other.token_roles),
        14 => {
            if let (Some(own), Some(others)) = (mixed.principals.first_mut(), other.principals.first()) {
                own.grants = others.grants.clone();
            }
        }
        _ => {
            if let (Some(own), Some(others)) = (mixed.principals.first_mut(), other.principals.first()) {
                own.status = others.status;
                own.groups = others.groups.clone();
            }
        }
    }
    let mut mixed = fit(mixed);
    let mut keys = BTreeSet::new();
    mixed.objects.retain(|(key, _)| keys.insert(key.clone()));
    mixed
}

#[test]
fn a_request_that_a_change_allows_is_a_gain_of_its_difference() {
    let (opened, silent) = (Cell::new(0), Cell::new(0));
    let case = (world(2), world(2), 0..PARTS, vec(sketch(), A_PAIR));
    let test = |(one, other, part, sketches): &(World, World, usize, Vec<Sketch>)| {
        let changed = mixed(one, other, *part);
        let (before, after) = (engine::load(one)?, engine::load(&changed)?);
        let (before_policy, after_policy) = (policy(one), policy(&changed));
        let gains = diff(&before_policy, &after_policy).gains();
        silent.set(silent.get() + usize::from(!gains));
        for sketch in sketches {
            let request = sketch.sent_to(&changed);
            let (was, is) = (engine::judge(&before, &request), engine::judge(&after, &request));
            if was != "allow" && is == "allow" {
                opened.set(opened.get() + 1);
                if !gains {
                    let line = format!("{} {} {:?}", request.method, target(&request), request.headers);
                    return Err(format!("part {part}: {line} by {:?} was {was}, is allowed", request.caller));
                }
            }
        }
        Ok(())
    };
    let tell = |(one, other, part, _): &(World, World, usize, Vec<Sketch>)| {
        format!("before\n{}\nafter\n{}", told(one), told(&mixed(one, other, *part)))
    };
    run(4, PAIRS, &case, tell, test);
    assert!(opened.get() > PAIRS / 2, "only {} requests became allowed", opened.get());
    assert!(silent.get() > PAIRS / 20, "only {} differences said that nobody gains", silent.get());
}
