//! How many records lie after the places that readers have reached.

use super::recount::next_record;
use std::collections::BTreeMap;
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};

/// Offsets of a partition up to which it is looked how many records they hold.
const LOOKED_AT_MAX: i64 = 64;

/// Records after these places.
///
/// # Errors
/// The log is away.
pub fn behind(log: &dyn Log, reached: &[(TopicPartition, Offset)]) -> Result<i64, LogError> {
    Ok(behind_each(log, reached)?.into_values().sum())
}

/// Records after each of these places. Commit markers take offsets too: few of them are looked at, many are near enough.
/// What an open transaction holds back counts as well: it comes in a moment, and nobody has read it.
///
/// # Errors
/// The log is away.
pub fn behind_each(
    log: &dyn Log,
    reached: &[(TopicPartition, Offset)],
) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
    let found = look(log, reached, LOOKED_AT_MAX)?;
    Ok(found.into_iter().map(|(at, backlog)| (at, backlog.records)).collect())
}

/// What lies after a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Records.
    pub records: i64,
    /// When the first of them was written, wall clock in microseconds; `None` where none can be read yet.
    pub oldest_us: Option<i64>,
}

/// As [`behind_each`], and since when the first record of each waits.
///
/// # Errors
/// The log is away.
pub fn backlog_each(
    log: &dyn Log,
    reached: &[(TopicPartition, Offset)],
) -> Result<BTreeMap<TopicPartition, Backlog>, LogError> {
    look(log, reached, i64::MAX)
}

/// Looks into what lies after these places where that is at most so many offsets.
fn look(
    log: &dyn Log,
    reached: &[(TopicPartition, Offset)],
    looked_at_max: i64,
) -> Result<BTreeMap<TopicPartition, Backlog>, LogError> {
    let (mut found, mut looked_at) = (BTreeMap::new(), BTreeMap::new());
    for (at, position) in reached {
        let high = log.watermarks(*at, Isolation::Committed)?.high;
        let held_back = log.watermarks(*at, Isolation::Uncommitted)?.high.saturating_sub(high);
        let offsets = high.saturating_sub(*position).max(0);
        let near = offsets <= LOOKED_AT_MAX;
        let records = held_back.saturating_add(if near { 0 } else { offsets });
        found.insert(*at, Backlog { records, oldest_us: None });
        if offsets > 0 && offsets <= looked_at_max {
            looked_at.insert(*at, (*position, high, near));
        }
    }
    if looked_at.is_empty() {
        return Ok(found);
    }
    let start: Vec<_> = looked_at.iter().map(|(at, (position, ..))| (*at, *position)).collect();
    let mut reader = log.reader(&start, Isolation::Committed)?;
    for (at, (_, high, near)) in &looked_at {
        start.iter().try_for_each(|(other, _)| reader.hold(*other, other != at))?;
        while let Some(record) = next_record(reader.as_mut(), *at, *high)? {
            let backlog = found.entry(*at).or_default();
            backlog.oldest_us = backlog.oldest_us.or(Some(record.timestamp_us));
            if !near {
                break;
            }
            backlog.records += 1;
        }
    }
    Ok(found)
}
