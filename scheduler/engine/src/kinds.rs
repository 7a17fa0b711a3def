//! What the kinds ask for, as the nodes of one class see it: tables from an amount to the set of kinds it suffices for.
//!
//! Costs: a table is made in O(kinds log kinds) when other shapes become kinds; a look-up is a binary search.

use crate::device::{Devices, need};
use crate::shape::Shape;
use berth_model::GpuRequest;

/// A set of kinds, by slot.
pub(crate) type KindMask = u64;

/// What the kinds ask for, as the nodes of a class see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassView {
    whole: KindMask,
    shared: KindMask,
    cpu: Steps,
    memory: Steps,
    cpu_each: Ratios,
    memory_each: Ratios,
    share: Steps,
    /// Kinds that ask for at most this many whole devices, or for a share.
    up_to: Vec<KindMask>,
}

/// Kinds by what they need: those that need at most `x` are a prefix.
#[derive(Clone, Debug, Default)]
struct Steps(Vec<(i64, KindMask)>);

/// Kinds by what they need per device, as fractions `need / devices`.
#[derive(Clone, Debug, Default)]
struct Ratios(Vec<(i64, i64, KindMask)>);

impl Steps {
    fn new(mut needs: Vec<(i64, KindMask)>) -> Self {
        needs.sort_unstable();
        let mut all = 0;
        for (_, mask) in &mut needs {
            all |= *mask;
            *mask = all;
        }
        needs.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 = later.1;
            }
            same
        });
        Self(needs)
    }

    fn at_most(&self, x: i64) -> KindMask {
        // Most often everything fits: look at the largest first.
        if let Some((need, all)) = self.0.last()
            && *need <= x
        {
            return *all;
        }
        match self.0.partition_point(|(need, _)| *need <= x) {
            0 => 0,
            n => self.0[n - 1].1,
        }
    }
}

impl Ratios {
    fn new(mut needs: Vec<(i64, i64, KindMask)>) -> Self {
        needs.sort_by(|a, b| (i128::from(a.0) * i128::from(b.1)).cmp(&(i128::from(b.0) * i128::from(a.1))));
        let mut all = 0;
        for (_, _, mask) in &mut needs {
            all |= *mask;
            *mask = all;
        }
        Self(needs)
    }

    /// Kinds of which pods on `rank` devices need at most `x` in all.
    fn fed(&self, x: i64, rank: i64) -> KindMask {
        let fed = |(need, devices, _): &(i64, i64, KindMask)| {
            need.saturating_mul(rank) <= x.saturating_mul(*devices)
        };
        if let Some(most) = self.0.last().filter(|most| fed(most)) {
            return most.2;
        }
        match self.0.partition_point(fed) {
            0 => 0,
            n => self.0[n - 1].2,
        }
    }
}

impl ClassView {
    /// The tables of a class of nodes with these devices, for the kinds it takes.
    pub(crate) fn new<'a>(devices: &Devices, kinds: impl Iterator<Item = (usize, &'a Shape)>) -> Self {
        let mut view = Self { up_to: vec![0; devices.len() + 1], ..Self::default() };
        let total = devices.iter().map(|d| d.total).max().unwrap_or(1);
        let (mut cpu, mut memory, mut share) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu_each, mut memory_each) = (Vec::new(), Vec::new());
        for (at, shape) in kinds {
            let bit = 1 << at;
            let n = if let GpuRequest::Whole(n) = shape.gpu { n } else { 1 };
            if matches!(shape.gpu, GpuRequest::Whole(_)) {
                view.whole |= bit;
                (n as usize..=devices.len()).for_each(|free| view.up_to[free] |= bit);
            } else {
                view.shared |= bit;
                view.up_to.iter_mut().for_each(|mask| *mask |= bit);
                share.push((i64::from(need(shape.gpu, total)), bit));
            }
            cpu.push((shape.cpu, bit));
            memory.push((shape.memory, bit));
            cpu_each.push((shape.cpu, i64::from(n), bit));
            memory_each.push((shape.memory, i64::from(n), bit));
        }
        view.cpu = Steps::new(cpu);
        view.memory = Steps::new(memory);
        view.share = Steps::new(share);
        view.cpu_each = Ratios::new(cpu_each);
        view.memory_each = Ratios::new(memory_each);
        view
    }

    /// Kinds of which one pod finds CPU and memory, and enough of `free` wholly free devices.
    pub(crate) fn base(&self, cpu: i64, memory: i64, free: u32) -> KindMask {
        let up_to = self.up_to[(free as usize).min(self.up_to.len() - 1)];
        up_to & self.cpu.at_most(cpu) & self.memory.at_most(memory)
    }

    /// Kinds that CPU and memory feed on `rank` devices.
    pub(crate) fn fed(&self, cpu: i64, memory: i64, rank: i64) -> KindMask {
        self.cpu_each.fed(cpu, rank) & self.memory_each.fed(memory, rank)
    }

    /// Kinds that fit a device with `left` MiB; whole kinds only if it is wholly free.
    pub(crate) fn fit(&self, left: u32, free: bool) -> KindMask {
        let shared = self.share.at_most(left.into()) & self.shared;
        if free { shared | self.whole } else { shared }
    }

    /// The kinds that the class takes.
    pub(crate) fn taken(&self) -> KindMask {
        self.whole | self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_prefixes_answer_what_fits() {
        let steps = Steps::new(vec![(5, 1), (3, 2), (5, 4)]);
        assert_eq!([2, 3, 4, 5, 9].map(|x| steps.at_most(x)), [0, 2, 2, 7, 7]);
        let ratios = Ratios::new(vec![(16, 2, 1), (12, 1, 2)]);
        assert_eq!([7, 8, 11, 12].map(|x| ratios.fed(x, 1)), [0, 1, 1, 3]);
        assert_eq!(ratios.fed(16, 2), 1);
    }
}
