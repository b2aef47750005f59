//! What `explain` and `test` say of random requests in random worlds is what the enforcement function says.

use std::cell::Cell;

use portcullis::diag::Report;
use portcullis::document;
use portcullis::policy::{Held, TermSeen};
use portcullis::review::{Asker, Claims, Explained, Policy, Request as Asked};
use portcullis::token::Groups;

use proptest::collection::vec;

use crate::engine;
use crate::run::run;
use crate::support::world::tenants_of;
use crate::world::{Claimed, Request, World};
use crate::worlds::{Sketch, sketch, world};
use crate::write::{HOST, TENANTS, target, texts, told};

const WORLDS: usize = 300;
const A_WORLD: usize = 20;

pub fn policy(world: &World) -> Policy {
    let [gateway, routes, grants] = texts(world);
    let mut report = Report::new();
    let source = report.add_source("routes.yaml", &routes);
    let routes = document::read_routes(source, &mut report).unwrap();
    let source = report.add_source("grants.yaml", &grants);
    let grants = document::read_grants(source, &mut report).unwrap();
    let nothing = &|_: &_| Err("no files here".to_owned());
    let policy = Policy::compile(
        vec![routes],
        vec![grants],
        tenants_of(&gateway),
        nothing,
        portcullis::reload::sha256,
        &mut report,
    );
    policy.unwrap_or_else(|| panic!("{}", report.render()))
}

/// The request as an operator would put it; the caller by tenant and object id, known or not.
fn asked(request: &Request) -> Option<Asked> {
    let asker = match &request.caller {
        None => Asker::Nobody,
        Some(caller) => {
            let claims = Claims {
                tenant: None,
                audiences: Some(vec![caller.audience.clone()]),
                roles: Some(caller.roles.clone()),
                groups: Some(match &caller.groups {
                    Claimed::Listed(groups) => Groups::listed(groups),
                    Claimed::Unknown => Groups::Unknown,
                }),
                ..Claims::default()
            };
            assert!(TENANTS.iter().any(|(name, _)| *name == caller.tenant));
            Asker::Bearer(format!("{}/{}", caller.tenant, caller.oid), claims)
        }
    };
    let line = format!("{} https://{HOST}{}", request.method, target(request));
    Some(Asked::parse(&line, request.headers.clone(), asker).ok()?.with_form(request.form.clone()))
}

/// Whether the parts of an explanation fit together and with what is held.
fn sound(explained: &Explained<'_>) -> Result<(), String> {
    let Some((apart, domain)) = explained.apart.as_ref().zip(explained.domain) else { return Ok(()) };
    if apart.decision.is_ok() != explained.tried.refusal.is_none() {
        return Err("the decision is not the outcome".into());
    }
    let Some(requirement) = &apart.requirement else { return Ok(()) };
    if requirement.holds != apart.decision.is_ok() {
        return Err(format!("the requirement holds: {}, the decision: {:?}", requirement.holds, apart.decision));
    }
    let decider = requirement.decider().and_then(|term| term.denial);
    if decider != apart.decision.err() {
        return Err(format!("the term that decides denies with {decider:?}, the decision is {:?}", apart.decision));
    }
    let member = explained.member.unwrap();
    each(requirement, &mut |term| {
        for seen in &term.rights {
            let right = domain.right_name(seen.right);
            let held = domain.held(member, seen.right, seen.scope);
            let decides = seen.sources.iter().any(|source| source.decides);
            if seen.held != held {
                return Err(format!("{right} is held: {held:?}, but explained as {:?}", seen.held));
            }
            if decides != (seen.together != Held::Nothing) {
                return Err(format!("{right}: some source decides: {decides}, of {:?}", seen.together));
            }
            for source in &seen.sources {
                let decides = source.grants.iter().any(|grant| grant.decides);
                if decides != (source.held != Held::Nothing) {
                    return Err(format!("{right}: some grant decides: {decides}, of {:?}", source.held));
                }
            }
        }
        Ok(())
    })
}

fn each(term: &TermSeen, look: &mut impl FnMut(&TermSeen) -> Result<(), String>) -> Result<(), String> {
    look(term)?;
    term.children.iter().try_for_each(|child| each(child, look))
}

#[test]
fn an_explanation_always_reaches_the_decision() {
    let (apart, denied) = (Cell::new(0), Cell::new(0));
    let case = (world(2), vec(sketch(), A_WORLD));
    let test = |(world, sketches): &(World, Vec<Sketch>)| {
        let loaded = engine::load(world)?;
        let policy = policy(world);
        for sketch in sketches {
            let request = sketch.sent_to(world);
            let Some(asked) = asked(&request) else { continue };
            let explained = policy.take_apart(&asked).map_err(|fault| format!("{}: {fault}", asked.line()))?;
            let (said, found) = (explained.tried.code().unwrap_or("allow"), engine::judge(&loaded, &request));
            if said != found {
                return Err(format!("{}: explained as {said}, decided as {found}", asked.line()));
            }
            sound(&explained).map_err(|fault| format!("{} ({found}): {fault}", asked.line()))?;
            if explained.apart.is_some() {
                apart.set(apart.get() + 1);
                denied.set(denied.get() + usize::from(found != "allow"));
            }
        }
        Ok(())
    };
    run(3, WORLDS, &case, |(world, _)| told(world), test);
    let (apart, denied) = (apart.get(), denied.get());
    assert!(apart > WORLDS * A_WORLD / 4, "only {apart} decisions were taken apart");
    assert!(denied > apart / 4 && apart - denied > apart / 20, "{denied} of {apart} were denials");
}
