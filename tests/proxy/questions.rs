//! Questions of operators about what is live: the same answers as the command line gives from the files, or none.

use std::process::Command;

use serde_json::{Value, json};

use crate::backend::{Backend, until};
use crate::gateway::{ADMIN_TOKEN, Door, Setup};

/// A table of principals that grants.yaml names, beside those that stand in it.
const STAFF: &str = "id\ttenant\toid\tgrants\n\
    tom\thome\t00000000-0000-0000-0000-000000000011\tthings:read\n\
    una\thome\t00000000-0000-0000-0000-000000000012\tplaces@place:north,things\n";

fn setup(backend: &Backend) -> Setup {
    let mut setup = Setup::before(backend);
    setup.grants = setup.grants.replacen("principals:", "principals_from: [staff.tsv]\nprincipals:", 1);
    setup.files.push(("staff.tsv", STAFF.to_owned()));
    setup
}

/// Asks with the token: status and body.
fn ask(door: &Door, page: &str) -> (u16, Value) {
    let mut answer = None;
    // Many questions are more than are taken at once.
    until(
        || {
            let taken = door.admin("GET", page, &format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"));
            let again = taken.status == 429;
            answer = Some(taken);
            !again
        },
        "an answer",
    );
    let answer = answer.unwrap();
    (answer.status, answer.json())
}

/// What the command line says, from the same files.
fn told(door: &Door, arguments: &[&str]) -> Value {
    let mut line = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    line.current_dir(door.file(".")).args(arguments);
    let done = line.args(["--config", "gateway.yaml", "--output", "json"]).output().unwrap();
    assert!(done.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

const THING: &str = "/explain?method=GET&host=app.test&path=/things/1";

#[test]
fn an_explanation_is_that_of_the_command_line() {
    let backend = Backend::hello();
    let gateway = setup(&backend).spawn();
    for (page, arguments) in [
        (format!("{THING}&principal=olga"), &["GET https://app.test/things/1", "--as", "olga"][..]),
        (THING.to_owned(), &["GET https://app.test/things/1"]),
        (format!("{THING}&principal=ina"), &["GET https://app.test/things/1", "--as", "ina"]),
        (
            "/explain?method=PUT&host=app.test&path=/things/1&principal=tom".to_owned(),
            &["PUT https://app.test/things/1", "--as", "tom"],
        ),
        (
            "/explain?method=GET&host=app.test&path=/find%3Fplace%3Dsouth&principal=una".to_owned(),
            &["GET https://app.test/find?place=south", "--as", "una"],
        ),
        (
            "/explain?method=GET&host=app.test&path=/places/north&header=X-Place:+south&principal=olga".to_owned(),
            &["GET https://app.test/places/north", "--as", "olga", "-H", "X-Place: south"],
        ),
        (
            format!("{THING}&principal=home/00000000-0000-0000-0000-000000000099&audience=api://other&app_role="),
            &[
                "GET https://app.test/things/1",
                "--as",
                "home/00000000-0000-0000-0000-000000000099",
                "--audience",
                "api://other",
                "--app-role",
                "",
            ],
        ),
        (
            format!("{THING}&principal=olga&tenant=away&client=c&class=app&token_group=unknown"),
            &[
                "GET https://app.test/things/1",
                "--as",
                "olga",
                "--tenant",
                "away",
                "--client",
                "c",
                "--class",
                "app",
                "--token-group",
                "unknown",
            ],
        ),
        ("/explain?method=GET&host=nowhere.test&path=/".to_owned(), &["GET https://nowhere.test/"]),
    ] {
        let (status, said) = ask(&gateway, &page);
        assert_eq!(status, 200, "{page}: {said}");
        assert_eq!(said, told(&gateway, &[&["explain"], arguments].concat()), "{page}");
    }
}

#[test]
fn a_report_is_that_of_the_command_line() {
    let backend = Backend::hello();
    let gateway = setup(&backend).spawn();
    for (page, arguments) in [
        ("modules", &["modules"][..]),
        (
            "modules&at=place:north&right=p*&level=read&only_held=true",
            &["modules", "--at", "place:north", "--right", "p*", "--level", "read", "--only-held"],
        ),
        ("scopes&domain=app&principal=u*", &["scopes", "--domain", "app", "--principal", "u*"]),
        ("objects", &["objects"]),
        ("principal&principal=una", &["principal", "una"]),
        ("right&right=things", &["right", "things"]),
    ] {
        let (status, said) = ask(&gateway, &format!("/report?report={page}"));
        assert_eq!(status, 200, "{page}: {said}");
        assert_eq!(said, told(&gateway, &[&["report"], arguments].concat()), "{page}");
    }
}

#[test]
fn only_the_holder_of_the_token_is_told_who_has_what() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    for page in [&format!("{THING}&principal=olga"), "/report?report=modules"] {
        for lines in ["", "Authorization: Bearer wrong\r\n"] {
            let answer = gateway.admin("GET", page, lines);
            assert_eq!(answer.status, 401);
            assert!(!answer.text().contains("olga"), "{}", answer.text());
        }
    }
}

#[test]
fn what_makes_no_sense_is_said() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    for (page, error, told) in [
        ("/explain", "bad_query", "`method` is missing"),
        ("/explain?method=GET&host=app.test", "bad_query", "`path` is missing"),
        ("/explain?method=GET&host=app.test&path=x", "bad_query", "write `method=GET"),
        ("/explain?method=GET&host=app.test/x&path=/", "bad_query", "write `method=GET"),
        ("/explain?method=G%20T&host=app.test&path=/", "bad_query", "write `method=GET"),
        ("/explain?method=GET&host=app.test&path=/%23", "bad_query", "fragment"),
        ("/explain?method=GET&host=app.test&path=/&bogus=1", "bad_query", "the parameters of this page"),
        ("/explain?method=GET&host=app.test&path=/&path=/x", "bad_query", "twice"),
        ("/explain?method=GET&host=app.test&path=/&class=dog", "bad_query", "`user` or `app`"),
        ("/explain?method=GET&host=app.test&path=/&tenant=home", "bad_query", "`principal`"),
        ("/explain?method=GET&host=app.test&path=/&header=x", "bad_query", "NAME:VALUE"),
        ("/explain?method=GET&host=app.test&path=/&object=officer", "bad_query", "names no object"),
        ("/explain?method=GET&host=app.test&path=/&header=Authorization:x", "bad_query", "cannot be tried"),
        ("/explain?method=GET&host=app.test&path=/&principal=nobody", "bad_request", "nobody"),
        ("/explain?method=GET&host=app.test&path=/&setting=x%3D1", "bad_request", "no setting `x`"),
        ("/report", "bad_query", "`report` is missing"),
        ("/report?report=all", "bad_query", "modules, scopes"),
        ("/report?report=principal", "bad_query", "`principal` is missing"),
        ("/report?report=principal&principal=olg", "bad_request", "did you mean `olga`?"),
        ("/report?report=principal&principal=olga&level=read", "bad_query", "does not belong"),
        ("/report?report=modules&level=much", "bad_query", "`level`"),
        ("/report?report=modules&domain=ap", "bad_request", "did you mean `app`?"),
    ] {
        let (status, answer) = ask(&gateway, page);
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{page}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(told), "{page}: {answer}");
    }
}

#[test]
fn what_the_files_say_before_it_is_live_is_no_answer() {
    let backend = Backend::hello();
    let gateway = setup(&backend).start();
    let vera = format!("{THING}&principal=vera");
    assert_eq!(ask(&gateway, &vera).1["decision"], "allow");
    for (file, from, to) in [
        ("grants.yaml", "grants: [things:read]", "grants: [things:nothing]"),
        ("staff.tsv", "things:read", "things:nothing"),
        ("routes.yaml", "version: 1", "version: 99"),
    ] {
        let good = std::fs::read_to_string(gateway.file(file)).unwrap();
        gateway.replace(file, &good.replacen(from, to, 1));
        for page in [&vera, "/report?report=modules"] {
            let (status, answer) = ask(&gateway, page);
            assert_eq!((status, &answer["error"]), (409, &json!("files_changed")), "{file}: {answer}");
        }
        gateway.replace(file, &good);
        assert_eq!(ask(&gateway, &vera).0, 200, "{file} says what is live again");
    }
    let good = std::fs::read_to_string(gateway.file("grants.yaml")).unwrap();
    gateway.replace("grants.yaml", &good.replacen("grants: [things:read]", "grants: [places]", 1));
    until(|| gateway.serial() == 2, "the new grants");
    let (status, answer) = ask(&gateway, &vera);
    assert_eq!(
        (status, &answer["decision"], &answer["reason"]),
        (200, &json!("deny"), &json!("right_missing:things@root"))
    );
}

#[test]
fn of_very_many_principals_some_are_chosen() {
    let backend = Backend::hello();
    let mut setup = setup(&backend);
    let (_, staff) = setup.files.iter_mut().find(|(name, _)| *name == "staff.tsv").unwrap();
    staff.extend((0..10_000).map(|n| format!("p{n}\thome\t10000000-0000-0000-0000-{n:012}\tthings:read\n")));
    let gateway = setup.start();
    let (status, answer) = ask(&gateway, "/report?report=right&right=things");
    assert_eq!((status, &answer["error"]), (422, &json!("too_many_principals")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("10006 principals"), "{answer}");
    let (status, answer) = ask(&gateway, "/report?report=right&right=things&principal=p99*");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["tables"].to_string().matches("\"p99").count(), 111, "{answer}");
    assert_eq!(ask(&gateway, "/report?report=principal&principal=p9999").0, 200);
    assert_eq!(ask(&gateway, &format!("{THING}&principal=p9999")).1["decision"], "allow");
}
