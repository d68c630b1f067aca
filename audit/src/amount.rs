//! Figures and days as the auditor reads them: i128 from its two wire halves, calendar days by their own arithmetic.

use schemas::wire::{Amount, AssetSum, Decision, Entry, Side};
use std::collections::BTreeMap;

/// `hi * 2^64 + lo`; every pair of halves is within i128.
#[must_use]
pub fn joined(lo: u64, hi: i64) -> i128 {
    i128::from(hi).wrapping_mul(1_i128 << 64).wrapping_add(i128::from(lo))
}

/// Value of a wire amount; absent is zero.
#[must_use]
pub fn of(amount: Option<&Amount>) -> i128 {
    amount.map_or(0, |a| joined(a.lo, a.hi))
}

/// How far below zero a leg may take its account; the end of the range = as far as it wants.
#[must_use]
pub fn overdraft(up_to: Option<&Amount>, unlimited: bool) -> Option<i128> {
    if unlimited { Some(i128::MAX) } else { up_to.map(|up_to| of(Some(up_to))) }
}

/// The overdraft that a decision says a leg brings, by index.
#[must_use]
pub fn overdraft_of(decision: &Decision, leg: u32) -> Option<i128> {
    let said = decision.overdraft.iter().find(|said| said.leg == leg)?;
    overdraft(said.overdraft.as_ref(), said.unlimited)
}

/// `amount` as debits minus credits; `None` when the side is neither.
#[must_use]
pub fn signed(side: i32, amount: i128) -> Option<i128> {
    match Side::try_from(side) {
        Ok(Side::Debit) => Some(amount),
        Ok(Side::Credit) => Some(amount.wrapping_neg()),
        _ => None,
    }
}

/// Figures of an entry: amount, before, after.
#[must_use]
pub fn figures(entry: &Entry) -> (i128, i128, i128) {
    (
        joined(entry.amount_lo, entry.amount_hi),
        joined(entry.before_lo, entry.before_hi),
        joined(entry.after_lo, entry.after_hi),
    )
}

/// Sums per asset without those that are zero, so that an absent sum equals a zero one.
#[must_use]
pub fn sums(stated: &[AssetSum]) -> BTreeMap<&str, i128> {
    let mut out = BTreeMap::new();
    for sum in stated {
        let total: &mut i128 = out.entry(sum.asset.as_str()).or_insert(0);
        *total = total.wrapping_add(of(sum.sum.as_ref()));
    }
    out.retain(|_, total| *total != 0);
    out
}

/// `YYYY-MM-DD` of days since 1970-01-01 (proleptic Gregorian; eras of 400 years that begin on 1 March).
#[must_use]
pub fn date_text(days: i32) -> String {
    let shifted = i64::from(days) + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Inverse of [`date_text`] for `YYYY-MM-DD`; `None` when the text is not such a day.
#[must_use]
pub fn date_days(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let year: i64 = parts.next()?.parse().ok()?;
    let month: i64 = parts.next()?.parse().ok()?;
    let day: i64 = parts.next()?.parse().ok()?;
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let days = i32::try_from(era * 146_097 + of_era - 719_468).ok()?;
    (date_text(days) == text).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn halves_join_as_the_writers_split_them(value in any::<i128>()) {
            let wire = Amount::from(value);
            prop_assert_eq!(of(Some(&wire)), value);
        }

        #[test]
        fn days_go_round(days in -700_000_i32..2_900_000) {
            prop_assert_eq!(date_days(&date_text(days)), Some(days));
        }
    }

    #[test]
    fn days_by_name() {
        for (days, text) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (20_778, "2026-11-21")]
        {
            assert_eq!(date_text(days), text);
        }
        for bad in ["2026-02-30", "2026-2-03", "", "today", "2026-13-01"] {
            assert_eq!(date_days(bad), None, "{bad:?}");
        }
    }
}
