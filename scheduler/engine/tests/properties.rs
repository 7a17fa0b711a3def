//! Properties of the engine on random histories: no broken rule, the same as the reference, the same after a restart
//! and a replay, nothing left of a gang that does not fit or of an event that is refused.
//!
//! Histories are random but the seeds are fixed. What they have found is kept as named cases,
//! see `cases.rs`.

mod justice;
mod random;
mod reference;

use berth_engine::{Engine, Settings};
use berth_model::check::{CheckSettings, Judge};
use berth_model::{Budget, Decision, Event, Timestamp, WorkloadId, WorkloadSpec};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random::restart::{bad_events, started, started_backwards};
use random::world::{Entry, Outcome, World, enter};
use random::{History, Step, contest, history};
use reference::{Decided, Reference};

/// Fixed seeds, so that a run says the same twice; others, and more cases, by `PROPTEST_RNG_SEED` and
/// `PROPTEST_CASES`.
fn config(cases: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    let rng_seed = if given.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { given.rng_seed };
    let cases = if given.cases == 256 { cases } else { given.cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..given }
}

/// Lets a history happen; `each` sees every entry with its outcome, and the world after it.
fn live(history: &History, mut each: impl FnMut(&mut World, &Entry, &Outcome)) -> World {
    let mut world = World::new();
    for entry in World::founding(history) {
        let outcome = world.enter(&entry);
        assert_eq!(outcome, Outcome::Applied(Ok(())));
        each(&mut world, &entry, &outcome);
    }
    for step in &history.steps {
        let Some(entry) = world.entry(step) else { continue };
        let outcome = world.enter(&entry);
        each(&mut world, &entry, &outcome);
    }
    world
}

fn places(decisions: &[Decision]) -> Vec<Decision> {
    decisions.iter().filter(|d| !matches!(d, Decision::Report { .. })).cloned().collect()
}

/// What is done; what is only said, once to each leader, left out.
fn deeds(decisions: &[Decision]) -> Vec<Decision> {
    let said = |d: &&Decision| matches!(d, Decision::Report { .. } | Decision::Warn { .. });
    decisions.iter().filter(|d| !said(d)).cloned().collect()
}

/// The judge finds no broken rule, at any step.
fn breaks_no_rule(history: &History) {
    let mut judge = Judge::new(CheckSettings::default());
    live(history, |world, entry, outcome| {
        let found = match (entry, outcome) {
            (Entry::Apply(event), Outcome::Applied(Ok(()))) => judge.apply(&told(world, event)),
            (Entry::Decide(now, _), Outcome::Decided(decisions)) => judge.decided(*now, decisions),
            _ => Vec::new(),
        };
        let found: Vec<String> = found.into_iter().chain(judge.audit()).map(|v| v.to_string()).collect();
        assert!(found.is_empty(), "after {entry:?}\n{outcome:?}\n{found:#?}");
    });
}

/// Sets a pool as it is: every verdict falls, and the next decision looks at everything.
fn look_again(world: &World) -> Entry {
    Entry::Apply(Box::new(Event::PoolSet(world.state.pools[&berth_model::PoolId(0)].clone())))
}

/// The event, with the devices that the engine took for a pod that was found on a node without a word about them.
fn told(world: &World, event: &Event) -> Event {
    match event {
        Event::PodRunning(found) => Event::PodRunning(berth_model::PodState {
            gpus: world.state.pods[&found.pod].gpus,
            ..found.clone()
        }),
        other => other.clone(),
    }
}

/// What an engine decided, as the reference says it.
fn decided(decisions: &[Decision]) -> Decided {
    let mut decided = Decided::default();
    for decision in decisions {
        match decision {
            Decision::Report { workload, reason } => {
                let twice = decided.reported.insert(*workload, reason.kind());
                assert_eq!(twice, None, "S29: {workload} is told two reasons at once");
            }
            other => decided.done.push(other.clone()),
        }
    }
    decided
}

/// The engine decides as the reference does, when it looks at everything.
fn decides_as_the_reference(history: &History) {
    let mut reference = Reference::default();
    let mut world = World::new();
    let founding = World::founding(history);
    founding.iter().for_each(|entry| drop(world.enter(entry)));
    founding.iter().for_each(|entry| {
        if let Entry::Apply(event) = entry {
            reference.apply(event)
        }
    });
    for step in &history.steps {
        let step = if matches!(step, Step::DecideSome(_)) { &Step::Decide } else { step };
        let Some(entry) = world.entry(step) else { continue };
        if matches!(entry, Entry::Decide(..)) {
            world.enter(&look_again(&world));
        }
        match (&entry, world.enter(&entry)) {
            (Entry::Apply(event), Outcome::Applied(Ok(()))) => reference.apply(event),
            (Entry::Decide(now, _), Outcome::Decided(decisions)) => {
                let (decided, expected) = (decided(&decisions), reference.decide(*now));
                assert!(decided == expected, "the engine\n{decided:?}\nthe reference\n{expected:?}");
            }
            _ => {}
        }
    }
}

/// S33: an engine built from the objects as they are now decides the same as the one that saw it all happen, when both
/// look at everything. (Whose turn it is depends on who is known not to fit, so verdicts that stand may differ in that.)
fn decides_as_one_just_started(history: &History) {
    let mut world = World::new();
    World::founding(history).iter().for_each(|entry| drop(world.enter(entry)));
    for step in &history.steps {
        let Some(entry) = world.entry(step) else { continue };
        if !matches!(entry, Entry::Decide(_, Budget::UNLIMITED)) {
            world.enter(&entry);
            continue;
        }
        let mut fresh = started(&world.state);
        let lost = room_on_nodes_that_are_gone(&world);
        world.enter(&look_again(&world));
        let (Outcome::Decided(decisions), Outcome::Decided(expected)) =
            (world.enter(&entry), enter(&mut fresh, &entry))
        else {
            unreachable!()
        };
        let (mut decided, expected) = (deeds(&decisions), deeds(&expected));
        decided.retain(|decision| !lost.contains(decision));
        assert!(decided == expected, "the old engine\n{decided:?}\na new one\n{expected:?}");
    }
}

/// Room that is written down on nodes that are gone cannot be told to an engine that starts: whoever reads it gives it up.
fn room_on_nodes_that_are_gone(world: &World) -> Vec<Decision> {
    let gone = world.state.kept.iter().filter(|(_, kept)| !world.state.nodes.contains_key(&kept.at.node));
    gone.map(|(pod, _)| Decision::Release { pod: *pod }).collect()
}

/// Engines that learn of the same in another order decide the same.
fn decides_the_same_in_any_order(history: &History) {
    let mut world = World::new();
    World::founding(history).iter().for_each(|entry| drop(world.enter(entry)));
    for step in &history.steps {
        let Some(entry) = world.entry(step) else { continue };
        if matches!(entry, Entry::Decide(_, Budget::UNLIMITED)) {
            let [one, other] = [started(&world.state), started_backwards(&world.state)]
                .map(|mut engine| enter(&mut engine, &entry));
            let (Outcome::Decided(one), Outcome::Decided(other)) = (one, other) else { unreachable!() };
            assert_eq!(deeds(&one), deeds(&other), "told forwards (left) and backwards");
        }
        world.enter(&entry);
    }
}

/// Lets cycles follow one another until one has nothing of what counts.
fn come_to_an_end(world: &mut World, counts: fn(&[Decision]) -> Vec<Decision>) {
    let mut quiet = || {
        let Some(entry) = world.entry(&Step::Decide) else { return true };
        matches!(world.enter(&entry), Outcome::Decided(decisions) if counts(&decisions).is_empty())
    };
    assert!((0..50).any(|_| quiet()), "it never comes to an end");
}

/// S30: once nothing more is placed, an engine that has just started and holds no verdicts places nothing either: no
/// verdict stands that should have fallen.
fn wakes_whoever_can_start(history: &History) {
    let mut world = World::new();
    World::founding(history).iter().for_each(|entry| drop(world.enter(entry)));
    for step in &history.steps {
        let Some(entry) = world.entry(step) else { continue };
        world.enter(&entry);
        if !matches!(entry, Entry::Decide(_, Budget::UNLIMITED)) {
            continue;
        }
        come_to_an_end(&mut world, deeds);
        let Some(entry) = world.entry(&Step::Decide) else { unreachable!() };
        let fresh = enter(&mut started(&world.state), &entry);
        let Outcome::Decided(missed) = fresh else { unreachable!() };
        assert!(deeds(&missed).is_empty(), "S30: these should have been woken: {:?}", deeds(&missed));
    }
}

/// S30: an engine that decides nothing more decides nothing either when every verdict of both passes has fallen and it
/// looks at everything again, now or at any time before its next timer.
fn lets_no_verdict_stand(history: &History) {
    let mut world = World::new();
    World::founding(history).iter().for_each(|entry| drop(world.enter(entry)));
    for step in &history.steps {
        let Some(entry) = world.entry(step) else { continue };
        world.enter(&entry);
        if !matches!(entry, Entry::Decide(_, Budget::UNLIMITED)) {
            continue;
        }
        come_to_an_end(&mut world, places);
        let Some(Entry::Decide(now, _)) = world.entry(&Step::Decide) else { unreachable!() };
        let timer = world.engine.next_timer();
        if timer.is_some_and(|at| at <= now) {
            continue;
        }
        let last = timer.map_or(now.plus(berth_model::Millis::from_secs(3600)), |at| Timestamp(at.0 - 1));
        for at in [now, last.max(now)] {
            let mut again = world.engine.clone();
            enter(&mut again, &look_again(&world));
            let Outcome::Decided(missed) = enter(&mut again, &Entry::Decide(at, Budget::UNLIMITED)) else {
                unreachable!()
            };
            let missed = places(&missed);
            assert!(missed.is_empty(), "S30: at {at:?}, the next timer is {timer:?}, it missed {missed:?}");
        }
    }
}

/// The log, written down and read back, gives the same answers in a new engine.
fn replays(history: &History) {
    let mut log: Vec<(Entry, Outcome)> = Vec::new();
    live(history, |_, entry, outcome| log.push((entry.clone(), outcome.clone())));
    let written: Vec<String> =
        log.iter().map(|(entry, _)| serde_json::to_string(entry).expect("an entry can be written")).collect();
    let mut engine = Engine::new(Settings::default());
    for (line, (_, outcome)) in written.iter().zip(&log) {
        let entry: Entry = serde_json::from_str(line).expect("an entry can be read");
        assert_eq!(enter(&mut engine, &entry), *outcome, "the second answer (left) to {line}");
    }
}

/// A gang that was tried and did not fit leaves nothing behind: what is placed after it is placed as if it had been
/// submitted and withdrawn without ever having been tried.
fn leaves_nothing_of_what_fails(history: &History, gang: &WorkloadSpec, probes: &[WorkloadSpec]) {
    let mut small = gang.clone();
    small.roles.iter_mut().for_each(|role| role.min = role.min.min(1));
    let run = |tried: bool| {
        let mut world = live(history, |_, _, _| {});
        let mut gang = WorkloadSpec { id: WorkloadId(1 << 40), name: "gang".to_owned(), ..gang.clone() };
        // The last role is more than there can be, and is placed last.
        let last = gang.roles.last().cloned().expect("a role");
        let mut pod = berth_model::PodSpec::clone(&last.pod);
        pod.gpu = berth_model::GpuRequest::None;
        pod.requests.cpu = berth_model::MilliCpu(1);
        gang.pools.retain(|pool| world.state.pools.contains_key(pool));
        gang.roles.iter_mut().for_each(|role| role.min = role.count);
        let pod = std::sync::Arc::new(pod);
        gang.roles.push(berth_model::RoleSpec {
            name: "many".to_owned(),
            count: 2000,
            min: 2000,
            pod,
            ..last
        });
        let apply = |world: &mut World, event| drop(world.enter(&Entry::Apply(Box::new(event))));
        let Some(Entry::Decide(now, _)) = world.entry(&Step::Decide) else { unreachable!() };
        apply(&mut world, Event::WorkloadSet(gang.clone()));
        if tried {
            let decided = world.enter(&Entry::Decide(now, Budget::UNLIMITED));
            let Outcome::Decided(decisions) = decided else { unreachable!() };
            assert_eq!(places(&decisions), [], "everything else had been decided");
        }
        apply(&mut world, Event::WorkloadRemoved(gang.id));
        // What the gang wanted would first meet what is left of it.
        for (at, probe) in std::iter::once(&small).chain(probes).enumerate() {
            let mut probe = WorkloadSpec { id: WorkloadId((1 << 41) + at as u64), ..probe.clone() };
            probe.pools.retain(|pool| world.state.pools.contains_key(pool));
            apply(&mut world, Event::WorkloadSet(probe));
        }
        world.enter(&Entry::Decide(now.plus(berth_model::Millis::from_secs(1)), Budget::UNLIMITED))
    };
    let (Outcome::Decided(tried), Outcome::Decided(untried)) = (run(true), run(false)) else {
        unreachable!()
    };
    assert_eq!(places(&tried), places(&untried), "after the gang was tried (left) and without");
}

/// Decides until nothing is placed any more, so that a later decision is about what is new alone.
fn settled(mut history: History) -> History {
    history.steps.extend((0..5).map(|_| Step::Decide));
    history
}

/// A refused event changes nothing: with all refused events left out, the answers are the same.
fn refuses_without_trace(history: &History) {
    let mut log: Vec<(Entry, Outcome)> = Vec::new();
    let mut bad = 0;
    live(history, |world, entry, outcome| {
        for event in bad_events(world) {
            let refused = world.engine.apply(event.clone());
            assert!(refused.is_err(), "accepted: {event:?}");
            bad += 1;
        }
        log.push((entry.clone(), outcome.clone()));
    });
    let mut engine = Engine::new(Settings::default());
    for (entry, outcome) in log.iter().filter(|(_, o)| !matches!(o, Outcome::Applied(Err(_)))) {
        assert_eq!(enter(&mut engine, entry), *outcome, "without {bad} refused events (left)");
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn no_decision_breaks_a_rule(history in history(40)) {
        breaks_no_rule(&history);
    }

    #[test]
    fn the_engine_decides_as_the_reference(history in history(30)) {
        decides_as_the_reference(&history);
    }

    #[test]
    fn a_restarted_engine_decides_the_same(history in history(40)) {
        decides_as_one_just_started(&history);
    }

    #[test]
    fn no_verdict_stands_that_should_have_fallen(history in history(40)) {
        wakes_whoever_can_start(&history);
    }

    #[test]
    fn no_verdict_stands_in_either_pass(history in history(40)) {
        lets_no_verdict_stand(&history);
    }

    #[test]
    fn no_verdict_stands_where_many_take_back(history in contest(40)) {
        lets_no_verdict_stand(&history);
    }

    #[test]
    fn the_same_log_gives_the_same_decisions(history in history(40)) {
        replays(&history);
    }

    #[test]
    fn a_gang_that_fails_leaves_no_trace(
        history in history(20).prop_map(settled),
        gang in random::objects::workload(random::PROJECTS),
        probes in prop::collection::vec(random::objects::workload(random::PROJECTS), 1..=4),
    ) {
        leaves_nothing_of_what_fails(&history, &gang, &probes);
    }

    #[test]
    fn a_refused_event_leaves_no_trace(history in history(30)) {
        refuses_without_trace(&history);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn taking_back_breaks_no_rule(history in contest(40)) {
        breaks_no_rule(&history);
    }

    #[test]
    fn taking_back_as_the_reference(history in contest(30)) {
        decides_as_the_reference(&history);
    }

    #[test]
    fn taking_back_after_a_restart(history in contest(40)) {
        decides_as_one_just_started(&history);
    }

    #[test]
    fn taking_back_in_any_order_of_what_was_told(history in contest(40)) {
        decides_the_same_in_any_order(&history);
    }

    #[test]
    fn whoever_could_take_back_is_woken(history in contest(40)) {
        wakes_whoever_can_start(&history);
    }

    #[test]
    fn the_order_of_what_was_told_does_not_matter(history in history(30)) {
        decides_the_same_in_any_order(&history);
    }

    #[test]
    fn the_reference_breaks_no_rule(history in contest(40)) {
        justice::breaks_no_rule(&history);
    }

    #[test]
    fn the_reference_breaks_no_rule_where_everything_can_happen(history in history(30)) {
        justice::breaks_no_rule(&history);
    }

    #[test]
    fn an_unchanged_cluster_comes_to_rest(history in contest(30)) {
        justice::comes_to_rest(World::new(), &history);
        justice::comes_to_rest(World::of(Reference::default()), &history);
    }

    #[test]
    fn a_cluster_that_is_left_to_itself_comes_to_rest(history in contest(30)) {
        justice::settles(World::new(), &history);
    }

    #[test]
    fn whoever_is_within_its_quota_gets_it_back(history in contest(30)) {
        justice::quota::is_given_back(World::new(), &history);
    }

    #[test]
    fn what_is_not_preemptible_is_never_stopped(history in contest(40)) {
        justice::stops_only_what_is_preemptible(World::new(), &history);
    }

    #[test]
    fn shares_add_up(history in contest(15)) {
        justice::shares_add_up(&history);
    }

    #[test]
    fn shares_grow_with_weight(history in contest(15)) {
        justice::shares_grow_with_weight(&history);
    }
}
