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
        if bytes.len() != 36 {
            return Err(NotAGuid);
        }
        let mut value = 0_u128;
        for (position, byte) in bytes.iter().enumerate() {
            if matches!(position, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return Err(NotAGuid);
                }
                continue;
            }
            let digit = char::from(*byte).to_digit(16).ok_or(NotAGuid)?;
            value = (value << 4) | u128::from(digit);
        }
        Ok(Self(value))
    }
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
}
