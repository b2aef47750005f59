//! Writes a world as the three files, and a request as it goes over the wire.

use std::fmt::Write as _;

use crate::world::{
    Access, Asked, Condition, Effect, Given, Grant, Level, Missing, Operand, Origin, Reference, Request, Route,
    Segment, Status, Term, Test, Value, World,
};

/// The host of the one application.
pub const HOST: &str = "app.example.org";
/// Tenants by name.
pub const TENANTS: [(&str, &str); 2] =
    [("t1", "11111111-1111-4111-8111-111111111111"), ("t2", "22222222-2222-4222-8222-222222222222")];

/// The texts of `gateway.yaml`, `routes.yaml` and `grants.yaml`.
pub fn texts(world: &World) -> [String; 3] {
    [gateway(), routes(world), grants(world)]
}

/// A world as a failure tells it.
pub fn told(world: &World) -> String {
    let [_, routes, grants] = texts(world);
    format!("--- routes.yaml\n{routes}--- grants.yaml\n{grants}")
}

fn gateway() -> String {
    let tenants: Vec<String> = TENANTS.iter().map(|(name, id)| format!("{{name: {name}, id: {id}}}")).collect();
    format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [r]\ngrants: [g]\ntenants: [{}]\n",
        tenants.join(", ")
    )
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn list<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(", "))
}

/// A section of a file; nothing where it has no lines.
fn section(head: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    if lines.is_empty() { lines } else { format!("{head}:\n{lines}") }
}

/// The fields of a map that have something to say.
fn fields_of<const N: usize>(fields: [(&str, String); N]) -> String {
    let said = fields.into_iter().filter(|(_, value)| !value.is_empty() && value != "[]");
    said.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

fn names(items: &[String]) -> String {
    list(items, |item| quoted(item))
}

fn value(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(items) => list(items, self::value),
    }
}

fn right(name: &str, effect: Effect) -> String {
    match effect {
        Effect::Allow(level) => format!("{name}:{}", level.name()),
        Effect::Deny => format!("{name}:deny"),
    }
}

fn grant(grant: &Grant) -> String {
    match (&grant.given, grant.at.as_slice()) {
        (Given::Role(role), []) => format!("{{role: {}}}", quoted(role)),
        (Given::Role(role), at) => format!("{{role: {}, at: {}}}", quoted(role), names(at)),
        (Given::Rights(rights), at) if rights.len() == 1 && at.len() < 2 => {
            let (name, effect) = &rights[0];
            // The top level is what a grant without a level means.
            let mut text = if *effect == Effect::Allow(Level::Delete) { name.clone() } else { right(name, *effect) };
            for node in at {
                write!(text, " @{node}").unwrap();
            }
            quoted(&text)
        }
        (Given::Rights(rights), at) => {
            let rights = list(rights, |(name, effect)| quoted(&right(name, *effect)));
            let at = if at.is_empty() { String::new() } else { format!(", at: {}", names(at)) };
            format!("{{rights: {rights}{at}}}")
        }
    }
}

fn grants(world: &World) -> String {
    let mut text = "version: 1\ndomain: d\n".to_owned();
    let strategy = &world.strategy;
    let caps = strategy.caps.iter().map(|(flag, level)| format!("{flag}: {}", level.name())).collect::<Vec<_>>();
    writeln!(
        text,
        "strategy: {{rights: {}, within: {}, across: {}, boundary: {}, caps: {{{}}}}}",
        if strategy.flat { "flat" } else { "tree" },
        if strategy.nearest { "nearest" } else { "union" },
        strategy.across.name(),
        strategy.boundary,
        caps.join(", ")
    )
    .unwrap();
    if world.catalogue {
        writeln!(text, "rights: {}", names(&world.all_rights())).unwrap();
    }
    text.push_str("scopes:\n");
    let nodes = world.forest.iter().map(|(node, parent)| format!("    {}: {}", quoted(node), quoted(parent)));
    text.push_str(&section("  forest", nodes));
    let mut kinds: Vec<&String> = world.aliases.iter().map(|(kind, _, _)| kind).collect();
    kinds.sort();
    kinds.dedup();
    let aliases = kinds.into_iter().map(|kind| {
        let of_kind = world.aliases.iter().filter(|(known, _, _)| known == kind);
        let of_kind: Vec<_> = of_kind.map(|(_, name, node)| format!("{}: {}", quoted(name), quoted(node))).collect();
        format!("    {kind}: {{{}}}", of_kind.join(", "))
    });
    text.push_str(&section("  aliases", aliases));
    let implies = world.implies.iter().map(|(bringer, brought)| format!("  {}: {}", quoted(bringer), names(brought)));
    text.push_str(&section("implies", implies));
    let roles = world.roles.iter().map(|role| {
        let fields = fields_of([
            ("reserved", if role.reserved { "true".into() } else { String::new() }),
            ("includes", names(&role.includes)),
            ("without", names(&role.without)),
            ("rights", list(&role.rights, |(name, effect)| quoted(&right(name, *effect)))),
        ]);
        format!("  {}: {{{fields}}}", role.name)
    });
    text.push_str(&section("roles", roles));
    let groups = world.groups.iter().map(|group| {
        let fields = fields_of([
            ("parents", names(&group.parents)),
            ("flags", names(&group.flags)),
            ("status", if group.inactive { "inactive".into() } else { String::new() }),
            ("grants", list(&group.grants, grant)),
        ]);
        format!("  {}: {{{fields}}}", group.name)
    });
    text.push_str(&section("groups", groups));
    let principals = world.principals.iter().map(|principal| {
        let active = principal.status == Status::Active;
        let fields = fields_of([
            ("id", quoted(&principal.id)),
            ("tenant", principal.tenant.clone()),
            ("oid", principal.oid.clone()),
            ("status", if active { String::new() } else { principal.status.name().into() }),
            ("flags", names(&principal.flags)),
            ("groups", names(&principal.groups)),
            // An empty boundary is none at all, and both mean nowhere.
            ("boundary", principal.boundary.as_ref().map(|nodes| names(nodes)).unwrap_or_default()),
            ("grants", list(&principal.grants, grant)),
        ]);
        format!("  - {{{fields}}}")
    });
    text.push_str(&section("principals", principals));
    for (key, entries) in [("token_groups", &world.token_groups), ("token_roles", &world.token_roles)] {
        let lines = entries.iter().map(|(value, group)| format!("  {}: {}", quoted(value), quoted(group)));
        text.push_str(&section(key, lines));
    }
    let objects = world.objects.iter().map(|(name, attributes)| {
        let attributes: Vec<String> =
            attributes.iter().map(|(name, found)| format!("{}: {}", quoted(name), value(found))).collect();
        format!("  {}: {{{}}}", quoted(name), attributes.join(", "))
    });
    text.push_str(&section("objects", objects));
    text
}

fn routes(world: &World) -> String {
    let mut text = "version: 1\nsettings:\n".to_owned();
    for (name, found) in &world.settings {
        writeln!(text, "  {}: {}", quoted(name), value(found)).unwrap();
    }
    text.push_str("upstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}\n");
    let definitions = |of_application: bool, indent: &str| {
        let of = world.definitions.iter().filter(|known| known.of_application == of_application);
        let lines = of.map(|definition| format!("{indent}  {}: {}", definition.name, term(&definition.term)));
        section(&format!("{indent}define"), lines)
    };
    text.push_str(&definitions(false, ""));
    writeln!(
        text,
        "applications:\n  - name: app\n    hosts: [{HOST}]\n    domain: d\n    upstream: app\n    gate: {{tenants: {}, \
         audiences: {}{}}}",
        names(&world.gate.tenants),
        names(&world.gate.audiences),
        match world.gate.app_roles.as_slice() {
            [] => String::new(),
            roles => format!(", app_roles: {}", names(roles)),
        }
    )
    .unwrap();
    text.push_str(&definitions(true, "    "));
    text.push_str("    routes:\n");
    for route in &world.routes {
        text.push_str(&self::route(route));
    }
    text
}

/// The path of a route as it is written.
pub fn pattern(segments: &[Segment]) -> String {
    let written = segments.iter().map(|segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Variable(name) => format!("/{{{name}}}"),
        Segment::Rest(name) => format!("/{{{name}...}}"),
    });
    written.collect()
}

fn route(route: &Route) -> String {
    let mut text = format!(
        "      - id: {}\n        match: {{methods: {}, path: {}}}\n",
        route.id,
        names(&route.methods),
        quoted(&pattern(&route.pattern))
    );
    if !route.levels.is_empty() {
        let levels: Vec<String> =
            route.levels.iter().map(|(method, level)| format!("{method}: {}", level.name())).collect();
        writeln!(text, "        levels: {{{}}}", levels.join(", ")).unwrap();
    }
    if let Some((kind, variable)) = &route.object {
        writeln!(text, "        object: {{kind: {kind}, key: path.{variable}}}").unwrap();
    }
    if !route.scopes.is_empty() {
        text.push_str("        scopes:\n");
    }
    for scope in &route.scopes {
        let origin = match &scope.origin {
            Origin::Node(node) => format!("node: {}", quoted(node)),
            Origin::From(places, kind) => {
                let missing = match &scope.missing {
                    Missing::Deny => String::new(),
                    other => format!(", missing: {}", missing(other)),
                };
                format!("from: {}, kind: {kind}{missing}", list(places, |place| quoted(&reference(place))))
            }
        };
        writeln!(text, "          {}: {{{origin}}}", scope.name).unwrap();
    }
    match &route.access {
        Access::Public => text.push_str("        public: true\n"),
        Access::GateOnly => text.push_str("        gate_only: true\n"),
        Access::Require(required) => writeln!(text, "        require: {}", term(required)).unwrap(),
    }
    text
}

fn reference(reference: &Reference) -> String {
    match reference {
        Reference::Path(name) => format!("path.{name}"),
        Reference::Query(name) => format!("query.{name}"),
        Reference::Form(name) => format!("form.{name}"),
        Reference::Header(name) => format!("header.{name}"),
        Reference::Object(name) => format!("object.{name}"),
        Reference::Setting(name) => format!("setting.{name}"),
        Reference::Count(name) => format!("count(object.{name})"),
        Reference::PrincipalId => "principal.id".into(),
    }
}

fn missing(missing: &Missing) -> String {
    match missing {
        Missing::Deny => "deny".into(),
        Missing::Skip => "skip".into(),
        Missing::SameAs(other) => format!("{{same_as: {other}}}"),
        Missing::Node(node) => format!("{{node: {}}}", quoted(node)),
        Missing::When(condition, then, otherwise) => {
            let (then, otherwise) = (self::missing(then), self::missing(otherwise));
            format!("{{when: {}, then: {then}, else: {otherwise}}}", self::condition(condition))
        }
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::All(all) => list(all, self::condition),
        Condition::Any(_) | Condition::Setting(..) => format!("{{{}}}", fields(condition)),
    }
}

/// What stands between the braces of a condition.
fn fields(condition: &Condition) -> String {
    match condition {
        Condition::All(all) => format!("any: [{}]", list(all, self::condition)),
        Condition::Any(any) => format!("any: {}", list(any, self::condition)),
        Condition::Setting(name, test) => match test {
            Test::True => format!("setting: {name}"),
            Test::Is(wanted) => format!("setting: {name}, is: {}", value(wanted)),
            Test::Bit(bit) => format!("setting: {name}, bit: {bit}"),
            Test::BitOf(of, map) => {
                let map: Vec<String> = map.iter().map(|(name, bit)| format!("{}: {bit}", quoted(name))).collect();
                format!("setting: {name}, bit: {{of: {}, map: {{{}}}}}", reference(of), map.join(", "))
            }
        },
    }
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Of(of) => quoted(&reference(of)),
        Operand::Constant(constant) => value(constant),
    }
}

fn at(at: Option<&String>) -> String {
    at.map(|at| format!(" @{at}")).unwrap_or_default()
}

fn term(term: &Term) -> String {
    match term {
        Term::All(all) => list(all, self::term),
        Term::Any(any) => format!("{{any: {}}}", list(any, self::term)),
        Term::Right { name, asked, at: place, below } => {
            let level = match asked {
                Asked::Level(Level::Read) => String::new(),
                Asked::Level(level) => format!(":{}", level.name()),
                Asked::ByMethod => ":by_method".into(),
            };
            let below = if *below { "/*" } else { "" };
            quoted(&format!("{name}{level}{}{below}", at(place.as_ref())))
        }
        Term::UnlessDenied { name, at: place } => {
            format!("{{unless_denied: {}}}", quoted(&format!("{name}{}", at(place.as_ref()))))
        }
        Term::Defined(name) => name.clone(),
        Term::Flag(flag) => format!("{{flag: {flag}}}"),
        Term::NotFlag(flag) => format!("{{not_flag: {flag}}}"),
        Term::When(condition, then, otherwise) => {
            let otherwise = otherwise.as_ref().map(|term| format!(", else: {}", self::term(term)));
            let otherwise = otherwise.unwrap_or_default();
            format!("{{when: {}, then: {}{otherwise}}}", self::condition(condition), self::term(then))
        }
        Term::Holds(condition, reason) => format!("{{{}, reason: {reason}}}", fields(condition)),
        Term::Compare(comparison, left, right, reason) => {
            format!("{{{}: [{}, {}], reason: {reason}}}", comparison.name(), operand(left), operand(right))
        }
    }
}

/// The target of a request, encoded.
pub fn target(request: &Request) -> String {
    let path: String = request.path.iter().map(|segment| format!("/{}", encode(segment, false))).collect();
    let query = pairs(&request.query, request.encoded);
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// The form of a request, encoded; empty if it has no body.
pub fn form(request: &Request) -> String {
    pairs(&request.form, request.encoded)
}

fn pairs(pairs: &[(String, String)], encoded: bool) -> String {
    let value = |text: &str| {
        let parts: Vec<String> = text.split(',').map(|part| encode(part, encoded)).collect();
        parts.join(if encoded { "%2C" } else { "," })
    };
    let pairs: Vec<String> = pairs.iter().map(|(name, found)| format!("{name}={}", value(found))).collect();
    pairs.join("&")
}

fn encode(text: &str, always: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let mut encoded = String::new();
    for byte in text.bytes() {
        if plain(byte) && !always {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
    }
    encoded
}
