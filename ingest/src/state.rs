//! State of an ingest slot: its date, its counters, the heads of its chains, what it read last.
//!
//! It changes only through [`IngestSlot::apply`], which the live path and the replay of `ingest.state` share; so
//! the items of a batch are the state's whole history. Absolute values only: applying an item twice changes nothing.
//! When a slot switches to a day, the counts of earlier days end with it (their markers carry them).
//!
//! Bounds: one count per commands partition and open date, one head per partition, one position per input.

use crate::lanes::LANES;
use prost::Message;
use schemas::batch::{ChainHead, Hash};
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::ingest_state_item::Item;
use schemas::wire::{self, IngestStateItem};
use schemas::{amount_wire, wire::IngestCounts};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::TopicPartition;
use stream::processor::{LastRead, SlotState};

/// The dates of a book at this slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// First day ever announced here: nothing is dated before it.
    pub first: Day,
    /// What events count in now.
    pub current: Day,
}

/// Commands sent to one partition with one date, back-dated ones not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DayTotal {
    /// Number of commands.
    pub count: u64,
    /// Sum of their debit legs per asset, minor units.
    pub sums: BTreeMap<String, i128>,
}

/// What a committed window changes.
#[derive(Debug, Clone)]
pub struct Change {
    /// Head of `ingest.state` after the window.
    pub(crate) head: ChainHead,
    pub(crate) items: Vec<Item>,
    /// Lanes that had more to offer than their share of the window.
    pub(crate) held_back: [bool; LANES],
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Counts,
    Days(String),
    Head,
    DayTotal(String, Day, u32),
    LastRead(TopicPartition),
    Sent(u32),
    Tick,
}

/// State of one slot.
#[derive(Debug, Default)]
pub struct IngestSlot {
    pub(crate) slot: u32,
    pub(crate) head: ChainHead,
    pub(crate) counts: IngestCounts,
    pub(crate) days: BTreeMap<String, Days>,
    pub(crate) day_totals: BTreeMap<(String, Day, u32), DayTotal>,
    pub(crate) sent: BTreeMap<u32, ChainHead>,
    pub(crate) last_read: BTreeMap<TopicPartition, LastRead>,
    pub(crate) tick: Option<wire::Tick>,
    /// Tells of this owner's windows alone, and is no state: it depends on how windows were cut.
    held_back: [u64; LANES],
    dirty: BTreeSet<Key>,
}

impl IngestSlot {
    /// The state of a slot that has done nothing yet.
    pub(crate) fn new(slot: u32) -> Self {
        Self { slot, ..Self::default() }
    }

    /// The dates of a book; `None` until its first day is announced.
    #[must_use]
    pub fn days(&self, book: &str) -> Option<Days> {
        self.days.get(book).copied()
    }

    /// Counters since the beginning.
    #[must_use]
    pub const fn counts(&self) -> &IngestCounts {
        &self.counts
    }

    /// Windows of this owner in which each lane was held back to its share of the window.
    #[must_use]
    pub const fn held_back(&self) -> [u64; LANES] {
        self.held_back
    }

    /// Last window committed: number and hash of its `ingest.state` batch.
    #[must_use]
    pub const fn head(&self) -> ChainHead {
        self.head
    }

    /// Makes a committed window part of the state. Items were checked by [`check_item`] or made by `decide`.
    pub(crate) fn apply(&mut self, change: Change) {
        self.head = change.head;
        self.dirty.insert(Key::Head);
        for (windows, held_back) in self.held_back.iter_mut().zip(change.held_back) {
            *windows += u64::from(held_back);
        }
        for item in change.items {
            if let Item::DaySwitch(switch) = &item {
                self.end_days_before(&switch.book, Day(switch.date));
            }
            if let Some(key) = self.set(item) {
                self.dirty.insert(key);
            }
        }
    }

    fn end_days_before(&mut self, book: &str, day: Day) {
        let ended: Vec<_> =
            self.day_totals.keys().filter(|(b, date, _)| b == book && *date < day).cloned().collect();
        for key in ended {
            self.day_totals.remove(&key);
            let (book, date, partition) = key;
            self.dirty.insert(Key::DayTotal(book, date, partition));
        }
    }

    /// Sets one value; `None` when the item is not one of this format.
    fn set(&mut self, item: Item) -> Option<Key> {
        Some(match item {
            Item::Counts(counts) => {
                self.counts = counts;
                Key::Counts
            }
            Item::DaySwitch(wire::DaySwitch { book, date }) => {
                let current = Day(date);
                let first = self.days.get(&book).map_or(current, |days| days.first);
                self.days.insert(book.clone(), Days { first, current });
                Key::Days(book)
            }
            Item::DayCount(wire::DayCount { partition, book, date, count, sum }) => {
                let sums = sum.into_iter().map(|s| (s.asset, amount_wire::value(s.sum))).collect();
                self.day_totals.insert((book.clone(), Day(date), partition), DayTotal { count, sums });
                Key::DayTotal(book, Day(date), partition)
            }
            Item::Sent(sent) => {
                if sent.topic != Topic::Commands.name() {
                    return None;
                }
                let hash = Hash::try_from(sent.hash.as_ref()).ok()?;
                self.sent.insert(sent.partition, ChainHead { sequence: sent.sequence, hash });
                Key::Sent(sent.partition)
            }
            Item::PositionHash(read) => {
                let at = TopicPartition::new(Topic::by_name(&read.topic)?, read.partition);
                let hash = Hash::try_from(read.hash.as_ref()).ok()?;
                self.last_read.insert(at, LastRead { at, offset: read.offset, hash });
                Key::LastRead(at)
            }
            Item::Tick(tick) => {
                self.tick = Some(tick);
                Key::Tick
            }
        })
    }

    /// The pair that a checkpoint holds for a key; `None` = removed.
    fn pair(&self, key: &Key) -> (Vec<u8>, Option<Vec<u8>>) {
        let item = |item: Item| IngestStateItem { item: Some(item) }.encode_to_vec();
        match key {
            Key::Head => {
                (vec![b'h'], Some([&self.head.sequence.to_be_bytes()[..], &self.head.hash].concat()))
            }
            Key::Days(book) => {
                let both = |days: &Days| [days.first.0.to_be_bytes(), days.current.0.to_be_bytes()].concat();
                ([b"d", book.as_bytes()].concat(), self.days.get(book).map(both))
            }
            Key::Counts => (vec![b'c'], Some(item(Item::Counts(self.counts.clone())))),
            Key::Tick => (vec![b't'], self.tick.clone().map(|tick| item(Item::Tick(tick)))),
            Key::Sent(partition) => {
                let key = [&b"s"[..], &partition.to_be_bytes()].concat();
                (key, self.sent.get(partition).map(|head| item(sent_item(*partition, *head))))
            }
            Key::LastRead(at) => {
                let key = [&b"r"[..], &[at.topic.index()], &at.partition.to_be_bytes()].concat();
                (key, self.last_read.get(at).map(|read| item(last_read_item(read))))
            }
            Key::DayTotal(book, date, partition) => {
                let tail = [date.0.to_be_bytes(), partition.to_be_bytes()].concat();
                let key = [&b"n"[..], book.as_bytes(), &[0], &tail].concat();
                let total = self.day_totals.get(&(book.clone(), *date, *partition));
                (key, total.map(|total| item(day_count_item(book, *date, *partition, total))))
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        [Key::Head, Key::Counts, Key::Tick]
            .into_iter()
            .chain(self.days.keys().cloned().map(Key::Days))
            .chain(self.day_totals.keys().cloned().map(|(book, date, at)| Key::DayTotal(book, date, at)))
            .chain(self.sent.keys().copied().map(Key::Sent))
            .chain(self.last_read.keys().copied().map(Key::LastRead))
    }
}

/// Whether an item of a changelog batch is one this program understands.
///
/// # Errors
/// What it is not.
pub(crate) fn check_item(item: Option<Item>) -> Result<Item, String> {
    let item = item.ok_or("an item of a kind this program does not know")?;
    // Judged on an empty state: whether an item can be set does not depend on what is there.
    IngestSlot::default().set(item.clone()).ok_or_else(|| format!("item does not decode: {item:?}"))?;
    Ok(item)
}

pub(crate) fn sent_item(partition: u32, head: ChainHead) -> Item {
    let hash = bytes::Bytes::copy_from_slice(&head.hash);
    Item::Sent(wire::ChainSent {
        topic: Topic::Commands.name().into(),
        partition,
        sequence: head.sequence,
        hash,
    })
}

pub(crate) fn last_read_item(read: &LastRead) -> Item {
    let hash = bytes::Bytes::copy_from_slice(&read.hash);
    let (topic, partition) = (read.at.topic.name().into(), read.at.partition);
    Item::PositionHash(wire::PositionHash { topic, partition, offset: read.offset, hash })
}

pub(crate) fn day_count_item(book: &str, date: Day, partition: u32, total: &DayTotal) -> Item {
    let (book, date, sum) = (book.to_owned(), date.0, total.wire_sums());
    Item::DayCount(wire::DayCount { partition, book, date, count: total.count, sum })
}

impl DayTotal {
    pub(crate) fn wire_sums(&self) -> Vec<wire::AssetSum> {
        let sum = |(asset, sum): (&String, &i128)| wire::AssetSum {
            asset: asset.clone(),
            sum: Some((*sum).into()),
        };
        self.sums.iter().map(sum).collect()
    }
}

impl SlotState for IngestSlot {
    fn take_dirty(&mut self, put: &mut stream::processor::PutPair<'_>) {
        for key in std::mem::take(&mut self.dirty) {
            let (key, value) = self.pair(&key);
            put(&key, value.as_deref());
        }
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 96
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let wrong = || format!("not a pair of ingest's state: key {key:?}");
        match key.split_first() {
            Some((b'h', [])) => {
                let (sequence, hash) = value.split_first_chunk::<8>().ok_or_else(wrong)?;
                let hash = Hash::try_from(hash).map_err(|_| wrong())?;
                self.head = ChainHead { sequence: u64::from_be_bytes(*sequence), hash };
            }
            Some((b'd', book)) => {
                let book = std::str::from_utf8(book).map_err(|_| wrong())?.to_owned();
                let (first, current) = value.split_first_chunk::<4>().ok_or_else(wrong)?;
                let current = <[u8; 4]>::try_from(current).map_err(|_| wrong())?;
                let (first, current) = (Day(i32::from_be_bytes(*first)), Day(i32::from_be_bytes(current)));
                self.days.insert(book, Days { first, current });
            }
            Some(_) => {
                let item = IngestStateItem::decode(value).map_err(|_| wrong())?.item.ok_or_else(wrong)?;
                let set = self.set(item).ok_or_else(wrong)?;
                if self.pair(&set).0 != key {
                    return Err(wrong());
                }
            }
            None => return Err(wrong()),
        }
        Ok(())
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |key| {
            let (key, value) = self.pair(&key);
            value.map(|value| (key, value))
        };
        let mut pairs: Vec<_> = self.keys().filter_map(pair).collect();
        pairs.sort();
        pairs
    }

    fn last_read(&self) -> Vec<LastRead> {
        self.last_read.values().copied().collect()
    }
}
