//! Cedar: own grants as attributes of the users, groups as their parents, territories below their lands; one policy for
//! each action reads the attributes, one for each group says what it gives or denies.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};

use super::Engine;
use crate::world::{Case, GROUPS, LANDS, Level, RIGHTS, TERRITORIES, World, land};

/// Cedar, with the whole policy set or with those policies only that may speak of the action.
pub struct Cedar {
    name: &'static str,
    authorizer: Authorizer,
    entities: Arc<Entities>,
    /// By action, or a single one for all.
    policies: Arc<Vec<PolicySet>>,
    questions: Arc<Vec<(Request, usize)>>,
}

/// Cedar as it is, and with policies sliced by hand.
pub fn both(world: &World, cases: &[Case]) -> (Cedar, Cedar) {
    let entities = Arc::new(entities(world));
    let questions: Arc<Vec<_>> =
        Arc::new(cases.iter().map(|case| (request(case), action(case.right, case.level))).collect());
    let make = |name, policies| Cedar {
        name,
        authorizer: Authorizer::new(),
        entities: Arc::clone(&entities),
        policies: Arc::new(policies),
        questions: Arc::clone(&questions),
    };
    let actions = |number: usize| (number / 2, [Level::Read, Level::Write][number % 2]);
    let all: Vec<(usize, Level)> = (0..RIGHTS * 2).map(actions).collect();
    let whole = vec![policies(world, &all)];
    let sliced = all.iter().map(|action| policies(world, &[*action])).collect();
    (make("Cedar", whole), make("Cedar, policies sliced by action", sliced))
}

impl Engine for Cedar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn allows(&mut self, case: usize) -> bool {
        let (request, action) = &self.questions[case];
        let policies = self.policies.get(*action).unwrap_or_else(|| &self.policies[0]);
        self.authorizer.is_authorized(request, policies, &self.entities).decision() == Decision::Allow
    }
}

const fn action(right: usize, level: Level) -> usize {
    right * 2 + level as usize
}

fn action_name(right: usize, level: Level) -> String {
    format!("right{right}:{}", level.word())
}

/// The policies that speak of these actions.
fn policies(world: &World, actions: &[(usize, Level)]) -> PolicySet {
    let mut text = String::new();
    for (right, level) in actions {
        let name = action_name(*right, *level);
        writeln!(
            text,
            "permit(principal, action == Action::\"{name}\", resource)\nwhen {{ principal has \"{name}\" && resource in principal[\"{name}\"] }};"
        )
        .unwrap();
    }
    for (number, group) in world.groups.iter().enumerate() {
        // What is denied is denied at every level.
        let spoken_of = actions
            .iter()
            .filter(|(right, level)| *right == group.right && group.level.is_none_or(|given| given >= *level));
        let names: Vec<String> =
            spoken_of.map(|(right, level)| format!("Action::\"{}\"", action_name(*right, *level))).collect();
        if !names.is_empty() {
            let effect = if group.level.is_some() { "permit" } else { "forbid" };
            writeln!(
                text,
                "{effect}(principal in Group::\"G{number}\", action in [{}], resource in Land::\"L{}\");",
                names.join(", "),
                group.land
            )
            .unwrap();
        }
    }
    text.parse().unwrap()
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.parse::<EntityTypeName>().unwrap(), EntityId::new(id))
}

fn entities(world: &World) -> Entities {
    let bare = |uid: EntityUid| Entity::new(uid, HashMap::new(), HashSet::new()).unwrap();
    let mut all: Vec<Entity> = (0..LANDS).map(|land| bare(uid("Land", &format!("L{land}")))).collect();
    all.extend((0..GROUPS).map(|group| bare(uid("Group", &format!("G{group}")))));
    let territories: Vec<EntityUid> = (0..TERRITORIES).map(|number| uid("Territory", &format!("T{number}"))).collect();
    for (number, territory) in territories.iter().enumerate() {
        let parents = HashSet::from([uid("Land", &format!("L{}", land(number)))]);
        all.push(Entity::new(territory.clone(), HashMap::new(), parents).unwrap());
    }
    for (number, principal) in world.principals.iter().enumerate() {
        let mut held: BTreeMap<String, Vec<RestrictedExpression>> = BTreeMap::new();
        for grant in &principal.grants {
            for level in grant.level.included() {
                let place = RestrictedExpression::new_entity_uid(territories[grant.territory].clone());
                held.entry(action_name(grant.right, *level)).or_default().push(place);
            }
        }
        let held = held.into_iter().map(|(action, places)| (action, RestrictedExpression::new_set(places)));
        let groups = principal.groups.iter().map(|group| uid("Group", &format!("G{group}")));
        all.push(Entity::new(uid("User", &format!("p{number}")), held.collect(), groups.collect()).unwrap());
    }
    Entities::from_entities(all, None).unwrap()
}

fn request(case: &Case) -> Request {
    Request::new(
        uid("User", &format!("p{}", case.principal)),
        uid("Action", &action_name(case.right, case.level)),
        uid("Territory", &format!("T{}", case.territory)),
        Context::empty(),
        None,
    )
    .unwrap()
}
