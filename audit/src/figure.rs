//! Figures with the provider's own number of decimals, equal and ordered by value.

use crate::amount::joined;
use schemas::wire::Decimal;
use std::cmp::Ordering;

/// Most decimals that a figure of a bill has; one with more counts as none.
const DECIMALS_MAX: u32 = 18;
/// Most decimals with which a remainder fits 128 bits.
const TEN_POWER_MAX: u8 = 38;

/// `units / 10^decimals`, without zeros at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figure {
    units: i128,
    decimals: u8,
}

fn ten_to(power: u8) -> Option<i128> {
    10_i128.checked_pow(power.into())
}

impl Figure {
    /// `units / 10^decimals`; `None` beyond 38 decimals.
    #[must_use]
    pub fn new(mut units: i128, mut decimals: u8) -> Option<Self> {
        while decimals > 0 && units % 10 == 0 {
            (units, decimals) = (units / 10, decimals - 1);
        }
        (decimals <= TEN_POWER_MAX).then_some(Self { units, decimals })
    }

    /// A figure of a bill; `None` = there is none, or one with too many decimals.
    #[must_use]
    pub fn of(wire: Option<&Decimal>) -> Option<Self> {
        let wire = wire.filter(|wire| wire.scale <= DECIMALS_MAX)?;
        Self::new(crate::amount::of(wire.units.as_ref()), u8::try_from(wire.scale).ok()?)
    }

    /// From what [`Self::halves`] gave.
    #[must_use]
    pub fn from_halves(lo: u64, hi: i64, decimals: u32) -> Option<Self> {
        Self::new(joined(lo, hi), u8::try_from(decimals).ok()?)
    }

    /// Both halves of its units, and its decimals.
    #[must_use]
    pub fn halves(self) -> (u64, i64, u32) {
        let [lo, hi] = halves(self.units);
        (lo, i64::from_ne_bytes(hi.to_ne_bytes()), self.decimals.into())
    }

    /// Reads `-12.340`: the figure, and the decimals as written.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, u8)> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = [whole, decimals].concat();
        let digits_only = digits.strip_prefix('-').unwrap_or(&digits);
        if digits_only.is_empty() || !digits_only.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let written = u8::try_from(decimals.len()).ok()?;
        Some((Self::new(digits.parse().ok()?, written)?, written))
    }

    /// Without its sign.
    #[must_use]
    pub fn size(self) -> Self {
        Self { units: self.units.checked_abs().unwrap_or(self.units), ..self }
    }

    /// Units of so many decimals, when it has no more: what it is in minor units.
    #[must_use]
    pub fn exactly(self, decimals: u8) -> Option<i128> {
        self.units.checked_mul(ten_to(decimals.checked_sub(self.decimals)?)?)
    }

    /// What each rounding that a provider may have makes of it, in minor units: half up, half to even, down.
    #[must_use]
    pub fn rounded(self, decimals: u8) -> [Option<i128>; 3] {
        let Some(more) = self.decimals.checked_sub(decimals).filter(|more| *more > 0) else {
            return [self.exactly(decimals); 3];
        };
        let Some(factor) = ten_to(more) else { return [None; 3] };
        let (down, rest) = (self.units / factor, self.units % factor);
        let away = down.checked_add(self.units.signum());
        let half = rest.unsigned_abs().cmp(&(factor.unsigned_abs() - rest.unsigned_abs()));
        let up = |goes_up: bool| if goes_up { away } else { Some(down) };
        let even = half.is_gt() || (half.is_eq() && down % 2 != 0);
        [up(half.is_ge()), up(even), Some(down)]
    }

    /// For a hash: the same text for the same value.
    #[must_use]
    pub fn text(self) -> String {
        format!("{}e-{}", self.units, self.decimals)
    }
}

/// A figure's lower and upper half.
#[must_use]
pub fn halves(value: i128) -> [u64; 2] {
    let bytes = value.to_be_bytes();
    let (hi, lo) = bytes.split_at(8);
    let half = |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |half| u64::from_be_bytes(*half));
    [half(lo), half(hi)]
}

impl Ord for Figure {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = |figure: &Self| {
            let ten = ten_to(figure.decimals).unwrap_or(1);
            (figure.units.div_euclid(ten), figure.units.rem_euclid(ten))
        };
        let most = self.decimals.max(other.decimals);
        let at_most = |rest: i128, figure: &Self| {
            rest.saturating_mul(ten_to(most.saturating_sub(figure.decimals)).unwrap_or(1))
        };
        let ((whole, rest), (other_whole, other_rest)) = (parts(self), parts(other));
        let rests = (at_most(rest, self), at_most(other_rest, other));
        whole.cmp(&other_whole).then(rests.0.cmp(&rests.1))
    }
}

impl PartialOrd for Figure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn f(text: &str) -> Figure {
        Figure::parse(text).unwrap().0
    }

    #[test]
    fn by_value_and_not_as_written() {
        for (a, b, order) in [
            ("0.0100", "0.01", Ordering::Equal),
            ("45.0", "45", Ordering::Equal),
            ("-0.01", "0", Ordering::Less),
            ("-1.5", "-1.25", Ordering::Less),
            ("170141183460469231731687303715884105727", "0.000000000000000001", Ordering::Greater),
        ] {
            assert_eq!(f(a).cmp(&f(b)), order, "{a} {b}");
            assert_eq!(f(a) == f(b), order.is_eq(), "{a} {b}");
        }
        for bad in ["", "-", ".", "1-", "1.2.3", "+1", "a", "1e3"] {
            assert_eq!(Figure::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_rounding() {
        for (text, wanted) in [
            ("0.00600", [1, 1, 0]),
            ("0.00500", [1, 0, 0]),
            ("0.01500", [2, 2, 1]),
            ("0.00499", [0, 0, 0]),
            ("-0.00500", [-1, 0, 0]),
            ("-0.01501", [-2, -2, -1]),
            ("3", [300; 3]),
        ] {
            assert_eq!(f(text).rounded(2), wanted.map(Some), "{text}");
        }
    }

    proptest! {
        #[test]
        fn halves_and_back(units in any::<i128>(), decimals in 0_u8..=18) {
            let figure = Figure::new(units, decimals).unwrap();
            let (lo, hi, decimals) = figure.halves();
            prop_assert_eq!(Figure::from_halves(lo, hi, decimals), Some(figure));
        }
    }
}
