//! Names and the indices they stand for.

use crate::input::error::InputError;
use crate::input::yaml::At;
use rustc_hash::FxHashMap;

/// The names of one kind of object, by index.
pub(super) struct Names {
    index: FxHashMap<String, usize>,
    list: Vec<String>,
}

impl Names {
    /// The names in the order of the indices.
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let list: Vec<String> = names.map(str::to_owned).collect();
        // The first of equal names counts; duplicates have been refused before.
        let index = list.iter().enumerate().rev().map(|(i, name)| (name.clone(), i)).collect();
        Self { index, list }
    }

    /// The index of the object that `at` names.
    pub(super) fn find(&self, kind: &str, at: &At<'_>) -> Result<usize, InputError> {
        self.lookup(kind, at.text()?, at)
    }

    /// The index of `name`, which is at `at` as a key or a value.
    pub(super) fn lookup(&self, kind: &str, name: &str, at: &At<'_>) -> Result<usize, InputError> {
        self.index.get(name).copied().ok_or_else(|| {
            let shown = crate::input::error::shown(name);
            InputError { allowed: self.known(), ..at.problem(format_args!("there is no {kind} {shown}")) }
        })
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The first few names, for an error.
    fn known(&self) -> String {
        const SHOWN: usize = 8;
        let mut known = self.list.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.list.len() {
            0 => known.push_str("none, as none is defined"),
            n if n > SHOWN => known.push_str(&format!(" and {} more", n - SHOWN)),
            _ => {}
        }
        known
    }
}

/// Refuses a name that has been seen before; returns it as a `String`.
pub(super) fn unique(
    seen: &mut FxHashMap<String, ()>,
    kind: &str,
    name: &str,
    at: &At<'_>,
) -> Result<String, InputError> {
    match seen.insert(name.to_owned(), ()) {
        None => Ok(name.to_owned()),
        Some(()) => {
            let shown = crate::input::error::shown(name);
            Err(InputError {
                allowed: "a name that is not taken".into(),
                ..at.problem(format_args!("{kind} {shown} is defined twice"))
            })
        }
    }
}
