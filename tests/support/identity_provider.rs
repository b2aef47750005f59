//! An issuer for tests: signing keys of both types, and a small server for its discovery and key documents that can
//! be told to misbehave.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A key pair that signs whatever it is given.
pub enum Signer {
    /// Signs with RS256.
    Rsa(RsaKeyPair),
    /// Signs with ES256.
    P256(EcdsaKeyPair),
}

impl Signer {
    /// A new RSA key of 2048 bits.
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// A new key on P-256.
    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The public half as Entra writes it: without `alg`.
    pub fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid, "n": text(&public.n), "e": text(&public.e)})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "use": "sig", "kid": kid, "crv": "P-256", "x": text(&point[1..33]),
                    "y": text(&point[33..]),
                })
            }
        }
    }

    /// Signs a header and a payload exactly as they are written.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::P256(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What the server answers for one path.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the answer is in coming.
    pub pause: Duration,
    /// Whether the body comes again and again, without end.
    pub endless: bool,
}

impl Answer {
    /// A document.
    pub fn json(document: &Value) -> Self {
        Self::text(document.to_string())
    }

    /// An answer with any body.
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    /// An answer without a document.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), pause: Duration::ZERO, endless: false }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self { headers: vec![("location", location.to_owned())], ..Self::status(status) }
    }

    /// The same, some time later.
    pub fn after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The same without end.
    pub fn endless(self) -> Self {
        Self { endless: true, ..self }
    }
}

/// A body that is sent once or for ever.
struct Sent {
    bytes: Bytes,
    endless: bool,
    over: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = (!self.over).then(|| self.bytes.clone());
        self.over = !self.endless;
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A server on a free port of the loopback address that answers until it is dropped.
pub struct Server {
    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    pub base: String,
    /// The certificate authority of an HTTPS server, PEM.
    pub ca: Option<Vec<u8>>,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server that speaks plain HTTP on a thread of its own, for tests without a runtime.
    pub fn on_a_thread() -> Self {
        let (sender, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Self::http().await;
                let task = server.task.abort_handle();
                sender.send(server).unwrap();
                while !task.is_finished() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        started.recv().unwrap()
    }

    /// Starts a server that speaks plain HTTP.
    pub async fn http() -> Self {
        Self::start(None, None).await
    }

    /// Starts a server that speaks TLS, with a certificate for `localhost` of an authority made for it.
    pub async fn https() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, TlsKey::generate().unwrap()).unwrap();
        let key = TlsKey::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), Some(authority.pem().into_bytes())).await
    }

    async fn start(tls: Option<TlsAcceptor>, ca: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let base = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let (answers, seen) = (Arc::default(), Arc::default());
        let task = tokio::spawn(serve(listener, tls, Arc::clone(&answers), Arc::clone(&seen)));
        Self { base, ca, answers, seen, task }
    }

    /// Sets what is answered for a path, its query included; every other path is 404.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.into(), answer);
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, answers, seen) = (tls.clone(), Arc::clone(&answers), Arc::clone(&seen));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let path = request.uri().path_and_query().unwrap().to_string();
                let answer = answers.lock().unwrap().get(&path).cloned().unwrap_or(Answer::status(404));
                seen.lock().unwrap().push(path);
                let mut response = Response::builder().status(answer.status);
                for (name, value) in answer.headers {
                    response = response.header(name, value);
                }
                let body = Sent { bytes: Bytes::from(answer.body), endless: answer.endless, over: false };
                let response = response.body(body).unwrap();
                async move {
                    tokio::time::sleep(answer.pause).await;
                    Ok::<_, Infallible>(response)
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            // A client that goes away, as one that refuses an answer does, is nothing to report.
            let _ = match tls {
                None => server.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}
