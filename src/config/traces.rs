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
            let found = report.error("bad_certificate", document.ca.as_ref().map(|ca| ca.place), why);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    /// The codes of what is wrong with `traces` written so.
    fn faults(traces: &str) -> Vec<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "gateway.yaml",
                format!(
                    "version: 1\nlisteners: [{{address: \"127.0.0.1:0\"}}]\nroutes: [r.yaml]\ngrants: [g.yaml]\ntraces: {traces}\n"
                ),
            ),
            ("r.yaml", "version: 1\napplications: []\n".to_owned()),
            ("g.yaml", "version: 1\ndomain: a\nprincipals: []\n".to_owned()),
            ("two.token", "Bearer one\nBearer two\n".to_owned()),
            ("good.token", "Bearer one\n".to_owned()),
            ("empty.token", "\n".to_owned()),
            ("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut report = Report::new();
        let config = config::load(&folder.path().join("gateway.yaml"), &mut report);
        assert_eq!(config.is_none(), report.has_errors());
        report.diagnostics().iter().map(|found| found.code).collect()
    }

    #[test]
    fn spans_go_over_tls_or_to_this_machine_with_a_secret_of_one_line() {
        for (written, expected) in [
            ("{endpoint: \"https://collector.example.org:4318/v1/traces\"}", None),
            ("{endpoint: \"http://127.0.0.1:4318/v1/traces\", authorization_file: good.token}", None),
            ("{endpoint: \"http://collector.example.org/v1/traces\"}", Some("bad_url")),
            ("{endpoint: collector}", Some("bad_url")),
            ("{endpoint: \"https://user:password@c.example.org/\"}", Some("bad_url")),
            ("{endpoint: \"https://c.example.org/\", service: \" \"}", Some("bad_name")),
            ("{endpoint: \"https://c.example.org/\", authorization_file: two.token}", Some("bad_authorization")),
            ("{endpoint: \"https://c.example.org/\", authorization_file: empty.token}", Some("bad_authorization")),
            ("{endpoint: \"https://c.example.org/\", authorization_file: none.token}", Some("unreadable_file")),
            ("{endpoint: \"https://c.example.org/\", ca: bad.pem}", Some("bad_certificate")),
        ] {
            assert_eq!(faults(written), expected.into_iter().collect::<Vec<_>>(), "{written}");
        }
    }
}
