//! What is asked of all engines: principals with rights at territories, groups that grant and deny, and the cases.
//!
//! A principal may do something at a territory if a grant of its own, or of one of its groups, names the right at that
//! territory or at the land that it lies in, at the level asked for or above, and no group of its denies the right there.

use std::collections::BTreeSet;

/// Territories, ten in each land.
pub const TERRITORIES: usize = 100;
/// Lands.
pub const LANDS: usize = 10;
/// Rights, each at two levels.
pub const RIGHTS: usize = 20;
/// Groups; every fifth denies, the others grant.
pub const GROUPS: usize = 50;
/// Grants of each principal.
const GRANTS: usize = 3;
/// Groups of each principal.
const MEMBERSHIPS: usize = 2;

/// How much is asked or given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// To see.
    Read,
    /// To change, and to see.
    Write,
}

impl Level {
    /// Its word in all policies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The levels that this one includes.
    pub const fn included(self) -> &'static [Self] {
        match self {
            Self::Read => &[Self::Read],
            Self::Write => &[Self::Read, Self::Write],
        }
    }
}

/// A grant of a principal at a territory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Of [`RIGHTS`].
    pub right: usize,
    /// Of [`TERRITORIES`].
    pub territory: usize,
    /// How much.
    pub level: Level,
}

/// A principal.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its own grants.
    pub grants: BTreeSet<Grant>,
    /// Its groups, of [`GROUPS`].
    pub groups: BTreeSet<usize>,
}

/// What a group says about one right at one land.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Of [`RIGHTS`].
    pub right: usize,
    /// Of [`LANDS`].
    pub land: usize,
    /// What it gives; nothing means that it denies.
    pub level: Option<Level>,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Who asks.
    pub principal: usize,
    /// About what.
    pub right: usize,
    /// How much.
    pub level: Level,
    /// Where.
    pub territory: usize,
}

/// All that the engines are given.
#[derive(Debug)]
pub struct World {
    /// By number.
    pub principals: Vec<Principal>,
    /// By number.
    pub groups: Vec<Group>,
}

/// The land of a territory.
pub const fn land(territory: usize) -> usize {
    territory / (TERRITORIES / LANDS)
}

/// A small generator (xorshift) from a fixed seed: every run asks the same.
pub struct Dice(u64);

impl Dice {
    /// Begins at a seed that is not zero.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }

    fn level(&mut self) -> Level {
        [Level::Read, Level::Write][self.below(2)]
    }
}

impl World {
    /// A world with so many principals.
    pub fn new(principals: usize) -> Self {
        let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
        let groups = (0..GROUPS).map(|number| Group {
            right: number % RIGHTS,
            land: dice.below(LANDS),
            level: (number % 5 != 0).then(|| dice.level()),
        });
        let groups = groups.collect();
        let mut principal = || Principal {
            grants: (0..GRANTS)
                .map(|_| Grant { right: dice.below(RIGHTS), territory: dice.below(TERRITORIES), level: dice.level() })
                .collect(),
            groups: (0..MEMBERSHIPS).map(|_| dice.below(GROUPS)).collect(),
        };
        let principals = (0..principals).map(|_| principal()).collect();
        Self { principals, groups }
    }

    /// Questions about principals picked at random: half about what one of them was granted, a quarter about what one of
    /// its groups speaks of, the others about anything.
    pub fn cases(&self, number: usize) -> Vec<Case> {
        let mut dice = Dice::new(0x2545_f491_4f6c_dd1d);
        let mut case = || {
            let principal = dice.below(self.principals.len());
            let known = &self.principals[principal];
            let (right, territory) = match dice.below(4) {
                0 | 1 => {
                    let grant = known.grants.iter().nth(dice.below(known.grants.len())).unwrap();
                    (grant.right, grant.territory)
                }
                2 => {
                    let group = known.groups.iter().nth(dice.below(known.groups.len())).unwrap();
                    let group = self.groups[*group];
                    (group.right, group.land * (TERRITORIES / LANDS) + dice.below(TERRITORIES / LANDS))
                }
                _ => (dice.below(RIGHTS), dice.below(TERRITORIES)),
            };
            Case { principal, right, level: dice.level(), territory }
        };
        (0..number).map(|_| case()).collect()
    }

    /// Every question that there is.
    pub fn matrix(&self) -> Vec<Case> {
        let about = |principal| {
            (0..RIGHTS * TERRITORIES).flat_map(move |at| {
                let (right, territory) = (at / TERRITORIES, at % TERRITORIES);
                [Level::Read, Level::Write].map(|level| Case { principal, right, level, territory })
            })
        };
        (0..self.principals.len()).flat_map(about).collect()
    }

    /// The answer by the plainest reading of the rule above, to hold the engines to.
    pub fn expected(&self, case: Case) -> bool {
        let principal = &self.principals[case.principal];
        let groups = principal.groups.iter().map(|number| self.groups[*number]);
        let mut groups = groups.filter(|group| group.right == case.right && group.land == land(case.territory));
        let own = principal
            .grants
            .iter()
            .any(|grant| grant.right == case.right && grant.territory == case.territory && grant.level >= case.level);
        let denied = groups.clone().any(|group| group.level.is_none());
        !denied && (own || groups.any(|group| group.level.is_some_and(|level| level >= case.level)))
    }
}
