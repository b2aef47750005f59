//! What the command line says.

use std::{net::SocketAddr, time::Duration};

/// One run.
pub struct Options {
    /// Where to connect.
    pub address: SocketAddr,
    /// The requests, sent in turn.
    pub requests: Vec<Vec<u8>>,
    /// Requests a second, over all connections.
    pub rate: f64,
    /// Connections.
    pub connections: usize,
    /// From how many addresses of loopback they come, 127.0.1.1 and following; 0 leaves it to the kernel.
    pub sources: u8,
    /// How long is sent before anything is counted.
    pub warm: Duration,
    /// How long is counted.
    pub counted: Duration,
    /// The length of one window of the series over time.
    pub window: Duration,
    /// The status that each answer must have.
    pub status: u16,
}

impl Options {
    /// Reads the command line and the file that it names.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut places, mut named) = (Vec::new(), std::collections::BTreeMap::new());
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) => {
                    let value = arguments.next().ok_or(format!("`--{name}` needs a number"))?;
                    let value = value.parse::<f64>().map_err(|_| format!("`--{name} {value}` is no number"))?;
                    if !value.is_finite() || value < 0.0 {
                        return Err(format!("`--{name} {value}` is out of range"));
                    }
                    named.insert(name.to_owned(), value);
                }
                None => places.push(argument),
            }
        }
        let [address, file] = places.as_slice() else {
            return Err("give an address and a file of requests".to_owned());
        };
        let mut number =
            |name: &str, default: Option<f64>| named.remove(name).or(default).ok_or(format!("`--{name}` is missing"));
        let options = Self {
            address: address.parse().map_err(|_| format!("`{address}` is no address"))?,
            requests: requests(&std::fs::read(file).map_err(|error| format!("{file}: {error}"))?)?,
            rate: number("rate", None)?,
            connections: number("connections", None)? as usize,
            sources: number("sources", Some(0.0))? as u8,
            counted: Duration::from_secs_f64(number("seconds", None)?),
            warm: Duration::from_secs_f64(number("warm", Some(1.0))?),
            window: Duration::from_secs_f64(number("window", Some(100.0))? / 1000.0),
            status: number("status", Some(200.0))? as u16,
        };
        if let Some(name) = named.keys().next() {
            return Err(format!("`--{name}` is not known"));
        }
        if options.rate < 1.0 || options.connections == 0 || options.window.is_zero() {
            return Err("the rate, the connections and the window must be at least 1".to_owned());
        }
        Ok(options)
    }
}

/// The requests of a file: each ends with an empty line.
fn requests(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(length) = bytes[from..].windows(4).position(|window| window == b"\r\n\r\n") {
        found.push(bytes[from..from + length + 4].to_vec());
        from += length + 4;
    }
    if found.is_empty() || from != bytes.len() {
        return Err("the file of requests must hold whole requests".to_owned());
    }
    Ok(found)
}
