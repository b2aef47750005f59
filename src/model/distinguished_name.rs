//! Names of the subjects of certificates (X.501) as text: RFC 4514, less its choices, so that two names are the same
//! exactly if their texts are.
//!
//! The most specific part comes first. Types have the short names of RFC 4514 section 3 in capitals and their values as
//! text; any other type is written by its number, with `#` and the hexadecimal DER of the value. Letters keep their case.

use std::fmt::Write;

/// The types with short names: those of RFC 4514 section 3.
const KEYWORDS: [(&str, &str); 9] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
];
/// The DER tags of strings that are written as text: UTF8String, NumericString, PrintableString, IA5String.
const TEXT_TAGS: [u8; 4] = [0x0c, 0x12, 0x13, 0x16];

/// One attribute of a name as a certificate has it.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'c> {
    /// The type, in numbers and dots.
    pub kind: &'c str,
    /// The identifier octet of the value (X.690 section 8.1.2).
    pub tag: u8,
    /// The value without identifier and length.
    pub content: &'c [u8],
}

impl<'c> Attribute<'c> {
    fn write(self) -> String {
        let keyword = KEYWORDS.iter().find(|(_, kind)| *kind == self.kind).map(|(keyword, _)| *keyword);
        match (keyword, self.text()) {
            (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(text)),
            (keyword, _) => format!("{}=#{}", keyword.unwrap_or(self.kind), hexadecimal(&der(self.tag, self.content))),
        }
    }

    /// The value as text, if it is a string that everybody reads alike.
    fn text(self) -> Option<&'c str> {
        let is_utf8 = self.tag == 0x0c;
        let readable = TEXT_TAGS.contains(&self.tag) && (is_utf8 || self.content.is_ascii());
        std::str::from_utf8(self.content).ok().filter(|_| readable)
    }
}

/// The text of a name: `parts` in the certificate's order, which is from the root down, each with its attributes.
pub fn write<'c>(parts: impl DoubleEndedIterator<Item = Vec<Attribute<'c>>>) -> String {
    let part = |attributes: Vec<Attribute<'_>>| joined(attributes.into_iter().map(Attribute::write).collect());
    parts.rev().map(part).collect::<Vec<_>>().join(",")
}

/// Attributes of one part have no order of their own.
fn joined(mut attributes: Vec<String>) -> String {
    attributes.sort_unstable();
    attributes.join("+")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', c]),
            '#' if index == 0 => escaped.push_str("\\#"),
            ' ' if index == 0 || index == last => escaped.push_str("\\ "),
            // Two digits for each byte; all of these are one.
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(escaped, "\\{:02x}", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A value as DER (X.690 section 10.1): identifier, length in the fewest octets, contents.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    let mut value = vec![tag];
    match (length.as_slice(), u8::try_from(length.len())) {
        ([], _) => value.push(0),
        ([short @ 0..0x80], _) => value.push(*short),
        (long, octets) => {
            // At most the octets of a `usize`.
            value.push(0x80 | octets.unwrap_or_default());
            value.extend_from_slice(long);
        }
    }
    value.extend_from_slice(content);
    value
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Brings a name that somebody wrote into its one form.
///
/// # Errors
/// What is wrong with it: a clause about the part that is named in it.
pub fn canonical(text: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    let mut attributes = Vec::new();
    for (attribute, end) in split(text)? {
        attributes.push(self::attribute(attribute)?);
        if end != Some('+') {
            parts.push(joined(std::mem::take(&mut attributes)));
        }
    }
    Ok(parts.join(","))
}

/// The attributes of a name as they are written, each with the mark behind it.
fn split(text: &str) -> Result<Vec<(&str, Option<char>)>, String> {
    let mut found = Vec::new();
    let (mut start, mut escape) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escape => escape = false,
            '\\' => escape = true,
            ',' | '+' => {
                found.push((text.get(start..at).unwrap_or_default(), Some(c)));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push((text.get(start..).unwrap_or_default(), None));
    if escape { Err("it ends in the middle of an escape".to_owned()) } else { Ok(found) }
}

fn attribute(written: &str) -> Result<String, String> {
    let (kind, value) = written.split_once('=').ok_or_else(|| format!("`{written}` is not `TYPE=VALUE`"))?;
    if kind.contains(' ') || value.starts_with(' ') || (value.ends_with(' ') && !value.ends_with("\\ ")) {
        return Err(format!(
            "`{written}` has a blank around its type or value; write none, or `\\ ` for one that belongs to the value"
        ));
    }
    let by_name = KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(kind)).map(|(keyword, _)| *keyword);
    if let Some((keyword, _)) = KEYWORDS.iter().find(|(_, number)| *number == kind) {
        return Err(format!("`{kind}` is written `{keyword}`"));
    }
    let is_number = kind.contains('.') && kind.split('.').all(is_plain_number);
    let Some(kind) = by_name.or(is_number.then_some(kind)) else {
        let known: Vec<&str> = KEYWORDS.iter().map(|(keyword, _)| *keyword).collect();
        return Err(format!("`{kind}` is none of {}, nor a number such as `2.5.4.5`", known.join(", ")));
    };
    match value.strip_prefix('#') {
        Some(digits) => {
            let der = bytes(digits).ok_or_else(|| format!("`{value}` is not `#` and pairs of hexadecimal digits"))?;
            if by_name.is_some() && der.first().is_some_and(|tag| TEXT_TAGS.contains(tag)) {
                return Err(format!("`{value}` is a text: write it as one"));
            }
            Ok(format!("{kind}=#{}", hexadecimal(&der)))
        }
        None if by_name.is_none() => {
            Err(format!("the value of `{kind}` is written as `#` and its DER in hexadecimal digits"))
        }
        None => Ok(format!("{kind}={}", escaped(&unescaped(value)?))),
    }
}

fn is_plain_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2)
    };
    if digits.is_empty() { None } else { digits.as_bytes().chunks(2).map(pair).collect() }
}

/// The text that a value stands for.
fn unescaped(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("a value is empty".to_owned());
    }
    let mut found = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '\\' => {
                let marked = rest.get(1..2).filter(|mark| " \"#+,;<=>\\".contains(mark));
                if let Some(mark) = marked {
                    found.extend_from_slice(mark.as_bytes());
                    length = 2;
                } else {
                    let pair = rest.get(1..3).and_then(bytes);
                    found.extend(pair.ok_or_else(|| format!("`{rest}` begins with an unknown escape"))?);
                    length = 3;
                }
            }
            '"' | ';' | '<' | '>' | '\0' => return Err(format!("`{c}` in a value is written `\\{c}`")),
            c => found.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    String::from_utf8(found).map_err(|_| format!("`{value}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf8<'c>(kind: &'c str, text: &'c str) -> Attribute<'c> {
        Attribute { kind, tag: 0x0c, content: text.as_bytes() }
    }

    #[test]
    fn the_most_specific_part_comes_first_and_the_parts_of_a_part_are_sorted() {
        let parts = vec![
            vec![utf8("2.5.4.6", "DE")],
            vec![utf8("2.5.4.10", "Example")],
            vec![utf8("2.5.4.3", "billing"), utf8("0.9.2342.19200300.100.1.1", "7"), utf8("2.5.4.11", "x")],
        ];
        assert_eq!(write(parts.into_iter()), "CN=billing+OU=x+UID=7,O=Example,C=DE");
        assert_eq!(write(Vec::new().into_iter()), "");
    }

    #[test]
    fn no_value_can_look_like_another_part() {
        for (value, written) in [
            ("a,O=Example", "CN=a\\,O=Example"),
            ("a+OU=b", "CN=a\\+OU=b"),
            ("#0c01", "CN=\\#0c01"),
            (" a ", "CN=\\ a\\ "),
            (" ", "CN=\\ "),
            ("a\\", "CN=a\\\\"),
            ("\"<>;", "CN=\\\"\\<\\>\\;"),
            ("a\0\nb", "CN=a\\00\\0ab"),
            ("Ärzte = b", "CN=Ärzte = b"),
        ] {
            let made = write(vec![vec![utf8("2.5.4.3", value)]].into_iter());
            assert_eq!(made, written);
            assert_eq!(canonical(&made).as_deref(), Ok(written), "reads back");
        }
    }

    #[test]
    fn what_is_no_plain_string_or_has_no_short_name_is_written_in_hexadecimal() {
        for (attribute, written) in [
            (Attribute { kind: "2.5.4.5", tag: 0x13, content: b"7" }, "2.5.4.5=#130137"),
            (Attribute { kind: "2.5.4.3", tag: 0x1e, content: b"\0b" }, "CN=#1e020062"),
            (Attribute { kind: "2.5.4.3", tag: 0x13, content: b"\xc3\xa4" }, "CN=#1302c3a4"),
            (Attribute { kind: "2.5.4.3", tag: 0x13, content: b"b" }, "CN=b"),
        ] {
            assert_eq!(write(vec![vec![attribute]].into_iter()), written);
        }
    }

    #[test]
    fn lengths_take_the_fewest_octets() {
        for (length, octets) in
            [(0, &[0_u8][..]), (127, &[127]), (128, &[0x81, 128]), (256, &[0x82, 1, 0]), (65_536, &[0x83, 1, 0, 0])]
        {
            let made = der(4, &vec![7; length]);
            assert_eq!((made[0], &made[1..=octets.len()], made.len()), (4, octets, 1 + octets.len() + length));
        }
    }

    #[test]
    fn each_spelling_of_a_name_has_one_form() {
        for (text, form) in [
            ("CN=billing,O=Example", "CN=billing,O=Example"),
            ("cn=billing,o=Example", "CN=billing,O=Example"),
            ("OU=x+cn=billing,C=DE", "CN=billing+OU=x,C=DE"),
            ("CN=\\41b\\=c\\20,O=a\\2cb", "CN=Ab=c\\ ,O=a\\,b"),
            ("CN=\\C3\\84rzte", "CN=Ärzte"),
            ("2.5.4.5=#130137", "2.5.4.5=#130137"),
            ("CN=#1E020062", "CN=#1e020062"),
            ("DC=internal", "DC=internal"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(form), "{text}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_read_in_one_way_is_refused() {
        for (text, said) in [
            ("", "not `TYPE=VALUE`"),
            ("billing", "not `TYPE=VALUE`"),
            ("CN=a,", "not `TYPE=VALUE`"),
            ("CN=", "empty"),
            ("CN=a, O=b", "blank"),
            ("CN = a", "blank"),
            ("CN=a ,O=b", "blank"),
            ("XY=a", "`XY` is none of CN"),
            ("emailAddress=a", "none of CN"),
            ("2.5.4.3=a", "is written `CN`"),
            ("2.5.4.5=a", "DER"),
            ("2.5.04.5=#0500", "none of CN"),
            ("2.5.4.5=#050", "pairs"),
            ("2.5.4.5=#", "pairs"),
            ("CN=#0c0161", "is a text"),
            ("CN=a\"b", "is written `\\\"`"),
            ("CN=a;O=b", "is written `\\;`"),
            ("CN=a\\", "middle of an escape"),
            ("CN=a\\g1", "unknown escape"),
            ("CN=a\\C", "unknown escape"),
            ("CN=\\ff", "not UTF-8"),
        ] {
            let fault = canonical(text).unwrap_err();
            assert!(fault.contains(said), "{text}: {fault}");
        }
    }
}
