//! JSON lines as machines write them: an object of strings and lists of strings, without escapes. Such lines are read in
//! one pass; all others are left to the library. What is taken here, the library takes too and says the same of it.

use super::json::{Fields, KEYS};

/// The fields of a plain line; the entries of `grants`, as they are written, are added to `held`. `None` for any other
/// line, whatever was added by then.
pub(super) fn read<'t>(text: &'t str, held: &mut Vec<&'t str>) -> Option<Fields<'t>> {
    let mut rest = Rest(text);
    let mut fields = Fields::default();
    rest.mark(b'{')?;
    loop {
        let key = rest.string()?;
        let column = KEYS.iter().position(|known| *known == inner(key))?;
        rest.mark(b':')?;
        let value = match KEYS.get(column) {
            Some(&"grants") => rest.list(|entry| held.push(entry)),
            _ if rest.next() == Some(b'[') => rest.list(|_| {}),
            _ => rest.string(),
        };
        let slot = fields.0.get_mut(column)?;
        if slot.replace(value?).is_some() {
            return None;
        }
        if rest.one_of(b',', b'}')? == b'}' {
            break;
        }
    }
    rest.skip_spaces();
    rest.0.is_empty().then_some(fields)
}

/// What is between the quotes of a string.
fn inner(string: &str) -> &str {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// What has not been read yet.
struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    fn skip_spaces(&mut self) {
        // Machines write few.
        while let [b' ' | b'\t' | b'\r' | b'\n', ..] = self.0.as_bytes() {
            self.0 = self.0.get(1..).unwrap_or_default();
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        self.skip_spaces();
        self.0.as_bytes().first().copied()
    }

    fn mark(&mut self, mark: u8) -> Option<()> {
        self.one_of(mark, mark).map(|_| ())
    }

    /// Takes one of two marks, and says which.
    fn one_of(&mut self, one: u8, other: u8) -> Option<u8> {
        let found = self.next().filter(|found| *found == one || *found == other)?;
        self.0 = self.0.get(1..)?;
        Some(found)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'t str> {
        self.skip_spaces();
        let text = self.0;
        let behind = text.as_bytes().strip_prefix(b"\"")?;
        let end = behind.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        let (string, rest) = text.split_at_checked(end + 2).filter(|(string, _)| string.ends_with('"'))?;
        self.0 = rest;
        Some(string)
    }

    /// A list of strings, as it is written; each is shown to `entry`.
    fn list(&mut self, mut entry: impl FnMut(&'t str)) -> Option<&'t str> {
        self.skip_spaces();
        let text = self.0;
        self.mark(b'[')?;
        if self.next()? == b']' {
            self.mark(b']')?;
        } else {
            loop {
                entry(self.string()?);
                if self.one_of(b',', b']')? == b']' {
                    break;
                }
            }
        }
        text.get(..text.len() - self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::people::json;

    /// What the two readers make of a line.
    fn both(line: &str) -> [Option<(Fields<'_>, Vec<&str>)>; 2] {
        [read, json::fields].map(|reader| {
            let mut held = Vec::new();
            reader(line, &mut held).map(|fields| (fields, held))
        })
    }

    #[test]
    fn lines_as_machines_write_them_are_read_and_mean_what_the_library_says() {
        for line in [
            r#"{"id":"p","tenant":"t","oid":"o","flags":["a"],"groups":[],"grants":["r @n","s"]}"#,
            r#" { "grants" : [ "r" , "s" ] , "status" : "inactive" , "id" : "ä, \u007f" } "#.replace(r"\u007f", "\u{7f}").as_str(),
            "{\"boundary\":[\"n\"],\"subject\":\"\"}\t",
            r#"{"flags":"a","id":["b"],"grants":[]}"#,
        ] {
            let [quick, slow] = both(line);
            assert!(quick.is_some(), "{line}");
            assert_eq!(quick, slow, "{line}");
        }
    }

    #[test]
    fn any_other_line_is_left_to_the_library() {
        for line in [
            "",
            "{}",
            "[]",
            r#"{"id":"a\n"}"#,
            r#"{"id":1}"#,
            r#"{"id":null}"#,
            r#"{"id":"a","id":"b"}"#,
            r#"{"id":"a",}"#,
            r#"{"id":"a"} {"#,
            r#"{"id":"a""#,
            r#"{"id":"a"]"#,
            r#"{"id""a"}"#,
            r#"{"name":"a"}"#,
            r#"{"grants":"r"}"#,
            r#"{"grants":["r",]}"#,
            r#"{"grants":["r""s"]}"#,
            r#"{"grants":[{"role":"R"}]}"#,
            "{\"id\":\"a\u{1}\"}",
            "{\"id\":\"a\t\"}",
        ] {
            assert!(both(line)[0].is_none(), "{line}");
        }
    }

    /// Pieces of lines, most of which fit together.
    fn pieces() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            4 => "\"[a-c@: ]{0,3}\"",
            1 => "\"[ä😀\u{7f}\u{1}\\\\\"/n\t]{0,3}\"",
        ];
        let list = prop::collection::vec(text.clone(), 0..3).prop_map(|all| format!("[{}]", all.join(",")));
        let value = prop_oneof![
            4 => text,
            4 => list,
            1 => prop::sample::select(vec!["null", "1", "{}", "[[]]", "[1]", "[\"a\",{}]", "", "\"", "["]).prop_map(str::to_owned),
        ];
        let key = prop_oneof![9 => prop::sample::select(KEYS.to_vec()), 1 => prop::sample::select(vec!["ID", "", "i\\u0064"])];
        let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\t\r\n"), 1 => Just("\u{a0}")];
        let field = (space.clone(), key, space, value)
            .prop_map(|(before, key, behind, value)| format!("{before}\"{key}\"{behind}:{behind}{value}{before}"));
        let marks = prop_oneof![8 => Just(("{", ",", "}")), 1 => Just(("{", "", "}")), 1 => Just((" {", ",", "} ")), 1 => Just(("", ",", "}}"))];
        (marks, prop::collection::vec(field, 0..5))
            .prop_map(|((begin, between, end), fields)| format!("{begin}{}{end}", fields.join(between)))
    }

    proptest! {
        #[test]
        fn what_is_read_in_one_pass_the_library_reads_and_says_the_same(line in pieces(), cut in 0..200_usize) {
            let cut: String = line.chars().take(cut).collect();
            for line in [&line, &cut] {
                let [quick, slow] = both(line);
                if quick.is_some() {
                    prop_assert_eq!(quick, slow);
                }
            }
        }
    }
}
