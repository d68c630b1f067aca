//! One partition: slots from the low watermark up, one for each offset, markers among them.
//!
//! Bounded by nothing but memory: a simulated run is short. Order relied on: offsets are given in the order of
//! the writes; a transaction holds the last stable offset at its first record until its marker is written.

use crate::log::{Isolation, Offset, Record, Watermarks};
use std::collections::{BTreeMap, VecDeque};

/// Number of a transaction, over all producers.
pub(super) type TransactionNo = u32;

/// What an offset holds.
#[derive(Debug)]
pub(super) enum Slot {
    /// A record, and the transaction that wrote it.
    Record { record: Record, transaction: Option<TransactionNo> },
    /// A commit or abort marker.
    Marker,
}

/// Why the end of a partition cannot be read for the moment.
#[derive(Debug, Clone, Copy)]
struct Stall {
    from: Offset,
    until_us: i64,
}

/// A partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    low: Offset,
    slots: VecDeque<Slot>,
    /// What was truncated or lost, by offset.
    gone: BTreeMap<Offset, Slot>,
    /// Transactions without a marker here, with their first offset.
    holds: Vec<(TransactionNo, Offset)>,
    stall: Option<Stall>,
}

/// What is left of a fetch limit.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) given: usize,
}

impl Budget {
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.bytes || self.given == 0;
        if self.given >= self.records || !fits {
            return false;
        }
        self.given += 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// What one read of a partition gave.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) next: Offset,
    pub(super) stepped_over: u64,
    /// Stopped at the last stable offset, with more behind it.
    pub(super) held: bool,
    /// Stopped where the partition is slow, with more behind it.
    pub(super) slow: bool,
}

impl Partition {
    pub(super) fn low(&self) -> Offset {
        self.low
    }

    /// Offset of the next write.
    pub(super) fn high(&self) -> Offset {
        self.low.saturating_add(i64::try_from(self.slots.len()).unwrap_or(i64::MAX))
    }

    /// Last stable offset: the first one of a transaction without a marker, else the high watermark.
    pub(super) fn stable(&self) -> Offset {
        self.holds.iter().map(|(_, first)| *first).min().unwrap_or_else(|| self.high())
    }

    pub(super) fn watermarks(&self, isolation: Isolation) -> Watermarks {
        let high = match isolation {
            Isolation::Committed => self.stable(),
            Isolation::Uncommitted => self.high(),
        };
        Watermarks { low: self.low, high }
    }

    /// Writes a record and gives it the next offset. True if it stands behind another producer's within its
    /// own transaction.
    pub(super) fn write(&mut self, mut record: Record, transaction: Option<TransactionNo>) -> bool {
        record.offset = self.high();
        let follows_own = matches!(self.slots.back(),
            Some(Slot::Record { transaction: last, .. }) if *last == transaction);
        let began = transaction.is_some_and(|no| self.holds.iter().any(|(holder, _)| *holder == no));
        if let Some(no) = transaction.filter(|_| !began) {
            self.holds.push((no, record.offset));
        }
        self.slots.push_back(Slot::Record { record, transaction });
        began && !follows_own
    }

    /// Writes the transaction's marker and lets go of the last stable offset. False if it holds nothing here.
    pub(super) fn mark(&mut self, no: TransactionNo) -> bool {
        let Some(at) = self.holds.iter().position(|(holder, _)| *holder == no) else { return false };
        self.holds.remove(at);
        self.slots.push_back(Slot::Marker);
        true
    }

    /// Makes what is written from `from` on unreadable until `until_us`.
    pub(super) fn stall(&mut self, from: Offset, now_us: i64, until_us: i64) {
        self.stall = match self.stall {
            Some(old) if old.until_us > now_us => {
                Some(Stall { from: old.from.min(from), until_us: old.until_us.max(until_us) })
            }
            _ => Some(Stall { from, until_us }),
        };
    }

    /// Drops every slot below `low`, but none at or above the last stable offset. True if any was dropped.
    pub(super) fn truncate(&mut self, low: Offset) -> bool {
        let low = low.min(self.stable());
        let dropped = usize::try_from(low.saturating_sub(self.low)).unwrap_or(0);
        let dropped_slots = self.slots.drain(..dropped.min(self.slots.len()));
        self.gone.extend((self.low..).zip(dropped_slots));
        self.low = self.low.max(low);
        dropped > 0
    }

    /// Loses the record at `offset`, if it is below the last stable offset: its offset stays taken. True if one was
    /// there.
    pub(super) fn lose(&mut self, offset: Offset) -> bool {
        let at = usize::try_from(offset.saturating_sub(self.low)).ok().filter(|_| offset >= self.low);
        let stable = offset < self.stable();
        match at.and_then(|at| self.slots.get_mut(at)) {
            Some(slot @ Slot::Record { .. }) if stable => {
                self.gone.insert(offset, std::mem::replace(slot, Slot::Marker));
                true
            }
            _ => false,
        }
    }

    /// What was truncated or lost is there again.
    pub(super) fn put_back(&mut self) {
        while let Some(slot) = self.low.checked_sub(1).and_then(|before| self.gone.remove(&before)) {
            self.slots.push_front(slot);
            self.low -= 1;
        }
        for (offset, lost) in std::mem::take(&mut self.gone) {
            let at = usize::try_from(offset.saturating_sub(self.low)).ok();
            if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
                *slot = lost;
            }
        }
    }

    /// Reads from `from`, which lies between the low and the high watermark.
    pub(super) fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        now_us: i64,
        aborted: impl Fn(TransactionNo) -> bool,
        budget: &mut Budget,
    ) -> Read {
        let bound = self.watermarks(isolation).high;
        let stalled = self.stall.filter(|stall| stall.until_us > now_us).map_or(bound, |stall| stall.from);
        let end = bound.min(stalled);
        let mut read = Read { records: Vec::new(), next: from, stepped_over: 0, held: false, slow: false };
        while read.next < end {
            match self.slot(read.next) {
                Some(Slot::Record { record, transaction })
                    if isolation == Isolation::Uncommitted || !transaction.is_some_and(&aborted) =>
                {
                    if !budget.take(record.value.len()) {
                        return read;
                    }
                    read.records.push(record.clone());
                }
                _ => read.stepped_over += 1,
            }
            read.next += 1;
        }
        read.slow = end < bound;
        read.held = !read.slow && bound < self.high();
        read
    }

    /// Every record below the last stable offset that is not aborted.
    pub(super) fn visible(&self, aborted: impl Fn(TransactionNo) -> bool) -> impl Iterator<Item = &Record> {
        let stable = self.stable();
        self.slots.iter().filter_map(move |slot| match slot {
            Slot::Record { record, transaction }
                if record.offset < stable && !transaction.is_some_and(&aborted) =>
            {
                Some(record)
            }
            _ => None,
        })
    }

    /// How many records were written by transactions of which `decided` holds, or by none.
    pub(super) fn decided(&self, decided: impl Fn(TransactionNo) -> bool) -> usize {
        let is = |slot: &&Slot| matches!(slot, Slot::Record { transaction, .. } if transaction.is_none_or(&decided));
        self.slots.iter().filter(is).count()
    }

    fn slot(&self, offset: Offset) -> Option<&Slot> {
        self.slots.get(usize::try_from(offset.checked_sub(self.low)?).ok()?)
    }
}
