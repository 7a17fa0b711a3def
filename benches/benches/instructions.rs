//! Instructions of small cases: the same number on every run, so that a change that costs shows itself.
//!
//! `.ci/instructions` runs them under valgrind and compares with the counts in `benches/instructions.txt`.

#![allow(missing_docs, reason = "gungraun's macros write items without documentation")]

use berth_bench::cases::{self, Case};
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
    name = engine;
    benchmarks = fill, openb_one_by_one, gang_of_64, verdict, verdict_again_1000_times
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = engine
);
