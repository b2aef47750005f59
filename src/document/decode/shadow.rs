//! Reads `shadow` of gateway.yaml.

use super::Field;
use crate::diag::Report;
use crate::document::shadow::ShadowDocument;

const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;

pub(super) fn shadow(section: Field<'_>, report: &mut Report) -> ShadowDocument {
    let [candidates, longest] = section.section("`shadow`", ["candidates", "for"], report);
    ShadowDocument { candidates: candidates.text(report), longest: longest.duration(DAY, SECOND..=30 * DAY, report) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::document::read_gateway;

    fn read(shadow: &str) -> (Option<ShadowDocument>, String) {
        let mut report = Report::new();
        let text = format!("version: 1\nlisteners: [{{address: a}}]\nroutes: [r]\ngrants: [g]\n{shadow}");
        let source = report.add_source("gateway.yaml", text);
        let document = read_gateway(source, &mut report);
        (document.map(|document| document.shadow).filter(|_| !report.has_errors()), report.render())
    }

    #[test]
    fn without_a_directory_there_are_no_candidates_and_with_one_they_last_a_day() {
        for (text, directory, seconds) in [
            ("", None, 86_400),
            ("shadow: {}", None, 86_400),
            ("shadow: {candidates: next}", Some("next"), 86_400),
            ("shadow: {candidates: next, for: 90m}", Some("next"), 5_400),
        ] {
            let (document, report) = read(text);
            let document = document.unwrap_or_else(|| panic!("{text}: {report}"));
            assert_eq!(document.candidates.as_ref().map(|name| name.value.as_str()), directory, "{text}");
            assert_eq!(document.longest, Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["shadow: {candidate: next}", "shadow: {for: 0s}", "shadow: {for: 31d}", "shadow: next"] {
            assert!(read(text).0.is_none(), "{text}");
        }
    }
}
