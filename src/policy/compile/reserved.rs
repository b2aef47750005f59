//! Reserved roles: a system's own, which nobody may redefine, extend or reduce. Such a role spells out its rights, so that
//! no edit elsewhere changes it, and may be pinned to what it gives, so that an edit of itself is refused.

use super::text;
use crate::diag::Report;
use crate::document::Located;
use crate::document::grants::{GrantsDocument, RoleDocument};
use crate::model::Level;

/// Computes a SHA-256.
pub type Sha256 = fn(&[u8]) -> [u8; 32];

/// What stands before the hexadecimal digits of a digest.
const ALGORITHM: &str = "sha256:";

/// Reports reserved roles that other roles could change, and those that are not what they are pinned to.
pub fn check_reserved(documents: &[GrantsDocument], sha256: Sha256, report: &mut Report) {
    for role in documents.iter().flat_map(|document| &document.roles) {
        match (&role.digest, role.reserved) {
            (_, true) => {
                check_own(role, report);
                if let Some(digest) = &role.digest {
                    check_digest(role, digest, sha256, report);
                }
            }
            (Some(digest), false) => {
                let message = format!("`{}` has a digest, but is not reserved", role.name.value);
                let help = "add `reserved: true`, or remove the digest";
                report.error("reserved_role", digest.place, message).help(help);
            }
            (None, false) => {}
        }
    }
}

fn check_own(role: &RoleDocument, report: &mut Report) {
    for other in role.includes.iter().chain(&role.without) {
        let message = format!("the reserved role `{}` depends on others", role.name.value);
        let help = "write all its rights under `rights`: an edit of an included role would change it";
        report.error("reserved_role", other.place, message).help(help);
    }
}

fn check_digest(role: &RoleDocument, pinned: &Located<String>, sha256: Sha256, report: &mut Report) {
    let hexadecimal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let digits = pinned.value.strip_prefix(ALGORITHM).filter(|digits| digits.len() == 64);
    if !digits.is_some_and(|digits| digits.chars().all(hexadecimal)) {
        let message = format!("`{}` is no digest", pinned.value);
        let help = "write `sha256:` and 64 hexadecimal digits in lower case";
        report.error("bad_digest", pinned.place, message).help(help);
        return;
    }
    let digits: String = sha256(given(role).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let found = format!("{ALGORITHM}{digits}");
    if found != pinned.value {
        let message = format!(
            "the reserved role `{}` is pinned to `{}`, but what it gives has `{found}`",
            role.name.value, pinned.value
        );
        let help = "take the edit back; a copy under another name may include this role and change what it likes";
        report.error("reserved_role", pinned.place, message).help(help);
    }
}

/// What a reserved role gives, in the one form that is pinned: a line for each right, sorted by its bytes, none twice,
/// with line feeds between them; the level follows a colon, unless it is the top one.
fn given(role: &RoleDocument) -> String {
    let mut lines: Vec<String> = role.rights.iter().map(|written| line(&written.value)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

fn line(written: &str) -> String {
    let parts = text::split(written);
    match parts.suffix {
        Some(level) if Level::parse(level) != Some(Level::TOP) => format!("{}:{level}", parts.name),
        Some(_) | None => parts.name.to_owned(),
    }
}
