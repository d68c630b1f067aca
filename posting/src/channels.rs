//! Channels between posting partitions: ordered, numbered, each item accepted once (DESIGN rule 6).

use crate::config::{HELD_MAX, RECENT_CHECKS};
use bytes::Bytes;
use schemas::batch::{ChainHead, Hash, sha256};
use std::collections::{BTreeMap, VecDeque};

/// First 8 bytes, big-endian, of SHA-256 of an encoded item.
#[must_use]
pub fn item_check(hash: &Hash) -> u64 {
    hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Receiving end of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Incoming {
    /// Last sequence applied.
    pub mark: u64,
    /// Hash of the last item applied; zeros before the first.
    pub hash: Hash,
    /// Checks of the last items applied, newest last.
    pub recent: VecDeque<u64>,
    /// Items above `mark + 1`, waiting.
    pub held: BTreeMap<u64, Bytes>,
    /// Items dropped because too many waited.
    pub dropped: u64,
}

/// What to do with an arriving item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one: apply it.
    Next,
    /// Seen before, equal: drop it.
    Repeated,
    /// Seen before under this sequence, another content: stop the slot.
    Different,
    /// Seen so long ago that its check is gone.
    TooOld,
    /// Above the next one: keep it and wait.
    Ahead,
    /// Above the next one, and too many wait already.
    AheadDropped,
}

impl Incoming {
    /// Judges an item by its sequence and hash.
    #[must_use]
    pub fn judge(&self, sequence: u64, hash: &Hash) -> Arrival {
        if sequence == self.mark + 1 {
            return Arrival::Next;
        }
        if sequence > self.mark {
            if let Some(held) = self.held.get(&sequence) {
                return if sha256(held) == *hash { Arrival::Repeated } else { Arrival::Different };
            }
            return if self.held.len() >= HELD_MAX { Arrival::AheadDropped } else { Arrival::Ahead };
        }
        let back = usize::try_from(self.mark - sequence).unwrap_or(usize::MAX);
        match self.recent.len().checked_sub(1).and_then(|last| last.checked_sub(back)) {
            Some(at) if self.recent.get(at) == Some(&item_check(hash)) => Arrival::Repeated,
            Some(_) => Arrival::Different,
            None => Arrival::TooOld,
        }
    }

    /// Makes an item the last one applied.
    pub fn advance(&mut self, sequence: u64, check: u64) {
        self.mark = sequence;
        self.held.remove(&sequence);
        self.recent.push_back(check);
        if self.recent.len() > RECENT_CHECKS {
            self.recent.pop_front();
        }
    }
}

/// Sending end of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// Last item sequence sent.
    pub sequence: u64,
    /// Head of the batch chain to that partition of `credits`.
    pub chain: ChainHead,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_item_is_applied() {
        let hash = |n: u64| sha256(&n.to_be_bytes());
        let mut channel = Incoming::default();
        for n in 1..=(RECENT_CHECKS as u64 + 10) {
            assert_eq!(channel.judge(n, &hash(n)), Arrival::Next);
            channel.advance(n, item_check(&hash(n)));
        }
        let mark = channel.mark;
        assert_eq!(channel.judge(mark, &hash(mark)), Arrival::Repeated);
        assert_eq!(channel.judge(mark - 5, &hash(mark - 5)), Arrival::Repeated);
        assert_eq!(channel.judge(mark, &hash(0)), Arrival::Different);
        assert_eq!(channel.judge(1, &hash(1)), Arrival::TooOld);
        assert_eq!(channel.judge(mark + 2, &hash(mark + 2)), Arrival::Ahead);
        channel.held.insert(mark + 2, Bytes::copy_from_slice(&(mark + 2).to_be_bytes()));
        assert_eq!(channel.judge(mark + 2, &hash(mark + 2)), Arrival::Repeated);
        assert_eq!(channel.judge(mark + 2, &hash(0)), Arrival::Different);
        for n in 0..HELD_MAX as u64 {
            channel.held.insert(mark + 3 + n, Bytes::new());
        }
        assert_eq!(channel.judge(mark + 90_000, &hash(9)), Arrival::AheadDropped);
    }
}
