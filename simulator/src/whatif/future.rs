//! One future of a cluster.

use super::{Change, Horizon};
use crate::case::Case;
use crate::world::{Options, SimError, Witness, World};
use berth_model::{Budget, Cause, Decision, Event, Placement, PodId, Timestamp, WorkloadId};
use std::collections::BTreeMap;

/// A pod was evicted: when, why, for whom.
pub(super) type Eviction = (Timestamp, Cause, Option<WorkloadId>);

/// What was decided about each workload, in order.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) placed: BTreeMap<WorkloadId, Vec<(Timestamp, PodId, Placement)>>,
    pub(super) evicted: BTreeMap<WorkloadId, Vec<Eviction>>,
}

impl Seen {
    /// When pods of a workload are first placed from `from` on.
    pub(super) fn placed_from(&self, workload: WorkloadId, from: Timestamp) -> Option<Timestamp> {
        self.placed.get(&workload)?.iter().map(|(at, ..)| *at).find(|at| *at >= from)
    }
}

impl Witness for Seen {
    fn event(&mut self, _event: &Event) -> Result<(), SimError> {
        Ok(())
    }

    fn decided(&mut self, now: Timestamp, _budget: Budget, decisions: &[Decision]) -> Result<(), SimError> {
        for decision in decisions {
            match decision {
                Decision::Place { pod, at } => {
                    self.placed.entry(pod.workload).or_default().push((now, *pod, *at));
                }
                Decision::Evict { pod, cause, beneficiary, .. } => {
                    self.evicted.entry(pod.workload).or_default().push((now, *cause, *beneficiary));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A reason, and what would change it, in words.
type Why = (String, String);

/// A future that is led on.
pub(super) struct Future<'b> {
    world: World<'b>,
    /// Workloads that were there at the start, and those that were submitted then.
    there: Vec<WorkloadId>,
    end: End,
}

/// How a future began and ended.
#[derive(Default)]
pub(super) struct End {
    /// Who did not have all minimums running at the start.
    pub(super) short: Vec<WorkloadId>,
    /// Why each of those did not start at once that did not.
    pub(super) at_first: BTreeMap<WorkloadId, Why>,
    /// Why those wait that wait at the end.
    pub(super) at_last: BTreeMap<WorkloadId, Why>,
    /// GPU work that evictions have thrown away since the start.
    pub(super) lost_share_millis: i128,
}

impl<'b> Future<'b> {
    /// Begins where `base` is, with these changes.
    pub(super) fn new(
        base: &World<'_>,
        case: &'b Case,
        changes: &[Change],
        seen: &'b mut Seen,
    ) -> Result<Self, SimError> {
        let mut world = base.fork(case, Options { witnesses: vec![seen], ..Options::default() });
        for change in changes {
            change.make(&mut world)?;
        }
        let there = world.present();
        let short: Vec<_> = there.iter().copied().filter(|workload| world.is_short(*workload)).collect();
        let now = world.now();
        world.run_until(now, |_| true)?;
        let at_first = why(&world, &short);
        let end = End { short, at_first, lost_share_millis: -base.lost_share_millis(), ..End::default() };
        Ok(Self { world, there, end })
    }

    /// Leads on to the horizon, at most until `most`; returns where that was.
    pub(super) fn lead(&mut self, most: Timestamp, horizon: Horizon) -> Result<Timestamp, SimError> {
        let there = &self.there;
        match horizon {
            Horizon::Started => {
                let started = |world: &World<'_>| !there.iter().any(|workload| world.is_short(*workload));
                self.world.run_until(most, started)?;
            }
            Horizon::Settled => self.world.run_until(most, |_| true)?,
            Horizon::For(_) => self.world.run_to(most)?,
        }
        Ok(self.world.now())
    }

    /// Leads on to a time.
    pub(super) fn lead_to(&mut self, end: Timestamp) -> Result<(), SimError> {
        self.world.run_to(end)
    }

    /// Ends here.
    pub(super) fn end(mut self) -> End {
        self.end.at_last = why(&self.world, &self.there);
        self.end.lost_share_millis += self.world.lost_share_millis();
        self.end
    }
}

/// Why those wait of these workloads that do.
fn why(world: &World<'_>, workloads: &[WorkloadId]) -> BTreeMap<WorkloadId, Why> {
    let waiting = workloads.iter().filter(|workload| world.is_short(**workload));
    waiting.map(|workload| (*workload, world.why(*workload))).collect()
}
