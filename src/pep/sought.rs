//! Which of the fields that every judgement looks for a head has at all, seen in one pass over its names: most heads have
//! few of them, and to look up one that is not there takes as long as to find one that is.

use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE, VIA};

/// A field that is looked for in every head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    ContentLength,
    Expect,
    TransferEncoding,
    Upgrade,
    Via,
}

impl Sought {
    fn of(name: &HeaderName) -> Option<Self> {
        Some(match name.as_str() {
            "content-length" => Self::ContentLength,
            "expect" => Self::Expect,
            "transfer-encoding" => Self::TransferEncoding,
            "upgrade" => Self::Upgrade,
            "via" => Self::Via,
            _ => return None,
        })
    }

    const fn name(self) -> HeaderName {
        match self {
            Self::ContentLength => CONTENT_LENGTH,
            Self::Expect => EXPECT,
            Self::TransferEncoding => TRANSFER_ENCODING,
            Self::Upgrade => UPGRADE,
            Self::Via => VIA,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The fields of one head. It borrows them, so that nothing can be added that it does not know of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'h> {
    headers: &'h HeaderMap,
    there: u8,
}

impl<'h> Seen<'h> {
    /// Looks at all names.
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let there = headers.keys().filter_map(Sought::of).fold(0, |there, sought| there | sought.bit());
        Self { headers, there }
    }

    /// All lines of a field.
    pub(super) fn lines(&self, sought: Sought) -> impl Iterator<Item = &'h HeaderValue> + use<'h> {
        let is_there = self.there & sought.bit() != 0;
        is_there.then(|| self.headers.get_all(sought.name()).iter()).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Sought; 5] =
        [Sought::ContentLength, Sought::Expect, Sought::TransferEncoding, Sought::Upgrade, Sought::Via];

    proptest! {
        #[test]
        fn what_is_seen_is_what_a_head_has(
            fields in proptest::collection::vec(
                ("content-length|Expect|transfer-encoding|upgrade|via|x-via|accept|te", "[a-z]{0,3}"), 0..12,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let seen = Seen::of(&headers);
            for sought in ALL {
                let there: Vec<_> = headers.get_all(sought.name()).iter().collect();
                prop_assert_eq!(seen.lines(sought).collect::<Vec<_>>(), there, "{:?}", sought);
            }
        }
    }
}
