//! Reads `traces` of gateway.yaml.

use super::{Field, fields, wrong};
use crate::diag::Report;
use crate::document::gateway::TracesDocument;
use crate::document::parse::Shape;

pub(super) fn traces(section: Field<'_>, report: &mut Report) -> Option<TracesDocument> {
    let keys = ["endpoint", "sample", "service", "ca", "authorization_file"];
    let [endpoint, sample, service, ca, authorization_file] = fields(section.node?, "`traces`", keys, report)?;
    let sample = self::sample(sample, report);
    let [service, ca, authorization_file] = [service, ca, authorization_file].map(|field| field.text(report));
    Some(TracesDocument { endpoint: endpoint.need_text(report)?, sample, service, ca, authorization_file })
}

/// A share such as `1%` or `0.05%`, in millionths.
fn sample(field: Field<'_>, report: &mut Report) -> u32 {
    let Some(node) = field.node else { return 10_000 };
    let millionths = match node.shape() {
        Shape::Scalar { text, .. } => text.strip_suffix('%').and_then(millionths),
        Shape::List(_) | Shape::Map(_) => None,
    };
    if millionths.is_none() {
        let wanted = "a share from `0%` to `100%` with up to four decimals, such as `0.5%`";
        wrong(node, format_args!("`{}`", field.key), wanted, report);
    }
    millionths.unwrap_or_default()
}

fn millionths(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 4 {
        return None;
    }
    let (whole, part): (u32, u32) = (whole.parse().ok()?, format!("{part:0<4}").parse().ok()?);
    Some(whole * 10_000 + part).filter(|millionths| *millionths <= 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::read_gateway;

    fn read(lines: &str) -> (Option<TracesDocument>, Report) {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: 127.0.0.1:1}}]\nroutes: r\ngrants: g\n{lines}\n");
        let source = report.add_source("gateway.yaml", text);
        (read_gateway(source, &mut report).unwrap().traces, report)
    }

    #[test]
    fn traces_are_off_unless_they_are_written() {
        let (traces, report) = read("");
        assert!(traces.is_none() && report.render().is_empty());
    }

    #[test]
    fn a_share_is_a_percentage_with_up_to_four_decimals() {
        for (written, expected) in [
            ("", 10_000),
            (", sample: 1%", 10_000),
            (", sample: 0%", 0),
            (", sample: 100%", 1_000_000),
            (", sample: 100.0%", 1_000_000),
            (", sample: 0.5%", 5_000),
            (", sample: 12.3456%", 123_456),
            (", sample: 0.0001%", 1),
        ] {
            let (traces, report) = read(&format!("traces: {{endpoint: \"https://c/v1/traces\"{written}}}"));
            assert_eq!(report.render(), "", "{written}");
            assert_eq!(traces.unwrap().sample, expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_share_or_has_no_endpoint_is_a_fault() {
        for (written, code) in [
            ("{}", "missing_key"),
            ("{sample: 1%}", "missing_key"),
            ("{endpoint: e, sample: 1}", "wrong_type"),
            ("{endpoint: e, sample: 101%}", "wrong_type"),
            ("{endpoint: e, sample: 100.0001%}", "wrong_type"),
            ("{endpoint: e, sample: -1%}", "wrong_type"),
            ("{endpoint: e, sample: 1.%}", "wrong_type"),
            ("{endpoint: e, sample: 0.00001%}", "wrong_type"),
            ("{endpoint: e, sample: [1%]}", "wrong_type"),
            ("{endpoint: e, protocol: grpc}", "unknown_key"),
            ("on", "wrong_type"),
        ] {
            let (_, report) = read(&format!("traces: {written}"));
            let codes: Vec<_> = report.diagnostics().iter().map(|found| found.code).collect();
            assert_eq!(codes, [code], "{written}: {}", report.render());
        }
    }
}
