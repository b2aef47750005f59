//! What the policy may ask of a request, answered out of its head and, where its rules read one, the form in its body.

use http::HeaderMap;
use http::header::COOKIE;
use http::request::Parts;

use super::Refusal;
use crate::model::Reason;
use crate::policy::{Facts, HeaderValue, Member, Rules, Supplied};
use crate::route::Backend;
use crate::route::canonical::{BadTarget, CanonicalPath};
use crate::route::form::{self, BadForm, Need};
use crate::route::query::{self, Parameters};

/// What the judge knows of the body of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'r> {
    /// There is none.
    None,
    /// There is one, and nobody has read it.
    Unread,
    /// It was read to its end.
    Read(&'r [u8]),
}

/// A request in the form in which it is judged. Whatever a decision by its route's rules may look at is decoded here,
/// so that the decision itself needs no memory.
#[derive(Clone, Debug)]
pub struct RequestFacts<'r> {
    path: &'r CanonicalPath<'r>,
    parameters: Parameters<'r>,
    /// Without a form it has no fields.
    fields: Option<Parameters<'r>>,
    headers: &'r HeaderMap,
    /// What was looked up.
    supplied: Option<Supplied>,
}

impl<'r> RequestFacts<'r> {
    /// Takes in a path, a query and headers, to be judged by these rules before such a backend.
    ///
    /// # Errors
    /// The query could be read in two ways.
    pub fn new(
        path: &'r CanonicalPath<'r>,
        query: &'r str,
        headers: &'r HeaderMap,
        rules: &Rules,
        backend: Backend,
    ) -> Result<Self, BadTarget> {
        let merges = backend.dialect.form_overrides_query();
        let foreign = rules.form_names().filter(|name| merges && !rules.query_names().any(|read| read == *name));
        query::check(query, rules.query_names(), foreign)?;
        Ok(Self {
            path,
            parameters: Parameters::read(query, rules.query_names()),
            fields: None,
            headers,
            supplied: None,
        })
    }

    /// Takes in a form, too.
    ///
    /// # Errors
    /// The form could be read in two ways.
    pub fn with_form(self, form: &'r [u8], rules: &Rules, backend: Backend) -> Result<Self, BadForm> {
        let text = form::check(form, rules, backend)?;
        Ok(Self { fields: Some(Parameters::of_form(text, rules.form_names())), ..self })
    }

    /// Takes in what was found of the object that it is about.
    pub(super) fn with_object(self, supplied: Option<Supplied>) -> Self {
        Self { supplied, ..self }
    }

    /// Takes in all of a request that its rules read; `None` if its body has to be read first, which is not worth it
    /// for a member that may do nothing at all.
    ///
    /// # Errors
    /// A part of it could be read in two ways, or the body is none that these rules can be judged by.
    pub(super) fn take(
        path: &'r CanonicalPath<'r>,
        head: &'r Parts,
        body: Body<'r>,
        (rules, backend): (&Rules, Backend),
        member: Member<'_>,
    ) -> Result<Option<Self>, Refusal> {
        let bad_target = |bad: BadTarget| Refusal::about(Reason::BadTarget, bad.0);
        let bad_form = |BadForm(reason, subject)| Refusal::about(reason, subject);
        let query = head.uri.query().unwrap_or_default();
        let facts = Self::new(path, query, &head.headers, rules, backend).map_err(bad_target)?;
        if backend.dialect.cookie_overrides_query() && has_cookie_like(rules, &head.headers) {
            return Err(Refusal::about(Reason::BadHeader, "cookie_overrides_query"));
        }
        if matches!(body, Body::None) || member.barred().is_some() {
            return Ok(Some(facts));
        }
        match (form::need(rules, backend, &head.headers).map_err(bad_form)?, body) {
            (Need::Nothing, _) => Ok(Some(facts)),
            (Need::Form, Body::Read(form)) => facts.with_form(form, rules, backend).map_err(bad_form).map(Some),
            (Need::Form, Body::None | Body::Unread) => Ok(None),
        }
    }
}

/// Whether a cookie could take the place of a parameter or field that these rules read.
fn has_cookie_like(rules: &Rules, headers: &HeaderMap) -> bool {
    let mut read = rules.query_names().chain(rules.form_names());
    read.any(|name| headers.get_all(COOKIE).iter().any(|line| query::cookies_alike(line.as_bytes(), name)))
}

impl Facts for RequestFacts<'_> {
    #[inline]
    fn segment(&self, index: usize) -> Option<&str> {
        self.path.segment(index)
    }

    fn rest(&self, index: usize) -> Option<&str> {
        self.path.rest(index)
    }

    fn query<'r>(&'r self, name: &str, each: &mut dyn FnMut(&'r str)) {
        self.parameters.values(name, each);
    }

    fn form<'r>(&'r self, name: &str, each: &mut dyn FnMut(&'r str)) {
        if let Some(fields) = &self.fields {
            fields.values(name, each);
        }
    }

    fn supplied(&self) -> Option<&Supplied> {
        self.supplied.as_ref()
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
