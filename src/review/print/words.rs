//! The words of a report, the same in every format.

use crate::diag::{self, Place};
use crate::model::{Level, Status};
use crate::policy::{Domain, Held, Reach, ScopeId, Wants, Way};
use crate::review::json::{Places, account};
use crate::review::report::{Access, Ground, Report, Row, Source, State, Value};

/// Says what the values of a report mean.
pub(super) struct Words<'r> {
    report: &'r Report<'r>,
    places: Places<'r>,
    /// Whether levels differ in this domain.
    levels: bool,
}

/// A cell in its parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Label {
    /// What is held.
    pub(super) main: String,
    /// Who decided.
    pub(super) source: String,
    /// What more is held further down.
    pub(super) rest: String,
    /// Where that is.
    pub(super) place: String,
}

impl Label {
    /// The parts in one line.
    pub(super) fn line(&self) -> String {
        let source = if self.source.is_empty() { String::new() } else { format!(" ({})", self.source) };
        let rest = match (self.rest.is_empty(), self.main.is_empty()) {
            (true, _) => String::new(),
            (false, true) => self.rest.clone(),
            (false, false) => format!(", {}", self.rest),
        };
        format!("{}{source}{rest}", self.main)
    }

    /// The same with the place of what is held further down.
    pub(super) fn long(&self) -> String {
        if self.place.is_empty() { self.line() } else { format!("{} {}", self.line(), self.place) }
    }
}

impl<'r> Words<'r> {
    pub(super) fn new(report: &'r Report<'r>, texts: &'r diag::Report) -> Self {
        Self { report, places: Places::new(report, texts), levels: report.world.domain.has_levels() }
    }

    pub(super) const fn domain(&self) -> &'r Domain {
        self.report.world.domain
    }

    /// What the words of cells mean, for a legend: class and meaning.
    pub(super) fn legend(&self) -> Vec<(&'static str, &'static str)> {
        let held: &[(&str, &str)] = if self.levels {
            &[("delete", "see, change and delete"), ("write", "see and change"), ("read", "see")]
        } else {
            &[("held", "the right is held; this domain has no levels")]
        };
        let others = [
            ("denied", "denied, whatever else is granted"),
            ("lower", "not here, or less here, but that much of something below"),
            ("off", "the grants say something, but the account is not active: every request is refused"),
            ("-", "nothing"),
        ];
        held.iter().chain(&others).copied().collect()
    }

    /// The word for a level.
    pub(super) const fn level(&self, level: Level) -> &'static str {
        if self.levels { level.name() } else { "held" }
    }

    /// The word for what a cell comes to.
    pub(super) fn state(&self, cell: &Access, status: Status) -> &'static str {
        match cell.state(status) {
            State::Off if cell.is_empty() => "-",
            State::Off => "off",
            State::Nothing if cell.lower.is_some() => "lower",
            State::Nothing => "-",
            State::Denied => "denied",
            State::Up(level) => self.level(level),
        }
    }

    /// A cell of a row.
    pub(super) fn cell(&self, cell: &Access, status: Status) -> Label {
        let state = self.state(cell, status);
        if state == "-" || state == "off" {
            return Label { main: state.to_owned(), ..Label::default() };
        }
        self.held(cell)
    }

    /// What the grants come to, whether it counts or not.
    pub(super) fn held(&self, cell: &Access) -> Label {
        let mut main = match cell.held {
            Held::Nothing => String::new(),
            Held::Denied => "denied".to_owned(),
            Held::Up(level) => self.level(level).to_owned(),
        };
        if let (Some(tally), Held::Up(_)) = (cell.tally, cell.held) {
            let right = self.domain().right_name(cell.right);
            let more = tally.held.saturating_sub(1);
            main = if more == 0 { format!("{main} {right}") } else { format!("{main} {right} and {more} more") };
        }
        let mut source = cell.sources.iter().map(|source| self.source(source)).collect::<Vec<_>>().join(", ");
        if let Some(flag) = &cell.capped_by {
            source = format!("{source}; capped by {flag}");
        }
        let rest = cell.lower.map(|lower| format!("lower: {}", self.level(lower.level))).unwrap_or_default();
        let place = cell.lower.map(|lower| {
            let (right, scope) = (self.domain().right_name(lower.right), self.domain().scope_name(lower.scope));
            match (lower.right == cell.right, lower.scope == cell.scope) {
                (true, _) => format!("at {scope}"),
                (false, true) => format!("of {right}"),
                (false, false) => format!("of {right} at {scope}"),
            }
        });
        Label { main, source, rest, place: place.unwrap_or_default() }
    }

    /// A source in short.
    fn source(&self, source: &Source) -> String {
        let mut text = source.group.as_deref().unwrap_or("own").to_owned();
        let mut same = |part: &dyn Fn(&Ground) -> Option<String>| {
            let first = source.grounds.first().and_then(part);
            if source.grounds.iter().all(|ground| part(ground) == first) {
                text.extend(first);
            }
        };
        same(&|ground| ground.role.as_ref().map(|role| format!(", role {role}")));
        same(&|ground| ground.via.map(|right| format!(" via {}", self.domain().right_name(right))));
        text
    }

    /// Every ground of a cell: what the grant says, and where it is written.
    pub(super) fn grounds(&self, cell: &Access, principal: Option<usize>) -> Vec<String> {
        let of_source = |source: &Source| {
            let who = source.group.as_deref().unwrap_or("own").to_owned();
            let ground = |ground: &Ground| {
                let grant = self.grant(ground);
                let place = self.ground_place(ground, principal);
                format!("{who}: {grant}, {place}")
            };
            source.grounds.iter().map(ground).collect::<Vec<_>>()
        };
        let mut grounds: Vec<String> = cell.sources.iter().flat_map(of_source).collect();
        grounds.extend(cell.capped_by.iter().map(|flag| format!("capped by the flag {flag}")));
        grounds.extend(cell.lower.map(|lower| {
            let (right, scope) = (self.domain().right_name(lower.right), self.domain().scope_name(lower.scope));
            format!("lower: {} of {right} at {scope}", self.level(lower.level))
        }));
        grounds
    }

    fn grant(&self, ground: &Ground) -> String {
        let domain = self.domain();
        let at = if ground.at == ScopeId::ROOT { String::new() } else { format!(" @{}", domain.scope_name(ground.at)) };
        let role = ground.role.as_ref().map(|role| format!(" by role {role}")).unwrap_or_default();
        format!("{}{at}{role}", domain.right_name(ground.right))
    }

    /// Where a ground is written.
    pub(super) fn ground_place(&self, ground: &Ground, principal: Option<usize>) -> String {
        self.places.ground(ground, principal)
    }

    /// Where the grounds of a list's row are written, each place once.
    pub(super) fn places(&self, row: &Row<'_>) -> Vec<String> {
        let grounds = row.cells.iter().flat_map(|cell| cell.sources.iter()).flat_map(|source| &source.grounds);
        let mut places: Vec<String> = grounds.map(|ground| self.ground_place(ground, row.principal)).collect();
        places.dedup();
        places
    }

    /// `FILE:LINE:COLUMN`.
    pub(super) fn place(&self, place: Option<Place>) -> String {
        self.places.place(place)
    }

    /// A value beside access, in one line.
    pub(super) fn value(&self, value: &Value) -> String {
        let domain = self.domain();
        match value {
            Value::Text(text) => text.clone(),
            Value::List(list) => list.join(", "),
            Value::Right(right) => domain.right_name(*right).to_owned(),
            Value::Scope(scope) => domain.scope_name(*scope).to_owned(),
            Value::Account(state, groups) if groups.is_empty() => account(*state).to_owned(),
            Value::Account(state, groups) => format!("{} (group {})", account(*state), groups.join(", ")),
            Value::Wants(Wants::Level(level)) => level.name().to_owned(),
            Value::Wants(Wants::ByMethod) => "by method".to_owned(),
            Value::Wants(Wants::NoDenial) => "unless denied".to_owned(),
            Value::Reach(reach) => self.reach(reach),
            Value::Place(place) => self.place(*place),
        }
    }

    fn reach(&self, reach: &Reach) -> String {
        match reach {
            Reach::Anywhere => "anywhere".to_owned(),
            Reach::At(ways) => ways.iter().map(|way| self.way(way)).collect::<Vec<_>>().join(" | "),
            Reach::Never(obstacle) => format!("never: {}", self.places.obstacle(obstacle)),
        }
    }

    fn way(&self, way: &Way) -> String {
        let scope = |(name, nodes): &(_, Vec<ScopeId>)| {
            let nodes: Vec<&str> = nodes.iter().map(|node| self.domain().scope_name(*node)).collect();
            format!("{name} = {}", nodes.join(" or "))
        };
        way.iter().map(scope).collect::<Vec<_>>().join(", ")
    }
}
