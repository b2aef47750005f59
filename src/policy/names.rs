//! Names as small numbers: every name of a domain is interned once, at load.

use std::collections::HashMap;
use std::sync::Arc;

/// Maps whose keys are looked up on the request path: a fast hash, seeded at random.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A table of names and their numbers, in the order of first mention.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: Map<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The number of a name, given now if it has none yet.
    pub fn intern(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    /// The number of a name that is known.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> &str {
        usize::try_from(number).ok().and_then(|index| self.names.get(index)).map_or("", |name| name)
    }

    /// All names, by number.
    pub fn all(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether both have the same names with the same numbers.
    pub fn are(&self, others: &Self) -> bool {
        self.names == others.names
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}
