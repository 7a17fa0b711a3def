//! The table of targets.

use std::fmt::Write;
use std::time::{Duration, Instant};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// What it is to be.
    pub target: String,
    /// What it is.
    pub measured: String,
    /// The plain program in the same run, and how many times more it takes.
    pub plain: String,
    /// Whether the target is met; none = not measured.
    pub met: Option<bool>,
}

impl Row {
    /// A measured line.
    pub fn new(what: &str, target: &str, measured: String, met: bool) -> Self {
        Self { what: what.into(), target: target.into(), measured, plain: "-".into(), met: Some(met) }
    }

    /// A line that could not be measured.
    pub fn left_out(what: &str, target: &str, why: &str) -> Self {
        Self {
            what: what.into(),
            target: target.into(),
            measured: format!("left out: {why}"),
            plain: "-".into(),
            met: None,
        }
    }

    /// With what the plain program took for one unit, beside what Berth took for one.
    #[must_use]
    pub fn beside(mut self, rule: &str, plain: Duration, ours: Duration) -> Self {
        self.plain = format!("{rule}: {}, {}x", span(plain), ratio(plain, ours));
        self
    }
}

/// The shortest time of at most `runs` that `timed` takes, each on a fresh value of `setup`; after a second in all it is
/// enough.
pub fn best<T, R>(runs: u32, mut setup: impl FnMut() -> T, mut timed: impl FnMut(&mut T) -> R) -> Duration {
    let mut best = Duration::MAX;
    let mut total = Duration::ZERO;
    for _ in 0..runs {
        let mut value = setup();
        let begun = Instant::now();
        let result = timed(&mut value);
        let time = begun.elapsed();
        drop(std::hint::black_box(result));
        (best, total) = (best.min(time), total + time);
        if total > Duration::from_secs(1) {
            break;
        }
    }
    best
}

/// The table as Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | target | measured | a plain program in the same run | |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let Row { what, target, measured, plain, .. } = row;
        let _ = writeln!(text, "| {what} | {target} | {measured} | {plain} | {met} |");
    }
    text
}

/// A span of time with three digits.
pub fn span(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match time.as_nanos() {
        0..1_000 => (ns, "ns"),
        1_000..1_000_000 => (ns / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// How many per second.
pub fn rate(count: usize, time: Duration) -> String {
    thousands(count as f64 / time.as_secs_f64())
}

/// A rate per second, rounded to thousands.
pub fn thousands(per_second: f64) -> String {
    let thousands = (per_second / 1e3).round() as u64;
    if thousands >= 1_000 {
        format!("{},{:03},000/s", thousands / 1_000, thousands % 1_000)
    } else {
        format!("{thousands},000/s")
    }
}

fn ratio(a: Duration, b: Duration) -> String {
    let ratio = a.as_secs_f64() / b.as_secs_f64().max(1e-12);
    if ratio >= 10.0 { format!("{ratio:.0}") } else { format!("{ratio:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(span(Duration::from_nanos(15)), "15.0 ns");
        assert_eq!(span(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(rate(19_000, Duration::from_millis(10)), "1,900,000/s");
        let row = Row::new("a gang", "<= 1 ms", span(Duration::from_micros(310)), true);
        let row = row.beside("best fit", Duration::from_millis(31), Duration::from_micros(310));
        let line = "| a gang | <= 1 ms | 310 us | best fit: 31.0 ms, 100x | met |";
        assert_eq!(markdown(&[row]).lines().last(), Some(line));
    }
}
