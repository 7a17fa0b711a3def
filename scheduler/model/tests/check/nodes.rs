//! S1, S10, S11: where a pod may run at all.

use crate::dsl::*;
use berth_model::*;

/// A node, a pod, and the rule that is broken if the pod is placed there; empty = none.
type Case = (&'static str, fn(&mut NodeSpec), fn(&mut PodSpec), &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    for (what, on_node, in_pod, rule) in cases {
        println!("{what}");
        let expected: Vec<&str> = [*rule].into_iter().filter(|rule| !rule.is_empty()).collect();
        World::new().node(1, on_node).workload(1, asks(in_pod)).decides(0, &[put(1, 1)], &expected);
    }
}

fn taint(node: &mut NodeSpec, key: &str, value: &str, effect: Effect) {
    node.taints.push(Taint { key: key.into(), value: value.into(), effect });
}

fn tolerate(pod: &mut PodSpec, key: &str, operator: TolerationOperator, value: &str, effect: Option<Effect>) {
    pod.tolerations.push(Toleration { key: key.into(), operator, value: value.into(), effect });
}

#[test]
fn readiness_cordons_and_taints() {
    use Effect::*;
    use TolerationOperator::*;
    check(&[
        ("ready", |_| {}, |_| {}, ""),
        ("not ready", |n| n.ready = false, |p| tolerate(p, "", Exists, "", None), "S11"),
        ("cordoned", |n| n.unschedulable = true, |_| {}, "S11"),
        (
            "cordon tolerated",
            |n| n.unschedulable = true,
            |p| tolerate(p, "node.kubernetes.io/unschedulable", Exists, "", Some(NoSchedule)),
            "",
        ),
        ("taint", |n| taint(n, "a", "1", NoSchedule), |_| {}, "S11"),
        ("taint that evicts", |n| taint(n, "a", "1", NoExecute), |_| {}, "S11"),
        ("taint that only asks", |n| taint(n, "a", "1", PreferNoSchedule), |_| {}, ""),
        ("equal", |n| taint(n, "a", "1", NoSchedule), |p| tolerate(p, "a", Equal, "1", None), ""),
        ("other value", |n| taint(n, "a", "1", NoSchedule), |p| tolerate(p, "a", Equal, "2", None), "S11"),
        ("other key", |n| taint(n, "a", "1", NoSchedule), |p| tolerate(p, "b", Exists, "", None), "S11"),
        ("all keys", |n| taint(n, "a", "1", NoSchedule), |p| tolerate(p, "", Exists, "", None), ""),
        (
            "other effect",
            |n| taint(n, "a", "1", NoExecute),
            |p| tolerate(p, "a", Exists, "", Some(NoSchedule)),
            "S11",
        ),
    ]);
}

#[test]
fn node_selector_and_affinity() {
    use Operator::*;
    fn labelled(node: &mut NodeSpec) {
        node.labels.extend(labels(&[("zone", "a"), ("gpus", "4")]));
    }
    fn wants(pod: &mut PodSpec, key: &str, operator: Operator, values: &[&str]) {
        pod.node_affinity = Some(nodes_where(vec![requirement(key, operator, values)], vec![]));
    }
    fn named(pod: &mut PodSpec, operator: Operator, name: &str) {
        pod.node_affinity = Some(nodes_where(vec![], vec![requirement("metadata.name", operator, &[name])]));
    }
    check(&[
        ("selector", labelled, |p| p.node_selector = labels(&[("zone", "a")]), ""),
        ("selector, other value", labelled, |p| p.node_selector = labels(&[("zone", "b")]), "S11"),
        ("hostname", labelled, |p| p.node_selector = labels(&[("kubernetes.io/hostname", "n1")]), ""),
        (
            "hostname is not implied",
            |n| n.labels.clear(),
            |p| p.node_selector = labels(&[("kubernetes.io/hostname", "n1")]),
            "S11",
        ),
        ("in", labelled, |p| wants(p, "zone", In, &["b", "a"]), ""),
        ("in, other", labelled, |p| wants(p, "zone", In, &["b"]), "S11"),
        ("not in, absent", labelled, |p| wants(p, "rack", NotIn, &["b"]), ""),
        ("not in, there", labelled, |p| wants(p, "zone", NotIn, &["a"]), "S11"),
        ("exists", labelled, |p| wants(p, "zone", Exists, &[]), ""),
        ("exists, absent", labelled, |p| wants(p, "rack", Exists, &[]), "S11"),
        ("does not exist", labelled, |p| wants(p, "rack", DoesNotExist, &[]), ""),
        ("does not exist, there", labelled, |p| wants(p, "zone", DoesNotExist, &[]), "S11"),
        ("greater", labelled, |p| wants(p, "gpus", Gt, &["3"]), ""),
        ("not greater", labelled, |p| wants(p, "gpus", Gt, &["4"]), "S11"),
        ("less", labelled, |p| wants(p, "gpus", Lt, &["5"]), ""),
        ("not less", labelled, |p| wants(p, "gpus", Lt, &["4"]), "S11"),
        ("no number", labelled, |p| wants(p, "zone", Lt, &["4"]), "S11"),
        ("name", labelled, |p| named(p, In, "n1"), ""),
        ("other name", labelled, |p| named(p, In, "n2"), "S11"),
        ("not that name", labelled, |p| named(p, NotIn, "n2"), ""),
        ("empty term", labelled, |p| p.node_affinity = Some(nodes_where(vec![], vec![])), "S11"),
        ("no terms", labelled, |p| p.node_affinity = Some(NodeSelector::default()), "S11"),
        (
            "second term",
            labelled,
            |p| {
                wants(p, "zone", In, &["b"]);
                let more = nodes_where(vec![requirement("gpus", Exists, &[])], vec![]);
                p.node_affinity.as_mut().unwrap().node_selector_terms.extend(more.node_selector_terms);
            },
            "",
        ),
    ]);
}

#[test]
fn gates_and_volumes_that_do_not_depend_on_others() {
    fn volume(pod: &mut PodSpec, edit: fn(&mut VolumeUse)) {
        let mut volume = VolumeUse { handle: "v".into(), driver: "csi".into(), ..VolumeUse::default() };
        edit(&mut volume);
        pod.volumes.push(volume);
    }
    fn in_zone(zone: &str) -> Option<NodeSelector> {
        Some(nodes_where(vec![requirement("zone", Operator::In, &[zone])], vec![]))
    }
    fn zoned(node: &mut NodeSpec) {
        node.labels = labels(&[("zone", "a")]);
    }
    check(&[
        ("gated", |_| {}, |p| p.scheduling_gates = vec!["wait".into()], "S11"),
        ("volume", |_| {}, |p| volume(p, |_| {}), ""),
        ("volume of no use", |_| {}, |p| volume(p, |v| v.unusable = "no such claim".into()), "S11"),
        ("volume in reach", zoned, |p| volume(p, |v| v.reachable_from = in_zone("a")), ""),
        ("volume out of reach", zoned, |p| volume(p, |v| v.reachable_from = in_zone("b")), "S11"),
    ]);
}

#[test]
fn node_types() {
    let rule = || Some(NodeTypeRule { key: "type".into(), values: vec!["a100".into(), "h100".into()] });
    let other = || Some(NodeTypeRule { key: "type".into(), values: vec!["t4".into()] });
    let cases = [
        ("right", rule(), None, Some("h100"), &[][..]),
        ("none", rule(), None, None, &["S11"]),
        ("not allowed", rule(), None, Some("t4"), &["S11"]),
        ("not allowed, though the node has it", other(), None, Some("h100"), &["S11"]),
        ("not this node", rule(), None, Some("a100"), &["S11"]),
        ("department's rule", None, rule(), Some("t4"), &["S11"]),
        ("project's rule comes first", rule(), other(), Some("h100"), &[]),
    ];
    for (what, of_project, of_department, chosen, expected) in cases {
        println!("{what}");
        let mut world = World::new();
        world.event(Event::DepartmentSet(department(|d| d.node_types = of_department)));
        world.event(Event::ProjectSet(project(|p| p.node_types = of_project)));
        world.node(1, |n| n.labels = labels(&[("type", "h100")]));
        world.workload(1, |w| w.node_type = chosen.map(Into::into)).decides(0, &[put(1, 1)], expected);
    }
}

#[test]
fn pools() {
    fn pool(id: u32, name: &str, value: &str) -> Event {
        let selector = PoolSelector { key: "pool".into(), value: value.into() };
        Event::PoolSet(PoolSpec::new(PoolId(id), name, Some(selector)))
    }
    let world = |pools: &[u32], of_project: &[u32]| {
        let mut world = World::new();
        // Both `b` and `c` select node 1; the first by name has it, whatever the identifiers say.
        world.event(pool(3, "b", "x")).event(pool(1, "c", "x"));
        let ids = |ids: &[u32]| ids.iter().map(|id| PoolId(*id)).collect();
        world.event(Event::ProjectSet(project(|p| p.pools = ids(of_project))));
        world.node(1, |n| n.labels = labels(&[("pool", "x")])).node(2, |_| {});
        world.workload(1, |w| w.pools = ids(pools));
        world
    };
    world(&[], &[]).decides(0, &[put(1, 1)], &[]);
    world(&[3], &[]).decides(0, &[put(1, 1)], &[]);
    world(&[1], &[]).decides(0, &[put(1, 1)], &["S10"]);
    world(&[0], &[]).decides(0, &[put(1, 2)], &[]);
    world(&[3], &[]).decides(0, &[put(1, 2)], &["S10"]);
    world(&[], &[0]).decides(0, &[put(1, 1)], &["S10"]);
    world(&[3], &[0]).decides(0, &[put(1, 1)], &[]);
    world(&[1], &[]).event(Event::PoolRemoved(PoolId(3))).decides(0, &[put(1, 1)], &[]);
    world(&[], &[]).event(Event::PoolRemoved(PoolId(0))).decides(0, &[put(1, 2)], &["S1"]);
}
