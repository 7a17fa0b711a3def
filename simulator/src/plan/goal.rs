//! What a plan must reach, for example `p95-wait<=10m`.

use crate::outcome::Outcome;
use crate::report::waits::Waits;
use crate::report::words;
use berth_api::quantity::quantity;
use berth_model::Millis;
use std::fmt;
use std::str::FromStr;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// The wait that this many thousandths of all workloads do not exceed; those that never start wait for ever.
    Wait {
        /// 500 for `p50-wait`, 950 for `p95-wait`, 1000 for `max-wait`.
        permille: u32,
    },
    /// Workloads that wait at the end or were dropped.
    Pending,
    /// GPU share given out of the capacity over time, in millionths.
    Utilisation,
}

impl Metric {
    /// The name in a goal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait { permille: 500 } => "p50-wait",
            Self::Wait { permille: 950 } => "p95-wait",
            Self::Wait { .. } => "max-wait",
            Self::Pending => "pending",
            Self::Utilisation => "utilisation",
        }
    }

    /// The value in an outcome, in milliseconds, workloads, or millionths; none if workloads never start (waits), or
    /// if there is no capacity (utilisation).
    pub fn of(self, outcome: &Outcome) -> Option<i64> {
        match self {
            Self::Wait { permille } => {
                let waits = Waits::of(outcome);
                if waits.is_empty() { Some(0) } else { waits.of_all(permille).map(|wait| wait.0) }
            }
            Self::Pending => i64::try_from(outcome.totals.pending + outcome.totals.dropped).ok(),
            Self::Utilisation => {
                let totals = &outcome.totals;
                let part = totals.gpu_share_millis.checked_mul(1_000_000)?;
                part.checked_div(totals.gpu_capacity_millis).and_then(|ratio| i64::try_from(ratio).ok())
            }
        }
    }

    /// A value for people.
    pub fn show(self, value: Option<i64>) -> String {
        match (self, value) {
            (Self::Wait { .. }, None) => "never".into(),
            (_, None) => words::NONE.into(),
            (Self::Wait { .. }, Some(ms)) => words::span(Millis(ms)),
            (Self::Pending, Some(n)) => words::count(n.unsigned_abs()),
            (Self::Utilisation, Some(millionths)) => words::percent(Some(millionths as f64 / 1e6)),
        }
    }
}

/// One goal. Several are met only together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// What is measured.
    pub metric: Metric,
    /// The bound, in the metric's unit: from above, for utilisation from below.
    pub bound: i64,
}

impl Goal {
    /// True if more nodes can only help; false for utilisation, which falls with every node.
    pub fn grows(self) -> bool {
        self.metric != Metric::Utilisation
    }

    /// True if `value` of the metric meets the goal.
    pub fn holds(self, value: Option<i64>) -> bool {
        value.is_some_and(|value| if self.grows() { value <= self.bound } else { value >= self.bound })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.metric, self.bound) {
            (Metric::Utilisation, _) => ">=",
            (Metric::Pending, 0) => "==",
            _ => "<=",
        };
        let bound = match self.metric {
            Metric::Utilisation => format!("{}%", words::decimal(self.bound as f64 / 1e4, 4)),
            Metric::Wait { .. } => Millis(self.bound).to_string(),
            Metric::Pending => self.bound.to_string(),
        };
        write!(f, "{}{sign}{bound}", self.metric.name())
    }
}

/// A goal that cannot be read. Names what was written and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("goal {text:?}: {what}")]
pub struct GoalError {
    text: String,
    what: String,
}

const METRICS: &str = "p50-wait, p95-wait, max-wait, pending, utilisation";

impl FromStr for Goal {
    type Err = GoalError;

    fn from_str(text: &str) -> Result<Self, GoalError> {
        parse(text).map_err(|what| GoalError { text: text.to_owned(), what })
    }
}

fn parse(text: &str) -> Result<Goal, String> {
    let at = text.find(['<', '>', '=']).ok_or_else(|| {
        format!(
            "has no comparison; a goal is METRIC<=VALUE, pending==0 or utilisation>=X%; metrics: {METRICS}"
        )
    })?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let value = rest.trim_start_matches(['<', '>', '=']);
    let sign = &rest[..rest.len() - value.len()];
    let value = value.trim();
    let metric = match name {
        "p50-wait" => Metric::Wait { permille: 500 },
        "p95-wait" => Metric::Wait { permille: 950 },
        "max-wait" => Metric::Wait { permille: 1000 },
        "pending" => Metric::Pending,
        "utilisation" | "utilization" => Metric::Utilisation,
        _ => return Err(format!("{name:?} is no metric; allowed: {METRICS}")),
    };
    let allowed: &[&str] = match metric {
        Metric::Wait { .. } => &["<="],
        Metric::Pending => &["<=", "=="],
        Metric::Utilisation => &[">="],
    };
    if !allowed.contains(&sign) {
        return Err(format!("{sign:?} is not allowed with {name}; allowed: {}", allowed.join(", ")));
    }
    let bound = match metric {
        Metric::Wait { .. } => duration(value)?,
        Metric::Pending => workloads(value, if sign == "==" { 0 } else { u32::MAX })?,
        Metric::Utilisation => percent(value)?,
    };
    Ok(Goal { metric, bound })
}

/// Reads a number of workloads.
fn workloads(text: &str, max: u32) -> Result<i64, String> {
    let number = text.parse::<u32>().ok().filter(|n| *n <= max).map(i64::from);
    let allowed = if max == 0 { "0 after ==".to_owned() } else { format!("0 to {max}") };
    number.ok_or_else(|| format!("{text:?} is no number of workloads that can be a goal; allowed: {allowed}"))
}

/// Reads `10m`, `1h30m`, `90s`, `500ms`, `2d`, `0s` as milliseconds.
fn duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration; allowed: 0s or more, as in 500ms, 90s, 10m, 1h30m, 2d");
    let mut rest = text;
    let mut sum = 0i64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        sum = number.checked_mul(unit).and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
    }
    Ok(sum)
}

/// Reads `80%` or `87.5%` as millionths.
fn percent(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no percentage; allowed: 0% to 100%, at most four decimals");
    let number = text.strip_suffix('%').ok_or_else(wrong)?.trim();
    quantity(number, 10_000).ok().filter(|share| (0..=1_000_000).contains(share)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn goals_read_and_print_alike() {
        for text in [
            "p95-wait<=10m",
            "p50-wait<=1h30m",
            "max-wait<=2d",
            "pending==0",
            "pending<=7",
            "utilisation>=87.5%",
        ] {
            assert_eq!(text.parse::<Goal>().unwrap().to_string(), text);
        }
        assert_eq!("p95-wait <= 500ms".parse::<Goal>().unwrap().bound, 500);
    }

    #[test]
    fn errors_name_the_value_and_what_is_allowed() {
        let cases = [
            ("p95-wait", "has no comparison"),
            ("p99-wait<=1m", "\"p99-wait\" is no metric; allowed: p50-wait, p95-wait"),
            ("p95-wait>=1m", "\">=\" is not allowed with p95-wait; allowed: <="),
            ("p95-wait<=ten", "\"ten\" is no duration; allowed: 0s or more"),
            ("p95-wait<=-1s", "\"-1s\" is no duration"),
            ("p95-wait<=10", "\"10\" is no duration"),
            ("pending<=-1", "\"-1\" is no number of workloads that can be a goal; allowed: 0 to"),
            ("pending==3", "allowed: 0 after =="),
            ("utilisation>=120%", "\"120%\" is no percentage; allowed: 0% to 100%"),
            ("utilisation>=0.8", "\"0.8\" is no percentage"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Goal>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn metrics_count_those_that_never_start() {
        let small = samples::small();
        assert_eq!(Metric::Wait { permille: 500 }.of(&small), Some(5000));
        assert_eq!(Metric::Wait { permille: 950 }.of(&small), None);
        assert_eq!(Metric::Pending.of(&small), Some(1));
        assert_eq!(Metric::Utilisation.of(&small), Some(833_333));
        assert_eq!(Metric::Utilisation.of(&Outcome::default()), None);
        assert_eq!(Metric::Wait { permille: 950 }.of(&Outcome::default()), Some(0));
    }
}
