//! Engines that start when everything is there already, and events that none may accept.

use super::world::World;
use crate::reference::state::State;
use berth_engine::{Engine, Settings};
use berth_model::{
    BudgetId, BudgetSpec, Event, Eviction, GpuGrant, PodId, PodOutcome, PodState, Timestamp, WorkloadId,
    WorkloadSpec,
};

/// An engine that learns of everything as it is now.
pub(crate) fn started(state: &State) -> Engine {
    started_from(everything(state))
}

/// An engine that learns of the same the other way round, as far as it can be told so.
pub(crate) fn started_backwards(state: &State) -> Engine {
    started_from(everything(state).into_iter().map(|events| events.into_iter().rev().collect()))
}

fn started_from(all: impl IntoIterator<Item = Vec<Event>>) -> Engine {
    let mut engine = Engine::new(Settings::default());
    for event in all.into_iter().flatten() {
        engine.apply(event.clone()).unwrap_or_else(|e| panic!("{e}: {event:?}"));
    }
    engine
}

/// What there is, kind by kind: later ones build on earlier ones.
fn everything(state: &State) -> Vec<Vec<Event>> {
    let running = state.pods.iter().map(|(pod, seat)| {
        Event::PodRunning(PodState {
            leaving: seat.leaving.filter(|_| !seat.pending),
            evicted: seat.evicted,
            starting: seat.starting,
            ..PodState::new(*pod, seat.node, seat.gpus, seat.since)
        })
    });
    let ended = state.ended.iter().map(|(pod, outcome)| Event::PodEnded { pod: *pod, outcome: *outcome });
    let there = state.kept.iter().filter(|(_, kept)| state.nodes.contains_key(&kept.at.node));
    let kept = there.map(|(pod, kept)| Event::PodReserved { pod: *pod, at: kept.at, until: kept.until });
    vec![
        state.pools.values().cloned().map(Event::PoolSet).collect(),
        // Classes of nodes depend on all labels that were ever asked about.
        vec![Event::WorkloadSet(asks_about_all(state))],
        vec![Event::WorkloadRemoved(WorkloadId(u64::MAX))],
        state.departments.values().cloned().map(Event::DepartmentSet).collect(),
        state.projects.values().cloned().map(Event::ProjectSet).collect(),
        state.budgets.values().map(|budget| Event::BudgetSet(as_counted_now(state, budget))).collect(),
        state.nodes.values().cloned().map(Event::NodeSet).collect(),
        state.workloads.values().map(|w| Event::WorkloadSet(written_down(state, w))).collect(),
        running.collect(),
        ended.collect(),
        kept.collect(),
    ]
}

/// A budget whose number contains everything that is decided.
fn as_counted_now(state: &State, budget: &BudgetSpec) -> BudgetSpec {
    // Who is to be moved is counted when that is read (S26).
    let counted = |(of, pod): &&(BudgetId, PodId)| *of == budget.id && !state.is_pending(*pod);
    let open = state.disrupted.keys().filter(counted).count() as u32;
    BudgetSpec { disruptions_allowed: budget.disruptions_allowed.saturating_sub(open), ..budget.clone() }
}

/// S33: a workload with what is written on it.
fn written_down(state: &State, workload: &WorkloadSpec) -> WorkloadSpec {
    let mine = state.evictions.iter().filter(|((victim, _), _)| *victim == workload.id);
    let evictions = mine.map(|((_, beneficiary), at)| Eviction { beneficiary: *beneficiary, at: *at });
    WorkloadSpec {
        evictions: evictions.collect(),
        stale_since: state.stale.get(&workload.id).copied(),
        ..workload.clone()
    }
}

fn asks_about_all(state: &State) -> WorkloadSpec {
    let node_selector = state.keys.iter().map(|key| (key.clone(), "?".to_owned())).collect();
    let pod = berth_model::PodSpec { node_selector, ..Default::default() };
    let role = berth_model::RoleSpec {
        name: "all".to_owned(),
        count: 1,
        min: 1,
        labels: Default::default(),
        pod: std::sync::Arc::new(pod),
    };
    WorkloadSpec {
        name: "asks".to_owned(),
        namespace: "open".to_owned(),
        ..WorkloadSpec::new(WorkloadId(u64::MAX), None, Timestamp(0), vec![role])
    }
}

/// Events that no engine in this world may accept.
pub(crate) fn bad_events(world: &World) -> Vec<Event> {
    let mut bad = vec![Event::NodeRemoved(berth_model::NodeId(999)), Event::WorkloadRemoved(WorkloadId(999))];
    bad.push(Event::BudgetRemoved(berth_model::BudgetId(999)));
    if let Some((pod, seat)) = world.state.pods.iter().next() {
        let other = world.state.nodes.keys().find(|node| **node != seat.node);
        bad.extend(other.map(|node| Event::BindFailed { pod: *pod, node: *node }));
        bad.extend(other.map(|node| {
            let gpus = GpuGrant::None;
            Event::PodRunning(PodState::new(*pod, *node, gpus, world.now))
        }));
        let mut moved = world.state.workloads[&pod.workload].clone();
        moved.project = if moved.project.is_none() { Some(berth_model::ProjectId(0)) } else { None };
        for role in &mut moved.roles {
            let labels = super::pods::labels([("never", "asked")]);
            std::sync::Arc::make_mut(&mut role.pod).node_selector = labels;
        }
        bad.push(Event::WorkloadSet(moved));
    }
    if let Some(pod) = world.state.ended.keys().next() {
        bad.push(Event::PodEnded { pod: *pod, outcome: PodOutcome::Failed });
    }
    if let Some(workload) = world.state.workloads.values().next() {
        let mut greedy = workload.clone();
        greedy.roles[0].min = greedy.roles[0].count + 1;
        bad.push(Event::WorkloadSet(greedy));
        let nowhere = WorkloadSpec { pools: vec![berth_model::PoolId(99)], ..workload.clone() };
        bad.push(Event::WorkloadSet(nowhere));
    }
    bad
}
