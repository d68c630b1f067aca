//! What a processor is: a pure `decide`, the only mutator `apply`, and nothing else.
//!
//! The worker ([`crate::worker`]) drives it window by window: poll -> `decide` (reads the slot's state, never
//! writes) -> commit records and positions as one transaction -> only then `apply`. After an abort the decision is
//! dropped whole. The restore path feeds changelog records (or, for processors without a changelog of their own,
//! input records up to the committed position) to `replay`, which must end in the same `apply`.
//!
//! No clock, randomness or hash-map order in here: time comes in with the [`Window`].

use crate::log::{Offset, OutRecord, Record, TopicPartition};
use crate::store::runs::{ClosedRuns, RowKey, Settled};
use bytes::Bytes;
use schemas::batch::{Hash, Opened};
use schemas::topics::Topic;
use schemas::wire::BatchHeader;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use thiserror::Error;

/// An input topic of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Topic.
    pub topic: Topic,
    /// Which partition a slot reads.
    pub assigned: Assigned,
    /// Most records of this input in one window; what is left waits in order.
    pub records_max: usize,
    /// Whether it waits while those that read what the processor writes are behind ([`crate::throttle`]).
    pub yields: bool,
}

impl Input {
    /// An input that does not yield.
    #[must_use]
    pub const fn new(topic: Topic, assigned: Assigned, records_max: usize) -> Self {
        Self { topic, assigned, records_max, yields: false }
    }
}

/// Which partition of an input a slot reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assigned {
    /// The one with the slot's number.
    SameNumber,
    /// The topic has one partition; slot 0 reads it.
    SlotZero,
}

/// Where a slot's state rebuilds from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changelog {
    /// An own topic with one batch per slot and window, partition = slot.
    Own(Topic),
    /// The inputs, up to the committed positions.
    Inputs,
}

/// What a window has to work with.
#[derive(Debug, Clone)]
pub struct Window<'w> {
    /// Slot.
    pub slot: u32,
    /// Owner epoch of this slot.
    pub epoch: u64,
    /// Number of this window on this slot, counted from 1 across owners.
    pub batch: u64,
    /// Hash of the previous batch of the changelog ([`Changelog::Own`]; zeros before the first).
    pub previous_hash: Hash,
    /// First window of a new owner: it must commit even when it has read nothing.
    pub first: bool,
    /// Business clock, microseconds since 1970-01-01T00:00:00Z. Only ingest may read it.
    pub business_us: i64,
    /// Wall clock, microseconds since 1970-01-01T00:00:00Z. For `written_at_us` and nothing else.
    pub wall_us: i64,
    /// Inputs in the order of [`Processor::inputs`], those without records included.
    pub inputs: Vec<InputRecords<'w>>,
    /// One answer to each of [`Processor::looks_back`], in its order.
    pub looked_back: Vec<LookedBack>,
}

/// What one input gave to a window.
#[derive(Debug, Clone)]
pub struct InputRecords<'w> {
    /// Partition read.
    pub from: TopicPartition,
    /// Position before the first of `records`.
    pub position: Offset,
    /// Position after the last of `records` (steps over commit markers).
    pub next: Offset,
    /// Records, ascending.
    pub records: Records<'w>,
    /// Whether the reader had nothing more for the moment.
    pub drained: bool,
}

/// Records of a window: lent by the worker, which keeps them for another decision after an abort, or given.
#[derive(Debug, Clone)]
pub struct Records<'w>(Cow<'w, [Record]>);

impl Deref for Records<'_> {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.0
    }
}

impl<'w> From<&'w [Record]> for Records<'w> {
    fn from(lent: &'w [Record]) -> Self {
        Self(Cow::Borrowed(lent))
    }
}

impl From<Vec<Record>> for Records<'_> {
    fn from(given: Vec<Record>) -> Self {
        Self(Cow::Owned(given))
    }
}

impl<'r> IntoIterator for &'r Records<'_> {
    type Item = &'r Record;
    type IntoIter = std::slice::Iter<'r, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// What is counted in the headers of the slot's changelog: the items of one end of a channel ([`BatchHeader::channel`]), or
/// its own batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelEnd {
    /// Items sent to that partition.
    Sent(u32),
    /// Items taken from that partition.
    Taken(u32),
    /// The batches themselves, by their number: in them, what a key stands for that only the processor knows.
    Batch([u8; 16]),
}

/// Consecutive items of a channel, or a batch, that a slot must find again in its own changelog before it can decide.
///
/// It follows from committed state and the records offered, so the slot's next owner asks for the same. Both bounds
/// are sequences that the changelog's committed batches count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookBack {
    /// Which channel.
    pub end: ChannelEnd,
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
}

impl LookBack {
    /// Number of the batch, or last sequence on this channel when the batch of that header was sealed; 0 = none. Never
    /// falls from a batch to the next.
    #[must_use]
    pub fn counted(&self, header: &BatchHeader) -> u64 {
        let of = |peer: u32| header.channel.iter().find(|channel| channel.partition == peer);
        match self.end {
            ChannelEnd::Sent(peer) => of(peer).map_or(0, |channel| channel.sequence),
            ChannelEnd::Taken(peer) => of(peer).map_or(0, |channel| channel.taken),
            ChannelEnd::Batch(_) => header.batch,
        }
    }
}

/// Bytes of finds after which a search rests, until the slot has used them and asks for what comes after.
pub const FOUND_BYTES_MAX: usize = 16 << 20;

/// What was found so far of what a slot looks back for.
#[derive(Debug, Clone)]
pub struct LookedBack {
    /// What was sought.
    pub sought: LookBack,
    /// What [`Processor::glean`] gave, batch by batch from the first one sought.
    pub found: Vec<Bytes>,
    /// Whether every batch that could hold some of it was read.
    pub complete: bool,
}

/// What a window decided. Dropped whole unless its commit succeeds.
#[derive(Debug)]
pub struct Decision<C> {
    /// What `apply` will do.
    pub change: C,
    /// Records to write, the changelog batch among them.
    pub records: Vec<OutRecord>,
    /// Positions after this window, where it consumed less than it was given; others move to `next`.
    pub consumed: Vec<(TopicPartition, Offset)>,
    /// Hash that the position metadata carries: of the changelog batch, or of the last input record consumed.
    pub hash: Hash,
    /// Counted for progress and metrics.
    pub items: u64,
    /// Something is left over because the window was full: the next one need not wait for its time.
    pub more: bool,
}

/// A slot cannot go on: its input or its changelog is not what it must be. Other slots go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("slot {slot} stopped at {at}: {why}")]
pub struct Stop {
    /// Slot.
    pub slot: u32,
    /// Topic, partition and offset, or what else names the place.
    pub at: String,
    /// What is wrong.
    pub why: String,
}

impl Stop {
    /// A stop at a record.
    pub fn at(slot: u32, from: TopicPartition, offset: Offset, why: impl fmt::Display) -> Self {
        Self { slot, at: format!("{from}@{offset}"), why: why.to_string() }
    }
}

/// Takes one key and its new value; `None` = removed.
pub type PutPair<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// The last record consumed of an input that has no batch chain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRead {
    /// Input.
    pub at: TopicPartition,
    /// The record's offset.
    pub offset: Offset,
    /// Its hash ([`record_hash`]).
    pub hash: Hash,
}

/// Hash of a record of an input without a batch chain: SHA-256 over key, value, and each header's name and value,
/// every part preceded by its length (4 bytes, big-endian).
#[must_use]
pub fn record_hash(record: &Record) -> Hash {
    let mut bytes = Vec::with_capacity(record.value.len() + 256);
    let headers = record.headers.iter().flat_map(|header| [&header.name, &header.value]);
    for part in [&record.key, &record.value].into_iter().chain(headers) {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    schemas::batch::sha256(&bytes)
}

/// State of one slot that a checkpoint can hold as key-value pairs. The key order is the canonical order: two
/// equal states give equal pairs.
pub trait SlotState: Send {
    /// Hands every pair changed since the last call to `put` (`None` = removed) and forgets that they changed.
    fn take_dirty(&mut self, put: &mut PutPair<'_>);
    /// About how many bytes `take_dirty` would give.
    fn dirty_bytes(&self) -> usize;
    /// Takes one pair of a checkpoint, or of [`SlotState::canonical`]. Order does not matter.
    ///
    /// # Errors
    /// The pair is not one of this state's format; the checkpoint is then dropped.
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String>;
    /// Every pair, sorted by key: what `verify` and the restore tests compare.
    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)>;
    /// Rows added since the last call that will never change again ([`crate::store::runs`]); `all`: every one that is in
    /// memory, and the closed runs it has. They are no pairs of [`SlotState::take_dirty`] and [`SlotState::put_all`], but
    /// [`SlotState::canonical`] has them.
    fn take_settled(&mut self, _all: bool) -> Settled {
        Settled::default()
    }
    /// Takes one row of a checkpoint's open runs.
    ///
    /// # Errors
    /// As [`SlotState::load`].
    fn load_row(&mut self, _key: &RowKey, _value: &[u8]) -> Result<(), String> {
        Err("this state has no rows".to_owned())
    }
    /// The closed runs are these from now on; pages up to `closed` are in them.
    fn adopt(&mut self, _closed: ClosedRuns) {}
    /// Why this state may have answered wrongly since it was restored: a run could not be read. What was decided on it
    /// must not be committed.
    fn damaged(&self) -> Option<String> {
        None
    }
    /// Hands every pair to `put`, in any order. A big state gives them one by one, without sorting them first.
    fn put_all(&self, put: &mut PutPair<'_>) {
        self.canonical().iter().for_each(|(key, value)| put(key, Some(value)));
    }
    /// What an operator should know of this slot, in words; said again as long as it holds.
    fn alarms(&self) -> Vec<String> {
        Vec::new()
    }
    /// Hash that the position metadata of this state carries ([`Decision::hash`] of the decision that led to it), for
    /// a comparison after restore; `None` where the changelog batch at the position tells.
    fn position_hash(&self) -> Option<Hash> {
        None
    }
    /// The last record consumed of each input without a batch chain. After a restore it is compared with what stands
    /// there now, if anything does: a topic that was made anew, or positions that somebody has put back, are found.
    fn last_read(&self) -> Vec<LastRead> {
        Vec::new()
    }
}

/// A processor: configuration plus pure functions over the state of a slot.
pub trait Processor: Send {
    /// State of one slot.
    type Slot: SlotState;
    /// What `apply` takes.
    type Change;

    /// Name of the processor and of its consumer group.
    fn name(&self) -> &'static str;
    /// Input topics, the one to be read first in each window first.
    fn inputs(&self) -> Vec<Input>;
    /// Where state rebuilds from.
    fn changelog(&self) -> Changelog;
    /// For [`Changelog::Inputs`]: topics that the slot writes, in the partition of its number. When one holds records and no
    /// position is committed, positions were lost and the slot stops instead of starting over.
    fn witnesses(&self) -> &'static [Topic] {
        &[]
    }
    /// Whether `decide` looks at business time. Where it does not, the same records give the same answer: a slot whose
    /// records wait for more (`Ok(None)` with records) is not asked again before there are more, and counts as worked
    /// off.
    fn reads_clock(&self) -> bool {
        false
    }
    /// Number of slots.
    fn slots(&self) -> u32;
    /// The empty state of a slot.
    fn open(&self, slot: u32) -> Self::Slot;

    /// What the slot must read again in its own changelog ([`Changelog::Own`]) to decide on this window. The answers
    /// come with the window, with what was read so far: `decide` goes on with what does not depend on them.
    fn looks_back(&self, _slot: &Self::Slot, _window: &Window) -> Vec<LookBack> {
        Vec::new()
    }

    /// What of `sought` a batch of the changelog holds, in any form that `decide` understands; in order.
    ///
    /// # Errors
    /// The batch does not hold what its header counts; the slot stops there.
    fn glean(&self, _slot: u32, _sought: &LookBack, _batch: &Opened) -> Result<Vec<Bytes>, String> {
        Ok(Vec::new())
    }

    /// Judges a window. `Ok(None)` = nothing to commit; what was offered is offered again. Must not change state.
    ///
    /// # Errors
    /// [`Stop`] when this slot's input is not what it must be.
    fn decide(&self, slot: &Self::Slot, window: Window<'_>) -> Result<Option<Decision<Self::Change>>, Stop>;

    /// Makes a committed decision part of the state.
    fn apply(&self, slot: &mut Self::Slot, change: Self::Change);

    /// Applies a record of the changelog (or of an input, for [`Changelog::Inputs`]) during restore. A record
    /// whose effect is already there (at or below a checkpoint) changes nothing.
    ///
    /// # Errors
    /// [`Stop`] when it does not decode, breaks its chain, or contradicts the state.
    fn replay(&self, slot: &mut Self::Slot, from: TopicPartition, record: &Record) -> Result<(), Stop>;
}
