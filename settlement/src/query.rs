//! Questions that a slot's state answers, for the CLI and the socket. Nothing here changes anything.

use crate::decide::Rules;
use crate::dual::Account;
use crate::names::Name;
use crate::publish::Origin;
use crate::state::Slot;
use schemas::balance_json::{Balance, DayState};
use schemas::dates::Day;
use std::collections::BTreeMap;

/// How far a slot's balances are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complete {
    /// Generation of the books.
    pub generation: u32,
    /// Slot.
    pub slot: u32,
    /// Last journal batch.
    pub journal_batch: u64,
    /// Its business time, microseconds since 1970-01-01T00:00:00Z.
    pub business_time_us: Option<i64>,
    /// Ticks outside the calendar.
    pub held_ticks: u64,
    /// The last of them.
    pub held_us: Option<i64>,
    /// Entries dated before the newest closed day, whose earlier closings stand as published.
    pub deep_back_dated: u64,
    /// Newest day whose closings of this slot are all out.
    pub closed_through: Option<Day>,
}

/// Closing balance of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Debits minus credits, minor units, as of now: the day may still be open.
    Is(i128),
    /// Older than the state remembers: the answer is in `balances.daily`.
    InDailyBalances,
    /// No such account.
    NoAccount,
}

/// A day of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayStatus {
    /// Day.
    pub day: Day,
    /// State.
    pub state: DayState,
    /// Settlement slots that have published its closings.
    pub aligned: u32,
    /// Settlement slots.
    pub slots: u32,
}

impl Rules {
    fn origin<'a>(&'a self, slot: &Slot) -> Origin<'a> {
        let head = slot.head();
        Origin { book: &self.config.book, generation: head.generation, slot: slot.slot, batch: head.batch }
    }

    /// Balances of one account, an asset each, by asset code.
    #[must_use]
    pub fn balances_of<'a>(&'a self, slot: &'a Slot, account: &str) -> Vec<Balance<'a>> {
        let assets = (0..self.assets.len()).filter_map(|number| u16::try_from(number).ok());
        let found = assets.filter_map(|asset| slot.find(account, asset));
        found.map(|(name, account)| self.balance(name, account, self.origin(slot))).collect()
    }

    /// Every balance of the slot, by account and asset.
    #[must_use]
    pub fn balances<'a>(&'a self, slot: &'a Slot) -> Vec<Balance<'a>> {
        let mut all: Vec<(&Name, &Account)> = slot.names.iter().zip(slot.accounts.iter()).collect();
        all.sort_unstable_by(|(a, _), (b, _)| (a.bytes(), a.asset()).cmp(&(b.bytes(), b.asset())));
        all.into_iter().map(|(name, account)| self.balance(name, account, self.origin(slot))).collect()
    }

    /// At most `count` balances of the slot from number `first` on, in the order in which their accounts first appeared
    /// in the journal. Fewer = there are no more. An account keeps its number, so a slot can be read page by page.
    #[must_use]
    pub fn balances_from<'a>(&'a self, slot: &'a Slot, first: usize, count: usize) -> Vec<Balance<'a>> {
        let row = |number| slot.names.get(number).zip(slot.accounts.get(number));
        let rows = (first..first.saturating_add(count)).map_while(row);
        rows.map(|(name, account)| self.balance(name, account, self.origin(slot))).collect()
    }

    /// Sum of all balances per asset, debits minus credits in minor units: zero in every slot by itself. `None` = the
    /// sum left 128 bits on the way.
    #[must_use]
    pub fn trial_balance(&self, slot: &Slot) -> BTreeMap<&str, Option<i128>> {
        let mut sums: BTreeMap<&str, Option<i128>> = BTreeMap::new();
        for (name, account) in slot.names.iter().zip(slot.accounts.iter()) {
            let (asset, _) = self.assets.get(name.asset()).unwrap_or_default();
            let sum = sums.entry(asset).or_insert(Some(0));
            *sum = sum.and_then(|sum| sum.checked_add(account.dual.current));
        }
        sums
    }

    /// Closing balance of an account on a day.
    #[must_use]
    pub fn closing(&self, slot: &Slot, account: &str, asset: &str, day: Day) -> Closing {
        match slot.account(account, asset) {
            None => Closing::NoAccount,
            Some(account) => account.closing(day).map_or(Closing::InDailyBalances, Closing::Is),
        }
    }

    /// Days of the book, as slot 0 knows them: the newest closed day and all after it.
    #[must_use]
    pub fn days(&self, slot: &Slot) -> Vec<DayStatus> {
        let days = slot.head().days();
        let Some(announced) = days.announced(&self.config.calendar) else { return Vec::new() };
        let slots = self.config.partitions.internal;
        let mut day = days.reports.closed.unwrap_or(announced.first);
        let mut statuses = Vec::new();
        while day <= announced.newest {
            let (state, aligned) = (days.state(announced, day), days.reports.aligned(day, slots));
            statuses.push(DayStatus { day, state, aligned, slots });
            day = day.next();
        }
        statuses
    }

    /// How far the slot is complete.
    #[must_use]
    pub fn complete_until(&self, slot: &Slot) -> Complete {
        let head = slot.head();
        Complete {
            generation: head.generation,
            slot: slot.slot,
            journal_batch: head.batch,
            business_time_us: head.time.highest_us,
            held_ticks: head.time.held,
            held_us: head.time.held_us,
            deep_back_dated: head.deep_back_dated,
            closed_through: head.closing.through,
        }
    }
}
