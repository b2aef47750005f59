//! `revoked`: where it stands whose tokens are not believed any more.

use std::path::Path;

use super::Base;
use crate::diag::Report;
use crate::document::gateway::GatewayDocument;
use crate::reload::revoked::RevokedFiles;

/// Resolves the paths. The files must be there; the store may be missing, but not the folder that it is to be written in.
pub(super) fn resolve(document: &GatewayDocument, base: &Base, report: &mut Report) -> RevokedFiles {
    let written = &document.revoked;
    let files = base.existing(&written.files, report);
    let store = written.store.as_ref().map(|name| {
        let path = base.path(name);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() || !folder.is_dir() {
            report
                .error("bad_store", name.place, format!("`{}` cannot be a file", name.value))
                .help("name a file in a folder that exists and that this process may write in");
        } else if files.contains(&path) {
            report
                .error("bad_store", name.place, format!("`{}` is among `files` too", name.value))
                .help("the gateway writes the store alone: give it a file of its own");
        }
        path
    });
    if let Some(name) =
        written.store.as_ref().filter(|_| document.admin.as_ref().is_none_or(|admin| admin.token_file.is_none()))
    {
        report
            .warning("unused_store", name.place, "nobody can revoke by a call, because there is no admin token")
            .help("set `admin.address` and `admin.token_file`, or leave `store` out");
    }
    RevokedFiles { files, store }
}
