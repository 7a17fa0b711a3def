//! Expectations judged: what was expected, what came of it, and whether they agree.

use crate::case::{Case, Expectation, Load};
use crate::world::{Options, PodPlace, SimError, WorkloadState, World};
use berth_model::{NodeId, ReasonKind, Timestamp, WorkloadId};
use serde::Serialize;
use std::collections::BTreeMap;

/// What came of one expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// It holds.
    pub passed: bool,
    /// What was expected, in words.
    pub expected: String,
    /// What came of it, in the same words.
    pub actual: String,
}

/// What came of a scenario with expectations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The scenario's name.
    pub name: String,
    /// When it ended.
    pub ended: Timestamp,
    /// One per expectation, in the order of the file.
    pub verdicts: Vec<Verdict>,
}

impl Judgement {
    /// True if every expectation holds.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.passed)
    }
}

/// Simulates a case and judges its expectations.
pub fn judge<'a>(case: &'a Case, options: Options<'a>) -> Result<Judgement, SimError> {
    let mut world = World::new(case, options)?;
    world.run()?;
    let speaker = Speaker { case, names: names(case) };
    let verdicts = case.expect.iter().map(|expectation| speaker.verdict(expectation, &world)).collect();
    Ok(Judgement { name: case.name.clone(), ended: world.now(), verdicts })
}

fn names(case: &Case) -> Vec<String> {
    let names = case.load.names();
    match &case.load {
        Load::Listed(list) => (0..list.len() as u64).map(|id| names.of(WorkloadId(id))).collect(),
        Load::Synthetic(_) => Vec::new(),
    }
}

/// Says things about the workloads of a case.
struct Speaker<'a> {
    case: &'a Case,
    names: Vec<String>,
}

impl Speaker<'_> {
    fn verdict(&self, expectation: &Expectation, world: &World<'_>) -> Verdict {
        match expectation {
            Expectation::Workloads { workloads, running, pending, nodes, reason } => {
                let expected = Counts { running: *running, pending: *pending, nodes, reason: *reason };
                self.about(workloads, &expected, world)
            }
            Expectation::Shared(workloads) => {
                self.devices(workloads, world, "on one device", |devices, all| {
                    devices.values().any(|on| on == all)
                })
            }
            Expectation::Apart(workloads) => {
                self.devices(workloads, world, "on no device together", |devices, _| {
                    devices.values().all(|on| on.len() < 2)
                })
            }
            Expectation::Evictions(count) => {
                let actual = world.evictions();
                self.counted(actual == *count, format!("{count} pods evicted"), actual)
            }
            Expectation::EvictionsMax(most) => {
                let actual = world.evictions();
                self.counted(actual <= *most, format!("at most {most} pods evicted"), actual)
            }
        }
    }

    fn counted(&self, passed: bool, expected: String, actual: u64) -> Verdict {
        Verdict { passed, expected, actual: format!("{actual} pods evicted") }
    }

    fn about(&self, workloads: &[WorkloadId], expected: &Counts<'_>, world: &World<'_>) -> Verdict {
        let states: Vec<WorkloadState> = workloads.iter().map(|workload| world.workload(*workload)).collect();
        let running: Vec<PodPlace> = states.iter().flat_map(|state| state.running.iter().copied()).collect();
        let pending: u32 = states.iter().map(|state| state.pending).sum();
        let on = |node: &NodeId| running.iter().filter(|place| place.node == *node).count() as u32;
        let nodes: Vec<_> = expected.nodes.iter().map(|(node, _)| (*node, on(node))).collect();
        let waiting = || states.iter().filter(|state| state.pending > 0);
        let reason = expected.reason.and_then(|wanted| {
            let other = waiting().find(|state| state.reason != Some(wanted));
            other.or_else(|| waiting().next()).and_then(|state| state.reason)
        });
        let actual = Counts {
            running: expected.running.map(|_| running.len() as u32),
            pending: expected.pending.map(|_| pending),
            nodes: &nodes,
            reason,
        };
        let passed = actual.running == expected.running
            && actual.pending == expected.pending
            && actual.nodes == expected.nodes
            && actual.reason == expected.reason;
        let who = self.who(workloads);
        let actual_words = self.counts(&actual, expected.reason.is_some());
        Verdict {
            passed,
            expected: format!("{who}: {}", self.counts(expected, expected.reason.is_some())),
            actual: format!("{who}: {actual_words}"),
        }
    }

    fn counts(&self, counts: &Counts<'_>, with_reason: bool) -> String {
        let mut words = Vec::new();
        words.extend(counts.running.map(|n| format!("{n} running")));
        words.extend(counts.pending.map(|n| format!("{n} pending")));
        for (node, n) in counts.nodes {
            words.push(format!("{n} on {}", self.case.cluster.nodes[node.index()].name));
        }
        match counts.reason {
            Some(reason) => words.push(format!("because of {reason}")),
            None if with_reason => words.push("for no reason known".to_owned()),
            None => {}
        }
        if words.is_empty() { "exists".to_owned() } else { words.join(", ") }
    }

    /// Judges by which workloads have pods on which device.
    fn devices(
        &self,
        workloads: &[WorkloadId],
        world: &World<'_>,
        words: &str,
        holds: impl Fn(&BTreeMap<(NodeId, u8), Vec<WorkloadId>>, &Vec<WorkloadId>) -> bool,
    ) -> Verdict {
        let mut all = workloads.to_vec();
        all.sort_unstable();
        all.dedup();
        let mut devices: BTreeMap<(NodeId, u8), Vec<WorkloadId>> = BTreeMap::new();
        for workload in &all {
            for place in world.workload(*workload).running {
                for device in place.devices.iter() {
                    let on = devices.entry((place.node, device.0)).or_default();
                    if on.last() != Some(workload) {
                        on.push(*workload);
                    }
                }
            }
        }
        let at = |((node, device), on): (&(NodeId, u8), &Vec<WorkloadId>)| {
            format!("{} on {}/{device}", self.who(on), self.case.cluster.nodes[node.index()].name)
        };
        let actual: Vec<String> = devices.iter().map(at).collect();
        Verdict {
            passed: holds(&devices, &all),
            expected: format!("{} {words}", self.who(&all)),
            actual: if actual.is_empty() { "none on any device".to_owned() } else { actual.join("; ") },
        }
    }

    fn who(&self, workloads: &[WorkloadId]) -> String {
        workloads.iter().map(|w| self.names[w.index()].as_str()).collect::<Vec<_>>().join(" + ")
    }
}

/// What can be said about workloads; only what is expected is compared.
struct Counts<'a> {
    running: Option<u32>,
    pending: Option<u32>,
    nodes: &'a [(NodeId, u32)],
    reason: Option<ReasonKind>,
}
