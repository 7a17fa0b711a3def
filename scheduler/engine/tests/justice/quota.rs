//! S22: a project within its quota gets it back whenever a lawful set of victims exists. Written anew from the rule, apart
//! from how the reference searches: any set at all counts here, also one that is not minimal.

use super::live_in;
use crate::random::History;
use crate::random::world::World;
use crate::reference::state::State;
use berth_model::{Millis, PodId, QueueId, WorkloadId, WorkloadSpec};
use std::collections::BTreeMap;

/// More workloads than this are not tried in all ways.
const MANY: usize = 10;

/// Once nothing more is decided, nobody waits who could have its quota back.
pub(crate) fn is_given_back(world: World, history: &History) {
    let mut world = live_in(world, history, |_, _, _| {});
    if !(0..50).any(|_| super::decide(&mut world).is_empty()) {
        return;
    }
    let state = &world.state;
    for workload in state.workloads.values() {
        if let Some((victims, pool)) = lawful_victims(state, workload) {
            panic!("{} could have its quota in {pool:?} from {victims:?}", workload.id);
        }
    }
}

/// Workloads of other projects whose going would let a workload of a single pod have its quota back.
fn lawful_victims(state: &State, workload: &WorkloadSpec) -> Option<(Vec<WorkloadId>, berth_model::PoolId)> {
    let [role] = workload.roles.as_slice() else { return None };
    let want = state.wants_of(workload).into_iter().next()?;
    let single = role.count == 1 && role.min == 1 && workload.topology.is_none();
    if !single || state.forbidden(workload) || workload.project.is_none() {
        return None;
    }
    let pod = PodId { workload: workload.id, role: 0, index: 0 };
    state.pools_for(&want).into_iter().find_map(|pool| {
        let protected = state.pools[&pool].min_runtime.0;
        let may_go = |other: &&WorkloadSpec| {
            let pods = state.staying(other.id).into_keys().collect();
            other.project.is_some_and(|project| Some(project) != workload.project)
                && other.preemptible
                && other.roles.iter().all(|role| role.count == role.min)
                && state.settled(other) == Some(pool)
                && !state.staying(other.id).is_empty()
                && state.running_time(&pods) >= protected
                && !replaced(state, workload.id, other.id)
        };
        let others: Vec<&WorkloadSpec> = state.workloads.values().filter(may_go).collect();
        if others.len() > MANY {
            return None;
        }
        let masks = 1u32..1 << others.len();
        masks.into_iter().find_map(|mask| {
            let chosen = others.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            let chosen: Vec<&WorkloadSpec> = chosen.map(|(_, w)| *w).collect();
            let room = has_room_without(state, workload, pod, pool, &chosen);
            (room && within_quotas(state, workload, pool, &chosen))
                .then(|| (chosen.iter().map(|w| w.id).collect(), pool))
        })
    })
}

fn replaced(state: &State, workload: WorkloadId, other: WorkloadId) -> bool {
    let at = state.evictions.get(&(workload, other));
    at.is_some_and(|at| state.now.since(*at) < Millis::from_secs(60))
}

/// The cluster when all that leave and the victims are gone and all that have room kept are there.
fn without(state: &State, victims: &[&WorkloadSpec]) -> State {
    let mut later = state.later();
    later.pods.retain(|pod, _| !victims.iter().any(|victim| victim.id == pod.workload));
    later
}

fn has_room_without(
    state: &State,
    workload: &WorkloadSpec,
    pod: PodId,
    pool: berth_model::PoolId,
    victims: &[&WorkloadSpec],
) -> bool {
    let later = without(state, victims);
    let shape = later.shape(pod);
    later.ready_nodes(pool).into_iter().any(|node| {
        later.takes(&shape, node) && {
            let gpus = later.choose_devices(node.id, shape.spec.gpu, later.pools[&pool].device);
            let cost = later.cost(pod, node.id, gpus.expect("it takes the pod"));
            later.gate(workload, pool, cost).is_ok()
        }
    })
}

/// By (ii): the reclaimer within its quota, every victim's queue above its own.
fn within_quotas(
    state: &State,
    workload: &WorkloadSpec,
    pool: berth_model::PoolId,
    victims: &[&WorkloadSpec],
) -> bool {
    let later = state.later();
    let ask = state.charge_of(workload, &[1], pool);
    let freed = |queue: QueueId, by: &[&WorkloadSpec]| -> [i64; 3] {
        let mine = by.iter().filter(|victim| state.is_of(victim, Some(queue)));
        let charges = mine.map(|victim| state.charges(&state.staying(victim.id).into_keys().collect(), pool));
        charges.fold([0; 3], |sum, one| std::array::from_fn(|r| sum[r] + one[r]))
    };
    let own = state.path(workload);
    let stays_within = own.iter().all(|queue| {
        let (used, freed) = (later.used(Some(*queue), pool, false), freed(*queue, victims));
        let quotas = state.quotas(*queue, pool);
        (0..3).all(|r| {
            ask[r] == 0 || quotas[r].flatten().is_none_or(|quota| used[r] - freed[r] + ask[r] <= quota)
        })
    });
    // Sets with one victim of a queue at most, so that their order does not matter.
    let mut seen: BTreeMap<QueueId, u32> = BTreeMap::new();
    let above = victims.iter().all(|victim| {
        let charge = state.charges(&state.staying(victim.id).into_keys().collect(), pool);
        state.path(victim).into_iter().filter(|queue| !own.contains(queue)).all(|queue| {
            let count = seen.entry(queue).or_default();
            *count += 1;
            let used = later.used(Some(queue), pool, false);
            let quotas = state.quotas(queue, pool);
            *count == 1 && (0..3).any(|r| charge[r] > 0 && quotas[r].flatten().is_some_and(|q| used[r] > q))
        })
    });
    stays_within && above
}
