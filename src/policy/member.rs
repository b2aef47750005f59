//! A principal while a token speaks for it: where a domain maps groups or roles of tokens to its own groups, the
//! principal is a member of those as well, exactly as if its entry listed them.

use std::iter;
use std::sync::Arc;

use super::domain::{Domain, FlagId, Frame};
use super::names::Map;
use super::people::{BundleId, Principal, Tables};
use super::survey::GrantSet;
use crate::document::grants::Across;
use crate::model::{Guid, Reason, Status};

/// The most groups of one domain that tokens may be mapped to: a set of them is a bit mask.
pub const MAX_MAPPED: usize = 64;

/// What a token says that may be mapped to groups.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<'t> {
    /// The values of `groups`; `None` where the principal has too many for its token to name any.
    pub groups: Option<&'t [Box<str>]>,
    /// The values of `roles`.
    pub roles: &'t [Box<str>],
}

/// A principal, and the groups that it is in by its token alone. Made of a principal, it is in none of these.
#[derive(Clone, Copy, Debug)]
pub struct Member<'d> {
    pub(super) principal: Principal<'d>,
    /// Bits of [`Mapping::groups`].
    pub(super) joined: u64,
    pub(super) flags: u128,
    /// The state of the account, with what all its groups make of it.
    pub status: Status,
    /// Whether the token keeps silent about groups of which one may take something away.
    groups_unknown: bool,
}

impl<'d> From<Principal<'d>> for Member<'d> {
    #[inline]
    fn from(principal: Principal<'d>) -> Self {
        Self { principal, joined: 0, flags: principal.flags(), status: principal.status(), groups_unknown: false }
    }
}

impl<'d> From<&Principal<'d>> for Member<'d> {
    fn from(principal: &Principal<'d>) -> Self {
        (*principal).into()
    }
}

impl Member<'_> {
    /// Whether any group may say something of it beside what its own entry says.
    #[inline]
    pub(super) const fn has_groups(&self) -> bool {
        self.joined != 0 || !self.principal.of_groups().is_empty()
    }

    /// Whether it has a flag.
    #[inline]
    pub(super) const fn has_flag(&self, flag: FlagId) -> bool {
        self.flags & flag.mask() != 0
    }

    /// Why the account may do nothing at all.
    #[inline]
    pub const fn barred(&self) -> Option<Reason> {
        if matches!(self.status, Status::Active) && !self.groups_unknown {
            return None;
        }
        match self.status {
            Status::Active => Some(Reason::GroupsUnknown),
            Status::Inactive => Some(Reason::PrincipalInactive),
            Status::Deleted => Some(Reason::PrincipalDeleted),
            Status::Reserved => Some(Reason::PrincipalReserved),
        }
    }
}

/// A group that tokens are mapped to, with all that it inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MappedGroup {
    pub(super) flags: u128,
    pub(super) inactive: bool,
    /// The grants of itself and of each group above it that has any.
    pub(super) sources: Box<[Arc<[BundleId]>]>,
    /// The names of itself and of the groups above it, sorted.
    pub(super) names: Arc<[Arc<str>]>,
}

/// How tokens are mapped to groups. Where a domain maps nothing, there are no groups in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    pub(super) groups: Vec<MappedGroup>,
    pub(super) by_group: Values,
    pub(super) by_role: Values,
    /// Whether a membership by `by_group` may take something away; see [`Frame::group_may_take_away`].
    pub(super) may_take_away: bool,
}

/// Values of a claim, each with the number of the group that it is mapped to. GUIDs are compared as such, so in either
/// letter case, all else exactly.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    guids: Map<Guid, u8>,
    texts: Map<Box<str>, u8>,
}

impl Values {
    /// Maps a value to the group with this number.
    pub(super) fn insert(&mut self, value: &str, number: u8) {
        match value.parse() {
            Ok(guid) => self.guids.insert(guid, number),
            Err(_) => self.texts.insert(value.into(), number),
        };
    }

    /// The groups that these values are mapped to.
    fn mask(&self, values: &[Box<str>]) -> u64 {
        if self.guids.is_empty() && self.texts.is_empty() {
            return 0;
        }
        let number = |value: &str| match value.parse::<Guid>() {
            Ok(guid) => self.guids.get(&guid),
            Err(_) => self.texts.get(value),
        };
        values.iter().filter_map(|value| number(value)).fold(0, |mask, number| mask | bit(*number))
    }

    /// All values, as they are compared, with the numbers of their groups.
    fn iter(&self) -> impl Iterator<Item = (String, u8)> {
        let guids = self.guids.iter().map(|(value, number)| (value.to_string(), *number));
        guids.chain(self.texts.iter().map(|(value, number)| (value.to_string(), *number)))
    }

    /// All groups that any value is mapped to.
    fn all(&self) -> u64 {
        self.guids.values().chain(self.texts.values()).fold(0, |mask, number| mask | bit(*number))
    }
}

const fn bit(number: u8) -> u64 {
    1_u64 << (number & 63)
}

/// The numbers of the bits of a mask, the lowest first.
pub(super) fn numbers(mut mask: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let number = usize::try_from(mask.trailing_zeros()).ok().filter(|_| mask != 0)?;
        mask &= mask - 1;
        Some(number)
    })
}

impl Domain {
    /// A principal while a token speaks for it.
    #[inline]
    pub fn member<'d>(&'d self, principal: Principal<'d>, claimed: Claimed<'_>) -> Member<'d> {
        let member = Member::from(principal);
        if self.mapping.groups.is_empty() { member } else { self.mapped_member(member, claimed) }
    }

    fn mapped_member<'d>(&'d self, mut member: Member<'d>, claimed: Claimed<'_>) -> Member<'d> {
        let mapping = &self.mapping;
        member.joined = mapping.by_role.mask(claimed.roles);
        match claimed.groups {
            Some(groups) => member.joined |= mapping.by_group.mask(groups),
            None => member.groups_unknown = mapping.may_take_away,
        }
        for group in self.mapped(member.joined) {
            member.flags |= group.flags;
            if group.inactive && member.status == Status::Active {
                member.status = Status::Inactive;
            }
        }
        member
    }

    /// All values of tokens that are mapped, each with its claim and its group.
    pub(super) fn mapped_values(&self) -> impl Iterator<Item = (&'static str, String, &MappedGroup)> {
        let group = |number: u8| self.mapping.groups.get(usize::from(number));
        let by_group = self.mapping.by_group.iter().map(|(value, number)| ("groups", value, number));
        let by_role = self.mapping.by_role.iter().map(|(value, number)| ("roles", value, number));
        by_group.chain(by_role).filter_map(move |(claim, value, number)| Some((claim, value, group(number)?)))
    }

    /// Whether tokens are mapped to any group of this domain.
    pub fn maps_tokens(&self) -> bool {
        !self.mapping.groups.is_empty()
    }

    /// What tokens with these claims bring whomever they speak for: the grants of each group, flags, and whether an
    /// inactive group bars the account.
    pub fn brought(&self, claimed: Claimed<'_>) -> (Vec<GrantSet>, Vec<FlagId>, bool) {
        let mapping = &self.mapping;
        let mask =
            mapping.by_role.mask(claimed.roles) | claimed.groups.map_or(0, |groups| mapping.by_group.mask(groups));
        let flags = self.mapped(mask).fold(0, |flags, group| flags | group.flags);
        let borne = self.flags().map(|(flag, _)| flag).filter(|flag| flags & flag.mask() != 0);
        let sources = self.mapped(mask).flat_map(|group| &group.sources).map(|source| self.set_of(source));
        (sources.collect(), borne.collect(), self.mapped(mask).any(|group| group.inactive))
    }

    /// The grants of all active groups that tokens are mapped to.
    pub fn sources_by_token(&self) -> impl Iterator<Item = GrantSet> {
        let active = self.mapping.groups.iter().filter(|group| !group.inactive);
        active.flat_map(|group| &group.sources).map(|source| self.set_of(source))
    }

    /// Whether a token that does not say which groups its principal is in is refused; see [`Reason::GroupsUnknown`].
    pub fn needs_groups(&self) -> bool {
        self.mapping.may_take_away
    }

    /// The names of all groups of a member and of those above them, sorted.
    pub fn group_names(&self, member: Member<'_>) -> Arc<[Arc<str>]> {
        let own = member.principal.groups();
        let joined = self.mapped(member.joined).flat_map(|group| group.names.iter());
        let mut more = joined.filter(|name| own.binary_search(name).is_err()).peekable();
        if more.peek().is_none() {
            return Arc::clone(own);
        }
        let mut names: Vec<Arc<str>> = own.iter().chain(more).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names.into()
    }

    /// The grants of each group of a member. A group that it is in twice over comes twice, which changes nothing: in
    /// every strategy, saying the same once more leaves the outcome as it is.
    #[inline]
    pub(super) fn group_sources<'d>(&'d self, member: Member<'d>) -> impl Iterator<Item = &'d [BundleId]> {
        let joined = self.mapped(member.joined).flat_map(|group| group.sources.iter());
        member.principal.of_groups().iter().chain(joined).map(|source| &**source)
    }
}

impl Frame {
    #[inline]
    pub(super) fn mapped(&self, joined: u64) -> impl Iterator<Item = &MappedGroup> {
        numbers(joined).filter_map(|number| self.mapping.groups.get(number))
    }

    /// Whether being in one more of the groups of `token_groups` may take anything away from anybody. `forbidden` are the
    /// flags that any route of the domain forbids.
    ///
    /// If not, whoever is allowed without these groups is allowed with any of them, so that a token which does not name
    /// them may be judged as if it was in none. That is so where each of these groups, with those above it,
    /// - is active, since an inactive one bars the account;
    /// - has no flag that a cap names or a route forbids. Nothing else about a flag takes away: terms about flags,
    ///   rights and denials never stand under a negation, for conditions look at settings and requests only;
    /// - denies nothing, so that the group by itself says nothing or a level of every right: within a source, only a
    ///   denial withholds what other grants or implications bring. Across sources, one more level then
    ///   - leaves a denial as it is, or with `most_permissive` overcomes it,
    ///   - raises what the groups say together to the higher of the two, or leaves it (`deny_overrides`,
    ///     `deny_individual_first`, `individual_first`, `most_permissive`), and a principal's own result stands or falls
    ///     before the groups are asked for their level at all,
    ///   - but with `most_restrictive` lowers what others say: there a group takes away as soon as it says anything.
    ///
    ///   Caps keep the order of levels; `/*` looks for the best node, of which there are then more; and no
    ///   `unless_denied` meets a denial that was not there.
    ///
    /// A domain with boundaries maps no tokens.
    pub(super) fn group_may_take_away(&self, tables: &Tables, forbidden: u128) -> bool {
        let capped = self.strategy.caps.iter().fold(0, |flags, (flag, _)| flags | flag.mask());
        let lowering = self.strategy.across == Across::MostRestrictive;
        let denies = |source: &Arc<[BundleId]>| source.iter().any(|bundle| tables.denies(*bundle));
        self.mapped(self.mapping.by_group.all()).any(|group| {
            group.inactive
                || group.flags & (capped | forbidden) != 0
                || group.sources.iter().any(denies)
                || (lowering && !group.sources.is_empty())
        })
    }
}
