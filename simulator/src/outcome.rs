//! What a simulation has shown: the one structure that summaries, JSON and HTML reports are made from.
//!
//! Its serialised form is the stable `--json` output; `docs/SIMULATOR.md` documents every field.

use berth_model::{Amounts, GpuShare, Millis, QueueQuota, Timestamp};
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
    /// GPU work thrown away by evictions: millionths of a device times milliseconds.
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
