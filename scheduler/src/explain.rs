//! Why a pod waits, in words and in numbers (S29).

use berth_cluster::Mirror;
use berth_engine::Engine;
use berth_model::Explanation;
use berth_model::words::Words;
use serde_json::{Value, json};

/// What is known of the workload of a pod; none if there is no such pod.
pub(crate) fn pod(mirror: &Mirror, engine: &Engine, namespace: &str, name: &str) -> Option<Value> {
    let workload = mirror.workload_of(namespace, name)?;
    let said = engine.explain(workload).map(|explanation| in_words(mirror, &explanation));
    Some(json!({
        "pod": format!("{namespace}/{name}"),
        "workload": mirror.group_name(workload),
        "explanation": said,
    }))
}

fn in_words(mirror: &Mirror, it: &Explanation) -> Value {
    let words = Words::new(mirror);
    let reason = |reason: &berth_model::Reason| format!("{}: {}", reason.kind(), words.reason(reason));
    let pools = it.pools.iter().map(|pool| {
        json!({
            "reason": reason(&pool.reason),
            "change": words.change(&pool.change),
            "next": pool.next.as_ref().map(reason),
        })
    });
    json!({
        "running": it.running,
        "pending": it.pending,
        "reason": it.reason.as_ref().map(reason),
        "change": it.change.as_ref().map(|change| words.change(change)),
        "next": it.next.as_ref().map(reason),
        "pools": pools.collect::<Vec<_>>(),
        "exact": it,
    })
}
