//! One chain: the batches that one slot writes to one partition, each held against the one before it and against what
//! others have noted of it.

use super::finding::{Findings, Kind, Place};
use crate::query::envelope::Whole;
use schemas::batch::Hash;
use schemas::topics::{Retention, Topic};
use std::collections::BTreeMap;
use std::fmt;
use stream::log::TopicPartition;

/// Notes of others that are kept of a chain. Of more, every second one goes: the last one stays.
const WITNESSES_MAX: usize = 1_024;

/// Who has noted a batch of another's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The header of a batch.
    Batch(TopicPartition, u64),
    /// The committed position of the chain's own writer.
    Position(TopicPartition),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(at, batch) => write!(f, "{at} batch {batch}"),
            Self::Position(at) => write!(f, "the committed position on {at}"),
        }
    }
}

/// A batch as somebody else has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// Place in its chain.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
    /// Who has.
    pub by: By,
}

/// A chain, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Chain {
    sequence: u64,
    hash: Hash,
    epoch: u64,
    /// Whether the last batch is not what its own header says: the next one naming another hash is no news.
    defective: bool,
    /// Batches read.
    pub batches: u64,
    /// Batches that were passed over: from, to.
    missing: BTreeMap<u64, u64>,
    /// Records of the partition that were no batches, and may have been the next ones.
    unreadable: u64,
    /// In the order of their sequences.
    witnesses: Vec<Witness>,
    heard: usize,
    /// The last batch that a witness confirms.
    confirmed: u64,
    /// The first that one does not.
    denied: Option<(Place, Witness)>,
    /// Whether something is wrong that needs no witness.
    broken: bool,
}

impl Chain {
    /// Notes what somebody has seen of it, before it is read itself.
    pub fn promise(&mut self, witness: Witness) {
        if self.witnesses.last().is_some_and(|last| last.sequence >= witness.sequence) {
            return;
        }
        if self.witnesses.len() >= WITNESSES_MAX {
            let mut keep = false;
            self.witnesses.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.witnesses.push(witness);
    }

    /// A record of its partition was no batch.
    pub const fn unreadable(&mut self) {
        self.unreadable += 1;
        self.broken = true;
    }

    /// Takes the next batch. `given_up`: the partition's first records are gone by retention, as they may.
    pub fn take(&mut self, place: Place, whole: &Whole, given_up: bool, found: &mut Findings) {
        let header = &whole.header;
        self.batches += 1;
        if let Some(defect) = &whole.defect {
            self.wrong(Kind::Edited, place, format!("the batch {defect}"), found);
        }
        let (sequence, expected) = (header.sequence, self.sequence + 1);
        if sequence < expected {
            return self.again(place, sequence, found);
        }
        let begins = self.sequence == 0 && given_up;
        if sequence > expected && !begins {
            self.gap(expected, sequence);
        } else if !begins {
            self.follows(place, &header.previous_hash, found);
        }
        if header.epoch < self.epoch {
            let what =
                format!("the batch is of owner epoch {}, the one before it of {}", header.epoch, self.epoch);
            self.wrong(Kind::Edited, place, what, found);
        }
        (self.sequence, self.hash, self.epoch) = (sequence, whole.hash, header.epoch.max(self.epoch));
        self.defective = whole.defect.is_some();
        self.unreadable = 0;
        self.hear(place);
    }

    fn wrong(&mut self, kind: Kind, place: Place, what: String, found: &mut Findings) {
        self.broken = true;
        found.add(kind, Some(place), what);
    }

    /// Holds the hash that a batch names against the batch before it.
    fn follows(&mut self, place: Place, previous: &[u8], found: &mut Findings) {
        let own: &[u8] = if self.sequence == 0 { &[] } else { &self.hash };
        if previous == own || self.defective {
            return;
        }
        if self.sequence == 0 {
            return self.wrong(Kind::Edited, place, "the first batch names one before it".to_owned(), found);
        }
        let what = format!(
            "batch {} names another hash for the batch before it: batch {} was altered, or what names it",
            self.sequence + 1,
            self.sequence
        );
        self.wrong(Kind::Edited, Place::batch(place.at, self.sequence), what, found);
    }

    /// Batches are passed over; records that were no batches were some of them.
    fn gap(&mut self, expected: u64, sequence: u64) {
        let from = expected.saturating_add(self.unreadable);
        if from < sequence {
            self.missing.insert(from, sequence - 1);
        }
    }

    /// A batch that comes when later ones have come.
    fn again(&mut self, place: Place, sequence: u64, found: &mut Findings) {
        let gap = self.missing.range(..=sequence).next_back().map(|(from, to)| (*from, *to));
        let Some((from, to)) = gap.filter(|(_, to)| *to >= sequence) else {
            let what = format!("the batch was there before; batch {} stands before it", self.sequence);
            return self.wrong(Kind::Repeated, place, what, found);
        };
        self.missing.remove(&from);
        if from < sequence {
            self.missing.insert(from, sequence - 1);
        }
        if sequence < to {
            self.missing.insert(sequence + 1, to);
        }
        let what = format!("the batch stands after batch {}", self.sequence);
        self.wrong(Kind::Reordered, place, what, found);
    }

    /// What others have noted of the batch that was just taken.
    fn hear(&mut self, place: Place) {
        while let Some(witness) = self.witnesses.get(self.heard).filter(|w| w.sequence <= self.sequence) {
            if witness.sequence == self.sequence && self.denied.is_none() {
                if witness.hash == self.hash {
                    self.confirmed = self.sequence;
                } else {
                    self.denied = Some((place, *witness));
                }
            }
            self.heard += 1;
        }
    }

    /// The chain's end is reached: what is missing is missing.
    pub fn end(&mut self, at: TopicPartition, given_up: bool, found: &mut Findings) {
        for (from, to) in std::mem::take(&mut self.missing) {
            let what = match from == to {
                true => "the batch is missing".to_owned(),
                false => format!("batches {from} to {to} are missing"),
            };
            self.wrong(Kind::Removed, Place::batch(at, from), what, found);
        }
        let last = self.witnesses.last().copied().filter(|last| last.sequence > self.sequence);
        if let Some(last) = last.filter(|_| self.sequence > 0 || !given_up) {
            let what = format!(
                "the chain ends at batch {}; {} names batch {}",
                self.sequence, last.by, last.sequence
            );
            self.wrong(Kind::Cut, Place::batch(at, self.sequence + 1), what, found);
        }
        if let Some((place, witness)) = self.denied.filter(|_| !self.broken) {
            let from = match self.confirmed {
                0 => "one of the batches up to it".to_owned(),
                last => format!("one of the batches {} to {}", last + 1, witness.sequence),
            };
            let what = format!(
                "the chain is whole, but {} names another hash for batch {}: {from} was altered, and all after it computed again",
                witness.by, witness.sequence
            );
            self.wrong(Kind::Recomputed, place, what, found);
        }
    }
}

/// Whether a topic's first records may be gone.
pub(super) fn may_be_given_up(topic: Topic) -> bool {
    topic.retention() != Retention::Forever
}
