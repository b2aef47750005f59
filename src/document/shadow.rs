//! `shadow` of gateway.yaml: candidates that are judged beside the live policy.

use std::time::Duration;

use super::Located;

/// `shadow`.
#[derive(Clone, Debug)]
pub struct ShadowDocument {
    /// The directory below which candidates lie, relative to this file; without it none can be loaded.
    pub candidates: Option<Located<String>>,
    /// For how long requests are judged by a candidate that nobody takes down. Default: 24 hours.
    pub longest: Duration,
}
