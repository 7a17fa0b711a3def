//! S23, S33: room that is kept will be there, stays kept, and is used together.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

/// Node 1 with three devices and workload 1 on devices 0 and 1; workloads 2 and 3 of higher priority wait for two
/// devices each.
fn world() -> World {
    let mut world = World::new();
    world.node(1, |n| n.devices.truncate(3)).workload(1, gpus(Whole(2)));
    (2..=3).for_each(|id| {
        world.workload(id, waits);
    });
    world.running(first(1), 1, whole(&[0, 1]));
    world
}

fn waits(w: &mut WorkloadSpec) {
    (w.priority, w.roles) = (Priority(60), vec![role(1, 1, |p| p.gpu = Whole(2))]);
}

/// Workload 1 leaves, and its room and device 2 are kept for workload 2.
fn kept() -> [Decision; 2] {
    [evict(first(1), 30, Some(2)), reserve(first(2), 1, whole(&[0, 2]), 30)]
}

fn ended(pod: PodId) -> Event {
    Event::PodEnded { pod, outcome: PodOutcome::Evicted }
}

#[test]
fn the_room_is_free_when_those_that_leave_are_gone() {
    let [victim, room] = kept();
    world().decides(0, &[victim.clone(), room.clone()], &[]);
    // The victim comes first.
    world().decides(0, &[room.clone(), victim.clone()], &["S13", "S23"]);
    world().decides(0, &[room], &["S13"]);
    // At 29 s the victim may still be there.
    world().decides(0, &[victim, reserve(first(2), 1, whole(&[0, 2]), 29)], &["S13"]);
    let mut leaving = world();
    leaving.event(Event::PodLeaving { pod: first(1), until: Timestamp(5000) });
    leaving.decides(1, &[reserve(first(2), 1, whole(&[0, 2]), 5)], &[]);
}

#[test]
fn no_room_is_kept_twice() {
    let [victim, room] = kept();
    world().decides(0, &[victim.clone(), room.clone(), reserve(first(3), 1, whole(&[1, 2]), 30)], &["S13"]);
    world().decides(0, &[victim.clone(), room.clone(), room.clone()], &["S13", "S23"]);
    world().decides(0, &kept(), &[]).decides(1, &[reserve(first(3), 1, whole(&[1, 2]), 30)], &["S13"]);
    world().decides(0, &kept(), &[]).decides(1, &[reserve(first(2), 1, whole(&[0, 1]), 30)], &["S13", "S23"]);
}

#[test]
fn what_is_kept_is_not_taken() {
    let take = |world: &mut World, device, expected: &[&str]| {
        world.workload(4, gpus(Whole(1)));
        world.decides(1, &[place(first(4), 1, whole(&[device]))], expected);
    };
    take(&mut world(), 2, &[]);
    take(world().decides(0, &kept(), &[]), 2, &["S13"]);
    // Device 1 is free for others once the victim is gone, and device 0 is not.
    take(world().decides(0, &kept(), &[]), 1, &["S13"]);
    take(world().decides(0, &kept(), &[]).event(ended(first(1))), 1, &[]);
    take(world().decides(0, &kept(), &[]).event(ended(first(1))), 0, &["S13"]);
    // In the same list as well.
    let mut same = world();
    let list = [&kept()[..], &[place(first(4), 1, whole(&[2]))]].concat();
    same.workload(4, gpus(Whole(1))).decides(0, &list, &["S13"]);
}

#[test]
fn of_what_leaves_and_what_is_kept_the_larger_counts() {
    let cpu = |cores: i64| asks(move |p| p.requests.cpu = MilliCpu(cores * 1000));
    for (cores, expected) in [(24, &[][..]), (25, &["S11"][..])] {
        let mut world = World::new();
        // 64 cores: 40 leave, 32 of which are kept, so 24 are for others.
        world.node(1, |_| {}).workload(1, cpu(40)).workload(2, cpu(32)).workload(3, cpu(cores));
        world.running(first(1), 1, GpuGrant::None);
        world.event(Event::PodLeaving { pod: first(1), until: Timestamp(5000) });
        world.decides(1, &[reserve(first(2), 1, GpuGrant::None, 5)], &[]);
        world.decides(2, &[put(3, 1)], expected);
    }
    for (cores, expected) in [(32, &[][..]), (33, &["S11"][..])] {
        let mut world = World::new();
        world.node(1, |_| {}).workload(1, cpu(40)).workload(2, cpu(32)).workload(3, cpu(cores));
        world.running(first(1), 1, GpuGrant::None);
        world.event(Event::PodLeaving { pod: first(1), until: Timestamp(5000) });
        world.decides(1, &[reserve(first(2), 1, GpuGrant::None, 5)], &[]);
        world.event(ended(first(1))).decides(2, &[put(3, 1)], expected);
    }
}

#[test]
fn room_is_given_up_or_used() {
    let take_3 = |world: &mut World, expected: &[&str]| {
        world.event(ended(first(1)));
        world.decides(9, &[place(first(3), 1, whole(&[0, 1]))], expected);
    };
    take_3(world().decides(0, &kept(), &[]), &["S13"]);
    take_3(world().decides(0, &kept(), &[]).decides(1, &[release(first(2))], &[]), &[]);
    world().decides(0, &[release(first(2))], &["S23"]);
    world().decides(0, &kept(), &[]).decides(1, &[release(first(2)), release(first(2))], &["S23"]);
    let mut used = world();
    used.decides(0, &kept(), &[]).decides(1, &[place(first(2), 1, whole(&[0, 2]))], &["S13"]);
    let mut used = world();
    used.decides(0, &kept(), &[]).event(ended(first(1)));
    used.decides(1, &[place(first(2), 1, whole(&[0, 2]))], &[]).decides(2, &[release(first(2))], &["S23"]);
    let mut elsewhere = world();
    elsewhere.decides(0, &kept(), &[]).event(ended(first(1)));
    elsewhere.decides(1, &[place(first(2), 1, whole(&[1, 2]))], &["S23"]);
}

#[test]
fn room_is_kept_until_it_is_given_up_whatever_happens() {
    let take_3 = |world: &mut World, expected: &[&str]| {
        world.decides(9, &[place(first(3), 1, whole(&[0, 1]))], expected);
    };
    let stands = |event: Event| {
        let mut one = world();
        one.decides(0, &kept(), &[]).event(ended(first(1))).event(event.clone());
        take_3(&mut one, &["S13"]);
        let mut other = world();
        other.decides(0, &kept(), &[]).event(ended(first(1))).event(event);
        other.decides(9, &[release(first(2)), place(first(3), 1, whole(&[0, 1]))], &[]);
    };
    stands(Event::WorkloadRemoved(WorkloadId(1)));
    stands(Event::WorkloadSet(workload(2, waits)));
    stands(Event::NodeSet(node(1, |n| n.devices.truncate(3))));
    stands(Event::NodeCondition { node: NodeId(1), ready: true, unschedulable: false });
    stands(Event::DeviceHealth { node: NodeId(1), device: DeviceIndex(2), health: DeviceHealth::Unhealthy });
    stands(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota: QueueQuota::unlimited() });
    // Room of pods that do not wait any more goes without a word.
    let gone = |event: Event| {
        let mut one = world();
        one.decides(0, &kept(), &[]).event(ended(first(1))).event(event);
        take_3(&mut one, &[]);
    };
    gone(Event::WorkloadRemoved(WorkloadId(2)));
    gone(Event::PodEnded { pod: first(2), outcome: PodOutcome::Deleted });
    let mut failed = world();
    failed.decides(0, &kept(), &[]).event(Event::EvictFailed { pod: first(1) });
    failed.workload(4, gpus(Whole(1))).decides(1, &[place(first(4), 1, whole(&[2]))], &["S13"]);
    failed.decides(2, &[release(first(2))], &[]);
}

#[test]
fn room_found_written_down_is_kept() {
    let mut world = world();
    let at = Placement { node: NodeId(1), gpus: whole(&[0, 2]) };
    world.event(Event::PodReserved { pod: first(2), at, until: Timestamp(0) });
    world.workload(4, gpus(Whole(1))).decides(1, &[place(first(4), 1, whole(&[2]))], &["S13"]);
    world.bad_event(Event::PodReserved { pod: first(7), at, until: Timestamp(0) });
    let nowhere = Placement { node: NodeId(7), ..at };
    world.bad_event(Event::PodReserved { pod: first(2), at: nowhere, until: Timestamp(0) });
}

#[test]
fn what_was_kept_together_starts_together() {
    let gang = |min| {
        let mut world = World::new();
        world.node(1, |_| {}).workload(1, gpus(Whole(4))).running(first(1), 1, whole(&[0, 1, 2, 3]));
        world.workload(2, |w| w.roles = vec![role(3, min, |p| p.gpu = Whole(1))]);
        world.event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
        world
    };
    let room = |i: u32| reserve(pod(2, i), 1, whole(&[i as u8]), 0);
    let at = |i: u32| place(pod(2, i), 1, whole(&[i as u8]));
    gang(2).decides(0, &[room(0)], &["S5"]);
    let mut two = gang(2);
    two.decides(0, &[room(0), room(1), room(2)], &[]).event(ended(first(1)));
    two.decides(1, &[at(0), at(1)], &[]).decides(2, &[at(2)], &[]);
    let mut half = gang(2);
    half.decides(0, &[room(0), room(1)], &[]).event(ended(first(1))).decides(1, &[at(0)], &["S5"]);
    let mut elastic = gang(1);
    elastic.decides(0, &[room(0), room(1)], &[]).event(ended(first(1)));
    elastic.decides(1, &[at(0)], &[]);
}

#[test]
fn room_is_kept_for_those_that_wait_where_they_may_run() {
    let later = |pod, node| reserve(pod, node, whole(&[0, 1]), 0);
    let fresh = || {
        let mut world = world();
        world.node(2, |_| {}).node(3, |n| n.ready = false);
        world
    };
    fresh().decides(0, &[later(first(2), 2)], &[]);
    fresh().decides(1, &[later(first(1), 2)], &["S23"]);
    fresh().decides(2, &[later(pod(2, 1), 2)], &["S23"]);
    fresh().decides(3, &[later(first(7), 2)], &["S5"]);
    fresh().decides(4, &[later(first(2), 3)], &["S11"]);
    fresh().decides(5, &[later(first(2), 4)], &["S11"]);
    let placed = [place(first(2), 2, whole(&[0, 1])), reserve(first(2), 2, whole(&[2, 3]), 9)];
    fresh().decides(6, &placed, &["S23"]);
}

#[test]
fn room_is_kept_in_one_pool() {
    let selector = PoolSelector { key: "pool".into(), value: "x".into() };
    let kept = |index, node| reserve(pod(1, index), node, GpuGrant::None, 0);
    for (second, expected) in [(3, &[][..]), (2, &["S5"][..])] {
        let mut world = World::new();
        world.event(Event::PoolSet(PoolSpec::new(PoolId(1), "x", Some(selector.clone()))));
        world.node(1, |_| {}).node(2, |n| n.labels = labels(&[("pool", "x")])).node(3, |_| {});
        world.workload(1, |w| w.roles = vec![role(2, 2, |_| {})]);
        world.decides(0, &[kept(0, 1), kept(1, second)], expected);
    }
}

fn limited(world: &mut World, devices: i64) -> &mut World {
    let gpu = ResourceQuota { quota: Quota::Of(0), limit: Some(devices * GpuShare::DEVICE.0) };
    let quota = QueueQuota { gpu, ..QueueQuota::default() };
    world.event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota })
}

#[test]
fn what_leaves_and_what_is_reserved_count_whichever_is_more() {
    for (limit, expected) in [(2, &[][..]), (1, &["S6"][..])] {
        limited(&mut world(), limit).decides(0, &kept(), expected);
    }
    let third = reserve(first(3), 2, whole(&[0, 1]), 30);
    let mut both = world();
    limited(&mut both, 2).decides(0, &kept(), &[]);
    both.node(2, |_| {}).decides(1, &[third], &["S6"]);
    // One that leaves counts until it is gone.
    let mut leaving = world();
    leaving.node(2, |_| {}).event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
    limited(&mut leaving, 2).decides(0, &[place(first(3), 2, whole(&[0, 1]))], &["S6"]);
    // Room may be kept that the limit allows only when it is gone, also elsewhere, and is used no earlier.
    let elsewhere = || {
        let mut world = world();
        world.node(2, |_| {}).event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
        limited(&mut world, 2).decides(0, &[reserve(first(3), 2, whole(&[0, 1]), 0)], &[]);
        world
    };
    elsewhere().decides(1, &[place(first(3), 2, whole(&[0, 1]))], &["S6"]);
    elsewhere().event(ended(first(1))).decides(1, &[place(first(3), 2, whole(&[0, 1]))], &[]);
    // Two leave and two are kept: one more is the third.
    for (limit, expected) in [(3, &[][..]), (2, &["S6"][..])] {
        let mut more = world();
        more.workload(4, gpus(Whole(1))).node(2, |_| {});
        more.event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
        limited(&mut more, limit).decides(0, &[reserve(first(2), 1, whole(&[0, 1]), 0)], &[]);
        more.decides(1, &[place(first(4), 2, whole(&[0]))], expected);
    }
}
