//! A real web server as the backend.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::backend::until;
use crate::gateway::{Gateway, Setup, token};
use crate::wire::{Client, get, request};

const LARGE: usize = 20 * 1024 * 1024;

struct Nginx {
    child: Child,
    folder: TempDir,
    url: String,
}

impl Nginx {
    /// Starts nginx; nothing if it is not installed, which only a machine that runs all checks must have.
    fn start() -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            assert!(std::env::var_os("CI").is_none(), "nginx is not installed, and CI is set");
            eprintln!("skipped: nginx is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let inner = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let outer = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let root = folder.path().display();
        // The inner server echoes nothing but reads the body that the outer one hands on; `gzip` makes chunks.
        let conf = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  access_log {root}/access.log;\n  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n  \
             fastcgi_temp_path {root}/fcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n  \
             client_max_body_size 100m;\n  log_format seen '$connection $request_method $request_uri $http_x_auth_request_user $request_length';\n  \
             access_log {root}/seen.log seen;\n  \
             server {{\n    listen {outer}; root {root}/www; keepalive_timeout 30s;\n    \
             location /things/put/ {{ dav_methods PUT; create_full_put_path on; alias {root}/www/put/; }}\n    \
             location /things/post {{ proxy_pass http://{inner}; proxy_request_buffering off; }}\n    \
             location /things/gzip {{ gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1; alias {root}/www/text; }}\n    \
             location /things/ {{ alias {root}/www/; }}\n  }}\n  \
             server {{ listen {inner}; location / {{ return 200 \"$request_method $content_length $http_x_auth_request_user\"; }} }}\n}}\n"
        );
        fs::create_dir_all(folder.path().join("www/put")).unwrap();
        fs::write(folder.path().join("www/text"), "a text that is long enough to be packed ".repeat(100)).unwrap();
        fs::write(folder.path().join("www/large"), vec![b'x'; LARGE]).unwrap();
        fs::write(folder.path().join("nginx.conf"), conf).unwrap();
        let child = Command::new(program)
            .args(["-p", &root.to_string(), "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let nginx = Self { child, url: format!("http://{outer}"), folder };
        until(|| std::net::TcpStream::connect(outer).is_ok() && std::net::TcpStream::connect(inner).is_ok(), "nginx");
        Some(nginx)
    }

    fn gateway(&self) -> Gateway {
        Setup { workers: 1, ..Setup::to(std::slice::from_ref(&self.url)) }.start()
    }

    /// The lines that it logged about requests for `/things/`.
    fn seen(&self, count: usize) -> Vec<Vec<String>> {
        let lines = || -> Vec<Vec<String>> {
            let text = fs::read_to_string(self.folder.path().join("seen.log")).unwrap_or_default();
            let words = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
            words.filter(|words| words.len() == 5 && words[2].starts_with("/things/")).collect()
        };
        until(|| lines().len() >= count, "lines in the log of nginx");
        lines()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_serves_through_the_gateway() {
    let Some(nginx) = Nginx::start() else { return };
    let gateway = nginx.gateway();
    let token = token("olga");
    let mut client = gateway.connect();

    let text = fs::read_to_string(nginx.folder.path().join("www/text")).unwrap();
    let answer = client.ask(get("/things/text", &token));
    assert_eq!((answer.status, answer.text()), (200, text.clone()));
    let tag = answer.header("etag").unwrap().to_owned();
    assert!(answer.header("server").unwrap().starts_with("nginx"));

    let fresh = client.ask(request("GET", "/things/text", &token, &format!("If-None-Match: {tag}\r\n"), ""));
    assert_eq!((fresh.status, fresh.length), (304, 0));
    let part = client.ask(request("GET", "/things/text", &token, "Range: bytes=2-5\r\n", ""));
    assert_eq!((part.status, part.text().as_str()), (206, "text"));
    assert_eq!(client.ask(get("/things/no-such-file", &token)).status, 404);

    let packed = client.ask(request("GET", "/things/gzip", &token, "Accept-Encoding: gzip\r\n", ""));
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")), "{}", packed.head);
    assert_eq!(packed.header("transfer-encoding"), Some("chunked"), "{}", packed.head);
    assert!(packed.whole && packed.length < text.len() as u64);

    let refused = client.ask(get("/secrets/1", &token));
    assert_eq!(refused.verdict(), (403, "right_missing".into()));

    let seen = nginx.seen(5);
    assert!(seen.iter().all(|words| words[0] == seen[0][0] && words[3] == "olga"), "one connection: {seen:?}");
}

#[test]
fn nginx_takes_bodies_through_the_gateway() {
    let Some(nginx) = Nginx::start() else { return };
    let gateway = nginx.gateway();
    let token = token("olga");
    let mut client = gateway.connect();
    let answer = client.ask(request("POST", "/things/post", &token, "", "name=value"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "POST 10 olga"));
    // nginx-light has no WebDAV; then it says 405 and the body is not read.
    let chunked = request("PUT", "/things/put/a", &token, "Transfer-Encoding: chunked\r\n", "");
    let answer = client.ask(format!("{chunked}5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"));
    if matches!(answer.status, 201 | 204) {
        assert_eq!(fs::read(nginx.folder.path().join("www/put/a")).unwrap(), b"hello, world");
    } else {
        assert_eq!(answer.status, 405);
    }
    assert_eq!(client.ask(get("/things/text", &token)).status, 200, "the connection is in step");
}

#[test]
fn nginx_sends_large_answers_through_the_gateway() {
    let Some(nginx) = Nginx::start() else { return };
    let gateway = nginx.gateway();
    for tls in [false, true] {
        let mut client = if tls { Client::tls(gateway.tls, &gateway.trust()).unwrap().0 } else { gateway.connect() };
        client.send(get("/things/large", &token("olga")));
        let mut answer = client.head().unwrap();
        let mut right = true;
        client.body(&mut answer, &mut |piece| right &= piece.iter().all(|byte| *byte == b'x'));
        assert_eq!((answer.status, answer.length, answer.whole, right), (200, LARGE as u64, true, true));
    }
}

#[test]
fn nginx_that_restarts_costs_nobody_an_answer_but_those_in_between() {
    let Some(mut nginx) = Nginx::start() else { return };
    let gateway = nginx.gateway();
    let token = token("olga");
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/things/text", &token)).status, 200);
    nginx.child.kill().unwrap();
    nginx.child.wait().unwrap();
    assert_eq!(client.ask(get("/things/text", &token)).verdict(), (502, "upstream_unreachable".into()));
    let program = "/usr/sbin/nginx";
    if Path::new(program).exists() {
        nginx.child = Command::new(program)
            .args(["-p", &nginx.folder.path().display().to_string(), "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until(|| client.ask(get("/things/text", &token)).status == 200, "nginx is back");
    }
}
