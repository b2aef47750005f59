//! Tokens that nobody remembers. To verify one costs more than all the rest of a request, and who sends forged ones pays
//! nothing for them. So they take turns: between two of them, everything else that is ready on the thread goes first,
//! and a client that has sent too many bad ones gets no turn. However many come, requests whose tokens are remembered
//! never wait for more than a signature or two.

use std::rc::Rc;

use http::request::Parts;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

use super::ledger::Ledger;
use super::{Caller, Worker, now_ms};
use crate::model::Reason;
use crate::pep::{self, Environment, Grounds, Refusal, Verdict};

/// The turns of one thread, first come, first served.
#[derive(Debug)]
pub(super) struct Turns {
    verifying: Semaphore,
    /// To be told no is cheap, but a client that asks again at once makes much of it, too.
    refusing: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { verifying: Semaphore::new(1), refusing: Semaphore::new(1) }
    }
}

/// Judges a request whose token has to be verified, by the snapshot of the moment in which its turn comes.
pub(super) async fn judge(
    worker: &Rc<Worker>,
    (head, grounds): (Parts, Grounds),
    caller: &Caller,
    environment: Environment<'_>,
    ledger: &mut Ledger,
) -> Verdict {
    let limiters = &worker.gateway.limiters;
    let account = caller.account(&worker.gateway.settings.trusted_proxies);
    let count = || account.map_or(Ok(()), |client| limiters.bad_token(client));
    let take_back = || account.into_iter().for_each(|client| limiters.good_token(client));
    if let Err(seconds) = count() {
        let _turn = turn(&worker.turns.refusing).await;
        return too_many(head, grounds, seconds);
    }
    // What waits is not counted: many new clients behind one address may come at once.
    take_back();
    let turn = turn(&worker.turns.verifying).await;
    if let Err(seconds) = count() {
        return too_many(head, grounds, seconds);
    }
    ledger.judges_again();
    let environment = Environment { now: now_ms() / 1000, ..environment };
    let verdict = pep::authorize(worker.reader.borrow_mut().load(), &worker.verifier, head, environment);
    ledger.judged_again();
    drop(turn);
    if !is_of_bad_token(&verdict) {
        take_back();
    }
    verdict
}

/// Waits for a turn, and until everything that is ready by then has gone first.
async fn turn(turns: &Semaphore) -> Option<SemaphorePermit<'_>> {
    // Never closed, so there is always one in the end.
    let turn = turns.acquire().await.ok();
    yield_now().await;
    turn
}

/// Whether it was the token that was refused. Without an issuer's keys nobody can say that a token is bad.
fn is_of_bad_token(verdict: &Verdict) -> bool {
    let bad = |grounds: &Grounds, refusal: &Refusal| grounds.token.is_none() && refusal.reason == Reason::InvalidToken;
    match verdict {
        Verdict::Refused { refusal, grounds, .. } => bad(grounds, refusal),
        // To look at it has cost as much where it goes on all the same.
        Verdict::Permitted(permitted) => {
            let grounds = permitted.grounds();
            grounds.watched.as_ref().is_some_and(|watched| bad(grounds, &watched.refusal))
        }
        Verdict::FormNeeded { .. } | Verdict::ObjectNeeded { .. } | Verdict::Answered { .. } => false,
    }
}

fn too_many(head: Parts, grounds: Grounds, seconds: u64) -> Verdict {
    Verdict::Refused {
        head,
        refusal: Refusal::about(Reason::RateLimited, "bad_tokens").retrying_after(seconds),
        grounds,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[test]
    fn between_two_turns_everything_else_that_is_ready_goes_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen: Rc<RefCell<String>> = Rc::default();
        LocalSet::new().block_on(&runtime, async {
            let turns = Rc::new(Turns::default());
            let flood = (0..20).map(|_| {
                let (turns, seen) = (Rc::clone(&turns), Rc::clone(&seen));
                spawn_local(async move {
                    let turn = turn(&turns.verifying).await;
                    seen.borrow_mut().push('f');
                    drop(turn);
                })
            });
            let flood: Vec<_> = flood.collect();
            // One that comes in after all of them, and is ready again as soon as it was looked at.
            let good = Rc::clone(&seen);
            let until_the_flood_is_over = poll_fn(move |context| {
                let mut seen = good.borrow_mut();
                if seen.matches('f').count() == 20 || seen.len() == 100_000 {
                    return Poll::Ready(());
                }
                seen.push('g');
                context.waker().wake_by_ref();
                Poll::Pending
            });
            spawn_local(until_the_flood_is_over).await.unwrap();
            for task in flood {
                task.await.unwrap();
            }
        });
        let seen = seen.borrow();
        assert_eq!(seen.matches('f').count(), 20, "{seen}");
        assert!(seen.starts_with('g') && !seen.contains("ff"), "{seen}");
    }

    #[test]
    fn who_goes_away_while_waiting_holds_nobody_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let turns = Turns::default();
            let first = turn(&turns.verifying).await;
            let mut gone = Box::pin(turn(&turns.verifying));
            tokio::select! {
                biased;
                _ = &mut gone => panic!("there is one turn"),
                () = std::future::ready(()) => {}
            }
            drop(gone);
            drop(first);
            assert!(turn(&turns.verifying).await.is_some());
        });
    }
}
