//! What the policy may ask of a request, answered out of its head.

use http::HeaderMap;

use crate::policy::{Facts, HeaderValue, Rules};
use crate::route::canonical::{BadTarget, CanonicalPath};
use crate::route::query::{self, Parameters};

/// A request head in the form in which it is judged. Whatever a decision by its route's rules may look at is decoded here,
/// so that the decision itself needs no memory.
#[derive(Clone, Debug)]
pub struct RequestFacts<'r> {
    path: &'r CanonicalPath<'r>,
    parameters: Parameters<'r>,
    headers: &'r HeaderMap,
}

impl<'r> RequestFacts<'r> {
    /// Takes in a path, a query and headers, to be judged by these rules.
    ///
    /// # Errors
    /// The query could be read in two ways.
    pub fn new(
        path: &'r CanonicalPath<'r>,
        query: &'r str,
        headers: &'r HeaderMap,
        rules: &Rules,
    ) -> Result<Self, BadTarget> {
        query::check(query, rules.query_names())?;
        Ok(Self { path, parameters: Parameters::read(query, rules.query_names()), headers })
    }
}

impl Facts for RequestFacts<'_> {
    fn segment(&self, index: usize) -> Option<&str> {
        self.path.segment(index)
    }

    fn rest(&self, index: usize) -> Option<&str> {
        self.path.rest(index)
    }

    fn query<'r>(&'r self, name: &str, each: &mut dyn FnMut(&'r str)) {
        self.parameters.values(name, each);
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
