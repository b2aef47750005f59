//! Fetching one small document over HTTPS, or over plain HTTP from this machine, with every bound that a fetch from
//! the network needs: size, time, and no redirects but a few on the same server. Sending one, within the same bounds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Largest body that is taken, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Most redirects that are followed.
const REDIRECTS: usize = 3;
/// Largest response head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// An address that may be fetched from: https, or plain http on this machine.
#[derive(Clone, Debug)]
pub struct Url {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

impl Url {
    /// Reads an absolute URL (RFC 9110 section 4.2).
    ///
    /// # Errors
    /// A clause that says what is wrong: not an absolute URL, another scheme, user information, or plain HTTP to
    /// another machine, whose answer anybody on the way could write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("`{}` is not a URL", text.escape_debug()))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{uri}` is not an absolute `https` URL")),
        };
        let Some(authority) = uri.authority() else {
            return Err(format!("`{uri}` has no host"));
        };
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(format!("`{}` has user information or a fragment", text.escape_debug()));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host).unwrap_or_default() {
            "" => Some(if tls { 443 } else { 80 }),
            written => written.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let (false, Some(port)) = (host.is_empty(), port) else {
            return Err(format!("`{uri}` has no host, or a port that is not a number from 1 to 65535"));
        };
        let url = Self { host, port, tls, uri };
        if !tls && !url.is_local() {
            return Err(format!("`{url}` is plain HTTP, which is allowed on a loopback address only; use `https`"));
        }
        Ok(url)
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.tls
    }

    /// Whether both are of one origin: scheme, host and port (RFC 6454 section 5).
    fn is_same_origin(&self, other: &Self) -> bool {
        (self.tls, self.port) == (other.tls, other.port) && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// The address that a `Location` of this address means (RFC 9110 section 10.2.2); its fragment is for browsers.
    fn redirected(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path();
        let is_absolute = location.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
        let absolute = if is_absolute {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        };
        let next = Self::parse(&absolute)
            .map_err(|why| format!("answered with a redirect that is not followed: {why:.200}"))?;
        match self.is_same_origin(&next) {
            true => Ok(next),
            false => Err(format!(
                "answered with a redirect to another server, `{:.200}`, which is not followed",
                next.to_string()
            )),
        }
    }

    fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(out)
    }
}

/// What a server answers.
enum Answer {
    Document(Fetched),
    /// Go there instead.
    Redirect(String),
}

/// What a fetch came to before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the address of the host.
    Name,
    /// Connecting to it.
    Connection,
    /// The TLS handshake, with the certificate of the host.
    Tls,
    /// The answer.
    Answer,
    /// The time was up.
    Time,
}

/// Why a fetch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFault {
    /// Where.
    pub stage: Stage,
    /// A clause, without the URL.
    pub cause: String,
}

/// A document that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The whole body.
    pub body: Vec<u8>,
    /// The header `Date`, as it came (RFC 9110 section 6.6.1).
    pub date: Option<String>,
}

/// What a server said to a document that it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The status.
    pub status: StatusCode,
    /// After how many seconds to come again, if it says so in seconds (RFC 9110 section 10.2.3).
    pub retry_after: Option<u64>,
    /// The whole body; empty where it is too large or broke off.
    pub body: Vec<u8>,
}

/// Makes the fault of a stage.
fn at<E: fmt::Display>(stage: Stage, what: &'static str) -> impl Fn(E) -> FetchFault {
    move |error| FetchFault { stage, cause: format!("{what}{error}") }
}

/// Fetches documents.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Client")
    }
}

impl Client {
    /// A client that trusts the certificate authorities in `ca` (PEM), or the public ones, and gives each fetch so much
    /// time, from the name's resolution to the last byte, redirects included.
    ///
    /// # Errors
    /// `ca` holds no certificate, or a broken one.
    pub fn new(ca: Option<&[u8]>, timeout: Duration) -> Result<Self, String> {
        Ok(Self { tls: TlsConnector::from(super::tls::client(ca)?), timeout })
    }

    /// Fetches a document with one GET.
    ///
    /// # Errors
    /// A clause that names the URL and the cause: no connection, bad certificate, another status than 200, a redirect to
    /// another server or one too many, more than [`BODY_BYTES`], or too slow.
    pub async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let fetched = self.fetch(url, self.timeout).await;
        fetched.map(|fetched| fetched.body).map_err(|fault| format!("`{url}`: {}", fault.cause))
    }

    /// As [`get`](Self::get), with a bound on the time of one's own and with more to tell.
    ///
    /// # Errors
    /// As with [`get`](Self::get).
    pub async fn fetch(&self, url: &Url, within: Duration) -> Result<Fetched, FetchFault> {
        let late = |_| FetchFault {
            stage: Stage::Time,
            cause: format!("no complete answer within {} s", within.as_secs_f32().ceil()),
        };
        tokio::time::timeout(within, self.follow(url)).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Sends a JSON document with one POST and follows no redirect. What comes back is an answer, whatever its status.
    ///
    /// # Errors
    /// No connection, bad certificate, no answer, or too slow.
    pub async fn post(
        &self,
        url: &Url,
        document: Bytes,
        authorization: Option<&HeaderValue>,
    ) -> Result<Posted, FetchFault> {
        let posting = async {
            let mut request = head(url, "POST", Full::new(document)).map_err(at(Stage::Answer, ""))?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(value) = authorization {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            let stream = connect(url).await?;
            if url.tls { post(request, self.secure(url, stream).await?).await } else { post(request, stream).await }
        };
        tokio::time::timeout(self.timeout, posting).await.unwrap_or_else(|_elapsed| {
            let cause = format!("no complete answer within {} s", self.timeout.as_secs_f32().ceil());
            Err(FetchFault { stage: Stage::Time, cause })
        })
    }

    /// Follows redirects within one server. Another server would be a matter of trust that nobody configured.
    async fn follow(&self, url: &Url) -> Result<Fetched, FetchFault> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            match self.exchange(&url).await? {
                Answer::Document(fetched) => return Ok(fetched),
                Answer::Redirect(location) => url = url.redirected(&location).map_err(at(Stage::Answer, ""))?,
            }
        }
        Err(at(Stage::Answer, "answered with too many redirects, the limit is ")(REDIRECTS))
    }

    async fn exchange(&self, url: &Url) -> Result<Answer, FetchFault> {
        let stream = connect(url).await?;
        if !url.tls {
            return get(url, stream).await;
        }
        get(url, self.secure(url, stream).await?).await
    }

    async fn secure(&self, url: &Url, stream: TcpStream) -> Result<TlsStream<TcpStream>, FetchFault> {
        let name = ServerName::try_from(url.host.clone()).map_err(at(Stage::Tls, "the host is not a name: "))?;
        self.tls.connect(name, stream).await.map_err(at(Stage::Tls, "TLS failed: "))
    }
}

async fn connect(url: &Url) -> Result<TcpStream, FetchFault> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .map_err(at(Stage::Name, "the host is not known: "))?;
    // `localhost` is what the resolver says it is, so the addresses are checked, too.
    let addresses: Vec<SocketAddr> = found.filter(|address| url.tls || address.ip().is_loopback()).collect();
    let mut cause = String::from("the host has no address that may be used");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => cause = format!("no connection to {address}: {error}"),
        }
    }
    Err(FetchFault { stage: Stage::Connection, cause })
}

/// Has one request answered on a connection of its own.
async fn talk<S, B, T>(
    stream: S,
    request: Request<B>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, FetchFault>,
) -> Result<T, FetchFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(at(Stage::Answer, ""))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(at(Stage::Answer, "no answer: "))?;
        read(response).await
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        result = &mut exchange => result,
        // The connection may end first, when the server closes it after the last byte.
        _ = &mut connection => exchange.await,
    }
}

async fn get<S>(url: &Url, stream: S) -> Result<Answer, FetchFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = head(url, "GET", Empty::<Bytes>::new()).map_err(at(Stage::Answer, ""))?;
    talk(stream, request, async |response| {
        match (response.status(), location(&response)) {
            (StatusCode::OK, _) => {}
            (status, Some(location)) if REDIRECTING.contains(&status) => return Ok(Answer::Redirect(location)),
            (status, _) => return Err(at(Stage::Answer, "answered ")(status)),
        }
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await.map_err(|error| {
            let cause = if error.is::<LengthLimitError>() {
                format!("the answer is larger than {BODY_BYTES} bytes")
            } else {
                format!("the answer broke off: {error}")
            };
            FetchFault { stage: Stage::Answer, cause }
        })?;
        Ok(Answer::Document(Fetched { body: body.to_bytes().to_vec(), date }))
    })
    .await
}

async fn post<S>(request: Request<Full<Bytes>>, stream: S) -> Result<Posted, FetchFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    talk(stream, request, async |response| {
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
        let body = Limited::new(body, HEAD_BYTES).collect().await;
        let body = body.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec());
        Ok(Posted { status: head.status, retry_after, body })
    })
    .await
}

/// Statuses that send a GET elsewhere (RFC 9110 section 15.4).
const REDIRECTING: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

fn location(response: &Response<Incoming>) -> Option<String> {
    response.headers().get(LOCATION)?.to_str().ok().map(str::to_owned)
}

fn head<B>(url: &Url, method: &str, body: B) -> Result<Request<B>, String> {
    let target = url.uri.path_and_query().map_or("/", |target| target.as_str());
    let host = url.uri.authority().map_or("", |authority| authority.as_str());
    Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (text, expected) in [
            ("https://login.example.org/keys", None),
            ("https://login.example.org:8443/keys?appid=1", None),
            ("http://127.0.0.1:8080/keys", None),
            ("http://127.8.9.10/keys", None),
            ("http://[::1]:8080/keys", None),
            ("http://localhost:8080/keys", None),
            ("http://login.example.org/keys", Some("loopback")),
            ("http://127.0.0.1.example.org/keys", Some("loopback")),
            ("http://10.0.0.1/keys", Some("loopback")),
            ("http://0.0.0.0/keys", Some("loopback")),
            ("http://localhost.example.org/keys", Some("loopback")),
            ("http://[::ffff:10.0.0.1]/keys", Some("loopback")),
            ("/keys", Some("absolute")),
            ("login.example.org", Some("absolute")),
            ("ftp://login.example.org/keys", Some("absolute")),
            ("https://user@login.example.org/keys", Some("user information")),
            ("http://127.0.0.1@login.example.org/keys", Some("user information")),
            ("https://login.example.org/keys#a", Some("fragment")),
            ("https://login.example.org:99999/keys", Some("port")),
            ("https:///keys", Some("not a URL")),
            ("https://a b/", Some("not a URL")),
            ("", Some("not a URL")),
        ] {
            match (Url::parse(text), expected) {
                (Ok(_), None) => {}
                (Err(why), Some(part)) if why.contains(part) => {}
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn redirects_stay_on_the_server() {
        let from = Url::parse("https://login.example.org/a/b?c=d").unwrap();
        for (location, expected) in [
            ("https://login.example.org/x", Ok("https://login.example.org/x")),
            ("https://LOGIN.example.org:443/x#y", Ok("https://LOGIN.example.org:443/x")),
            ("//login.example.org/x?a=b:c", Ok("https://login.example.org/x?a=b:c")),
            ("/x?y=z", Ok("https://login.example.org/x?y=z")),
            ("x", Ok("https://login.example.org/a/x")),
            ("?x", Ok("https://login.example.org/a/b?x")),
            ("https://login.example.org:8443/x", Err("another server")),
            ("https://other.example.org/x", Err("another server")),
            ("//other.example.org/x", Err("another server")),
            ("http://login.example.org/x", Err("plain HTTP")),
            ("http://127.0.0.1/x", Err("another server")),
            ("https://login.example.org@other.example.org/x", Err("user information")),
            ("file:///etc/passwd", Err("not followed")),
            ("data:text/plain,x", Err("not followed")),
        ] {
            match (from.redirected(location), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.to_string(), expected),
                (Err(why), Err(part)) if why.contains(part) => {}
                (other, _) => panic!("{location}: {other:?}"),
            }
        }
        let port = Url::parse("http://127.0.0.1:8080/x").unwrap();
        assert!(port.redirected("http://127.0.0.1/x").is_err());
    }

    #[test]
    fn a_ca_file_must_have_a_certificate() {
        let new = |ca| Client::new(ca, Duration::from_secs(1));
        assert!(new(None).is_ok());
        assert!(new(Some(b"nonsense")).unwrap_err().contains("no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(new(Some(broken)).unwrap_err().contains("bad certificate"));
    }
}
