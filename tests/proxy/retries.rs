//! What is tried again and what is not, and servers that are left out because they fail.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::backend::{Backend, Then, reply, until};
use crate::gateway::{Gateway, Setup, token};
use crate::places;
use crate::wire::{get, request};

/// A port that nobody listens on.
fn nobody() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Answers the first request of each connection, and reads the second one without an answer.
fn once_each() -> Backend {
    Backend::raw(|number, mut stream, record| {
        let mut buffer = Vec::new();
        for turn in 0..2 {
            let read = crate::backend::read_request(number, &mut stream, &mut buffer, record);
            let Some(seen) = read else { return };
            record.seen(seen);
            if turn == 0 {
                reply(&mut stream, "200 OK", b"hello");
            }
        }
    })
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let metrics = gateway.admin("GET", "/metrics", "").text();
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

const RETRIES: &str = "portcullis_upstream_retries_total{upstream=\"app\"}";

#[test]
fn only_what_does_no_harm_twice_is_sent_again_on_a_pooled_connection_that_ended() {
    for (method, body, again) in [
        ("GET", "", true),
        ("OPTIONS", "", true),
        ("GET", "body", false),
        ("POST", "", false),
        ("PUT", "", false),
        ("DELETE", "", false),
    ] {
        let backend = once_each();
        let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
        let mut client = gateway.connect();
        assert_eq!(client.ask(get("/things/1", &token("olga"))).status, 200);
        let answer = client.ask(request(method, "/things/2", &token("olga"), "", body));
        let expected = if again { (200, String::new()) } else { (502, "upstream_invalid".into()) };
        assert_eq!(answer.verdict(), expected, "{method} {body}");
        assert_eq!(metric(&gateway, RETRIES), u64::from(again), "{method} {body}");
        let sent = backend.seen().iter().filter(|seen| seen.target() == "/things/2").count();
        assert_eq!(sent, 1 + usize::from(again), "{method} {body}");
    }
}

#[test]
fn what_is_sent_again_is_what_was_sent_before_byte_for_byte() {
    let backend = once_each();
    let keys = "path: {add: /backend}";
    let gateway = Setup { workers: 1, ..Setup::before(&backend).upstream(keys) }.start();
    let mut client = gateway.connect();
    let lines = "Connection: X-Gone\r\nX-Gone: 1\r\nX-Kept: 2\r\nX-Auth-Request-User: root\r\nCookie: a=b\r\n";
    let ask = |target: &str| request("GET", target, &token("olga"), lines, "");
    assert_eq!(client.ask(ask("/things/1")).status, 200);
    assert_eq!(client.ask(ask("/things/2?a=b")).status, 200);
    let sent: Vec<_> = backend.seen().into_iter().filter(|seen| seen.target() == "/backend/things/2?a=b").collect();
    let [first, second] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(first.head, second.head);
    assert_eq!(second.header("x-auth-request-user"), Some("olga"));
    assert_eq!((second.header("x-gone"), second.header("x-kept")), (None, Some("2")));
}

#[test]
fn what_is_sent_again_is_what_the_policy_of_now_would_send_the_same_way() {
    const APPLICATION: &str = "    token: [bearer, {cookie: erp_token}]\n    forward_authorization: true\n";
    for (was, is, again) in [
        ("require: [secrets]", "require: [things]", true),
        ("require: [\"things:by_method\"]", "require: [secrets]", false),
        ("\"/things/{thing...}\"", "\"/others/{thing...}\"", false),
        ("tenants: [home]", "tenants: [away]", false),
        ("  app: {servers: [", "  app: {servers: [\"http://127.0.0.1:9\", ", false),
        // Nobody may use a connection next that a client authenticated, and the one that is asked now is anybody's.
        ("forward_authorization: true", "connection_auth: true", false),
        ("    token: [bearer, {cookie: erp_token}]", "    token: bearer", false),
    ] {
        let (asked, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, goes_on) = (Arc::clone(&asked), Arc::clone(&go_on));
        let backend = Backend::raw(move |number, mut stream, record| {
            let mut buffer = Vec::new();
            for turn in 0..2 {
                let read = crate::backend::read_request(number, &mut stream, &mut buffer, record);
                let Some(seen) = read else { return };
                record.seen(seen);
                match turn {
                    0 => drop(reply(&mut stream, "200 OK", b"hello")),
                    _ => {
                        told.store(true, Ordering::SeqCst);
                        until(|| goes_on.load(Ordering::SeqCst), "the change of the policy");
                    }
                }
            }
        });
        let setup = Setup { workers: 1, ..places::with(&backend, APPLICATION, false) };
        let routes = setup.routes.clone();
        let gateway = setup.start();
        let mut client = gateway.connect();
        let ask = |target| {
            let lines = format!("Cookie: erp_token={}\r\nAuthorization: NTLM abc\r\n", token("olga"));
            request("GET", target, "", &lines, "")
        };
        assert_eq!(client.ask(ask("/things/1")).status, 200);
        client.send(ask("/things/2"));
        until(|| asked.load(Ordering::SeqCst), "the request");
        let changed = routes.replace(was, is);
        assert_ne!(changed, routes, "{was}");
        gateway.replace("routes.yaml", &changed);
        until(|| gateway.serial() == 2, is);
        go_on.store(true, Ordering::SeqCst);
        let expected = if again { (200, String::new()) } else { (502, "upstream_invalid".into()) };
        assert_eq!(client.answer().verdict(), expected, "{is}");
        let sent = backend.seen().iter().filter(|seen| seen.target() == "/things/2").count();
        assert_eq!(sent, 1 + usize::from(again), "{is}");
    }
}

#[test]
fn the_next_try_goes_to_another_server_first() {
    let (one, other) = (once_each(), once_each());
    let setup = Setup::to(&[one.url(), other.url()]).upstream("balance: round_robin");
    let gateway = Setup { workers: 1, ..setup }.start();
    let mut client = gateway.connect();
    for target in ["/things/1", "/things/2", "/things/3"] {
        assert_eq!(client.ask(get(target, &token("olga"))).status, 200);
    }
    // The third was lost at the first server, and answered by the second, on a connection of its own.
    let third = |backend: &Backend| backend.seen().iter().filter(|seen| seen.target() == "/things/3").count();
    assert_eq!((third(&one), third(&other)), (1, 1));
    assert_eq!((one.connections(), other.connections()), (1, 2));
}

#[test]
fn tries_again_have_a_budget() {
    for (budget, failing) in [("{budget: 20}", 14), ("{budget: 0}", 2), ("{attempts: 0}", 2)] {
        let backend = once_each();
        let setup = Setup::before(&backend).upstream(&format!("retries: {budget}"));
        let gateway = Setup { workers: 1, ..setup }.start();
        let mut client = gateway.connect();
        // Each request but the first meets a pooled connection that ends.
        let statuses = (1..=20).map(|_| client.ask(get("/things/1", &token("olga"))).status);
        let failed = statuses.into_iter().position(|status| status != 200).map(|at| at + 1);
        // Ten in any case, and a fifth of those asked.
        assert_eq!(failed, Some(failing), "{budget}");
        assert_eq!(metric(&gateway, RETRIES), failing as u64 - 2, "{budget}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_passed_over_for_any_method_unless_forbidden() {
    let backend = Backend::hello();
    let servers = [format!("http://{}", nobody()), backend.url()];
    let setup = || Setup::to(&servers).upstream("balance: round_robin, ejection: {failures: 0}");
    let gateway = Setup { workers: 1, ..setup() }.start();
    let mut client = gateway.connect();
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for _ in 0..10 {
            assert_eq!(client.ask(request(method, "/things/1", &token("olga"), "", "body")).status, 200, "{method}");
        }
    }
    assert_eq!(backend.heads(), 40);
    assert_eq!(metric(&gateway, RETRIES), 20, "each second one");
    let mut never = setup();
    never.routes = never.routes.replacen("balance:", "retries: {attempts: 0}, balance:", 1);
    let gateway = Setup { workers: 1, ..never }.start();
    let statuses: Vec<_> = (0..4).map(|_| gateway.ask(get("/things/1", &token("olga"))).status).collect();
    assert_eq!(statuses, [502, 200, 502, 200]);
}

#[test]
fn an_answer_that_takes_too_long_is_not_asked_for_again() {
    let backend = Backend::start(|_, _| {
        std::thread::sleep(Duration::from_secs(2));
        Then::Close
    });
    let other = Backend::hello();
    let setup = Setup::to(&[backend.url(), other.url()]);
    let gateway = Setup { workers: 1, ..setup }.upstream("balance: round_robin, timeouts: {response: 200ms}").start();
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).verdict(), (504, "upstream_timeout".into()));
    assert_eq!((backend.heads(), other.heads()), (1, 0));
}

#[test]
fn a_server_that_fails_is_left_out_then_tried_by_one_request_and_back() {
    let (good, gone) = (Backend::hello(), nobody());
    let name = format!("http://{gone}");
    let keys = "balance: round_robin, ejection: {failures: 3, time: 2s}";
    let gateway = Setup { workers: 2, ..Setup::to(&[name.clone(), good.url()]) }.upstream(keys).spawn();
    let token = token("olga");
    let count = |metric: &str| {
        let metrics = gateway.admin("GET", "/metrics", "").text();
        metrics.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let failed = format!("portcullis_upstream_connections_failed_total{{server=\"{name}\"}}");
    let ejections = format!("portcullis_upstream_ejections_total{{upstream=\"app\",server=\"{name}\"}}");
    for _ in 0..20 {
        assert_eq!(gateway.ask(get("/things/1", &token)).status, 200);
    }
    assert_eq!((count(&failed), count(&ejections)), (3, 1));
    gateway.logs(&format!("upstream app: server {name} failed and is left out for 2000 ms"));
    assert_eq!(gateway.admin("GET", "/readyz", "").json()["upstreams_unfit"][0]["server"], name);
    // Its time is over: one request tries it, in vain, and is answered by the other.
    until(|| gateway.ask(get("/things/1", &token)).status == 200 && count(&failed) == 4, "a trial");
    gateway.logs("is left out for 4000 ms");
    assert_eq!(gateway.ask(get("/things/1", &token)).status, 200);
    assert_eq!((count(&failed), count(&ejections)), (4, 2));
    // Now somebody is there.
    let back = Backend::at(TcpListener::bind(gone).unwrap(), |number, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = crate::backend::read_request(number, &mut stream, &mut buffer, record) {
            record.seen(seen);
            reply(&mut stream, "200 OK", b"back");
        }
    });
    until(|| gateway.ask(get("/things/1", &token)).text() == "back", "its return");
    gateway.logs(&format!("upstream app: server {name} answers again"));
    let answers: Vec<_> = (0..10).map(|_| gateway.ask(get("/things/1", &token)).text()).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "back").count(), 5, "{answers:?}");
    assert!(back.heads() >= 6);
}

#[test]
fn the_only_server_is_always_tried() {
    let gone = nobody();
    let gateway =
        Setup::to(&[format!("http://{gone}")]).upstream("ejection: {failures: 1, time: 1h, most: 100}").start();
    for _ in 0..10 {
        assert_eq!(gateway.ask(get("/things/1", &token("olga"))).verdict(), (502, "upstream_unreachable".into()));
    }
    let failed = format!("portcullis_upstream_connections_failed_total{{server=\"http://{gone}\"}}");
    assert_eq!(metric(&gateway, &failed), 10, "each time, and once each time");
}

#[test]
fn statuses_of_the_application_are_no_failures_and_answers_that_break_off_are() {
    let served = AtomicUsize::new(0);
    let one = Backend::start(move |seen, stream| match seen.target() {
        "/things/500" => reply(stream, "500 Internal Server Error", b"no"),
        _ => {
            served.fetch_add(1, Ordering::SeqCst);
            crate::backend::say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            Then::Close
        }
    });
    let other = Backend::hello();
    let keys = "balance: round_robin, ejection: {failures: 3, time: 1h}";
    let gateway = Setup::to(&[one.url(), other.url()]).upstream(keys).start();
    let ask = |target: &str| gateway.ask(get(target, &token("olga")));
    let errors = (0..20).filter(|_| ask("/things/500").status == 500).count();
    assert_eq!(errors, 10);
    let broken = (0..20).filter(|_| !ask("/things/1").whole).count();
    assert_eq!(broken, 3);
}
