//! Identifiers for objects that the API server knows by name.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Names and the numbers given to them, in the order in which they were first asked for; a number is never given twice.
#[derive(Clone, Debug)]
pub(crate) struct Ids<K> {
    numbers: BTreeMap<K, u32>,
    names: BTreeMap<u32, K>,
    next: u32,
}

impl<K> Ids<K> {
    /// The first number given is this.
    pub(crate) const fn from(first: u32) -> Self {
        Self { numbers: BTreeMap::new(), names: BTreeMap::new(), next: first }
    }
}

impl<K: Ord + Clone> Ids<K> {
    /// The number of a name, a new one if it has none.
    pub(crate) fn give(&mut self, name: &K) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(name.clone(), number);
        self.names.insert(number, name.clone());
        number
    }

    /// The number of a name.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, name: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.numbers.get(name).copied()
    }

    /// The name that has a number.
    pub(crate) fn name(&self, number: u32) -> Option<&K> {
        self.names.get(&number)
    }

    /// A name is gone; if it comes back it gets another number.
    pub(crate) fn forget<Q: Ord + ?Sized>(&mut self, name: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(number) = self.numbers.remove(name) {
            self.names.remove(&number);
        }
    }
}
