//! The product's side of a comparison: a world as it is loaded from its texts, and what the real enforcement function
//! says of requests with real tokens.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock};

use http::request::Parts;
use portcullis::diag::Report;
use portcullis::document::grants::{GrantsDocument, PrincipalDocument};
use portcullis::document::people::{PeopleFile, PeopleFormat};
use portcullis::document::{self, Located};
use portcullis::token::Groups;

use crate::run::SENSELESS;
use crate::support::world::{World as Loaded, tenants_of, token_of};
use crate::world::{Caller, Claimed, Request, World};
use crate::write::{HOST, TENANTS, form, target, texts};

/// Tokens of callers, each made once: signing is dear.
static TOKENS: LazyLock<Mutex<HashMap<Caller, String>>> = LazyLock::new(Mutex::default);

/// What the product refuses since it could never apply. The evaluator would only say that it never does.
const NEVER_APPLIES: [&str; 2] = ["never", "unknown_scope_value"];

/// Loads a world; the faults of its texts if it has any, or [`SENSELESS`].
pub fn load(world: &World) -> Result<Loaded, String> {
    let [gateway, routes, grants] = texts(world);
    load_texts(&gateway, &[(routes, grants)])
}

/// Loads a world with another one beside it, which has a domain, an application and a host of its own.
pub fn load_beside(world: &World, other: &World) -> Result<Loaded, String> {
    let [gateway, routes, grants] = texts(world);
    let [_, other_routes, other_grants] = texts(other);
    let rename = |text: String| {
        let text = text.replace("domain: d\n", "domain: other\n");
        text.replace("name: app\n", "name: other\n").replace(HOST, "other.example.org")
    };
    load_texts(&gateway, &[(routes, grants), (rename(other_routes), rename(other_grants))])
}

/// Loads a world whose principals come from a file, written as `write` says.
pub fn load_from_file(
    world: &World,
    format: PeopleFormat,
    write: impl Fn(&[PrincipalDocument]) -> String,
) -> Result<Loaded, String> {
    let [gateway, routes, grants] = texts(world);
    load_arranged(&gateway, &[(routes, grants)], |grants, report| {
        for document in grants {
            let people = std::mem::take(&mut document.principals);
            // A file without any is an error.
            if !people.is_empty() {
                let source = Some(report.add_source("people", write(&people)));
                let name = Located::new(document.domain.place, "people".to_owned());
                document.principals_from.push(PeopleFile { name, format, source });
            }
        }
    })
}

fn load_texts(gateway: &str, texts: &[(String, String)]) -> Result<Loaded, String> {
    load_arranged(gateway, texts, |_, _| ())
}

fn load_arranged(
    gateway: &str,
    texts: &[(String, String)],
    arrange: impl Fn(&mut Vec<GrantsDocument>, &mut Report),
) -> Result<Loaded, String> {
    // What all worlds share: verified tokens stay verified.
    static EMPTY: OnceLock<Loaded> = OnceLock::new();
    let mut report = Report::new();
    let (mut routes, mut grants) = (Vec::new(), Vec::new());
    for (of_routes, of_grants) in texts {
        let source = report.add_source("routes.yaml", of_routes);
        routes.extend(document::read_routes(source, &mut report));
        let source = report.add_source("grants.yaml", of_grants);
        grants.extend(document::read_grants(source, &mut report));
    }
    if report.has_errors() {
        return Err(report.render());
    }
    arrange(&mut grants, &mut report);
    let empty = EMPTY.get_or_init(|| Loaded::compile(tenants_of(gateway), Vec::new(), Vec::new()));
    empty.with_sources(routes, grants, &mut report).map_err(|faults| {
        let mut codes = faults.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next());
        if codes.all(|code| NEVER_APPLIES.contains(&code)) { SENSELESS.to_owned() } else { faults }
    })
}

/// `allow`, or the reason with its subject.
pub fn judge(loaded: &Loaded, request: &Request) -> String {
    let (head, form) = (head(request), form(request));
    let judged = if form.is_empty() { loaded.judge(head) } else { loaded.judge_form(head, &form) };
    judged.err().unwrap_or_else(|| "allow".to_owned())
}

fn head(request: &Request) -> Parts {
    let mut head = http::Request::builder().method(request.method.as_str()).uri(target(request)).header("host", HOST);
    for (name, value) in &request.headers {
        head = head.header(name.as_str(), value.as_str());
    }
    if let Some(caller) = &request.caller {
        head = head.header("authorization", format!("Bearer {}", token(caller)));
    }
    head.body(()).unwrap().into_parts().0
}

fn token(caller: &Caller) -> String {
    let mut tokens = TOKENS.lock().unwrap();
    let make = || {
        let (_, tenant) = TENANTS.iter().find(|(name, _)| *name == caller.tenant).unwrap();
        let roles: Vec<&str> = caller.roles.iter().map(String::as_str).collect();
        let groups = match &caller.groups {
            Claimed::Listed(groups) => Groups::listed(groups),
            Claimed::Unknown => Groups::Unknown,
        };
        token_of(tenant.parse().unwrap(), caller.oid.parse().unwrap(), &caller.audience, &roles, &groups)
    };
    tokens.entry(caller.clone()).or_insert_with(make).clone()
}
