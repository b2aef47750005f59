//! The run: one thread, one epoll, arrivals that nothing holds up.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    net,
};

use crate::{histogram::Histogram, options::Options};

/// How long answers are waited for after the last request.
const GRACE: Duration = Duration::from_secs(5);

/// What a run counted.
pub struct Outcome {
    rate: f64,
    sent: u64,
    others: u64,
    unanswered: u64,
    /// How late this program saw that a request was due.
    late: Histogram,
    times: Histogram,
    window: Duration,
    windows: Vec<Histogram>,
}

impl Outcome {
    /// Counts a request that was due at this time and is answered now.
    fn count(&mut self, due: Instant, counted_from: Instant) {
        let nanos = due.elapsed().as_nanos() as u64;
        self.times.add(nanos);
        let window = ((due - counted_from).as_secs_f64() / self.window.as_secs_f64()) as usize;
        let last = self.windows.len() - 1;
        self.windows[window.min(last)].add(nanos);
    }

    /// The result as one line of JSON.
    pub fn json(&self) -> String {
        let windows: Vec<String> = self
            .windows
            .iter()
            .map(|window| {
                format!(
                    "[{},{:.1},{:.1},{:.1}]",
                    window.total(),
                    window.percentile(0.5),
                    window.percentile(0.99),
                    window.largest()
                )
            })
            .collect();
        format!(
            concat!(
                r#"{{"rate":{},"answered":{},"sent":{},"other_status":{},"unanswered":{},"mean":{:.1},"p50":{:.1},"p90":{:.1},"p99":{:.1},"#,
                r#""p99_9":{:.1},"max":{:.1},"late_p50":{:.1},"late_p99":{:.1},"window_ms":{},"windows":[{}]}}"#
            ),
            self.rate,
            self.times.total() - self.unanswered,
            self.sent,
            self.others,
            self.unanswered,
            self.times.mean(),
            self.times.percentile(0.5),
            self.times.percentile(0.9),
            self.times.percentile(0.99),
            self.times.percentile(0.999),
            self.times.largest(),
            self.late.percentile(0.5),
            self.late.percentile(0.99),
            self.window.as_millis(),
            windows.join(",")
        )
    }
}

/// A connection; it carries one request at a time.
struct Connection {
    stream: TcpStream,
    /// When the request that it carries was due.
    due: Option<Instant>,
    answer: Vec<u8>,
}

/// Sends until the time is over and waits for the answers.
pub fn run(options: &Options) -> Result<Outcome, String> {
    let said = |what: &'static str| move |error| format!("{what}: {error}");
    // Without this the kernel may wake a sleeper 50 microseconds late.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let poll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
    let mut connections = Vec::new();
    for at in 0..options.connections {
        let stream = connect(options, at).map_err(said("connect"))?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(said("socket"))?;
        epoll::add(&poll, &stream, EventData::new_u64(at as u64), EventFlags::IN)
            .map_err(|error| format!("epoll: {error}"))?;
        connections.push(Connection { stream, due: None, answer: Vec::with_capacity(64 * 1024) });
    }

    let mut free: VecDeque<usize> = (0..connections.len()).collect();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut events = Vec::with_capacity(256);
    let windows = (options.counted.as_secs_f64() / options.window.as_secs_f64()).ceil().max(1.0) as usize;
    let mut outcome = Outcome {
        rate: options.rate,
        sent: 0,
        others: 0,
        unanswered: 0,
        late: Histogram::new(),
        times: Histogram::new(),
        window: options.window,
        windows: vec![Histogram::new(); windows],
    };
    let start = Instant::now();
    let counted_from = start + options.warm;
    let end = counted_from + options.counted;
    let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / options.rate);
    let (mut number, mut turn) = (0_u64, 0_usize);
    loop {
        let now = Instant::now();
        while due_at(number) <= now && due_at(number) < end {
            let due = due_at(number);
            if due >= counted_from {
                outcome.late.add((now - due).as_nanos() as u64);
            }
            waiting.push_back(due);
            number += 1;
        }
        while !waiting.is_empty() && !free.is_empty() {
            let (due, at) = (waiting.pop_front().expect("not empty"), free.pop_front().expect("not empty"));
            let connection = &mut connections[at];
            connection.stream.write_all(&options.requests[turn % options.requests.len()]).map_err(said("send"))?;
            connection.due = Some(due);
            turn += 1;
            if due >= counted_from {
                outcome.sent += 1;
            }
        }
        let over = due_at(number) >= end;
        if over && (free.len() == connections.len() && waiting.is_empty() || now > end + GRACE) {
            break;
        }
        let wake = if over { now + Duration::from_millis(100) } else { due_at(number) };
        let rest = wake.saturating_duration_since(Instant::now());
        let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&rest)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &events {
            let at = event.data.u64() as usize;
            let connection = &mut connections[at];
            let Some(status) = receive(connection)? else { continue };
            let Some(due) = connection.due.take() else { return Err("an answer that nobody asked for".to_owned()) };
            free.push_back(at);
            if due < counted_from {
                continue;
            }
            if status != options.status {
                outcome.others += 1;
                continue;
            }
            outcome.count(due, counted_from);
        }
    }
    // What is still waited for counts with the time that it took so far, or the worst would be missing.
    let carried = connections.iter().filter_map(|connection| connection.due);
    for due in carried.chain(waiting).filter(|due| *due >= counted_from) {
        outcome.unanswered += 1;
        outcome.count(due, counted_from);
    }
    Ok(outcome)
}

/// Opens the connection of this number.
fn connect(options: &Options, at: usize) -> std::io::Result<TcpStream> {
    if options.sources == 0 {
        return TcpStream::connect(options.address);
    }
    let last = (at % usize::from(options.sources)) as u8;
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from(([127, 0, 1, last.saturating_add(1)], 0)))?;
    net::connect(&socket, &options.address)?;
    Ok(TcpStream::from(socket))
}

/// Reads what is there; the status once the whole answer has come.
fn receive(connection: &mut Connection) -> Result<Option<u16>, String> {
    let mut piece = [0; 64 * 1024];
    match connection.stream.read(&mut piece) {
        Ok(0) => return Err("the server closed a connection".to_owned()),
        Ok(read) => connection.answer.extend_from_slice(&piece[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(format!("receive: {error}")),
    }
    let Some(head) = connection.answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text =
        std::str::from_utf8(&connection.answer[..head]).map_err(|_| "an answer that is no HTTP/1.1".to_owned())?;
    let status = text.get(9..12).and_then(|code| code.parse().ok()).ok_or("an answer without a status")?;
    let length = text
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or("an answer without Content-Length")?;
    if connection.answer.len() < head + 4 + length {
        return Ok(None);
    }
    connection.answer.clear();
    Ok(Some(status))
}
