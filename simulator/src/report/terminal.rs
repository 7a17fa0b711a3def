//! The summary for the terminal: what was asked, what happened, and why something waits.

use super::figures::{self, Figures, PoolFigures};
use super::projects;
use super::series;
use super::waits::Waits;
use super::words::{self, count, gpus, percent, plural, share, span, span_or_none};
use crate::outcome::{Evictions, Outcome, PendingWorkload, PoolOutcome, ProjectOutcome};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt::Write as _;
use std::io::IsTerminal;

/// Projects shown by name; the rest are put together.
const PROJECTS_MAX: usize = 24;
/// Reasons shown.
const REASONS_MAX: usize = 8;
/// Violations shown.
const VIOLATIONS_MAX: usize = 5;

const HOW_QUOTAS: &str =
    "GPUs on average over time. Of quota, of fair share: what it got of it, as far as it asked for it";

/// How a summary is dressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Bold headings and colours.
    pub colour: bool,
    /// ASCII characters in boxes only.
    pub ascii: bool,
}

impl Style {
    /// Colour if standard output is a terminal and `NO_COLOR` is not set; ASCII boxes if the locale is plain `C`.
    pub fn detect() -> Self {
        let set = |name| std::env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        Self {
            colour: set("NO_COLOR").is_none() && !dumb && std::io::stdout().is_terminal(),
            ascii: locale.is_some_and(|locale| locale == "C" || locale == "POSIX"),
        }
    }

    fn dress(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.dress("1", text)
    }

    /// Something that needs attention.
    pub(crate) fn warning(self, text: &str) -> String {
        self.dress("1;31", text)
    }

    /// An explanation that may be skipped.
    pub(crate) fn aside(self, text: &str) -> String {
        self.dress("2", text)
    }
}

/// An empty table with this header; columns from `numbers` on are aligned to the right.
pub(crate) fn table(style: Style, width: u16, header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(if style.ascii { presets::ASCII_FULL_CONDENSED } else { presets::UTF8_FULL_CONDENSED });
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width).force_no_tty();
    table.set_header(header.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The summary of one outcome, at most `width` columns wide.
pub fn summary(outcome: &Outcome, width: u16, style: Style) -> String {
    let figures = Figures::of(outcome);
    let mut text = String::new();
    head(&mut text, outcome, style);
    happened(&mut text, &figures, style);
    violations(&mut text, outcome, style);
    section(&mut text, style, "GPUs by pool", &pools(outcome, width, style));
    let aside = "stranded: free GPU share that no pod shape now present can use";
    let _ = writeln!(text, "{}", style.aside(aside));
    section(&mut text, style, "Waiting for the first start, by project", &waits(outcome, width, style));
    section(
        &mut text,
        style,
        "GPUs against quota and fair share, by project",
        &quotas(outcome, width, style),
    );
    let _ = writeln!(text, "{}", style.aside(HOW_QUOTAS));
    if figures.evictions > 0 {
        section(&mut text, style, "Evicted pods by project and rule", &evictions(outcome, width, style));
    }
    if !outcome.pending.is_empty() {
        let title = format!("Why {} at the end", wait(outcome.pending.len() as u64));
        section(&mut text, style, &title, &reasons(outcome, width, style));
    }
    text
}

fn wait(n: u64) -> String {
    format!("{} {}", plural(n, "workload"), if n == 1 { "waits" } else { "wait" })
}

fn section(text: &mut String, style: Style, title: &str, table: &Table) {
    let _ = writeln!(text, "\n{}\n{table}", style.heading(title));
}

fn head(text: &mut String, outcome: &Outcome, style: Style) {
    let name = if outcome.name.is_empty() { "simulation" } else { &outcome.name };
    let variant = if outcome.variant.is_empty() { String::new() } else { format!(" ({})", outcome.variant) };
    let title = format!("{name}{variant}");
    let ended = span(outcome.ended.since(berth_model::Timestamp(0)));
    let _ = writeln!(text, "{}: {ended} of virtual time\n", style.heading(&title));
    let nodes: u64 = outcome.pools.iter().map(|p| u64::from(figures::last(p).nodes)).sum();
    let _ = writeln!(
        text,
        "Cluster     {} in {}, {} GPUs (at the end)",
        plural(nodes, "node"),
        plural(outcome.pools.len() as u64, "pool"),
        share(outcome.totals.gpu_capacity)
    );
}

fn happened(text: &mut String, f: &Figures, style: Style) {
    let part = |n: u64| format!("{} ({})", count(n), percent(figures::ratio(n as f64, f.workloads as f64)));
    let _ = writeln!(text, "Asked for   {}", plural(f.workloads, "workload"));
    let _ = writeln!(text, "Started     {}, completed {}", part(f.started), count(f.completed));
    let waiting = format!("Waiting     {} at the end", part(f.pending));
    let _ = writeln!(text, "{}", if f.pending > 0 { style.heading(&waiting) } else { waiting });
    if f.dropped > 0 {
        let _ = writeln!(text, "Dropped     {}, they did not fit when they came", part(f.dropped));
    }
    let _ = writeln!(text, "Placed      {}, again after an eviction included", plural(f.pods_placed, "pod"));
    let (lost, pods) = (words::gpus(f.lost), plural(f.evictions, "pod"));
    let _ =
        writeln!(text, "Evicted     {pods}{}, {lost} GPU-hours of work lost", causes(&f.evictions_by_cause));
    let _ = writeln!(
        text,
        "GPUs used   {} over time, {} at the end ({} unallocated)",
        percent(f.utilisation),
        percent(f.allocation),
        share(f.gpu_unallocated)
    );
}

/// The causes of evictions in brackets; nothing if there was none.
fn causes(evictions: &Evictions) -> String {
    let causes = evictions.by_cause().into_iter().filter(|(_, n)| *n > 0);
    let causes: Vec<String> = causes.map(|(cause, n)| format!("{} {cause}", count(n))).collect();
    if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) }
}

fn violations(text: &mut String, outcome: &Outcome, style: Style) {
    let Some(found) = outcome.violations.as_deref() else { return };
    if found.is_empty() {
        text.push_str("Checked     no violation\n");
        return;
    }
    let line = format!("Checked     {}:", plural(found.len() as u64, "VIOLATION"));
    let _ = writeln!(text, "{}", style.warning(&line));
    for violation in found.iter().take(VIOLATIONS_MAX) {
        let _ = writeln!(text, "            {violation}");
    }
}

fn pools(outcome: &Outcome, width: u16, style: Style) -> Table {
    let header = ["pool", "strategy", "nodes", "GPUs", "used", "used, end", "stranded", "stranded, end"];
    let mut table = table(style, width, &header, 2..8);
    for pool in &outcome.pools {
        table.add_row(pool_row(pool, outcome.ended.0));
    }
    table
}

fn pool_row(pool: &PoolOutcome, end: i64) -> Vec<String> {
    let (average, last) = (PoolFigures::of(pool, end), figures::last(pool));
    let used = |allocated, capacity| percent(figures::ratio(allocated, capacity));
    vec![
        pool.name.clone(),
        pool.strategy.clone(),
        count(last.nodes.into()),
        share(last.capacity),
        used(average.allocated, average.capacity),
        used(last.allocated.0 as f64, last.capacity.0 as f64),
        gpus(average.stranded),
        share(last.stranded),
    ]
}

/// The projects to show, most used first, and those put together.
fn shown(outcome: &Outcome) -> (Vec<&ProjectOutcome>, Vec<&ProjectOutcome>) {
    let mut order: Vec<_> = figures::by_use(outcome).into_iter().map(|i| &outcome.projects[i]).collect();
    let rest = if order.len() > PROJECTS_MAX { order.split_off(PROJECTS_MAX - 1) } else { Vec::new() };
    (order, rest)
}

fn others(rest: &[&ProjectOutcome]) -> String {
    format!("{} others", count(rest.len() as u64))
}

fn waits(outcome: &Outcome, width: u16, style: Style) -> Table {
    let header = ["project", "workloads", "started", "p50", "p95", "max", "not started", "longest so far"];
    let mut table = table(style, width, &header, 1..8);
    let mut row = |name: String, projects: &[&ProjectOutcome]| {
        let waits = Waits::of_projects(projects.iter().copied());
        table.add_row(vec![
            name,
            count(projects.iter().map(|p| p.workloads).sum()),
            count(waits.started()),
            span_or_none(waits.of_started(500)),
            span_or_none(waits.of_started(950)),
            span_or_none(waits.of_started(1000)),
            count(waits.never()),
            span_or_none(waits.longest_so_far()),
        ]);
    };
    let (named, rest) = shown(outcome);
    named.iter().for_each(|project| row(project.name.clone(), &[project]));
    if !rest.is_empty() {
        row(others(&rest), &rest);
    }
    if outcome.projects.len() > 1 {
        row("all".into(), &outcome.projects.iter().collect::<Vec<_>>());
    }
    table
}

fn quotas(outcome: &Outcome, width: u16, style: Style) -> Table {
    let header = ["project", "quota", "fair share", "used", "asked for", "of quota", "of fair share"];
    let mut table = table(style, width, &header, 1..7);
    let end = outcome.ended.0;
    let mut row = |name: String, projects: &[&ProjectOutcome]| {
        let average = |value: fn(&crate::outcome::ProjectSample) -> berth_model::GpuShare| -> f64 {
            let steps = projects.iter().map(|p| figures::project_steps(p, value));
            steps.filter_map(|s| series::average(&s, end)).sum()
        };
        let quota: Option<f64> = projects.iter().map(|p| figures::quota(p)).sum();
        let one = |part: fn(&ProjectOutcome, i64) -> Option<f64>| match projects {
            [one] => percent(part(one, end)),
            _ => String::new(),
        };
        table.add_row(vec![
            name,
            quota.map_or_else(|| "unlimited".into(), gpus),
            gpus(average(|s| s.fair_share)),
            gpus(average(|s| s.allocated.gpu)),
            gpus(average(|s| s.requested)),
            one(projects::honoured),
            one(projects::fair),
        ]);
    };
    let (named, rest) = shown(outcome);
    named.iter().for_each(|project| row(project.name.clone(), &[project]));
    if !rest.is_empty() {
        row(others(&rest), &rest);
    }
    table
}

fn evictions(outcome: &Outcome, width: u16, style: Style) -> Table {
    let header = Evictions::default().by_cause().map(|(cause, _)| cause);
    let header: Vec<&str> = ["project"].into_iter().chain(header).chain(["lost GPU-hours"]).collect();
    let mut table = table(style, width, &header, 1..header.len());
    let mut row = |name: String, projects: &[&ProjectOutcome]| {
        let of_cause = |at: usize| projects.iter().map(|p| p.evictions_by_cause.by_cause()[at].1).sum();
        let lost = figures::gpu_hours(projects.iter().map(|p| p.lost_share_millis).sum());
        let causes = (0..header.len() - 2).map(|at| count(of_cause(at)));
        table.add_row(std::iter::once(name).chain(causes).chain([gpus(lost)]).collect::<Vec<_>>());
    };
    let (named, rest) = shown(outcome);
    named.iter().filter(|p| p.evictions > 0).for_each(|project| row(project.name.clone(), &[project]));
    if rest.iter().any(|p| p.evictions > 0) {
        row(others(&rest), &rest);
    }
    table
}

fn reasons(outcome: &Outcome, width: u16, style: Style) -> Table {
    let header = ["why", "workloads", "pods", "for example", "what would start it"];
    let mut table = table(style, width, &header, 1..3);
    for (kind, workloads) in by_kind(&outcome.pending).into_iter().take(REASONS_MAX) {
        let first = workloads[0];
        let pods = workloads.iter().map(|w| u64::from(w.pending)).sum();
        let example = format!("{}: {}", words::clip(&first.name, 40), first.reason);
        let n = workloads.len() as u64;
        table.add_row(vec![kind.to_owned(), count(n), count(pods), example, first.change.clone()]);
    }
    table
}

/// Pending workloads by kind of reason, the kind with the most workloads first; ties by name.
pub(crate) fn by_kind(pending: &[PendingWorkload]) -> Vec<(&str, Vec<&PendingWorkload>)> {
    let mut kinds = std::collections::BTreeMap::<&str, Vec<&PendingWorkload>>::new();
    for workload in pending {
        let kind = if workload.kind.is_empty() { "not decided" } else { &workload.kind };
        kinds.entry(kind).or_default().push(workload);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, workloads)| std::cmp::Reverse(workloads.len()));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_small_outcome_reads_well() {
        insta::assert_snapshot!(summary(&samples::small(), 110, Style::default()));
    }

    #[test]
    fn ascii_and_colour_are_choices() {
        let dressed = summary(&samples::small(), 100, Style { colour: true, ascii: true });
        assert!(dressed.contains("\x1b[1m") && !dressed.contains('│'));
        assert!(!summary(&samples::small(), 100, Style::default()).contains('\x1b'));
    }

    #[test]
    fn odd_outcomes_give_no_nan_and_bounded_lists() {
        for (name, outcome) in samples::odd() {
            let text = summary(&outcome, 80, Style::default());
            assert!(!text.contains("NaN") && !text.contains("inf"), "{name}: {text}");
            assert!(text.lines().count() < 180, "{name}: {} lines", text.lines().count());
        }
    }
}
