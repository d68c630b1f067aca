//! Counting items per business day: what markers and journaled counters are held against.
//!
//! Bounded by pairs of peers and business days seen.

use crate::amount;
use schemas::wire::AssetSum;
use std::collections::BTreeMap;

/// Items of one book and day between two peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DayCount {
    book: String,
    date: i32,
    /// Items that are not back-dated.
    pub count: u64,
    sum: BTreeMap<String, i128>,
}

impl DayCount {
    /// Whether a stated count and its sums are these (a sum of zero may be left out).
    #[must_use]
    pub fn equals(&self, count: u64, stated: &[AssetSum]) -> bool {
        self.count == count && amount::sums(stated) == self.nonzero()
    }

    fn nonzero(&self) -> BTreeMap<&str, i128> {
        self.sum.iter().filter(|(_, sum)| **sum != 0).map(|(asset, sum)| (asset.as_str(), *sum)).collect()
    }

    /// The sums as a marker carries them.
    #[must_use]
    pub fn wire_sums(&self) -> Vec<AssetSum> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the two halves of the figure
        let halves = |sum: i128| schemas::wire::Amount { lo: sum as u64, hi: (sum >> 64) as i64 };
        self.nonzero()
            .into_iter()
            .map(|(asset, sum)| AssetSum { asset: asset.into(), sum: Some(halves(sum)) })
            .collect()
    }

    /// What is stated and what was counted, for a finding.
    #[must_use]
    pub fn against(&self, count: u64, stated: &[AssetSum]) -> String {
        let (stated, found) = (amount::sums(stated), self.nonzero());
        format!("states {count} items and {stated:?}, found {} and {found:?}", self.count)
    }
}

/// Day counts between peers of any kind `K`.
#[derive(Debug)]
pub struct DayCounts<K> {
    peers: BTreeMap<K, Vec<DayCount>>,
}

impl<K> Default for DayCounts<K> {
    fn default() -> Self {
        Self { peers: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> DayCounts<K> {
    /// Counts one item with its figures.
    pub fn count<'s>(&mut self, peer: K, book: &str, date: i32, sums: impl Iterator<Item = (&'s str, i128)>) {
        let days = self.peers.entry(peer).or_default();
        let at = days.iter().rposition(|d| d.date == date && d.book == book).unwrap_or_else(|| {
            days.push(DayCount { book: book.to_owned(), date, ..DayCount::default() });
            days.len() - 1
        });
        let Some(day) = days.get_mut(at) else { return };
        day.count += 1;
        for (asset, amount) in sums {
            match day.sum.get_mut(asset) {
                Some(total) => *total = total.wrapping_add(amount),
                None => {
                    day.sum.insert(asset.to_owned(), amount);
                }
            }
        }
    }

    /// What was counted for a day; nothing counted is an empty count.
    #[must_use]
    pub fn of(&self, peer: K, book: &str, date: i32) -> DayCount {
        let days = self.peers.get(&peer);
        let day = days.and_then(|days| days.iter().find(|d| d.date == date && d.book == book));
        day.cloned().unwrap_or_default()
    }
}
