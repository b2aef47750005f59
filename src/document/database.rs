//! `postgres` in `grants` of `gateway.yaml` as written: a database that feeds a domain.

use std::time::Duration;

use super::Located;
use crate::diag::Place;

/// The whole entry.
#[derive(Clone, Debug)]
pub struct DatabaseDocument {
    /// Where the entry stands.
    pub place: Place,
    /// The domain that it feeds.
    pub domain: Located<String>,
    /// A connection URL, or `${NAME}`, the variable of the environment that has it.
    pub url: Option<Located<String>>,
    /// The file that has it, relative to this file.
    pub url_file: Option<Located<String>>,
    /// TLS also on this machine. Default: beyond it only.
    pub tls: bool,
    /// A PEM file with the certificate authorities to believe in place of the public ones, relative to this file.
    pub ca: Option<Located<String>>,
    /// No TLS beyond this machine must be asked for. Default: false.
    pub insecure_plaintext: bool,
    /// What is asked of a schema that is not the product's own. Default: it is.
    pub queries: Option<QueriesDocument>,
    /// Kinds of objects whose attributes are looked up when a request needs them.
    pub objects: Vec<ObjectsDocument>,
    /// The channel on which the database tells of changes. Default: that of the product's own schema, or none.
    pub notify: Option<Located<String>>,
    /// Between two looks for changes. Default: 5 s.
    pub poll: Duration,
    /// Between two readings of all rows. Default: 5 min.
    pub reconcile: Duration,
    /// How old rows may be. Default: 15 min.
    pub max_staleness: Duration,
    /// Whether everything is denied by then. Default: false, `serve`.
    pub deny_when_stale: bool,
    /// To connect. Default: 5 s.
    pub connect_timeout: Duration,
    /// One query. Default: 10 s.
    pub statement_timeout: Duration,
    /// To read all rows. Default: 5 min.
    pub load_timeout: Duration,
    /// How long a start waits for the first rows. Default: 30 s.
    pub start_timeout: Duration,
}

/// An entry of `objects`: one kind.
#[derive(Clone, Debug)]
pub struct ObjectsDocument {
    /// The kind.
    pub kind: Located<String>,
    /// The row of the key `$1`; without it, that of the product's own schema.
    pub query: Option<Located<String>>,
    /// The columns that are attributes.
    pub attributes: Vec<Located<String>>,
    /// How long an answer is believed. Default: 30 s.
    pub ttl: Duration,
    /// How long a request waits. Default: 500 ms.
    pub wait: Duration,
    /// How many answers are remembered. Default: 10,000.
    pub most: u64,
}

/// `queries`.
#[derive(Clone, Debug)]
pub struct QueriesDocument {
    /// All principals.
    pub principals: Located<String>,
    /// Those with the ids in `$1`. Default: those of `principals` with such an id.
    pub principals_by_id: Option<Located<String>>,
    /// The ids that have changed since the position `$1`. Default: none; changes are found by reading all rows.
    pub changes: Option<Located<String>>,
    /// The position. Default: which transactions can be seen.
    pub position: Option<Located<String>>,
}
