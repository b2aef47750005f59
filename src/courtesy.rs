//! Long work beside requests. A policy of many thousand routes or a million principals takes a second of a processor to
//! read. The system would let its threads go on for milliseconds before one that was woken gets the processor, so they
//! offer it after each turn of about one; and while requests are served, one processor is left to them altogether.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::thread;

thread_local! {
    static LEAVES_ONE: Cell<bool> = const { Cell::new(false) };
}

/// From now on, what this thread shares out is done on one thread less than there are processors.
pub fn leave_a_processor() {
    LEAVES_ONE.set(true);
}

/// How many threads may do the work that this one shares out, itself among them.
pub fn hands() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_sub(usize::from(LEAVES_ONE.get())).max(1)
}

/// Counts the steps of long work, and offers the processor at the end of each turn.
#[derive(Debug)]
pub struct Turn {
    steps: u32,
    left: u32,
}

impl Turn {
    /// The first turn of work with so many steps a turn. Shorter ones would have the system put off the work itself for
    /// much longer, where something else is always running.
    pub const fn of(steps: u32) -> Self {
        Self { steps, left: steps }
    }

    /// One step more. Where nobody waits, it goes on at once.
    pub fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.left = self.steps;
            thread::yield_now();
        }
    }
}

/// The same items, so many a turn.
pub fn in_turns<I: IntoIterator>(steps: u32, items: I) -> impl Iterator<Item = I::Item> {
    let mut turn = Turn::of(steps);
    items.into_iter().inspect(move |_| turn.step())
}

/// What becomes of each item, in their order, on so many threads.
pub fn side_by_side<T: Send, R: Send, F: Fn(T) -> R + Sync>(threads: usize, mut items: Vec<T>, work: &F) -> Vec<R> {
    let others = items.split_off(items.len().div_ceil(threads.max(1)));
    if others.is_empty() {
        return items.into_iter().map(work).collect();
    }
    thread::scope(|scope| {
        let others = scope.spawn(move || side_by_side(threads.saturating_sub(1), others, work));
        let mut done: Vec<R> = items.into_iter().map(work).collect();
        done.extend(others.join().unwrap_or_else(|panic| resume_unwind(panic)));
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_processor_is_left_where_there_are_more() {
        let all = hands();
        let fewer = thread::spawn(|| {
            leave_a_processor();
            hands()
        });
        assert_eq!((fewer.join().unwrap(), hands()), (all.max(2) - 1, all));
    }

    #[test]
    fn items_are_the_same_in_turns() {
        for steps in [0, 1, 3, 100] {
            assert_eq!(in_turns(steps, 0..10).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>(), "{steps}");
        }
    }
}
