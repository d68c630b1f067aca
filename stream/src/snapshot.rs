//! Snapshots: states of slots in the log itself, topic `snapshots`. A slot whose checkpoint is gone is restored from its
//! newest whole snapshot and what came after it, so that the beginning of its changelog may lie in an archive.
//!
//! A snapshot is written by whoever has rebuilt the state and found it equal; nothing relies on that. Reading checks that
//! every part is there and gives the hash in the last one, and the restore holds the snapshot against the log as it
//! does a checkpoint: its window must be one of the changelog's chain.
//!
//! Bounds: a part is [`PART_BYTES_MAX`] bytes or one pair; looking for a snapshot reads the partition once.

use crate::log::{
    FetchLimit, Isolation, Log, LogError, Offset, OutRecord, Record, TopicPartition, Watermarks,
};
use crate::processor::SlotState;
use crate::store::Label;
use bytes::Bytes;
use schemas::batch::Hash;
use schemas::sha256::sha256;
use schemas::snapshot::{self, FORMAT, PART_BYTES_MAX, StateHash};
use schemas::topics::Topic;
use schemas::wire::{SnapshotEnd, SnapshotPair, SnapshotPart, SnapshotPosition};
use std::collections::BTreeMap;
use std::time::Duration;

/// Value bytes of one append.
const APPEND_BYTES: usize = 4 << 20;

/// Whose state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the processor.
    pub processor: &'a str,
    /// Slot.
    pub slot: u32,
}

/// A whole snapshot that lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What of the log it holds.
    pub label: Label,
    /// Pairs.
    pub pairs: u64,
    /// Hash of the state ([`StateHash`]).
    pub state_hash: Hash,
    /// When it was written, wall clock, microseconds since 1970-01-01T00:00:00Z.
    pub written_us: i64,
    /// Where it lies.
    pub at: TopicPartition,
    /// Offset of its first part.
    pub first: Offset,
    /// Offset of its last part.
    pub last: Offset,
    /// 0 or 1; the next one has the other.
    pub turn: u32,
    id: Bytes,
}

impl Owner<'_> {
    fn partition(&self, log: &dyn Log) -> Result<TopicPartition, LogError> {
        let partitions = log.partitions(Topic::Snapshots)?.max(1);
        Ok(TopicPartition::new(Topic::Snapshots, self.slot % partitions))
    }

    fn prefix(&self) -> String {
        format!("{}/{}/", self.processor, self.slot)
    }
}

/// A state's pairs in canonical order: key and value.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A state in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// Its pairs.
    pub pairs: Pairs,
    /// Hash of all of them ([`StateHash`]).
    pub hash: Hash,
}

impl Canonical {
    /// That of a state.
    #[must_use]
    pub fn of<S: SlotState>(state: &S) -> Self {
        Self::from(state.canonical())
    }
}

impl From<Pairs> for Canonical {
    fn from(pairs: Pairs) -> Self {
        let mut hash = StateHash::default();
        pairs.iter().for_each(|(key, value)| hash.add(key, value));
        Self { hash: hash.hash(), pairs }
    }
}

/// Writes a snapshot of a state that is committed and durable; its parts are durable when this returns.
///
/// # Errors
/// The log's own. What was written of it then is no snapshot.
pub fn write(
    log: &dyn Log,
    owner: Owner<'_>,
    label: &Label,
    state: &Canonical,
    (turn, wall_us): (u32, i64),
    wait: Duration,
) -> Result<u64, LogError> {
    let to = owner.partition(log)?;
    let named = format!("{}{turn}/{}/{}/{wall_us}", owner.prefix(), label.epoch, label.batch);
    let id = Bytes::copy_from_slice(
        sha256(&[named.as_bytes(), &state.hash].concat()).get(..16).unwrap_or_default(),
    );
    let mut parts = in_parts(&state.pairs).peekable();
    let (mut records, mut bytes, mut number, mut sequence) = (Vec::new(), 0, 0, 0);
    loop {
        let pair = parts.next().unwrap_or_default();
        let end = parts.peek().is_none().then(|| end_of(label, state, wall_us));
        let ended = end.is_some();
        let part = SnapshotPart {
            format: FORMAT,
            processor: owner.processor.to_owned(),
            slot: owner.slot,
            id: id.clone(),
            part: number,
            pair,
            end,
        };
        let value = snapshot::write(&part);
        bytes += value.len();
        records.push(OutRecord::new(to, value).keyed(format!("{}{turn}/{number}", owner.prefix())));
        number += 1;
        if ended || bytes >= APPEND_BYTES {
            sequence = log.append(std::mem::take(&mut records))?;
            bytes = 0;
        }
        if ended {
            break;
        }
    }
    log.wait_durable(sequence, wait)?;
    Ok(u64::from(number))
}

/// Pairs in lists of which each fits into a part.
fn in_parts(pairs: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = Vec<SnapshotPair>> + '_ {
    let mut rest = pairs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let more = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let before = bytes;
            bytes += key.len() + value.len() + 16;
            before == 0 || bytes <= PART_BYTES_MAX
        };
        let count = rest.iter().map(more).take_while(|fits| *fits).count();
        let (these, left) = rest.split_at(count);
        rest = left;
        let pair = |(key, value): &(Vec<u8>, Vec<u8>)| SnapshotPair {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
        };
        (!these.is_empty()).then(|| these.iter().map(pair).collect())
    })
}

fn end_of(label: &Label, state: &Canonical, wall_us: i64) -> SnapshotEnd {
    let position = |(at, offset): &(TopicPartition, Offset)| SnapshotPosition {
        topic: at.topic.name().to_owned(),
        partition: at.partition,
        offset: *offset,
    };
    SnapshotEnd {
        generation: label.generation,
        epoch: label.epoch,
        batch: label.batch,
        hash: Bytes::copy_from_slice(&label.hash),
        position: label.positions.iter().map(position).collect(),
        changelog_offset: label.changelog_offset,
        pairs: state.pairs.len() as u64,
        state_hash: Bytes::copy_from_slice(&state.hash),
        written_at_us: wall_us,
    }
}

/// A snapshot whose parts are being read.
#[derive(Default)]
struct Reading {
    next: u32,
    hash: StateHash,
    first: Offset,
    /// A part is missing.
    gap: bool,
}

/// Every whole snapshot of a slot, the newest first.
///
/// # Errors
/// The log's own; [`LogError::Retriable`] where the partition cannot be read to its end now.
pub fn find(log: &dyn Log, owner: Owner<'_>) -> Result<Vec<Snapshot>, LogError> {
    let at = owner.partition(log)?;
    let bounds = log.watermarks(at, Isolation::Committed)?;
    let (mut reading, mut found) = (BTreeMap::<Bytes, Reading>::new(), Vec::new());
    let see = &mut |record: &Record, part: SnapshotPart| {
        let of = reading
            .entry(part.id.clone())
            .or_insert_with(|| Reading { first: record.offset, ..Reading::default() });
        // A part that is sent again after a lost answer is there twice.
        if part.part < of.next {
            return Ok(());
        }
        of.gap |= part.part > of.next;
        of.next = part.part.saturating_add(1);
        part.pair.iter().for_each(|pair| of.hash.add(&pair.key, &pair.value));
        if let Some(end) = &part.end {
            let whole = reading.remove(&part.id).and_then(|of| whole(&of, end, record, &part, at));
            found.extend(whole);
        }
        Ok(())
    };
    // Nothing is refused here.
    let _all: Result<(), String> = each_part(log, owner, at, bounds, see)?;
    found.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.label.batch, snapshot.first)));
    Ok(found)
}

/// The snapshot that ends here, if nothing of it is missing.
fn whole(
    of: &Reading,
    end: &SnapshotEnd,
    record: &Record,
    part: &SnapshotPart,
    at: TopicPartition,
) -> Option<Snapshot> {
    let state_hash = Hash::try_from(end.state_hash.as_ref()).ok()?;
    let hash = Hash::try_from(end.hash.as_ref()).ok()?;
    let position = |position: &SnapshotPosition| {
        let topic = Topic::by_name(&position.topic)?;
        Some((TopicPartition::new(topic, position.partition), position.offset))
    };
    let positions = end.position.iter().map(position).collect::<Option<Vec<_>>>()?;
    let is_whole = !of.gap && (of.hash.hash(), of.hash.pairs()) == (state_hash, end.pairs);
    if !is_whole {
        tracing::warn!(%at, offset = record.offset, batch = end.batch, "not a whole snapshot, passed over");
        return None;
    }
    let turn = std::str::from_utf8(&record.key).ok().and_then(|key| key.split('/').nth(2)?.parse().ok());
    Some(Snapshot {
        label: Label {
            generation: end.generation,
            epoch: end.epoch,
            batch: end.batch,
            hash,
            positions,
            changelog_offset: end.changelog_offset,
        },
        pairs: end.pairs,
        state_hash,
        written_us: end.written_at_us,
        at,
        first: of.first,
        last: record.offset,
        turn: turn.unwrap_or(0),
        id: part.id.clone(),
    })
}

/// Loads a snapshot into an empty state.
///
/// # Errors
/// The log's own. The inner one: a pair that the state refuses, or parts that are gone by now; the state must be thrown away.
pub fn load(
    log: &dyn Log,
    owner: Owner<'_>,
    snapshot: &Snapshot,
    state: &mut dyn SlotState,
) -> Result<Result<(), String>, LogError> {
    let bounds = Watermarks { low: snapshot.first, high: snapshot.last + 1 };
    let (mut next, mut pairs) = (0, 0);
    let loaded = each_part(log, owner, snapshot.at, bounds, &mut |_, part| {
        if part.id != snapshot.id || part.part != next {
            return Ok(());
        }
        next += 1;
        pairs += part.pair.len() as u64;
        part.pair.iter().try_for_each(|pair| state.load(&pair.key, &pair.value))
    })?;
    let all = || if pairs == snapshot.pairs { Ok(()) } else { Err("parts of it are gone".to_owned()) };
    Ok(loaded.and_then(|()| all()))
}

/// Reads the parts of one slot's snapshots between two offsets, until `see` refuses one. What is no part is passed over.
fn each_part(
    log: &dyn Log,
    owner: Owner<'_>,
    at: TopicPartition,
    bounds: Watermarks,
    see: &mut dyn FnMut(&Record, SnapshotPart) -> Result<(), String>,
) -> Result<Result<(), String>, LogError> {
    let limit = FetchLimit { records: 64, bytes: 16 << 20, wait: Duration::from_millis(200) };
    let prefix = owner.prefix();
    let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed)?;
    while let Some(before) = reader.position(at).filter(|position| *position < bounds.high) {
        let fetches = reader.poll(limit)?;
        if fetches.is_empty() && reader.position(at) == Some(before) {
            return Err(LogError::Retriable(format!("{at} cannot be read beyond {before} yet")));
        }
        for record in fetches.iter().flat_map(|fetch| &fetch.records) {
            if record.offset >= bounds.high || !record.key.starts_with(prefix.as_bytes()) {
                continue;
            }
            let seen = match snapshot::read(record.value.clone()) {
                Ok(part) => see(record, part),
                Err(why) => {
                    tracing::warn!(%at, offset = record.offset, %why, "passed over");
                    Ok(())
                }
            };
            if seen.is_err() {
                return Ok(seen);
            }
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
