//! Whom those who were stopped leave alone for a while (S25), so that nobody takes back from each other for ever.
//!
//! Whoever was stopped for another does not stop that one for a minute. That one may have been stopped for a third, and so
//! on: those have come in its place by way of others. Of a circle of such at least one step is a reclaim by fair
//! share, for what is taken back by quota cannot be taken by quota, and priority only rises; so it is enough that this step
//! waits, for an hour, and what is guaranteed by quota (S22) stays.
//! Costs: nothing for who was not stopped within the hour; else a look at the evictions of those that came in its place.

use crate::Engine;
use crate::ix::WorkloadIx;
use crate::legal::{Bound, Hunt, Rule};
use crate::workload::Workload;
use berth_model::{Eviction, Millis, Timestamp, WorkloadId};
use smallvec::SmallVec;

/// For how long an evicted workload may not take its room back.
const PING_PONG: Millis = Millis::from_secs(60);
/// For how long it may not take it, by fair share, from those who have it by way of others.
const CIRCLE: Millis = Millis::from_secs(3600);

/// Whom a workload may not stop; `true` = not by fair share.
pub(crate) type Spared = SmallVec<[(WorkloadId, bool); 2]>;

impl Workload {
    /// It is evicted for another. Of each only the last time counts, and none that is long ago.
    pub(crate) fn note_eviction(&mut self, beneficiary: WorkloadId, now: Timestamp) {
        self.evictions.retain(|e| e.at.plus(CIRCLE) > now && e.beneficiary != beneficiary);
        self.evictions.push(Eviction { beneficiary, at: now });
    }
}

impl Engine {
    /// Until when a workload leaves another alone, if it does.
    pub(crate) fn truce(&self, hunt: &Hunt, other: WorkloadId) -> Option<Timestamp> {
        let evictions = self.workloads.at(hunt.beneficiary.0).evictions.iter();
        let direct = evictions.filter(|e| e.beneficiary == other).map(|e| e.at.plus(PING_PONG)).max();
        let by_share = matches!(hunt.rule, Rule::Reclaim(Bound::FairShare, _));
        let others = if by_share { self.by_way_of_others(hunt.beneficiary) } else { SmallVec::new() };
        let indirect = others.into_iter().find(|(id, _)| *id == other).map(|(_, until)| until);
        direct.into_iter().chain(indirect).max().filter(|until| *until > self.now)
    }

    /// Those for whom somebody was evicted within the hour who was evicted for somebody, and so on, beginning with a
    /// workload; and until when at least that counts.
    fn by_way_of_others(&self, workload: WorkloadIx) -> SmallVec<[(WorkloadId, Timestamp); 2]> {
        let own = self.workloads.at(workload.0);
        let recent = |ix: WorkloadIx| {
            let evictions = self.workloads.at(ix.0).evictions.iter();
            evictions.map(|e| (e.beneficiary, e.at.plus(CIRCLE))).filter(|(_, until)| *until > self.now)
        };
        let mut seen: SmallVec<[WorkloadId; 4]> = SmallVec::from_slice(&[own.id]);
        let mut todo: SmallVec<[(WorkloadId, Timestamp); 4]> = recent(workload).collect();
        let mut found: SmallVec<[(WorkloadId, Timestamp); 2]> = SmallVec::new();
        while let Some((id, until)) = todo.pop() {
            let Some(ix) = self.workload_ids.get(&id).filter(|_| !seen.contains(&id)) else { continue };
            seen.push(id);
            for (next, end) in recent(*ix).filter(|(next, _)| *next != own.id) {
                let until = until.min(end);
                if !found.iter().any(|(known, _)| *known == next) {
                    found.push((next, until));
                }
                todo.push((next, until));
            }
        }
        found
    }

    /// Whom a workload may not stop, of those that could be stopped at all.
    pub(crate) fn may_not_stop(&self, workload: WorkloadIx) -> Spared {
        let evictions = &self.workloads.at(workload.0).evictions;
        if evictions.is_empty() {
            return Spared::new();
        }
        let recent = evictions.iter().filter(|e| e.at.plus(PING_PONG) > self.now);
        let direct = recent.map(|e| (e.beneficiary, false));
        let indirect = self.by_way_of_others(workload).into_iter().map(|(id, _)| (id, true));
        let could_be_stopped = |(id, _): &(WorkloadId, bool)| {
            let other = self.workload_ids.get(id).map(|ix| self.workloads.at(ix.0));
            other.is_some_and(|other| self.templates.at(other.template).preemptible && other.running() > 0)
        };
        let mut others: Spared = direct.chain(indirect).filter(could_be_stopped).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// A workload goes. Who was stopped for it may stop those again that have come in its place by way of this one.
    pub(crate) fn break_circles(&mut self, gone: WorkloadIx) {
        self.second.evicted.remove(&gone);
        if self.workloads.at(gone.0).evictions.is_empty() {
            return;
        }
        for workload in &self.second.evicted {
            for group in &self.workloads.at(workload.0).groups {
                self.second.rests.wake_anew(*group);
            }
        }
    }

    /// Forgets who was evicted so long ago that it is free again.
    pub(crate) fn forget_old_evictions(&mut self) {
        let (workloads, now) = (&self.workloads, self.now);
        self.second.evicted.retain(|ix| {
            let evictions = workloads.get(ix.0).map_or(&[][..], |workload| &workload.evictions);
            evictions.iter().any(|e| e.at.plus(CIRCLE) > now)
        });
    }
}
