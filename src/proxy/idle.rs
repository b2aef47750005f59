//! A timer for waits that seldom happen: costs nothing until the first wait, and one allocation from then on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

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

/// A timer for something that is set for every request and seldom due: it is told to the runtime once in a while instead
/// of each time. What it was told stays until it is over, and only then is looked at when it is really due. It may wake
/// a task too early, never too late.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once it is `due`; to be polled with the same moment, or a later one, until then.
    pub(super) fn poll_due(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
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

    #[test]
    fn an_alarm_is_due_at_its_last_moment_wherever_it_was_set_before() {
        run(async {
            let mut alarm = Alarm::default();
            let begin = Instant::now();
            let at = |millis| begin + Duration::from_millis(millis);
            for later in [30, 20, 50] {
                let early = poll_fn(|context| Poll::Ready(alarm.poll_due(context, at(later)).is_ready())).await;
                assert!(!early);
            }
            for (due, least) in [(50, 50), (10, 50), (80, 80)] {
                poll_fn(|context| alarm.poll_due(context, at(due))).await;
                assert!(begin.elapsed() >= Duration::from_millis(least));
            }
        });
    }
}
