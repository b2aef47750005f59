//! The files: that they are there and without faults, and that secrets are for their owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Finding, Level};
use crate::config::Config;
use crate::diag::Report;
use crate::document::Located;
use crate::proxy::tls::TlsFiles;
use crate::reload::{self, candidate};
use crate::review::Policy;

/// Looks at the files. Whoever comes here has read all of them without a fault.
pub(super) fn look(config: &Config, policy: &Policy, report: &Report) -> Vec<Finding> {
    let about = "files";
    let mut findings = vec![match report.warnings() {
        0 => Finding::new(Level::Ok, about, "configuration", "all documents can be read and are without faults"),
        warnings => {
            let message = format!("all documents can be read; there are {warnings} warnings");
            Finding::new(Level::Warn, about, "configuration", message).help("`portcullis check` shows them")
        }
    }];
    let token = config.admin.as_ref().and_then(|admin| admin.token_file.as_deref());
    findings.extend(token.map(|path| secret("admin token", path)));
    let operators = config.admin.iter().filter_map(|admin| admin.tls.as_ref());
    let all = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).chain(operators);
    let pairs = all.flat_map(TlsFiles::pairs);
    findings.extend(pairs.map(|pair| secret("private key", &pair.key)));
    // Named in a route map, and relative to it.
    let path = |file: &Located<String>| Path::new(&*report.name(file.place.source)).with_file_name(&file.value);
    for upstream in policy.routes.iter().flat_map(|routes| &routes.upstreams) {
        findings.extend(upstream.tls.client_key.iter().map(|file| secret("client key", &path(file))));
        let credentials = upstream.credentials.iter();
        findings.extend(credentials.map(|shown| secret("backend secret", &path(&shown.from_file))));
    }
    findings
}

/// Looks at the candidates, if there may be any.
pub(super) fn candidates(config: &Config) -> Vec<Finding> {
    let Some(below) = &config.candidates else { return Vec::new() };
    let live = reload::load(&config.policy, &mut Report::new());
    let checked = candidate::check(below, &config.policy, &live.content);
    let finding = |level, message: String| Finding::new(level, "candidates", "candidates", message);
    if checked.warnings.is_empty() {
        let message = match checked.read {
            0 => "none lies there".to_owned(),
            read => format!("all that lie there could be loaded: {read}"),
        };
        return vec![finding(Level::Ok, message)];
    }
    checked.warnings.into_iter().map(|(message, help)| finding(Level::Warn, message).help(help)).collect()
}

/// A group may read a secret where the system hands it out so; the world may not.
fn secret(what: &str, path: &Path) -> Finding {
    let name = path.display();
    let found = |level, message| Finding::new(level, "files", "secret", message);
    let mode = match fs::metadata(path) {
        Ok(told) => told.permissions().mode() & 0o777,
        Err(error) => return found(Level::Fail, format!("the {what} `{name}` cannot be read: {error}")),
    };
    let remedy = format!("chmod 600 {name}");
    if mode & 0o007 != 0 {
        found(Level::Fail, format!("the {what} `{name}` is open to everybody on this machine (mode {mode:o})"))
            .help(remedy)
    } else if mode & 0o070 != 0 {
        found(Level::Warn, format!("the {what} `{name}` is open to its group (mode {mode:o})")).help(remedy)
    } else {
        found(Level::Ok, format!("the {what} `{name}` is for its owner only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_its_owner() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, level) in
            [(0o600, Level::Ok), (0o400, Level::Ok), (0o640, Level::Warn), (0o644, Level::Fail), (0o602, Level::Fail)]
        {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(secret("admin token", file.path()).level, level, "{mode:o}");
        }
        assert_eq!(secret("admin token", Path::new("/nowhere/token")).level, Level::Fail);
    }
}
