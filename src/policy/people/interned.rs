//! Values as small numbers: each value once, numbered in the order in which they came.

use std::hash::Hash;
use std::sync::Arc;

use crate::policy::names::Map;

/// More values than this are not kept beside the others.
const MAX_ADDED: usize = 4_096;

/// A table of values. A clone shares the values; what is interned into a clone is kept beside what it shares.
#[derive(Clone, Debug)]
pub struct Interned<T> {
    base: Arc<Base<T>>,
    added: Arc<[T]>,
}

#[derive(Debug)]
struct Base<T> {
    values: Vec<T>,
    numbers: Map<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { base: Arc::new(Base { values: Vec::new(), numbers: Map::default() }), added: Arc::new([]) }
    }
}

impl<T> Interned<T> {
    /// The value with this number.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        let index = usize::try_from(number).ok()?;
        let values = &self.base.values;
        match values.get(index) {
            Some(value) => Some(value),
            None => self.get_added(index - values.len()),
        }
    }

    /// Few values are kept there.
    #[cold]
    fn get_added(&self, index: usize) -> Option<&T> {
        self.added.get(index)
    }

    /// Whether both share all values.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base) && Arc::ptr_eq(&self.added, &other.added)
    }

    /// All values, by number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.base.values.iter().chain(self.added.iter())
    }

    /// All values, to be completed in what does not tell one from another. Nothing while the table is shared.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let base = Arc::get_mut(&mut self.base).into_iter().flat_map(|base| base.values.iter_mut());
        base.chain(Arc::get_mut(&mut self.added).into_iter().flatten())
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    /// A copy that shares nothing, for whoever is going to intern many: beside what is shared, each costs a copy of all
    /// that were added.
    pub fn apart(&self) -> Self {
        let values: Vec<T> = self.iter().cloned().collect();
        let numbers = values.iter().cloned().zip(0..).collect();
        Self { base: Arc::new(Base { values, numbers }), added: Arc::new([]) }
    }

    /// The number of a value, given now if it has none yet.
    pub fn intern(&mut self, value: T) -> u32 {
        if let Some(number) = self.find(&value) {
            return number;
        }
        let number = number(self.base.values.len() + self.added.len());
        match Arc::get_mut(&mut self.base) {
            Some(base) if self.added.is_empty() => {
                base.values.push(value.clone());
                base.numbers.insert(value, number);
            }
            _ if self.added.len() < MAX_ADDED => {
                self.added = self.added.iter().cloned().chain([value]).collect();
            }
            _ => {
                let values: Vec<T> = self.iter().cloned().chain([value]).collect();
                let numbers = values.iter().cloned().zip(0..).collect();
                *self = Self { base: Arc::new(Base { values, numbers }), added: Arc::new([]) };
            }
        }
        number
    }

    /// The number of a value that is known.
    pub fn find(&self, value: &T) -> Option<u32> {
        if let Some(number) = self.base.numbers.get(value) {
            return Some(*number);
        }
        let position = self.added.iter().position(|known| known == value)?;
        Some(number(self.base.values.len() + position))
    }
}

/// The largest number stands for all that would not fit; no value has it.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_number_in_every_clone() {
        let mut table: Interned<usize> = Interned::default();
        let numbers: Vec<u32> = (0..10).map(|value| table.intern(value * 7)).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        let kept = table.clone();
        for value in 0..MAX_ADDED + 100 {
            let number = table.intern(value * 7);
            assert_eq!((number, table.get(number)), (u32::try_from(value).unwrap(), Some(&(value * 7))));
        }
        for value in 0..MAX_ADDED + 100 {
            assert_eq!(table.find(&(value * 7)), Some(u32::try_from(value).unwrap()));
        }
        assert_eq!(kept.iter().count(), 10, "what a clone learns, the original does not know");
        assert_eq!(table.iter().count(), MAX_ADDED + 100);
        assert_eq!(kept.get(10), None);
    }
}
