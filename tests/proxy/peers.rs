//! Real programs on both sides: a server in Python behind the gateway; curl and h2load in front of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use crate::gateway::{Gateway, Setup, token};

/// Answers every request with its method, target and body; over HTTP/1.1, with `http.server` of the language itself.
const SERVER: &str = r#"
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            whole = b""
            while True:
                size = int(self.rfile.readline(), 16)
                whole += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return whole
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))
    def answer(self):
        body = self.body()
        text = f"{self.command} {self.path} {len(body)} {body[:5].decode()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    # Of the language's own, five connections may wait to be accepted; more are lost for a while.
    request_queue_size = 1024
    daemon_threads = True
server = Server(("127.0.0.1", 0), Echo)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Whether a program can be started; its absence is a failure only on a machine that runs all checks.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed, and CI is set");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

struct Python {
    child: Child,
    url: String,
}

impl Python {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    fn gateway(&self) -> Gateway {
        Setup { workers: 1, ..Setup::to(std::slice::from_ref(&self.url)) }.start()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn curl(gateway: &Gateway, arguments: &[String], target: &str, body: Option<&[u8]>) -> Output {
    let mut child = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", " %{http_code} %{http_version}", "--path-as-is"])
        .args(["--cacert", gateway.file("tls.crt").to_str().unwrap()])
        .args(["--connect-to", &format!("app.test:443:127.0.0.1:{}", gateway.tls.port())])
        .args(arguments)
        .arg(format!("https://app.test{target}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = body.unwrap_or_default().to_vec();
    // A refused upload is not read to its end.
    let feeding = std::thread::spawn(move || drop(std::io::Write::write_all(&mut input, &body)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

#[test]
fn curl_and_a_server_in_python_understand_each_other_through_the_gateway() {
    if !is_there("curl") || !is_there("python3") {
        return;
    }
    let python = Python::start();
    let gateway = python.gateway();
    let large = vec![b'y'; 3 * 1024 * 1024];
    let bearer = format!("Authorization: Bearer {}", token("olga"));
    let with = |http: &str, arguments: &[&str]| -> Vec<String> {
        [&[http, "-H", &bearer], arguments].concat().iter().map(ToString::to_string).collect()
    };
    for (http, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for (arguments, target, body, said) in [
            (&[][..], "/things/a%20b?x=1", None, "GET /things/a%20b?x=1 0  200"),
            (&["-X", "DELETE"][..], "/things/1", None, "DELETE /things/1 0  200"),
            (&["-d", "hello"][..], "/things/1", None, "POST /things/1 5 hello 200"),
            // Large enough that curl asks first (`Expect: 100-continue`).
            (&["--data-binary", "@-"][..], "/things/1", Some(&large), "POST /things/1 3145728 yyyyy 200"),
            // Of no known length: in chunks over HTTP/1.1.
            (&["-T", "-"][..], "/things/1", Some(&large), "PUT /things/1 3145728 yyyyy 200"),
        ] {
            let output = curl(&gateway, &with(http, arguments), target, body.map(Vec::as_slice));
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text, format!("{said} {version}"), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        for (arguments, target, status) in [
            (&[][..], "/secrets/1", "403"),
            (&[], "/things/../secrets/1", "400"),
            (&["-X", "TRACE"], "/things/1", "405"),
            (&["--data-binary", "@-"], "/secrets/1", "405"),
        ] {
            let uploads = arguments.contains(&"@-");
            if uploads && version == "2" {
                // curl before 8 takes the RST_STREAM without an error, by which a server says that it wants no more of a
                // request that it has answered (RFC 9113 section 8.1), for a failure.
                continue;
            }
            let body = uploads.then_some(large.as_slice());
            let output = curl(&gateway, &with(http, arguments), target, body);
            let text = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(text.ends_with(&format!(" {status} {version}")), "{arguments:?} {target}: {text} {complaint}");
        }
        let output = curl(&gateway, &[http.to_owned()], "/things/1", None);
        assert!(String::from_utf8_lossy(&output.stdout).ends_with(&format!(" 401 {version}")));
    }
}

#[test]
fn h2load_gets_an_answer_to_each_of_its_requests() {
    if !is_there("h2load") || !is_there("python3") {
        return;
    }
    let python = Python::start();
    let setup = Setup::to(std::slice::from_ref(&python.url));
    let gateway = Setup { routes: setup.routes.replace("hosts: [app.test]", "hosts: [localhost]"), ..setup }.start();
    let bearer = format!("authorization: Bearer {}", token("olga"));
    for (target, statuses) in [
        ("/things/1", "status codes: 600 2xx, 0 3xx, 0 4xx, 0 5xx"),
        ("/secrets/1", "status codes: 0 2xx, 0 3xx, 600 4xx, 0 5xx"),
    ] {
        for protocol in [&["--npn-list=h2"][..], &["--h1"][..]] {
            // The name resolves to this machine everywhere (RFC 6761 section 6.3).
            let url = format!("https://localhost:{}{target}", gateway.tls.port());
            let output = Command::new("h2load")
                .args(["-n", "600", "-c", "6", "-m", "20"])
                .args(["-H", &bearer])
                .args(protocol)
                .arg(url)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("600 succeeded") || statuses.contains("600 4xx"), "{protocol:?} {target}: {text}");
            assert!(text.contains(statuses), "{protocol:?} {target}: {text}");
            assert!(text.contains("0 errored, 0 timeout"), "{protocol:?} {target}: {text}");
        }
    }
}
