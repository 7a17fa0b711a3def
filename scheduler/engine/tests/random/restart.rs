//! Engines that start when everything is there already, and events that none may accept.

use super::world::World;
use crate::reference::state::State;
use berth_engine::{Engine, Settings};
use berth_model::{Event, GpuGrant, PodOutcome, PodState, Timestamp, WorkloadId, WorkloadSpec};

/// An engine that learns of everything as it is now.
pub(crate) fn started(state: &State) -> Engine {
    let mut engine = Engine::new(Settings::default());
    let mut tell = |event: Event| engine.apply(event.clone()).unwrap_or_else(|e| panic!("{e}: {event:?}"));
    state.pools.values().for_each(|pool| tell(Event::PoolSet(pool.clone())));
    // Classes of nodes depend on all labels that were ever asked about.
    tell(Event::WorkloadSet(asks_about_all(state)));
    tell(Event::WorkloadRemoved(WorkloadId(u64::MAX)));
    state.departments.values().for_each(|d| tell(Event::DepartmentSet(d.clone())));
    state.projects.values().for_each(|p| tell(Event::ProjectSet(p.clone())));
    state.nodes.values().for_each(|node| tell(Event::NodeSet(node.clone())));
    state.workloads.values().for_each(|w| tell(Event::WorkloadSet(w.clone())));
    for (pod, seat) in &state.pods {
        let found = PodState {
            leaving: seat.leaving,
            evicted: seat.evicted,
            ..PodState::new(*pod, seat.node, seat.gpus, seat.since)
        };
        tell(Event::PodRunning(found));
    }
    for (pod, outcome) in &state.ended {
        tell(Event::PodEnded { pod: *pod, outcome: *outcome });
    }
    engine
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
