//! Decimals with the provider's own scale: read, added, compared and rounded exactly.
//!
//! Bounds: an amount in a bill has at most [`SCALE_MAX`] decimals and fits 128 bits; every operation that could
//! leave that range says so. Equality and order are by value: `0.0100` equals `0.01`.

use schemas::money::{self, AmountError, pow10};
use schemas::wire;
use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;

/// Most decimals a bill's amount may have.
pub const SCALE_MAX: u8 = 18;

/// `units * 10^-scale`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decimal {
    units: i128,
    scale: u8,
}

/// How a finer amount becomes minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest minor unit, halves away from zero.
    #[default]
    HalfUp,
    /// To the nearest minor unit, halves to the even one.
    HalfEven,
    /// Towards zero.
    Down,
}

/// A decimal rounded to minor units, and what the rounding left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounded {
    /// Minor units.
    pub minor: i128,
    /// Original less rounded; zero when nothing was lost.
    pub residue: Decimal,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { units: 0, scale: 0 };

    /// `minor` units of an asset with `exponent` decimals.
    #[must_use]
    pub const fn of_minor(minor: i128, exponent: u8) -> Self {
        Self { units: minor, scale: exponent }
    }

    /// Reads `-? digits (. digits)?`, keeping its scale.
    ///
    /// # Errors
    /// [`AmountError`]; [`AmountError::TooFine`] above [`SCALE_MAX`] decimals.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (units, scale) = money::parse_scaled(text)?;
        if scale > SCALE_MAX {
            return Err(AmountError::TooFine);
        }
        Ok(Self { units, scale })
    }

    /// The figure without its sign.
    #[must_use]
    pub fn magnitude(self) -> Self {
        Self { units: self.units.checked_abs().unwrap_or(self.units), ..self }
    }

    /// Sum, at the finer of the two scales; `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let units = self.units_at(scale)?.checked_add(other.units_at(scale)?)?;
        Some(Self { units, scale })
    }

    /// Difference, at the finer of the two scales; `None` when it does not fit.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self { units: other.units.checked_neg()?, ..other })
    }

    fn units_at(self, scale: u8) -> Option<i128> {
        self.units.checked_mul(pow10(scale.checked_sub(self.scale)?)?)
    }

    /// Minor units at `exponent` decimals; `None` when a digit would be lost or it does not fit.
    #[must_use]
    pub fn exact_minor(self, exponent: u8) -> Option<i128> {
        money::rescale_exact(self.units, self.scale, exponent).ok()
    }

    /// Rounds to `exponent` decimals. `None` when the result does not fit 128 bits.
    #[must_use]
    pub fn round(self, exponent: u8, rounding: Rounding) -> Option<Rounded> {
        let Some(drop) = self.scale.checked_sub(exponent).filter(|drop| *drop > 0) else {
            return Some(Rounded { minor: self.units_at(exponent)?, residue: Self::ZERO });
        };
        let factor = pow10(drop)?;
        let (whole, rest) = (self.units / factor, self.units % factor);
        let up = match rounding {
            Rounding::Down => false,
            Rounding::HalfUp => half(rest, factor).is_ge(),
            Rounding::HalfEven => match half(rest, factor) {
                Ordering::Equal => whole % 2 != 0,
                order => order.is_gt(),
            },
        };
        let minor = if up { whole.checked_add(rest.signum())? } else { whole };
        let residue = self.units.checked_sub(minor.checked_mul(factor)?)?;
        Some(Rounded { minor, residue: Self { units: residue, scale: self.scale } })
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.units == 0
    }

    /// From the wire; a missing decimal or one beyond [`SCALE_MAX`] is `None`.
    #[must_use]
    pub fn of_wire(wire: Option<&wire::Decimal>) -> Option<Self> {
        let wire = wire?;
        let scale = u8::try_from(wire.scale).ok().filter(|scale| *scale <= SCALE_MAX)?;
        Some(Self { units: schemas::amount_wire::value(wire.units), scale })
    }

    /// For the wire.
    #[must_use]
    pub fn to_wire(self) -> wire::Decimal {
        wire::Decimal { units: Some(self.units.into()), scale: u32::from(self.scale) }
    }
}

/// Compares twice `rest` with `factor`, by size.
fn half(rest: i128, factor: i128) -> Ordering {
    rest.unsigned_abs().saturating_mul(2).cmp(&factor.unsigned_abs())
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&money::format(self.units, self.scale))
    }
}

impl Ord for Decimal {
    /// By value. Never overflows: the finer side is divided, its remainder decides a tie.
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale > other.scale {
            return other.cmp(self).reverse();
        }
        let Some(factor) = other.scale.checked_sub(self.scale).and_then(pow10) else {
            return self.units.cmp(&0).then(0.cmp(&other.units));
        };
        let (whole, rest) = (other.units / factor, other.units % factor);
        self.units.cmp(&whole).then(0.cmp(&rest))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn rounding_table() {
        use Rounding::*;
        let rows = [
            ("0.00600", HalfUp, 1, "-0.00400"),
            ("0.00500", HalfUp, 1, "-0.00500"),
            ("0.00499", HalfUp, 0, "0.00499"),
            ("-0.00500", HalfUp, -1, "0.00500"),
            ("-0.00499", HalfUp, 0, "-0.00499"),
            ("0.00500", HalfEven, 0, "0.00500"),
            ("0.01500", HalfEven, 2, "-0.00500"),
            ("0.01501", HalfEven, 2, "-0.00499"),
            ("-0.01500", HalfEven, -2, "0.00500"),
            ("0.01999", Down, 1, "0.00999"),
            ("-0.01999", Down, -1, "-0.00999"),
            ("0.01", HalfUp, 1, "0"),
            ("3", HalfUp, 300, "0"),
        ];
        for (text, rounding, minor, residue) in rows {
            let rounded = d(text).round(2, rounding).unwrap();
            assert_eq!((rounded.minor, rounded.residue.to_string()), (minor, residue.to_owned()), "{text}");
        }
        assert_eq!(Decimal::of_minor(i128::MAX, 0).round(2, HalfUp), None);
    }

    #[test]
    fn equal_by_value_not_by_scale() {
        for (a, b, order) in [
            ("0.0100", "0.01", Ordering::Equal),
            ("45.0", "45", Ordering::Equal),
            ("-0.01", "0", Ordering::Less),
            ("0.010001", "0.01", Ordering::Greater),
            ("-0.010001", "-0.01", Ordering::Less),
            ("170141183460469231731687303715884105727", "0.000000000000000001", Ordering::Greater),
        ] {
            assert_eq!(d(a).cmp(&d(b)), order, "{a} {b}");
            assert_eq!(d(b).cmp(&d(a)), order.reverse(), "{b} {a}");
        }
        assert_eq!(Decimal::parse("0.0000000000000000001").unwrap_err(), AmountError::TooFine);
    }

    proptest! {
        #[test]
        fn rounded_and_residue_make_the_whole(
            units in -10_i128.pow(20)..10_i128.pow(20), scale in 0..=SCALE_MAX, exponent in 0_u8..=6,
        ) {
            let whole = Decimal::of_minor(units, scale);
            for rounding in [Rounding::HalfUp, Rounding::HalfEven, Rounding::Down] {
                let rounded = whole.round(exponent, rounding).unwrap();
                let back = Decimal::of_minor(rounded.minor, exponent).checked_add(rounded.residue).unwrap();
                prop_assert_eq!(back, whole);
            }
        }

        #[test]
        fn order_is_that_of_a_common_scale(
            a in -10_i128.pow(15)..10_i128.pow(15), b in -10_i128.pow(15)..10_i128.pow(15),
            s in 0..=SCALE_MAX, t in 0..=SCALE_MAX,
        ) {
            let (x, y) = (Decimal::of_minor(a, s), Decimal::of_minor(b, t));
            prop_assert_eq!(x.cmp(&y), x.units_at(SCALE_MAX).unwrap().cmp(&y.units_at(SCALE_MAX).unwrap()));
        }

        #[test]
        fn the_wire_keeps_units_and_scale(units in any::<i128>(), scale in 0..=SCALE_MAX) {
            let decimal = Decimal::of_minor(units, scale);
            let back = Decimal::of_wire(Some(&decimal.to_wire())).unwrap();
            prop_assert_eq!((back.units, back.scale), (units, scale));
        }
    }
}
