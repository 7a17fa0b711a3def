//! Instructions of small cases: the same number on every run, so that a change that costs shows itself.
//!
//! `.ci/instructions` runs them under valgrind and compares with the counts in `benches/instructions.txt`.

#![allow(missing_docs, reason = "gungraun's macros write items without documentation")]

use berth_bench::cases::{self, Case};
use berth_bench::contention;
use berth_bench::openb::Openb;
use berth_engine::Engine;
use berth_model::{Decision, Event};
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

/// Pods of the openb mix that are placed one by one.
const OPENB_PODS: usize = 300;

fn whole_gpus() -> Engine {
    Case::whole_gpus(500).submitted()
}

fn openb() -> (Engine, Vec<Event>) {
    let case = Case::openb(&Openb::common(), 500);
    let mut events = case.events();
    events.truncate(OPENB_PODS);
    (case.engine(), events)
}

/// More than there is room for: in the end most cycles find others waiting.
fn openb_to_the_brim() -> (Engine, Vec<Event>) {
    let case = Case::openb(&Openb::common(), 60);
    (case.engine(), case.events())
}

fn before_gang() -> Engine {
    cases::before_gang(500, 64)
}

fn before_verdict() -> Engine {
    cases::before_verdict(500)
}

fn parked() -> Engine {
    let mut engine = before_verdict();
    cases::decide(&mut engine);
    engine
}

/// A cluster full of over-quota jobs, and what is submitted to it by the project that owns the quota.
fn borrowed(claims: impl IntoIterator<Item = Event>) -> Engine {
    let mut engine = contention::borrowed(100);
    cases::submit(&mut engine, claims);
    engine
}

fn claims() -> Engine {
    borrowed(contention::claims(200))
}

fn claiming_gang() -> Engine {
    borrowed([contention::node_gang(0, 40)])
}

/// The cluster after a first claim, with a second.
fn second_claim() -> Engine {
    let mut claims = contention::claims(2).into_iter();
    let mut engine = borrowed(claims.next());
    contention::decide_now(&mut engine);
    cases::submit(&mut engine, claims);
    engine
}

fn first_claim() -> Engine {
    borrowed(contention::claims(1))
}

/// One more claim while a hundred wait for their victims to leave.
fn late_claim() -> Engine {
    let mut claims = contention::claims(101);
    let last = claims.pop();
    let mut engine = borrowed(claims);
    contention::decide_now(&mut engine);
    cases::submit(&mut engine, last);
    engine
}

fn scattered() -> Engine {
    let mut engine = contention::scattered(100);
    cases::submit(&mut engine, contention::patient_gangs(4, 5));
    engine
}

fn pinned() -> Engine {
    let mut engine = contention::pinned(100);
    cases::submit(&mut engine, [contention::node_gang(0, 10)]);
    engine
}

/// What cannot be helped, and is not looked at again.
fn pinned_and_refused() -> Engine {
    let mut engine = pinned();
    contention::decide_now(&mut engine);
    engine
}

#[library_benchmark(setup = claims)]
#[bench::n100()]
fn reclaim_200(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = second_claim)]
#[bench::n100()]
fn reclaim_one_more(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = first_claim)]
#[bench::n100()]
fn reclaim_the_first(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = late_claim)]
#[bench::n100()]
fn reclaim_beside_100_that_wait(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = claiming_gang)]
#[bench::n100()]
fn reclaim_for_a_gang_of_40(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = scattered)]
#[bench::n100()]
fn consolidate_20(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = pinned)]
#[bench::n100()]
fn reclaim_refused(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = contention::decide_now(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = pinned_and_refused)]
#[bench::n100()]
fn reclaim_refused_again_1000_times(mut engine: Engine) -> (Engine, usize) {
    let decisions = (0..1_000).map(|_| contention::decide_now(&mut engine).len()).sum();
    (engine, decisions)
}

#[library_benchmark(setup = whole_gpus)]
#[bench::n500()]
fn fill(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = cases::decide(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = openb)]
#[bench::n500()]
fn openb_one_by_one((mut engine, events): (Engine, Vec<Event>)) -> (Engine, usize) {
    let placed = cases::one_by_one(&mut engine, events);
    (engine, placed)
}

#[library_benchmark(setup = openb_to_the_brim)]
#[bench::n60()]
fn openb_one_by_one_to_the_brim((mut engine, events): (Engine, Vec<Event>)) -> (Engine, usize) {
    let placed = cases::one_by_one(&mut engine, events);
    (engine, placed)
}

#[library_benchmark(setup = before_gang)]
#[bench::n500()]
fn gang_of_64(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = cases::decide(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = before_verdict)]
#[bench::n500()]
fn verdict(mut engine: Engine) -> (Engine, Vec<Decision>) {
    let decisions = cases::decide(&mut engine);
    (engine, decisions)
}

#[library_benchmark(setup = parked)]
#[bench::n500()]
fn verdict_again_1000_times(mut engine: Engine) -> (Engine, usize) {
    let decisions = (0..1_000).map(|_| cases::decide(&mut engine).len()).sum();
    (engine, decisions)
}

library_benchmark_group!(
    name = taking_back;
    benchmarks = reclaim_200, reclaim_the_first, reclaim_one_more, reclaim_beside_100_that_wait, reclaim_for_a_gang_of_40, consolidate_20, reclaim_refused,
        reclaim_refused_again_1000_times
);

library_benchmark_group!(
    name = engine;
    benchmarks = fill, openb_one_by_one, openb_one_by_one_to_the_brim, gang_of_64, verdict, verdict_again_1000_times
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = engine, taking_back
);
