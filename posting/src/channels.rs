//! Channels between posting partitions: ordered, numbered, each item accepted once (ARCHITECTURE rule 6).
//!
//! The state of both ends. What is above the next item waits ([`crate::gaps`] asks for what is missing), a second
//! delivery is compared with the checks in memory, an older one with the own journal ([`crate::recheck`]).

use crate::config::{HELD_MAX, RECENT_CHECKS};
use crate::resend::Again;
use bytes::Bytes;
use schemas::batch::{ChainHead, Hash, sha256};
use schemas::wire::{self, ResendAsked};
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
    /// Checks of the last items applied, newest last; in an overlay those of the whole window besides.
    pub recent: VecDeque<u64>,
    /// Items above `mark + 1`, waiting.
    pub held: BTreeMap<u64, Bytes>,
    /// Items dropped because too many waited.
    pub dropped: u64,
    /// Highest sequence seen above the next one: while it is above the mark, items are missing.
    pub seen: u64,
    /// What the sender was last asked for; `None` while nothing is missing.
    pub asked: Option<Asked>,
}

/// What a sender was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// First sequence missing.
    pub from_sequence: u64,
    /// Business time from which the wait counts, microseconds.
    pub at_us: i64,
    /// How often it was asked for.
    pub times: u32,
}

impl Asked {
    /// As in the journal.
    #[must_use]
    pub const fn from_wire(asked: &ResendAsked) -> Self {
        Self { from_sequence: asked.from_sequence, at_us: asked.business_time_us, times: asked.times }
    }

    /// As in a checkpoint, which does not need the sequence of the request.
    #[must_use]
    pub const fn to_wire(self, from: u32) -> ResendAsked {
        let Self { from_sequence, at_us: business_time_us, times } = self;
        ResendAsked { from, from_sequence, sequence: 0, business_time_us, times }
    }
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
    /// Seen so long ago that its check is in the journal only.
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
        if !self.gap() {
            self.asked = None;
        }
    }

    /// Keeps an item above the next one; without the item, counts it as dropped.
    pub fn hold(&mut self, sequence: u64, item: Option<Bytes>) {
        self.seen = self.seen.max(sequence);
        match item {
            Some(item) => drop(self.held.insert(sequence, item)),
            None => self.dropped += 1,
        }
    }

    /// Whether items are missing that came before one seen.
    #[must_use]
    pub const fn gap(&self) -> bool {
        self.seen > self.mark
    }

    /// Forgets checks past the bound. Only a committed state does: within a window the oldest sequence that can be
    /// compared stays the same.
    pub fn forget(&mut self) {
        while self.recent.len() > RECENT_CHECKS {
            self.recent.pop_front();
        }
    }

    /// As in a checkpoint.
    #[must_use]
    pub fn to_wire(&self, from: u32) -> wire::IncomingChannel {
        let held = |(sequence, item): (&u64, &Bytes)| wire::Held {
            from,
            sequence: *sequence,
            item: item.clone(),
            dropped: false,
        };
        wire::IncomingChannel {
            from,
            mark: self.mark,
            hash: self.hash.to_vec().into(),
            recent: self.recent.iter().copied().collect(),
            held: self.held.iter().map(held).collect(),
            dropped: self.dropped,
            seen: self.seen,
            asked: self.asked.map(|asked| asked.to_wire(from)),
        }
    }

    /// As in a checkpoint.
    #[must_use]
    pub fn from_wire(wire: wire::IncomingChannel) -> Self {
        let held: BTreeMap<u64, Bytes> = wire.held.into_iter().map(|h| (h.sequence, h.item)).collect();
        // A checkpoint of before `seen` was kept has what waits.
        let waiting = held.keys().next_back().copied().unwrap_or(0);
        Self {
            mark: wire.mark,
            hash: Hash::try_from(wire.hash.as_ref()).unwrap_or_default(),
            recent: wire.recent.into(),
            held,
            dropped: wire.dropped,
            seen: wire.seen.max(waiting),
            asked: wire.asked.as_ref().map(Asked::from_wire),
        }
    }

    /// Last sequence whose check is gone.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.mark.saturating_sub(self.recent.len() as u64)
    }
}

/// Sending end of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// Last item sequence decided; all are sent unless they are sent again just now.
    pub sequence: u64,
    /// Head of the batch chain to that partition of `credits`.
    pub chain: ChainHead,
    /// Sending again.
    pub again: Again,
}

impl Outgoing {
    /// As in a checkpoint, which has by itself what is sent again.
    #[must_use]
    pub fn to_wire(&self, to: u32) -> wire::ChannelSequence {
        wire::ChannelSequence {
            partition: to,
            sequence: self.sequence,
            batch_sequence: self.chain.sequence,
            batch_hash: self.chain.hash.to_vec().into(),
            ..wire::ChannelSequence::default()
        }
    }

    /// As in a checkpoint; nothing is sent again.
    #[must_use]
    pub fn from_wire(wire: &wire::ChannelSequence) -> Self {
        let hash = Hash::try_from(wire.batch_hash.as_ref()).unwrap_or_default();
        let chain = ChainHead { sequence: wire.batch_sequence, hash };
        Self { sequence: wire.sequence, chain, again: Again::default() }
    }
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
            channel.forget();
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

    #[test]
    fn both_ends_come_back_from_a_checkpoint() {
        let asked = Asked { from_sequence: 8, at_us: 9, times: 2 };
        let held = BTreeMap::from([(9, Bytes::from_static(b"item"))]);
        let (hash, recent) = ([3; 32], VecDeque::from([1, 2]));
        let incoming = Incoming { mark: 7, hash, recent, held, dropped: 4, seen: 11, asked: Some(asked) };
        let wire = incoming.to_wire(5);
        assert_eq!((wire.from, wire.asked.as_ref().map(|asked| asked.from)), (5, Some(5)));
        assert_eq!(Incoming::from_wire(wire), incoming);
        let chain = ChainHead { sequence: 3, hash };
        let outgoing = Outgoing { sequence: 7, chain, again: Again::default() };
        assert_eq!(outgoing.to_wire(2).partition, 2);
        assert_eq!(Outgoing::from_wire(&outgoing.to_wire(2)), outgoing);
    }
}
