//! `reload.gate`: how much a reload may change unasked.

use crate::document::gateway::{GateDocument, ReloadDocument};
use crate::reload::{Gate, Share};

pub(super) fn resolve(document: &ReloadDocument) -> Gate {
    let GateDocument { gain, lose, few, public_routes, applications_gone } = document.gate;
    // The document has no more than a hundred.
    let share = |percent: Option<u8>| percent.and_then(Share::percent);
    Gate { gain: share(gain), lose: share(lose), few, public_routes, applications_gone }
}
