//! How an application's backend reads paths, and which forms of a path its clients may therefore send.
//!
//! Nobody's backend is read for sure from here. So a form that servers disagree about is refused, or, where an
//! application admits it, the path is read once for every way in which servers of that kind read it, and the decision
//! is made on each reading: what the backend makes of the bytes, its caller was allowed. A reading never repairs: dot
//! segments, empty segments and whatever else is refused in a path is refused in every reading of it.
//!
//! Admitted by an exception, with two or three readings:
//! - `encoded_slash`, `%2F` in a segment: a letter of it (`allowEncodedSlashes NoDecode`, Tomcat's `passthrough`, most
//!   frameworks), or its end (http.sys under IIS, Tomcat's `decode`). At an end of a segment it would make an empty one and
//!   stays refused.
//! - `semicolon`, parameters of a segment: text (IIS, PHP, `getRequestURI` in a servlet), or left out up to the next slash
//!   (Tomcat, Spring), or left out with the rest of the path (older Jetty, Shiro). `..;` is then `..`, and `;x` an empty
//!   segment. An encoded slash in parameters ends them or not, depending on what is decoded first: refused.
//! - `case_insensitive`: one reading, the folded one, since literals that differ in case only are the same file and the same
//!   controller to IIS. Letters beyond ASCII are taken for others only where every folding agrees.
//!
//! Part of a dialect:
//! - `iis`, `php`: a script with a path behind it (`/index.php/extra`, `/page.aspx/Method`) runs that script (RFC 3875
//!   section 4.1.5), so it is read as what routes say of it and as the script alone. Everywhere else it is refused, and so
//!   are two scripts in one path.
//! - `iis`: names that Windows reads as other ones are refused: `:` (streams, `::$DATA`), short names (`~1`), wildcards.
//!
//! Refused in every dialect, because no honest client sends it:
//! - `\` and `%5C` (http.sys makes them slashes), dots and blanks at an end of a segment (Windows drops them), double
//!   encoding (`allowDoubleEscaping`), `%u0041` (http.sys), overlong UTF-8, `%00`, `%3B` (Spring and Shiro decode before
//!   they cut), `(S(id))` (ASP.NET leaves it out of the path), needless encoding of what needs none.

use super::canonical::{BadTarget, CanonicalPath, EncodedSlash, Form, Parameters};
use super::segment::has_encoded_slash;
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

    /// What it admits beyond a strict one, in the words of the files.
    pub fn words(self) -> Vec<&'static str> {
        let named = [
            (self.dialect != Dialect::Strict, self.dialect.word()),
            (self.encoded_slash, "encoded_slash"),
            (self.semicolon, "semicolon"),
            (self.case_insensitive, "case_insensitive"),
        ];
        named.into_iter().filter(|(admits, _)| *admits).map(|(_, word)| word).collect()
    }

    /// Whether what comes after a script in a path is told to the script.
    const fn has_path_info(self) -> bool {
        matches!(self.dialect, Dialect::Iis | Dialect::Php)
    }
}

/// A path as a backend may read it: once for each way, which are twelve at most. The request is allowed if each is.
#[derive(Clone, Debug)]
pub struct Readings<'r> {
    /// The one that logs and the backend are told of: the path as it was written.
    pub first: CanonicalPath<'r>,
    /// The others. None, and no memory for them, where the path has nothing that servers of this kind read differently.
    pub others: Vec<CanonicalPath<'r>>,
}

impl<'r> Readings<'r> {
    /// Reads the path of a request.
    ///
    /// # Errors
    /// The path has a form that the application does not admit, or in one of its readings one that nobody may send.
    pub fn new(raw: &'r str, backend: Backend) -> Result<Self, BadTarget> {
        match CanonicalPath::plain(raw) {
            Some(first) => Ok(Self { first, others: Vec::new() }),
            None => Self::careful(raw, backend),
        }
    }

    /// Reads the path of a request in every way in which such a backend may read it.
    pub(super) fn careful(raw: &'r str, backend: Backend) -> Result<Self, BadTarget> {
        let windows = backend.dialect == Dialect::Iis;
        let slashes: &[EncodedSlash] = match backend.encoded_slash && has_encoded_slash(raw) {
            true => &[EncodedSlash::Kept, EncodedSlash::Splits],
            false => &[EncodedSlash::Refused],
        };
        let parameters: &[Parameters] = match raw.split_once(';').filter(|_| backend.semicolon) {
            None => &[Parameters::Refused],
            Some((_, after)) if after.contains('/') => &[Parameters::Kept, Parameters::Cut, Parameters::CutToEnd],
            Some(_) => &[Parameters::Kept, Parameters::Cut],
        };
        let mut readings: Option<Self> = None;
        for slash in slashes {
            for parameters in parameters {
                let path = CanonicalPath::read(raw, Form { slash: *slash, parameters: *parameters, windows })?;
                let script = match path.script()? {
                    Some(_) if !backend.has_path_info() => return Err(BadTarget("path_info")),
                    Some(script) => Some(path.up_to(script)),
                    None => None,
                };
                let others = match &mut readings {
                    None => &mut readings.insert(Self { first: path, others: Vec::new() }).others,
                    Some(readings) => {
                        readings.others.push(path);
                        &mut readings.others
                    }
                };
                others.extend(script);
            }
        }
        // There is at least one way to read a path.
        readings.ok_or(BadTarget("no_slash"))
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &CanonicalPath<'r>> {
        std::iter::once(&self.first).chain(&self.others)
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

    const STRICT: Backend =
        Backend { dialect: Dialect::Strict, encoded_slash: false, semicolon: false, case_insensitive: false };
    const SLASH: Backend = Backend { encoded_slash: true, ..STRICT };
    const TOMCAT: Backend = Backend { dialect: Dialect::Tomcat, semicolon: true, ..STRICT };
    const PHP: Backend = Backend { dialect: Dialect::Php, ..STRICT };
    const IIS: Backend = Backend { dialect: Dialect::Iis, case_insensitive: true, ..STRICT };
    const ALL: Backend = Backend { encoded_slash: true, semicolon: true, ..IIS };

    /// The segments of each reading, separated by `|`.
    fn read(raw: &str, backend: Backend) -> Result<Vec<String>, &'static str> {
        let readings = Readings::new(raw, backend).map_err(|bad| bad.0)?;
        let segments = |path: &CanonicalPath<'_>| {
            (0..path.len()).map(|index| path.segment(index).unwrap()).collect::<Vec<_>>().join("|")
        };
        Ok(readings.iter().map(segments).collect())
    }

    #[test]
    fn a_path_without_the_forms_in_question_is_read_once_and_needs_no_memory_for_more() {
        for backend in [STRICT, SLASH, TOMCAT, PHP, IIS, ALL] {
            let readings = Readings::new("/a/b%20c/x.php", backend).unwrap();
            assert_eq!((readings.others.len(), readings.others.capacity()), (0, 0));
        }
    }

    #[test]
    fn an_admitted_form_is_read_in_every_way() {
        let cases: [(&str, Backend, &[&str]); 13] = [
            ("/a%2Fb/c", SLASH, &["a/b|c", "a|b|c"]),
            ("/a%2fb%2Fc", SLASH, &["a/b/c", "a|b|c"]),
            ("/a%2Fb%20c/d", SLASH, &["a/b c|d", "a|b c|d"]),
            ("/a;v=1", TOMCAT, &["a;v=1", "a"]),
            ("/a;v=1/b", TOMCAT, &["a;v=1|b", "a|b", "a"]),
            ("/a;v=1/b;w;x", TOMCAT, &["a;v=1|b;w;x", "a|b", "a"]),
            ("/a;/b", TOMCAT, &["a;|b", "a|b", "a"]),
            ("/x/a;v=%20y", TOMCAT, &["x|a;v= y", "x|a"]),
            ("/index.php/a/b", PHP, &["index.php|a|b", "index.php"]),
            ("/x/page.aspx/Get", IIS, &["x|page.aspx|Get", "x|page.aspx"]),
            ("/index.php/", PHP, &["index.php|", "index.php"]),
            ("/a.aspx%2Fb", ALL, &["a.aspx/b", "a.aspx|b", "a.aspx"]),
            (
                "/a.aspx;v/b%2Fc",
                ALL,
                &["a.aspx;v|b/c", "a.aspx|b/c", "a.aspx", "a.aspx", "a.aspx;v|b|c", "a.aspx|b|c", "a.aspx", "a.aspx"],
            ),
        ];
        for (raw, backend, readings) in cases {
            assert_eq!(read(raw, backend).unwrap(), readings, "{raw}");
        }
    }

    #[test]
    fn no_reading_may_have_what_is_refused_in_a_path() {
        for (raw, backend, subject) in [
            ("/a%2Fb", STRICT, "encoded_slash"),
            ("/a%2Fb", TOMCAT, "encoded_slash"),
            ("/a;v", STRICT, "semicolon"),
            ("/a;v", SLASH, "semicolon"),
            ("/index.php/a", STRICT, "path_info"),
            ("/index.php/a", TOMCAT, "path_info"),
            ("/index.php;v/a", TOMCAT, "path_info"),
            ("/index.php%2Fa", SLASH, "path_info"),
            ("/a.php/b.php/c", PHP, "path_info"),
            ("/a%2F..%2Fb", SLASH, "dot_segment"),
            ("/..%2Fb", SLASH, "dot_segment"),
            ("/a%2F.", SLASH, "dot_segment"),
            ("/a%2F%2Fb", SLASH, "empty_segment"),
            ("/a%2F", SLASH, "empty_segment"),
            ("/a%2F/b", SLASH, "empty_segment"),
            ("/%2Fa", SLASH, "empty_segment"),
            ("/a.%2Fb", SLASH, "trailing_dot"),
            ("/a%252Fb", SLASH, "encoded_percent"),
            ("/a/..;/b", TOMCAT, "dot_segment"),
            ("/a/..;v=1/b", TOMCAT, "dot_segment"),
            ("/a/.;/b", TOMCAT, "dot_segment"),
            ("/a/;/b", TOMCAT, "empty_segment"),
            ("/a/;v", TOMCAT, "empty_segment"),
            ("/;v", TOMCAT, "empty_segment"),
            ("/a.;v", TOMCAT, "trailing_dot"),
            ("/a;v=%00", TOMCAT, "encoded_control"),
            ("/a;v=%2e", TOMCAT, "needless_encoding"),
            ("/a%3Bv", TOMCAT, "encoded_semicolon"),
            ("/a;v%2Fb", ALL, "encoded_slash"),
            ("/a;v\\b", ALL, "backslash"),
            ("/a%5Cb", ALL, "encoded_backslash"),
            ("/a:b", IIS, "windows_character"),
            ("/a%3Ab", IIS, "windows_character"),
            ("/a~1/b", IIS, "short_name"),
            ("/%u0061", IIS, "percent_encoding"),
        ] {
            assert_eq!(read(raw, backend), Err(subject), "{raw}");
        }
    }

    #[test]
    fn a_reading_has_its_own_rest_of_the_path() {
        let readings = Readings::new("/a;v/b%2Fc;w", Backend { semicolon: true, ..SLASH }).unwrap();
        let rests: Vec<Option<&str>> = readings.iter().map(|path| path.rest(1)).collect();
        assert_eq!(rests, [Some("b/c;w"), Some("b/c"), None, Some("b/c;w"), Some("b/c"), None]);
        let readings = Readings::new("/x/a.php/b", PHP).unwrap();
        assert_eq!(readings.others[0].rest(0), Some("x/a.php"));
    }
}
