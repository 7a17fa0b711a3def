//! Times of the engine, with their spread: `cargo bench -p berth-bench --bench engine`.
//!
//! One thread. The value under test is made anew for every run and not timed.

use berth_bench::cases::{self, Case};
use berth_bench::openb::Openb;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const NODES: u32 = 10_000;

fn fill(c: &mut Criterion) {
    let cases = [
        ("whole_gpus/1000", Case::whole_gpus(1_000)),
        ("whole_gpus/10000", Case::whole_gpus(NODES)),
        ("openb/10000", Case::openb(&Openb::load(), NODES)),
    ];
    let mut group = c.benchmark_group("fill");
    for (name, case) in cases {
        let submitted = case.submitted();
        group.throughput(Throughput::Elements(cases::placed(&cases::decide(&mut submitted.clone())) as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(|| submitted.clone(), cases::decide, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn gang(c: &mut Criterion) {
    let before = cases::before_gang(NODES, cases::GANG);
    c.bench_function("gang/512 pods/10000", |b| {
        b.iter_batched_ref(|| before.clone(), cases::decide, BatchSize::PerIteration);
    });
}

fn verdict(c: &mut Criterion) {
    let mut before = cases::before_verdict(NODES);
    c.bench_function("verdict/first/10000", |b| {
        b.iter_batched_ref(|| before.clone(), cases::decide, BatchSize::PerIteration);
    });
    cases::decide(&mut before);
    c.bench_function("verdict/again/10000", |b| b.iter(|| cases::decide(&mut before)));
}

criterion_group! {
    name = engine;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = fill, gang, verdict
}
criterion_main!(engine);
