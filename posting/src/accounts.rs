//! The account table of one slot: one row per (account, asset).
//!
//! Rows are found by name through a hash table of row numbers, so that a name is stored once. Row numbers never
//! leave this crate; everything written is sorted by name.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use schemas::chart::AccountClass;
use schemas::wire::Side;
use std::hash::{Hash, Hasher};

/// Figures of one account in one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Debits minus credits, minor units.
    pub balance: i128,
    /// Number of entries.
    pub seq: u64,
    /// Journal batch of the last entry; 0 = none.
    pub last_batch: u64,
}

/// What the chart says of an account in one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Normal side.
    pub normal: Side,
    /// Largest overdraft in minor units; `None` = never refuses.
    pub overdraft: Option<i128>,
}

impl Terms {
    /// Whether a leg on `side` moves the account towards its limit.
    #[must_use]
    pub fn may_refuse(&self, side: Side) -> bool {
        self.overdraft.is_some() && side != self.normal
    }

    /// Whether `after` (debits minus credits) lies within the limit.
    #[must_use]
    pub fn allows(&self, after: i128) -> bool {
        let Some(overdraft) = self.overdraft else { return true };
        // -overdraft is exact: overdraft is not below zero.
        match self.normal {
            Side::Credit => after <= overdraft,
            _ => after >= -overdraft,
        }
    }

    /// What a class says of its accounts in an asset; `None` when they may not hold it.
    #[must_use]
    pub fn of(class: &AccountClass, asset: &str) -> Option<Self> {
        let overdraft = || class.overdraft.as_ref().map(|o| o.minor(asset));
        class.holds(asset).then(|| Self { normal: class.normal, overdraft: overdraft() })
    }
}

/// One row is a cache line; the name, account before asset, is another.
#[derive(Debug, Clone)]
struct Row {
    figures: Figures,
    name: Box<str>,
    account_len: u32,
    dirty: bool,
}

impl Row {
    fn name(&self) -> (&str, &str) {
        self.name.split_at_checked(self.account_len as usize).unwrap_or_default()
    }

    fn is(&self, account: &str, asset: &str) -> bool {
        self.name() == (account, asset)
    }
}

/// Rows of one slot.
#[derive(Debug, Default)]
pub struct AccountTable {
    index: HashTable<u32>,
    rows: Vec<Row>,
    dirty: Vec<u32>,
    dirty_bytes: usize,
}

fn hash_of(account: &str, asset: &str) -> u64 {
    let mut hasher = FxHasher::default();
    account.hash(&mut hasher);
    asset.hash(&mut hasher);
    hasher.finish()
}

impl AccountTable {
    /// Row number of an account in an asset.
    #[must_use]
    pub fn find(&self, account: &str, asset: &str) -> Option<u32> {
        if self.rows.is_empty() {
            return None;
        }
        let is_it = |row: &u32| self.rows.get(*row as usize).is_some_and(|r| r.is(account, asset));
        self.index.find(hash_of(account, asset), is_it).copied()
    }

    /// Row number of an account in an asset, which gets one with zero figures where it has none.
    pub(crate) fn find_or_insert(&mut self, account: &str, asset: &str) -> u32 {
        if let Some(row) = self.find(account, asset) {
            return row;
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row {
            figures: Figures::default(),
            name: [account, asset].concat().into(),
            account_len: u32::try_from(account.len()).unwrap_or(u32::MAX),
            dirty: false,
        });
        let rows = &self.rows;
        let name = |r: &u32| rows.get(*r as usize).map(Row::name).unwrap_or_default();
        let rehash = |r: &u32| hash_of(name(r).0, name(r).1);
        self.index.insert_unique(hash_of(account, asset), row, rehash);
        row
    }

    /// Account and asset of a row.
    #[must_use]
    pub fn name(&self, row: u32) -> Option<(&str, &str)> {
        self.rows.get(row as usize).map(Row::name)
    }

    /// Figures of a row; zero for a row that does not exist.
    #[must_use]
    pub fn figures(&self, row: u32) -> Figures {
        self.rows.get(row as usize).map_or_else(Figures::default, |r| r.figures)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sets the figures of a row.
    pub(crate) fn set(&mut self, row: u32, figures: Figures) {
        if let Some(r) = self.rows.get_mut(row as usize) {
            r.figures = figures;
            if !r.dirty {
                r.dirty = true;
                self.dirty.push(row);
                self.dirty_bytes += r.name.len() + 48;
            }
        }
    }

    /// Sets figures that a checkpoint holds.
    pub(crate) fn load(&mut self, account: &str, asset: &str, figures: Figures) {
        let row = self.find_or_insert(account, asset);
        if let Some(r) = self.rows.get_mut(row as usize) {
            r.figures = figures;
        }
    }

    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&str, &str, Figures)) {
        let dirty = std::mem::take(&mut self.dirty);
        self.dirty_bytes = 0;
        for row in dirty {
            if let Some(r) = self.rows.get_mut(row as usize) {
                r.dirty = false;
                let (account, asset) = r.name();
                each(account, asset, r.figures);
            }
        }
    }

    pub(crate) const fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Every account and asset with its figures, sorted by account, then asset.
    #[must_use]
    pub fn sorted<'a>(&'a self) -> Vec<(&'a str, &'a str, Figures)> {
        let row = |r: &'a Row| (r.name().0, r.name().1, r.figures);
        let mut all: Vec<_> = self.rows.iter().map(row).collect();
        all.sort_unstable_by_key(|(account, asset, _)| (*account, *asset));
        all
    }
}

const _: () = assert!(size_of::<Row>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_normal_side() {
        let wallet = Terms { normal: Side::Credit, overdraft: Some(100) };
        assert!(wallet.may_refuse(Side::Debit) && !wallet.may_refuse(Side::Credit));
        assert!(wallet.allows(100) && !wallet.allows(101) && wallet.allows(i128::MIN));
        let cash = Terms { normal: Side::Debit, overdraft: Some(0) };
        assert!(cash.may_refuse(Side::Credit) && cash.allows(0) && !cash.allows(-1));
        let bank = Terms { normal: Side::Debit, overdraft: None };
        assert!(!bank.may_refuse(Side::Credit) && bank.allows(i128::MIN));
    }

    #[test]
    fn rows_are_found_again_among_many() {
        let mut table = AccountTable::default();
        for n in 0..10_000_u64 {
            let figures = Figures { balance: i128::from(n), seq: n, last_batch: 1 };
            let row =
                table.find_or_insert(&format!("users:{n}:wallet"), if n % 2 == 0 { "CNY" } else { "USD" });
            table.set(row, figures);
        }
        for n in 0..10_000_u64 {
            let (this, other) = if n % 2 == 0 { ("CNY", "USD") } else { ("USD", "CNY") };
            let row = table.find(&format!("users:{n}:wallet"), this).unwrap();
            assert_eq!(table.figures(row).seq, n);
            assert_eq!(table.find(&format!("users:{n}:wallet"), other), None);
        }
        let mut seen = 0;
        table.take_dirty(|_, _, _| seen += 1);
        assert_eq!((seen, table.dirty_bytes()), (10_000, 0));
    }
}
