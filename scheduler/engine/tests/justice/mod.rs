//! What must hold of fair shares, reservations and taking back, whoever decides (S7, S20 to S28).

use crate::random::world::{Entry, Outcome, World};
use crate::random::{History, Step};
use crate::reference::Reference;
use crate::reference::state::State;
use berth_model::check::{CheckSettings, Judge};
use berth_model::{Budget, Event, QueueId, Quota};

/// Lets a history happen to a reference; `each` sees every entry with its outcome, and the world after it. It ends where
/// there is too much to try.
pub(crate) fn live(history: &History, mut each: impl FnMut(&World, &Entry, &Outcome)) -> World {
    let mut world = World::of(Reference::default());
    let mut entries = World::founding(history);
    entries.reverse();
    let mut steps = history.steps.iter();
    loop {
        let entry = match entries.pop() {
            Some(entry) => entry,
            None => {
                let Some(step) = steps.next() else { return world };
                let step = if matches!(step, Step::DecideSome(_)) { &Step::Decide } else { step };
                let Some(entry) = world.entry(step) else { continue };
                entry
            }
        };
        let outcome = world.enter(&entry);
        if world.state.crowded.get() {
            return world;
        }
        each(&world, &entry, &outcome);
    }
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

/// S25: on a cluster that does not change, nobody is evicted for long, and soon nothing is decided at all.
pub(crate) fn comes_to_rest(history: &History) {
    let mut world = live(history, |_, _, _| {});
    for _ in 0..50 {
        let entry = Entry::Decide(world.now, Budget::UNLIMITED);
        let Outcome::Decided(decisions) = world.enter(&entry) else { unreachable!() };
        if decisions.is_empty() || world.state.crowded.get() {
            return;
        }
    }
    panic!("it never comes to rest");
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
