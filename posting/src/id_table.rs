//! What became of every event of a slot: the newest in memory, the others in sorted runs on disk, behind a filter.
//!
//! What is decided never changes again, so it is collected in pages and goes to runs ([`stream::store::runs`]); what is
//! pending stays in memory until it is decided. A look-up of an event that is new, as nearly all are, costs a probe of the
//! page and one of each run's filter, and no read.
//!
//! The horizon ([`Horizon`]) says what is recognised: ids of batches from `recognised_from` on. Older ones are kept, and
//! read only for events that say they are that old, and where another event refers to them. Then they leave for good, by
//! time alone; nothing is forgotten under load.
//!
//! A page is closed by a checkpoint, never between two: what is in memory is one page and perhaps the one that a checkpoint
//! is writing, however many events come in between, so a look-up asks two at most.
//!
//! Bounds: 68 to 80 bytes an id in memory, at most two pages of them, each no longer than [`PAGE_ROWS`] and what comes between
//! two checkpoints; 2.1 bytes for each one in a run that is recognised, 0.1 for an older one; 55 bytes on disk.

use crate::horizon::Horizon;
use crate::ids::{IdKey, IdRecord, RECORD_BYTES};
use schemas::wire::{self, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use stream::store::runs::{ClosedRuns, Damaged, Run, Settled};
use stream::table::{Index, Rows};

/// Rows with which a checkpoint closes a page, unless said otherwise.
pub const PAGE_ROWS: usize = 1 << 17;

/// The key is a hash already.
pub(crate) fn hash_of(key: &IdKey) -> u32 {
    let [a, b, c, d, ..] = *key;
    u32::from_be_bytes([a, b, c, d])
}

const _: () = assert!(size_of::<(IdKey, IdRecord)>() <= 56);

/// Rows in memory.
#[derive(Debug, Default)]
struct Page {
    index: Index,
    rows: Rows<(IdKey, IdRecord)>,
    /// Rows before this one were given to a checkpoint, except `again`.
    given: usize,
    /// Rows that have changed since: an id that was forgotten and came again.
    again: Vec<u32>,
}

impl Page {
    fn get(&self, key: &IdKey) -> Option<&IdRecord> {
        self.rows.get(self.find(key)? as usize).map(|(_, record)| record)
    }

    fn find(&self, key: &IdKey) -> Option<u32> {
        let is_it = |row: u32| self.rows.get(row as usize).is_some_and(|(found, _)| found == key);
        self.index.find(hash_of(key), is_it)
    }

    fn put(&mut self, key: IdKey, record: IdRecord) {
        if let Some(row) = self.find(&key) {
            if let Some((_, known)) = self.rows.get_mut(row as usize) {
                *known = record;
            }
            if (row as usize) < self.given {
                self.again.push(row);
            }
            return;
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.index.insert(hash_of(&key), row);
        self.rows.push((key, record));
    }

    fn settle(&mut self, to: &mut Settled) {
        let again = std::mem::take(&mut self.again);
        let again = again.iter().filter_map(|row| self.rows.get(*row as usize));
        let new = (self.given..self.rows.len()).filter_map(|row| self.rows.get(row));
        for (key, record) in again.chain(new) {
            to.put(key, &record.encode(), record.home_batch);
        }
        self.given = self.rows.len();
    }
}

/// Ids of one slot.
#[derive(Debug)]
pub struct IdTable {
    page: Page,
    /// Number of `page`, from 1.
    number: u64,
    page_rows: usize,
    /// Closed pages whose rows no checkpoint is known to hold yet, oldest first.
    closed: Vec<(u64, Page)>,
    pending: BTreeMap<IdKey, IdRecord>,
    pending_changed: BTreeSet<IdKey>,
    /// Newest first.
    runs: Vec<Arc<Run>>,
    horizon: Horizon,
    booked: u64,
    refused: u64,
    damaged: OnceLock<String>,
}

impl Default for IdTable {
    fn default() -> Self {
        Self::with_pages(PAGE_ROWS)
    }
}

impl IdTable {
    /// None, with pages that are closed from so many rows on.
    #[must_use]
    pub fn with_pages(rows: usize) -> Self {
        Self {
            page: Page::default(),
            number: 1,
            page_rows: rows.max(1),
            closed: Vec::new(),
            pending: BTreeMap::new(),
            pending_changed: BTreeSet::new(),
            runs: Vec::new(),
            horizon: Horizon::default(),
            booked: 0,
            refused: 0,
            damaged: OnceLock::new(),
        }
    }

    /// What became of an event, if it is recognised.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &IdKey) -> Option<IdRecord> {
        self.find(key, self.horizon.recognised_from)
    }

    /// What became of an event, if anything about it is kept.
    #[must_use]
    pub fn known(&self, key: &IdKey) -> Option<IdRecord> {
        self.find(key, self.horizon.kept_from)
    }

    /// The newest record of a key, unless it is of a batch before `from`.
    fn find(&self, key: &IdKey, from: u64) -> Option<IdRecord> {
        if let Some(record) = self.pending.get(key) {
            return Some(*record);
        }
        let closed = self.closed.iter().rev().map(|(_, page)| page);
        let in_memory = std::iter::once(&self.page).chain(closed).find_map(|page| page.get(key)).copied();
        in_memory.or_else(|| self.in_runs(key, from)).filter(|record| record.home_batch >= from)
    }

    fn in_runs(&self, key: &IdKey, from: u64) -> Option<IdRecord> {
        for run in self.runs.iter().filter(|run| run.ages().1 >= from && run.may_hold(key)) {
            let undecoded = || Damaged::Other("a record does not decode".to_owned());
            match run
                .get(key, IdRecord::decode)
                .and_then(|found| found.map(|r| r.ok_or_else(undecoded)).transpose())
            {
                Ok(None) => {}
                Ok(found) => return found,
                Err(why) => self.is_damaged(&why),
            }
        }
        None
    }

    fn is_damaged(&self, why: &Damaged) {
        let _ = self.damaged.set(format!("ids cannot be read: {why}"));
    }

    /// Why answers may have been wrong.
    pub(crate) fn damaged(&self) -> Option<String> {
        self.damaged.get().cloned()
    }

    /// What is recognised, and what is kept.
    #[must_use]
    pub const fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// Number of events heard of: decided or pending.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.booked + self.refused + self.pending()
    }

    /// Whether none was heard of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that were booked.
    #[must_use]
    pub const fn booked(&self) -> u64 {
        self.booked
    }

    /// Events that were refused for good.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Events whose verdict is still to come.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Ids in memory, and on disk.
    #[must_use]
    pub fn places(&self) -> (u64, u64) {
        let closed = self.closed.iter().map(|(_, page)| page.rows.len()).sum::<usize>();
        let memory = self.page.rows.len() + closed + self.pending.len();
        (memory as u64, self.runs.iter().map(|run| run.rows()).sum())
    }

    /// Runs on disk.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// How many of these keys a filter would have a run read for.
    pub fn perhaps_in_runs(&self, keys: impl Iterator<Item = IdKey>) -> usize {
        keys.filter(|key| self.runs.iter().any(|run| run.may_hold(key))).count()
    }

    /// Bytes that filters and indices of runs take in memory.
    #[must_use]
    pub fn filter_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.memory_bytes() as u64).sum()
    }

    pub(crate) fn set(&mut self, key: IdKey, record: IdRecord) {
        match record.outcome {
            Outcome::Pending => {
                self.pending.insert(key, record);
                self.pending_changed.insert(key);
                return;
            }
            Outcome::Booked => self.booked += 1,
            _ => self.refused += 1,
        }
        if !self.pending.is_empty() && self.pending.remove(&key).is_some() {
            self.pending_changed.insert(key);
        }
        self.page.put(key, record);
    }

    /// Moves the horizon. Filters of runs that are not recognised any more leave memory.
    pub(crate) fn move_horizon(&mut self, horizon: Horizon) {
        self.horizon = horizon;
        self.unfilter();
    }

    fn unfilter(&mut self) {
        let from = self.horizon.recognised_from;
        for run in self.runs.iter_mut().filter(|run| run.ages().1 < from && run.is_filtered()) {
            *run = Arc::new(run.unfiltered());
        }
    }

    /// Takes an id as [`Self::sorted`] gives it. A checkpoint has the pending ones so, and the others as rows.
    pub(crate) fn load(&mut self, key: IdKey, record: IdRecord) {
        if matches!(record.outcome, Outcome::Pending) {
            self.pending.insert(key, record);
        } else {
            self.page.put(key, record);
            self.page.given = self.page.rows.len();
        }
    }

    pub(crate) fn load_row(&mut self, key: &IdKey, value: &[u8]) -> Result<(), String> {
        self.load(*key, IdRecord::decode(value).ok_or("a row of ids does not decode")?);
        Ok(())
    }

    /// Pending ids that have changed since the last call; `None` = decided.
    pub(crate) fn take_dirty(&mut self) -> Vec<(IdKey, Option<IdRecord>)> {
        let changed = std::mem::take(&mut self.pending_changed).into_iter();
        changed.map(|key| (key, self.pending.get(&key).copied())).collect()
    }

    pub(crate) fn take_settled(&mut self, all: bool) -> Settled {
        let mut settled = Settled::default();
        settled.gone_before = self.horizon.kept_from;
        if all {
            settled.carried = self.runs.iter().rev().cloned().collect();
        }
        if self.page.rows.len() >= self.page_rows {
            self.closed.push((self.number, std::mem::take(&mut self.page)));
            self.number += 1;
        }
        for (number, page) in &mut self.closed {
            page.given = if all { 0 } else { page.given };
            page.settle(&mut settled);
            settled.closes = *number;
        }
        self.page.given = if all { 0 } else { self.page.given };
        self.page.settle(&mut settled);
        settled
    }

    pub(crate) fn adopt(&mut self, closed: ClosedRuns) {
        self.runs = closed.runs.into_iter().rev().collect();
        self.closed.retain(|(number, _)| *number > closed.closed);
        self.unfilter();
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        let closed = self.closed.iter().map(|(_, page)| page);
        let rows = closed.chain([&self.page]).map(|page| page.rows.len() - page.given + page.again.len());
        (rows.sum::<usize>() + self.pending_changed.len()) * (16 + RECORD_BYTES)
    }

    /// Pending ids.
    pub(crate) fn all_pending(&self) -> impl Iterator<Item = (&IdKey, &IdRecord)> {
        self.pending.iter()
    }

    /// The newest record of every id that is kept, pending ones among them, by key.
    pub(crate) fn sorted(&self) -> BTreeMap<IdKey, IdRecord> {
        let mut all = BTreeMap::new();
        for run in self.runs.iter().rev() {
            let mut scan = run.scan();
            loop {
                match scan.next() {
                    Ok(Some((key, value))) => all.extend(IdRecord::decode(value).map(|record| (key, record))),
                    Ok(None) => break,
                    Err(why) => {
                        self.is_damaged(&why);
                        break;
                    }
                }
            }
        }
        let pages = self.closed.iter().map(|(_, page)| page).chain([&self.page]);
        all.extend(pages.flat_map(|page| page.rows.iter()).copied());
        all.retain(|_, record| record.home_batch >= self.horizon.kept_from);
        all.extend(self.pending.iter().map(|(key, record)| (*key, *record)));
        all
    }

    pub(crate) fn to_wire(&self) -> wire::IdsRest {
        wire::IdsRest { booked: self.booked, refused: self.refused, horizon: Some(self.horizon.to_wire()) }
    }

    pub(crate) fn load_rest(&mut self, rest: &wire::IdsRest) {
        (self.booked, self.refused) = (rest.booked, rest.refused);
        self.horizon = rest.horizon.as_ref().map(Horizon::from_wire).unwrap_or_default();
        self.unfilter();
    }
}

#[cfg(test)]
mod tests;
