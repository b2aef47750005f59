//! Names of keys that a source does not have, so that tokens which name them again do not make it be asked again.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Most names that are remembered of one source.
const NAMES: usize = 256;

/// The names that tokens asked for: those that a fetch is to answer, and those that it answered with no.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// Asked for since the last fetch began.
    asked: Vec<Box<str>>,
    /// Asked for before the fetch that is running began, so that its answer counts.
    answering: Vec<Box<str>>,
    /// Not there, and until when that is believed; the oldest first.
    absent: VecDeque<(Box<str>, Instant)>,
}

impl Absent {
    /// Takes note that a token names a key; whether to look for it: not if a fetch that runs will tell, nor if one found
    /// just now that it is not there.
    pub(super) fn ask(&mut self, kid: &str, now: Instant) -> bool {
        while self.absent.front().is_some_and(|(_, until)| *until <= now) {
            self.absent.pop_front();
        }
        let mut known = self.absent.iter().map(|(known, _)| known).chain(&self.answering);
        if known.any(|known| **known == *kid) {
            return false;
        }
        if self.asked.len() < NAMES && !self.asked.iter().any(|known| **known == *kid) {
            self.asked.push(kid.into());
        }
        true
    }

    /// A fetch begins.
    pub(super) fn begin(&mut self) {
        self.answering = std::mem::take(&mut self.asked);
    }

    /// A fetch ended without an answer.
    pub(super) fn failed(&mut self) {
        self.answering.clear();
    }

    /// A fetch brought keys, other ones than before if `changed`. Names that are not among them are remembered until
    /// `until`. Tells whether no other name was asked for meanwhile, but those that came.
    pub(super) fn answered(&mut self, is_there: impl Fn(&str) -> bool, changed: bool, until: Instant) -> bool {
        if changed {
            self.absent.clear();
        }
        for kid in self.answering.drain(..).filter(|kid| !is_there(kid)) {
            if self.absent.len() >= NAMES {
                self.absent.pop_front();
            }
            self.absent.push_back((kid, until));
        }
        self.asked.retain(|kid| !is_there(kid));
        self.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fetch(absent: &mut Absent, there: &[&str], changed: bool, until: Instant) {
        absent.begin();
        absent.answered(|kid| there.contains(&kid), changed, until);
    }

    #[test]
    fn a_name_that_a_fetch_did_not_bring_is_not_looked_for_until_it_is_forgotten() {
        let now = Instant::now();
        let until = now + Duration::from_secs(3600);
        let mut absent = Absent::default();
        assert!(absent.ask("made-up", now) && absent.ask("new", now));
        fetch(&mut absent, &["new"], false, until);
        assert!(!absent.ask("made-up", now), "known not to be there");
        assert!(absent.ask("new", now), "it was there");
        assert!(absent.ask("another", now), "nobody knows");
        assert!(absent.ask("made-up", until), "forgotten in time");
        fetch(&mut absent, &[], false, until + Duration::from_secs(1));
        fetch(&mut absent, &[], true, until);
        assert!(absent.ask("made-up", until), "forgotten when the keys change");
    }

    #[test]
    fn a_name_that_is_asked_for_while_a_fetch_runs_is_not_answered_by_it() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut absent = Absent::default();
        assert!(absent.ask("first", now));
        absent.begin();
        assert!(!absent.ask("first", now), "the fetch will tell");
        assert!(absent.ask("late", now) && absent.ask("came", now));
        assert!(!absent.answered(|kid| kid == "came", false, later), "one is still asked for");
        assert!(absent.ask("late", now));
        absent.begin();
        assert!(absent.answered(|_| true, false, later));
        assert!(absent.ask("late", now));
        absent.begin();
        absent.failed();
        assert!(absent.ask("late", now), "a fetch that failed answers nothing");
    }

    #[test]
    fn no_more_names_are_remembered_than_there_is_room_for() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut absent = Absent::default();
        for round in 0..3 {
            for number in 0..1000 {
                assert!(absent.ask(&format!("{round}-{number}"), now));
            }
            assert!(absent.asked.len() <= NAMES);
            fetch(&mut absent, &[], false, later);
            assert!(absent.absent.len() <= NAMES);
        }
        assert!(!absent.ask("2-0", now) && absent.ask("0-0", now), "the oldest make room");
    }
}
