//! Numbers as they are written in kinds and goals, read exactly.

/// Reads a decimal that is not negative, exactly, as a multiple of 10^-`places`; none if it has more
/// decimals than that.
pub(super) fn decimal(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > places {
        return None;
    }
    let scale = 10i64.pow(places as u32);
    let fraction: i64 = format!("0{fraction:0<places$}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(scale)?.checked_add(fraction)
}

/// Reads cores, `96`, `0.5` or `500m`, as thousandths.
pub(super) fn cores(text: &str) -> Option<i64> {
    match text.strip_suffix('m') {
        Some(milli) => decimal(milli, 0),
        None => decimal(text, 3),
    }
}

/// Reads a quantity of bytes, `768Gi` or `1000000`; a fraction of a byte is cut off.
pub(super) fn quantity(text: &str) -> Option<i64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let unit: i64 = match &text[at..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let thousandths = i128::from(decimal(&text[..at], 3)?);
    i64::try_from(thousandths * i128::from(unit) / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(decimal("12.5", 6), Some(12_500_000));
        assert_eq!(["", "-1", "1.", ".5", "1e3", "0.1234567"].map(|t| decimal(t, 6)), [None; 6]);
        assert_eq!([cores("96"), cores("0.5"), cores("500m")], [Some(96_000), Some(500), Some(500)]);
        assert_eq!(
            [quantity("1.5Ki"), quantity("2M"), quantity("7")],
            [Some(1536), Some(2_000_000), Some(7)]
        );
        assert_eq!(quantity("9999999999Ti"), None);
    }
}
