//! Connections to the backend, kept for the next request.

use std::cell::RefCell;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// All of them.
pub struct Pool {
    backend: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    /// None yet.
    pub fn to(backend: SocketAddr) -> Self {
        Self { backend, idle: RefCell::default() }
    }

    /// One that is ready.
    pub async fn take(&self) -> Result<SendRequest<Incoming>, Fault> {
        loop {
            let Some(mut kept) = self.idle.borrow_mut().pop() else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = TcpStream::connect(self.backend).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    /// Keeps one until the next request.
    pub fn give(&self, sender: SendRequest<Incoming>) {
        self.idle.borrow_mut().push(sender);
    }
}
