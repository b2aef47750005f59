//! The labels of the metrics: names from the operators' own files and words of closed lists.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::telemetry::record::Decision;

/// The labels of `portcullis_requests_total`. Application and route are empty where none was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) application: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) decision: Decision,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) class: u16,
}

impl EncodeLabelSet for Outcome {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("application", &*self.application).encode(encoder.encode_label())?;
        ("route", &*self.route).encode(encoder.encode_label())?;
        ("decision", self.decision.word()).encode(encoder.encode_label())?;
        ("reason", self.reason.as_deref().unwrap_or_default()).encode(encoder.encode_label())?;
        ("status", format!("{}xx", self.class)).encode(encoder.encode_label())
    }
}

/// The labels of `portcullis_shadow_denials_total`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watched {
    pub(super) application: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) reason: Cow<'static, str>,
}

impl EncodeLabelSet for Watched {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("application", &*self.application).encode(encoder.encode_label())?;
        ("route", &*self.route).encode(encoder.encode_label())?;
        ("reason", &*self.reason).encode(encoder.encode_label())
    }
}

/// The labels of `portcullis_tokens_refused_total` and `portcullis_heads_rejected_total`: a word of a closed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refused {
    pub(super) cause: &'static str,
}

impl EncodeLabelSet for Refused {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("cause", self.cause).encode(encoder.encode_label())
    }
}

/// The label of `portcullis_tunnel_bytes_total`: `in` is from the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Direction {
    pub(super) direction: &'static str,
}

impl EncodeLabelSet for Direction {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("direction", self.direction).encode(encoder.encode_label())
    }
}

/// One label with a name from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub(super) label: &'static str,
    pub(super) name: Option<Arc<str>>,
}

impl Named {
    pub(super) fn new(label: &'static str, name: Option<&Arc<str>>) -> Self {
        Self { label, name: name.cloned() }
    }

    pub(super) fn of(label: &'static str, name: &str) -> Self {
        Self { label, name: Some(name.into()) }
    }
}

impl EncodeLabelSet for Named {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        (self.label, self.name.as_deref().unwrap_or_default()).encode(encoder.encode_label())
    }
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerOf {
    pub(super) upstream: Arc<str>,
    pub(super) server: Arc<str>,
}

impl EncodeLabelSet for ServerOf {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("upstream", &*self.upstream).encode(encoder.encode_label())?;
        ("server", &*self.server).encode(encoder.encode_label())
    }
}
