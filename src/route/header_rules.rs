//! What an application says of its clients' header fields, beside what holds for all of them ([`super::fields`]).

use super::{Access, Route, fields, places};
use crate::diag::Report;
use crate::document::Located;
use crate::document::routes::ApplicationDocument;
use crate::policy::Rules;

/// Which of a client's fields go on to the backend where no general rule says it.
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// Names (lower case) with `_` or `.` that go on.
    pub allowed: Box<[Box<str>]>,
    /// Names (lower case, marks read as `-`) that never do: this backend believes what it reads there.
    removed: Box<[Box<str>]>,
}

impl HeaderRules {
    /// Whether a field goes because the application wants it so, in whatever way the worst of its servers would read
    /// the name.
    pub fn removes(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| fields::is_read_as(name, removed))
    }
}

/// Names that the gateway needs or writes itself, so that nobody can take them out.
const OWN: [&str; 4] = ["host", "content-length", "transfer-encoding", "authorization"];

pub(super) fn compile(application: &ApplicationDocument, routes: &[Route], report: &mut Report) -> HeaderRules {
    let rules = routes.iter().filter_map(|route| match &route.access {
        Access::Rules(rules) => Some(rules),
        Access::Public | Access::GateOnly => None,
    });
    let read: Vec<&str> = rules.flat_map(Rules::header_names).collect();
    for name in application.allow_headers.iter().chain(&application.remove_headers) {
        if !places::is_token(&name.value) {
            let message = format!("`{}` is no name of a header", name.value);
            report.error("bad_value", name.place, message).help("use letters, digits, `-`, `_` and `.`");
        }
    }
    // Backends that fold `_` and `.` would read an allowed name as one that was judged, and judge again.
    for allowed in &application.allow_headers {
        let folded = folded(allowed);
        if read.contains(&folded.as_str()) {
            let message = format!("some backends read `{}` as `{folded}`, which decides on a route", allowed.value);
            report.error("header_clash", allowed.place, message).help("take it off `allow_headers`");
        }
    }
    for removed in &application.remove_headers {
        let folded = folded(removed);
        let clash = if read.contains(&folded.as_str()) {
            "decides on a route, so the backend has to see what was judged"
        } else if OWN.contains(&&*folded) {
            "is the gateway's to write, and never goes on as a client wrote it unless this file says so"
        } else if routes.iter().any(|route| route.trailers.names().iter().any(|trailer| trailer.as_str() == folded)) {
            "is among the `trailers` of a route"
        } else if application.allow_headers.iter().any(|allowed| self::folded(allowed) == folded) {
            "is read as a name in `allow_headers`"
        } else {
            continue;
        };
        let message = format!("`{}` {clash}", removed.value);
        report.error("header_clash", removed.place, message).help("take it off `remove_headers`");
    }
    HeaderRules {
        allowed: application.allow_headers.iter().map(|name| name.value.to_ascii_lowercase().into()).collect(),
        removed: application.remove_headers.iter().map(|name| folded(name).into()).collect(),
    }
}

/// A name as the worst reader folds it.
fn folded(name: &Located<String>) -> String {
    name.value.to_ascii_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}
