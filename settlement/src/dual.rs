//! The dual balance: current and previous-day balance of an account under one last date.
//!
//! The rule, in words: an entry of a later day than the last makes the current balance that of the day before; an entry
//! of the last day changes the current balance alone; an entry of an earlier day changes both. The closing of a day
//! is then the balance before the last date, or, from that date on, the current one. With d the entry's accounting
//! date, ld the last date, a the signed amount:
//!
//! ```text
//! post(d, a):  d > ld: last = cur; ld = d; cur += a
//!              d = ld: cur += a
//!              d < ld: last += a; cur += a
//! closing(T) = ld > T ? last : cur          valid for T >= ld - 1
//! ```
//!
//! Moving the business date touches no account. All figures are debits minus credits in minor units.

use schemas::dates::Day;
use std::num::NonZeroU32;

/// Two balances and the date between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DualBalance {
    /// Balance after every entry.
    pub current: i128,
    /// Balance at the end of the day before `last_date`.
    pub previous: i128,
    /// Last date booked; [`DualBalance::NEVER`] before the first entry.
    pub last_date: Day,
}

impl DualBalance {
    /// Last date of an account that was never booked.
    pub const NEVER: Day = Day(i32::MIN);
    /// An account that was never booked.
    pub const EMPTY: Self = Self { current: 0, previous: 0, last_date: Self::NEVER };

    /// Posts a signed amount. `None` when a balance leaves the range that can be shown on either side (i128 without
    /// its minimum).
    #[must_use]
    pub fn posted(self, date: Day, amount: i128) -> Option<Self> {
        let current = add(self.current, amount)?;
        let (previous, last_date) = if date > self.last_date {
            (self.current, date)
        } else if date == self.last_date {
            (self.previous, self.last_date)
        } else {
            (add(self.previous, amount)?, self.last_date)
        };
        Some(Self { current, previous, last_date })
    }

    /// Balance at the end of `day`; `None` for days that the two balances no longer tell apart.
    #[must_use]
    pub fn closing(&self, day: Day) -> Option<i128> {
        if day < self.last_date.previous() {
            return None;
        }
        Some(if self.last_date > day { self.previous } else { self.current })
    }
}

fn add(balance: i128, amount: i128) -> Option<i128> {
    balance.checked_add(amount).filter(|sum| *sum != i128::MIN)
}

/// The newest daily record of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daily {
    /// Closing balance, debits minus credits.
    pub closing: i128,
    /// Its day.
    pub day: Day,
    /// Its revision.
    pub revision: NonZeroU32,
}

/// What a slot knows of one account and asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Current and previous balance.
    pub dual: DualBalance,
    /// Sequence of the last entry; 0 = none.
    pub seq: u64,
    /// Earliest date booked that no daily record covers yet.
    pub unpublished_from: Option<Day>,
    /// Newest daily record.
    pub daily: Option<Daily>,
}

impl Account {
    /// An account without entries.
    pub const EMPTY: Self = Self { dual: DualBalance::EMPTY, seq: 0, unpublished_from: None, daily: None };

    /// Posts the account's next entry. `closed` is the newest day whose closing of this account is out: an entry
    /// dated then or before changes that closing. Returns whether it did.
    ///
    /// `None` = a balance is out of range.
    pub fn post(&mut self, date: Day, amount: i128, closed: Option<Day>) -> Option<bool> {
        let dual = self.dual.posted(date, amount)?;
        let revises = closed.is_some_and(|closed| date <= closed);
        if revises {
            let daily = self.daily.unwrap_or(Daily {
                closing: 0,
                day: DualBalance::NEVER,
                revision: NonZeroU32::MIN,
            });
            self.daily = Some(Daily { closing: add(daily.closing, amount)?, ..daily });
        } else {
            self.unpublished_from = Some(self.unpublished_from.map_or(date, |from| from.min(date)));
        }
        self.dual = dual;
        self.seq += 1;
        Some(revises)
    }

    /// Numbers the daily record of `closed` anew after [`Account::post`] changed its closing: one revision more, or
    /// the first where the account had none for that day.
    pub fn revise(&mut self, closed: Day) -> Option<Daily> {
        let daily = self.daily?;
        let revision = if daily.day == closed { daily.revision.saturating_add(1) } else { NonZeroU32::MIN };
        let daily = Daily { day: closed, revision, ..daily };
        self.daily = Some(daily);
        Some(daily)
    }

    /// Whether the close of `day` has to publish this account: it was booked then or before and no record says so.
    #[must_use]
    pub fn is_due(&self, day: Day) -> bool {
        self.unpublished_from.is_some_and(|from| from <= day)
    }

    /// Closes `day` for this account. `None` = the dual balance no longer holds that closing.
    pub fn close(&mut self, day: Day) -> Option<Daily> {
        let daily = Daily { closing: self.dual.closing(day)?, day, revision: NonZeroU32::MIN };
        self.daily = Some(daily);
        self.unpublished_from = Some(self.dual.last_date).filter(|last| *last > day);
        Some(daily)
    }

    /// Balance at the end of `day` as of now, as far as this state can tell.
    #[must_use]
    pub fn closing(&self, day: Day) -> Option<i128> {
        self.dual.closing(day).or_else(|| {
            let covered = self.unpublished_from.is_none_or(|from| from > day);
            self.daily.filter(|daily| covered && daily.day <= day).map(|daily| daily.closing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries (day of month, amount) in, then current, previous, last date, closing of the last date, of the day
    /// before it, and of the day before that.
    #[test]
    fn current_and_previous_balance() {
        type Row = (&'static [(i32, i128)], i128, i128, i32, Option<i128>, Option<i128>);
        let rows: &[Row] = &[
            // One day.
            (&[(21, 100)], 100, 0, 21, Some(100), Some(0)),
            (&[(21, 100), (21, -30)], 70, 0, 21, Some(70), Some(0)),
            // The date moves: the balance of the evening stays as previous.
            (&[(21, 100), (22, 5)], 105, 100, 22, Some(105), Some(100)),
            (&[(21, 100), (22, 5), (22, 5)], 110, 100, 22, Some(110), Some(100)),
            // Booked back into the day before: both move.
            (&[(21, 100), (22, 5), (21, 7)], 112, 107, 22, Some(112), Some(107)),
            (&[(22, 5), (21, 7)], 12, 7, 22, Some(12), Some(7)),
            (&[(21, 100), (22, 5), (21, -100), (22, 1)], 6, 0, 22, Some(6), Some(0)),
            // Days without entries: previous is the last evening, however long ago.
            (&[(21, 100), (28, 5)], 105, 100, 28, Some(105), Some(100)),
            (&[(21, 100), (28, 5), (27, 3)], 108, 103, 28, Some(108), Some(103)),
            // Three days running.
            (&[(21, 1), (22, 10), (23, 100)], 111, 11, 23, Some(111), Some(11)),
            (&[(21, 1), (22, 10), (23, 100), (22, 1000)], 1111, 1011, 23, Some(1111), Some(1011)),
        ];
        for (entries, current, previous, last_date, closing, closing_before) in rows {
            let mut dual = DualBalance::EMPTY;
            for (day, amount) in *entries {
                dual = dual.posted(Day(*day), *amount).unwrap();
            }
            assert_eq!(
                (dual.current, dual.previous, dual.last_date.0),
                (*current, *previous, *last_date),
                "{entries:?}"
            );
            assert_eq!(dual.closing(Day(*last_date)), *closing, "{entries:?}");
            assert_eq!(dual.closing(Day(last_date + 1)), *closing, "{entries:?}: later days close the same");
            assert_eq!(dual.closing(Day(last_date - 1)), *closing_before, "{entries:?}");
            assert_eq!(dual.closing(Day(last_date - 2)), None, "{entries:?}: two days back is not held");
        }
    }

    #[test]
    fn nothing_leaves_the_range_of_money() {
        let full = DualBalance { current: i128::MAX, previous: 0, last_date: Day(21) };
        assert_eq!(full.posted(Day(21), 1), None);
        let low = DualBalance { current: -i128::MAX, previous: 0, last_date: Day(21) };
        assert_eq!(low.posted(Day(21), -1), None, "the minimum has no opposite to show");
        let back = DualBalance { current: 0, previous: i128::MAX, last_date: Day(21) };
        assert_eq!(back.posted(Day(20), 1), None);
    }

    #[test]
    fn a_closed_day_is_revised_not_rebuilt() {
        let (monday, tuesday) = (Day(21), Day(22));
        let mut account = Account::EMPTY;
        assert_eq!(account.post(monday, 100, None), Some(false));
        assert_eq!(account.post(tuesday, 5, None), Some(false));
        assert!(account.is_due(monday));
        let daily = account.close(monday).unwrap();
        assert_eq!((daily.closing, daily.day, daily.revision.get()), (100, monday, 1));
        assert_eq!(account.unpublished_from, Some(tuesday), "Tuesday's entry waits for Tuesday's close");
        assert_eq!(account.post(monday, -40, Some(monday)), Some(true));
        let daily = account.revise(monday).unwrap();
        assert_eq!((daily.closing, daily.revision.get()), (60, 2));
        assert_eq!(account.dual.closing(monday), Some(60), "both ways of telling it agree");
        let daily = account.close(tuesday).unwrap();
        assert_eq!((daily.closing, daily.revision.get(), account.unpublished_from), (65, 1, None));
    }

    #[test]
    fn an_account_first_booked_into_a_closed_day_starts_at_revision_one() {
        let mut account = Account::EMPTY;
        assert_eq!(account.post(Day(21), 9, Some(Day(21))), Some(true));
        let daily = account.revise(Day(21)).unwrap();
        assert_eq!((daily.closing, daily.revision.get(), account.is_due(Day(21))), (9, 1, false));
    }
}
