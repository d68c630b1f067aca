//! Batches to the commands partitions: one chain per partition, sealed by size.
//!
//! Order relied on: items of one partition are pushed in the order in which readers are to see them.

use crate::config::{SEAL_BYTES, SEAL_BYTES_COUNTED};
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::chart::Chart;
use schemas::topics::Topic;
use schemas::wire::BatchHeader;
use std::collections::BTreeMap;
use stream::log::{OutRecord, TopicPartition};

/// About what a command of two legs takes.
const COMMAND_BYTES: usize = 224;

/// About what the header of a batch takes at most.
const HEADER_BYTES: usize = 512;

/// What goes to the partitions in this window.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    by_partition: Vec<CommandsTo>,
    /// Commands that a partition may expect.
    expected: usize,
    /// A body that has this much is sealed.
    seal_bytes: usize,
}

/// What goes to one partition in this window.
#[derive(Debug)]
struct CommandsTo {
    partition: u32,
    head: ChainHead,
    body: BodyBuilder,
    sealed: Vec<OutRecord>,
}

impl Commands {
    /// Nothing yet; `events` is how many the window takes.
    pub(crate) fn new(
        sent: &BTreeMap<u32, ChainHead>,
        partitions: u32,
        events: usize,
        chart: &Chart,
    ) -> Self {
        let seal_bytes = if chart.velocity_rules_max() > 0 { SEAL_BYTES_COUNTED } else { SEAL_BYTES };
        let to = |partition| CommandsTo {
            partition,
            head: sent.get(&partition).copied().unwrap_or_default(),
            body: BodyBuilder::new(),
            sealed: Vec::new(),
        };
        // Keys spread evenly; a partition with more than its share grows.
        let share = events / partitions.max(1) as usize;
        let by_partition = (0..partitions).map(to).collect();
        Self { by_partition, expected: share + share / 8 + 1, seal_bytes }
    }

    /// Appends an item to a partition's body; `header` is completed with the place in the chain when a batch is full.
    pub(crate) fn push(
        &mut self,
        partition: u32,
        header: &BatchHeader,
        write: impl FnOnce(&mut BodyBuilder),
    ) {
        let Some(to) = self.by_partition.get_mut(partition as usize) else { return };
        if to.body.is_empty() {
            let bytes = (self.expected * COMMAND_BYTES).min(self.seal_bytes);
            to.body = BodyBuilder::with_capacity(bytes, self.expected, HEADER_BYTES);
        }
        write(&mut to.body);
        if to.body.len() >= self.seal_bytes {
            to.seal(header);
        }
    }

    /// Partition by partition the batches and the head after them; partitions to which nothing was pushed are left
    /// out.
    pub(crate) fn finish(
        self,
        header: &BatchHeader,
    ) -> impl Iterator<Item = (u32, Vec<OutRecord>, ChainHead)> {
        self.by_partition.into_iter().filter_map(|mut to| {
            if !to.body.is_empty() {
                to.seal(header);
            }
            (!to.sealed.is_empty()).then_some((to.partition, to.sealed, to.head))
        })
    }
}

impl CommandsTo {
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
}
