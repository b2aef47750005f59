//! Principals against rights, scope nodes or objects: what everybody holds, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::select::{Filter, Glob, UnknownName};
use super::survey::{Question, Questions, Surveyor};
use super::{Asker, Column, Fact, Report, Row, Rows, Table, Value};
use crate::model::Status;
use crate::policy::{RightId, Rules, ScopeId, Wants};
use crate::review::policy::World;
use crate::route::{Access, Application, Route};

/// One row a principal.
#[derive(Debug)]
pub(super) struct Matrix<'p> {
    world: World<'p>,
    filter: Filter,
    surveyor: Surveyor<'p>,
}

impl Matrix<'_> {
    pub(super) fn each<E>(&self, visit: &mut dyn FnMut(&Row<'_>) -> Result<(), E>) -> Result<(), E> {
        for (number, principal) in self.world.domain.principals().iter().enumerate() {
            if !self.filter.admits(principal) {
                continue;
            }
            let cells = self.surveyor.ask(number);
            let account = account(&self.world, number, principal.status());
            let values = vec![Value::Text(principal.id().to_owned()), account];
            let row = Row { principal: Some(number), status: principal.status(), values, cells: &cells };
            if self.filter.keeps(&row) {
                visit(&row)?;
            }
        }
        Ok(())
    }
}

/// The state of an account and, if it is not its own, the groups that it comes from.
pub(super) fn account(world: &World<'_>, number: usize, status: Status) -> Value {
    let written = world.origins.principal(number).filter(|written| written.status != status);
    let groups = written.into_iter().flat_map(|written| world.origins.groups_of(written));
    Value::Account(status, groups.filter(|group| group.inactive).map(|group| Arc::clone(&group.name)).collect())
}

impl<'p> Asker<'p> {
    /// Principals against rights, at one node: the root, or the one named. `rights` leaves out those that do not fit.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn modules(&self, at: Option<&str>, rights: Option<&Glob>, filter: Filter) -> Result<Report<'p>, UnknownName> {
        let domain = self.world.domain;
        let scope = at.map_or(Ok(ScopeId::ROOT), |name| self.scope(name))?;
        let rights = self.rights(rights)?;
        let below = |lower, upper| domain.is_right_at_or_below(lower, upper);
        let columns = nested(&rights, below, |right| domain.right_name(right).into());
        let questions = rights.iter().map(|right| Question::One(*right, scope)).collect();
        let at = Fact { label: "at", value: Value::Scope(scope) };
        let title = format!("Rights at {}", domain.scope_name(scope));
        self.matrix(("modules", title), vec![at], columns, questions, filter)
    }

    /// Principals against scope nodes: of one right, or of all rights the one that most is held of.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn scopes(
        &self,
        right: Option<&str>,
        scopes: Option<&Glob>,
        filter: Filter,
    ) -> Result<Report<'p>, UnknownName> {
        let domain = self.world.domain;
        let scopes = self.scopes_that_fit(scopes)?;
        let right = right.map(|name| self.right(name)).transpose()?;
        let all: Arc<[RightId]> = domain.rights_in_order().into_iter().map(|(right, _)| right).collect();
        let question = |scope: &ScopeId| match right {
            Some(right) => Question::One(right, *scope),
            None => Question::Best(Arc::clone(&all), *scope),
        };
        let below = |lower, upper| domain.is_at_or_below(lower, upper);
        let columns = nested(&scopes, below, |scope| domain.scope_name(scope).into());
        let questions = scopes.iter().map(question).collect();
        let title = match right {
            Some(right) => format!("Where {} is held", domain.right_name(right)),
            None => "Where anything is held".to_owned(),
        };
        self.matrix(("scopes", title), vec![right_fact(right, "any")], columns, questions, filter)
    }

    /// Principals against the nodes that known objects lead routes to, and the nodes above these. Of one right; or of the
    /// rights that routes ask for there.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn objects(
        &self,
        right: Option<&str>,
        kind: Option<&str>,
        object: Option<&Glob>,
        filter: Filter,
    ) -> Result<Report<'p>, UnknownName> {
        let domain = self.world.domain;
        let right = right.map(|name| self.right(name)).transpose()?;
        let names = || self.world.document.objects.iter().map(|(name, _)| name.value.as_str());
        let kinds = || names().filter_map(|name| Some(name.split_once(':')?.0));
        if let Some(kind) = kind.filter(|kind| !kinds().any(|known| known == *kind)) {
            return Err(UnknownName::new("object of kind", kind, kinds()));
        }
        if let Some(glob) = object.filter(|glob| !names().any(|name| glob.fits(name))) {
            return Err(UnknownName::new("object", glob.text(), names()));
        }
        let mut nodes: BTreeMap<ScopeId, Spot> = BTreeMap::new();
        for (_, rules, _) in self.rules() {
            let asks = rules.asks();
            for found in domain.nodes_of_objects(rules) {
                let name = format!("{}:{}", found.kind, found.key);
                if kind.is_some_and(|kind| kind != found.kind) || object.is_some_and(|glob| !glob.fits(&name)) {
                    continue;
                }
                let spot = nodes.entry(found.node).or_default();
                spot.objects.insert(name);
                let asked = asks.iter().filter(|term| term.scope == Some(found.scope) && term.wants != Wants::NoDenial);
                spot.rights.extend(asked.map(|term| term.right));
            }
        }
        let nodes = self.with_nodes_above(nodes);
        let rights_of_all: BTreeSet<RightId> = nodes.values().flat_map(|spot| &spot.rights).copied().collect();
        let only = rights_of_all.first().copied().filter(|_| rights_of_all.len() == 1);
        let right = right.or(only);
        // Where routes ask for nothing, there is nothing to tell but of a right that was named.
        let shown: Vec<ScopeId> = nodes
            .iter()
            .filter(|(_, spot)| right.is_some() || !spot.rights.is_empty())
            .map(|(node, _)| *node)
            .collect();
        let below = |lower, upper| domain.is_at_or_below(lower, upper);
        let mut columns = nested(&shown, below, |scope| domain.scope_name(scope).into());
        let mut questions = Vec::new();
        let order: Vec<RightId> = domain.rights_in_order().into_iter().map(|(right, _)| right).collect();
        for (column, node) in columns.iter_mut().zip(&shown) {
            let spot = nodes.get(node).cloned().unwrap_or_default();
            column.details = spot.objects.into_iter().collect();
            questions.push(match right {
                Some(right) => Question::One(right, *node),
                None => {
                    let asked = order.iter().filter(|right| spot.rights.contains(right));
                    Question::Best(asked.copied().collect(), *node)
                }
            });
        }
        let title = match right {
            Some(right) => format!("Objects by {}", domain.right_name(right)),
            None => "Objects by the rights that routes ask for".to_owned(),
        };
        let facts = vec![right_fact(right, "those that routes ask for there")];
        self.matrix(("objects", title), facts, columns, questions, filter)
    }

    /// Adds the nodes above, but for the root: a right there is one for all objects of a kind.
    fn with_nodes_above(&self, nodes: BTreeMap<ScopeId, Spot>) -> BTreeMap<ScopeId, Spot> {
        let domain = self.world.domain;
        let mut all = nodes.clone();
        for (upper, _) in domain.scopes().filter(|(scope, _)| *scope != ScopeId::ROOT) {
            let below = nodes.iter().filter(|(node, _)| **node != upper && domain.is_at_or_below(**node, upper));
            let rights: Vec<RightId> = below.flat_map(|(_, spot)| spot.rights.iter().copied()).collect();
            let has_some = nodes.keys().any(|node| domain.is_at_or_below(*node, upper));
            if has_some {
                all.entry(upper).or_default().rights.extend(rights);
            }
        }
        all
    }

    /// The routes of the domain's applications that ask for something, with what they ask.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&'p Arc<Application>, &'p Rules, &'p Route)> {
        let name = self.world.domain.name();
        let policy = self.policy;
        let of_domain = move |application: &&Arc<Application>| {
            policy.snapshot.domains.get(application.domain).is_some_and(|domain| domain.name() == name)
        };
        let applications = policy.snapshot.routes.applications().iter().filter(of_domain);
        applications.flat_map(|application| {
            application.routes().iter().filter_map(move |route| match &route.access {
                Access::Rules(rules) => Some((application, rules, route)),
                Access::Public | Access::GateOnly => None,
            })
        })
    }

    fn matrix(
        &self,
        (name, title): (&'static str, String),
        about: Vec<Fact>,
        columns: Vec<Column>,
        questions: Vec<Question>,
        filter: Filter,
    ) -> Result<Report<'p>, UnknownName> {
        filter.check(self)?;
        let mut facts = self.facts();
        facts.extend(about);
        facts.extend(filter.facts());
        let surveyor = Surveyor::new(self.world, Questions::Each(questions));
        let table = Table {
            key: "access",
            title: "Access".to_owned(),
            note: None,
            heads: vec!["principal", "status"],
            columns,
            places: false,
            rows: Rows::Matrix(Matrix { world: self.world, filter, surveyor }),
        };
        Ok(Report { name, title, facts, tables: vec![table], world: self.world })
    }
}

/// A node that objects lead to: these objects, and the rights that routes ask for there.
#[derive(Clone, Debug, Default)]
struct Spot {
    objects: BTreeSet<String>,
    rights: BTreeSet<RightId>,
}

fn right_fact(right: Option<RightId>, otherwise: &str) -> Fact {
    let value = right.map_or_else(|| Value::Text(otherwise.to_owned()), Value::Right);
    Fact { label: "right", value }
}

/// Columns of things that come each before those below it.
fn nested<T: Copy>(things: &[T], is_below: impl Fn(T, T) -> bool, name: impl Fn(T) -> Arc<str>) -> Vec<Column> {
    let mut above: Vec<(usize, T)> = Vec::new();
    let mut columns = Vec::new();
    for (number, thing) in things.iter().enumerate() {
        while above.last().is_some_and(|(_, upper)| !is_below(*thing, *upper)) {
            above.pop();
        }
        let parent = above.last().map(|(parent, _)| *parent);
        columns.push(Column { name: name(*thing), depth: above.len(), parent, details: Vec::new() });
        above.push((number, *thing));
    }
    columns
}
