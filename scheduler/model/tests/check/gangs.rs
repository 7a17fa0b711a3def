//! S5, S10, S31: what starts together; and S29: whom a reason is given for.

use crate::dsl::*;
use berth_model::*;

fn gang(count: u32, min: u32) -> impl FnOnce(&mut WorkloadSpec) {
    move |w| w.roles = vec![role(count, min, |_| {})]
}

fn at(index: u32, node: u32) -> Decision {
    place(pod(1, index), node, GpuGrant::None)
}

/// Nodes 1 and 2 in pool `default` and rack `a` and `b`, node 3 in pool 1 and rack `a`.
fn world() -> World {
    let mut world = World::new();
    let selector = PoolSelector { key: "pool".into(), value: "x".into() };
    world.event(Event::PoolSet(PoolSpec::new(PoolId(1), "x", Some(selector))));
    world.node(1, |n| n.labels = labels(&[("rack", "a")])).node(2, |n| n.labels = labels(&[("rack", "b")]));
    world.node(3, |n| n.labels = labels(&[("rack", "a"), ("pool", "x")]));
    world
}

#[test]
fn pods_that_are_not_pending_are_not_placed() {
    world().workload(1, gang(2, 1)).decides(0, &[at(0, 1), at(1, 2)], &[]);
    world().workload(1, gang(2, 1)).decides(0, &[at(0, 1), at(0, 2)], &["S5"]);
    world().workload(1, gang(2, 1)).decides(0, &[at(2, 1)], &["S5"]);
    world().decides(0, &[at(0, 1)], &["S5"]);
    world().workload(1, gang(1, 1)).running(first(1), 1, GpuGrant::None).decides(0, &[at(0, 1)], &["S5"]);
    let ended = |outcome, expected: &[&str]| {
        let mut world = world();
        world.workload(1, gang(2, 1)).running(pod(1, 1), 1, GpuGrant::None).running(
            first(1),
            1,
            GpuGrant::None,
        );
        world.event(Event::PodEnded { pod: first(1), outcome }).decides(0, &[at(0, 1)], expected);
    };
    ended(PodOutcome::Evicted, &[]);
    ended(PodOutcome::Succeeded, &["S5"]);
    ended(PodOutcome::Failed, &["S5"]);
    ended(PodOutcome::Deleted, &["S5"]);
}

#[test]
fn all_minimums_or_nothing() {
    let all = [at(0, 1), at(1, 1), at(2, 2)];
    world().workload(1, gang(4, 3)).decides(0, &all, &[]).decides(1, &[at(3, 1)], &[]);
    world().workload(1, gang(4, 3)).decides(0, &all[..2], &["S5"]);
    let mut found = world();
    found.workload(1, gang(4, 3));
    (0..3).for_each(|i| {
        found.running(pod(1, i), 1, GpuGrant::None);
    });
    found.decides(0, &[at(3, 2)], &[]);
    // Two of three are lost: both come back together.
    let lost = |world: &mut World, i| {
        world.event(Event::PodEnded { pod: pod(1, i), outcome: PodOutcome::Evicted });
    };
    [0, 1, 3].into_iter().for_each(|i| lost(&mut found, i));
    found.decides(1, &[at(0, 1)], &["S5"]).decides(2, &[at(1, 1)], &[]);
}

#[test]
fn succeeded_pods_count_and_failed_ones_do_not() {
    for (outcome, expected) in [(PodOutcome::Succeeded, &[][..]), (PodOutcome::Failed, &["S5"][..])] {
        let mut world = world();
        world.workload(1, gang(3, 2)).running(first(1), 1, GpuGrant::None);
        world.event(Event::PodEnded { pod: first(1), outcome }).decides(0, &[at(1, 1)], expected);
    }
}

#[test]
fn every_role_has_its_minimum() {
    let two = |w: &mut WorkloadSpec| w.roles = vec![role(1, 1, |_| {}), role(2, 1, |_| {})];
    let second = place(PodId { role: 1, ..first(1) }, 1, GpuGrant::None);
    world().workload(1, two).decides(0, &[at(0, 1), second], &[]);
    world().workload(1, two).decides(0, &[at(0, 1)], &["S5"]);
}

#[test]
fn one_pool() {
    world().workload(1, gang(3, 2)).decides(0, &[at(0, 3), at(1, 3)], &[]);
    world().workload(1, gang(3, 2)).decides(0, &[at(0, 1), at(1, 3)], &["S5"]);
    let mut elastic = world();
    elastic.workload(1, gang(3, 1)).decides(0, &[at(0, 1)], &[]);
    elastic.decides(1, &[at(1, 3)], &["S5"]).decides(2, &[at(2, 2)], &[]);
}

#[test]
fn one_domain() {
    let wants = |required| {
        move |w: &mut WorkloadSpec| {
            w.roles = vec![role(4, 2, |_| {})];
            w.topology = Some(TopologyRequest { key: "rack".into(), required });
        }
    };
    world().workload(1, wants(true)).decides(0, &[at(0, 1), at(1, 1), at(2, 2)], &[]).decides(
        1,
        &[at(3, 2)],
        &[],
    );
    world().workload(1, wants(true)).decides(0, &[at(0, 1), at(1, 2)], &["S31"]);
    world().workload(1, wants(false)).decides(0, &[at(0, 1), at(1, 2)], &[]);
    world().node(4, |_| {}).workload(1, wants(true)).decides(0, &[at(0, 4), at(1, 4)], &["S31"]);
}

#[test]
fn reasons_are_given_for_pending_workloads() {
    let gates = PolicyReason::Gated { gates: vec![] };
    let report = Decision::Report { workload: WorkloadId(1), reason: Box::new(Reason::Policy(gates)) };
    let list = std::slice::from_ref(&report);
    world().decides(0, list, &["S29"]);
    world().workload(1, gang(2, 1)).decides(0, list, &[]);
    world().workload(1, gang(2, 1)).decides(0, &[at(0, 1), report.clone()], &[]);
    world().workload(1, gang(1, 1)).decides(0, &[at(0, 1), report.clone()], &["S29"]);
}
