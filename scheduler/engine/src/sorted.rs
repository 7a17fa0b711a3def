//! A sorted set of small values that is quick to look at: sorted vectors of at most [`FULL`] values, in order.
//!
//! Most sets are a few values, which then lie side by side in memory.
//! Costs: a look-up is two binary searches; a change also moves half a vector, and once in a while the list of vectors.

/// A vector this long is split.
const FULL: usize = 128;

/// A sorted set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sorted<T> {
    /// None is empty.
    runs: Vec<Vec<T>>,
}

/// Values in ascending order: what is left of a run, and the runs after it.
#[derive(Clone, Debug)]
pub(crate) struct Up<'a, T> {
    here: std::slice::Iter<'a, T>,
    rest: std::slice::Iter<'a, Vec<T>>,
}

/// Values in descending order: what is left of a run, and the runs before it.
#[derive(Clone, Debug)]
pub(crate) struct Down<'a, T> {
    here: std::slice::Iter<'a, T>,
    rest: std::slice::Iter<'a, Vec<T>>,
}

impl<'a, T> Iterator for Up<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if let Some(value) = self.here.next() {
            return Some(value);
        }
        self.here = self.rest.next()?.iter();
        self.here.next()
    }
}

impl<'a, T> Iterator for Down<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if let Some(value) = self.here.next_back() {
            return Some(value);
        }
        self.here = self.rest.next_back()?.iter();
        self.here.next_back()
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<T: Ord + Copy> Sorted<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All values in ascending order.
    pub(crate) fn iter(&self) -> Up<'_, T> {
        let (first, rest) = match self.runs.split_first() {
            Some((first, rest)) => (&first[..], rest),
            None => (&[][..], &[][..]),
        };
        Up { here: first.iter(), rest: rest.iter() }
    }

    /// The greatest value.
    pub(crate) fn last(&self) -> Option<&T> {
        self.runs.last()?.last()
    }

    /// All values up to this one in descending order.
    pub(crate) fn down_from(&self, most: T) -> Down<'_, T> {
        let run = self.runs.partition_point(|run| run[0] <= most);
        let (last, rest) = match self.runs[..run].split_last() {
            Some((last, rest)) => (&last[..last.partition_point(|value| *value <= most)], rest),
            None => (&[][..], &[][..]),
        };
        Down { here: last.iter(), rest: rest.iter() }
    }

    /// The run in which a value is, if it is in the set.
    fn run_of(&self, value: &T) -> usize {
        self.runs.partition_point(|run| run[0] <= *value).saturating_sub(1)
    }

    /// Enters a value; false if it is there already.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        let at = self.run_of(&value);
        let Some(run) = self.runs.get_mut(at) else {
            self.runs.push(vec![value]);
            return true;
        };
        let Err(place) = run.binary_search(&value) else { return false };
        run.insert(place, value);
        if run.len() == FULL {
            let upper = run.split_off(FULL / 2);
            self.runs.insert(at + 1, upper);
        }
        true
    }

    /// Removes a value; false if it is not there.
    pub(crate) fn remove(&mut self, value: &T) -> bool {
        let at = self.run_of(value);
        let Some(run) = self.runs.get_mut(at) else { return false };
        let Ok(place) = run.binary_search(value) else { return false };
        run.remove(place);
        if run.is_empty() {
            self.runs.remove(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_sorted_set() {
        let mut sorted = Sorted::default();
        let mut plain = BTreeSet::new();
        let mut random = 1_u32;
        for step in 0..20_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (random >> 16) % 1_000;
            if step % 5_000 < 3_000 {
                assert_eq!(sorted.insert(value), plain.insert(value));
            } else {
                assert_eq!(sorted.remove(&value), plain.remove(&value));
            }
            if step % 97 == 0 {
                assert!(sorted.iter().eq(&plain));
                assert!(sorted.down_from(value).eq(plain.range(..=value).rev()));
                assert_eq!((sorted.last(), sorted.is_empty()), (plain.last(), plain.is_empty()));
            }
        }
    }
}
