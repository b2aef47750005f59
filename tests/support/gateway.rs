//! A whole gateway in front of a backend: the library's own entry in this process, or the real binary beside it, on a
//! folder made for the test and on ports that the system chooses.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis::config;
use portcullis::diag::Report;
use portcullis::serve::{self, Ended, Options, StartError};
use portcullis::token::IssuerKind;
use portcullis::token::mint::{DevelopmentKey, UserToken};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::backend::{Backend, SOON, until};
use crate::wire::{Answer, Client, trusting};

/// The key that signs all tokens: making one takes a while.
pub static KEY: LazyLock<DevelopmentKey> = LazyLock::new(|| DevelopmentKey::generate().unwrap());
/// The tenant that may come in.
pub const HOME: &str = "11111111-1111-1111-1111-111111111111";
/// A tenant that is known, but may not come in.
pub const AWAY: &str = "22222222-2222-2222-2222-222222222222";
/// The token of mutating calls to the admin listener.
pub const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

const ROUTES: &str = "version: 1
upstreams:
  app: {servers: [SERVERS]}
applications:
  - name: app
    hosts: [app.test]
    domain: app
    upstream: app
    gate: {tenants: [home], audiences: [\"api://app\"], app_roles: [Access]}
    routes:
      - {id: health, match: {methods: [GET, POST], path: /health}, public: true}
      - {id: lobby, match: {methods: [GET], path: /lobby}, gate_only: true}
      - {id: thing, match: {methods: [GET, POST, PUT, PATCH, DELETE, OPTIONS], path: \"/things/{thing...}\"}, require: [\"things:by_method\"]}
      - {id: secret, match: {methods: [GET], path: \"/secrets/{name}\"}, require: [secrets]}
      - {id: staff, match: {methods: [GET], path: /staff}, require: [{flag: staff}]}
      - {id: guests, match: {methods: [GET], path: /guests}, require: [{not_flag: member}]}
      - {id: place, match: {methods: [GET, PUT], path: \"/places/{place}\"}, scopes: {main: {from: [path.place, header.X-Place], kind: place}}, require: [\"places:by_method\"]}
      - {id: find, match: {methods: [GET], path: /find}, scopes: {main: {from: query.place, kind: place}}, require: [places]}
      - {id: kind, match: {methods: [GET], path: \"/kinds/{kind}\"}, require: [{in: [path.kind, [a, b]], reason: value_not_allowed}]}
";
const GRANTS: &str = "version: 1
domain: app
strategy: {rights: tree, within: union, across: deny_overrides, boundary: false, caps: {}}
rights: [things, secrets, places]
scopes: {forest: {\"place:north\": root, \"place:south\": root, \"place:west\": root, \"place:east\": root}}
principals:
  - {id: olga, tenant: home, oid: 00000000-0000-0000-0000-000000000001, flags: [member], grants: [things, places @place:north, places:read @place:west, places:deny @place:south]}
  - {id: vera, tenant: home, oid: 00000000-0000-0000-0000-000000000002, grants: [things:read]}
  - {id: nils, tenant: home, oid: 00000000-0000-0000-0000-000000000003}
  - {id: ina, tenant: home, oid: 00000000-0000-0000-0000-000000000004, status: inactive, grants: [things]}
";

/// The route map of [`Setup`] with its servers (URLs).
pub fn routes(servers: &[String]) -> String {
    let servers: Vec<String> = servers.iter().map(|url| format!("\"{url}\"")).collect();
    ROUTES.replace("SERVERS", &servers.join(", "))
}

/// Now, in Unix seconds.
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tests begin where time enters")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An access token that is not yet signed; the fields are those that tests vary.
pub struct Pass<'a> {
    /// `tid`, and the issuer.
    pub tenant: &'a str,
    /// The last digit of `oid`.
    pub person: u8,
    /// `aud`.
    pub audience: &'a str,
    /// `roles`.
    pub roles: &'a [&'a str],
    /// When it was issued; it lives for an hour.
    pub issued: u64,
    /// Where issuers begin.
    pub authority: &'a str,
}

impl Default for Pass<'_> {
    fn default() -> Self {
        let authority = "https://login.microsoftonline.com";
        Self { tenant: HOME, person: 1, audience: "api://app", roles: &["Access"], issued: now() - 5, authority }
    }
}

impl Pass<'_> {
    /// The signed token.
    pub fn token(&self) -> String {
        let token = UserToken {
            tenant_id: self.tenant.parse().unwrap(),
            object_id: format!("00000000-0000-0000-0000-00000000000{}", self.person).parse().unwrap(),
            issuer: &format!("{}/{}/v2.0", self.authority, self.tenant),
            kind: IssuerKind::EntraV2,
            audience: self.audience,
            roles: self.roles,
            username: "someone@example.org",
            now: self.issued,
            lifetime: 3600,
        };
        KEY.mint(&token.claims()).unwrap()
    }
}

/// The token of a principal.
pub fn token(who: &str) -> String {
    let person = ["", "olga", "vera", "nils", "ina", "nobody"].iter().position(|known| *known == who).unwrap();
    Pass { person: u8::try_from(person).unwrap(), ..Pass::default() }.token()
}

/// What a gateway starts with.
pub struct Setup {
    /// routes.yaml.
    pub routes: String,
    /// grants.yaml.
    pub grants: String,
    /// Further entries of `grants` of gateway.yaml, beside grants.yaml, as flow maps.
    pub databases: Vec<String>,
    /// `tenants` of gateway.yaml, as flow entries of a list.
    pub tenants: String,
    /// `timeouts`, as the inside of a flow map.
    pub timeouts: String,
    /// `limits`, likewise.
    pub limits: String,
    /// Further keys of the listener with TLS, beside `tls`, as the inside of a flow map.
    pub tls_listener: String,
    /// Further keys of its `tls`, likewise.
    pub tls: String,
    /// Further listeners, as flow maps.
    pub listeners: Vec<&'static str>,
    /// Further lines of gateway.yaml.
    pub more: String,
    /// Further files beside it, by name.
    pub files: Vec<(&'static str, String)>,
    /// How many threads serve clients.
    pub workers: usize,
    /// Whether decisions are logged.
    pub decisions: bool,
    /// Further keys of `log`, as the inside of a flow map.
    pub log: String,
    /// Further keys of `admin`, likewise.
    pub admin: String,
    /// How long the process may take between two lines that it writes at its start.
    pub patience: Duration,
}

impl Setup {
    /// A gateway before one backend.
    pub fn before(backend: &Backend) -> Self {
        Self::to(&[backend.url()])
    }

    /// A gateway before an upstream of these servers.
    pub fn to(servers: &[String]) -> Self {
        Self {
            routes: routes(servers),
            grants: GRANTS.to_owned(),
            databases: Vec::new(),
            tenants: format!(
                "{{name: home, id: {HOME}, keys: dev.jwks.json}}, {{name: away, id: {AWAY}, keys: dev.jwks.json}}"
            ),
            timeouts: "drain: 1s".to_owned(),
            limits: String::new(),
            tls_listener: String::new(),
            tls: String::new(),
            listeners: Vec::new(),
            more: String::new(),
            files: Vec::new(),
            workers: 2,
            decisions: false,
            log: String::new(),
            admin: String::new(),
            patience: SOON,
        }
    }

    /// With further keys of its upstream, as the inside of a flow map.
    pub fn upstream(mut self, keys: &str) -> Self {
        self.routes = self.routes.replacen("]}\n", &format!("], {keys}}}\n"), 1);
        self
    }

    /// With these timeouts, beside a short drain.
    pub fn timeouts(self, timeouts: &str) -> Self {
        Self { timeouts: format!("drain: 1s, {timeouts}"), ..self }
    }

    /// Writes the configuration into a folder of its own.
    pub fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let Self { tenants, timeouts, limits, tls_listener, tls, more, decisions, log, admin, .. } = self;
        let listeners: String = self.listeners.iter().map(|entry| format!("  - {entry}\n")).collect();
        let databases: String = self.databases.iter().map(|entry| format!(", {entry}")).collect();
        let gateway = format!(
            "version: 1\nlisteners:\n  - {{address: \"127.0.0.1:0\"}}\n  \
             - {{address: \"127.0.0.1:0\", tls: {{certificate: tls.crt, key: tls.key, {tls}}}, {tls_listener}}}\n{listeners}\
             admin: {{address: \"127.0.0.1:0\", token_file: admin.token, {admin}}}\n\
             routes: [routes.yaml]\ngrants: [grants.yaml{databases}]\ntenants: [{tenants}]\ntimeouts: {{{timeouts}}}\n\
             limits: {{{limits}}}\nlog: {{decisions: {decisions}, {log}}}\n{more}"
        );
        let (certificate, key) = certificate();
        for (name, text) in [
            ("gateway.yaml", gateway.as_str()),
            ("routes.yaml", &self.routes),
            ("grants.yaml", &self.grants),
            ("dev.jwks.json", &KEY.jwks()),
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("admin.token", ADMIN_TOKEN),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// Starts the library's own entry in this process.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where what the documents say may keep it from starting.
    pub fn try_start(self) -> Result<Gateway, StartError> {
        let folder = self.write();
        let running = start_on(folder.path(), self.workers)?;
        let addresses = running.addresses();
        let admin = running.admin_address().unwrap();
        let door = Door { plain: addresses[0], tls: addresses[1], more: addresses[2..].to_vec(), admin, folder };
        Ok(Gateway { door, running: Some(running), workers: self.workers })
    }

    /// Starts the real binary.
    pub fn spawn(self) -> Process {
        let folder = self.write();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", "gateway.yaml", "--workers", &self.workers.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let decisions = Mutex::new(lines(child.stdout.take().unwrap()));
        let output = lines(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let mut addresses = Vec::new();
        while addresses.len() < 3 + self.listeners.len() {
            let line =
                output.recv_timeout(self.patience).unwrap_or_else(|_| panic!("no start:\n{}", log.lock().unwrap()));
            if let Some((_, address)) = line.strip_prefix("portcullis: ").and_then(|rest| rest.split_once(" on ")) {
                let address = address.trim().trim_start_matches("http://").trim_start_matches("https://");
                addresses.push(address.parse().unwrap());
            }
            log.lock().unwrap().push_str(&format!("{line}\n"));
        }
        let shared = Arc::clone(&log);
        thread::spawn(move || output.iter().for_each(|line| shared.lock().unwrap().push_str(&format!("{line}\n"))));
        let admin = addresses.pop().unwrap();
        let door = Door { plain: addresses[0], tls: addresses[1], more: addresses[2..].to_vec(), admin, folder };
        Process { door, child, decisions, log }
    }
}

fn start_on(folder: &Path, workers: usize) -> Result<serve::Running, StartError> {
    let mut report = Report::new();
    let config = config::load(&folder.join("gateway.yaml"), &mut report);
    let config = config.unwrap_or_else(|| panic!("{}", report.render()));
    serve::start(config, Options { workers: Some(workers) })
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A new certificate for `app.test` and its key, PEM.
pub fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["app.test".into(), "localhost".into()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Where a gateway is to be found.
pub struct Door {
    /// The listener without TLS.
    pub plain: SocketAddr,
    /// The listener with TLS.
    pub tls: SocketAddr,
    /// Those of [`Setup::listeners`].
    pub more: Vec<SocketAddr>,
    /// The operators' listener.
    pub admin: SocketAddr,
    folder: TempDir,
}

impl Door {
    /// A file of the configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate, PEM.
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.file("tls.crt")).unwrap()
    }

    /// What a client needs to trust the gateway and to speak HTTP/1.1.
    pub fn trust(&self) -> Arc<ClientConfig> {
        trusting(&self.certificate(), rustls::ALL_VERSIONS, &["http/1.1"])
    }

    /// A new connection without TLS.
    pub fn connect(&self) -> Client {
        Client::plain(self.plain)
    }

    /// Sends one request on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().ask(request)
    }

    /// Asks the operators' listener.
    pub fn admin(&self, method: &str, path: &str, lines: &str) -> Answer {
        Client::plain(self.admin).ask(format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n{lines}\r\n"))
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.admin("GET", "/metrics", "").text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    /// The serial of the policy in use.
    pub fn serial(&self) -> u64 {
        self.admin("GET", "/status", "").json()["serial"].as_u64().unwrap()
    }

    /// Replaces a file of the configuration by rename.
    pub fn replace(&self, name: &str, text: &str) {
        let new = self.file(&format!(".{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }
}

/// A gateway in this process, until it is dropped.
pub struct Gateway {
    door: Door,
    running: Option<serve::Running>,
    workers: usize,
}

impl Gateway {
    /// Ends it and starts it again on the same folder and on other ports.
    pub fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown();
            assert_eq!(running.wait(), Ended::Drained);
        }
        let running = start_on(self.door.folder.path(), self.workers).unwrap_or_else(|error| panic!("{error}"));
        let addresses = running.addresses();
        (self.door.plain, self.door.tls, self.door.more) = (addresses[0], addresses[1], addresses[2..].to_vec());
        self.door.admin = running.admin_address().unwrap();
        self.running = Some(running);
    }
}

impl Deref for Gateway {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.shutdown();
        let ended = running.wait();
        if !thread::panicking() {
            assert_eq!(ended, Ended::Drained);
        }
    }
}

/// The real binary, until it is dropped.
pub struct Process {
    door: Door,
    child: Child,
    decisions: Mutex<Receiver<String>>,
    log: Arc<Mutex<String>>,
}

impl Deref for Process {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its process log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of its process log.
    pub fn logs(&self, wanted: &str) {
        until(|| self.log().contains(wanted), wanted);
    }

    /// The next line of its decision log, as it came.
    pub fn decision_line(&self) -> String {
        self.decisions
            .lock()
            .unwrap()
            .recv_timeout(SOON)
            .unwrap_or_else(|_| panic!("no line; the process log:\n{}", self.log()))
    }

    /// The next line of its decision log.
    pub fn decision(&self) -> Value {
        let line = self.decision_line();
        serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{fault}: {line}"))
    }

    /// The largest resident set so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory_by("VmHWM:")
    }

    /// The resident set, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_by("VmRSS:")
    }

    /// What the system tells under this name.
    fn memory_by(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// For how long it has computed so far, to the hundredth of a second.
    pub fn computed(&self) -> Duration {
        let line = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // Behind the name, which may have blanks, stand the state and more, then the ticks of the program and of the
        // system for it.
        let behind = line.rsplit_once(')').unwrap().1;
        let ticks = behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("bash").args(["-c", &format!("kill -{name} {}", self.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end and returns the exit code.
    pub fn wait(&mut self, patience: Duration) -> i32 {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "the process does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
