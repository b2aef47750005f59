//! Reads `log` and `audit` of gateway.yaml.

use super::gateway::word;
use super::{Field, fields, scalar, wrong};
use crate::diag::Report;
use crate::document::Located;
use crate::document::gateway::{AuditDocument, LogDocument, LogTargetDocument, RotateDocument};
use crate::document::parse::{Node, Shape};

const LEVELS: [(&str, ()); 4] = [("error", ()), ("warn", ()), ("info", ()), ("debug", ())];

/// Those of RFC 5424 (table 1) that a service may choose.
const FACILITIES: [(&str, u8); 11] = [
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
    ("user", 1),
    ("daemon", 3),
    ("authpriv", 10),
];

const MIB: u64 = 1024 * 1024;

pub(super) fn log(section: Field<'_>, report: &mut Report) -> LogDocument {
    let [decisions, level, to] = section.section("`log`", ["decisions", "level", "to"], report);
    let default = || Located::new(level.map, "info".to_owned());
    LogDocument {
        decisions: decisions.flag(true, report),
        level: word(level, &LEVELS, report).unwrap_or_else(default),
        to: to.node.and_then(|node| target(node, report)).unwrap_or(LogTargetDocument::Stdout),
    }
}

pub(super) fn audit(section: Field<'_>, report: &mut Report) -> AuditDocument {
    let [required] = section.section("`audit`", ["required"], report);
    let place = required.node.map_or(required.map, |node| node.place);
    AuditDocument { required: Located::new(place, required.flag(false, report)) }
}

/// `stdout`, `{file: ...}` or `{syslog: ...}`.
fn target(node: &Node, report: &mut Report) -> Option<LogTargetDocument> {
    let names =
        |key: &str| matches!(node.shape(), Shape::Map(entries) if entries.iter().any(|entry| &*entry.key == key));
    if matches!(node.shape(), Shape::Scalar { .. }) && !node.is_nothing() {
        return scalar::choice(node, "to", &[("stdout", ())], report).map(|()| LogTargetDocument::Stdout);
    }
    if names("syslog") && !names("file") {
        let [socket, facility] = fields(node, "this syslog", ["syslog", "facility"], report)?;
        let facility = facility.node.and_then(|node| scalar::choice(node, "facility", &FACILITIES, report));
        return Some(LogTargetDocument::Syslog { socket: socket.need_text(report)?, facility: facility.unwrap_or(16) });
    }
    if !matches!(node.shape(), Shape::Map(_)) {
        wrong(node, "`to`", "`stdout`, `{file: ...}` or `{syslog: ...}`", report);
        return None;
    }
    let [file, rotate] = fields(node, "this log file", ["file", "rotate"], report)?;
    let path = file.need_text(report);
    let rotate = rotate.node.and_then(|node| {
        let [size, keep] = fields(node, "`rotate`", ["size", "keep"], report)?;
        let size = size.size(100 * MIB, MIB..=1024 * 1024 * MIB, report);
        Some(RotateDocument { size, keep: u32::try_from(keep.number(5, 0..=1_000, report)).unwrap_or(5) })
    });
    Some(LogTargetDocument::File { path: path?, rotate })
}

#[cfg(test)]
mod tests {
    use crate::diag::Report;
    use crate::document::gateway::{GatewayDocument, LogTargetDocument};
    use crate::document::read_gateway;

    fn read(lines: &str) -> (GatewayDocument, Report) {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: 127.0.0.1:1}}]\nroutes: r\ngrants: g\n{lines}\n");
        let source = report.add_source("gateway.yaml", text);
        (read_gateway(source, &mut report).unwrap(), report)
    }

    #[test]
    fn decisions_go_to_standard_output_a_file_or_syslog() {
        for (written, expected) in [
            ("", "stdout"),
            ("log: {level: warn}", "stdout"),
            ("log: {to: stdout}", "stdout"),
            ("log: {to: {file: d.jsonl}}", "d.jsonl, never"),
            ("log: {to: {file: d.jsonl, rotate: {}}}", "d.jsonl, 104857600 5"),
            ("log: {to: {file: d.jsonl, rotate: {size: 2MiB, keep: 0}}}", "d.jsonl, 2097152 0"),
            ("log: {to: {syslog: /dev/log}}", "/dev/log 16"),
            ("log: {to: {syslog: /run/s, facility: authpriv}}", "/run/s 10"),
        ] {
            let (document, report) = read(written);
            assert_eq!(report.render(), "", "{written}");
            let told = match document.log.to {
                LogTargetDocument::Stdout => "stdout".to_owned(),
                LogTargetDocument::File { path, rotate: None } => format!("{}, never", path.value),
                LogTargetDocument::File { path, rotate: Some(rotate) } => {
                    format!("{}, {} {}", path.value, rotate.size, rotate.keep)
                }
                LogTargetDocument::Syslog { socket, facility } => format!("{} {facility}", socket.value),
            };
            assert_eq!(told, expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_destination_is_a_fault() {
        for (written, code) in [
            ("log: {to: stderr}", "unknown_value"),
            ("log: {to: [stdout]}", "wrong_type"),
            ("log: {to: }", "wrong_type"),
            ("log: {to: {rotate: {keep: 1}}}", "missing_key"),
            ("log: {to: {file: a, syslog: b}}", "unknown_key"),
            ("log: {to: {syslog: a, rotate: {}}}", "unknown_key"),
            ("log: {to: {syslog: a, facility: kern}}", "unknown_value"),
            ("log: {to: {file: a, rotate: {size: 1KiB}}}", "out_of_range"),
            ("log: {to: {file: a, rotate: 5}}", "wrong_type"),
            ("audit: {required: maybe}", "wrong_type"),
        ] {
            let (_, report) = read(written);
            let codes: Vec<_> = report.diagnostics().iter().map(|found| found.code).collect();
            assert_eq!(codes, [code], "{written}: {}", report.render());
        }
    }

    #[test]
    fn an_audit_is_required_only_where_it_says_so() {
        for (written, required) in
            [("", false), ("audit: {}", false), ("audit: {required: false}", false), ("audit: {required: true}", true)]
        {
            assert_eq!(read(written).0.audit.required.value, required, "{written}");
        }
    }
}
