//! Where literal segments lead: one look finds the literal that a segment is, or else whether it differs from one in
//! letter case only.
//!
//! What is looked for comes from outside, what it is looked for among does not: a table is built from routes alone and
//! never grows with requests. So nobody can choose keys that collide, and a plain hash will do; whatever is asked, a look
//! ends after as many steps as the builder counted, and every text that is found is compared in full.

use std::collections::BTreeMap;

use super::tree::Literals;
use crate::policy::Words;

/// Up to so many literals are compared one by one.
const FEW: usize = 3;
/// So many steps a look may take; the builder looks for an arrangement in which none takes more.
const MOST_STEPS: usize = 12;

/// The number of a node. The root, which no literal leads to, has none.
pub(super) type NodeId = std::num::NonZeroU32;

/// What a segment is among the literals of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One of them.
    Literal(NodeId),
    /// None of them, but for letter case it would be.
    LookAlike,
    /// Something else.
    Nothing,
}

/// The literals of all nodes.
#[derive(Debug)]
pub(super) struct Edges {
    /// The texts, each once.
    texts: Box<[u8]>,
    edges: Box<[Edge]>,
    indexes: Box<[Index]>,
    slots: Box<[Slot]>,
    /// Whether letter case makes no difference.
    folds: bool,
}

/// Which literals a node has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    first: u32,
    count: u32,
    /// One more than the number of their index, where there are more than a few.
    index: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    /// Those of the text.
    words: Words,
    start: u32,
    length: u32,
    /// None: the text is the folded form of another literal, for look-alikes only.
    to: Option<NodeId>,
    /// Whether what is this text but for letter case of ASCII is a look-alike.
    alike: bool,
}

/// Open addressing: the edges of a hash stand at its place or right behind it, before the next empty slot.
#[derive(Clone, Copy, Debug)]
struct Index {
    first: u32,
    /// The number of slots, a power of two, less one.
    mask: u32,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    tag: u32,
    /// One more than the number of the edge; 0 is none.
    edge: u32,
}

const EMPTY: Slot = Slot { tag: 0, edge: 0 };

impl Slot {
    #[inline]
    fn edge(self, edges: &[Edge]) -> Option<&Edge> {
        edges.get(self.edge.checked_sub(1)? as usize)
    }
}

impl Edges {
    /// What a segment of ASCII is among these literals.
    #[inline]
    pub(super) fn find(&self, range: Range, segment: &[u8]) -> Found {
        if range.count == 0 {
            return Found::Nothing;
        }
        let words = Words::of(segment);
        let mut alike = false;
        if let Some(index) = self.index(range) {
            let hash = hash(segment, words, index.seed);
            for slot in index.from(&self.slots, hash) {
                if *slot == EMPTY {
                    break;
                }
                if slot.tag == tag(hash)
                    && let Some(edge) = slot.edge(&self.edges)
                    && let Some(to) = self.is(edge, words, segment, &mut alike)
                {
                    return Found::Literal(to);
                }
            }
        } else {
            for edge in slice(&self.edges, range.first, range.count) {
                if let Some(to) = self.is(edge, words, segment, &mut alike) {
                    return Found::Literal(to);
                }
            }
        }
        if alike { Found::LookAlike } else { Found::Nothing }
    }

    /// Where a segment of ASCII leads that is this literal; or else `alike` learns if it is a look-alike.
    #[inline]
    fn is(&self, edge: &Edge, words: Words, segment: &[u8], alike: &mut bool) -> Option<NodeId> {
        if edge.length as usize != segment.len() {
            return None;
        }
        if edge.words == words
            && let Some(to) = edge.to
            && (Words::are_all(segment.len()) || self.text(edge) == segment)
        {
            return Some(to);
        }
        if edge.words.small() == words.small() { self.is_folded(edge, segment, alike) } else { None }
    }

    /// The same of a segment that is not the literal letter by letter.
    #[cold]
    fn is_folded(&self, edge: &Edge, segment: &[u8], alike: &mut bool) -> Option<NodeId> {
        let folded = self.text(edge).eq_ignore_ascii_case(segment);
        *alike |= folded && edge.alike;
        edge.to.filter(|_| folded && self.folds)
    }

    /// The same for any segment.
    pub(super) fn find_folding(&self, range: Range, segment: &str) -> Found {
        let lower = if self.folds { lower(segment) } else { segment.to_owned() };
        // A letter that only some foldings turn into one of ASCII is another letter to the others.
        let agreed = segment.chars().map(|c| c.is_ascii()).eq(lower.chars().map(|c| c.is_ascii()));
        let mut same = self.candidates(range, lower.as_bytes());
        let found = same.find_map(|edge| edge.to.filter(|_| agreed && self.text(edge) == lower.as_bytes()));
        if let Some(to) = found {
            return Found::Literal(to);
        }
        let folded = folded(segment);
        let mut alike = self.candidates(range, folded.as_bytes()).filter(|edge| edge.alike);
        match alike.any(|edge| self.text(edge).eq_ignore_ascii_case(folded.as_bytes())) {
            true => Found::LookAlike,
            false => Found::Nothing,
        }
    }

    /// The literals that a text can be, or be but for letter case of ASCII; others may be among them.
    fn candidates(&self, range: Range, text: &[u8]) -> impl Iterator<Item = &Edge> + use<'_> {
        let (slots, wanted, few) = match self.index(range) {
            None => (&[][..], 0, slice(&self.edges, range.first, range.count)),
            Some(index) => {
                let hash = hash(text, Words::of(text), index.seed);
                (index.from(&self.slots, hash), tag(hash), &[][..])
            }
        };
        let met = slots.iter().take_while(|slot| **slot != EMPTY).filter(move |slot| slot.tag == wanted);
        few.iter().chain(met.filter_map(|slot| slot.edge(&self.edges)))
    }

    #[inline]
    fn index(&self, range: Range) -> Option<&Index> {
        self.indexes.get(range.index.checked_sub(1)? as usize)
    }

    #[inline]
    fn text(&self, edge: &Edge) -> &[u8] {
        slice(&self.texts, edge.start, edge.length)
    }
}

impl Index {
    /// The slots from the place of a hash on. Behind the last place there are as many more as a look takes steps.
    #[inline]
    fn from<'s>(&self, slots: &'s [Slot], hash: u64) -> &'s [Slot] {
        let place = u64::from(self.first) + (hash & u64::from(self.mask));
        slots.get(place as usize..).unwrap_or_default()
    }
}

#[inline]
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A part of a list, by where it begins and its length.
#[inline]
pub(super) fn slice<T>(all: &[T], first: u32, count: u32) -> &[T] {
    let first = first as usize;
    all.get(first..first.saturating_add(count as usize)).unwrap_or_default()
}

/// Puts the literals of nodes together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    places: BTreeMap<Box<str>, u32>,
    texts: Vec<u8>,
    edges: Vec<Edge>,
    indexes: Vec<Index>,
    slots: Vec<Slot>,
}

impl Builder {
    /// Takes in the literals of one node.
    pub(super) fn add(&mut self, literals: &Literals) -> Range {
        let first = self.edges.len();
        for (written, to) in literals.written() {
            let start = self.place(written);
            let (words, length) = (Words::of(written.as_bytes()), number(written.len()));
            self.edges.push(Edge { words, start, length, to: Some(to), alike: written.is_ascii() });
        }
        for folded in literals.folded_beyond_ascii() {
            let start = self.place(folded);
            let (words, length) = (Words::of(folded.as_bytes()), number(folded.len()));
            self.edges.push(Edge { words, start, length, to: None, alike: true });
        }
        let added = self.edges.get(first..).unwrap_or_default();
        let range = Range { first: number(first), count: number(added.len()), index: 0 };
        if added.len() <= FEW {
            return range;
        }
        self.arrange(first);
        Range { index: number(self.indexes.len()), ..range }
    }

    /// Done.
    pub(super) fn finish(self, folds: bool) -> Edges {
        Edges {
            texts: self.texts.into(),
            edges: self.edges.into(),
            indexes: self.indexes.into(),
            slots: self.slots.into(),
            folds,
        }
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(known) = self.places.get(text) {
            return *known;
        }
        let start = number(self.texts.len());
        self.texts.extend_from_slice(text.as_bytes());
        self.places.insert(text.into(), start);
        start
    }

    /// Gives the edges from here on an index in which every look is short. If there is none, which takes literals that
    /// are many times the same but for letter case, the last one will do.
    fn arrange(&mut self, first: usize) {
        let count = self.edges.len() - first;
        for attempt in 0..16_u32 {
            let size = (count * 2).next_power_of_two() << (attempt / 4);
            // No secret, only another arrangement.
            let seed = u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let slots = self.arranged(first, size, seed);
            let longest = slots.split(|slot| *slot == EMPTY).map(<[Slot]>::len).max().unwrap_or_default();
            if longest <= MOST_STEPS || attempt == 15 {
                let first = number(self.slots.len());
                self.indexes.push(Index { first, mask: number(size - 1), seed });
                self.slots.extend(slots);
                return;
            }
        }
    }

    fn arranged(&self, first: usize, size: usize, seed: u64) -> Vec<Slot> {
        // Nothing wraps around: what finds no place at the end stands behind it.
        let mut slots = vec![EMPTY; size];
        for (edge, known) in (1..).zip(&self.edges).skip(first) {
            let hash = hash(slice(&self.texts, known.start, known.length), known.words, seed);
            let mask = number(size - 1);
            let mut place = usize::try_from(hash & u64::from(mask)).unwrap_or_default();
            while slots.get(place).is_some_and(|slot| *slot != EMPTY) {
                place += 1;
            }
            slots.resize(slots.len().max(place + 1), EMPTY);
            if let Some(slot) = slots.get_mut(place) {
                *slot = Slot { tag: tag(hash), edge };
            }
        }
        slots.push(EMPTY);
        slots
    }
}

/// Tables are made of files, which are far shorter; a number beyond leads nowhere.
#[inline]
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A hash of a text with these words, to which letters of ASCII in either case are the same.
#[inline]
fn hash(text: &[u8], words: Words, seed: u64) -> u64 {
    let (head, tail) = (words.small().head(), words.small().tail());
    let middle = if Words::are_all(text.len()) { seed } else { hash_of_middle(text, seed) };
    let length = (text.len() as u64).wrapping_mul(0xe703_7ed1_a0b4_28db);
    mixed(mixed(middle ^ length, head), tail)
}

/// That of what the words of a long text leave out.
fn hash_of_middle(text: &[u8], seed: u64) -> u64 {
    let parts = text.get(8..text.len().saturating_sub(8)).unwrap_or_default().chunks(8);
    parts.fold(seed, |state, part| mixed(state, Words::of(part).small().head()))
}

#[inline]
const fn mixed(state: u64, word: u64) -> u64 {
    // Any odd number with its bits well spread.
    const SPREAD: u128 = 0xa076_1d64_78bd_642f;
    let product = ((state ^ word) as u128) * SPREAD;
    (product as u64) ^ ((product >> 64) as u64)
}

/// Without letter case, as readers fold it that know more than ASCII: some letters beyond it fold to letters of it.
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// In lower case, letter by letter.
pub(super) fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::strategy::Strategy;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    /// One node with these literals, which lead to 1, 2, 3 ...
    fn node(texts: &[String], folds: bool) -> (Edges, Range) {
        let mut literals = Literals::default();
        for (number, text) in (1..).zip(texts) {
            literals.enter(text, NodeId::new(number).unwrap(), folds);
        }
        let mut builder = Builder::default();
        let range = builder.add(&literals);
        (builder.finish(folds), range)
    }

    /// What a segment is, as it is said of one: an exact literal, or in lower case one where case makes no difference
    /// and all foldings agree; or else what folds to the same as one of them.
    fn by_definition(texts: &[String], folds: bool, segment: &str) -> Found {
        let mut by_text: BTreeMap<String, u32> = BTreeMap::new();
        let mut by_fold: BTreeMap<String, u32> = BTreeMap::new();
        for (number, text) in (1..).zip(texts) {
            let written = if folds { lower(text) } else { text.clone() };
            let group = by_fold.get(&folded(text)).copied().filter(|_| folds);
            let to = by_text.get(&written).copied().or(group).unwrap_or(number);
            by_text.insert(written, to);
            by_fold.entry(folded(text)).or_insert(to);
        }
        let asked = if folds { lower(segment) } else { segment.to_owned() };
        let agreed = segment.chars().map(|c| c.is_ascii()).eq(asked.chars().map(|c| c.is_ascii()));
        match by_text.get(&asked) {
            Some(to) if agreed => Found::Literal(NodeId::new(*to).unwrap()),
            _ if by_fold.contains_key(&folded(segment)) => Found::LookAlike,
            _ => Found::Nothing,
        }
    }

    fn found(edges: &Edges, range: Range, segment: &str) -> Found {
        let folding = edges.find_folding(range, segment);
        if segment.is_ascii() {
            assert_eq!(edges.find(range, segment.as_bytes()), folding, "{segment:?}");
        }
        folding
    }

    #[test]
    fn a_look_finds_what_the_definition_says_in_any_letters() {
        let pieces = [
            "a", "A", "b", "k", "K", "s", "S", "ss", "SS", "i", "I", "\u{130}", "\u{131}", "\u{17f}", "\u{212a}", "ß",
            "ẞ", "ö", "Ö", "\u{3c3}", "\u{3c2}", "\u{3a3}", "orders", "Orders", "@", "`", "_", "-", "12345678",
        ];
        let piece = proptest::sample::select(pieces.to_vec());
        let text = proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
        let texts = proptest::collection::vec(text.clone(), 0..12);
        let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&(texts, text, proptest::bool::ANY), |(texts, segment, folds)| {
            let (edges, range) = node(&texts, folds);
            for asked in texts.iter().chain([&segment, &segment.to_uppercase(), &segment.to_lowercase()]) {
                proptest::prop_assert_eq!(
                    found(&edges, range, asked),
                    by_definition(&texts, folds, asked),
                    "{:?} among {:?}",
                    asked,
                    &texts
                );
            }
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    #[test]
    fn among_many_literals_every_look_is_short() {
        let kinds: [fn(usize) -> String; 4] = [
            |number| format!("module{number}"),
            |number| number.to_string(),
            |number| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            |number| format!("{}{}", "a".repeat(number % 64), number),
        ];
        for kind in kinds {
            let texts: Vec<String> = (0..10_000).map(kind).collect();
            let (edges, range) = node(&texts, false);
            let longest = edges.slots.split(|slot| *slot == EMPTY).map(<[Slot]>::len).max().unwrap();
            assert!(longest <= MOST_STEPS, "{longest} steps among {} and the like", texts[7]);
            for (number, text) in (1..).zip(&texts).step_by(97) {
                assert_eq!(found(&edges, range, text), Found::Literal(NodeId::new(number).unwrap()), "{text}");
            }
            assert_eq!(found(&edges, range, "elsewhere"), Found::Nothing);
        }
    }

    #[test]
    fn literals_that_differ_in_letter_case_only_are_each_found_however_many() {
        let texts: Vec<String> = (0..256)
            .map(|bits: u32| {
                "abcdefgh"
                    .chars()
                    .enumerate()
                    .map(|(at, c)| match bits >> at & 1 {
                        0 => c,
                        _ => c.to_ascii_uppercase(),
                    })
                    .collect()
            })
            .collect();
        let (edges, range) = node(&texts, false);
        for (number, text) in (1..).zip(&texts) {
            assert_eq!(found(&edges, range, text), Found::Literal(NodeId::new(number).unwrap()), "{text}");
        }
    }
}
