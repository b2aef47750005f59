//! Keys of objects that another reader could take for one another: a backend that reads `03001` as a number serves the
//! object `3001`, of which the gateway may know better than to let it be touched.

use std::collections::HashSet;
use std::hash::BuildHasher;

use super::domain::{Frame, KindId};

/// The keys of the objects of one kind, each without what readers pass over. Hashes stand for them, so that looking one
/// up needs no memory; a chance match refuses a request that would have been judged without its object.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    seed: foldhash::fast::RandomState,
    keys: HashSet<u64, foldhash::fast::RandomState>,
}

impl Folded {
    /// Takes a key in.
    pub(super) fn insert(&mut self, key: &str) {
        let hash = self.hash(key);
        self.keys.insert(hash);
    }

    fn hash(&self, key: &str) -> u64 {
        fold(key).fold(0, |hash, character| self.seed.hash_one((hash, character)))
    }
}

/// A key without letter case, blanks, full-width forms, and what may stand before a number.
fn fold(key: &str) -> impl Iterator<Item = char> {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => u32::from(c).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(c),
        c => c,
    };
    let folded = key.chars().map(narrow).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.filter(|c| !c.is_whitespace() && !c.is_control()).skip_while(|c| matches!(c, '+' | '0'))
}

impl Frame {
    /// Whether a key that no object of the kind has could be taken for one that some object has. Digits of other scripts
    /// are numbers to many readers, so any could be.
    pub(super) fn resembles_an_object(&self, kind: KindId, key: &str) -> bool {
        let Some(folded) = self.folded_objects.get(&kind.0) else { return false };
        key.chars().any(|c| !c.is_ascii() && c.is_numeric()) || folded.keys.contains(&folded.hash(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_alike_if_some_reader_would_take_them_for_the_same() {
        let cases = [
            ("3001", "03001", true),
            ("3001", "+3001", true),
            ("3001", " 3001", true),
            ("3001", "\u{ff13}001", true),
            ("0", "00", true),
            ("I1", "i1", true),
            ("K", "\u{212a}", true),
            ("3001", "3002", false),
            ("3001", "-3001", false),
            ("3001", "30010", false),
        ];
        for (one, other, alike) in cases {
            assert_eq!(fold(one).eq(fold(other)), alike, "{one:?} and {other:?}");
        }
    }
}
