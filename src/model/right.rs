//! What may be done: levels of a right, and what a grant says about them.

/// How much of a right is held or asked for. Ordered: whoever may delete may write, whoever may write may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// See.
    Read,
    /// See and change.
    Write,
    /// See, change and delete: the top level, and what a grant without a level means.
    Delete,
}

impl Level {
    /// The highest level.
    pub const TOP: Self = Self::Delete;

    /// The level as configuration and reasons write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    /// Reads what [`Level::name`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// What one grant says: a level, or the denial of every level. The derived order puts a denial above every level,
/// so that the greater of two effects is the one that wins between equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// The right is held up to this level.
    Allow(Level),
    /// The right is denied at every level.
    Deny,
}
