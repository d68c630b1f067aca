//! Retention: giving up records that every reader has passed.
//!
//! Readers are the processors and whoever has a [`Hold`]: an audit that runs in this process. A hold keeps everything
//! from its first moment and is let go of partition by partition as its owner reads on. Holds and cleaning exclude
//! each other, so that nobody begins to read at a place that is just being given up.

use crate::runtime::Positions;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stream::embedded::{Cleaning, EmbeddedLog};
use stream::log::{LogError, Offset, TopicPartition};

/// Who besides the processors still reads, and from where.
#[derive(Debug, Default)]
pub struct Retention {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// `None` = everything is held.
    holds: BTreeMap<u64, Option<BTreeMap<TopicPartition, Offset>>>,
}

/// A reader's claim; dropping it ends it.
#[derive(Debug)]
pub struct Hold<'a> {
    retention: &'a Retention,
    number: u64,
}

impl Retention {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds everything that is there now.
    #[must_use]
    pub fn hold(&self) -> Hold<'_> {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.holds.insert(number, None);
        Hold { retention: self, number }
    }

    /// How many hold something.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.lock().holds.len()
    }

    /// Gives up what all processors (`read`: their positions) and all holds have passed.
    ///
    /// # Errors
    /// The log's own; `Ok(None)` = there was nothing to give up.
    pub fn clean(&self, log: &EmbeddedLog, read: &Positions) -> Result<Option<Cleaning>, LogError> {
        let held = self.lock();
        let below = held.limit(passed(read));
        if below.is_empty() { Ok(None) } else { log.clean(&below).map(Some) }
    }
}

impl Held {
    /// Lowers what may go to what no hold still needs.
    fn limit(&self, mut below: BTreeMap<TopicPartition, Offset>) -> Vec<(TopicPartition, Offset)> {
        for hold in self.holds.values() {
            let Some(reached) = hold else { return Vec::new() };
            for (at, below) in &mut below {
                *below = (*below).min(reached.get(at).copied().unwrap_or(0));
            }
        }
        below.into_iter().collect()
    }
}

impl Hold<'_> {
    /// The owner has read up to these places; partitions that are not named stay held whole.
    pub fn reached(&self, positions: impl Iterator<Item = (TopicPartition, Offset)>) {
        self.retention.lock().holds.insert(self.number, Some(positions.collect()));
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.retention.lock().holds.remove(&self.number);
    }
}

/// Least position of all processors on each partition whose records may go.
fn passed(read: &Positions) -> BTreeMap<TopicPartition, Offset> {
    let topics = crate::runtime::disposable();
    let mut below = BTreeMap::new();
    for ((_, at), position) in read {
        if topics.contains(&at.topic) {
            let least = below.entry(*at).or_insert(*position);
            *least = (*least).min(*position);
        }
    }
    below
}
