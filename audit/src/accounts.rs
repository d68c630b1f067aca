//! Replay of one posting partition's entries, account by account.
//!
//! Bounded by the number of (account, asset) pairs, about 200 bytes each plus 24 for every business day the account
//! was touched on and that is not folded yet. After a finding the replay goes on from the stated figures, so that one
//! defect is one finding.

use crate::amount::{figures, signed};
use crate::finding::{Check, Findings, Place};
use rustc_hash::FxHashMap;
use schemas::wire::Entry;
use std::sync::Arc;

/// Replayed state of one account in one asset.
#[derive(Debug)]
pub struct Account {
    /// Name.
    pub name: Arc<str>,
    /// Index of the asset in [`Accounts::assets`].
    pub asset: usize,
    /// Entries so far.
    pub seq: u64,
    /// Debits minus credits.
    pub balance: i128,
    /// Journal batch of the last entry.
    pub batch: u64,
    /// Sum of entries per accounting date, ascending.
    days: Vec<(i32, i128)>,
}

impl Account {
    /// Last business day booked.
    #[must_use]
    pub fn last_date(&self) -> i32 {
        self.days.last().map_or(0, |(date, _)| *date)
    }

    /// Balance at the end of the day before the last one booked.
    #[must_use]
    pub fn previous(&self) -> i128 {
        self.balance.wrapping_sub(self.days.last().map_or(0, |(_, sum)| *sum))
    }

    /// Sum of all entries dated up to `date`.
    #[must_use]
    pub fn closing(&self, date: i32) -> i128 {
        let upto = self.days.iter().take_while(|(day, _)| *day <= date);
        upto.fold(0_i128, |total, (_, sum)| total.wrapping_add(*sum))
    }

    /// Whether an entry is dated `date`.
    #[must_use]
    pub fn booked_on(&self, date: i32) -> bool {
        self.days.binary_search_by_key(&date, |(day, _)| *day).is_ok()
    }

    /// Makes one of the days up to `date`; the last day booked stays by itself.
    fn fold(&mut self, date: i32) {
        let upto = self.days.partition_point(|(day, _)| *day <= date);
        let folded = upto.min(self.days.len().saturating_sub(1));
        if folded < 2 {
            return;
        }
        let sum = self.days.drain(..folded - 1).fold(0_i128, |total, (_, sum)| total.wrapping_add(sum));
        if let Some((_, first)) = self.days.first_mut() {
            *first = first.wrapping_add(sum);
        }
    }

    fn dated(&mut self, date: i32, amount: i128) {
        match self.days.binary_search_by_key(&date, |(day, _)| *day) {
            Ok(at) => {
                if let Some((_, sum)) = self.days.get_mut(at) {
                    *sum = sum.wrapping_add(amount);
                }
            }
            Err(at) => self.days.insert(at, (date, amount)),
        }
    }
}

/// All accounts of one posting partition, in the order of their first entry.
#[derive(Debug, Default)]
pub struct Accounts {
    list: Vec<Account>,
    assets: Vec<String>,
    index: Vec<FxHashMap<Arc<str>, u32>>,
}

impl Accounts {
    /// Number of (account, asset) pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Every account with its number.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.list.iter()
    }

    /// Days up to `date` are told apart no more: their closings have been judged.
    pub fn fold(&mut self, date: i32) {
        self.list.iter_mut().for_each(|account| account.fold(date));
    }

    /// Days that are told apart, over all accounts.
    #[cfg(test)]
    pub fn days(&self) -> usize {
        self.list.iter().map(|account| account.days.len()).sum()
    }

    /// Account by number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Account> {
        self.list.get(number as usize)
    }

    /// Code of an asset.
    #[must_use]
    pub fn asset(&self, index: usize) -> &str {
        self.assets.get(index).map_or("", String::as_str)
    }

    /// Number of an account.
    #[must_use]
    pub fn find(&self, name: &str, asset: &str) -> Option<u32> {
        let asset = self.assets.iter().position(|a| a == asset)?;
        self.index.get(asset)?.get(name).copied()
    }

    fn number(&mut self, name: &str, asset: &str) -> Option<u32> {
        let at = self.assets.iter().position(|a| a == asset).unwrap_or_else(|| {
            self.assets.push(asset.to_owned());
            self.index.push(FxHashMap::default());
            self.assets.len() - 1
        });
        let index = self.index.get_mut(at)?;
        if let Some(number) = index.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.list.len()).ok()?;
        let name: Arc<str> = Arc::from(name);
        index.insert(Arc::clone(&name), number);
        self.list.push(Account { name, asset: at, seq: 0, balance: 0, batch: 0, days: Vec::new() });
        Some(number)
    }

    /// Replays one entry; returns its account's number and its amount as debits minus credits.
    pub fn replay(&mut self, entry: &Entry, date: i32, place: Place, found: &mut Findings) -> (u32, i128) {
        let (amount, before, after) = figures(entry);
        let named = || format!("{place} {} {} seq {}", entry.account, entry.asset, entry.seq);
        let moved = signed(entry.side, amount);
        found.that(Check::EntryAmount, amount > 0 && moved.is_some(), || {
            (named(), format!("amount {amount}, side {}", entry.side))
        });
        let moved = moved.unwrap_or(0);
        found.that(Check::EntryFigures, before.checked_add(moved) == Some(after), || {
            (named(), format!("before {before} and {moved} do not give after {after}"))
        });
        let Some(number) = self.number(&entry.account, &entry.asset) else { return (u32::MAX, moved) };
        let Some(account) = self.list.get_mut(number as usize) else { return (number, moved) };
        let due = account.seq.saturating_add(1);
        found.that(Check::EntrySeq, entry.seq == due, || (named(), format!("seq {due} is due")));
        let joins = before == account.balance && entry.previous_batch == account.batch;
        found.that(Check::EntryJoin, joins, || {
            let (was, batch) = (account.balance, account.batch);
            (
                named(),
                format!(
                    "before {before} of batch {}, replay has {was} of batch {batch}",
                    entry.previous_batch
                ),
            )
        });
        account.seq = entry.seq;
        account.balance = after;
        account.batch = place.batch;
        account.dated(date, moved);
        (number, moved)
    }
}
