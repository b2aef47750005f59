//! The same principals, of whom routes ask something else: nobody's holdings have to be compared, and a million are gone
//! through in some milliseconds. What ways through routes ask of grants is looked up once for each profile and each bundle,
//! as bits; whoever has the same profile and the same bits passes the same ways.

use super::passes::gives;
use super::{A_TURN, Impact, Pass, State, Verdict};
use crate::courtesy::Turn;
use crate::model::{Level, Status};
use crate::policy::domain::RightId;
use crate::policy::names::Map;
use crate::policy::people::{BundleId, Gift, GiftId, Principal, Profile, ProfileId};

/// The first bit of what the new state asks; those before it are of the old one.
const HALF: u32 = u64::BITS / 2;

/// Compares two states whose principals are the very same. `None` where routes ask for more rights than there are bits.
pub(super) fn unmoved(old: &State<'_>, new: &State<'_>) -> Option<Impact> {
    let domain = new.domain;
    let all = domain.people.len();
    let mut impact = Impact { principals: all, before: all, ..Impact::default() };
    if old.passes.is_empty() && new.passes.is_empty() {
        return Some(impact);
    }
    let asked = Asked { old: Ways::of(old)?, new: Ways::of(new)? };
    let of_bundles = asked.of_bundles();
    let meets = |own: &[BundleId]| {
        own.iter().fold(0, |all, bundle| all | of_bundles.get(bundle.place()).copied().unwrap_or_default())
    };
    // Nothing of those who are not active: they may do nothing, before or after.
    let of_profiles: Vec<Option<u64>> = domain.tables.profiles().map(|profile| of_groups(profile, meets)).collect();
    let mut known: Map<(ProfileId, u64), Verdict> = Map::default();
    let mut turn = Turn::of(A_TURN);
    domain.people.each(|stored| {
        turn.step();
        let Some(Some(of_groups)) = of_profiles.get(stored.profile().place()) else { return };
        let met = of_groups | meets(stored.own());
        let verdict = known.get(&(stored.profile(), met)).copied();
        if verdict == Some(Verdict::default()) {
            return;
        }
        let Some(principal) = stored.principal(&domain.tables) else { return };
        let verdict = verdict.unwrap_or_else(|| {
            let verdict =
                Verdict { gain: asked.new.admit(principal, met >> HALF), lose: asked.old.admit(principal, met) };
            known.insert((stored.profile(), met), verdict);
            verdict
        });
        impact.count(principal, verdict);
    });
    Some(impact)
}

/// What the groups of a profile meet; nothing if whoever has it is not active.
fn of_groups(profile: &Profile, meets: impl Fn(&[BundleId]) -> u64) -> Option<u64> {
    let groups = profile.of_groups.iter().map(|group| meets(group));
    (profile.status == Status::Active).then(|| groups.fold(0, |all, met| all | met))
}

/// What both states ask.
struct Asked<'a> {
    old: Ways<'a>,
    new: Ways<'a>,
}

impl Asked<'_> {
    /// What each bundle meets of it, by the number of the bundle.
    fn of_bundles(&self) -> Vec<u64> {
        let tables = &self.new.state.domain.tables;
        let of_gifts: Vec<u64> = tables.gifts().map(|gift| self.old.met(gift) | self.new.met(gift) << HALF).collect();
        let bits = |gift: GiftId| of_gifts.get(gift.place()).copied().unwrap_or_default();
        tables.bundles().map(|bundle| bits(bundle.gift)).collect()
    }
}

/// The ways through routes that one state has and the other has not.
struct Ways<'w> {
    state: &'w State<'w>,
    /// What they ask of grants, in order, a bit each.
    asked: Vec<(RightId, Level)>,
}

impl<'w> Ways<'w> {
    fn of(state: &'w State<'w>) -> Option<Self> {
        let mut asked: Vec<(RightId, Level)> = state.passes.iter().flat_map(Pass::asked).collect();
        asked.sort_unstable();
        asked.dedup();
        let fits = u32::try_from(asked.len()).is_ok_and(|asked| asked <= HALF);
        fits.then_some(Self { state, asked })
    }

    /// What a gift meets.
    fn met(&self, gift: &Gift) -> u64 {
        let meets = |(right, level): &(RightId, Level)| gives(gift, *right, *level, self.state.domain);
        let met = self.asked.iter().zip(0..HALF).filter(|(asked, _)| meets(asked));
        met.fold(0, |bits, (_, place)| bits | 1 << place)
    }

    /// Whether somebody whose grants meet so much may pass any of them.
    fn admit(&self, principal: Principal<'_>, met: u64) -> bool {
        let is_given =
            |right, level| self.asked.binary_search(&(right, level)).is_ok_and(|place| met >> place & 1 != 0);
        self.state.passes.iter().any(|pass| pass.admits(self.state.domain, principal, &is_given))
    }
}
