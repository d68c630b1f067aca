//! How a file writes amounts: decimal sign, thousands separators, major or minor units.

use crate::decimal::{Decimal, SCALE_MAX};

/// How amounts are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountStyle {
    pub(super) decimal: char,
    pub(super) thousands: Option<char>,
    /// Decimals of the minor unit that amounts are written in; `None` = they are in major units.
    pub(super) minor: Option<u8>,
}

impl Default for AmountStyle {
    fn default() -> Self {
        Self { decimal: '.', thousands: None, minor: None }
    }
}

impl AmountStyle {
    /// Checks that the signs can be told apart.
    pub(super) fn check(&self) -> Result<(), String> {
        let sign = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '+');
        if !sign(self.decimal) || self.thousands.is_some_and(|c| !sign(c) || c == self.decimal) {
            return Err("expected two different signs, none of them a letter, a digit, + or -".to_owned());
        }
        match self.minor {
            Some(decimals) if decimals > SCALE_MAX => {
                Err(format!("minor: {decimals}, expected at most {SCALE_MAX}"))
            }
            _ => Ok(()),
        }
    }

    /// Reads an amount.
    pub(crate) fn amount(&self, text: &str) -> Result<Decimal, String> {
        let read = self.number(text)?;
        match self.minor {
            None => Ok(read),
            Some(decimals) => {
                let units = read.exact_minor(0).ok_or("expected a whole number of minor units")?;
                Ok(Decimal::of_minor(units, decimals))
            }
        }
    }

    /// Reads a count of rows.
    pub(crate) fn count(&self, text: &str) -> Result<Decimal, String> {
        self.number(text)
    }

    fn number(&self, text: &str) -> Result<Decimal, String> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest.trim_start()),
            None => ("", text.strip_prefix('+').unwrap_or(text).trim_start()),
        };
        let (whole, fraction) = match digits.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let mut written = sign.to_owned();
        match self.thousands {
            Some(separator) if whole.contains(separator) => {
                let mut groups = whole.split(separator);
                let first = groups.next().filter(|first| plain(first) && first.len() <= 3);
                written.push_str(first.ok_or("expected groups of three digits")?);
                for group in groups {
                    if !plain(group) || group.len() != 3 {
                        return Err("expected groups of three digits".to_owned());
                    }
                    written.push_str(group);
                }
            }
            _ if plain(whole) => written.push_str(whole),
            _ => return Err("expected an amount".to_owned()),
        }
        if let Some(fraction) = fraction {
            if !plain(fraction) {
                return Err("expected an amount".to_owned());
            }
            written.push('.');
            written.push_str(fraction);
        }
        Decimal::parse(&written).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(decimal: char, thousands: Option<char>, minor: Option<u8>) -> AmountStyle {
        AmountStyle { decimal, thousands, minor }
    }

    #[test]
    fn amounts_as_files_write_them() {
        let dot = style('.', Some(','), None);
        let comma = style(',', Some('.'), None);
        let cents = style('.', None, Some(2));
        for (style, text, value) in [
            (&dot, "1,234,567.89", "1234567.89"),
            (&dot, "-1,234.5", "-1234.5"),
            (&dot, "- 12.50", "-12.50"),
            (&dot, "+1234", "1234"),
            (&dot, "0.0750", "0.0750"),
            (&comma, "1.234,56", "1234.56"),
            (&cents, "-1250", "-12.50"),
            (&cents, "0", "0.00"),
        ] {
            assert_eq!(style.amount(text).unwrap().to_string(), value, "{text}");
        }
        for (style, text) in [
            (&dot, ""),
            (&dot, "-"),
            (&dot, "1,23.4"),
            (&dot, "1,,234"),
            (&dot, "1234,567"),
            (&dot, ",123"),
            (&dot, "1.2.3"),
            (&dot, "1."),
            (&dot, ".5"),
            (&dot, "--1"),
            (&dot, "12e3"),
            (&dot, "1.23,456"),
            (&comma, "1,234.56"),
            (&cents, "12.5"),
            (&dot, "１"),
        ] {
            assert!(style.amount(text).is_err(), "{text:?}");
        }
    }
}
