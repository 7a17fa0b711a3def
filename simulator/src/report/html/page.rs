//! The page around the charts: one file with its own style and script, nothing fetched.

use super::axis::Axis;
use super::chart::{Chart, Mark};
use super::text::{details, esc, table};
use crate::report::{series, words};
use berth_model::Millis;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("hover.js");

/// Colour classes of series. There is no sixth: what is beyond is grey or put together.
pub(crate) const HUES: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];

/// The colour class of series `i`.
pub(crate) fn hue(i: usize) -> &'static str {
    HUES.get(i).copied().unwrap_or("rest")
}

/// The pattern of hatched areas, once per page.
const HATCH: &str = "<svg class=\"defs\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"6\" height=\"6\" \
    patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M0 0V6\" stroke=\"var(--s3)\" \
    stroke-width=\"2.5\"/></pattern></defs></svg>\n";

/// A page that is being written.
pub(crate) struct Page {
    title: String,
    sub: String,
    sections: Vec<(String, String)>,
    body: String,
}

impl Page {
    /// A page with this title; `sub` is one line below it.
    pub(crate) fn new(title: &str, sub: &str) -> Self {
        let (sections, body) = Default::default();
        Self { title: title.to_owned(), sub: sub.to_owned(), sections, body }
    }

    /// Adds tiles: name, value, class of the value, remark.
    pub(crate) fn tiles(&mut self, tiles: &[Tile]) {
        self.body.push_str("<div class=\"tiles\">\n");
        for tile in tiles {
            let class =
                if tile.class.is_empty() { String::new() } else { format!(" class=\"{}\"", tile.class) };
            let _ = writeln!(
                self.body,
                "<div class=\"tile\"><span class=\"name\">{}</span><b{class}>{}</b><span>{}</span></div>",
                esc(tile.name),
                esc(&tile.value),
                esc(&tile.remark)
            );
        }
        self.body.push_str("</div>\n");
    }

    /// Adds a section: heading, how to read it, and HTML.
    pub(crate) fn section(&mut self, heading: &str, how: &str, html: &str) {
        let id = format!("part-{}", self.sections.len() + 1);
        let _ = writeln!(
            self.body,
            "<section id=\"{id}\"><h2>{}</h2>\n<p class=\"how\">{}</p>\n{html}</section>",
            esc(heading),
            esc(how)
        );
        self.sections.push((id, heading.to_owned()));
    }

    /// The whole file.
    pub(crate) fn finish(self) -> String {
        let mut nav = String::new();
        for (id, heading) in &self.sections {
            let _ = write!(nav, "<a href=\"#{id}\">{}</a> ", esc(heading));
        }
        let title = esc(&self.title);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{HATCH}<main>\n\
             <header><h1>{title}</h1>\n<p class=\"sub\">{}</p>\n<nav aria-label=\"Sections\">{nav}</nav></header>\n\
             {}<footer>Written by berth-sim. Times are virtual; one GPU is one whole device, fractions count \
             by their share.</footer>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            esc(&self.sub),
            self.body
        )
    }
}

/// One number that stands out.
pub(crate) struct Tile {
    /// What it is.
    pub(crate) name: &'static str,
    /// The number.
    pub(crate) value: String,
    /// `good`, `bad` or nothing.
    pub(crate) class: &'static str,
    /// What it is of.
    pub(crate) remark: String,
}

/// A chart with its heading, a sentence, and its data as a table that unfolds.
pub(crate) fn figure(heading: &str, caption: &str, chart: &Chart) -> String {
    format!("{}{}</figure>\n", figure_start("chart wide", heading, caption, &chart.draw()), fallback(chart))
}

/// A small chart; its table stands elsewhere.
pub(crate) fn small_figure(heading: &str, caption: &str, chart: &Chart) -> String {
    format!("{}</figure>\n", figure_start("chart", heading, caption, &chart.draw()))
}

/// A drawing without a read-out, with a table that unfolds.
pub(crate) fn drawing(heading: &str, caption: &str, svg: &str, table: &str) -> String {
    let start = figure_start("chart wide", heading, caption, svg);
    format!("{start}{}</figure>\n", details("The same as a table", table))
}

fn figure_start(class: &str, heading: &str, caption: &str, inner: &str) -> String {
    let heading = if heading.is_empty() { String::new() } else { format!("<h3>{}</h3>", esc(heading)) };
    let caption = if caption.is_empty() { String::new() } else { format!("<p>{}</p>", esc(caption)) };
    format!(
        "<figure class=\"{class}\"><figcaption>{heading}{caption}</figcaption>\n\
         <div class=\"scroll\">{inner}</div>\n"
    )
}

/// The values of a chart at its ticks, as a table that unfolds.
fn fallback(chart: &Chart) -> String {
    let label = chart.x.label.clone();
    let mut header = vec![label.as_str()];
    header.extend(chart.layers.iter().map(|l| l.name.as_str()));
    let rows: Vec<Vec<String>> = if chart.steps { at_ticks(chart) } else { at_points(chart) };
    details("The same as a table", &table(&header, 1..header.len(), &rows))
}

fn at_ticks(chart: &Chart) -> Vec<Vec<String>> {
    let as_steps = |points: &[(f64, Option<f64>)]| -> series::Steps {
        points.iter().map(|(x, y)| (x.round() as i64, *y)).collect()
    };
    let steps: Vec<_> = chart.layers.iter().map(|l| as_steps(&l.points)).collect();
    let floors: Vec<_> = chart.layers.iter().map(floor_steps).collect();
    let row = |(x, label): &(f64, String)| {
        let value = |(steps, floor): (&series::Steps, &series::Steps)| {
            let floor = series::value_at(floor, *x as i64).unwrap_or(0.0);
            let value = series::value_at(steps, *x as i64).map(|v| v - floor);
            chart.show(value)
        };
        let values = steps.iter().zip(&floors).map(value);
        std::iter::once(label.clone()).chain(values).collect()
    };
    chart.x.ticks.iter().map(row).collect()
}

fn floor_steps(layer: &super::chart::Layer) -> series::Steps {
    let points = layer.points.iter().zip(&layer.floor);
    if layer.mark == Mark::Hatched {
        points.map(|((x, _), floor)| (x.round() as i64, Some(*floor))).collect()
    } else {
        Vec::new()
    }
}

fn at_points(chart: &Chart) -> Vec<Vec<String>> {
    let mut xs: Vec<f64> = chart.layers.iter().flat_map(|l| l.points.iter().map(|p| p.0)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let row = |x: f64| {
        let value = |layer: &super::chart::Layer| {
            let y = layer.points.iter().find(|p| p.0 == x).and_then(|p| p.1);
            chart.show(y)
        };
        std::iter::once(words::decimal(x, 2)).chain(chart.layers.iter().map(value)).collect()
    };
    xs.into_iter().map(row).collect()
}

/// Points of a step function for a chart, thinned to what its width can show.
pub(crate) fn points(steps: &series::Steps) -> Vec<(f64, Option<f64>)> {
    series::thin(steps, 480).into_iter().map(|(at, value)| (at as f64, value)).collect()
}

/// The time axis of outcomes that ended at these times and have samples from `first` on.
pub(crate) fn time_axis(first: i64, ended: impl IntoIterator<Item = i64>) -> Axis {
    Axis::time(first.min(0), ended.into_iter().max().unwrap_or(0).max(first))
}

/// A key: colour class with mark, and what it stands for.
pub(crate) fn key(entries: &[(&str, &str)]) -> String {
    let mut html = String::from("<p class=\"key\">");
    for (class, name) in entries {
        let d = if *class == "hatched" { "M1 1H25V11H1Z" } else { "M0 6H26" };
        let _ = write!(
            html,
            "<span><svg viewBox=\"0 0 26 12\" aria-hidden=\"true\"><path class=\"{class}\" d=\"{d}\"/></svg>{}</span>",
            esc(name)
        );
    }
    html.push_str("</p>\n");
    html
}

/// A wait for people, from milliseconds.
pub(crate) fn wait(ms: f64) -> String {
    words::span(Millis(ms as i64))
}
