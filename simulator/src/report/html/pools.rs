//! GPUs over time per pool, and how much of what is free is of no use.

use super::axis::Axis;
use super::chart::{Chart, Layer, Mark};
use super::page::{figure, hue, points, time_axis};
use crate::outcome::{Outcome, PoolOutcome};
use crate::report::figures::{PoolFigures, pool_steps};
use crate::report::series::{self, Steps};
use crate::report::words;

/// Pools drawn by name; the rest are put together.
const POOLS_MAX: usize = 6;
/// Requests above this many times the capacity are cut off, so that the rest stays legible.
const REQUESTED_MAX: f64 = 1.6;

/// Parts of the time over which curves that vary fast are averaged.
const AVERAGES_MAX: usize = 120;

/// A pool's four curves in GPUs; also of several pools put together.
pub(crate) struct Curves {
    /// Name of the pool.
    pub(crate) name: String,
    /// Capacity.
    pub(crate) capacity: Steps,
    /// Given out.
    pub(crate) allocated: Steps,
    /// Given out or waited for.
    pub(crate) requested: Steps,
    /// Free but of no use.
    pub(crate) stranded: Steps,
}

impl Curves {
    fn of(pool: &PoolOutcome) -> Self {
        Self {
            name: pool.name.clone(),
            capacity: pool_steps(pool, |s| s.capacity),
            allocated: pool_steps(pool, |s| s.allocated),
            requested: pool_steps(pool, |s| s.requested),
            stranded: pool_steps(pool, |s| s.stranded),
        }
    }

    fn together(name: String, all: &[Self]) -> Self {
        let sum = |curve: fn(&Self) -> &Steps| {
            series::sum(&all.iter().map(|c| curve(c).clone()).collect::<Vec<_>>())
        };
        Self {
            name,
            capacity: sum(|c| &c.capacity),
            allocated: sum(|c| &c.allocated),
            requested: sum(|c| &c.requested),
            stranded: sum(|c| &c.stranded),
        }
    }

    /// `part / whole` in per cent over time; a gap where there is no whole. All curves of a pool have the same times.
    fn percent(part: &Steps, whole: impl Fn(usize) -> f64) -> Steps {
        let value = |i: usize, v: Option<f64>| {
            let whole = whole(i);
            v.filter(|_| whole > 0.0).map(|v| (v / whole * 100.0).clamp(0.0, 100.0))
        };
        part.iter().enumerate().map(|(i, (at, v))| (*at, value(i, *v))).collect()
    }

    /// Given out in per cent of the capacity.
    pub(crate) fn used(&self) -> Steps {
        Self::percent(&self.allocated, |i| self.capacity[i].1.unwrap_or(0.0))
    }

    /// Stranded in per cent of what is free.
    pub(crate) fn fragmentation(&self) -> Steps {
        let free = |i: usize| self.capacity[i].1.unwrap_or(0.0) - self.allocated[i].1.unwrap_or(0.0);
        Self::percent(&self.stranded, free)
    }

    fn start(&self) -> i64 {
        self.capacity.first().map_or(0, |step| step.0)
    }
}

/// The biggest pools first; small ones are put together if there are many.
pub(crate) fn curves(outcome: &Outcome) -> Vec<Curves> {
    let size = |p: &PoolOutcome| PoolFigures::of(p, outcome.ended.0).capacity;
    let mut pools: Vec<&PoolOutcome> = outcome.pools.iter().filter(|p| !p.samples.is_empty()).collect();
    pools.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let mut curves: Vec<Curves> = pools.into_iter().map(Curves::of).collect();
    if curves.len() > POOLS_MAX {
        let rest = curves.split_off(POOLS_MAX - 1);
        curves.push(Curves::together(format!("{} other pools", rest.len()), &rest));
    }
    curves
}

/// Points of a step function that varies fast, averaged over parts of the time.
fn averaged(steps: &Steps, ended: i64) -> Vec<(f64, Option<f64>)> {
    points(&series::averages(steps, ended, AVERAGES_MAX))
}

/// The highest value of a step function, at least 0.
pub(crate) fn highest(steps: &Steps) -> f64 {
    steps.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max)
}

/// One chart per pool of one outcome.
pub(crate) fn over_time(outcome: &Outcome) -> String {
    let curves = curves(outcome);
    if curves.is_empty() {
        return super::nothing("No pool was sampled.");
    }
    curves.iter().enumerate().map(|(i, pool)| one_pool(outcome, i, pool)).collect()
}

fn one_pool(outcome: &Outcome, i: usize, pool: &Curves) -> String {
    let (capacity, requested) = (highest(&pool.capacity), highest(&pool.requested));
    let allocated = highest(&pool.allocated);
    let top = capacity.max(allocated).max(requested.min(REQUESTED_MAX * capacity.max(allocated)));
    let cut = if requested > top {
        format!("requested, to {}", words::gpus(requested))
    } else {
        "requested".into()
    };
    let floor: Vec<f64> = points(&pool.allocated).iter().map(|p| p.1.unwrap_or(0.0)).collect();
    let stacked =
        points(&pool.stranded).iter().zip(&floor).map(|((x, y), f)| (*x, y.map(|y| y + f))).collect();
    let stranded = Layer { floor, ..Layer::new("stranded", "s3", Mark::Hatched, stacked) };
    let average = series::average(&pool.used(), outcome.ended.0).map(|p| p / 100.0);
    let desc = format!(
        "Capacity up to {} GPUs; on average {} of it given out.",
        words::gpus(capacity),
        words::percent(average)
    );
    let chart = Chart {
        id: format!("pool-{i}"),
        title: format!("GPUs of pool {} over time", pool.name),
        desc: desc.clone(),
        size: (1040.0, 300.0),
        labels: 176.0,
        x: time_axis(pool.start(), [outcome.ended.0]),
        y: Axis::number("GPUs", top, 4),
        steps: true,
        unit: " GPUs",
        layers: vec![
            stranded,
            Layer::new(cut, "s2", Mark::Thin, points(&pool.requested)),
            Layer::new("allocated", "s1", Mark::Area, points(&pool.allocated)),
            Layer::new("capacity", "ink", Mark::Line, points(&pool.capacity)),
        ],
    };
    figure(&format!("Pool {}", pool.name), &desc, &chart)
}

/// Stranded share of the free capacity of one outcome, a line per pool.
pub(crate) fn fragmentation(outcome: &Outcome) -> String {
    let (curves, ended) = (curves(outcome), outcome.ended.0);
    let line = |(i, pool): (usize, &Curves)| {
        Layer::new(pool.name.clone(), hue(i), Mark::Line, averaged(&pool.fragmentation(), ended))
    };
    let start = curves.iter().map(Curves::start).min().unwrap_or(0);
    let layers: Vec<Layer> = curves.iter().enumerate().map(line).collect();
    fragmentation_chart(layers, time_axis(start, [outcome.ended.0]), "fragmentation")
}

fn fragmentation_chart(layers: Vec<Layer>, x: Axis, id: &str) -> String {
    let highest = layers.iter().flat_map(|l| &l.points).filter_map(|p| p.1).fold(0.0, f64::max);
    if layers.iter().all(|l| l.points.iter().all(|p| p.1.is_none())) {
        return super::nothing("No GPU was ever free, so nothing could be stranded.");
    }
    let chart = Chart {
        id: id.into(),
        title: "Stranded share of the free GPU capacity over time".into(),
        desc: format!("At most {} per cent of the free capacity was stranded.", words::decimal(highest, 1)),
        size: (1040.0, 280.0),
        labels: 176.0,
        x,
        y: Axis::percent("stranded, % of free", highest),
        steps: true,
        unit: " %",
        layers,
    };
    figure("", "", &chart)
}

/// For several outcomes: per pool, what was given out, a line per outcome; and the fragmentation.
pub(crate) fn overlays(outcomes: &[Outcome]) -> (String, String) {
    let all: Vec<Vec<Curves>> = outcomes.iter().map(curves).collect();
    let mut names: Vec<&str> = Vec::new();
    for curves in all.iter().flatten() {
        if !names.contains(&curves.name.as_str()) {
            names.push(&curves.name);
        }
    }
    let (mut used, mut fragmented) = (String::new(), String::new());
    for (i, name) in names.iter().take(POOLS_MAX).enumerate() {
        let found: Vec<(usize, &Curves)> = all
            .iter()
            .enumerate()
            .filter_map(|(v, c)| Some((v, c.iter().find(|c| c.name == *name)?)))
            .collect();
        let x = time_axis(0, outcomes.iter().map(|o| o.ended.0));
        used.push_str(&used_overlay(outcomes, i, name, &found, x.clone()));
        let line = |(v, pool): &(usize, &Curves)| {
            let ended = outcomes[*v].ended.0;
            Layer::new(
                super::variant(outcomes, *v),
                hue(*v),
                Mark::Line,
                averaged(&pool.fragmentation(), ended),
            )
        };
        let chart = fragmentation_chart(found.iter().map(line).collect(), x, &format!("fragmentation-{i}"));
        fragmented.push_str(&super::titled(&format!("Pool {name}"), &chart));
    }
    (used, fragmented)
}

fn used_overlay(outcomes: &[Outcome], i: usize, name: &str, found: &[(usize, &Curves)], x: Axis) -> String {
    let same = found.windows(2).all(|pair| pair[0].1.capacity.last() == pair[1].1.capacity.last());
    let line = |(v, pool): &(usize, &Curves)| {
        let steps = if same { pool.allocated.clone() } else { pool.used() };
        Layer::new(super::variant(outcomes, *v), hue(*v), Mark::Line, averaged(&steps, outcomes[*v].ended.0))
    };
    let mut layers: Vec<Layer> = found.iter().map(line).collect();
    if let (true, Some((_, first))) = (same, found.first()) {
        layers.insert(0, Layer::new("capacity", "ink", Mark::Dashed, points(&first.capacity)));
    }
    let highest = layers.iter().flat_map(|l| &l.points).filter_map(|p| p.1).fold(0.0, f64::max);
    let y = if same { Axis::number("GPUs", highest, 4) } else { Axis::percent("% of capacity", highest) };
    let chart = Chart {
        id: format!("used-{i}"),
        title: format!("GPUs given out in pool {name} over time, by variant"),
        desc: format!("{} variants drawn over each other.", found.len()),
        size: (1040.0, 300.0),
        labels: 176.0,
        x,
        y,
        steps: true,
        unit: if same { " GPUs" } else { " %" },
        layers,
    };
    figure(&format!("Pool {name}"), "", &chart)
}
