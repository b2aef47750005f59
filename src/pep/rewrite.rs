//! The path as an upstream wants it: a prefix taken off, another put in front. What comes of it is judged again, so
//! that a change of the path never makes one that would have been refused.

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::Refusal;
use crate::model::Reason;
use crate::route::upstream::{Credentials, Rewrite};
use crate::route::{Application, Backend, Readings};

/// Brings the target of a permitted request into the form that its upstream wants; what it was before, where that is
/// another.
///
/// # Errors
/// A refusal if the path does not begin with what is to be taken off, or its new form could be read in two ways.
pub(super) fn rewrite(head: &mut Parts, application: &Application) -> Result<Option<Uri>, Refusal> {
    let upstream = &application.upstream;
    let query = head.uri.query().unwrap_or_default();
    if let Some(Credentials::Query { name, .. }) = &upstream.credentials
        && crate::route::query::names_alike(query, name)
    {
        return Err(Refusal::about(Reason::BadTarget, "query_credentials"));
    }
    if upstream.rewrite.is_none() {
        return Ok(None);
    }
    let bad = |subject| Refusal::about(Reason::BadTarget, subject);
    let wanted = rewritten(&head.uri, &upstream.rewrite, application.backend).map_err(bad)?;
    Ok(Some(std::mem::replace(&mut head.uri, wanted)))
}

fn rewritten(target: &Uri, rewrite: &Rewrite, backend: Backend) -> Result<Uri, &'static str> {
    let mut path = rewrite.apply(target.path(), backend.case_insensitive).ok_or("prefix")?;
    Readings::new(&path, backend).map_err(|bad| bad.0)?;
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).map_err(|_| "prefix")?);
    Uri::from_parts(parts).map_err(|_| "prefix")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::upstream::Prefix;

    fn rewritten_to(strip: &str, add: &str, target: &str) -> Result<String, &'static str> {
        let prefix = |text: &str| (!text.is_empty()).then(|| Prefix::parse(text).unwrap());
        let rewrite = Rewrite { strip: prefix(strip), add: prefix(add) };
        rewritten(&target.parse().unwrap(), &rewrite, Backend::default()).map(|uri| uri.to_string())
    }

    #[test]
    fn only_the_path_changes_and_only_at_its_beginning() {
        for (strip, add, target, becomes) in [
            ("/oms", "", "/oms/a%20b?x=/oms", "/a%20b?x=/oms"),
            ("/oms", "", "/oms?", "/?"),
            ("", "/app/v2", "/a/", "/app/v2/a/"),
            ("/oms", "/app", "https://oms.example.org/oms/a?b", "https://oms.example.org/app/a?b"),
        ] {
            assert_eq!(rewritten_to(strip, add, target).as_deref(), Ok(becomes), "{target}");
        }
    }

    #[test]
    fn what_does_not_begin_so_or_becomes_too_much_is_refused() {
        assert_eq!(rewritten_to("/oms", "", "/omsx"), Err("prefix"));
        assert_eq!(rewritten_to("/oms", "", "/a/oms"), Err("prefix"));
        assert_eq!(rewritten_to("/oms", "", "/oms//a"), Err("empty_segment"));
        assert_eq!(rewritten_to("/oms", "", "/oms/../a"), Err("dot_segment"));
        let deep = "/a".repeat(crate::route::canonical::MAX_SEGMENTS);
        assert_eq!(rewritten_to("", "/b", &deep), Err("too_many_segments"));
    }
}
