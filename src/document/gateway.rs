//! `gateway.yaml` as written: how the process runs. A change needs a restart.

use std::time::Duration;

use super::Located;
use super::database::DatabaseDocument;
use super::shadow::ShadowDocument;
use crate::diag::Place;

/// The whole file. What is left out has the default given beside the field.
#[derive(Clone, Debug)]
pub struct GatewayDocument {
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerDocument>,
    /// The second listener, for operators. Default: none.
    pub admin: Option<AdminDocument>,
    /// Files or directories of route maps, relative to this file; at least one.
    pub routes: Vec<Located<String>>,
    /// Files or directories of grants, relative to this file; at least one.
    pub grants: Vec<Located<String>>,
    /// Databases that feed domains; entries of `grants` as well.
    pub databases: Vec<DatabaseDocument>,
    /// Where it stands whose tokens are not believed any more. Default: nowhere.
    pub revoked: RevokedFilesDocument,
    /// How reloads are made.
    pub reload: ReloadDocument,
    /// Which candidates may be judged beside the live policy.
    pub shadow: ShadowDocument,
    /// Entra tenants whose tokens are verified.
    pub tenants: Vec<TenantDocument>,
    /// Other OIDC issuers whose tokens are verified.
    pub issuers: Vec<IssuerDocument>,
    /// How tokens are checked.
    pub tokens: TokensDocument,
    /// Networks (CIDR or single addresses) whose `X-Forwarded-*` and `X-Request-Id` are believed. Default: none.
    pub trusted_proxies: Vec<Located<String>>,
    /// Bounds on what one client or the whole process may use.
    pub limits: LimitsDocument,
    /// How long anything may take.
    pub timeouts: TimeoutsDocument,
    /// How often anybody may ask. Default: as often as they like.
    pub rates: RatesDocument,
    /// What is logged.
    pub log: LogDocument,
    /// What depends on the log.
    pub audit: AuditDocument,
    /// Where spans go. Default: nothing is traced.
    pub traces: Option<TracesDocument>,
}

/// One entry of `listeners`.
#[derive(Clone, Debug)]
pub struct ListenerDocument {
    /// Where the entry stands.
    pub place: Place,
    /// `ADDRESS:PORT`.
    pub address: Located<String>,
    /// Certificate and key; without it the listener speaks plain HTTP.
    pub tls: Option<TlsDocument>,
    /// Plain HTTP on an address other than loopback must be asked for. Default: false.
    pub insecure_plaintext: bool,
    /// Whether each connection must begin with a header of the PROXY protocol. Default: false.
    pub proxy_protocol: Located<bool>,
    /// What answers tell browsers about HTTPS. Default: nothing.
    pub hsts: Option<HstsDocument>,
    /// The port of HTTPS to which all requests are sent; nothing else is answered then. Default: none.
    pub redirect_to_https: Option<Located<u16>>,
}

/// `tls` of a listener. All files are PEM, relative to this file, watched while the process runs.
#[derive(Clone, Debug)]
pub struct TlsDocument {
    /// The certificate that is shown where no other fits.
    pub pair: PairDocument,
    /// Further ones, chosen by SNI. Default: none.
    pub certificates: Vec<PairDocument>,
    /// The oldest version that is spoken. Default: 1.2.
    pub min_version: MinVersionDocument,
    /// What clients have to show. Default: nothing.
    pub clients: Option<ClientsDocument>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct PairDocument {
    /// Certificate chain, leaf first.
    pub certificate: Located<String>,
    /// Private key of the leaf (PKCS#8, PKCS#1 or SEC1).
    pub key: Located<String>,
}

/// `min_version` of `tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersionDocument {
    /// `1.2`
    #[default]
    Tls12,
    /// `1.3`
    Tls13,
}

/// `client_ca`, `client_certificate` and `client_crl` of `tls`.
#[derive(Clone, Debug)]
pub struct ClientsDocument {
    /// Certificates of the authorities.
    pub ca: Located<String>,
    /// Revocation lists of these authorities.
    pub crl: Option<Located<String>>,
    /// Whether a client without a certificate is refused. Default: true.
    pub required: bool,
}

/// `hsts` of a listener (RFC 6797).
#[derive(Clone, Debug)]
pub struct HstsDocument {
    /// Where it stands.
    pub place: Place,
    /// How long browsers remember it.
    pub max_age: Duration,
    /// Whether it holds for the hosts below as well. Default: false.
    pub include_subdomains: bool,
    /// Whether browsers' makers may build it in. Default: false.
    pub preload: bool,
}

/// `admin`.
#[derive(Clone, Debug)]
pub struct AdminDocument {
    /// `ADDRESS:PORT`.
    pub address: Located<String>,
    /// File with the bearer token that mutating calls need, relative to this file. Without it they are refused.
    pub token_file: Option<Located<String>>,
    /// Whether an upstream without any fit server makes the process unready. Default: false.
    pub ready_needs_upstreams: bool,
    /// Certificates of the listener; without them it speaks plain HTTP. Those of operators are never required.
    pub tls: Option<TlsDocument>,
    /// Names of the certificates that count like the token. Default: all of `tls.client_ca`.
    pub operators: Vec<Located<String>>,
}

/// `reload`.
#[derive(Clone, Debug)]
pub struct ReloadDocument {
    /// How much may change unasked.
    pub gate: GateDocument,
    /// How many published policies besides the live one can be gone back to. Default: 10.
    pub history: usize,
    /// The directory in which the last good documents are kept, relative to this file; without it none are.
    pub last_good: Option<Located<String>>,
}

/// `gate`: what holds a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateDocument {
    /// The share of principals, in percent, of which more may not gain access. Default: 20. `None`: off.
    pub gain: Option<u8>,
    /// The same for losses.
    pub lose: Option<u8>,
    /// How many principals never count as too many. Default: 10.
    pub few: usize,
    /// Whether routes that become public hold it. Default: true.
    pub public_routes: bool,
    /// Whether applications that are gone hold it. Default: true.
    pub applications_gone: bool,
}

/// `revoked`. Both are relative to this file.
#[derive(Clone, Debug, Default)]
pub struct RevokedFilesDocument {
    /// Files of revocations, watched while the process runs.
    pub files: Vec<Located<String>>,
    /// The file in which the gateway keeps what is revoked by calls to the admin listener; without it such calls are
    /// refused. It need not exist.
    pub store: Option<Located<String>>,
}

/// One entry of `tenants`: an Entra tenant, which expands to its v1 and v2 issuers.
#[derive(Clone, Debug)]
pub struct TenantDocument {
    /// Where the entry stands.
    pub place: Place,
    /// The name that gates, principals and logs use.
    pub name: Located<String>,
    /// The tenant id, a GUID.
    pub id: Located<String>,
    /// `global` (default), `usgov` or `china`; `germany` is closed.
    pub cloud: Option<Located<String>>,
    /// Base URL of the sign-in service in place of the cloud's own; discovery and both issuers then derive from it
    /// (v1 `AUTHORITY/ID/`, v2 `AUTHORITY/ID/v2.0`).
    pub authority: Option<Located<String>>,
    /// The exact v1 issuer in place of the one that the cloud or the authority implies: `BASE/ID/`.
    pub v1_issuer: Option<Located<String>>,
    /// A JWKS file in place of discovery, relative to this file.
    pub keys: Option<Located<String>>,
    /// A PEM file with the certificate authorities that discovery trusts in place of the public ones.
    pub ca: Option<Located<String>>,
    /// Applications that sign with keys of their own. Default: none.
    pub app_keys: Vec<AppKeysDocument>,
}

/// One entry of `app_keys`: an application for which Entra signs with keys that its owner brought (claims mapping,
/// SAML).
#[derive(Clone, Debug)]
pub struct AppKeysDocument {
    /// Where the entry stands.
    pub place: Place,
    /// The client id of the application, a GUID.
    pub appid: Located<String>,
    /// Its further audiences beside the client id and `api://CLIENT-ID`: its App ID URIs.
    pub audiences: Vec<Located<String>>,
}

/// One entry of `issuers`: any other OIDC issuer.
#[derive(Clone, Debug)]
pub struct IssuerDocument {
    /// Where the entry stands.
    pub place: Place,
    /// The name that gates, principals and logs use; one namespace with the tenants.
    pub name: Located<String>,
    /// The exact `iss`.
    pub issuer: Located<String>,
    /// A JWKS file, relative to this file, or the URL of one. Default: OpenID Connect Discovery.
    pub jwks: Option<Located<String>>,
    /// Audiences one of which each token must carry. Default: the gates alone decide.
    pub audiences: Vec<Located<String>>,
    /// The claim that names the caller. Default: `sub`.
    pub subject: Option<Located<String>>,
    /// The claim with the client. Default: `client_id`, `azp` or `cid`, whichever is there.
    pub client: Option<Located<String>>,
    /// The claim with the roles; dots lead into objects. Default: `roles`.
    pub roles: Option<Located<String>>,
    /// The claim with the groups; dots lead into objects. Default: `groups`.
    pub groups: Option<Located<String>>,
    /// The claim with a name for display. Default: `preferred_username`.
    pub username: Option<Located<String>>,
    /// A PEM file with the certificate authorities that fetches trust in place of the public ones.
    pub ca: Option<Located<String>>,
}

/// `tokens`.
#[derive(Clone, Debug)]
pub struct TokensDocument {
    /// How far clocks may differ, 0 s to 300 s. Default: 60 s.
    pub leeway: Located<Duration>,
    /// The longest time between `nbf` (or `iat`) and `exp` that is believed. Default: 28 h.
    pub max_lifetime: Located<Duration>,
    /// Signature algorithms that are accepted. Default: RS256 and ES256.
    pub algorithms: Vec<Located<String>>,
    /// How many verified tokens are remembered. Default: 100,000.
    pub cache_entries: u64,
    /// How many bytes remembered tokens may take, with what they say. Default: 256 MiB.
    pub cache_bytes: u64,
    /// Between two fetches of keys in the background, 10 s to 24 h. Default: 1 h.
    pub refresh: Located<Duration>,
    /// Between two fetches of an issuer's keys because a token names one that is not known, 1 s to 1 h. Default: 5 min.
    pub cooldown: Located<Duration>,
    /// How long keys are believed that cannot be fetched again, 1 min to 7 days and at least twice `refresh`.
    /// Default: 24 h.
    pub keep: Located<Duration>,
}

/// `limits`.
#[derive(Clone, Debug)]
pub struct LimitsDocument {
    /// Most connections at once, all listeners together. Default: 16,384.
    pub connections: usize,
    /// Most connections at once from one address (IPv6: one /64). Default: 1,024.
    pub connections_per_client: usize,
    /// Most requests in flight at once; more are answered 503. Default: 8,192.
    pub requests: usize,
    /// Largest request head in bytes (request line and headers). Default: 64 KiB, at least 16 KiB.
    pub head_bytes: usize,
    /// Longest path and query together in bytes; more are answered 414. Default: 16 KiB, at most 60 KiB.
    pub target_bytes: usize,
    /// Most header lines in a request. Default: 100.
    pub headers: usize,
    /// Largest form in bytes that is read to judge its request. Default: 64 KiB.
    pub form_bytes: usize,
    /// Most streams that one HTTP/2 connection may have open. Default: 128.
    pub streams: u32,
    /// Most tokens of one address (IPv6: one /64) in a second that turn out to be bad; 0 is no bound. Default: 100.
    pub failed_tokens_per_client: u32,
    /// Most idle connections kept for each upstream server by each worker thread. Default: 128.
    pub upstream_idle: usize,
}

/// `timeouts`.
#[derive(Clone, Debug)]
pub struct TimeoutsDocument {
    /// From accept to the end of the TLS handshake. Default: 10 s.
    pub handshake: Duration,
    /// From a connection's beginning, or the first byte of a later request, to the whole request head. Default: 30 s.
    pub client_head: Duration,
    /// How long a client's connection may idle between requests. Default: 60 s.
    pub client_idle: Duration,
    /// Between two pieces of a request body, and for the whole of a form that is read to judge its request.
    /// Default: 30 s.
    pub client_body: Duration,
    /// The whole of a request, its answer included; zero is no bound. Default: 1 h.
    pub request: Duration,
    /// To connect to an upstream server, name resolution and TLS included. Default: 5 s.
    pub connect: Duration,
    /// From the request sent to the response head. Default: 60 s.
    pub response: Duration,
    /// Between two pieces of a response body. Default: 60 s.
    pub response_body: Duration,
    /// How long an idle upstream connection is kept. Default: 30 s.
    pub upstream_idle: Duration,
    /// How long a tunnel may be silent in both directions. Default: 1 h.
    pub tunnel_idle: Duration,
    /// How long a drain waits for running requests. Default: 30 s.
    pub drain: Duration,
}

/// `rates`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RatesDocument {
    /// Of one address (IPv6: one /64), whatever it asks for. Default: no bound.
    pub per_client: Option<RateDocument>,
    /// Of one principal's permitted requests. Default: no bound.
    pub per_principal: Option<RateDocument>,
}

/// One entry of `rates`.
#[derive(Clone, Copy, Debug)]
pub struct RateDocument {
    /// How many requests, 1 to a million.
    pub requests: u32,
    /// In how long. Default: 1 s.
    pub per: Duration,
    /// How many may come at once. Default: as many as `requests`.
    pub burst: u32,
}

/// `log`.
#[derive(Clone, Debug)]
pub struct LogDocument {
    /// Whether each decision is logged as a JSON line. Default: true.
    pub decisions: bool,
    /// Lowest level of the process log on standard error: `error`, `warn`, `info` (default) or `debug`.
    pub level: Located<String>,
    /// Where the decisions go. Default: `stdout`.
    pub to: LogTargetDocument,
}

/// `log.to`.
#[derive(Clone, Debug)]
pub enum LogTargetDocument {
    /// `stdout`.
    Stdout,
    /// `{file: ...}`.
    File {
        /// The file.
        path: Located<String>,
        /// When it is rotated. Default: by others.
        rotate: Option<RotateDocument>,
    },
    /// `{syslog: ...}`.
    Syslog {
        /// The socket of the daemon.
        socket: Located<String>,
        /// The number of the facility. Default: that of `local0`.
        facility: u8,
    },
}

/// `log.to.rotate`.
#[derive(Clone, Copy, Debug)]
pub struct RotateDocument {
    /// The most bytes of a file, 1 MiB to 1 TiB. Default: 100 MiB.
    pub size: u64,
    /// How many old files are kept. Default: 5.
    pub keep: u32,
}

/// `audit`.
#[derive(Clone, Debug)]
pub struct AuditDocument {
    /// Whether a request is refused whose decision cannot be logged. Default: false.
    pub required: Located<bool>,
}

/// `traces`. Files are relative to this file.
#[derive(Clone, Debug)]
pub struct TracesDocument {
    /// The URL that spans are sent to by OTLP over HTTP.
    pub endpoint: Located<String>,
    /// The share of requests that are traced, in millionths. Default: 1%.
    pub sample: u32,
    /// `service.name`. Default: `portcullis`.
    pub service: Option<Located<String>>,
    /// A PEM file with the certificate authorities that are trusted in place of the public ones.
    pub ca: Option<Located<String>>,
    /// A file with the value of the header `Authorization`.
    pub authorization_file: Option<Located<String>>,
}
