//! What one request costs in counting and logging: on the thread that serves it, and with the writing of its line.
//!
//! Run with `cargo bench --bench telemetry`.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput};
use portcullis::telemetry::{Local, RequestId, Telemetry, Text};

/// Requests between two looks at the log.
const BATCH: u64 = 1_000;

/// An ordinary request that was forwarded.
fn report(local: &Local, number: u64) {
    black_box(local.request_started());
    let mut record = local.record();
    record.set_id(&RequestId::Made(u128::from(number) << 64 | 0x0123_4567_89ab_cdef));
    for (which, text) in [
        (Text::Method, "GET"),
        (Text::Host, "app.example.org"),
        (Text::Path, "/module7/territories/T42/items/42"),
        (Text::Application, "app"),
        (Text::Route, "module7.items.read"),
        (Text::Principal, "p4711"),
        (Text::Tenant, "t"),
        (Text::ClientId, "6f1f0f6e-0000-4000-8000-000000000001"),
        (Text::TokenId, "AbCdEfGhIjKlMnOpQrStUv"),
        (Text::Upstream, "http://127.0.0.1:9001"),
    ] {
        record.set(which, black_box(text));
    }
    let figures = &mut record.figures;
    (figures.at, figures.client) = (1_700_000_000_000 + number, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    (figures.serial, figures.allowed, figures.caller, figures.status) = (7, true, Some("user"), 200);
    (figures.bytes_out, figures.decide_us, figures.upstream_us, figures.total_us) = (1234, 3, 300, 333);
    local.emit(record);
    local.request_finished();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("telemetry");
    group.throughput(Throughput::Elements(BATCH));
    for (name, telemetry) in [
        ("counted", Telemetry::new("0", false)),
        ("counted and written", Telemetry::writing_to("0", Box::new(io::sink()))),
    ] {
        let local = telemetry.local();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                (0..BATCH).for_each(|number| report(&local, number));
                telemetry.flush();
            });
        });
    }
    group.bench_function("read", |bencher| {
        let telemetry = Telemetry::new("0", false);
        let locals = [telemetry.local(), telemetry.local()];
        locals.iter().for_each(|local| report(local, 1));
        bencher.iter(|| black_box(telemetry.render()));
    });
    group.finish();
    criterion.final_summary();
}
