//! Texts as words: short ones, as almost all names in requests are, take a few steps to compare and to hash.

/// The first and the last eight bytes of a text. Together with its length they are all of it, unless it is a long one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    head: u64,
    tail: u64,
}

/// The bit that makes a small letter of a capital one, in each of eight bytes.
const SMALL: u64 = 0x2020_2020_2020_2020;

impl Words {
    /// The longest text, in bytes, of which they are all.
    pub const MOST: usize = 16;

    /// Those of a text.
    #[inline]
    pub fn of(text: &[u8]) -> Self {
        match (text.first_chunk(), text.last_chunk()) {
            (Some(head), Some(tail)) => Self { head: u64::from_le_bytes(*head), tail: u64::from_le_bytes(*tail) },
            _ => Self { head: short(text), tail: 0 },
        }
    }

    /// Whether they are all of a text of this length, in bytes.
    #[inline]
    pub const fn are_all(length: usize) -> bool {
        length <= Self::MOST
    }

    /// The first eight bytes as a number; of a shorter text, all of it.
    #[inline]
    pub const fn head(self) -> u64 {
        self.head
    }

    /// The last eight bytes as a number; of a shorter text, 0.
    #[inline]
    pub const fn tail(self) -> u64 {
        self.tail
    }

    /// The same with each letter of ASCII a small one. Some other characters become others, too.
    #[inline]
    pub const fn small(self) -> Self {
        Self { head: self.head | SMALL, tail: self.tail | SMALL }
    }
}

/// A text of less than eight bytes as a number; two of the same length have the same only if they are the same.
#[inline]
fn short(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    // The first, the middle and the last of up to three are all of them, without a way for each length.
    let byte = |index: usize, place: u32| text.get(index).map_or(0, |byte| u64::from(*byte) << (8 * place));
    byte(0, 0) | byte(text.len() / 2, 1) | byte(text.len().saturating_sub(1), 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The law that every comparison by words stands on.
        #[test]
        fn short_texts_of_one_length_have_the_same_words_only_if_they_are_the_same(
            length in 0..=Words::MOST,
            (one, two) in (prop::collection::vec(0_u8..3, Words::MOST), prop::collection::vec(0_u8..3, Words::MOST)),
            place in 0..Words::MOST,
        ) {
            let (one, two) = (&one[..length], &two[..length]);
            prop_assert_eq!(Words::of(one) == Words::of(two), one == two);
            let mut other = one.to_vec();
            if let Some(byte) = other.get_mut(place) {
                *byte ^= 1;
                prop_assert_ne!(Words::of(one), Words::of(&other), "{:?} and {:?}", one, other);
            }
        }

        #[test]
        fn texts_that_differ_in_letter_case_only_have_the_same_small_words(text in "[ -~]{0,30}") {
            let small = |text: &str| Words::of(text.as_bytes()).small();
            prop_assert_eq!(small(&text.to_ascii_uppercase()), small(&text.to_ascii_lowercase()));
        }
    }

    #[test]
    fn of_longer_texts_they_are_not_all() {
        assert!(Words::are_all(16) && !Words::are_all(17));
        assert_eq!(Words::of(b"aaaaaaaabcccccccc"), Words::of(b"aaaaaaaadcccccccc"));
    }
}
