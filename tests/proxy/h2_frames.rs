//! HTTP/2 below any library: malformed requests, lengths that do not fit, and floods (RFC 9113). While one client does
//! all this, another is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::backend::{Backend, SOON, Seen, Then, say, until};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, section,
};
use crate::gateway::{Door, Setup, token};
use crate::recorder::Recorder;
use crate::wire::{get, request};

/// The fields of an ordinary request to `path`, with `more` behind them.
fn fields<'a>(path: &'a str, bearer: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", path)];
    [&usual[..], &[("authorization", bearer)], more].concat()
}

fn bearer() -> String {
    format!("Bearer {}", token("olga"))
}

fn is_served(door: &Door) {
    let mut other = Frames::open(door);
    assert_eq!(other.ask(1, &fields("/things/1", &bearer(), &[])), Outcome::Status(200));
}

#[test]
fn a_request_that_is_not_well_formed_reaches_no_backend() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let bearer = bearer();
    let usual = fields("/things/1", &bearer, &[]);
    let without = |name: &str| usual.iter().filter(|(known, _)| *known != name).copied().collect::<Vec<_>>();
    let with = |name, value| [&without(name)[..0], &[(name, value)], &without(name)].concat();
    let and = |name, value| fields("/things/1", &bearer, &[(name, value)]);
    for case in [
        // pseudo-header fields: missing, twice, late, unknown, of an answer, empty
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        [&[(":path", "/things/2")], &usual[..]].concat(),
        [&[(":method", "GET")], &usual[..]].concat(),
        [&[(":authority", "app.test")], &usual[..]].concat(),
        [&[("x-a", "1")], &usual[..]].concat(),
        [&[(":path", "/things/1")], &without(":path")[..]].concat().into_iter().rev().collect(),
        [&[(":status", "200")], &usual[..]].concat(),
        [&[(":foo", "1")], &usual[..]].concat(),
        with(":path", ""),
        with(":path", "things/1"),
        with(":path", "*"),
        with(":path", "/things/../secrets/1"),
        with(":path", "http://app.test/things/1"),
        with(":method", ""),
        with(":method", "GE T"),
        with(":method", "CONNECT"),
        with(":scheme", "http"),
        with(":scheme", "ftp"),
        with(":scheme", "https://app.test/x"),
        with(":authority", ""),
        with(":authority", "user@app.test"),
        with(":authority", "app.test/x"),
        with(":authority", "app.test:0"),
        // fields of a connection, and names and values that are none
        and("connection", "close"),
        and("connection", "x-forwarded-for"),
        and("proxy-connection", "keep-alive"),
        and("keep-alive", "timeout=5"),
        and("transfer-encoding", "chunked"),
        and("upgrade", "h2c"),
        and("te", "gzip"),
        and("te", "trailers, gzip"),
        and("X-Upper", "1"),
        and("x a", "1"),
        and("", "1"),
        and("x-a:", "1"),
        and("x-a", "1\r\nx-b: 2"),
        and("x-a", "1\n2"),
        and("x-a", "1\x002"),
        and("x-a", " 1"),
        and("x-a", "1 "),
        and("x-a", "\t1"),
        and("x-a", " "),
        and("content-type", " text/plain"),
        and("host", "other.test"),
        and("content-length", "5"),
        and("content-length", "x"),
        and("content-length", "+0"),
        and("content-length", "0, 0"),
        [and("host", "app.test"), vec![("host", "app.test")]].concat(),
        [and("content-length", "0"), vec![("content-length", "0")]].concat(),
    ] {
        let outcome = Frames::open(&gateway).ask(1, &case);
        let refused = matches!(outcome, Outcome::Status(400 | 405 | 421) | Outcome::Reset(_) | Outcome::GoAway(_));
        assert!(refused, "{case:?}: {outcome:?}");
    }
    assert_eq!(backend.connections(), 0);
    is_served(&gateway);
}

#[test]
fn authority_and_host_that_agree_are_one_and_the_backend_gets_one() {
    let backend = Recorder::hello();
    let gateway = Setup::before(&backend.backend).start();
    let bearer = bearer();
    let more =
        [("host", "APP.test:443"), ("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
    assert_eq!(Frames::open(&gateway).ask(1, &fields("/things/1?q=%20", &bearer, &more)), Outcome::Status(200));
    let heard = backend.only();
    assert!(heard.starts_with("GET /things/1?q=%20 HTTP/1.1\r\n"), "{heard}");
    assert_eq!(heard.to_ascii_lowercase().matches("\r\nhost: app.test\r\n").count(), 1, "{heard}");
    // RFC 9113 section 8.2.3.
    assert_eq!(heard.matches("cookie: a=1; b=2; c=3; d=4\r\n").count(), 1, "{heard}");
    assert!(!heard.contains("\r\nte: "), "{heard}");
}

#[test]
fn a_fragment_is_cut_off_before_the_judge_looks() {
    let backend = Recorder::hello();
    let gateway = Setup::before(&backend.backend).start();
    // The library's type for targets has no place for one, and the bytes of a field section cannot be read beside it as
    // those of HTTP/1 are; what is judged is what goes on.
    let outcome = Frames::open(&gateway).ask(1, &fields("/things/1#/../../secrets/1", &bearer(), &[]));
    assert_eq!(outcome, Outcome::Status(200));
    assert!(backend.only().starts_with("GET /things/1 HTTP/1.1\r\n"));
}

#[test]
fn a_length_that_is_not_that_of_the_data_leaves_no_complete_request() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let bearer = bearer();
    let put = |length| {
        let mut fields = fields("/things/1", &bearer, &[("content-length", length)]);
        fields[0].1 = "PUT";
        section(&fields)
    };
    for (length, pieces) in [("10", &["short"][..]), ("10", &["short", ""]), ("3", &["longer"]), ("3", &["abc", "d"])] {
        let mut frames = Frames::open(&gateway);
        frames.send(HEADERS, END_HEADERS, 1, &put(length));
        for (number, piece) in pieces.iter().enumerate() {
            let flags = if number + 1 == pieces.len() { END_STREAM } else { 0 };
            let _ = frames.try_send(DATA, flags, 1, piece.as_bytes());
        }
        let outcome = frames.outcome(1);
        assert_ne!(outcome, Outcome::Status(200), "{length} {pieces:?}");
    }
    // What comes behind the declared length in a frame of its own may come when that much has gone on: then the backend has
    // exactly what was declared, and nothing of the rest.
    let right = |seen: &Seen| !seen.whole || (seen.header("content-length"), &*seen.body) == (Some("3"), b"abc");
    assert!(backend.seen().iter().all(right), "{:?}", backend.seen());
    is_served(&gateway);
}

#[test]
fn trailers_with_fields_of_the_head_end_the_stream_and_others_are_dropped() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let bearer = bearer();
    for (trailers, whole) in [
        (&[("x-auth-request-user", "root"), ("x-unnamed", "1")][..], true),
        // h2 takes these for nothing at all, where RFC 9113 section 8.1 would have them end the stream.
        (&[(":path", "/secrets/1")], true),
        (&[("X-Upper", "1")], false),
        (&[("connection", "close")], false),
    ] {
        let before = backend.seen().iter().filter(|seen| seen.whole).count();
        let mut fields = fields("/things/1", &bearer, &[]);
        fields[0].1 = "PUT";
        let mut frames = Frames::open(&gateway);
        frames.send(HEADERS, END_HEADERS, 1, &section(&fields)).send(DATA, 0, 1, b"body");
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &section(trailers));
        assert_eq!(frames.outcome(1) == Outcome::Status(200), whole, "{trailers:?}");
        assert_eq!(
            backend.seen().iter().filter(|seen| seen.whole).count() - before,
            usize::from(whole),
            "{trailers:?}"
        );
    }
    // The backend's reader panics at a trailer, so none came.
    is_served(&gateway);
}

#[test]
fn streams_and_field_sections_beyond_their_bounds_are_refused_one_by_one() {
    let backend = Backend::raw(|_, stream, _| {
        // It never answers.
        std::thread::sleep(std::time::Duration::from_secs(2));
        drop(stream);
    });
    let gateway = Setup { limits: "streams: 4, head_bytes: 16KiB".into(), ..Setup::before(&backend) }.start();
    let bearer = bearer();
    let mut frames = Frames::open(&gateway);
    for stream in 0..4 {
        frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &section(&fields("/things/1", &bearer, &[])));
    }
    // REFUSED_STREAM: nothing was done, so it may be tried again.
    assert_eq!(frames.ask(9, &fields("/things/1", &bearer, &[])), Outcome::Reset(7));

    let long = "a".repeat(15 * 1024);
    let mut frames = Frames::open(&gateway);
    let outcome = frames.ask(1, &fields("/health", &bearer, &[("x-long", &long), ("x-longer", &long[..1000])]));
    assert!(matches!(outcome, Outcome::Status(431) | Outcome::Reset(_) | Outcome::GoAway(_)), "{outcome:?}");
}

/// Writes until the other side has had enough, and says how it ended the connection.
fn flood(frames: &mut Frames, most: usize, mut piece: impl FnMut(u32) -> Vec<u8>) -> Outcome {
    let begin = Instant::now();
    for number in 0..most {
        let stream = 2 * u32::try_from(number).unwrap() + 1;
        if frames.client.try_send(piece(stream)).is_err() {
            break;
        }
    }
    assert!(begin.elapsed() < SOON, "the other side takes no more, but does not end it");
    frames.ends()
}

#[test]
fn a_flood_of_frames_ends_the_connection_and_others_are_served() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let bearer = bearer();
    let head = section(&fields("/things/1", &bearer, &[]));
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    for what in [
        "rapid resets",
        "resets of refused requests",
        "pings",
        "settings",
        "empty data",
        "priorities",
        "empty continuations",
        "continuations",
        "unknown frames",
        "errors of its own",
    ] {
        let mut frames = Frames::open(&gateway);
        let open = |frames: &mut Frames| {
            let mut put = fields("/things/1", &bearer, &[]);
            put[0].1 = "PUT";
            frames.send(HEADERS, END_HEADERS, 1, &section(&put));
        };
        let ended = match what {
            "rapid resets" => flood(&mut frames, 5000, |stream| {
                [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), reset(stream)].concat()
            }),
            "resets of refused requests" => {
                let head = section(&fields("/nowhere", "", &[]));
                flood(&mut frames, 5000, |stream| {
                    [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), reset(stream)].concat()
                })
            }
            "pings" => flood(&mut frames, 50_000, |_| frame(PING, 0, 0, b"12345678").repeat(10)),
            "settings" => flood(&mut frames, 50_000, |_| frame(SETTINGS, 0, 0, b"").repeat(10)),
            "empty data" => {
                open(&mut frames);
                flood(&mut frames, 5000, |_| frame(DATA, 0, 1, b"").repeat(10))
            }
            "priorities" => flood(&mut frames, 5000, |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]).repeat(10)),
            "empty continuations" => {
                frames.send(HEADERS, END_STREAM, 1, &head);
                flood(&mut frames, 5000, |_| frame(CONTINUATION, 0, 1, b"").repeat(10))
            }
            "continuations" => {
                frames.send(HEADERS, END_STREAM, 1, &head);
                let piece = section(&[("x-a", &"a".repeat(1000))]);
                flood(&mut frames, 5000, |_| frame(CONTINUATION, 0, 1, &piece))
            }
            "unknown frames" => flood(&mut frames, 5000, |_| frame(0x77, 0, 0, b"what").repeat(10)),
            "errors of its own" => flood(&mut frames, 5000, |stream| {
                // A window that overflows: the server resets the stream, not the client.
                let most = frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
                [frame(HEADERS, END_HEADERS, stream, &head), most].concat()
            }),
            other => panic!("{other}"),
        };
        assert!(matches!(ended, Outcome::GoAway(_) | Outcome::Closed), "{what}: {ended:?}");
        is_served(&gateway);
    }
}

#[test]
fn a_client_of_endless_windows_that_reads_nothing_holds_little_memory() {
    const STREAMS: u32 = 8;
    let poured = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&poured);
    let backend = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while say(stream, &[0; 64 * 1024]) == Then::Keep {
            count.fetch_add(64 * 1024, Ordering::SeqCst);
        }
        Then::Close
    });
    let gateway = Setup::before(&backend).timeouts("client_body: 5m").spawn();
    is_served(&gateway);
    let before = gateway.peak_memory();
    let mut frames = Frames::open(&gateway);
    // As much as can be said (RFC 9113 section 6.9): no answer is held up by what its client has room for.
    frames.send(SETTINGS, 0, 0, &[&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat());
    frames.send(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
    let head = section(&fields("/things/1", &bearer(), &[]));
    for stream in 0..STREAMS {
        frames.send(HEADERS, END_HEADERS | END_STREAM, 2 * stream + 1, &head);
    }
    // With the one before them.
    until(|| backend.heads() == 1 + STREAMS as usize, "all of them run");
    let mut last = 0;
    while last == 0 || poured.load(Ordering::SeqCst) != last {
        last = poured.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(500));
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < u64::from(STREAMS) * 4 * 1024 * 1024, "{grown} bytes for {STREAMS} answers that nobody reads");
}

#[test]
fn frames_where_none_may_be_end_the_connection() {
    let backend = Backend::hello();
    let gateway = Setup::before(&backend).start();
    let head = section(&fields("/things/1", "", &[]));
    for bad in [
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 5, b"x"),
        frame(HEADERS, END_HEADERS, 2, &head),
        frame(CONTINUATION, END_HEADERS, 1, &head),
        frame(SETTINGS, 0, 1, b""),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(PING, 0, 0, b"short"),
        frame(WINDOW_UPDATE, 0, 0, &0_u32.to_be_bytes()),
        frame(0x5, END_HEADERS, 1, &head),
        [frame(HEADERS, 0, 1, &head), frame(PING, 0, 0, b"12345678")].concat(),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        vec![0xff; 100],
    ] {
        let mut frames = Frames::open(&gateway);
        frames.client.send(&bad);
        let ended = frames.ends();
        assert!(matches!(ended, Outcome::GoAway(_) | Outcome::Closed), "{bad:x?}: {ended:?}");
    }
    is_served(&gateway);
}

#[test]
fn http_2_without_tls_is_never_spoken() {
    let backend = Recorder::hello();
    let gateway = Setup::before(&backend.backend).start();
    // With prior knowledge.
    let mut client = gateway.connect();
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
    let got = client.rest();
    assert!(got.is_empty() || got.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&got));
    // By upgrade: the request is answered as what it is, and no trace of the offer reaches the backend.
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = gateway.ask(request("GET", "/things/1", &token("olga"), lines, ""));
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    assert_eq!(gateway.ask(get("/things/1", &token("olga"))).status, 200);
    let heard = backend.all().to_ascii_lowercase();
    assert!(!heard.contains("upgrade") && !heard.contains("http2-settings") && !heard.contains("pri *"), "{heard}");
}
