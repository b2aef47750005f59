//! The answer to a request, written from the rules' text without any code of the product: `allow`, or the reason with
//! its subject. It also notes which rules it came by, so that a test can tell which ones a run has exercised.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::held::{Said, groups, has_flag, held, held_there_or_below};
use crate::member::{joined, may_take_away, with_groups};
use crate::world::{
    Access, Asked, Claimed, Comparison, Condition, Level, Missing, Operand, Origin, Principal, Reference, Request,
    Route, Segment, Status, Term, Test, Value, World,
};

/// The most values that one place, and the most nodes that all scopes of a request, may name.
const MOST_VALUES: usize = 16;

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `allow`, or the reason.
    pub text: String,
    /// The rules that were looked at on the way.
    pub seen: BTreeSet<String>,
}

/// Judges a request.
pub fn judge(world: &World, request: &Request) -> Answer {
    let seen = RefCell::new(BTreeSet::new());
    let text = outcome(world, request, &seen).err().unwrap_or_else(|| "allow".to_owned());
    Answer { text, seen: seen.into_inner() }
}

/// The steps of one decision in their order; the first check that fails is the answer.
fn outcome(world: &World, request: &Request, seen: &RefCell<BTreeSet<String>>) -> Result<(), String> {
    let route = route_of(world, &request.method, &request.path);
    if route.is_some_and(|route| matches!(route.access, Access::Public)) {
        return Ok(());
    }
    let Some(caller) = &request.caller else { return Err("no_token".into()) };
    let Some(route) = route else {
        let known = world.routes.iter().any(|route| matches_path(&route.pattern, &request.path));
        return Err(if known { "no_route:method" } else { "no_route" }.into());
    };
    if !world.gate.tenants.contains(&caller.tenant) {
        return Err(format!("gate_tenant:{}", caller.tenant));
    }
    if !world.gate.audiences.contains(&caller.audience) {
        return Err(format!("gate_audience:{}", caller.audience));
    }
    if !world.gate.app_roles.is_empty() && !world.gate.app_roles.iter().any(|role| caller.roles.contains(role)) {
        return Err(format!("gate_app_role:{}", caller.roles.join(",")));
    }
    let Access::Require(term) = &route.access else { return Ok(()) };
    let is_caller = |known: &&Principal| known.tenant == caller.tenant && known.oid == caller.oid;
    let Some(principal) = world.principals.iter().find(is_caller) else {
        return Err(format!("principal_unknown:{}", caller.oid));
    };
    let principal = &with_groups(principal, &joined(world, caller));
    let groups = groups(world, principal);
    let in_inactive_group = world.groups.iter().any(|group| group.inactive && groups.contains(&group.name));
    match principal.status {
        Status::Active if !in_inactive_group => {}
        Status::Active | Status::Inactive => return Err("principal_inactive".into()),
        Status::Deleted => return Err("principal_deleted".into()),
        Status::Reserved => return Err("principal_reserved".into()),
    }
    if caller.groups == Claimed::Unknown && may_take_away(world) {
        return Err("groups_unknown".into());
    }
    let mut case = Case { world, request, route, principal, scopes: Vec::new(), seen };
    if case.object_is_unclear() {
        return Err("scope_ambiguous".into());
    }
    case.resolve_scopes()?;
    case.term(term)
}

/// The most specific route that takes the path and the method: literal beats variable beats rest, from the left. HEAD
/// takes the route of GET. Nobody takes a path that differs from a more specific route without a rest in its final slash
/// only.
pub fn route_of<'w>(world: &'w World, method: &str, path: &[String]) -> Option<&'w Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    let specificity = |route: &&Route| -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 2,
            Segment::Variable(_) => 1,
            Segment::Rest(_) => 0,
        };
        route.pattern.iter().map(rank).collect()
    };
    let listed = |route: &&Route| route.methods.iter().any(|listed| listed == method);
    let taking = |path: &[String]| -> Vec<&'w Route> {
        world.routes.iter().filter(listed).filter(|route| matches_path(&route.pattern, path)).collect()
    };
    let found = taking(path).into_iter().min_by_key(|route| Reverse(specificity(route)))?;
    let twin = match path.split_last() {
        Some((last, rest)) if last.is_empty() => rest.to_vec(),
        _ => [path, &[String::new()]].concat(),
    };
    let is_nearer = |route: &&Route| {
        let (near, far) = (specificity(route), specificity(&found));
        let whole = !route.pattern.iter().any(|segment| matches!(segment, Segment::Rest(_)));
        let first = near.iter().zip(&far).find(|(near, far)| near != far);
        whole && first.is_some_and(|(near, far)| near > far)
    };
    (!taking(&twin).iter().any(is_nearer)).then_some(found)
}

fn matches_path(pattern: &[Segment], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((Segment::Rest(_), _)), Some((first, more))) => !first.is_empty() || !more.is_empty(),
        (Some((Segment::Literal(text), patterns)), Some((first, more))) => {
            text == first && matches_path(patterns, more)
        }
        (Some((Segment::Variable(_), patterns)), Some((first, more))) => {
            !first.is_empty() && matches_path(patterns, more)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The level that a method means on a route.
pub fn level_of(route: &Route, method: &str) -> Level {
    // HEAD needs what GET needs.
    let method = if method == "HEAD" { "GET" } else { method };
    if let Some((_, level)) = route.levels.iter().find(|(listed, _)| listed == method) {
        return *level;
    }
    match method {
        "GET" | "OPTIONS" => Level::Read,
        "POST" | "PUT" | "PATCH" => Level::Write,
        _ => Level::Delete,
    }
}

/// A value in a comparison.
enum Found {
    /// From the configuration.
    Known(Value),
    /// From the request.
    Given(String),
    /// A number of elements: a number and nothing else.
    Counted(i64),
}

/// A request of a known principal on a route.
struct Case<'w> {
    world: &'w World,
    request: &'w Request,
    route: &'w Route,
    principal: &'w Principal,
    /// The nodes of each named scope.
    scopes: Vec<(String, Vec<String>)>,
    seen: &'w RefCell<BTreeSet<String>>,
}

impl Case<'_> {
    fn note(&self, what: impl Into<String>) {
        self.seen.borrow_mut().insert(what.into());
    }

    /// All scopes in the order of the file; then those without a value of their own take another's.
    fn resolve_scopes(&mut self) -> Result<(), String> {
        let mut nodes_in_all = 0;
        for scope in &self.route.scopes {
            let nodes = match &scope.origin {
                Origin::Node(node) => {
                    self.note("scope.node");
                    Ok(vec![node.clone()])
                }
                Origin::From(places, kind) => self.nodes_of(places, kind, &scope.missing),
            };
            let nodes = nodes.map_err(|code| format!("{code}:{}", scope.name))?;
            nodes_in_all += nodes.len();
            if nodes_in_all > MOST_VALUES {
                return Err(format!("scope_ambiguous:{}", scope.name));
            }
            self.scopes.push((scope.name.clone(), nodes));
        }
        let own = self.scopes.clone();
        let taken: Vec<_> = own.iter().map(|(name, _)| (name.clone(), self.taken(&own, name))).collect();
        self.scopes = taken;
        Ok(())
    }

    /// The nodes of a scope, or those of the first scope along `same_as` that has some.
    fn taken(&self, own: &[(String, Vec<String>)], name: &str) -> Vec<String> {
        let (_, nodes) = own.iter().find(|(known, _)| known == name).expect("a scope of the route");
        let scope = self.route.scopes.iter().find(|scope| scope.name == name).expect("a scope of the route");
        match self.settled(&scope.missing) {
            Missing::SameAs(other) if nodes.is_empty() => self.taken(own, &other),
            _ => nodes.clone(),
        }
    }

    /// What holds for a missing scope once its conditions are decided.
    fn settled(&self, missing: &Missing) -> Missing {
        match missing {
            Missing::When(condition, then, otherwise) => match self.condition(condition) {
                Some(true) => self.settled(then),
                _ => self.settled(otherwise),
            },
            other => other.clone(),
        }
    }

    fn nodes_of(&self, places: &[Reference], kind: &str, missing: &Missing) -> Result<Vec<String>, &'static str> {
        let mut said: Option<Vec<String>> = None;
        for place in places {
            let values = self.values_at(place)?;
            if values.len() > MOST_VALUES {
                return Err("scope_ambiguous");
            }
            if values.is_empty() {
                continue;
            }
            let place = match place {
                Reference::Path(_) => "path",
                Reference::Query(_) => "query",
                Reference::Form(_) => "form",
                Reference::Header(_) => "header",
                _ => "object",
            };
            self.note(format!("scope.{place}"));
            match &said {
                None => said = Some(values),
                Some(first) => {
                    let set = |values: &[String]| values.iter().cloned().collect::<BTreeSet<_>>();
                    if set(first) != set(&values) {
                        return Err("scope_conflict");
                    }
                    self.note("scope.agree");
                }
            }
        }
        let Some(values) = said else {
            if matches!(missing, Missing::When(..)) {
                self.note("missing.when");
            }
            return match self.settled(missing) {
                Missing::Deny | Missing::When(..) => {
                    self.note("missing.deny");
                    Err("scope_missing")
                }
                Missing::Skip => {
                    self.note("missing.skip");
                    Ok(Vec::new())
                }
                Missing::SameAs(_) => {
                    self.note("missing.same_as");
                    Ok(Vec::new())
                }
                Missing::Node(node) => {
                    self.note("missing.node");
                    Ok(vec![node])
                }
            };
        };
        if values.len() > 1 {
            self.note("scope.several_values");
        }
        values.iter().map(|value| self.node(kind, value).ok_or("scope_unknown")).collect()
    }

    /// The node that a value of a kind names.
    fn node(&self, kind: &str, value: &str) -> Option<String> {
        let written = format!("{kind}:{value}");
        let node = self.world.forest.iter().map(|(name, _)| name).find(|name| **name == written);
        let alias = self.world.aliases.iter().find(|(of, name, _)| of == kind && name == value);
        if node.is_none() && alias.is_some() {
            self.note("scope.alias");
        }
        node.or(alias.map(|(_, _, node)| node)).cloned()
    }

    /// The values at one place, each once, in the order in which they stand there.
    fn values_at(&self, place: &Reference) -> Result<Vec<String>, &'static str> {
        let parts = |values: Vec<String>| values.iter().flat_map(|value| value.split(',')).map(str::to_owned).collect();
        let values = match place {
            Reference::Path(name) => self.path(name).into_iter().collect(),
            Reference::Query(name) => parts(self.query(name)),
            Reference::Form(name) => parts(self.form(name)),
            Reference::Header(name) => {
                let lines = self.header(name);
                if lines.len() > 1 || lines.iter().any(|value| value.contains(',')) {
                    return Err("scope_ambiguous");
                }
                lines
            }
            Reference::Object(name) => self.attribute(name).as_ref().map(texts).unwrap_or_default(),
            Reference::Setting(_) | Reference::Count(_) | Reference::PrincipalId => Vec::new(),
        };
        let mut once: Vec<String> = Vec::new();
        for value in values {
            if !once.contains(&value) {
                once.push(value);
            }
        }
        Ok(once)
    }

    fn path(&self, variable: &str) -> Option<String> {
        let path = &self.request.path;
        self.route.pattern.iter().enumerate().find_map(|(index, segment)| match segment {
            Segment::Variable(name) if name == variable => Some(path[index].clone()),
            Segment::Rest(name) if name == variable => Some(path[index..].join("/")),
            _ => None,
        })
    }

    fn query(&self, name: &str) -> Vec<String> {
        self.request.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn form(&self, name: &str) -> Vec<String> {
        self.request.form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn header(&self, name: &str) -> Vec<String> {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        self.request.headers.iter().filter(|(known, _)| same(known)).map(|(_, value)| value.clone()).collect()
    }

    /// Whether the path names no object, but something that could be taken for one: but for letter case, blanks, and a
    /// plus sign or zeros in front.
    fn object_is_unclear(&self) -> bool {
        let Some((kind, variable)) = &self.route.object else { return false };
        let Some(key) = self.path(variable) else { return false };
        let plain = |key: &str| {
            let lower: String = key.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
            lower.trim_start_matches(['+', '0']).to_owned()
        };
        let keys = self.world.objects.iter().filter_map(|(object, _)| object.split_once(':'));
        let keys: Vec<&str> = keys.filter(|(of, _)| of == kind).map(|(_, key)| key).collect();
        !keys.contains(&key.as_str()) && keys.iter().any(|known| plain(known) == plain(&key))
    }

    fn attribute(&self, name: &str) -> Option<Value> {
        let (kind, variable) = self.route.object.as_ref()?;
        let full = format!("{kind}:{}", self.path(variable)?);
        let (_, attributes) = self.world.objects.iter().find(|(object, _)| *object == full)?;
        attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| value.clone())
    }

    fn term(&self, term: &Term) -> Result<(), String> {
        match term {
            Term::All(terms) => terms.iter().try_for_each(|term| self.term(term)),
            Term::Any(terms) => {
                self.note("term.any");
                let mut last = Ok(());
                for term in terms {
                    last = self.term(term);
                    if last.is_ok() {
                        break;
                    }
                }
                last
            }
            Term::Right { name, asked, at, below } => {
                let asked = match asked {
                    Asked::Level(level) => *level,
                    Asked::ByMethod => {
                        self.note("term.by_method");
                        level_of(self.route, &self.request.method)
                    }
                };
                self.note(if *below { "term.right_below" } else { "term.right" });
                let name = self.named(name);
                self.at_each(at.as_deref(), |node| self.right(&name, asked, node, *below))
            }
            Term::UnlessDenied { name, at } => {
                let name = self.named(name);
                self.at_each(at.as_deref(), |node| {
                    let denied = held(self.world, self.principal, &name, node) == Said::Denied;
                    self.note(format!("term.unless_denied.{}", !denied));
                    if denied { Err(format!("right_denied:{name}@{node}")) } else { Ok(()) }
                })
            }
            Term::Defined(name) => {
                self.note("term.defined");
                let definition = self.world.definitions.iter().find(|known| known.name == *name);
                self.term(&definition.expect("a definition of the world").term)
            }
            Term::Flag(flag) if has_flag(self.world, self.principal, flag) => Ok(()),
            Term::Flag(flag) => Err(format!("flag_missing:{flag}")),
            Term::NotFlag(flag) if has_flag(self.world, self.principal, flag) => Err(format!("flag_forbids:{flag}")),
            Term::NotFlag(_) => Ok(()),
            Term::When(condition, then, otherwise) => {
                let holds = self.condition(condition);
                self.note(format!("term.when.{holds:?}"));
                match (holds, otherwise) {
                    (Some(true), _) => self.term(then),
                    (Some(false), Some(otherwise)) => self.term(otherwise),
                    (Some(false), None) => Ok(()),
                    // Neither branch would be right.
                    (None, _) => Err("condition".into()),
                }
            }
            Term::Holds(condition, reason) => {
                let holds = self.condition(condition) == Some(true);
                self.note(format!("term.holds.{holds}"));
                if holds { Ok(()) } else { Err(reason.clone()) }
            }
            Term::Compare(comparison, left, right, reason) => {
                let holds = self.compare(*comparison, left, right);
                self.note(format!("term.{}.{holds}", comparison.name()));
                if holds { Ok(()) } else { Err(reason.clone()) }
            }
        }
    }

    /// A right's name with the request's value in it.
    fn named(&self, name: &str) -> String {
        let Some((before, rest)) = name.split_once('{') else { return name.to_owned() };
        let (variable, after) = rest.split_once('}').expect("a closed brace");
        self.note("term.right_from_the_request");
        format!("{before}{}{after}", self.path(variable).expect("a variable of the path"))
    }

    /// Every node of the scope must pass, and a scope without any does not.
    fn at_each(&self, at: Option<&str>, pass: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
        let has_main = self.scopes.iter().any(|(name, _)| name == "main");
        let name = at.unwrap_or(if has_main { "main" } else { "root" });
        if name == "root" {
            return pass("root");
        }
        let (_, nodes) = self.scopes.iter().find(|(known, _)| known == name).expect("a scope of the route");
        if nodes.is_empty() {
            return Err(format!("scope_missing:{name}"));
        }
        nodes.iter().try_for_each(|node| pass(node))
    }

    fn right(&self, name: &str, asked: Level, node: &str, below: bool) -> Result<(), String> {
        let held = if below {
            held_there_or_below(self.world, self.principal, name, node)
        } else {
            held(self.world, self.principal, name, node)
        };
        match held {
            Said::UpTo(level) if level >= asked => Ok(()),
            Said::UpTo(level) => Err(format!("right_level:{name}={}<{}@{node}", level.name(), asked.name())),
            Said::Denied => Err(format!("right_denied:{name}@{node}")),
            Said::Nothing => Err(format!("right_missing:{name}@{node}")),
        }
    }

    /// Whether a condition holds; `None` where it asks for the bit of a value that has none.
    fn condition(&self, condition: &Condition) -> Option<bool> {
        let several = |list: &[Condition], decisive: bool| {
            let all: Vec<Option<bool>> = list.iter().map(|condition| self.condition(condition)).collect();
            if all.contains(&Some(decisive)) {
                Some(decisive)
            } else if all.contains(&None) {
                None
            } else {
                Some(!decisive)
            }
        };
        match condition {
            Condition::All(list) => several(list, false),
            Condition::Any(list) => several(list, true),
            Condition::Setting(name, test) => {
                let value = self.setting(name);
                match (test, value) {
                    (Test::True, value) => Some(value == Value::Bool(true)),
                    (Test::Is(wanted), value) => Some(*wanted == value),
                    (Test::Bit(bit), Value::Int(mask)) => Some(mask & bit != 0),
                    (Test::BitOf(of, map), Value::Int(mask)) => {
                        let value = self.value(&Operand::Of(of.clone()))?;
                        let bit = map.iter().find(|(name, _)| same(&value, &Found::Known(Value::Text(name.clone()))));
                        self.note(format!("condition.bit_of.{}", bit.is_some()));
                        bit.map(|(_, bit)| mask & bit != 0)
                    }
                    (Test::Bit(_) | Test::BitOf(..), _) => None,
                }
            }
        }
    }

    fn setting(&self, name: &str) -> Value {
        let found = self.world.settings.iter().find(|(known, _)| known == name);
        found.expect("a setting of the world").1.clone()
    }

    /// An operand's value, if there is one. What is repeated, empty, a list or padded has no single value.
    fn value(&self, operand: &Operand) -> Option<Found> {
        let single = |values: Vec<String>| match values.as_slice() {
            [value] if !value.is_empty() && !value.contains(',') && value.trim() == value => {
                Some(Found::Given(value.clone()))
            }
            _ => None,
        };
        match operand {
            Operand::Constant(value) => Some(Found::Known(value.clone())),
            Operand::Of(Reference::Path(name)) => self.path(name).map(Found::Given),
            Operand::Of(Reference::Query(name)) => single(self.query(name)),
            Operand::Of(Reference::Form(name)) => single(self.form(name)),
            Operand::Of(Reference::Header(name)) => single(self.header(name)),
            Operand::Of(Reference::Object(name)) => self.attribute(name).map(Found::Known),
            Operand::Of(Reference::Setting(name)) => Some(Found::Known(self.setting(name))),
            Operand::Of(Reference::PrincipalId) => Some(Found::Given(self.principal.id.clone())),
            Operand::Of(Reference::Count(name)) => match self.attribute(name)? {
                Value::List(list) => Some(Found::Counted(list.len() as i64)),
                Value::Bool(_) | Value::Int(_) | Value::Text(_) => None,
            },
        }
    }

    fn compare(&self, comparison: Comparison, left: &Operand, right: &Operand) -> bool {
        for operand in [left, right] {
            self.note(match operand {
                Operand::Constant(_) => "operand.constant",
                Operand::Of(Reference::Path(_)) => "operand.path",
                Operand::Of(Reference::Query(_)) => "operand.query",
                Operand::Of(Reference::Form(_)) => "operand.form",
                Operand::Of(Reference::Header(_)) => "operand.header",
                Operand::Of(Reference::Object(_)) => "operand.object",
                Operand::Of(Reference::Setting(_)) => "operand.setting",
                Operand::Of(Reference::Count(_)) => "operand.count",
                Operand::Of(Reference::PrincipalId) => "operand.principal_id",
            });
        }
        let (Some(left), Some(right)) = (self.value(left), self.value(right)) else {
            self.note("operand.absent");
            return false;
        };
        let list = |found: &Found| match found {
            Found::Known(Value::List(list)) => Some(list.clone()),
            Found::Known(_) | Found::Given(_) | Found::Counted(_) => None,
        };
        match comparison {
            Comparison::Eq => same(&left, &right),
            Comparison::In => {
                list(&right).is_some_and(|list| list.into_iter().any(|item| same(&left, &Found::Known(item))))
            }
            // A list is no element and no stranger either; a number counts however it is written.
            Comparison::NotIn => list(&right).is_some_and(|items| {
                list(&left).is_none() && !items.into_iter().any(|item| may_be_same(&left, &Found::Known(item)))
            }),
            Comparison::Lt => match (number(&left), number(&right)) {
                (Some(left), Some(right)) => left < right,
                _ => false,
            },
        }
    }
}

/// The texts of a value that may name scopes.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Bool(value) => vec![value.to_string()],
        Value::Int(value) => vec![value.to_string()],
        Value::Text(value) => vec![value.clone()],
        Value::List(list) => list.iter().flat_map(texts).collect(),
    }
}

/// A value as a text; a list has none.
fn as_text(found: &Found) -> Option<String> {
    match found {
        Found::Given(text) | Found::Known(Value::Text(text)) => Some(text.clone()),
        Found::Known(Value::Bool(value)) => Some(value.to_string()),
        Found::Known(Value::Int(value)) | Found::Counted(value) => Some(value.to_string()),
        Found::Known(Value::List(_)) => None,
    }
}

/// Whether two values are the same, however each was typed: a text is the same as a number or boolean that is written
/// so. Two of different types, neither a text, never are; nor are a count and a text.
fn same(left: &Found, right: &Found) -> bool {
    match (left, right) {
        (Found::Counted(left), Found::Counted(right)) => left == right,
        (Found::Counted(count), Found::Known(other)) | (Found::Known(other), Found::Counted(count)) => {
            *other == Value::Int(*count)
        }
        (Found::Counted(_), Found::Given(_)) | (Found::Given(_), Found::Counted(_)) => false,
        (Found::Known(Value::Bool(_)), Found::Known(Value::Int(_)))
        | (Found::Known(Value::Int(_)), Found::Known(Value::Bool(_))) => false,
        (Found::Known(_) | Found::Given(_), Found::Known(_) | Found::Given(_)) => {
            as_text(left).is_some() && as_text(left) == as_text(right)
        }
    }
}

/// Whether some reader could take two values for the same.
fn may_be_same(left: &Found, right: &Found) -> bool {
    let lenient = |found: &Found| as_text(found).and_then(|text| text.trim().parse::<i64>().ok());
    same(left, right) || (lenient(left).is_some() && lenient(left) == lenient(right))
}

/// The number that a value is. A text of the request may be one, in the one way to write it.
fn number(found: &Found) -> Option<i64> {
    match found {
        Found::Known(Value::Int(number)) | Found::Counted(number) => Some(*number),
        Found::Given(text) => text.parse::<i64>().ok().filter(|number| number.to_string() == *text),
        Found::Known(Value::Bool(_) | Value::Text(_) | Value::List(_)) => None,
    }
}
