//! What a window sends to one other partition: items of the channel, cut into batches by size. What is sent again goes
//! before what is new, in batches of its own.

use bytes::Bytes;
use schemas::batch::{BodyBuilder, ChainHead, Sealed};
use schemas::wire::{BatchHeader, ChannelSequence};

/// Items of one channel, in order. Without items it still says how far the channel was decided.
#[derive(Debug)]
pub struct Outbox {
    last: u64,
    bytes_max: usize,
    full: Vec<BodyBuilder>,
    open: BodyBuilder,
}

impl Outbox {
    /// A channel whose last item so far is `last`; batches have at most so many bytes, or one item.
    #[must_use]
    pub fn after(last: u64, bytes_max: usize) -> Self {
        Self { last, bytes_max, full: Vec::new(), open: BodyBuilder::default() }
    }

    /// Sequence of the last item.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Adds an encoded item, which carries the next sequence.
    pub fn push(&mut self, encoded: &[u8]) {
        self.push_again(encoded);
        self.last += 1;
    }

    /// Adds an encoded item that was sent before: the last sequence stays.
    pub fn push_again(&mut self, encoded: &[u8]) {
        if !self.open.is_empty() && self.open.len() + encoded.len() > self.bytes_max {
            self.full.push(std::mem::take(&mut self.open));
        }
        self.open.push_encoded(encoded);
    }

    /// These items, and after them those of `new`.
    #[must_use]
    pub fn followed_by(mut self, new: Self) -> Self {
        self.full.push(self.open);
        self.full.extend(new.full);
        Self { last: new.last, full: self.full, open: new.open, bytes_max: self.bytes_max }
    }

    /// Seals the batches after `head`. Returns their values and where the channel to `to` stands after them.
    #[must_use]
    pub fn seal(self, header: &BatchHeader, mut head: ChainHead, to: u32) -> (Vec<Bytes>, ChannelSequence) {
        let mut values = Vec::with_capacity(self.full.len() + 1);
        for body in self.full.into_iter().chain([self.open]).filter(|body| !body.is_empty()) {
            let Sealed { value, hash, .. } = body.seal(BatchHeader {
                sequence: head.sequence + 1,
                previous_hash: head.previous_hash(),
                ..header.clone()
            });
            head = head.advanced(hash);
            values.push(value);
        }
        let mut channel = ChannelSequence { partition: to, sequence: self.last, ..Default::default() };
        if !values.is_empty() {
            (channel.batch_sequence, channel.batch_hash) =
                (head.sequence, Bytes::copy_from_slice(&head.hash));
        }
        (values, channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CREDITS_BODY_BYTES_MAX;
    use schemas::batch::{items, open};

    #[test]
    fn items_are_cut_by_size_and_stay_in_order() {
        let mut outbox = Outbox::after(7, CREDITS_BODY_BYTES_MAX);
        let item = |n: u8| vec![n; CREDITS_BODY_BYTES_MAX / 3];
        (0..5).for_each(|n| outbox.push(&item(n)));
        let (values, channel) = outbox.seal(&BatchHeader::default(), ChainHead::default(), 2);
        assert_eq!((channel.partition, channel.sequence, channel.batch_sequence), (2, 12, 3));
        let mut head = ChainHead::default();
        let mut found = Vec::new();
        for value in &values {
            let opened = open(value).unwrap();
            head = head.accept(&opened).unwrap();
            assert!(opened.body.len() <= CREDITS_BODY_BYTES_MAX);
            found.extend(items(&opened.body).map(|item| item.unwrap().to_vec()));
        }
        assert_eq!(found, (0..5).map(item).collect::<Vec<_>>());
        assert_eq!(channel.batch_hash, head.hash.to_vec());
    }

    #[test]
    fn what_is_sent_again_goes_first_and_does_not_count() {
        let [mut again, mut new] = [7, 7].map(|last| Outbox::after(last, CREDITS_BODY_BYTES_MAX));
        let item = |n: u8| vec![n; CREDITS_BODY_BYTES_MAX / 3];
        (0..3).for_each(|n| again.push_again(&item(n)));
        (3..5).for_each(|n| new.push(&item(n)));
        let head = ChainHead { sequence: 4, hash: [9; 32] };
        let (values, channel) = again.followed_by(new).seal(&BatchHeader::default(), head, 2);
        assert_eq!((channel.sequence, channel.batch_sequence), (9, 7));
        let bodies = values.iter().map(|value| open(value).unwrap().body);
        let found: Vec<Vec<u8>> = bodies.map(|b| items(&b).map(|i| i.unwrap()[0]).collect()).collect();
        assert_eq!(found, [vec![0, 1], vec![2], vec![3, 4]]);
        // Nothing to send: no batch, and the head of the chain is not named again.
        let (values, channel) = Outbox::after(9, 1).seal(&BatchHeader::default(), head, 2);
        assert_eq!(values.len(), 0);
        assert_eq!(channel, ChannelSequence { partition: 2, sequence: 9, ..Default::default() });
    }
}
