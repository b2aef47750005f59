//! The bearer token of operators' calls that change something (RFC 6750 section 2.1).

use std::path::Path;

use aws_lc_rs::{constant_time, digest};
use http::HeaderValue;

use crate::source::file;

/// The fewest characters of a token: nobody guesses so many over the network.
pub const MIN_TOKEN: usize = 16;

/// Why a call that changes something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `admin.token_file` is not set.
    NotConfigured,
    /// The token file cannot be read or holds too short a token.
    Unusable,
    /// The call carries no bearer token, or more than one.
    Absent,
    /// The token is another one.
    Wrong,
}

impl Fault {
    /// The stable word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotConfigured => "token_not_configured",
            Self::Unusable => "token_unusable",
            Self::Absent => "no_token",
            Self::Wrong => "invalid_token",
        }
    }

    /// What to do about it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotConfigured => {
                "calls that change something need a token: set `admin.token_file` in gateway.yaml and restart"
            }
            Self::Unusable => {
                "the file that `admin.token_file` names cannot be read, or its token has fewer than 16 characters"
            }
            Self::Absent => "send `Authorization: Bearer TOKEN` with the token of `admin.token_file`",
            Self::Wrong => "the token is not the one in `admin.token_file`",
        }
    }
}

/// Whether the `Authorization` lines of a call carry the token in `file`. The comparison takes the same time however
/// much of the token is right.
///
/// # Errors
/// The reason why not.
pub fn check(file: Option<&Path>, authorization: Vec<HeaderValue>) -> Result<(), Fault> {
    let file = file.ok_or(Fault::NotConfigured)?;
    let expected = file::read(file, file::MAX_SECRET).map_err(|_| Fault::Unusable)?;
    let expected = expected.trim_ascii();
    if expected.len() < MIN_TOKEN {
        return Err(Fault::Unusable);
    }
    let [line] = authorization.as_slice() else { return Err(Fault::Absent) };
    let given = bearer(line.as_bytes()).ok_or(Fault::Absent)?;
    // Digests have one length, so not even the length of the token shows.
    let (given, expected) = (digest::digest(&digest::SHA256, given), digest::digest(&digest::SHA256, expected));
    constant_time::verify_slices_are_equal(given.as_ref(), expected.as_ref()).map_err(|_| Fault::Wrong)
}

fn bearer(line: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = line.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";

    fn checked(token: &str, lines: &[&str]) -> Result<(), Fault> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, token).unwrap();
        check(Some(&path), lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect())
    }

    #[test]
    fn only_the_token_itself_passes() {
        let file = format!("{TOKEN}\n");
        let cases: [(&[&str], Result<(), Fault>); 9] = [
            (&["Bearer 0123456789abcdef0123"], Ok(())),
            (&["bearer 0123456789abcdef0123"], Ok(())),
            (&["Bearer 0123456789abcdef012"], Err(Fault::Wrong)),
            (&["Bearer 0123456789abcdef01234"], Err(Fault::Wrong)),
            (&["Basic 0123456789abcdef0123"], Err(Fault::Absent)),
            (&["Bearer "], Err(Fault::Absent)),
            (&["Bear"], Err(Fault::Absent)),
            (&[], Err(Fault::Absent)),
            (&["Bearer 0123456789abcdef0123", "Bearer 0123456789abcdef0123"], Err(Fault::Absent)),
        ];
        for (lines, expected) in cases {
            assert_eq!(checked(&file, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_empty_or_short_token_file_lets_nobody_in() {
        for content in ["", "\n", "short", "   \n  "] {
            assert_eq!(checked(content, &["Bearer short"]), Err(Fault::Unusable), "{content:?}");
        }
    }

    #[test]
    fn without_a_token_file_nobody_comes_in() {
        assert_eq!(check(None, vec![HeaderValue::from_static("Bearer x")]), Err(Fault::NotConfigured));
        let missing = Some(Path::new("no/such/file"));
        assert_eq!(check(missing, vec![HeaderValue::from_static("Bearer x")]), Err(Fault::Unusable));
    }
}
