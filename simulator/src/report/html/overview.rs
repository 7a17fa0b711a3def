//! The order of a page: the numbers first, then the charts.

use super::page::{Page, Tile};
use super::{evictions, pending, pools, shares, text, title, variant, waits};
use crate::compare;
use crate::outcome::Outcome;
use crate::report::figures::{self, Figures};
use crate::report::words::{NONE, clip, count, decimal, gpus, percent, plural, share, span, span_or_none};
use berth_model::Timestamp;

const HOW_POOLS: &str = "Filled: GPUs given out. Hatched: free, but in pieces that no pod shape now present can use. \
    Thin line: what runs and waits asks for. Upper line: healthy GPUs of ready nodes.";
const HOW_WAITS: &str = "From submission to the first start. The scale is logarithmic, so seconds and days can be \
    read on one axis. A curve that stays below 100 % has workloads that never started.";
const HOW_SHARES: &str = "GPUs used by each project, over all pools, against the sum of its quotas and of its fair \
    shares; most used first. Each chart has its own scale. Of quota, of fair share: what it got of it, as far as it \
    asked for it.";
const HOW_SHARES_OF: &str = "What each project got of its quota and of its fair share, as far as it asked for it, how \
    long it waited, and what evictions cost it.";
const HOW_EVICTIONS: &str = "Pods evicted by each rule, and the GPU-hours that their workloads had worked and must work \
    again; most lost first.";
const HOW_FRAGMENTATION: &str = "Of the GPU capacity that is free, the part that no pod shape now present can use. \
    Little free capacity is nearly all fragments under any strategy. Averages over 1/120 of the time.";
const HOW_PENDING: &str = "One dominant reason per workload, made by the code that decided, with the smallest \
    change that would start it.";

/// The page of one outcome.
pub(super) fn one(outcome: &Outcome) -> String {
    let nodes: u64 = outcome.pools.iter().map(|p| u64::from(figures::last(p).nodes)).sum();
    let strategy =
        if outcome.variant.is_empty() { String::new() } else { format!("{} · ", outcome.variant) };
    let sub = format!(
        "{strategy}{} of virtual time · {} with {} GPUs in {} · {}",
        span(outcome.ended.since(Timestamp(0))),
        plural(nodes, "node"),
        share(outcome.totals.gpu_capacity),
        plural(outcome.pools.len() as u64, "pool"),
        plural(outcome.totals.workloads, "workload")
    );
    let mut page = Page::new(&title(outcome), &sub);
    page.tiles(&tiles(&Figures::of(outcome)));
    if let Some(found) = outcome.violations.as_ref().filter(|found| !found.is_empty()) {
        let rows: Vec<Vec<String>> = found.iter().take(50).map(|v| vec![v.clone()]).collect();
        let html = format!("<div class=\"plain\">{}</div>\n", text::table(&["violation"], 0..0, &rows));
        page.section("Violations", "What the independent checker found. There should be none.", &html);
    }
    page.section("GPUs over time", HOW_POOLS, &pools::over_time(outcome));
    page.section("Waiting time", HOW_WAITS, &waits::of_projects(outcome));
    page.section("Share against quota and fair share", HOW_SHARES, &shares::over_time(outcome));
    page.section("Evictions", HOW_EVICTIONS, &evictions::section(outcome));
    page.section("Fragmentation", HOW_FRAGMENTATION, &pools::fragmentation(outcome));
    page.section("What stayed pending, and why", HOW_PENDING, &pending::section(outcome));
    page.finish()
}

fn tiles(f: &Figures) -> Vec<Tile> {
    let tile = |name, value: String, remark: String| Tile { name, value, class: "", remark };
    let mut tiles = vec![
        tile("GPUs used", percent(f.utilisation), "of the capacity, over time".into()),
        tile(
            "At the end",
            percent(f.allocation),
            format!("given out; {} GPUs unallocated", share(f.gpu_unallocated)),
        ),
        tile(
            "Stranded",
            gpus(f.stranded_average),
            format!("GPUs on average; {} at the end", share(f.gpu_stranded)),
        ),
        tile("Wait, p95", span_or_none(f.wait_p95), format!("median {}", span_or_none(f.wait_p50))),
        tile(
            "Waiting",
            count(f.pending),
            if f.dropped > 0 {
                format!("at the end; {} dropped", count(f.dropped))
            } else {
                "workloads at the end".into()
            },
        ),
        tile("Evicted", count(f.evictions), format!("pods; {} GPU-hours lost", gpus(f.lost))),
        tile("Goodput", gpus(f.goodput), "GPU-hours of work that was not thrown away".into()),
        tile(
            "Fairness",
            f.fairness.map_or_else(|| NONE.into(), |index| decimal(index, 3)),
            "1 = all projects got the same part of what they were due".into(),
        ),
    ];
    let least = f.projects.iter().filter_map(|project| Some((project.honoured?, project.name.as_str())));
    if let Some((honoured, name)) = least.min_by(|a, b| a.0.total_cmp(&b.0)) {
        let remark = format!("of its quota got {}, the least of all, when it asked for it", clip(name, 40));
        tiles.push(tile("Quota honoured", percent(Some(honoured)), remark));
    }
    if let Some(n) = f.violations {
        let (class, remark) =
            if n == 0 { ("good", "every decision checked") } else { ("bad", "found by the checker") };
        tiles.push(Tile { name: "Violations", value: count(n), class, remark: remark.into() });
    }
    tiles
}

/// The page of several outcomes side by side.
pub(super) fn several(outcomes: &[Outcome]) -> String {
    let names: Vec<String> = (0..outcomes.len()).map(|i| variant(outcomes, i)).collect();
    let one_name = outcomes.iter().all(|o| o.name == outcomes[0].name);
    let title = if one_name { title(&outcomes[0]) } else { "Comparison".into() };
    let mut page = Page::new(&title, &format!("{} compared: {}", names.len(), names.join(", ")));
    let figures: Vec<Figures> = outcomes.iter().map(Figures::of).collect();
    let best = "The best in a row is marked; rows without a mark have no better end or no difference.";
    page.section("In numbers", best, &compare::html_table(&names, &figures));
    let (used, fragmented) = pools::overlays(outcomes);
    let how = "GPUs given out in each pool, one line per variant; in per cent where the capacities \
        differ. Averages over 1/120 of the time.";
    page.section("GPUs over time", how, &used);
    page.section("Waiting time", HOW_WAITS, &waits::of_variants(outcomes));
    page.section("Share by project", HOW_SHARES_OF, &shares::of_variants(&names, &figures));
    page.section("Fragmentation", HOW_FRAGMENTATION, &fragmented);
    for (outcome, name) in outcomes.iter().zip(&names) {
        page.section(&format!("Pending: {name}"), HOW_PENDING, &pending::section(outcome));
    }
    page.finish()
}
