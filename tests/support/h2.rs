//! A backend that speaks HTTP/2, frame by frame where a test wants it: plain with prior knowledge, over TLS, or behind a
//! socket of this machine. A runtime of its own on a thread of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// One request and the way to answer it.
pub struct Exchange {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The head as it came.
    pub head: http::request::Parts,
    /// The body.
    pub body: RecvStream,
    /// The way back.
    pub respond: SendResponse<Bytes>,
}

impl Exchange {
    /// Sends a head, and nothing behind it.
    pub fn end(&mut self, head: http::response::Builder) {
        self.respond.send_response(head.body(()).unwrap(), true).unwrap();
    }

    /// Sends a head.
    pub fn head(&mut self, head: http::response::Builder) -> SendStream<Bytes> {
        self.respond.send_response(head.body(()).unwrap(), false).unwrap()
    }

    /// Answers 200 with this body.
    pub fn say(&mut self, body: impl Into<Bytes>) {
        self.head(Response::builder().status(200)).send_data(body.into(), true).unwrap();
    }

    /// Reads the body to its end: its bytes and trailers, or the reason of a reset.
    pub async fn read(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), Option<Reason>> {
        let mut all = Vec::new();
        while let Some(piece) = self.body.data().await {
            let piece = piece.map_err(|fault| fault.reason())?;
            self.body.flow_control().release_capacity(piece.len()).unwrap();
            all.extend_from_slice(&piece);
        }
        let trailers = self.body.trailers().await.map_err(|fault| fault.reason())?;
        Ok((all, trailers))
    }
}

/// Sends as much of `length` bytes as the other side takes; the reason of its reset if it sends one.
pub async fn pour(stream: &mut SendStream<Bytes>, length: usize, poured: &AtomicUsize) -> Result<(), Option<Reason>> {
    let block = Bytes::from(vec![b'x'; 16 * 1024]);
    let mut left = length;
    while left > 0 {
        stream.reserve_capacity(left.min(block.len()));
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(room) = room else {
            return Err(std::future::poll_fn(|context| stream.poll_reset(context)).await.ok());
        };
        let room = room.map_err(|fault| fault.reason())?;
        let now = room.min(left).min(block.len());
        stream.send_data(block.slice(..now), left == now).map_err(|fault| fault.reason())?;
        poured.fetch_add(now, Ordering::SeqCst);
        left -= now;
    }
    Ok(())
}

type Script = dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    heads: AtomicUsize,
    /// Streams that run, and the most that ever ran, of each connection.
    running: Mutex<Vec<(usize, usize)>>,
    /// What clients showed in handshakes.
    certificates: Mutex<Vec<Option<Vec<u8>>>>,
}

/// The backend, until it is dropped.
pub struct H2Backend {
    /// Where it listens, unless that is a socket of this machine.
    pub address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    /// 0 runs, each other number sends another GOAWAY to all connections.
    goaway: watch::Sender<usize>,
    end: watch::Sender<bool>,
}

impl H2Backend {
    /// Answers every request with 200 and `hello`.
    pub fn hello() -> Self {
        Self::start(100, |mut exchange| async move {
            let _ = exchange.read().await;
            exchange.say("hello");
        })
    }

    /// Plain, permitting so many streams on a connection.
    pub fn start<F>(streams: u32, script: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at(streams, None, None, script)
    }

    /// Over TLS.
    pub fn tls<F>(config: Arc<ServerConfig>, script: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at(100, Some(config), None, script)
    }

    /// Behind a socket of this machine.
    pub fn unix<F>(path: &Path, script: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at(100, None, Some(path), script)
    }

    fn at<F>(
        streams: u32,
        tls: Option<Arc<ServerConfig>>,
        path: Option<&Path>,
        script: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Arc<Script> = Arc::new(move |exchange| Box::pin(script(exchange)));
        let shared = Arc::new(Shared::default());
        let (goaway, asked) = watch::channel(0);
        let (end, mut ended) = watch::channel(false);
        let unix = path.map(|path| std::os::unix::net::UnixListener::bind(path).unwrap());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let (house, is_tls) = (Arc::clone(&shared), tls.is_some());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tcp.set_nonblocking(true).unwrap();
                let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
                let unix = unix.map(|unix| {
                    unix.set_nonblocking(true).unwrap();
                    tokio::net::UnixListener::from_std(unix).unwrap()
                });
                loop {
                    let (house, script, asked) = (Arc::clone(&house), Arc::clone(&script), asked.clone());
                    let tls = tls.clone();
                    tokio::select! {
                        _ = ended.wait_for(|ended| *ended) => return,
                        accepted = accept(unix.as_ref()) => drop(tokio::spawn(serve(accepted, streams, house, script, asked))),
                        accepted = tcp.accept() => {
                            let stream = accepted.unwrap().0;
                            stream.set_nodelay(true).unwrap();
                            let Some(tls) = tls else {
                                tokio::spawn(serve(stream, streams, house, script, asked));
                                continue;
                            };
                            tokio::spawn(async move {
                                let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                                let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
                                house.certificates.lock().unwrap().push(shown);
                                serve(stream, streams, house, script, asked).await;
                            });
                        }
                    }
                }
            });
        });
        Self { address, tls: is_tls, shared, goaway, end }
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn url(&self) -> String {
        if self.tls { format!("https://localhost:{}", self.address.port()) } else { format!("http://{}", self.address) }
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many request heads came so far.
    pub fn heads(&self) -> usize {
        self.shared.heads.load(Ordering::SeqCst)
    }

    /// How many streams run now.
    pub fn running(&self) -> usize {
        self.shared.running.lock().unwrap().iter().map(|(now, _)| now).sum()
    }

    /// The most streams that ever ran at once, connection by connection.
    pub fn most(&self) -> Vec<usize> {
        self.shared.running.lock().unwrap().iter().map(|(_, most)| *most).collect()
    }

    /// What clients showed in handshakes, in order.
    pub fn certificates(&self) -> Vec<Option<Vec<u8>>> {
        self.shared.certificates.lock().unwrap().clone()
    }

    /// Says on all connections that no new streams are wanted; running ones go on.
    pub fn goaway(&self) {
        self.goaway.send_modify(|asked| *asked += 1);
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}

async fn accept(unix: Option<&tokio::net::UnixListener>) -> tokio::net::UnixStream {
    match unix {
        Some(unix) => unix.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

async fn serve<S>(stream: S, streams: u32, shared: Arc<Shared>, script: Arc<Script>, mut asked: watch::Receiver<usize>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    {
        let mut running = shared.running.lock().unwrap();
        let most = running.len().max(number + 1);
        running.resize(most, (0, 0));
    }
    let Ok(mut connection) = Builder::new().max_concurrent_streams(streams).handshake(stream).await else { return };
    asked.mark_unchanged();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Ok(()) = asked.changed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        shared.heads.fetch_add(1, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        let running = script(Exchange { connection: number, head, body, respond });
        {
            let (now, most) = &mut shared.running.lock().unwrap()[number];
            *now += 1;
            *most = (*most).max(*now);
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            running.await;
            shared.running.lock().unwrap()[number].0 -= 1;
        });
    }
}
