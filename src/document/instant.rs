//! Moments as people write them: RFC 3339 section 5.6, or Unix seconds.

/// The end of the year 9999, beyond which RFC 3339 cannot write; a number above it counts milliseconds, as a rule.
const LAST: u64 = 253_402_300_799;

/// Reads `2026-11-22T10:00:00Z`, with any offset and fraction, or a number of Unix seconds, from 1970 to 9999. A fraction
/// counts as the whole next second, so that what was before a moment stays before it. `T` and `Z` are upper-case letters,
/// and there is no second 60, because Unix seconds have none.
pub(super) fn unix_seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number { text.parse().ok()? } else { rfc3339(text)? };
    (seconds <= LAST).then_some(seconds)
}

fn rfc3339(text: &str) -> Option<u64> {
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    let month = rest.past('-')?.number(2)?;
    let day = rest.past('-')?.number(2)?;
    let hour = rest.past('T')?.number(2)?;
    let minute = rest.past(':')?.number(2)?;
    let second = rest.past(':')?.number(2)?;
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day == 0 || day > days_of(year, month) {
        return None;
    }
    let begun = if rest.past('.').is_some() { rest.fraction()? } else { 0 };
    let local = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let utc = match rest.offset()? {
        (true, ahead) => local.checked_sub(ahead)?,
        (false, behind) => local + behind,
    };
    rest.0.is_empty().then_some(utc + begun)
}

/// What is left to read.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    fn number(&mut self, digits: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        if number.bytes().all(|byte| byte.is_ascii_digit()) { number.parse().ok() } else { None }
    }

    fn past(&mut self, mark: char) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(mark)?;
        Some(self)
    }

    /// The digits of a fraction: 1 if they make more than nothing.
    fn fraction(&mut self) -> Option<u64> {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = self.0.strip_suffix(rest)?;
        self.0 = rest;
        (!digits.is_empty()).then(|| u64::from(digits.bytes().any(|digit| digit != b'0')))
    }

    /// Whether local time is ahead, and by how many seconds.
    fn offset(&mut self) -> Option<(bool, u64)> {
        if self.past('Z').is_some() {
            return Some((true, 0));
        }
        let ahead = self.past('+').is_some();
        if !ahead {
            self.past('-')?;
        }
        let hours = self.number(2)?;
        let minutes = self.past(':')?.number(2)?;
        (hours <= 23 && minutes <= 59).then_some((ahead, (hours * 60 + minutes) * 60))
    }
}

fn days_of(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a Gregorian date of 1970 or later. Counted in eras of 400 years that begin on 1 March, so
/// that the leap day is the last day of its year.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_rfc_3339_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2001-09-09T01:46:40Z", 1_000_000_000),
            ("2026-11-22T10:00:00Z", 1_795_341_600),
            ("2026-11-22T10:00:00+00:00", 1_795_341_600),
            ("2026-11-22T11:30:00+01:30", 1_795_341_600),
            ("2026-11-22T05:00:00-05:00", 1_795_341_600),
            ("2026-11-22T10:00:00-00:00", 1_795_341_600),
            ("2024-02-29T00:00:00Z", 1_709_164_800),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("9999-12-31T23:59:59Z", LAST),
            ("1795341600", 1_795_341_600),
            ("0", 0),
            ("253402300799", LAST),
        ] {
            assert_eq!(unix_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn a_fraction_counts_as_the_next_second() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("1970-01-01T00:00:59.999999999Z", 60),
            ("1970-01-01T01:00:00.5+01:00", 1),
        ] {
            assert_eq!(unix_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00Z",
            "2026-11-22 10:00:00Z",
            "2026-11-22t10:00:00z",
            "2026-11-22T10:00:00z",
            "2026-11-22T10:00:00ZZ",
            " 2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00,5Z",
            "2026-11-22T10:00:00+1:00",
            "2026-11-22T10:00:00+0100",
            "2026-11-22T10:00:00+24:00",
            "2026-11-22T10:00:00+01:60",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2016-12-31T23:59:60Z",
            "2026-00-22T10:00:00Z",
            "2026-13-22T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "2026-11-31T10:00:00Z",
            "2025-02-29T10:00:00Z",
            "2100-02-29T10:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59.5Z",
            "9999-12-31T23:59:59-00:01",
            "+026-11-22T10:00:00Z",
            "2026-+1-22T10:00:00Z",
            "２026-11-22T10:00:00Z",
            "-1",
            "+1",
            "1.5",
            "1795341600000",
            "253402300800",
            "99999999999999999999999",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
