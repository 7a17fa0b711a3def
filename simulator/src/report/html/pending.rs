//! What stayed pending, and why.

use super::page::drawing;
use super::text::{details, esc, table, xy};
use crate::outcome::{Outcome, PendingWorkload};
use crate::report::terminal::by_kind;
use crate::report::words::{count, plural, span};
use std::fmt::Write as _;

/// Different rows shown per kind of reason.
const ROWS_MAX: usize = 25;
const WIDTH: f64 = 1040.0;
const NAME_WIDTH: f64 = 120.0;
const TEXT_WIDTH: f64 = 180.0;
const ROW: f64 = 30.0;

/// What the kinds of reason mean (S29).
fn meaning(kind: &str) -> &'static str {
    match kind {
        "quota" => "a quota that non-preemptible workloads must stay within",
        "limit" => "a limit of the project or department",
        "policy" => "a rule of the administrator, or a scheduling gate",
        "pool" => "no pool is ready",
        "feasibility" => "no node meets the constraints, however empty",
        "capacity" => "not enough is free",
        "waiting" => "enough will be free once others have left",
        _ => "nothing was decided about it",
    }
}

/// The section's content for one outcome.
pub(crate) fn section(outcome: &Outcome) -> String {
    if outcome.pending.is_empty() {
        return super::nothing("Nothing waits at the end.");
    }
    let kinds = by_kind(&outcome.pending);
    let rows: Vec<_> = kinds
        .iter()
        .map(|(kind, of)| {
            let pods = of.iter().map(|w| u64::from(w.pending)).sum();
            vec![(*kind).to_owned(), meaning(kind).to_owned(), count(of.len() as u64), count(pods)]
        })
        .collect();
    let summary = table(&["kind", "meaning", "workloads", "pods"], 2..4, &rows);
    let mut html = drawing("Workloads that wait, by kind of reason", "", &bars(&kinds), &summary);
    for (i, (kind, workloads)) in kinds.iter().enumerate() {
        html.push_str(&one_kind(outcome, kind, workloads, i == 0));
    }
    html
}

fn bars(kinds: &[(&str, Vec<&PendingWorkload>)]) -> String {
    let most = kinds.iter().map(|(_, of)| of.len()).max().unwrap_or(1) as f64;
    let height = ROW * kinds.len() as f64 + 4.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Number of waiting workloads by kind of reason\">\n",
        xy(height)
    );
    for (i, (kind, of)) in kinds.iter().enumerate() {
        let y = ROW * i as f64 + 16.0;
        let length = of.len() as f64 / most * (WIDTH - NAME_WIDTH - TEXT_WIDTH);
        let pods = of.iter().map(|w| u64::from(w.pending)).sum();
        let text = format!("{}, {}", plural(of.len() as u64, "workload"), plural(pods, "pod"));
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{}\" dy=\".35em\" text-anchor=\"end\">{}</text>\n\
             <rect class=\"s1\" fill=\"var(--c)\" x=\"{NAME_WIDTH}\" y=\"{}\" width=\"{}\" height=\"18\" rx=\"3\"/>\n\
             <text class=\"tick\" x=\"{}\" y=\"{}\" dy=\".35em\">{}</text>",
            xy(NAME_WIDTH - 14.0),
            xy(y),
            esc(kind),
            xy(y - 9.0),
            xy(length),
            xy(NAME_WIDTH + length + 10.0),
            xy(y),
            esc(&text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The workloads of one kind; those with the same reason and the same change share a row.
fn one_kind(outcome: &Outcome, kind: &str, workloads: &[&PendingWorkload], open: bool) -> String {
    let mut groups: Vec<Vec<&PendingWorkload>> = Vec::new();
    let mut places = std::collections::HashMap::<(&str, &str, &str), usize>::new();
    for workload in workloads {
        let same = (workload.project.as_str(), workload.reason.as_str(), workload.change.as_str());
        let place = *places.entry(same).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(workload);
    }
    let rows: Vec<Vec<String>> = groups.iter().take(ROWS_MAX).map(|group| row(outcome, group)).collect();
    let header = ["workload", "project", "pods", "waits for", "why", "what would start it"];
    let mut inner = table(&header, 2..4, &rows);
    if let Some(more) = groups.len().checked_sub(ROWS_MAX).filter(|n| *n > 0) {
        let _ = writeln!(
            inner,
            "<p class=\"how\">and {} more rows; the JSON output has all.</p>",
            count(more as u64)
        );
    }
    let summary = format!("{kind}: {} ({})", plural(workloads.len() as u64, "workload"), meaning(kind));
    let unfolded = if open { "<details open>" } else { "<details>" };
    format!("<div class=\"plain\">{}</div>\n", details(&summary, &inner).replacen("<details>", unfolded, 1))
}

fn row(outcome: &Outcome, group: &[&PendingWorkload]) -> Vec<String> {
    let first = group[0];
    let name = match group.len() {
        1 => first.name.clone(),
        n => format!("{} and {} alike", first.name, plural(n as u64 - 1, "other")),
    };
    vec![
        name,
        first.project.clone(),
        count(group.iter().map(|w| u64::from(w.pending)).sum()),
        span(outcome.ended.since(first.submitted)),
        first.reason.clone(),
        first.change.clone(),
    ]
}
