//! `tokens`: how tokens are checked, and how fresh keys are kept.

use crate::diag::Report;
use crate::document::gateway::TokensDocument;
use crate::source::jwks::Intervals;
use crate::token::{Algorithms, Rules};

/// The checks that have a measure.
pub(super) fn rules(document: &TokensDocument, report: &mut Report) -> Rules {
    let mut algorithms = Algorithms { rs256: false, ps256: false, es256: false };
    for name in &document.algorithms {
        match name.value.as_str() {
            "RS256" => algorithms.rs256 = true,
            "PS256" => algorithms.ps256 = true,
            "ES256" => algorithms.es256 = true,
            _ => {
                let message = format!("unknown algorithm `{}`", name.value);
                report
                    .error("unknown_algorithm", name.place, message)
                    .help("`RS256`, `PS256` and `ES256` are supported; Entra ID signs with RS256");
            }
        }
    }
    Rules { leeway: document.leeway.value.as_secs(), max_lifetime: document.max_lifetime.value.as_secs(), algorithms }
}

/// How often keys are fetched.
pub(super) fn intervals(document: &TokensDocument, report: &mut Report) -> Intervals {
    let (refresh, keep) = (&document.refresh, &document.keep);
    if keep.value < refresh.value.saturating_mul(2) {
        report
            .error("keep_too_short", keep.place, "`keep` is shorter than twice `refresh`")
            .also(refresh.place, "`refresh` is here")
            .help("one fetch that fails would make good keys too old; give `keep` several times `refresh`");
    }
    Intervals { refresh: refresh.value, wake: document.cooldown.value, keep: keep.value, ..Intervals::default() }
}
