//! What a window adds to the totals of the day in force: commands and their debit legs, by commands partition.
//!
//! The window keeps its own copy of a partition's total from the first command on; a day marker and the state batch
//! take it from here. An event has few assets, and so has a day: they are looked for one by one.

use crate::mapping::Mapped;
use crate::state::{DayTotal, IngestSlot};
use schemas::dates::Day;

/// Totals of the day in force that this window changes.
#[derive(Debug)]
pub(crate) struct Totals<'w> {
    state: &'w IngestSlot,
    book: &'w str,
    by_partition: Vec<Option<Total<'w>>>,
}

#[derive(Debug)]
struct Total<'w> {
    count: u64,
    /// Minor units per asset, modulo 2^128: a control total, which posting counts alike. No amount that a source sends
    /// may keep others from being counted.
    sums: Vec<(&'w str, i128)>,
}

impl<'w> Totals<'w> {
    pub(crate) fn new(state: &'w IngestSlot, book: &'w str, partitions: u32) -> Self {
        let by_partition = (0..partitions).map(|_| None).collect();
        Self { state, book, by_partition }
    }

    /// Counts a command to a partition.
    pub(crate) fn count(&mut self, partition: u32, day: Day, mapped: &Mapped<'w>) {
        let (state, book) = (self.state, self.book);
        let Some(place) = self.by_partition.get_mut(partition as usize) else { return };
        let total = place.get_or_insert_with(|| Total::stored(state, book, day, partition));
        total.count += 1;
        mapped.debits().for_each(|(asset, debits)| total.add(asset, debits));
    }

    /// Totals that the window has changed, by partition.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (u32, DayTotal)> {
        let partitions = (0..).zip(&self.by_partition);
        partitions.filter_map(|(partition, total)| Some((partition, total.as_ref()?.to_day_total())))
    }
}

impl<'w> Total<'w> {
    fn stored(state: &'w IngestSlot, book: &str, day: Day, partition: u32) -> Self {
        let stored = state.day_totals.get(&(book.to_owned(), day, partition));
        let sums = stored.iter().flat_map(|total| &total.sums);
        Self {
            count: stored.map_or(0, |total| total.count),
            sums: sums.map(|(asset, sum)| (asset.as_str(), *sum)).collect(),
        }
    }

    fn add(&mut self, asset: &'w str, debits: i128) {
        match self.sums.iter_mut().find(|(own, _)| *own == asset) {
            Some((_, sum)) => *sum = sum.wrapping_add(debits),
            None => self.sums.push((asset, debits)),
        }
    }

    fn to_day_total(&self) -> DayTotal {
        let sums = self.sums.iter().map(|(asset, sum)| ((*asset).to_owned(), *sum));
        DayTotal { count: self.count, sums: sums.collect() }
    }
}
