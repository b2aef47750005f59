//! Objects that a request is about and that somebody outside has to look up.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;

use super::ledger::Ledger;
use super::{Worker, now_ms};
use crate::model::Reason;
use crate::pep::{self, Environment, Given, Grounds, Refusal, Verdict, Wanted};
use crate::policy::Missed;

/// The most objects of one request: its path may be read in several ways.
const MOST: usize = 4;

/// Whoever looks objects up.
pub trait Objects: Send + Sync + fmt::Debug {
    /// What is remembered of one and still believed.
    fn recall(&self, wanted: &Wanted) -> Option<Given>;

    /// Looks one up. Always comes to an answer within a bounded time, be it that there is none.
    fn look_up(&self, wanted: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>>;
}

/// Nobody: no kind of objects is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Objects for Nobody {
    fn recall(&self, _: &Wanted) -> Option<Given> {
        None
    }

    fn look_up(&self, wanted: Wanted) -> Pin<Box<dyn Future<Output = Given> + Send + '_>> {
        let found = Err(Missed::Unavailable("not_looked_up"));
        Box::pin(std::future::ready(Given { wanted, found, until: None }))
    }
}

/// Looks up the object that a request waits for, and judges the whole by the snapshot of then and by all that was found
/// so far.
pub(super) async fn judge(
    worker: &Rc<Worker>,
    (head, form, grounds): (Parts, Option<Bytes>, Grounds),
    (wanted, given): (Wanted, &mut Vec<Given>),
    environment: Environment<'_>,
    ledger: &mut Ledger,
) -> Verdict {
    if given.len() >= MOST || given.iter().any(|given| given.wanted == wanted) {
        return Verdict::Refused { head, refusal: Refusal::of(Reason::ObjectUnavailable), grounds };
    }
    given.push(worker.gateway.objects.look_up(wanted).await);
    ledger.judges_again();
    let environment = Environment { now: now_ms() / 1000, ..environment };
    ledger.has_objects(given, environment.now);
    let asked = (head, form, &**given);
    let verdict = pep::authorize_with_objects(worker.reader.borrow_mut().load(), &worker.verifier, asked, environment);
    ledger.judged_again();
    verdict
}
