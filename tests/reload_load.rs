//! What is promised of reloads, kept while requests run as fast as they can: a real process, clients of every kind, and a
//! policy of ten thousand principals that is replaced fifty times. `PORTCULLIS_RELOADS=1000 PORTCULLIS_PRINCIPALS=1000000`
//! makes it full size; the figures are printed with `--nocapture`. Every second reload replaces the principals, and the
//! others the routes; every so manieth with `PORTCULLIS_TABLE_EVERY`.
//!
//! Every forwarded request tells the backend which generation judged it: the route map of a generation sets `Host`, its
//! table of principals the name of who asks.

#[path = "support/backend.rs"]
mod backend;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/wire.rs"]
mod wire;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;

use backend::{Backend, Then, read_request, reply, say, until};
use gateway::{Pass, Process, Setup};
use wire::{Answer, Client, Repeated, block_on, get, h2_request, http2, request};

/// Without optimization all takes many times longer.
const SLOWER: u64 = if cfg!(debug_assertions) { 10 } else { 1 };
/// Routes of the large policy beside those that are asked for.
const PAGES: usize = 96;
/// How long a route map may take from the rename to its first answer, at the median: until it has stayed the same for a
/// while, and until it decides.
const LIVE_WITHIN: Duration = Duration::from_millis(240 + 10 * SLOWER);
/// The same for the slowest: a file that keeps changing is told after two seconds.
const LIVE_AT_LAST: Duration = Duration::from_secs(4);
/// How long a few routes may take from the notice to the policy that decides, on average.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(10 * SLOWER);
/// What memory may grow by, in bytes, beside a tenth of what it was.
const GROWTH: u64 = 16 * 1024 * 1024;
/// After so many reloads memory has its level: as many policies are kept as ever will be.
const WARM: u64 = 12;
/// How long what was replaced may take to be freed.
const FREED: Duration = Duration::from_millis(2500);

/// One of them at a time, for each of them times something.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number_of(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// The route map of an edition: its number is the `Host` of the backend, and turns what `/flip` asks. `pages` are further
/// routes.
fn routes(edition: u64, backend: &Backend, pages: usize) -> String {
    let mut text = format!(
        "version: 1\nupstreams:\n  app: {{servers: [\"{}\"], host: r{edition}.test}}\napplications:\n  - name: app\n    \
         hosts: [app.test]\n    domain: app\n    upstream: app\n    \
         gate: {{tenants: [home], audiences: [\"api://app\"], app_roles: [Access]}}\n    routes:\n      \
         - {{id: mark, match: {{methods: [GET, PUT, POST], path: /mark}}, require: [marked]}}\n      \
         - {{id: flip, match: {{methods: [GET], path: /flip}}, require: [{}]}}\n      \
         - {{id: stream, match: {{methods: [GET], path: /stream}}, require: [work]}}\n      \
         - {{id: end, match: {{methods: [GET], path: /end}}, public: true}}\n",
        backend.url(),
        if edition.is_multiple_of(2) { "even" } else { "odd" },
    );
    for number in 0..pages {
        writeln!(
            text,
            "      - {{id: page-{number}, match: {{methods: [GET, PUT], path: \"/pages/{number}/{{page}}\"}}, require: [work]}}"
        )
        .unwrap();
    }
    text
}

const GRANTS: &str = "version: 1\ndomain: app\nrights: [marked, even, odd, work]\nprincipals_from: [people.tsv]\n";

/// The table of an edition: the number is in the name of the one who asks.
fn people(edition: u64, count: u64) -> String {
    let mut text = "id\ttenant\toid\tgrants\n".to_owned();
    writeln!(text, "p{edition}\thome\t00000000-0000-0000-0000-000000000001\tmarked,even").unwrap();
    writeln!(text, "olga\thome\t00000000-0000-0000-0000-000000000002\twork").unwrap();
    for number in 16..count + 14 {
        writeln!(text, "worker-{number}\thome\t00000000-0000-0000-0000-{number:012x}\twork").unwrap();
    }
    text
}

/// Says what it was told: `Host`, who asks, and how long the body was. `/stream` goes on until `end`.
fn telling(end: Arc<AtomicBool>) -> Backend {
    Backend::raw(move |connection, mut stream, record| {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(connection, &mut stream, &mut buffer, record) {
            if !seen.whole {
                return;
            }
            if seen.target() == "/stream" {
                let begun = say(&mut stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let mut then = begun;
                while then == Then::Keep && !end.load(Ordering::SeqCst) {
                    then = say(&mut stream, b"5\r\ntick\n\r\n");
                    thread::sleep(Duration::from_millis(10));
                }
                if then != Then::Keep || say(&mut stream, b"0\r\n\r\n") != Then::Keep {
                    return;
                }
                continue;
            }
            let who = seen.header("x-auth-request-user").unwrap_or("-");
            let told = format!("{} {who} {}", seen.header("host").unwrap(), seen.length);
            if reply(&mut stream, "200 OK", told.as_bytes()) != Then::Keep {
                return;
            }
        }
    })
}

/// How many reloads there are from one that replaces the table to the next.
static TABLE_EVERY: LazyLock<u64> = LazyLock::new(|| number_of("PORTCULLIS_TABLE_EVERY", 2).max(1));

/// The route map and the table of a generation. Each generation replaces one of the two, the route map first; the gateway
/// starts with 0 of both.
fn editions(generation: u64) -> (u64, u64) {
    let people = generation / *TABLE_EVERY;
    (generation - people, people)
}

/// The generation of a route map and a table. Anything else was never written.
fn generation(routes: u64, people: u64) -> Option<u64> {
    Some(routes + people).filter(|generation| editions(*generation) == (routes, people))
}

/// What an answer says of who judged its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// This generation, and no other.
    By(u64),
    /// One whose route map has an odd number: it refuses what the others allow.
    Odd,
    /// Anyone.
    Anyhow,
}

impl Judged {
    fn fits(self, generation: u64) -> bool {
        match self {
            Self::By(own) => own == generation,
            Self::Odd => editions(generation).0 % 2 == 1,
            Self::Anyhow => true,
        }
    }
}

/// One half of a request: what its client was told, or what the log says.
enum Half {
    Answered(Judged),
    Logged(u64),
}

/// Everything that clients, the writer of files and the reader of the log know together.
#[derive(Default)]
struct World {
    token: String,
    over: AtomicBool,
    /// The newest generation that anybody had an answer of.
    seen: AtomicU64,
    /// The newest that was written, or is being written.
    written: AtomicU64,
    asked: AtomicU64,
    refused: AtomicU64,
    /// What must not be: requests that failed, answers of another generation, lines that say something else.
    failed: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    misread: Mutex<Vec<String>>,
    /// Requests by id, of which one half is known.
    halves: Mutex<HashMap<String, Half>>,
}

impl World {
    fn new() -> Self {
        Self { token: Pass::default().token(), ..Self::default() }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Does its part; if it breaks down, the run is over for all.
    fn until_over(&self, part: impl FnOnce(&Self)) {
        struct Over<'o>(&'o AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _over = Over(&self.over);
        part(self);
    }

    /// Before a request: the oldest generation that may judge it.
    fn floor(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.seen.load(Ordering::SeqCst)
    }

    fn fail(&self, what: String) {
        self.failed.lock().unwrap().push(what);
    }

    /// Looks at an answer to `/mark` or `/flip`; the generation, if it says which.
    fn judge(&self, floor: u64, (status, id, text): (u16, &str, &str), length: u64) -> Option<u64> {
        let ceiling = self.written.load(Ordering::SeqCst);
        let judged = match status {
            200 => told(text).filter(|(_, read)| *read == length).map(|(generation, _)| Judged::By(generation)),
            403 if text.contains("right_missing") => Some(Judged::Odd),
            _ => {
                self.fail(format!("{status}: {text}"));
                self.match_up(id, Half::Answered(Judged::Anyhow));
                return None;
            }
        };
        if !judged.is_some_and(|judged| (floor..=ceiling).any(|live| judged.fits(live))) {
            self.wrong.lock().unwrap().push(format!("{judged:?}, {floor} to {ceiling} were live: {status} {text}"));
        }
        self.match_up(id, Half::Answered(judged.unwrap_or(Judged::Anyhow)));
        match judged {
            Some(Judged::By(generation)) => {
                self.seen.fetch_max(generation, Ordering::SeqCst);
                Some(generation)
            }
            Some(Judged::Odd) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                None
            }
            Some(Judged::Anyhow) | None => None,
        }
    }

    fn judge_whole(&self, floor: u64, answer: Option<&Answer>, length: u64, what: &str) -> Option<u64> {
        match answer {
            Some(answer) if answer.whole => {
                let id = answer.header("x-request-id").unwrap_or_default();
                self.judge(floor, (answer.status, id, &answer.text()), length)
            }
            Some(answer) => {
                self.fail(format!("{what}: an answer that breaks off: {}", answer.head));
                None
            }
            None => {
                self.fail(format!("{what}: no answer"));
                None
            }
        }
    }

    /// Brings the two halves of a request together.
    fn match_up(&self, id: &str, half: Half) {
        let mut halves = self.halves.lock().unwrap();
        let (judged, serial) = match (halves.remove(id), half) {
            (None, half) => {
                halves.insert(id.to_owned(), half);
                return;
            }
            (Some(Half::Answered(judged)), Half::Logged(serial))
            | (Some(Half::Logged(serial)), Half::Answered(judged)) => (judged, serial),
            (Some(_), _) => return self.misread.lock().unwrap().push(format!("the id {id} came twice")),
        };
        drop(halves);
        // The gateway starts with serial 1.
        if serial > 0 && judged.fits(serial - 1) {
            return;
        }
        self.misread.lock().unwrap().push(format!("{id}: answered {judged:?}, logged with serial {serial}"));
    }

    /// Request after request on one connection, which nothing may end.
    fn kept(&self, process: &Process, targets: &[&str]) {
        let mut client = process.connect();
        let asked: Vec<String> = targets.iter().map(|target| get(target, &self.token)).collect();
        for request in asked.iter().cycle().take_while(|_| self.goes_on()) {
            let floor = self.floor();
            let answer = ask(&mut client, request);
            self.judge_whole(floor, answer.as_ref(), 0, "a kept connection");
            if answer.is_none() {
                client = process.connect();
            }
        }
    }

    /// Each request on a connection of its own.
    fn anew(&self, process: &Process) {
        let request = get("/mark", &self.token);
        while self.goes_on() {
            let floor = self.floor();
            let answer = ask(&mut process.connect(), &request);
            self.judge_whole(floor, answer.as_ref(), 0, "a new connection");
        }
    }

    /// Requests with bodies in both framings.
    fn with_bodies(&self, process: &Process) {
        let mut client = process.connect();
        let body = "x".repeat(48 * 1024);
        let head = request("POST", "/mark", &self.token, "Transfer-Encoding: chunked\r\n", "");
        let asked =
            [request("PUT", "/mark", &self.token, "", &body), format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())];
        for request in asked.iter().cycle().take_while(|_| self.goes_on()) {
            let floor = self.floor();
            let answer = ask(&mut client, request);
            self.judge_whole(floor, answer.as_ref(), body.len() as u64, "a request with a body");
            if answer.is_none() {
                client = process.connect();
            }
        }
    }

    /// Streams of one connection of HTTP/2.
    fn multiplexed(&self, process: &Process) {
        let block = Bytes::from(vec![b'x'; 1024]);
        block_on(async {
            let mut client = http2(process.tls, &process.certificate()).await;
            while self.goes_on() {
                let floor = self.floor();
                let asked = h2_request("PUT", "/mark", &self.token, Repeated::new(&block, 3000));
                let Ok(answer) = client.send_request(asked).await else {
                    self.fail("HTTP/2: no answer".to_owned());
                    return;
                };
                let (head, body) = answer.into_parts();
                let Ok(body) = body.collect().await else {
                    self.fail("HTTP/2: an answer that breaks off".to_owned());
                    return;
                };
                let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
                let id = head.headers["x-request-id"].to_str().unwrap();
                self.judge(floor, (head.status.as_u16(), id, &text), 3000);
            }
        });
    }

    /// One answer that lasts as long as the run.
    fn stream(&self, process: &Process) {
        let mut client = process.connect();
        self.asked.fetch_add(1, Ordering::SeqCst);
        match ask(&mut client, get("/stream", &Pass { person: 2, ..Pass::default() }.token())) {
            Some(answer) if answer.status == 200 && answer.whole => {
                self.match_up(answer.header("x-request-id").unwrap(), Half::Answered(Judged::Anyhow));
            }
            Some(answer) => self.fail(format!("the stream: {} whole: {}", answer.head, answer.whole)),
            None => self.fail("the stream: no answer".to_owned()),
        }
    }

    /// Reads the decision log to its end: the line of `/end`, and those that other threads still had.
    fn read_log(&self, process: &Process, all: &AtomicU64) {
        let (mut read, mut ended) = (0, false);
        while !ended || read < all.load(Ordering::SeqCst) {
            let line = process.decision();
            read += 1;
            ended |= line["path"] == "/end";
            if line["path"] != "/end" {
                let serial = line["serial"].as_u64().unwrap_or_default();
                self.match_up(line["request_id"].as_str().unwrap(), Half::Logged(serial));
            }
        }
    }
}

fn ask(client: &mut Client, request: impl AsRef<[u8]>) -> Option<Answer> {
    client.try_send(request).ok().and_then(|()| client.answer_if_any())
}

/// What the backend was told: the generation, if there was such a one, and the length of the body.
fn told(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split(' ');
    let routes = words.next()?.strip_prefix('r')?.strip_suffix(".test")?.parse().ok()?;
    let people = words.next()?.strip_prefix('p')?.parse().ok()?;
    Some((generation(routes, people)?, words.next()?.parse().ok()?))
}

/// What came of the run.
struct Run {
    asked: u64,
    refused: u64,
    reloads: u64,
    failed: Vec<String>,
    wrong: Vec<String>,
    misread: Vec<String>,
    unmatched: usize,
    dropped: u64,
    early: u64,
    late: u64,
}

/// The run that several tests look at.
static RUN: LazyLock<Run> = LazyLock::new(run);

fn run() -> Run {
    let (reloads, count) = (number_of("PORTCULLIS_RELOADS", 50), number_of("PORTCULLIS_PRINCIPALS", 10_000));
    let end = Arc::new(AtomicBool::new(false));
    let backend = telling(Arc::clone(&end));
    // Each route map has another upstream: connections to those that are gone are closed soon, so that memory can be compared.
    let before = Setup::before(&backend).timeouts("upstream_idle: 1s");
    let mut setup = Setup { decisions: true, grants: GRANTS.to_owned(), ..before };
    setup.routes = routes(0, &backend, PAGES);
    setup.files.push(("people.tsv", people(0, count)));
    let process = setup.spawn();
    let (world, all) = (World::new(), AtomicU64::new(u64::MAX));
    let (mut live, mut early, mut late) = ([Vec::new(), Vec::new()], 0, 0);
    // Of tables, too, as many are kept as ever will be.
    let warm = WARM.next_multiple_of(*TABLE_EVERY).min(reloads);
    let began = Instant::now();
    thread::scope(|scope| {
        let (world, process, end) = (&world, &process, &end);
        let log = scope.spawn(|| world.until_over(|world| world.read_log(process, &all)));
        let mut clients = vec![
            scope.spawn(move || world.until_over(|world| world.kept(process, &["/mark"]))),
            scope.spawn(move || world.until_over(|world| world.kept(process, &["/mark", "/flip"]))),
            scope.spawn(move || world.until_over(|world| world.anew(process))),
            scope.spawn(move || world.until_over(|world| world.with_bodies(process))),
            scope.spawn(move || world.until_over(|world| world.multiplexed(process))),
        ];
        let stream = scope.spawn(move || {
            world.stream(process);
            world.over.store(true, Ordering::SeqCst);
        });
        struct Ends<'e>(&'e AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let ends = Ends(end);
        world.until_over(|world| {
            let mut probe = process.connect();
            for number in 1..=reloads {
                let took = replace(world, process, &mut probe, number, (&backend, count));
                live[usize::from(number.is_multiple_of(*TABLE_EVERY))].push(took);
                if number == warm {
                    early = level(process);
                }
            }
            late = level(process);
        });
        clients.drain(..).for_each(|client| client.join().unwrap());
        drop(ends);
        stream.join().unwrap();
        all.store(world.asked.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
        assert_eq!(process.ask(get("/end", "")).status, 200);
        log.join().unwrap();
    });
    let seconds = began.elapsed().as_secs_f64();
    let asked = world.asked.load(Ordering::SeqCst);
    println!("{reloads} reloads of {count} principals and 100 routes in {seconds:.0} s, {asked} requests meanwhile");
    for (what, times) in ["the route map", "the table of principals"].into_iter().zip(&mut live) {
        println!("from the rename of {what} to its first answer: {}", figures(times));
    }
    println!("memory: {early} bytes after {warm} reloads, {late} at the end");
    let dropped = process.metric("portcullis_log_lines_dropped_total");
    let mine = |list: Mutex<Vec<String>>| list.into_inner().unwrap();
    let unmatched = world.halves.into_inner().unwrap().len();
    Run {
        asked,
        refused: world.refused.into_inner(),
        reloads,
        failed: mine(world.failed),
        wrong: mine(world.wrong),
        misread: mine(world.misread),
        unmatched,
        dropped,
        early,
        late,
    }
}

/// Writes a generation, and waits for an answer of it: how long that took from the rename.
fn replace(
    world: &World,
    process: &Process,
    probe: &mut Client,
    number: u64,
    (backend, count): (&Backend, u64),
) -> Duration {
    let (map, table) = editions(number);
    let (name, text) = if number.is_multiple_of(*TABLE_EVERY) {
        ("people.tsv", people(table, count))
    } else {
        ("routes.yaml", routes(map, backend, PAGES))
    };
    let new = process.file(&format!(".{name}.new"));
    fs::write(&new, text).unwrap();
    world.written.store(number, Ordering::SeqCst);
    let renamed = Instant::now();
    fs::rename(new, process.file(name)).unwrap();
    let request = get("/mark", &world.token);
    let patience = Duration::from_secs(20 + count / 20_000);
    loop {
        let floor = world.floor();
        let answer = ask(probe, &request);
        let took = renamed.elapsed();
        if world.judge_whole(floor, answer.as_ref(), 0, "the probe") == Some(number) {
            return took;
        }
        assert!(took < patience && world.goes_on(), "generation {number} is not live:\n{}", process.log());
        thread::sleep(Duration::from_millis(2));
    }
}

/// The memory of a process that has freed what was replaced, while it serves.
fn level(process: &Process) -> u64 {
    thread::sleep(FREED);
    (0..20)
        .map(|_| {
            thread::sleep(Duration::from_millis(25));
            process.memory()
        })
        .min()
        .unwrap()
}

fn figures(times: &mut [Duration]) -> String {
    if times.is_empty() {
        return "none".to_owned();
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let at = |share: usize| at(share).as_millis();
    format!("{} ms at the median, {} ms at p99, {} ms at most", at(50), at(99), at(100))
}

fn nothing(what: &[String]) {
    assert!(what.is_empty(), "{} of them, such as {:#?}", what.len(), &what[..what.len().min(5)]);
}

#[test]
fn no_request_is_dropped_or_fails_while_the_policy_is_replaced() {
    let _alone = alone();
    nothing(&RUN.failed);
    assert!(RUN.asked > RUN.reloads * 20 && RUN.refused > 0, "{} asked, {} refused", RUN.asked, RUN.refused);
}

#[test]
fn every_answer_is_of_one_generation_that_was_live_while_it_was_asked() {
    let _alone = alone();
    nothing(&RUN.wrong);
}

#[test]
fn the_decision_log_names_the_generation_that_answered() {
    let _alone = alone();
    nothing(&RUN.misread);
    assert_eq!((RUN.unmatched, RUN.dropped), (0, 0), "requests without an answer or a line, lines that were lost");
}

#[test]
fn memory_returns_to_its_level_after_many_reloads() {
    let _alone = alone();
    assert!(RUN.late <= RUN.early + RUN.early / 10 + GROWTH, "{} bytes early, {} late", RUN.early, RUN.late);
}

#[test]
fn a_route_map_is_live_soon_after_its_rename_and_sooner_after_the_notice() {
    let _alone = alone();
    let backend = telling(Arc::default());
    let count = number_of("PORTCULLIS_PRINCIPALS", 10_000);
    let mut setup = Setup { grants: GRANTS.to_owned(), ..Setup::before(&backend) };
    setup.routes = routes(0, &backend, 0);
    setup.files.push(("people.tsv", people(0, count)));
    let process = setup.spawn();
    fs::create_dir(process.file("next")).unwrap();
    let world = World::new();
    // The first one reads the table again: what was just written may be written once more without being told apart.
    thread::sleep(Duration::from_millis(2_100));
    process.replace("routes.yaml", &routes(2, &backend, 0));
    until(|| process.serial() == 2, "the first route map after the start");
    // How long so many reloads took from the notice to the policy that decides.
    let timed = || {
        let page = process.admin("GET", "/metrics", "").text();
        let figure = |name: &str| -> f64 {
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
        };
        (figure("portcullis_reload_duration_seconds_count"), figure("portcullis_reload_duration_seconds_sum"))
    };
    let since = |(count, sum): (f64, f64)| {
        let (count_now, sum_now) = timed();
        (count_now - count, Duration::from_secs_f64((sum_now - sum) / (count_now - count)))
    };
    let before = timed();
    let (mut times, mut quick) = (Vec::new(), None);
    thread::scope(|scope| {
        scope.spawn(|| world.until_over(|world| world.kept(&process, &["/flip"])));
        world.until_over(|world| {
            let (mut probe, request) = (process.connect(), get("/mark", &world.token));
            // Even ones ask what the others ask, odd ones something else, and all principals are weighed.
            for edition in (2..=21).map(|number| number * 2).chain(43..=52) {
                if edition == 43 {
                    quick = Some((since(before), timed()));
                }
                // Elsewhere, so that only the rename can be noticed.
                let new = process.file("next/routes.yaml");
                fs::write(&new, routes(edition, &backend, 0)).unwrap();
                let renamed = Instant::now();
                fs::rename(new, process.file("routes.yaml")).unwrap();
                let expected = format!("r{edition}.test p0 0");
                until(
                    || ask(&mut probe, &request).is_some_and(|answer| answer.text() == expected),
                    "an answer of the new route map",
                );
                times.push(renamed.elapsed());
            }
        });
    });
    let ((reloads, mean), then) = quick.unwrap();
    let (more, weighed) = since(then);
    let figures = figures(&mut times);
    println!(
        "a few routes and {count} principals, from the rename to the first answer: {figures}; from the notice to live: \
         {mean:.1?} on average, {weighed:.1?} where routes ask something else"
    );
    assert!((reloads - 20.0).abs() < 0.5 && (more - 10.0).abs() < 0.5, "{reloads} and {more} reloads were timed");
    assert!(times[times.len() / 2] <= LIVE_WITHIN, "{times:?}");
    assert!(*times.last().unwrap() <= LIVE_AT_LAST, "{times:?}");
    assert!(mean <= PUBLISHED_WITHIN, "{mean:?}");
}

/// How many entries a folder of the process has in /proc.
fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// The names of its threads, but for those that read files for others now and then: as many of these stay as were ever at
/// work at once, since the work goes around among them before any has idled for long enough.
fn threads(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().flatten();
    // One that has ended meanwhile has no name.
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let mut names: Vec<String> =
        names.map(|name| name.trim().to_owned()).filter(|name| name != "tokio-rt-worker").collect();
    names.sort_unstable();
    names
}

/// Asks for a reload: what came of it.
fn reload(process: &Process) -> serde_json::Value {
    let lines = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", gateway::ADMIN_TOKEN);
    loop {
        let answer = process.admin("POST", "/reload", &lines);
        // So many calls a second are taken of operators.
        if answer.status != 429 {
            return answer.json();
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// The certificate of the listener goes and comes back: all that was in use stays meanwhile, and both are told.
fn without_its_certificate(process: &Process, trust: &Arc<rustls::ClientConfig>) {
    let told = |what: &str, change: &dyn Fn()| {
        let count = || process.log().matches(what).count();
        let before = count();
        change();
        until(|| count() > before, what);
    };
    let certificate = process.certificate();
    told("all that was in use stays", &|| fs::remove_file(process.file("tls.crt")).unwrap());
    let (mut client, _) = Client::tls(process.tls, trust).unwrap();
    assert_eq!(client.ask(get("/end", "")).status, 200);
    told("what belongs to its listener is in use", &|| process.replace("tls.crt", &certificate));
}

#[test]
fn a_reload_that_fails_leaves_nothing_but_its_report() {
    let _alone = alone();
    let backend = telling(Arc::default());
    // What idles is closed soon, so that descriptors can be counted.
    let mut setup = Setup { grants: GRANTS.to_owned(), ..Setup::before(&backend).timeouts("upstream_idle: 1s") };
    let good = routes(0, &backend, 0).replace("host: r0.test", "host: r0.test, ca: ca.pem");
    let (table, authority) = (people(0, 1000), gateway::certificate().0);
    setup.routes.clone_from(&good);
    setup.files.extend([("people.tsv", table.clone()), ("ca.pem", authority.clone())]);
    let process = setup.spawn();
    let (world, trust) = (World::new(), process.trust());
    let edit = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        process.replace("routes.yaml", &good.replace(from, to));
    };
    let remove = |name: &str| fs::remove_file(process.file(name)).unwrap();
    let failing = "tests:\n- {id: never, as: olga, request: \"GET http://app.test/mark\", expect: allow}\n";
    // What is done to the files, what comes of it, and what the report says.
    let faults: [(&dyn Fn(), &str, &str); 9] = [
        (&|| edit("version: 1", "version: ["), "rejected", "routes.yaml:"),
        (&|| edit("[marked]", "[markd]"), "rejected", "markd"),
        (&|| process.replace("routes.yaml", &format!("{good}{failing}")), "rejected", "the test `never`"),
        (&|| edit("require: [marked]", "public: true"), "held", "become public"),
        (&|| remove("routes.yaml"), "rejected", "routes.yaml"),
        (&|| remove("people.tsv"), "rejected", "people.tsv"),
        (&|| process.replace("people.tsv", "id\ttenant"), "rejected", "people.tsv:1:1"),
        (&|| remove("ca.pem"), "rejected", "ca.pem"),
        // Nobody can read it, not even root.
        (
            &|| {
                remove("routes.yaml");
                symlink("routes.yaml", process.file("routes.yaml")).unwrap();
            },
            "rejected",
            "cannot read",
        ),
    ];
    let round = || {
        for (spoil, outcome, told) in &faults {
            spoil();
            let answer = reload(&process);
            assert_eq!((&answer["outcome"], &answer["serial"]), (&(*outcome).into(), &1.into()), "{told}: {answer}");
            assert!(answer.to_string().contains(told), "{told}: {answer}");
            let ready = process.admin("GET", "/readyz", "");
            assert_eq!((ready.status, &ready.json()["last_reload_failed"]["outcome"]), (200, &(*outcome).into()));
            for (name, text) in [("routes.yaml", &good), ("people.tsv", &table), ("ca.pem", &authority)] {
                process.replace(name, text);
            }
            let answer = reload(&process);
            assert_eq!((&answer["outcome"], &answer["serial"]), (&"unchanged".into(), &1.into()), "{told}: {answer}");
        }
        without_its_certificate(&process, &trust);
    };
    let (known, open, early, late) = thread::scope(|scope| {
        // Nothing was written that may be live, so that every answer is to be of the generation that it began with.
        scope.spawn(|| world.until_over(|world| world.kept(&process, &["/mark", "/flip"])));
        let mut found = None;
        world.until_over(|_| {
            round();
            let early = level(&process);
            let (known, open) = (threads(&process), descriptors(&process));
            (0..3).for_each(|_| round());
            let late = level(&process);
            until(|| descriptors(&process) <= open, "no descriptor is left over");
            until(|| threads(&process) == known, "no thread is left over");
            found = Some((known, open, early, late));
        });
        found.unwrap()
    });
    println!("failing reloads: threads {known:?}, {open} descriptors, {early} bytes before, {late} after");
    assert!(late <= early + early / 10 + GROWTH, "{early} bytes early, {late} late");
    assert_eq!(process.serial(), 1);
    assert_eq!(process.metric("portcullis_reload_duration_seconds_count"), 0, "nothing was published");
    nothing(&world.failed.into_inner().unwrap());
    nothing(&world.wrong.into_inner().unwrap());
    assert_eq!(world.refused.into_inner(), 0);
}
