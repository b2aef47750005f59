//! GUIDs as Entra writes them: tenant ids, object ids, client ids (RFC 9562 section 4, hyphenated form).

use std::fmt;
use std::str::FromStr;

/// A GUID as one number, parsed once at the edge so that comparing two is comparing two integers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub u128);

/// The text is not 8-4-4-4-12 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAGuid;

impl Guid {
    /// The first 128 bits of a digest, as the key of what has no GUID: an issuer by its URL, a subject by its text.
    /// Two texts that meet in them would have to be searched for among 2^64 of one's own; nobody finds one that meets
    /// another's.
    pub fn of_digest(sha256: [u8; 32]) -> Self {
        Self(sha256.iter().take(16).fold(0, |value, byte| (value << 8) | u128::from(*byte)))
    }
}

impl FromStr for Guid {
    type Err = NotAGuid;

    /// Accepts exactly the hyphenated form of 36 characters, in either letter case; no braces, no URN prefix.
    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        let bytes = text.as_bytes();
        let (mut value, mut end) = (0, 0);
        // A million are read at a load, so groups of digits are read whole, and no digit is asked for its place.
        for length in GROUPS {
            let start = if end == 0 { 0 } else { end + 1 };
            if start > 0 && bytes.get(end) != Some(&b'-') {
                return Err(NotAGuid);
            }
            end = start + length;
            let group = bytes.get(start..end).and_then(digits).ok_or(NotAGuid)?;
            value = (value << (4 * length)) | u128::from(group);
        }
        if end == bytes.len() { Ok(Self(value)) } else { Err(NotAGuid) }
    }
}

/// How many digits stand between the hyphens.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// By byte: the value of the hexadecimal digit that it is, or [`NO_DIGIT`].
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let (mut rest, mut byte): (&mut [u8], u8) = (&mut digits, 0);
    while let [digit, behind @ ..] = rest {
        *digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => NO_DIGIT,
        };
        byte = byte.wrapping_add(1);
        rest = behind;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// The number that up to 16 hexadecimal digits are.
fn digits(written: &[u8]) -> Option<u64> {
    let (value, seen) = written.iter().fold((0, 0), |(value, seen), byte| {
        let digit = DIGITS.get(usize::from(*byte)).copied().unwrap_or(NO_DIGIT);
        ((value << 4) | u64::from(digit), seen | digit)
    });
    (seen < 16).then_some(value)
}

impl fmt::Display for Guid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            out,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            v >> 96,
            (v >> 80) & 0xffff,
            (v >> 64) & 0xffff,
            (v >> 48) & 0xffff,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_either_case_and_writes_lower_case() {
        let guid: Guid = "01866573-306F-411e-9B7A-1047AD550D48".parse().unwrap();
        assert_eq!(guid.to_string(), "01866573-306f-411e-9b7a-1047ad550d48");
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "01866573306f411e9b7a1047ad550d48",
            "{01866573-306f-411e-9b7a-1047ad550d48}",
            "01866573-306f-411e-9b7a-1047ad550d4g",
            "01866573-306f-411e-9b7a-1047ad550d4",
            "01866573-306f-411e-9b7a-1047ad550d480",
            "0186657-3306f-411e-9b7a-1047ad550d48",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(NotAGuid), "{text}");
        }
    }
    #[test]
    fn each_place_takes_what_belongs_there_and_nothing_else() {
        const TEXT: &str = "01866573-306f-411e-9b7a-1047ad550d48";
        let value = TEXT.parse::<Guid>().unwrap().0;
        let mut shift = 128;
        for (place, old) in TEXT.char_indices() {
            shift -= if old == '-' { 0 } else { 4 };
            for new in (0..=127).map(char::from) {
                let text = format!("{}{new}{}", &TEXT[..place], &TEXT[place + 1..]);
                let expected = match (old, new.to_digit(16)) {
                    ('-', _) => (new == '-').then_some(value),
                    (_, digit) => digit.map(|digit| (value & !(0xf << shift)) | (u128::from(digit) << shift)),
                };
                assert_eq!(text.parse().ok(), expected.map(Guid), "{text}");
            }
        }
    }
}
