//! The quick way to the canonical form: one pass over the bytes of a path that has nothing in it which any server reads
//! in a way of its own. Almost every path is of this kind; of every other one [`super::canonical`] says what it is, or
//! why it is refused. What passes here passes there too, with the same segments, whatever the backend (the tests hold
//! the two together).

use super::canonical::{Ends, MAX_TARGET};
use super::segment;

/// A byte multiplied by it is that byte eight times over.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each of eight bytes. No byte of ASCII has it.
const HIGHEST: u64 = 0x80 * EACH;
/// The bit that makes a small letter of a capital one.
const SMALL: u64 = 0x20 * EACH;

/// Whether a byte is a letter to everybody, or one of the two that end segments and stand in their names. Of all others
/// somebody makes something of his own, or nobody may send them: encodings, parameters, streams and short names of
/// Windows, sessions of ASP.NET, characters that no path has.
const fn is_plain(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b'.'
            | b'!' | b'$' | b'&' | b'\'' | b')' | b'+' | b',' | b'=' | b'@'
    )
}

/// The highest bits of those of eight bytes that are this one. All are ASCII.
#[inline]
const fn same(word: u64, byte: u8) -> u64 {
    !(word ^ (byte as u64 * EACH)).wrapping_add(0x7f * EACH) & HIGHEST
}

/// The highest bits of those of eight bytes that lie in a range. All are ASCII.
#[inline]
const fn within(word: u64, first: u8, last: u8) -> u64 {
    let least = word.wrapping_add((0x80 - first as u64) * EACH);
    let beyond = word.wrapping_add((0x7f - last as u64) * EACH);
    least & !beyond & HIGHEST
}

/// Splits a path: how many segments it has, and in `ends` where each of them ends. `None` if anything in it is in
/// doubt: a character, a place of a dot, an empty segment, a script with more of the path behind it, its size.
#[inline]
pub(super) fn split(raw: &str, ends: &mut Ends) -> Option<usize> {
    let inner = raw.as_bytes().strip_prefix(b"/").filter(|_| raw.len() <= MAX_TARGET)?;
    let most = ends.len();
    let mut slots = ends.iter_mut();
    let (mut start, mut dots) = (1, 0);
    let (mut at, mut rest) = (1, inner);
    while !rest.is_empty() {
        let word = match rest.split_first_chunk() {
            Some((word, more)) => {
                rest = more;
                u64::from_le_bytes(*word)
            }
            None => last_word(inner, std::mem::take(&mut rest).len()),
        };
        if word & HIGHEST != 0 {
            return None;
        }
        let common = within(word | SMALL, b'a', b'z') | within(word, b'-', b'9') | same(word, b'_');
        if common != HIGHEST && !word.to_le_bytes().into_iter().all(is_plain) {
            return None;
        }
        dots |= same(word, b'.');
        let mut slashes = same(word, b'/');
        while slashes != 0 {
            let end = at + slashes.trailing_zeros() as usize / 8;
            if end == start {
                return None;
            }
            *slots.next()? = u16::try_from(end).ok()?;
            start = end + 1;
            slashes &= slashes - 1;
        }
        at += 8;
    }
    *slots.next()? = u16::try_from(raw.len()).ok()?;
    let count = most - slots.len();
    if dots != 0 && has_doubtful_dot(raw, ends.get(..count)?) { None } else { Some(count) }
}

/// The last bytes of a text, so many and less than eight, as a word. Whatever is not there is a letter.
#[inline]
fn last_word(text: &[u8], count: usize) -> u64 {
    let bits = 8 * count;
    let word = match text.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - bits),
        None => text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    word | (u64::from(b'a') * EACH) << bits
}

/// Whether a segment of a path ends with a dot, or one is a script with more of the path behind it.
#[cold]
fn has_doubtful_dot(raw: &str, ends: &[u16]) -> bool {
    let mut start = 1;
    let before_last = ends.split_last().map_or(&[][..], |(_, others)| others);
    let doubtful = before_last.iter().map(|end| usize::from(*end)).any(|end| {
        let segment = raw.get(start..end).unwrap_or_default();
        start = end + 1;
        segment.ends_with('.') || segment::is_script(segment)
    });
    doubtful || raw.ends_with('.')
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config, TestRunner};

    use crate::route::canonical::CanonicalPath;
    use crate::route::{Backend, Dialect, Readings};

    const ANY: [Dialect; 4] = [Dialect::Strict, Dialect::Iis, Dialect::Tomcat, Dialect::Php];

    fn segments(path: &CanonicalPath<'_>) -> Vec<String> {
        (0..path.len()).map(|index| path.segment(index).unwrap().to_owned()).collect()
    }

    /// Every reading of a path or why it is refused, by the quick way where it has one, and by the careful one.
    fn both(raw: &str, backend: Backend) -> [Result<Vec<Vec<String>>, &'static str>; 2] {
        [Readings::new(raw, backend), Readings::careful(raw, backend)].map(|readings| match readings {
            Ok(readings) => Ok(readings.iter().map(segments).collect()),
            Err(bad) => Err(bad.0),
        })
    }

    fn backends() -> impl Iterator<Item = Backend> {
        ANY.into_iter().flat_map(|dialect| {
            (0..8).map(move |bits| Backend {
                dialect,
                encoded_slash: bits & 1 != 0,
                semicolon: bits & 2 != 0,
                case_insensitive: bits & 4 != 0,
            })
        })
    }

    fn agree(raw: &str) -> Result<(), proptest::test_runner::TestCaseError> {
        for backend in backends() {
            let [quick, careful] = both(raw, backend);
            proptest::prop_assert_eq!(quick, careful, "{:?} before {:?}", raw, backend);
        }
        Ok(())
    }

    fn run(strategy: impl proptest::strategy::Strategy<Value = String>) {
        let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&strategy, |raw| agree(&raw));
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    #[test]
    fn the_quick_way_and_the_careful_one_read_any_text_alike() {
        run("(?s).{0,40}");
        run("/[ -~/.]{0,60}");
    }

    #[test]
    fn the_quick_way_and_the_careful_one_read_what_resembles_a_path_alike() {
        let pieces = [
            "/", "/", "/", "/", "/", "a", "Orders", "42", "T1", ".", "..", "...", ".php", ".aspx", "x.PHP", "v1.2",
            "%20", "%2F", "%2f", "%2e", "%C3%A9", "%", ";", ";v=1", ":", ":$", "~", "~1", "(", "(S(x))", ")", "*", "+",
            "$", "&", "=", "@", "!", "'", ",", "-", "_", "\\", "\"", " ", "é", "\u{0}", "<", "|",
        ];
        let texts = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..14);
        run(proptest::strategy::Strategy::prop_map(texts, |pieces| format!("/{}", pieces.concat())));
    }

    #[test]
    fn at_the_bounds_the_two_ways_agree() {
        for raw in [
            "/a".repeat(63),
            "/a".repeat(64),
            "/a".repeat(65),
            format!("{}/", "/a".repeat(63)),
            format!("{}/", "/a".repeat(64)),
            format!("/{}", "a".repeat(60 * 1024 - 1)),
            format!("/{}", "a".repeat(60 * 1024)),
            String::new(),
            "*".into(),
            "/".into(),
        ] {
            agree(&raw).unwrap();
        }
    }

    #[test]
    fn ordinary_paths_take_the_quick_way() {
        for raw in [
            "/",
            "/orders/4711",
            "/module7/territories/T1/items/42/",
            "/static/app.min.js",
            "/v1.2/a.b/index.php",
            "/.well-known/openid-configuration",
            "/user@example.org/a_b-c",
        ] {
            assert!(CanonicalPath::plain(raw).is_some(), "{raw}");
        }
        for raw in ["/a%20b", "/a;v", "/a:b", "/a~1", "/(a)", "/index.php/x", "/a./b", "/a.", "//", "/a*", "é", "/é"]
        {
            assert!(CanonicalPath::plain(raw).is_none(), "{raw}");
        }
    }
}
