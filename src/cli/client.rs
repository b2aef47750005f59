//! A running gateway as operators' verbs reach it: one request, one bounded answer, no runtime.

mod address;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::{ConfigFile, Exit, Failure};
use crate::diag::Report;
use crate::document;
use crate::source::tls::over_tls;

use address::Address;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 5 << 20;
/// How long connecting may take: the listener is near, usually on the same host.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take from its first piece to its last.
const WHOLE: Duration = Duration::from_secs(60);
/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Where a running gateway takes questions of operators, the same for every verb that asks one.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The operators' listener: `https://HOST:PORT`, or `http://` on this host [default: `admin.address` of gateway.yaml,
    /// which is not read if this is given; `explain` and `report` read the files then and ask nobody].
    #[arg(long, value_name = "URL", value_parser = Address::parse, global = true)]
    admin: Option<Address>,
    /// The file with the admin token [default: `admin.token_file` of gateway.yaml; with `--admin` none].
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Certificate authorities, PEM, that an `https://` listener is believed by [default: the public ones].
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// A certificate to show an `https://` listener, PEM, in place of a token.
    #[arg(long, value_name = "FILE", global = true)]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// A running gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    /// The addresses of the admin listener, to be tried one after the other: a name may have one of each kind.
    addresses: Vec<SocketAddr>,
    /// The same as it was written, for `Host` and for people.
    name: String,
    /// Whether that was on the command line, and not in gateway.yaml.
    is_named: bool,
    tls: Option<Tls>,
    /// The file with the token that calls need which change something, or tell who may do what.
    token_file: Option<PathBuf>,
}

/// How a listener with TLS is known.
#[derive(Debug)]
struct Tls {
    host: String,
    ca: Option<Vec<u8>>,
    /// A certificate and its key, to be known by.
    shown: Option<(Vec<u8>, Vec<u8>)>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// What the body says that it is: `Content-Type`, without parameters.
    pub(super) kind: String,
    /// The whole body.
    pub(super) body: String,
}

impl Where {
    /// Whether a running gateway is to be asked by a verb that otherwise reads the files.
    ///
    /// # Errors
    /// When a token is named for nobody (exit code 2).
    pub(super) fn is_asked(&self) -> Result<bool, Failure> {
        self.check()?;
        if self.admin.is_none() && self.token_file.is_some() {
            let message = "`--token-file` is for `--admin URL`: without it no gateway is asked, the files are read";
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(self.admin.is_some())
    }

    /// `gateway.yaml`, where the files are read.
    pub(super) fn config(&self) -> &Path {
        &self.config.path
    }

    /// Options that need others, whichever side of a verb's word they stand on.
    fn check(&self) -> Result<(), Failure> {
        let alone = match (&self.admin, &self.ca, &self.certificate, &self.key) {
            (None, Some(_), ..) => "`--ca` is for `--admin https://HOST:PORT`",
            (None, _, Some(_), _) | (None, _, _, Some(_)) => {
                "`--certificate` and `--key` are for `--admin https://HOST:PORT`"
            }
            (_, _, Some(_), None) => "`--certificate` needs its `--key`",
            (_, _, None, Some(_)) => "`--key` needs its `--certificate`",
            _ => return Ok(()),
        };
        Err(Failure::new(Exit::Usage, alone))
    }

    /// Finds the gateway.
    ///
    /// # Errors
    /// When a file that says where it is cannot be used (exit code 3), or its name is unknown (exit code 5).
    pub(super) fn gateway(&self) -> Result<Gateway, Failure> {
        self.check()?;
        let mut gateway = match &self.admin {
            Some(address) => {
                let shown = self.certificate.as_deref().zip(self.key.as_deref());
                Gateway::at(address, self.ca.as_deref(), shown)?
            }
            None => Gateway::of(&self.config.path)?,
        };
        if let Some(file) = &self.token_file {
            gateway.token_file = Some(file.clone());
        }
        Ok(gateway)
    }
}

impl Gateway {
    /// The gateway that listens there.
    fn at(address: &Address, ca: Option<&Path>, shown: Option<(&Path, &Path)>) -> Result<Self, Failure> {
        let unreachable = |message: String| Failure::new(Exit::Unreachable, message);
        let name = address.to_string();
        let found = (address.host(), address.port())
            .to_socket_addrs()
            .map_err(|error| unreachable(format!("the address of `{name}` cannot be found: {error}")))?;
        let tls = if address.is_secure() {
            let shown = shown.map(|(certificate, key)| Ok((read(certificate)?, read(key)?))).transpose()?;
            Some(Tls { host: address.host().to_owned(), ca: ca.map(read).transpose()?, shown })
        } else if ca.is_some() || shown.is_some() {
            let message = format!("`--ca` and `--certificate` are for https://, and `--admin {name}` is not");
            return Err(Failure::new(Exit::Usage, message));
        } else {
            None
        };
        // A name of this host that leads elsewhere would take the token along in the clear.
        let may_be_asked = found.filter(|found| tls.is_some() || found.ip().is_loopback());
        let addresses: Vec<SocketAddr> = may_be_asked.take(MOST_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(unreachable(format!("`{name}` leads to no address that may be asked")));
        }
        Ok(Self { addresses, name, is_named: true, tls, token_file: None })
    }

    /// The gateway whose listener has this address, on this host.
    pub(super) fn on_loopback(address: SocketAddr) -> Self {
        Self { addresses: vec![address], name: address.to_string(), is_named: false, tls: None, token_file: None }
    }

    /// The gateway that runs with this configuration. Only `gateway.yaml` is read, so
    /// that a broken route map does not keep operators from asking.
    fn of(config: &Path) -> Result<Self, Failure> {
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
        if admin.tls.is_some() {
            return Err(invalid(format!(
                "the admin listener of `{name}` speaks TLS: say by which name it is known, `--admin https://NAME:PORT`, and \
                 with `--ca` whom to believe if no public authority vouches for it"
            )));
        }
        let written = admin.address.value;
        let address = written.to_socket_addrs().ok().and_then(|mut found| found.next());
        let Some(address) = address else {
            return Err(invalid(format!("`admin.address` in `{name}` is not an address and port: `{written}`")));
        };
        let address = reachable(address);
        let folder = config.parent().unwrap_or(Path::new("."));
        let token_file = admin.token_file.map(|file| folder.join(file.value));
        Ok(Self { addresses: vec![address], name: address.to_string(), is_named: false, tls: None, token_file })
    }

    /// The admin token; nothing where a certificate is shown in its place.
    ///
    /// # Errors
    /// When none is configured or its file cannot be read (exit code 3).
    pub(super) fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.token_file else {
            if self.tls.as_ref().is_some_and(|tls| tls.shown.is_some()) {
                return Ok(None);
            }
            let message = if self.is_named {
                "no admin token is known, for gateway.yaml is not read with `--admin`: name its file with `--token-file`"
            } else {
                "no admin token is known, and this call needs it: set `admin.token_file` in gateway.yaml and restart the \
                 gateway, or name the file with `--token-file`"
            };
            return Err(Failure::new(Exit::Configuration, message));
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(Exit::Configuration, format!("cannot read the admin token `{}`: {error}", file.display()))
        })?;
        let token = text.trim();
        if token.is_empty() || token.contains(|letter: char| letter.is_control() || !letter.is_ascii()) {
            let message = format!("the admin token `{}` is no line of printable letters", file.display());
            return Err(Failure::new(Exit::Configuration, message));
        }
        Ok(Some(token.to_owned()))
    }

    /// Asks, and waits up to `patience` for the answer to begin and for each piece of it, and a minute more than that for
    /// the whole.
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
        self.exchange(request, token, patience).map_err(|error| {
            let name = &self.name;
            let message = format!("no answer from the admin listener at {name}: {error}; is the gateway running?");
            Failure::new(Exit::Unreachable, message)
        })
    }

    /// Its address as it was written.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the first of its addresses where somebody listens.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut fault = io::Error::from(io::ErrorKind::NotFound);
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// One request in HTTP/1.0, so that the answer is never chunked and ends where the connection does.
    fn exchange(
        &self,
        (method, path, body): (&str, &str, &str),
        token: Option<&str>,
        patience: Duration,
    ) -> io::Result<Answer> {
        let stream = self.connect()?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(CONNECT))?;
        let due = Instant::now() + patience + WHOLE;
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let (length, host) = (body.len(), self.name.rsplit('/').next().unwrap_or_default());
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{authorization}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        match &self.tls {
            None => converse(stream, &request, due),
            Some(Tls { host, ca, shown }) => {
                let shown = shown.as_ref().map(|(certificate, key)| (certificate.as_slice(), key.as_slice()));
                converse(over_tls(stream, host, ca.as_deref(), shown).map_err(io::Error::other)?, &request, due)
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::new(Exit::Configuration, format!("cannot read `{}`: {error}", file.display()));
    std::fs::read(file).map_err(unreadable)
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

/// One request, and its whole answer unless that is not there when it is `due`.
fn converse(mut stream: impl Read + Write, request: &str, due: Instant) -> io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let read = InTime { stream, due }.take(ANSWER_LIMIT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > ANSWER_LIMIT {
        return Err(io::Error::other(format!("the answer is longer than {} MiB", ANSWER_LIMIT >> 20)));
    }
    parse(&bytes)
}

/// Somebody who sends a byte now and then would otherwise be read for days.
struct InTime<S> {
    stream: S,
    due: Instant,
}

impl<S: Read> Read for InTime<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.due {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the answer takes too long"));
        }
        self.stream.read(buffer)
    }
}

/// Half an answer must not pass for the whole: a list of who may do what would lack people.
fn parse(answer: &[u8]) -> io::Result<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 4);
    let (head, body) = end.and_then(|end| answer.split_at_checked(end)).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let status = || {
        let mut words = head.split(' ');
        words.next().filter(|version| version.starts_with("HTTP/1."))?;
        words.next()?.trim_end().get(..3)?.parse().ok()
    };
    let status = status().ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| body.len() < length) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off"));
    }
    let kind = field("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    Ok(Answer { status, kind, body: String::from_utf8_lossy(body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reads_status_and_body() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "body"));
    }

    #[test]
    fn refuses_what_is_not_http() {
        for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_an_answer_that_breaks_off() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf of it").is_ok());
        let fault = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\nhalf of it").unwrap_err();
        assert_eq!(fault.to_string(), "the answer broke off");
    }

    #[test]
    fn a_listener_on_every_address_is_asked_over_loopback() {
        for (written, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.7:1", "192.0.2.7:1")] {
            assert_eq!(reachable(written.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn an_answer_that_never_comes_to_its_end_is_given_up() {
        struct Drip;
        impl Read for Drip {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_millis(5));
                buffer[0] = b'x';
                Ok(1)
            }
        }
        impl Write for Drip {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let due = Instant::now() + Duration::from_millis(50);
        let fault = converse(Drip, "GET / HTTP/1.0\r\n\r\n", due).unwrap_err();
        assert_eq!(fault.to_string(), "the answer takes too long");
    }

    #[test]
    fn of_several_addresses_one_where_somebody_listens_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let elsewhere = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), address.port());
        let addresses = vec![elsewhere, address];
        let gateway = Gateway { addresses, name: String::new(), is_named: true, tls: None, token_file: None };
        assert_eq!(gateway.connect().unwrap().peer_addr().unwrap(), address);
    }

    #[test]
    fn a_silent_listener_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gateway = Gateway::at(&Address::parse(&url).unwrap(), None, None).unwrap();
        let failure = gateway.ask("GET", "/status", None, Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
    }
}
