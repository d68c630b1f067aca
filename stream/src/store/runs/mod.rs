//! Sorted runs: rows of a slot's state that never change again, kept beside its checkpoint so that they need not stay in
//! memory, and so that a restart need not read them.
//!
//! A row is a key of 16 bytes that is a hash already, a value of one width, and an age (any number that grows, such as a
//! batch). A state collects its rows in pages, in memory. Each checkpoint takes what has been added since the one before
//! ([`Settled`]); when a page is full, all that was taken becomes one closed run, and the page can go once the state has
//! been told ([`ClosedRuns`]). A restart loads rows of open runs and opens closed ones.
//!
//! Of two rows with one key the newer counts: pages before runs, later runs before earlier ones.
//!
//! Bounds: open runs are merged when there are more than [`OPEN_MAX`]; closed ones of about one size when there are
//! [`FAN`], up to [`ROWS_MERGED_MAX`] rows. A slot with n pages' rows has about 3 log4 n closed runs.

mod filter;
mod merge;
mod run;
#[cfg(test)]
mod tests;

pub use filter::{BITS_A_KEY, Filter};
pub use merge::{Failed, merge, merged};
pub use run::{Run, RunWriter, Scan, Shape, Source};

use std::io;
use std::sync::Arc;
use thiserror::Error;

/// Key of a row: a hash.
pub type RowKey = [u8; 16];

/// Open runs beyond this are merged into one.
pub const OPEN_MAX: usize = 16;
/// Closed runs of about one size that are merged into one.
pub const FAN: usize = 4;
/// Runs that hold more are not merged any more.
pub const ROWS_MERGED_MAX: u64 = 1 << 25;

/// A run cannot be read. What is in it is in the log: the checkpoint is dropped and the slot restored from there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damaged {
    /// Reading failed.
    #[error("{0}")]
    Io(String),
    /// It is shorter than what it should hold.
    #[error("it is too short")]
    Short,
    /// It is not what it was written as.
    #[error("{0}")]
    Other(String),
}

impl Damaged {
    pub(super) const SHORT: Self = Self::Short;

    pub(super) fn io(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Rows that have been added since the checkpoint before, on their way to their run.
#[derive(Debug, Default, Clone)]
pub struct Settled {
    width: u32,
    rows: Vec<u8>,
    ages: (u64, u64),
    /// Number of the last page that is full: with these rows, all of its rows are handed over. 0 = none is.
    pub closes: u64,
    /// Rows of lower ages are not wanted any more: closed runs that hold no others go.
    pub gone_before: u64,
    /// Runs that the next checkpoint must hold too, oldest first: what a state brings along whose checkpoint is gone.
    pub carried: Vec<Arc<Run>>,
}

impl Settled {
    /// Adds a row. All of them have values of one width.
    pub fn put(&mut self, key: &RowKey, value: &[u8], age: u64) {
        if self.rows.is_empty() {
            (self.width, self.ages) = (u32::try_from(value.len()).unwrap_or(u32::MAX), (age, age));
        }
        self.ages = (self.ages.0.min(age), self.ages.1.max(age));
        self.rows.extend_from_slice(key);
        self.rows.extend_from_slice(value);
    }

    /// Whether there is nothing to be kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.closes == 0 && self.carried.is_empty()
    }

    /// Bytes of the rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Adds what came later.
    pub(crate) fn append(&mut self, later: Self) {
        let Self { width, rows, ages, closes, gone_before, carried } = later;
        if self.rows.is_empty() {
            (self.width, self.ages) = (width, ages);
        } else if !rows.is_empty() {
            self.ages = (self.ages.0.min(ages.0), self.ages.1.max(ages.1));
        }
        self.rows.extend_from_slice(&rows);
        self.closes = self.closes.max(closes);
        self.gone_before = self.gone_before.max(gone_before);
        self.carried.extend(carried);
    }

    /// Writes the rows as a run; `None` = there is none.
    ///
    /// # Errors
    /// Writing fails.
    pub fn write<W: io::Write>(
        &self,
        to: impl FnOnce() -> io::Result<W>,
    ) -> io::Result<Option<(W, Shape, u32)>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let rows = self.rows.chunks_exact(size_of::<RowKey>() + self.width as usize);
        let mut rows: Vec<(&RowKey, &[u8])> = rows.filter_map(<[u8]>::split_first_chunk).collect();
        rows.sort_by_key(|(key, _)| *key);
        let mut writer = RunWriter::new(to()?, self.width, rows.len())?;
        let next = rows.iter().skip(1).map(|(key, _)| Some(*key)).chain([None]);
        for ((key, value), next) in rows.iter().zip(next) {
            // Of those with one key the last one came last.
            if next != Some(*key) {
                writer.put(key, value, self.ages)?;
            }
        }
        writer.finish().map(Some)
    }
}

/// The closed runs of a checkpoint that counts.
#[derive(Debug, Clone, Default)]
pub struct ClosedRuns {
    /// Oldest first.
    pub runs: Vec<Arc<Run>>,
    /// Pages up to this one are in them; 0 = none of this state's.
    pub closed: u64,
}

/// Where the runs begin that are to be merged into one; `None` = nowhere. `rows` are the closed runs', oldest first.
#[must_use]
pub fn worth_merging(rows: &[u64]) -> Option<usize> {
    // Four times the rows are one size up.
    let size = |rows: u64| rows.max(1).ilog2() / 2;
    let newest = size(*rows.last()?);
    let alike = rows.iter().rev().take_while(|rows| size(**rows) == newest).count();
    let from = rows.len() - alike;
    let sum: u64 = rows.get(from..).unwrap_or_default().iter().sum();
    (alike >= FAN && sum <= ROWS_MERGED_MAX).then_some(from)
}
