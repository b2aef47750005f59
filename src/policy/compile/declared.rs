//! Rights that a grants document names beside grants: conflicts, and rights that somebody must hold.

use super::{Builder, text, unknown};
use crate::diag::Report;
use crate::document::Located;
use crate::document::grants::GrantsDocument;
use crate::model::Level;
use crate::policy::domain::RightId;
use crate::policy::origins::{Conflict, Declared};

/// Resolves them; kept only where origins are. To be called once all rights of grants are known.
pub(super) fn compile(builder: &mut Builder, document: &GrantsDocument, report: &mut Report) {
    let mut conflicts = Vec::new();
    for written in &document.conflicts {
        let [first, second] = &written.rights;
        if let (Some(first), Some(second)) = (declared(builder, first, report), declared(builder, second, report)) {
            let reason = written.reason.as_ref().map(|reason| reason.value.as_str().into());
            conflicts.push(Conflict { place: written.place, rights: [first, second], reason });
        }
    }
    let must_be_held = document.lint.must_be_held.iter();
    let must_be_held = must_be_held.filter_map(|written| declared(builder, written, report)).collect();
    if let Some(origins) = &mut builder.origins {
        (origins.conflicts, origins.must_be_held) = (conflicts, must_be_held);
    }
}

fn declared(builder: &mut Builder, written: &Located<String>, report: &mut Report) -> Option<Declared> {
    let parts = text::split(&written.value);
    let name = parts.name;
    if !text::right_name(name, builder.shape, written.place, report) {
        return None;
    }
    if parts.at.is_some() {
        let message = "a right that is named here holds for every scope";
        report.error("bad_grant", written.place, message).help("take the `@` and the node away");
        return None;
    }
    let level = match parts.suffix {
        None => Some(Level::Read),
        Some(level) => Level::parse(level),
    };
    if level.is_none() {
        let message = format!("`{}` names no level", written.value);
        report.error("bad_level", written.place, message).help("use `read`, `write` or `delete`");
    }
    if !builder.is_known(name) {
        let known = builder.known.iter().map(|right| builder.domain.rights.name(*right));
        if builder.catalogued {
            unknown(report, written.place, format!("the catalogue has no right `{name}`"), name, known);
            return None;
        }
        report.warning("unknown_right", written.place, format!("nobody and no role holds `{name}`"));
    }
    Some(Declared { place: written.place, right: RightId(builder.domain.rights.intern(name)), level: level? })
}
