//! Enforcement, pure: turns a request head, and the form in the body where the rules read it, into a permission, a
//! refusal or an answer of the gateway itself. One synchronous function of the snapshot, the request and its
//! environment; it reads no clock, opens no socket and waits for no lock.

mod beside;
mod credentials;
mod explain;
mod facts;
mod judge;
mod kept;
mod objects;
mod origin;
mod own;
mod permit;
mod redirect;
mod refusal;
mod revoked;
mod rewrite;
mod shadow;
mod sought;
mod standing;
mod target;
mod websocket;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use crate::model::{ClientCertificate, Reason};
use crate::route::host::Host;
use crate::route::{Application, Readings, TokenPlaces, canonical};
use crate::snapshot::Snapshot;
use crate::token::{Issuers, Verified, Verify};

use facts::Body;
use judge::{Outcome, judge};

pub use beside::{Judgement, Lacking, No, Overheard};
pub use credentials::Carrier;
pub use explain::explain;
pub use facts::RequestFacts;
pub use judge::{admits, member};
pub use objects::{Attributes, Given, Wanted};
pub use own::{Answer, Metadata};
pub use permit::{Grounds, Permitted};
pub use redirect::redirect;
pub use refusal::Refusal;
pub use revoked::judge_again;
pub use shadow::Watched;
pub use standing::{Expiry, Onward, Standing, state_of};
pub use websocket::{ExtendedConnect, asks_for_websocket};

/// What a 405 of the gateway itself names in `Allow`.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What the judge must know of a request beside its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment<'c> {
    /// The moment, in seconds since the Unix epoch.
    pub now: u64,
    /// Whether the connection is that of a trusted proxy.
    pub trusted_peer: bool,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Whether the request has a body, read or not.
    pub has_body: bool,
    /// The name that the TLS handshake asked for (SNI), in lower case and without a final dot.
    pub server_name: Option<&'c Arc<str>>,
    /// The certificate that the client showed.
    pub certificate: Option<&'c Arc<ClientCertificate>>,
}

/// What came of judging a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass.
    Permitted(Permitted),
    /// It cannot be judged without the form in its body: everything before has passed, and [`authorize_form`] judges
    /// the whole.
    FormNeeded {
        /// The head, to be judged once more.
        head: Parts,
        /// What is known of it so far.
        grounds: Grounds,
    },
    /// It cannot be judged before the object that it is about was looked up: everything before has passed, and
    /// [`authorize_with_objects`] judges the whole.
    ObjectNeeded {
        /// The head, to be judged once more.
        head: Parts,
        /// The form in its body, if that was read.
        form: Option<Bytes>,
        /// The object.
        wanted: Wanted,
        /// What is known of it so far.
        grounds: Grounds,
    },
    /// It goes no further, and the gateway itself answers.
    Answered {
        /// What.
        answer: Answer,
        /// What is known of it so far.
        grounds: Grounds,
    },
    /// It may not.
    Refused {
        /// The head as it came, for the answer's sake.
        head: Parts,
        /// Why not.
        refusal: Refusal,
        /// What is known of it so far.
        grounds: Grounds,
    },
}

/// What came of judging a request without verifying a signature.
#[derive(Debug)]
pub enum Recalled {
    /// The verdict; no signature would change it.
    Judged(Verdict),
    /// There is none without.
    Unverified {
        /// The head as it came, for [`authorize`].
        head: Parts,
        /// What is known of it so far.
        grounds: Grounds,
    },
}

/// Judges one request head. `verifier` only remembers: what it answers depends on nothing but the token, the snapshot's
/// keys and the time.
pub fn authorize(
    snapshot: &Arc<Snapshot>,
    verifier: &impl Verify,
    head: Parts,
    environment: Environment<'_>,
) -> Verdict {
    authorize_with(snapshot, (verifier, Effort::Verify), (head, None, &[]), environment).settled()
}

/// Judges one request head as [`authorize`] does, as far as that takes no signature: who sends a token that nobody
/// remembers may have to wait for a turn to have it verified.
pub fn recall(snapshot: &Arc<Snapshot>, verifier: &impl Verify, head: Parts, environment: Environment<'_>) -> Recalled {
    authorize_with(snapshot, (verifier, Effort::Recall), (head, None, &[]), environment)
}

/// Judges one request whose body was read to its end: all of it, from the beginning, for much may have changed since
/// the body was asked for. Whatever the verdict, the body goes nowhere without it.
pub fn authorize_form(
    snapshot: &Arc<Snapshot>,
    verifier: &impl Verify,
    head: Parts,
    form: Bytes,
    environment: Environment<'_>,
) -> Verdict {
    authorize_with(snapshot, (verifier, Effort::Verify), (head, Some(form), &[]), environment).settled()
}

/// Judges one request with what was looked up of objects, and with its form if that was read: all of it, from the
/// beginning. What was found counts for no other object than the one that was asked for.
pub fn authorize_with_objects(
    snapshot: &Arc<Snapshot>,
    verifier: &impl Verify,
    (head, form, given): (Parts, Option<Bytes>, &[Given]),
    environment: Environment<'_>,
) -> Verdict {
    authorize_with(snapshot, (verifier, Effort::Verify), (head, form, given), environment).settled()
}

/// What a token may cost.
#[derive(Clone, Copy)]
enum Effort<'e> {
    /// No more than to remember it.
    Recall,
    /// A signature.
    Verify,
    /// Nothing, where it stands in these places: what stands there was refused for this already.
    Refused(&'e No, &'e TokenPlaces),
}

impl Recalled {
    /// The verdict of who may verify signatures, and so always has one.
    fn settled(self) -> Verdict {
        match self {
            Self::Judged(verdict) => verdict,
            Self::Unverified { head, grounds } => {
                Verdict::Refused { head, refusal: Refusal::of(Reason::Internal), grounds }
            }
        }
    }
}

fn authorize_with(
    snapshot: &Arc<Snapshot>,
    (verifier, effort): (&impl Verify, Effort<'_>),
    (mut head, form, given): (Parts, Option<Bytes>, &[Given]),
    environment: Environment<'_>,
) -> Recalled {
    let mut grounds = Grounds::none(snapshot);
    let asked = (&mut head, form.as_deref(), given);
    let reached = reach(snapshot, (verifier, effort), asked, environment, &mut grounds);
    Recalled::Judged(match reached {
        Ok(Outcome::Unverified) => return Recalled::Unverified { head, grounds },
        Ok(Outcome::Permitted) => {
            grounds.objects = given.to_vec();
            Verdict::Permitted(Permitted::new(head, form, grounds))
        }
        Ok(Outcome::ObjectNeeded(wanted)) => Verdict::ObjectNeeded { head, form, wanted, grounds },
        Ok(Outcome::FormNeeded) => Verdict::FormNeeded { head, grounds },
        Ok(Outcome::Answered(mut answer)) => {
            if let (Answer::Metadata(metadata), Some(application)) = (&mut answer, &grounds.application) {
                metadata.name_issuers(application, verifier.issuers());
            }
            Verdict::Answered { answer, grounds }
        }
        Err(refusal) => Verdict::Refused { head, refusal, grounds },
    })
}

/// All steps. It permits nothing: that takes a [`Permitted`], which the caller makes, or not.
#[inline]
fn reach(
    snapshot: &Snapshot,
    (verifier, effort): (&impl Verify, Effort<'_>),
    (head, form, given): (&mut Parts, Option<&[u8]>, &[Given]),
    environment: Environment<'_>,
    grounds: &mut Grounds,
) -> Result<Outcome, Refusal> {
    let identify = |head: &Parts, application: &Application, host: &Host<'_>| {
        let found = credentials::find(head, &application.token, environment.trusted_peer);
        let (token, carrier) = found.map_err(Refusal::of)?;
        if carrier != Carrier::Authorization {
            let cors = application.cors.as_ref();
            origin::check_page(head, host, cors, environment, carrier).map_err(Refusal::of)?;
        }
        let (keys, now) = (&snapshot.keys, environment.now);
        let verified = match effort {
            Effort::Recall => match verifier.recall(token.0, keys, now) {
                // Who wrote no token at all waits for nobody's turn.
                None => token.letters().map(|_| None).map_err(Refusal::of)?,
                recalled => recalled,
            },
            Effort::Refused(no, places) if *places == application.token => return Err(no.again()),
            Effort::Verify | Effort::Refused(..) => {
                Some(verifier.verify(token.letters().map_err(Refusal::of)?, keys, now))
            }
        };
        Ok(verified.transpose()?.map(|verified| (verified, carrier)))
    };
    let current = |token: &Verified| judge_again(snapshot, verifier.issuers(), token, environment.now);
    let body = match form {
        Some(form) => Body::Read(form),
        None if environment.has_body => Body::Unread,
        None => Body::None,
    };
    let judged = target::check_scheme(head, environment)
        .and_then(|()| judge(snapshot, (identify, current), Some(environment), (head, body, given), grounds));
    let judged = shadow::watch(judged, grounds);
    let judged = judged.and_then(|outcome| match outcome {
        // Nobody would know how to read what follows if it were forwarded as a plain GET.
        Outcome::Permitted if grounds.websocket => Ok(outcome),
        // It is judged again, as a whole.
        Outcome::Unverified | Outcome::ObjectNeeded(_) => Ok(outcome),
        _ if websocket::is_extended_connect(head) => {
            Err(Refusal::about(Reason::MethodForbidden, "websocket").allowing(FORWARDED_METHODS))
        }
        _ => Ok(outcome),
    });
    judged.and_then(|outcome| settle(head, grounds, outcome))
}

/// Judges a request head as if a verified token said who asks, or as if there was no token. For operators' tools and
/// tests of policies: it takes the steps of [`authorize`], but its answer lets nothing through. `body` is the whole
/// body, if there is one; `given` are the objects that have to be looked up otherwise. `Some` is what the gateway would answer itself.
/// Of a refused request [`Grounds::watched`] says that it goes on all the same, because nothing is enforced.
pub fn simulate(
    snapshot: &Arc<Snapshot>,
    caller: Option<&Arc<Verified>>,
    mut head: Parts,
    body: Option<&[u8]>,
    given: &[Given],
) -> (Grounds, Result<Option<Answer>, Refusal>) {
    let mut grounds = Grounds::none(snapshot);
    let identify = |head: &Parts, _: &Application, _: &Host<'_>| {
        let caller = caller.ok_or_else(|| Refusal::of(Reason::NoToken))?;
        credentials::only_one(head).map_err(Refusal::of)?;
        Ok(Some((Arc::clone(caller), Carrier::Authorization)))
    };
    // Nobody is sent anywhere, so no issuer has to be known, and no time.
    let current = |token: &Verified| judge_again(snapshot, &Issuers::default(), token, 0);
    // There is no connection: a gate that asks for a certificate is taken to have seen it.
    let body = body.map_or(Body::None, Body::Read);
    let judged = judge(snapshot, (identify, current), None, (&head, body, given), &mut grounds);
    let judged = judged.and_then(|outcome| match outcome {
        // There is no database to ask.
        Outcome::ObjectNeeded(_) => Err(objects::not_looked_up()),
        // What was read is never asked for, and who asks is known.
        Outcome::FormNeeded | Outcome::Unverified => Err(Refusal::of(Reason::Internal)),
        Outcome::Permitted | Outcome::Answered(_) => Ok(outcome),
    });
    let refused = judged.as_ref().err().cloned();
    let watched = shadow::watch(judged, &mut grounds);
    let settled = watched.and_then(|outcome| settle(&mut head, &mut grounds, outcome));
    if !matches!(settled, Ok(Outcome::Permitted)) {
        // It does not go on after all: its upstream could not be told of it, or the gateway itself answers.
        grounds.watched = None;
    }
    let answer = match (refused, settled) {
        (Some(refusal), _) | (None, Err(refusal)) => Err(refusal),
        (None, Ok(Outcome::Answered(answer))) => Ok(Some(answer)),
        (None, Ok(_)) => Ok(None),
    };
    (grounds, answer)
}

/// Brings a permitted head into the form in which it goes on, or says that it goes no further and what the answer is;
/// one that is judged once more stays as it came.
fn settle(head: &mut Parts, grounds: &mut Grounds, outcome: Outcome) -> Result<Outcome, Refusal> {
    let (Outcome::Permitted, Some(application)) = (&outcome, &grounds.application) else { return Ok(outcome) };
    if !grounds.settled {
        target::settle(head)?;
    }
    match target::forwards_left(head)? {
        None => {}
        Some(0) => {
            let bad = |bad: canonical::BadTarget| Refusal::about(Reason::BadTarget, bad.0);
            let readings = Readings::new(head.uri.path(), application.backend).map_err(bad)?;
            return Ok(Outcome::Answered(Answer::Options(application.methods(&readings.first).join(", ").into())));
        }
        Some(left) => target::count_forward(head, left),
    }
    grounds.target = rewrite::rewrite(head, application)?;
    Ok(Outcome::Permitted)
}
