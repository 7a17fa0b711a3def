//! Numbers and spans of time as people read them.

use berth_model::{GpuShare, Millis};

const SECOND: f64 = 1000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// What stands where a number does not exist, for example a percentage of nothing.
pub const NONE: &str = "–";

/// A span in at most two units, for example `3h 20min`, `4.2s`, `80ms`.
pub fn span(span: Millis) -> String {
    let sign = if span.0 < 0 { "-" } else { "" };
    let ms = span.0.unsigned_abs() as f64;
    let text = match ms {
        _ if ms == 0.0 => "0s".to_owned(),
        _ if ms < SECOND => format!("{ms}ms"),
        _ if ms < MINUTE => format!("{}s", decimal(ms / SECOND, 1)),
        _ if ms < HOUR => two(ms / SECOND, 60, "min", "s"),
        _ if ms < DAY => two(ms / MINUTE, 60, "h", "min"),
        _ => two(ms / HOUR, 24, "d", "h"),
    };
    format!("{sign}{text}")
}

fn two(small: f64, per: u64, big_unit: &str, small_unit: &str) -> String {
    let small = small as u64;
    match (small / per, small % per) {
        (big, 0) => format!("{}{big_unit}", count(big)),
        (big, rest) => format!("{}{big_unit} {rest}{small_unit}", count(big)),
    }
}

/// A span, or [`NONE`].
pub fn span_or_none(value: Option<Millis>) -> String {
    value.map_or_else(|| NONE.to_owned(), span)
}

/// A whole number with thousands separated by commas.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// A number with at most `places` decimals, without trailing zeros, thousands separated; never `NaN`.
pub fn decimal(value: f64, places: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{:.places$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    let zero = whole == "0" && fraction.is_empty();
    let sign = if value < 0.0 && !zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// A number of GPUs: two decimals below ten, one below a thousand, none above.
pub fn gpus(value: f64) -> String {
    let places = match value.abs() {
        v if v < 10.0 => 2,
        v if v < 1000.0 => 1,
        _ => 0,
    };
    decimal(value, places)
}

/// A share as a number of GPUs.
pub fn share(share: GpuShare) -> String {
    gpus(devices(share))
}

/// A share as a number of devices.
pub fn devices(share: GpuShare) -> f64 {
    share.0 as f64 / GpuShare::DEVICE.0 as f64
}

/// `0.953` as `95.3 %`, or [`NONE`].
pub fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| NONE.to_owned(), |r| format!("{} %", decimal(r * 100.0, 1)))
}

/// A whole number followed by the noun in its number: `1 pod`, `2 pods`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `text` cut to `limit` characters, the last of them an ellipsis if anything was cut.
pub fn clip(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let cases = [
            (0, "0s"),
            (80, "80ms"),
            (4200, "4.2s"),
            (59_960, "60s"),
            (90_000, "1min 30s"),
            (12_000_000, "3h 20min"),
            (90_061_000, "1d 1h"),
            (-90_000, "-1min 30s"),
        ];
        for (ms, expected) in cases {
            assert_eq!(span(Millis(ms)), expected);
        }
    }

    #[test]
    fn numbers_are_short_and_never_nan() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(decimal(1234.5, 2), "1,234.5");
        assert_eq!(decimal(-0.001, 2), "0");
        assert_eq!(decimal(f64::NAN, 2), NONE);
        assert_eq!(gpus(292.64), "292.6");
        assert_eq!(percent(Some(0.95294)), "95.3 %");
        assert_eq!(percent(None), NONE);
        assert_eq!(clip("a-very-long-name", 8), "a-very-…");
        assert_eq!(plural(1, "pod"), "1 pod");
    }
}
