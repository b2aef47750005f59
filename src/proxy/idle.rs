//! A timer for waits that seldom happen: costs nothing until the first wait, and one allocation from then on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Measures how long one side has made no progress.
#[derive(Debug)]
pub(super) struct Idle {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    /// Nothing is measured yet.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, armed: false }
    }

    /// Something moved: the next wait is measured from its own beginning.
    pub(super) fn progressed(&mut self) {
        self.armed = false;
    }

    /// Whether the other side is being waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.armed
    }

    /// To be called whenever the other side must be waited for: ready once it has been waited for too long.
    pub(super) fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| {
            self.armed = true;
            Box::pin(sleep(limit))
        });
        if !self.armed {
            self.armed = true;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn a_wait_ends_after_the_limit_and_progress_starts_it_anew() {
        run(async {
            let mut idle = Idle::new(Duration::from_millis(60));
            let begin = Instant::now();
            let early = poll_fn(|context| Poll::Ready(idle.poll_expired(context).is_ready())).await;
            assert!(!early);
            sleep(Duration::from_millis(40)).await;
            idle.progressed();
            poll_fn(|context| idle.poll_expired(context)).await;
            assert!(begin.elapsed() >= Duration::from_millis(100));
        });
    }
}
