//! Exact numbers as users write them: Kubernetes quantities, decimals, durations.
//!
//! Nothing passes through floating point. A number finer than the unit it is wanted in is refused,
//! never rounded. A parser returns what would have been allowed as its error; the caller knows the field.

use berth_model::{GpuShare, Millis};

/// What would have been allowed.
pub(crate) type Allowed = &'static str;

const QUANTITY: Allowed = "a Kubernetes quantity such as 500m, 2, 1.5, 2e3, 64Gi or 100M";
const DURATION: Allowed = "a duration such as 500ms, 60s, -120s, 1h30m or 1d";

/// `digits * 10^exponent * 2^binary`, exactly.
struct Decimal {
    digits: i128,
    exponent: i32,
    binary: u32,
}

impl Decimal {
    /// Parses an optional sign, digits with at most one point, and a quantity's suffix.
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            digits = digits.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let (exponent, binary) = suffix_scale(suffix)?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { digits: if negative { -digits } else { digits }, exponent, binary })
    }

    /// The value in units of `1 / per_one`, if it is a whole number of them and fits.
    fn in_units(&self, per_one: i64) -> Option<i64> {
        if self.digits == 0 {
            return Some(0);
        }
        let scale = 1i128.checked_shl(self.binary)?.checked_mul(i128::from(per_one))?;
        let value = self.digits.checked_mul(scale)?;
        let power = 10i128.checked_pow(self.exponent.unsigned_abs())?;
        let value = match self.exponent {
            0.. => value.checked_mul(power)?,
            _ if value % power == 0 => value / power,
            _ => return None,
        };
        i64::try_from(value).ok()
    }
}

/// Power of ten and power of two of a quantity's suffix.
fn suffix_scale(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (exponent.parse().ok().filter(|e: &i32| e.unsigned_abs() <= 30)?, 0)
        }
    })
}

/// A Kubernetes quantity in units of `1 / per_one`: 1 for bytes, 1000 for thousandths of a core.
pub(crate) fn quantity(text: &str, per_one: i64) -> Result<i64, Allowed> {
    let decimal = Decimal::parse(text).ok_or(QUANTITY)?;
    decimal.in_units(per_one).ok_or(match per_one {
        1 => "a whole number that fits 64 bits",
        1000 => "a multiple of 1m that fits 64 bits",
        _ => "a multiple of 0.000001 that fits 64 bits",
    })
}

/// A number of GPU devices, whole or not, in millionths of a device.
pub(crate) fn devices(text: &str) -> Result<GpuShare, Allowed> {
    quantity(text, GpuShare::DEVICE.0).map(GpuShare)
}

/// A share of one device: more than 0, less than 1, in millionths.
pub(crate) fn fraction(text: &str) -> Result<GpuShare, Allowed> {
    const ALLOWED: Allowed = "a multiple of 0.000001, more than 0 and less than 1";
    match devices(text) {
        Ok(share) if share > GpuShare::ZERO && share < GpuShare::DEVICE => Ok(share),
        _ => Err(ALLOWED),
    }
}

/// A factor more than 0, in millionths.
pub(crate) fn factor(text: &str) -> Result<i64, Allowed> {
    match quantity(text, 1_000_000) {
        Ok(factor) if factor > 0 => Ok(factor),
        _ => Err("a number more than 0, a multiple of 0.000001"),
    }
}

/// A duration: numbers with units `d`, `h`, `m`, `s`, `ms`, largest first, with an optional sign; or 0.
pub(crate) fn duration(text: &str) -> Result<Millis, Allowed> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Millis::ZERO);
    }
    let (mut total, mut last) = (0i64, i64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DURATION)?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return Err(DURATION),
        };
        if unit >= last {
            return Err(DURATION);
        }
        let millis = Decimal::parse(number).and_then(|d| d.in_units(unit)).ok_or(DURATION)?;
        total = total.checked_add(millis).ok_or(DURATION)?;
        (last, rest) = (unit, tail);
    }
    if last == i64::MAX { Err(DURATION) } else { Ok(Millis(if negative { -total } else { total })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        let cases = [
            ("20000000m", 1000, 20_000_000),
            ("64", 1000, 64_000),
            ("1.5", 1000, 1500),
            ("0.5", 1000, 500),
            (".5", 1000, 500),
            ("2e3", 1000, 2_000_000),
            ("2E3", 1, 2000),
            ("1e-3", 1000, 1),
            ("512Gi", 1, 512 << 30),
            ("1.5Gi", 1, 3 << 29),
            ("100M", 1, 100_000_000),
            ("128974848000m", 1, 128_974_848),
            ("-1", 1, -1),
            ("1E", 1, 1_000_000_000_000_000_000),
            ("0E", 1, 0),
            ("0.000001", 1_000_000, 1),
        ];
        for (text, per_one, expected) in cases {
            assert_eq!(quantity(text, per_one), Ok(expected), "{text}");
        }
    }

    #[test]
    fn quantities_that_are_not_exact_or_not_numbers_are_refused() {
        for (text, per_one) in [
            ("0.0005", 1000),
            ("1500m", 1),
            ("10E", 1),
            ("9223372036854775808", 1),
            ("", 1),
            ("-", 1),
            (".", 1),
            ("1.2.3", 1),
            ("1 Gi", 1),
            ("0x10", 1),
            ("1e", 1),
            ("1e99999999999", 1),
            ("1gi", 1),
            ("ten", 1),
            ("1_000", 1),
            ("１", 1),
            ("1e-40", 1),
        ] {
            assert!(quantity(text, per_one).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_lie_between_nothing_and_a_device() {
        assert_eq!(fraction("0.5"), Ok(GpuShare(500_000)));
        assert_eq!(fraction("0.333333"), Ok(GpuShare(333_333)));
        assert_eq!(fraction("250m"), Ok(GpuShare(250_000)));
        for text in ["0", "1", "1.0", "-0.5", "0.3333333", "half"] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_exact() {
        let cases = [
            ("60s", 60_000),
            ("-120s", -120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), Ok(Millis(expected)), "{text}");
        }
        for text in
            ["", "-", "5", "5x", "1m1h", "1s1s", "0.0001s", "s", "1h 5m", "9223372036854775807d", "--5s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
