//! Prefixes of paths, by whole segments, and what an upstream changes in paths with them.

use crate::route::canonical::CanonicalPath;

/// One or more whole segments: `/oms` or `/app/v2`, without a final slash. Of unreserved characters (RFC 3986 section
/// 2.3) alone, so that it has one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// Reads a prefix.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
        let ends = text.len() > 1 && !text.ends_with('/');
        if !ends || !text.bytes().all(unreserved) || CanonicalPath::new(text).is_err() {
            return Err(format!("`{text}` is no prefix of whole segments"));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is behind the prefix in a path: nothing, or something that begins with a slash. `None` where the path has
    /// another beginning; letter case counts unless it is `folded`.
    pub fn rest<'p>(&self, path: &'p str, folded: bool) -> Option<&'p str> {
        let (head, rest) = path.split_at_checked(self.0.len())?;
        let same = if folded { head.eq_ignore_ascii_case(&self.0) } else { *head == *self.0 };
        (same && (rest.is_empty() || rest.starts_with('/'))).then_some(rest)
    }
}

/// What an upstream changes in the path of a permitted request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken off.
    pub strip: Option<Prefix>,
    /// Put in front of what is left.
    pub add: Option<Prefix>,
}

impl Rewrite {
    /// Whether nothing is changed.
    pub const fn is_none(&self) -> bool {
        self.strip.is_none() && self.add.is_none()
    }

    /// The path in its new form. `None` where it does not begin with what is to be taken off; letter case counts unless
    /// it is `folded`.
    pub fn apply(&self, path: &str, folded: bool) -> Option<String> {
        let rest = match &self.strip {
            Some(strip) => strip.rest(path, folded)?,
            None => path,
        };
        let add = self.add.as_ref().map_or("", Prefix::as_str);
        // `/oms` itself is the root behind it, as `/oms/` is.
        let rest = if rest.is_empty() && add.is_empty() { "/" } else { rest };
        Some([add, rest].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_of_whole_segments_and_has_one_spelling() {
        for good in ["/oms", "/app/v2", "/a.b/c_d~"] {
            assert_eq!(Prefix::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "/", "oms", "/oms/", "/a//b", "/a/../b", "/.", "/a b", "/a%20b", "/{x}", "/a;b", "/a?b", "/ä"]
        {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_taken_off_and_put_in_front_by_whole_segments() {
        let rewrite = |strip: &str, add: &str| {
            let prefix = |text: &str| (!text.is_empty()).then(|| Prefix::parse(text).unwrap());
            Rewrite { strip: prefix(strip), add: prefix(add) }
        };
        for (strip, add, path, becomes) in [
            ("", "", "/a/b", Some("/a/b")),
            ("/oms", "", "/oms/a", Some("/a")),
            ("/oms", "", "/oms", Some("/")),
            ("/oms", "", "/oms/", Some("/")),
            ("/oms", "", "/omsx/a", None),
            ("/oms", "", "/OMS/a", None),
            ("/oms", "", "/a/oms", None),
            ("", "/app", "/a", Some("/app/a")),
            ("", "/app", "/", Some("/app/")),
            ("/oms", "/app/v2", "/oms/a%20b/", Some("/app/v2/a%20b/")),
            ("/oms", "/app", "/oms", Some("/app")),
        ] {
            assert_eq!(rewrite(strip, add).apply(path, false).as_deref(), becomes, "{strip} {add} {path}");
        }
        // For backends that fold it too.
        assert_eq!(rewrite("/oms", "/app").apply("/OMS/A", true).as_deref(), Some("/app/A"));
    }
}
