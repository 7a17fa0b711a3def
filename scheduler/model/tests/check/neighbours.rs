//! S11: rules about other pods.

use crate::dsl::*;
use berth_model::*;
use std::sync::Arc;

const ZONE: &str = "zone";
const HOST: &str = "kubernetes.io/hostname";

/// Nodes 1 and 2 in zone `a`, 3 in `b`, 4 in none.
fn world() -> World {
    let mut world = World::new();
    for (id, zone) in [(1, "a"), (2, "a"), (3, "b")] {
        world.node(id, |n| n.labels.extend(labels(&[(ZONE, zone)])));
    }
    world.node(4, |_| {});
    world
}

/// A workload of pods with a label `app`.
fn app(name: &str, count: u32, edit: impl FnOnce(&mut PodSpec)) -> impl FnOnce(&mut WorkloadSpec) {
    let labels = Arc::new(labels(&[("app", name)]));
    move |w| w.roles = vec![RoleSpec { labels, ..role(count, 0, edit) }]
}

fn selects(name: &str) -> Option<LabelSelector> {
    Some(LabelSelector { match_labels: labels(&[("app", name)]), ..LabelSelector::default() })
}

fn term(name: &str, key: &str) -> PodAffinityTerm {
    PodAffinityTerm { label_selector: selects(name), topology_key: key.into(), ..PodAffinityTerm::default() }
}

fn affinity(terms: &[PodAffinityTerm]) -> PodAffinity {
    PodAffinity { required: terms.to_vec(), preferred: vec![] }
}

#[track_caller]
fn near(terms: &[PodAffinityTerm], on: u32, expected: &[&str]) {
    let mut world = world();
    world.workload(1, app("db", 1, |_| {})).running(first(1), 1, GpuGrant::None);
    world.workload(2, app("web", 1, |p| p.pod_affinity = affinity(terms)));
    world.decides(0, &[put(2, on)], expected);
}

#[test]
fn affinity_to_pods_that_are_there() {
    near(&[term("db", ZONE)], 2, &[]);
    near(&[term("db", ZONE)], 3, &["S11"]);
    near(&[term("db", ZONE)], 4, &["S11"]);
    near(&[term("db", HOST)], 1, &[]);
    near(&[term("db", HOST)], 2, &["S11"]);
    near(&[PodAffinityTerm { label_selector: None, ..term("db", ZONE) }], 2, &["S11"]);
    near(&[PodAffinityTerm { namespaces: vec!["other".into()], ..term("db", ZONE) }], 2, &["S11"]);
    near(&[PodAffinityTerm { namespaces: vec!["vision".into()], ..term("db", ZONE) }], 2, &[]);
    // All terms must select one and the same pod.
    near(&[term("db", ZONE), term("db", HOST)], 1, &[]);
    near(&[term("db", ZONE), term("web", ZONE)], 2, &["S11"]);
}

#[test]
fn selectors_of_pods() {
    let wants = |operator, values: &[&str]| {
        let all = vec![requirement("app", operator, values)];
        let selector = LabelSelector { match_expressions: all, ..LabelSelector::default() };
        vec![PodAffinityTerm { label_selector: Some(selector), ..term("", ZONE) }]
    };
    near(&wants(Operator::In, &["db", "x"]), 2, &[]);
    near(&wants(Operator::NotIn, &["db", "web"]), 2, &["S11"]);
    near(&wants(Operator::Exists, &[]), 2, &[]);
    near(&wants(Operator::DoesNotExist, &[]), 2, &["S11"]);
    near(&[PodAffinityTerm { label_selector: Some(LabelSelector::default()), ..term("", ZONE) }], 2, &[]);
}

#[test]
fn the_first_pod_of_a_group_goes_where_it_likes_and_the_others_follow() {
    let group = |terms: Vec<PodAffinityTerm>| app("web", 3, move |p| p.pod_affinity = affinity(&terms));
    let at = |index, node| place(pod(1, index), node, GpuGrant::None);
    let own = || vec![term("web", ZONE)];
    world().workload(1, group(own())).decides(0, &[at(0, 3), at(1, 3)], &[]);
    world().workload(1, group(own())).decides(0, &[at(0, 3), at(1, 1)], &["S11"]);
    world().workload(1, group(own())).decides(0, &[at(0, 4)], &["S11"]);
    world().workload(1, group(vec![term("db", ZONE)])).decides(0, &[at(0, 3)], &["S11"]);
}

#[test]
fn anti_affinity_holds_both_ways_and_for_leaving_pods() {
    let keeps_off = |name: &'static str, key: &'static str| {
        move |p: &mut PodSpec| p.pod_anti_affinity = affinity(&[term(name, key)])
    };
    for (key, on, expected) in
        [(ZONE, 2, &["S11"][..]), (ZONE, 3, &[]), (ZONE, 4, &[]), (HOST, 2, &[]), (HOST, 1, &["S11"])]
    {
        let mut own = world();
        own.workload(1, app("db", 1, |_| {})).running(first(1), 1, GpuGrant::None);
        own.event(Event::PodLeaving { pod: first(1), until: Timestamp(0) });
        own.workload(2, app("web", 1, keeps_off("db", key))).decides(0, &[put(2, on)], expected);
        let mut theirs = world();
        theirs.workload(1, app("db", 1, keeps_off("web", key))).running(first(1), 1, GpuGrant::None);
        theirs.workload(2, app("web", 1, |_| {})).decides(0, &[put(2, on)], expected);
    }
    let mut one_each = world();
    let at = |index, node| place(pod(1, index), node, GpuGrant::None);
    one_each.workload(1, app("web", 4, keeps_off("web", HOST))).decides(0, &[at(0, 1), at(1, 2)], &[]);
    one_each.decides(1, &[at(2, 3), at(3, 3)], &["S11"]);
}

#[test]
fn domains_follow_the_nodes() {
    let mut world = world();
    world.workload(1, app("db", 1, |_| {})).running(first(1), 1, GpuGrant::None);
    world.workload(2, app("web", 2, |p| p.pod_affinity = affinity(&[term("db", ZONE)])));
    world.node(3, |n| n.labels.extend(labels(&[(ZONE, "a")]))).decides(0, &[put(2, 3)], &[]);
    world.node(1, |n| n.labels.extend(labels(&[(ZONE, "c")])));
    world.decides(1, &[place(pod(2, 1), 2, GpuGrant::None)], &["S11"]);
}

fn spread(edit: impl FnOnce(&mut TopologySpread)) -> Vec<TopologySpread> {
    let mut spread = TopologySpread {
        max_skew: 1,
        topology_key: ZONE.into(),
        when_unsatisfiable: Unsatisfiable::DoNotSchedule,
        label_selector: selects("web"),
        min_domains: None,
        honor_affinity: true,
        honor_taints: false,
    };
    edit(&mut spread);
    vec![spread]
}

#[track_caller]
fn spreads(edit: impl FnOnce(&mut TopologySpread), more: fn(&mut PodSpec), on: &[u32], expected: &[&str]) {
    let mut world = world();
    world.workload(
        1,
        app("web", 9, |p| {
            p.topology_spread = spread(edit);
            more(p);
        }),
    );
    let places: Vec<_> =
        on.iter().zip(0..).map(|(node, i)| place(pod(1, i), *node, GpuGrant::None)).collect();
    world.decides(0, &places, expected);
}

#[test]
fn topology_spread() {
    let only_a = |p: &mut PodSpec| p.node_selector = labels(&[(ZONE, "a")]);
    spreads(|_| {}, |_| {}, &[1, 3, 2, 3], &[]);
    spreads(|_| {}, |_| {}, &[1, 2], &["S11"]);
    spreads(|_| {}, |_| {}, &[4], &["S11"]);
    spreads(|s| s.max_skew = 2, |_| {}, &[1, 2], &[]);
    spreads(|s| s.max_skew = 2, |_| {}, &[1, 2, 1], &["S11"]);
    spreads(|s| s.label_selector = selects("db"), |_| {}, &[1, 2, 1], &[]);
    spreads(|s| s.when_unsatisfiable = Unsatisfiable::ScheduleAnyway, |_| {}, &[1, 2, 1], &[]);
    spreads(|_| {}, only_a, &[1, 2, 1], &[]);
    spreads(|s| s.honor_affinity = false, only_a, &[1, 2], &["S11"]);
    spreads(|s| s.min_domains = Some(2), only_a, &[1], &[]);
    spreads(|s| s.min_domains = Some(2), only_a, &[1, 2], &["S11"]);
}

#[test]
fn topology_spread_and_taints() {
    for (honor_taints, expected) in [(false, &["S11"][..]), (true, &[])] {
        let mut world = world();
        let taint = Taint { key: "t".into(), value: String::new(), effect: Effect::NoSchedule };
        world.node(3, |n| (n.labels, n.taints) = (labels(&[(ZONE, "b")]), vec![taint]));
        world.workload(1, app("web", 2, |p| p.topology_spread = spread(|s| s.honor_taints = honor_taints)));
        world.decides(0, &[put(1, 1), place(pod(1, 1), 2, GpuGrant::None)], expected);
    }
}

#[test]
fn topology_spread_does_not_count_leaving_pods() {
    let mut world = world();
    world.workload(1, app("web", 2, |p| p.topology_spread = spread(|_| {}))).running(
        pod(1, 0),
        1,
        GpuGrant::None,
    );
    world.event(Event::PodLeaving { pod: pod(1, 0), until: Timestamp(0) });
    world.decides(0, &[place(pod(1, 1), 2, GpuGrant::None)], &[]);
}

#[test]
fn volumes_for_one_pod_alone() {
    let volume = |handle: &str, exclusive| {
        let volume = VolumeUse { handle: handle.into(), exclusive, ..VolumeUse::default() };
        asks(move |p| p.volumes = vec![volume])
    };
    let cases: [(_, _, _, &[&str]); 4] = [
        ("v", true, true, &["S11"]),
        ("v", true, false, &["S11"]),
        ("v", false, false, &[]),
        ("w", true, true, &[]),
    ];
    for (handle, there, more, expected) in cases {
        let mut world = world();
        world.workload(1, volume("v", there)).workload(2, volume(handle, more));
        world.running(first(1), 1, GpuGrant::None).decides(0, &[put(2, 3)], expected);
    }
}
