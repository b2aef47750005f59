//! A whole request over loopback keep-alive: allowed, refused, and straight to the same backend. What counts is the
//! difference between the first and the last of one run; the figures themselves say more about the machine.
//!
//! Run with `cargo bench --bench request`.

#[path = "../tests/support/backend.rs"]
mod backend;
#[path = "../tests/support/gateway.rs"]
mod gateway;
#[path = "../tests/support/wire.rs"]
mod wire;

use std::hint::black_box;

use criterion::Criterion;

use backend::Backend;
use gateway::{Setup, token};
use wire::{Client, request};

/// What a browser sends along.
const ORDINARY: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Referer: https://app.test/start\r\nCookie: theme=dark; session=0123456789abcdef0123456789abcdef\r\n\
    Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let backend = Backend::hello();
    let gateway = Setup { workers: 1, ..Setup::before(&backend) }.start();
    let (token, trust) = (token("olga"), gateway.trust());
    let allowed = request("GET", "/things/1", &token, ORDINARY, "");
    let refused = request("GET", "/secrets/1", &token, ORDINARY, "");
    let stranger = request("GET", "/things/1", "", ORDINARY, "");
    let mut group = criterion.benchmark_group("request");
    let mut measure = |name: &str, mut client: Client, request: &str, status: u16| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(black_box(client.ask(request)).status, status));
        });
    };
    measure("direct", Client::plain(backend.address), &allowed, 200);
    measure("allowed", gateway.connect(), &allowed, 200);
    measure("allowed over TLS", Client::tls(gateway.tls, &trust).unwrap().0, &allowed, 200);
    measure("refused", gateway.connect(), &refused, 403);
    measure("refused without token", gateway.connect(), &stranger, 401);
    group.finish();
    criterion.final_summary();
}
