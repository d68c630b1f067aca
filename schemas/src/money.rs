//! Exact money: 128-bit integers of minor units, read from and written to strict decimal strings.
//!
//! Grammar of an amount: `-? digits ( '.' digits )?` with at least one digit on each side of the point, no
//! leading `+`, no exponent, no spaces, no grouping, at most [`AMOUNT_TEXT_BYTES_MAX`] bytes. Leading zeros are
//! accepted (`007.50`), trailing zeros are not precision (`1.500` is fine at exponent 2, `1.505` is not).

use thiserror::Error;

/// Longest amount text read. 39 digits hold any i128; the rest is room for a sign, a point and zeros.
pub const AMOUNT_TEXT_BYTES_MAX: usize = 64;
/// Largest number of minor digits an asset may have (18 as in wei, with room).
pub const EXPONENT_MAX: u8 = 24;

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AmountError {
    /// Nothing there.
    #[error("empty amount")]
    Empty,
    /// More than [`AMOUNT_TEXT_BYTES_MAX`] bytes.
    #[error("amount text is longer than 64 bytes")]
    TooLong,
    /// Anything but `-? digits (. digits)?`.
    #[error("amount is not a plain decimal such as \"12.50\"")]
    Syntax,
    /// A decimal with an exponent, such as `1e3`.
    #[error("amount has an exponent; write the figure out")]
    Exponent,
    /// A significant digit below the asset's minor unit.
    #[error("amount has more decimals than the asset")]
    TooFine,
    /// Does not fit 128 bits.
    #[error("amount is out of range")]
    OutOfRange,
}

/// Parses `text` into minor units of an asset with `exponent` decimals.
///
/// # Errors
/// See [`AmountError`]; nothing is cut or rounded.
pub fn parse(text: &str, exponent: u8) -> Result<i128, AmountError> {
    let (units, scale) = parse_scaled(text)?;
    rescale_exact(units, scale, exponent)
}

/// Parses `text` keeping its own scale: `"0.01000"` is `(1000, 5)`.
///
/// # Errors
/// See [`AmountError`].
pub fn parse_scaled(text: &str) -> Result<(i128, u8), AmountError> {
    if let Some((units, scale)) = parse_short(text.as_bytes()) {
        return Ok((i128::from(units), scale));
    }
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err(AmountError::Empty);
    }
    if bytes.len() > AMOUNT_TEXT_BYTES_MAX {
        return Err(AmountError::TooLong);
    }
    let (negative, digits) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, bytes),
    };
    let mut units: i128 = 0;
    let mut scale: u8 = 0;
    let mut seen_point = false;
    let mut digits_before = 0_usize;
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if seen_point {
                    scale = scale.checked_add(1).ok_or(AmountError::TooLong)?;
                } else {
                    digits_before += 1;
                }
                let digit = i128::from(byte - b'0');
                let digit = if negative { -digit } else { digit };
                units = units
                    .checked_mul(10)
                    .and_then(|u| u.checked_add(digit))
                    .ok_or(AmountError::OutOfRange)?;
            }
            b'.' if !seen_point => seen_point = true,
            b'e' | b'E' if digits_before > 0 && is_exponent(digits.get(at + 1..).unwrap_or_default()) => {
                return Err(AmountError::Exponent);
            }
            _ => return Err(AmountError::Syntax),
        }
    }
    if digits_before == 0 || (seen_point && scale == 0) {
        return Err(AmountError::Syntax);
    }
    Ok((units, scale))
}

/// Whether what follows an `e` makes it an exponent: digits, with a sign or without.
fn is_exponent(text: &[u8]) -> bool {
    let digits = match text.split_first() {
        Some((b'+' | b'-', rest)) => rest,
        _ => text,
    };
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Most digits that [`parse_short`] reads: any number of them is below 2^63.
const SHORT_DIGITS_MAX: usize = 18;

/// The form that nearly all amounts have, in 64 bits: digits, a point or none, no sign, at most
/// [`SHORT_DIGITS_MAX`] digits. `None` = look further. A test holds it against the full reader.
fn parse_short(text: &[u8]) -> Option<(i64, u8)> {
    if text.len() > SHORT_DIGITS_MAX + 1 {
        return None;
    }
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (text.get(..point)?, text.get(point + 1..)?),
        None => (text, &[][..]),
    };
    if whole.is_empty()
        || (point.is_some() && fraction.is_empty())
        || whole.len() + fraction.len() > SHORT_DIGITS_MAX
    {
        return None;
    }
    let add = |units: i64, byte: &u8| byte.is_ascii_digit().then(|| units * 10 + i64::from(byte - b'0'));
    let units = whole.iter().try_fold(0, add)?;
    let units = fraction.iter().try_fold(units, add)?;
    Some((units, u8::try_from(fraction.len()).ok()?))
}

/// Moves `units * 10^-scale` to `exponent` decimals without loss.
///
/// # Errors
/// [`AmountError::TooFine`] when a significant digit would be lost, [`AmountError::OutOfRange`] on overflow.
pub fn rescale_exact(units: i128, scale: u8, exponent: u8) -> Result<i128, AmountError> {
    if scale == exponent {
        return Ok(units);
    }
    if scale <= exponent {
        let factor = pow10(exponent - scale).ok_or(AmountError::OutOfRange)?;
        return units.checked_mul(factor).ok_or(AmountError::OutOfRange);
    }
    if units == 0 {
        return Ok(0);
    }
    let Some(factor) = pow10(scale - exponent) else { return Err(AmountError::TooFine) };
    if units % factor == 0 { Ok(units / factor) } else { Err(AmountError::TooFine) }
}

/// Writes minor units with exactly `exponent` decimals: `format(-5, 2)` is `"-0.05"`.
#[must_use]
pub fn format(minor: i128, exponent: u8) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let digits = minor.unsigned_abs().to_string();
    let exponent = usize::from(exponent);
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = exponent + 1);
    let (whole, fraction) = padded.split_at(padded.len() - exponent);
    format!("{sign}{whole}.{fraction}")
}

/// `10^exponent`, or `None` above 38.
#[must_use]
pub fn pow10(exponent: u8) -> Option<i128> {
    POWERS_OF_TEN.get(usize::from(exponent)).copied()
}

/// 10^0 to 10^38.
#[allow(clippy::indexing_slicing)] // the compiler evaluates it
const POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_exactly_or_refused() {
        use AmountError::*;
        let rows: &[(&str, u8, Result<i128, AmountError>)] = &[
            ("12.50", 2, Ok(1250)),
            ("12.5", 2, Ok(1250)),
            ("12.500", 2, Ok(1250)),
            ("12.50000", 2, Ok(1250)),
            ("12", 2, Ok(1200)),
            ("007.50", 2, Ok(750)),
            ("-0.05", 2, Ok(-5)),
            ("0", 0, Ok(0)),
            ("0.00000", 2, Ok(0)),
            ("12.505", 2, Err(TooFine)),
            ("1", 24, Ok(10_i128.pow(24))),
            ("170141183460469231731687303715884105727", 0, Ok(i128::MAX)),
            ("-170141183460469231731687303715884105728", 0, Ok(i128::MIN)),
            ("170141183460469231731687303715884105728", 0, Err(OutOfRange)),
            ("170141183460469231731687303715884105727", 2, Err(OutOfRange)),
            // More than 64 bits hold, in as many digits as the short reader looks at.
            ("9999999999999999999", 0, Ok(9_999_999_999_999_999_999)),
            ("999999999.999999999", 9, Ok(999_999_999_999_999_999)),
            ("0.0000000000000000000000000000000000000000000000000000000000", 2, Ok(0)),
            ("0.0000000000000000000000000000000000000000000000000000000001", 2, Err(TooFine)),
            ("0000000000000000000000000000000000000000000000000000000000000001", 0, Ok(1)),
            ("00000000000000000000000000000000000000000000000000000000000000001", 0, Err(TooLong)),
            ("", 2, Err(Empty)),
            ("-", 2, Err(Syntax)),
            (".5", 2, Err(Syntax)),
            ("5.", 2, Err(Syntax)),
            ("+5", 2, Err(Syntax)),
            ("1e3", 2, Err(Exponent)),
            ("1e999999999", 2, Err(Exponent)),
            ("-1.5E+3", 2, Err(Exponent)),
            ("0e-0", 2, Err(Exponent)),
            ("1e", 2, Err(Syntax)),
            ("e3", 2, Err(Syntax)),
            ("1e+", 2, Err(Syntax)),
            ("1e3.0", 2, Err(Syntax)),
            ("1e3e3", 2, Err(Syntax)),
            ("-e3", 2, Err(Syntax)),
            ("1,000.00", 2, Err(Syntax)),
            (" 1", 2, Err(Syntax)),
            ("1..0", 2, Err(Syntax)),
            ("NaN", 2, Err(Syntax)),
            ("١٢", 2, Err(Syntax)),
            ("0000000000000000000000000000000000000000000000000000000000000000000001", 2, Err(TooLong)),
        ];
        for (text, exponent, expected) in rows {
            assert_eq!(parse(text, *exponent), *expected, "{text:?} at exponent {exponent}");
        }
    }

    #[test]
    fn amounts_are_written_with_every_decimal() {
        let rows = [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (50, 2, "0.50"),
            (1250, 2, "12.50"),
            (7, 0, "7"),
            (-1, 24, "-0.000000000000000000000001"),
            (i128::MIN, 1, "-17014118346046923173168730371588410572.8"),
        ];
        for (minor, exponent, text) in rows {
            assert_eq!(format(minor, exponent), text, "{minor} at exponent {exponent}");
        }
    }

    #[test]
    fn powers_of_ten() {
        for exponent in 0..=u8::MAX {
            assert_eq!(pow10(exponent), 10_i128.checked_pow(u32::from(exponent)));
        }
    }

    proptest! {
        #[test]
        fn the_short_reader_says_what_the_long_one_says(text in "[0-9]{0,11}[.]{0,2}[0-9]{0,9}[0-9.eE+ -]{0,1}") {
            // A zero more in front makes no difference, but for the reader: this is too long for the short one.
            let long = format!("{:0>30}", text);
            let (short, long) = (parse_scaled(&text), parse_scaled(&long));
            // An empty whole part is filled up by the zeros.
            if !text.is_empty() && !text.starts_with(['.', '+', '-', ' ', 'e', 'E']) {
                prop_assert_eq!(short, long, "{}", text);
            }
        }

        #[test]
        fn format_then_parse_is_identity(minor in any::<i128>(), exponent in 0..=EXPONENT_MAX) {
            prop_assert_eq!(parse(&format(minor, exponent), exponent), Ok(minor));
        }

        #[test]
        fn parse_never_panics(text in ".{0,80}", exponent in 0..=EXPONENT_MAX) {
            let _ = parse(&text, exponent);
        }
    }
}
