//! Objects of which somebody outside knows: looked up before the decision, and supplied to it. Of such a kind, an object
//! that nobody has looked up is never taken for one without attributes: the request is denied.

use std::collections::BTreeSet;

use super::compile::scalars;
use super::denial::{Denial, Subject};
use super::domain::{Attribute, AttributeId, Domain, Frame, KindId, Object};
use super::facts::Facts;
use super::rules::Rules;
use super::scopes;
use crate::document::Literal;
use crate::model::Reason;

/// What was found of one object, for decisions of the domain that made it.
#[derive(Clone, Debug)]
pub struct Supplied {
    kind: KindId,
    key: Box<str>,
    found: Result<Object, Denial>,
}

/// Why nothing is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There is none with this key; a word for how that is known.
    Unknown(&'static str),
    /// Nobody could say; a word for why.
    Unavailable(&'static str),
}

impl Missed {
    const fn denial(self) -> Denial {
        match self {
            Self::Unknown(word) => Denial::new(Reason::ObjectUnknown, Subject::Object(word)),
            Self::Unavailable(word) => Denial::new(Reason::ObjectUnavailable, Subject::Object(word)),
        }
    }
}

impl Frame {
    /// Whether objects of a kind are looked up by somebody outside.
    #[inline]
    pub(super) fn is_looked_up(&self, kind: KindId) -> bool {
        !self.looked_up.is_empty() && self.looked_up.contains_key(&kind.0)
    }

    /// Whether the object of these rules is looked up, so that it may have any attributes.
    pub(super) fn looks_up_object_of(&self, rules: &Rules) -> bool {
        rules.object.as_ref().is_some_and(|rule| self.is_looked_up(rule.kind))
    }

    /// Whether objects of this kind are looked up, and have this attribute if one is named.
    pub fn looks_up(&self, kind: &str, attribute: Option<&str>) -> bool {
        let attributes = self.kinds.find(kind).and_then(|kind| self.looked_up.get(&kind));
        let has =
            |attributes: &BTreeSet<u32>, name| self.attributes.find(name).is_some_and(|id| attributes.contains(&id));
        attributes.is_some_and(|attributes| attribute.is_none_or(|name| has(attributes, name)))
    }

    /// What was found of an object, as decisions of this domain read it: attributes by their names, of which those that
    /// it does not know come to nothing. `None` if the domain has no such kind.
    pub fn supply(&self, kind: &str, key: &str, found: Result<&[(Box<str>, Literal)], Missed>) -> Option<Supplied> {
        let kind = KindId(self.kinds.find(kind)?);
        let attribute = |(name, value): &(Box<str>, Literal)| {
            let texts = scalars(value).into_iter().map(String::into_boxed_str).collect();
            Some((AttributeId(self.attributes.find(name)?), Attribute { value: value.clone(), texts }))
        };
        let object = |attributes: &[_]| Object { attributes: attributes.iter().filter_map(attribute).collect() };
        Some(Supplied { kind, key: key.into(), found: found.map(object).map_err(Missed::denial) })
    }
}

/// The kind and key of the object that a decision by these rules cannot do without and that has to be looked up; its
/// facts need not have it yet.
pub fn needed_object<'c>(domain: &'c Domain, rules: &Rules, facts: &'c impl Facts) -> Option<(&'c str, &'c str)> {
    let rule = rules.object.as_ref().filter(|rule| domain.is_looked_up(rule.kind))?;
    Some((domain.kind_name(rule.kind), scopes::path(rule.key, facts)?))
}

/// Whether nothing at all was supplied of this object.
pub(super) fn is_unsaid(facts: &impl Facts, kind: KindId, key: &str) -> bool {
    !facts.supplied().is_some_and(|supplied| supplied.kind == kind && *supplied.key == *key)
}

/// The supplied object of this kind and key. Whatever else was supplied, it is none.
pub(super) fn object<'c>(facts: &'c impl Facts, kind: KindId, key: Option<&str>) -> Result<&'c Object, Denial> {
    let Some(key) = key else { return Err(Missed::Unknown("key").denial()) };
    let supplied = facts.supplied().filter(|supplied| supplied.kind == kind && *supplied.key == *key);
    match supplied {
        Some(Supplied { found: Ok(object), .. }) => Ok(object),
        Some(Supplied { found: Err(denial), .. }) => Err(*denial),
        None => Err(Missed::Unavailable("not_looked_up").denial()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Report;
    use crate::document;
    use crate::document::grants::LookedUp;
    use crate::document::routes::AccessDocument;
    use crate::model::{Guid, Level, PrincipalKey, Tenant};
    use crate::policy::rules::Variable;
    use crate::policy::{
        Asking, Builder, HeaderValue, Keep, Reach, changed_objects, decide, held_scopes, object_in_words, reach,
    };

    const GRANTS: &str = "version: 1\ndomain: d\nstrategy: {rights: tree}\nrights: [a, b]\n\
        scopes: {forest: {\"place:north\": root, \"place:south\": root}}\n\
        principals: [{id: p, tenant: t, oid: 00000000-0000-0000-0000-000000000001, flags: [f], grants: [a]}]\n";
    const TENANT: Guid = Guid(7);

    type Row = Vec<(Box<str>, Literal)>;

    struct Asked(Option<Supplied>);

    impl Facts for Asked {
        fn segment(&self, _: usize) -> Option<&str> {
            Some("1001")
        }

        fn rest(&self, _: usize) -> Option<&str> {
            None
        }

        fn query<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}

        fn form<'r>(&'r self, _: &str, _: &mut dyn FnMut(&'r str)) {}

        fn header(&self, _: &str) -> HeaderValue<'_> {
            HeaderValue::Absent
        }

        fn supplied(&self) -> Option<&Supplied> {
            self.0.as_ref()
        }
    }

    /// The domain, with officers that are looked up, and the rules of a route about one of them.
    fn world(rest: &str) -> (Domain, Rules) {
        made(rest, true)
    }

    fn made(rest: &str, looked_up: bool) -> (Domain, Rules) {
        let routes = format!(
            "version: 1\nupstreams: {{u: {{servers: [s]}}}}\napplications:\n  - name: n\n    hosts: [h]\n    domain: d\n    \
             upstream: u\n    gate: {{tenants: [t], audiences: [a]}}\n    routes:\n      - id: r\n        \
             match: {{methods: [GET], path: \"/{{n}}\"}}\n        object: {{kind: officer, key: path.n}}\n        {rest}\n"
        );
        let mut report = Report::new();
        let source = report.add_source("grants.yaml", GRANTS);
        let mut grants = document::read_grants(source, &mut report).unwrap();
        let attributes = ["place", "crew", "rank"].map(str::to_owned).into();
        if looked_up {
            grants.looked_up = vec![LookedUp { kind: "officer".into(), attributes }];
        }
        let source = report.add_source("routes.yaml", &routes);
        let routes = document::read_routes(source, &mut report).unwrap();
        let tenants = [Tenant::of_objects("t", TENANT)];
        let mut builder = Builder::new(&grants, &tenants, Keep::Decisions, &mut report);
        let route = &routes.applications[0].routes[0];
        let AccessDocument::Require(requirement) = &route.access else { panic!("no requirement") };
        let variables = &[("n".into(), Variable::Segment(0))];
        let asking = Asking { route, requirement, variables, settings: &[], definitions: [&[], &[]] };
        let rules = builder.rules(asking, &mut report);
        let (domain, _) = builder.finish(&mut report);
        assert!(!report.has_errors(), "{}", report.render());
        (domain, rules)
    }

    fn decided(world: &(Domain, Rules), supplied: Option<Supplied>) -> Result<(), Denial> {
        let (domain, rules) = world;
        let principal = domain.principal(PrincipalKey { tenant: TENANT, object: Guid(1) }).unwrap();
        let facts = Asked(supplied);
        let decided = decide(domain, rules, principal, &facts, Level::Read);
        if decided.is_err() {
            assert_eq!(
                held_scopes(domain, rules, principal, &facts, Level::Read).filter(|held| !held.is_empty()),
                None
            );
        }
        decided
    }

    /// Rules of every form, and what they permit: with these attributes they do.
    fn forms() -> Vec<(&'static str, Row)> {
        let text = |name: &str, value: &str| (name.into(), Literal::Text(value.into()));
        let crew = |names: &[&str]| {
            let names = names.iter().map(|name| Literal::Text((*name).to_owned()));
            (Box::from("crew"), Literal::List(names.collect()))
        };
        vec![
            ("require: [a]", vec![]),
            ("require: [{flag: f}]", vec![]),
            ("require: [{not_flag: g}]", vec![]),
            ("require: [{unless_denied: b}]", vec![]),
            ("require: [{any: [{flag: g}, {not_flag: g}]}]", vec![]),
            ("require: [{any: [{eq: [object.rank, 3], reason: x}, {flag: f}]}]", vec![]),
            ("require: [{eq: [object.place, north], reason: x}]", vec![text("place", "north")]),
            ("require: [{in: [object.place, [north]], reason: x}]", vec![text("place", "north")]),
            ("require: [{not_in: [object.place, [south]], reason: x}]", vec![text("place", "north")]),
            ("require: [{in: [principal.id, object.crew], reason: x}]", vec![crew(&["p", "q"])]),
            ("require: [{not_in: [principal.id, object.crew], reason: x}]", vec![crew(&["q"])]),
            ("require: [{lt: [count(object.crew), 2], reason: x}]", vec![crew(&["q"])]),
            ("require: [{eq: [count(object.crew), 0], reason: x}]", vec![crew(&[])]),
            ("scopes: {main: {from: object.place, kind: place}}\n        require: [a]", vec![text("place", "north")]),
            (
                "scopes: {main: {from: object.place, kind: place, missing: {node: \"place:south\"}}}\n        require: [a]",
                vec![],
            ),
            ("scopes: {main: {from: object.place, kind: place, missing: skip}}\n        require: [{flag: f}]", vec![]),
        ]
    }

    #[test]
    fn an_object_that_nobody_has_looked_up_is_refused_under_every_form_of_rule() {
        for (rules, attributes) in forms() {
            let world = world(rules);
            let supply = |kind, key, found| world.0.supply(kind, key, found);
            let found = decided(&world, supply("officer", "1001", Ok(&attributes)));
            assert_eq!(found, Ok(()), "{rules}");
            let reason = |supplied| decided(&world, supplied).map_err(|denial| denial.reason);
            assert_eq!(reason(None), Err(Reason::ObjectUnavailable), "{rules}");
            // Another object than the one that is asked about.
            for other in ["1002", "", "1001 ", "01001"] {
                let other = supply("officer", other, Ok(&attributes));
                assert_eq!(reason(other), Err(Reason::ObjectUnavailable), "{rules}");
            }
            assert_eq!(reason(supply("place", "1001", Ok(&attributes))), Err(Reason::ObjectUnavailable), "{rules}");
            let unknown = supply("officer", "1001", Err(Missed::Unknown("row")));
            assert_eq!(reason(unknown), Err(Reason::ObjectUnknown), "{rules}");
            let late = supply("officer", "1001", Err(Missed::Unavailable("late")));
            assert_eq!(reason(late), Err(Reason::ObjectUnavailable), "{rules}");
        }
    }

    #[test]
    fn an_attribute_without_a_value_or_with_another_one_meets_no_comparison() {
        for (rules, attributes) in forms().into_iter().filter(|(_, attributes)| !attributes.is_empty()) {
            let world = world(rules);
            assert!(decided(&world, world.0.supply("officer", "1001", Ok(&[]))).is_err(), "{rules}");
            let odd: Vec<_> = attributes.iter().map(|(name, _)| (name.clone(), Literal::Bool(true))).collect();
            let told = decided(&world, world.0.supply("officer", "1001", Ok(&odd)));
            // What is not in a list is not in it, whatever it is.
            assert_eq!(told.is_ok(), rules.contains("not_in: [object.place"), "{rules}");
        }
    }

    #[test]
    fn the_decision_says_which_object_it_needs() {
        let (domain, rules) = world("require: [a]");
        assert_eq!(needed_object(&domain, &rules, &Asked(None)), Some(("officer", "1001")));
        assert!(domain.looks_up("officer", Some("crew")) && !domain.looks_up("officer", Some("weight")));
        assert!(!domain.looks_up("place", None) && !domain.looks_up("ship", None));
    }

    #[test]
    fn tools_take_it_that_such_an_object_may_have_any_value() {
        let about = "scopes: {main: {from: object.place, kind: place}}\n        require: [a]";
        let reached = |(domain, rules): &(Domain, Rules)| {
            let principal = domain.principal(PrincipalKey { tenant: TENANT, object: Guid(1) }).unwrap();
            !matches!(reach(domain, rules, principal, Level::Read), Reach::Never(_))
        };
        // Without any object, a scope that only objects name has no value.
        let (here, there) = (made(about, true), made(about, false));
        assert_eq!((reached(&here), reached(&there)), (true, false));
    }

    #[test]
    fn a_kind_that_is_looked_up_from_now_on_is_a_change() {
        let ((old, before), (new, after)) = (made("require: [a]", false), made("require: [a]", true));
        let words = |domain: &Domain, rules: &Rules| object_in_words(domain, rules, &|_| "n".to_owned()).unwrap();
        assert_eq!(words(&old, &before), "officer by path.n");
        assert_eq!(words(&new, &after), "officer by path.n, looked up");
        assert_eq!(changed_objects(&old, &new).into_iter().collect::<Vec<_>>(), ["officer"]);
        assert!(changed_objects(&new, &new).is_empty());
    }
}
