//! A small HTTP client for the gateway's own admin listener: one request, one bounded answer, no runtime.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Exit, Failure};
use crate::diag::Report;
use crate::document;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 4 << 20;
/// How long connecting may take: the listener is near, usually on the same host.
const CONNECT: Duration = Duration::from_secs(3);

/// Where a running gateway takes questions of operators.
#[derive(Debug)]
pub(super) struct Admin {
    /// The address of the admin listener.
    pub(super) address: SocketAddr,
    /// The file with the token that calls which change something need.
    pub(super) token_file: Option<PathBuf>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The whole body.
    pub(super) body: String,
}

impl Admin {
    /// Finds the admin listener of the gateway that runs with this configuration. Only `gateway.yaml` is read, so
    /// that a broken route map does not keep operators from asking.
    ///
    /// # Errors
    /// When the file cannot be read or names no admin listener (exit code 3).
    pub(super) fn of(config: &Path) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::new(Exit::Configuration, message);
        let name = config.display();
        let text =
            std::fs::read_to_string(config).map_err(|error| invalid(format!("cannot read `{name}`: {error}")))?;
        let mut report = Report::new();
        let source = report.add_source(&name.to_string(), &text);
        let document = document::read_gateway(source, &mut report);
        let Some(document) = document else { return Err(invalid(report.render())) };
        let Some(admin) = document.admin else {
            return Err(invalid(format!(
                "`{name}` has no admin listener to ask; add `admin: {{address: 127.0.0.1:9901}}` and restart the gateway"
            )));
        };
        let written = admin.address.value;
        let address = written.to_socket_addrs().ok().and_then(|mut found| found.next());
        let Some(address) = address else {
            return Err(invalid(format!("`admin.address` in `{name}` is not an address and port: `{written}`")));
        };
        let folder = config.parent().unwrap_or(Path::new("."));
        Ok(Self { address: reachable(address), token_file: admin.token_file.map(|file| folder.join(file.value)) })
    }

    /// The admin token.
    ///
    /// # Errors
    /// When none is configured or its file cannot be read (exit code 3).
    pub(super) fn token(&self) -> Result<String, Failure> {
        let Some(file) = &self.token_file else {
            return Err(Failure::new(
                Exit::Configuration,
                "the gateway has no admin token, so it refuses calls that change something; \
                 set `admin.token_file` in gateway.yaml and restart it",
            ));
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(Exit::Configuration, format!("cannot read the admin token `{}`: {error}", file.display()))
        })?;
        Ok(text.trim().to_owned())
    }

    /// Asks, and waits up to `patience` for each piece of the answer.
    ///
    /// # Errors
    /// When nobody answers, or not in HTTP (exit code 5).
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        self.send((method, path, ""), token, patience)
    }

    /// The same with a body of JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn send(
        &self,
        request: (&str, &str, &str),
        token: Option<&str>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        exchange(self.address, request, token, patience).map_err(|error| {
            let address = self.address;
            let message = format!("no answer from the admin listener at {address}: {error}; is the gateway running?");
            Failure::new(Exit::Unreachable, message)
        })
    }
}

/// A listener on every address is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// One request in HTTP/1.0, so that the answer is never chunked and ends where the connection does.
fn exchange(
    address: SocketAddr,
    (method, path, body): (&str, &str, &str),
    token: Option<&str>,
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(CONNECT))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next()?.trim_end().get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reads_status_and_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "body"));
    }

    #[test]
    fn refuses_what_is_not_http() {
        for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_over_loopback() {
        for (written, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.7:1", "192.0.2.7:1")] {
            assert_eq!(reachable(written.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn a_silent_listener_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = Admin { address: listener.local_addr().unwrap(), token_file: None };
        let failure = admin.ask("GET", "/status", None, Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
    }
}
