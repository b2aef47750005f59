//! Answers to questions about what is live that cannot be answered.

use http::StatusCode;
use http::header::RETRY_AFTER;

use super::{Answer, problem, with};
use crate::reload::ask::{MOST_PRINCIPALS, Unanswered};

pub(super) fn unanswered(why: Unanswered) -> Answer {
    let later = |code, text| with(problem(StatusCode::SERVICE_UNAVAILABLE, code, text), RETRY_AFTER, "1");
    match why {
        Unanswered::Busy => later("busy", "another question is being answered; one is at a time"),
        Unanswered::Late => later("late", "the answer takes too long; ask `portcullis` with the files instead"),
        Unanswered::FilesChanged => {
            let text = "the files on disk are not those that the live policy was made of, so nobody can say where what is \
                        live is written: reload, or ask `portcullis` what the files say";
            problem(StatusCode::CONFLICT, "files_changed", text)
        }
        Unanswered::TooMany(principals) => {
            let text = format!(
                "this is about {principals} principals, and {MOST_PRINCIPALS} is the most: choose some with \
                 `principal`, in which `*` stands for any letters, or ask `portcullis report` with the files"
            );
            problem(StatusCode::UNPROCESSABLE_ENTITY, "too_many_principals", &text)
        }
        Unanswered::Withheld => {
            let text =
                "everything in this domain is denied, because the rows of its database are too old; `/status` has more";
            problem(StatusCode::CONFLICT, "withheld", text)
        }
        Unanswered::Broken => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "making the answer broke; see the process log")
        }
    }
}
