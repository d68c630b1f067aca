//! Figures with decimals, counted in whole units: no float is near them.

/// `value / unit` as a decimal text with `digits` decimals, cut. It is a JSON number too.
#[must_use]
pub fn decimal(value: u64, unit: u64, digits: u32) -> String {
    let scale = 10_u128.pow(digits);
    let scaled = u128::from(value) * scale / u128::from(unit.max(1));
    let (whole, rest) = (scaled / scale, scaled % scale);
    match digits {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:0width$}", width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_cut_and_stand_as_they_are() {
        for (value, unit, digits, want) in [
            (1_234_567, 1_000_000, 6, "1.234567"),
            (7, 1_000_000, 6, "0.000007"),
            (14_999, 1_000, 2, "14.99"),
            (u64::MAX, 1, 3, "18446744073709551615.000"),
            (5, 0, 1, "5.0"),
            (1_999, 1_000, 0, "1"),
        ] {
            let text = decimal(value, unit, digits);
            assert_eq!(text, want);
            let json = serde_json::value::RawValue::from_string(text).expect("a number");
            assert_eq!(json.get(), want);
        }
    }
}
