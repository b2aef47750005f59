//! The cases of the examples as requests of HTTP: a permitted one reaches the backend as it was sent, and no other
//! reaches anything; the decision log says why.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis::document::routes::TestDocument;
use portcullis::document::{Literal, Located};
use portcullis::token::mint::DevelopmentKey;
use serde_json::Value;
use tempfile::TempDir;

use crate::backend::Backend;
use crate::examples;
use crate::process::{Running, SOON};
use crate::wire::Client;
use crate::world::{World, as_expected, gateway_of, request_of};

/// Where the upstreams of the examples are, as they are written.
const UPSTREAMS: [&str; 5] = [
    "http://127.0.0.1:9001",
    "http://127.0.0.1:9002",
    "http://127.0.0.1:9003",
    "http://127.0.0.1:9004",
    "http://127.0.0.1:9005",
];

#[test]
fn ips_oms_through_http() {
    run("ips-oms");
}

#[test]
fn iom_through_http() {
    run("iom");
}

#[test]
fn imsma_through_http() {
    run("imsma");
}

#[test]
fn imos_through_http() {
    run("imos");
}

#[test]
fn all_four_at_once_through_http() {
    run("all");
}

type Settings = [(Located<String>, Literal)];

/// Runs all cases of an example; those that ask with the same settings share a gateway.
fn run(example: &str) {
    let world = World::load(&examples().join(example));
    let mut groups: HashMap<String, Vec<(usize, &TestDocument)>> = HashMap::new();
    for (file, test) in world.tests() {
        groups.entry(format!("{file} {}", settings(&test.settings))).or_default().push((file, test));
    }
    let mut permitted = 0;
    for cases in groups.values() {
        let (file, first) = cases[0];
        let mut scene = Scene::start(example, file, &first.settings);
        for (_, test) in cases {
            permitted += usize::from(scene.play(&world, test));
        }
    }
    assert!(permitted * 8 > world.tests().count(), "only {permitted} of {} were permitted", world.tests().count());
}

fn settings(settings: &Settings) -> String {
    settings.iter().map(|(name, value)| format!("  {}: {}\n", name.value, yaml(value))).collect()
}

fn yaml(value: &Literal) -> String {
    match value {
        Literal::Bool(value) => value.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Text(text) => format!("{text:?}"),
        Literal::List(list) => format!("[{}]", list.iter().map(yaml).collect::<Vec<_>>().join(", ")),
    }
}

/// A running gateway between one client and a backend for each upstream.
struct Scene {
    backends: Vec<Backend>,
    running: Running,
    client: Client,
    key: DevelopmentKey,
    _folder: TempDir,
}

impl Scene {
    /// Copies the examples, changes settings of one route map, and starts the gateway of one of them.
    fn start(example: &str, file: usize, changed: &Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backends: Vec<Backend> = UPSTREAMS.iter().map(|_| Backend::hello()).collect();
        copy(&examples(), folder.path(), &|text| {
            let text = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9901", "127.0.0.1:0");
            UPSTREAMS
                .iter()
                .zip(&backends)
                .fold(text, |text, (upstream, backend)| text.replace(upstream, &backend.url()))
        });
        let home = folder.path().join(example);
        let gateway = fs::read_to_string(home.join("gateway.yaml")).unwrap();
        let routes = home.join(&gateway_of(&gateway).routes[file].value);
        let mut text = fs::read_to_string(&routes).unwrap();
        for (name, value) in changed {
            let key = format!("\n  {}: ", name.value);
            let start = text.find(&key).unwrap_or_else(|| panic!("no setting {}", name.value)) + key.len();
            let end = start + text[start..].find('\n').unwrap();
            text.replace_range(start..end, &yaml(value));
        }
        fs::write(&routes, text).unwrap();
        let mut running = Running::start(&home, &["serve", "--workers", "1"]);
        let lines = running.wait_for("admin listener on", SOON);
        let address = lines.iter().find_map(|line| line.strip_prefix("portcullis: serving on http://"));
        let client = Client::plain(address.unwrap().parse().unwrap());
        let read = |name: &str| fs::read_to_string(examples().join(name)).unwrap();
        let key = DevelopmentKey::from_pem(&read("dev.key.pem"), read("dev.jwks.json").as_bytes()).unwrap();
        Self { backends, running, client, key, _folder: folder }
    }

    /// Sends the request of a case and looks at everything that came of it; returns whether it was permitted.
    fn play(&mut self, world: &World, test: &TestDocument) -> bool {
        let id = &test.id.value;
        let (method, host, target) = request_of(test);
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &test.headers {
            head += &format!("{}: {}\r\n", name.value, value.value);
        }
        if let Some(principal) = &test.principal {
            let claims = world.claims(&principal.value, host, &test.token, now());
            head += &format!("Authorization: Bearer {}\r\n", self.key.mint(&claims).unwrap());
        }
        let before: Vec<usize> = self.backends.iter().map(Backend::heads).collect();
        let answer = self.client.ask(head + "\r\n");

        let request_id = answer.header("x-request-id").unwrap();
        let line = self.running.wait_for(request_id, SOON).last().unwrap();
        let line: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        let decided = match line["decision"].as_str().unwrap() {
            "allow" => Ok(()),
            _ => Err(line["reason"].as_str().unwrap().to_owned()),
        };
        if let Err(fault) = as_expected(test, &decided) {
            panic!("{fault}\n{line:#}");
        }

        let reached: Vec<usize> =
            self.backends.iter().zip(before).map(|(after, before)| after.heads() - before).collect();
        if decided.is_err() {
            assert_eq!(answer.header("x-portcullis"), Some("refused"), "{id}: {answer:?}");
            assert_eq!(reached, [0; UPSTREAMS.len()], "{id}: it was refused, and yet it came through");
            return false;
        }
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{id}");
        let at = reached.iter().position(|count| *count > 0).unwrap();
        assert_eq!(reached.iter().sum::<usize>(), 1, "{id}: it came through more than once");
        assert_eq!(line["upstream"], self.backends[at].url(), "{id}");
        let seen = self.backends[at].seen().pop().unwrap();
        assert_eq!(seen.line(), format!("{method} {target} HTTP/1.1"), "{id}");
        assert_eq!(seen.header("host"), Some(host), "{id}");
        for (name, value) in &test.headers {
            assert_eq!(seen.header(&name.value), Some(value.value.as_str()), "{id}");
        }
        // Public routes and those that end at the gate tell no name.
        if let Some(user) = seen.header("x-auth-request-user") {
            let principal = test.principal.as_ref().unwrap();
            assert_eq!(user, principal.value.replace(' ', "%20"), "{id}");
        }
        assert_eq!((seen.header("authorization"), seen.length), (None, 0), "{id}");
        true
    }
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tests begin where time enters")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Copies a folder, with its texts adapted.
fn copy(from: &Path, to: &Path, adapt: &dyn Fn(String) -> String) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target, adapt);
        } else {
            fs::write(target, adapt(fs::read_to_string(entry.path()).unwrap())).unwrap();
        }
    }
}
