//! Traces of the program as it runs.

use crate::otlp::{Collected, Collector};
use crate::world::{SOON, World, ours};
use berth_testbed::Options;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn cycles_decisions_and_binds_come_to_a_collector() {
    let world = World::start(Options::new()).await;
    world.nodes(1, 4).await;
    world.refuse_binds_of("bad-0").await;
    let collector = Collector::start().await;
    let scheduler = world.scheduler("only", json!({ "tracing": { "endpoint": collector.endpoint() } }));
    scheduler.ready().await;
    world
        .create(&ours("gang", 1).label("berth.dev/workload", "g").label("berth.dev/min-members", "2"), 2)
        .await;
    world.bound("gang", 2).await;
    world.create(&ours("bad", 1), 1).await;
    let begun = Instant::now();
    while !scheduler.said().contains("a bind has failed") {
        assert!(begun.elapsed() < SOON, "nothing was refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(scheduler.stop(), "it ends in order");
    let spans = collector.spans();
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.clone(), span)).collect();
    let about = |name: &str, pod: &str| -> Vec<&Collected> {
        let of = |span: &&Collected| {
            span.name == name && span.attributes.get("k8s.pod.name").is_some_and(|it| it == pod)
        };
        spans.iter().filter(of).collect()
    };
    for pod in ["gang-0", "gang-1", "bad-0"] {
        for name in ["place", "bind"] {
            let all = about(name, pod);
            assert!(!all.is_empty(), "no {name} of {pod}: {spans:#?}");
            for span in all {
                assert_eq!(by_id[&span.parent].name, "cycle", "{span:?}");
                let workload = if pod == "bad-0" { "default/bad-0" } else { "default/g" };
                assert_eq!(span.attributes["berth.workload"], workload, "{span:?}");
                assert_eq!(span.attributes["k8s.namespace.name"], "default");
                assert_eq!(span.attributes["k8s.node.name"], "node-0");
            }
        }
    }
    for pod in ["gang-0", "gang-1"] {
        let all = about("bind", pod);
        assert_eq!((all.len(), &*all[0].attributes["berth.outcome"], all[0].failed), (1, "bound", false));
    }
    let refused = about("bind", "bad-0");
    assert!(
        refused.iter().all(|span| span.failed && span.attributes["berth.outcome"] == "failed"),
        "{refused:?}"
    );
    let cycles = spans.iter().filter(|span| span.name == "cycle");
    assert!(cycles.clone().any(|span| span.attributes["berth.decisions"] == "2"), "{spans:#?}");
    assert!(
        spans.iter().all(|span| span.resource["service.name"] == "berth-scheduler" && span.took > 0
            || span.name != "cycle")
    );
    assert!(spans.iter().all(|span| span.name == "cycle" || !span.parent.is_empty()), "{spans:#?}");
    assert!(spans.iter().all(|span| !span.trace.is_empty()));
}
