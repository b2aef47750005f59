//! Watching instead of refusing: the one place where a refusal of the policy becomes a permission, because the operators
//! wrote `mode: shadow`.

use std::sync::Arc;

use super::judge::Outcome;
use super::{Grounds, Refusal};
use crate::model::shadow::{InShadow, Mode};

/// What a request that would have been refused goes on with.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Why it would have been refused.
    pub refusal: Arc<Refusal>,
    /// Whether the backend may be told who asks: the identity was good, only a permission was missing.
    pub named: bool,
}

/// What becomes of a judgement: where the route only watches, a refusal of the policy is kept in mind, and the request goes
/// on. All that follows a permission (its target, protocol, limits) is still to come.
pub(super) fn watch(judged: Result<Outcome, Refusal>, grounds: &mut Grounds) -> Result<Outcome, Refusal> {
    match judged {
        Err(refusal) if grounds.mode == Mode::Shadow => {
            let named = match refusal.reason.in_shadow() {
                InShadow::Refused => return Err(refusal),
                InShadow::Unnamed => false,
                InShadow::Named => true,
            };
            // Part of the rules may have been met, and where the right is held was found for that part only.
            grounds.scopes = None;
            grounds.watched = Some(Watched { refusal: Arc::new(refusal), named });
            Ok(Outcome::Permitted)
        }
        judged => judged,
    }
}
