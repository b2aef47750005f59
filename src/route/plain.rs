//! The quick way to the canonical form: one pass over the bytes of a path that has nothing in it which any server reads
//! in a way of its own. Almost every path is of this kind; of every other one [`super::canonical`] says what it is, or
//! why it is refused. What passes here passes there too, with the same segments, whatever the backend (the tests hold
//! the two together).

use super::canonical::{Ends, MAX_TARGET};
use super::segment;

/// What a byte of a path is to the quick pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A letter to everybody.
    Letter,
    /// The end of a segment.
    Slash,
    /// A dot: a letter, but for where it stands.
    Dot,
    /// Whatever somebody may read in a way of his own, or nobody may send.
    Doubtful,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => Class::Letter,
        b'!' | b'$' | b'&' | b'\'' | b')' | b'+' | b',' | b'=' | b'@' => Class::Letter,
        b'/' => Class::Slash,
        b'.' => Class::Dot,
        // Encodings, parameters, streams and short names of Windows, sessions of ASP.NET, characters that no path has.
        _ => Class::Doubtful,
    }
}

/// The same, to be looked up.
#[allow(clippy::indexing_slicing, reason = "worked out by the compiler, which would stop at a place outside")]
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Doubtful; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = class(byte);
        byte += 1;
    }
    classes
};

/// Splits a path: how many segments it has, and in `ends` where each of them ends. `None` if anything in it is in
/// doubt: a character, a place of a dot, an empty segment, a script with more of the path behind it, its size.
pub(super) fn split(raw: &str, ends: &mut Ends) -> Option<usize> {
    let inner = raw.strip_prefix('/').filter(|_| raw.len() <= MAX_TARGET)?;
    let mut slots = ends.iter_mut();
    let (mut count, mut start, mut dotted) = (0, 1, false);
    for (end, byte) in (1..).zip(inner.bytes()) {
        match *CLASSES.get(usize::from(byte))? {
            Class::Letter => {}
            Class::Dot => dotted = true,
            Class::Slash => {
                let segment = raw.get(start..end)?;
                if segment.is_empty() || (dotted && (segment.ends_with('.') || segment::is_script(segment))) {
                    return None;
                }
                *slots.next()? = u16::try_from(end).ok()?;
                count += 1;
                (start, dotted) = (end + 1, false);
            }
            Class::Doubtful => return None,
        }
    }
    if dotted && raw.ends_with('.') {
        return None;
    }
    *slots.next()? = u16::try_from(raw.len()).ok()?;
    Some(count + 1)
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
