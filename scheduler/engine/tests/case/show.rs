//! Decisions and explanations as lines.

use berth_model::{
    Amounts, Decision, Explanation, GpuGrant, MilliCpu, Placement, PodId, ReasonKind, Timestamp, Warning,
    WorkloadId,
};

fn pod(id: PodId) -> String {
    format!("w{}/{}/{}", id.workload.0, id.role, id.index)
}

/// Seconds since the beginning.
fn time(at: Timestamp) -> String {
    format!("{}s", MilliCpu(at.0))
}

fn place(id: PodId, at: Placement) -> String {
    let devices: Vec<String> = at.gpus.devices().iter().map(|d| d.0.to_string()).collect();
    let devices = devices.join(",");
    let gpus = match at.gpus {
        GpuGrant::None => String::new(),
        GpuGrant::Whole(_) => format!(" gpus {devices}"),
        GpuGrant::Shared { each, limit, .. } if each == limit => {
            format!(" {} MiB of {devices}", each.0)
        }
        GpuGrant::Shared { each, limit, .. } => {
            format!(" {} MiB of {devices}, at most {}", each.0, limit.0)
        }
    };
    format!("{} n{}{gpus}", pod(id), at.node.0)
}

/// One decision.
pub(crate) fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Place { pod: id, at } => format!("place {}", place(*id, *at)),
        Decision::Evict { pod: id, grace, beneficiary, cause } => {
            let whom = beneficiary.map_or_else(String::new, |w| format!(" for w{}", w.0));
            format!("evict {} in {grace}{whom}: {}", pod(*id), json(cause).trim_matches('"'))
        }
        Decision::Reserve { pod: id, at, until } => {
            format!("reserve {} until {}", place(*id, *at), time(*until))
        }
        Decision::Release { pod: id } => format!("release {}", pod(*id)),
        Decision::Warn { pod: id, warning: Warning::OverLimit { device, used, limit } } => {
            format!("warn {} uses {} MiB of {}, at most {}", pod(*id), used.0, device.0, limit.0)
        }
        Decision::Warn { pod: id, warning: Warning::OutlivesGrace { until } } => {
            format!("warn {} should be gone since {}", pod(*id), time(*until))
        }
        Decision::Report { workload, reason } => report(*workload, reason.kind()),
    }
}

/// A reason given.
pub(crate) fn report(workload: WorkloadId, kind: ReasonKind) -> String {
    format!("report w{} {kind}", workload.0)
}

/// Amounts.
pub(crate) fn amounts(amounts: Amounts) -> String {
    format!("gpu {} cpu {} mem {}", amounts.gpu, amounts.cpu, amounts.memory)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}

/// The dominant reason, what would change it, and what comes next.
pub(crate) fn explanation(explanation: &Explanation) -> Vec<String> {
    let reason = explanation.reason.as_ref().map(|r| format!("reason {}", json(r)));
    let change = explanation.change.as_ref().map(|c| format!("change {}", json(c)));
    let next = explanation.next.as_ref().map(|n| format!("next {}", json(n)));
    let lines: Vec<String> = reason.into_iter().chain(change).chain(next).collect();
    if lines.is_empty() { vec!["no reason".to_owned()] } else { lines }
}
