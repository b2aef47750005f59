//! What sets reloads off, and what comes of them.

use super::gate::Weighed;
use super::load::Why;
use crate::snapshot::Live;

/// What set a reload off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A watched file changed.
    FileChange,
    /// SIGHUP.
    Signal,
    /// `POST /reload`.
    Request,
}

impl Trigger {
    /// The word that logs and `/status` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FileChange => "file_change",
            Self::Signal => "signal",
            Self::Request => "request",
        }
    }
}

/// How many of each there are in a published policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Applications.
    pub applications: usize,
    /// Routes of all applications.
    pub routes: usize,
    /// Policy domains.
    pub domains: usize,
    /// Principals of all domains.
    pub principals: usize,
    /// Grants of all domains.
    pub grants: usize,
}

impl Counts {
    /// Those of what is live.
    pub fn of(live: &Live) -> Self {
        let snapshot = live.load();
        let (applications, routes) = snapshot.routes.counts();
        let (domains, principals, grants) = snapshot.domains.counts();
        Self { applications, routes, domains, principals, grants }
    }
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// New policy decides from now on.
    Published {
        /// Its serial.
        serial: u64,
        /// What it holds.
        counts: Counts,
        /// What changed, and for how many.
        weighed: Box<Weighed>,
        /// Warnings as people read them; empty if there are none.
        report: String,
    },
    /// The files are good, but change more than the gate lets through unasked; what was live still is.
    Held {
        /// The serial of what is live.
        serial: u64,
        /// What would change, and why it is held.
        weighed: Box<Weighed>,
        /// Warnings as people read them.
        report: String,
    },
    /// The files are good, and would be published; nobody asked for that, so what was live still is.
    Tried {
        /// The serial of what is live.
        serial: u64,
        /// What would change, and whether the gate would hold it.
        weighed: Box<Weighed>,
        /// Warnings as people read them.
        report: String,
    },
    /// The files say what is live already; nothing was published.
    Unchanged {
        /// The serial of what is live.
        serial: u64,
    },
    /// The files say what they said when an older policy was gone back to; that one stays.
    Kept {
        /// The serial of what is live.
        serial: u64,
    },
    /// The files have faults, or their tests fail; what was live still is.
    Rejected {
        /// The serial of what is live.
        serial: u64,
        /// Which of the two.
        why: Why,
        /// How many faults, or tests that fail.
        errors: usize,
        /// All of them as people read them, each with file, line, column, excerpt and help.
        report: String,
    },
    /// Loading itself broke (a defect of this program, not of the files); what was live still is.
    Broken {
        /// The serial of what is live.
        serial: u64,
    },
}

impl ReloadOutcome {
    /// What changes, where that was looked at.
    pub fn weighed(&self) -> Option<&Weighed> {
        match self {
            Self::Published { weighed, .. } | Self::Held { weighed, .. } | Self::Tried { weighed, .. } => Some(weighed),
            Self::Unchanged { .. } | Self::Kept { .. } | Self::Rejected { .. } | Self::Broken { .. } => None,
        }
    }

    /// The word that logs and `/status` use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Published { .. } => "published",
            Self::Held { .. } => "held",
            Self::Tried { .. } => "tried",
            Self::Unchanged { .. } => "unchanged",
            Self::Kept { .. } => "kept",
            Self::Rejected { .. } => "rejected",
            Self::Broken { .. } => "broken",
        }
    }

    /// Whether what is live is what the files say, or what a person went back to from them.
    pub const fn is_good(&self) -> bool {
        match self {
            Self::Published { .. } | Self::Unchanged { .. } | Self::Kept { .. } => true,
            Self::Held { .. } | Self::Tried { .. } | Self::Rejected { .. } | Self::Broken { .. } => false,
        }
    }

    /// The serial of what is live afterwards.
    pub const fn serial(&self) -> u64 {
        match self {
            Self::Published { serial, .. }
            | Self::Unchanged { serial }
            | Self::Kept { serial }
            | Self::Held { serial, .. }
            | Self::Tried { serial, .. }
            | Self::Rejected { serial, .. }
            | Self::Broken { serial } => *serial,
        }
    }

    /// How many faults kept the files from being used.
    pub const fn errors(&self) -> usize {
        match self {
            Self::Published { .. } | Self::Unchanged { .. } | Self::Kept { .. } => 0,
            Self::Held { .. } | Self::Tried { .. } => 0,
            Self::Rejected { errors, .. } => *errors,
            Self::Broken { .. } => 1,
        }
    }
}

/// The last reload, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended, in seconds since the Unix epoch.
    pub at: u64,
    /// What set it off.
    pub trigger: Trigger,
    /// [`ReloadOutcome::word`].
    pub outcome: &'static str,
    /// [`ReloadOutcome::is_good`].
    pub good: bool,
    /// [`ReloadOutcome::errors`].
    pub errors: usize,
    /// Why the gate held it.
    pub held: Vec<String>,
}
