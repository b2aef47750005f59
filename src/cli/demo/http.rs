//! A plain HTTP/1.1 server for the demo's two made-up peers. It stands for software that the gateway knows nothing
//! about, so it shares no code with the gateway. Loopback only; requests are read within bounds and bodies dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The longest request head, in bytes; legacy servers have such limits too.
const HEAD_LIMIT: u64 = 64 << 10;
/// How long the server waits before it takes connections again after the system refused one.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client asked.
#[derive(Debug)]
pub(super) struct Request {
    /// The method.
    pub(super) method: String,
    /// The target as it came.
    pub(super) target: String,
    /// Header lines in the order of arrival: name as written and value.
    pub(super) headers: Vec<(String, String)>,
    /// Length of the body in bytes.
    pub(super) body_bytes: u64,
}

/// What it gets.
#[derive(Debug)]
pub(super) struct Response {
    /// Status code and phrase.
    pub(super) status: &'static str,
    /// The body, JSON.
    pub(super) body: String,
}

/// How a server answers.
pub(super) type Answer = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Serves until its runtime ends.
pub(super) async fn serve(listener: TcpListener, answer: Answer) {
    loop {
        match listener.accept().await {
            // A connection that breaks is that client's loss.
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&answer)))),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, answer: Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = head(&mut stream).await? {
        if value(&request, "expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body_bytes = drop_body(&mut stream, &request).await?;
        let response = answer(&request);
        let body = if request.method == "HEAD" { "" } else { response.body.as_str() };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            response.status,
            response.body.len()
        );
        stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await?;
        if value(&request, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            break;
        }
    }
    Ok(())
}

/// Reads a request head; `None` when the client is done.
async fn head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Request>> {
    let mut stream = stream.take(HEAD_LIMIT);
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(malformed()) };
    let mut request =
        Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body_bytes: 0 };
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        if !line.ends_with('\n') {
            return Err(malformed());
        }
        if line.trim_end().is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads the body (RFC 9112 section 6) and says how long it was.
async fn drop_body(stream: &mut (impl AsyncBufRead + Unpin), request: &Request) -> io::Result<u64> {
    if value(request, "transfer-encoding").is_none() {
        let length = value(request, "content-length").map_or(Ok(0), str::parse).map_err(|_| malformed())?;
        return skip(stream, length).await;
    }
    let mut total = 0;
    loop {
        let line = short_line(stream).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
        if size == 0 {
            break;
        }
        total += skip(stream, size).await?;
        short_line(stream).await?;
    }
    // Trailers, up to the empty line.
    while !short_line(stream).await?.trim_end().is_empty() {}
    Ok(total)
}

async fn short_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    stream.take(HEAD_LIMIT).read_line(&mut line).await?;
    if line.ends_with('\n') { Ok(line) } else { Err(malformed()) }
}

async fn skip(stream: &mut (impl AsyncBufRead + Unpin), length: u64) -> io::Result<u64> {
    let skipped = tokio::io::copy_buf(&mut stream.take(length), &mut tokio::io::sink()).await?;
    if skipped == length { Ok(length) } else { Err(malformed()) }
}

/// The first value of a header.
fn value<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn malformed() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(raw: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answer: Answer = Arc::new(|request| Response {
                status: "200 OK",
                body: format!("{} {} {}", request.method, request.target, request.body_bytes),
            });
            tokio::spawn(serve(listener, answer));
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(raw.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        })
    }

    #[test]
    fn answers_one_request_after_another_on_a_connection() {
        let text = ask("PUT /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(text.contains("PUT /a 3HTTP/1.1 200 OK"), "{text}");
        assert!(text.ends_with("GET /b 0"), "{text}");
    }

    #[test]
    fn counts_a_chunked_body() {
        let text =
            ask("POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n");
        assert!(text.ends_with("POST /c 13"), "{text}");
    }

    #[test]
    fn a_head_answer_has_no_body() {
        let text = ask("HEAD /d HTTP/1.1\r\n\r\n");
        assert!(text.ends_with("Content-Length: 9\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_broken_request_gets_nothing() {
        for raw in
            ["GET\r\n\r\n", "GET / HTTP/1.1\r\nx", "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", "\u{0}\r\n\r\n"]
        {
            assert_eq!(ask(raw), "", "{raw:?}");
        }
    }
}
