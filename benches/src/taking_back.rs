//! The rows of the table about taking back and fair shares: clusters where somebody must be stopped or moved.
//!
//! The plain program beside them keeps a list of running pods and looks at all of it for every claim; it knows who may be
//! stopped and since when pods run, and nothing of queues, shares, gangs, reservations or reasons.

use crate::cases::submit;
use crate::cluster::GPUS_PER_NODE;
use crate::contention::{self, decide_now, evicted_and_reserved};
use crate::table::{Row, best, span};
use berth_engine::Engine;
use berth_model::{Decision, Event, QueueId};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NODES: u32 = 10_000;
const RUNS: u32 = 3;

/// A running pod, as the plain program knows it: since when, and where.
type Running = (i64, u32);

/// What measures one or more rows.
pub type Step = fn() -> Vec<Row>;

/// All steps, by name, in the order of the table.
pub const STEPS: [(&str, Step); 6] = [
    ("claims", claims),
    ("single", single),
    ("gang", gang),
    ("moves", moves),
    ("impossible", impossible),
    ("shares", shares),
];

/// One decision of an engine to which events are submitted before.
fn decided(before: &Engine, events: &[Event]) -> (Duration, Vec<Decision>) {
    let ready = || {
        let mut engine = before.clone();
        submit(&mut engine, events.iter().cloned());
        engine
    };
    (best(RUNS, ready, decide_now), decide_now(&mut ready()))
}

fn claims() -> Vec<Row> {
    let (nodes, jobs) = (500, 4_000);
    let (time, decisions) = decided(&contention::borrowed(nodes), &contention::claims(jobs));
    assert_eq!(evicted_and_reserved(&decisions), (4_000, 4_000));
    let what =
        "4,000 jobs within quota reclaim 500 nodes x 8 GPUs full of 4,000 over-quota ones, all decisions";
    let row = Row::new(what, "<= 200 ms", span(time), time <= Duration::from_millis(200));
    vec![row.beside("scan of all pods", plain_singles(nodes, jobs), time)]
}

/// Reclaims one after the other, submission not included: the slowest of a hundred is the 99th percentile.
fn single() -> Vec<Row> {
    let mut engine = contention::borrowed(NODES);
    let mut times: Vec<Duration> = Vec::new();
    for claim in contention::claims(101) {
        submit(&mut engine, [claim]);
        let begun = Instant::now();
        let decisions = black_box(decide_now(&mut engine));
        times.push(begun.elapsed());
        assert_eq!(evicted_and_reserved(&decisions), (1, 1));
    }
    let first = times.remove(0);
    times.sort_unstable();
    let p99 = times[times.len() - 1];
    let ms = Duration::from_millis(1);
    let scan = plain_singles(NODES, 20) / 20;
    vec![
        Row::new(
            "one 1-GPU reclaim at 10,000 nodes, 80,000 pods, 99th percentile",
            "<= 1 ms",
            span(p99),
            p99 <= ms,
        )
        .beside("scan of all pods", scan, p99),
        Row::new("- the first", "<= 1 ms", span(first), first <= ms).beside("scan of all pods", scan, first),
    ]
}

fn gang() -> Vec<Row> {
    let before = contention::borrowed(1_000);
    let (time, decisions) = decided(&before, &[contention::node_gang(0, 500)]);
    assert_eq!(evicted_and_reserved(&decisions), (4_000, 500));
    let what = "one gang of 500 whole-node pods reclaims over 1,000 nodes (4,000 victims)";
    let row = Row::new(what, "<= 50 ms", span(time), time <= Duration::from_millis(50));
    vec![row.beside("scan of all nodes", plain_nodes(1_000, GPUS_PER_NODE, 500), time)]
}

fn moves() -> Vec<Row> {
    let (time, decisions) = decided(&contention::scattered(500), &contention::patient_gangs(41, 10));
    let what = "41 gangs of 10 whole-node pods on 500 nodes with a small job on each: 410 moves";
    assert_eq!(evicted_and_reserved(&decisions).0, 410);
    vec![Row::new(what, "<= 1 s", span(time), time <= Duration::from_secs(1))]
}

fn impossible() -> Vec<Row> {
    const AGAIN: u32 = 1_000;
    let mut engine = contention::pinned(NODES);
    let gang = [contention::node_gang(0, 10)];
    let (first, decisions) = decided(&engine, &gang);
    assert_eq!(evicted_and_reserved(&decisions), (0, 0));
    submit(&mut engine, gang);
    decide_now(&mut engine);
    let again = best(RUNS, || (), |()| (0..AGAIN).for_each(|_| drop(decide_now(&mut engine)))) / AGAIN;
    let what = "gang of 10 whole-node pods that no legal set helps, 10,000 nodes";
    let scan = plain_nodes(NODES, GPUS_PER_NODE, 1);
    vec![
        Row::new(what, "<= 5 ms", span(first), first <= Duration::from_millis(5)).beside(
            "scan of all nodes, once",
            scan,
            first,
        ),
        Row::new("- again with nothing changed", "<= 1 us", span(again), again <= Duration::from_micros(1)),
    ]
}

fn shares() -> Vec<Row> {
    let mut engine = contention::organisation();
    decide_now(&mut engine);
    let mut at = 0;
    let ready = || {
        at += 1;
        let mut engine = engine.clone();
        submit(&mut engine, [contention::one_change(at)]);
        engine
    };
    let queue = QueueId::Project(contention::OWNER);
    let time = best(20, ready, |engine| engine.queue_usage(queue, contention::CHANGED_POOL));
    let what = "fair shares of 1,000 projects in 50 departments, 10 pools, after one change";
    vec![Row::new(what, "<= 50 us", span(time), time <= Duration::from_micros(50))]
}

/// What a program takes that looks at all running pods for every claim, and stops the one that started last.
fn plain_singles(nodes: u32, claims: u32) -> Duration {
    let pods: Vec<Running> = (0..nodes * GPUS_PER_NODE).map(|at| (0, at / GPUS_PER_NODE)).collect();
    let claim_all = |pods: &mut Vec<Running>| {
        for _ in 0..claims {
            let last = pods.iter().enumerate().max_by_key(|(at, (since, _))| (*since, usize::MAX - at));
            let at = last.map(|(at, _)| at).unwrap_or_default();
            black_box(pods.swap_remove(at));
        }
    };
    best(RUNS, || pods.clone(), claim_all)
}

/// What a program takes that looks at all nodes for every pod of a gang, and clears the one that loses the least work.
fn plain_nodes(nodes: u32, per_node: u32, pods: u32) -> Duration {
    let running: Vec<Vec<Running>> = (0..nodes).map(|node| vec![(0, node); per_node as usize]).collect();
    let clear_all = |running: &mut Vec<Vec<Running>>| {
        for _ in 0..pods {
            let lost = |pods: &Vec<Running>| pods.iter().map(|(since, _)| 3_600_000 - since).sum::<i64>();
            let least = running.iter().enumerate().min_by_key(|(at, pods)| (lost(pods), *at));
            let at = least.map(|(at, _)| at).unwrap_or_default();
            black_box(running.swap_remove(at));
        }
    };
    best(RUNS, || running.clone(), clear_all)
}
