//! The account table of one slot: one row per (account, asset).
//!
//! Rows are found by name through an index of row numbers, so that a name is stored once. Row numbers never leave this
//! crate; everything written is sorted by name.

use rustc_hash::FxHasher;
use schemas::chart::AccountClass;
use schemas::ids::ACCOUNT_BYTES_MAX;
use schemas::wire::Side;
use std::hash::Hasher;
use stream::table::{Changed, Index, Name, Rows, spread};

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
    /// It must be opened by an event before it is used.
    pub opened_first: bool,
    /// It is asked about every leg, wherever the event is decided.
    pub guarded: bool,
    /// Its limit is not asked about what gives an event back.
    pub reversals_forced: bool,
}

impl Terms {
    /// Whether the account must be asked about a leg on `side`: it moves it towards its limit, or the account is guarded.
    #[must_use]
    pub fn may_refuse(&self, side: Side) -> bool {
        self.guarded || (self.overdraft.is_some() && side != self.normal)
    }

    /// Whether `after` (debits minus credits) lies within the limit where so much is on hold besides.
    #[must_use]
    pub fn allows(&self, after: i128, held: i128) -> bool {
        let Some(overdraft) = self.overdraft else { return true };
        // -overdraft is exact: overdraft is not below zero. The ends of the range are beyond any limit.
        match self.normal {
            Side::Credit => after.saturating_add(held) <= overdraft,
            _ => after.saturating_sub(held) >= -overdraft,
        }
    }

    /// What a class says of its accounts in an asset; `None` when they may not hold it.
    #[must_use]
    pub fn of(class: &AccountClass, asset: &str) -> Option<Self> {
        let overdraft = || class.overdraft.as_ref().map(|o| o.minor(asset));
        let (opened_first, guarded) = (class.opened_first, class.guarded || class.opened_first);
        let (holds, reversals_forced) = (class.holds(asset), class.reversals_forced);
        holds.then(|| Self {
            normal: class.normal,
            overdraft: overdraft(),
            opened_first,
            guarded,
            reversals_forced,
        })
    }
}

/// Account, then asset, and the length of the account. A short name lies beside the figures: looking an account up among
/// a million waits for memory, and each place it has to look at is another wait.
fn name_of(account: &str, asset: &str) -> Name {
    Name::new([account.as_bytes(), asset.as_bytes()], u16::try_from(account.len()).unwrap_or(u16::MAX))
}

const _: () = assert!(ACCOUNT_BYTES_MAX <= u16::MAX as usize);

/// One row is a cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Row {
    figures: Figures,
    name: Name,
}

impl Row {
    /// Account and asset.
    fn parts(&self) -> (&[u8], &[u8]) {
        self.name.bytes().split_at_checked(self.name.number().into()).unwrap_or_default()
    }

    fn name(&self) -> (&str, &str) {
        // They were text when they came.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let (account, asset) = self.parts();
        (text(account), text(asset))
    }

    fn is(&self, account: &str, asset: &str) -> bool {
        self.parts() == (account.as_bytes(), asset.as_bytes())
    }
}

/// Rows of one slot.
#[derive(Debug, Default)]
pub struct AccountTable {
    index: Index,
    rows: Rows<Row>,
    dirty: Changed,
    /// Of the dirty rows, about.
    dirty_bytes: usize,
}

fn hash_of(account: &str, asset: &str) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(account.as_bytes());
    hasher.write(asset.as_bytes());
    spread(hasher.finish())
}

impl AccountTable {
    /// Row number of an account in an asset.
    #[must_use]
    pub fn find(&self, account: &str, asset: &str) -> Option<u32> {
        self.find_by(hash_of(account, asset), account, asset)
    }

    fn find_by(&self, hash: u32, account: &str, asset: &str) -> Option<u32> {
        self.index.find(hash, |row| self.rows.get(row as usize).is_some_and(|r| r.is(account, asset)))
    }

    /// Row number of an account in an asset, which gets one with zero figures where it has none.
    pub(crate) fn find_or_insert(&mut self, account: &str, asset: &str) -> u32 {
        let hash = hash_of(account, asset);
        if let Some(row) = self.find_by(hash, account, asset) {
            return row;
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row { figures: Figures::default(), name: name_of(account, asset) });
        self.index.insert(hash, row);
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
            if self.dirty.add(row) {
                self.dirty_bytes += r.name.bytes().len() + 48;
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
        self.dirty_bytes = 0;
        for row in self.dirty.take() {
            if let Some(r) = self.rows.get(row as usize) {
                let (account, asset) = r.name();
                each(account, asset, r.figures);
            }
        }
    }

    pub(crate) const fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Every account and asset with its figures, in the order in which they came.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, Figures)> {
        self.rows.iter().map(|r| (r.name().0, r.name().1, r.figures))
    }

    /// Every account and asset with its figures, sorted by account, then asset.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &str, Figures)> {
        let mut all: Vec<_> = self.all().collect();
        all.sort_unstable_by_key(|(account, asset, _)| (*account, *asset));
        all
    }
}

const _: () = assert!(size_of::<Row>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_normal_side() {
        let terms = |normal, overdraft| Terms {
            normal,
            overdraft,
            opened_first: false,
            guarded: false,
            reversals_forced: false,
        };
        let wallet = terms(Side::Credit, Some(100));
        assert!(wallet.may_refuse(Side::Debit) && !wallet.may_refuse(Side::Credit));
        assert!(wallet.allows(100, 0) && !wallet.allows(101, 0) && wallet.allows(i128::MIN, 0));
        assert!(wallet.allows(93, 7) && !wallet.allows(94, 7) && !wallet.allows(i128::MAX, 7));
        let cash = terms(Side::Debit, Some(0));
        assert!(cash.may_refuse(Side::Credit) && cash.allows(0, 0) && !cash.allows(-1, 0));
        assert!(cash.allows(7, 7) && !cash.allows(6, 7));
        let bank = terms(Side::Debit, None);
        assert!(!bank.may_refuse(Side::Credit) && bank.allows(i128::MIN, i128::MAX));
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
