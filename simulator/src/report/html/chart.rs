//! One chart as inline SVG, with the data for its read-out.

use super::axis::{Axis, Scale};
use super::text::{esc, xy};
use crate::report::words;
use berth_model::Millis;
use std::fmt::Write as _;

/// How a layer is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A line.
    Line,
    /// A thick line.
    Bold,
    /// A thin line.
    Thin,
    /// A dashed line.
    Dashed,
    /// A filled area from 0 with a line on top.
    Area,
    /// A hatched area between `floor` and the points.
    Hatched,
    /// One dot per point, joined by a thin line.
    Dots,
    /// One small dot per point.
    Loose,
    /// A ring around each point.
    Ring,
}

/// One series in a chart.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Name, for the label and the read-out.
    pub(crate) name: String,
    /// Colour class: `s1` to `s5`, `ink` or `rest`.
    pub(crate) colour: &'static str,
    /// How it is drawn.
    pub(crate) mark: Mark,
    /// Points by ascending x; `None` is a gap.
    pub(crate) points: Vec<(f64, Option<f64>)>,
    /// Lower edge of a hatched area, one value per point; else empty.
    pub(crate) floor: Vec<f64>,
}

impl Layer {
    /// A layer without a floor.
    pub(crate) fn new(
        name: impl Into<String>,
        colour: &'static str,
        mark: Mark,
        points: Vec<(f64, Option<f64>)>,
    ) -> Self {
        Self { name: name.into(), colour, mark, points, floor: Vec::new() }
    }
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Unique in the page.
    pub(crate) id: String,
    /// What is shown, for screen readers.
    pub(crate) title: String,
    /// What can be seen, in a sentence, for screen readers.
    pub(crate) desc: String,
    /// Width and height of the drawing in its own units.
    pub(crate) size: (f64, f64),
    /// Space at the right for labels on the lines; 0 = none.
    pub(crate) labels: f64,
    /// Horizontal axis.
    pub(crate) x: Axis,
    /// Vertical axis.
    pub(crate) y: Axis,
    /// True if values hold until the next point.
    pub(crate) steps: bool,
    /// Unit in the read-out.
    pub(crate) unit: &'static str,
    /// What is drawn, the first at the back.
    pub(crate) layers: Vec<Layer>,
}

const TOP: f64 = 26.0;
/// Space at the left, for the vertical axis.
pub(super) const LEFT: f64 = 58.0;
const BOTTOM: f64 = 44.0;
const LINE_HEIGHT: f64 = 17.0;

impl Chart {
    /// The drawing and its data, to be put into a `<figure class="chart">`.
    pub(crate) fn draw(&self) -> String {
        let (w, h) = self.size;
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            esc(&self.title),
            esc(&self.desc),
            id = esc(&self.id),
        );
        self.grid(&mut svg);
        self.layers.iter().for_each(|layer| self.layer(&mut svg, layer));
        if self.labels > 0.0 {
            self.end_labels(&mut svg);
        }
        svg.push_str("</svg>\n");
        let data = serde_json::to_string(&self.data()).unwrap_or_default().replace('<', "\\u003c");
        let _ = writeln!(svg, "<script type=\"application/json\">{data}</script>");
        svg
    }

    /// Width and height of the area within the axes.
    pub(super) fn plot(&self) -> (f64, f64) {
        let right = if self.labels > 0.0 { self.labels } else { 22.0 };
        (self.size.0 - LEFT - right, self.size.1 - TOP - BOTTOM)
    }

    /// A value of the vertical axis for people.
    pub(super) fn show(&self, value: Option<f64>) -> String {
        match (value, self.y.scale) {
            (None, _) => words::NONE.to_owned(),
            (Some(ms), Scale::Wait) => words::span(Millis(ms as i64)),
            (Some(value), Scale::Linear) => words::gpus(value) + self.unit,
        }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * self.plot().0
    }

    fn py(&self, y: f64) -> f64 {
        TOP + (1.0 - self.y.place(y)) * self.plot().1
    }

    fn grid(&self, svg: &mut String) {
        let (w, h) = self.plot();
        let (right, bottom) = (LEFT + w, TOP + h);
        for (value, text) in &self.y.ticks {
            let y = xy(self.py(*value));
            let class = if *value == self.y.min { "base" } else { "grid" };
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{LEFT} {y}H{}\"/>", xy(right));
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{}\" y=\"{y}\" dy=\".35em\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                esc(text)
            );
        }
        for (value, text) in &self.x.ticks {
            let x = xy(self.px(*value));
            let _ = writeln!(svg, "<path class=\"base\" d=\"M{x} {}v4\"/>", xy(bottom));
            let _ = writeln!(
                svg,
                "<text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                xy(bottom + 18.0),
                esc(text)
            );
        }
        let _ = writeln!(svg, "<text class=\"axis\" x=\"4\" y=\"13\">{}</text>", esc(&self.y.label));
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            xy(right),
            xy(bottom + 36.0),
            esc(&self.x.label)
        );
    }

    fn layer(&self, svg: &mut String, layer: &Layer) {
        let colour = layer.colour;
        let top = self.path(layer.points.iter().map(|(x, y)| (*x, *y)));
        match layer.mark {
            Mark::Line => drop_path(svg, &format!("line {colour}"), &top),
            Mark::Bold => drop_path(svg, &format!("line bold {colour}"), &top),
            Mark::Thin => drop_path(svg, &format!("thin {colour}"), &top),
            Mark::Dashed => drop_path(svg, &format!("line dashed {colour}"), &top),
            Mark::Area => {
                let floor = vec![self.y.min; layer.points.len()];
                drop_path(svg, &format!("area {colour}"), &self.band(&layer.points, &floor));
                drop_path(svg, &format!("line {colour}"), &top);
            }
            Mark::Hatched => drop_path(svg, "hatched", &self.band(&layer.points, &layer.floor)),
            Mark::Dots => {
                drop_path(svg, &format!("thin {colour}"), &top);
                self.dots(svg, &format!("dot {colour}"), 4.5, layer);
            }
            Mark::Loose => self.dots(svg, &format!("dot {colour}"), 3.5, layer),
            Mark::Ring => self.dots(svg, &format!("line {colour}"), 8.0, layer),
        }
    }

    fn dots(&self, svg: &mut String, class: &str, radius: f64, layer: &Layer) {
        for (x, y) in layer.points.iter().filter_map(|(x, y)| y.map(|y| (x, y))) {
            let (x, y) = (xy(self.px(*x)), xy(self.py(y)));
            let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>");
        }
    }

    /// A path through the points; a gap starts a new part. Steps go on to the right edge.
    fn path(&self, points: impl Iterator<Item = (f64, Option<f64>)>) -> String {
        let mut d = String::new();
        let mut pen = false;
        for (x, y) in points {
            let px = xy(self.px(x));
            if pen && self.steps {
                let _ = write!(d, "H{px}");
            }
            match y.map(|y| xy(self.py(y))) {
                None => pen = false,
                Some(py) if !pen => {
                    let _ = write!(d, "M{px} {py}");
                    pen = true;
                }
                Some(py) if self.steps => drop_write(&mut d, &format!("V{py}")),
                Some(py) => drop_write(&mut d, &format!("L{px} {py}")),
            }
        }
        if pen && self.steps {
            let _ = write!(d, "H{}", xy(self.px(self.x.max)));
        }
        d
    }

    /// The closed bands between the points and the floor, one per stretch without gaps.
    fn band(&self, points: &[(f64, Option<f64>)], floor: &[f64]) -> String {
        let mut d = String::new();
        for (i, ((x, y), floor)) in points.iter().zip(floor).enumerate() {
            let until = points.get(i + 1).map_or(self.x.max, |next| next.0);
            let Some(y) = y.filter(|y| y > floor) else { continue };
            let (x, until) = (xy(self.px(*x)), xy(self.px(until)));
            if x != until {
                let _ = write!(
                    d,
                    "M{x} {}V{}H{until}V{}Z",
                    xy(self.py(*floor)),
                    xy(self.py(y)),
                    xy(self.py(*floor))
                );
            }
        }
        d
    }

    /// Names at the right end of the lines, moved apart where they would touch.
    fn end_labels(&self, svg: &mut String) {
        let (w, h) = self.plot();
        let ends = self.layers.iter().filter_map(|l| {
            let last = l.points.iter().rev().find_map(|(_, y)| *y)?;
            let middle = l.floor.last().map_or(last, |floor| (floor + last) / 2.0);
            Some((self.py(middle), l))
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places = spread(&ends.iter().map(|e| e.0).collect::<Vec<_>>(), TOP, TOP + h);
        let x = LEFT + w + 8.0;
        let limit = ((self.labels - 30.0) / 7.0) as usize;
        for ((_, layer), y) in ends.iter().zip(places) {
            let y = xy(y);
            let class = match layer.mark {
                Mark::Dashed => format!("line dashed {}", layer.colour),
                Mark::Bold => format!("line bold {}", layer.colour),
                Mark::Hatched => "line s3".to_owned(),
                _ => format!("line {}", layer.colour),
            };
            drop_path(svg, &class, &format!("M{} {y}h14", xy(x)));
            let _ = writeln!(
                svg,
                "<text class=\"label\" x=\"{}\" y=\"{y}\" dy=\".35em\">{}<title>{}</title></text>",
                xy(x + 19.0),
                esc(&words::clip(&layer.name, limit)),
                esc(&layer.name)
            );
        }
    }
}

fn drop_path(svg: &mut String, class: &str, d: &str) {
    if !d.is_empty() {
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{d}\"/>");
    }
}

fn drop_write(d: &mut String, text: &str) {
    d.push_str(text);
}

/// Ascending places moved apart by at least a line, kept between `top` and `bottom` where there is room.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    for i in 1..places.len() {
        places[i] = places[i].max(places[i - 1] + LINE_HEIGHT);
    }
    let mut limit = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LINE_HEIGHT;
    }
    let over = top - places.first().copied().unwrap_or(top);
    if over > 0.0 {
        places.iter_mut().for_each(|p| *p += over);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_touch() {
        let places = spread(&[50.0, 51.0, 52.0, 199.0], 0.0, 200.0);
        assert!(places.windows(2).all(|p| p[1] - p[0] >= LINE_HEIGHT), "{places:?}");
        assert!(places.iter().all(|p| (0.0..=200.0).contains(p)), "{places:?}");
    }

    #[test]
    fn gaps_break_lines_and_steps_reach_the_edge() {
        let points = vec![(0.0, Some(1.0)), (500.0, None), (700.0, Some(2.0))];
        let chart = Chart {
            id: "c".into(),
            title: String::new(),
            desc: String::new(),
            size: (180.0, 170.0),
            labels: 0.0,
            x: Axis::time(0, 1000),
            y: Axis::number("n", 2.0, 2),
            steps: true,
            unit: "",
            layers: vec![],
        };
        assert_eq!(chart.path(points.into_iter()), "M58 76H108M128 26H158");
    }
}
