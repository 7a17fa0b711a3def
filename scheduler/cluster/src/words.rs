//! Evictions and warnings in words.

use berth_api::names::node::{FRACTIONS, SELECTED};
use berth_model::words::Names;
use berth_model::{Cause, Operator, PodSpec, Warning};

/// In a word, why the pods of a gang are stopped whose start was not completed (S5).
pub(crate) const UNDONE: &str = "undone";

/// In a word, why a pod is stopped.
pub(crate) const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Reclaim => "reclaim",
        Cause::Preempt => "preempt",
        Cause::Consolidate => "consolidate",
        Cause::Stale => "stale",
        Cause::OverLimit => "overLimit",
        Cause::NotStarted => "notStarted",
    }
}

/// Why a pod is stopped.
pub(crate) fn eviction(cause: Cause, beneficiary: Option<&str>) -> String {
    let whom = beneficiary.unwrap_or("another workload");
    match cause {
        Cause::Reclaim => {
            format!("its project is over its share, and {whom} takes back what is its own (S22)")
        }
        Cause::Preempt => format!("{whom} of the same project has a higher priority (S21)"),
        Cause::Consolidate => format!("it is moved, so that room comes together for {whom} (S26)"),
        Cause::Stale => "its gang has been below its minimum for too long (S27)".to_owned(),
        Cause::OverLimit => "it uses more GPU memory than it was given (S19)".to_owned(),
        Cause::NotStarted => "it, or another of its gang, did not run in time (S5)".to_owned(),
    }
}

/// The selection of devices that a pod demands of its node, by its label.
pub(crate) fn selection(pod: &PodSpec) -> Option<&str> {
    let terms = pod.node_affinity.iter().flat_map(|affinity| &affinity.node_selector_terms);
    let demands = terms.flat_map(|term| &term.match_expressions);
    demands.map(|demand| demand.key.as_str()).find(|key| key.starts_with(SELECTED))
}

/// What stands behind it when nodes hand devices out in another way than a pod asks for them.
pub(crate) fn other_way(pod: &PodSpec) -> Option<&'static str> {
    let terms = pod.node_affinity.iter().flat_map(|affinity| &affinity.node_selector_terms);
    let mut demands = terms.flat_map(|term| &term.match_expressions);
    match demands.find(|demand| demand.key == FRACTIONS)?.operator {
        Operator::Exists => Some(
            "claims and parts of devices need nodes whose devices Berth's agent hands out: run it there with --dra, and \
             stop the device plugin (docs/AGENT.md)",
        ),
        Operator::DoesNotExist => Some(
            "where Berth's agent hands the devices out, pods ask for a claim, not for nvidia.com/gpu (docs/AGENT.md)",
        ),
        _ => None,
    }
}

/// A word and a sentence for what is wrong with a pod.
pub(crate) fn warning(warning: Warning, names: &dyn Names) -> (&'static str, String) {
    match warning {
        Warning::OverLimit { device, used, limit } => (
            "GpuMemoryOverLimit",
            format!("it uses {used} of GPU memory on device {}, its limit is {limit} (S19)", device.0),
        ),
        Warning::OutlivesGrace { until } => (
            "OutlivesGrace",
            format!("it should have been gone by {} and is still there (S23)", names.time(until)),
        ),
    }
}
