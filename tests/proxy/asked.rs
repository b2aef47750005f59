//! `portcullis explain` and `portcullis report` ask a running gateway: the same output as from its files, or a sentence that
//! says why not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use crate::backend::Backend;
use crate::gateway::{Door, Process, Setup, routes, token};
use crate::wire::request;

const STAFF: &str = "id\ttenant\toid\tgrants\n\
    tom\thome\t00000000-0000-0000-0000-000000000011\tthings:read\n\
    una\thome\t00000000-0000-0000-0000-000000000012\tplaces@place:north,things\n";

/// A gateway with a table of principals, and a route that only watches.
fn start(backend: &Backend) -> Process {
    let mut setup = Setup::before(backend);
    setup.routes = setup.routes.replace("{id: secret, match", "{id: secret, mode: shadow, match");
    assert!(setup.routes.contains("mode: shadow"));
    setup.routes.push_str(
        "      - {id: kinds, match: {methods: [POST], path: /kinds}, require: [things, {in: [form.kind, [a, b]], reason: wrong_kind}]}\n",
    );
    setup.grants = setup.grants.replacen("principals:", "principals_from: [staff.tsv]\nprincipals:", 1);
    setup.files.push(("staff.tsv", STAFF.to_owned()));
    setup.spawn()
}

fn run(door: &Door, arguments: &[&str]) -> Output {
    let mut line = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    line.current_dir(door.file(".")).args(arguments).output().unwrap()
}

/// By the files.
fn read(door: &Door, arguments: &[&str]) -> Output {
    run(door, &[arguments, &["--config", "gateway.yaml"]].concat())
}

/// By what is live, with this token.
fn asked_with(door: &Door, arguments: &[&str], token: &str) -> Output {
    let url = format!("http://{}", door.admin);
    run(door, &[arguments, &["--admin", &url, "--token-file", token]].concat())
}

fn asked(door: &Door, arguments: &[&str]) -> Output {
    asked_with(door, arguments, "admin.token")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exit code and what standard error says.
fn failed(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

const THING: &str = "GET https://app.test/things/1";

/// Every option of `explain`, and what each says.
const EXPLAINED: &[&[&str]] = &[
    &[THING],
    &[THING, "--as", "olga"],
    &[THING, "--as", "tom"],
    &["PUT https://app.test/things/1", "--as", "tom"],
    &["GET https://app.test/find?place=south", "--as", "una"],
    &["GET https://app.test/places/north", "--as", "olga", "-H", "X-Place: south"],
    &["POST https://app.test/things/1", "--as", "olga", "--form", "a=1&2", "--form", "b=x y"],
    &["POST https://app.test/kinds", "--as", "olga", "--form", "kind=a"],
    &["POST https://app.test/kinds", "--as", "olga", "--form", "kind= a"],
    &[THING, "--as", "olga", "--tenant", "away"],
    &[THING, "--as", "home/00000000-0000-0000-0000-000000000099", "--audience", "api://other", "--app-role", ""],
    &[THING, "--as", "olga", "--audience", "api://app", "--audience", "x", "--app-role", "Access", "--app-role", "B"],
    &[THING, "--as", "olga", "--client", "c1", "--class", "app", "--token-group", "g1", "--token-group", "g2"],
    &["GET https://app.test/secrets/x", "--as", "tom"],
    &["GET https://app.test/nowhere"],
    &["GET https://other.test/"],
];

#[test]
fn an_explanation_is_the_same_byte_for_byte() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    for arguments in EXPLAINED {
        for format in ["text", "json"] {
            let arguments = [&["explain"], *arguments, &["--output", format]].concat();
            let (by_files, by_gateway) = (read(&gateway, &arguments), asked(&gateway, &arguments));
            assert_eq!(text(&by_gateway.stderr), "", "{arguments:?}");
            if format == "json" {
                let json = |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
                assert_eq!(json(&by_gateway), json(&by_files), "{arguments:?}");
            } else {
                assert_eq!(text(&by_gateway.stdout), text(&by_files.stdout), "{arguments:?}");
            }
            assert_eq!(by_gateway.status.code(), Some(0));
        }
    }
}

#[test]
fn a_report_is_the_same_in_every_format() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    for arguments in [
        &["modules", "--right", "thing*", "--only-held"][..],
        &["scopes", "--right", "places", "--scope", "place:*", "--principal", "*a"],
        &["objects"],
        &["principal", "una"],
        &["right", "things", "--level", "write", "--domain", "app"],
    ] {
        for format in ["text", "csv", "json", "html"] {
            let arguments = [&["report"], arguments, &["--output", format]].concat();
            let (by_files, by_gateway) = (read(&gateway, &arguments), asked(&gateway, &arguments));
            assert_eq!(text(&by_gateway.stderr), "", "{arguments:?}");
            let page = |output: &Output| -> String {
                // A page says when it was made.
                text(&output.stdout).lines().filter(|line| !line.contains("<time>")).collect()
            };
            assert_eq!(page(&by_gateway), page(&by_files), "{arguments:?}");
            assert!(!by_gateway.stdout.is_empty() && by_gateway.status.success());
        }
    }
}

#[test]
fn what_only_watches_is_shown() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    let explained = |arguments: &[&str]| text(&asked(&gateway, &[&["explain"], arguments].concat()).stdout);
    let denied = explained(&["GET https://app.test/secrets/x", "--as", "tom"]);
    assert!(denied.contains("; mode: shadow, so it is logged as would_deny and forwarded\n"), "{denied}");
    let nobody = explained(&["GET https://app.test/secrets/x"]);
    assert!(
        nobody.contains("; mode: shadow, so it is logged as would_deny and forwarded without a name\n"),
        "{nobody}"
    );
    assert!(!explained(&["PUT https://app.test/things/1", "--as", "tom"]).contains("mode: shadow"));
    let report = text(&asked(&gateway, &["report", "principal", "tom", "--output", "csv"]).stdout);
    assert!(report.contains("\"app\",\"secret\",\"GET\",\"shadow\""), "{report}");
    assert!(report.contains("\"app\",\"staff\",\"GET\",\"enforce\""), "{report}");
    let json = |who: &[&str]| -> serde_json::Value {
        let arguments = [&["explain", "GET https://app.test/secrets/x", "--output", "json"], who].concat();
        serde_json::from_slice(&asked(&gateway, &arguments).stdout).unwrap()
    };
    let told = json(&["--as", "tom"]);
    assert_eq!(
        (&told["decision"], &told["mode"], &told["forwarded"]),
        (&"deny".into(), &"shadow".into(), &true.into())
    );
}

#[test]
fn what_is_live_is_asked_and_not_what_the_files_say_by_now() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    let arguments = ["explain", THING, "--as", "olga"];
    assert!(asked(&gateway, &arguments).status.success());
    gateway.replace("routes.yaml", "no route map");
    let (code, told) = failed(&asked(&gateway, &arguments));
    assert_eq!(code, 1);
    assert!(
        told.contains("the gateway said 409: the files on disk are not those that the live policy was made of"),
        "{told}"
    );
    assert_eq!(failed(&read(&gateway, &arguments)).0, 3);
    gateway.replace("routes.yaml", &routes(&[backend.url()]));
}

#[test]
fn whatever_keeps_a_question_from_being_answered_is_told_with_an_exit_code() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    std::fs::write(gateway.file("other.token"), "ffffffffffffffffffffffffffffffff").unwrap();
    let thing = ["explain", THING, "--as", "olga"];
    let accepted = "does not accept the admin token";
    for (output, code, told) in [
        (asked_with(&gateway, &thing, "other.token"), 1, accepted),
        (asked_with(&gateway, &["report", "modules"], "other.token"), 1, accepted),
        (asked_with(&gateway, &thing, "none.token"), 3, "none.token"),
        (asked(&gateway, &["explain", THING, "--as", "whoever"]), 2, "whoever"),
        (asked(&gateway, &["report", "right", "nothing"]), 2, "nothing"),
        (asked(&gateway, &["report", "modules", "--domain", "none"]), 2, "none"),
        (
            run(&gateway, &[&thing[..], &["--token-file", "admin.token"]].concat()),
            2,
            "`--token-file` is for `--admin URL`",
        ),
        (run(&gateway, &[&thing[..], &["--ca", "tls.crt"]].concat()), 2, "--admin"),
        (
            run(&gateway, &["report", "--admin", "https://127.0.0.1:9", "modules", "--key", "k"]),
            2,
            "needs its `--certificate`",
        ),
        (run(&gateway, &["report", "--admin", "https://127.0.0.1:9", "modules", "--ca", "none.pem"]), 3, "none.pem"),
        (run(&gateway, &[&thing[..], &["--admin", "http://127.0.0.1:9"]].concat()), 3, "is not read with `--admin`"),
    ] {
        let (found, said) = failed(&output);
        assert_eq!(found, code, "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    let nobody =
        run(&gateway, &[&thing[..], &["--admin", "http://127.0.0.1:9", "--token-file", "admin.token"]].concat());
    assert_eq!(failed(&nobody).0, 5);
}

/// Somebody who gives these answers, one a connection.
fn answering(answers: Vec<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _ = client.read(&mut buffer);
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn a_gateway_that_has_too_much_to_do_is_asked_again_and_a_stranger_is_told() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    let ask = |url: &str| run(&gateway, &["explain", THING, "--admin", url, "--token-file", "admin.token"]);
    let later = answering(vec![
        "HTTP/1.1 429 Too Many Requests\r\n\r\n{}",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\":\"busy\",\"message\":\"x\"}",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nthe answer\u{1b}[2J\u{9b}2J\u{202e}",
    ]);
    // Whatever it says, it does not move the cursor of whoever asked.
    assert_eq!(text(&ask(&later).stdout), "the answer\u{241b}[2J\u{fffd}2J\u{fffd}\n");
    for (answer, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello", "is it the admin listener of a gateway?"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "is it the admin listener of a gateway?"),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n{\"error\":\"token_not_configured\",\"message\":\"set it\"}",
            "does not accept the admin token: set it",
        ),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "the gateway said 400"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "has no such page"),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\":\"late\",\"message\":\"too long\"}",
            "the gateway said 503: too long",
        ),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", "the gateway said 500"),
    ] {
        let (code, said) = failed(&ask(&answering(vec![answer])));
        assert_eq!(code, 1);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn what_a_request_says_moves_no_cursor() {
    let backend = Backend::hello();
    let gateway = start(&backend);
    let arguments = ["explain", "GET https://app.test/find?place=x%E2%80%AE", "--as", "olga"];
    for output in [read(&gateway, &arguments), asked(&gateway, &arguments)] {
        let told = text(&output.stdout);
        assert!(told.contains("query.place says x\u{fffd}"), "{told}");
    }
    let told = text(&read(&gateway, &["explain", THING, "--as", "olga", "--audience", "\u{1b}[2J\u{9b}J"]).stdout);
    assert!(told.contains("✗ audience \u{241b}[2J\u{fffd}J"), "{told}");
    let (_, said) = failed(&read(&gateway, &["explain", THING, "--as", "\u{1b}[2Jolga"]));
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn what_is_said_to_be_forwarded_is_forwarded_and_nothing_else() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    // Outside of what the upstream takes off, nothing can be forwarded.
    setup.routes = setup
        .routes
        .replace("path: \"/", "path: \"/oms/")
        .replace("path: /", "path: /oms/")
        .replace("{servers: [", "{path: {strip: /oms}, servers: [")
        .replace("    domain: app\n", "    domain: app\n    mode: shadow\n");
    let gateway = setup.spawn();
    for (method, target, who, lines) in [
        ("GET", "/oms/things/1", "olga", ""),
        ("GET", "/oms/things/1", "", ""),
        ("GET", "/oms/secrets/1", "nils", ""),
        ("GET", "/oms/nowhere", "olga", ""),
        ("GET", "/nowhere", "olga", ""),
        ("GET", "/nowhere", "", ""),
        ("GET", "/oms/../things", "olga", ""),
        ("DELETE", "/oms/lobby", "olga", ""),
        ("OPTIONS", "/oms/things/1", "nils", "Max-Forwards: 0"),
        ("OPTIONS", "/oms/things/1", "nils", "Max-Forwards: 1"),
        ("OPTIONS", "/oms/things/1", "nils", "Max-Forwards: x"),
        ("TRACE", "/oms/things/1", "olga", ""),
    ] {
        let token = if who.is_empty() { String::new() } else { token(who) };
        let line = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
        let before = backend.heads();
        gateway.ask(request(method, target, &token, &line, ""));
        let is_forwarded = backend.heads() > before;
        let url = format!("{method} https://app.test{target}");
        let mut arguments = vec!["explain", url.as_str(), "--output", "json"];
        if !who.is_empty() {
            arguments.extend(["--as", who]);
        }
        if !lines.is_empty() {
            arguments.extend(["-H", lines]);
        }
        let output = read(&gateway, &arguments);
        let told: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        assert_eq!(told["forwarded"], is_forwarded, "{method} {target} {who} {lines}: {told:#}");
    }
}
