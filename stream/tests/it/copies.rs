//! A processor without a state that writes a record for each that it reads.

use crate::nothing::Nothing;
use bytes::Bytes;
use schemas::topics::Topic;
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{Changelog, Decision, Input, Processor, Stop, Window};

/// Bytes that a slot writes for a record.
pub const BYTES: usize = 100;

pub struct Copies {
    pub slots: u32,
    pub inputs: Vec<Input>,
    /// Records that a window takes of an input.
    pub most: usize,
}

impl Processor for Copies {
    type Slot = Nothing;
    type Change = ();

    fn name(&self) -> &'static str {
        "copies"
    }
    fn inputs(&self) -> Vec<Input> {
        self.inputs.clone()
    }
    fn changelog(&self) -> Changelog {
        Changelog::Inputs
    }
    fn slots(&self) -> u32 {
        self.slots
    }
    fn open(&self, _: u32) -> Nothing {
        Nothing
    }
    fn decide(&self, _: &Nothing, window: Window) -> Result<Option<Decision<()>>, Stop> {
        let to = TopicPartition::new(Topic::Breaks, window.slot);
        let (mut read, mut consumed) = (0, vec![]);
        for input in &window.inputs {
            read += input.records.len().min(self.most);
            consumed.extend(input.records.get(self.most).map(|left| (input.from, left.offset)));
        }
        let more = !consumed.is_empty();
        let records = vec![OutRecord::new(to, Bytes::from_static(&[b'x'; BYTES])); read];
        let decision = Decision { change: (), records, consumed, hash: [1; 32], items: read as u64, more };
        Ok((window.first || read > 0).then_some(decision))
    }
    fn apply(&self, _: &mut Nothing, (): ()) {}
    fn replay(&self, _: &mut Nothing, _: TopicPartition, _: &Record) -> Result<(), Stop> {
        Ok(())
    }
}
