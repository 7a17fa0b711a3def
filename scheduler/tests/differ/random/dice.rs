//! Chance, from a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Chance.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// From 0 to less than this.
    pub(crate) fn up_to<N: TryInto<u64> + TryFrom<u64>>(&mut self, most: N) -> N {
        let most = most.try_into().unwrap_or(1).max(1);
        N::try_from(self.0.random_range(0..most)).unwrap_or_else(|_| unreachable!("it is less"))
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.up_to(of.len());
        &of[at]
    }

    /// One of these, or none.
    pub(crate) fn some<'a>(&mut self, of: &[&'a str]) -> Option<&'a str> {
        if self.chance(75) { Some(*self.pick::<&str>(of)) } else { None }
    }

    /// Some of these, at least one, each once.
    pub(crate) fn several<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut all = of.to_vec();
        self.shuffle(&mut all);
        let count = 1 + self.up_to(all.len());
        all.truncate(count);
        all
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = self.up_to(at + 1);
            list.swap(at, other);
        }
    }

    /// A map of these keys, each with one of its values or not there.
    pub(crate) fn labels(&mut self, keys: &[(&str, &[&str])]) -> Map<String, Value> {
        let mut labels = Map::new();
        for (key, values) in keys {
            if let Some(value) = self.some(values) {
                labels.insert((*key).to_owned(), json!(value));
            }
        }
        labels
    }
}
