//! Idempotency: what became of every (source, id) at its home.
//!
//! The table holds 16 bytes of SHA-256 for the key and 16 for the body, so that a lookup costs one probe and a
//! record about 60 bytes. Records leave by time only (a later release); nothing is forgotten under load.

use schemas::batch::sha256;
use schemas::reason::Reason;
use schemas::wire::{EventKey, Outcome};
use sha2::{Digest, Sha256};
use stream::table::{Index, Rows};

/// First 16 bytes of SHA-256(length of source, source, id).
pub type IdKey = [u8; 16];

/// Key of an event: `source` and `id` cannot run into each other.
#[must_use]
pub fn id_key(source: &str, id: &str) -> IdKey {
    let mut hasher = Sha256::new();
    hasher.update(u32::try_from(source.len()).unwrap_or(u32::MAX).to_be_bytes());
    hasher.update(source.as_bytes());
    hasher.update(id.as_bytes());
    first16(&hasher.finalize().into())
}

/// Key of an event on the wire.
#[must_use]
pub fn key_of(event: Option<&EventKey>) -> IdKey {
    event.map_or_else(|| id_key("", ""), |e| id_key(&e.source, &e.id))
}

fn first16(hash: &[u8; 32]) -> IdKey {
    let mut out = [0; 16];
    out.copy_from_slice(hash.split_at(16).0);
    out
}

/// Reads a body hash of 16 bytes; shorter or longer ones are hashed to 16.
#[must_use]
pub fn body_hash(bytes: &[u8]) -> [u8; 16] {
    <[u8; 16]>::try_from(bytes).unwrap_or_else(|_| first16(&sha256(bytes)))
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRecord {
    /// Hash of type, subject and data.
    pub body: [u8; 16],
    /// Booked, refused, or pending.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// Partition that decided (or was asked). There are 256 at most.
    pub decider: u16,
    /// Batch of the decider's journal that holds the decision (of home's, while pending).
    pub batch: u64,
    /// Batch of home's journal that has the event's legs: where it was decided, or asked about.
    pub home_batch: u64,
}

/// What home remembers of a decision; `None` for duplicates and conflicts, whose original stands.
#[must_use]
pub fn remembered(
    outcome: Outcome,
    reason: Option<Reason>,
    body: &[u8],
    decider: u32,
    batch: u64,
) -> Option<IdRecord> {
    let stands = outcome != Outcome::Duplicate && reason != Some(Reason::Conflict);
    stands.then(|| {
        let decider = partition(decider);
        IdRecord { body: body_hash(body), outcome, reason, decider, batch, home_batch: batch }
    })
}

/// A partition as it is remembered.
#[must_use]
pub fn partition(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl IdRecord {
    /// What is remembered once it is decided, or another partition is asked.
    #[must_use]
    pub fn resolved(self, outcome: Outcome, reason: Option<Reason>, decider: u32, batch: u64) -> Self {
        Self { outcome, reason, decider: partition(decider), batch, ..self }
    }
}

const RECORD_BYTES: usize = 16 + 1 + 1 + 2 + 8 + 8;

impl IdRecord {
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let (body, rest) = out.split_at_mut(16);
        body.copy_from_slice(&self.body);
        let (codes, rest) = rest.split_at_mut(2);
        let outcome = u8::try_from(self.outcome as i32).unwrap_or(0);
        let reason = self.reason.map_or(0, Reason::number);
        codes.copy_from_slice(&[outcome, reason]);
        let (decider, rest) = rest.split_at_mut(2);
        decider.copy_from_slice(&self.decider.to_be_bytes());
        let (batch, home_batch) = rest.split_at_mut(8);
        batch.copy_from_slice(&self.batch.to_be_bytes());
        home_batch.copy_from_slice(&self.home_batch.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
        let (body, rest) = bytes.split_at(16);
        let (codes, rest) = rest.split_at(2);
        let (decider, rest) = rest.split_at(2);
        let (batch, home_batch) = rest.split_at(8);
        let [outcome, reason] = <[u8; 2]>::try_from(codes).ok()?;
        let reason = match reason {
            0 => None,
            n => Some(Reason::by_number(n)?),
        };
        Some(Self {
            body: body.try_into().ok()?,
            outcome: Outcome::try_from(i32::from(outcome)).ok()?,
            reason,
            decider: u16::from_be_bytes(decider.try_into().ok()?),
            batch: u64::from_be_bytes(batch.try_into().ok()?),
            home_batch: u64::from_be_bytes(home_batch.try_into().ok()?),
        })
    }
}

/// The key is a hash already.
fn hash_of(key: &IdKey) -> u32 {
    let [a, b, c, d, ..] = *key;
    u32::from_be_bytes([a, b, c, d])
}

const _: () = assert!(size_of::<(IdKey, IdRecord)>() <= 56);

/// Ids of one slot.
#[derive(Debug, Default)]
pub struct IdTable {
    index: Index,
    records: Rows<(IdKey, IdRecord)>,
    booked: u64,
    pending: u64,
    dirty: Vec<(IdKey, IdRecord)>,
}

impl IdTable {
    /// What became of an event.
    #[must_use]
    pub fn get(&self, key: &IdKey) -> Option<&IdRecord> {
        self.records.get(self.find(key)? as usize).map(|(_, record)| record)
    }

    fn find(&self, key: &IdKey) -> Option<u32> {
        let is_it = |row: u32| self.records.get(row as usize).is_some_and(|(found, _)| found == key);
        self.index.find(hash_of(key), is_it)
    }

    /// Number of ids held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Ids whose event is booked.
    #[must_use]
    pub const fn booked(&self) -> u64 {
        self.booked
    }

    /// Ids whose event is refused for good.
    #[must_use]
    pub fn refused(&self) -> u64 {
        (self.records.len() as u64).saturating_sub(self.booked).saturating_sub(self.pending)
    }

    /// Ids whose verdict is still to come.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pending
    }

    pub(crate) fn set(&mut self, key: IdKey, record: IdRecord) {
        self.load(key, record);
        self.dirty.push((key, record));
    }

    pub(crate) fn load(&mut self, key: IdKey, record: IdRecord) {
        let known = self.find(&key).and_then(|row| self.records.get_mut(row as usize));
        let before = match known {
            Some((_, known)) => Some(std::mem::replace(known, record)),
            None => {
                let row = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
                self.index.insert(hash_of(&key), row);
                self.records.push((key, record));
                None
            }
        };
        let is = |outcome| move |record: &IdRecord| u64::from(record.outcome == outcome);
        let change =
            |count: u64, is: &dyn Fn(&IdRecord) -> u64| count + is(&record) - before.as_ref().map_or(0, is);
        self.booked = change(self.booked, &is(Outcome::Booked));
        self.pending = change(self.pending, &is(Outcome::Pending));
    }

    /// Records set since the last call, oldest first; of two with one key the later counts.
    pub(crate) fn take_dirty(&mut self) -> Vec<(IdKey, IdRecord)> {
        std::mem::take(&mut self.dirty)
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * (16 + RECORD_BYTES + 8)
    }

    /// Every record, in the order in which they came.
    pub(crate) fn all(&self) -> impl Iterator<Item = &(IdKey, IdRecord)> {
        self.records.iter()
    }

    pub(crate) fn sorted(&self) -> Vec<(IdKey, IdRecord)> {
        let mut all: Vec<_> = self.all().copied().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_id_cannot_run_into_each_other() {
        assert_ne!(id_key("ab", "c"), id_key("a", "bc"));
        assert_ne!(id_key("", "abc"), id_key("abc", ""));
    }

    #[test]
    fn records_survive_their_encoding() {
        for outcome in [Outcome::Booked, Outcome::Refused, Outcome::Pending] {
            for reason in std::iter::once(None).chain(Reason::ALL.iter().copied().map(Some)) {
                let record =
                    IdRecord { body: [7; 16], outcome, reason, decider: 256, batch: u64::MAX, home_batch: 5 };
                assert_eq!(IdRecord::decode(&record.encode()), Some(record));
            }
        }
        assert_eq!(IdRecord::decode(&[0; 3]), None);
    }
}
