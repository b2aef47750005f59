//! Principals and their grants from PostgreSQL: one database for one domain.
//!
//! All rows are read in one transaction that sees one state of the database, together with a *position*: what marks
//! that state. Later, a query names the principals that have changed since a position, and their rows are read again;
//! how such a query tells is up to the database. With the schema of [`schema`], a position is a snapshot of
//! transactions, so that no change is missed whatever the order of commits, and clocks play no part.

mod connect;
mod objects;
mod rows;
pub mod schema;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;

pub use objects::{Answer, Finder, Kind};
pub use rows::{Lines, id_of};
pub use session::{All, Changes, Session, read_all};

/// A database that feeds a domain.
#[derive(Clone, Debug)]
pub struct Database {
    /// The domain.
    pub domain: String,
    /// Where it is and as whom to connect.
    pub address: Address,
    /// What is asked.
    pub queries: Queries,
    /// Kinds of objects that are looked up one by one.
    pub kinds: Vec<Kind>,
    /// The channel on which the database tells of changes.
    pub notify: Option<String>,
    /// How often and how long.
    pub pace: Pace,
    /// What to do once the rows are older than [`Pace::max_staleness`].
    pub on_stale: OnStale,
}

/// What is asked of a database.
#[derive(Clone, Debug)]
pub struct Queries {
    /// All principals: one row each, with the keys of an entry of `principals` as columns.
    pub principals: String,
    /// Those with the ids in `$1` (`text[]`); by default those of [`Self::principals`] with such an id.
    pub principals_by_id: Option<String>,
    /// The ids that have changed since the position `$1` (text); null stands for all.
    pub changes: Option<String>,
    /// The position, as one text.
    pub position: String,
}

/// How often a database is asked, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks for changes; one that is told of on the channel is looked for at once.
    pub poll: Duration,
    /// Between two readings of all rows.
    pub reconcile: Duration,
    /// How old rows may be.
    pub max_staleness: Duration,
    /// To connect, TLS and password included.
    pub connect: Duration,
    /// One query, but those that read all rows.
    pub statement: Duration,
    /// To read all rows.
    pub load: Duration,
    /// How long a start waits for the first rows.
    pub start: Duration,
}

/// What to do once rows are too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// Decide by them all the same, and warn.
    #[default]
    Serve,
    /// Deny everything that the domain decides.
    Deny,
}

/// Where a database is and as whom to connect. Shows no password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

impl Address {
    /// Reads a connection URL or string of libpq. `tls` asks for TLS also on this machine, where it is left out
    /// otherwise; `ca` are the certificate authorities to believe (PEM) in place of the public ones; `plaintext` allows
    /// to do without TLS beyond this machine.
    ///
    /// # Errors
    /// What is wrong, as a clause that shows nothing of the URL.
    pub fn parse(url: &str, (tls, ca): (bool, Option<&[u8]>), plaintext: bool) -> Result<Self, String> {
        let mut config: Config = url.trim().parse().map_err(|_| "it is no connection URL of PostgreSQL".to_owned())?;
        if config.get_hosts().is_empty() {
            return Err("it names no host".into());
        }
        let local = config.get_hosts().iter().all(is_local);
        let encrypted = tls || !(local || plaintext);
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        config.application_name("portcullis");
        let tls = if encrypted { Some(super::tls::client(ca)?) } else { None };
        Ok(Self { config, tls })
    }
}

/// Whether nobody beyond this machine can listen in.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Address").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, host) in self.config.get_hosts().iter().enumerate() {
            let between = if number == 0 { "" } else { ", " };
            match host {
                Host::Tcp(name) => write!(out, "{between}{name}:{}", connect::port(&self.config, number))?,
                Host::Unix(path) => write!(out, "{between}{}", path.display())?,
            }
        }
        write!(out, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// Why a database gave no answer, as a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The work itself broke.
    pub fn broken() -> Self {
        Self::new("reading broke")
    }

    fn late(what: &str, limit: Duration) -> Self {
        Self(format!("{what} took longer than {} s", limit.as_secs_f32()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            let code = told.code();
            let missing = [&SqlState::UNDEFINED_TABLE, &SqlState::UNDEFINED_COLUMN, &SqlState::UNDEFINED_FUNCTION];
            let help = match *code {
                _ if !told.message().contains("portcullis.") => "",
                _ if missing.contains(&code) => {
                    ": `portcullis db init` makes the schema, or brings an older one up to date"
                }
                SqlState::INSUFFICIENT_PRIVILEGE => ": docs/postgres.md says what has to be granted",
                _ => "",
            };
            return Self(format!("the database says `{}` ({}){help}", told.message(), code.code()));
        }
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self(format!("{error}{cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_tls_is_spoken_unless_plain_text_is_asked_for() {
        for (url, tls, plaintext, encrypted) in [
            ("postgres://u:p@db.example/x", false, false, true),
            ("postgres://u:p@db.example/x?sslmode=disable", false, false, true),
            ("postgres://u:p@db.example/x", false, true, false),
            ("postgres://u:p@db.example/x", true, true, true),
            ("postgres://u@127.0.0.1:5433/x", false, false, false),
            ("postgres://u@localhost/x", true, false, true),
            ("postgres://u@localhost,db.example/x", false, false, true),
            ("host=/run/postgresql user=u dbname=x", false, false, false),
        ] {
            let address = Address::parse(url, (tls, None), plaintext).unwrap();
            assert_eq!(address.tls.is_some(), encrypted, "{url}");
            let mode = if encrypted { SslMode::Require } else { SslMode::Disable };
            assert_eq!(address.config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn nothing_that_is_shown_has_the_password() {
        let address = Address::parse("postgres://me:s3cret@127.0.0.1:5433/x", (false, None), false).unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:5433/x");
        assert!(!format!("{address:?}").contains("s3cret"));
        let fault = Address::parse("postgres://me:s3cret@:x/x:s3cret", (false, None), false).unwrap_err();
        assert!(!fault.contains("s3cret"), "{fault}");
        assert!(Address::parse("user=me password=s3cret", (false, None), false).is_err());
    }
}
