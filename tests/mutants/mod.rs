//! Every way to change one term of a route map, or the strategy of a grants document.

mod strategy;

use portcullis::document::routes::{
    AccessDocument, Comparison, Condition, Definition, MissingDocument, OriginDocument, RouteDocument, RoutesDocument,
    SettingTest, Term,
};
use portcullis::document::{Literal, Located};

pub use strategy::of_strategy;

/// A route map with one change.
pub struct Mutant {
    /// `ROUTE: WHAT`.
    pub what: String,
    /// The map.
    pub routes: RoutesDocument,
}

/// One change of a part of a document.
type Change<T> = (String, Located<T>);

/// All mutants of a route map, without its tests.
pub fn of(routes: &RoutesDocument) -> Vec<Mutant> {
    let original = RoutesDocument { tests: Vec::new(), ..routes.clone() };
    let mut mutants = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut RoutesDocument)| {
        let mut routes = original.clone();
        change(&mut routes);
        mutants.push(Mutant { what, routes });
    };
    let names = |list: &[Definition]| list.iter().map(|definition| definition.name.value.clone()).collect::<Vec<_>>();
    let shared = names(&original.define);
    for (index, definition) in original.define.iter().enumerate() {
        for (what, term) in requirement(&definition.requirement, &Around { definitions: &shared, route: None }) {
            let what = format!("{}: {what}", definition.name.value);
            add(what, &|routes| routes.define[index].requirement = term.clone());
        }
    }
    for (at, application) in original.applications.iter().enumerate() {
        let definitions = [shared.clone(), names(&application.define)].concat();
        for (index, definition) in application.define.iter().enumerate() {
            for (what, term) in requirement(&definition.requirement, &Around { definitions: &definitions, route: None })
            {
                let what = format!("{}: {what}", definition.name.value);
                add(what, &|routes| routes.applications[at].define[index].requirement = term.clone());
            }
        }
        for (number, route) in application.routes.iter().enumerate() {
            for (what, changed) in of_route(route, &definitions) {
                let what = format!("{}: {what}", route.id.value);
                add(what, &|routes| routes.applications[at].routes[number] = changed.clone());
            }
        }
    }
    mutants
}

/// What the names in a term may refer to.
struct Around<'d> {
    definitions: &'d [String],
    /// `None` in a definition, which many routes share.
    route: Option<&'d RouteDocument>,
}

fn of_route(route: &RouteDocument, definitions: &[String]) -> Vec<(String, RouteDocument)> {
    let mut found = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut RouteDocument)| {
        let mut changed = route.clone();
        change(&mut changed);
        found.push((what, changed));
    };
    let nothing = || AccessDocument::Require(Located::new(route.id.place, Term::All(Vec::new())));
    match &route.access {
        AccessDocument::Public => add("not public".into(), &|route| route.access = AccessDocument::GateOnly),
        AccessDocument::GateOnly => {
            add("public".into(), &|route| route.access = AccessDocument::Public);
            add("for known principals".into(), &|route| route.access = nothing());
        }
        AccessDocument::Require(asked) => {
            add("gate only".into(), &|route| route.access = AccessDocument::GateOnly);
            for (what, term) in requirement(asked, &Around { definitions, route: Some(route) }) {
                add(what, &|route| route.access = AccessDocument::Require(term.clone()));
            }
        }
    }
    for index in 0..route.methods.len() {
        let method = route.methods[index].value.clone();
        add(format!("without {method}"), &|route| {
            route.methods.remove(index);
            route.levels.retain(|(leveled, _)| leveled.value != method);
        });
    }
    for index in 0..route.levels.len() {
        let what = format!("without the level of {}", route.levels[index].0.value);
        add(what, &|route| drop(route.levels.remove(index)));
    }
    for (index, scope) in route.scopes.iter().enumerate() {
        let name = &scope.name.value;
        // A value in the path is never missing.
        let always = |place: &Located<String>| place.value.starts_with("path.");
        match &scope.origin {
            OriginDocument::Request { from, .. } => {
                for place in (0..from.len()).filter(|_| from.len() > 1) {
                    add(format!("{name} without {}", from[place].value), &|route| {
                        if let OriginDocument::Request { from, .. } = &mut route.scopes[index].origin {
                            from.remove(place);
                        }
                    });
                }
                if !from.iter().any(always) {
                    for (what, missing) in when_missing(&scope.missing) {
                        add(format!("{name} when missing: {what}"), &|route| {
                            route.scopes[index].missing = missing.clone();
                        });
                    }
                }
            }
            OriginDocument::Node(node) => add(format!("{name} at the root"), &|route| {
                route.scopes[index].origin = OriginDocument::Node(Located::new(node.place, "root".into()));
            }),
        }
    }
    found
}

fn when_missing(missing: &Located<MissingDocument>) -> Vec<Change<MissingDocument>> {
    let to = |what: &str, value: MissingDocument| (what.to_owned(), Located::new(missing.place, value));
    let root = || to("root", MissingDocument::Node(Located::new(missing.place, "root".into())));
    match &missing.value {
        MissingDocument::Deny => vec![to("skip", MissingDocument::Skip), root()],
        MissingDocument::Skip | MissingDocument::SameAs(_) | MissingDocument::Node(_) => {
            let skip = (missing.value != MissingDocument::Skip).then(|| to("skip", MissingDocument::Skip));
            skip.into_iter().chain([to("deny", MissingDocument::Deny), root()]).collect()
        }
        MissingDocument::When { condition, then, otherwise } => {
            let with = |condition: Located<Condition>, then: &Located<MissingDocument>, otherwise| {
                let (then, otherwise) = (Box::new(then.clone()), Box::new(Located::clone(otherwise)));
                MissingDocument::When { condition: Box::new(condition), then, otherwise }
            };
            let mut found = vec![
                to("always as in `then`", then.value.clone()),
                to("always as in `else`", otherwise.value.clone()),
                to("turned round", with(Located::clone(condition), otherwise, then)),
            ];
            for (what, changed) in of_condition(condition) {
                found.push(to(&what, with(changed, then, otherwise)));
            }
            found
        }
    }
}

/// A requirement without all it asks, and with each of its terms changed.
fn requirement(asked: &Located<Term>, around: &Around<'_>) -> Vec<Change<Term>> {
    let mut found = of_term(asked, around);
    if !matches!(asked.value, Term::All(_)) {
        found.push((format!("without {}", brief(&asked.value)), Located::new(asked.place, Term::All(Vec::new()))));
    }
    found
}

/// A list without each of its elements, and with each changed.
fn of_list(
    list: &[Located<Term>],
    around: &Around<'_>,
    whole: &dyn Fn(Vec<Located<Term>>) -> Term,
) -> Vec<(String, Term)> {
    let mut found = Vec::new();
    for (index, element) in list.iter().enumerate() {
        let mut rest = list.to_vec();
        rest.remove(index);
        found.push((format!("without {}", brief(&element.value)), whole(rest)));
        for (what, changed) in of_term(element, around) {
            let mut list = list.to_vec();
            list[index] = changed;
            found.push((what, whole(list)));
        }
    }
    found
}

fn of_term(term: &Located<Term>, around: &Around<'_>) -> Vec<Change<Term>> {
    let place = term.place;
    let nothing = || Located::new(place, Term::All(Vec::new()));
    let brief = brief(&term.value);
    let found: Vec<(String, Term)> = match &term.value {
        Term::All(list) => of_list(list, around, &Term::All),
        Term::Any(list) => {
            let mut found = of_list(list, around, &Term::Any);
            found
                .extend(list.first().map(|first| (format!("only {}", self::brief(&first.value)), first.value.clone())));
            found
        }
        Term::Right(text) if around.definitions.contains(text) => Vec::new(),
        Term::Right(text) => {
            rights(text, around).into_iter().map(|to| (format!("{brief} -> {to}"), Term::Right(to))).collect()
        }
        Term::Flag(flag) => vec![(format!("{brief} turned round"), Term::NotFlag(flag.clone()))],
        Term::NotFlag(flag) => vec![(format!("{brief} turned round"), Term::Flag(flag.clone()))],
        Term::UnlessDenied(text) => {
            let mut found = vec![(format!("{brief} -> held"), Term::Right(text.clone()))];
            found.extend(
                scopes(text, around).into_iter().map(|to| (format!("{brief} -> {to}"), Term::UnlessDenied(to))),
            );
            found
        }
        Term::When { condition, then, otherwise } => {
            let with =
                |condition: &Located<Condition>, then: &Located<Term>, otherwise: Option<Located<Term>>| Term::When {
                    condition: condition.clone(),
                    then: Box::new(then.clone()),
                    otherwise: otherwise.map(Box::new),
                };
            let other = otherwise.as_deref().cloned();
            let mut found = vec![
                (format!("{brief} always"), then.value.clone()),
                (format!("{brief} never"), other.clone().unwrap_or_else(nothing).value),
                (
                    format!("{brief} turned round"),
                    with(condition, &other.clone().unwrap_or_else(nothing), Some(Located::clone(then))),
                ),
            ];
            for (what, changed) in of_condition(condition) {
                found.push((format!("{brief}: {what}"), with(&changed, then, other.clone())));
            }
            for (what, changed) in of_term(then, around) {
                found.push((format!("{brief}, then {what}"), with(condition, &changed, other.clone())));
            }
            for (what, changed) in other.iter().flat_map(|other| of_term(other, around)) {
                found.push((format!("{brief}, else {what}"), with(condition, then, Some(changed))));
            }
            found
        }
        Term::Condition { condition, reason } => {
            let changed = of_condition(condition).into_iter();
            changed
                .map(|(what, condition)| {
                    (format!("{brief}: {what}"), Term::Condition { condition, reason: reason.clone() })
                })
                .collect()
        }
        Term::Compare { comparison, left, right, reason } => {
            let with = |comparison: Comparison, left: &Located<Literal>, right: &Located<Literal>| Term::Compare {
                comparison,
                left: left.clone(),
                right: right.clone(),
                reason: reason.clone(),
            };
            let other = match comparison {
                Comparison::In | Comparison::Eq => Comparison::NotIn,
                Comparison::NotIn => Comparison::In,
                Comparison::Lt => Comparison::Eq,
            };
            vec![
                (format!("{brief} -> {other:?}"), with(other, left, right)),
                (format!("{brief} with its sides changed"), with(*comparison, right, left)),
            ]
        }
    };
    found.into_iter().map(|(what, term)| (what, Located::new(place, term))).collect()
}

/// A right with another level, and asked for elsewhere.
fn rights(text: &str, around: &Around<'_>) -> Vec<String> {
    let (head, at) = text.split_once(' ').map_or((text, String::new()), |(head, at)| (head, format!(" {at}")));
    let (right, level) = head.split_once(':').unwrap_or((head, "read"));
    let levels = ["read", "write", "delete"].into_iter().filter(|other| *other != level);
    let mut found: Vec<String> = levels.map(|level| format!("{right}:{level}{at}")).collect();
    found.extend(scopes(text, around));
    found
}

/// A right asked for at every other scope of the route, and there or anywhere below or not.
fn scopes(text: &str, around: &Around<'_>) -> Vec<String> {
    let (head, at) = text.split_once(" @").unwrap_or((text, ""));
    let (at, below) = at.strip_suffix("/*").map_or((at, false), |at| (at, true));
    let known: Vec<&str> =
        around.route.iter().flat_map(|route| &route.scopes).map(|scope| scope.name.value.as_str()).collect();
    let own = match at {
        "" if known.contains(&"main") => "main",
        "" => "root",
        at => at,
    };
    let others = known.iter().copied().chain(["root"]).filter(|other| *other != own);
    let mut found: Vec<String> =
        others.map(|other| format!("{head} @{other}{}", if below { "/*" } else { "" })).collect();
    // What a definition asks for without a scope is at another scope in each route.
    if around.route.is_some() || !at.is_empty() {
        found.push(format!("{head} @{own}{}", if below { "" } else { "/*" }));
    }
    found
}

fn of_condition(condition: &Located<Condition>) -> Vec<Change<Condition>> {
    let found: Vec<(String, Condition)> = match &condition.value {
        Condition::All(list) => of_conditions(list, &Condition::All),
        Condition::Any(list) => of_conditions(list, &Condition::Any),
        Condition::Setting { name, test } => {
            let with = |test| Condition::Setting { name: name.clone(), test };
            let name = &name.value;
            match test {
                SettingTest::True => {
                    let no = Located::new(condition.place, Literal::Bool(false));
                    vec![(format!("not {name}"), with(SettingTest::Is(no)))]
                }
                SettingTest::Is(_) => Vec::new(),
                SettingTest::Bit(bit) => [bit.value << 1, bit.value >> 1]
                    .into_iter()
                    .filter(|bit| *bit > 0)
                    .map(|other| {
                        (format!("bit {other} of {name}"), with(SettingTest::Bit(Located::new(bit.place, other))))
                    })
                    .collect(),
                SettingTest::BitOf { of, map } => {
                    let mut found = Vec::new();
                    for (index, (value, bit)) in map.iter().enumerate() {
                        let mut rest = map.clone();
                        rest.remove(index);
                        let value = &value.value;
                        found.push((
                            format!("no bit for {value}"),
                            with(SettingTest::BitOf { of: of.clone(), map: rest }),
                        ));
                        let mut other = map.clone();
                        other[index].1.value = bit.value << 3;
                        found.push((
                            format!("another bit for {value}"),
                            with(SettingTest::BitOf { of: of.clone(), map: other }),
                        ));
                    }
                    found
                }
            }
        }
    };
    found.into_iter().map(|(what, changed)| (what, Located::new(condition.place, changed))).collect()
}

fn of_conditions(
    list: &[Located<Condition>],
    whole: &dyn Fn(Vec<Located<Condition>>) -> Condition,
) -> Vec<(String, Condition)> {
    let mut found = Vec::new();
    for (index, element) in list.iter().enumerate() {
        let mut rest = list.to_vec();
        rest.remove(index);
        if let Condition::Setting { name, .. } = &element.value {
            found.push((format!("without {}", name.value), whole(rest)));
        }
        for (what, changed) in of_condition(element) {
            let mut list = list.to_vec();
            list[index] = changed;
            found.push((what, whole(list)));
        }
    }
    found
}

/// A term in a few words.
fn brief(term: &Term) -> String {
    match term {
        Term::All(list) => format!("all of {}", list.len()),
        Term::Any(list) => format!("any of {}", list.len()),
        Term::Right(text) => text.clone(),
        Term::Flag(flag) => format!("flag {flag}"),
        Term::NotFlag(flag) => format!("not_flag {flag}"),
        Term::UnlessDenied(text) => format!("unless_denied {text}"),
        Term::When { condition, .. } => format!("when {}", condition_in_brief(&condition.value)),
        Term::Condition { reason, .. } | Term::Compare { reason, .. } => reason.value.clone(),
    }
}

fn condition_in_brief(condition: &Condition) -> String {
    match condition {
        Condition::All(list) | Condition::Any(list) => {
            list.iter().map(|one| condition_in_brief(&one.value)).collect::<Vec<_>>().join("+")
        }
        Condition::Setting { name, .. } => name.value.clone(),
    }
}
