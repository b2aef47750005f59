//! Opens connections to upstream servers and begins HTTP on them, each polled by tasks of the same thread.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::dial::{DialFault, Dialer, Stage};
use super::http2::Http2;
use super::pool::{Http1, end_of_age};
use super::{Lease, ServerPool};
use crate::proxy::settings::Timeouts;
use crate::route::Server;
use crate::route::upstream::{Protocol, Transport};
use crate::telemetry::Telemetry;

/// Why a server could not be connected to.
#[derive(Debug)]
pub(in crate::proxy) enum ConnectFault {
    /// It took too long.
    TimedOut,
    /// The name, the connection, the TLS handshake or the beginning of HTTP/2 failed.
    Failed(DialFault),
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => out.write_str("connecting took too long"),
            Self::Failed(fault) => fault.fmt(out),
        }
    }
}

/// Opens connections for one worker thread.
pub(in crate::proxy) struct Connector {
    telemetry: Arc<Telemetry>,
    within: Duration,
    head_bytes: usize,
    http1: http1::Builder,
    dialer: Dialer,
}

impl Connector {
    /// A connector that takes response heads of up to `head_bytes`.
    pub(in crate::proxy) fn new(telemetry: Arc<Telemetry>, timeouts: &Timeouts, head_bytes: usize) -> Self {
        let mut http1 = http1::Builder::new();
        // hyper panics below 8 KiB. The bound also keeps its adaptive read buffer, and so the memory of an exchange, small.
        http1.max_buf_size(head_bytes.max(64 * 1024));
        Self { telemetry, within: timeouts.connect, head_bytes, http1, dialer: Dialer::of_system() }
    }

    /// Opens a connection to `server`, made as `transport` says; with HTTP/2, this may also be a stream on one that others
    /// have opened in the meantime.
    pub(in crate::proxy) async fn open(
        &self,
        server: &Server,
        transport: &Arc<Transport>,
        pool: &Rc<ServerPool>,
    ) -> Result<Lease, ConnectFault> {
        let opened = timeout(self.within, async {
            match transport.protocol {
                Protocol::Http1 => self.open_http1(server, transport, pool).await,
                Protocol::Http2 => self.open_http2(server, transport, pool).await,
            }
        });
        let fault = match opened.await {
            Ok(Ok(lease)) => return Ok(lease),
            Ok(Err(fault)) => ConnectFault::Failed(fault),
            Err(_) => ConnectFault::TimedOut,
        };
        self.telemetry.upstream_failed(&server.name);
        Err(fault)
    }

    async fn open_http1(
        &self,
        server: &Server,
        transport: &Arc<Transport>,
        pool: &Rc<ServerPool>,
    ) -> Result<Lease, DialFault> {
        let (stream, _) = self.dialer.dial(server, transport, self.within).await?;
        let made = self.http1.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(DialFault::at(Stage::Answer, ""))?;
        let task = tokio::task::spawn_local(async move {
            if let Err(fault) = connection.await {
                // Whoever used the connection learns of the fault from its exchange.
                tracing::debug!("upstream connection: {fault}");
            }
        });
        self.telemetry.upstream_opened(&server.name);
        Ok(pool.lease(Http1 { sender, task, until: end_of_age() }))
    }

    async fn open_http2(
        &self,
        server: &Server,
        transport: &Arc<Transport>,
        pool: &Rc<ServerPool>,
    ) -> Result<Lease, DialFault> {
        loop {
            if let Some(lease) = pool.check_out() {
                return Ok(lease);
            }
            let Some(_opening) = pool.begin_opening() else {
                pool.wait().await;
                continue;
            };
            let (stream, _) = self.dialer.dial(server, transport, self.within).await?;
            let started = Http2::start(stream, self.head_bytes, server.tls, end_of_age(), pool.changed()).await;
            let connection = started.map_err(DialFault::at(Stage::Answer, ""))?;
            self.telemetry.upstream_opened(&server.name);
            return Ok(pool.share(connection));
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector").field("within", &self.within).finish_non_exhaustive()
    }
}
