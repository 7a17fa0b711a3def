//! What a kept pod costs in memory (`src/keep`).

use berth_api::keep::Keeper;
use berth_api::slim;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A training pod as an API server sends it: managed fields, environment, mounts, tolerations, affinity, status.
const POD: &str = include_str!("data/training-pod.json");

/// The `number`-th pod: of one of 50 templates, on one of 1,000 nodes, of a Job of eight.
fn pod(number: usize) -> slim::Pod {
    let text = POD
        .replace("@NUMBER@", &number.to_string())
        .replace("@INDEX@", &(number % 8).to_string())
        .replace("@JOB@", &format!("train-{}", number / 8))
        .replace("@UID@", &format!("{number:08x}-7c1e-4bfa-9d3e-0123456789ab"))
        .replace("@JOBUID@", &format!("{:08x}-1111-4bfa-9d3e-0123456789ab", number / 8))
        .replace("@CPU@", &format!("{}", 1 + number / 8 % 50))
        .replace("@NODE@", &format!("gpu-node-{:04}", number * 7919 % 1000));
    serde_json::from_str(&text).expect("a pod")
}

#[test]
fn a_hundred_thousand_pods_are_small() {
    const PODS: usize = 8_000;
    let mut keeper = Keeper::default();
    let mut kept = Vec::with_capacity(PODS);
    let region = Region::new(ALLOCATOR);
    for number in 0..PODS {
        kept.push(keeper.keep(pod(number)));
    }
    let used = region.change();
    let held = used.bytes_allocated - used.bytes_deallocated;
    let each = held / PODS + size_of::<berth_api::keep::Pod>();
    println!("{each} bytes per pod, {} templates", keeper.templates());
    assert_eq!(keeper.templates(), 50);
    // Templates, owners and nodes are in it: they are shared by fewer pods here than in a cluster of 140,000.
    assert!(each <= 400, "{each} bytes per pod");

    let whole = kept[17].restore();
    assert_eq!(whole.name(), "train-2-17");
    assert_eq!(whole.label("batch.kubernetes.io/job-name"), Some("train-2"));
    assert_eq!(whole.label("batch.kubernetes.io/job-completion-index"), Some("1"));
    assert_eq!(whole.spec.node_name.as_deref(), Some("gpu-node-0623"));
    assert_eq!(Keeper::default().keep(whole.clone()).restore(), whole);

    kept.clear();
    keeper.sweep();
    assert_eq!(keeper.templates(), 0);
}
