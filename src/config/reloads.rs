//! `reload`: how reloads are made, and how much one may change unasked. `shadow`: what is judged beside what is live.

use super::Base;
use crate::document::gateway::{GateDocument, ReloadDocument};
use crate::document::shadow::ShadowDocument;
use crate::reload::candidate::Below;
use crate::reload::{Gate, Share, Terms};

pub(super) fn resolve(document: &ReloadDocument, base: &Base) -> Terms {
    let last_good = document.last_good.as_ref().map(|name| base.path(name));
    Terms { gate: gate(document.gate), history: document.history, last_good }
}

pub(super) fn candidates(document: &ShadowDocument, base: &Base) -> Option<Below> {
    let directory = base.path(document.candidates.as_ref()?);
    Some(Below { directory, base: base.0.clone(), longest: document.longest })
}

fn gate(document: GateDocument) -> Gate {
    let GateDocument { gain, lose, few, public_routes, applications_gone } = document;
    // The document has no more than a hundred.
    let share = |percent: Option<u8>| percent.and_then(Share::percent);
    Gate { gain: share(gain), lose: share(lose), few, public_routes, applications_gone }
}
