//! Opens connections to upstream servers and begins HTTP on them, each polled by tasks of the same thread.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::dial::{DialFault, Dialer, Stage};
use super::http2::Http2;
use super::pool::{Http1, end_of_age};
use super::{Lease, ServerPool};
use crate::proxy::settings::Timeouts;
use crate::route::upstream::Protocol;
use crate::route::{Server, Upstream};
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
    dialer: Dialer,
}

impl Connector {
    /// A connector that has the patience of `timeouts` where an upstream has none of its own.
    pub(in crate::proxy) fn new(telemetry: Arc<Telemetry>, timeouts: &Timeouts) -> Self {
        Self { telemetry, within: timeouts.connect, dialer: Dialer::of_system() }
    }

    /// Opens a connection to `server`, made as its upstream says; with HTTP/2, this may also be a stream on one that
    /// others have opened in the meantime.
    pub(in crate::proxy) async fn open(
        &self,
        server: &Server,
        upstream: &Upstream,
        pool: &Rc<ServerPool>,
    ) -> Result<Lease, ConnectFault> {
        let within = upstream.patience.connect.unwrap_or(self.within);
        let opened = timeout(within, async {
            match upstream.transport.protocol {
                Protocol::Http1 => self.open_http1(server, upstream, pool, within).await,
                Protocol::Http2 => self.open_http2(server, upstream, pool, within).await,
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
        upstream: &Upstream,
        pool: &Rc<ServerPool>,
        within: Duration,
    ) -> Result<Lease, DialFault> {
        let (stream, _) = self.dialer.dial(server, &upstream.transport, within).await?;
        let made = protocol(upstream).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(DialFault::at(Stage::Answer, ""))?;
        let task = tokio::task::spawn_local(async move {
            if let Err(fault) = connection.with_upgrades().await {
                // Whoever used the connection learns of the fault from its exchange.
                tracing::debug!("upstream connection: {fault}");
            }
        });
        self.telemetry.upstream_opened(&server.name);
        Ok(pool.lease(Http1 { sender, task, until: end_of_age(), alarm: Cell::default() }))
    }

    async fn open_http2(
        &self,
        server: &Server,
        upstream: &Upstream,
        pool: &Rc<ServerPool>,
        within: Duration,
    ) -> Result<Lease, DialFault> {
        loop {
            if let Some(lease) = pool.check_out(Instant::now()) {
                return Ok(lease);
            }
            let Some(_opening) = pool.begin_opening() else {
                pool.wait().await;
                continue;
            };
            let (stream, _) = self.dialer.dial(server, &upstream.transport, within).await?;
            let started =
                Http2::start(stream, upstream.limits.head_bytes, server.tls, end_of_age(), pool.changed()).await;
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

/// How HTTP is spoken with an upstream: the heads of its answers have their bounds.
fn protocol(upstream: &Upstream) -> http1::Builder {
    let head_bytes = upstream.limits.head_bytes;
    let mut http = http1::Builder::new();
    // hyper panics below 8 KiB. The bound also keeps its adaptive read buffer, and so the memory of an exchange, small.
    http.max_buf_size(head_bytes.max(64 * 1024)).max_header_size(head_bytes);
    http
}
