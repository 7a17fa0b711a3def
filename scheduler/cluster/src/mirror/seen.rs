//! Objects of one kind as last seen.
//!
//! A list replaces all that was known: whatever is not set between its beginning and its end is gone. So a watch that has
//! missed something need only list again.

use crate::change::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Objects of one kind, by name.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    objects: BTreeMap<Name, T>,
    listed: Option<BTreeSet<Name>>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: None }
    }
}

impl<T: PartialEq> Seen<T> {
    /// Takes in an object; true if it is new or different.
    pub(crate) fn set(&mut self, name: Name, object: T) -> bool {
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone());
        }
        match self.objects.get_mut(&name) {
            Some(known) if *known == object => false,
            Some(known) => {
                *known = object;
                true
            }
            None => {
                self.objects.insert(name, object);
                true
            }
        }
    }

    /// Takes an object out; true if it was there.
    pub(crate) fn gone(&mut self, name: &Name) -> bool {
        self.objects.remove(name).is_some()
    }

    /// A list begins.
    pub(crate) fn list_begun(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// A list has ended; takes out and names what was not in it.
    pub(crate) fn list_ended(&mut self) -> Vec<Name> {
        let Some(listed) = self.listed.take() else { return Vec::new() };
        let gone: Vec<Name> = self.objects.keys().filter(|name| !listed.contains(name)).cloned().collect();
        gone.iter().for_each(|name| drop(self.objects.remove(name)));
        gone
    }

    /// An object.
    pub(crate) fn get(&self, name: &Name) -> Option<&T> {
        self.objects.get(name)
    }

    /// Those of a namespace, by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Name, &T)> {
        let all = self.objects.range(Name::new(namespace, "")..);
        all.take_while(move |(name, _)| *name.namespace == *namespace)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.objects.iter()
    }
}
