//! The policies that were published last, newest first: who published each and when, what it was made of and what it
//! changed; and the compiled policy itself, so that it can be gone back to.

use std::collections::VecDeque;
use std::sync::Arc;

use super::feed::Fed;
use super::gate::Weighed;
use super::ground::Ground;
use super::load::{Content, Texts};
use super::outcome::{Counts, Trigger};
use crate::policy::Domains;
use crate::route::RouteMap;

/// Where a published policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The start of the process.
    Start,
    /// The start of the process, from the last good documents on disk.
    LastGood,
    /// The files, read again.
    Reload(Trigger),
    /// The policy with this serial, published once more.
    Rollback(u64),
}

impl Origin {
    /// The word that logs and `/history` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::LastGood => "last_good",
            Self::Reload(trigger) => trigger.word(),
            Self::Rollback(_) => "rollback",
        }
    }
}

/// What is told of a published policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its serial.
    pub serial: u64,
    /// When it was published, in seconds since the Unix epoch.
    pub at: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Who asked for it, where somebody did: the address that the call came from.
    pub by: Option<String>,
    /// Why it was forced, or gone back to.
    pub reason: Option<String>,
    /// The SHA-256 of all that it was made of, in hexadecimal digits. Rows of databases are not part of it.
    pub digest: String,
    /// What it held when it was published.
    pub counts: Counts,
    /// What it changed; `None` at the start, which is compared with nothing.
    pub changes: Option<Changes>,
}

/// What a policy changed of the one before it, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Domain by domain, by name.
    pub domains: Vec<DomainChanges>,
    /// Routes by which requests became public, or open to whoever passes a gate.
    pub opened: usize,
    /// Applications that were gone.
    pub gone: usize,
    /// How much of the route map changed.
    pub turns: usize,
}

/// Of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainChanges {
    /// Its name.
    pub name: Arc<str>,
    /// How many principals there were before and after, each counted once.
    pub principals: usize,
    /// How many of them gained access, or may have.
    pub gain: usize,
    /// How many of them lost access, or may have.
    pub lose: usize,
}

impl From<&Weighed> for Changes {
    fn from(weighed: &Weighed) -> Self {
        let impact = &weighed.impact;
        let domains = impact.domains.iter().map(|(name, domain)| DomainChanges {
            name: Arc::clone(name),
            principals: domain.principals,
            gain: domain.gain,
            lose: domain.lose,
        });
        Self {
            domains: domains.collect(),
            opened: impact.opened.len().saturating_add(impact.more_opened),
            gone: impact.gone.len(),
            turns: impact.turns,
        }
    }
}

/// A compiled policy as it is published, and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Edition {
    pub(super) routes: Arc<RouteMap>,
    pub(super) domains: Arc<Domains>,
    pub(super) content: Content,
    /// The domains that databases feed, with the rows that they had.
    pub(super) fed: Vec<Fed>,
    /// What the next one can go on from.
    pub(super) ground: Arc<Ground>,
    /// The texts that it was made of, until it is published.
    pub(super) texts: Texts,
}

/// Why nothing can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// No policy with that serial is kept; these are, the newest first.
    Unknown(Vec<u64>),
    /// None is kept at all.
    Nothing,
}

/// What is live, and what was before.
#[derive(Debug)]
pub(super) struct History {
    /// How many of `older` are kept.
    most: usize,
    live: (Entry, Edition),
    /// The newest first.
    older: VecDeque<(Entry, Edition)>,
}

impl History {
    pub(super) fn new(most: usize, entry: Entry, edition: Edition) -> Self {
        Self { most, live: (entry, edition), older: VecDeque::new() }
    }

    /// What is live.
    pub(super) const fn live(&self) -> &Edition {
        &self.live.1
    }

    /// Takes in what is live from now on. Returns what is kept no longer: to free it may take a while.
    pub(super) fn publish(&mut self, entry: Entry, edition: Edition) -> Vec<Edition> {
        self.older.push_front(std::mem::replace(&mut self.live, (entry, edition)));
        let fallen = self.older.split_off(self.most.min(self.older.len()));
        fallen.into_iter().map(|(_, edition)| edition).collect()
    }

    /// The policy to go back to: that with this serial, or the one before what is live.
    pub(super) fn find(&self, serial: Option<u64>) -> Result<(u64, Edition), Nowhere> {
        let found = match serial {
            Some(serial) => self.older.iter().find(|(entry, _)| entry.serial == serial),
            None => self.older.front(),
        };
        match found {
            Some((entry, edition)) => Ok((entry.serial, edition.clone())),
            None if self.older.is_empty() => Err(Nowhere::Nothing),
            None => Err(Nowhere::Unknown(self.older.iter().map(|(entry, _)| entry.serial).collect())),
        }
    }

    /// What is told of each, the live one first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        std::iter::once(&self.live).chain(&self.older).map(|(entry, _)| entry.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serial: u64) -> Entry {
        Entry {
            serial,
            at: serial,
            origin: Origin::Start,
            by: None,
            reason: None,
            digest: String::new(),
            counts: Counts::default(),
            changes: None,
        }
    }

    fn edition() -> Edition {
        let (content, texts) = Default::default();
        let (routes, domains, ground) = Default::default();
        Edition { routes, domains, content, fed: Vec::new(), texts, ground }
    }

    #[test]
    fn so_many_are_kept_besides_the_live_one_and_the_others_handed_out() {
        for most in [0_usize, 1, 3] {
            let mut history = History::new(most, entry(1), edition());
            for serial in 2..=6 {
                let fallen = history.publish(entry(serial), edition()).len();
                assert_eq!(fallen, usize::from(serial > most as u64 + 1), "{most} {serial}");
            }
            let serials: Vec<u64> = history.entries().iter().map(|entry| entry.serial).collect();
            let expected: Vec<u64> = (6 - most as u64..=6).rev().collect();
            assert_eq!(serials, expected);
        }
    }

    #[test]
    fn what_is_not_kept_is_not_found_and_those_that_are_are_named() {
        let mut history = History::new(2, entry(1), edition());
        assert_eq!(history.find(None).err(), Some(Nowhere::Nothing));
        assert_eq!(history.find(Some(1)).err(), Some(Nowhere::Nothing), "it is live");
        for serial in 2..=4 {
            history.publish(entry(serial), edition());
        }
        assert_eq!(history.find(None).unwrap().0, 3);
        assert_eq!(history.find(Some(2)).unwrap().0, 2);
        for serial in [0, 1, 4, 5] {
            assert_eq!(history.find(Some(serial)).err(), Some(Nowhere::Unknown(vec![3, 2])), "{serial}");
        }
    }
}
