//! Searches over made-up simulations of which the answer is known.

use super::*;
use crate::outcome::ProjectOutcome;
use crate::report::terminal::Style;
use berth_model::Millis;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

fn kind(name: &str, price: &str) -> Kind {
    format!("name={name},price={price},cpu=8,memory=64Gi").parse().unwrap()
}

fn goals(texts: &[&str]) -> Vec<Goal> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const LIMITS: Limits = Limits { nodes: 100, simulations: 500 };

/// An outcome in which that many workloads wait and one waited that many minutes.
fn outcome(pending: u64, minutes: i64, utilisation: f64) -> Outcome {
    let waits = vec![Millis(minutes * 60_000)];
    let project = ProjectOutcome { workloads: 1, waits, ..ProjectOutcome::default() };
    let mut outcome = Outcome { projects: vec![project], ..Outcome::default() };
    outcome.totals.pending = pending;
    outcome.totals.gpu_share_millis = (utilisation * 1e6) as i128;
    outcome.totals.gpu_capacity_millis = 1_000_000;
    outcome
}

/// Nodes as powerful as `power` says; a job of `need` waits for what is missing.
fn needs(power: &[u32], need: u32) -> impl Fn(&[(KindIndex, u32)]) -> Result<Outcome, Infallible> + Sync {
    let power = power.to_vec();
    move |counts| {
        let have: u32 = counts.iter().map(|(kind, n)| power[*kind] * n).sum();
        let missing = need.saturating_sub(have);
        Ok(outcome(missing.into(), missing.into(), f64::from(need) / f64::from(have.max(1)).max(need.into())))
    }
}

fn counts(plan: &Plan) -> Option<Vec<u32>> {
    plan.best().map(|p| p.counts.clone())
}

#[test]
fn one_kind_is_found_exactly_with_few_simulations() {
    for need in 1..=100 {
        let plan = search(&[kind("a", "2")], &goals(&["pending==0"]), LIMITS, needs(&[1], need)).unwrap();
        assert_eq!(counts(&plan), Some(vec![need]));
        assert!(plan.points.len() <= 22, "{need}: {}", plan.points.len());
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    }
}

#[test]
fn two_kinds_give_the_cheapest_mixture() {
    for (need, prices) in [(23, ["7", "3.5"]), (23, ["7", "3"]), (40, ["5", "1.9"]), (1, ["9", "9"])] {
        let kinds = [kind("big", prices[0]), kind("small", prices[1])];
        let power = [5, 2];
        let plan = search(&kinds, &goals(&["pending==0"]), LIMITS, needs(&power, need)).unwrap();
        let all = (0..=40).flat_map(|a| (0..=40).map(move |b| [a, b]));
        let cost = |c: [u32; 2]| i64::from(c[0]) * kinds[0].price.0 + i64::from(c[1]) * kinds[1].price.0;
        let enough = all.filter(|c| power[0] * c[0] + power[1] * c[1] >= need);
        let expected = enough.min_by_key(|c| (cost(*c), c[0] + c[1], *c)).unwrap();
        assert_eq!(counts(&plan), Some(expected.to_vec()), "{need} {prices:?}");
        assert!(plan.points.len() < 120, "{}", plan.points.len());
    }
}

#[test]
fn three_kinds_may_need_each_other() {
    let kinds = [kind("gpu", "10"), kind("cpu", "1"), kind("disk", "3")];
    let simulate = |counts: &[(KindIndex, u32)]| -> Result<Outcome, Infallible> {
        let missing = |i: usize, need: u32| u64::from(need.saturating_sub(counts[i].1));
        Ok(outcome(missing(0, 3) + missing(1, 4) + missing(2, 2), 0, 1.0))
    };
    let limits = Limits { nodes: 20, simulations: 2000 };
    let plan = search(&kinds, &goals(&["pending==0"]), limits, simulate).unwrap();
    assert_eq!(counts(&plan), Some(vec![3, 4, 2]));
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn a_goal_that_cannot_be_met_says_so() {
    let plan = search(&[kind("a", "2")], &goals(&["max-wait<=10m"]), LIMITS, needs(&[1], 160)).unwrap();
    assert!(!plan.is_met());
    let expected =
        "max-wait<=10m cannot be met with at most 100 nodes (--max-nodes); nearest: 100 × a (max-wait 1h)";
    assert_eq!(show::answer(&plan), expected);
    assert!(show::json(&plan).contains("\"best\": null"));
}

#[test]
fn goals_are_anded_and_utilisation_bounds_from_above() {
    let simulate = needs(&[1], 30);
    let one = [kind("a", "1")];
    let both = goals(&["max-wait<=5m", "utilisation>=90%"]);
    assert_eq!(counts(&search(&one, &both, LIMITS, &simulate).unwrap()), Some(vec![25]));
    let four = [kind("a", "1")];
    let strict = goals(&["pending==0", "utilisation>=95%"]);
    assert_eq!(counts(&search(&four, &strict, LIMITS, needs(&[40], 30)).unwrap()), None);
}

#[test]
fn what_is_not_monotone_is_noted() {
    let simulate = |counts: &[(KindIndex, u32)]| -> Result<Outcome, Infallible> {
        Ok(outcome(u64::from(counts[0].1 < 20 || counts[0].1 == 21), 0, 1.0))
    };
    let plan = search(&[kind("a", "1")], &goals(&["pending==0"]), LIMITS, simulate).unwrap();
    assert_eq!(counts(&plan), Some(vec![20]));
    assert!(plan.notes[0].contains("hold with 20 × a but not with 21 × a"), "{:?}", plan.notes);
}

#[test]
fn a_cheaper_neighbour_takes_the_place_of_the_result() {
    let simulate = |counts: &[(KindIndex, u32)]| -> Result<Outcome, Infallible> {
        Ok(outcome(u64::from(counts[0].1 < 60 && counts[0].1 != 58), 0, 1.0))
    };
    let plan = search(&[kind("a", "1")], &goals(&["pending==0"]), LIMITS, simulate).unwrap();
    assert_eq!(counts(&plan), Some(vec![58]));
    assert!(plan.notes[0].starts_with("not monotone"), "{:?}", plan.notes);
}

#[test]
fn the_number_of_simulations_is_bounded() {
    let calls = AtomicUsize::new(0);
    let simulate = |counts: &[(KindIndex, u32)]| {
        calls.fetch_add(1, Ordering::Relaxed);
        needs(&[1, 1], 1000)(counts)
    };
    let limits = Limits { nodes: 500, simulations: 40 };
    let plan = search(&[kind("a", "1"), kind("b", "2")], &goals(&["pending==0"]), limits, simulate).unwrap();
    assert_eq!((calls.into_inner(), plan.points.len()), (40, 40));
    assert!(plan.notes[0].contains("stopped after 40 simulations"), "{:?}", plan.notes);
}

#[test]
fn a_failing_simulation_names_its_nodes() {
    let simulate = |_: &[(KindIndex, u32)]| Err("out of memory");
    let error = search(&[kind("a", "1")], &goals(&["pending==0"]), LIMITS, simulate).unwrap_err();
    assert_eq!(error.to_string(), "simulation with 1 × a: out of memory");
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Result<Args, String> {
    let words = std::iter::once("plan").chain(words.iter().copied());
    <Cli as clap::Parser>::try_parse_from(words).map(|cli| cli.args).map_err(|e| e.to_string())
}

#[test]
fn the_command_writes_what_it_found() {
    let kind = "name=a,cpu=8,memory=64Gi";
    let args = args(&["--goal", "pending==0", "--kind", kind, "--json", "--max-nodes", "9"]).unwrap();
    let mut out = Vec::new();
    let plan = run(&args, &args.kinds().unwrap(), needs(&[1], 7), &mut out).unwrap();
    assert!(plan.is_met());
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&value["best"]["nodes"], &value["maxNodes"]), (&7.into(), &9.into()));
}

#[test]
fn bad_options_say_what_is_allowed() {
    assert!(args(&[]).unwrap_err().contains("--goal <GOAL>"));
    assert!(args(&["--goal", "speed<=1"]).unwrap_err().contains("\"speed\" is no metric; allowed: p50-wait"));
    assert!(args(&["--goal", "pending==0", "--max-nodes", "0"]).unwrap_err().contains("1..=100000"));
}

fn mixture() -> Plan {
    let kinds = [kind("a100", "12.5"), kind("l40s", "3.2")];
    search(&kinds, &goals(&["p95-wait<=10m", "pending<=20"]), LIMITS, needs(&[8, 2], 90)).unwrap()
}

#[test]
fn a_plan_reads_well() {
    insta::assert_snapshot!(show::terminal(&mixture(), 100, Style::default()));
}

#[test]
fn json_holds_goals_kinds_and_points() {
    let value: serde_json::Value = serde_json::from_str(&show::json(&mixture())).unwrap();
    assert_eq!(value["met"], true);
    assert_eq!(value["goals"][0]["bound"], 600_000);
    assert_eq!(value["kinds"][0]["price"], 12.5);
    assert_eq!(value["best"]["met"], true);
}

#[test]
fn the_same_search_gives_the_same_plan_on_any_number_of_threads() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(mixture)
    };
    assert_eq!(on(1), on(4));
}

/// Writes pages to look at, see the gallery of the reports.
#[test]
fn gallery() {
    let folder = std::env::temp_dir().join("berth-gallery");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("plan-mixture.html"), show::html(&mixture())).unwrap();
    let one = search(&[kind("a100", "12.5")], &goals(&["p95-wait<=10m"]), LIMITS, needs(&[8], 300)).unwrap();
    std::fs::write(folder.join("plan-one.html"), show::html(&one)).unwrap();
}
