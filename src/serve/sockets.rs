//! All listening sockets, bound once and before anything else runs, so that a taken port is an error.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::{BindFault, StartError};
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
    /// Binds every address of the configuration, or tells all that cannot be bound.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let mut faults = Vec::new();
        let mut bind = |setting: String, address: SocketAddr| {
            listener::bind(address).map_err(|error| faults.push(BindFault { setting, address, error })).ok()
        };
        let clients = config.listeners.iter().enumerate();
        let clients = clients
            .filter_map(|(number, listener)| bind(format!("listeners[{number}].address"), listener.address))
            .collect();
        let admin = config.admin.as_ref().and_then(|admin| bind("admin.address".to_owned(), admin.address));
        if faults.is_empty() { Ok(Self { clients, admin }) } else { Err(StartError::Bind(faults)) }
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
