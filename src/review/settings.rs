//! Other settings than a policy's own, for one test or question.

use super::policy::Policy;
use super::request::BadRequest;
use crate::diag::{SourceId, suggest};
use crate::document::{Literal, Located};

impl Policy {
    /// A copy with other settings: those of the file where `file` says so, otherwise of every file that declares them.
    ///
    /// # Errors
    /// When nobody declares such a setting, or the policy does not compile with it.
    pub fn with_settings(
        &self,
        settings: &[(Located<String>, Literal)],
        file: Option<SourceId>,
    ) -> Result<Self, BadRequest> {
        let concerned = |declared: &Located<String>| file.is_none_or(|file| declared.place.source == file);
        let declared = || self.routes.iter().flat_map(|routes| &routes.settings).map(|(name, _)| name);
        for (name, _) in settings {
            if !declared().any(|known| known.value == name.value && concerned(known)) {
                let near = suggest(&name.value, declared().map(|known| known.value.as_str()));
                return Err(BadRequest {
                    message: format!("there is no setting `{}`", name.value),
                    help: near.map(|near| format!("did you mean `{near}`?")),
                });
            }
        }
        let changed = self.changed(|routes, _| {
            for (known, value) in routes.iter_mut().flat_map(|routes| &mut routes.settings) {
                let other = settings.iter().find(|(name, _)| name.value == known.value && concerned(known));
                if let Some((_, other)) = other {
                    value.clone_from(other);
                }
            }
        });
        changed.map_err(|report| {
            let first = report.diagnostics().iter().find(|found| found.severity == crate::diag::Severity::Error);
            BadRequest {
                message: "the policy cannot be used with these settings".to_owned(),
                help: first.map(|found| found.message.clone()),
            }
        })
    }
}
