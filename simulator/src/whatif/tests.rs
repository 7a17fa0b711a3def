//! Futures compared.

use super::difference::Difference;
use super::future::{End, Seen};
use super::{Answer, Change, Horizon, run, terminal};
use crate::case::Case;
use crate::input::scenario;
use crate::report::terminal::Style;
use crate::world::{Options, World};
use berth_model::{
    Cause, Decision, DeviceMask, GpuGrant, Millis, NodeId, Placement, PodId, Timestamp, WorkloadId,
};

const MINUTE: i64 = 60_000;

/// Two nodes with two devices; `running` has them all for an hour, `waiting` wants two of them after it.
const CASE: &str = "
nodes: [{name: n, count: 2, cpu: 16, memory: 64Gi, gpus: {count: 2, memory: 16Gi}}]
projects: [{name: p, quota: {default: {gpu: 4}}}, {name: q, quota: {default: {gpu: 0, gpuLimit: 2}}}]
workloads:
- {name: running, project: p, runtime: 1h, roles: [{name: w, count: 2, gpus: 2, cpu: 1}]}
- {name: waiting, project: p, submitted: 1m, runtime: 30m, roles: [{name: w, gpus: 2, cpu: 1}]}
- {name: wide, project: q, submitted: 2m, roles: [{name: w, count: 3, gpus: 1, cpu: 1}]}
- {name: far, project: q, submitted: 3h, roles: [{name: w, gpus: 1, cpu: 1}]}
";

fn case() -> Case {
    scenario::parse("futures", CASE).unwrap()
}

/// What comes of changes ten minutes after the start.
fn answer(changes: impl Fn(&Case) -> Vec<Change>, horizon: Horizon) -> Answer {
    let case = case();
    let mut world = World::new(&case, Options::default()).unwrap();
    world.run_to(Timestamp(10 * MINUTE)).unwrap();
    run(&world, &case, &changes(&case), horizon).unwrap()
}

fn submit(case: &Case, workload: &str) -> Change {
    let taken: Vec<String> = case.load.arrivals().map(|arrival| arrival.spec.name).collect();
    let now = Timestamp(10 * MINUTE);
    let mut arrivals = scenario::submissions("s", workload, &case.cluster, &taken, now).unwrap();
    Change::Submit(arrivals.remove(0))
}

fn start(answer: &Answer) -> Option<i64> {
    answer.submitted[0].start.map(|at| at.0 / MINUTE)
}

#[test]
fn what_is_submitted_starts_when_there_is_room() {
    let late = "{name: late, project: p, priority: low, roles: [{name: w, gpus: 2, cpu: 1}]}";
    let said = answer(|case| vec![submit(case, late)], Horizon::Started);
    assert_eq!((start(&said), said.until), (Some(60), Timestamp(90 * MINUTE)));
    assert_eq!(said.submitted[0].pods[0].pod, "w/0");
    assert!(said.submitted[0].reason.contains("room for 0 of 1 pod"), "{}", said.submitted[0].reason);
    assert!(said.evicted.is_empty() && said.later.is_empty(), "{said:?}");
    let none = answer(|case| vec![submit(case, late)], Horizon::For(Millis(30 * MINUTE)));
    assert_eq!((start(&none), none.until), (None, Timestamp(40 * MINUTE)));
    assert!(!none.submitted[0].change.is_empty());
    let settled = answer(|case| vec![submit(case, late)], Horizon::Settled);
    assert_eq!(settled.until, Timestamp(10 * MINUTE));
}

#[test]
fn declared_runtimes_say_when_it_starts_at_the_earliest() {
    let source = CASE.replace("project: p, runtime: 1h,", "project: p, expectedRuntime: 1h,");
    let late = "{name: late, project: p, priority: low, roles: [{name: w, gpus: 2, cpu: 1}]}";
    let led = |minutes: i64| {
        let case = scenario::parse("declared", &source).unwrap();
        let mut world = World::new(&case, Options::default()).unwrap();
        world.run_to(Timestamp(minutes * MINUTE)).unwrap();
        run(&world, &case, &[submit(&case, late)], Horizon::Started).unwrap()
    };
    assert_eq!(start(&led(10)), Some(60));
    // Who has run for longer than it said may run for ever.
    assert_eq!(start(&led(61)), None);
}

#[test]
fn one_of_higher_priority_takes_its_room_at_once() {
    let urgent =
        "{name: urgent, project: p, priority: 90, runtime: 2h, roles: [{name: w, count: 2, gpus: 2}]}";
    let said = answer(|case| vec![submit(case, urgent)], Horizon::Started);
    assert_eq!(start(&said), Some(10));
}

#[test]
fn nodes_and_quotas_let_others_start_and_a_lost_node_displaces() {
    let node = "{name: m, cpu: 16, memory: 64Gi, gpus: {count: 2, memory: 16Gi}}";
    let more = |case: &Case| scenario::more_nodes("n", node, &case.cluster).unwrap();
    let added = answer(|case| more(case).into_iter().map(Change::AddNode).collect(), Horizon::Started);
    let [sooner] = added.sooner.as_slice() else { panic!("{added:?}") };
    assert_eq!((sooner.workload.as_str(), sooner.with), ("waiting", Some(Timestamp(10 * MINUTE))));

    let quota = |case: &Case| {
        let said = "{project: q, gpuLimit: null}".to_owned();
        let (queue, pool, quota) = scenario::resize("q", &said, &mut case.cluster.clone()).unwrap();
        vec![Change::Quota { queue, pool, quota, said }]
    };
    let raised = answer(quota, Horizon::Started);
    let [sooner] = raised.sooner.as_slice() else { panic!("{raised:?}") };
    assert_eq!((sooner.workload.as_str(), sooner.without), ("wide", None));

    let removed = answer(|_| vec![Change::RemoveNode(NodeId(0))], Horizon::Settled);
    let [displaced] = removed.displaced.as_slice() else { panic!("{removed:?}") };
    assert_eq!((displaced.workload.as_str(), displaced.with), ("running", None));
}

/// As if one future had evicted and placed so.
fn seen(case: &Case, evicted: bool) -> (End, Seen) {
    use crate::world::Witness;
    let mut seen = Seen::default();
    let pod = |workload, index| PodId { workload: WorkloadId(workload), role: 0, index };
    let evict = |index| {
        let (grace, cause) = (Millis::from_secs(30), Cause::Preempt);
        Decision::Evict { pod: pod(0, index), grace, beneficiary: Some(WorkloadId(4)), cause }
    };
    let place = |workload, index| {
        let gpus = GpuGrant::Whole(DeviceMask(3));
        Decision::Place { pod: pod(workload, index), at: Placement { node: NodeId(index), gpus } }
    };
    let mut decided = |minutes: i64, decisions: &[Decision]| {
        seen.decided(Timestamp(minutes * MINUTE), berth_model::Budget::UNLIMITED, decisions).unwrap();
    };
    let mut end = End { short: vec![WorkloadId(1), WorkloadId(2)], ..End::default() };
    if evicted {
        decided(10, &[evict(0), evict(1)]);
        decided(11, &[place(4, 0)]);
        decided(50, &[place(0, 0), place(0, 1)]);
        end.lost_share_millis = 4 * 1_000_000 * 30 * 60_000;
        end.short.push(WorkloadId(4));
    }
    assert_eq!(case.load.len(), 5);
    (end, seen)
}

#[test]
fn who_is_evicted_is_named_with_the_rule_and_for_whom() {
    let mut case = case();
    let urgent = submit(&case, "{name: urgent, project: p, roles: [{name: w, gpus: 2}]}");
    case = super::case_with(&case, std::slice::from_ref(&urgent));
    let (without, with) = (seen(&case, false), seen(&case, true));
    let difference = Difference {
        case: &case,
        at: Timestamp(10 * MINUTE),
        until: Timestamp(60 * MINUTE),
        without: (&without.0, &without.1),
        with: (&with.0, &with.1),
    };
    let answer = difference.answer(&[urgent]);
    assert_eq!((answer.evicted.len(), answer.evicted[0].pods), (1, 2));
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!(terminal(&answer, 90, Style::default()));
    });
}
