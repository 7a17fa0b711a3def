//! Axes: from values to places, and the ticks between.

use crate::report::words;
use berth_model::Millis;

const SECOND: f64 = 1000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Evenly.
    Linear,
    /// By the logarithm of one second more: 0 is a place, and a second, an hour and a day are all seen.
    Wait,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What is measured, with its unit.
    pub(crate) label: String,
    /// Value at the left or the bottom.
    pub(crate) min: f64,
    /// Value at the right or the top; above `min`.
    pub(crate) max: f64,
    /// Spread.
    pub(crate) scale: Scale,
    /// Values that are labelled.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Virtual time in milliseconds. A span of nothing is shown as one second.
    pub(crate) fn time(from: i64, to: i64) -> Self {
        let (min, max) = (from as f64, to.max(from + 1000) as f64);
        let (step, unit, name) = time_step(max - min);
        let first = (min / step).ceil() as i64;
        let last = (max / step).floor() as i64;
        let tick = |i: i64| {
            let value = i as f64 * step;
            (value, format!("{} {name}", words::decimal(value / unit, 1)))
        };
        let ticks = (first..=last).map(tick).collect();
        Self { label: "virtual time".into(), min, max, scale: Scale::Linear, ticks }
    }

    /// Waiting times from 0 to `max` milliseconds.
    pub(crate) fn waits(max: i64) -> Self {
        let max = (max as f64).max(10.0 * SECOND) * 1.05;
        let steps =
            [1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0];
        let marks = steps.iter().map(|s| s * SECOND).filter(|t| *t <= max);
        let ticks = [0.0].into_iter().chain(marks).map(|t| (t, words::span(Millis(t as i64)))).collect();
        Self { label: "wait until the first start".into(), min: 0.0, max, scale: Scale::Wait, ticks }
    }

    /// Numbers from 0 to a round number at or above `max`, about `wanted` ticks.
    pub(crate) fn number(label: &str, max: f64, wanted: usize) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = nice(max / wanted.max(1) as f64);
        let count = (max / step - 1e-9).ceil().max(1.0) as i64;
        let tick = |i: i64| (i as f64 * step, words::decimal(i as f64 * step, 2));
        let ticks = (0..=count).map(tick).collect();
        Self { label: label.into(), min: 0.0, max: count as f64 * step, scale: Scale::Linear, ticks }
    }

    /// Per cent from 0 to a round number at or above `max`, at most 100.
    pub(crate) fn percent(label: &str, max: f64) -> Self {
        let mut axis = Self::number(label, max.clamp(5.0, 100.0), 4);
        axis.ticks.iter_mut().for_each(|(_, text)| text.push_str(" %"));
        axis
    }

    /// The place of a value, 0 at `min` and 1 at `max`; what is outside is put on the edge.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let spread = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Wait => (v.max(0.0) / SECOND).ln_1p(),
        };
        let (min, max) = (spread(self.min), spread(self.max));
        ((spread(value) - min) / (max - min)).clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `rough`.
fn nice(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|f| f * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Step between ticks, the unit they are counted in, and its name.
fn time_step(span: f64) -> (f64, f64, &'static str) {
    let (unit, name, steps): (f64, &str, &[f64]) = match span {
        s if s < 2.0 * SECOND => (SECOND, "s", &[0.2, 0.5, 1.0]),
        s if s <= 2.0 * MINUTE => (SECOND, "s", &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
        s if s <= 2.0 * HOUR => (MINUTE, "min", &[1.0, 2.0, 5.0, 10.0, 15.0, 30.0]),
        s if s <= 3.0 * DAY => (HOUR, "h", &[1.0, 2.0, 3.0, 6.0, 12.0]),
        _ => (DAY, "d", &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]),
    };
    let rough = span / 9.0;
    let step = steps.iter().map(|s| s * unit).find(|s| *s >= rough);
    (step.unwrap_or_else(|| nice(rough / unit) * unit), unit, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn time_is_counted_in_the_unit_that_fits() {
        assert_eq!(labels(&Axis::time(0, 0))[0], "0 s");
        assert_eq!(labels(&Axis::time(0, 7_200_000)).last(), Some(&"120 min"));
        assert_eq!(labels(&Axis::time(0, 172_800_000))[1], "6 h");
        assert_eq!(labels(&Axis::time(0, 30 * 86_400_000))[1], "5 d");
        assert!(labels(&Axis::time(0, i64::MAX / 4)).len() < 20);
        assert!(labels(&Axis::time(-60_000, 60_000)).contains(&"-60 s"));
    }

    #[test]
    fn numbers_end_at_a_round_tick() {
        let axis = Axis::number("GPUs", 6.0, 4);
        assert_eq!(labels(&axis), ["0", "2", "4", "6"]);
        assert_eq!(Axis::number("GPUs", 0.0, 4).max, 1.0);
        assert_eq!(Axis::number("GPUs", 6212.0, 4).max, 8000.0);
        assert_eq!(labels(&Axis::percent("stranded", 83.0)).last(), Some(&"100 %"));
    }

    #[test]
    fn waits_spread_by_logarithm_and_stay_inside() {
        let axis = Axis::waits(86_400_000);
        assert_eq!(axis.place(0.0), 0.0);
        assert!(axis.place(60_000.0) > 0.3 && axis.place(60_000.0) < 0.5);
        assert_eq!(axis.place(1e18), 1.0);
    }
}
