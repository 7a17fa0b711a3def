//! S7, S22: what one project may take from another.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

const OTHER: ProjectId = ProjectId(1);

fn gpu(quota: i64) -> QueueQuota {
    let gpu = ResourceQuota { quota: Quota::Of(quota * GpuShare::DEVICE.0), limit: None };
    QueueQuota { gpu, ..QueueQuota::default() }
}

fn of(project: ProjectId, devices: u32) -> impl FnOnce(&mut WorkloadSpec) {
    move |w| (w.project, w.roles) = (Some(project), vec![role(1, 1, |p| p.gpu = Whole(devices))])
}

/// Two nodes of four devices, all taken by workloads 1 to 8 of project 1, of one device each. Projects 0 and 1 have
/// these quotas; workload 9 of project 0 waits for `wanted` devices, and nobody else.
fn world(quotas: (i64, i64), wanted: u32, edit: impl FnOnce(&mut WorkloadSpec)) -> World {
    let mut world = World::new();
    world.event(Event::ProjectSet(project(|p| (p.id, p.name) = (OTHER, "speech".into()))));
    world.node(1, |_| {}).node(2, |_| {});
    for (project, quota) in [(PROJECT, quotas.0), (OTHER, quotas.1)] {
        world.event(Event::QuotaSet { queue: QueueId::Project(project), pool: POOL, quota: gpu(quota) });
    }
    for id in 1..=8 {
        world.workload(id, of(OTHER, 1)).running(first(id), place_of(id).0, whole(&[place_of(id).1]));
    }
    world.workload(9, |w| {
        of(PROJECT, wanted)(w);
        edit(w);
    });
    world
}

/// Node and device of workload `id`.
fn place_of(id: u64) -> (u32, u8) {
    (1 + (id as u32 - 1) / 4, (id as u8 - 1) % 4)
}

/// The first `count` workloads go, which are all on node 1, for workload 9.
fn take(count: u64) -> Vec<Decision> {
    let victims = (1..=count).map(|id| evict_by(Cause::Reclaim, first(id), 30, Some(9)));
    let devices: Vec<u8> = (0..count as u8).collect();
    victims.chain([reserve(first(9), 1, whole(&devices), 30)]).collect()
}

#[test]
fn up_to_the_quota_from_above_the_quota() {
    world((2, 6), 2, |_| {}).decides(0, &take(2), &[]);
    // 3 of 2 are too much by quota; by fair share too, as the quotas are all there is.
    world((2, 6), 3, |_| {}).decides(0, &take(3), &["S22"]);
    // The others are within what is theirs.
    world((2, 8), 2, |_| {}).decides(0, &take(2), &["S22"]);
    // The last victim may take them below: the quota is 7, and the second finds them at 7.
    world((2, 7), 2, |_| {}).decides(0, &take(2), &["S22"]);
    world((2, 7), 1, |_| {}).decides(0, &take(1), &[]);
}

#[test]
fn up_to_the_fair_share_from_above_the_fair_share() {
    // Nothing is deserved: of 8 devices the one that wants 3 gets 3, the other 5.
    world((0, 0), 3, |_| {}).decides(0, &take(3), &[]);
    // Of 8 each gets half where both want more. Workload 10 wants the rest.
    let mut half = world((0, 0), 4, |_| {});
    half.workload(10, of(PROJECT, 2)).decides(0, &take(4), &[]);
    // With a quota of 2 the others' weight is 2: of the 6 devices that are left, 2 are for workloads 9 and 10.
    for (wanted, expected) in [(2, &[][..]), (3, &["S22"][..])] {
        let mut world = world((0, 2), wanted, |_| {});
        world.workload(10, of(PROJECT, 2)).decides(0, &take(wanted.into()), expected);
    }
}

#[test]
fn a_reclaimer_that_is_not_preemptible_stays_within_quota() {
    world((0, 0), 1, |w| w.preemptible = false).decides(0, &take(1), &["S22", "S6"]);
    world((1, 0), 1, |w| w.preemptible = false).decides(0, &take(1), &[]);
}

#[test]
fn weights_and_ranks() {
    let with = |weight, rank, wanted, expected: &[&str]| {
        let mut world = world((0, 0), wanted, |_| {});
        let quota = QueueQuota { weight: Some(weight), ..gpu(0) };
        world.event(Event::ProjectSet(project(|p| (p.rank, p.quotas) = (rank, vec![(POOL, quota)]))));
        // Workload 10 wants 4 more, so that the demand of project 0 is more than its share.
        world.workload(10, of(PROJECT, 4)).decides(0, &take(u64::from(wanted)), expected);
    };
    with(1, 100, 4, &[]);
    with(0, 100, 1, &["S22"]);
    // 1 by 7 of 8 devices is 1.
    let mut light = world((0, 0), 2, |_| {});
    let heavy = QueueQuota { weight: Some(7), ..gpu(0) };
    light.event(Event::QuotaSet { queue: QueueId::Project(OTHER), pool: POOL, quota: heavy });
    light.decides(0, &take(2), &["S22"]);
    with(1, 99, 1, &["S22"]);
    with(1, 101, 4, &[]);
}

#[test]
fn who_asks_for_a_share() {
    let third = |edit: &dyn Fn(&mut WorkloadSpec), quota: QueueQuota, expected: &[&str]| {
        let mut world = world((0, 0), 4, |_| {});
        let id = ProjectId(2);
        world.event(Event::ProjectSet(project(|p| {
            (p.id, p.name, p.quotas) = (id, "third".into(), vec![(POOL, quota)])
        })));
        world.workload(10, |w| {
            of(id, 4)(w);
            edit(w);
        });
        world.decides(0, &take(4), expected);
    };
    // 8 devices for three are 3 at the most, for two they are 4.
    third(&|_| {}, gpu(0), &["S22"]);
    third(&|w| of(ProjectId(2), 2)(w), gpu(0), &["S22"]);
    third(&|w| of(ProjectId(2), 1)(w), gpu(0), &[]);
    let limit = |limit: i64| ResourceQuota { quota: Quota::Of(0), limit: Some(limit * GpuShare::DEVICE.0) };
    third(&|_| {}, QueueQuota { gpu: limit(3), ..gpu(0) }, &[]);
    third(&|_| {}, QueueQuota { gpu: limit(4), ..gpu(0) }, &["S22"]);
    third(&|w| w.preemptible = false, gpu(0), &[]);
    third(&|w| w.pools = vec![PoolId(7)], gpu(0), &[]);
    third(&|w| w.node_type = Some("any".into()), gpu(0), &["S22"]);
    third(&|w| w.roles = vec![role(1, 1, |p| p.gpu = Whole(5))], gpu(0), &[]);
    let gated = |p: &mut PodSpec| (p.gpu, p.scheduling_gates) = (Whole(4), vec!["wait".into()]);
    third(&|w| w.roles = vec![role(1, 1, gated)], gpu(0), &[]);
}

#[test]
fn only_nodes_that_take_pods_are_divided() {
    for (edit, expected) in [
        ((|_| {}) as fn(&mut NodeSpec), &[][..]),
        (|n| n.ready = false, &["S22"]),
        (|n| n.unschedulable = true, &["S22"]),
        (|n| n.devices.iter_mut().for_each(|d| d.health = DeviceHealth::Silent), &["S22"]),
    ] {
        let mut world = world((0, 0), 4, |_| {});
        world.node(2, edit).decides(0, &take(4), expected);
    }
    // What an unmanaged namespace takes is not divided either.
    let mut unmanaged = world((0, 0), 4, |_| {});
    unmanaged.workload(8, |w| {
        of(OTHER, 1)(w);
        w.project = None;
    });
    unmanaged.workload(10, of(PROJECT, 4)).decides(0, &take(4), &[]);
    let mut two = world((0, 0), 4, |_| {});
    for id in 7..=8 {
        two.workload(id, |w| {
            of(OTHER, 1)(w);
            w.project = None;
        });
    }
    two.workload(10, of(PROJECT, 4)).decides(0, &take(4), &["S22"]);
}

#[test]
fn departments_count_too() {
    let with = |mine: i64, theirs: i64, expected: &[&str]| {
        let mut world = world((2, 0), 2, |_| {});
        let other = DepartmentId(1);
        world.event(Event::DepartmentSet(department(|d| d.id = other)));
        let moved = project(|p| {
            (p.id, p.department, p.quotas) = (OTHER, other, vec![(POOL, gpu(0))]);
            p.name = "speech".into();
        });
        world.event(Event::ProjectSet(moved));
        for (department, quota) in [(DEPARTMENT, mine), (other, theirs)] {
            let queue = QueueId::Department(department);
            world.event(Event::QuotaSet { queue, pool: POOL, quota: gpu(quota) });
        }
        world.decides(0, &take(2), expected);
    };
    with(2, 6, &[]);
    with(2, 8, &["S22"]);
    with(8, 8, &["S22"]);
    // Inside one department its own share is not asked.
    let mut one = world((2, 0), 2, |_| {});
    one.event(Event::QuotaSet { queue: QueueId::Department(DEPARTMENT), pool: POOL, quota: gpu(8) });
    one.decides(0, &take(2), &[]);
}

#[test]
fn what_leaves_for_others_is_not_theirs_any_more() {
    let again = |quota| {
        let mut world = world((4, quota), 2, |_| {});
        world.workload(10, of(PROJECT, 2)).decides(0, &take(2), &[]);
        world
    };
    let more = [
        evict_by(Cause::Reclaim, first(5), 30, Some(10)),
        evict_by(Cause::Reclaim, first(6), 30, Some(10)),
        reserve(first(10), 2, whole(&[0, 1]), 31),
    ];
    again(4).decides(1, &more, &[]);
    again(6).decides(1, &more, &["S22"]);
}

#[test]
fn several_take_back_in_one_list() {
    let mut world = world((4, 4), 2, |_| {});
    world.workload(10, of(PROJECT, 2));
    let second = [
        evict_by(Cause::Reclaim, first(5), 30, Some(10)),
        evict_by(Cause::Reclaim, first(6), 30, Some(10)),
        reserve(first(10), 2, whole(&[0, 1]), 30),
    ];
    world.decides(0, &[take(2), second.to_vec()].concat(), &[]);
}
