//! Who can do what, where: tables for people who answer for access. A report is a handful of facts and some tables of
//! typed cells; how they look is for others to say. Rows are made while they are read, so that a report on very many
//! principals needs no room for all of them.

mod access;
mod matrix;
mod person;
mod right;
mod select;
mod survey;

use std::sync::Arc;

pub use access::{Access, Ground, Lower, Source, State, Tally, Written};
pub use select::{Filter, Glob, UnknownName};

use super::policy::{Policy, World};
use crate::diag::Place;
use crate::document::grants::{Across, Within};
use crate::model::{Level, Status};
use crate::policy::{Reach, RightId, ScopeId, Wants};

/// A report on one domain.
#[derive(Debug)]
pub struct Report<'p> {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for a heading.
    pub title: String,
    /// What it is about, and what it was asked.
    pub facts: Vec<Fact>,
    /// The tables.
    pub tables: Vec<Table<'p>>,
    /// The domain that its numbers belong to.
    pub world: World<'p>,
}

/// One line above the tables.
#[derive(Debug)]
pub struct Fact {
    /// What is told.
    pub label: &'static str,
    /// What there is to tell; may be nothing.
    pub value: Value,
}

/// A table.
#[derive(Debug)]
pub struct Table<'p> {
    /// Its name for programs.
    pub key: &'static str,
    /// Its heading.
    pub title: String,
    /// What has to be known to read it.
    pub note: Option<String>,
    /// What the first columns are.
    pub heads: Vec<&'static str>,
    /// The columns of access, after those.
    pub columns: Vec<Column>,
    /// Whether it is a list, whose one column of access comes with the places where its grounds are written.
    pub places: bool,
    rows: Rows<'p>,
}

/// A column of access: a right, or a scope node.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name; no two are equal.
    pub name: Arc<str>,
    /// How many columns it lies below, in the hierarchy of what the columns are.
    pub depth: usize,
    /// The column that it lies right below.
    pub parent: Option<usize>,
    /// What else there is to say of it.
    pub details: Vec<String>,
}

/// A row: the values of the first columns, then a cell for each column of access.
#[derive(Clone, Debug)]
pub struct Row<'r> {
    /// The principal that the cells are about, by its number.
    pub principal: Option<usize>,
    /// The state of its account; nothing counts unless it is active.
    pub status: Status,
    /// The values of the first columns.
    pub values: Vec<Value>,
    /// The cells.
    pub cells: &'r [Access],
}

/// What can stand in a row beside access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// Several of these.
    List(Vec<String>),
    /// A right.
    Right(RightId),
    /// A node.
    Scope(ScopeId),
    /// The state of an account, and the groups that make it inactive.
    Account(Status, Vec<Arc<str>>),
    /// How much of a right is wanted.
    Wants(Wants),
    /// Where a route is open.
    Reach(Reach),
    /// Where something is written.
    Place(Option<Place>),
}

#[derive(Debug)]
enum Rows<'p> {
    Made(Vec<MadeRow>),
    Matrix(matrix::Matrix<'p>),
    Holders(right::Holders<'p>),
}

/// A row with its cells.
#[derive(Debug)]
struct MadeRow {
    principal: Option<usize>,
    status: Status,
    values: Vec<Value>,
    cells: Vec<Access>,
}

impl MadeRow {
    const fn of(values: Vec<Value>) -> Self {
        Self { principal: None, status: Status::Active, values, cells: Vec::new() }
    }
}

impl Table<'_> {
    /// Makes the rows, one after the other.
    ///
    /// # Errors
    /// What `visit` says; no further rows are made then.
    pub fn each<E>(&self, visit: &mut dyn FnMut(&Row<'_>) -> Result<(), E>) -> Result<(), E> {
        match &self.rows {
            Rows::Made(rows) => rows.iter().try_for_each(|row| {
                let (values, cells) = (row.values.clone(), row.cells.as_slice());
                visit(&Row { principal: row.principal, status: row.status, values, cells })
            }),
            Rows::Matrix(matrix) => matrix.each(visit),
            Rows::Holders(holders) => holders.each(visit),
        }
    }
}

impl Report<'_> {
    /// Where a ground of a principal's access is written.
    pub fn place(&self, principal: usize, written: Written) -> Option<Place> {
        match written {
            Written::At(place) => Some(place),
            Written::Own(position) => self.world.origins.principal(principal)?.place_of(position),
        }
    }
}

/// Asks for a report.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// The domain.
    pub world: World<'p>,
}

impl<'p> Asker<'p> {
    /// A domain by its name; without one, the only domain.
    ///
    /// # Errors
    /// When there is no such domain, or several to choose from.
    pub fn new(policy: &'p Policy, domain: Option<&str>) -> Result<Self, UnknownName> {
        let names = || policy.worlds().map(|world| &**world.domain.name());
        let Some(name) = domain else {
            let mut worlds = policy.worlds();
            return match (worlds.next(), worlds.next()) {
                (Some(world), None) => Ok(Self { policy, world }),
                _ => {
                    let names: Vec<String> = names().map(|name| format!("`--domain {name}`")).collect();
                    let help = if names.is_empty() { None } else { Some(format!("add {}", names.join(" or "))) };
                    Err(UnknownName { message: format!("there are {} domains, not one", names.len()), help })
                }
            };
        };
        let found = policy.worlds().find(|world| **world.domain.name() == *name);
        let world = found.ok_or_else(|| UnknownName::new("domain", name, names()))?;
        Ok(Self { policy, world })
    }

    /// What every report says of its domain.
    fn facts(&self) -> Vec<Fact> {
        let domain = self.world.domain;
        let within = match domain.within() {
            Within::Union => "all grants of a source count",
            Within::Nearest => "the nearest grant of a source counts",
        };
        let across = match domain.across() {
            Across::DenyOverrides => "a denial wins over all sources, then the highest level",
            Across::DenyIndividualFirst => "a denial wins over all sources, then the own level over those of groups",
            Across::IndividualFirst => "what is the principal's own wins over its groups",
            Across::MostRestrictive => "the lowest of all sources wins",
            Across::MostPermissive => "the highest of all sources wins",
        };
        let mut facts = vec![
            Fact { label: "domain", value: Value::Text(domain.name().to_string()) },
            Fact { label: "conflicts", value: Value::Text(format!("{within}; {across}")) },
        ];
        if domain.maps_tokens() {
            let text = "tokens are mapped to groups here; what these give or take is not in this report".to_owned();
            facts.push(Fact { label: "tokens", value: Value::Text(text) });
        }
        facts
    }
}

/// A level as a fact.
fn level_fact(level: Level) -> Fact {
    Fact { label: "at least", value: Value::Text(level.name().to_owned()) }
}
