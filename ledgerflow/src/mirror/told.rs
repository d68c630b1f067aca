//! What the mirror tells of itself: written by its thread, read by `status`.

use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};
use stream::mutex::lock;

/// Shared between the mirror's thread and whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<View>>);

/// What there is to tell.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Since when, wall clock in microseconds, and why Redis cannot be written.
    pub away: Option<(i64, String)>,
    /// Why the log does not give what there is to write.
    pub hindered: Option<String>,
    /// Slots mirrored here.
    pub slots: BTreeMap<u32, Row>,
}

/// One slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// What is being done.
    pub state: &'static str,
    /// Why it does not go on.
    pub why: Option<String>,
    /// Next offset of `balances` that is not mirrored; `None` = nothing is known of it.
    pub offset: Option<Offset>,
    /// Journal batch up to which the mirror is complete.
    pub journal_batch: Option<u64>,
    /// When it was last written, wall clock in microseconds.
    pub mirrored_us: Option<i64>,
}

impl View {
    /// Where the mirror of each slot is, as far as it is known; what is gone from the log is behind as well, and cannot be
    /// read.
    ///
    /// # Errors
    /// The log is away.
    pub fn reached(&self, log: &dyn Log) -> Result<Vec<(TopicPartition, Offset)>, LogError> {
        let known = self.slots.iter().filter_map(|(slot, row)| Some((*slot, row.offset?)));
        let place = |(slot, offset): (u32, Offset)| {
            let at = TopicPartition::new(Topic::Balances, slot);
            Ok((at, offset.max(log.watermarks(at, Isolation::Committed)?.low)))
        };
        known.map(place).collect()
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, View> {
        lock(&self.0)
    }

    /// What there is to tell now.
    #[must_use]
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Tells of the slots.
    pub(super) fn tell(&self, slots: BTreeMap<u32, Row>) {
        self.lock().slots = slots;
    }

    /// The log gives nothing, or does again.
    pub(super) fn hindered(&self, why: Option<String>) {
        self.lock().hindered = why;
    }

    /// Redis is away; whether that is new.
    pub(super) fn away(&self, now_us: i64, why: String) -> bool {
        let mut view = self.lock();
        let since_us = view.away.as_ref().map(|(since_us, _)| *since_us);
        view.away = Some((since_us.unwrap_or(now_us), why));
        since_us.is_none()
    }

    /// Redis answers; since when it was away, if it was.
    pub(super) fn back(&self) -> Option<i64> {
        self.lock().away.take().map(|(since_us, _)| since_us)
    }
}
