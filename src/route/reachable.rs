//! Routes that no request can take, and names that no request can have: written down, they promise a rule that never
//! applies.

use http::Method;
use http::uri::Uri;

use super::canonical::CanonicalPath;
use super::pattern::Pattern;
use super::query::Parameters;
use super::table::Table;
use super::{Access, Backend, Readings, Route, canonical, form, query};
use crate::diag::Report;
use crate::document::Located;
use crate::document::routes::{ApplicationDocument, RouteDocument};

/// The longest host name; a wildcard stands for at least one letter of it.
const LONGEST_HOST: usize = 253;

/// Reports what no request can reach in an application whose routes are all in the table. `patterns` are those of its
/// routes, where they could be read.
pub(super) fn check(
    application: &ApplicationDocument,
    backend: Backend,
    routes: &[Route],
    patterns: &[Option<Pattern>],
    table: &Table,
    report: &mut Report,
) {
    for (document, pattern) in application.routes.iter().zip(patterns) {
        if let Some(pattern) = pattern {
            one(application, document, pattern, table, report);
            form(document, pattern, backend, table, report);
        }
    }
    for (document, route) in application.routes.iter().zip(routes) {
        if let Access::Rules(rules) = &route.access {
            let help = "requests with it are refused or never read so; look for other spellings of it in the route";
            for name in rules.query_names().filter(|name| !can_be_asked(name, rules.query_names())) {
                let message = format!("no request can have the query parameter `{name}`, which this route reads");
                report.error("unreachable_query", document.id.place, message).help(help);
            }
            for name in rules.form_names().filter(|name| !can_be_filled_in(name, rules.form_names())) {
                let message = format!("no request can have the form field `{name}`, which this route reads");
                report.error("unreachable_form", document.id.place, message).help(help);
            }
        }
    }
}

fn one(
    application: &ApplicationDocument,
    route: &RouteDocument,
    pattern: &Pattern,
    table: &Table,
    report: &mut Report,
) {
    let path = &route.path;
    if let Some(why) = pattern.excess() {
        let message = format!("no request can take `{}`", route.id.value);
        report.error("unreachable_route", path.place, message).help(format!("{why}; write a shorter one"));
        return;
    }
    let taken = route.methods.iter().filter_map(|written| {
        let method = Method::from_bytes(written.value.as_bytes()).ok()?;
        Some((written, table.takers(pattern, &method))).filter(|(_, takers)| !takers.is_empty())
    });
    let taken: Vec<_> = taken.collect();
    let whole = taken.len() == route.methods.len();
    for (written, takers) in taken {
        let (place, message) = if whole {
            (path.place, format!("no request can take `{}`: other routes take all of them", route.id.value))
        } else {
            let message = format!("no {} request can take `{}`: other routes take them", written.value, route.id.value);
            (written.place, message)
        };
        let found = report.error("unreachable_route", place, message);
        found.help("remove it, or one of the others: they match more segments and go first");
        for other in takers.into_iter().filter_map(|taker| application.routes.get(taker)).take(3) {
            found.also(other.path.place, format!("`{}` takes some", other.id.value));
        }
    }
}

/// Reports literals that the backend's dialect refuses where they stand, and a script with more of the path behind it
/// that is no route by itself: the backend runs the script in either case, so a request must be allowed both.
fn form(route: &RouteDocument, pattern: &Pattern, backend: Backend, table: &Table, report: &mut Report) {
    let sample = pattern.sample();
    let message = format!("no request can take `{}`", route.id.value);
    let readings = match Readings::new(&sample, backend) {
        Ok(readings) => readings,
        Err(bad) => {
            let help = match bad.0 {
                "path_info" => "a script with more of the path behind it needs `backend: php` or `backend: iis`".into(),
                subject => format!("such a path is refused ({subject}); rename it, or declare another `backend`"),
            };
            report.error("unreachable_route", route.path.place, message).help(help);
            return;
        }
    };
    let taken = |path: &CanonicalPath<'_>, written: &Located<String>| {
        Method::from_bytes(written.value.as_bytes()).is_ok_and(|method| table.find(path, &method).is_some())
    };
    for script in readings.others.iter().filter(|script| pattern.is_literal_up_to(script.len())) {
        if !route.methods.iter().any(|written| taken(script, written)) {
            let name = script.rest(0).unwrap_or_default();
            let help = format!("the backend runs `/{name}`: give it a route of its own, with the same methods");
            report.error("unreachable_route", route.path.place, message.clone()).help(help);
        }
    }
}

/// Whether a request can name this parameter so that it is read and not taken for a look-alike of another.
fn can_be_asked<'n>(name: &str, all: impl Iterator<Item = &'n str> + Clone) -> bool {
    let asked = format!("{name}=x");
    let target = format!("/?{asked}").parse::<Uri>().ok().filter(|target| canonical::check_target(target).is_ok());
    let whole = target.is_some_and(|target| target.query() == Some(asked.as_str()));
    whole
        && is_read(&Parameters::read(&asked, std::iter::once(name)), name)
        && query::check(&asked, all, std::iter::empty()).is_ok()
}

/// The same for a field of a form, which browsers encode.
fn can_be_filled_in<'n>(name: &str, all: impl Iterator<Item = &'n str> + Clone) -> bool {
    let form = format!("{}=x", query::encoded(name));
    is_read(&Parameters::of_form(&form, std::iter::once(name)), name)
        && form::check_names(form.as_bytes(), all, std::iter::empty()).is_ok()
}

fn is_read(parameters: &Parameters<'_>, name: &str) -> bool {
    let mut read = false;
    parameters.values(name, &mut |value| read |= value == "x");
    read
}

/// Whether a request can name a host of this wildcard; `suffix` is what follows the `*.`.
pub(super) fn wildcard(suffix: &str) -> bool {
    !suffix.starts_with('[') && suffix.len() + 2 <= LONGEST_HOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_can_be_asked_for_if_nothing_in_the_query_or_the_route_takes_its_name() {
        let cases: [(&str, &[&str], bool); 10] = [
            ("town", &["town"], true),
            ("town", &["town", "land"], true),
            ("X-Town", &["X-Town"], true),
            ("a[b]", &["a[b]"], true),
            ("town", &["town", "Town"], false),
            ("a-b", &["a-b", "a.b"], false),
            ("größe", &["größe"], false),
            ("a b", &["a b"], false),
            ("a=b", &["a=b"], false),
            ("a#b", &["a#b"], false),
        ];
        for (name, all, can) in cases {
            assert_eq!(can_be_asked(name, all.iter().copied()), can, "{name} among {all:?}");
        }
    }

    #[test]
    fn a_field_can_be_filled_in_whatever_browsers_must_encode_of_its_name() {
        let cases: [(&str, &[&str], bool); 8] = [
            ("town", &["town"], true),
            ("a[b]", &["a[b]"], true),
            ("town", &["town", "Town"], false),
            ("a b", &["a b"], true),
            ("a=b", &["a=b"], true),
            ("gr\u{f6}\u{df}e", &["gr\u{f6}\u{df}e"], true),
            ("_method", &["_method"], false),
            ("access_token", &["access_token"], false),
        ];
        for (name, all, can) in cases {
            assert_eq!(can_be_filled_in(name, all.iter().copied()), can, "{name:?} among {all:?}");
        }
    }
}
