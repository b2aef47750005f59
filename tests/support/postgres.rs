//! A real server of PostgreSQL, started by the test in a folder of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::backend::until;

/// The certificate that the servers of this process show, PEM.
pub fn certificate() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

/// A server. It ends with this process, or when dropped.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    shell: Option<Child>,
}

impl Server {
    /// Starts one; nothing if PostgreSQL is not installed, which only a machine that runs all checks must have.
    pub fn start() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
        let Some(programs) = programs else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed, and CI is set");
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("portcullis-pg-").tempdir().unwrap().keep();
        let (certificate, key) = certificate();
        fs::write(folder.join("server.crt"), certificate).unwrap();
        fs::write(folder.join("server.key"), key).unwrap();
        fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if is_root() {
            assert!(Command::new("chown").args(["-R", "nobody"]).arg(&folder).status().unwrap().success());
        }
        let mut server = Self { folder, programs, port, shell: None };
        let mut made =
            server.command("\"$1/initdb\" -D \"$2/data\" -U test --auth=trust -E UTF8 --locale=C >\"$2/init.log\"");
        assert!(made.status().unwrap().success());
        server.run();
        Some(server)
    }

    /// A line of a shell that may start the server, which refuses to be root.
    fn command(&self, line: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash"]);
            command
        } else {
            Command::new("bash")
        };
        command.args(["-c", line, "bash"]).arg(&self.programs).arg(&self.folder).arg(self.port.to_string());
        command.current_dir("/").stdin(Stdio::piped());
        command
    }

    /// Runs the server until this process closes the shell's input, however it ends.
    fn run(&mut self) {
        // A vacuum would be a transaction that no test knows of, and positions tell of all that run.
        let line = "\"$1/postgres\" -D \"$2/data\" -p $3 -k \"$2\" -c listen_addresses=127.0.0.1 -c fsync=off \
                    -c max_connections=200 -c autovacuum=off -c ssl=on \
                    -c ssl_cert_file=\"$2/server.crt\" -c ssl_key_file=\"$2/server.key\" \
                    >>\"$2/log\" 2>&1 & pid=$!; read -r _; kill -QUIT $pid 2>/dev/null; wait; rm -rf \"$2\"";
        until(
            || {
                if let Some(shell) = &mut self.shell {
                    let _ = shell.kill();
                    let _ = shell.wait();
                }
                self.shell = Some(self.command(line).spawn().unwrap());
                (0..50).any(|_| {
                    thread::sleep(Duration::from_millis(100));
                    self.try_client("postgres").is_some()
                })
            },
            "a server of PostgreSQL",
        );
    }

    /// Kills the server as a lack of memory would, all of it.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        let line = format!("kill -9 {pid} $(cat /proc/{pid}/task/{pid}/children)");
        assert!(Command::new("bash").args(["-c", &line]).status().unwrap().success());
        until(|| TcpStream::connect(("127.0.0.1", self.port)).is_err(), "the server is gone");
    }

    /// Starts it again on what it has.
    pub fn again(&mut self) {
        self.run();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new database.
    pub fn database(&self) -> Database<'_> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("d{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut first = self.try_client("postgres").unwrap();
        first.run(&format!("CREATE DATABASE {name}"));
        let client = self.try_client(&name).unwrap();
        Database { server: self, name, client }
    }

    /// A connection to a database that is there.
    pub fn client(&self, name: &str) -> Database<'_> {
        let client = self.try_client(name).unwrap();
        Database { server: self, name: name.to_owned(), client }
    }

    fn try_client(&self, database: &str) -> Option<Connected> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config: tokio_postgres::Config = format!("user=test dbname={database} host=127.0.0.1").parse().unwrap();
        let client = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.address()).await.ok()?;
            let (client, connection) = config.connect_raw(stream, NoTls).await.ok()?;
            tokio::spawn(connection);
            Some(client)
        })?;
        Some(Connected { runtime, client })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

struct Connected {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Connected {
    fn run(&mut self, commands: &str) {
        self.try_run(commands).unwrap_or_else(|error| panic!("{error:?}: {commands}"));
    }

    fn try_run(&mut self, commands: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(commands))
    }
}

/// A database, and a connection to it.
pub struct Database<'s> {
    server: &'s Server,
    name: String,
    client: Connected,
}

impl Database<'_> {
    /// Its URL.
    pub fn url(&self) -> String {
        self.url_at(self.server.address())
    }

    /// Its URL at another address.
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("postgres://test@{address}/{}", self.name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives commands, each of which commits by itself unless they say otherwise.
    pub fn run(&mut self, commands: &str) {
        self.client.run(commands);
    }

    /// Gives commands that may be refused.
    pub fn try_run(&mut self, commands: &str) -> Result<(), tokio_postgres::Error> {
        self.client.try_run(commands)
    }

    /// Another connection.
    pub fn other(&self) -> Self {
        let client = self.server.try_client(&self.name).unwrap();
        Self { server: self.server, name: self.name.clone(), client }
    }

    /// A new connection in place of one that has broken.
    pub fn reconnect(&mut self) {
        until(
            || match self.server.try_client(&self.name) {
                Some(client) => {
                    self.client = client;
                    true
                }
                None => false,
            },
            "the database accepts connections",
        );
    }

    /// The first cell of the answer, as a text.
    pub fn ask(&mut self, query: &str) -> String {
        let rows = self.client.runtime.block_on(self.client.client.simple_query(query)).unwrap();
        let cell = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        cell.unwrap_or_default().to_owned()
    }
}

/// A network on the way to a server that can stop to pass bytes on without closing anything.
pub struct Relay {
    address: SocketAddr,
    stalled: Arc<AtomicBool>,
}

impl Relay {
    /// A relay to this address.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stalled = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&stalled);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let state = Arc::clone(&state);
                    thread::spawn(move || {
                        let mut buffer = [0; 16 * 1024];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            while state.load(Ordering::Acquire) {
                                thread::sleep(Duration::from_millis(10));
                            }
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, stalled }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops passing bytes on, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Release);
    }
}
