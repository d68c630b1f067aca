//! State of the re-keying half: where its chains stand and how far each bill file is staged.

use crate::chain_bytes;
use prost::Message;
use schemas::batch::{ChainHead, Hash, Opened};
use schemas::topics::Topic;
use schemas::wire::recon_state_item::Item;
use schemas::wire::{
    BillProgress, ChainMark, ChannelSequence, PositionHash, ReconStateBody, ReconStateItem, SideSent, Tick,
};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::TopicPartition;
use stream::processor::{LastRead, SlotState};

/// State of one slot.
#[derive(Debug, Default)]
pub struct RekeySlot {
    /// Own changelog.
    pub(super) changelog: ChainHead,
    /// Chain read from `journal`.
    pub(super) journal: ChainHead,
    /// Chains written, by partition of `recon.sides`.
    pub(super) sent: BTreeMap<u32, ChainHead>,
    /// Bill files seen.
    pub(super) bills: BTreeMap<String, BillProgress>,
    /// Last record read from `bills.lines`.
    pub(super) position: Option<PositionHash>,
    /// Business time last passed on.
    pub(super) tick: Option<Tick>,
    dirty: BTreeSet<Pair>,
}

/// What a window changes, all values absolute. The changelog batch holds exactly this.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RekeyChange {
    /// Head of the changelog after this window.
    pub(super) changelog: ChainHead,
    /// Head of the journal's chain, where it moved.
    pub(super) journal: Option<ChainHead>,
    /// Heads of the chains written, where they moved.
    pub(super) sent: BTreeMap<u32, ChainHead>,
    /// Files that went on.
    pub(super) bills: BTreeMap<String, BillProgress>,
    /// Last record read from `bills.lines`, where one was.
    pub(super) position: Option<PositionHash>,
    /// Business time, where it was passed on.
    pub(super) tick: Option<Tick>,
}

/// Name of a pair of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Bill(String),
    Changelog,
    Journal,
    Position,
    Sent(u32),
    Tick,
}

impl Pair {
    fn key(&self) -> Vec<u8> {
        match self {
            Self::Bill(file) => [b"b", file.as_bytes()].concat(),
            Self::Changelog => b"c".to_vec(),
            Self::Journal => b"j".to_vec(),
            Self::Position => b"p".to_vec(),
            Self::Sent(partition) => [&b"s"[..], &partition.to_be_bytes()].concat(),
            Self::Tick => b"t".to_vec(),
        }
    }
}

impl RekeySlot {
    /// Progress of a bill file, once its first chunk was read.
    #[must_use]
    pub fn bill(&self, file: &str) -> Option<&BillProgress> {
        self.bills.get(file)
    }

    /// The only mutator.
    pub(super) fn apply(&mut self, change: RekeyChange) {
        self.changelog = change.changelog;
        self.dirty.insert(Pair::Changelog);
        if let Some(head) = change.journal {
            self.journal = head;
            self.dirty.insert(Pair::Journal);
        }
        for (partition, head) in change.sent {
            self.sent.insert(partition, head);
            self.dirty.insert(Pair::Sent(partition));
        }
        for (file, progress) in change.bills {
            self.dirty.insert(Pair::Bill(file.clone()));
            self.bills.insert(file, progress);
        }
        if let Some(position) = change.position {
            self.position = Some(position);
            self.dirty.insert(Pair::Position);
        }
        if let Some(tick) = change.tick {
            self.tick = Some(tick);
            self.dirty.insert(Pair::Tick);
        }
    }

    fn value(&self, pair: &Pair) -> Option<Vec<u8>> {
        match pair {
            Pair::Bill(file) => self.bills.get(file).map(Message::encode_to_vec),
            Pair::Changelog => begun(&self.changelog),
            Pair::Journal => begun(&self.journal),
            Pair::Position => self.position.as_ref().map(Message::encode_to_vec),
            Pair::Sent(partition) => self.sent.get(partition).map(chain_bytes::encode),
            Pair::Tick => self.tick.as_ref().map(Message::encode_to_vec),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> {
        let bills = self.bills.keys().cloned().map(Pair::Bill);
        let chains = [Pair::Changelog, Pair::Journal, Pair::Position];
        bills.chain(chains).chain(self.sent.keys().copied().map(Pair::Sent)).chain([Pair::Tick])
    }
}

impl SlotState for RekeySlot {
    fn take_dirty(&mut self, put: &mut stream::processor::PutPair<'_>) {
        for pair in std::mem::take(&mut self.dirty) {
            put(&pair.key(), self.value(&pair).as_deref());
        }
    }

    fn dirty_bytes(&self) -> usize {
        const PAIR_BYTES: usize = 160;
        self.dirty.len() * PAIR_BYTES
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let decode = |e: prost::DecodeError| e.to_string();
        let (kind, rest) = key.split_first().ok_or("empty key")?;
        match (kind, rest) {
            (b'b', file) => {
                let file = std::str::from_utf8(file).map_err(|e| e.to_string())?;
                self.bills.insert(file.to_owned(), BillProgress::decode(value).map_err(decode)?);
            }
            (b'c', []) => self.changelog = chain_bytes::decode(value)?,
            (b'j', []) => self.journal = chain_bytes::decode(value)?,
            (b'p', []) => self.position = Some(checked(PositionHash::decode(value).map_err(decode)?)?),
            (b's', partition) => {
                self.sent.insert(chain_bytes::number(partition)?, chain_bytes::decode(value)?);
            }
            (b't', []) => self.tick = Some(Tick::decode(value).map_err(decode)?),
            _ => return Err(format!("unknown key {key:?}")),
        }
        Ok(())
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.pairs().filter_map(|pair| Some((pair.key(), self.value(&pair)?))).collect()
    }

    fn last_read(&self) -> Vec<LastRead> {
        self.position.iter().filter_map(read_of).collect()
    }
}

/// `None` when it is not one of this format; those are refused where they come from.
fn read_of(position: &PositionHash) -> Option<LastRead> {
    let at = TopicPartition::new(Topic::by_name(&position.topic)?, position.partition);
    let hash = Hash::try_from(position.hash.as_ref()).ok()?;
    Some(LastRead { at, offset: position.offset, hash })
}

fn checked(position: PositionHash) -> Result<PositionHash, String> {
    match read_of(&position) {
        Some(_) => Ok(position),
        None => Err(format!("position hash does not decode: {position:?}")),
    }
}

impl RekeyChange {
    /// Items of the changelog batch, sorted.
    pub(super) fn items(&self) -> Vec<ReconStateItem> {
        let sent = self.sent.iter().map(|(partition, head)| {
            let hash = head.hash.to_vec().into();
            Item::Sent(SideSent { partition: *partition, sequence: head.sequence, hash })
        });
        let bills = self.bills.values().cloned().map(Item::Bill);
        let position = self.position.iter().cloned().map(Item::PositionHash);
        let tick = self.tick.iter().cloned().map(Item::Tick);
        sent.chain(bills)
            .chain(position)
            .chain(tick)
            .map(|item| ReconStateItem { item: Some(item) })
            .collect()
    }

    /// Chains read, for the changelog batch's header.
    pub(super) fn marks(&self, slot: u32) -> Vec<ChainMark> {
        let mark = |head: &ChainHead| ChainMark {
            topic: Topic::Journal.name().to_owned(),
            slot,
            sequence: head.sequence,
            hash: head.hash.to_vec().into(),
        };
        self.journal.iter().map(mark).collect()
    }

    /// Reads a changelog batch back.
    pub(super) fn of_batch(batch: &Opened, changelog: ChainHead) -> Result<Self, String> {
        let body: ReconStateBody = batch.body().map_err(|e| e.to_string())?;
        batch.expect_count(body.item.len()).map_err(|e| e.to_string())?;
        let mut change = Self { changelog, ..Self::default() };
        for mark in &batch.header.mark {
            if mark.topic != Topic::Journal.name() {
                return Err(format!("mark of unknown topic {:?}", mark.topic));
            }
            change.journal = Some(head(mark.sequence, &mark.hash)?);
        }
        for item in body.item {
            match item.item.ok_or("item of unknown kind")? {
                Item::Sent(sent) => {
                    change.sent.insert(sent.partition, head(sent.sequence, &sent.hash)?);
                }
                Item::Bill(progress) => {
                    change.bills.insert(progress.file.clone(), progress);
                }
                Item::PositionHash(position) => change.position = Some(checked(position)?),
                Item::Tick(tick) => change.tick = Some(tick),
            }
        }
        Ok(change)
    }
}

fn head(sequence: u64, hash: &[u8]) -> Result<ChainHead, String> {
    let hash = hash.try_into().map_err(|_| format!("hash of {} bytes", hash.len()))?;
    Ok(ChainHead { sequence, hash })
}

/// A chain without a batch has no pair.
fn begun(head: &ChainHead) -> Option<Vec<u8>> {
    (head.sequence > 0).then(|| chain_bytes::encode(head))
}

/// Adds one staged line to a file's count for a partition; counts stay sorted by partition.
pub(super) fn count_staged(progress: &mut BillProgress, partition: u32) {
    match progress.staged.binary_search_by_key(&partition, |staged| staged.partition) {
        Ok(at) => {
            if let Some(staged) = progress.staged.get_mut(at) {
                staged.sequence += 1;
            }
        }
        Err(at) => {
            let staged = ChannelSequence { partition, sequence: 1, ..ChannelSequence::default() };
            progress.staged.insert(at, staged);
        }
    }
}

/// Lines of a file staged on a partition.
pub(super) fn staged_on(progress: &BillProgress, partition: u32) -> u64 {
    progress.staged.iter().find(|staged| staged.partition == partition).map_or(0, |staged| staged.sequence)
}
