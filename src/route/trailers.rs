//! Which trailer fields pass: those that a route names, and nobody else's.

use std::sync::Arc;

use http::HeaderName;

use super::{Access, fields};
use crate::diag::{Place, Report};
use crate::document::Located;
use crate::document::entrance::TokenPlaceDocument;
use crate::document::routes::{ApplicationDocument, RouteDocument};
use crate::policy::Rules;

/// The trailer fields that pass in an exchange, in both directions. What a request is judged by stands in its head, so
/// a field behind the body passes only where somebody said that it may, and never one that
/// [`fields::is_forbidden_in_trailers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailers(Pass);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Pass {
    #[default]
    None,
    Named(Arc<[HeaderName]>),
    AllBut(Arc<[HeaderName]>),
}

impl Trailers {
    /// These, as far as they may be trailers at all.
    pub fn named(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Arc<[HeaderName]> =
            names.into_iter().filter(|name| !fields::is_forbidden_in_trailers(name.as_str())).collect();
        if names.is_empty() { Self::default() } else { Self(Pass::Named(names)) }
    }

    /// All that may be trailers at all: for protocols that live on them, such as gRPC.
    pub fn all() -> Self {
        Self(Pass::AllBut(Arc::default()))
    }

    /// The same without some: what `Connection` names ends at this hop, behind the body too (RFC 9110 section 7.6.1).
    #[must_use]
    pub fn without(self, names: &[HeaderName]) -> Self {
        match self.0 {
            Pass::Named(all) if all.iter().any(|name| names.contains(name)) => {
                Self::named(all.iter().filter(|name| !names.contains(name)).cloned())
            }
            Pass::AllBut(not) if !names.is_empty() => Self(Pass::AllBut(not.iter().chain(names).cloned().collect())),
            same => Self(same),
        }
    }

    /// Whether none pass.
    pub const fn is_none(&self) -> bool {
        matches!(self.0, Pass::None)
    }

    /// Whether a field of this name passes.
    pub fn permits(&self, name: &HeaderName) -> bool {
        match &self.0 {
            Pass::None => false,
            Pass::Named(names) => names.contains(name),
            Pass::AllBut(not) => !not.contains(name) && !fields::is_forbidden_in_trailers(name.as_str()),
        }
    }

    /// The names, where they are listed.
    pub fn names(&self) -> &[HeaderName] {
        match &self.0 {
            Pass::Named(names) => names,
            Pass::None | Pass::AllBut(_) => &[],
        }
    }
}

/// Reads the trailers of a route whose access is compiled.
pub(super) fn compile(
    application: &ApplicationDocument,
    route: &RouteDocument,
    access: &Access,
    report: &mut Report,
) -> Trailers {
    let mut names = Vec::new();
    let mut seen: Vec<(&str, Place)> = Vec::new();
    for written in &route.trailers {
        if let Some((_, first)) = seen.iter().find(|(name, _)| *name == written.value) {
            let message = format!("`{}` stands in this list for the second time", written.value);
            let found = report.error("duplicate_value", written.place, message);
            found.help("remove one of the two").also(*first, "first here");
        }
        seen.push((&written.value, written.place));
        names.extend(name(written, application, access, report));
    }
    Trailers::named(names)
}

fn name(
    written: &Located<String>,
    application: &ApplicationDocument,
    access: &Access,
    report: &mut Report,
) -> Option<HeaderName> {
    let name = written.value.as_str();
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(letter) {
        let message = format!("`{name}` is no name of a trailer field");
        report.error("bad_value", written.place, message).help("use lower-case letters, digits and `-`");
        return None;
    }
    if fields::is_forbidden_in_trailers(name) {
        let message = format!("`{name}` must not stand in a trailer");
        let help =
            "fields that frame, route, authorize or say who asks belong in front of the body; take it off `trailers`";
        report.error("header_clash", written.place, message).help(help);
        return None;
    }
    // Many servers merge trailers into the headers, where nobody judged them.
    let decides = matches!(access, Access::Rules(rules) if Rules::header_names(rules).any(|read| read == name));
    if decides {
        let message = format!("`{name}` decides on this route, so it cannot come behind the body");
        report.error("header_clash", written.place, message).help("take it off `trailers`");
        return None;
    }
    let carries = |place: &TokenPlaceDocument| matches!(place, TokenPlaceDocument::Header(header) if header.value.eq_ignore_ascii_case(name));
    if application.token.iter().any(carries) {
        let message = format!("`{name}` carries tokens of this application, so it cannot come behind the body");
        report.error("header_clash", written.place, message).help("take it off `trailers`");
        return None;
    }
    HeaderName::from_bytes(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<HeaderName> {
        names.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap()).collect()
    }

    fn permitted(trailers: &Trailers) -> Vec<&'static str> {
        let asked = ["x-checksum", "x_checksum", "x-other", "content-length", "x_auth_request_user"];
        asked.into_iter().filter(|name| trailers.permits(&HeaderName::from_static(name))).collect()
    }

    #[test]
    fn only_named_fields_pass_and_forbidden_ones_not_even_then() {
        assert!(permitted(&Trailers::default()).is_empty() && Trailers::default().is_none());
        let some = Trailers::named(names(&["x-checksum", "content-length"]));
        assert_eq!((permitted(&some), some.names()), (vec!["x-checksum"], &*names(&["x-checksum"])));
        assert!(Trailers::named(names(&["content-length"])).is_none());
        assert_eq!(permitted(&Trailers::all()), ["x-checksum", "x_checksum", "x-other"]);
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        let hop = names(&["x-checksum"]);
        assert!(Trailers::named(names(&["x-checksum"])).without(&hop).is_none());
        assert_eq!(permitted(&Trailers::named(names(&["x-checksum", "x-other"])).without(&hop)), ["x-other"]);
        assert_eq!(permitted(&Trailers::all().without(&hop)), ["x_checksum", "x-other"]);
        assert_eq!(permitted(&Trailers::named(names(&["x-checksum"])).without(&[])), ["x-checksum"]);
    }
}
