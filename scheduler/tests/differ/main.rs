//! Berth against the real kube-scheduler, decision by decision (S11): on random clusters, whatever Berth places
//! kube-scheduler must accept there, and whatever Berth calls infeasible it must refuse everywhere.
//!
//! Berth's side is that of production: objects as the API server returns them, the mirror, events, the engine, decisions,
//! actions. The other side is a real API server with a real kube-scheduler, which is asked on the state just before
//! each decision. It has an extender, a web hook that it calls with all nodes that have passed its filters: so one question
//! says of every node whether it would be accepted, without cordoning the others, and the pod need not be bound by it. Now
//! and then a decision is replayed literally instead: all other nodes are cordoned, and kube-scheduler binds the pod itself.
//!
//! | module | what it holds |
//! |---|---|
//! | `case` | a case: what happens in a cluster, step by step |
//! | `random` | a seed -> a case |
//! | `ours` | Berth's side |
//! | `real` | the API server and kube-scheduler |
//! | `run` | a case on both sides; the first difference, if there is one |
//! | `shrink` | a case with a difference -> a small one |
//!
//! `BERTH_DIFFER_CLUSTERS`, `BERTH_DIFFER_PODS` (in each) and `BERTH_DIFFER_SEED` (the first) set how much is tried.
//! `BERTH_DIFFER_GO_ON=1` only names what differs, and goes on. A failure prints the seed, and the case in a form that `BERTH_DIFFER_CASE=FILE` runs again.
//!
//! Absent: gangs, quotas, GPUs in parts; what is listed in docs/SCHEDULER.md as different on purpose.

mod case;
mod ours;
mod random;
mod real;
mod run;
mod shrink;

use case::Case;
use real::Real;
use run::{Difference, Run, Tally};
use std::time::Instant;

/// What is tried where nothing else is said: so many clusters, and so many pods in each.
const CLUSTERS: u64 = 56;
const PODS: u64 = 36;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a whole number")))
}

async fn fail(real: &mut Real, case: Case, difference: Difference, label: &str) -> ! {
    let small = shrink::shrink(real, case, difference, ours::truthful).await;
    panic!("{label}: Berth and kube-scheduler differ\n{small}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_those_that_kube_scheduler_allows() {
    let mut real = Real::start().await;
    if let Ok(file) = std::env::var("BERTH_DIFFER_CASE") {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        if let Err(difference) =
            Run::new(&mut real, ours::truthful).await.all(&case, &mut Tally::default()).await
        {
            panic!("{file}: Berth and kube-scheduler differ\n{difference}");
        }
        return;
    }
    let (first, clusters) = (setting("BERTH_DIFFER_SEED", 1), setting("BERTH_DIFFER_CLUSTERS", CLUSTERS));
    let pods = setting("BERTH_DIFFER_PODS", PODS);
    let (goes_on, mut differences) = (setting("BERTH_DIFFER_GO_ON", 0) > 0, 0);
    let begun = Instant::now();
    let mut tally = Tally::default();
    for seed in first..first + clusters {
        let case = random::case(seed, pods);
        let outcome = Run::new(&mut real, ours::truthful).await.all(&case, &mut tally).await;
        if let Err(difference) = outcome {
            if goes_on {
                differences += 1;
                println!("BERTH_DIFFER_SEED={seed}: {difference}");
                continue;
            }
            fail(&mut real, case, difference, &format!("BERTH_DIFFER_SEED={seed}")).await;
        }
    }
    let took = begun.elapsed();
    println!("{clusters} clusters in {:.1} s: {tally}", took.as_secs_f64());
    assert_eq!(differences, 0, "differences in so many clusters");
    // A generator whose pods all fit, or of which none does, would prove nothing.
    assert!(tally.pods >= clusters * pods, "{tally}");
    assert!(tally.accepted * 4 >= tally.pods && tally.refused * 10 >= tally.pods, "{tally}");
}

/// The test can fail: where Berth is told of nodes without their taints, the difference is found and made small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_found_and_made_small() {
    let mut real = Real::start().await;
    let blind = ours::without_taints;
    for seed in 1.. {
        let case = random::case(seed, 30);
        let outcome = Run::new(&mut real, blind).await.all(&case, &mut Tally::default()).await;
        let Err(difference) = outcome else { continue };
        let small = shrink::shrink(&mut real, case, difference, blind).await;
        println!("seed {seed}: {small}");
        assert!(small.steps() <= 3, "a node with a taint and a pod are enough:\n{small}");
        return;
    }
}
