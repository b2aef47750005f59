//! Enforcement, pure: turns a request head into a permission or a refusal.
use std::sync::Arc;
use http::request::Parts;
use crate::model::Reason;
use crate::route::Application;
use crate::snapshot::Snapshot;
use crate::token::{IssuerId, Verified, Verifier};

/// The permission to forward one request; only this module can make one.
#[derive(Debug)]
pub struct Permitted { head: Parts, grounds: Grounds }
impl Permitted {
    /// The judged head and why it may pass, for the forwarder.
    pub fn into_parts(self) -> (Parts, Grounds) { (self.head, self.grounds) }
}
/// What is known of a request once it was judged: for the log, and for what the backend is told.
#[derive(Clone, Debug)]
pub struct Grounds { /// The snapshot that judged.
 pub snapshot: Arc<Snapshot>, /// The application, once found.
 pub application: Option<Arc<Application>>, /// The id of the route, once found.
 pub route: Option<Arc<str>>, /// What the token says, once verified.
 pub token: Option<Arc<Verified>>, /// The principal's id, once found.
 pub principal: Option<Arc<str>> }
/// The gateway's no.
#[derive(Debug)]
pub struct Refusal { /// Why.
 pub reason: Reason,
 /// Methods for `Allow` of a 405.
 pub allow: Option<Arc<str>>,
 /// An issuer whose keys should be fetched.
 pub wake: Option<IssuerId>,
 full: String }
impl Refusal {
    /// A refusal that the data plane itself decides on (timeouts, upstream faults, overload).
    pub fn of(reason: Reason) -> Self { Self { reason, allow: None, wake: None, full: String::new() } }
    /// The stable code without its subject.
    pub fn code(&self) -> &str { todo!() }
    /// The code with its subject, for the log.
    pub fn full_code(&self) -> String { self.full.clone() }
}
/// What came of judging a request.
#[derive(Debug)]
pub enum Verdict { /// It may pass.
 Permitted(Permitted), /// It may not; the head comes back for the answer's sake.
 Refused { /// The head as it came.
  head: Parts, /// Why not.
  refusal: Refusal, /// What is known.
  grounds: Grounds } }
/// Judges one request head at `now` (Unix seconds).
pub fn authorize(_snapshot: &Arc<Snapshot>, _verifier: &Verifier, _head: Parts, _now: u64) -> Verdict { todo!() }
