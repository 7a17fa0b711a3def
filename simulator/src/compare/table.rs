//! The table of a comparison, for terminal and HTML.

use crate::outcome::Outcome;
use crate::report::figures::Figures;
use crate::report::html::{self, esc};
use crate::report::projects::ProjectFigures;
use crate::report::terminal::{Style, table};
use crate::report::words::{NONE, count, decimal, gpus, percent, share, span, span_or_none};
use berth_model::Timestamp;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Which end of a row is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Neither,
    Low,
    High,
}

/// One row of the table: its name, which end is better, and per variant the number to compare and the text.
struct Row {
    name: &'static str,
    better: Better,
    cells: Vec<(Option<f64>, String)>,
}

impl Row {
    /// Whether cell `i` is the best of its row, and some other is worse by as much as can be read.
    fn is_best(&self, i: usize) -> bool {
        let (Some(own), text) = (self.cells[i].0, &self.cells[i].1) else { return false };
        let worse = match self.better {
            Better::Neither => return false,
            Better::Low => Ordering::Greater,
            Better::High => Ordering::Less,
        };
        let others = || self.cells.iter().filter_map(|(value, text)| Some(((*value)?, text)));
        others().all(|(v, t)| t == text || v.total_cmp(&own) == worse) && others().any(|(_, t)| t != text)
    }
}

fn rows(figures: &[Figures]) -> Vec<Row> {
    type Cell = fn(&Figures) -> (Option<f64>, String);
    let whole = |n: u64| (Some(n as f64), count(n));
    let row = |name, better, cell: &dyn Fn(&Figures) -> (Option<f64>, String)| Row {
        name,
        better,
        cells: figures.iter().map(cell).collect(),
    };
    let wait = |wait: Option<berth_model::Millis>| (wait.map(|w| w.0 as f64), span_or_none(wait));
    let ended: Cell = |f| (None, span(f.ended.since(Timestamp(0))));
    let mut rows = vec![
        row("workloads", Better::Neither, &|f| whole(f.workloads)),
        row("started", Better::High, &|f| whole(f.started)),
        row("completed", Better::High, &|f| whole(f.completed)),
        row("waiting at the end", Better::Low, &|f| whole(f.pending)),
        row("dropped", Better::Low, &|f| whole(f.dropped)),
        row("pods placed", Better::Neither, &|f| whole(f.pods_placed)),
        row("GPUs", Better::Neither, &|f| (None, share(f.gpu_capacity))),
        row("GPUs allocated, end", Better::High, &|f| {
            (Some(f.gpu_allocated.0 as f64), share(f.gpu_allocated))
        }),
        row("GPUs unallocated, end", Better::Low, &|f| {
            (Some(f.gpu_unallocated.0 as f64), share(f.gpu_unallocated))
        }),
        row("allocation, end", Better::High, &|f| (f.allocation, percent(f.allocation))),
        row("allocation, over time", Better::High, &|f| (f.utilisation, percent(f.utilisation))),
        row("GPUs stranded, end", Better::Low, &|f| (Some(f.gpu_stranded.0 as f64), share(f.gpu_stranded))),
        row("GPUs stranded, average", Better::Low, &|f| (Some(f.stranded_average), gpus(f.stranded_average))),
        row("wait, p50", Better::Low, &|f| wait(f.wait_p50)),
        row("wait, p95", Better::Low, &|f| wait(f.wait_p95)),
        row("goodput, GPU-hours", Better::High, &|f| (Some(f.goodput), gpus(f.goodput))),
        row("lost, GPU-hours", Better::Low, &|f| (Some(f.lost), gpus(f.lost))),
        row("pods evicted", Better::Low, &|f| whole(f.evictions)),
    ];
    rows.extend(evicted_by_rule(figures));
    rows.push(row("fairness (Jain)", Better::High, &|f| (f.fairness, decimal3(f.fairness))));
    rows.push(row("of quota, least project", Better::High, &|f| least(f, |project| project.honoured)));
    rows.push(row("of fair share, least project", Better::High, &|f| least(f, |project| project.fair)));
    rows.push(row("ended after", Better::Neither, &ended));
    if figures.iter().any(|f| f.violations.is_some()) {
        let text = |n: Option<u64>| n.map_or_else(|| "not checked".into(), count);
        rows.push(row("violations", Better::Low, &|f| (f.violations.map(|n| n as f64), text(f.violations))));
    }
    rows
}

/// One row per rule that evicted anything in any variant.
fn evicted_by_rule(figures: &[Figures]) -> Vec<Row> {
    const NAMES: [&str; 5] = [
        "evicted, reclaim",
        "evicted, preempt",
        "evicted, consolidate",
        "evicted, stale",
        "evicted, over limit",
    ];
    let of_rule = |f: &Figures, rule: usize| f.evictions_by_cause.by_cause()[rule].1;
    let rows = NAMES.into_iter().enumerate();
    rows.filter(|(rule, _)| figures.iter().any(|f| of_rule(f, *rule) > 0))
        .map(|(rule, name)| {
            let cell = |f: &Figures| (Some(of_rule(f, rule) as f64), count(of_rule(f, rule)));
            Row { name, better: Better::Neither, cells: figures.iter().map(cell).collect() }
        })
        .collect()
}

/// The least over the projects of what they got of what they were due.
fn least(figures: &Figures, got: fn(&ProjectFigures) -> Option<f64>) -> (Option<f64>, String) {
    let least = figures.projects.iter().filter_map(got).min_by(f64::total_cmp);
    (least, percent(least))
}

fn decimal3(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.into(), |v| decimal(v, 3))
}

/// The comparison for a terminal, at most `width` columns wide: several tables one below the other if there are many
/// variants. `*` marks the best of a row.
pub fn terminal(outcomes: &[Outcome], width: u16, style: Style) -> String {
    let figures: Vec<Figures> = outcomes.iter().map(Figures::of).collect();
    let names: Vec<String> = (0..outcomes.len()).map(|i| html::variant(outcomes, i)).collect();
    let rows = rows(&figures);
    let per_table = usize::from(width.saturating_sub(28) / 14).max(1);
    let mut text = String::new();
    for start in (0..outcomes.len()).step_by(per_table) {
        let shown = start..(start + per_table).min(outcomes.len());
        let mut header = vec![""];
        header.extend(names[shown.clone()].iter().map(String::as_str));
        let mut table = table(style, width, &header, 1..header.len());
        for row in &rows {
            let mark = |i: usize| if row.is_best(i) { "* " } else { "" };
            let cells = shown.clone().map(|i| format!("{}{}", mark(i), row.cells[i].1));
            table.add_row(std::iter::once(row.name.to_owned()).chain(cells).collect::<Vec<_>>());
        }
        let _ = writeln!(text, "{table}");
    }
    text + &style
        .aside("* best of the row. Waits are of workloads that started. Fairness: 1 = all got the same part of what they were due.")
        + "\n"
}

/// The comparison as an HTML table.
pub(crate) fn html_table(names: &[String], figures: &[Figures]) -> String {
    let mut html = String::from("<div class=\"plain scroll\"><table><thead><tr><th></th>");
    for name in names {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{}</th>", esc(name));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows(figures) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", esc(row.name));
        for (i, (_, text)) in row.cells.iter().enumerate() {
            let class = if row.is_best(i) { "n top" } else { "n" };
            let _ = write!(html, "<td class=\"{class}\">{}</td>", esc(text));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}
