//! Idempotency: the key of an event at its home, and what is remembered of it. Where these are kept: [`crate::id_table`].

use schemas::batch::sha256;
use schemas::reason::Reason;
use schemas::wire::{EventKey, Outcome};
use sha2::{Digest, Sha256};

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
    /// Itself, if it is pending or not older than batch `from` of its home.
    #[must_use]
    pub fn since(self, from: u64) -> Option<Self> {
        (self.outcome == Outcome::Pending || self.home_batch >= from).then_some(self)
    }

    /// What is remembered once it is decided, or another partition is asked.
    #[must_use]
    pub fn resolved(self, outcome: Outcome, reason: Option<Reason>, decider: u32, batch: u64) -> Self {
        Self { outcome, reason, decider: partition(decider), batch, ..self }
    }
}

/// Bytes of an encoded record.
pub(crate) const RECORD_BYTES: usize = 16 + 1 + 1 + 2 + 8 + 8;

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
