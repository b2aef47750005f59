//! gRPC through the gateway: frames of a call as its peers write them, over HTTP/2 on both sides.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::pki_types::ServerName;

use crate::backend::until;
use crate::gateway::{Door, Setup, token};
use crate::h2::{Exchange, H2Backend};
use crate::streams::{change, short};
use crate::transport::speaking_http2;
use crate::upgrade::metric;
use crate::wire::{block_on, trusting};

/// A message with its prefix: not compressed, and how long it is.
fn message(text: &str) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(text.len()).unwrap());
    framed.put(text.as_bytes());
    framed.freeze()
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields[name].to_str().unwrap()
}

/// A client's connection.
pub async fn connect(gateway: &Door) -> SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(gateway.tls).await.unwrap();
    let tls = tokio_rustls::TlsConnector::from(trusting(&gateway.certificate(), rustls::ALL_VERSIONS, &["h2"]));
    let stream = tls.connect(ServerName::try_from("app.test").unwrap(), tcp).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn call(method: &str, who: &str) -> Request<()> {
    call_with(method, &if who.is_empty() { String::new() } else { token(who) })
}

fn call_with(method: &str, token: &str) -> Request<()> {
    let mut request = Request::post(format!("https://app.test{method}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("user-agent", "grpc-test/1");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(()).unwrap()
}

/// An echo, under `/things/Service`.
fn service() -> (H2Backend, Arc<Mutex<Vec<HeaderMap>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let backend = H2Backend::start(100, move |mut exchange: Exchange| {
        seen.lock().unwrap().push(exchange.head.headers.clone());
        async move {
            let head = Response::builder().status(200).header("content-type", "application/grpc+proto");
            let status = |status: &'static str| {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                trailers.insert("x-own", HeaderValue::from_static("kept"));
                trailers.insert("x-auth-request-user", HeaderValue::from_static("root"));
                trailers.insert("x-portcullis", HeaderValue::from_static("answered"));
                trailers
            };
            match exchange.head.uri.path() {
                "/things/Service/Echo" => {
                    let mut stream = exchange.head(head);
                    while let Some(Ok(piece)) = exchange.body.data().await {
                        exchange.body.flow_control().release_capacity(piece.len()).unwrap();
                        stream.send_data(piece, false).unwrap();
                    }
                    // A call that was cancelled takes no status.
                    let _ = stream.send_trailers(status("0"));
                }
                "/things/Service/Fail" => {
                    exchange.end(head.header("grpc-status", "5").header("grpc-message", "no such thing"));
                }
                "/things/Service/Sleep" => {
                    let _ = std::future::poll_fn(|context| exchange.respond.poll_reset(context)).await;
                }
                "/things/Service/Drip" => {
                    let mut stream = exchange.head(head);
                    while stream.send_data(message("drip"), false).is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                _ => exchange.end(head.header("grpc-status", "12")),
            }
        }
    });
    (backend, heads)
}

#[test]
fn both_sides_of_a_call_stream_at_the_same_time_and_its_status_comes_behind() {
    let (backend, heads) = service();
    let gateway = speaking_http2(&backend.url(), "").start();
    block_on(async {
        let mut client = connect(&gateway).await;
        let (answer, mut stream) = client.send_request(call("/things/Service/Echo", "olga"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
        let mut body = answer.into_body();
        for text in ["one", "two", "three"] {
            stream.send_data(message(text), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), message(text), "before the request has ended");
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!((text(&trailers, "grpc-status"), text(&trailers, "x-own")), ("0", "kept"));
        assert_eq!(trailers.len(), 2, "no name of the gateway's comes behind a body: {trailers:?}");
    });
    let heads = heads.lock().unwrap();
    assert_eq!((text(&heads[0], "te"), text(&heads[0], "x-auth-request-user")), ("trailers", "olga"));
}

#[test]
fn an_answer_without_a_body_keeps_its_status() {
    let (backend, _) = service();
    let gateway = speaking_http2(&backend.url(), "").start();
    block_on(async {
        let mut client = connect(&gateway).await;
        let (answer, mut stream) = client.send_request(call("/things/Service/Fail", "olga"), false).unwrap();
        stream.send_data(message("x"), true).unwrap();
        let answer = answer.await.unwrap();
        let headers = answer.headers();
        assert_eq!((answer.status().as_u16(), text(headers, "grpc-status")), (200, "5"));
        assert_eq!(headers["grpc-message"], "no such thing");
        assert_eq!(headers.get("x-portcullis"), None);
        assert!(answer.into_body().is_end_stream());
    });
}

#[test]
fn who_is_refused_reads_a_status_of_grpc() {
    let (backend, heads) = service();
    let gateway = speaking_http2(&backend.url(), "").start();
    block_on(async {
        for (method, who, status, message) in [
            ("/things/Service/Echo", "", "16", "no_token"),
            ("/things/Service/Echo", "vera", "7", "right_level"),
            ("/things/Service/Echo", "nils", "7", "right_missing"),
            ("/nowhere/Service/Echo", "olga", "12", "no_route"),
            ("/secrets/1", "olga", "12", "no_route"),
            ("/things/../Echo", "olga", "13", ""),
        ] {
            let mut client = connect(&gateway).await;
            let (answer, _stream) = client.send_request(call(method, who), false).unwrap();
            let answer = answer.await.unwrap();
            let headers = answer.headers();
            let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(answer.status().as_u16(), 200, "{method} {who}");
            assert_eq!(said("content-type").as_deref(), Some("application/grpc"));
            assert_eq!(said("grpc-status").as_deref(), Some(status), "{method} {who} {headers:?}");
            let told = said("grpc-message").unwrap();
            assert!(told.ends_with(&format!("{message})")) || message.is_empty(), "{told}");
            assert_eq!(said("x-portcullis").as_deref(), Some("refused"));
            assert_eq!(said("x-request-id").unwrap().len(), 32);
            assert!(answer.into_body().is_end_stream());
        }
    });
    assert_eq!(heads.lock().unwrap().len(), 0);
}

#[test]
fn a_backend_that_is_gone_is_a_status_of_grpc_too() {
    let gone = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let gateway = speaking_http2(&gone, "").start();
    block_on(async {
        let mut client = connect(&gateway).await;
        let (answer, _stream) = client.send_request(call("/things/Service/Echo", "olga"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        assert_eq!(answer.headers()["x-portcullis"], "refused");
    });
}

#[test]
fn a_call_ends_when_its_client_says_that_it_must() {
    let (backend, heads) = service();
    let gateway = speaking_http2(&backend.url(), "").start();
    block_on(async {
        for method in ["/things/Service/Sleep", "/things/Service/Drip"] {
            let mut request = call(method, "olga");
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("300m"));
            let began = Instant::now();
            let mut client = connect(&gateway).await;
            let (answer, _stream) = client.send_request(request, false).unwrap();
            let answer = answer.await.unwrap();
            if method.ends_with("Sleep") {
                assert_eq!(answer.headers()["grpc-status"], "4");
            } else {
                let mut body = answer.into_body();
                let fault = loop {
                    match body.data().await.expect("the answer does not end in order") {
                        Ok(piece) => body.flow_control().release_capacity(piece.len()).unwrap(),
                        Err(fault) => break fault,
                    }
                };
                assert!(fault.is_reset(), "{fault}");
            }
            assert!((Duration::from_millis(290)..Duration::from_secs(5)).contains(&began.elapsed()), "{method}");
        }
    });
    until(|| backend.running() == 0, "the backend's streams end too");
    assert!(heads.lock().unwrap().iter().all(|head| head["grpc-timeout"] == "300m"));
}

#[test]
fn a_client_that_cancels_a_call_cancels_it_at_the_backend() {
    let (backend, _) = service();
    let gateway = speaking_http2(&backend.url(), "").start();
    block_on(async {
        let mut client = connect(&gateway).await;
        let (answer, mut stream) = client.send_request(call("/things/Service/Echo", "olga"), false).unwrap();
        stream.send_data(message("x"), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), message("x"));
        assert_eq!(backend.running(), 1);
        stream.send_reset(Reason::CANCEL);
    });
    until(|| backend.running() == 0, "the call ends at the backend");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn who_only_listens_to_a_call_may_be_silent_for_longer_than_an_upload() {
    let backend = H2Backend::start(100, |mut exchange: Exchange| async move {
        let silent = exchange.head.uri.path() == "/things/Service/Silent";
        if silent {
            // Before its answer begins, a call is an upload like any other.
            let reset = std::future::poll_fn(|context| exchange.respond.poll_reset(context)).await;
            return assert_eq!(reset.ok(), Some(Reason::CANCEL));
        }
        let head = Response::builder().status(200).header("content-type", "application/grpc");
        let mut stream = exchange.head(head);
        for _ in 0..12 {
            stream.send_data(message("tick"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut end = HeaderMap::new();
        end.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(end).unwrap();
    });
    let timeouts = "drain: 1s, client_body: 400ms".into();
    let gateway = Setup { timeouts, ..speaking_http2(&backend.url(), "") }.start();
    block_on(async {
        let mut client = connect(&gateway).await;
        let (answer, mut stream) = client.send_request(call("/things/Service/Watch", "olga"), false).unwrap();
        stream.send_data(message("what to watch"), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut heard = 0;
        while let Some(piece) = body.data().await {
            heard += piece.unwrap().len();
        }
        assert_eq!((heard, text(&body.trailers().await.unwrap().unwrap(), "grpc-status")), (12 * 9, "0"));
        let (answer, mut stream) = client.send_request(call("/things/Service/Silent", "olga"), false).unwrap();
        stream.send_data(message("what"), false).unwrap();
        assert_eq!(text(answer.await.unwrap().headers(), "grpc-status"), "4");
    });
}

#[test]
fn a_call_that_runs_ends_within_a_second_of_a_policy_that_takes_its_right_away_and_with_its_token() {
    for (lines, expires, ends) in [
        ("", false, true),
        ("", true, true),
        ("    on_expiry: keep\n", false, true),
        ("    on_expiry: keep\n", true, false),
    ] {
        let (backend, _) = service();
        let mut setup = speaking_http2(&backend.url(), "");
        setup.more = "reload: {gate: off}\ntokens: {leeway: 0s}\n".to_owned();
        setup.routes = setup.routes.replace("    domain: app\n", &format!("    domain: app\n{lines}"));
        let gateway = setup.start();
        block_on(async {
            let mut client = connect(&gateway).await;
            let token = if expires { short(3) } else { token("olga") };
            let asked = call_with("/things/Service/Drip", &token);
            let (answer, mut stream) = client.send_request(asked, false).unwrap();
            stream.send_data(message("x"), false).unwrap();
            let mut body = answer.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), message("drip"));
            let begun = if expires {
                Instant::now() + Duration::from_secs(3)
            } else {
                change(&gateway, "grants.yaml", "flags: [member], grants: [things, ", "flags: [member], grants: [")
            };
            let mut heard = 0;
            let cut = tokio::time::timeout(Duration::from_secs(6), async {
                while let Some(Ok(piece)) = body.data().await {
                    body.flow_control().release_capacity(piece.len()).unwrap();
                    heard += 1;
                }
            });
            assert_eq!(cut.await.is_ok(), ends, "{lines} {expires}");
            assert!(!ends || begun.elapsed() < Duration::from_secs(2), "{lines} {expires}: {:?}", begun.elapsed());
            assert!(!expires || heard > 50, "it is left alone until then: {heard}");
        });
        assert_eq!(metric(&gateway, "portcullis_exchanges_cut_total"), u64::from(ends), "{lines} {expires}");
        until(|| backend.running() == 0, "the backend's stream ends");
    }
}
