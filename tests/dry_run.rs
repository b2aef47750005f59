//! A dry run tells all that would change, as `portcullis diff` tells it of the files before and after, and publishes
//! nothing: of a few principals and of many, from files that are gone, and of texts that are too large to be kept.

#[path = "support/operator.rs"]
mod operator;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use process::{Running, SOON, free_ports, portcullis};
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ROUTES: &str = "version: 1
upstreams: {u: {servers: [\"http://127.0.0.1:9\"]}}
applications:
- name: app
  hosts: [app.test]
  domain: d
  upstream: u
  gate: {tenants: [t], audiences: [a]}
  routes:
  - {id: orders, match: {methods: [GET, PUT], path: /orders}, require: [\"orders:by_method\"]}
  - {id: bills, match: {methods: [GET], path: /bills}, require: bills}
  - {id: staff, match: {methods: [GET], path: /staff}, require: [{flag: staff}]}
  - {id: place, match: {methods: [GET], path: \"/places/{place}\"}, scopes: {main: {from: path.place, kind: place}}, require: [\"places:read @main\"]}
";
/// The gate holds whatever drops it, so that no candidate of a test is published because its files changed.
const GONE: &str = "- name: old
  hosts: [old.test]
  domain: d
  upstream: u
  gate: {tenants: [t], audiences: [a]}
  routes:
  - {id: home, match: {methods: [GET], path: /}, require: orders}
";
const GRANTS: &str = "version: 1
domain: d
rights: [orders, bills, places]
scopes: {forest: {\"place:north\": root, \"place:south\": root, \"place:town\": \"place:north\"}}
roles: {clerk: {rights: [\"orders:write\"]}, reader: {rights: [\"orders:read\", \"bills:read\"]}}
groups: {office: {grants: [{role: clerk, at: root}]}, barred: {grants: [\"bills:deny\"]}}
principals:
- {id: ann, tenant: t, oid: 00000000-0000-0000-0000-00000000000a, groups: [office], grants: [\"places @place:north\"]}
- {id: ben, tenant: t, oid: 00000000-0000-0000-0000-00000000000b, grants: [{role: reader, at: root}]}
- {id: cem, tenant: t, oid: 00000000-0000-0000-0000-00000000000c, groups: [barred], grants: [bills]}
- {id: dot, tenant: t, oid: 00000000-0000-0000-0000-00000000000d, status: inactive, grants: [orders]}
";

/// What a configuration says that is not edited.
fn gateway(port: u16, more: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{address: \"127.0.0.1:0\"}}]\nroutes: [routes.yaml]\ngrants: [grants]\n\
         admin: {{address: \"127.0.0.1:{port}\", token_file: admin.token}}\nlog: {{decisions: false}}\n\
         tenants: [{{name: t, id: 11111111-1111-1111-1111-111111111111, keys: jwks.json}}]\ntimeouts: {{drain: 1s}}\n{more}"
    )
}

/// So many principals in a file, of which some hold something else. Each line has so many spaces at its end.
fn people(count: usize, others: &[(usize, &str)], spaces: usize) -> String {
    let mut text = "id\ttenant\toid\tgrants\n".to_owned();
    for number in 1..=count {
        let other = others.iter().find(|(other, _)| *other == number).map(|(_, held)| *held);
        let (held, end) = (other.unwrap_or("orders"), " ".repeat(spaces));
        text.push_str(&format!("p{number}\tt\t11111111-0000-0000-0000-{number:012x}\t{held}{end}\n"));
    }
    text
}

/// The same domain, whose principals are those of the file.
fn from_file() -> String {
    let (head, _) = GRANTS.split_once("principals:").unwrap();
    format!("{head}principals_from: [../people.tsv]\n")
}

/// Asks the operators' listener, again if there were too many calls.
fn ask(admin: SocketAddr, request: &str) -> (u16, Value) {
    loop {
        let (status, body) = operator::ask(admin, TOKEN, request);
        if status != 429 {
            return (status, serde_json::from_str(&body).unwrap());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// A real process on files of its own, and a copy of these as they were at the start.
struct Gateway {
    dir: tempfile::TempDir,
    admin: SocketAddr,
    _running: Running,
}

impl Gateway {
    fn start(more: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports(1);
        let keys = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dev.jwks.json")).unwrap();
        let (gateway, routes) = (gateway(port, more), format!("{ROUTES}{GONE}"));
        let all = [
            ("gateway.yaml", &*gateway),
            ("jwks.json", &keys),
            ("admin.token", TOKEN),
            ("routes.yaml", &routes),
            ("grants/d.yaml", GRANTS),
        ];
        for side in ["old", "new"] {
            for (name, text) in all.iter().chain(files) {
                let path = dir.path().join(side).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let config = dir.path().join("new/gateway.yaml").display().to_string();
        let mut running = Running::start(dir.path(), &["serve", "--config", &config]);
        running.wait_for("admin listener on", SOON);
        let admin = format!("127.0.0.1:{port}").parse().unwrap();
        Self { dir, admin, _running: running }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("new").join(name)
    }

    /// Replaces a file as operators are told to.
    fn replace(&self, name: &str, text: &str) {
        fs::write(self.at("new~"), text).unwrap();
        fs::rename(self.at("new~"), self.at(name)).unwrap();
    }

    fn ask(&self, request: &str) -> (u16, Value) {
        ask(self.admin, request)
    }

    fn dry(&self, more: &str) -> Value {
        let (status, answer) = self.ask(&format!("POST /reload?dry_run=true{more}"));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// What a verb of the command line prints, and its exit code.
    fn verb(&self, arguments: &[&str]) -> (i32, String) {
        let config = self.at("gateway.yaml").display().to_string();
        let done = portcullis(self.dir.path(), &[arguments, &["--config", &config]].concat());
        (done.code, done.out)
    }

    /// What `portcullis diff` prints of the files as they were and as they are, which are said to lie in one place.
    fn diff(&self, arguments: &[&str]) -> String {
        let side = |name: &str| self.dir.path().join(name).display().to_string();
        let (old, new) = (side("old"), side("new"));
        let done = portcullis(Path::new("/"), &[&["diff", &old, &new], arguments].concat());
        assert!(done.code < 2, "{}", done.err);
        done.out.replace(&format!("old {old}/"), &format!("old {new}/"))
    }

    /// Holds a dry run against `portcullis diff`.
    fn tells_all(&self, what: &str) {
        let answer = self.dry("");
        assert_eq!((&answer["outcome"], &answer["serial"]), (&"tried".into(), &1.into()), "{what}: {answer}");
        assert_eq!(format!("{:#}\n", answer["diff"]), self.diff(&["--output", "json"]), "{what}");
        assert_eq!(format!("{}\n", answer["diff_text"].as_str().unwrap().trim_end()), self.diff(&[]), "{what}");
    }

    /// Why there is no difference.
    fn left_out(&self) -> String {
        let answer = self.dry("");
        assert_eq!((&answer["diff"], &answer["diff_text"]), (&Value::Null, &Value::Null), "{answer}");
        assert!(answer["verdict"] == "hold" && answer["changes"].is_object(), "{answer}");
        answer["diff_left_out"]["why"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_dry_run_says_what_diff_says_of_the_files_before_and_after_and_publishes_nothing() {
    let gateway = Gateway::start("", &[]);
    let edits = [
        ("nothing else", "", "", ""),
        ("a grant is added", "grants", "grants: [bills]}", "grants: [bills, \"orders:read @place:south\"]}"),
        ("a grant is removed", "grants", ", grants: [\"places @place:north\"]}", "}"),
        ("a role changes", "grants", "\"orders:read\", \"bills:read\"", "\"orders\""),
        ("a group changes", "grants", "[{role: clerk, at: root}]", "[{role: clerk, at: \"place:north\"}]"),
        (
            "a principal is new",
            "grants",
            "principals:\n",
            "principals:\n- {id: eve, tenant: t, oid: 00000000-0000-0000-0000-00000000000e, grants: [bills]}\n",
        ),
        ("a principal is gone", "grants", "- {id: ben", "# - {id: ben"),
        ("a principal is renamed", "grants", "id: ben", "id: benno"),
        ("an account is switched on", "grants", "status: inactive, ", ""),
        (
            "a flag is added",
            "grants",
            "oid: 00000000-0000-0000-0000-00000000000b",
            "oid: 00000000-0000-0000-0000-00000000000b, flags: [staff]",
        ),
        ("a denial is removed", "grants", ", groups: [barred]", ""),
        ("a node is moved", "grants", "\"place:town\": \"place:north\"", "\"place:town\": \"place:south\""),
        ("a route is opened", "routes", "path: /bills}, require: bills}", "path: /bills}, public: true}"),
        (
            "a route asks less",
            "routes",
            "path: /bills}, require: bills}",
            "path: /bills}, require: [{any: [bills, orders]}]}",
        ),
        (
            "a route is new",
            "routes",
            "  - {id: bills",
            "  - {id: more, match: {methods: [GET], path: /more}, require: orders}\n  - {id: bills",
        ),
        ("a gate changes", "routes", "audiences: [a]", "audiences: [a, b]"),
        ("the servers change", "routes", "127.0.0.1:9", "127.0.0.1:10"),
    ];
    for (what, file, from, to) in edits {
        let edited = |name: &str, text: &str| {
            assert!(name != file || text.contains(from), "{what}");
            if name == file { text.replace(from, to) } else { text.to_owned() }
        };
        gateway.replace("routes.yaml", &edited("routes", ROUTES));
        gateway.replace("grants/d.yaml", &edited("grants", GRANTS));
        gateway.tells_all(what);
    }
    assert_eq!(gateway.ask("GET /status").1["serial"], 1);
    assert_eq!(gateway.ask("GET /history").1["history"].as_array().unwrap().len(), 1);
}

#[test]
fn files_that_are_gone_since_are_compared_with_and_what_is_secret_in_them_is_not_told() {
    let more = "version: 1\ndomain: more\nprincipals_from: [../people.tsv]\n";
    let secrets = "version: 1\nupstreams: {u: {servers: [\"http://127.0.0.1:9\"], credentials: {basic: me, from_file: word.txt}}}\n";
    let routes = ROUTES.split_once("applications:").unwrap().1;
    let routes = format!("{secrets}applications:{routes}");
    let files = [
        ("grants/more.yaml", more),
        ("people.tsv", &people(3, &[], 0)),
        ("word.txt", "the-old-word"),
        ("routes.yaml", &format!("{routes}{GONE}")),
    ];
    let gateway = Gateway::start("", &files);
    gateway.replace("routes.yaml", &routes);
    fs::remove_file(gateway.at("grants/more.yaml")).unwrap();
    fs::remove_file(gateway.at("people.tsv")).unwrap();
    gateway.replace("word.txt", "the-new-word");
    gateway.tells_all("files are gone");
    let answer = gateway.dry("");
    let text = answer["diff_text"].as_str().unwrap();
    assert!(text.contains("domain more, which is gone") && text.contains("(other content)"), "{text}");
    assert!(!answer.to_string().contains("-word"), "{answer}");
}

#[test]
fn principals_of_a_file_that_a_reload_did_not_read_again_are_compared_with() {
    for more in ["", "reload: {history: 0}\n"] {
        let files = [("grants/more.yaml", "version: 1\ndomain: more\nprincipals_from: [../people.tsv]\n")];
        let gateway = Gateway::start(more, &[&files[..], &[("people.tsv", &people(9, &[], 0))]].concat());
        // Only routes change, and are published.
        gateway.replace("routes.yaml", &format!("{ROUTES}{GONE}# new\n"));
        let published = || gateway.ask("GET /status").1["serial"] == 2;
        (0..100)
            .find(|_| {
                published() || {
                    thread::sleep(Duration::from_millis(50));
                    false
                }
            })
            .unwrap();
        // Then they drop an application, which the gate holds, and somebody gains something.
        gateway.replace("routes.yaml", ROUTES);
        gateway.replace("people.tsv", &people(9, &[(7, "orders,bills")], 0));
        let answer = gateway.dry("");
        let text = answer["diff_text"].as_str().unwrap_or_else(|| panic!("{more}: {answer}"));
        assert!(text.contains("1 principal gains bills:delete at root") && text.contains("(p7)"), "{text}");
        assert!(!text.contains("p8"), "{text}");
    }
}

#[test]
fn those_who_ask_at_once_are_answered_one_after_the_other() {
    let gateway = Gateway::start("", &[]);
    gateway.replace("routes.yaml", ROUTES);
    let expected = gateway.diff(&["--output", "json"]);
    let admin = gateway.admin;
    let asked: Vec<_> = (0..4).map(|_| thread::spawn(move || ask(admin, "POST /reload?dry_run=true").1)).collect();
    let answers: Vec<Value> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| format!("{:#}\n", answer["diff"]) == expected), "{answers:#?}");
}

#[test]
fn the_command_prints_the_same_text_and_all_of_it_if_asked() {
    let gateway = Gateway::start(
        "",
        &[
            ("grants/more.yaml", "version: 1\ndomain: more\nprincipals_from: [../people.tsv]\n"),
            ("people.tsv", &people(30, &[], 0)),
        ],
    );
    gateway.replace("routes.yaml", ROUTES);
    let others: Vec<(usize, &str)> = (1..=30).map(|number| (number, "bills")).collect();
    gateway.replace("people.tsv", &people(30, &others, 0));
    for all in [&[][..], &["--all"]] {
        let (code, said) = gateway.verb(&[&["reload", "--dry-run"], all].concat());
        let expected = gateway.diff(all);
        assert!(code == 1 && said.contains(&expected), "{code}\n{said}\n{expected}");
        assert_eq!(said.contains("and 25 more"), all.is_empty(), "{said}");
        assert!(
            said.contains("30 of 30 principals gain access") && said.contains("would hold: the gateway keeps serial 1")
        );
    }
    let (_, json) = gateway.verb(&["reload", "--dry-run", "--output", "json"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(format!("{:#}\n", answer["diff"]), gateway.diff(&["--output", "json"]));
    assert_eq!(gateway.verb(&["reload", "--all"]).0, 2);
    assert_eq!(gateway.ask("POST /reload?all=true").0, 400);
}

#[test]
fn files_that_say_what_is_live_change_nothing_and_those_with_faults_or_failing_tests_are_not_compared() {
    let gateway = Gateway::start("", &[]);
    gateway.replace("routes.yaml", &format!("{ROUTES}{GONE}"));
    let answer = gateway.dry("");
    assert_eq!((&answer["outcome"], &answer["diff"]["changes"]), (&"unchanged".into(), &false.into()), "{answer}");
    assert_eq!(answer["diff_text"], "nothing changes");
    assert_eq!(gateway.verb(&["reload", "--dry-run"]), (0, "unchanged: serial 1\n".to_owned()));

    let test = "tests:\n- {id: no, as: ann, request: \"GET http://app.test/bills\", expect: allow}\n";
    for (routes, why, code) in
        [(ROUTES.replace("require: bills", "require: bill.s"), "faults", 3), (format!("{ROUTES}{test}"), "tests", 4)]
    {
        gateway.replace("routes.yaml", &routes);
        let (status, answer) = gateway.ask("POST /reload?dry_run=true");
        assert_eq!((status, &answer["why"], answer.get("diff")), (422, &why.into(), None), "{answer}");
        assert_eq!(gateway.verb(&["reload", "--dry-run"]).0, code);
    }
}

#[test]
fn a_published_policy_is_compared_with_from_then_on_and_so_is_one_that_was_gone_back_to() {
    let gateway = Gateway::start("", &[]);
    gateway.replace("routes.yaml", ROUTES);
    let gains = GRANTS.replace("grants: [bills]}", "grants: [bills, orders]}");
    gateway.replace("grants/d.yaml", &gains);
    assert_eq!(gateway.ask("POST /reload?force=true&reason=x").1["serial"], 2);
    gateway.replace("grants/d.yaml", &gains.replace("groups: [office], ", ""));
    let answer = gateway.dry("");
    let found = answer["diff_text"].as_str().unwrap();
    assert!(found.contains("1 principal loses orders:write") && !found.contains("gain"), "{found}");

    gateway.replace("grants/d.yaml", &gains);
    assert_eq!(gateway.ask("POST /rollback").1["serial"], 3);
    let answer = gateway.dry("");
    assert_eq!((&answer["outcome"], &answer["serial"]), (&"tried".into(), &3.into()), "{answer}");
    assert_eq!(format!("{:#}\n", answer["diff"]), gateway.diff(&["--output", "json"]));
}

/// With so many spaces in each of 1,200 lines, a file has more than 16 MiB.
const LONG: usize = 15_000;

/// Files that take more than 16 MiB together, of which the principals are the most.
fn large(last_good: bool) -> Gateway {
    let more = if last_good { "reload: {last_good: kept}\n" } else { "" };
    let document = "version: 1\ndomain: many\nprincipals_from: [../people.tsv]\n";
    let gateway = Gateway::start(more, &[("grants/many.yaml", document), ("people.tsv", &people(1_200, &[], LONG))]);
    while last_good && gateway.ask("GET /status").1["last_good"]["written"].is_null() {
        thread::sleep(Duration::from_millis(100));
    }
    gateway.replace("routes.yaml", ROUTES);
    gateway
}

#[test]
fn of_texts_that_are_too_large_to_be_kept_the_copy_on_disk_is_compared_with() {
    let gateway = large(true);
    gateway.replace("people.tsv", &people(1_200, &[(7, "bills"), (700, "orders, bills")], LONG));
    gateway.tells_all("a copy");
    fs::remove_dir_all(gateway.at("kept")).unwrap();
    assert_eq!(gateway.left_out(), "texts_gone");
}

#[test]
fn without_a_copy_there_is_a_difference_while_what_is_too_large_to_be_kept_is_as_it_was() {
    let gateway = large(false);
    gateway.replace("grants/d.yaml", &GRANTS.replace("grants: [bills]}", "grants: [bills, orders]}"));
    gateway.tells_all("the other files changed");
    gateway.replace("people.tsv", &people(1_200, &[(7, "bills")], LONG));
    assert_eq!(gateway.left_out(), "texts_gone");
    let (code, said) = gateway.verb(&["reload", "--dry-run"]);
    assert!(
        code == 1 && said.contains("who gains or loses what cannot be told: ") && said.contains("last_good"),
        "{said}"
    );
}

#[test]
fn of_many_principals_those_that_differ_are_told_and_routes_are_counted_among_all() {
    let document = &from_file();
    let first = people(20_000, &[(3, "bills"), (4, "orders, bills")], 0);
    let gateway = Gateway::start("", &[("grants/d.yaml", document), ("people.tsv", &first)]);
    gateway.replace("routes.yaml", ROUTES);
    // One gains, one loses, one is gone, one is new.
    let second = people(20_001, &[(3, "bills, orders"), (9, "bills")], 0).replace("p15\t", "p15x\t");
    gateway.replace("people.tsv", &second.replace("p16\tt\t11111111", "p16\tt\t22222222"));
    let asked = ROUTES.replace("path: /bills}, require: bills}", "path: /bills}, require: [{any: [bills, orders]}]}");
    gateway.replace("routes.yaml", &asked);
    gateway.tells_all("many");
    let bills = &gateway.dry("")["diff"]["routes"][0];
    assert_eq!((&bills["principals_before"], &bills["principals_now"]), (&2.into(), &20_001.into()), "{bills:#}");
}

#[test]
fn where_too_many_differ_the_others_are_counted_and_never_said_to_be_as_they_were() {
    let document = &from_file();
    let gateway = Gateway::start("", &[("grants/d.yaml", document), ("people.tsv", &people(12_000, &[], 0))]);
    gateway.replace("routes.yaml", ROUTES);
    gateway.replace("people.tsv", &people(12_000, &[], 0).replace("\torders\n", "\torders, bills\n"));
    let answer = gateway.dry("");
    let found = &answer["diff"];
    assert_eq!((&found["changes"], &found["gains"]), (&true.into(), &true.into()));
    assert_eq!(found["left_out"], serde_json::json!([{"domain": "d", "principals": 2_000, "may_gain": true}]));
    assert_eq!(found["domains"][0]["access"][0]["principals"], 10_000);
    let text = answer["diff_text"].as_str().unwrap();
    assert!(
        text.contains("2000 principals more of domain d change, or may, and are not compared here [may open]"),
        "{text}"
    );
    assert!(text.contains("of those compared: 10000 principals with more rights"), "{text}");
}
