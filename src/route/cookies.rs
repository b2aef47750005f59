//! The pairs of `Cookie` lines (RFC 6265 section 5.4), and which of them some reader could take for one of a given
//! name: servers trim, fold, decode and split names in more ways than one.

use std::borrow::Cow;

use super::canonical::hex_pair;

/// What a pair is beside a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness<'c> {
    /// It has this name, and this value.
    Same(&'c [u8]),
    /// Some reader could take it for one of this name.
    Alike,
    /// It has nothing to do with it.
    Other,
}

/// The pairs of one line, with the blanks around them.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';')
}

/// Compares a pair with a name.
pub fn likeness<'c>(pair: &'c [u8], name: &str) -> Likeness<'c> {
    let pair = trim(pair);
    if let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        && !value.contains(&b',')
    {
        return Likeness::Same(value);
    }
    // Readers of RFC 2965 end a pair at a comma too.
    let alike = pair.split(|byte| *byte == b',').any(|piece| {
        let written = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
        resembles(written, name)
    });
    if alike { Likeness::Alike } else { Likeness::Other }
}

/// A line without the pairs of these names and those that look like them, all others byte for byte; `None` if nothing
/// is left.
pub fn without<'c>(line: &'c [u8], names: &[Box<str>]) -> Option<Cow<'c, [u8]>> {
    let doomed = |pair: &[u8]| names.iter().any(|name| likeness(pair, name) != Likeness::Other);
    if !pairs(line).any(doomed) {
        return Some(Cow::Borrowed(line));
    }
    let left: Vec<&[u8]> = pairs(line).filter(|pair| !doomed(pair)).collect();
    let left = left.join(&b';');
    let left = trim(&left);
    (!left.is_empty()).then(|| Cow::Owned(left.to_vec()))
}

/// Whether two names fold to one: percent-encoding read, letter case and marks ignored.
pub fn resembles(written: &[u8], name: &str) -> bool {
    let quoted = |byte: &u8| matches!(*byte, b' ' | b'\t' | b'"');
    let from = written.iter().position(|byte| !quoted(byte)).unwrap_or(written.len());
    let to = written.iter().rposition(|byte| !quoted(byte)).map_or(from, |last| last + 1);
    let written = written.get(from..to).unwrap_or_default();
    folded(written).eq(folded(name.as_bytes()))
}

/// The same for a parameter of a query, where readers also drop blanks, brackets and control characters around a name.
pub fn resembles_parameter(written: &[u8], name: &str) -> bool {
    // Decoding only ever shortens.
    if written.len() < name.len() {
        return false;
    }
    let mut written = folded(written).skip_while(|byte| *byte == b'-');
    folded(name.as_bytes()).all(|byte| written.next() == Some(byte)) && written.all(|byte| byte == b'-')
}

fn folded(text: &[u8]) -> impl Iterator<Item = u8> {
    Decoded(text).map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' })
}

/// Bytes with their percent-encoding read.
pub(super) struct Decoded<'t>(pub(super) &'t [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        if *first == b'%'
            && let Some(byte) = hex_pair(rest.first().copied(), rest.get(1).copied())
        {
            self.0 = rest.get(2..).unwrap_or_default();
            return Some(byte);
        }
        Some(*first)
    }
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_the_name_or_could_be_read_so_or_is_another() {
        for (pair, expected) in [
            ("erp_token=abc", Likeness::Same(b"abc")),
            (" erp_token=abc ", Likeness::Same(b"abc")),
            ("erp_token=", Likeness::Same(b"")),
            ("erp_token=a=b", Likeness::Same(b"a=b")),
            ("erp_token=\"abc\"", Likeness::Same(b"\"abc\"")),
            ("erp_token", Likeness::Alike),
            ("erp_token =abc", Likeness::Alike),
            ("ERP_TOKEN=abc", Likeness::Alike),
            ("erp-token=abc", Likeness::Alike),
            ("erp.token=abc", Likeness::Alike),
            ("erp%5Ftoken=abc", Likeness::Alike),
            ("%65rp_token=abc", Likeness::Alike),
            ("\"erp_token\"=abc", Likeness::Alike),
            ("a=b, erp_token=abc", Likeness::Alike),
            ("erp_token=abc, b=c", Likeness::Alike),
            ("erp_token2=abc", Likeness::Other),
            ("a_erp_token=abc", Likeness::Other),
            ("a=erp_token", Likeness::Other),
            ("a=erp_token=b", Likeness::Other),
            ("=erp_token", Likeness::Other),
            ("%", Likeness::Other),
            ("", Likeness::Other),
        ] {
            assert_eq!(likeness(pair.as_bytes(), "erp_token"), expected, "{pair}");
        }
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_came() {
        for (line, left) in [
            ("a=b; erp_token=x; c=\"d\"", Some("a=b; c=\"d\"")),
            ("erp_token=x; a=b", Some("a=b")),
            ("a=b;erp_token=x;c=d", Some("a=b;c=d")),
            ("a=b;  c=d;", Some("a=b;  c=d;")),
            ("erp_token=x; ERP_TOKEN=y", None),
            ("erp_token=x", None),
            ("a=b, erp_token=x; c=d", Some("c=d")),
        ] {
            let kept = without(line.as_bytes(), &["erp_token".into()]);
            assert_eq!(kept.as_deref(), left.map(str::as_bytes), "{line}");
        }
    }
}
