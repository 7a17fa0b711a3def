//! S20, S25, S26, S32: whether victims were needed, whom they make way for, and where they go.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

fn higher(devices: u32) -> impl FnOnce(&mut WorkloadSpec) {
    move |w| (w.priority, w.roles) = (Priority(60), vec![role(1, 1, |p| p.gpu = Whole(devices))])
}

/// Node 1 with workloads 1, 2 and 3 on device 0, device 1, and devices 2 and 3; workload 9 waits for `wanted` devices.
fn world(wanted: u32) -> World {
    let mut world = World::new();
    world.node(1, |_| {}).workload(9, higher(wanted));
    for (id, devices) in [(1, &[0][..]), (2, &[1]), (3, &[2, 3])] {
        world.workload(id, gpus(Whole(devices.len() as u32))).running(first(id), 1, whole(devices));
    }
    world
}

fn room(devices: &[u8]) -> Decision {
    reserve(first(9), 1, whole(devices), 30)
}

fn stop(id: u64) -> Decision {
    evict(first(id), 30, Some(9))
}

#[test]
fn nobody_is_stopped_that_is_not_needed() {
    world(2).decides(0, &[stop(1), stop(2), room(&[0, 1])], &[]);
    world(2).decides(0, &[stop(3), room(&[2, 3])], &[]);
    world(2).decides(0, &[stop(1), stop(3), room(&[2, 3])], &["S20"]);
    world(1).decides(0, &[stop(1), stop(2), room(&[0])], &["S20"]);
    world(3).decides(0, &[stop(2), stop(3), room(&[1, 2, 3])], &[]);
    // A device too many of one victim is nobody's fault.
    world(1).decides(0, &[stop(3), room(&[2])], &[]);
}

#[test]
fn resources_without_names_are_shared_out() {
    let cpu = |cores: i64| move |p: &mut PodSpec| p.requests.cpu = MilliCpu(cores * 1000);
    for (wanted, expected) in [(31, &[][..]), (30, &["S20"][..])] {
        let mut world = World::new();
        // 64 cores: 34, 30 of two victims. One of 34 leaves room for 30 and not for 31.
        world.node(1, |_| {}).workload(1, asks(cpu(34))).workload(2, asks(cpu(30)));
        world.running(first(1), 1, GpuGrant::None).running(first(2), 1, GpuGrant::None);
        world.workload(9, |w| (w.priority, w.roles) = (Priority(60), vec![role(1, 1, cpu(wanted + 4))]));
        let list = [stop(1), stop(2), reserve(first(9), 1, GpuGrant::None, 30)];
        world.decides(0, &list, expected);
    }
}

#[test]
fn a_gang_is_one_victim() {
    let mut world = World::new();
    world.node(1, |n| n.devices.truncate(2)).node(2, |_| {}).workload(9, higher(1));
    world.workload(1, |w| w.roles = vec![role(2, 2, |p| p.gpu = Whole(1))]);
    world.running(pod(1, 0), 1, whole(&[0])).running(pod(1, 1), 1, whole(&[1]));
    world.workload(2, gpus(Whole(4))).running(first(2), 2, whole(&[0, 1, 2, 3]));
    // Both go, although one of them is in nobody's way.
    let both = [evict(pod(1, 0), 30, Some(9)), evict(pod(1, 1), 30, Some(9)), room(&[0])];
    world.decides(0, &both, &[]);
}

#[test]
fn rules_about_other_pods_may_need_a_victim() {
    let mut world = World::new();
    let keeps_off = PodAffinityTerm {
        label_selector: Some(LabelSelector::default()),
        topology_key: "kubernetes.io/hostname".into(),
        ..PodAffinityTerm::default()
    };
    world.node(1, |_| {}).workload(1, gpus(Whole(1))).running(first(1), 1, whole(&[0]));
    world.workload(9, |w| {
        let required = vec![keeps_off];
        let alone = |p: &mut PodSpec| p.pod_anti_affinity = PodAffinity { required, preferred: vec![] };
        (w.priority, w.roles) = (Priority(60), vec![role(1, 1, alone)]);
    });
    world.decides(0, &[stop(1), reserve(first(9), 1, GpuGrant::None, 30)], &[]);
}

#[test]
fn victims_may_be_needed_for_a_limit() {
    for (limit, expected) in [(4, &[][..]), (5, &["S20", "S32"][..])] {
        let mut world = world(1);
        let gpu = ResourceQuota { quota: Quota::Of(0), limit: Some(limit * GpuShare::DEVICE.0) };
        let quota = QueueQuota { gpu, ..QueueQuota::default() };
        world.event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
        world.node(2, |_| {}).decides(0, &[stop(1), reserve(first(9), 2, whole(&[0]), 30)], expected);
    }
}

#[test]
fn room_without_victims_comes_first() {
    world(1).node(2, |_| {}).decides(0, &[stop(1), room(&[0])], &["S32"]);
    world(1).node(2, |n| n.unschedulable = true).decides(0, &[stop(1), room(&[0])], &[]);
    // Somebody else has the room.
    let mut taken = world(1);
    taken.node(2, |n| n.devices.truncate(1)).workload(4, higher(1));
    taken.decides(0, &[place(first(4), 2, whole(&[0])), stop(1), room(&[0])], &[]);
}

#[test]
fn whoever_was_evicted_waits_before_it_evicts_the_other() {
    let back = |seconds, other, expected: &[&str]| {
        let mut world = world(1);
        world.decides(0, &[stop(1), room(&[0])], &[]);
        world.event(Event::PodEnded { pod: first(1), outcome: PodOutcome::Evicted });
        world.decides(1, &[place(first(9), 1, whole(&[0]))], &[]);
        world.workload(1, |w| (w.priority, w.roles) = (Priority(70), vec![role(1, 1, |p| p.gpu = Whole(1))]));
        let device = if other == 9 { 0 } else { 1 };
        let list = [evict(first(other), 30, Some(1)), reserve(first(1), 1, whole(&[device]), seconds + 30)];
        world.decides(seconds, &list, expected);
    };
    back(59, 9, &["S25"]);
    back(60, 9, &[]);
    back(59, 2, &[]);
    let mut written = world(1);
    written.workload(9, |w| {
        higher(1)(w);
        w.evictions = vec![Eviction { beneficiary: WorkloadId(1), at: Timestamp(-1) }];
    });
    written.decides(59, &[stop(1), reserve(first(9), 1, whole(&[0]), 89)], &["S25"]);
}

/// Workloads 1 and 2 on two devices each of nodes 1 and 2, workload 9 waits for four devices.
fn fragments(edit: impl FnOnce(&mut PoolSpec)) -> World {
    let mut world = World::new();
    let mut pool = PoolSpec::new(POOL, "default", None);
    edit(&mut pool);
    world.event(Event::PoolSet(pool));
    world.node(1, |_| {}).node(2, |_| {}).workload(9, gpus(Whole(4)));
    for id in 1..=2 {
        world.workload(id, gpus(Whole(2))).running(first(id), id as u32, whole(&[0, 1]));
    }
    world
}

#[test]
fn what_is_moved_has_a_new_place() {
    let moved = evict_by(Cause::Consolidate, first(1), 30, Some(9));
    let room = reserve(first(9), 1, whole(&[0, 1, 2, 3]), 30);
    let there = |node| reserve(first(1), node, whole(&[2, 3]), 30);
    let list = [moved.clone(), room.clone(), there(2)];
    fragments(|_| {}).decides(0, &list, &[]);
    fragments(|_| {}).decides(0, &[moved.clone(), there(2), room.clone()], &[]);
    fragments(|_| {}).decides(0, &[moved.clone(), room.clone()], &["S26"]);
    fragments(|_| {}).decides(0, &[moved.clone(), room.clone(), there(1)], &["S13"]);
    fragments(|pool| pool.consolidation = false).decides(0, &list, &["S26"]);
    fragments(|pool| pool.max_moves = 0).decides(0, &list, &["S26"]);
    fragments(|pool| pool.max_moves = 1).decides(0, &list, &[]);
    // And goes there.
    let mut world = fragments(|_| {});
    world.decides(0, &list, &[]);
    world.event(Event::PodEnded { pod: first(1), outcome: PodOutcome::Evicted });
    let both = [place(first(9), 1, whole(&[0, 1, 2, 3])), place(first(1), 2, whole(&[2, 3]))];
    world.decides(1, &both, &[]);
}

#[test]
fn an_eviction_that_fails_leaves_everything_as_it_was() {
    let mut world = world(1);
    world.decides(0, &[stop(1), room(&[0])], &[]).event(Event::EvictFailed { pod: first(1) }).audits(&[]);
    world.decides(1, &[release(first(9))], &[]);
    world.decides(2, &[stop(2), reserve(first(9), 1, whole(&[1]), 32)], &[]);
}
