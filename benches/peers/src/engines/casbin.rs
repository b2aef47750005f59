//! casbin: a line of policy for each grant and level, users in groups by `g`, territories in lands by `g2`. Every line is
//! looked at for each decision, so the matcher compares texts before it asks for roles.

use casbin::{CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi};

use super::Engine;
use crate::world::{Case, Level, TERRITORIES, World, land};

const MODEL: &str = "
[request_definition]
r = sub, right, level, place

[policy_definition]
p = sub, right, level, place, eft

[role_definition]
g = _, _
g2 = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = r.right == p.right && r.level == p.level && g2(r.place, p.place) && g(r.sub, p.sub)
";

/// The one enforcer.
pub struct Casbin {
    enforcer: Enforcer,
    questions: Vec<(String, String, &'static str, String)>,
}

impl Casbin {
    /// Gives it the world and the questions.
    pub fn new(world: &World, cases: &[Case]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let enforcer = runtime.block_on(async {
            let model = DefaultModel::from_str(MODEL).await.unwrap();
            let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await.unwrap();
            enforcer.add_policies(lines(world)).await.unwrap();
            let members = world.principals.iter().enumerate().flat_map(|(number, principal)| {
                principal.groups.iter().map(move |group| vec![format!("p{number}"), format!("G{group}")])
            });
            enforcer.add_named_grouping_policies("g", members.collect()).await.unwrap();
            let lands = (0..TERRITORIES).map(|number| vec![format!("T{number}"), format!("L{}", land(number))]);
            enforcer.add_named_grouping_policies("g2", lands.collect()).await.unwrap();
            enforcer
        });
        let question = |case: &Case| {
            let (user, right) = (format!("p{}", case.principal), format!("right{}", case.right));
            (user, right, case.level.word(), format!("T{}", case.territory))
        };
        Self { enforcer, questions: cases.iter().map(question).collect() }
    }
}

impl Engine for Casbin {
    fn name(&self) -> &'static str {
        "casbin"
    }

    fn allows(&mut self, case: usize) -> bool {
        let (user, right, level, place) = &self.questions[case];
        self.enforcer.enforce((user.as_str(), right.as_str(), *level, place.as_str())).unwrap()
    }
}

fn lines(world: &World) -> Vec<Vec<String>> {
    let line = |subject: String, right: usize, level: Level, place: String, effect: &str| {
        vec![subject, format!("right{right}"), level.word().to_owned(), place, effect.to_owned()]
    };
    let mut lines = std::collections::BTreeSet::new();
    for (number, group) in world.groups.iter().enumerate() {
        // What is denied is denied at every level.
        let effect = if group.level.is_some() { "allow" } else { "deny" };
        for level in group.level.unwrap_or(Level::Write).included() {
            lines.insert(line(format!("G{number}"), group.right, *level, format!("L{}", group.land), effect));
        }
    }
    for (number, principal) in world.principals.iter().enumerate() {
        for grant in &principal.grants {
            for level in grant.level.included() {
                let place = format!("T{}", grant.territory);
                lines.insert(line(format!("p{number}"), grant.right, *level, place, "allow"));
            }
        }
    }
    lines.into_iter().collect()
}
