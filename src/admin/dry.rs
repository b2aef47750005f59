//! What a dry run says of all that would change.

use serde_json::{Value, json};

use super::answer::set;
use crate::reload::dry::{Compared, NotCompared};
use crate::review::diff::{Places, text};
use crate::review::json;

/// The most bytes of the difference, and of its text, as they stand in the answer: 4 MiB together.
const LARGEST: usize = 3 << 20;
const LARGEST_TEXT: usize = 1 << 20;

/// A difference for an answer; nothing of what is too large.
#[derive(Debug)]
pub(super) struct Told {
    difference: Option<Value>,
    text: Option<String>,
}

/// What is told of a comparison: the JSON and the text of `portcullis diff`; with `all`, nothing is left out of the text unless it
/// is too long.
pub(super) fn told(Compared { found, old, new }: &Compared, all: bool) -> Told {
    let places = Places { old, new };
    let fits = |text: &String| json!(text).to_string().len() <= LARGEST_TEXT;
    let whole = all.then(|| text::difference(found, &places, true)).filter(fits);
    let text = whole.or_else(|| Some(text::difference(found, &places, false)).filter(fits));
    let difference = json::difference(found, &places);
    let bytes = difference.to_string().len();
    Told { difference: (bytes <= LARGEST).then_some(difference), text }
}

/// Adds `diff` and `diff_text`, or `null` and `diff_left_out`, which says why and what to do.
pub(super) fn add(body: &mut Value, told: Result<Told, NotCompared>) {
    let (Told { difference, text }, left_out) = match told {
        Ok(told) => {
            let too_large = told.difference.is_none().then_some(("too_large", TOO_LARGE));
            (told, too_large)
        }
        Err(why) => (Told { difference: None, text: None }, Some(in_words(why))),
    };
    set(body, "diff", difference.unwrap_or_default());
    set(body, "diff_text", json!(text));
    if let Some((why, message)) = left_out {
        set(body, "diff_left_out", json!({ "why": why, "message": message }));
    }
}

const TOO_LARGE: &str = "the difference is larger than 3 MiB: compare the files with `portcullis diff`";

const fn in_words(why: NotCompared) -> (&'static str, &'static str) {
    match why {
        NotCompared::Busy => ("busy", "another dry run is being compared, and one is at a time: ask again"),
        NotCompared::Late => ("late", "it takes too long: compare the files with `portcullis diff`"),
        NotCompared::TextsGone => (
            "texts_gone",
            "what is live was made of files that say something else now, and are too large to be kept in memory: keep \
             them with `reload.last_good`, or compare older files with `portcullis diff`",
        ),
        NotCompared::FilesChanged => ("files_changed", "the files changed while they were compared: ask again"),
        NotCompared::RowsChange => ("rows_change", "rows of databases changed while they were compared: ask again"),
        NotCompared::Broken => ("broken", "the comparison broke, see the process log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::diff::{Difference, TestChange};

    fn compared(tests: usize, letters: usize) -> Compared {
        let test = |number: usize| TestChange { id: format!("{number}"), from: None, to: Some("x".repeat(letters)) };
        let found = Difference { tests: (0..tests).map(test).collect(), ..Difference::default() };
        Compared { found, ..Compared::default() }
    }

    #[test]
    fn what_is_too_large_is_left_out_and_the_text_is_shortened_before_it_is() {
        let cases = [
            // Tests, letters of each, all; whether there is a difference, and the lines of the text.
            (0, 0, false, true, Some(1)),
            (200, 10, false, true, Some(104)),
            (200, 10, true, true, Some(203)),
            (200, 10_000, true, true, Some(104)),
            (500, 10_000, false, false, Some(104)),
            (150, 20_000, false, true, None),
            (500, 20_000, true, false, None),
        ];
        for (tests, letters, all, whole, lines) in cases {
            let mut body = json!({});
            add(&mut body, Ok(told(&compared(tests, letters), all)));
            let found = body["diff_text"].as_str().map(|text| text.lines().count());
            assert_eq!((body["diff"].is_object(), found), (whole, lines), "{tests} {letters} {all}");
            let why = body["diff_left_out"]["why"].as_str();
            assert_eq!(why, (!whole).then_some("too_large"), "{tests} {letters} {all}");
            assert!(body.to_string().len() <= LARGEST + LARGEST_TEXT + 1_000);
        }
    }

    #[test]
    fn each_cause_has_a_word_of_its_own_and_says_what_to_do() {
        let all = [
            NotCompared::Busy,
            NotCompared::Late,
            NotCompared::TextsGone,
            NotCompared::FilesChanged,
            NotCompared::RowsChange,
            NotCompared::Broken,
        ];
        let words: std::collections::BTreeSet<&str> = all.map(|why| in_words(why).0).into();
        assert_eq!(words.len(), all.len());
        for why in all {
            let mut body = json!({});
            add(&mut body, Err(why));
            assert_eq!((&body["diff"], &body["diff_text"]), (&Value::Null, &Value::Null));
            assert!(
                body["diff_left_out"]["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(": ") || why == NotCompared::Broken)
            );
        }
    }
}
