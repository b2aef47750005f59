//! What everybody is told of a reload: the log, the metrics, and whoever asks for the status.

use std::io::{self, Write as _};

use super::{LastReload, Mode, Order, ReloadOutcome, Reloader, now};

impl Reloader {
    /// Tells what came of an order.
    pub(super) fn say(&self, order: &Order, outcome: &ReloadOutcome) {
        let at = now();
        let Order { trigger, by, mode } = order;
        let (trigger_word, by) = (trigger.word(), by.as_deref().unwrap_or("-"));
        if *mode == Mode::Dry {
            // Nothing happened that anybody has to be told of but who asked.
            tracing::info!(by, outcome = outcome.word(), "policy files tried, nothing was published");
            return;
        }
        match outcome {
            ReloadOutcome::Published { serial, counts, weighed, report } => {
                self.telemetry.policy_loaded(*serial, at);
                if let Mode::Forced(reason) = mode {
                    let held = weighed.held.join("; ");
                    tracing::warn!(serial, by, reason, held, "policy published by force");
                }
                tracing::info!(
                    serial,
                    trigger = trigger_word,
                    applications = counts.applications,
                    routes = counts.routes,
                    principals = counts.principals,
                    grants = counts.grants,
                    "policy published"
                );
                print(report);
            }
            ReloadOutcome::Held { serial, weighed, report } => {
                self.telemetry.reload_held(at);
                let held = weighed.held.join("; ");
                tracing::error!(
                    serial,
                    trigger = trigger_word,
                    held,
                    "policy files held by the gate, the last ones stay"
                );
                print(report);
            }
            // Only told to whoever asked; see above.
            ReloadOutcome::Tried { .. } => {}
            ReloadOutcome::Unchanged { serial } => {
                // Undoing a bad edit ends in this arm too, and then the files are good again.
                self.telemetry.policy_loaded(*serial, self.live.load().loaded_at);
                tracing::info!(serial, trigger = trigger_word, "policy files say what is live already");
            }
            ReloadOutcome::Kept { serial } => {
                tracing::info!(
                    serial,
                    trigger = trigger_word,
                    "policy files say what was gone back from, the older policy stays"
                );
            }
            ReloadOutcome::Rejected { serial, why, errors, report } => {
                self.telemetry.reload_failed(at);
                tracing::error!(
                    serial,
                    trigger = trigger_word,
                    why = why.word(),
                    errors,
                    "policy files rejected, the last good ones stay"
                );
                print(report);
            }
            ReloadOutcome::Broken { serial } => {
                self.telemetry.reload_failed(at);
                tracing::error!(serial, trigger = trigger_word, "loading the policy broke, the last good one stays");
            }
        }
        let last = LastReload {
            at,
            trigger: *trigger,
            outcome: outcome.word(),
            good: outcome.is_good(),
            errors: outcome.errors(),
            held: outcome
                .weighed()
                .map(|weighed| weighed.held.clone())
                .filter(|_| !outcome.is_good())
                .unwrap_or_default(),
        };
        self.told().last = Some(last);
    }
}

/// Writes rendered diagnostics to standard error, beside the process log. A closed standard error is no reason to
/// stop.
pub fn print(report: &str) {
    if !report.is_empty() {
        let _closed = writeln!(io::stderr().lock(), "{}", report.trim_end());
    }
}
