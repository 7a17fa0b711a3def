//! The data a chart carries along, so that the pointer can read values.

use super::axis::Scale;
use super::chart::{Chart, LEFT, Layer, Mark};
use serde::Serialize;

/// What the read-out needs.
#[derive(Serialize)]
pub(super) struct Data<'a> {
    left: f64,
    width: f64,
    min: f64,
    max: f64,
    wait: bool,
    waits: bool,
    time: bool,
    steps: bool,
    unit: &'a str,
    label: &'a str,
    series: Vec<DataSeries<'a>>,
}

#[derive(Serialize)]
struct DataSeries<'a> {
    name: &'a str,
    colour: &'a str,
    /// None if they are those of the first series.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<Places>,
    y: Vec<Option<f64>>,
}

/// Places on the horizontal axis; whole numbers where they suffice, which is shorter.
#[derive(PartialEq, Serialize)]
#[serde(untagged)]
enum Places {
    Whole(Vec<i64>),
    Fine(Vec<f64>),
}

impl Places {
    fn of(layer: &Layer, steps: bool) -> Self {
        let places = layer.points.iter().map(|(x, _)| *x);
        if steps {
            Self::Whole(places.map(|x| x.round() as i64).collect())
        } else {
            Self::Fine(places.map(|x| (x * 100.0).round() / 100.0).collect())
        }
    }
}

impl Chart {
    /// What the read-out needs.
    pub(super) fn data(&self) -> Data<'_> {
        let first = self.layers.first().map_or(Places::Whole(vec![]), |l| Places::of(l, self.steps));
        let series = self.layers.iter().enumerate().map(|(i, l)| DataSeries {
            name: &l.name,
            colour: if l.mark == Mark::Hatched { "s3" } else { l.colour },
            x: Some(Places::of(l, self.steps)).filter(|x| i == 0 || *x != first),
            y: l.points
                .iter()
                .enumerate()
                .map(|(i, (_, y))| y.map(|y| ((y - l.floor.get(i).unwrap_or(&0.0)) * 100.0).round() / 100.0))
                .collect(),
        });
        Data {
            left: LEFT,
            width: self.plot().0,
            min: self.x.min,
            max: self.x.max,
            wait: self.x.scale == Scale::Wait,
            waits: self.y.scale == Scale::Wait,
            time: self.x.scale == Scale::Wait || self.x.label == "virtual time",
            steps: self.steps,
            unit: self.unit,
            label: &self.x.label,
            series: series.collect(),
        }
    }
}
