//! S19, S20, S23, S24, S27, S28: who may be stopped, for whom, and how.

use crate::dsl::*;
use berth_model::*;

/// Workload 1 with `count` pods that run on node 1, and workload 9 that waits.
fn world(count: u32, min: u32, edit: impl FnOnce(&mut WorkloadSpec)) -> World {
    let mut world = World::new();
    world.node(1, |_| {}).workload(9, |_| {});
    world.workload(1, |w| {
        w.roles = vec![role(count, min, |p| p.gpu = share(100_000))];
        edit(w);
    });
    (0..count).for_each(|i| {
        world.running(pod(1, i), 1, shared(&[i as u8], 8000));
    });
    world
}

#[test]
fn victims_run() {
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(9))], &[]);
    world(1, 1, |_| {}).decides(0, &[evict(pod(1, 1), 30, Some(9))], &["S20"]);
    world(1, 1, |_| {}).decides(0, &[evict(first(9), 30, Some(9))], &["S20"]);
    let twice = [evict(first(1), 30, Some(9)), evict(first(1), 30, Some(9))];
    world(1, 1, |_| {}).decides(0, &twice, &["S20"]);
    let mut leaving = world(1, 1, |_| {});
    leaving.event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
    leaving.decides(0, &[evict(first(1), 30, Some(9))], &["S20"]);
    let placed_now = [put(9, 1), evict(first(9), 30, Some(8))];
    world(1, 1, |_| {}).workload(8, |_| {}).decides(0, &placed_now, &["S20", "S5"]);
    world(1, 1, |_| {}).workload(8, |_| {}).decides(0, &placed_now[..1], &[]).decides(
        1,
        &placed_now[1..],
        &[],
    );
}

#[test]
fn only_preemptible_workloads_are_victims() {
    world(1, 1, |w| w.preemptible = false).decides(0, &[evict(first(1), 30, Some(9))], &["S28"]);
    world(1, 1, |w| w.preemptible = false).decides(0, &[evict(first(1), 30, None)], &["S27", "S28"]);
}

#[test]
fn the_minimum_runtime_protects() {
    let protected = |seconds, expected: &[&str]| {
        let mut world = world(2, 1, |_| {});
        let mut pool = PoolSpec::new(POOL, "default", None);
        pool.min_runtime = Millis::from_secs(60);
        world.event(Event::PoolSet(pool)).decides(seconds, &[evict(pod(1, 1), 30, Some(9))], expected);
    };
    protected(59, &["S20"]);
    protected(60, &[]);
}

#[test]
fn grace_is_the_workloads_own_and_never_zero() {
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 29, Some(9))], &["S23"]);
    world(1, 1, |w| w.grace = Millis::ZERO).decides(0, &[evict(first(1), 1, Some(9))], &[]);
    world(1, 1, |w| w.grace = Millis::ZERO).decides(0, &[evict(first(1), 0, Some(9))], &["S23"]);
}

#[test]
fn somebody_waits_for_the_room() {
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(7))], &["S23"]);
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(9)), put(9, 1)], &["S23"]);
}

#[test]
fn below_the_minimum_the_whole_workload_goes() {
    let victims = |count| (0..count).map(|i| evict(pod(1, 3 - i), 30, Some(9))).collect::<Vec<_>>();
    world(4, 2, |_| {}).decides(0, &victims(2), &[]);
    world(4, 2, |_| {}).decides(0, &victims(3), &["S24"]);
    world(4, 2, |_| {}).decides(0, &victims(4), &[]);
}

#[test]
fn an_evicted_gang_does_not_grow() {
    let mut world = world(2, 1, |w| w.roles[0].count = 3);
    world.event(Event::PodEnded { pod: pod(1, 1), outcome: PodOutcome::Evicted });
    world.decides(0, &[evict(first(1), 30, Some(9))], &[]);
    // It starts anew at its minimum, though.
    world.decides(1, &[place(pod(1, 1), 1, shared(&[1], 8000))], &[]);
}

#[test]
fn stale_gangs() {
    let stale = |seconds, grace: Option<i64>, expected: &[&str]| {
        let mut world = world(3, 3, |w| w.stale_grace = grace.map(Millis::from_secs));
        world.decides(10, &[], &[]);
        world.event(Event::PodEnded { pod: pod(1, 2), outcome: PodOutcome::Failed });
        let all = [evict(pod(1, 0), 30, None), evict(pod(1, 1), 30, None)];
        world.decides(seconds, &all, expected);
    };
    stale(70, None, &[]);
    stale(69, None, &["S27"]);
    stale(11, Some(1), &[]);
    stale(9999, Some(-1), &["S27"]);
    world(3, 3, |_| {}).decides(99, &[evict(first(1), 30, None)], &["S24", "S27"]);
}

#[test]
fn pods_that_use_too_much() {
    for (used, expected) in [(8001, &[][..]), (8000, &["S27", "S28"][..])] {
        let mut world = world(2, 2, |w| w.preemptible = false);
        let memory = GpuMemoryMib(used);
        world.event(Event::PodMemory { pod: first(1), device: DeviceIndex(0), memory });
        // The others of its gang go with it.
        world.decides(0, &[evict(pod(1, 1), 30, None), evict(pod(1, 0), 30, None)], expected);
    }
}
