//! What strangers can make the gateway remember or wait for beside connections and requests, which `limits.rs` has:
//! series of metrics, handshakes without an end, the operators' listener. docs/testing.md has the table of all bounds.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::backend::{Backend, until};
use crate::gateway::{Door, Setup, token};
use crate::wire::{Client, get};

/// The names and labels of all series.
fn series(gateway: &Door) -> BTreeSet<String> {
    let page = gateway.admin("GET", "/metrics", "").text();
    let named = page.lines().filter(|line| !line.starts_with('#'));
    named.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// Requests with names of this number wherever a client can make one up.
fn made_up(gateway: &Door, number: usize) {
    let (olga, forged) = (token("olga"), format!("e30.e30.{number:04}"));
    let ask = |method: &str, target: &str, host: &str, token: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n");
        gateway.ask(format!("{head}X-Request-Id: made-up-{number}\r\nUser-Agent: made-up/{number}\r\n\r\n"));
    };
    ask("GET", &format!("/things/{number}"), "app.test", &olga);
    ask("GET", &format!("/made-up-{number}?made-up-{number}=1"), "app.test", &olga);
    ask("GET", "/things/1", &format!("made-up-{number}.test"), &olga);
    ask(&format!("MADEUP{number}"), "/things/1", "app.test", &olga);
    ask("GET", "/things/1", "app.test", &forged);
}

#[test]
fn names_that_clients_make_up_make_no_series_of_metrics() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    // Every outcome once, with names that are not told apart afterwards.
    (0..5).for_each(|number| made_up(&gateway, number));
    let known = series(&gateway);
    (1000..1050).for_each(|number| made_up(&gateway, number));
    let now = series(&gateway);
    let new: Vec<&String> = now.difference(&known).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(now.iter().any(|series| series.contains("reason=\"no_application\"")), "{now:?}");
}

/// The first record of a handshake whose greeting is to be so long.
fn greeting(length: u32) -> Vec<u8> {
    let [_, a, b, c] = length.to_be_bytes();
    let piece = [&[1, a, b, c, 3, 3][..], &[0x55; 1018]].concat();
    let size = u16::try_from(piece.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &size, &piece].concat()
}

#[test]
fn a_greeting_of_tls_has_a_bound_and_others_are_served_meanwhile() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).timeouts("handshake: 2s").start();
    let failed = |number: u64| {
        until(|| gateway.metric("portcullis_tls_handshakes_failed_total") == number, "it is counted");
    };
    // Announced as longer than any: nobody waits for it.
    let begun = Instant::now();
    let mut client = Client::plain(gateway.tls);
    client.send(greeting(0x00ff_ffff));
    client.rest();
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    failed(1);
    // Of a length that could be, but without an end: it has the time of a handshake.
    let mut clients: Vec<Client> = (0..50).map(|_| Client::plain(gateway.tls)).collect();
    for client in &mut clients {
        client.send(greeting(0xfff0));
    }
    let (mut good, _) = Client::tls(gateway.tls, &gateway.trust()).unwrap();
    assert_eq!(good.ask(get("/things/1", &token("olga"))).status, 200);
    clients.iter_mut().for_each(|client| drop(client.rest()));
    failed(51);
    assert_eq!(good.ask(get("/things/1", &token("olga"))).status, 200);
}

#[test]
fn operators_are_answered_though_their_listener_is_flooded() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    // More than it has places, each kept for the time of a head, which is three seconds. Who comes after them waits for a
    // place, and no longer than that.
    let begun = Instant::now();
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(gateway.admin).unwrap()).collect();
    assert_eq!(gateway.admin("GET", "/livez", "").status, 200);
    assert!((3..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(silent);
    let long = format!("X-Long: {}\r\n", "a".repeat(20 * 1024));
    assert_eq!(gateway.admin("GET", "/livez", &long).status, 431);
}
