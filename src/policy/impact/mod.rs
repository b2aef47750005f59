//! For how many principals one state of a domain decides otherwise than another, which has to be told of a million of
//! them about as fast as these are compiled. Nothing is missed: where only requests would show whether somebody gains or
//! loses, both are counted.
//!
//! What principals hold is compared by numbers that both states share ([`holdings`]), so that equal ones are seen at a
//! glance, and whoever holds the same before and the same after shares the work ([`weigh`]). What routes ask comes from
//! whoever knows routes, as lists of rules that are new or gone ([`passes`]).

mod differing;
mod frames;
mod holdings;
mod passes;
mod unmoved;
mod weigh;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::domain::Domain;
use super::names::Map;
use super::people::Principal;
use crate::courtesy::in_turns;
use crate::model::Status;
use frames::Frames;
use holdings::Holdings;
use passes::is_given;
use unmoved::unmoved;
use weigh::Scales;

pub use differing::Differing;
pub use frames::changed_objects;
pub use passes::Pass;

/// The most principals that are named for each of gain and loss.
const NAMED: usize = 10;
/// Principals that are compared in one turn of the thread.
const A_TURN: u32 = 2_048;

/// One state of a domain.
#[derive(Debug)]
pub struct State<'s> {
    /// The domain.
    pub domain: &'s Domain,
    /// Ways through routes that the other state does not have: who may pass one, may gain it, or lose it.
    pub passes: Vec<Pass<'s>>,
}

/// What the routes of both states ask by name.
#[derive(Debug, Default)]
pub struct Asked<'s> {
    /// Flags that one must have.
    pub flags: BTreeSet<&'s str>,
    /// Flags that one must not have.
    pub not_flags: BTreeSet<&'s str>,
    /// Rights that must not be denied.
    pub undenied: BTreeSet<&'s str>,
}

/// How many principals of a domain gain or lose any access; some may do both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// All principals of both states.
    pub principals: usize,
    /// Those of the old state; none where the domain is new.
    pub before: usize,
    /// Those that gain something, or may.
    pub gain: usize,
    /// Those that lose something, or may.
    pub lose: usize,
    /// The ids of some that gain.
    pub gaining: Vec<Arc<str>>,
    /// The ids of some that lose.
    pub losing: Vec<Arc<str>>,
}

/// Which ways somebody's access changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Verdict {
    gain: bool,
    lose: bool,
}

impl Verdict {
    const BOTH: Self = Self { gain: true, lose: true };

    const fn or(self, other: Self) -> Self {
        Self { gain: self.gain || other.gain, lose: self.lose || other.lose }
    }
}

impl Impact {
    /// Compares two states of a domain.
    pub fn of(old: Option<&State<'_>>, new: Option<&State<'_>>, asked: &Asked<'_>) -> Self {
        match (old, new) {
            (Some(old), Some(new)) => {
                let alike = if old.domain.is_same(new.domain) { unmoved(old, new) } else { None };
                alike.unwrap_or_else(|| Comparison::new(old, new, asked).run())
            }
            (Some(old), None) => {
                let before = old.domain.people.len();
                Self { before, ..Self::whole(old.domain, Verdict { gain: false, lose: true }) }
            }
            (None, Some(new)) => Self::whole(new.domain, Verdict { gain: true, lose: false }),
            (None, None) => Self::default(),
        }
    }

    /// A domain that comes or goes as a whole.
    fn whole(domain: &Domain, verdict: Verdict) -> Self {
        let mut impact = Self { principals: domain.people.len(), ..Self::default() };
        let active = domain.people.iter(&domain.tables).filter(|principal| principal.status() == Status::Active);
        active.for_each(|principal| impact.count(principal, verdict));
        impact
    }

    fn count(&mut self, principal: Principal<'_>, Verdict { gain, lose }: Verdict) {
        let note = |counts, number: &mut usize, named: &mut Vec<Arc<str>>| {
            if counts {
                *number += 1;
                if named.len() < NAMED {
                    named.push(principal.id().into());
                }
            }
        };
        note(gain, &mut self.gain, &mut self.gaining);
        note(lose, &mut self.lose, &mut self.losing);
    }
}

/// Two states of a domain, side by side.
struct Comparison<'c> {
    old: &'c State<'c>,
    new: &'c State<'c>,
    holdings: Holdings,
    scales: Scales<'c>,
    /// Whether what tokens bring changes for everybody.
    everybody: bool,
    maps_tokens: bool,
    /// By what somebody holds before and after.
    known: Map<Box<[u32]>, Verdict>,
    /// By what somebody holds, without where.
    may_gain: Map<Box<[u32]>, bool>,
    may_lose: Map<Box<[u32]>, bool>,
}

impl<'c> Comparison<'c> {
    fn new(old: &'c State<'c>, new: &'c State<'c>, asked: &Asked<'_>) -> Self {
        let frames = Frames::new(old.domain, new.domain, asked);
        let mut holdings = Holdings::default();
        let maps_tokens = old.domain.maps_tokens() || new.domain.maps_tokens();
        let everybody = maps_tokens
            && (!frames.is_calm()
                || old.domain.needs_groups() != new.domain.needs_groups()
                || holdings.mapping(&frames, 0, old.domain) != holdings.mapping(&frames, 1, new.domain));
        let scales = Scales::new(frames, [old.domain, new.domain]);
        let (known, may_gain, may_lose) = Default::default();
        Self { old, new, holdings, scales, everybody, maps_tokens, known, may_gain, may_lose }
    }

    /// Whether everybody holds what everybody held, and it means what it meant.
    fn is_unmoved(&self) -> bool {
        let (old, new) = (self.old.domain, self.new.domain);
        let same = old.people.is_same(&new.people) && old.tables.is_same(&new.tables);
        same && old.withheld == new.withheld && !self.everybody && self.scales.frames.is_calm()
    }

    fn run(mut self) -> Impact {
        let (old, new) = (self.old.domain, self.new.domain);
        if let Some(impact) = self.is_unmoved().then(|| unmoved(self.old, self.new)).flatten() {
            return impact;
        }
        let mut impact = Impact::default();
        let mut met = 0;
        for principal in in_turns(A_TURN, new.people.iter(&new.tables)) {
            let before = old.principal(principal.key());
            met += usize::from(before.is_some());
            let verdict = self.verdict(before, principal);
            impact.count(principal, verdict);
        }
        if met < old.people.len() {
            let all = in_turns(A_TURN, old.people.iter(&old.tables));
            let gone = all.filter(|principal| new.principal(principal.key()).is_none());
            let lose = |principal: &Principal<'_>| Verdict { gain: false, lose: principal.status() == Status::Active };
            gone.for_each(|principal| impact.count(principal, lose(&principal)));
        }
        impact.before = old.people.len();
        impact.principals = new.people.len() + old.people.len().saturating_sub(met);
        impact
    }

    fn verdict(&mut self, before: Option<Principal<'c>>, after: Principal<'c>) -> Verdict {
        let active = |principal: &Principal<'_>| principal.status() == Status::Active;
        let (before, after) = match (before.filter(active), Some(after).filter(active)) {
            (None, None) => return Verdict::default(),
            // A route may ask for nothing but to be known.
            (None, Some(_)) => return Verdict { gain: true, lose: false },
            (Some(_), None) => return Verdict { gain: false, lose: true },
            (Some(before), Some(after)) => (before, after),
        };
        // Routes may compare with an id.
        if self.everybody || before.id() != after.id() {
            return Verdict::BOTH;
        }
        let mut verdict = self.of_holdings(before, after);
        if !verdict.gain && !self.new.passes.is_empty() {
            verdict.gain = may_pass(&mut self.may_gain, self.holdings.key_without_nodes(1), self.new, after);
        }
        if !verdict.lose && !self.old.passes.is_empty() {
            verdict.lose = may_pass(&mut self.may_lose, self.holdings.key_without_nodes(0), self.old, before);
        }
        verdict
    }

    fn of_holdings(&mut self, before: Principal<'c>, after: Principal<'c>) -> Verdict {
        let frames = &self.scales.frames;
        self.holdings.read(frames, 0, self.old.domain, before);
        self.holdings.read(frames, 1, self.new.domain, after);
        let near = self.holdings.near();
        if near.touched {
            return Verdict::BOTH;
        }
        if frames.is_stable() && !near.restless && self.holdings.are_alike() {
            return Verdict::default();
        }
        if self.maps_tokens {
            // What tokens bring is settled together with what is held: more may change than shows here.
            return Verdict::BOTH;
        }
        if let Some(known) = self.known.get(self.holdings.key()) {
            return *known;
        }
        let verdict = self.scales.weigh(&self.holdings, before, after);
        self.known.insert(self.holdings.key().into(), verdict);
        verdict
    }
}

/// Whether somebody may pass any way that the other state does not have. Equal keys, equal answers.
fn may_pass(known: &mut Map<Box<[u32]>, bool>, key: &[u32], state: &State<'_>, principal: Principal<'_>) -> bool {
    if let Some(known) = known.get(key) {
        return *known;
    }
    let is_given = |right, level| is_given(right, level, state.domain, principal);
    let passes = state.passes.iter().any(|pass| pass.admits(state.domain, principal, &is_given));
    known.insert(key.into(), passes);
    passes
}
