//! What a window moves between partitions, netted: one clearing entry for each peer, direction, asset, book and date.

use crate::config::CLEARING_MAX;
use std::collections::BTreeMap;

/// Which clearing account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// Credits sent (true) or received.
    pub outgoing: bool,
    /// The other partition.
    pub peer: u32,
}

impl Side {
    /// Name of the clearing account of partition `own`.
    #[must_use]
    pub fn account(&self, own: u32) -> String {
        let Self { outgoing, peer } = self;
        if *outgoing {
            format!("clearing:out:p{own:02}:p{peer:02}")
        } else {
            format!("clearing:in:p{peer:02}:p{own:02}")
        }
    }
}

/// Credits of one side under one asset, book and date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Asset.
    pub asset: String,
    /// Book.
    pub book: String,
    /// Accounting date.
    pub date: i32,
    /// Signed as the clearing account moves.
    pub sum: i128,
    /// First channel sequence.
    pub first: u64,
    /// Last channel sequence.
    pub last: u64,
    /// How many.
    pub count: u32,
}

#[derive(Debug, Default)]
struct Moved {
    nets: Vec<Net>,
    /// Balance of the clearing account per asset, this window's credits counted in.
    balances: Vec<(String, i128)>,
}

/// The window's clearing so far.
#[derive(Debug, Default)]
pub struct ClearingNets {
    sides: BTreeMap<Side, Moved>,
}

/// One credit as its clearing account sees it.
#[derive(Debug, Clone, Copy)]
pub struct Cleared<'a> {
    /// Asset.
    pub asset: &'a str,
    /// Book.
    pub book: &'a str,
    /// Accounting date.
    pub date: i32,
    /// Channel sequence.
    pub sequence: u64,
    /// Signed as the clearing account moves.
    pub by: i128,
}

impl ClearingNets {
    /// Balance of a clearing account in an asset; `base` is asked for what it was before the window.
    pub fn balance(&mut self, side: Side, asset: &str, base: impl FnOnce() -> i128) -> i128 {
        self.sides.entry(side).or_default().balance(asset, base)
    }

    /// Whether a clearing account could still take `by` (signed) within [`CLEARING_MAX`]. Both ends of a channel
    /// judge the same figures, so what the sender lets out the receiver can clear.
    pub fn fits(&mut self, side: Side, asset: &str, by: i128, base: impl FnOnce() -> i128) -> bool {
        let after = self.balance(side, asset, base).checked_add(by);
        after.is_some_and(|after| after.unsigned_abs() <= CLEARING_MAX.unsigned_abs())
    }

    /// Counts one credit.
    pub fn add(&mut self, side: Side, credit: Cleared<'_>, base: impl FnOnce() -> i128) {
        let Cleared { asset, book, date, sequence, by } = credit;
        let moved = self.sides.entry(side).or_default();
        let balance = moved.balance(asset, base).saturating_add(by);
        moved.set_balance(asset, balance);
        let same = |net: &&mut Net| net.date == date && net.asset == asset && net.book == book;
        match moved.nets.iter_mut().find(same) {
            Some(net) => {
                net.sum = net.sum.saturating_add(by);
                net.last = sequence;
                net.count += 1;
            }
            None => moved.nets.push(Net {
                asset: asset.to_owned(),
                book: book.to_owned(),
                date,
                sum: by,
                first: sequence,
                last: sequence,
                count: 1,
            }),
        }
    }

    /// Number of nets.
    pub(crate) fn len(&self) -> usize {
        self.sides.values().map(|moved| moved.nets.len()).sum()
    }

    /// All nets: received before sent, then by peer, asset, book and date.
    #[must_use]
    pub fn sorted(self) -> Vec<(Side, Net)> {
        let mut all = Vec::new();
        for (side, mut moved) in self.sides {
            moved.nets.sort_by(|a, b| (&a.asset, &a.book, a.date).cmp(&(&b.asset, &b.book, b.date)));
            all.extend(moved.nets.into_iter().map(|net| (side, net)));
        }
        all
    }
}

impl Moved {
    fn balance(&mut self, asset: &str, base: impl FnOnce() -> i128) -> i128 {
        if let Some((_, balance)) = self.balances.iter().find(|(a, _)| a == asset) {
            return *balance;
        }
        let balance = base();
        self.balances.push((asset.to_owned(), balance));
        balance
    }

    fn set_balance(&mut self, asset: &str, to: i128) {
        if let Some((_, balance)) = self.balances.iter_mut().find(|(a, _)| a == asset) {
            *balance = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_netted_by_side_asset_book_and_date_and_come_sorted() {
        let mut nets = ClearingNets::default();
        let side = |outgoing, peer| Side { outgoing, peer };
        let credit = |asset, date, sequence, by| Cleared { asset, book: "main", date, sequence, by };
        nets.add(side(true, 1), credit("USD", 100, 1, 5), || 0);
        nets.add(side(true, 1), credit("CNY", 101, 2, 7), || 10);
        nets.add(side(true, 1), credit("CNY", 100, 3, 7), || unreachable!("asked once"));
        nets.add(side(true, 1), credit("CNY", 100, 4, -7), || unreachable!("asked once"));
        nets.add(side(false, 9), credit("CNY", 100, 1, -1), || 0);
        assert_eq!(nets.balance(side(true, 1), "CNY", || 0), 17);
        assert!(nets.fits(side(true, 1), "CNY", CLEARING_MAX - 17, || 0));
        assert!(!nets.fits(side(true, 1), "CNY", CLEARING_MAX - 16, || 0));
        assert!(!nets.fits(side(true, 1), "CNY", i128::MAX, || 0));
        assert_eq!(nets.len(), 4);
        let all: Vec<_> = nets
            .sorted()
            .into_iter()
            .map(|(s, n)| (s.outgoing, s.peer, n.asset, n.date, n.sum, n.first, n.last, n.count))
            .collect();
        let row = |outgoing, peer, asset: &str, date, sum, first, last, count| {
            (outgoing, peer, asset.to_owned(), date, sum, first, last, count)
        };
        assert_eq!(
            all,
            [
                row(false, 9, "CNY", 100, -1, 1, 1, 1),
                row(true, 1, "CNY", 100, 0, 3, 4, 2),
                row(true, 1, "CNY", 101, 7, 2, 2, 1),
                row(true, 1, "USD", 100, 5, 1, 1, 1),
            ]
        );
    }
}
