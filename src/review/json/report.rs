//! A report as one object, written row by row. Of a matrix only cells that say something are there, by the
//! names of their columns.

use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};

use crate::diag::{self, Place};
use crate::model::Status;
use crate::policy::{Domain, Held, Obstacle, Reach, ScopeId, Wants, Way};
use crate::review::report::{Access, Column, Ground, Report, Row, Source, State, Table, Value};

/// Says where what a report tells is written.
#[derive(Clone, Copy, Debug)]
pub struct Places<'r> {
    report: &'r Report<'r>,
    texts: &'r diag::Report,
}

impl<'r> Places<'r> {
    /// `texts` knows what the policy was made of.
    pub const fn new(report: &'r Report<'r>, texts: &'r diag::Report) -> Self {
        Self { report, texts }
    }

    const fn domain(&self) -> &'r Domain {
        self.report.world.domain
    }

    /// `FILE:LINE:COLUMN`.
    pub fn place(&self, place: Option<Place>) -> String {
        let written = |place| {
            let diag::Location { file, line, column } = self.texts.locate(place);
            format!("{file}:{line}:{column}")
        };
        place.map(written).unwrap_or_default()
    }

    /// Where a ground of a principal's access is written.
    pub fn ground(&self, ground: &Ground, principal: Option<usize>) -> String {
        self.place(principal.and_then(|principal| self.report.place(principal, ground.written)))
    }

    /// Why a route is never open.
    pub fn obstacle(&self, obstacle: &Obstacle) -> String {
        match obstacle {
            Obstacle::Account(state) => format!("the account is {}", account(*state)),
            Obstacle::Term(text, None) => text.clone(),
            Obstacle::Term(text, place) => format!("{text} ({})", self.place(*place)),
            Obstacle::Scope(name) => format!("no node can be its scope {name}"),
        }
    }
}

/// The word for the state of an account.
pub const fn account(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Inactive => "inactive",
        Status::Deleted => "deleted",
        Status::Reserved => "reserved",
    }
}

/// Writes a report.
///
/// # Errors
/// Those of `out`.
pub fn report(report: &Report<'_>, places: &Places<'_>, out: &mut impl Write) -> io::Result<()> {
    let facts: Map<String, Json> =
        report.facts.iter().map(|fact| (key(fact.label), value(&fact.value, places))).collect();
    let head = [("report", json!(report.name)), ("title", json!(report.title)), ("facts", Json::Object(facts))];
    write!(out, "{{")?;
    for (name, value) in head {
        write!(out, "\n{}: {value},", json!(name))?;
    }
    write!(out, "\n\"tables\": {{")?;
    for (number, table) in report.tables.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        write!(out, "{comma}\n{}: {{", json!(table.key))?;
        if !table.places && !table.columns.is_empty() {
            let columns: Vec<Json> = table.columns.iter().map(|one| column(one, table)).collect();
            write!(out, "\"columns\": {}, ", Json::Array(columns))?;
        }
        write!(out, "\"rows\": [")?;
        let mut first = true;
        table.each(&mut |one| {
            let comma = if std::mem::replace(&mut first, false) { "" } else { "," };
            write!(out, "{comma}\n{}", row(one, table, places))
        })?;
        write!(out, "]}}")?;
    }
    writeln!(out, "}}\n}}")
}

fn key(words: &str) -> String {
    words.replace(' ', "_")
}

fn column(column: &Column, table: &Table<'_>) -> Json {
    let parent = column.parent.and_then(|parent| table.columns.get(parent)).map(|parent| &*parent.name);
    json!({"name": &*column.name, "below": parent, "objects": column.details})
}

fn row(row: &Row<'_>, table: &Table<'_>, places: &Places<'_>) -> Json {
    let values = table.heads.iter().zip(&row.values);
    let mut object: Map<String, Json> = values.map(|(head, one)| (key(head), value(one, places))).collect();
    if table.places {
        let cells = row.cells.iter().filter_map(|cell| access(cell, row, places).as_object().cloned());
        object.extend(cells.flatten());
    } else if !table.columns.is_empty() {
        let cells = table.columns.iter().zip(row.cells).filter(|(_, cell)| !cell.is_empty());
        let cells: Map<String, Json> =
            cells.map(|(column, cell)| (column.name.to_string(), access(cell, row, places))).collect();
        object.insert("cells".to_owned(), Json::Object(cells));
    }
    Json::Object(object)
}

fn access(cell: &Access, row: &Row<'_>, places: &Places<'_>) -> Json {
    let domain = places.domain();
    let (state, level) = match cell.state(row.status) {
        State::Off => ("off", None),
        State::Nothing => ("nothing", None),
        State::Denied => ("denied", None),
        State::Up(level) => ("held", Some(level.name())),
    };
    let mut object = Map::new();
    object.insert("state".to_owned(), json!(state));
    object.insert("level".to_owned(), json!(level));
    if let (State::Off, Held::Up(level)) = (cell.state(row.status), cell.held) {
        object.insert("would_hold".to_owned(), json!(level.name()));
    }
    if let Some(tally) = cell.tally {
        object.insert("right".to_owned(), json!(domain.right_name(cell.right)));
        object.insert("rights_held".to_owned(), json!(tally.held));
        object.insert("rights".to_owned(), json!(tally.of));
    }
    object.insert("sources".to_owned(), cell.sources.iter().map(|one| source(one, row, places)).collect());
    if let Some(flag) = &cell.capped_by {
        object.insert("capped_by".to_owned(), json!(&**flag));
    }
    if let Some(lower) = cell.lower {
        let (right, scope) = (domain.right_name(lower.right), domain.scope_name(lower.scope));
        object.insert("lower".to_owned(), json!({"level": lower.level.name(), "right": right, "scope": scope}));
    }
    Json::Object(object)
}

fn source(source: &Source, row: &Row<'_>, places: &Places<'_>) -> Json {
    let domain = places.domain();
    let grants = source.grounds.iter().map(|ground| {
        let mut grant = Map::new();
        grant.insert("right".to_owned(), json!(domain.right_name(ground.right)));
        grant.insert("scope".to_owned(), json!(domain.scope_name(ground.at)));
        if let Some(role) = &ground.role {
            grant.insert("role".to_owned(), json!(&**role));
        }
        if let Some(via) = ground.via {
            grant.insert("via".to_owned(), json!(domain.right_name(via)));
        }
        grant.insert("written_at".to_owned(), json!(places.ground(ground, row.principal)));
        Json::Object(grant)
    });
    json!({"group": source.group.as_deref(), "grants": grants.collect::<Vec<_>>()})
}

fn value(value: &Value, places: &Places<'_>) -> Json {
    let domain = places.domain();
    match value {
        Value::Text(text) => json!(text),
        Value::List(list) => json!(list),
        Value::Right(right) => json!(domain.right_name(*right)),
        Value::Scope(scope) => json!(domain.scope_name(*scope)),
        Value::Account(state, groups) => {
            json!({"is": account(*state), "because_of": groups.iter().map(|group| &**group).collect::<Vec<_>>()})
        }
        Value::Wants(Wants::Level(level)) => json!(level.name()),
        Value::Wants(Wants::ByMethod) => json!("by_method"),
        Value::Wants(Wants::NoDenial) => json!("unless_denied"),
        Value::Reach(Reach::Anywhere) => json!({"is": "anywhere"}),
        Value::Reach(Reach::At(ways)) => {
            json!({"is": "at", "ways": ways.iter().map(|one| way(one, places)).collect::<Vec<_>>()})
        }
        Value::Reach(Reach::Never(obstacle)) => json!({"is": "never", "because": places.obstacle(obstacle)}),
        Value::Place(place) => json!(place.map(|place| places.place(Some(place)))),
    }
}

fn way(way: &Way, places: &Places<'_>) -> Json {
    let nodes = |nodes: &[ScopeId]| nodes.iter().map(|node| places.domain().scope_name(*node)).collect::<Vec<_>>();
    Json::Object(way.iter().map(|(name, list)| (name.to_string(), json!(nodes(list)))).collect())
}
