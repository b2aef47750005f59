//! The control plane: where documents and keys come from, and when they are looked for again. Nothing here runs on a
//! request; what was found is published through [`Live`](crate::snapshot::Live).

use std::time::{SystemTime, UNIX_EPOCH};

pub mod file;
pub mod http;
pub mod jwks;
pub mod otlp;
pub mod postgres;
pub mod tls;

/// The time in Unix seconds: where the clock enters this layer.
#[expect(clippy::disallowed_methods, reason = "the edge where the control plane reads the clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
