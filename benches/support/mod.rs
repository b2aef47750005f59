//! What the benchmarks share: a world of a chosen size, made as text and compiled by the real compilers.

use std::fmt::Write as _;
use std::ops::Range;

use portcullis::model::{Guid, PrincipalKey};
use portcullis::policy::{Chunk, Domain};

/// The one tenant.
pub const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// The object id of a principal by number.
pub fn object_id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// `gateway.yaml` with one tenant.
pub fn gateway() -> String {
    format!(
        "version: 1\nlisteners: [{{address: 127.0.0.1:8080}}]\nroutes: [routes.yaml]\ngrants: [grants.yaml]\ntenants: [{{name: t, id: {TENANT}}}]\n"
    )
}

/// A route map with so many routes, each with two variables, a scope and a requirement of a flag and two rights.
pub fn routes(count: usize, upstream: &str) -> String {
    let mut text = format!(
        "version: 1\nupstreams: {{app: {{servers: [\"{upstream}\"]}}}}\napplications:\n  - name: app\n    hosts: [app.example.org]\n    domain: d\n    upstream: app\n    gate: {{tenants: [t], audiences: [api://app], app_roles: [Access]}}\n    routes:\n"
    );
    for number in 0..count {
        writeln!(
            text,
            "      - {{id: r{number}, match: {{methods: [GET], path: \"/module{number}/territories/{{territory}}/items/{{item}}\"}}, scopes: {{main: {{from: path.territory, kind: territory}}}}, require: [{{flag: app.user}}, app.territory, \"app.module{number}:read\"]}}"
        )
        .unwrap();
    }
    text
}

/// A grants document with so many principals over 100 territories, each with three grants; every tenth is in a group
/// that denies something else.
pub fn grants(principals: usize) -> String {
    let mut text = world();
    text.push_str("principals:\n");
    for number in 0..principals {
        let groups = if number % 10 == 0 { "[NoAdmin]" } else { "[]" };
        writeln!(
            text,
            "  - {{id: p{number}, tenant: t, oid: {}, flags: [app.user], groups: {groups}, grants: [\"app.territory @territory:T{}\", \"app:read @territory:T{}\", \"other:write @territory:T{}\"]}}",
            object_id(number),
            number % 100,
            number % 100,
            (number + 7) % 100
        )
        .unwrap();
    }
    text
}

/// The same document with its principals in files of these names.
pub fn grants_from(files: &[String]) -> String {
    format!("{}principals_from: [{}]\n", world(), files.join(", "))
}

/// The same principals, those of these numbers, as a table.
pub fn people_tsv(numbers: Range<usize>) -> String {
    let mut text = String::from("id\ttenant\toid\tflags\tgroups\tgrants\n");
    for number in numbers {
        let groups = if number % 10 == 0 { "NoAdmin" } else { "" };
        let (oid, here, there) = (object_id(number), number % 100, (number + 7) % 100);
        writeln!(
            text,
            "p{number}\tt\t{oid}\tapp.user\t{groups}\tapp.territory@territory:T{here},app:read@territory:T{here},other:write@territory:T{there}"
        )
        .unwrap();
    }
    text
}

/// The same principals as JSON lines.
pub fn people_jsonl(numbers: Range<usize>) -> String {
    let mut text = String::new();
    for number in numbers {
        let groups = if number % 10 == 0 { "[\"NoAdmin\"]" } else { "[]" };
        let (oid, here, there) = (object_id(number), number % 100, (number + 7) % 100);
        writeln!(
            text,
            "{{\"id\":\"p{number}\",\"tenant\":\"t\",\"oid\":\"{oid}\",\"flags\":[\"app.user\"],\"groups\":{groups},\"grants\":[\"app.territory @territory:T{here}\",\"app:read @territory:T{here}\",\"other:write @territory:T{there}\"]}}"
        )
        .unwrap();
    }
    text
}

/// A grants document without principals.
fn world() -> String {
    let mut text = String::from("version: 1\ndomain: d\nscopes:\n  forest:\n");
    for territory in 0..100 {
        writeln!(text, "    \"territory:T{territory}\": root").unwrap();
    }
    text.push_str("groups: {NoAdmin: {grants: [\"admin:deny\"]}}\n");
    text
}

/// Principals of [`grants`] whose numbers differ by a multiple of this hold the same.
pub const ALIKE: usize = 100;

/// The key of a principal by number.
pub const fn key(number: usize) -> PrincipalKey {
    // The digits of `TENANT` and of `object_id`: putting texts together and reading them would be measured too.
    let tenant = Guid(0x1111_1111_1111_4111_8111_1111_1111_1111);
    PrincipalKey { tenant, object: Guid(((number as u128) << 96) + 0x4000_8000_0000_0000_0000) }
}

/// So many principals as [`grants`] writes them, gathered in two chunks. The domain is one of [`ALIKE`] of them or more.
pub fn chunks(domain: &Domain, principals: usize) -> [Chunk; 2] {
    let likes: Vec<_> = (0..ALIKE).map(|number| domain.principal(key(number)).unwrap()).collect();
    [0..principals / 2, principals / 2..principals].map(|numbers| {
        let mut chunk = Chunk::default();
        for number in numbers {
            let like = likes[number % ALIKE];
            chunk.add(key(number).object, like.profile(), like.own(), &format!("p{number}"));
        }
        chunk
    })
}

/// A domain of [`grants`] with so many principals.
pub fn peopled(domain: &Domain, principals: usize) -> Domain {
    let (domain, doubles) = domain.with_people(&chunks(domain, principals), 2);
    assert!(doubles.keys.is_empty() && doubles.ids.is_empty());
    domain
}

/// The largest number of principals to measure, where that is asked for.
pub fn largest() -> Option<usize> {
    std::env::var("PORTCULLIS_BENCH_PRINCIPALS").ok()?.parse().ok()
}
