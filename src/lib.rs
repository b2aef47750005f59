//! Portcullis: a reverse-proxy enforcement gateway. One question per request: may this principal do this, here?
//!
//! The layers, bottom to top; each imports only from those above it in this list:
//! - [`diag`]: what is wrong in a file, where, and what to do about it.
//! - [`telemetry`]: metric names, the record of a request, the process log.
//! - [`model`]: the words of the product as plain data. [`document`]: the files as they are written.
//! - [`policy`]: the decision. [`token`]: who asks.
//! - [`route`]: which route a request takes and what that route asks.
//! - [`snapshot`]: the state that requests are judged by, and the swap.
//! - [`pep`]: enforcement; turns a request head into a permission or a refusal.
//! - [`review`]: what a policy means, for operators. [`candidate`]: what another policy would do to the traffic of now.
//! - [`proxy`]: the data plane, the only code that touches sockets of clients and upstreams.
//!   [`source`]: the control plane, where documents and keys come from.
//! - [`reload`]: from changed files to a published snapshot, or none.
//! - [`admin`]: the operators' listener.
//! - [`config`]: how the process runs.
//! - [`serve`]: the composition root.
//! - [`cli`]: one file a verb.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]

pub mod admin;
pub mod candidate;
pub mod cli;
pub mod config;
pub mod courtesy;
pub mod diag;
pub mod document;
pub mod model;
pub mod pep;
pub mod policy;
pub mod proxy;
pub mod reload;
pub mod review;
pub mod route;
pub mod serve;
pub mod snapshot;
pub mod source;
pub mod telemetry;
pub mod token;
