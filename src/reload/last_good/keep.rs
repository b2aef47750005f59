//! When a copy is written: after each publication of what the files say, once whoever asked for it has the answer.

use std::sync::Arc;

use super::{LastGood, Written, write};
use crate::reload::Reloader;
use crate::reload::behind::behind;

impl Reloader {
    /// Writes what is live to disk, if that is wanted and not done yet. What fails is told and tried again after the next
    /// reload; nothing else depends on it.
    pub(in crate::reload) async fn write_last_good(&mut self) {
        // While an older policy is live, what the files said last stays.
        let Some(directory) = self.terms.last_good.clone().filter(|_| self.unwritten && self.passed.is_none()) else {
            return;
        };
        let Some(written) = self.history.entries().first().map(|live| Written { serial: live.serial, at: live.at })
        else {
            return;
        };
        let (files, content) = (Arc::clone(&self.files), self.history.live().content.clone());
        let older = self.copy.take();
        let work = behind(move || write(&directory, &files, &content, written, older.as_ref())).await;
        let failed = match work.unwrap_or_else(|| Err("writing them broke".to_owned())) {
            Ok(copy) => {
                self.copy = Some(copy);
                None
            }
            Err(why) => Some(why),
        };
        self.unwritten = failed.is_some();
        if let Some(why) = &failed {
            self.telemetry.last_good_failed();
            tracing::error!(serial = written.serial, "the last good documents are not kept on disk: {why}");
        }
        let written = failed.is_none().then_some(written);
        self.told().last_good = Some(LastGood { written, failed });
    }
}
