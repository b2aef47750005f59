//! Where permitted requests go: the servers of a backend, and the way to them.

mod compile;
mod credentials;
mod prefix;
mod server;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub(super) use compile::{ByName, check_routes, compile};
pub use credentials::{Credentials, Secret};
pub use prefix::{Prefix, Rewrite};
pub use server::{Endpoint, Server};

/// A backend.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Its name among those of all files: two files may each have an upstream of one name.
    pub id: Arc<str>,
    /// Its servers, at least one, each once.
    pub servers: Vec<Server>,
    /// How a connection is made.
    pub transport: Arc<Transport>,
    /// The `Host` that it gets.
    pub host: HostHeader,
    /// What is changed in paths.
    pub rewrite: Rewrite,
    /// What the gateway shows it.
    pub credentials: Option<Credentials>,
    /// Which server gets a request.
    pub balance: Balance,
    /// How servers are asked for their health, if they are.
    pub health: Option<HealthCheck>,
    /// When a server that fails is left out.
    pub ejection: Ejection,
    /// How many requests may run and wait.
    pub limits: UpstreamLimits,
    /// When a request is tried again.
    pub retries: Retries,
    /// How long anything may take.
    pub patience: Patience,
}

impl Upstream {
    /// A backend with one way to its servers, and the default of everything else.
    pub fn plain(name: &str, servers: Vec<Server>) -> Self {
        Self {
            name: name.into(),
            id: name.into(),
            servers,
            transport: Arc::default(),
            host: HostHeader::default(),
            rewrite: Rewrite::default(),
            credentials: None,
            balance: Balance::default(),
            health: None,
            ejection: Ejection::default(),
            limits: UpstreamLimits::default(),
            retries: Retries::default(),
            patience: Patience::default(),
        }
    }
}

/// How a connection to a server is made. A connection that was made in one way is never used for another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// What is spoken.
    pub protocol: Protocol,
    /// Certificate authorities (PEM) that https servers must chain to, in place of the public ones.
    pub ca: Option<Arc<[u8]>>,
    /// The gateway's own certificate.
    pub client: Option<ClientIdentity>,
    /// The name that is asked for (SNI) and that the server's certificate must have, in place of the server's host.
    pub server_name: Option<Arc<str>>,
}

/// The version of HTTP that is spoken with a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http1,
    /// HTTP/2 (RFC 9113): over TLS by ALPN, else with prior knowledge.
    Http2,
}

/// The certificate that the gateway shows to servers that ask for one.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The chain, leaf first (PEM).
    pub chain: Box<[u8]>,
    /// The leaf's private key (PEM).
    pub key: Secret,
}

/// The `Host` that a backend gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// The one that was judged.
    #[default]
    Preserve,
    /// The name of the server that is asked.
    Server,
    /// This one.
    Named(HeaderValue),
}

/// Which of several servers gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The better of two random ones, by the requests that run there.
    #[default]
    LeastRequests,
    /// Each in turn.
    RoundRobin,
}

/// How servers are asked for their health.
#[derive(Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for with GET, in origin form.
    pub target: http::Uri,
    /// The `Host` that is sent, in place of the server's own.
    pub host: Option<HeaderValue>,
    /// Statuses that mean health; none named means 200 to 299.
    pub statuses: Vec<u16>,
    /// Between two questions.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many good answers in a row bring a server back.
    pub healthy: u32,
    /// How many failures in a row take a server out.
    pub unhealthy: u32,
}

/// When a server that fails is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// How many failures in a row; 0 means never.
    pub failures: u32,
    /// How long at first; longer each time it happens again.
    pub time: Duration,
    /// The most servers that are left out, in percent of all.
    pub most: u32,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, time: Duration::from_secs(10), most: 50 }
    }
}

/// How many requests of the whole process an upstream may have, and how large the heads of its answers may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Running at once.
    pub requests: usize,
    /// Waiting for one of these to end.
    pub queue: usize,
    /// How long they wait at most.
    pub queue_time: Duration,
    /// The largest head of an answer, in bytes.
    pub head_bytes: usize,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self { requests: 1_024, queue: 256, queue_time: Duration::from_secs(1), head_bytes: 64 * 1024 }
    }
}

/// When a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often at most.
    pub attempts: u32,
    /// The most tries again, in percent of the requests of the last ten seconds.
    pub budget: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, budget: 20 }
    }
}

/// How long anything may take with a backend; `None` means what `gateway.yaml` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// To connect, name resolution and TLS included.
    pub connect: Option<Duration>,
    /// From the request sent to the head of the answer.
    pub response: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub response_body: Option<Duration>,
    /// How long an idle connection is kept.
    pub idle: Option<Duration>,
}
