//! How one thread finds its cells: by the names of application and route, which stay the same over reloads.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::cells::{Cells, DECIDE_MICROS, Denials, Durations, REQUEST_MICROS, Refusals, Requests, Tally};
use super::labels::{Outcome, Watched};
use crate::telemetry::record::{Decision, RequestRecord, Text};

/// Cells by names in UTF-8.
type ByName<T> = RefCell<HashMap<Box<[u8]>, T, RandomState>>;

/// The cells of the thread that has it.
#[derive(Debug)]
pub(in crate::telemetry) struct Index {
    cells: Arc<Cells>,
    applications: ByName<Rc<Application>>,
    refused: RefCell<Vec<Arc<Refusals>>>,
}

/// What the thread counts of one application.
#[derive(Debug)]
struct Application {
    durations: Arc<Durations>,
    /// By route; each has few outcomes, the usual ones seen first.
    routes: ByName<Vec<Arc<Requests>>>,
    /// By route, what would have been refused.
    denials: ByName<Vec<Arc<Denials>>>,
}

impl Index {
    /// Nothing is counted in these cells yet.
    pub(super) fn new(cells: Arc<Cells>) -> Self {
        Self { cells, applications: RefCell::default(), refused: RefCell::default() }
    }

    /// A client has connected.
    pub(in crate::telemetry) fn connection_opened(&self) {
        self.cells.connections.add(1);
        self.cells.accepted.add(1);
    }

    /// A client's connection is gone.
    pub(in crate::telemetry) fn connection_closed(&self) {
        self.cells.connections.take();
    }

    /// Counts a request that is over.
    pub(in crate::telemetry) fn request(&self, record: &RequestRecord) {
        let figures = &record.figures;
        let application = self.application(record.text(Text::Application).unwrap_or_default());
        let class = figures.status / 100;
        application.count(&self.cells, record, class);
        if let Some(reason) = &record.would_deny {
            application.would_deny(&self.cells, record.text(Text::Route).unwrap_or_default(), reason);
        }
        let durations = &application.durations;
        durations.whole.observe(&REQUEST_MICROS, figures.total_us);
        if figures.upstream_us > 0 {
            durations.upstream.observe(&REQUEST_MICROS, figures.upstream_us);
        }
        if figures.serial > 0 {
            self.cells.decide.observe(&DECIDE_MICROS, figures.decide_us);
        }
        if let Some(cause) = record.token_fault {
            self.token_refused(cause);
        }
    }

    fn application(&self, name: &[u8]) -> Rc<Application> {
        if let Some(known) = self.applications.borrow().get(name) {
            return Rc::clone(known);
        }
        let application = label(name);
        let durations = Durations { application, whole: Default::default(), upstream: Default::default() };
        let durations = self.cells.durations.tell(durations);
        let new = Rc::new(Application { durations, routes: RefCell::default(), denials: RefCell::default() });
        self.applications.borrow_mut().insert(name.into(), Rc::clone(&new));
        new
    }

    fn token_refused(&self, cause: &'static str) {
        let mut refused = self.refused.borrow_mut();
        match refused.iter().find(|known| known.cause == cause) {
            Some(known) => known.count.add(1),
            None => refused.push(self.cells.refused.tell(Refusals { cause, count: first() })),
        }
    }
}

impl Application {
    fn count(&self, cells: &Cells, record: &RequestRecord, class: u16) {
        let route = record.text(Text::Route).unwrap_or_default();
        let (decision, reason) = (record.decision(), record.reason_code.as_ref());
        let mut routes = self.routes.borrow_mut();
        if let Some(outcomes) = routes.get_mut(route) {
            match outcomes.iter().find(|known| known.ended(decision, reason, class)) {
                Some(known) => known.count.add(1),
                None => outcomes.push(self.tell(cells, route, (decision, reason, class))),
            }
        } else {
            let first = self.tell(cells, route, (decision, reason, class));
            routes.insert(route.into(), vec![first]);
        }
    }

    fn would_deny(&self, cells: &Cells, route: &[u8], reason: &str) {
        let mut denials = self.denials.borrow_mut();
        let of_route = denials.entry(route.into()).or_default();
        match of_route.iter().find(|known| known.of.reason == reason) {
            Some(known) => known.count.add(1),
            None => {
                let application = Arc::clone(&self.durations.application);
                let of = Watched { application, route: label(route), reason: Cow::Owned(reason.to_owned()) };
                of_route.push(cells.denials.tell(Denials { of, count: first() }));
            }
        }
    }

    fn tell(
        &self,
        cells: &Cells,
        route: &[u8],
        (decision, reason, class): (Decision, Option<&Cow<'static, str>>, u16),
    ) -> Arc<Requests> {
        let application = Arc::clone(&self.durations.application);
        let outcome = Outcome { application, route: label(route), decision, reason: reason.cloned(), class };
        cells.requests.tell(Requests { outcome, count: first() })
    }
}

/// A cell is told of with what it was made for already counted.
fn first() -> Tally {
    let tally = Tally::default();
    tally.add(1);
    tally
}

fn label(name: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(name).into()
}
