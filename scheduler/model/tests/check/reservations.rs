//! S23: room that is kept will be there.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

/// Node 1 with workload 1 on devices 0 and 1; workloads 2 and 3 wait for two devices each.
fn world() -> World {
    let mut world = World::new();
    world.node(1, |n| n.devices.truncate(3));
    for id in 1..=3 {
        world.workload(id, gpus(Whole(2)));
    }
    world.running(first(1), 1, whole(&[0, 1]));
    world
}

#[test]
fn the_room_is_free_when_those_that_leave_are_gone() {
    let victim = || evict(first(1), 30, Some(2));
    world().decides(0, &[victim(), reserve(first(2), 1, whole(&[0, 2]), 30)], &[]);
    world().decides(0, &[reserve(first(2), 1, whole(&[0, 2]), 30), victim()], &[]);
    world().decides(0, &[reserve(first(2), 1, whole(&[0, 2]), 30)], &["S13"]);
    // At 29 s the victim may still be there.
    world().decides(0, &[victim(), reserve(first(2), 1, whole(&[0, 2]), 29)], &["S13"]);
    let mut leaving = world();
    leaving.event(Event::PodLeaving { pod: first(1), until: Timestamp(5000) });
    leaving.decides(1, &[reserve(first(2), 1, whole(&[0, 2]), 5)], &[]);
}

#[test]
fn one_list_keeps_no_room_twice() {
    let victim = || evict(first(1), 30, Some(2));
    let kept = reserve(first(2), 1, whole(&[0, 1]), 30);
    let both = [victim(), kept.clone(), reserve(first(3), 1, whole(&[1, 2]), 30)];
    world().decides(0, &both, &["S13"]);
    world().decides(0, &[victim(), kept.clone(), kept], &["S13", "S23"]);
    // A place in the same list takes what the reservation counts on.
    let mut world = world();
    world.workload(4, gpus(Whole(1)));
    let taken = [victim(), reserve(first(2), 1, whole(&[0, 2]), 30), place(first(4), 1, whole(&[2]))];
    world.decides(0, &taken, &["S13"]);
}

#[test]
fn room_is_kept_for_those_that_wait_where_they_may_run() {
    let later = |pod, node| reserve(pod, node, whole(&[0, 1]), 0);
    let mut world = world();
    world.node(2, |_| {}).node(3, |n| n.ready = false);
    world.decides(0, &[later(first(2), 2)], &[]);
    world.decides(1, &[later(first(1), 2)], &["S23"]);
    world.decides(2, &[later(pod(2, 1), 2)], &["S23"]);
    world.decides(3, &[later(first(7), 2)], &["S5"]);
    world.decides(4, &[later(first(2), 3)], &["S11"]);
    world.decides(5, &[later(first(2), 4)], &["S11"]);
    world.decides(
        6,
        &[place(first(2), 2, whole(&[0, 1])), reserve(first(2), 2, whole(&[2, 3]), 9)],
        &["S23"],
    );
}

#[test]
fn a_victim_that_is_moved_has_its_new_place() {
    let mut world = world();
    world.node(2, |_| {});
    let move_it = [
        evict(first(1), 30, Some(2)),
        reserve(first(2), 1, whole(&[0, 1]), 30),
        reserve(first(1), 2, whole(&[0, 1]), 30),
    ];
    world.decides(0, &move_it, &[]);
}

#[test]
fn room_is_kept_in_one_pool() {
    let mut world = World::new();
    let selector = PoolSelector { key: "pool".into(), value: "x".into() };
    world.event(Event::PoolSet(PoolSpec::new(PoolId(1), "x", Some(selector))));
    world.node(1, |_| {}).node(2, |n| n.labels = labels(&[("pool", "x")])).node(3, |_| {});
    world.workload(1, |w| w.roles = vec![role(2, 2, |_| {})]);
    let kept = |index, node| reserve(pod(1, index), node, GpuGrant::None, 0);
    world.decides(0, &[kept(0, 1), kept(1, 3)], &[]);
    world.decides(1, &[kept(0, 1), kept(1, 2)], &["S5"]);
}

#[test]
fn limits_are_kept_when_those_that_leave_are_gone() {
    for (limit, expected) in [(2, &[][..]), (1, &["S6"][..])] {
        let mut world = world();
        let gpu = ResourceQuota { quota: Quota::Of(0), limit: Some(limit * GpuShare::DEVICE.0) };
        let quota = QueueQuota { gpu, ..QueueQuota::default() };
        world.event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
        let list = [evict(first(1), 30, Some(2)), reserve(first(2), 1, whole(&[0, 1]), 30)];
        world.decides(0, &list, expected);
    }
    let mut both = world();
    let gpu = ResourceQuota { quota: Quota::Of(0), limit: Some(2 * GpuShare::DEVICE.0) };
    let quota = QueueQuota { gpu, ..QueueQuota::default() };
    both.node(2, |_| {}).event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
    let list = [
        evict(first(1), 30, Some(2)),
        reserve(first(2), 1, whole(&[0, 1]), 30),
        reserve(first(3), 2, whole(&[0, 1]), 30),
    ];
    both.decides(0, &list, &["S6"]);
}
