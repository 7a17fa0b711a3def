//! Bytes of heap that one running pod costs the engine, exactly: a counting allocator before and after.
//!
//! 10,000 nodes are filled; the figure is what the engine holds more than when it was empty, divided by the pods that
//! run. Every workload is submitted with a pod specification of its own, as from a cluster. Prints one line per load.

use berth_bench::cases::{self, Case};
use berth_bench::openb::Openb;
use berth_model::{Event, PodSpec};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NODES: u32 = 10_000;

fn main() {
    println!("whole GPUs: {}", per_pod(&Case::whole_gpus(NODES)));
    println!("openb mix: {}", per_pod(&Case::openb(&Openb::load(), NODES)));
}

fn per_pod(case: &Case) -> usize {
    let mut engine = case.engine();
    let empty = in_use();
    for event in case.events() {
        cases::submit(&mut engine, [unshared(event)]);
    }
    let decisions = cases::decide(&mut engine);
    cases::confirm(&mut engine, &decisions);
    let running = cases::placed(&decisions);
    drop(decisions);
    (in_use() - empty) / running
}

/// The same event with pod specifications that nobody shares.
fn unshared(event: Event) -> Event {
    let Event::WorkloadSet(mut workload) = event else { return event };
    for role in &mut workload.roles {
        role.pod = Arc::new(PodSpec::clone(&role.pod));
    }
    Event::WorkloadSet(workload)
}

fn in_use() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
