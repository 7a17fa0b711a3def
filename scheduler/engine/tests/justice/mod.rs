//! What must hold of fair shares, reservations and taking back, whoever decides (S7, S20 to S28).

pub(crate) mod quota;

use crate::random::world::{Entry, Outcome, World};
use crate::random::{History, Step};
use crate::reference::Reference;
use crate::reference::state::State;
use berth_model::check::{CheckSettings, Judge};
use berth_model::{Budget, Decision, Event, Millis, PodId, PodOutcome, QueueId, Quota};

/// Lets a history happen to a reference; `each` sees every entry with its outcome, and the world after it. It ends where
/// there is too much to try.
fn live(history: &History, each: impl FnMut(&World, &Entry, &Outcome)) -> World {
    live_in(World::of(Reference::default()), history, each)
}

/// The same to whoever decides in a world.
fn live_in(mut world: World, history: &History, mut each: impl FnMut(&World, &Entry, &Outcome)) -> World {
    let founding = World::founding(history);
    let mut enter = |world: &mut World, entry: &Entry| {
        let outcome = world.enter(entry);
        let crowded = world.state.crowded.get();
        if !crowded {
            each(world, entry, &outcome);
        }
        !crowded
    };
    if !founding.iter().all(|entry| enter(&mut world, entry)) {
        return world;
    }
    for step in &history.steps {
        let step = if matches!(step, Step::DecideSome(_)) { &Step::Decide } else { step };
        let Some(entry) = world.entry(step) else { continue };
        if !enter(&mut world, &entry) {
            break;
        }
    }
    world
}

/// The judge finds no broken rule, at any step.
pub(crate) fn breaks_no_rule(history: &History) {
    let mut judge = Judge::new(CheckSettings::default());
    live(history, |world, entry, outcome| {
        let found = match (entry, outcome) {
            (Entry::Apply(event), Outcome::Applied(Ok(()))) => judge.apply(&crate::told(world, event)),
            (Entry::Decide(now, _), Outcome::Decided(decisions)) => judge.decided(*now, decisions),
            _ => Vec::new(),
        };
        let found: Vec<String> = found.into_iter().chain(judge.audit()).map(|v| v.to_string()).collect();
        assert!(found.is_empty(), "after {entry:?}\n{outcome:?}\n{found:#?}");
    });
}

/// One cycle at the time it is.
fn decide(world: &mut World) -> Vec<Decision> {
    let entry = Entry::Decide(world.now, Budget::UNLIMITED);
    let Outcome::Decided(mut decisions) = world.enter(&entry) else { unreachable!() };
    decisions.retain(|decision| !matches!(decision, Decision::Report { .. }));
    decisions
}

/// S25: on a cluster that does not change, nobody is evicted for long, and soon nothing is decided at all.
pub(crate) fn comes_to_rest(world: World, history: &History) {
    let mut world = live_in(world, history, |_, _, _| {});
    let quiet = |world: &mut World| decide(world).is_empty() || world.state.crowded.get();
    assert!((0..50).any(|_| quiet(&mut world)), "it never comes to rest");
    assert!((0..3).all(|_| quiet(&mut world)), "it does not stay at rest");
}

/// S25: when whoever is stopped goes at once, and nothing else happens than that time passes, evictions come to an end:
/// nobody takes back what was taken from it, and so on.
pub(crate) fn settles(world: World, history: &History) {
    let mut world = live_in(world, history, |_, _, _| {});
    let mut last = Vec::new();
    for _ in 0..60 {
        last = decide(&mut world);
        let leaving: Vec<(PodId, bool)> = world
            .state
            .pods
            .iter()
            .filter(|(_, seat)| seat.leaving.is_some() && !seat.pending)
            .map(|(pod, seat)| (*pod, seat.evicted))
            .collect();
        if last.is_empty() && leaving.is_empty() {
            return;
        }
        for (pod, evicted) in leaving {
            let outcome = if evicted { PodOutcome::Evicted } else { PodOutcome::Deleted };
            world.enter(&Entry::Apply(Box::new(Event::PodEnded { pod, outcome })));
        }
        world.now = world.now.plus(Millis(61_000));
    }
    panic!("it never settles: {last:#?}");
}

/// S28: whoever is stopped is preemptible.
pub(crate) fn stops_only_what_is_preemptible(world: World, history: &History) {
    live_in(world, history, |world, _, outcome| {
        let Outcome::Decided(decisions) = outcome else { return };
        for decision in decisions {
            if let Decision::Evict { pod, .. } = decision {
                assert!(world.state.workloads[&pod.workload].preemptible, "{decision:?}");
            }
        }
    });
}

/// S7: shares sum up to what is divided, or to all first parts, and no share is above limit or demand.
pub(crate) fn shares_add_up(history: &History) {
    let world = live(history, |_, _, _| {});
    for pool in world.state.pools.keys().copied() {
        let capacity = world.state.capacity(pool);
        let shares = world.state.fair_shares(pool);
        for r in 0..3 {
            let of_department = |id| shares[&QueueId::Department(id)][r];
            let departments: i64 = world.state.departments.keys().map(|id| of_department(*id)).sum();
            let first_parts: i64 = world
                .state
                .departments
                .keys()
                .map(|id| match world.state.quotas(QueueId::Department(*id), pool)[r] {
                    Some(Some(quota)) => quota.min(of_department(*id)),
                    Some(None) => of_department(*id),
                    None => 0,
                })
                .sum();
            assert!(departments <= capacity[r].max(first_parts), "{shares:?} of {capacity:?}");
        }
    }
}

/// S7: more weight never means a smaller share.
pub(crate) fn shares_grow_with_weight(history: &History) {
    let world = live(history, |_, _, _| {});
    let state = &world.state;
    for pool in state.pools.keys().copied() {
        for project in state.projects.keys().copied() {
            let queue = QueueId::Project(project);
            let mut quota = state.quota(Some(queue), pool);
            let before = state.fair_share(queue, pool);
            let devices = match quota.gpu.quota {
                Quota::Of(quota) => (quota / 1_000_000).max(1) as u32,
                Quota::Unmanaged | Quota::Unlimited => 1,
            };
            quota.weight = Some(quota.weight.unwrap_or(devices) + 1);
            let after = with(state, Event::QuotaSet { queue, pool, quota }).fair_share(queue, pool);
            let grown = after.gpu >= before.gpu && after.cpu >= before.cpu && after.memory >= before.memory;
            assert!(grown, "{queue:?} in {pool:?}: {before:?}, with more weight {after:?}");
        }
    }
}

fn with(state: &State, event: Event) -> State {
    let mut state = state.clone();
    state.apply(&event);
    state
}
