//! The one form of a request target in which it is judged and forwarded. What could be read in two ways is refused,
//! never cleaned, so that the backend reads what the gateway judged.
//!
//! Rules: RFC 9112 section 3.2 (target forms), RFC 3986 sections 2 and 3.3 (characters and segments).

use http::Method;
use http::uri::Uri;

/// The most path segments of a request.
pub const MAX_SEGMENTS: usize = 64;
/// The longest path, and the longest query, in bytes: what the offsets of segments can count. The gateway's own limit is
/// `limits.target_bytes`.
pub const MAX_TARGET: usize = 60 * 1024;

/// Why a target is refused; the word is the subject of the reason `bad_target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget(pub &'static str);

/// A path whose segments were decoded once, after splitting.
#[derive(Clone, Debug)]
pub struct CanonicalPath<'r> {
    raw: &'r str,
    /// The decoded path where decoding changed it.
    decoded: Option<Box<str>>,
    segments: [(u16, u16); MAX_SEGMENTS],
    count: usize,
}

impl<'r> CanonicalPath<'r> {
    /// Checks and splits the path of a request.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn new(raw: &'r str) -> Result<Self, BadTarget> {
        if raw.len() > MAX_TARGET {
            return Err(BadTarget("too_long"));
        }
        let Some(inner) = raw.strip_prefix('/') else { return Err(BadTarget("no_slash")) };
        let mut path = Self { raw, decoded: None, segments: [(0, 0); MAX_SEGMENTS], count: 0 };
        let encoded = raw.bytes().any(|byte| byte == b'%');
        let mut decoded = String::new();
        if encoded {
            decoded.reserve(raw.len());
        }
        let mut start = 1_usize;
        let mut segments = inner.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() && segments.peek().is_some() {
                return Err(BadTarget("empty_segment"));
            }
            check_raw(segment)?;
            let span = if encoded {
                decoded.push('/');
                let from = decoded.len();
                decode_segment(segment, &mut decoded)?;
                check_dots(decoded.get(from..).unwrap_or_default())?;
                (from, decoded.len())
            } else {
                check_dots(segment)?;
                (start, start + segment.len())
            };
            start += segment.len() + 1;
            path.push(span)?;
        }
        if encoded {
            path.decoded = Some(decoded.into());
        }
        Ok(path)
    }

    fn push(&mut self, (from, to): (usize, usize)) -> Result<(), BadTarget> {
        let slot = self.segments.get_mut(self.count).ok_or(BadTarget("too_many_segments"))?;
        let short = |offset| u16::try_from(offset).map_err(|_| BadTarget("too_long"));
        *slot = (short(from)?, short(to)?);
        self.count += 1;
        Ok(())
    }

    fn text(&self) -> &str {
        self.decoded.as_deref().unwrap_or(self.raw)
    }

    /// How many segments there are. `/` has one, which is empty; so has the last of `/a/`.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Never: even `/` has a segment.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A segment, decoded.
    pub fn segment(&self, index: usize) -> Option<&str> {
        let (from, to) = self.segments.get(..self.count)?.get(index)?;
        self.text().get(usize::from(*from)..usize::from(*to))
    }

    /// Everything from a segment to the end, decoded.
    pub fn rest(&self, index: usize) -> Option<&str> {
        let (from, _) = self.segments.get(..self.count)?.get(index)?;
        self.text().get(usize::from(*from)..)
    }
}

/// Whether the method is one that the gateway never forwards: it would hand over the connection (CONNECT), or show
/// what the backend was sent (TRACE).
pub fn is_forbidden(method: &Method) -> bool {
    *method == Method::CONNECT || *method == Method::TRACE
}

/// Checks the parts of a target beside the path.
///
/// # Errors
/// The target is not in origin-form or absolute-form, or its query is not acceptable.
pub fn check_target(uri: &Uri) -> Result<(), BadTarget> {
    match uri.scheme_str() {
        None | Some("http" | "https") => {}
        Some(_) => return Err(BadTarget("scheme")),
    }
    if !uri.path().starts_with('/') {
        return Err(BadTarget("no_slash"));
    }
    let query = uri.query().unwrap_or_default();
    if query.len() > MAX_TARGET {
        return Err(BadTarget("too_long"));
    }
    if query.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'#')) {
        return Err(BadTarget("query_character"));
    }
    Ok(())
}

/// Characters that RFC 3986 allows in a segment, less `;`, which some servers take for the start of parameters.
fn check_raw(segment: &str) -> Result<(), BadTarget> {
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {}
            b';' => return Err(BadTarget("semicolon")),
            b'\\' => return Err(BadTarget("backslash")),
            _ => return Err(BadTarget("path_character")),
        }
    }
    Ok(())
}

/// Decodes a segment once, refusing what no client needs to encode and what some backend would read differently.
fn decode_segment(segment: &str, out: &mut String) -> Result<(), BadTarget> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let decoded = hex_pair(rest.next(), rest.next()).ok_or(BadTarget("percent_encoding"))?;
        match decoded {
            b'/' => return Err(BadTarget("encoded_slash")),
            b'\\' => return Err(BadTarget("encoded_backslash")),
            b'%' => return Err(BadTarget("encoded_percent")),
            b';' => return Err(BadTarget("encoded_semicolon")),
            // Decoded once more, these would end the path.
            b'#' | b'?' => return Err(BadTarget("encoded_delimiter")),
            0..=0x1f | 0x7f => return Err(BadTarget("encoded_control")),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                return Err(BadTarget("needless_encoding"));
            }
            _ => bytes.push(decoded),
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| BadTarget("not_utf8"))?;
    // C1 controls and the like are as invisible as the ASCII ones.
    if text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err(BadTarget("encoded_control"));
    }
    if text.chars().any(is_compatible_separator) {
        return Err(BadTarget("encoded_slash"));
    }
    out.push_str(text);
    Ok(())
}

/// A segment of dots alone walks the tree; one that ends in a dot or blank loses it on some file systems, and then
/// may become one.
fn check_dots(segment: &str) -> Result<(), BadTarget> {
    if segment.starts_with(char::is_whitespace) {
        return Err(BadTarget("leading_blank"));
    }
    let trimmed = segment.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if trimmed.len() == segment.len() {
        return Ok(());
    }
    Err(BadTarget(if trimmed.is_empty() { "dot_segment" } else { "trailing_dot" }))
}

/// Characters that show nothing and that some readers drop: zero-width, joiners, direction marks, byte order mark.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Characters that compatibility normalisation (Unicode NFKC) turns into a dot, a slash or a backslash.
const fn is_compatible_separator(c: char) -> bool {
    matches!(
        c,
        '\u{2024}'
            ..='\u{2026}' | '\u{2044}' | '\u{2215}' | '\u{fe52}' | '\u{fe68}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}'
    )
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        let path = CanonicalPath::new(path).unwrap();
        (0..path.len()).map(|index| path.segment(index).unwrap().to_owned()).collect()
    }

    #[test]
    fn a_path_is_split_first_and_decoded_once() {
        assert_eq!(segments("/"), [""]);
        assert_eq!(segments("/a/b"), ["a", "b"]);
        assert_eq!(segments("/a/b/"), ["a", "b", ""]);
        assert_eq!(segments("/shops/Test%20Shop%20DE/orders"), ["shops", "Test Shop DE", "orders"]);
        assert_eq!(segments("/%c3%a9t%C3%A9"), ["été"]);
        assert_eq!(segments("/a.b/c..d/.well-known"), ["a.b", "c..d", ".well-known"]);
        assert_eq!(CanonicalPath::new("/a/x%20y/z").unwrap().rest(1), Some("x y/z"));
        assert_eq!(CanonicalPath::new("/a/b/c").unwrap().rest(2), Some("c"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_with_its_reason() {
        let cases = [
            ("", "no_slash"),
            ("a", "no_slash"),
            ("*", "no_slash"),
            ("//a", "empty_segment"),
            ("/a//b", "empty_segment"),
            ("/.", "dot_segment"),
            ("/..", "dot_segment"),
            ("/a/../b", "dot_segment"),
            ("/a/./b", "dot_segment"),
            ("/a/...", "dot_segment"),
            ("/a/.%20", "dot_segment"),
            ("/a/%20.", "leading_blank"),
            ("/a/b.", "trailing_dot"),
            ("/a/b%20", "trailing_dot"),
            ("/a;x=1/b", "semicolon"),
            ("/a\\b", "backslash"),
            ("/a%2fb", "encoded_slash"),
            ("/a%2Fb", "encoded_slash"),
            ("/a%5cb", "encoded_backslash"),
            ("/a%252fb", "encoded_percent"),
            ("/a%3bb", "encoded_semicolon"),
            ("/a%23b", "encoded_delimiter"),
            ("/a%3fb", "encoded_delimiter"),
            ("/%20a", "leading_blank"),
            ("/a%c2%a0", "trailing_dot"),
            ("/a%e2%80%8b", "encoded_control"),
            ("/%ef%bb%bfa", "encoded_control"),
            ("/a%ef%bc%8fb", "encoded_slash"),
            ("/%ef%bc%8e%ef%bc%8e", "encoded_slash"),
            ("/a%00", "encoded_control"),
            ("/a%0ab", "encoded_control"),
            ("/a%7f", "encoded_control"),
            ("/a%c2%85", "encoded_control"),
            ("/%2e%2e/a", "needless_encoding"),
            ("/%61dmin", "needless_encoding"),
            ("/a%", "percent_encoding"),
            ("/a%4", "percent_encoding"),
            ("/a%zz", "percent_encoding"),
            ("/a%c0%af", "not_utf8"),
            ("/a%ff", "not_utf8"),
            ("/a b", "path_character"),
            ("/a\"b", "path_character"),
            ("/a{b}", "path_character"),
            ("/é", "path_character"),
        ];
        for (path, reason) in cases {
            assert_eq!(CanonicalPath::new(path).err(), Some(BadTarget(reason)), "{path}");
        }
        let deep = "/a".repeat(MAX_SEGMENTS + 1);
        assert_eq!(CanonicalPath::new(&deep).err(), Some(BadTarget("too_many_segments")));
        let long = format!("/{}", "a".repeat(MAX_TARGET));
        assert_eq!(CanonicalPath::new(&long).err(), Some(BadTarget("too_long")));
    }
}
