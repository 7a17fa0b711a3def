//! A large gang must not wait for ever behind small workloads that keep coming (decision 0003), and devices must not
//! stand idle for it for longer than that takes.

use berth_engine::Settings;
use berth_model::{Budget, Decision, Event, Timestamp, WorkloadId};
use berth_sim::checked::Checked;
use berth_sim::input::scenario;
use berth_sim::world::{Options, SimError, Witness, World};
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Small workloads, a new one every three minutes: more than 32 devices can do.
const SMALL: u64 = 400;
/// The gang, and when it is submitted.
const GANG: (u64, i64) = (SMALL, 2 * HOUR);

/// When each workload was first placed.
#[derive(Default)]
struct Starts(BTreeMap<WorkloadId, Timestamp>);

impl Witness for Starts {
    fn event(&mut self, _event: &Event) -> Result<(), SimError> {
        Ok(())
    }

    fn decided(&mut self, now: Timestamp, _budget: Budget, decisions: &[Decision]) -> Result<(), SimError> {
        for decision in decisions {
            if let Decision::Place { pod, .. } = decision {
                self.0.entry(pod.workload).or_insert(now);
            }
        }
        Ok(())
    }
}

/// What has come of it.
struct Said {
    /// When the gang started.
    gang: Option<i64>,
    /// How long the small ones waited that were submitted between two and eight hours: on average, and at most.
    waits: (i64, i64),
    /// GPUs in use of those there are while the stream lasts, in thousandths.
    used: i128,
}

/// Four nodes with eight devices. Three of four small ones run for two hours, the fourth for 20 minutes. The gang wants
/// two whole nodes. `declared`: all say for how long they run.
fn simulate(hold_after: &str, declared: bool) -> Said {
    let mut source = format!(
        "pools: [{{name: default, consolidation: false}}]\n\
         nodes: [{{name: n, count: 4, cpu: 64, memory: 512Gi, gpus: {{count: 8, memory: 16Gi}}}}]\n\
         projects: [{{name: p, quota: {{default: {{gpu: unlimited}}}}, holdAfter: {hold_after}}}]\n\
         until: 20h\nworkloads:\n"
    );
    let says = |minutes: i64| if declared { format!(", expectedRuntime: {minutes}m") } else { String::new() };
    for at in 0..SMALL as i64 {
        let runs = if at % 4 == 3 { 20 } else { 120 };
        source.push_str(&format!(
            "- {{name: s{at}, project: p, submitted: {}m, runtime: {runs}m{}, roles: [{{gpus: 1, cpu: 1}}]}}\n",
            3 * at,
            says(runs)
        ));
    }
    source.push_str(&format!(
        "- {{name: gang, project: p, submitted: 2h, runtime: 4h{}, roles: [{{count: 2, gpus: 8, cpu: 1}}]}}\n",
        says(240)
    ));
    let case = scenario::parse("starvation", &source).unwrap();
    let (mut starts, mut checked) = (Starts::default(), Checked::new(&Settings::default()));
    let options = Options { witnesses: vec![&mut starts, &mut checked], ..Options::default() };
    let mut world = World::new(&case, options).unwrap();
    world.run().unwrap();
    let outcome = world.outcome();
    assert_eq!(checked.into_violations(), Vec::<String>::new());
    let start = |workload: u64| starts.0.get(&WorkloadId(workload)).map(|at| at.0);
    let early = (0..SMALL).filter(|at| (2 * HOUR..8 * HOUR).contains(&(3 * MINUTE * *at as i64)));
    let waits: Vec<i64> = early.map(|at| start(at).unwrap_or(20 * HOUR) - 3 * MINUTE * at as i64).collect();
    let mean = waits.iter().sum::<i64>() / waits.len() as i64;
    let waits = (mean, *waits.iter().max().unwrap());
    let used = outcome.totals.gpu_share_millis * 1000 / outcome.totals.gpu_capacity_millis;
    let said = Said { gang: start(GANG.0), waits, used };
    eprintln!(
        "hold after {hold_after}, {}: the gang starts after {:?} min; the small ones wait {} min on average, {} at most; {} of \
         1000 devices in use",
        if declared { "runtimes declared" } else { "nothing declared" },
        said.gang.map(|at| (at - GANG.1) / MINUTE),
        said.waits.0 / MINUTE,
        said.waits.1 / MINUTE,
        said.used
    );
    said
}

#[test]
fn without_a_hold_the_gang_starves() {
    let said = simulate("never", false);
    assert_eq!(said.gang, None, "as long as the stream lasts");
}

#[test]
fn it_starts_within_its_bound_and_the_time_that_others_run() {
    let starving = simulate("never", false);
    let said = simulate("6h", false);
    let start = said.gang.expect("it starts");
    assert!((GANG.1 + 6 * HOUR..=GANG.1 + 8 * HOUR).contains(&start), "{start}");
    // At most 16 devices wait for it, for at most two hours out of twenty, and on average for half of that.
    assert!(said.used >= starving.used - 60, "{} {}", said.used, starving.used);
}

#[test]
fn with_declared_runtimes_it_starts_as_soon_as_it_can_and_little_stands_idle() {
    let starving = simulate("never", true);
    let said = simulate("24h", true);
    let start = said.gang.expect("it starts");
    assert!(start <= GANG.1 + 2 * HOUR, "nobody there runs for longer than two hours: {start}");
    assert_eq!(starving.gang, None);
    // The short ones use what waits for it.
    let undeclared = simulate("0s", false);
    assert!(undeclared.gang.expect("it starts") <= GANG.1 + 2 * HOUR);
    assert!(said.used > undeclared.used, "{} {}", said.used, undeclared.used);
}
