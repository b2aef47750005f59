//! Results as JUnit's XML, in the form that build servers read: one suite a file, one case a test.

use std::fmt::Write as _;

use super::Row;

/// The whole document. Writing to a `String` cannot fail.
pub(super) fn document(results: &[Row]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = |results: &[&Row]| results.iter().filter(|result| !result.passed).count();
    let all: Vec<&Row> = results.iter().collect();
    let _ = writeln!(out, "<testsuites name=\"portcullis\" tests=\"{}\" failures=\"{}\">", all.len(), failures(&all));
    let mut files: Vec<&str> = results.iter().map(|result| result.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let of_file: Vec<&Row> = results.iter().filter(|result| result.file == file).collect();
        let (tests, failed, name) = (of_file.len(), failures(&of_file), escaped(file));
        let _ = writeln!(out, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\">");
        for result in of_file {
            case(&mut out, result);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, result: &Row) {
    let title = escaped(&format!("{} {} {}", result.id, result.by, result.request));
    let _ = write!(out, "    <testcase classname=\"{}\" name=\"{title}\"", escaped(&result.file));
    if result.passed {
        out.push_str("/>\n");
        return;
    }
    let message = escaped(&format!("expected {}, found {}", result.expected, result.found));
    let body = escaped(&format!("{}\n{}", result.place, result.why.as_deref().unwrap_or_default()));
    let _ = writeln!(out, ">\n      <failure message=\"{message}\">{body}</failure>\n    </testcase>");
}

/// Text for elements and attributes (XML 1.0 sections 2.2 and 2.4): characters that XML cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced_and_markup_is_escaped() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}\u{ffff}\n"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\u{fffd}\n");
    }
}
