//! Work beside requests: to read a policy of a million principals takes a second of the processor, and requests go on
//! meanwhile. What is read in a moment does not give way: an edit that takes a right away is to count at once, even where
//! somebody keeps all processors busy.

use std::cell::Cell;
use std::io;
use std::thread;

use tokio::sync::oneshot;

use crate::courtesy::leave_a_processor;

/// How much less of a busy processor the work gets than a thread that serves requests: the `nice` value of POSIX. At
/// 5, about a third of what that one gets; of an idle processor, all.
const NICE: i32 = 5;

/// What has more bytes takes longer than a moment.
const LARGE: usize = 1 << 20;

thread_local! {
    /// Whether this thread works beside requests, and has not given way yet.
    static MAY_GIVE_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` on a thread of its own, which leaves a processor to those that serve requests; see [`give_way_for`]. `None` if the work panicked, or the system has no thread for it.
pub async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let behind = move || {
        leave_a_processor();
        MAY_GIVE_WAY.set(true);
        // Whoever asked may have gone away.
        let _ = tell.send(work());
    };
    thread::Builder::new().name("policy".to_owned()).spawn(behind).ok()?;
    told.await.ok()
}

/// Does `work` on a thread of its own that gives way to those that serve requests from the beginning, and waits for nothing.
///
/// # Errors
/// The system has no thread for it.
pub fn apart(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let behind = move || {
        leave_a_processor();
        give_way();
        work();
    };
    thread::Builder::new().name(name.to_owned()).spawn(behind).map(drop)
}

/// From now on, this thread and those that it starts give way to those that serve requests, if so many bytes are a lot and
/// it works [`behind`] them.
pub fn give_way_for(bytes: usize) {
    if bytes > LARGE && MAY_GIVE_WAY.replace(false) {
        give_way();
    }
}

/// Lowers the priority of this thread below that of the process. A system that does not allow it has the work done as fast as anything else.
fn give_way() {
    // On Linux, other than POSIX says, the priority is that of one thread (setpriority(2)).
    let thread = Some(rustix::thread::gettid());
    let own = rustix::process::getpriority_process(thread).unwrap_or_default();
    let _ = rustix::process::setpriority_process(thread, own.saturating_add(NICE));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// The priority of work on so many bytes, and of a thread that it starts.
    fn priorities(bytes: usize) -> (i32, i32) {
        let work = move || {
            give_way_for(bytes);
            give_way_for(bytes);
            (priority(), thread::scope(|scope| scope.spawn(priority).join().unwrap()))
        };
        block_on(behind(work)).unwrap()
    }

    #[test]
    fn long_work_and_what_it_starts_give_way_and_nobody_else_does() {
        let before = priority();
        assert_eq!(priorities(LARGE + 1), (before + NICE, before + NICE));
        assert_eq!(priorities(LARGE), (before, before));
        give_way_for(LARGE + 1);
        assert_eq!(priority(), before);
    }

    #[test]
    fn work_that_panics_gives_nothing() {
        assert_eq!(block_on(behind(|| -> u8 { panic!("a defect") })), None);
    }
}
