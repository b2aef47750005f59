//! Listening sockets that somebody else holds and passes on, such as systemd for a socket unit. They are open before this
//! process and after it: what clients open meanwhile waits in them, and the next process takes it over.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// The sockets that were passed to this process (`LISTEN_FDS`, sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Passed(Vec<(SocketAddr, TcpListener)>);

impl Passed {
    /// Takes those that the environment speaks of, and removes them from it. To be asked once, before there are other
    /// threads or files.
    ///
    /// # Errors
    /// One of them is no socket for TCP.
    pub fn from_environment() -> io::Result<Self> {
        let mut all = ListenFd::from_env();
        let taken = (0..all.len()).filter_map(|number| all.take_tcp_listener(number).transpose());
        let named = taken.map(|socket| socket.and_then(|socket| Ok((socket.local_addr()?, socket))));
        named.collect::<io::Result<_>>().map(Self)
    }

    /// Takes the one that listens at an address.
    pub(super) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|(at, _)| *at == address)?;
        Some(self.0.swap_remove(found).1)
    }

    /// The addresses of those that nobody has taken.
    pub(super) fn left(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }
}
