//! Random worlds and requests. Names are few, so that things meet: what is granted, what is asked, and where. What the
//! strategies make is then made to fit (`fit`), so that every world loads.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fit::fit;
use crate::world::{
    Access, Across, Asked, Caller, Claimed, Comparison, Condition, Definition, Effect, Gate, Given, Grant, Group,
    Level, Missing, Operand, Origin, Principal, Reference, Request, Role, Route, Scope, Segment, Status,
    Strategy as Rules, Term, Test, Value, World,
};

const NODES: [&str; 6] = ["land:N", "town:X", "town:Y", "town:Old Town", "land:S", "desk:1"];
const RIGHTS: [&str; 8] = ["a", "a.b", "a.b.c", "a.d", "e", "e.b", "ab", "b"];
/// The same, as often as they are granted and asked for: mostly those that cover one another.
const GRANTED: [&str; 12] = ["a", "a", "a.b", "a.b", "a.b", "a.b.c", "a.b.c", "a.b.c", "a.d", "e", "ab", "b"];
const ASKED: [&str; 11] = ["a.b.c", "a.b.c", "a.b.c", "a.b.c", "a.b", "a.b", "a.b", "a.d", "a.d.x", "e.b", "b"];
const FLAGS: [&str; 3] = ["f", "g", "ro"];
const GROUPS: [&str; 4] = ["G", "H", "I", "J"];
const ROLES: [&str; 4] = ["R", "S", "T", "U"];
const METHODS: [&str; 8] = ["GET", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "REPORT", "HEAD"];
/// Values of scopes that requests bring: mostly nodes and aliases.
const PLACES: [&str; 16] =
    ["X", "X", "X", "X", "X", "N", "N", "N", "Y", "Y", "S", "1", "77", "Alt", "Old Town", "nowhere"];
/// Other values that requests bring: keys of objects and elements of lists.
const KEYS: [&str; 14] = ["b", "b", "b", "d", "d", "e", "1", "X", "N", "u", "p", "2", "007", "-0"];
/// Either.
const VALUES: [&str; 10] = ["X", "N", "b", "d", "1", "u", "p", "2", "007", "-0"];
const OIDS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000f",
];
const AUDIENCES: [&str; 3] = ["api://app", "api://same", "api://other"];
const APP_ROLES: [&str; 3] = ["Access", "Other", "IPS Access"];

/// Values of a token's `groups` as documents name them, and as tokens do.
pub const MAPPED: [&str; 3] = ["0a0a0a0a-0000-4000-8000-00000000000A", "0a0a0a0a-0000-4000-8000-00000000000b", "staff"];
const CLAIMED: [&str; 5] = [
    "0A0a0a0a-0000-4000-8000-00000000000a",
    "0a0a0a0a-0000-4000-8000-00000000000b",
    "0a0a0a0a-0000-4000-8000-00000000000c",
    "staff",
    "Staff",
];

/// One of a few names.
fn name(names: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(names).prop_map(str::to_owned)
}

/// Some of a few names, each once.
fn some(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> + Clone {
    between(names, 0, most)
}

fn between(names: &'static [&'static str], least: usize, most: usize) -> impl Strategy<Value = Vec<String>> + Clone {
    vec(name(names), least..=most).prop_map(|mut names| {
        names.sort();
        names.dedup();
        names
    })
}

fn level() -> impl Strategy<Value = Level> + Clone {
    select(&[Level::Read, Level::Write, Level::Delete][..])
}

/// `denials` in ten are denials.
fn effect(denials: u32) -> impl Strategy<Value = Effect> + Clone {
    prop_oneof![10 - denials => level().prop_map(Effect::Allow), denials => Just(Effect::Deny)]
}

fn right(denials: u32) -> impl Strategy<Value = (String, Effect)> + Clone {
    (name(&GRANTED), effect(denials))
}

fn node() -> impl Strategy<Value = String> + Clone {
    prop_oneof![2 => Just("root".to_owned()), 2 => name(&NODES[..2]), 4 => name(&NODES)]
}

fn grant(denials: u32) -> impl Strategy<Value = Grant> + Clone {
    grant_of(right(denials), denials)
}

/// A grant of a principal: mostly of less than groups give, so that it matters whose word counts.
fn own_grant(denials: u32) -> impl Strategy<Value = Grant> + Clone {
    let low = (name(&GRANTED), Just(Effect::Allow(Level::Read)));
    grant_of(prop_oneof![low, right(denials)], denials)
}

fn grant_of(
    one: impl Strategy<Value = (String, Effect)> + Clone,
    denials: u32,
) -> impl Strategy<Value = Grant> + Clone {
    let given = prop_oneof![
        6 => one.prop_map(|right| Given::Rights(vec![right])),
        1 => vec(right(denials), 1..3).prop_map(Given::Rights),
        3 => name(&ROLES).prop_map(Given::Role),
    ];
    let at = prop_oneof![3 => vec(node(), 0..=0), 6 => vec(node(), 1..=1), 1 => vec(node(), 2..=2)];
    (given, at).prop_map(|(given, at)| Grant { given, at })
}

fn strategy(denials: u32) -> impl Strategy<Value = Rules> {
    let caps = vec((name(&FLAGS), level()), 0..2);
    // A boundary takes much away, so it is seldom; what adds up without denials does so without a boundary.
    let boundary = if denials == 0 { 0.0 } else { 0.3 };
    (any::<bool>(), any::<bool>(), select(&Across::ALL[..]), prop::bool::weighted(boundary), caps)
        .prop_map(|(flat, nearest, across, boundary, caps)| Rules { flat, nearest, across, boundary, caps })
}

fn roles(denials: u32) -> impl Strategy<Value = Vec<Role>> {
    let role = (any::<bool>(), some(&ROLES, 3), some(&GRANTED, 3), vec(right(denials), 0..4));
    vec(role, ROLES.len()).prop_map(|roles| {
        let named = roles.into_iter().zip(ROLES);
        named
            .map(|((reserved, includes, without, rights), name)| Role {
                name: name.into(),
                reserved,
                includes,
                without,
                rights,
            })
            .collect()
    })
}

fn groups(denials: u32) -> impl Strategy<Value = Vec<Group>> {
    let inactive = prop::bool::weighted(0.02);
    let group = (some(&GROUPS, 2), some(&FLAGS, 1), inactive, vec(grant(denials), 0..5));
    vec(group, GROUPS.len()).prop_map(|groups| {
        let named = groups.into_iter().zip(GROUPS);
        named
            .map(|((parents, flags, inactive, grants), name)| Group {
                name: name.into(),
                parents,
                flags,
                inactive,
                grants,
            })
            .collect()
    })
}

fn principals(denials: u32) -> impl Strategy<Value = Vec<Principal>> {
    let status = prop_oneof![
        16 => Just(Status::Active),
        1 => select(&[Status::Inactive, Status::Deleted, Status::Reserved][..]),
    ];
    let boundary = weighted(0.9, vec(node(), 0..4));
    let one = (status, some(&FLAGS, 2), some(&GROUPS, 3), boundary, vec(own_grant(denials), 0..6));
    let keys = [("p", "t1", 0), ("q", "t1", 1), ("X", "t2", 0)];
    vec(one, keys.len()).prop_map(move |all| {
        let keyed = all.into_iter().zip(keys);
        keyed
            .map(|((status, flags, groups, boundary, grants), (id, tenant, oid))| Principal {
                id: id.into(),
                tenant: tenant.into(),
                oid: OIDS[oid].into(),
                status,
                flags,
                groups,
                boundary,
                grants,
            })
            .collect()
    })
}

fn text(names: &'static [&'static str]) -> impl Strategy<Value = Value> + Clone {
    name(names).prop_map(Value::Text)
}

fn number() -> impl Strategy<Value = Value> + Clone {
    (-1_i64..9).prop_map(Value::Int)
}

/// One value, of any type but a list.
fn scalar() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![3 => text(&VALUES), 2 => number(), 1 => any::<bool>().prop_map(Value::Bool)]
}

fn values() -> impl Strategy<Value = Value> + Clone {
    vec(scalar(), 0..4).prop_map(Value::List)
}

/// Attributes of an object; each may be absent.
fn attributes() -> impl Strategy<Value = Vec<(String, Value)>> {
    let towns = prop_oneof![
        4 => text(&["X", "X", "Y", "Old Town", "Alt", "nowhere"]),
        1 => vec(text(&["X", "Y"]), 0..3).prop_map(Value::List),
    ];
    let word = prop_oneof![8 => text(&["u", "v", "p"]), 1 => number()];
    let all = (
        weighted(0.8, towns),
        weighted(0.8, text(&["N", "N", "S"])),
        weighted(0.8, word),
        weighted(0.8, scalar()),
        weighted(0.8, prop_oneof![4 => values(), 1 => scalar()]),
    );
    all.prop_map(|(town, land, kind, n, list)| {
        let named = [("town", town), ("land", land), ("kind", kind), ("n", n), ("list", list)];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

fn settings() -> impl Strategy<Value = Vec<(String, Value)>> {
    let keys = vec(text(&["b", "d", "e", "b.c", "ab"]), 1..4).prop_map(Value::List);
    (any::<bool>(), any::<bool>(), 0_i64..8, scalar(), values(), keys).prop_map(|(s, m, n, word, list, keys)| {
        let named = [
            ("s", Value::Bool(s)),
            ("m", Value::Bool(m)),
            ("n", Value::Int(n)),
            ("word", word),
            ("list", list),
            ("keys", keys),
        ];
        named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

/// A condition on settings; `open` ones may ask for the bit of a value in the request.
fn condition(open: bool) -> BoxedStrategy<Condition> {
    let bits = vec((name(&["u", "v", "X", "b", "1"]), select(&[1_i64, 2, 4, 8][..])), 2..7).prop_map(|mut bits| {
        bits.sort();
        bits.dedup_by(|a, b| a.0 == b.0);
        bits
    });
    let of = prop_oneof![3 => Just(Reference::Object("kind".into())), 1 => reference()];
    let plain = prop_oneof![
        2 => name(&["s", "m"]).prop_map(|name| Condition::Setting(name, Test::True)),
        1 => any::<bool>().prop_map(|is| Condition::Setting("s".into(), Test::Is(Value::Bool(is)))),
        1 => scalar().prop_map(|is| Condition::Setting("word".into(), Test::Is(is))),
        2 => select(&[1_i64, 2, 4][..]).prop_map(|bit| Condition::Setting("n".into(), Test::Bit(bit))),
    ];
    let bit_of = (of, bits).prop_map(|(of, map)| Condition::Setting("n".into(), Test::BitOf(of, map)));
    let leaf = if open { prop_oneof![4 => plain, 1 => bit_of].boxed() } else { plain.boxed() };
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![vec(inner.clone(), 1..3).prop_map(Condition::All), vec(inner, 1..3).prop_map(Condition::Any)]
    })
    .boxed()
}

fn reference() -> impl Strategy<Value = Reference> + Clone {
    prop_oneof![
        4 => name(&["k", "j", "r"]).prop_map(Reference::Path),
        3 => name(&["q", "t"]).prop_map(Reference::Query),
        1 => name(&["q", "t"]).prop_map(Reference::Form),
        2 => name(&["X-Q", "X-T"]).prop_map(Reference::Header),
        4 => name(&["town", "kind", "n"]).prop_map(Reference::Object),
        2 => name(&["s", "n", "word"]).prop_map(Reference::Setting),
        1 => Just(Reference::Count("list".into())),
        2 => Just(Reference::PrincipalId),
    ]
}

fn list_operand() -> impl Strategy<Value = Operand> + Clone {
    prop_oneof![
        3 => vec(scalar(), 1..6).prop_map(|list| Operand::Constant(Value::List(list))),
        2 => name(&["list", "keys"]).prop_map(|name| Operand::Of(Reference::Setting(name))),
        2 => name(&["list", "town"]).prop_map(|name| Operand::Of(Reference::Object(name))),
    ]
}

fn compare() -> impl Strategy<Value = Term> + Clone {
    let of = || reference().prop_map(Operand::Of);
    let reason = name(&["unlike", "outside"]);
    let other = prop_oneof![2 => of(), 2 => scalar().prop_map(Operand::Constant)];
    let counted = prop_oneof![
        2 => Just(Operand::Of(Reference::Count("list".into()))),
        1 => Just(Operand::Of(Reference::Setting("n".into()))),
        2 => of(),
    ];
    let limit = prop_oneof![3 => number().prop_map(Operand::Constant), 2 => of()];
    prop_oneof![
        3 => (Just(Comparison::Eq), of(), other, reason.clone()),
        3 => (select(&[Comparison::In, Comparison::NotIn][..]), of(), list_operand(), reason.clone()),
        2 => (Just(Comparison::Lt), counted, limit, reason),
    ]
    .prop_map(|(comparison, left, right, reason)| Term::Compare(comparison, left, right, reason))
}

/// A right that the request names, behind the list that bounds it.
fn closed_right() -> impl Strategy<Value = Term> + Clone {
    let right = name(&["a.{j}", "a.{k}", "{j}", "a.{j}.c"]);
    let list = prop_oneof![
        Just(Operand::Of(Reference::Setting("keys".into()))),
        Just(Operand::Constant(Value::List(["b", "d", "e"].map(|key| Value::Text(key.into())).to_vec()))),
    ];
    (right, list, asked(), place(), any::<bool>()).prop_map(|(name, list, asked, at, below)| {
        let variable = if name.contains("{k}") { "k" } else { "j" };
        let of = Operand::Of(Reference::Path(variable.into()));
        let bound = Term::Compare(Comparison::In, of, list, "value_not_allowed".into());
        Term::All(vec![bound, Term::Right { name, asked, at, below }])
    })
}

fn asked() -> impl Strategy<Value = Asked> + Clone {
    prop_oneof![3 => level().prop_map(Asked::Level), 2 => Just(Asked::ByMethod)]
}

fn place() -> impl Strategy<Value = Option<String>> + Clone {
    prop_oneof![4 => Just(None), 4 => name(&["main", "t", "u"]).prop_map(Some), 1 => Just(Some("root".into()))]
}

fn one_right() -> impl Strategy<Value = Term> + Clone {
    (name(&ASKED), asked(), place(), prop::bool::weighted(0.25)).prop_map(|(name, asked, at, below)| Term::Right {
        name,
        asked,
        at,
        below,
    })
}

/// A requirement about rights and nothing else.
fn rights() -> impl Strategy<Value = Term> {
    let one = prop_oneof![8 => one_right(), 2 => closed_right()].boxed();
    let denied = (name(&ASKED), place()).prop_map(|(name, at)| Term::UnlessDenied { name, at });
    prop_oneof![
        6 => one.clone(),
        1 => denied,
        2 => vec(one.clone(), 2..4).prop_map(Term::Any),
        1 => vec(one, 2..3).prop_map(Term::All),
    ]
}

/// A requirement of any kind.
fn term() -> BoxedStrategy<Term> {
    let leaf = prop_oneof![
        10 => one_right(),
        3 => closed_right(),
        1 => (name(&RIGHTS), place()).prop_map(|(name, at)| Term::UnlessDenied { name, at }),
        1 => name(&["d0", "d1", "d2"]).prop_map(Term::Defined),
        1 => name(&FLAGS).prop_map(Term::Flag),
        1 => name(&FLAGS).prop_map(Term::NotFlag),
        1 => (condition(true), name(&["switched_off", "approvals_inactive"]))
            .prop_map(|(condition, reason)| Term::Holds(condition, reason)),
        3 => compare(),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        let when = (condition(true), inner.clone(), weighted(0.5, inner.clone()));
        prop_oneof![
            2 => vec(inner.clone(), 1..4).prop_map(Term::All),
            3 => vec(inner, 1..4).prop_map(Term::Any),
            3 => when.prop_map(|(condition, then, otherwise)| {
                Term::When(condition, Box::new(then), otherwise.map(Box::new))
            }),
        ]
    })
    .boxed()
}

fn missing() -> BoxedStrategy<Missing> {
    let leaf = prop_oneof![
        2 => Just(Missing::Deny),
        2 => Just(Missing::Skip),
        3 => name(&["main", "t", "u"]).prop_map(Missing::SameAs),
        2 => name(&NODES).prop_map(Missing::Node),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (condition(false), inner.clone(), inner)
            .prop_map(|(condition, then, otherwise)| Missing::When(condition, Box::new(then), Box::new(otherwise)))
    })
    .boxed()
}

fn scope() -> impl Strategy<Value = Scope> {
    let place = prop_oneof![
        5 => name(&["k", "k", "k", "j"]).prop_map(Reference::Path),
        4 => name(&["t", "t", "u"]).prop_map(Reference::Query),
        2 => name(&["t", "t", "u"]).prop_map(Reference::Form),
        2 => name(&["X-T", "X-U"]).prop_map(Reference::Header),
        3 => name(&["town", "land"]).prop_map(Reference::Object),
    ];
    let places = prop_oneof![5 => vec(place.clone(), 1..=1), 3 => vec(place, 2..4)];
    let kind = name(&["town", "town", "town", "town", "town", "land", "code"]);
    let origin = prop_oneof![
        8 => (places, kind).prop_map(|(places, kind)| Origin::From(places, kind)),
        1 => name(&NODES).prop_map(Origin::Node),
    ];
    (origin, missing()).prop_map(|(origin, missing)| Scope { name: String::new(), origin, missing })
}

fn scopes() -> impl Strategy<Value = Vec<Scope>> {
    (vec(scope(), 0..4), Just(["main", "t", "u"]).prop_shuffle()).prop_map(|(mut scopes, names)| {
        for (scope, name) in scopes.iter_mut().zip(names) {
            scope.name = name.into();
        }
        scopes
    })
}

fn pattern() -> impl Strategy<Value = Vec<Segment>> {
    let kinds = vec(prop_oneof![2 => name(&["a", "b"]).prop_map(Some), 3 => Just(None)], 1..4);
    (kinds, prop::bool::weighted(0.1)).prop_map(|(kinds, rest)| {
        let mut variables = ["k", "j", "i"].into_iter().map(str::to_owned);
        let mut segments: Vec<Segment> = Vec::new();
        for literal in kinds {
            segments.push(match literal {
                Some(text) => Segment::Literal(text),
                None => Segment::Variable(variables.next().unwrap()),
            });
        }
        if rest {
            segments.push(Segment::Rest("r".into()));
        }
        segments
    })
}

fn route() -> impl Strategy<Value = Route> {
    let methods = prop_oneof![
        3 => Just(vec!["GET".to_owned(), "PUT".to_owned(), "DELETE".to_owned()]),
        2 => between(&METHODS[..7], 1, 3),
    ];
    let access = prop_oneof![
        1 => Just(Access::Public),
        1 => Just(Access::GateOnly),
        1 => Just(Access::Require(Term::All(Vec::new()))),
        16 => vec(rights(), 1..3).prop_map(|terms| Access::Require(Term::All(terms))),
        16 => vec(term(), 1..4).prop_map(|terms| Access::Require(Term::All(terms))),
    ];
    let levels =
        prop_oneof![2 => vec((name(&METHODS[..3]), level()), 0..=0), 1 => vec((name(&METHODS[..7]), level()), 1..4)];
    let object = weighted(0.6, name(&["k", "j", "j", "r"]).prop_map(|variable| ("doc".to_owned(), variable)));
    (pattern(), methods, levels, object, scopes(), access).prop_map(
        |(pattern, methods, levels, object, scopes, access)| Route {
            id: String::new(),
            pattern,
            methods,
            levels,
            object,
            scopes,
            access,
        },
    )
}

fn gate() -> impl Strategy<Value = Gate> {
    let tenants = prop_oneof![1 => Just(vec!["t1"]), 6 => Just(vec!["t2", "t1"])];
    let audiences = prop_oneof![Just(vec!["api://app"]), Just(vec!["api://app", "api://same"])];
    let app_roles = prop_oneof![6 => Just(vec![]), 1 => Just(vec!["Access"]), 1 => Just(vec!["Other", "Access"])];
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    (tenants, audiences, app_roles).prop_map(move |(tenants, audiences, app_roles)| Gate {
        tenants: owned(tenants),
        audiences: owned(audiences),
        app_roles: owned(app_roles),
    })
}

/// Worlds in which `denials` in ten grants are denials.
pub fn world(denials: u32) -> impl Strategy<Value = World> {
    let forest = vec(any::<Index>(), NODES.len()).prop_map(|parents| {
        let above = |(number, parent): (usize, Index)| {
            // Any node before it, or the root.
            let parent = parent.index(number + 1);
            let parent = if parent == number { "root" } else { NODES[parent] };
            (NODES[number].to_owned(), parent.to_owned())
        };
        parents.into_iter().enumerate().map(above).collect::<Vec<_>>()
    });
    let forest = (forest, any::<bool>()).prop_map(|(mut forest, reversed)| {
        if reversed {
            forest.reverse();
        }
        forest
    });
    let aliases = vec(name(&NODES), 11).prop_map(|nodes| {
        let names = [
            ("code", "77"),
            ("code", "X"),
            ("code", "N"),
            ("land", "X"),
            ("land", "Y"),
            ("town", "Alt"),
            ("town", "N"),
            ("town", "S"),
            ("town", "1"),
            ("town", "b"),
            ("town", "77"),
        ];
        let named = names.into_iter().zip(nodes);
        named.map(|((kind, value), node)| (kind.to_owned(), value.to_owned(), node)).collect::<Vec<_>>()
    });
    let implies = vec((name(&RIGHTS), some(&RIGHTS, 2)), 0..4);
    let tokens = (vec((name(&MAPPED), name(&GROUPS)), 0..4), vec((name(&APP_ROLES), name(&GROUPS)), 0..3));
    let tokens = prop_oneof![Just((Vec::new(), Vec::new())), tokens];
    let held = (forest, aliases, implies, roles(denials), groups(denials), principals(denials), tokens);
    let objects = vec(attributes(), 4);
    let definitions = vec((any::<bool>(), term()), 3);
    let asked = (objects, settings(), gate(), definitions, vec(route(), 1..5));
    (strategy(denials), prop::bool::weighted(0.2), held, asked).prop_map(|(strategy, catalogue, held, asked)| {
        let (forest, aliases, implies, roles, groups, principals, (token_groups, token_roles)) = held;
        let (objects, settings, gate, definitions, routes) = asked;
        let named = definitions.into_iter().enumerate();
        let definitions = named.map(|(number, (of_application, term))| Definition {
            name: format!("d{number}"),
            of_application,
            term,
        });
        let named = objects.into_iter().zip(["doc:1", "doc:X", "doc:b", "doc:N"]);
        fit(World {
            strategy,
            catalogue,
            forest,
            aliases,
            implies,
            roles,
            groups,
            principals,
            token_groups,
            token_roles,
            objects: named.map(|(attributes, name)| (name.to_owned(), attributes)).collect(),
            settings,
            gate,
            definitions: definitions.collect(),
            routes,
        })
    })
}

/// A request before it knows the world that it is sent to.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// The route whose pattern the path takes, or none.
    route: Option<Index>,
    /// One of the route's methods, or any.
    method: Result<Index, String>,
    /// A place and a key for each segment.
    values: Vec<(String, String)>,
    query: Vec<(String, String)>,
    form: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    caller: Option<Caller>,
    encoded: bool,
}

/// Requests to be sent to any world.
pub fn sketch() -> impl Strategy<Value = Sketch> {
    let several = |names| {
        prop_oneof![
            24 => name(names),
            3 => (name(names), name(names)).prop_map(|(one, other)| format!("{one},{other}")),
            1 => Just(String::new()),
        ]
    };
    let query = prop_oneof![
        4 => (name(&["t", "t", "u"]), several(&PLACES)),
        2 => (name(&["q", "other"]), several(&KEYS)),
    ];
    let header = prop_oneof![
        2 => (name(&["x-t", "X-U"]), several(&PLACES)),
        1 => (Just("x-q".to_owned()), several(&KEYS)),
    ];
    // A form may be there or not, and with the query it may agree or not.
    let form = prop_oneof![1 => Just(Vec::new()), 2 => vec(query.clone(), 1..4)];
    let (query, headers) = (vec(query, 0..5), vec(header, 0..3));
    let key = prop_oneof![
        16 => Just(("t1", OIDS[0])),
        10 => Just(("t1", OIDS[1])),
        5 => Just(("t2", OIDS[0])),
        1 => Just(("t1", OIDS[2])),
        1 => Just(("t2", OIDS[1])),
    ];
    let audience = prop_oneof![40 => Just(AUDIENCES[0]), 2 => Just(AUDIENCES[1]), 1 => Just(AUDIENCES[2])];
    let roles = prop_oneof![
        12 => Just(vec![APP_ROLES[0].to_owned()]),
        1 => some(&APP_ROLES, 2),
    ];
    let groups = prop_oneof![
        10 => Just(Claimed::Listed(Vec::new())),
        9 => some(&CLAIMED, 2).prop_map(Claimed::Listed),
        1 => Just(Claimed::Unknown),
    ];
    let caller = (key, audience, roles, groups).prop_map(|((tenant, oid), audience, roles, groups)| Caller {
        tenant: tenant.into(),
        oid: oid.into(),
        audience: audience.into(),
        roles,
        groups,
    });
    let method = prop_oneof![
        20 => any::<Index>().prop_map(Ok),
        1 => Just(Err("HEAD".to_owned())),
        1 => name(&METHODS).prop_map(Err),
    ];
    let target = (weighted(0.98, any::<Index>()), method, vec((name(&PLACES), name(&KEYS)), 4));
    (target, query, form, headers, weighted(0.97, caller), prop::bool::weighted(0.1)).prop_map(
        |((route, method, values), query, form, headers, caller, encoded)| Sketch {
            route,
            method,
            values,
            query,
            form,
            headers,
            caller,
            encoded,
        },
    )
}

impl Sketch {
    /// The request as it is sent to a world.
    pub fn sent_to(&self, world: &World) -> Request {
        let route = self.route.map(|index| index.get(&world.routes));
        let mut values = self.values.iter().cloned();
        let path: Vec<String> = match route {
            None => {
                let literal = |(place, key)| if place == "X" { "a".to_owned() } else { key };
                values.by_ref().take(2).map(literal).collect()
            }
            Some(route) => {
                let mut path = Vec::new();
                for segment in &route.pattern {
                    match segment {
                        Segment::Literal(text) => path.push(text.clone()),
                        Segment::Variable(name) if name == "k" => path.extend(values.next().map(|(place, _)| place)),
                        Segment::Variable(_) => path.extend(values.next().map(|(_, key)| key)),
                        Segment::Rest(_) => path.extend(values.by_ref().take(2).map(|(_, key)| key)),
                    }
                }
                path
            }
        };
        let method = match (&self.method, route) {
            (Ok(index), Some(route)) => index.get(&route.methods).clone(),
            (Ok(_), None) => "GET".to_owned(),
            (Err(method), _) => method.clone(),
        };
        Request {
            method,
            path,
            query: self.query.clone(),
            form: self.form.clone(),
            headers: self.headers.clone(),
            caller: self.caller.clone(),
            encoded: self.encoded,
        }
    }
}
