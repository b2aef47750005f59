//! The same request about something else: values in its path, query, form and headers replaced by others that its route
//! could mean.

use super::request::Request;
use crate::document::routes::{AccessDocument, Comparison, OriginDocument, RouteDocument, Term};
use crate::document::{Literal, Located};
use crate::policy::Domain;

/// Requests that differ from one in the value of one scope, or of one variable with a closed list; at most so many
/// for each.
pub(super) fn requests(
    request: &Request,
    route: &RouteDocument,
    domain: &Domain,
    settings: &[(&str, &Literal)],
    most: usize,
) -> Vec<Request> {
    let mut requests = Vec::new();
    for scope in &route.scopes {
        let OriginDocument::Request { from, kind } = &scope.origin else { continue };
        let Some((kind, _)) = domain.kinds().find(|(_, name)| *name == kind.value) else { continue };
        let mut values: Vec<&str> = domain.values(kind).map(|(value, _)| value).collect();
        values.sort_unstable();
        let other = values.into_iter().filter_map(|value| with_scope(request, route, from, value));
        requests.extend(other.take(most));
    }
    if let AccessDocument::Require(requirement) = &route.access {
        for (variable, list) in closed(requirement) {
            let list = match list {
                Literal::Text(name) => {
                    let name = name.strip_prefix("setting.").unwrap_or_default();
                    settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
                }
                list => Some(list),
            };
            let Some(Literal::List(list)) = list else { continue };
            let values = list.iter().map(ToString::to_string);
            let other = values.filter_map(|value| with_variable(request, route, variable, &value));
            requests.extend(other.take(most));
        }
    }
    requests
}

/// Path variables with a closed list of values, and the list or the setting that holds it.
fn closed(term: &Located<Term>) -> Vec<(&str, &Literal)> {
    match &term.value {
        Term::All(list) | Term::Any(list) => list.iter().flat_map(closed).collect(),
        Term::Compare { comparison: Comparison::In, left, right, .. } => {
            let Literal::Text(left) = &left.value else { return Vec::new() };
            left.strip_prefix("path.").map(|variable| (variable, &right.value)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The request with another value at all places of a scope that have one, or at the first that can take one.
fn with_scope(request: &Request, route: &RouteDocument, from: &[Located<String>], value: &str) -> Option<Request> {
    let mut changed = request.clone();
    let mut places = 0;
    for place in from {
        let set = match place.value.split_once('.') {
            Some(("path", name)) => with_variable(&changed, route, name, value),
            Some(("query", name)) => with_query(&changed, name, value, false),
            Some(("form", name)) => with_field(&changed, name, value, false),
            Some(("header", name)) => with_header(&changed, name, value, false),
            _ => None,
        };
        if let Some(set) = set {
            changed = set;
            places += 1;
        }
    }
    if places == 0 {
        changed = from.iter().find_map(|place| match place.value.split_once('.') {
            Some(("query", name)) => with_query(request, name, value, true),
            Some(("form", name)) => with_field(request, name, value, true),
            Some(("header", name)) => with_header(request, name, value, true),
            _ => None,
        })?;
    }
    Some(changed)
}

/// The request with another value of a path variable; `None` for one that stands for several segments.
fn with_variable(request: &Request, route: &RouteDocument, variable: &str, value: &str) -> Option<Request> {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target.as_str(), None),
    };
    let wanted = format!("{{{variable}}}");
    let position = route.path.value.split('/').position(|segment| segment == wanted)?;
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    *segments.get_mut(position)? = encoded(value);
    let path = segments.join("/");
    let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    Some(Request { target, ..request.clone() })
}

fn with_query(request: &Request, name: &str, value: &str, add: bool) -> Option<Request> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let named = |pair: &&str| pair.split('=').next() == Some(name);
    if !add && !query.split('&').any(|pair| named(&pair)) {
        return None;
    }
    let others = query.split('&').filter(|pair| !pair.is_empty() && !named(pair)).map(str::to_owned);
    let pairs: Vec<String> = others.chain([format!("{name}={}", encoded(value))]).collect();
    Some(Request { target: format!("{path}?{}", pairs.join("&")), ..request.clone() })
}

fn with_field(request: &Request, name: &str, value: &str, add: bool) -> Option<Request> {
    if !add && !request.form.iter().any(|(known, _)| known == name) {
        return None;
    }
    let mut form = request.form.clone();
    form.retain(|(known, _)| known != name);
    form.push((name.to_owned(), value.to_owned()));
    Some(request.clone().with_form(form))
}

fn with_header(request: &Request, name: &str, value: &str, add: bool) -> Option<Request> {
    let is_it = |(known, _): &(String, String)| known.eq_ignore_ascii_case(name);
    if !add && !request.headers.iter().any(is_it) {
        return None;
    }
    let mut headers = request.headers.clone();
    headers.retain(|header| !is_it(header));
    headers.push((name.to_owned(), value.to_owned()));
    Some(Request { headers, ..request.clone() })
}

/// Percent-encoded but for unreserved characters (RFC 3986 section 2.3).
fn encoded(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    value.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
