//! Floods of forged tokens: well-formed, under a name of a key that there is, each different from all others. What one of
//! them costs is counted in signatures; `benches/flood.rs` measures what good clients notice.

use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::gateway::{Door, Pass, Setup, now, token};
use crate::wire::{Client, Repeated, block_on, get, h2_request, http2, request};

/// A forged token of its own for each number.
fn forged(number: usize) -> String {
    let good = token("olga");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let own = format!("{number:0>12}");
    format!("{signed}.{}{own}{}", &signature[..20], &signature[20 + own.len()..])
}

/// How many tokens were verified, and how many are remembered.
fn verified(gateway: &Door) -> (u64, u64) {
    let cache = &gateway.admin("GET", "/status", "").json()["token_cache"];
    (cache["misses"].as_u64().unwrap(), cache["entries"].as_u64().unwrap())
}

#[test]
fn a_forged_token_costs_one_signature_wherever_it_stands_and_leaves_nothing_behind() {
    let backend = Backend::hello();
    let mut setup = Setup { limits: "failed_tokens_per_client: 0".into(), ..Setup::before(&backend) };
    setup.more = "trusted_proxies: [127.0.0.1]\n".into();
    let places = "    token: [bearer, {cookie: session}, {header: X-Token}]\n    routes:\n";
    setup.routes = setup.routes.replacen("    routes:\n", places, 1);
    let gateway = setup.start();
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
    let (before, _) = verified(&gateway);
    let mut number = 0;
    let mut next = || {
        number += 1;
        forged(number)
    };
    for round in 0..5 {
        let answers = [
            gateway.ask(get("/things/1", &next())),
            gateway.ask(request("PUT", "/things/1", &next(), "", "body")),
            gateway.ask(request("GET", "/things/1", "", &format!("Cookie: session={}\r\n", next()), "")),
            gateway.ask(request("GET", "/things/1", "", &format!("X-Token: {}\r\n", next()), "")),
            gateway.ask(get("/no/such/route", &next())),
        ];
        assert_eq!(answers.map(|answer| answer.status), [401; 5], "{round}");
        block_on(async {
            let mut client = http2(gateway.tls, &gateway.certificate()).await;
            for _ in 0..5 {
                let asked = h2_request("GET", "/things/1", &next(), Repeated::none());
                assert_eq!(client.send_request(asked).await.unwrap().status(), 401);
            }
        });
    }
    let both = forged(number + 1);
    let twice = format!("Cookie: session={both}\r\n");
    assert_eq!(gateway.ask(request("GET", "/things/1", &both, &twice, "")).status, 400, "two tokens are none");
    let (after, entries) = verified(&gateway);
    assert_eq!(after, before + number as u64);
    assert!(entries <= 1, "{entries} tokens are remembered, and one was good");
    assert_eq!(backend.heads(), 1);
}

#[test]
fn a_client_of_many_bad_tokens_has_them_looked_at_no_more_and_what_is_remembered_passes() {
    let backend = Backend::hello();
    let setup = Setup { limits: "failed_tokens_per_client: 5".into(), ..Setup::before(&backend) };
    // A thread has its own turns, and all have one count.
    let gateway = Setup { workers: 2, ..setup }.start();
    let olga = token("olga");
    let mut clients: Vec<Client> = (0..4).map(|_| gateway.connect()).collect();
    assert_eq!(clients[0].ask(get("/things/1", &olga)).status, 200);
    let (before, _) = verified(&gateway);
    let begun = Instant::now();
    let mut seen = Vec::new();
    for number in 0..200 {
        let answer = clients[number % 4].ask(get("/things/1", &forged(number)));
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        seen.push(answer.verdict());
        assert_eq!(clients[number % 4].ask(get("/things/1", &olga)).status, 200, "after {number}");
    }
    // Five at once, and five more in each second.
    let most = 5 + 5 * (begun.elapsed().as_secs() + 1);
    let (after, entries) = verified(&gateway);
    assert!(after - before >= 5 && after - before <= most, "{before} to {after} in {:?}", begun.elapsed());
    assert!(entries <= 1, "{entries} tokens are remembered, and one was good");
    let refused = seen.iter().filter(|verdict| **verdict == (429, "rate_limited".to_owned())).count() as u64;
    assert_eq!(seen.iter().filter(|verdict| verdict.0 == 401).count() as u64 + refused, 200, "{seen:?}");
    assert_eq!(refused, 200 - (after - before), "what is not verified is not believed");
    assert_eq!(backend.heads(), 201);
}

#[test]
fn good_tokens_that_nobody_knows_yet_are_not_counted_as_bad_ones() {
    let backend = Backend::hello();
    let setup = Setup { limits: "failed_tokens_per_client: 2".into(), ..Setup::before(&backend) };
    let gateway = setup.start();
    let mut client = gateway.connect();
    let begun = Instant::now();
    for number in 0..50 {
        let pass = Pass { issued: now() - 5 - number, ..Default::default() };
        assert_eq!(client.ask(get("/things/1", &pass.token())).status, 200, "{number}");
        // One that is genuine and may not do that is no bad one, either.
        let away = Pass { person: 3, issued: now() - 5 - number, ..Default::default() };
        assert_eq!(client.ask(get("/things/1", &away.token())).status, 403, "{number}");
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "so slowly nothing would be refused anyway");
}
