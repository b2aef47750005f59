//! The rows of a database as they were read last: one large text, and beside it those that have changed since.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::source::postgres::id_of;

/// More changed rows than this are taken into the large text when all rows are read again.
const KEPT: usize = 10_000;

/// The rows.
#[derive(Debug)]
pub(super) struct Store {
    all: Arc<String>,
    /// By id: what holds in place of the lines with this id in `all`.
    changed: BTreeMap<String, Changed>,
    /// Counts the changes.
    version: u64,
    /// What changed up to this version is not known one by one any more.
    floor: u64,
}

#[derive(Clone, Debug)]
struct Changed {
    version: u64,
    lines: String,
}

/// The rows at one version.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    all: Arc<String>,
    changed: BTreeMap<String, Changed>,
    pub(super) version: u64,
}

/// Some principals by their ids, and their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Few {
    pub(super) ids: Vec<String>,
    pub(super) lines: String,
}

impl Store {
    pub(super) fn new(all: String) -> Self {
        Self { all: Arc::new(all), changed: BTreeMap::new(), version: 1, floor: 1 }
    }

    /// The rows by now.
    pub(super) fn rows(&self) -> Rows {
        Rows { all: Arc::clone(&self.all), changed: self.changed.clone(), version: self.version }
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Takes changed rows in. Ids without a row have none from now on.
    pub(super) fn put(&mut self, changed: &Few) {
        self.version += 1;
        let mut by_id: HashMap<Cow<'_, str>, String> = HashMap::new();
        for line in changed.lines.split_inclusive('\n') {
            if let Some(id) = id_of(line) {
                by_id.entry(id).or_default().push_str(line);
            }
        }
        for id in &changed.ids {
            let lines = by_id.remove(id.as_str()).unwrap_or_default();
            self.changed.insert(id.clone(), Changed { version: self.version, lines });
        }
    }

    /// What has changed since a version; `None` if that is not known one by one.
    pub(super) fn since(&self, version: u64) -> Option<Few> {
        if version < self.floor {
            return None;
        }
        let mut since = Few::default();
        for (id, changed) in self.changed.iter().filter(|(_, changed)| changed.version > version) {
            since.ids.push(id.clone());
            since.lines.push_str(&changed.lines);
        }
        Some(since)
    }

    /// Takes all rows in that were read after `before`, and `differing`, what [`Rows::differing`] says of the two. What
    /// has changed in the meantime stays. Returns what is new, or `None` where it is more than `most`.
    pub(super) fn replace(&mut self, before: &Rows, all: String, differing: &Few, most: usize) -> Option<Few> {
        self.all = Arc::new(all);
        let newer = |id: &str| self.changed.get(id).is_some_and(|changed| changed.version > before.version);
        let ids: Vec<String> = differing.ids.iter().filter(|id| !newer(id)).cloned().collect();
        let is_left = |line: &&str| id_of(line).is_some_and(|id| !newer(&id));
        let lines: String = differing.lines.split_inclusive('\n').filter(is_left).collect();
        if self.changed.len() > KEPT || ids.len() > most {
            self.changed.retain(|_, changed| changed.version > before.version);
            self.floor = self.floor.max(before.version);
        }
        if ids.len() > most {
            self.version += 1;
            self.floor = self.version;
            return None;
        }
        let new = Few { ids, lines };
        if !new.ids.is_empty() {
            self.put(&new);
        }
        Some(new)
    }
}

impl Rows {
    /// All of them as one text.
    pub(super) fn text(&self) -> Arc<String> {
        if self.changed.is_empty() {
            return Arc::clone(&self.all);
        }
        let mut text = String::with_capacity(self.all.len());
        for line in self.all.split_inclusive('\n') {
            let stays = id_of(line).is_none_or(|id| !self.changed.contains_key(&*id));
            text.push_str(if stays { line } else { "" });
        }
        self.changed.values().for_each(|changed| text.push_str(&changed.lines));
        Arc::new(text)
    }

    /// The principals of which the rows of another reading say something else, and what these say.
    pub(super) fn differing(&self, others: &str) -> Few {
        let text = self.text();
        let seed = RandomState::new();
        // By id: the sum of what its lines say. Whatever their order, equal lines have equal sums.
        let mut known: HashMap<Cow<'_, str>, u64> = HashMap::new();
        for line in text.split_inclusive('\n') {
            let sum = known.entry(id_of(line).unwrap_or_default()).or_default();
            *sum = sum.wrapping_add(seed.hash_one(line));
        }
        let mut found: HashMap<Cow<'_, str>, u64> = HashMap::with_capacity(known.len());
        for line in others.split_inclusive('\n') {
            let sum = found.entry(id_of(line).unwrap_or_default()).or_default();
            *sum = sum.wrapping_add(seed.hash_one(line));
        }
        let differ = |id: &str| known.get(id) != found.get(id);
        let mut ids: Vec<String> =
            known.keys().chain(found.keys()).filter(|id| differ(id)).map(|id| id.to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        let lines = others.split_inclusive('\n').filter(|line| id_of(line).is_none_or(|id| differ(&id))).collect();
        Few { ids, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, says: &str) -> String {
        format!("{{\"id\":\"{id}\",\"grants\":[\"{says}\"]}}\n")
    }

    fn some(rows: &[(&str, &str)], gone: &[&str]) -> Few {
        let ids = rows.iter().map(|(id, _)| *id).chain(gone.iter().copied()).map(str::to_owned).collect();
        Few { ids, lines: rows.iter().map(|(id, says)| line(id, says)).collect() }
    }

    fn sorted(store: &Store) -> Vec<String> {
        let mut lines: Vec<String> = store.rows().text().split_inclusive('\n').map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    fn store() -> Store {
        Store::new(line("a", "1") + &line("b", "1") + &line("c", "1"))
    }

    #[test]
    fn a_changed_row_holds_in_place_of_the_one_before_and_a_row_that_is_gone_is_gone() {
        let mut store = store();
        store.put(&some(&[("b", "2"), ("d", "1")], &["c"]));
        assert_eq!(sorted(&store), [line("a", "1"), line("b", "2"), line("d", "1")]);
        store.put(&some(&[("c", "3")], &["d"]));
        assert_eq!(sorted(&store), [line("a", "1"), line("b", "2"), line("c", "3")]);
    }

    #[test]
    fn what_has_changed_since_a_version_is_known_until_it_is_too_much() {
        let mut store = store();
        let before = store.version();
        store.put(&some(&[("b", "2")], &[]));
        let between = store.version();
        store.put(&some(&[], &["a"]));
        let both = Few { ids: vec!["a".into(), "b".into()], lines: line("b", "2") };
        assert_eq!(store.since(before), Some(both));
        assert_eq!(store.since(between), Some(some(&[], &["a"])));
        assert_eq!(store.since(store.version()), Some(Few::default()));
        let (rows, new) = (store.rows(), line("x", "1"));
        let differing = rows.differing(&new);
        assert_eq!(store.replace(&rows, new, &differing, 1), None);
        assert_eq!((store.since(between), sorted(&store)), (None, vec![line("x", "1")]));
    }

    #[test]
    fn a_second_reading_finds_what_was_missed_and_takes_nothing_back_that_came_in_the_meantime() {
        let mut store = store();
        let before = store.rows();
        // Read before `b` was revoked; that it was came while it was being read.
        let all = line("a", "2") + &line("b", "1");
        store.put(&some(&[], &["b"]));
        let differing = before.differing(&all);
        assert_eq!(differing, some(&[("a", "2")], &["c"]));
        assert_eq!(store.replace(&before, all, &differing, 9), Some(differing));
        assert_eq!(sorted(&store), [line("a", "2")]);
    }

    #[test]
    fn the_order_of_rows_does_not_tell_two_readings_apart() {
        let store = store();
        let all = line("c", "1") + &line("a", "1") + &line("b", "1");
        assert_eq!(store.rows().differing(&all), Few::default());
        let twice = all.clone() + &line("a", "1");
        assert_eq!(store.rows().differing(&twice).ids, ["a"]);
    }
}
