//! From a written date to the time that the machine counts.

use super::rfc3339;

/// Unix seconds of a moment in UTC, by the Gregorian calendar; `None` for one that the calendar does not have, or that
/// lies before 1970 or after 9999.
pub fn unix_seconds(date: [u64; 3], time: [u64; 3]) -> Option<u64> {
    let ([year, month, day], [hour, minute, second]) = (date, time);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counted in eras of 400 years that begin on 1 March, so that the leap day is the last day of its year.
    let year_of_march = year - u64::from(month <= 2);
    let (era, of_era) = (year_of_march / 400, year_of_march % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second;
    // What does not exist (30 February, 25 o'clock) counts as another moment.
    let written = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z");
    (rfc3339(seconds.checked_mul(1000)?) == written).then_some(seconds)
}

/// Reads a moment as RFC 3339 section 5.6 writes it in UTC to the second, such as `2026-09-21T14:13:20Z`, or as a number
/// of Unix seconds.
pub fn moment(text: &str) -> Option<u64> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let three = |text: &str, between: char| -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = text.split(between).map(number).collect();
        numbers?.try_into().ok()
    };
    unix_seconds(three(date, '-')?, three(time, ':')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_moment_is_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1790000000", Some(1_790_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-09-21T14:13:20Z", Some(1_790_000_000)),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-09-21T24:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-09-21 14:13:20Z", None),
            ("2026-09-21T14:13:20", None),
            ("2026-09-21T14:13:20+02:00", None),
            ("-1", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }
}
