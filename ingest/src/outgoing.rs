//! Batches to the commands partitions: one chain per partition, sealed by size.
//!
//! Order relied on: items of one partition are pushed in the order in which readers are to see them.

use crate::config::SEAL_BYTES;
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::topics::Topic;
use schemas::wire::{BatchHeader, CommandItem};
use stream::log::{OutRecord, TopicPartition};

/// What goes to one partition in this window.
#[derive(Debug)]
pub(crate) struct CommandsTo {
    partition: u32,
    head: ChainHead,
    body: BodyBuilder,
    sealed: Vec<OutRecord>,
}

impl CommandsTo {
    pub(crate) fn new(partition: u32, head: ChainHead) -> Self {
        Self { partition, head, body: BodyBuilder::new(), sealed: Vec::new() }
    }

    /// Appends an item; `header` is completed with the place in the chain when a batch is full.
    pub(crate) fn push(&mut self, item: &CommandItem, header: &BatchHeader) {
        self.body.push(item);
        if self.body.len() >= SEAL_BYTES {
            self.seal(header);
        }
    }

    fn seal(&mut self, header: &BatchHeader) {
        let header = BatchHeader {
            sequence: self.head.sequence + 1,
            previous_hash: self.head.previous_hash(),
            ..header.clone()
        };
        let sealed = std::mem::take(&mut self.body).seal(header);
        self.head = self.head.advanced(sealed.hash);
        self.sealed.push(OutRecord::new(TopicPartition::new(Topic::Commands, self.partition), sealed.value));
    }

    /// The batches and the head after them; no batch when nothing was pushed.
    pub(crate) fn finish(mut self, header: &BatchHeader) -> (Vec<OutRecord>, ChainHead) {
        if !self.body.is_empty() {
            self.seal(header);
        }
        (self.sealed, self.head)
    }
}
