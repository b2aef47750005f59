//! Laws of what tokens add to their principals: groups that a token names count as those of the entry, and groups that
//! it does not name never open anything.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::sample::Index;

use crate::engine::{judge, load};
use crate::laws::{Case, DENIALS, law, sent};
use crate::member::{joined, with_groups};
use crate::world::{Across, Caller, Claimed, Request, World};
use crate::worlds::MAPPED;

/// The same request with other groups in its token.
fn claiming(request: &Request, groups: Claimed) -> Option<Request> {
    let caller = Caller { groups, ..request.caller.clone()? };
    Some(Request { caller: Some(caller), ..request.clone() })
}

/// The same world, mapping tokens to groups that are picked by numbers.
fn mapping(world: &World, choices: &[Index]) -> World {
    let mut world = world.clone();
    let group = |choice: &Index| choice.get(&world.groups).name.clone();
    let by_group = MAPPED.iter().zip(choices).map(|(value, choice)| ((*value).to_owned(), group(choice)));
    (world.token_groups, world.token_roles) =
        (by_group.collect(), vec![("Access".to_owned(), group(&choices[MAPPED.len()]))]);
    // A domain with boundaries maps no tokens.
    world.strategy.boundary = false;
    world.principals.iter_mut().for_each(|principal| principal.boundary = None);
    world
}

/// The subsets of the values that a world maps, as the groups of a token.
fn subsets(world: &World) -> Vec<Claimed> {
    let values: Vec<&String> = world.token_groups.iter().map(|(value, _)| value).collect();
    let subset = |mask: usize| {
        let chosen = values.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
        Claimed::Listed(chosen.map(|(_, value)| (*value).clone()).collect())
    };
    (0..1 << values.len()).map(subset).collect()
}

/// A world that maps no tokens, in which the caller's entry lists the groups that its token brings.
fn written_out(world: &World, caller: &Caller) -> World {
    let mut written = world.clone();
    let groups = joined(world, caller);
    written.token_groups.clear();
    written.token_roles.clear();
    for principal in &mut written.principals {
        if principal.tenant == caller.tenant && principal.oid == caller.oid {
            *principal = with_groups(principal, &groups);
        }
    }
    written
}

#[test]
fn groups_of_a_token_count_as_if_the_entry_listed_them() {
    let compared = Cell::new(0_usize);
    // By strategy: how often they made a difference.
    let told: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    for denials in [0, DENIALS] {
        law(denials, |(world, sketches, choices): &Case| {
            let world = mapping(world, choices);
            let mut unmapped = world.clone();
            unmapped.token_groups.clear();
            unmapped.token_roles.clear();
            let (loaded, unmapped) = (load(&world)?, load(&unmapped)?);
            let subsets = subsets(&world);
            for (number, sketch) in sketches.iter().enumerate() {
                let groups = subsets[number % subsets.len()].clone();
                let Some(request) = claiming(&sketch.sent_to(&world), groups) else { continue };
                let Some(caller) = &request.caller else { continue };
                let found = judge(&loaded, &request);
                let written = judge(&load(&written_out(&world, caller))?, &request);
                if found != written {
                    return Err(format!("{}: {found}, but {written} where the entry says so", sent(&request)));
                }
                compared.set(compared.get() + 1);
                if found != judge(&unmapped, &request) {
                    *told.borrow_mut().entry(world.strategy.across.name()).or_default() += 1;
                }
            }
            Ok(())
        });
    }
    let told = told.into_inner();
    assert!(compared.get() > 1_000, "only {} decisions of members by token", compared.get());
    for across in Across::ALL {
        let count = told.get(across.name()).copied().unwrap_or_default();
        assert!(count > 20, "only {count} differences with {}: {told:?}", across.name());
    }
}

#[test]
fn groups_that_a_token_does_not_name_allow_only_what_any_of_them_would_allow() {
    // Allowed, refused, and allowed to members only.
    let (allowed, refused, members) = (Cell::new(0_usize), Cell::new(0_usize), Cell::new(0_usize));
    let count = |count: &Cell<usize>| count.set(count.get() + 1);
    for denials in [0, 1, DENIALS] {
        law(denials, |(world, sketches, choices): &Case| {
            let world = mapping(world, choices);
            let (loaded, subsets) = (load(&world)?, subsets(&world));
            for request in sketches.iter().map(|sketch| sketch.sent_to(&world)) {
                let Some(unknown) = claiming(&request, Claimed::Unknown) else { continue };
                let found = judge(&loaded, &unknown);
                let mut of_subsets = subsets.iter().map(|groups| {
                    let named = claiming(&request, groups.clone()).expect("a request of somebody");
                    judge(&loaded, &named)
                });
                match found.as_str() {
                    "allow" => {
                        if let Some(denied) = of_subsets.find(|answer| answer != "allow") {
                            return Err(format!("{}: allowed, but with some groups {denied}", sent(&unknown)));
                        }
                        count(&allowed);
                    }
                    "groups_unknown" => count(&refused),
                    denied => {
                        // Where the account and all that comes before it says no, and where groups only add: as without.
                        let without = of_subsets.next().expect("the empty subset");
                        if without != denied {
                            return Err(format!("{}: {denied}, but without any group {without}", sent(&unknown)));
                        }
                        if of_subsets.any(|answer| answer == "allow") {
                            count(&members);
                        }
                    }
                }
            }
            Ok(())
        });
    }
    let (allowed, refused, members) = (allowed.get(), refused.get(), members.get());
    assert!(
        allowed > 200 && refused > 200 && members > 50,
        "{allowed} allowed, {refused} refused, {members} to members"
    );
}
