//! Between written dates and the time that the machine counts. People write moments as RFC 3339 section 5.6 has them, or
//! as Unix seconds.

/// The end of the year 9999, beyond which RFC 3339 cannot write; a number above it counts milliseconds, as a rule.
const LAST: u64 = 253_402_300_799;

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

/// Reads `2026-11-22T10:00:00Z`, with any offset and fraction, or a number of Unix seconds, from 1970 to 9999. A fraction
/// counts as the whole next second, so that what was before a moment stays before it. `T` and `Z` are upper-case letters,
/// and there is no second 60, because Unix seconds have none.
pub fn moment(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number { text.parse().ok()? } else { written(text)? };
    (seconds <= LAST).then_some(seconds)
}

fn written(text: &str) -> Option<u64> {
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    let month = rest.past('-')?.number(2)?;
    let day = rest.past('-')?.number(2)?;
    let hour = rest.past('T')?.number(2)?;
    let minute = rest.past(':')?.number(2)?;
    let second = rest.past(':')?.number(2)?;
    let local = unix_seconds([year, month, day], [hour, minute, second])?;
    let begun = if rest.past('.').is_some() { rest.fraction()? } else { 0 };
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

/// A moment, counted in milliseconds from the Unix epoch, in RFC 3339: UTC with milliseconds.
pub fn rfc3339(milliseconds: u64) -> String {
    let (seconds, thousandths) = (milliseconds / 1000, milliseconds % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{thousandths:03}Z")
}

/// The Gregorian date that is `days` after 1970-01-01. Counted in eras of 400 years that begin on 1 March, so that the
/// leap day is the last day of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
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
            assert_eq!(moment(text), Some(seconds), "{text}");
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
            assert_eq!(moment(text), Some(seconds), "{text}");
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
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_001, "2100-02-28T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(milliseconds), expected);
        }
    }
}
