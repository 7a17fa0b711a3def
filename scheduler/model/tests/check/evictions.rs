//! S19, S20, S21, S23, S24, S27, S28: who may be stopped, for whom, and how.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

/// Workload 1 with `count` pods that run on node 1, one on each device, and workload 9 of higher priority that waits
/// for as many devices.
fn world_for(count: u32, min: u32, wanted: u32, edit: impl FnOnce(&mut WorkloadSpec)) -> World {
    let mut world = World::new();
    world.node(1, |n| n.devices.truncate(count as usize));
    world
        .workload(9, |w| (w.priority, w.roles) = (Priority(60), vec![role(1, 1, |p| p.gpu = Whole(wanted))]));
    world.workload(1, |w| {
        w.roles = vec![role(count, min, |p| p.gpu = share(100_000))];
        edit(w);
    });
    (0..count).for_each(|i| {
        world.running(pod(1, i), 1, shared(&[i as u8], 8000));
    });
    world
}

fn world(count: u32, min: u32, edit: impl FnOnce(&mut WorkloadSpec)) -> World {
    world_for(count, min, 1, edit)
}

/// Room for workload 9 on these devices.
fn room(devices: &[u8]) -> Decision {
    reserve(first(9), 1, whole(devices), 30)
}

#[test]
fn victims_run() {
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(9)), room(&[0])], &[]);
    world(1, 1, |_| {}).decides(0, &[evict(pod(1, 1), 30, Some(9)), room(&[0])], &["S16", "S20"]);
    world(1, 1, |_| {}).decides(0, &[evict(first(9), 30, Some(9)), room(&[0])], &["S16", "S20"]);
    let twice = [evict(first(1), 30, Some(9)), evict(first(1), 30, Some(9)), room(&[0])];
    world(1, 1, |_| {}).decides(0, &twice, &["S20"]);
    let mut leaving = world(1, 1, |_| {});
    leaving.event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
    leaving.decides(0, &[evict(first(1), 30, Some(9)), room(&[0])], &["S20"]);
    let higher = |w: &mut WorkloadSpec| w.priority = Priority(70);
    let put_8 = |world: &mut World, at, list: &[Decision], expected: &[&str]| {
        world.workload(8, |w| {
            higher(w);
            w.roles = vec![role(1, 1, |p| p.gpu = Whole(1))];
        });
        world.decides(at, list, expected);
    };
    let place_9 = place(first(9), 1, whole(&[1]));
    let then = [evict(first(9), 30, Some(8)), reserve(first(8), 1, whole(&[1]), 31)];
    let two = || {
        let mut world = world(1, 1, |_| {});
        world.node(1, |n| n.devices.truncate(2));
        world
    };
    let at_once: Vec<_> = std::iter::once(place_9.clone()).chain(then.clone()).collect();
    put_8(&mut two(), 0, &at_once, &["S20", "S5"]);
    let mut later = two();
    later.decides(0, &[place_9], &[]);
    put_8(&mut later, 1, &then, &[]);
}

#[test]
fn only_preemptible_workloads_are_victims() {
    let list = [evict(first(1), 30, Some(9)), room(&[0])];
    world(1, 1, |w| w.preemptible = false).decides(0, &list, &["S28"]);
    world(1, 1, |w| w.preemptible = false).decides(0, &[evict(first(1), 30, None)], &["S27", "S28"]);
}

#[test]
fn victims_have_a_lower_priority() {
    let list = [evict(first(1), 30, Some(9)), room(&[0])];
    world(1, 1, |w| w.priority = Priority(59)).decides(0, &list, &[]);
    world(1, 1, |w| w.priority = Priority(60)).decides(0, &list, &["S21"]);
    let by = |cause| [evict_by(cause, first(1), 30, Some(9)), room(&[0])];
    world(1, 1, |_| {}).decides(0, &by(Cause::Reclaim), &["S22"]);
    world(1, 1, |_| {}).decides(0, &by(Cause::Stale), &["S27"]);
    world(1, 1, |_| {}).decides(0, &by(Cause::OverLimit), &["S19"]);
    world(1, 1, |_| {}).decides(0, &by(Cause::Consolidate), &["S26"]);
    for (cause, rule) in [(Cause::Reclaim, "S22"), (Cause::Preempt, "S21"), (Cause::Consolidate, "S26")] {
        world(1, 1, |_| {}).decides(0, &[evict_by(cause, first(1), 30, None)], &[rule]);
    }
}

#[test]
fn the_minimum_runtime_protects() {
    let protected = |seconds, expected: &[&str]| {
        let mut world = world(2, 1, |_| {});
        let mut pool = PoolSpec::new(POOL, "default", None);
        pool.min_runtime = Millis::from_secs(60);
        let list = [evict(pod(1, 1), 30, Some(9)), reserve(first(9), 1, whole(&[1]), seconds + 30)];
        world.event(Event::PoolSet(pool)).decides(seconds, &list, expected);
    };
    protected(59, &["S20"]);
    protected(60, &[]);
    // What counts is the pod that has run longest of those that are there.
    let mut world = world(2, 1, |_| {});
    let mut pool = PoolSpec::new(POOL, "default", None);
    pool.min_runtime = Millis::from_secs(60);
    world.event(Event::PoolSet(pool));
    world.event(Event::PodEnded { pod: pod(1, 0), outcome: PodOutcome::Evicted });
    world.event(Event::PodEnded { pod: pod(1, 1), outcome: PodOutcome::Evicted });
    world.decides(
        50,
        &[place(pod(1, 0), 1, shared(&[0], 8000)), place(pod(1, 1), 1, shared(&[1], 8000))],
        &[],
    );
    world.decides(70, &[evict(pod(1, 1), 30, Some(9)), reserve(first(9), 1, whole(&[1]), 100)], &["S20"]);
}

#[test]
fn grace_is_the_workloads_own_and_never_zero() {
    let with = |seconds| [evict(first(1), seconds, Some(9)), room(&[0])];
    world(1, 1, |_| {}).decides(0, &with(29), &["S23"]);
    world(1, 1, |w| w.grace = Millis::ZERO).decides(0, &with(1), &[]);
    world(1, 1, |w| w.grace = Millis::ZERO).decides(0, &with(0), &["S23"]);
}

#[test]
fn somebody_waits_for_the_room_and_gets_it() {
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(7))], &["S23"]);
    world(1, 1, |_| {}).decides(0, &[evict(first(1), 30, Some(9))], &["S23"]);
    let placed = [evict(first(1), 30, Some(9)), place(first(9), 1, whole(&[0]))];
    world(1, 1, |_| {}).decides(0, &placed, &["S16", "S23"]);
}

#[test]
fn below_the_minimum_the_whole_workload_goes() {
    let victims = |count: u32| {
        let devices: Vec<u8> = (0..count).map(|i| 3 - i as u8).collect();
        let evicted = devices.iter().map(|i| evict(pod(1, u32::from(*i)), 30, Some(9)));
        evicted.chain([room(&devices)]).collect::<Vec<_>>()
    };
    world_for(4, 2, 2, |_| {}).decides(0, &victims(2), &[]);
    world_for(4, 2, 3, |_| {}).decides(0, &victims(3), &["S24"]);
    world_for(4, 2, 4, |_| {}).decides(0, &victims(4), &[]);
    // A role that has pods above its own minimum may lose them.
    let mut world = world_for(2, 1, 1, |w| w.roles.push(role(1, 1, |_| {})));
    world.decides(0, &[evict(pod(1, 1), 30, Some(9)), room(&[1])], &[]);
}

#[test]
fn an_evicted_gang_does_not_grow() {
    let mut world = world(2, 1, |w| w.roles[0].count = 3);
    world.event(Event::PodEnded { pod: pod(1, 1), outcome: PodOutcome::Evicted });
    world.node(1, |n| n.devices.truncate(1)).decides(0, &[evict(first(1), 30, Some(9)), room(&[0])], &[]);
    // It starts anew at its minimum, though.
    world.node(2, |_| {}).decides(1, &[place(pod(1, 1), 2, shared(&[1], 8000))], &[]);
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
    for (used, expected) in [(8001, &[][..]), (8000, &["S19"][..])] {
        let mut world = world(2, 2, |w| w.preemptible = false);
        evicts_those_over_limit(&mut world, OverLimit::Evict);
        let memory = GpuMemoryMib(used);
        world.event(Event::PodMemory { pod: first(1), device: DeviceIndex(0), memory });
        // The others of its gang go with it.
        let over = |pod| evict_by(Cause::OverLimit, pod, 30, None);
        world.decides(0, &[over(pod(1, 1)), over(pod(1, 0))], expected);
    }
}

fn evicts_those_over_limit(world: &mut World, over_limit: OverLimit) {
    world.event(Event::PoolSet(PoolSpec { over_limit, ..PoolSpec::new(POOL, "default", None) }));
}

#[test]
fn pods_that_use_too_much_are_stopped_only_where_that_is_wanted() {
    let list = [evict_by(Cause::OverLimit, first(1), 30, None)];
    let judged = |over_limit, edit: fn(&mut WorkloadSpec), expected: &[&str]| {
        let mut world = world(1, 1, edit);
        evicts_those_over_limit(&mut world, over_limit);
        let memory = GpuMemoryMib(8001);
        world.event(Event::PodMemory { pod: first(1), device: DeviceIndex(0), memory });
        world.decides(0, &list, expected);
    };
    judged(OverLimit::Report, |_| {}, &["S19"]);
    judged(OverLimit::EvictPreemptible, |_| {}, &[]);
    judged(OverLimit::EvictPreemptible, |w| w.preemptible = false, &["S28"]);
    judged(OverLimit::Evict, |w| w.preemptible = false, &[]);
    judged(OverLimit::Evict, |w| w.priority = Priority::SYSTEM_CRITICAL, &["S28"]);
}

#[test]
fn budgets_bound_how_many_are_stopped() {
    let budget = |id, disruptions_allowed| {
        Event::BudgetSet(BudgetSpec {
            id: BudgetId(id),
            name: format!("b{id}"),
            namespace: "vision".into(),
            selector: Some(LabelSelector::default()),
            disruptions_allowed,
        })
    };
    let list = [evict(pod(1, 0), 30, Some(9)), evict(pod(1, 1), 30, Some(9)), room(&[0, 1])];
    for (allowed, expected) in [(2, &[][..]), (1, &["S20"][..]), (0, &["S20"][..])] {
        world_for(2, 2, 2, |_| {}).event(budget(0, allowed)).decides(0, &list, expected);
    }
    world_for(2, 2, 2, |_| {}).event(budget(0, 2)).event(budget(1, 2)).decides(0, &list, &["S20"]);
    // What is decided counts on top of a number until it is seen, and not if it fails.
    let one = [evict(first(1), 30, Some(9)), room(&[0])];
    let mut failed = world(1, 1, |_| {});
    failed.event(budget(0, 1)).decides(0, &one, &[]);
    failed.event(Event::EvictFailed { pod: first(1) }).decides(0, &[release(first(9))], &[]);
    failed.decides(0, &one, &[]);
    let mut seen = world(2, 0, |_| {});
    let two = [evict(pod(1, 1), 30, None)];
    seen.event(budget(0, 1)).decides(0, &one, &[]);
    seen.event(budget(0, 1)).decides(0, &two, &["S20", "S27"]);
}

#[test]
fn warnings_are_true() {
    let over = |pod, device, used, limit| Decision::Warn {
        pod,
        warning: Warning::OverLimit {
            device: DeviceIndex(device),
            used: GpuMemoryMib(used),
            limit: GpuMemoryMib(limit),
        },
    };
    let mut measured = world(1, 1, |_| {});
    let memory = GpuMemoryMib(8001);
    measured.event(Event::PodMemory { pod: first(1), device: DeviceIndex(0), memory });
    measured.decides(0, &[over(first(1), 0, 8001, 8000)], &[]);
    measured.decides(0, &[over(first(1), 0, 8001, 7000)], &["S19"]);
    measured.decides(0, &[over(first(1), 1, 8001, 8000)], &["S19"]);
    measured.decides(0, &[over(first(9), 0, 8001, 8000)], &["S19"]);
    let late = |pod, seconds: i64| Decision::Warn {
        pod,
        warning: Warning::OutlivesGrace { until: Timestamp(seconds * 1000) },
    };
    measured.decides(99, &[late(first(1), 5)], &["S23"]);
    measured.event(Event::PodLeaving { pod: first(1), until: Timestamp(5000) });
    measured.decides(34, &[late(first(1), 5)], &["S23"]).decides(35, &[late(first(1), 5)], &[]);
    measured.decides(99, &[late(first(1), 4)], &["S23"]).decides(99, &[late(first(9), 5)], &["S23"]);
}
