//! The short forms of rights as they are written: `RIGHT[:LEVEL] [@NODE]`.

use crate::diag::{Place, Report};
use crate::document::grants::RightsShape;
use crate::model::{Effect, Level};

/// A right as written, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RightText<'t> {
    /// The name.
    pub(super) name: &'t str,
    /// What stands behind the colon.
    pub(super) suffix: Option<&'t str>,
    /// What stands behind the `@`.
    pub(super) at: Option<&'t str>,
}

/// Splits the short form.
pub(super) fn split(text: &str) -> RightText<'_> {
    let (right, at) = match text.split_once('@') {
        Some((right, at)) => (right.trim(), Some(at.trim())),
        None => (text.trim(), None),
    };
    match right.split_once(':') {
        Some((name, suffix)) => RightText { name, suffix: Some(suffix), at },
        None => RightText { name: right, suffix: None, at },
    }
}

/// Whether a name may be a right's; reports why not.
pub(super) fn right_name(name: &str, shape: RightsShape, place: Place, report: &mut Report) -> bool {
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let fault = if name.is_empty() || !name.chars().all(letters) {
        Some("use letters, digits, `.`, `_`, `-` and `/`")
    } else if shape == RightsShape::Tree && name.split('.').any(str::is_empty) {
        Some("a dot stands between two names, never first, last or twice")
    } else {
        None
    };
    if let Some(help) = fault {
        report.error("bad_name", place, format!("`{name}` is no name for a right")).help(help);
    }
    fault.is_none()
}

/// What a grant's suffix says; nothing means the top level.
pub(super) fn effect(suffix: Option<&str>, place: Place, report: &mut Report) -> Option<Effect> {
    match suffix {
        None => Some(Effect::Allow(Level::TOP)),
        Some("deny") => Some(Effect::Deny),
        Some(text) => {
            let level = Level::parse(text);
            if level.is_none() {
                let message = format!("`{text}` is no level");
                report.error("bad_level", place, message).help("use `read`, `write`, `delete` or `deny`");
            }
            level.map(Effect::Allow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_splits_into_right_level_and_place() {
        let cases = [
            ("r1", ("r1", None, None)),
            ("oms.officer:write", ("oms.officer", Some("write"), None)),
            ("ips.territory @territory:USS", ("ips.territory", None, Some("territory:USS"))),
            ("object:deny @company:XYZ", ("object", Some("deny"), Some("company:XYZ"))),
            ("a.b:by_method @main/*", ("a.b", Some("by_method"), Some("main/*"))),
        ];
        for (text, (name, suffix, at)) in cases {
            assert_eq!(split(text), RightText { name, suffix, at }, "{text}");
        }
    }
}
