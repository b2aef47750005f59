//! Where spans go, and what the collector has to be shown.

use http::HeaderValue;

use super::{Base, keys};
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::TracesDocument;
use crate::source::http::Url;
use crate::source::otlp::Exporter;

/// Most bytes of a service's name.
const NAME_BYTES: usize = 255;

pub(super) fn resolve(document: &TracesDocument, base: &Base, report: &mut Report) -> Option<Exporter> {
    let endpoint = match Url::parse(&document.endpoint.value) {
        Ok(url) => Some(url),
        Err(why) => {
            report
                .error("bad_url", document.endpoint.place, why)
                .help("write the whole address, such as `https://collector.example.org:4318/v1/traces`");
            None
        }
    };
    let ca = keys::authorities(document.ca.as_ref(), None, base, report);
    let authorization = document.authorization_file.as_ref().map(|name| authorization(name, base, report));
    let service = document.service.as_ref().map_or("portcullis", |service| &service.value);
    if service.trim().is_empty() || service.len() > NAME_BYTES {
        let place = document.service.as_ref().map(|service| service.place);
        report
            .error("bad_name", place, format!("`service` must be a name of up to {NAME_BYTES} bytes"))
            .help("leave it out for `portcullis`");
    }
    if report.has_errors() {
        return None;
    }
    let exporter = Exporter::new(endpoint?, ca.as_deref(), authorization.flatten(), service);
    exporter
        .map_err(|why| {
            let found = report.error("bad_ca", document.ca.as_ref().map(|ca| ca.place), why);
            found.help("it must be a PEM file of certificate authorities");
        })
        .ok()
}

/// The whole value of the header `Authorization`.
fn authorization(name: &Located<String>, base: &Base, report: &mut Report) -> Option<HeaderValue> {
    let content = base.read(name, report)?;
    let value = HeaderValue::from_bytes(content.trim_ascii()).ok().filter(|value| !value.is_empty());
    let Some(mut value) = value.filter(|value| value.to_str().is_ok()) else {
        report
            .error("bad_authorization", name.place, format!("`{}` has no value for `Authorization`", name.value))
            .help("write the whole value on one line, such as `Bearer TOKEN`");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}
