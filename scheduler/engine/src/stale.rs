//! Gangs that run below their minimum (S27).
//!
//! A preemptible workload is *stale* from the moment at which fewer pods of a role run or have succeeded than its
//! minimum while others still run. Costs: only stale workloads are looked at.

use crate::Engine;
use crate::ix::WorkloadIx;
use crate::workload::{Pod, Stage};
use berth_model::{Cause, Decision, Millis, Timestamp, WorkloadId};
use std::collections::BTreeMap;

/// Who is stale.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stale {
    /// Stale workloads, and since when; none until the first cycle that ends with them.
    since: BTreeMap<WorkloadId, Option<Timestamp>>,
    /// Since when as found written down (S33); it holds for those that are stale when the next cycle ends.
    written: BTreeMap<WorkloadId, Timestamp>,
}

impl Stale {
    /// Forgets a workload that is removed.
    pub(crate) fn forget(&mut self, id: WorkloadId) {
        self.since.remove(&id);
        self.written.remove(&id);
    }
}

impl Engine {
    /// Notes what is written on a workload: since when it has been stale, and for whom it was evicted (S33).
    pub(crate) fn note_written(&mut self, ix: WorkloadIx, stale_since: Option<Timestamp>) {
        let workload = self.workloads.at(ix.0);
        if let Some(since) = stale_since {
            self.stale.written.insert(workload.id, since);
        }
        if !workload.evictions.is_empty() {
            self.second.evicted.insert(ix);
        }
    }

    /// Notes whether a workload is below its minimum from now on.
    pub(crate) fn note_staleness(&mut self, ix: WorkloadIx) {
        let workload = self.workloads.at(ix.0);
        let id = workload.id;
        if !self.is_stale(ix) {
            if !self.stale.since.is_empty() {
                self.stale.since.remove(&id);
            }
            return;
        }
        self.stale.since.entry(id).or_insert(None);
    }

    fn is_stale(&self, ix: WorkloadIx) -> bool {
        let workload = self.workloads.at(ix.0);
        let template = self.templates.at(workload.template);
        // Who is to be moved runs until it is stopped (S26).
        let runs = Pod::runs;
        if !template.preemptible || !workload.pods.iter().any(runs) {
            return false;
        }
        let mut first = 0;
        template.roles.iter().any(|role| {
            let pods = &workload.pods[first as usize..(first + role.count) as usize];
            first += role.count;
            let counts = |pod: &&Pod| pod.runs() || pod.stage == Stage::Succeeded;
            (pods.iter().filter(counts).count() as u32) < role.min
        })
    }

    /// When a stale workload is to be evicted; none for one that may stay for ever.
    fn stale_until(&self, ix: WorkloadIx, since: Timestamp) -> Option<Timestamp> {
        let workload = self.workloads.at(ix.0);
        let pool = workload.pool.map(|pool| self.pools.spec(pool).stale_grace);
        let grace = workload.stale_grace.or(pool)?;
        (grace >= Millis::ZERO).then(|| since.plus(grace))
    }

    /// From this cycle on those are stale who have become so since the last one, or since when is written down.
    pub(crate) fn date_stale(&mut self) {
        let written = std::mem::take(&mut self.stale.written);
        for (id, since) in &mut self.stale.since {
            since.get_or_insert(written.get(id).copied().unwrap_or(self.now));
        }
    }

    /// Evicts the gangs that have been stale for too long.
    pub(crate) fn evict_stale(&mut self, decisions: &mut Vec<Decision>) {
        self.date_stale();
        let due: Vec<WorkloadIx> = self
            .stale
            .since
            .iter()
            .filter_map(|(id, since)| Some((*self.workload_ids.get(id)?, (*since)?)))
            .filter(|(ix, since)| self.stale_until(*ix, *since).is_some_and(|until| until <= self.now))
            .map(|(ix, _)| ix)
            .collect();
        for workload in due {
            let victims = self.placed_of(workload);
            if self.may_disrupt(&victims) {
                self.evict(&victims, None, Cause::Stale, decisions);
            }
        }
    }

    /// Workloads that are below their minimum, and since when (S27), for whoever writes it down (S33).
    pub fn stale_since(&self) -> impl Iterator<Item = (WorkloadId, Timestamp)> + '_ {
        self.stale.since.iter().filter_map(|(id, since)| Some((*id, (*since)?)))
    }

    /// When the next gang will have been stale for too long.
    pub(crate) fn stale_timer(&self) -> Option<Timestamp> {
        let until = |(id, since): (&WorkloadId, &Option<Timestamp>)| {
            self.stale_until(*self.workload_ids.get(id)?, (*since)?)
        };
        // One that is due stays only as long as its disruption budgets keep it.
        self.stale.since.iter().filter_map(until).filter(|until| *until > self.now).min()
    }
}
