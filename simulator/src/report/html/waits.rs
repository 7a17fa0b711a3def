//! How long workloads waited for their first start.

use super::axis::Axis;
use super::chart::{Chart, Layer, Mark};
use super::page::{drawing, figure, hue, wait};
use super::text::{esc, table, xy};
use crate::outcome::{Outcome, ProjectOutcome};
use crate::report::figures;
use crate::report::waits::Waits;
use crate::report::words::{clip, count, percent, span_or_none};
use std::fmt::Write as _;

/// Rows shown by name; the rest are put together.
const ROWS_MAX: usize = 24;
/// Projects with a line of their own beside the line of all.
const LINES_MAX: usize = 4;

const NAME_WIDTH: f64 = 190.0;
const TEXT_WIDTH: f64 = 330.0;
const WIDTH: f64 = 1040.0;
const ROW: f64 = 28.0;

/// One group of workloads.
pub(crate) struct Group {
    name: String,
    colour: &'static str,
    waits: Waits,
}

/// The waiting times of one outcome: the share that had started by a wait, and the percentiles by project.
pub(crate) fn of_projects(outcome: &Outcome) -> String {
    let order: Vec<&ProjectOutcome> =
        figures::by_use(outcome).into_iter().map(|i| &outcome.projects[i]).collect();
    let all = Group { name: "all".into(), colour: "ink", waits: Waits::of(outcome) };
    if all.waits.is_empty() {
        return super::nothing("No workload was submitted.");
    }
    let mut lines = vec![all];
    if order.len() > 1 {
        lines.extend(order.iter().take(LINES_MAX).enumerate().map(|(i, project)| one(project, hue(i))));
    }
    let shown = order.len().min(LINES_MAX);
    let how = match order.len() {
        0 | 1 => String::new(),
        n if n <= LINES_MAX => "All workloads, and by project.".into(),
        n => format!("All workloads, and the {shown} projects of {} that used most GPUs.", count(n as u64)),
    };
    let mut rows: Vec<Group> = order.iter().take(ROWS_MAX).map(|project| one(project, "s1")).collect();
    if let Some(rest) = order.get(ROWS_MAX..).filter(|rest| !rest.is_empty()) {
        let waits = Waits::of_projects(rest.iter().copied());
        rows.push(Group { name: format!("{} others", count(rest.len() as u64)), colour: "rest", waits });
    }
    curves(&lines, "Share of workloads that had started", &how)
        + &ranges(&rows, "Percentiles by project", "project")
}

fn one(project: &ProjectOutcome, colour: &'static str) -> Group {
    Group { name: project.name.clone(), colour, waits: Waits::of_projects([project]) }
}

/// The waiting times of several outcomes, one line and one row each.
pub(crate) fn of_variants(outcomes: &[Outcome]) -> String {
    let group =
        |(i, outcome)| Group { name: super::variant(outcomes, i), colour: hue(i), waits: Waits::of(outcome) };
    let groups: Vec<Group> = outcomes.iter().enumerate().map(group).collect();
    if groups.iter().all(|g| g.waits.is_empty()) {
        return super::nothing("No workload was submitted.");
    }
    curves(&groups, "Share of workloads that had started", "") + &ranges(&groups, "Percentiles", "variant")
}

fn axis(groups: &[Group]) -> Axis {
    let longest = groups.iter().filter_map(|g| g.waits.of_started(1000)).max();
    Axis::waits(longest.map_or(0, |w| w.0))
}

fn curves(groups: &[Group], heading: &str, how: &str) -> String {
    let layer = |group: &Group| {
        let points = group.waits.curve().into_iter().map(|(w, share)| (w.0 as f64, Some(share * 100.0)));
        let steps: Vec<(i64, Option<f64>)> = points.map(|(w, share)| (w as i64, share)).collect();
        let mut points = thinned(&steps);
        if points.first().is_none_or(|p| p.0 > 0.0) {
            points.insert(0, (0.0, Some(0.0)));
        }
        let mark = if group.colour == "ink" { Mark::Bold } else { Mark::Line };
        Layer::new(group.name.clone(), group.colour, mark, points)
    };
    let chart = Chart {
        id: "waits".into(),
        title: "Share of workloads that had started after a wait".into(),
        desc: groups.first().map(|g| sentence(&g.waits)).unwrap_or_default(),
        size: (WIDTH, 300.0),
        labels: 176.0,
        x: axis(groups),
        y: Axis::percent("% of the workloads submitted", 100.0),
        steps: true,
        unit: " %",
        layers: groups.iter().map(layer).collect(),
    };
    figure(heading, how, &chart)
}

/// At most 240 of the steps, evenly by rank, first and last included.
fn thinned(steps: &[(i64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let every = steps.len().div_ceil(240).max(1);
    let kept = |i: &usize| i.is_multiple_of(every) || *i + 1 == steps.len();
    (0..steps.len()).filter(kept).map(|i| (steps[i].0 as f64, steps[i].1)).collect()
}

fn sentence(waits: &Waits) -> String {
    let started = figures::ratio(waits.started() as f64, (waits.started() + waits.never()) as f64);
    format!(
        "{} started; of those half within {}, 95 per cent within {}, all within {}.",
        percent(started),
        span_or_none(waits.of_started(500)),
        span_or_none(waits.of_started(950)),
        span_or_none(waits.of_started(1000))
    )
}

/// One row per group: a bar from the median to the 95th percentile, a thin line to the longest.
fn ranges(groups: &[Group], heading: &str, noun: &str) -> String {
    let axis = axis(groups);
    let height = ROW * groups.len() as f64 + 48.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Waiting time percentiles by {noun}; the table \
         below has the numbers\">\n",
        xy(height)
    );
    let place = |ms: f64| NAME_WIDTH + axis.place(ms) * (WIDTH - NAME_WIDTH - TEXT_WIDTH);
    for (value, text) in &axis.ticks {
        let x = xy(place(*value));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x} 4V{}\"/>", xy(height - 40.0));
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            xy(height - 24.0),
            esc(text)
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        xy(WIDTH - TEXT_WIDTH),
        xy(height - 6.0),
        esc(&axis.label)
    );
    for (i, group) in groups.iter().enumerate() {
        range(&mut svg, group, 18.0 + ROW * i as f64, place);
    }
    svg.push_str("</svg>\n");
    let how = "Dot: median. Thick bar: up to the 95th percentile. Thin line: up to the longest. Of those that started.";
    drawing(heading, how, &svg, &range_table(groups, noun))
}

fn range(svg: &mut String, group: &Group, y: f64, place: impl Fn(f64) -> f64) {
    let of = |permille| group.waits.of_started(permille).map(|w| w.0 as f64);
    let _ = writeln!(
        svg,
        "<text class=\"label\" x=\"{}\" y=\"{}\" dy=\".35em\" text-anchor=\"end\">{}<title>{}</title></text>",
        xy(NAME_WIDTH - 14.0),
        xy(y),
        esc(&clip(&group.name, 24)),
        esc(&group.name)
    );
    let text = match (of(500), of(950), of(1000)) {
        (Some(p50), Some(p95), Some(max)) => {
            let (a, b, c) = (xy(place(p50)), xy(place(p95)), xy(place(max)));
            let (row, colour) = (xy(y), group.colour);
            let _ = writeln!(svg, "<path class=\"thin {colour}\" d=\"M{a} {row}H{c}m0 -5v10\"/>");
            let _ = writeln!(
                svg,
                "<path class=\"line {colour}\" style=\"stroke-width:8\" d=\"M{a} {row}H{b}\"/>"
            );
            let _ = writeln!(svg, "<circle class=\"dot {colour}\" cx=\"{a}\" cy=\"{row}\" r=\"7\"/>");
            format!("{} · {} · {}", wait(p50), wait(p95), wait(max))
        }
        _ => "none started".into(),
    };
    let never = group.waits.never();
    let never = if never > 0 { format!(" ({} not started)", count(never)) } else { String::new() };
    let _ = writeln!(
        svg,
        "<text class=\"tick\" x=\"{}\" y=\"{}\" dy=\".35em\">{}</text>",
        xy(WIDTH - TEXT_WIDTH + 16.0),
        xy(y),
        esc(&(text + &never))
    );
}

fn range_table(groups: &[Group], noun: &str) -> String {
    let row = |g: &Group| {
        let w = &g.waits;
        let mut row = vec![g.name.clone(), count(w.started())];
        row.extend([500, 950, 1000].map(|p| span_or_none(w.of_started(p))));
        row.extend([count(w.never()), span_or_none(w.longest_so_far())]);
        row
    };
    let rows: Vec<_> = groups.iter().map(row).collect();
    table(&[noun, "started", "p50", "p95", "max", "not started", "longest so far"], 1..7, &rows)
}
