//! S11: what a node has to give besides devices, shared with the pods that are there.

use crate::dsl::*;
use berth_model::*;

/// A node, a pod that is there, one that is placed, and the rule that is broken; empty = none.
type Case = (&'static str, fn(&mut NodeSpec), fn(&mut PodSpec), fn(&mut PodSpec), &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    for (what, on_node, there, more, rule) in cases {
        println!("{what}");
        let expected: Vec<&str> = [*rule].into_iter().filter(|rule| !rule.is_empty()).collect();
        let mut world = World::new();
        world.node(1, on_node).workload(1, asks(there)).workload(2, asks(more));
        world.running(first(1), 1, GpuGrant::None).decides(0, &[put(2, 1)], &expected).audits(&expected);
    }
}

#[test]
fn resources() {
    fn cpu(pod: &mut PodSpec, cores: i64) {
        pod.requests.cpu = MilliCpu(cores * 1000);
    }
    fn nics(resources: &mut Resources, count: i64) {
        resources.extended.insert("nic".into(), count);
    }
    check(&[
        ("cpu, exactly", |_| {}, |p| cpu(p, 32), |p| cpu(p, 32), ""),
        ("cpu", |_| {}, |p| cpu(p, 32), |p| cpu(p, 33), "S11"),
        ("full, but not asked for", |n| n.allocatable.cpu = MilliCpu(1), |p| cpu(p, 32), |_| {}, ""),
        ("memory, exactly", |_| {}, |_| {}, |p| p.requests.memory = Bytes(512 << 30), ""),
        ("memory", |_| {}, |p| p.requests.memory = Bytes(1), |p| p.requests.memory = Bytes(512 << 30), "S11"),
        ("no ephemeral storage", |_| {}, |_| {}, |p| p.requests.ephemeral = Bytes(1), "S11"),
        (
            "ephemeral storage",
            |n| n.allocatable.ephemeral = Bytes(1),
            |_| {},
            |p| p.requests.ephemeral = Bytes(1),
            "",
        ),
        ("pods", |n| n.allocatable.pods = 1, |_| {}, |_| {}, "S11"),
        ("pods, exactly", |n| n.allocatable.pods = 2, |_| {}, |_| {}, ""),
        (
            "extended, exactly",
            |n| nics(&mut n.allocatable, 2),
            |p| nics(&mut p.requests, 1),
            |p| nics(&mut p.requests, 1),
            "",
        ),
        (
            "extended",
            |n| nics(&mut n.allocatable, 2),
            |p| nics(&mut p.requests, 1),
            |p| nics(&mut p.requests, 2),
            "S11",
        ),
        ("extended, unknown", |_| {}, |_| {}, |p| nics(&mut p.requests, 1), "S11"),
    ]);
}

#[test]
fn host_ports() {
    fn port(pod: &mut PodSpec, port: u16, protocol: Protocol, address: &str) {
        pod.host_ports.push(HostPort { port, protocol, host_ip: address.into() });
    }
    use Protocol::*;
    check(&[
        ("same", |_| {}, |p| port(p, 80, Tcp, ""), |p| port(p, 80, Tcp, ""), "S11"),
        ("other port", |_| {}, |p| port(p, 80, Tcp, ""), |p| port(p, 81, Tcp, ""), ""),
        ("other protocol", |_| {}, |p| port(p, 80, Tcp, ""), |p| port(p, 80, Udp, ""), ""),
        ("other address", |_| {}, |p| port(p, 80, Tcp, "10.0.0.1"), |p| port(p, 80, Tcp, "10.0.0.2"), ""),
        ("all addresses", |_| {}, |p| port(p, 80, Tcp, "0.0.0.0"), |p| port(p, 80, Tcp, "10.0.0.2"), "S11"),
        ("any address", |_| {}, |p| port(p, 80, Tcp, "10.0.0.2"), |p| port(p, 80, Tcp, ""), "S11"),
    ]);
}

#[test]
fn attach_limits() {
    fn volumes(pod: &mut PodSpec, handles: &[&str]) {
        let volume = |handle: &&str| VolumeUse {
            handle: (*handle).into(),
            driver: "csi".into(),
            ..VolumeUse::default()
        };
        pod.volumes = handles.iter().map(volume).collect();
    }
    fn two(node: &mut NodeSpec) {
        node.volume_limits.insert("csi".into(), 2);
    }
    check(&[
        ("exactly", two, |p| volumes(p, &["a"]), |p| volumes(p, &["b"]), ""),
        ("too many", two, |p| volumes(p, &["a"]), |p| volumes(p, &["b", "c"]), "S11"),
        ("attached already", two, |p| volumes(p, &["a", "b"]), |p| volumes(p, &["a", "b"]), ""),
        ("twice in one pod", two, |p| volumes(p, &["a"]), |p| volumes(p, &["b", "b"]), ""),
        ("no limit", |_| {}, |p| volumes(p, &["a", "b"]), |p| volumes(p, &["c"]), ""),
    ]);
}

#[test]
fn leaving_pods_take_room_until_they_are_gone() {
    let all = |p: &mut PodSpec| p.requests.cpu = MilliCpu(64_000);
    let mut world = World::new();
    world.node(1, |_| {}).workload(1, asks(all)).workload(2, asks(all)).workload(3, asks(all));
    world.running(first(1), 1, GpuGrant::None);
    world.event(Event::PodLeaving { pod: first(1), until: Timestamp(5) });
    world.decides(9, &[put(2, 1)], &["S11"]).audits(&["S11"]);
    world.event(Event::BindFailed { pod: first(2), node: NodeId(1) });
    world.event(Event::PodEnded { pod: first(1), outcome: PodOutcome::Deleted }).decides(
        10,
        &[put(2, 1)],
        &[],
    );
    world.decides(11, &[put(3, 9)], &["S11"]);
}
