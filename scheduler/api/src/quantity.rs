//! Exact numbers as users write them: Kubernetes quantities, decimals, durations.
//!
//! Nothing passes through floating point. What people write for Berth ([`quantity`]) is refused if it is finer than the
//! unit it is wanted in, never rounded. What Kubernetes has already accepted ([`rounded_up`]: requests of pods, what nodes
//! can give out) is read as Kubernetes reads it: up to the next whole unit. A parser returns what would have been allowed
//! as its error; the caller knows the object and the field.
//!
//! Absent: printing (`berth_model`'s amounts print themselves), suffixes that Kubernetes does not know.

use berth_model::{GpuShare, Millis};

/// What would have been allowed.
pub type Allowed = &'static str;

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

    /// The value in units of `1 / per_one`, if it is a whole number of them (or may be rounded up to one) and fits.
    fn in_units(&self, per_one: i64, round_up: bool) -> Option<i64> {
        i64::try_from(self.wide(per_one, round_up)?).ok()
    }

    fn wide(&self, per_one: i64, round_up: bool) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let scale = 1i128.checked_shl(self.binary)?.checked_mul(i128::from(per_one))?;
        let value = self.digits.checked_mul(scale)?;
        let power = 10i128.checked_pow(self.exponent.unsigned_abs())?;
        match self.exponent {
            0.. => value.checked_mul(power),
            _ if value % power == 0 => Some(value / power),
            _ if round_up => Some(value.div_euclid(power) + 1),
            _ => None,
        }
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
///
/// # Errors
/// What is allowed, if the text is no quantity, finer than the unit, or too large.
pub fn quantity(text: &str, per_one: i64) -> Result<i64, Allowed> {
    let decimal = Decimal::parse(text).ok_or(QUANTITY)?;
    decimal.in_units(per_one, false).ok_or(match per_one {
        1 => "a whole number that fits 64 bits",
        1000 => "a multiple of 1m that fits 64 bits",
        _ => "a multiple of 0.000001 that fits 64 bits",
    })
}

/// A Kubernetes quantity in units of `1 / per_one`, rounded up to whole ones as Kubernetes does.
///
/// # Errors
/// What is allowed, if the text is no quantity or too large.
pub fn rounded_up(text: &str, per_one: i64) -> Result<i64, Allowed> {
    whole_units(billionths(text)?, per_one).ok_or("a quantity that fits 64 bits")
}

/// A Kubernetes quantity in billionths, the finest that the API server keeps; finer ones are rounded up, as it does.
///
/// Requests of a pod's containers are added in billionths and rounded once, as Kubernetes does: two of `500u` are `1m`.
///
/// # Errors
/// What is allowed.
pub fn billionths(text: &str) -> Result<i128, Allowed> {
    let decimal = Decimal::parse(text).ok_or(QUANTITY)?;
    decimal.wide(1_000_000_000, true).filter(|n| n.unsigned_abs() < 1 << 100).ok_or("a quantity below 2^70")
}

/// Billionths in units of `1 / per_one`, rounded up.
pub fn whole_units(billionths: i128, per_one: i64) -> Option<i64> {
    let unit = 1_000_000_000 / i128::from(per_one);
    i64::try_from(billionths.div_euclid(unit) + i128::from(billionths.rem_euclid(unit) != 0)).ok()
}

/// A number of GPU devices, whole or not, in millionths of a device.
///
/// # Errors
/// What is allowed.
pub fn devices(text: &str) -> Result<GpuShare, Allowed> {
    quantity(text, GpuShare::DEVICE.0).map(GpuShare)
}

/// A share of one device: more than 0, less than 1, in millionths.
///
/// # Errors
/// What is allowed.
pub fn fraction(text: &str) -> Result<GpuShare, Allowed> {
    const ALLOWED: Allowed = "a multiple of 0.000001, more than 0 and less than 1";
    match devices(text) {
        Ok(share) if share > GpuShare::ZERO && share < GpuShare::DEVICE => Ok(share),
        _ => Err(ALLOWED),
    }
}

/// A factor more than 0, in millionths.
///
/// # Errors
/// What is allowed.
pub fn factor(text: &str) -> Result<i64, Allowed> {
    match quantity(text, 1_000_000) {
        Ok(factor) if factor > 0 => Ok(factor),
        _ => Err("a number more than 0, a multiple of 0.000001"),
    }
}

/// A duration: numbers with units `d`, `h`, `m`, `s`, `ms`, largest first, with an optional sign; or 0.
///
/// # Errors
/// What is allowed.
pub fn duration(text: &str) -> Result<Millis, Allowed> {
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
        let millis = Decimal::parse(number).and_then(|d| d.in_units(unit, false)).ok_or(DURATION)?;
        total = total.checked_add(millis).ok_or(DURATION)?;
        (last, rest) = (unit, tail);
    }
    if last == i64::MAX { Err(DURATION) } else { Ok(Millis(if negative { -total } else { total })) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn sums_of_decimals_are_exact() {
        let tenths = |text| devices(text).unwrap();
        assert_eq!(tenths("0.1") + tenths("0.2"), tenths("0.3"));
        assert_eq!(quantity("1Ki", 1), Ok(1024));
        assert_eq!(quantity("1e3", 1), quantity("1k", 1));
        assert_eq!(quantity("100m", 1000), Ok(100));
        assert_eq!(quantity("-1.5Gi", 1), Ok(-(3 << 29)));
    }

    #[test]
    fn kubernetes_rounds_up() {
        let cases = [
            ("0.5", 1, 1),
            ("1500m", 1, 2),
            ("500u", 1000, 1),
            ("1n", 1000, 1),
            ("0.1Ki", 1, 103),
            ("100m", 1000, 100),
            ("2", 1, 2),
            ("1e-30", 1, 1),
            ("-0.5", 1, 0),
        ];
        for (text, per_one, expected) in cases {
            assert_eq!(rounded_up(text, per_one), Ok(expected), "{text}");
        }
        for text in ["9223372036854775808", "10E", "16Ei", "half", "", "1e31"] {
            assert!(rounded_up(text, 1).is_err(), "{text}");
        }
    }

    /// A number of thousandths as a decimal, with a suffix of a power of two or ten, or an exponent.
    fn written() -> impl Strategy<Value = (i64, String, i64)> {
        let suffixes = [
            ("", 1),
            ("k", 1000),
            ("M", 1_000_000),
            ("e3", 1000),
            ("E+3", 1000),
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
        ];
        (-1_000_000_000i64..1_000_000_000, prop::sample::select(suffixes.to_vec())).prop_map(
            |(thousandths, (suffix, unit))| {
                let text = format!("{}{suffix}", berth_model::MilliCpu(thousandths));
                (thousandths, text, unit)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((thousandths, text, unit) in written()) {
            prop_assert_eq!(quantity(&text, 1000), Ok(thousandths * unit));
            let exact = i128::from(thousandths) * i128::from(unit);
            let up = (exact.div_euclid(1000) + i128::from(exact.rem_euclid(1000) != 0)) as i64;
            prop_assert_eq!(rounded_up(&text, 1), Ok(up));
            prop_assert_eq!(quantity(&text, 1).ok(), (exact % 1000 == 0).then_some(up));
        }

        #[test]
        fn no_text_is_read_as_two_numbers(text in "[-+]?[0-9.]{0,6}[eEinumkKMGTPi]{0,3}[-+]?[0-9]{0,2}") {
            if let Ok(exact) = quantity(&text, 1000) {
                prop_assert_eq!(rounded_up(&text, 1000), Ok(exact));
                prop_assert_eq!(billionths(&text), Ok(i128::from(exact) * 1_000_000));
            }
        }

        #[test]
        fn bytes_round_trip(bytes in 0i64..1 << 50) {
            prop_assert_eq!(quantity(&bytes.to_string(), 1), Ok(bytes));
            let shown = berth_model::Bytes(bytes << 10).to_string();
            if !shown.contains('.') {
                prop_assert_eq!(quantity(&shown, 1), Ok(bytes << 10));
            }
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
