//! The reference documents agree with the code.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::model::Reason;

/// Set to anything, it makes the tests write what they would compare with.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reasons() -> String {
    let mut page = "\
# Reasons
Every way the gateway says no. Made from `src/model/reason.rs`; a test keeps it so
(`PORTCULLIS_WRITE_DOCS=1 cargo test --release --test docs` writes it anew).

Clients get the code without its subject in the member `reason` of the answer (RFC 9457), or the whole reason for an
application with `detail_to_client: full`; a 401 never says more than `no_token` or `invalid_token`. The decision log has
the code as `decision` `deny` with `reason` and its subject, such as `right_missing:oms.officer@territory:USS`. Codes are
stable: alarms and support scripts may rely on them.

Where a comparison or condition in routes.yaml has a `reason` of its own, that word is the code; its status is 403.

| code | status | header | clients read | cause | remedy |
|---|---|---|---|---|---|
"
    .to_owned();
    for reason in Reason::ALL {
        let header = if reason.header().is_empty() { String::new() } else { format!("`{}`", reason.header()) };
        let (code, status) = (reason.code(), reason.status());
        let (title, cause, remedy) = (reason.title(), reason.cause(), reason.remedy());
        writeln!(page, "| `{code}` | {status} | {header} | {title} | {cause} | {remedy} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_reasons_is_made_from_the_code() {
    let path = root("docs/reasons.md");
    let made = reasons();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let different = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert_eq!(different, None, "run with {WRITE}=1 to write the page anew");
    assert_eq!(made.len(), written.len(), "run with {WRITE}=1 to write the page anew");
}
