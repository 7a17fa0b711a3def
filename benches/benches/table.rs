//! Measures every target once and prints the table of docs/PERFORMANCE.md: `cargo bench -p berth-bench --bench table`.
//!
//! Times are the shortest of a few runs on one thread. The plain programs run beside Berth in the same process; what they
//! leave out is said in `berth_bench::plain`. Words after `--` choose: only the steps whose name contains one of them are
//! measured, `cargo bench -p berth-bench --bench table -- claims gang`.

use berth_bench::cases::{self, Case};
use berth_bench::cluster::{self, GPUS_PER_NODE, POOL};
use berth_bench::openb::{self, Openb};
use berth_bench::plain::{Plain, Rule};
use berth_bench::table::{Row, best, markdown, rate, span, thousands};
use berth_bench::{load, process, taking_back};
use berth_model::{GpuShare, NodeSpec, PodSpec, Strategy};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const NODES: u32 = 10_000;
const RUNS: u32 = 5;
/// Of the plain programs, which are slow: pods they place to measure one.
const PLAIN_PODS: usize = 300;
/// GPU kinds that plain FGD looks at, as in the paper's simulator.
const FGD_KINDS: usize = 35;

/// What measures one or more rows.
type Step = fn(&Openb) -> Vec<Row>;

/// All steps, by name, in the order of the table; those of `taking_back` come after them.
const STEPS: [(&str, Step); 8] = [
    ("whole-gpus", whole_gpus),
    ("openb-mix", openb_mix),
    ("growth", growth),
    ("half-full", gang),
    ("verdict", verdict),
    ("simulator", simulator),
    ("memory", memory),
    ("unallocated", unallocated),
];

fn main() {
    // Cargo itself hands over an option.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let openb = Openb::load();
    let mut rows = Vec::new();
    for (_, step) in STEPS.into_iter().filter(|(name, _)| wanted(name)) {
        rows.extend(step(&openb));
        eprintln!("measured: {}", rows.last().map_or("", |row| &row.what));
    }
    for (_, step) in taking_back::STEPS.into_iter().filter(|(name, _)| wanted(name)) {
        rows.extend(step());
        eprintln!("measured: {}", rows.last().map_or("", |row| &row.what));
    }
    if !openb.published {
        println!("The openb files are not there: the mix is that of their commonest shapes.\n");
    }
    println!("{}", machine());
    println!("{}", markdown(&rows));
}

fn whole_gpus(_: &Openb) -> Vec<Row> {
    let case = Case::whole_gpus(NODES);
    let plain = plain_best_fit(&case.nodes, &case.pods);
    fill("fill 10,000 nodes x 8 GPUs to 95 %, pods of 1, 2, 4, 8 GPUs", 1_000_000, &case, ("best fit", plain))
}

fn openb_mix(openb: &Openb) -> Vec<Row> {
    let case = Case::openb(openb, NODES);
    let kinds = openb.kinds(FGD_KINDS);
    let fgd = plain(Plain::new(Rule::Fgd, &case.nodes, &kinds), &case.pods);
    fill("the same with the openb mix", 300_000, &case, ("FGD", fgd))
}

/// The decisions alone, and again with everything submitted one by one.
fn fill(what: &str, target: usize, case: &Case, (rule, plain): (&str, Duration)) -> Vec<Row> {
    let placed = cases::placed(&cases::decide(&mut case.submitted()));
    let asked = case.pods.len();
    let row = |what: &str, time: Duration| {
        let measured = format!("{} ({placed} of {asked} pods in {})", rate(placed, time), span(time));
        let met = placed as f64 / time.as_secs_f64() >= target as f64;
        Row::new(what, &format!(">= {}", thousands(target as f64)), measured, met).beside(
            rule,
            plain,
            time / placed as u32,
        )
    };
    let decided = best(RUNS, || case.submitted(), cases::decide);
    let one_by_one = || (case.engine(), case.events());
    let submitted =
        best(RUNS, one_by_one, |(engine, events)| cases::one_by_one(engine, std::mem::take(events)));
    vec![
        row(what, decided),
        row("- submitted one by one, a cycle after each, submission included", submitted),
    ]
}

fn growth(_: &Openb) -> Vec<Row> {
    let per_pod = |nodes| {
        let case = Case::whole_gpus(nodes);
        best(3, || case.submitted(), cases::decide) / case.pods.len() as u32
    };
    let (small, large) = (per_pod(1_000), per_pod(100_000));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    let measured = format!("{ratio:.2}x ({} against {})", span(large), span(small));
    vec![Row::new("cost per placement, 100,000 nodes against 1,000", "<= 2x", measured, ratio <= 2.0)]
}

fn gang(_: &Openb) -> Vec<Row> {
    let before = cases::before_gang(NODES, cases::GANG);
    let time = best(RUNS, || before.clone(), cases::decide);
    let pod = load::whole(GPUS_PER_NODE);
    let nodes: Vec<NodeSpec> = cluster::dgx(NODES).collect();
    let gang = |plain: &mut Plain| assert!(plain.place_all(&pod, cases::GANG));
    let plain = best(1, || Plain::new(Rule::BestFit, &nodes, &[]), gang);
    let row = Row::new(
        "one 512-pod gang of whole nodes, 10,000 nodes half full",
        "<= 1 ms",
        span(time),
        ms(time, 1),
    );
    vec![row.beside("best fit", plain, time)]
}

fn verdict(_: &Openb) -> Vec<Row> {
    const AGAIN: u32 = 1_000;
    let mut engine = cases::before_verdict(NODES);
    let first = best(RUNS, || engine.clone(), cases::decide);
    cases::decide(&mut engine);
    let again = best(RUNS, || (), |()| (0..AGAIN).for_each(|_| drop(cases::decide(&mut engine)))) / AGAIN;
    let pod = load::whole(GPUS_PER_NODE);
    let nodes: Vec<NodeSpec> = cluster::dgx(NODES).collect();
    let full = || {
        let mut plain = Plain::new(Rule::BestFit, &nodes[..], &[]);
        plain.fill(&load::whole(GPUS_PER_NODE - 1), NODES as usize - (cases::TOO_MANY as usize - 1));
        plain
    };
    let plain = best(1, full, |plain| assert!(!plain.place_all(&pod, cases::TOO_MANY)));
    let what = "\"cannot run\" for a 10-pod gang that has room for 9, 10,000 nodes";
    vec![
        Row::new(what, "<= 1 ms", span(first), ms(first, 1)).beside("best fit", plain, first),
        Row::new("- again with nothing changed", "<= 1 us", span(again), again <= Duration::from_micros(1))
            .beside("best fit", plain, again),
    ]
}

fn simulator(_: &Openb) -> Vec<Row> {
    let trace = "8,152 openb tasks on 1,523 nodes, whole `berth-sim` process";
    let jobs = "1,000,000 synthetic jobs on 10,000 nodes, whole `berth-sim` process";
    let row = |what, target, bound, arguments: &[&str], runs| {
        let time = process::simulator().and_then(|program| process::time(&program, arguments, runs));
        match time {
            Ok(time) => Row::new(what, target, span(time), time <= bound),
            Err(why) => Row::left_out(what, target, &why),
        }
    };
    let files = (openb::trace("openb_node_list_all_node.csv"), openb::trace("openb_pod_list_default.csv"));
    let first = match &files {
        (Some(nodes), Some(pods)) => {
            let (nodes, pods) = (nodes.to_string_lossy(), pods.to_string_lossy());
            let arguments = ["run", "--nodes", &nodes, "--pods", &pods];
            row(trace, "<= 150 ms", Duration::from_millis(150), &arguments, RUNS)
        }
        _ => Row::left_out(trace, "<= 150 ms", "the files are not there"),
    };
    let synthetic = ["run", "--synthetic", "--jobs", "1000000", "--node-count", "10000"];
    vec![first, row(jobs, "<= 10 s", Duration::from_secs(10), &synthetic, 1)]
}

fn memory(_: &Openb) -> Vec<Row> {
    let (what, target) = ("heap per running pod in the engine, 10,000 nodes at 95 %", "<= 512 bytes");
    let run = Command::new(env!("CARGO_BIN_EXE_berth-bench-memory")).output();
    let said =
        run.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let most = said.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).max();
    vec![match most {
        Some(most) => Row::new(what, target, format!("{} bytes", said.replace('\n', ", ")), most <= 512),
        None => Row::left_out(what, target, "it could not be run"),
    }]
}

fn unallocated(_: &Openb) -> Vec<Row> {
    let what = "GPUs unallocated (of 6,212) after `inflated_seed42_pods.csv` in order";
    let Some((nodes, pods)) = openb::inflated() else {
        return vec![Row::left_out(what, "<= 292", "the files are not there")];
    };
    let mut engine = cluster::engine(nodes, Strategy::Binpack);
    let placed = cases::one_by_one_or_never(&mut engine, &pods);
    let usage = engine.pool_usage(POOL).expect("the pool is there");
    let left = (usage.capacity.0 - usage.allocated.0) as f64 / GpuShare::DEVICE.0 as f64;
    let measured = format!("{left:.1} ({placed} pods placed)");
    let mut row = Row::new(what, "<= 292", measured, left <= 292.0);
    row.plain = "FGD as published: 292.6; BestFit: 426.6".into();
    vec![row]
}

fn plain_best_fit(nodes: &[NodeSpec], pods: &[Arc<PodSpec>]) -> Duration {
    plain(Plain::new(Rule::BestFit, nodes, &[]), pods)
}

/// What the plain program takes for one pod.
fn plain(plain: Plain, pods: &[Arc<PodSpec>]) -> Duration {
    let pods = &pods[..PLAIN_PODS.min(pods.len())];
    let time = best(1, || plain.clone(), |plain| pods.iter().filter(|pod| plain.place(pod)).count());
    time / pods.len() as u32
}

fn ms(time: Duration, bound: u64) -> bool {
    time <= Duration::from_millis(bound)
}

/// The machine, in words.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or("an unknown CPU", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores; one thread; shortest of a few runs.\n")
}
