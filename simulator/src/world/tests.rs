//! Evictions carried out, as if the engine had decided them.

use super::run::{Options, World};
use crate::case::Case;
use crate::input::scenario;
use crate::outcome::Outcome;
use berth_model::{Cause, Decision, Millis, PodId, Timestamp, WorkloadId};

const MINUTE: i64 = 60_000;
const GPU: i128 = 1_000_000;

/// One node with four devices, and these workloads.
fn case(workloads: &str) -> Case {
    let cluster = "nodes: [{name: n, cpu: 64, memory: 64Gi, gpus: {count: 4, memory: 16Gi}}]\n\
        projects: [{name: p, quota: {default: {gpu: unlimited}}}]\nuntil: 10h\n";
    scenario::parse("evictions", &format!("{cluster}workloads:\n{workloads}")).unwrap()
}

/// A simulation that a test leads.
struct Led<'a>(World<'a>);

impl<'a> Led<'a> {
    fn new(case: &'a Case) -> Self {
        let mut world = World::new(case, Options::default()).unwrap();
        world.instant().unwrap();
        Self(world)
    }

    /// Lets the simulation run until `minutes` and `seconds`.
    fn until(&mut self, minutes: i64, seconds: i64) {
        let end = Timestamp(minutes * MINUTE + seconds * 1000);
        while self.0.advance(end) {
            self.0.instant().unwrap();
        }
        self.0.pass_to(end);
    }

    /// Carries out evictions of pods of the first workload.
    fn evict(&mut self, pods: &[u32], grace: Millis) {
        for index in pods {
            let pod = PodId { workload: WorkloadId(0), role: 0, index: *index };
            let cause = Cause::Reclaim;
            self.0.act(Decision::Evict { pod, grace, beneficiary: None, cause }).unwrap();
        }
        self.0.settle_evictions();
    }

    /// Pods of the first workload that run, and that wait.
    fn pods(&self) -> (usize, u32) {
        let state = self.0.workload(WorkloadId(0));
        (state.running.len(), state.pending)
    }

    fn completed(&self) -> u64 {
        self.0.counts.completed
    }

    fn outcome(self) -> Outcome {
        self.0.outcome()
    }
}

fn lost(outcome: &Outcome) -> i128 {
    outcome.projects[0].lost_share_millis
}

const HALF_MINUTE: Millis = Millis::from_secs(30);

#[test]
fn s23_an_evicted_pod_goes_when_its_grace_is_over_and_begins_anew() {
    let case = case("- {name: a, project: p, runtime: 1h, roles: [{gpus: 2}]}");
    let mut led = Led::new(&case);
    led.until(10, 0);
    led.evict(&[0], HALF_MINUTE);
    led.until(10, 29);
    assert_eq!(led.pods(), (0, 1), "it is wanted, and does not run");
    assert_eq!(led.0.counts.leaving, 1);
    led.until(10, 30);
    assert_eq!((led.pods(), led.0.counts.leaving), ((1, 0), 0));
    led.until(70, 29);
    assert_eq!(led.completed(), 0, "the ten minutes are lost");
    led.until(70, 30);
    assert_eq!(led.completed(), 1);
    let outcome = led.outcome();
    let thrown_away = 2 * GPU * 630_000;
    assert_eq!((lost(&outcome), outcome.totals.evictions_by_cause.reclaim), (thrown_away, 1));
    assert_eq!(outcome.totals.gpu_good_millis, outcome.totals.gpu_share_millis - thrown_away);
    assert_eq!(outcome.totals.gpu_good_millis, 2 * GPU * 3_600_000);
}

#[test]
fn s23_a_pod_may_go_before_its_grace_is_over_and_no_grace_is_a_second() {
    let case = case("- {name: a, project: p, exitsAfter: 5s, roles: [{gpus: 1}]}");
    let mut led = Led::new(&case);
    led.until(1, 0);
    led.evict(&[0], HALF_MINUTE);
    led.until(1, 4);
    assert_eq!(led.pods(), (0, 1));
    led.until(1, 5);
    assert_eq!(led.pods(), (1, 0));
    led.evict(&[0], Millis::ZERO);
    assert_eq!(led.pods(), (0, 1));
    led.until(1, 6);
    assert_eq!(led.pods(), (1, 0));
    assert_eq!(lost(&led.outcome()), GPU * 66_000);
}

#[test]
fn a_pod_that_ends_by_itself_before_it_is_gone_has_done_its_work() {
    let case = case("- {name: a, project: p, runtime: 1h, roles: [{count: 2, gpus: 1}]}");
    let mut led = Led::new(&case);
    led.until(59, 30);
    led.evict(&[0, 1], HALF_MINUTE);
    led.until(60, 0);
    assert_eq!((led.completed(), led.0.counts.leaving), (1, 0));
    let outcome = led.outcome();
    assert_eq!((lost(&outcome), outcome.totals.evictions, outcome.totals.pending), (0, 2, 0));
    assert_eq!(outcome.totals.gpu_good_millis, 2 * GPU * 3_600_000);
}

#[test]
fn s20_a_pod_above_the_minimum_keeps_its_work_until_the_whole_workload_goes() {
    let case = case("- {name: a, project: p, runtime: 1h, roles: [{count: 3, min: 1, gpus: 1}]}");
    let mut led = Led::new(&case);
    led.until(10, 0);
    led.evict(&[2], HALF_MINUTE);
    led.until(59, 0);
    assert_eq!(led.pods(), (3, 0));
    led.until(60, 0);
    assert_eq!(led.completed(), 1, "it ends as if it had never left");
    assert_eq!(lost(&led.outcome()), 0);

    let mut led = Led::new(&case);
    led.until(10, 0);
    led.evict(&[2], HALF_MINUTE);
    led.until(10, 10);
    led.evict(&[0, 1], HALF_MINUTE);
    led.until(11, 0);
    assert_eq!(led.pods(), (3, 0));
    let outcome = led.outcome();
    assert_eq!(lost(&outcome), GPU * (630_000 + 2 * 640_000));
    assert_eq!(outcome.totals.gpu_good_millis, GPU * (2 * 20_000 + 30_000));
}

#[test]
fn what_is_on_its_way_out_at_the_end_is_lost_and_what_a_node_takes_along_is_wasted() {
    let workloads = "- {name: a, project: p, roles: [{gpus: 1}]}\n\
        - {name: b, project: p, roles: [{gpus: 2}]}\nevents: [{at: 30m, nodeDown: n}]";
    let case = case(workloads);
    let mut led = Led::new(&case);
    led.until(20, 0);
    led.evict(&[0], HALF_MINUTE);
    led.until(20, 15);
    let outcome = led.outcome();
    assert_eq!(lost(&outcome), GPU * 1_215_000);
    let mut led = Led::new(&case);
    led.until(40, 0);
    let outcome = led.outcome();
    assert_eq!((lost(&outcome), outcome.totals.gpu_good_millis, outcome.totals.evictions), (0, 0, 0));
}

#[test]
fn an_eviction_of_what_does_not_run_is_refused() {
    let case = case("- {name: a, project: p, roles: [{gpus: 8}]}");
    let mut led = Led::new(&case);
    let pod = PodId { workload: WorkloadId(0), role: 0, index: 0 };
    let cause = Cause::Preempt;
    let evict = Decision::Evict { pod, grace: HALF_MINUTE, beneficiary: None, cause };
    assert!(led.0.act(evict).unwrap_err().to_string().contains("the pod does not run"));
    assert_eq!(led.0.evictions(), 0);
}
