//! Decisions and explanations as lines.

use berth_model::{Decision, Explanation, GpuGrant, PodId};

fn pod(id: PodId) -> String {
    format!("w{}/{}/{}", id.workload.0, id.role, id.index)
}

/// One decision.
pub fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Place { pod: id, at } => {
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
            format!("place {} n{}{gpus}", pod(*id), at.node.0)
        }
        Decision::Report { workload, reason } => format!("report w{} {}", workload.0, reason.kind()),
        other => format!("{other:?}"),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}

/// The dominant reason, what would change it, and what comes next.
pub fn explanation(explanation: &Explanation) -> Vec<String> {
    let reason = explanation.reason.as_ref().map(|r| format!("reason {}", json(r)));
    let change = explanation.change.as_ref().map(|c| format!("change {}", json(c)));
    let next = explanation.next.as_ref().map(|n| format!("next {}", json(n)));
    let lines: Vec<String> = reason.into_iter().chain(change).chain(next).collect();
    if lines.is_empty() { vec!["no reason".to_owned()] } else { lines }
}
