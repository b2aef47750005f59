//! Roles: what each gives once those that it includes are put in and what it leaves out is taken away.

use std::collections::HashMap;

use super::entries::Names;
use super::{Builder, text, unknown};
use crate::diag::Report;
use crate::document::Located;
use crate::document::grants::{RightsShape, RoleDocument};
use crate::model::Effect;
use crate::policy::domain::RightId;

/// What a role or a grant gives: a right and an effect.
pub(super) type Given = (RightId, Effect);

/// What a right in its short form gives; nothing if it has a fault, which is reported.
pub(super) fn given(names: &mut impl Names, written: &Located<String>, report: &mut Report) -> Option<Given> {
    let parts = text::split(&written.value);
    let effect = text::effect(parts.suffix, written.place, report);
    let right = names.right(written, parts.name, report);
    Some((right?, effect?))
}

/// Expands every role over those that it includes.
pub(super) fn expand_roles(
    builder: &mut Builder,
    roles: &[RoleDocument],
    report: &mut Report,
) -> HashMap<String, Vec<Given>> {
    let mut own: HashMap<&str, Vec<Given>> = HashMap::new();
    for role in roles {
        let mut rights = Vec::new();
        for written in &role.rights {
            if text::split(&written.value).at.is_some() {
                let message = "a role names rights, not places";
                report.error("bad_grant", written.place, message).help("say where in the grant: `{role: R, at: NODE}`");
            }
            rights.extend(given(builder, written, report));
        }
        own.insert(&role.name.value, rights);
    }
    let by_name: HashMap<&str, &RoleDocument> = roles.iter().map(|role| (role.name.value.as_str(), role)).collect();
    let mut done = HashMap::new();
    for role in roles {
        expand(builder, role, &own, &by_name, &mut Vec::new(), &mut done, report);
    }
    done.into_iter().map(|(name, rights)| (name.to_owned(), rights)).collect()
}

fn expand<'d>(
    builder: &Builder,
    role: &'d RoleDocument,
    own: &HashMap<&str, Vec<Given>>,
    by_name: &HashMap<&'d str, &'d RoleDocument>,
    path: &mut Vec<&'d str>,
    done: &mut HashMap<&'d str, Vec<Given>>,
    report: &mut Report,
) -> Vec<Given> {
    let name = role.name.value.as_str();
    if let Some(rights) = done.get(name) {
        return rights.clone();
    }
    // A chain longer than the number of roles is a cycle too, but 64 is deeper than anybody means.
    if path.contains(&name) || path.len() > 64 {
        report
            .error("cycle", role.name.place, format!("the role `{name}` includes itself, or 64 others in a row"))
            .help("remove one `includes` entry");
        return Vec::new();
    }
    path.push(name);
    let mut rights = Vec::new();
    for included in &role.includes {
        match by_name.get(included.value.as_str()) {
            Some(other) => rights.extend(expand(builder, other, own, by_name, path, done, report)),
            None => {
                let message = format!("there is no role `{}`", included.value);
                unknown(report, included.place, message, &included.value, by_name.keys().copied());
            }
        }
    }
    path.pop();
    for removed in &role.without {
        let before = rights.len();
        let name = |right: RightId| builder.domain.rights.name(right.0);
        // A denial is nothing that could be taken away: without it the role would give more.
        rights.retain(|(right, effect)| *effect == Effect::Deny || !covers(builder, &removed.value, name(*right)));
        let wider = rights
            .iter()
            .find(|(right, effect)| *effect != Effect::Deny && covers(builder, name(*right), &removed.value));
        if let Some((wider, _)) = wider {
            let message = format!("`{}` cannot be taken away from `{}`, which covers it", removed.value, name(*wider));
            report.error("bad_role", removed.place, message).help("take the wider right away and name what remains");
        } else if rights.len() == before {
            let message = format!("`{}` is in none of the included roles", removed.value);
            let help = "`without` takes away whole rights of included roles, with all below them";
            report.error("bad_role", removed.place, message).help(help);
        }
    }
    rights.extend(own.get(name).into_iter().flatten());
    rights.sort_unstable_by_key(|(right, effect)| (right.0, *effect));
    rights.dedup();
    done.insert(name, rights.clone());
    rights
}

/// Whether `wide` is `name` or, in a tree, a prefix of it.
fn covers(builder: &Builder, wide: &str, name: &str) -> bool {
    let rest = name.strip_prefix(wide);
    match builder.shape() {
        RightsShape::Flat => rest == Some(""),
        RightsShape::Tree => rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
    }
}
