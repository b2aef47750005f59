//! What a request may cost before anybody knows who sent it, and what its parameters may cost after: time that grows with
//! its size and no faster, whatever it is made of.

mod support;

use std::time::{Duration, Instant};

use http::Request;
use http::request::Parts;
use portcullis::pep::{Verdict, authorize, authorize_form};
use support::world::{ENVIRONMENT, World};

const GATEWAY: &str = "
version: 1
listeners: [{address: 127.0.0.1:8080}]
routes: [r]
grants: [g]
tenants: [{name: t, id: 11111111-1111-4111-8111-111111111111}]
";

const ROUTES: &str = r#"
version: 1
upstreams: {app: {servers: ["http://127.0.0.1:1"]}}
applications:
  - name: strict
    hosts: [strict.test, strict.test:8443, "*.strict.test"]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [api://app]}
    routes:
      - {id: all, match: {methods: [GET], path: "/{all...}"}, public: true}
      - {id: deep, match: {methods: [GET], path: "/a/{b}/a/{d}/a"}, public: true}
      - id: query
        match: {methods: [GET], path: /query}
        scopes: {main: {from: [query.town, query.place, query.city], kind: town}}
        require: m.area
      - id: form
        match: {methods: [POST], path: /form}
        scopes: {main: {from: [form.town, form.place, form.city], kind: town}}
        require: m.area
  - name: other
    hosts: [iis.test]
    domain: d
    upstream: app
    gate: {tenants: [t], audiences: [api://app]}
    backend: {dialect: iis, encoded_slash: true, semicolon: true}
    routes:
      - {id: every, match: {methods: [GET], path: "/{all...}"}, public: true}
      - id: asked
        match: {methods: [GET], path: /query}
        scopes: {main: {from: query.town, kind: town}}
        require: m.area
"#;

const GRANTS: &str = r#"
version: 1
domain: d
scopes: {forest: {"town:X": root}}
principals:
  - {id: a, tenant: t, oid: 00000000-0000-4000-8000-000000000001, grants: [m]}
"#;

/// How many times as large the larger of two requests is.
const TIMES: usize = 8;
/// How many times as long it may take. What grows with the square of the size takes sixty-four times as long.
const MOST: u32 = 24;

/// The time that this thread has had a processor for, where the system tells; else what a clock says.
fn spent(began: Instant) -> Duration {
    // The system settles accounts when a thread steps back.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

/// The least time of several, because other work on the machine only ever adds.
fn cost(world: &World, make: &dyn Fn() -> (Parts, Option<String>)) -> Duration {
    let start = Instant::now();
    let rounds = (0..12).map(|_| {
        let (head, form) = make();
        let before = spent(start);
        let verdict = match form {
            Some(form) => authorize_form(&world.snapshot, &world.verifier, head, form.into(), ENVIRONMENT),
            None => authorize(&world.snapshot, &world.verifier, head, ENVIRONMENT),
        };
        let took = spent(start) - before;
        assert!(!matches!(verdict, Verdict::FormNeeded { .. }));
        took
    });
    rounds.min().unwrap()
}

fn get(host: &str, target: String, lines: impl IntoIterator<Item = (&'static str, String)>) -> Parts {
    let mut request = Request::get(target).header("host", host);
    for (name, value) in lines {
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn no_request_costs_more_than_its_size() {
    let world = World::from_texts(GATEWAY, ROUTES, GRANTS);
    let bearer = format!("Bearer {}", world.token("a", "strict.test", &[]));
    let with_token = |target: String| get("strict.test", target, [("authorization", bearer.clone())]);
    let filled = |form: String| {
        let mut head = with_token("/form".into());
        head.method = http::Method::POST;
        head.headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        (head, Some(form))
    };
    let lines = |name: &'static str, count: usize, value: &str| vec![(name, value.to_owned()); count];
    type Make<'m> = Box<dyn Fn(usize) -> (Parts, Option<String>) + 'm>;
    // Each at most as large as the gateway can be set to take in: targets of 60 KiB, forms of more.
    let kinds: Vec<(&str, usize, Make<'_>)> = vec![
        ("long segments", 100, Box::new(|n| (get("strict.test", format!("/{}", "a".repeat(n)).repeat(64), []), None))),
        ("short segments", 8, Box::new(|n| (get("strict.test", "/a".repeat(n), []), None))),
        (
            "encoded segments",
            16,
            Box::new(|n| (get("strict.test", format!("/x{}", "%C3%A9".repeat(n)).repeat(64), []), None)),
        ),
        ("dots", 100, Box::new(|n| (get("strict.test", format!("/{}", "x.php.a".repeat(n)).repeat(9), []), None))),
        ("segments in many readings", 8, Box::new(|n| (get("iis.test", "/a%2Fb;v%20w".repeat(n / 2), []), None))),
        ("parameters of a segment", 100, Box::new(|n| (get("iis.test", format!("/a{}", ";v%20".repeat(n)), []), None))),
        (
            "names that are nearly a method",
            300,
            Box::new(|n| (get("strict.test", format!("/?{}", "_methox=d&".repeat(n)), []), None)),
        ),
        (
            "parts of a name",
            2_000,
            Box::new(|n| (get("strict.test", format!("/?{}method=d", "[".repeat(n)), []), None)),
        ),
        (
            "a query that does not end",
            5_000,
            Box::new(|n| (get("strict.test", format!("/?{}", "a".repeat(n)), []), None)),
        ),
        (
            "parameters that are nearly read",
            100,
            Box::new(|n| (with_token(format!("/query?{}", "towm=X&".repeat(n))), None)),
        ),
        (
            "encoded parameters",
            100,
            Box::new(|n| (with_token(format!("/query?{}", "x%20%C3%A9=%C3%A9+y&".repeat(n))), None)),
        ),
        ("parameters that are read", 100, Box::new(|n| (with_token(format!("/query?{}", "town=X&".repeat(n))), None))),
        ("values in one parameter", 1_000, Box::new(|n| (with_token(format!("/query?town={}", "X,".repeat(n))), None))),
        ("words of a name", 1_000, Box::new(|n| (with_token(format!("/query?{}=1", "town.".repeat(n))), None))),
        ("fields that are nearly read", 100, Box::new(|n| filled("towm=X&".repeat(n)))),
        ("encoded fields", 100, Box::new(|n| filled("x%20%5B=%C3%A9+y&".repeat(n)))),
        ("a field without an end", 8_000, Box::new(|n| filled(format!("x={}", "%0A".repeat(n))))),
        ("lines of the head", 100, Box::new(|n| (get("strict.test", "/".into(), lines("x-a", n, "b")), None))),
        ("gateways before", 100, Box::new(|n| (get("strict.test", "/".into(), lines("via", n, "1.1 a, 1.1 b")), None))),
        (
            "protocols to choose from",
            100,
            Box::new(|n| (get("strict.test", "/".into(), lines("upgrade", n, "a, b, c")), None)),
        ),
        (
            "cookies",
            1_000,
            Box::new(|n| {
                let token = world.token("a", "iis.test", &[]);
                let both = [("authorization", format!("Bearer {token}")), ("cookie", "towm=x; ".repeat(n) + "a=b")];
                (get("iis.test", "/query?town=X".into(), both), None)
            }),
        ),
        ("labels of a host", 14, Box::new(|n| (get(&format!("{}strict.test", "a.".repeat(n)), "/".into(), []), None))),
    ];
    let mut slow = Vec::new();
    for (kind, size, make) in &kinds {
        // A machine that is busy with something else spoils a comparison now and then, never each time.
        let within = (0..5).any(|_| {
            let small = cost(&world, &|| make(*size)).max(Duration::from_micros(20));
            cost(&world, &|| make(size * TIMES)) <= small * MOST
        });
        if !within {
            slow.push((kind, cost(&world, &|| make(*size)), cost(&world, &|| make(size * TIMES))));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn most_applications_and_routes_make_no_request_costlier() {
    // As many hosts as routes: names, names with ports, and wildcards of one length.
    let world_of = |count: usize| {
        let mut routes =
            String::from("version: 1\nupstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}\napplications:\n");
        for number in 0..count {
            routes.push_str(&format!(
                "  - name: a{number}\n    hosts: [h{number}.test, \"h{number}.test:8443\", \"*.w{number:05}.test\"]\n    domain: d\n    \
                 upstream: app\n    gate: {{tenants: [t], audiences: [api://app]}}\n    routes:\n      \
                 - {{id: r, match: {{methods: [GET], path: /}}, public: true}}\n"
            ));
        }
        World::from_texts(GATEWAY, &routes, GRANTS)
    };
    let (few, many) = (world_of(8), world_of(800));
    for host in ["x.w00003.test", "h3.test:8443", "a.b.c.d.e.elsewhere.test"] {
        let within = (0..5).any(|_| {
            let make = || (get(host, "/".into(), []), None);
            cost(&many, &make) <= cost(&few, &make).max(Duration::from_micros(20)) * 8
        });
        assert!(within, "{host}");
    }
}
