//! Why a gateway does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::diag::Report;

/// Why a gateway does not start. Nothing is left running.
#[derive(Debug)]
pub enum StartError {
    /// Files that the configuration names have faults.
    Configuration(Box<Report>),
    /// The live documents have faults, and the last good ones, in whose report they are told second, cannot be used either.
    LastGood(Box<[Report; 2]>),
    /// Addresses cannot be listened on; at least one.
    Bind(Vec<BindFault>),
    /// Sockets were passed to the process that listen at these addresses, which no listener has.
    Passed(Vec<SocketAddr>),
    /// The decision log's destination (`log.to`) cannot be opened.
    Log(io::Error),
    /// The system refuses a thread or a descriptor.
    Io(io::Error),
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindFault {
    /// The setting that names it, such as `listeners[0].address`.
    pub setting: String,
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

impl StartError {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::LastGood(_) => 3,
            Self::Bind(_) | Self::Passed(_) | Self::Log(_) | Self::Io(_) => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(report) => out.write_str(report.render().trim_end()),
            Self::LastGood(reports) => {
                let [files, kept] = reports.each_ref().map(Report::render);
                write!(
                    out,
                    "{}\n\nThe last good documents cannot be used either:\n{}",
                    files.trim_end(),
                    kept.trim_end()
                )
            }
            Self::Bind(faults) => {
                for (number, fault) in faults.iter().enumerate() {
                    let line = if number == 0 { "" } else { "\n" };
                    write!(out, "{line}{fault}")?;
                }
                Ok(())
            }
            Self::Passed(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let addresses = addresses.join(", ");
                write!(out, "a socket was passed for {addresses}, but no `address` of `listeners` or `admin` is that")
            }
            Self::Log(error) => write!(out, "the decision log cannot be opened (`log.to`): {error}"),
            Self::Io(error) => write!(out, "the system does not let the gateway start: {error}"),
        }
    }
}

impl fmt::Display for BindFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, error } = self;
        write!(out, "cannot listen on {address} (`{setting}`): {error}")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(out, "; another process has the port, end it or choose another"),
            io::ErrorKind::PermissionDenied => write!(out, "; ports below 1024 need a privilege, choose a higher one"),
            io::ErrorKind::AddrNotAvailable => write!(out, "; this machine does not have the address"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_is_taken_is_named_with_its_setting() {
        let fault = |setting: &str, port| BindFault {
            setting: setting.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            error: io::Error::from(io::ErrorKind::AddrInUse),
        };
        let error = StartError::Bind(vec![fault("listeners[1].address", 8080), fault("admin.address", 9901)]);
        let text = error.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("cannot listen on 127.0.0.1:8080 (`listeners[1].address`): "), "{text}");
        assert!(lines[1].starts_with("cannot listen on 127.0.0.1:9901 (`admin.address`): "), "{text}");
        assert_eq!(error.exit_code(), 1);
    }
}
