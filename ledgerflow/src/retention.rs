//! Retention: giving up records that every reader has passed.
//!
//! Readers are the processors and whoever has a [`Hold`]: an audit that runs in this process. A hold keeps everything
//! from its first moment and is let go of partition by partition as its owner reads on. Holds and cleaning exclude
//! each other, so that nobody begins to read at a place that is just being given up.
//!
//! Topics that no processor reads, and that the registry does not keep for ever, go by age ([`Ages`]). The age is
//! that of the wall clock at writing; it rises with the offset as far as that clock does, so the oldest record that
//! stays is found by bisection. The newest record of a partition always stays.

use crate::measure::recount::next_record;
use crate::runtime::Positions;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use stream::embedded::{Cleaning, EmbeddedLog};
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};
use stream::mutex::lock;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// How long records stay that no processor reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// Wall clock, microseconds since 1970-01-01T00:00:00Z.
    pub now_us: i64,
    /// Days that `rejected` is kept; 0 = for ever.
    pub rejected_days: u32,
    /// Days that `balances`, `matches` and `breaks` are kept; 0 = for ever.
    pub published_days: u32,
}

impl Ages {
    /// What was written before this may go.
    fn cut_us(&self, topic: Topic) -> Option<i64> {
        let days = match topic {
            Topic::Rejected => self.rejected_days,
            Topic::Balances | Topic::Matches | Topic::Breaks => self.published_days,
            _ => 0,
        };
        (days > 0).then(|| self.now_us.saturating_sub(i64::from(days).saturating_mul(DAY_US)))
    }
}

/// Who besides the processors still reads, and from where.
#[derive(Debug, Default)]
pub struct Retention {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// `None` = everything is held.
    holds: BTreeMap<u64, Option<BTreeMap<TopicPartition, Offset>>>,
}

/// A reader's claim; dropping it ends it.
#[derive(Debug)]
pub struct Hold {
    held: Arc<Mutex<Held>>,
    number: u64,
}

impl Retention {
    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    /// Holds everything that is there now.
    #[must_use]
    pub fn hold(&self) -> Hold {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.holds.insert(number, None);
        Hold { held: Arc::clone(&self.held), number }
    }

    /// How many hold something.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.lock().holds.len()
    }

    /// Gives up what all processors (`read`: their positions) have passed, and what no processor reads and is old
    /// enough, as far as no hold needs it.
    ///
    /// # Errors
    /// The log's own; `Ok(None)` = there was nothing to give up.
    pub fn clean(
        &self,
        log: &EmbeddedLog,
        read: &Positions,
        ages: &Ages,
    ) -> Result<Option<Cleaning>, LogError> {
        let mut below = passed(read);
        below.extend(aged(log, ages)?);
        self.give_up(log, below)
    }

    /// Gives up what lies below these offsets, as far as no hold needs it.
    ///
    /// # Errors
    /// The log's own.
    pub fn give_up(
        &self,
        log: &EmbeddedLog,
        below: BTreeMap<TopicPartition, Offset>,
    ) -> Result<Option<Cleaning>, LogError> {
        self.unheld(below, |below| log.clean(below))
    }

    /// Gives up what lies below these offsets and an archive holds, of any topic, as far as no hold needs it.
    ///
    /// # Errors
    /// The log's own.
    pub fn give_up_archived(
        &self,
        log: &EmbeddedLog,
        below: BTreeMap<TopicPartition, Offset>,
    ) -> Result<Option<Cleaning>, LogError> {
        self.unheld(below, |below| log.give_up_archived(below))
    }

    /// Does that with what no hold needs, while nobody gets a hold.
    fn unheld(
        &self,
        below: BTreeMap<TopicPartition, Offset>,
        give_up: impl FnOnce(&[(TopicPartition, Offset)]) -> Result<Cleaning, LogError>,
    ) -> Result<Option<Cleaning>, LogError> {
        let held = self.lock();
        let below = held.limit(below);
        if below.is_empty() { Ok(None) } else { give_up(&below).map(Some) }
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

impl Hold {
    /// The owner has read up to these places; partitions that are not named stay held whole.
    pub fn reached(&self, positions: impl Iterator<Item = (TopicPartition, Offset)>) {
        lock(&self.held).holds.insert(self.number, Some(positions.collect()));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.held).holds.remove(&self.number);
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

/// Whether a topic's records go by age: no processor reads it, and the registry does not keep it for ever.
#[must_use]
pub fn goes_by_age(topic: Topic) -> bool {
    Ages { now_us: i64::MAX, rejected_days: 1, published_days: 1 }.cut_us(topic).is_some()
}

/// Where each partition of a topic that goes by age begins from now on.
fn aged(log: &dyn Log, ages: &Ages) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    let mut below = BTreeMap::new();
    for topic in Topic::ALL {
        let Some(cut_us) = ages.cut_us(*topic) else { continue };
        for partition in 0..log.partitions(*topic)? {
            let at = TopicPartition::new(*topic, partition);
            if let Some(first) = first_since(log, at, cut_us)? {
                below.insert(at, first);
            }
        }
    }
    Ok(below)
}

/// The first record that was written at `cut_us` or later, or else the newest; `None` = the oldest one is.
fn first_since(log: &dyn Log, at: TopicPartition, cut_us: i64) -> Result<Option<Offset>, LogError> {
    let bounds = log.watermarks(at, Isolation::Committed)?;
    let (mut low, mut high) = (bounds.low, bounds.high.saturating_sub(1));
    let is_old = |offset| {
        Ok::<bool, LogError>(written_us(log, at, offset)?.is_some_and(|written_us| written_us < cut_us))
    };
    if low >= high || !is_old(low)? {
        return Ok(None);
    }
    // At `low` it is older, at `high` it is not or it is the newest.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_old(middle)? { low = middle } else { high = middle }
    }
    Ok(Some(high))
}

/// When the first record at or after an offset was written (wall clock, microseconds).
pub(crate) fn written_us(log: &dyn Log, at: TopicPartition, offset: Offset) -> Result<Option<i64>, LogError> {
    let mut reader = log.reader(&[(at, offset)], Isolation::Committed)?;
    let high = log.watermarks(at, Isolation::Committed)?.high;
    Ok(next_record(reader.as_mut(), at, high)?.map(|record| record.timestamp_us))
}
