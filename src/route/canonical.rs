//! The one form of a request target in which it is judged and forwarded. What could be read in two ways is refused,
//! never cleaned, so that the backend reads what the gateway judged. Where an application admits such a form all the
//! same, [`super::Readings`] reads the path once for each way.
//!
//! Rules: RFC 9112 section 3.2 (target forms), RFC 3986 sections 2 and 3.3 (characters and segments).

use http::Method;
use http::uri::Uri;

use super::{plain, segment};

/// The most path segments of a request.
pub const MAX_SEGMENTS: usize = 64;
/// The longest path, and the longest query, in bytes: what the offsets of segments can count. The gateway's own limit
/// is `limits.target_bytes`.
pub const MAX_TARGET: usize = 60 * 1024;

/// Where each segment ends, as an offset into the path. It begins one byte behind the end of the one before, the first
/// behind the slash that every path begins with.
pub(super) type Ends = [u16; MAX_SEGMENTS];

/// Why a target is refused; the word is the subject of the reason `bad_target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget(pub &'static str);

/// How the parts of a path are read that servers disagree about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    /// `%2F`.
    pub(super) slash: EncodedSlash,
    /// `;` and what comes after it.
    pub(super) parameters: Parameters,
    /// Whether names must be ones that Windows gives to one file only.
    pub(super) windows: bool,
}

/// How `%2F` in a segment is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EncodedSlash {
    /// Not at all.
    #[default]
    Refused,
    /// As a letter of the segment.
    Kept,
    /// As the end of the segment.
    Splits,
}

/// How `;` in a segment is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Parameters {
    /// Not at all.
    #[default]
    Refused,
    /// As a letter of the segment.
    Kept,
    /// As the start of what does not belong to the segment.
    Cut,
    /// As the start of what does not belong to the path.
    CutToEnd,
}

/// A path whose segments were decoded once, after splitting.
#[derive(Clone, Debug)]
pub struct CanonicalPath<'r> {
    raw: &'r str,
    /// The path as it is read, where that is not as it came.
    read: Option<Box<str>>,
    ends: Ends,
    count: usize,
}

impl<'r> CanonicalPath<'r> {
    /// Checks and splits the path of a request, as an application has it that admits no exceptions.
    ///
    /// # Errors
    /// The path could be read in two ways.
    #[inline]
    pub fn new(raw: &'r str) -> Result<Self, BadTarget> {
        let mut path = Self::unread(raw);
        if path.split() { Ok(path) } else { Self::careful(raw) }
    }

    /// The same of a path that the quick way leaves in doubt.
    fn careful(raw: &'r str) -> Result<Self, BadTarget> {
        let path = Self::read(raw, Form::default())?;
        if path.script()?.is_some() { Err(BadTarget("path_info")) } else { Ok(path) }
    }

    /// Checks and splits a path that every server reads alike; `None` says only that it may be another one.
    #[inline]
    pub(super) fn plain(raw: &'r str) -> Option<Self> {
        let mut path = Self::unread(raw);
        path.split().then_some(path)
    }

    #[inline]
    const fn unread(raw: &'r str) -> Self {
        Self { raw, read: None, ends: [0; MAX_SEGMENTS], count: 0 }
    }

    /// Splits what was not read yet; whether that could be done the quick way.
    #[inline]
    fn split(&mut self) -> bool {
        let count = plain::split(self.raw, &mut self.ends);
        self.count = count.unwrap_or(0);
        count.is_some()
    }

    /// Checks and splits the path of a request, read in this form.
    ///
    /// # Errors
    /// The path could be read in yet another way.
    pub(super) fn read(raw: &'r str, form: Form) -> Result<Self, BadTarget> {
        if raw.len() > MAX_TARGET {
            return Err(BadTarget("too_long"));
        }
        let Some(inner) = raw.strip_prefix('/') else { return Err(BadTarget("no_slash")) };
        let mut path = Self::unread(raw);
        let cuts = matches!(form.parameters, Parameters::Cut | Parameters::CutToEnd);
        let changes = raw.bytes().any(|byte| byte == b'%' || (cuts && byte == b';'));
        let mut text = String::new();
        if changes {
            text.reserve(raw.len());
        }
        let mut start = 1_usize;
        let mut segments = inner.split('/').peekable();
        while let Some(written) = segments.next() {
            if written.is_empty() && segments.peek().is_some() {
                return Err(BadTarget("empty_segment"));
            }
            segment::check_raw(written, form.parameters != Parameters::Refused)?;
            let named = if cuts { written.split(';').next().unwrap_or_default() } else { written };
            let is_cut = named.len() < written.len();
            if is_cut && named.is_empty() {
                return Err(BadTarget("empty_segment"));
            }
            if changes {
                text.push('/');
                let from = text.len();
                segment::decode(named, form.slash != EncodedSlash::Refused, &mut text)?;
                path.take(text.get(from..).unwrap_or_default(), from, form)?;
            } else {
                path.take(written, start, form)?;
            }
            start += written.len() + 1;
            if is_cut && form.parameters == Parameters::CutToEnd {
                break;
            }
        }
        if changes {
            path.read = Some(text.into());
        }
        Ok(path)
    }

    /// Takes in one written segment, decoded, that begins at `from`. A slash in it was an encoded one.
    fn take(&mut self, decoded: &str, from: usize, form: Form) -> Result<(), BadTarget> {
        if form.slash == EncodedSlash::Refused {
            segment::check_name(decoded, form.windows)?;
            return self.push(from + decoded.len());
        }
        let several = decoded.contains('/');
        let mut start = from;
        for name in decoded.split('/') {
            if several && name.is_empty() {
                return Err(BadTarget("empty_segment"));
            }
            segment::check_name(name, form.windows)?;
            if form.slash == EncodedSlash::Splits {
                self.push(start + name.len())?;
            }
            start += name.len() + 1;
        }
        if form.slash == EncodedSlash::Splits { Ok(()) } else { self.push(from + decoded.len()) }
    }

    fn push(&mut self, end: usize) -> Result<(), BadTarget> {
        let slot = self.ends.get_mut(self.count).ok_or(BadTarget("too_many_segments"))?;
        *slot = u16::try_from(end).map_err(|_| BadTarget("too_long"))?;
        self.count += 1;
        Ok(())
    }

    /// The segment that is a script by its name with more of the path after it, which that script is told as its path
    /// info (RFC 3875 section 4.1.5).
    ///
    /// # Errors
    /// There are two: which of them runs is known to the backend's files only.
    pub(super) fn script(&self) -> Result<Option<usize>, BadTarget> {
        let before_last = 0..self.count.saturating_sub(1);
        let mut scripts = before_last.filter(|index| self.segment(*index).is_some_and(segment::is_script));
        match (scripts.next(), scripts.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(BadTarget("path_info")),
        }
    }

    /// The path up to and with this segment.
    pub(super) fn up_to(&self, index: usize) -> Self {
        Self { count: self.count.min(index + 1), ..self.clone() }
    }

    #[inline]
    fn text(&self) -> &str {
        self.read.as_deref().unwrap_or(self.raw)
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
    #[inline]
    pub fn segment(&self, index: usize) -> Option<&str> {
        let end = usize::from(*self.ends().get(index)?);
        self.text().get(self.start(index)?..end)
    }

    /// Everything from a segment to the end, decoded.
    pub fn rest(&self, index: usize) -> Option<&str> {
        self.ends().get(index)?;
        self.text().get(self.start(index)?..usize::from(*self.ends().last()?))
    }

    #[inline]
    fn start(&self, index: usize) -> Option<usize> {
        match index.checked_sub(1) {
            None => Some(1),
            Some(before) => Some(usize::from(*self.ends().get(before)?) + 1),
        }
    }

    #[inline]
    fn ends(&self) -> &[u16] {
        self.ends.get(..self.count).unwrap_or_default()
    }

    /// Whether all of it is ASCII, decoded: what is written is nothing else.
    #[inline]
    pub(super) fn is_ascii(&self) -> bool {
        self.read.as_ref().is_none_or(|read| read.is_ascii())
    }

    /// All segments, decoded, in order.
    #[inline]
    pub(super) fn segments(&self) -> Segments<'_> {
        Segments { text: self.text().as_bytes(), start: 1, ends: self.ends().iter() }
    }
}

/// Goes through the segments of a path; a copy goes on from the same place.
#[derive(Clone, Debug)]
pub(super) struct Segments<'p> {
    text: &'p [u8],
    start: usize,
    ends: std::slice::Iter<'p, u16>,
}

impl<'p> Iterator for Segments<'p> {
    type Item = &'p [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = usize::from(*self.ends.next()?);
        let segment = self.text.get(self.start..end);
        self.start = end + 1;
        segment
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
/// The target is not in origin-form or absolute-form (`*` is about a server and not about a resource that any route
/// could have), or its query is not acceptable.
pub fn check_target(uri: &Uri) -> Result<(), BadTarget> {
    match uri.scheme_str() {
        None | Some("http" | "https") => {}
        Some(_) => return Err(BadTarget("scheme")),
    }
    match uri.path() {
        "*" => return Err(BadTarget("asterisk_form")),
        "" => return Err(BadTarget("authority_form")),
        path if !path.starts_with('/') => return Err(BadTarget("no_slash")),
        _ => {}
    }
    let query = uri.query().unwrap_or_default();
    if query.len() > MAX_TARGET {
        return Err(BadTarget("too_long"));
    }
    // Without a way out in the middle, so that many bytes are looked at at once.
    let refused = |byte: u8| byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'#');
    if query.bytes().fold(false, |found, byte| found | refused(byte)) {
        return Err(BadTarget("query_character"));
    }
    Ok(())
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
            ("/index.php/extra", "path_info"),
            ("/index.php/", "path_info"),
            ("/a/PAGE.aspx/b", "path_info"),
            ("/a::$DATA", "file_stream"),
            ("/a::%24DATA", "file_stream"),
            ("/(S(x))/a", "session_segment"),
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
