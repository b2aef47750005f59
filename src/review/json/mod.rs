//! Answers for programs, the same wherever they are asked for.

mod difference;
mod explanation;
mod report;

pub use difference::difference;
pub use explanation::explanation;
pub use report::{Places, account, report};

use crate::model::Effect;
use crate::policy::Held;

/// The word for what is held.
pub const fn held(held: Held) -> &'static str {
    match held {
        Held::Nothing => "nothing",
        Held::Denied => "denied",
        Held::Up(level) => level.name(),
    }
}

/// The word for what a grant does.
pub const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Deny => "deny",
        Effect::Allow(level) => level.name(),
    }
}
