//! GPUs used against quota and fair share, a small chart per project.

use super::axis::Axis;
use super::chart::{Chart, Layer, Mark};
use super::page::{key, points, small_figure, time_axis};
use super::pools::highest;
use super::text::{details, table};
use crate::outcome::{Outcome, ProjectOutcome, ProjectSample};
use crate::report::figures::{self, Figures, project_steps};
use crate::report::projects::{self, ProjectFigures};
use crate::report::series::{self, Steps};
use crate::report::words::{self, count, gpus, percent};
use berth_model::GpuShare;

/// Small charts, the one of all others included.
const CHARTS_MAX: usize = 12;
/// Rows in the table.
const ROWS_MAX: usize = 100;
/// Requests above this many times use and quota are cut off.
const REQUESTED_MAX: f64 = 1.6;

/// A project, or several put together.
struct Share {
    name: String,
    department: String,
    quota: Option<f64>,
    used: Steps,
    requested: Steps,
    fair_share: Steps,
    /// What it got of its quota and of its fair share; for a single project.
    got: [Option<f64>; 2],
}

impl Share {
    fn of(name: String, department: String, projects: &[&ProjectOutcome], end: i64) -> Self {
        let sum = |value: fn(&ProjectSample) -> GpuShare| match projects {
            [one] => project_steps(one, value),
            many => series::sum(&many.iter().map(|p| project_steps(p, value)).collect::<Vec<_>>()),
        };
        Self {
            name,
            department,
            quota: projects.iter().map(|p| figures::quota(p)).sum(),
            used: sum(|s| s.allocated.gpu),
            requested: sum(|s| s.requested),
            fair_share: sum(|s| s.fair_share),
            got: match projects {
                [one] => [projects::honoured(one, end), projects::fair(one, end)],
                _ => [None; 2],
            },
        }
    }
}

/// The section's content for one outcome.
pub(crate) fn over_time(outcome: &Outcome) -> String {
    let order: Vec<&ProjectOutcome> =
        figures::by_use(outcome).into_iter().map(|i| &outcome.projects[i]).collect();
    if order.is_empty() {
        return super::nothing("There is no project.");
    }
    let one = |p: &&ProjectOutcome| Share::of(p.name.clone(), p.department.clone(), &[*p], outcome.ended.0);
    let named = if order.len() > CHARTS_MAX { CHARTS_MAX - 1 } else { order.len() };
    let mut shares: Vec<Share> = order[..named].iter().map(one).collect();
    let rest = &order[named..];
    if !rest.is_empty() {
        let name = format!("{} others together", count(rest.len() as u64));
        shares.push(Share::of(name, String::new(), rest, outcome.ended.0));
    }
    let mut html = key(&[
        ("line s1", "used"),
        ("line ink", "quota"),
        ("line s4", "fair share"),
        ("thin s2", "used or waited for"),
    ]);
    html.push_str("<div class=\"grid3\">\n");
    for (i, share) in shares.iter().enumerate() {
        html.push_str(&chart(outcome, i, share));
    }
    html.push_str("</div>\n");
    let rows: Vec<_> = order.iter().take(ROWS_MAX).map(one).map(|s| row(outcome, &s)).collect();
    let header = [
        "project",
        "department",
        "quota",
        "fair share, average",
        "used, average",
        "used / quota",
        "used, end",
        "asked for, average",
        "of quota",
        "of fair share",
    ];
    html.push_str(&details("The same as a table", &table(&header, 2..10, &rows)));
    html
}

/// What every project got of its quota and of its fair share, and how long it waited, in several outcomes.
pub(crate) fn of_variants(names: &[String], figures: &[Figures]) -> String {
    let mut projects: Vec<&str> = Vec::new();
    for project in figures.iter().flat_map(|figures| &figures.projects) {
        if !projects.contains(&project.name.as_str()) {
            projects.push(&project.name);
        }
    }
    if projects.is_empty() {
        return super::nothing("There is no project.");
    }
    let mut header = vec!["project".to_owned()];
    for what in ["of quota", "of fair share", "wait, p95", "lost GPU-hours"] {
        header.extend(names.iter().map(|name| format!("{what}, {name}")));
    }
    let rows: Vec<Vec<String>> = projects
        .iter()
        .take(ROWS_MAX)
        .map(|name| {
            let found: Vec<Option<&ProjectFigures>> =
                figures.iter().map(|f| f.projects.iter().find(|p| p.name == *name)).collect();
            let cells = |text: &dyn Fn(&ProjectFigures) -> String| -> Vec<String> {
                found.iter().map(|p| p.map_or_else(|| words::NONE.into(), text)).collect()
            };
            let mut row = vec![(*name).to_owned()];
            row.extend(cells(&|p| percent(p.honoured)));
            row.extend(cells(&|p| percent(p.fair)));
            row.extend(cells(&|p| words::span_or_none(p.wait_p95)));
            row.extend(cells(&|p| gpus(p.lost)));
            row
        })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    format!("<div class=\"plain scroll\">{}</div>\n", table(&header, 1..header.len(), &rows))
}

fn quota_text(share: &Share) -> String {
    share.quota.map_or_else(|| "unlimited".into(), gpus)
}

fn row(outcome: &Outcome, share: &Share) -> Vec<String> {
    let end = outcome.ended.0;
    let used = series::average(&share.used, end);
    let number = |v: Option<f64>| v.map_or_else(|| words::NONE.into(), gpus);
    vec![
        share.name.clone(),
        share.department.clone(),
        quota_text(share),
        number(series::average(&share.fair_share, end)),
        number(used),
        percent(used.zip(share.quota).and_then(|(u, q)| figures::ratio(u, q))),
        number(share.used.last().and_then(|s| s.1)),
        number(series::average(&share.requested, end)),
        percent(share.got[0]),
        percent(share.got[1]),
    ]
}

fn chart(outcome: &Outcome, i: usize, share: &Share) -> String {
    let end = outcome.ended.0;
    let x = time_axis(share.used.first().map_or(0, |s| s.0), [end]);
    let base = highest(&share.used).max(share.quota.unwrap_or(0.0)).max(highest(&share.fair_share));
    let top = base.max(highest(&share.requested).min(base * REQUESTED_MAX)).max(0.01);
    let used = series::average(&share.used, end);
    let ratio = used.zip(share.quota).and_then(|(u, q)| figures::ratio(u, q));
    let got = ["quota", "fair share"].into_iter().zip(share.got);
    let got = got.filter_map(|(of, part)| Some(format!("{} of its {of}", percent(Some(part?)))));
    let got = got.collect::<Vec<_>>().join(", ");
    let caption = format!(
        "quota {}, used {} on average{}{}",
        quota_text(share),
        used.map_or_else(|| words::NONE.into(), gpus),
        ratio.map_or_else(String::new, |r| format!(" ({})", percent(Some(r)))),
        if got.is_empty() { got } else { format!("; when it asked for it, got {got}") }
    );
    let mut layers = vec![
        Layer::new("used or waited for", "s2", Mark::Thin, points(&share.requested)),
        Layer::new("used", "s1", Mark::Area, points(&share.used)),
        Layer::new("fair share", "s4", Mark::Line, points(&share.fair_share)),
    ];
    if let Some(quota) = share.quota {
        layers.push(Layer::new("quota", "ink", Mark::Line, vec![(x.min, Some(quota))]));
    }
    let mut chart = Chart {
        id: format!("share-{i}"),
        title: format!("GPUs used by {} over time against its quota and fair share", share.name),
        desc: caption.clone(),
        size: (340.0, 170.0),
        labels: 0.0,
        x,
        y: Axis::number("GPUs", top, 3),
        steps: true,
        unit: " GPUs",
        layers,
    };
    let every = chart.x.ticks.len().div_ceil(5).max(1);
    chart.x.ticks = chart.x.ticks.into_iter().step_by(every).collect();
    small_figure(&words::clip(&share.name, 60), &caption, &chart)
}
