//! The policy of a configuration, for verbs that answer questions about it.

use std::path::Path;

use crate::cli::{Exit, Failure};
use crate::config;
use crate::diag::{Place, Report};
use crate::reload;
use crate::review::Policy;

/// A policy without faults, and the texts that it was made of.
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) report: Report,
}

impl Loaded {
    /// Reads `gateway.yaml` and all that it names.
    ///
    /// # Errors
    /// Every fault of every file. Warnings are for `check`.
    pub(super) fn read(config: &Path) -> Result<Self, Failure> {
        let mut report = Report::new();
        let config = config::load(config, &mut report);
        let policy = config.and_then(|config| reload::load_for_review(&config.policy, &mut report));
        match policy {
            Some(policy) if !report.has_errors() => Ok(Self { policy, report }),
            _ => Err(Failure::new(Exit::Configuration, report.render())),
        }
    }

    /// `FILE:LINE:COLUMN` of a place.
    pub(super) fn place(&self, place: Place) -> String {
        let location = self.report.locate(place);
        format!("{}:{}:{}", location.file, location.line, location.column)
    }
}
