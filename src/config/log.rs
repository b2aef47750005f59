//! What is logged, where it goes, and whether requests depend on it.

use super::Base;
use crate::diag::Report;
use crate::document::gateway::{GatewayDocument, LogTargetDocument};
use crate::telemetry::{Destination, Rotation};

/// `log` and `audit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where each decision goes as a JSON line; `None` for nowhere.
    pub decisions: Option<Destination>,
    /// Whether a request is refused whose decision cannot be logged.
    pub required: bool,
    /// Lowest level of the process log on standard error.
    pub level: String,
}

pub(super) fn resolve(document: &GatewayDocument, base: &Base, report: &mut Report) -> Log {
    let (log, required) = (&document.log, &document.audit.required);
    if required.value && !log.decisions {
        report
            .error("audit_without_log", required.place, "`audit.required` needs decisions that are logged")
            .help("remove `decisions: false` from `log`");
    }
    let to = match &log.to {
        LogTargetDocument::Stdout => Destination::Stdout,
        LogTargetDocument::File { path, rotate } => Destination::File {
            path: base.path(path),
            rotate: rotate.map(|rotate| Rotation { size: rotate.size, keep: rotate.keep }),
        },
        LogTargetDocument::Syslog { socket, facility } => {
            Destination::Syslog { socket: base.path(socket), facility: *facility }
        }
    };
    Log { decisions: log.decisions.then_some(to), required: required.value, level: log.level.value.clone() }
}
