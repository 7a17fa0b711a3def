//! All ways to choose some of several things.

use std::collections::BTreeSet;

/// More things than this are too many to try all ways of choosing some.
const MANY: usize = 13;

/// A choice: one bit per thing.
pub(crate) type Mask = u64;

/// All choices, but the empty one, of things that are all in one of the groups; smaller ones first. None if they are too
/// many.
pub(crate) fn choices(groups: &[Vec<usize>]) -> Option<Vec<Mask>> {
    let mut all: BTreeSet<(u32, Mask)> = BTreeSet::new();
    for group in groups {
        if group.len() > MANY || group.iter().any(|at| *at >= Mask::BITS as usize) {
            return None;
        }
        for bits in 1..1u64 << group.len() {
            let mask: Mask = (0..group.len()).filter(|at| bits >> at & 1 == 1).map(|at| 1 << group[at]).sum();
            all.insert((mask.count_ones(), mask));
        }
    }
    Some(all.into_iter().map(|(_, mask)| mask).collect())
}

/// The choices with one thing less.
pub(crate) fn one_less(mask: Mask) -> impl Iterator<Item = Mask> {
    (0..Mask::BITS).filter(move |at| mask >> at & 1 == 1).map(move |at| mask & !(1 << at))
}

/// The things chosen.
pub(crate) fn chosen<T>(all: &[T], mask: Mask) -> Vec<&T> {
    all.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_choices_once_and_small_ones_first() {
        assert_eq!(choices(&[vec![0, 1], vec![1, 2]]), Some(vec![0b001, 0b010, 0b100, 0b011, 0b110]));
        assert_eq!(choices(&[vec![], vec![5]]), Some(vec![0b100000]));
        assert_eq!(choices(&[(0..=MANY).collect()]), None);
        assert_eq!(one_less(0b101).collect::<Vec<_>>(), [0b100, 0b001]);
        assert_eq!(chosen(&["a", "b", "c"], 0b101), [&"a", &"c"]);
    }
}
