//! A backend that keeps every byte that it gets, as it came: nothing is parsed before a test looks at it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};

use crate::backend::{Backend, Then, fill, say, until};

/// What each answer is, unless a test says otherwise.
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// The backend, until it is dropped.
pub struct Recorder {
    /// Where it listens.
    pub backend: Backend,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Answers every request with 200 and `hello`.
    pub fn hello() -> Self {
        Self::answering(HELLO)
    }

    /// Answers every request with these bytes, as soon as it looks complete.
    pub fn answering(answer: &[u8]) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (shared, answer) = (Arc::clone(&heard), answer.to_vec());
        let backend = Backend::raw(move |number, mut stream, record| {
            let (mut buffer, mut answered) = (Vec::new(), 0);
            while fill(&mut stream, &mut buffer) > 0 {
                let messages = {
                    let mut heard = shared.lock().unwrap();
                    let most = heard.len().max(number + 1);
                    heard.resize(most, Vec::new());
                    heard[number].append(&mut buffer);
                    complete(&heard[number])
                };
                while answered < messages {
                    record.head();
                    answered += 1;
                    if say(&mut stream, &answer) == Then::Close {
                        return;
                    }
                }
            }
        });
        Self { backend, heard }
    }

    /// What came so far, connection by connection.
    pub fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().map(|bytes| bytes.iter().copied().map(char::from).collect()).collect()
    }

    /// All of it.
    pub fn all(&self) -> String {
        self.heard().concat()
    }

    /// All that came, on the one connection that was made.
    pub fn only(&self) -> String {
        let heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:#?}");
        heard.concat()
    }

    /// Waits until so many request heads have come.
    pub fn wait_for(&self, heads: usize) {
        until(|| self.all().matches("\r\n\r\n").count() >= heads, "request heads at the backend");
    }
}

/// How many whole requests these bytes are, as the gateway frames them.
fn complete(mut bytes: &[u8]) -> usize {
    let find = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted);
    let mut messages = 0;
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let body = &bytes[end + 4..];
        let field =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned));
        let length = if field("transfer-encoding:").is_some() {
            // The last chunk, any trailers, an empty line.
            let last = if body.starts_with(b"0\r\n") { Some(0) } else { find(body, b"\r\n0\r\n").map(|at| at + 2) };
            last.and_then(|at| find(&body[at..], b"\r\n\r\n").map(|end| at + end + 4))
        } else {
            let length = field("content-length:").map_or(0, |value| value.parse().unwrap());
            (body.len() >= length).then_some(length)
        };
        let Some(length) = length else { break };
        messages += 1;
        bytes = &body[length..];
    }
    messages
}
