//! S2, S3, S6: the gates of projects and departments.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

fn gpu(quota: i64, limit: Option<i64>) -> QueueQuota {
    let device = GpuShare::DEVICE.0;
    let gpu = ResourceQuota { quota: Quota::Of(quota * device), limit: limit.map(|l| l * device) };
    QueueQuota { gpu, ..QueueQuota::default() }
}

/// Four pods of one GPU each of which the first runs; how many more may be placed.
fn may_place(quota: (QueueId, QueueQuota), preemptible: bool, most: u32) {
    for placed in [most, most + 1] {
        let mut world = World::new();
        world.node(1, |_| {}).event(Event::QuotaSet { queue: quota.0, pool: POOL, quota: quota.1 });
        let role = || role(4, 1, |p| p.gpu = Whole(1));
        world.workload(1, |w| (w.roles, w.preemptible) = (vec![role()], preemptible));
        world.running(pod(1, 0), 1, whole(&[0]));
        let places: Vec<_> = (1..=placed).map(|i| place(pod(1, i), 1, whole(&[i as u8]))).collect();
        let expected: &[&str] = if placed > most { &["S6"] } else { &[] };
        world.decides(0, &places, expected).audits(expected);
    }
}

#[test]
fn limits_and_quotas_of_projects_and_departments() {
    for queue in [QueueId::Project(PROJECT), QueueId::Department(DEPARTMENT)] {
        may_place((queue, gpu(0, Some(3))), true, 2);
        may_place((queue, gpu(9, Some(2))), false, 1);
        may_place((queue, gpu(3, None)), false, 2);
    }
    let mut unlimited = World::new();
    unlimited
        .node(1, |_| {})
        .workload(1, |w| (w.roles, w.preemptible) = (vec![role(1, 1, |p| p.gpu = Whole(4))], false));
    unlimited.decides(0, &[place(first(1), 1, whole(&[0, 1, 2, 3]))], &[]);
}

#[test]
fn only_what_is_asked_for_and_managed_counts() {
    let cpu = |quota, limit| QueueQuota { cpu: ResourceQuota { quota, limit }, ..gpu(0, Some(0)) };
    let cases: [(_, _, i64, &[&str]); 7] = [
        ("gpus are full, none asked for", cpu(Quota::Of(1000), None), 1000, &[]),
        ("within quota", cpu(Quota::Of(1000), None), 1000, &[]),
        ("above quota", cpu(Quota::Of(1000), None), 1001, &["S6"]),
        ("within limit", cpu(Quota::Of(9000), Some(1000)), 1000, &[]),
        ("above limit", cpu(Quota::Of(9000), Some(1000)), 1001, &["S6"]),
        ("without quota", cpu(Quota::Unmanaged, None), 9000, &[]),
        ("with any quota", cpu(Quota::Unlimited, None), 9000, &[]),
    ];
    for (what, quota, asked, expected) in cases {
        println!("{what}");
        let mut world = World::new();
        world.node(1, |_| {}).event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
        let role = role(1, 1, |p| p.requests.cpu = MilliCpu(asked));
        world.workload(1, |w| (w.roles, w.preemptible) = (vec![role], false));
        world.decides(0, &[put(1, 1)], expected);
    }
}

#[test]
fn memory_is_gated_too() {
    for (asked, expected) in [(10, &[][..]), (11, &["S6"][..])] {
        let memory = ResourceQuota { quota: Quota::Of(10), limit: Some(10) };
        let quota = QueueQuota { memory, ..QueueQuota::unlimited() };
        let mut world = World::new();
        world.node(1, |_| {}).event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
        world.workload(1, asks(|p| p.requests.memory = Bytes(asked))).decides(0, &[put(1, 1)], expected);
    }
}

#[test]
fn a_pool_not_named_has_no_quota() {
    for (preemptible, expected) in [(true, &[][..]), (false, &["S6"][..])] {
        let mut world = World::new();
        world.event(Event::ProjectSet(project(|p| p.quotas.clear()))).node(1, |_| {});
        let role = role(1, 1, |p| p.gpu = Whole(1));
        world.workload(1, |w| (w.roles, w.preemptible) = (vec![role], preemptible));
        world.decides(0, &[place(first(1), 1, whole(&[0]))], expected);
    }
}

#[test]
fn fractions_are_charged_as_asked_for_and_mib_rounded_up() {
    let memory = |mib| GpuRequest::Memory { memory: GpuMemoryMib(mib), devices: 2, limit: None };
    let two = GpuRequest::Share { share: GpuShare(300_000), devices: 2, limit: None };
    let cases = [
        (two, shared(&[0, 1], 24_000), 600_000),
        // 1 of 80,000 MiB is 12.5 millionths, rounded up on each device.
        (memory(1), shared(&[0, 1], 1), 26),
        (memory(40_000), shared(&[0, 1], 40_000), 1_000_000),
        (Whole(3), whole(&[0, 1, 2]), 3_000_000),
    ];
    for (request, grant, charge) in cases {
        for (limit, expected) in [(charge, &[][..]), (charge - 1, &["S6"][..])] {
            let gpu = ResourceQuota { quota: Quota::Of(0), limit: Some(limit) };
            let quota = QueueQuota { gpu, ..QueueQuota::default() };
            let mut world = World::new();
            world.node(1, |_| {}).event(Event::QuotaSet {
                queue: QueueId::Project(PROJECT),
                pool: POOL,
                quota,
            });
            world.workload(1, gpus(request)).decides(0, &[place(first(1), 1, grant)], expected);
        }
    }
}

#[test]
fn leaving_pods_count_and_unmanaged_namespaces_do_not() {
    let quota = gpu(0, Some(1));
    let mut world = World::new();
    world.node(1, |_| {}).event(Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota });
    world.workload(1, gpus(Whole(1))).workload(2, gpus(Whole(1)));
    world.workload(3, |w| (w.project, w.roles) = (None, vec![role(1, 1, |p| p.gpu = Whole(1))]));
    world.running(first(1), 1, whole(&[0]));
    world.event(Event::PodLeaving { pod: first(1), until: Timestamp(1) });
    world.decides(0, &[place(first(3), 1, whole(&[1]))], &[]);
    world.decides(1, &[place(first(2), 1, whole(&[2]))], &["S6"]);
}

#[test]
fn what_events_bring_about_is_no_decisions_fault() {
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(Whole(2))).workload(2, gpus(Whole(1)));
    world.running(first(1), 1, whole(&[0, 1]));
    let lowered = Event::QuotaSet { queue: QueueId::Project(PROJECT), pool: POOL, quota: gpu(0, Some(1)) };
    world.event(lowered).audits(&[]).decides(0, &[place(first(2), 1, whole(&[2]))], &["S6"]);
}

#[test]
fn charges_follow_workloads_projects_and_nodes() {
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(Whole(1))).workload(2, gpus(Whole(1)));
    world.event(Event::QuotaSet {
        queue: QueueId::Department(DEPARTMENT),
        pool: POOL,
        quota: gpu(0, Some(1)),
    });
    world.running(first(1), 1, whole(&[0]));
    let other = DepartmentId(1);
    world.event(Event::DepartmentSet(department(|d| d.id = other)));
    world.event(Event::ProjectSet(project(|p| (p.id, p.department) = (ProjectId(1), other))));
    world
        .workload(1, |w| (w.project, w.roles) = (Some(ProjectId(1)), vec![role(1, 1, |p| p.gpu = Whole(1))]));
    world.decides(0, &[place(first(2), 1, whole(&[1]))], &[]);
    world.event(Event::ProjectSet(project(|p| p.department = other))).audits(&[]);
    world.workload(3, gpus(Whole(1))).decides(1, &[place(first(3), 1, whole(&[2]))], &[]);
}
