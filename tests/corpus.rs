//! Raw requests in all the forms in which proxies were talked around, and what becomes of each before a backend that keeps
//! every byte. `tests/corpus/*.txt` is the table to read: outcomes in front, what is sent behind. An outcome is the status with
//! the reason of the refusal, or `200` where the backend got the request, and then its target byte for byte.
//!
//! To change outcomes on purpose, run the test with `PORTCULLIS_BLESS=1`, which writes them anew, and read the difference: a
//! `200` that was none needs a reason. A new line needs a `?` for each outcome.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/recorder.rs"]
mod recorder;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use gateway::{Gateway, Setup, token};
use recorder::Recorder;

const DIALECTS: [&str; 4] = ["strict", "iis", "tomcat", "php"];

/// Nobody holds `secrets`, and olga holds `things` at `place:north` only.
const ROUTES: &str = "
      - {id: open, match: {methods: [GET, POST], path: \"/public/{rest...}\"}, public: true}
      - {id: mine, match: {methods: [GET, PUT, POST], path: \"/mine/{rest...}\"}, gate_only: true}
      - {id: user, match: {methods: [GET], path: \"/user/{id}\"}, gate_only: true}
      - {id: list, match: {methods: [GET, POST], path: /list}, scopes: {main: {from: query.territory, kind: place}}, require: [things]}
      - {id: admin, match: {methods: [GET, POST, DELETE], path: /admin}, require: [secrets]}
      - {id: below, match: {methods: [GET, POST, DELETE], path: \"/admin/{rest...}\"}, require: [secrets]}
";

const GRANTS: &str = "version: 1
domain: app
strategy: {rights: tree, within: union, across: deny_overrides, boundary: false, caps: {}}
rights: [things, secrets]
scopes: {forest: {\"place:north\": root, \"place:south\": root}}
principals: [{id: olga, tenant: home, oid: OID, grants: [\"things @place:north\"]}]
";

/// A gateway before a backend, with an application for each dialect.
struct Site {
    backend: Recorder,
    gateway: Gateway,
}

impl Site {
    fn start() -> Self {
        let backend = Recorder::hello();
        let applications = DIALECTS.map(|dialect| {
            format!(
                "  - name: {dialect}\n    hosts: [{dialect}.test]\n    domain: app\n    upstream: app\n    backend: {dialect}\n    \
                 detail_to_client: full\n    gate: {{tenants: [home], audiences: [\"api://app\"]}}\n    routes:{ROUTES}"
            )
        });
        let routes = format!(
            "version: 1\nupstreams: {{app: {{servers: [\"{}\"]}}}}\napplications:\n{}",
            backend.backend.url(),
            applications.concat()
        );
        let setup = Setup::before(&backend.backend);
        let oid = setup.grants.split("oid: ").nth(1).unwrap().split([',', '}']).next().unwrap().to_owned();
        let gateway = Setup { routes, grants: GRANTS.replace("OID", &oid), workers: 1, ..setup }.start();
        Self { backend, gateway }
    }

    /// Sends a head on a connection of its own. Returns the outcome, and what the backend got.
    fn ask(&self, head: &[u8]) -> (String, String) {
        let before = self.backend.all().len();
        let mut client = self.gateway.connect();
        // The gateway may have had enough before all is written.
        let _ = client.try_send(head);
        let answer = client.answer();
        let (status, reason) = answer.verdict();
        let heard = self.backend.all().split_off(before);
        assert_eq!(heard.is_empty(), status != 200, "{status} {reason}: {}\n{heard}", shown(head));
        (if reason.is_empty() { status.to_string() } else { format!("{status}:{reason}") }, heard)
    }
}

/// What bytes are written as in a table.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// The bytes of what is written in a table.
fn bytes(text: &str) -> Vec<u8> {
    let mut letters = text.bytes();
    let mut out = Vec::new();
    while let Some(letter) = letters.next() {
        if letter != b'\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'x') => {
                let digits: String = letters.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            Some(b'\\') => b'\\',
            other => panic!("{text}: \\ before {other:?}"),
        });
    }
    out
}

/// Holds each line of a table against what `outcomes` finds for what stands behind the first words of the line.
#[track_caller]
fn hold<const N: usize>(table: &str, outcomes: impl Fn(&[u8]) -> [String; N]) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(table);
    let text = fs::read_to_string(&path).unwrap();
    let (mut found, mut lines) = (String::new(), 0);
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            found.push_str(line);
        } else {
            let mut rest = line;
            for _ in 0..N {
                rest = rest.split_once(' ').unwrap_or_else(|| panic!("{line}")).1.trim_start();
            }
            for outcome in outcomes(&bytes(rest)) {
                found.push_str(&format!("{outcome:<width$} ", width = if N == 1 { 40 } else { 36 }));
            }
            found.push_str(rest);
            lines += 1;
        }
        found.push('\n');
    }
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    assert!(lines > 40, "{table} has lost its lines");
    let differences: Vec<String> = text
        .lines()
        .zip(found.lines())
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("- {expected}\n+ {found}"))
        .collect();
    assert!(differences.is_empty(), "{table}\n{}", differences.join("\n"));
}

/// What becomes of a target at the application of each dialect.
fn of_target(site: &Site, target: &[u8]) -> [String; 4] {
    DIALECTS.map(|dialect| {
        let rest = format!(" HTTP/1.1\r\nHost: {dialect}.test\r\nAuthorization: Bearer {}\r\n\r\n", token("olga"));
        let (outcome, heard) = site.ask(&[b"GET ", target, rest.as_bytes()].concat());
        if outcome == "200" {
            let sent: Vec<u8> = heard.chars().map(|letter| letter as u8).collect();
            let expected = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
            assert!(sent.starts_with(&expected), "{}: {}", shown(target), shown(&sent));
        }
        outcome
    })
}

#[test]
fn what_becomes_of_each_path_at_each_kind_of_backend() {
    let site = Site::start();
    hold("paths.txt", |path| of_target(&site, path));
}

#[test]
fn what_becomes_of_each_query_at_each_kind_of_backend() {
    let site = Site::start();
    hold("queries.txt", |query| of_target(&site, &[b"/list?", query].concat()));
}

/// `TOKEN` stands for a good token.
#[test]
fn what_becomes_of_each_head() {
    let site = Site::start();
    hold("heads.txt", |head| {
        let text: String = head.iter().copied().map(char::from).collect();
        let head: Vec<u8> = text.replace("TOKEN", &token("olga")).chars().map(|letter| letter as u8).collect();
        let (outcome, heard) = site.ask(&head);
        if outcome == "200" {
            let (line, fields) = heard.split_once("\r\n").unwrap();
            assert!(line.ends_with(" /mine/x HTTP/1.1") && !line.starts_with("DELETE"), "{line}");
            let host = fields.lines().next().unwrap().strip_prefix("host: ").unwrap().split(':').next().unwrap();
            assert!(matches!(host, "strict.test" | "iis.test"), "{host}");
            assert_eq!(heard.matches("\r\n\r\n").count(), 1, "{heard}");
            let own = fields.to_ascii_lowercase();
            for name in ["upgrade: h", "upgrade: t", "upgrade: f", "http2-settings", "delete", "bearer"] {
                assert!(!own.contains(name), "{name}: {heard}");
            }
        }
        [outcome]
    });
}

/// On a public route and on another, alone and named by `Connection`.
#[test]
fn what_becomes_of_each_field_of_a_client() {
    let site = Site::start();
    hold("fields.txt", |name| {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let comes = |path: &str, lines: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: strict.test\r\n{lines}{name}: sentinel\r\n\r\n");
            let (outcome, heard) = site.ask(head.as_bytes());
            assert_eq!(outcome, "200", "{name}");
            heard.contains("sentinel")
        };
        let own = format!("Authorization: Bearer {}\r\n", token("olga"));
        assert!(!comes("/mine/x", &format!("{own}Connection: {name}\r\n")), "{name} is named by `Connection`");
        let (open, mine) = (comes("/public/x", ""), comes("/mine/x", &own));
        assert_eq!(open, mine, "{name} is another thing on public routes");
        [if open { "goes-on" } else { "removed" }.to_owned()]
    });
}
