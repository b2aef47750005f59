//! Work that gives way: to read a policy of a million principals takes a second of the processor, and requests go on
//! meanwhile.

use std::thread;

use tokio::sync::oneshot;

use crate::courtesy::leave_a_processor;

/// How much less of a busy processor the work gets than a thread that serves requests: the `nice` value of POSIX. At
/// 5, about a third of what that one gets; of an idle processor, all.
const NICE: i32 = 5;

/// Does `work` on a thread of its own, which gives way to those that serve requests, as do the threads that it starts.
/// `None` if the work panicked, or the system has no thread for it.
pub async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let behind = move || {
        leave_a_processor();
        give_way();
        // Whoever asked may have gone away.
        let _ = tell.send(work());
    };
    thread::Builder::new().name("policy".to_owned()).spawn(behind).ok()?;
    told.await.ok()
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

    #[test]
    fn the_work_and_what_it_starts_give_way_and_nobody_else_does() {
        let before = priority();
        let (itself, started) =
            block_on(behind(|| (priority(), thread::scope(|scope| scope.spawn(priority).join().unwrap())))).unwrap();
        assert_eq!((itself, started, priority()), (before + NICE, before + NICE, before));
    }

    #[test]
    fn work_that_panics_gives_nothing() {
        assert_eq!(block_on(behind(|| -> u8 { panic!("a defect") })), None);
    }
}
