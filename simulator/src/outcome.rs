//! What a simulation has shown: the one structure that summaries, JSON and HTML reports are made from.
//!
//! Its serialised form is the stable `--json` output; `docs/SIMULATOR.md` documents every field.

use berth_model::{Amounts, Cause, GpuShare, Millis, QueueQuota, Timestamp};
use serde::{Deserialize, Serialize};

/// The result of one simulation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Version of this format; grows when a field changes its meaning.
    pub format: u32,
    /// Name of the scenario or trace.
    pub name: String,
    /// What was varied against other runs, for example the strategy `binpack`.
    pub variant: String,
    /// Virtual time at which the simulation ended; it starts at 0.
    pub ended: Timestamp,
    /// Sums over everything.
    pub totals: Totals,
    /// One per pool, by name.
    pub pools: Vec<PoolOutcome>,
    /// One per project, in the order of the input.
    pub projects: Vec<ProjectOutcome>,
    /// What did not run at the end, and why; in the order of submission.
    pub pending: Vec<PendingWorkload>,
    /// What the independent checker found; none if it was not asked (`--check`).
    pub violations: Option<Vec<String>>,
}

/// Sums over the whole simulation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Workloads submitted.
    pub workloads: u64,
    /// Workloads of which the minimums ran at some time.
    pub started: u64,
    /// Workloads that ran to their end.
    pub completed: u64,
    /// Workloads that still wait at the end.
    pub pending: u64,
    /// Workloads dropped because they did not fit (inputs without times).
    pub dropped: u64,
    /// Pods placed, again after an eviction included.
    pub placements: u64,
    /// Pods evicted, moved ones included.
    pub evictions: u64,
    /// The same by the rule that evicted them.
    pub evictions_by_cause: Evictions,
    /// Calls of `decide`.
    pub cycles: u64,
    /// GPU capacity at the end, healthy devices of ready nodes.
    pub gpu_capacity: GpuShare,
    /// GPU share given out at the end.
    pub gpu_allocated: GpuShare,
    /// Integral of given-out GPU share over time: millionths of a device times milliseconds.
    pub gpu_share_millis: i128,
    /// Integral of GPU capacity over time, in the same unit.
    pub gpu_capacity_millis: i128,
    /// What of `gpu_share_millis` went into work that was completed, that still runs, or that its owner ended: all but
    /// what was thrown away by evictions and failing nodes.
    pub gpu_good_millis: i128,
}

/// Evicted pods by the rule that evicted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evictions {
    /// Another project took back what is its own (S22).
    pub reclaim: u64,
    /// A workload of higher priority in the same project needed the room (S21).
    pub preempt: u64,
    /// They were moved, so that fragments of free room came together (S26).
    pub consolidate: u64,
    /// Their gang was below its minimum for too long (S27).
    pub stale: u64,
    /// They used more device memory than they were given (S19).
    pub over_limit: u64,
    /// They, or others of their gang, were bound and did not run in time (S5).
    #[serde(default)]
    pub not_started: u64,
}

impl Evictions {
    /// Counts one more.
    pub fn add(&mut self, cause: Cause) {
        let count = match cause {
            Cause::Reclaim => &mut self.reclaim,
            Cause::Preempt => &mut self.preempt,
            Cause::Consolidate => &mut self.consolidate,
            Cause::Stale => &mut self.stale,
            Cause::OverLimit => &mut self.over_limit,
            Cause::NotStarted => &mut self.not_started,
        };
        *count += 1;
    }

    /// Each cause in a word, with its number.
    pub fn by_cause(&self) -> [(&'static str, u64); 6] {
        [
            ("reclaim", self.reclaim),
            ("preempt", self.preempt),
            ("consolidate", self.consolidate),
            ("stale", self.stale),
            ("over limit", self.over_limit),
            ("not started", self.not_started),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_cause().iter().map(|(_, count)| count).sum()
    }
}

/// One pool over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolOutcome {
    /// Name.
    pub name: String,
    /// Name of the strategy for GPU pods.
    pub strategy: String,
    /// Samples in time order, thinned to a bounded number; each holds from its time to the next.
    pub samples: Vec<PoolSample>,
}

/// A pool at one time. Shares are in millionths of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSample {
    /// When.
    pub at: Timestamp,
    /// Ready and schedulable nodes.
    pub nodes: u32,
    /// GPU capacity.
    pub capacity: GpuShare,
    /// GPU share given out.
    pub allocated: GpuShare,
    /// GPU share given out here, and waited for by pods of workloads whose first pool this is.
    pub requested: GpuShare,
    /// Free share that the shapes present cannot use.
    pub stranded: GpuShare,
}

/// One project over the whole simulation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectOutcome {
    /// Name.
    pub name: String,
    /// Its department's name.
    pub department: String,
    /// Quota per pool, by pool name.
    pub quotas: Vec<(String, QueueQuota)>,
    /// Workloads submitted.
    pub workloads: u64,
    /// Waiting times of those that started (submission to first start), ascending, thinned to at most 1,000 quantiles.
    pub waits: Vec<Millis>,
    /// Waiting time so far of those that have not started, ascending, thinned likewise.
    pub still_waiting: Vec<Millis>,
    /// Pods evicted.
    pub evictions: u64,
    /// The same by the rule that evicted them.
    pub evictions_by_cause: Evictions,
    /// GPU work thrown away by evictions, until the pods were gone: millionths of a device times milliseconds. A pod above
    /// its workload's minimum keeps its work (S20).
    pub lost_share_millis: i128,
    /// Use over time, over all pools.
    pub samples: Vec<ProjectSample>,
}

/// A project at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSample {
    /// When.
    pub at: Timestamp,
    /// What it uses.
    pub allocated: Amounts,
    /// GPU share it uses or waits for.
    pub requested: GpuShare,
    /// Its fair share of GPUs (S7), summed over the pools.
    #[serde(default)]
    pub fair_share: GpuShare,
    /// Its demand for GPUs as it counts for the fair share (S7), summed over the pools.
    #[serde(default)]
    pub demand: GpuShare,
}

/// A workload that waits at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingWorkload {
    /// Name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// Pods that run.
    pub running: u32,
    /// Pods that wait.
    pub pending: u32,
    /// Since when it has waited: time of submission.
    pub submitted: Timestamp,
    /// Kind of the dominant reason (S29), for example `capacity`; empty if nothing was decided about it.
    pub kind: String,
    /// The reason in words, with its numbers.
    pub reason: String,
    /// What would start it, in words.
    pub change: String,
}
