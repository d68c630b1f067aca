//! Between i128 and the two halves on the wire (see `Amount` in `batch.proto`).

use crate::wire::{Amount, Entry};

/// Low and high half of `value`: `value = hi * 2^64 + lo`.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub const fn split(value: i128) -> (u64, i64) {
    (value as u64, (value >> 64) as i64)
}

/// Inverse of [`split`].
#[must_use]
pub const fn join(lo: u64, hi: i64) -> i128 {
    ((hi as i128) << 64) | lo as i128
}

impl From<i128> for Amount {
    fn from(value: i128) -> Self {
        let (lo, hi) = split(value);
        Self { lo, hi }
    }
}

impl From<Amount> for i128 {
    fn from(amount: Amount) -> Self {
        join(amount.lo, amount.hi)
    }
}

/// Value of an optional wire amount; absent is zero.
#[must_use]
pub fn value(amount: Option<Amount>) -> i128 {
    amount.map_or(0, i128::from)
}

impl Entry {
    /// Amount in minor units, above zero.
    #[must_use]
    pub const fn amount(&self) -> i128 {
        join(self.amount_lo, self.amount_hi)
    }
    /// Debits minus credits before this entry.
    #[must_use]
    pub const fn before(&self) -> i128 {
        join(self.before_lo, self.before_hi)
    }
    /// Debits minus credits after this entry.
    #[must_use]
    pub const fn after(&self) -> i128 {
        join(self.after_lo, self.after_hi)
    }
    /// Sets the three figures.
    pub const fn set_figures(&mut self, amount: i128, before: i128, after: i128) {
        (self.amount_lo, self.amount_hi) = split(amount);
        (self.before_lo, self.before_hi) = split(before);
        (self.after_lo, self.after_hi) = split(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn split_then_join_is_identity(value in any::<i128>()) {
            let (lo, hi) = split(value);
            prop_assert_eq!(join(lo, hi), value);
        }
    }

    #[test]
    fn halves_are_two_s_complement() {
        assert_eq!(split(-1), (u64::MAX, -1));
        assert_eq!(split(1), (1, 0));
        assert_eq!(split(i128::MIN), (0, i64::MIN));
    }
}
