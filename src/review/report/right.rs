//! One right: who holds it where, and which routes ask for it.

use std::sync::Arc;

use super::matrix::account;
use super::select::{Filter, UnknownName};
use super::survey::{Questions, Surveyor};
use super::{Asker, Column, Fact, MadeRow, Report, Row, Rows, Table, Value};
use crate::policy::{AskedRight, RightId};
use crate::review::policy::World;
use crate::route::{Application, Route};

/// One row for each node at which what a principal holds of a right changes.
#[derive(Debug)]
pub(super) struct Holders<'p> {
    world: World<'p>,
    filter: Filter,
    surveyor: Surveyor<'p>,
}

impl Holders<'_> {
    pub(super) fn each<E>(&self, visit: &mut dyn FnMut(&Row<'_>) -> Result<(), E>) -> Result<(), E> {
        for (number, principal) in self.world.domain.principals().iter().enumerate() {
            if !self.filter.admits(principal) {
                continue;
            }
            for line in &*self.surveyor.ask(number) {
                let account = account(&self.world, number, principal.status());
                let values = vec![Value::Text(principal.id().to_owned()), account, Value::Scope(line.scope)];
                let cells = std::slice::from_ref(line);
                let row = Row { principal: Some(number), status: principal.status(), values, cells };
                if self.filter.keeps(&row) {
                    visit(&row)?;
                }
            }
        }
        Ok(())
    }
}

/// The one column of access of a list.
pub(super) fn access_column() -> Vec<Column> {
    vec![Column { name: "access".into(), depth: 0, parent: None, details: Vec::new() }]
}

impl<'p> Asker<'p> {
    /// Who holds a right, where, how much and by which source; and the routes that ask for it.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn holders(&self, right: &str, filter: Filter) -> Result<Report<'p>, UnknownName> {
        let domain = self.world.domain;
        let right = self.right(right)?;
        filter.check(self)?;
        let mut facts = self.facts();
        facts.push(Fact { label: "right", value: Value::Right(right) });
        let bringers: Vec<String> = domain.bringers(right).iter().map(|r| domain.right_name(*r).to_owned()).collect();
        if !bringers.is_empty() {
            facts.push(Fact { label: "brought by", value: Value::List(bringers) });
        }
        facts.extend(filter.facts());
        let surveyor = Surveyor::new(self.world, Questions::Changes(vec![right]));
        let holders = Table {
            key: "holders",
            title: "Who holds it".to_owned(),
            note: Some(
                "A line counts for all that lies below its scope, until another line says otherwise.".to_owned(),
            ),
            heads: vec!["principal", "status", "scope"],
            columns: access_column(),
            places: true,
            rows: Rows::Holders(Holders { world: self.world, filter, surveyor }),
        };
        let title = format!("Who holds {}", domain.right_name(right));
        Ok(Report { name: "right", title, facts, tables: vec![holders, self.askers(right)], world: self.world })
    }

    /// The routes that ask for a right or one below it.
    fn askers(&self, right: RightId) -> Table<'p> {
        let domain = self.world.domain;
        let mut rows = Vec::new();
        for (application, rules, route) in self.rules() {
            for term in rules.asks().into_iter().filter(|term| domain.is_right_at_or_below(term.right, right)) {
                rows.push(MadeRow::of(self.asking(application, route, &term)));
            }
        }
        Table {
            key: "routes",
            title: "Routes that ask for it".to_owned(),
            note: None,
            heads: vec!["application", "route", "methods", "mode", "right", "level", "scope", "written at"],
            columns: Vec::new(),
            places: false,
            rows: Rows::Made(rows),
        }
    }

    fn asking(&self, application: &Arc<Application>, route: &Route, term: &AskedRight<'_>) -> Vec<Value> {
        let below = if term.below { " or anywhere below" } else { "" };
        vec![
            Value::Text(application.name.to_string()),
            Value::Text(route.id.to_string()),
            Value::List(self.methods(application, route)),
            Value::Text(route.mode.word().to_owned()),
            Value::Right(term.right),
            Value::Wants(term.wants),
            Value::Text(format!("{}{below}", term.scope.unwrap_or("root"))),
            Value::Place(Some(term.place)),
        ]
    }

    /// The methods of a route, as they are written.
    pub(super) fn methods(&self, application: &Application, route: &Route) -> Vec<String> {
        let document = self.policy.route(application, &route.id);
        document.into_iter().flat_map(|route| &route.methods).map(|method| method.value.clone()).collect()
    }
}
