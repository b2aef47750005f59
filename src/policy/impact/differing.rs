//! Which principals one state of a domain treats otherwise than another: for whoever looks at each of them, which takes too
//! much room for all of a million. Nobody is missed who comes, goes, is called otherwise, or has another state, other flags or
//! other rights; where it would take too long to see, somebody more is among them.

use std::collections::{BTreeSet, BinaryHeap};

use super::{A_TURN, Asked, Comparison, State, Verdict};
use crate::courtesy::in_turns;
use crate::model::Status;
use crate::policy::domain::Domain;
use crate::policy::people::Principal;

/// The id before and after; `None` where there is no such principal.
pub type Ids = [Option<String>; 2];

/// Principals that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// So many as were asked for at most: first those that gain, or may, each in the order of their ids.
    pub some: Vec<Ids>,
    /// How many more there are.
    pub more: usize,
    /// Whether any of these more gains something, or may.
    pub more_gain: bool,
}

impl Differing {
    /// Names `most` of them. Of `asked`, only the rights count: all flags are told.
    pub fn of(old: &Domain, new: &Domain, asked: &Asked<'_>, most: usize) -> Self {
        let flags: BTreeSet<&str> = old.flags().chain(new.flags()).map(|(_, name)| name).collect();
        let asked = Asked { flags: flags.clone(), not_flags: flags, undenied: asked.undenied.clone() };
        let [before, after] = [old, new].map(|domain| State { domain, passes: Vec::new() });
        let mut compared = Comparison::new(&before, &after, &asked);
        let mut found = First::new(most);
        for principal in in_turns(A_TURN, new.people.iter(&new.tables)) {
            let was = old.principal(principal.key());
            let verdict = compared.differs(was, principal);
            found.add(verdict, || [was.map(|was| was.id().to_owned()), Some(principal.id().to_owned())]);
        }
        let gone = in_turns(A_TURN, old.people.iter(&old.tables));
        for principal in gone.filter(|principal| new.principal(principal.key()).is_none()) {
            found.add(Verdict { gain: false, lose: true }, || [Some(principal.id().to_owned()), None]);
        }
        found.end()
    }

    /// Names `most` of a domain that comes or goes as a whole.
    pub fn whole(domain: &Domain, comes: bool, most: usize) -> Self {
        let mut found = First::new(most);
        for principal in in_turns(A_TURN, domain.people.iter(&domain.tables)) {
            let gain = comes && principal.status() == Status::Active;
            let ids = || {
                let id = Some(principal.id().to_owned());
                if comes { [None, id] } else { [id, None] }
            };
            found.add(Verdict { gain, lose: true }, ids);
        }
        found.end()
    }
}

/// The first ones of many, as they come.
struct First {
    most: usize,
    /// The last one on top; whoever gains comes first.
    first: BinaryHeap<(bool, Ids)>,
    more: usize,
    more_gain: bool,
}

impl First {
    fn new(most: usize) -> Self {
        Self { most, first: BinaryHeap::new(), more: 0, more_gain: false }
    }

    fn add(&mut self, verdict: Verdict, ids: impl FnOnce() -> Ids) {
        if verdict == Verdict::default() {
            return;
        }
        self.first.push((!verdict.gain, ids()));
        if self.first.len() > self.most {
            let last = self.first.pop();
            self.more += 1;
            self.more_gain |= last.is_some_and(|(keeps, _)| !keeps);
        }
    }

    fn end(self) -> Differing {
        let some = self.first.into_sorted_vec().into_iter().map(|(_, ids)| ids).collect();
        Differing { some, more: self.more, more_gain: self.more_gain }
    }
}

impl<'c> Comparison<'c> {
    /// Which ways it differs, as far as it is told by name. Unlike for a count of all who may be concerned, what requests and
    /// tokens make of it is no matter of a single principal.
    fn differs(&mut self, before: Option<Principal<'c>>, after: Principal<'c>) -> Verdict {
        let gain = after.status() == Status::Active;
        let Some(before) = before.filter(|before| before.id() == after.id() && before.status() == after.status())
        else {
            return Verdict { gain, lose: true };
        };
        if !gain {
            return Verdict::default();
        }
        let frames = &self.scales.frames;
        self.holdings.read(frames, 0, self.old.domain, before);
        self.holdings.read(frames, 1, self.new.domain, after);
        let alike = self.holdings.are_alike();
        if alike && frames.is_stable() && !self.holdings.near().restless {
            return Verdict::default();
        }
        if self.maps_tokens && !alike {
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
