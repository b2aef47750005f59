//! A request while it is handled: what its judgement has to wait for, one thing after the other, and the answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Response;
use hyper::body::Incoming;

use super::answer::Asker;
use super::ledger::Ledger;
use super::{Body, Caller, Worker, form, objects, turns};
use crate::model::Reason;
use crate::pep::{Environment, Recalled, Refusal, Verdict};

/// The most things that one request waits for behind its token: a form, an object for each way to read its path, and
/// what a policy that changes meanwhile asks for beside.
const WAITS: usize = 6;

/// Whether a verdict is none yet.
pub(super) const fn waits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::FormNeeded { .. } | Verdict::ObjectNeeded { .. })
}

/// Waits for all that a judgement needs, and judges the whole anew after each: as a token is verified, a form read, or an
/// object looked up, the policy may become another one.
pub(super) async fn judge(
    worker: &Rc<Worker>,
    (recalled, body, asker): (Recalled, &mut Incoming, &mut Asker),
    caller: &Caller,
    environment: Environment<'_>,
    ledger: &mut Ledger,
) -> Verdict {
    let mut verdict = match recalled {
        Recalled::Judged(verdict) => verdict,
        Recalled::Unverified { head, grounds } => {
            turns::judge(worker, (head, grounds), caller, environment, ledger).await
        }
    };
    let (mut given, mut was_read) = (Vec::new(), false);
    for _ in 0..WAITS {
        verdict = match verdict {
            // A body comes once, and what was read of it stays with the head.
            Verdict::FormNeeded { head, grounds } if !was_read => {
                was_read = true;
                // Reading may take longer than anything that was looked up before is believed.
                given.clear();
                let verdict = form::judge(worker, (head, &mut *body), grounds, environment, ledger).await;
                // What was not read of it may still come.
                if matches!(&verdict, Verdict::Refused { refusal, .. } if form::left_unread(refusal)) {
                    *asker = asker.closing();
                }
                verdict
            }
            Verdict::ObjectNeeded { head, form, wanted, grounds } => {
                let waiting = (head, form, grounds);
                objects::judge(worker, waiting, (wanted, &mut given), environment, ledger).await
            }
            settled => return settled,
        };
    }
    match verdict {
        Verdict::ObjectNeeded { head, grounds, .. } => {
            Verdict::Refused { head, refusal: Refusal::of(Reason::ObjectUnavailable), grounds }
        }
        settled => settled,
    }
}

/// The answer to a request: there already, or to be waited for.
pub(super) enum Handling {
    Done(Response<Body>),
    Waiting(Pin<Box<dyn Future<Output = Response<Body>>>>),
    /// It was handed over.
    Over,
}

impl Future for Handling {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Body>> {
        if let Self::Waiting(waiting) = &mut *self {
            return waiting.as_mut().poll(context);
        }
        match std::mem::replace(&mut *self, Self::Over) {
            Self::Done(response) => Poll::Ready(response),
            // Polled after its end, which hyper does not do.
            Self::Waiting(_) | Self::Over => Poll::Pending,
        }
    }
}
