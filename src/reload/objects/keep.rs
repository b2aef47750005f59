//! The task of one connection: takes one question after the other, and connects again when it has broken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Connection, Job, Known, RETRY, RETRY_LONGEST, Source};
use crate::policy::Missed;
use crate::source::postgres::{Answer, Fault, Finder};

/// Between two complaints of one kind.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Keeps a connection for as long as the process runs.
pub async fn keep(connection: Connection) {
    let source = connection.0;
    let (mut failures, mut complained) = (0_u32, None);
    loop {
        let fault = match Finder::open(Arc::clone(&source.database)).await {
            Ok(finder) => {
                if failures > 0 {
                    source.away.fetch_sub(1, Ordering::AcqRel);
                    tracing::info!(domain = source.database.domain, "objects can be looked up again");
                    failures = 0;
                }
                serve(&source, finder).await
            }
            Err(fault) => {
                if failures == 0 {
                    source.away.fetch_add(1, Ordering::AcqRel);
                }
                failures = failures.saturating_add(1);
                fault
            }
        };
        if is_time_to_complain(&mut complained) {
            let database = source.database.address.to_string();
            tracing::error!(domain = source.database.domain, "objects cannot be looked up in {database}: {fault}");
        }
        let pause = RETRY.saturating_mul(1 << failures.min(10));
        sleep(pause.min(RETRY_LONGEST)).await;
    }
}

/// Answers questions until the connection breaks.
async fn serve(source: &Source, mut finder: Finder) -> Fault {
    let mut complained: Option<Instant> = None;
    loop {
        let job = tokio::select! {
            () = finder.broken() => return Fault::broken(),
            job = next(source) => job,
        };
        let asked = Instant::now();
        if job.before <= asked {
            // Nobody waits for it any more; who asks now has asked anew.
            source.end(job, None);
            continue;
        }
        let Some(job) = source.still_asked(job) else { continue };
        let answer = match finder.find(job.number, &job.key).await {
            Ok(answer) => answer,
            Err(fault) => {
                source.end(job, Some(Known::unavailable("away")));
                return fault;
            }
        };
        // Counted from before the question: a change that came after it may not be in the answer.
        let until = source.shelves.get(job.number).map(|shelf| asked + shelf.kind.ttl);
        let known = match answer {
            Answer::Found(attributes) => Known { found: Ok(attributes.into()), until },
            Answer::None(word) => Known { found: Err(Missed::Unknown(word)), until },
            Answer::Late => Known::unavailable("late"),
            Answer::Bad(fault) => {
                if is_time_to_complain(&mut complained) {
                    let (domain, kind) = (&source.database.domain, source.shelves.get(job.number));
                    let kind = kind.map_or("", |shelf| &*shelf.kind.name);
                    tracing::error!(domain, kind, "what a database says of an object counts for nothing: {fault}");
                }
                Known::unavailable("bad")
            }
        };
        source.end(job, Some(known));
    }
}

fn is_time_to_complain(last: &mut Option<Instant>) -> bool {
    let is_time = last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY);
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}

/// The next question. One connection at a time waits for it.
async fn next(source: &Source) -> Job {
    let mut queue = source.queue.lock().await;
    match queue.recv().await {
        Some(job) => job,
        // The sender is the source's own.
        None => std::future::pending().await,
    }
}
