//! The picture follows the events as they are documented.

use crate::dsl::*;
use GpuRequest::Whole;
use berth_model::*;

/// Node 1 with four devices, workload 1 on devices 0 and 1; workload 2 wants device 0.
fn world() -> World {
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(Whole(2))).workload(2, gpus(Whole(1)));
    world.running(first(1), 1, whole(&[0, 1]));
    world
}

#[track_caller]
fn device_0_is_free(world: &mut World, free: bool) {
    let expected: &[&str] = if free { &[] } else { &["S13"] };
    world.decides(0, &[place(first(2), 1, whole(&[0]))], expected);
}

#[test]
fn a_node_that_is_set_keeps_its_pods() {
    device_0_is_free(world().node(1, |n| n.devices[0].model = "other".into()), false);
    // One that shrinks is nobody's fault, and neither are its devices that are gone.
    world().node(1, |n| n.devices.truncate(1)).node(1, |n| n.allocatable.pods = 0).audits(&[]);
}

#[test]
fn what_frees_a_pods_room() {
    let ended = |outcome| Event::PodEnded { pod: first(1), outcome };
    device_0_is_free(&mut world(), false);
    device_0_is_free(world().event(Event::WorkloadRemoved(WorkloadId(1))), true);
    device_0_is_free(world().event(ended(PodOutcome::Succeeded)), true);
    device_0_is_free(world().event(Event::BindFailed { pod: first(1), node: NodeId(1) }), true);
    device_0_is_free(world().event(Event::BindFailed { pod: first(1), node: NodeId(2) }), false);
    device_0_is_free(world().event(Event::NodeRemoved(NodeId(1))).node(1, |_| {}), true);
    let mut again = world();
    again.event(Event::NodeRemoved(NodeId(1))).node(1, |_| {});
    again.decides(0, &[place(first(1), 1, whole(&[0, 1]))], &[]);
}

#[test]
fn a_place_that_is_confirmed_stays_as_decided() {
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, gpus(Whole(2))).workload(2, gpus(Whole(1)));
    world.decides(0, &[place(first(1), 1, whole(&[0, 1]))], &[]);
    world.running(first(1), 1, GpuGrant::None).running(first(1), 1, whole(&[0, 1])).audits(&[]);
    device_0_is_free(&mut world, false);
}

#[test]
fn a_pod_found_elsewhere_is_there() {
    device_0_is_free(world().running(first(1), 1, whole(&[2, 3])), true);
    device_0_is_free(world().node(2, |_| {}).running(first(1), 2, whole(&[0, 1])), true);
}

#[test]
fn a_workload_that_is_set_keeps_its_pods() {
    let more = |w: &mut WorkloadSpec| w.roles = vec![role(3, 1, |p| p.gpu = Whole(2))];
    let mut world = world();
    world.workload(1, more).audits(&[]);
    world.decides(0, &[place(pod(1, 1), 1, whole(&[2, 3]))], &[]);
    // Fewer pods are wanted: those that run still do, and take what they take.
    world.workload(1, gpus(Whole(2))).audits(&[]);
    world.decides(1, &[place(first(2), 1, whole(&[2]))], &["S13"]);
}

#[test]
fn late_events_change_nothing() {
    let mut world = world();
    let gone = first(77);
    world.event(Event::PodEnded { pod: gone, outcome: PodOutcome::Evicted });
    world.event(Event::PodLeaving { pod: gone, until: Timestamp(0) });
    world.event(Event::BindFailed { pod: gone, node: NodeId(7) });
    world.event(Event::PodMemory { pod: gone, device: DeviceIndex(0), memory: GpuMemoryMib(1) });
    world.event(Event::NodeRemoved(NodeId(7))).event(Event::WorkloadRemoved(WorkloadId(77)));
    world.event(Event::NodeCondition { node: NodeId(7), ready: true, unschedulable: false }).audits(&[]);
    world.event(Event::NodeCondition { node: NodeId(1), ready: false, unschedulable: false });
    world.decides(0, &[place(first(2), 1, whole(&[2]))], &["S11"]);
}

#[test]
fn events_that_cannot_be_mirrored() {
    let running = |pod, node| {
        let gpus = GpuGrant::None;
        Event::PodRunning(PodState::new(pod, NodeId(node), gpus, Timestamp(0)))
    };
    let mut world = world();
    world.bad_event(running(first(77), 1));
    world.bad_event(running(first(2), 77));
    world.bad_event(running(PodId { role: 1, ..first(2) }, 1));
    world.bad_event(Event::WorkloadSet(workload(3, |w| w.project = Some(ProjectId(7)))));
    world.bad_event(Event::ProjectSet(project(|p| p.department = DepartmentId(7))));
    world.bad_event(Event::ProjectRemoved(PROJECT));
    world.bad_event(Event::DepartmentRemoved(DEPARTMENT));
    world.bad_event(Event::NodeSet(node(5, |n| n.devices = vec![n.devices[0].clone(); 65])));
    world.audits(&[]);
}

#[test]
fn a_violation_cites_the_rule_with_the_numbers() {
    use berth_model::check::{CheckSettings, Judge};
    let mut judge = Judge::new(CheckSettings { foreign_allowance: GpuMemoryMib(1) });
    let mut spec = node(1, |n| n.devices.truncate(1));
    spec.devices[0].foreign = GpuMemoryMib(2);
    judge.apply(&Event::PoolSet(PoolSpec::new(POOL, "default", None)));
    judge.apply(&Event::NodeSet(spec));
    let asked = |p: &mut PodSpec| (p.gpu, p.requests.cpu) = (Whole(1), MilliCpu(65_000));
    judge.apply(&Event::WorkloadSet(workload(1, |w| (w.project, w.roles) = (None, vec![role(1, 1, asked)]))));
    let said = judge.decided(Timestamp(0), &[place(first(1), 1, whole(&[0]))]);
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    let expected = [
        "S11: workload#1/0/0: cpu of node#1: asks for 65, 0 of 64 are taken",
        "S17: workload#1/0/0: gpu#0 of node#1 is asked whole and has 2Mi of foreign memory, allowed 1Mi",
    ];
    assert_eq!(said, expected);
}
