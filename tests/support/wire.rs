//! Small clients that write exactly what a test says and read what comes back, whether or not it is complete.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::backend::{SOON, fill, read_chunks, read_exactly};

/// A final answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, byte by byte, without the empty line.
    pub head: String,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub length: u64,
    /// Whether the message came to its end.
    pub whole: bool,
}

impl Answer {
    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let all: Vec<_> = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).collect();
        assert!(all.len() < 2, "{name} came more than once:\n{}", self.head);
        all.first().map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// Status and reason of a refusal of the gateway, `reason` being empty for anything else.
    pub fn verdict(&self) -> (u16, String) {
        if self.header("x-portcullis") != Some("refused") {
            return (self.status, String::new());
        }
        (self.status, self.json()["reason"].as_str().unwrap().to_owned())
    }
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One client connection.
pub struct Client {
    wire: Box<dyn Wire>,
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        let tcp = connect(address);
        Self { wire: Box::new(tcp.try_clone().unwrap()), tcp, buffer: Vec::new() }
    }

    /// Connects once more to where this one is connected, without TLS.
    pub fn again(&self) -> Self {
        Self::plain(self.tcp.peer_addr().unwrap())
    }

    /// Connects with TLS, as a client of `app.test`, and makes the handshake.
    pub fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(Self, Facts)> {
        Self::tls_as("app.test", address, config, b"")
    }

    /// The same as a client of another host, and with something said before the handshake.
    pub fn tls_as(
        host: &'static str,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        before: &[u8],
    ) -> io::Result<(Self, Facts)> {
        let tcp = connect(address);
        let name = ServerName::try_from(host).unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut socket = tcp.try_clone().unwrap();
        socket.write_all(before)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let facts = Facts {
            version: session.protocol_version().unwrap(),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: session.peer_certificates().unwrap()[0].to_vec(),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        };
        Ok((Self { wire: Box::new(StreamOwned::new(session, socket)), tcp, buffer: Vec::new() }, facts))
    }

    /// Writes bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// Writes bytes, if the other side still takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write_all(bytes.as_ref())?;
        self.wire.flush()
    }

    /// Reads a final answer to anything but HEAD.
    pub fn answer(&mut self) -> Answer {
        self.answer_if_any().expect("an answer")
    }

    /// The same, or nothing if the connection ends before its head.
    pub fn answer_if_any(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        self.body(&mut answer, &mut |_| ());
        Some(answer)
    }

    /// Reads a final answer without a body: one to HEAD.
    pub fn answer_to_head(&mut self) -> Answer {
        self.head().expect("an answer")
    }

    /// Reads the next head, final or not: its status.
    pub fn interim(&mut self) -> u16 {
        self.any_head().expect("an answer").status
    }

    /// Reads the head of a final answer.
    pub fn head(&mut self) -> Option<Answer> {
        loop {
            let answer = self.any_head()?;
            if answer.status >= 200 || answer.status == 101 {
                return Some(answer);
            }
        }
    }

    fn any_head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if fill(&mut self.wire, &mut self.buffer) == 0 {
                assert!(self.buffer.is_empty(), "a broken head: {:?}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let head: String = self.buffer.drain(..end + 4).take(end).map(char::from).collect();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, head, body: Vec::new(), length: 0, whole: true })
    }

    /// Reads the body that belongs to a head, as far as it comes. Each piece is shown to `each`, the beginning is kept.
    pub fn body(&mut self, answer: &mut Answer, each: &mut impl FnMut(&[u8])) {
        if matches!(answer.status, 101 | 204 | 304) {
            return;
        }
        let chunked = answer.header("transfer-encoding").is_some();
        let length = answer.header("content-length").map(|value| value.parse().unwrap());
        let (kept, counted) = (&mut answer.body, &mut answer.length);
        let mut take = |piece: &[u8]| {
            *counted += piece.len() as u64;
            kept.extend_from_slice(&piece[..piece.len().min((1 << 20) - kept.len())]);
            each(piece);
        };
        answer.whole = match length {
            _ if chunked => read_chunks(&mut self.wire, &mut self.buffer, &mut take),
            Some(length) => read_exactly(&mut self.wire, &mut self.buffer, length, &mut take),
            None => loop {
                take(&std::mem::take(&mut self.buffer));
                let mut piece = [0; 16 * 1024];
                match self.wire.read(&mut piece) {
                    Ok(0) => break true,
                    Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
                    Err(_) => break false,
                }
            },
        };
    }

    /// Writes a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).answer()
    }

    /// Reads so many bytes, if they come.
    pub fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if fill(&mut self.wire, &mut self.buffer) == 0 {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Whether the other side ends the connection without another byte.
    pub fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && fill(&mut self.wire, &mut self.buffer) == 0
    }

    /// Reads so many bytes; nothing if the connection ends before.
    pub fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if fill(&mut self.wire, &mut self.buffer) == 0 {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads all bytes to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while fill(&mut self.wire, &mut self.buffer) > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    /// The same, if the other side is still there.
    pub fn try_finish(&self) {
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Goes away without a word.
    pub fn reset(self) {
        crate::backend::reset(&self.tcp);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    tcp.set_write_timeout(Some(SOON)).unwrap();
    tcp
}

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Facts {
    /// The version of TLS.
    pub version: rustls::ProtocolVersion,
    /// The protocol inside.
    pub alpn: Option<Vec<u8>>,
    /// The leaf certificate.
    pub certificate: Vec<u8>,
    /// Whether a session from before goes on.
    pub resumed: bool,
}

/// A client's side of TLS that trusts one certificate (PEM) and offers some protocols.
pub fn trusting(pem: &str, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A request of HTTP/1.1 to `app.test`; `lines` are further header lines, each with its end.
pub fn request(method: &str, target: &str, token: &str, lines: &str, body: &str) -> String {
    let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{token}{lines}{length}\r\n{body}")
}

/// A request without a body.
pub fn get(target: &str, token: &str) -> String {
    request("GET", target, token, "", "")
}

/// Runs asynchronous code on this thread, with time and sockets.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// An HTTP/2 connection over TLS. Must be called on a runtime, which then drives the connection.
pub async fn http2<B>(address: SocketAddr, pem: &str) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error = io::Error> + Unpin + Send + 'static,
{
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let connector = tokio_rustls::TlsConnector::from(trusting(pem, rustls::ALL_VERSIONS, &["h2"]));
    let tls = connector.connect(ServerName::try_from("app.test").unwrap(), tcp).await.unwrap();
    let made = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(tls)).await;
    let (sender, connection) = made.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request of HTTP/2 to `app.test`.
pub fn h2_request<B>(method: &str, target: &str, token: &str, body: B) -> http::Request<B> {
    let mut request = http::Request::builder().method(method).uri(format!("https://app.test{target}"));
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(body).unwrap()
}

/// A body made of the same block over and over.
pub struct Repeated {
    block: Bytes,
    left: u64,
    /// Whether its length is told in advance.
    sized: bool,
    /// When it breaks off after its last byte, if it does.
    breaks: Option<Box<dyn Fn() -> bool + Send>>,
}

impl Repeated {
    /// So many bytes.
    pub fn new(block: &Bytes, length: u64) -> Self {
        Self { block: block.clone(), left: length, sized: true, breaks: None }
    }

    /// So many bytes, which nobody is told in advance.
    pub fn unsized_of(block: &Bytes, length: u64) -> Self {
        Self { sized: false, ..Self::new(block, length) }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self::new(&Bytes::new(), 0)
    }

    /// So many bytes, and as soon as something holds, an error in place of an end.
    pub fn broken(block: &Bytes, length: u64, when: impl Fn() -> bool + Send + 'static) -> Self {
        Self { breaks: Some(Box::new(when)), ..Self::new(block, length) }
    }
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return match &this.breaks {
                None => Poll::Ready(None),
                Some(now) if now() => Poll::Ready(Some(Err(io::Error::other("broken on purpose")))),
                Some(_) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            };
        }
        let now = this.left.min(this.block.len() as u64);
        this.left -= now;
        Poll::Ready(Some(Ok(Frame::data(this.block.slice(..usize::try_from(now).unwrap())))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.breaks.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.breaks.is_some() || !self.sized { SizeHint::default() } else { SizeHint::with_exact(self.left) }
    }
}
