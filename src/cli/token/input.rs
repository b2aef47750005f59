//! The token that is to be explained, as people have it: in a file or on standard input, perhaps with what stood around
//! it in the header or the editor.

use std::io::Read;
use std::path::Path;

use crate::cli::{Exit, Failure};
use crate::source::file;

/// Most bytes that are read: twice what the gateway takes, so that a token that is too large is named as that.
const MOST: u64 = 64 * 1024;

/// A token, and what was taken off it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) token: String,
    pub(super) notes: Vec<&'static str>,
}

/// Reads the token from a file, or from standard input.
///
/// # Errors
/// Exit code 2 where nothing can be read, or it is no text, nothing at all, or more than 64 KiB.
pub(super) fn read(path: Option<&Path>) -> Result<Input, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let bytes = match path {
        Some(path) => {
            let cannot = |why| usage(format!("cannot read the token from `{}`: {why}", path.display()));
            file::read(path, MOST).map_err(cannot)?
        }
        None => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes);
            read.map_err(|error| usage(format!("cannot read the token from standard input: {error}")))?;
            if bytes.len() as u64 > MOST {
                return Err(usage(format!("standard input has more than {MOST} bytes; a token has 32 KiB at most")));
            }
            bytes
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| usage("this is no token: not even text".to_owned()))?;
    let input = tidy(&text);
    if input.token.is_empty() {
        return Err(usage("there is no token; give it with `--token-file`, or on standard input".to_owned()));
    }
    Ok(input)
}

/// Takes off what belongs to the header line or the file rather than to the token.
fn tidy(text: &str) -> Input {
    let mut notes = Vec::new();
    let trimmed = text.trim();
    let (first, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let token = if first.eq_ignore_ascii_case("bearer") {
        notes.push("`Bearer` in front was left out; it belongs to the header `Authorization`");
        rest.trim_start()
    } else {
        trimmed
    };
    // Editors and most commands end a file with a line feed; nobody brings it into a request.
    if trimmed.len() < text.strip_suffix('\n').unwrap_or(text).len() {
        notes.push("blanks or line ends around the token were left out; in a request they would make it invalid");
    }
    Input { token: token.to_owned(), notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_token_is_left_out_and_noted() {
        for (text, notes) in [
            ("a.b.c", 0),
            ("a.b.c\n", 0),
            ("a.b.c\n\n", 1),
            ("a.b.c \n", 1),
            ("  a.b.c", 1),
            ("Bearer a.b.c", 1),
            ("bearer  a.b.c\r\n", 2),
        ] {
            let input = tidy(text);
            assert_eq!((input.token.as_str(), input.notes.len()), ("a.b.c", notes), "{text:?}");
        }
    }

    #[test]
    fn blanks_within_a_token_stay() {
        assert_eq!(tidy("a.b .c").token, "a.b .c");
        assert_eq!(tidy("Basic abc").token, "Basic abc");
        assert_eq!(tidy("Bearer ").token, "");
    }
}
