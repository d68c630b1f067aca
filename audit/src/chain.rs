//! Chains: all batches that one slot writes to one partition of one topic.
//!
//! A chain may begin above sequence 1 only where retention has passed its beginning. After a finding the chain goes on
//! from what was found, so that one defect is one finding. Heads that a changelog names (`promise`) are compared when
//! the chain reaches them; those already passed are compared with the last [`HEADS_KEPT`] hashes.

use crate::envelope::Opened;
use crate::finding::{Check, Findings, Place};
use crate::merkle::Hash;
use schemas::topics::Topic;
use schemas::wire::BatchHeader;
use std::collections::{BTreeMap, VecDeque};
use stream::log::Offset;

/// Hashes kept behind the head of every chain.
pub const HEADS_KEPT: usize = 512;

/// Writer's slot and the partition it writes to.
pub type ChainKey = (Topic, u32, u32);

/// Head of a chain and what is needed to judge the next batch.
#[derive(Debug, Default)]
pub struct Chain {
    /// First sequence read; 0 = none yet.
    pub first: u64,
    /// Last sequence read.
    pub sequence: u64,
    /// Hash of the last batch.
    pub hash: Hash,
    epoch: u64,
    batch: u64,
    generation: u32,
    heads: VecDeque<(u64, Hash)>,
    gaps: Vec<Gap>,
    promised: BTreeMap<u64, (Vec<u8>, String)>,
}

/// Batches of `credits` that are not there: what was due, what was found, and where. Their items may be sent again.
#[derive(Debug)]
struct Gap {
    due: u64,
    found: u64,
    place: Place,
}

/// All chains read.
#[derive(Debug, Default)]
pub struct Chains {
    chains: BTreeMap<ChainKey, Chain>,
}

impl Chains {
    /// The chain, if a batch or a promise of it was seen.
    #[must_use]
    pub fn get(&self, topic: Topic, partition: u32, slot: u32) -> Option<&Chain> {
        self.chains.get(&(topic, partition, slot))
    }

    /// Every chain in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ChainKey, &Chain)> {
        self.chains.iter()
    }

    /// Records were lost to retention between two reads of this partition: its chains may jump once.
    pub fn skipped(&mut self, topic: Topic, partition: u32) {
        for chain in
            self.chains.range_mut((topic, partition, 0)..=(topic, partition, u32::MAX)).map(|(_, c)| c)
        {
            chain.first = 0;
        }
    }

    /// Takes the next batch of a chain. `whole` = the partition was read from its first record.
    pub fn accept(&mut self, place: Place, whole: bool, opened: &Opened, found: &mut Findings) {
        let header = &opened.header;
        let chain = self.chains.entry((place.at.topic, place.at.partition, header.slot)).or_default();
        let known = chain.first > 0 || whole;
        let expected = chain.sequence.saturating_add(1);
        if known && place.at.topic == Topic::Credits && header.sequence > expected {
            chain.gaps.push(Gap { due: expected, found: header.sequence, place });
            found.uncovered(Check::Chain, 1);
        } else if known {
            found.that(Check::Sequence, header.sequence == expected, || {
                (place, format!("slot {}: sequence {} where {expected} is due", header.slot, header.sequence))
            });
            let previous: &[u8] = if chain.sequence == 0 { &[] } else { &chain.hash };
            found.that(Check::Chain, header.previous_hash.as_ref() == previous, || {
                (place, format!("slot {}: does not name the hash of the batch before it", header.slot))
            });
            let fell = header.epoch < chain.epoch || header.generation < chain.generation;
            found.that(Check::Epoch, !fell, || {
                (place, format!("slot {}: epoch {} after {}", header.slot, header.epoch, chain.epoch))
            });
        } else {
            found.uncovered(Check::Chain, 1);
        }
        chain.owner(place, known, header, found);
        if chain.first == 0 {
            chain.first = if whole { 1 } else { header.sequence.max(1) };
        }
        chain.advance(place, opened, found);
    }

    /// A changelog says that this chain has (or will have) `hash` at `sequence`.
    pub fn promise(&mut self, key: ChainKey, sequence: u64, hash: &[u8], place: Place, found: &mut Findings) {
        if sequence == 0 || hash.is_empty() {
            return;
        }
        let chain = self.chains.entry(key).or_default();
        if sequence > chain.sequence {
            chain.promised.insert(sequence, (hash.to_vec(), place.to_string()));
            return;
        }
        match chain.heads.iter().rev().find(|(s, _)| *s == sequence) {
            Some((_, is)) => found.that(Check::Head, is == hash, || {
                (
                    place,
                    format!(
                        "names another hash for {}/{} slot {} sequence {sequence}",
                        key.0.name(),
                        key.1,
                        key.2
                    ),
                )
            }),
            None => found.uncovered(Check::Head, 1),
        }
    }

    /// Gaps in the chains of `credits`. `asked` = the receiver has asked for that channel to be sent again, so that its
    /// items are judged one by one; `passed` = its windows have read that record.
    pub fn report_gaps(
        &self,
        ended: bool,
        asked: impl Fn(u32, u32) -> bool,
        passed: impl Fn(u32, Offset) -> bool,
        found: &mut Findings,
    ) {
        for ((_, partition, slot), chain) in &self.chains {
            for Gap { due, found: is, place } in &chain.gaps {
                if asked(*slot, *partition) {
                    found.uncovered(Check::Sequence, is - due);
                    continue;
                }
                let what =
                    format!("slot {slot}: sequence {is} where {due} is due, and it was not asked for again");
                found.overdue(ended || passed(*partition, place.offset), Check::Sequence, place, what);
            }
        }
    }

    /// Heads that were named and never came. `whole` = the partition was read from its first record. Where it was
    /// not, a chain of which nothing is left has gone to retention altogether and cannot be judged.
    pub fn report(&self, ended: bool, whole: impl Fn(Topic, u32) -> bool, found: &mut Findings) {
        for ((topic, partition, slot), chain) in &self.chains {
            if chain.first == 0 && !whole(*topic, *partition) {
                found.uncovered(Check::Head, chain.promised.len() as u64);
                continue;
            }
            for (sequence, (_, by)) in &chain.promised {
                let what =
                    format!("{}/{partition} slot {slot}: sequence {sequence} is not there", topic.name());
                found.overdue(ended, Check::Sequence, by, what);
            }
        }
    }
}

impl Chain {
    /// Window number of the last batch.
    #[must_use]
    pub const fn last_batch(&self) -> u64 {
        self.batch
    }

    fn owner(&self, place: Place, known: bool, header: &BatchHeader, found: &mut Findings) {
        let changelog = matches!(place.at.topic, Topic::Journal | Topic::IngestState | Topic::ReconState);
        if changelog {
            let owns = header.slot == place.at.partition && header.batch == header.sequence;
            found.that(Check::Batch, owns, || {
                let (slot, batch, sequence) = (header.slot, header.batch, header.sequence);
                (
                    place,
                    format!("slot {slot}, batch {batch}, sequence {sequence} in a changelog of its own slot"),
                )
            });
        } else {
            // A window that is too big for one record writes several batches to a partition.
            let rises = !known || header.batch >= self.batch;
            found.that(Check::Batch, rises, || {
                (place, format!("slot {}: batch {} after {}", header.slot, header.batch, self.batch))
            });
        }
    }

    fn advance(&mut self, place: Place, opened: &Opened, found: &mut Findings) {
        let header = &opened.header;
        self.sequence = header.sequence;
        self.hash = opened.hash;
        self.epoch = self.epoch.max(header.epoch);
        self.batch = header.batch;
        self.generation = self.generation.max(header.generation);
        if self.heads.len() >= HEADS_KEPT {
            self.heads.pop_front();
        }
        self.heads.push_back((header.sequence, opened.hash));
        while let Some(due) = self.promised.first_entry().filter(|due| *due.key() <= header.sequence) {
            let (sequence, (hash, by)) = due.remove_entry();
            if sequence == header.sequence {
                found.that(Check::Head, hash == opened.hash, || {
                    (place, format!("slot {} sequence {sequence}: another hash than {by} names", header.slot))
                });
            } else {
                found.uncovered(Check::Head, 1);
            }
        }
    }
}
