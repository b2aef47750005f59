//! What the service manager is told: that the process serves, reloads, ends, and that it is alive. The protocol is that of
//! systemd, sd_notify(3): one datagram a message.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one. Telling it never waits.
#[derive(Debug)]
pub(super) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    ///
    /// # Errors
    /// Its socket has no address that can be one.
    pub(super) fn from_environment() -> io::Result<Self> {
        let text = |name: &str| env::var(name).ok();
        let is_meant = text("WATCHDOG_PID").is_none_or(|pid| pid == process::id().to_string());
        let watchdog = text("WATCHDOG_USEC").filter(|_| is_meant).and_then(|micros| micros.parse().ok());
        let to = match env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Some((socket, address(&name)?))
            }
            None => None,
        };
        Ok(Self { to, watchdog: watchdog.filter(|micros| *micros > 0).map(Duration::from_micros) })
    }

    /// How often it wants to hear that the process is alive: twice as often as it looks.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.to.as_ref().and(self.watchdog).map(|most| most / 2)
    }

    /// Requests are served, as `status` says more closely.
    pub(super) fn serves(&self, status: impl Display) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The files are read again.
    pub(super) fn reloads(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the policy again"));
    }

    /// The drain has begun.
    pub(super) fn ends(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// All threads work.
    pub(super) fn is_alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(fault) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(
                "the service manager cannot be told `{}`: {fault}",
                message.lines().next().unwrap_or_default()
            );
        }
    }
}

/// A path, or the name of an abstract socket behind `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
