//! The task of one feed: connects, listens, reads what has changed, reads everything now and then, and notices when the
//! database is gone.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Feed, Few, Rows};
use crate::reload::behind::behind;
use crate::snapshot::Live;
use crate::source::postgres::{All, Changes, Fault, Session, read_all};
use crate::telemetry::Telemetry;

/// From a lost connection to the first attempt at another; doubled at each failure.
const RETRY: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// Between two looks at the age of the rows.
const LOOK: Duration = Duration::from_millis(500);
/// Between two warnings of rows that are too old.
const WARN: Duration = Duration::from_secs(60);
/// Between two times that all rows are put in because some were left out for others.
const MEND: Duration = Duration::from_secs(10);

/// Keeps a domain as its database is, for as long as the process runs.
pub async fn keep(feed: Arc<Feed>, live: Arc<Live>, telemetry: Arc<Telemetry>) {
    let watched = watch_age(Arc::clone(&feed), Arc::clone(&live), telemetry);
    tokio::join!(watched, connect_again_and_again(&feed, &live));
}

async fn watch_age(feed: Arc<Feed>, live: Arc<Live>, telemetry: Arc<Telemetry>) {
    let mut warned: Option<Instant> = None;
    loop {
        let (age, stale) = feed.check_age(&live);
        telemetry.grants_age(feed.domain(), age.as_secs());
        if stale && warned.is_none_or(|at| at.elapsed() >= WARN) {
            warned = Some(Instant::now());
            tracing::warn!(domain = feed.domain(), seconds = age.as_secs(), "the rows are older than they may be");
        }
        sleep(LOOK).await;
    }
}

async fn connect_again_and_again(feed: &Arc<Feed>, live: &Live) {
    let mut failures = 0_u32;
    // What was missed while there was no connection may be more than the changes tell.
    let mut missed = false;
    loop {
        let Err(fault) = follow(feed, live, missed, &mut failures).await;
        missed = true;
        {
            let mut state = feed.lock();
            state.connected = false;
            state.fault = Some(fault.to_string());
        }
        if failures.is_power_of_two() || failures == 0 {
            tracing::error!(domain = feed.domain(), "the database gives no rows, the last ones stay: {fault}");
        }
        let pause = RETRY.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(RETRY_LONGEST);
        failures = failures.saturating_add(1);
        sleep(pause / 2 + jitter(pause / 2)).await;
    }
}

/// A random part of this time, so that many gateways do not come at once.
fn jitter(most: Duration) -> Duration {
    let thousandths = u32::try_from(RandomState::new().hash_one(0_u8) % 1_000).unwrap_or(0);
    most.saturating_mul(thousandths) / 1_000
}

/// A second reading of all rows, and the rows from before it.
type Reading = Pin<Box<dyn Future<Output = Option<Result<(Rows, All, Few), Fault>>>>>;

/// One connection, until it breaks.
async fn follow(
    feed: &Arc<Feed>,
    live: &Live,
    missed: bool,
    failures: &mut u32,
) -> Result<std::convert::Infallible, Fault> {
    let pace = feed.database.pace;
    let session = Session::open(Arc::clone(&feed.database)).await?;
    let mut next = if missed { Instant::now() } else { Instant::now() + pace.reconcile };
    let mut reading: Option<(Instant, Reading)> = None;
    let mut mended = Instant::now();
    loop {
        let asked = Instant::now();
        let position = feed.lock().position.clone();
        match session.changes(&position).await? {
            Changes::Some { ids, lines, position } => {
                if ids.len() > feed.most_few() {
                    let few = Few { ids, lines: lines.text };
                    if let Some(store) = &mut feed.lock().store {
                        store.put(&few);
                    }
                    feed.rebuild(live).await;
                } else if !ids.is_empty() {
                    feed.change(live, &Few { ids, lines: lines.text });
                }
                feed.lock().position = position;
                if feed.database.queries.changes.is_some() {
                    feed.confirm(live, asked);
                }
            }
            Changes::All => {
                let read = read_again(feed).await.ok_or_else(Fault::broken)??;
                let position = read.1.position.clone();
                take(feed, live, read).await;
                feed.lock().position = position;
                feed.confirm(live, asked);
            }
        }
        {
            let mut state = feed.lock();
            state.connected = true;
            state.fault = None;
        }
        if *failures > 0 {
            tracing::info!(domain = feed.domain(), "the database gives rows again");
            *failures = 0;
        }
        let mend = feed.lock().worlds.as_ref().is_some_and(|worlds| worlds.mend);
        if mend && mended.elapsed() >= MEND {
            feed.rebuild(live).await;
            mended = Instant::now();
        }
        // One that was begun over a connection that broke may still wait for its own.
        if reading.is_none() && next <= Instant::now() && !feed.lock().reading {
            reading = Some((Instant::now(), Box::pin(read_again(feed))));
        }
        let read = async {
            match &mut reading {
                Some((began, reading)) => (*began, reading.await),
                None => pending().await,
            }
        };
        tokio::select! {
            (began, read) = read => {
                reading = None;
                match read.unwrap_or_else(|| Err(Fault::broken())) {
                    Ok(read) => {
                        take(feed, live, read).await;
                        feed.confirm(live, began);
                        next = began + pace.reconcile;
                    }
                    Err(fault) => {
                        tracing::error!(domain = feed.domain(), "not all rows could be read again: {fault}");
                        next = Instant::now() + RETRY_LONGEST;
                    }
                }
            }
            () = session.told() => {}
            () = sleep(pace.poll) => {}
            () = sleep_until(next), if next > Instant::now() => {}
        }
    }
}

/// Reads all rows once more, over a connection and on a thread of its own, and finds what differs.
fn read_again(feed: &Arc<Feed>) -> impl Future<Output = Option<Result<(Rows, All, Few), Fault>>> + use<> {
    let (feed, before) = (Arc::clone(feed), feed.lock().store.as_ref().map(super::Store::rows));
    async move {
        let before = before?;
        let reading = Underway::new(feed);
        let read = behind(move || {
            let all = read_all(&reading.0.database, Duration::ZERO)?;
            let few = before.differing(&all.lines.text);
            Ok((before, all, few))
        });
        read.await
    }
}

/// Says that all rows are being read again, for as long as it lives.
struct Underway(Arc<Feed>);

impl Underway {
    fn new(feed: Arc<Feed>) -> Self {
        feed.lock().reading = true;
        Self(feed)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.lock().reading = false;
    }
}

/// Takes over what a second reading brought.
async fn take(feed: &Arc<Feed>, live: &Live, (before, all, few): (Rows, All, Few)) {
    let is_few = {
        let mut state = feed.lock();
        let (most, since) = (state.most_few(), state.version());
        let new = state.store.as_mut().and_then(|store| store.replace(&before, all.lines.text, &few, most));
        if let Some(new) = new.as_ref().filter(|new| !new.ids.is_empty()) {
            tracing::info!(domain = feed.domain(), principals = new.ids.len(), "changes found by reading all rows");
            feed.change_published(&mut state, live, (new, since));
        }
        new.is_some()
    };
    if !is_few {
        feed.rebuild(live).await;
    }
}
