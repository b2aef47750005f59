//! A future beside a busy one: it is looked at only when it was woken itself, and not each time the task runs for
//! another reason, which for a client connection is several times a request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

pin_project! {
    /// Wraps such a future.
    pub(super) struct Seldom<F> {
        #[pin]
        inner: F,
        bell: Option<(Arc<Bell>, Waker)>,
    }
}

/// What the inner future wakes.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<F> Seldom<F> {
    /// Nothing has been looked at yet.
    pub(super) const fn new(inner: F) -> Self {
        Self { inner, bell: None }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let bell = match this.bell {
            Some((bell, own)) if bell.task.will_wake(context.waker()) => {
                if !bell.rung.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                // Before the future is looked at: what happens from here on rings again.
                bell.rung.store(false, Ordering::Release);
                &*own
            }
            // The first look, or another task's.
            place => {
                let bell = Arc::new(Bell { rung: AtomicBool::new(false), task: context.waker().clone() });
                let own = Waker::from(Arc::clone(&bell));
                &place.insert((bell, own)).1
            }
        };
        this.inner.poll(&mut Context::from_waker(bell))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::Notify;
    use tokio::task::spawn_local;

    use super::*;

    /// As a task of its own, as connections are.
    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async { spawn_local(test).await.unwrap() });
    }

    #[test]
    fn it_is_looked_at_when_it_was_woken_and_not_when_the_task_was() {
        run(async {
            let (looks, notify) = (Cell::new(0), Notify::new());
            let mut notified = pin!(notify.notified());
            let mut seldom = pin!(Seldom::new(poll_fn(|context| {
                looks.set(looks.get() + 1);
                notified.as_mut().poll(context)
            })));
            for _ in 0..5 {
                let early = poll_fn(|context| Poll::Ready(seldom.as_mut().poll(context).is_ready())).await;
                assert!(!early);
            }
            assert_eq!(looks.get(), 1);
            notify.notify_one();
            seldom.await;
            assert_eq!(looks.get(), 2);
        });
    }

    #[test]
    fn another_task_is_woken_too() {
        run(async {
            let notify = Notify::new();
            let mut seldom = Box::pin(Seldom::new(notify.notified()));
            assert!(seldom.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let (_, ()) = tokio::join!(seldom, async { notify.notify_one() });
        });
    }
}
