//! An entry of `upstreams` as written: the servers of a backend and the way to them.

use std::time::Duration;

use super::Located;
use crate::diag::Place;

/// One entry of `upstreams`. What is left out has the default given beside the field.
#[derive(Clone, Debug)]
pub struct UpstreamDocument {
    /// The name that applications use.
    pub name: Located<String>,
    /// `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/PATH`; at least one.
    pub servers: Vec<Located<String>>,
    /// The version of HTTP that is spoken. Default: HTTP/1.1.
    pub protocol: ProtocolDocument,
    /// Certificate authorities and the gateway's own certificate.
    pub tls: UpstreamTlsDocument,
    /// The `Host` that the backend gets: `preserve` (default: the client's), `server`, or a name.
    pub host: Option<Located<String>>,
    /// What is changed in paths.
    pub path: PathDocument,
    /// What the gateway shows the backend. Default: nothing.
    pub credentials: Option<CredentialsDocument>,
    /// Which of several servers gets a request. Default: the one with the fewest requests.
    pub balance: BalanceDocument,
    /// How servers are asked for their health. Default: they are not asked.
    pub health: Option<HealthDocument>,
    /// When a server that fails is left out.
    pub ejection: EjectionDocument,
    /// How many requests may run and wait.
    pub limits: UpstreamLimitsDocument,
    /// When a request is tried again.
    pub retries: RetriesDocument,
    /// How long anything may take, in place of `timeouts` of `gateway.yaml`.
    pub timeouts: UpstreamTimeoutsDocument,
}

/// `protocol` of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolDocument {
    /// `http1`: HTTP/1.1.
    #[default]
    Http1,
    /// `http2`: HTTP/2, over TLS by ALPN, else with prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// `tls` of an upstream, and its short form `ca`. All are PEM files, relative to this file.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTlsDocument {
    /// The authorities that https servers must chain to, in place of the public ones.
    pub ca: Option<Located<String>>,
    /// The gateway's certificate chain, leaf first, for servers that ask for one.
    pub client_certificate: Option<Located<String>>,
    /// Its private key (PKCS#8, PKCS#1 or SEC1).
    pub client_key: Option<Located<String>>,
    /// The name that is asked for (SNI) and that the servers' certificate must have, in place of each server's host.
    pub server_name: Option<Located<String>>,
}

/// `path` of an upstream: both are a prefix of whole segments.
#[derive(Clone, Debug, Default)]
pub struct PathDocument {
    /// Taken off; every route of the upstream's applications must begin with it.
    pub strip: Option<Located<String>>,
    /// Put in front of what is left.
    pub add: Option<Located<String>>,
}

/// `credentials` of an upstream: exactly one of `basic`, `header`, `query`.
#[derive(Clone, Debug)]
pub struct CredentialsDocument {
    /// Where it stands.
    pub place: Place,
    /// How they are shown.
    pub kind: CredentialsKind,
    /// The file with the secret, relative to this file.
    pub from_file: Located<String>,
}

/// How credentials are shown to a backend.
#[derive(Clone, Debug)]
pub enum CredentialsKind {
    /// `basic: USER`: HTTP Basic (RFC 7617); the file holds the password.
    Basic(Located<String>),
    /// `header: NAME`: a header of this name; the file holds its value.
    Header(Located<String>),
    /// `query: NAME`: a query parameter of this name; the file holds its value.
    Query(Located<String>),
}

/// `balance` of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalanceDocument {
    /// `least_requests`: the better of two random servers, by the requests that run there.
    #[default]
    LeastRequests,
    /// `round_robin`: each in turn.
    RoundRobin,
}

/// `health` of an upstream.
#[derive(Clone, Debug)]
pub struct HealthDocument {
    /// What is asked for with GET.
    pub path: Located<String>,
    /// The `Host` that is sent. Default: the server's own.
    pub host: Option<Located<String>>,
    /// Statuses that mean health. Default: 200 to 299.
    pub status: Vec<Located<i64>>,
    /// Between two questions. Default: 10 s.
    pub interval: Duration,
    /// How long an answer may take. Default: 2 s.
    pub timeout: Duration,
    /// How many good answers in a row bring a server back. Default: 2.
    pub healthy: u32,
    /// How many failures in a row take a server out. Default: 3.
    pub unhealthy: u32,
}

/// `ejection` of an upstream.
#[derive(Clone, Debug)]
pub struct EjectionDocument {
    /// How many failures in a row leave a server out; 0 for never. Default: 5.
    pub failures: u32,
    /// How long at first; longer each time it happens again. Default: 10 s.
    pub time: Duration,
    /// The most servers that are left out, in percent of all. Default: 50.
    pub most: u32,
}

/// `limits` of an upstream; those of requests are each for the whole process.
#[derive(Clone, Debug)]
pub struct UpstreamLimitsDocument {
    /// Requests that run at once. Default: 1,024.
    pub requests: usize,
    /// Requests that wait for one of these to end. Default: 256.
    pub queue: usize,
    /// How long they wait at most. Default: 1 s.
    pub queue_time: Duration,
    /// The largest head of an answer, in bytes. Default: 64 KiB.
    pub head_bytes: usize,
}

/// `retries` of an upstream.
#[derive(Clone, Debug)]
pub struct RetriesDocument {
    /// How often a request is tried again at most, where that is safe. Default: 2.
    pub attempts: u32,
    /// The most tries again, in percent of the requests of the last ten seconds. Default: 20.
    pub budget: u32,
}

/// `timeouts` of an upstream; those left out are the ones of `gateway.yaml`.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTimeoutsDocument {
    /// To connect, name resolution and TLS included.
    pub connect: Option<Duration>,
    /// From the request sent to the response head.
    pub response: Option<Duration>,
    /// Between two pieces of a response body.
    pub response_body: Option<Duration>,
    /// How long an idle connection is kept.
    pub idle: Option<Duration>,
}
