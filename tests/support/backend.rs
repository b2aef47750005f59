//! A backend on real sockets that records exactly what it receives and answers as its script says. Plain threads, one
//! for each connection, so that a script may block, stop in the middle or break off.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// How many bytes of a body are kept; the rest is counted.
const KEPT: usize = 1024 * 1024;

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The head, byte by byte, without the empty line.
    pub head: String,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub length: u64,
    /// Whether the message came to its end.
    pub whole: bool,
}

impl Seen {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The target as it came.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a header, whatever the case of its name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came more than once:\n{}", self.head);
        all.first().copied()
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits for another request.
    Keep,
    /// It is closed in order.
    Close,
    /// It is reset.
    Reset,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    heads: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<HashMap<usize, TcpStream>>,
    ended: AtomicBool,
}

/// A backend on a free port of the loopback address, until it is dropped.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    /// Answers every request with 200 and `hello`.
    pub fn hello() -> Self {
        Self::start(|_, stream| reply(stream, "200 OK", b"hello"))
    }

    /// Answers with one event of a stream that goes on until somebody ends it.
    pub fn events() -> Self {
        Self::raw(|number, mut stream, record| {
            let mut buffer = Vec::new();
            let Some(seen) = read_head(number, &mut stream, &mut buffer) else { return };
            record.seen(seen);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            say(&mut stream, format!("{head}9\r\ndata: x\n\n\r\n").as_bytes());
            fill(&mut stream, &mut buffer);
        })
    }

    /// Reads each request to its end, then lets `script` answer.
    pub fn start(script: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        Self::raw(move |number, mut stream, record| {
            let mut buffer = Vec::new();
            while let Some(seen) = read_request(number, &mut stream, &mut buffer, record) {
                let whole = seen.whole;
                record.seen(seen.clone());
                if !whole {
                    return;
                }
                match script(&seen, &mut stream) {
                    Then::Keep => {}
                    Then::Close => return,
                    Then::Reset => return reset(&stream),
                }
            }
        })
    }

    /// Hands each connection to `script`, with its number; what it reads and writes is its own affair.
    pub fn raw(script: impl Fn(usize, TcpStream, &Record) + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same on a socket of one's own.
    pub fn at(listener: TcpListener, script: impl Fn(usize, TcpStream, &Record) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let record = Record(Arc::clone(&shared));
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if record.0.ended.load(Ordering::SeqCst) {
                    return;
                }
                let number = record.0.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                record.0.open.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let (record, script) = (Record(Arc::clone(&record.0)), Arc::clone(&script));
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || {
                        script(number, stream, &record);
                        // The last handle: now it is closed.
                        record.0.open.lock().unwrap().remove(&number);
                    })
                    .unwrap();
            }
        });
        Self { address, shared }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many request heads came so far.
    pub fn heads(&self) -> usize {
        self.shared.heads.load(Ordering::SeqCst)
    }

    /// The requests so far, in the order in which they ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The one request so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// Waits until so many requests have ended.
    pub fn wait_for(&self, requests: usize) -> Vec<Seen> {
        until(|| self.shared.seen.lock().unwrap().len() >= requests, "requests at the backend");
        self.seen()
    }

    /// Closes all connections that are open.
    pub fn hang_up(&self) {
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.hang_up();
    }
}

/// Where scripts write down what they saw.
pub struct Record(Arc<Shared>);

impl Record {
    /// One more request head came.
    pub fn head(&self) {
        self.0.heads.fetch_add(1, Ordering::SeqCst);
    }

    /// One more request ended.
    pub fn seen(&self, seen: Seen) {
        self.0.seen.lock().unwrap().push(seen);
    }
}

/// Reads one request; `None` if the connection ends before a head.
pub fn read_request(number: usize, stream: &mut TcpStream, buffer: &mut Vec<u8>, record: &Record) -> Option<Seen> {
    let mut seen = read_head(number, stream, buffer)?;
    record.head();
    read_body(&mut seen, stream, buffer);
    Some(seen)
}

/// Reads one request head; `None` if the connection ends before.
pub fn read_head(number: usize, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if fill(stream, buffer) == 0 {
            return None;
        }
    };
    let head = buffer.drain(..end + 4).take(end).map(char::from).collect();
    Some(Seen { connection: number, head, ..Seen::default() })
}

/// Reads the body of a request whose head was read, as far as it comes.
pub fn read_body(seen: &mut Seen, stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    let chunked = seen.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length: u64 = seen.header("content-length").map_or(0, |value| value.parse().unwrap());
    assert!(!chunked || seen.header("content-length").is_none(), "two framings:\n{}", seen.head);
    if chunked {
        seen.whole = read_chunks(stream, buffer, &mut |piece| keep(&mut seen.body, &mut seen.length, piece));
    } else {
        let (body, read) = (&mut seen.body, &mut seen.length);
        seen.whole = read_exactly(stream, buffer, length, &mut |piece| keep(body, read, piece));
    }
}

fn keep(body: &mut Vec<u8>, length: &mut u64, piece: &[u8]) {
    *length += piece.len() as u64;
    body.extend_from_slice(&piece[..piece.len().min(KEPT.saturating_sub(body.len()))]);
}

/// Reads so many bytes, in pieces; false if the stream ends before.
pub fn read_exactly(stream: &mut impl Read, buffer: &mut Vec<u8>, length: u64, each: &mut impl FnMut(&[u8])) -> bool {
    let mut left = length;
    loop {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        each(&buffer[..now]);
        buffer.drain(..now);
        left -= now as u64;
        if left == 0 {
            return true;
        }
        if fill(stream, buffer) == 0 {
            return false;
        }
    }
}

/// Reads a chunked body, in pieces; false if the stream ends before it does. Trailers are an error.
pub fn read_chunks(stream: &mut impl Read, buffer: &mut Vec<u8>, each: &mut impl FnMut(&[u8])) -> bool {
    loop {
        let Some(line) = read_line(stream, buffer) else { return false };
        let size = u64::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            let Some(line) = read_line(stream, buffer) else { return false };
            assert_eq!(line, "", "a trailer");
            return true;
        }
        if !read_exactly(stream, buffer, size, each) {
            return false;
        }
        let Some(line) = read_line(stream, buffer) else { return false };
        assert_eq!(line, "", "a chunk longer than it said");
    }
}

fn read_line(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line = buffer.drain(..end + 2).take(end).map(char::from).collect();
            return Some(line);
        }
        if fill(stream, buffer) == 0 {
            return None;
        }
    }
}

/// Reads once; 0 at the end of the stream, however it ends.
pub fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>) -> usize {
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(read) => {
                buffer.extend_from_slice(&piece[..read]);
                return read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return 0,
        }
    }
}

/// Answers with a length.
pub fn reply(stream: &mut TcpStream, status: &str, body: &[u8]) -> Then {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    say(stream, &[head.as_bytes(), body].concat())
}

/// Writes bytes; a client that is gone is no fault of the backend.
pub fn say(stream: &mut TcpStream, bytes: &[u8]) -> Then {
    if stream.write_all(bytes).is_err() { Then::Close } else { Then::Keep }
}

/// Makes the coming close a reset.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Waits until something holds.
pub fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
