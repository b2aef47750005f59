//! `portcullis demo`: the gateway in front of a made-up application, with a made-up sign-in service and people of
//! examples/ips-oms. Everything is on loopback and gone when it ends.

mod http;
mod peers;
mod scene;
mod tls;

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::client::Gateway;
use crate::cli::demo::scene::Cast;
use crate::cli::files::{self, PrivateFolder, Readers};
use crate::cli::serve::{start, stay, watch_signals};
use crate::cli::{Exit, Failure, complain, now, say};
use crate::config;
use crate::diag::Report;
use crate::serve::{Passed, Running};
use crate::token::mint::DevelopmentKey;

/// A working day.
const TOKEN_SECONDS: u64 = 8 * 3600;
/// How often the demo looks whether the gateway has fetched its keys, and how long between two looks.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// The backend's port in `routes.yaml`.
const BACKEND_PORT: u16 = 9001;

/// `demo`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The port for plain HTTP. The next three are taken too: TLS, admin listener, made-up sign-in service.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..=65532))]
    port: u16,
    /// The port of the made-up application; the `upstreams:` line in routes.yaml has to say the same.
    #[arg(long, value_name = "PORT", default_value_t = BACKEND_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    backend_port: u16,
}

/// Which port is for what.
#[derive(Debug)]
struct Ports {
    first: u16,
    backend: u16,
}

impl Ports {
    fn http(&self) -> u16 {
        self.first
    }

    fn tls(&self) -> u16 {
        self.first.saturating_add(1)
    }

    fn admin(&self) -> u16 {
        self.first.saturating_add(2)
    }

    fn issuer(&self) -> u16 {
        self.first.saturating_add(3)
    }
}

/// Starts everything, prints what to try, and stays until a signal ends it.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    say("portcullis demo: starting");
    let ports = Ports { first: options.port, backend: options.backend_port };
    let (backend, issuer) = take_ports(&ports)?;
    let folder = PrivateFolder::create("portcullis-demo-").map_err(broken)?;
    let cast = Cast::read().map_err(broken)?;
    let key = DevelopmentKey::generate().map_err(|fault| broken(fault.0))?;
    let authority = peers::authority(loopback(ports.issuer()));
    let tenants = cast.tenants.iter().map(|(_, id)| id.to_string()).collect();
    peers::start(backend, issuer, tenants, key.jwks()).map_err(broken)?;
    let routes = route_map(&ports, folder.path())?;
    let config = write_configuration(&ports, &cast, &authority, &routes, folder.path())?;
    let tokens = write_tokens(&cast, &authority, &key, folder.path())?;

    let signals = watch_signals()?;
    let running = start_gateway(&config, &routes)?;
    await_keys(&ports);
    say(banner(&ports, &routes, folder.path(), &tokens));
    let exit = stay(signals, running);
    say(format_args!("portcullis demo: ended, {} is removed", folder.path().display()));
    Ok(exit)
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Findings, format_args!("the demo cannot start: {error}"))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Takes the ports of the two peers, and makes sure that those of the gateway are free; names all that are not.
fn take_ports(ports: &Ports) -> Result<(TcpListener, TcpListener), Failure> {
    let next = "choose another with --port (four ports in a row are needed)";
    let same = "choose another with --backend-port, and write it into the `upstreams:` line of routes.yaml";
    let mut taken = String::new();
    let mut bind = |port: u16, what: &str, help: &str| {
        TcpListener::bind(loopback(port))
            .map_err(|error| {
                // Writing to a string does not fail.
                let _ = writeln!(taken, "port {port}, wanted for {what}, cannot be had: {error}\n  {help}");
            })
            .ok()
    };
    // All are held until the last one was tried, so that two wishes for one port are seen.
    let held = [
        bind(ports.http(), "the gateway's plain HTTP listener", next),
        bind(ports.tls(), "the gateway's TLS listener", next),
        bind(ports.admin(), "the gateway's admin listener", next),
    ];
    let issuer = bind(ports.issuer(), "the made-up sign-in service", next);
    let backend = bind(ports.backend, "the made-up application", same);
    match (backend, issuer) {
        (Some(backend), Some(issuer)) if held.iter().all(Option::is_some) => Ok((backend, issuer)),
        _ => Err(Failure::new(Exit::Findings, taken)),
    }
}

/// The route map to run: `routes.yaml` of the current folder, or else a copy of the one that is built in.
fn route_map(ports: &Ports, folder: &Path) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(broken)?.join("routes.yaml");
    let backend = format!("127.0.0.1:{}", ports.backend);
    if let Ok(text) = std::fs::read_to_string(&here) {
        if !text.contains(&backend) {
            let path = here.display();
            complain(format_args!("note: {path} does not mention {backend}, where the made-up application listens"));
        }
        return Ok(here);
    }
    let copy = folder.join("routes.yaml");
    let text = scene::ROUTES.replace(&format!("127.0.0.1:{BACKEND_PORT}"), &backend);
    files::create(&copy, &text, Readers::Anyone).map_err(broken)?;
    Ok(copy)
}

/// Writes what `portcullis serve` would need, and returns the path of the `gateway.yaml`.
fn write_configuration(
    ports: &Ports,
    cast: &Cast,
    authority: &str,
    routes: &Path,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    let made = tls::make(&[scene::HOST, "localhost", "127.0.0.1"]).map_err(broken)?;
    let routes = routes.to_str().ok_or_else(|| broken("the path of this folder is not UTF-8"))?;
    let mut gateway = format!(
        "# Written by `portcullis demo`, removed when it ends.\nversion: 1\nlisteners:\n  - {{address: {}}}\n  \
         - {{address: {}, tls: {{certificate: tls.crt, key: tls.key}}}}\n\
         admin: {{address: {}, token_file: admin.token}}\nroutes: [{}]\ngrants: [grants.yaml]\ntenants:\n",
        loopback(ports.http()),
        loopback(ports.tls()),
        loopback(ports.admin()),
        // A JSON string is a YAML string, whatever the path contains.
        serde_json::Value::from(routes),
    );
    for (name, id) in &cast.tenants {
        let _ = writeln!(gateway, "  - {{name: {name}, id: {id}, authority: \"{authority}\"}}");
    }
    let token = files::random_hex(32).map_err(broken)?;
    for (name, contents, readers) in [
        ("gateway.yaml", gateway.as_str(), Readers::Anyone),
        ("grants.yaml", scene::GRANTS, Readers::Anyone),
        ("ca.pem", &made.authority, Readers::Anyone),
        ("tls.crt", &made.certificate, Readers::Anyone),
        ("tls.key", &made.key, Readers::Owner),
        ("admin.token", &token, Readers::Owner),
    ] {
        files::create(&folder.join(name), contents, readers).map_err(broken)?;
    }
    Ok(folder.join("gateway.yaml"))
}

/// Signs a token for each principal, writes it to `NAME.jwt`, and returns names and tokens.
fn write_tokens(
    cast: &Cast,
    authority: &str,
    key: &DevelopmentKey,
    folder: &Path,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut tokens = Vec::new();
    for name in scene::PRINCIPALS {
        let identity = cast.identity(name, authority);
        let identity = identity.ok_or_else(|| broken(format_args!("the example's grants do not know `{name}`")))?;
        let token = key.mint(&identity.claims(now(), TOKEN_SECONDS)).map_err(|fault| broken(fault.0))?;
        files::create(&folder.join(format!("{name}.jwt")), &token, Readers::Owner).map_err(broken)?;
        tokens.push((name, token));
    }
    Ok(tokens)
}

fn start_gateway(config: &Path, routes: &Path) -> Result<Running, Failure> {
    let mut report = Report::new();
    let loaded = config::load(config, &mut report).filter(|_| !report.has_errors());
    let started = match loaded {
        Some(config) => start(Passed::default(), config, None),
        None => Err(Failure::new(Exit::Configuration, report.render())),
    };
    started.map_err(|failure| match failure.exit {
        Exit::Configuration => {
            let help = format!("the demo runs {}; mend it, or start the demo in another folder", routes.display());
            Failure::new(failure.exit, format_args!("{}\n{help}", failure.message.trim_end()))
        }
        _ => failure,
    })
}

/// Waits until the gateway has fetched its keys, so that the first line pasted works.
fn await_keys(ports: &Ports) {
    let gateway = Gateway::on_loopback(loopback(ports.admin()));
    for _ in 0..LOOKS {
        if gateway.ask("GET", "/readyz", None, BETWEEN_LOOKS * 20).is_ok_and(|answer| answer.status == 200) {
            return;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
    complain("the gateway is not ready yet; /readyz on its admin listener says why");
}

fn banner(ports: &Ports, routes: &Path, folder: &Path, tokens: &[(&str, String)]) -> String {
    let folder_name = folder.display();
    let exports: String =
        tokens.iter().map(|(name, token)| format!("export {}={token}\n", name.to_uppercase())).collect();
    format!(
        "\nRunning, all of it on this host only:\n\
         \x20 gateway      http://{http}  https://{tls}  (admin http://{admin})\n\
         \x20 application  http://{backend}  a stand-in for OMS: no idea of tokens, shows what it receives\n\
         \x20 sign-in      http://{issuer}  discovery documents and keys as Entra has them\n\
         \x20 route map    {routes}  (edit it now: a change counts within a second)\n\
         \x20 grants       {folder_name}/grants.yaml  (the same)\n\n\
         Tokens, good for eight hours (also in {folder_name}/NAME.jwt):\n{exports}\n\
         To paste in another terminal:\n\n{calls}\
         Below, a line for each decision. Ctrl-C ends the demo.\n",
        http = loopback(ports.http()),
        tls = loopback(ports.tls()),
        admin = loopback(ports.admin()),
        backend = loopback(ports.backend),
        issuer = loopback(ports.issuer()),
        routes = routes.display(),
        calls = scene::calls(ports, folder),
    )
}
