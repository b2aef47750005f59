//! All listening sockets, bound once and before anything else runs, so that a taken port is an error.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::{BindFault, Passed, StartError};
use crate::config::Config;
use crate::proxy::listener;

/// The bound sockets, not blocking.
pub(super) struct Sockets {
    /// In the order of `listeners`.
    pub(super) clients: Vec<TcpListener>,
    /// That of `admin`.
    pub(super) admin: Option<TcpListener>,
}

impl Sockets {
    /// Binds every address of the configuration, or takes over the socket that was passed for it; tells all that cannot be
    /// bound. What was passed and is nobody's is an error, since clients of it would wait for ever.
    pub(super) fn bind(config: &Config, mut passed: Passed) -> Result<Self, StartError> {
        let mut faults = Vec::new();
        let mut bind = |setting: String, address: SocketAddr| {
            let bound = passed.at(address).map_or_else(|| listener::bind(address), listener::adopt);
            bound.map_err(|error| faults.push(BindFault { setting, address, error })).ok()
        };
        let clients = config.listeners.iter().enumerate();
        let clients = clients
            .filter_map(|(number, listener)| bind(format!("listeners[{number}].address"), listener.address))
            .collect();
        let admin = config.admin.as_ref().and_then(|admin| bind("admin.address".to_owned(), admin.address));
        match (faults.is_empty(), passed.left()) {
            (false, _) => Err(StartError::Bind(faults)),
            (true, left) if !left.is_empty() => Err(StartError::Passed(left)),
            (true, _) => Ok(Self { clients, admin }),
        }
    }

    /// Where clients connect, with the ports that the system chose.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.clients.iter().map(TcpListener::local_addr).collect()
    }

    /// Where operators connect.
    pub(super) fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }
}
