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
    let (mut count, mut near) = (BTreeMap::new(), BTreeMap::new());
    for (at, position) in reached {
        let high = log.watermarks(*at, Isolation::Committed)?.high;
        let held_back = log.watermarks(*at, Isolation::Uncommitted)?.high.saturating_sub(high);
        count.insert(*at, held_back);
        match high.saturating_sub(*position) {
            ..=0 => {}
            1..=LOOKED_AT_MAX => drop(near.insert(*at, (*position, high))),
            many => drop(count.insert(*at, many.saturating_add(held_back))),
        }
    }
    if near.is_empty() {
        return Ok(count);
    }
    let start: Vec<_> = near.iter().map(|(at, (position, _))| (*at, *position)).collect();
    let mut reader = log.reader(&start, Isolation::Committed)?;
    for (at, (_, high)) in &near {
        start.iter().try_for_each(|(other, _)| reader.hold(*other, other != at))?;
        while next_record(reader.as_mut(), *at, *high)?.is_some() {
            *count.entry(*at).or_insert(0) += 1;
        }
    }
    Ok(count)
}
