//! Every finding of `lint`, with its cause and its remedy. The page of findings is made from this file.

/// A class of findings. Its word is stable: scripts may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Another strategy would give another level.
    StrategyDependent,
    /// Somebody holds two rights that nobody should hold together.
    SeparationOfDuties,
    /// An account of the vendor is in use.
    VendorAccount,
    /// Nobody holds a right that somebody must hold.
    NobodyHolds,
    /// A route is public.
    PublicRoute,
    /// No route asks for a right.
    UnusedRight,
    /// Nobody holds a right that a route asks for.
    NobodyMay,
    /// A grant lies outside the boundary.
    OutsideBoundary,
    /// A grant changes nothing.
    ShadowedGrant,
    /// A role that nobody has.
    UnusedRole,
    /// A group without members.
    EmptyGroup,
    /// A group that switches its members off.
    InactiveGroup,
    /// Principals that hold nothing.
    NoAccess,
    /// A flag that nothing asks for.
    UnusedFlag,
    /// A definition that no requirement names.
    UnusedDefinition,
    /// A setting that nothing asks for.
    UnusedSetting,
    /// An upstream of no application.
    UnusedUpstream,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::StrategyDependent,
        Self::SeparationOfDuties,
        Self::VendorAccount,
        Self::NobodyHolds,
        Self::PublicRoute,
        Self::UnusedRight,
        Self::NobodyMay,
        Self::OutsideBoundary,
        Self::ShadowedGrant,
        Self::UnusedRole,
        Self::EmptyGroup,
        Self::InactiveGroup,
        Self::NoAccess,
        Self::UnusedFlag,
        Self::UnusedDefinition,
        Self::UnusedSetting,
        Self::UnusedUpstream,
    ];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StrategyDependent => "strategy_dependent",
            Self::SeparationOfDuties => "separation_of_duties",
            Self::VendorAccount => "vendor_account",
            Self::NobodyHolds => "nobody_holds",
            Self::PublicRoute => "public_route",
            Self::UnusedRight => "unused_right",
            Self::NobodyMay => "nobody_may",
            Self::OutsideBoundary => "outside_boundary",
            Self::ShadowedGrant => "shadowed_grant",
            Self::UnusedRole => "unused_role",
            Self::EmptyGroup => "empty_group",
            Self::InactiveGroup => "inactive_group",
            Self::NoAccess => "no_access",
            Self::UnusedFlag => "unused_flag",
            Self::UnusedDefinition => "unused_definition",
            Self::UnusedSetting => "unused_setting",
            Self::UnusedUpstream => "unused_upstream",
        }
    }

    /// What there is when it is found.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::StrategyDependent => {
                "grants of some principals say different things of a right, and with another `across` or `within` they would hold another level of it"
            }
            Self::SeparationOfDuties => "an active principal holds both rights of an entry of `conflicts` in one scope",
            Self::VendorAccount => "a principal of `lint.vendor_accounts` is active",
            Self::NobodyHolds => "no active principal holds a right of `lint.must_be_held` at its level anywhere",
            Self::PublicRoute => "anybody may use the route, without a token",
            Self::UnusedRight => {
                "a right is granted, in a role or in the catalogue, and no route asks for it, for anything below it, or for what it brings"
            }
            Self::NobodyMay => "a route asks for a right at a level at which no active principal holds it anywhere",
            Self::OutsideBoundary => "the grant's node lies outside the boundary of its principal, so it gives nothing",
            Self::ShadowedGrant => {
                "without the grant the same would be held and denied everywhere: other grants of the principal, its groups' included, say what it says, or outweigh it"
            }
            Self::UnusedRole => "no grant names the role, and no role that one names includes it",
            Self::EmptyGroup => "no principal is in the group or in a group below it",
            Self::InactiveGroup => "the group has `status: inactive`, which switches off all of its members",
            Self::NoAccess => "an active principal has no flag and holds no right at any level anywhere",
            Self::UnusedFlag => "somebody has the flag, and no route and no cap asks for it",
            Self::UnusedDefinition => "an entry of `define` that no requirement of its file or application names",
            Self::UnusedSetting => "a setting that no condition and no comparison of its file names",
            Self::UnusedUpstream => "an upstream that no application of its file names",
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::StrategyDependent => {
                "make the grants agree, or confirm the strategy with whoever owns the application and allow this code"
            }
            Self::SeparationOfDuties => "take one of the two rights from the principal, or narrow it to other scopes",
            Self::VendorAccount => "set its `status: inactive`, or remove it once others hold what it held",
            Self::NobodyHolds => "grant the right to somebody, so that the application can still be administered",
            Self::PublicRoute => "make sure that it shows nothing that needs protection, or ask for something",
            Self::UnusedRight => "remove it, or add the route that should ask for it",
            Self::NobodyMay => "grant it, or remove the route",
            Self::OutsideBoundary => "move the grant or widen the boundary, whichever was meant",
            Self::ShadowedGrant => "remove it",
            Self::UnusedRole => "remove it, or grant it",
            Self::EmptyGroup => "remove it, or put somebody in",
            Self::InactiveGroup => "take it as a reminder: its members are refused whatever else they hold",
            Self::NoAccess => "grant something, or remove the principal",
            Self::UnusedFlag => "remove it",
            Self::UnusedDefinition => "remove it, or name it where it was meant",
            Self::UnusedSetting => "remove it",
            Self::UnusedUpstream => "remove it",
        }
    }
}
