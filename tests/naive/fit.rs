//! Makes a random world one that loads: what refers to nothing is left out or replaced, cycles that are faults are cut,
//! and every right that a request names has its closed list.

use std::collections::BTreeSet;

use crate::held::{covers, rights_of_role};
use crate::world::{
    Access, Comparison, Condition, Effect, Given, Grant, Missing, Operand, Origin, Reference, Route, Scope, Segment,
    Term, Test, Value, World,
};

/// What surrounds a requirement.
struct Around {
    variables: Vec<String>,
    has_object: bool,
    scopes: Vec<String>,
    /// Definitions that may be named here.
    definitions: Vec<String>,
    settings: Vec<(String, Value)>,
}

/// Makes a world fit.
pub fn fit(mut world: World) -> World {
    let mut flags = BTreeSet::new();
    world.strategy.caps.retain(|(flag, _)| flags.insert(flag.clone()));
    let mut bringers = BTreeSet::new();
    world.implies.retain(|(bringer, brought)| !brought.is_empty() && bringers.insert(bringer.clone()));
    roles(&mut world);
    let names: Vec<String> = world.groups.iter().map(|group| group.name.clone()).collect();
    for (number, group) in world.groups.iter_mut().enumerate() {
        group.parents.retain(|parent| names[..number].contains(parent));
    }
    for principal in &mut world.principals {
        if !world.strategy.boundary {
            principal.boundary = None;
        }
    }
    for entries in [&mut world.token_groups, &mut world.token_roles] {
        let mut values = BTreeSet::new();
        entries.retain(|(value, _)| values.insert(value.to_lowercase()));
        if world.strategy.boundary {
            entries.clear();
        }
    }
    // One object has all attributes, so that each may be named.
    let all = [
        ("town", Value::Text("X".into())),
        ("land", Value::Text("N".into())),
        ("kind", Value::Text("u".into())),
        ("n", Value::Int(2)),
        ("list", Value::List(vec![Value::Text("p".into()), Value::Int(1)])),
    ];
    world.objects.push(("doc:77".into(), all.map(|(name, value)| (name.to_owned(), value)).to_vec()));
    let settings = world.settings.clone();
    let names: Vec<String> = world.definitions.iter().map(|definition| definition.name.clone()).collect();
    for (number, definition) in world.definitions.iter_mut().enumerate() {
        let around = Around {
            variables: Vec::new(),
            has_object: false,
            scopes: Vec::new(),
            definitions: names[number + 1..].to_vec(),
            settings: settings.clone(),
        };
        around.term(&mut definition.term, &mut Vec::new());
    }
    routes(&mut world, &names);
    world
}

fn roles(world: &mut World) {
    let names: Vec<String> = world.roles.iter().map(|role| role.name.clone()).collect();
    for (number, role) in world.roles.iter_mut().enumerate() {
        role.includes.retain(|included| names[..number].contains(included));
        // A reserved role spells out what it gives.
        role.reserved &= role.includes.is_empty();
    }
    for number in 0..world.roles.len() {
        // Only whole rights of included roles can be taken away.
        let role = world.roles[number].clone();
        let mut rights: Vec<_> = role.includes.iter().flat_map(|name| rights_of_role(world, name)).collect();
        let mut without = Vec::new();
        for removed in role.without {
            let taken = |(right, effect): &(String, Effect)| *effect != Effect::Deny && covers(world, &removed, right);
            let wider = |(right, effect): &(String, Effect)| {
                *effect != Effect::Deny && covers(world, right, &removed) && *right != removed
            };
            if rights.iter().any(taken) && !rights.iter().any(wider) {
                rights.retain(|right| !taken(right));
                without.push(removed);
            }
        }
        world.roles[number].without = without;
    }
}

fn routes(world: &mut World, definitions: &[String]) {
    let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
    for (number, route) in world.routes.iter_mut().enumerate() {
        route.id = format!("r{number}");
        let shape: String = route
            .pattern
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Variable(_) => "/{}".into(),
                Segment::Rest(_) => "/{...}".into(),
            })
            .collect();
        route.methods.retain(|method| taken.insert((shape.clone(), method.clone())));
        let mut leveled = BTreeSet::new();
        route.levels.retain(|(method, _)| route.methods.contains(method) && leveled.insert(method.clone()));
    }
    world.routes.retain(|route| !route.methods.is_empty());
    let settings = &world.settings;
    world.routes.iter_mut().for_each(|route| fit_route(route, definitions, settings));
}

fn fit_route(route: &mut Route, definitions: &[String], settings: &[(String, Value)]) {
    let variables: Vec<String> = route
        .pattern
        .iter()
        .filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Variable(name) | Segment::Rest(name) => Some(name.clone()),
        })
        .collect();
    route.object = route.object.take().and_then(|(kind, variable)| {
        let known = variables.iter().find(|known| **known == variable).or(variables.last())?;
        Some((kind, known.clone()))
    });
    let around = Around {
        has_object: route.object.is_some(),
        scopes: route.scopes.iter().map(|scope| scope.name.clone()).collect(),
        definitions: definitions.to_vec(),
        settings: settings.to_vec(),
        variables,
    };
    for (number, scope) in route.scopes.iter_mut().enumerate() {
        around.scope(scope, number);
    }
    if let Access::Require(term) = &mut route.access {
        around.term(term, &mut Vec::new());
    }
}

impl Around {
    fn scope(&self, scope: &mut Scope, number: usize) {
        match &mut scope.origin {
            // A fixed node is never missing.
            Origin::Node(_) => scope.missing = Missing::Deny,
            Origin::From(places, _) => {
                places.retain(|place| self.is_there(place));
                let mut seen: Vec<Reference> = Vec::new();
                places.retain(|place| {
                    !seen.contains(place) && {
                        seen.push(place.clone());
                        true
                    }
                });
                if places.is_empty() {
                    places.push(Reference::Query("t".into()));
                }
                self.missing(&mut scope.missing, number);
            }
        }
    }

    /// A scope takes its value from the one behind it where `main` stands first, otherwise from the one before it: both
    /// directions, and no cycle.
    fn missing(&self, missing: &mut Missing, number: usize) {
        match missing {
            Missing::SameAs(other) => {
                let backward = self.scopes.iter().take(number).next_back().filter(|_| self.scopes[0] != "main");
                let forward = self.scopes.get(number + 1).filter(|_| self.scopes[0] == "main");
                match backward.or(forward) {
                    Some(name) => other.clone_from(name),
                    None => *missing = Missing::Skip,
                }
            }
            Missing::When(_, then, otherwise) => {
                self.missing(then, number);
                self.missing(otherwise, number);
            }
            Missing::Deny | Missing::Skip | Missing::Node(_) => {}
        }
    }

    fn is_there(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Path(name) => self.variables.contains(name),
            Reference::Object(_) | Reference::Count(_) => self.has_object,
            Reference::Query(_) | Reference::Form(_) | Reference::Header(_) => true,
            Reference::Setting(_) | Reference::PrincipalId => true,
        }
    }

    /// Another variable in place of one that the path does not have, and a parameter in place of what is not there at
    /// all.
    fn reference(&self, reference: &mut Reference) {
        if let (Reference::Path(name), Some(last)) = (&mut *reference, self.variables.last())
            && !self.variables.contains(name)
        {
            name.clone_from(last);
        }
        if !self.is_there(reference) {
            *reference = Reference::Query("q".into());
        }
    }

    /// `closed` holds the path variables that a list bounds here, and whether each value of it may name a right.
    fn term(&self, term: &mut Term, closed: &mut Vec<(String, bool)>) {
        match term {
            Term::All(terms) => {
                for term in &mut *terms {
                    self.term(term, closed);
                    if let Term::Compare(Comparison::In, Operand::Of(Reference::Path(name)), right, _) = term
                        && let Some(list) = self.list(right)
                    {
                        closed.push((name.clone(), list.iter().all(names_a_right)));
                    }
                }
            }
            Term::Any(terms) => {
                for term in terms {
                    self.term(term, &mut closed.clone());
                }
            }
            Term::When(condition, then, otherwise) => {
                self.condition(condition, &mut false);
                self.term(then, &mut closed.clone());
                if let Some(otherwise) = otherwise {
                    self.term(otherwise, &mut closed.clone());
                }
            }
            Term::Right { name, at, below, .. } => {
                self.right(name, at, closed);
                if *below && at.is_none() {
                    let main = self.scopes.iter().any(|name| name == "main");
                    *at = Some(if main { "main" } else { "root" }.into());
                }
            }
            Term::UnlessDenied { name, at } => self.right(name, at, closed),
            Term::Defined(name) => {
                if !self.definitions.contains(name) {
                    *term = self.definitions.first().map_or(Term::Flag("f".into()), |name| Term::Defined(name.clone()));
                }
            }
            Term::Flag(_) | Term::NotFlag(_) => {}
            Term::Holds(condition, _) => {
                self.condition(condition, &mut false);
            }
            Term::Compare(_, left, right, _) => {
                for operand in [left, right] {
                    if let Operand::Of(reference) = operand {
                        self.operand(reference);
                    }
                }
            }
        }
    }

    fn operand(&self, reference: &mut Reference) {
        let is_list = matches!(reference, Reference::Object(name) if name == "list" || name == "town");
        if is_list && !self.has_object {
            *reference = Reference::Setting("list".into());
        }
        self.reference(reference);
    }

    fn right(&self, name: &mut String, at: &mut Option<String>, closed: &[(String, bool)]) {
        if let Some((before, rest)) = name.clone().split_once('{')
            && let Some((variable, after)) = rest.split_once('}')
        {
            let known = self.variables.iter().find(|known| *known == variable).or(self.variables.last());
            let bound =
                known.filter(|name| closed.iter().find(|(bound, _)| bound == *name).is_some_and(|(_, fit)| *fit));
            *name = match bound {
                Some(variable) => format!("{before}{{{variable}}}{after}"),
                None => format!("{before}b{after}"),
            };
        }
        if at.as_ref().is_some_and(|at| at != "root" && !self.scopes.contains(at)) {
            *at = self.scopes.first().cloned();
        }
    }

    /// The list that an operand is, if it stands in the files.
    fn list<'o>(&'o self, operand: &'o Operand) -> Option<&'o [Value]> {
        let value = match operand {
            Operand::Constant(value) => value,
            Operand::Of(Reference::Setting(name)) => &self.settings.iter().find(|(known, _)| known == name)?.1,
            Operand::Of(_) => return None,
        };
        match value {
            Value::List(list) => Some(list),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) => None,
        }
    }

    /// At most one condition of a term may depend on the request; `open` tells whether one does.
    fn condition(&self, condition: &mut Condition, open: &mut bool) {
        match condition {
            Condition::All(list) | Condition::Any(list) => {
                list.iter_mut().for_each(|condition| self.condition(condition, open));
            }
            Condition::Setting(_, Test::BitOf(..)) if *open => {
                *condition = Condition::Setting("s".into(), Test::True);
            }
            Condition::Setting(_, Test::BitOf(of, _)) => {
                *open = true;
                self.reference(of);
            }
            Condition::Setting(..) => {}
        }
    }
}

/// Whether a value may be part of a right's name.
fn names_a_right(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-')),
        Value::Int(_) | Value::Bool(_) => true,
        Value::List(_) => false,
    }
}

impl World {
    /// Every right that the world names, those included that requests may name.
    pub fn all_rights(&self) -> Vec<String> {
        let mut all = BTreeSet::new();
        for role in &self.roles {
            all.extend(role.rights.iter().map(|(right, _)| right.clone()));
        }
        let of_groups = self.groups.iter().flat_map(|group| &group.grants);
        for Grant { given, .. } in of_groups.chain(self.principals.iter().flat_map(|principal| &principal.grants)) {
            if let Given::Rights(rights) = given {
                all.extend(rights.iter().map(|(right, _)| right.clone()));
            }
        }
        for (bringer, brought) in &self.implies {
            all.insert(bringer.clone());
            all.extend(brought.iter().cloned());
        }
        let mut templates = BTreeSet::new();
        let mut values = BTreeSet::new();
        let terms = self.definitions.iter().map(|definition| &definition.term);
        for term in terms.chain(self.routes.iter().filter_map(|route| match &route.access {
            Access::Require(term) => Some(term),
            Access::Public | Access::GateOnly => None,
        })) {
            named(term, &mut templates, &mut values);
        }
        for (_, setting) in &self.settings {
            collect(setting, &mut values);
        }
        for name in templates {
            match name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
                None => {
                    all.insert(name);
                }
                Some((before, after)) => all.extend(values.iter().map(|value| format!("{before}{value}{after}"))),
            }
        }
        all.into_iter().collect()
    }
}

/// The rights that a term names, and the values that its lists hold.
fn named(term: &Term, rights: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    match term {
        Term::All(terms) | Term::Any(terms) => terms.iter().for_each(|term| named(term, rights, values)),
        Term::Right { name, .. } | Term::UnlessDenied { name, .. } => {
            rights.insert(name.clone());
        }
        Term::When(_, then, otherwise) => {
            named(then, rights, values);
            otherwise.iter().for_each(|term| named(term, rights, values));
        }
        Term::Compare(_, _, Operand::Constant(value), _) => collect(value, values),
        Term::Compare(..) | Term::Defined(_) | Term::Flag(_) | Term::NotFlag(_) | Term::Holds(..) => {}
    }
}

fn collect(value: &Value, values: &mut BTreeSet<String>) {
    match value {
        Value::Text(_) if !names_a_right(value) => {}
        Value::Text(text) => {
            values.insert(text.clone());
        }
        Value::Int(number) => {
            values.insert(number.to_string());
        }
        Value::Bool(value) => {
            values.insert(value.to_string());
        }
        Value::List(list) => list.iter().for_each(|value| collect(value, values)),
    }
}
