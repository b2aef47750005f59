//! What the policy may ask of a request, answered out of its head.

use std::borrow::Cow;

use http::HeaderMap;

use crate::policy::{Facts, HeaderValue};
use crate::route::canonical::CanonicalPath;
use crate::route::query;

/// A request head in the form in which it is judged.
pub(super) struct RequestFacts<'r> {
    pub(super) path: &'r CanonicalPath<'r>,
    pub(super) query: &'r str,
    pub(super) headers: &'r HeaderMap,
}

impl Facts for RequestFacts<'_> {
    fn segment(&self, index: usize) -> Option<&str> {
        self.path.segment(index)
    }

    fn rest(&self, index: usize) -> Option<&str> {
        self.path.rest(index)
    }

    fn query<'r>(&'r self, name: &str, each: &mut dyn FnMut(Cow<'r, str>)) {
        query::values(self.query, name, each);
    }

    fn header(&self, name: &str) -> HeaderValue<'_> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next().map(http::HeaderValue::to_str), values.next()) {
            (None, _) => HeaderValue::Absent,
            (Some(Ok(value)), None) => HeaderValue::One(value),
            (Some(_), _) => HeaderValue::Unclear,
        }
    }
}
