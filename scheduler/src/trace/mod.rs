//! Traces by OpenTelemetry: a span per cycle, in it one per decision and one per bind. Off unless `tracing.endpoint` is set.
//!
//! Spans name workloads, pods and nodes as people know them. They go to the collector from a queue of bounded length, on a thread of
//! its own: what does not fit is dropped, and nothing here waits for a collector. A cycle is not traced if nothing has happened
//! since the last.

mod export;
#[cfg(test)]
mod tests;

pub(crate) use export::Exporter;

use berth_cluster::trace::{TARGET, Trace, wanted};
use berth_cluster::{Action, Mirror};
use berth_model::words::Names;
use berth_model::{Decision, NodeId, PodId, WorkloadId};
use tracing::Span;
use tracing::field::Empty;

/// A cycle; none if it is of no interest.
pub(crate) fn cycle(of_interest: bool) -> Span {
    if !of_interest {
        return Span::none();
    }
    tracing::trace_span!(target: TARGET, "cycle", berth.decisions = Empty)
}

/// What was decided, within the current span.
pub(crate) fn decisions(decisions: &[Decision], mirror: &Mirror) {
    if !wanted() {
        return;
    }
    Span::current().record("berth.decisions", decisions.len());
    for decision in decisions {
        match decision {
            Decision::Place { pod, at } => about(mirror, "place", *pod, Some(at.node), ""),
            Decision::Evict { pod, cause, .. } => about(mirror, "evict", *pod, None, &format!("{cause:?}")),
            Decision::Reserve { pod, at, .. } => about(mirror, "reserve", *pod, Some(at.node), ""),
            Decision::Release { pod } => about(mirror, "release", *pod, None, ""),
            Decision::Warn { pod, warning } => about(mirror, "warn", *pod, None, &format!("{warning:?}")),
            Decision::Report { workload, reason } => {
                let workload = name(mirror, *workload);
                let why = reason.kind().to_string();
                drop(tracing::trace_span!(
                    target: TARGET,
                    "decision",
                    otel.name = "report",
                    berth.decision = "report",
                    berth.workload = workload,
                    berth.why = why,
                ));
            }
        }
    }
}

fn about(mirror: &Mirror, kind: &str, pod: PodId, node: Option<NodeId>, why: &str) {
    let workload = name(mirror, pod.workload);
    let pod = mirror.reference(pod);
    let node = node.and_then(|node| mirror.node(node));
    drop(tracing::trace_span!(
        target: TARGET,
        "decision",
        otel.name = kind,
        berth.decision = kind,
        berth.workload = workload,
        k8s.namespace.name = pod.as_ref().map(|pod| &*pod.namespace),
        k8s.pod.name = pod.as_ref().map(|pod| &*pod.name),
        k8s.node.name = node,
        berth.why = (!why.is_empty()).then_some(why),
    ));
}

/// What becomes of binds is traced within the current span.
pub(crate) fn binds(actions: &mut [Action], mirror: &Mirror) {
    if !wanted() {
        return;
    }
    for action in actions {
        let Action::Bind(binds) = action else { continue };
        for bind in binds {
            let workload = mirror.workload_of(&bind.pod.namespace, &bind.pod.name);
            let workload = workload.map(|workload| name(mirror, workload)).unwrap_or_default();
            bind.trace = Trace::bind(&workload, bind);
        }
    }
}

fn name(mirror: &Mirror, workload: WorkloadId) -> String {
    mirror.group_name(workload).unwrap_or_default()
}
