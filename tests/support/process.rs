//! The real binary as a child process, for tests of the command line.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");
/// The top of the repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the binary to its end.
pub fn portcullis(folder: &Path, arguments: &[&str]) -> Done {
    Command::new(BINARY).args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs a line as a person would paste it, with the binary first on the path and no proxy in between.
pub fn shell(folder: &Path, line: &str) -> Done {
    let folder_of_binary = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{folder_of_binary}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.output().unwrap().into()
}

/// The binary while it runs. Ended when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts the binary; the lines of both its outputs are collected.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `wanted` and returns all lines so far.
    pub fn wait_for(&mut self, wanted: &str, patience: Duration) -> &[String] {
        let end = Instant::now() + patience;
        let mut found = false;
        while !found {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    found = line.contains(wanted);
                    self.seen.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {wanted:?} within {patience:?}; there was:\n{}", self.seen.join("\n"))
                }
            }
        }
        &self.seen
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end and returns the exit code.
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "the process does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of so many free ports in a row. They lie below those that systems give to whoever asks for any port and to
/// clients, and nobody else of this process gets them, so they are free still when they are used.
pub fn free_ports(count: u16) -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Another process begins elsewhere.
    let begin = std::process::id().wrapping_mul(89);
    for _ in 0..200 {
        let given = GIVEN.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = FIRST + begin.wrapping_add(given) % (PORTS - u32::from(count));
        let mut ports = (first..first + u32::from(count)).map(|port| u16::try_from(port).unwrap());
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return u16::try_from(first).unwrap();
        }
    }
    panic!("no {count} free ports in a row");
}

/// A web server that answers every request with 200 and `from the backend`, one request a connection.
pub fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.is_empty() {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 17\r\n\r\n";
            let _ = writer.write_all(format!("{head}from the backend\n").as_bytes());
            return;
        }
    }
}

/// Replaces a text in a file; it must be there.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} does not contain {from:?}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}
