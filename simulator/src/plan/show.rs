//! A plan as terminal table, JSON and HTML.

use super::goal::{Goal, Metric};
use super::kind::{Kind, Price};
use super::result::{Plan, Point, nodes_text};
use crate::report::html::{self, Axis, Chart, Layer, Mark, Page, Tile, figure};
use crate::report::json::pretty;
use crate::report::terminal::{Style, table};
use crate::report::words::{count, decimal, plural};
use serde::Serialize;
use std::fmt::Write as _;

/// Rows shown of what was simulated.
const ROWS_MAX: usize = 24;

/// The answer in one sentence.
pub fn answer(plan: &Plan) -> String {
    let goals = goals_text(plan);
    if let Some(best) = plan.best() {
        return format!("{} for {goals}{}", nodes_text(&plan.kinds, &best.counts), cost_text(plan, best));
    }
    let nearest = nearest(plan).map_or_else(String::new, |point| {
        format!("; nearest: {} ({})", nodes_text(&plan.kinds, &point.counts), values_text(plan, point))
    });
    let nodes = plural(plan.limits.nodes.into(), "node");
    format!("{goals} cannot be met with at most {nodes} (--max-nodes){nearest}")
}

fn goals_text(plan: &Plan) -> String {
    plan.goals.iter().map(Goal::to_string).collect::<Vec<_>>().join(" and ")
}

fn values_text(plan: &Plan, point: &Point) -> String {
    let values = plan.goals.iter().zip(&point.values);
    values
        .map(|(goal, value)| format!("{} {}", goal.metric.name(), goal.metric.show(*value)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn cost_text(plan: &Plan, point: &Point) -> String {
    if priced(plan) { format!(", at a price of {}", price(point.cost)) } else { String::new() }
}

fn price(price: Price) -> String {
    decimal(price.units(), 2)
}

/// False if no kind has a price of its own: then the price is the number of nodes.
fn priced(plan: &Plan) -> bool {
    plan.kinds.iter().any(|kind| kind.price != Price::ONE)
}

/// The point at which most goals hold, of those with most nodes.
fn nearest(plan: &Plan) -> Option<&Point> {
    plan.points.iter().max_by_key(|p| (p.holds.iter().filter(|h| **h).count(), p.nodes()))
}

/// The points to show: for one kind the whole curve, for several the front and the neighbours of the best; at most
/// [`ROWS_MAX`], those around the best.
fn shown(plan: &Plan) -> Vec<&Point> {
    let best = plan.best();
    let front = plan.front();
    let near = |p: &Point| {
        let distance =
            |best: &Point| p.counts.iter().zip(&best.counts).map(|(a, b)| a.abs_diff(*b)).sum::<u32>();
        best.is_some_and(|best| distance(best) <= 1)
    };
    let all: Vec<&Point> = plan
        .points
        .iter()
        .filter(|p| {
            plan.kinds.len() == 1 || best.is_none() || near(p) || front.iter().any(|f| f.counts == p.counts)
        })
        .collect();
    let centre = all.iter().position(|p| best == Some(*p)).unwrap_or(all.len());
    let start = centre.saturating_sub(ROWS_MAX / 2).min(all.len().saturating_sub(ROWS_MAX));
    all.into_iter().skip(start).take(ROWS_MAX).collect()
}

fn header(plan: &Plan) -> Vec<String> {
    let mut header = vec![String::new()];
    header.extend(plan.kinds.iter().map(|kind| kind.name.clone()));
    header.push(if priced(plan) { "price".into() } else { "nodes".into() });
    header.extend(plan.goals.iter().map(Goal::to_string));
    header
}

fn row(plan: &Plan, point: &Point) -> Vec<String> {
    let verdict = match (plan.best() == Some(point), point.is_met()) {
        (true, _) => "best",
        (false, true) => "met",
        (false, false) => "not met",
    };
    let mut row = vec![verdict.to_owned()];
    row.extend(point.counts.iter().map(|n| count((*n).into())));
    row.push(price(point.cost));
    let values = plan.goals.iter().zip(&point.values).zip(&point.holds);
    row.extend(values.map(|((goal, value), holds)| {
        let value = goal.metric.show(*value);
        if *holds { value } else { format!("{value} !") }
    }));
    row
}

/// The plan for a terminal, at most `width` columns wide; `!` marks a goal that does not hold.
pub fn terminal(plan: &Plan, width: u16, style: Style) -> String {
    let mut text = String::new();
    let answer = answer(plan);
    let answer = if plan.is_met() { style.heading(&answer) } else { style.warning(&answer) };
    let _ = writeln!(text, "{answer}\n");
    let header = header(plan);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(style, width, &header, 1..header.len());
    let shown = shown(plan);
    for point in &shown {
        table.add_row(row(plan, point));
    }
    let _ = writeln!(text, "{table}");
    let simulated = plural(plan.points.len() as u64, "simulation");
    let _ = writeln!(
        text,
        "{}",
        style.aside(&format!("{} of {simulated} shown; ! = the goal does not hold", shown.len()))
    );
    plan.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    text
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    format: u32,
    met: bool,
    answer: String,
    goals: Vec<JsonGoal>,
    kinds: &'a [Kind],
    max_nodes: u32,
    max_simulations: u32,
    best: Option<JsonPoint<'a>>,
    points: Vec<JsonPoint<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct JsonGoal {
    goal: String,
    metric: &'static str,
    bound: i64,
}

#[derive(Serialize)]
struct JsonPoint<'a> {
    counts: &'a [u32],
    nodes: u32,
    cost: Price,
    values: &'a [Option<i64>],
    holds: &'a [bool],
    met: bool,
}

impl<'a> JsonPoint<'a> {
    fn of(point: &'a Point) -> Self {
        Self {
            counts: &point.counts,
            nodes: point.nodes(),
            cost: point.cost,
            values: &point.values,
            holds: &point.holds,
            met: point.is_met(),
        }
    }
}

/// The plan as JSON; see `docs/SIMULATOR.md`.
pub fn json(plan: &Plan) -> String {
    let goal =
        |goal: &Goal| JsonGoal { goal: goal.to_string(), metric: goal.metric.name(), bound: goal.bound };
    pretty(&Json {
        format: 1,
        met: plan.is_met(),
        answer: answer(plan),
        goals: plan.goals.iter().map(goal).collect(),
        kinds: &plan.kinds,
        max_nodes: plan.limits.nodes,
        max_simulations: plan.limits.simulations,
        best: plan.best().map(JsonPoint::of),
        points: plan.points.iter().map(JsonPoint::of).collect(),
        notes: &plan.notes,
    })
}

/// The plan as one HTML page: a chart per goal, and the table.
pub fn html(plan: &Plan) -> String {
    let mut page = Page::new("Capacity plan", &answer(plan));
    page.tiles(&tiles(plan));
    let charts: String = plan.goals.iter().enumerate().map(|(i, goal)| chart(plan, i, *goal)).collect();
    let how = "Every dot is a simulation of the whole workload. The blue line joins the cheapest plans, the ringed \
        dot is the answer, the dashed line the goal. What never starts has no dot. Waits are on a logarithmic scale.";
    page.section("What more nodes buy", how, &charts);
    let header = header(plan);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = shown(plan).into_iter().map(|point| row(plan, point)).collect();
    let table = format!("<div class=\"plain\">{}</div>\n", html::table(&header, 1..header.len(), &rows));
    page.section("In numbers", "! marks a goal that does not hold.", &table);
    if !plan.notes.is_empty() {
        let notes: String = plan.notes.iter().map(|n| format!("<p>{}</p>\n", html::esc(n))).collect();
        page.section("Notes", "", &notes);
    }
    page.finish()
}

fn tiles(plan: &Plan) -> Vec<Tile> {
    let best = plan.best();
    let tile = |name, value: String, remark: &str| Tile { name, value, class: "", remark: remark.to_owned() };
    let number = |n: Option<String>| n.unwrap_or_else(|| "none".into());
    let mut tiles = vec![
        Tile {
            name: "Goals",
            value: if plan.is_met() { "met" } else { "not met" }.into(),
            class: if plan.is_met() { "good" } else { "bad" },
            remark: goals_text(plan),
        },
        tile(
            "Nodes",
            number(best.map(|p| count(p.nodes().into()))),
            &format!("of at most {}", count(plan.limits.nodes.into())),
        ),
    ];
    if priced(plan) {
        tiles.push(tile("Price", number(best.map(|p| price(p.cost))), "of all nodes together"));
    }
    tiles.push(tile("Simulations", count(plan.points.len() as u64), "of the whole workload"));
    tiles
}

/// A metric's vertical axis, the unit in the read-out, and how many of the metric's own units it counts in.
fn axis(metric: Metric, highest: i64) -> (Axis, &'static str, f64) {
    match metric {
        Metric::Wait { .. } => (Axis { label: "wait".into(), ..Axis::waits(highest) }, "", 1.0),
        Metric::Pending => (Axis::number("workloads waiting or dropped", highest as f64, 4), "", 1.0),
        Metric::Utilisation => (Axis::percent("GPUs given out over time", highest as f64 / 1e4), " %", 1e4),
    }
}

fn chart(plan: &Plan, i: usize, goal: Goal) -> String {
    let values = || plan.points.iter().filter_map(|p| p.values[i]);
    let highest = values().chain([goal.bound]).max().unwrap_or(0);
    let (y, unit, per) = axis(goal.metric, highest);
    let place = |p: &Point| (p.cost.units(), p.values[i].map(|v| v as f64 / per));
    let most = plan.points.last().map_or(1.0, |p| p.cost.units());
    let x = Axis::number(if priced(plan) { "price of all nodes" } else { "nodes" }, most, 10);
    let bound = goal.bound as f64 / per;
    let of = |points: Vec<&Point>| points.into_iter().map(place).collect::<Vec<_>>();
    let mut layers = vec![Layer::new(
        format!("goal {goal}"),
        "ink",
        Mark::Dashed,
        vec![(0.0, Some(bound)), (x.max, Some(bound))],
    )];
    if plan.kinds.len() == 1 {
        layers.push(Layer::new(goal.metric.name(), "s1", Mark::Dots, of(plan.points.iter().collect())));
    } else {
        layers.push(Layer::new("other mixtures", "rest", Mark::Loose, of(plan.points.iter().collect())));
        layers.push(Layer::new("cheapest mixtures", "s1", Mark::Dots, of(plan.front())));
    }
    if let Some(best) = plan.best() {
        layers.push(Layer::new("answer", "s2", Mark::Ring, of(vec![best])));
    }
    let chart = Chart {
        id: format!("goal-{i}"),
        title: format!("{} against the price of the nodes", goal.metric.name()),
        desc: answer(plan),
        size: (1040.0, 300.0),
        labels: 190.0,
        x,
        y,
        steps: false,
        unit,
        layers,
    };
    let never = plan.points.len() - values().count();
    let caption = if never > 0 {
        format!("{} without a value.", plural(never as u64, "simulation"))
    } else {
        String::new()
    };
    figure(&goal.to_string(), &caption, &chart)
}
