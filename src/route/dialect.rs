//! How an application's backend reads paths, and which forms of a path its clients may therefore send.

use crate::document::entrance::BackendDocument;
pub use crate::model::Dialect;

/// How a backend reads paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The kind of server.
    pub dialect: Dialect,
    /// Whether a segment may have an encoded slash (`%2F`).
    pub encoded_slash: bool,
    /// Whether a segment may have parameters (`;name=value`).
    pub semicolon: bool,
    /// Whether letter case makes no difference to literals of routes.
    pub case_insensitive: bool,
}

impl Backend {
    /// What is written, and for the rest what servers of this kind do as they come.
    pub(super) fn of(document: &BackendDocument) -> Self {
        let dialect = document.dialect;
        Self {
            dialect,
            encoded_slash: document.encoded_slash.unwrap_or(false),
            semicolon: document.semicolon.unwrap_or(dialect == Dialect::Tomcat),
            case_insensitive: document.case_insensitive.unwrap_or(dialect == Dialect::Iis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_admits_what_its_servers_do_as_they_come() {
        for (dialect, semicolon, case_insensitive) in [
            (Dialect::Strict, false, false),
            (Dialect::Iis, false, true),
            (Dialect::Tomcat, true, false),
            (Dialect::Php, false, false),
        ] {
            let written = BackendDocument { dialect, ..BackendDocument::default() };
            let backend = Backend { dialect, encoded_slash: false, semicolon, case_insensitive };
            assert_eq!(Backend::of(&written), backend);
        }
    }

    #[test]
    fn an_exception_that_is_written_counts() {
        let written = BackendDocument {
            dialect: Dialect::Tomcat,
            encoded_slash: Some(true),
            semicolon: Some(false),
            case_insensitive: Some(true),
        };
        let backend =
            Backend { dialect: Dialect::Tomcat, encoded_slash: true, semicolon: false, case_insensitive: true };
        assert_eq!(Backend::of(&written), backend);
    }
}
