//! The search along one line: the numbers of all kinds but one are fixed.

/// Numbers tried at once. Fixed, so that what is simulated does not depend on the machine.
const PROBES: u32 = 3;

/// A line, and what is known about it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    base: Vec<u32>,
    axis: usize,
    /// The most nodes of the kind that varies.
    max: u32,
    /// Try `max` first: right where most lines have no number that is cheap enough.
    top_first: bool,
    /// The greatest number known not to be enough.
    low: Option<u32>,
    /// The least number known to be enough.
    high: Option<u32>,
}

impl Line {
    /// A line from 0 to `max` of the kind `axis`, the others as in `base`.
    pub(super) fn new(base: Vec<u32>, axis: usize, max: u32, top_first: bool) -> Self {
        Self { base, axis, max, top_first, low: None, high: None }
    }

    fn at(&self, n: u32) -> Vec<u32> {
        let mut counts = self.base.clone();
        counts[self.axis] = n;
        counts
    }

    /// Takes in what `known` says about the numbers of this line: it says yes from some number on, and no up to some
    /// number, so both are found by bisection.
    pub(super) fn learn(&mut self, known: impl Fn(&[u32]) -> Option<bool>) {
        let first = |is: &dyn Fn(Option<bool>) -> bool| {
            let (mut from, mut to) = (0, self.max + 1);
            while from < to {
                let middle = from + (to - from) / 2;
                if is(known(&self.at(middle))) { to = middle } else { from = middle + 1 }
            }
            from
        };
        let enough = first(&|known| known == Some(true));
        let unknown = first(&|known| known != Some(false));
        self.high = (enough <= self.max).then_some(enough);
        self.low = unknown.min(enough).checked_sub(1);
    }

    /// What to try next; nothing when the least number is known, or that there is none.
    pub(super) fn probes(&self) -> Vec<Vec<u32>> {
        let next = self.low.map_or(0, |low| low + 1);
        let Some(high) = self.high else {
            return match next {
                n if n > self.max => Vec::new(),
                _ if self.top_first => vec![self.at(self.max)],
                n => self.doubled(n),
            };
        };
        let gap = high - next;
        let mut tries: Vec<u32> = (1..=PROBES.min(gap))
            .map(|i| next + (u64::from(gap) * u64::from(i) / u64::from(PROBES.min(gap) + 1)) as u32)
            .collect();
        tries.dedup();
        tries.into_iter().map(|n| self.at(n)).collect()
    }

    /// A few numbers from `next` on, each twice the one before, the last at most `max`.
    fn doubled(&self, next: u32) -> Vec<Vec<u32>> {
        let doubles = (0..PROBES).map(|i| next.max(1).saturating_mul(1 << i).min(self.max));
        let mut tries: Vec<u32> = doubles.filter(|n| *n >= next).collect();
        tries.dedup();
        tries.into_iter().map(|n| self.at(n)).collect()
    }

    /// The least number that is enough, if any.
    pub(super) fn found(&self) -> Option<Vec<u32>> {
        self.high.map(|n| self.at(n))
    }
}
