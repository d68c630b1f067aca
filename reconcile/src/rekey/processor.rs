//! Binds re-keying to its topics: `bills.lines` and `journal` in, `recon.sides` and `recon.state` out.

use super::decide::Rekeying;
use super::state::{RekeyChange, RekeySlot};
use crate::config::Config;
use prost::Message;
use schemas::batch::{self, BODY_BYTES_MAX, BodyBuilder, ChainHead};
use schemas::topics::Topic;
use schemas::wire::{BatchHeader, ChannelSequence, InputRange, SideItem};
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, Processor, Stop, Window};

/// Most chunks of bills in one window.
const BILL_RECORDS_MAX: usize = 8;
/// Most journal batches in one window.
const JOURNAL_RECORDS_MAX: usize = 32;

/// The re-keying half.
#[derive(Debug, Clone)]
pub struct Rekey {
    config: Config,
}

impl Rekey {
    /// With these settings.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config }
    }

    fn read<'a>(&self, slot: &'a RekeySlot, window: &Window) -> Result<Rekeying<'a>, Stop> {
        let mut rekeying = Rekeying::new(window.slot, self.config.partitions(), slot);
        for input in &window.inputs {
            for record in &input.records {
                let read = match input.from.topic {
                    Topic::BillsLines => rekeying.bill(record),
                    Topic::Journal => rekeying.journal(record),
                    other => Err(format!("{} is no input of {}", other.name(), self.name())),
                };
                read.map_err(|why| Stop::at(window.slot, input.from, record.offset, why))?;
            }
        }
        rekeying.end();
        Ok(rekeying)
    }
}

/// Whether a window has as many journal batches as it takes.
fn is_full(window: &Window) -> bool {
    let journal = window.inputs.iter().filter(|input| input.from.topic == Topic::Journal);
    journal.map(|input| input.records.len()).sum::<usize>() >= JOURNAL_RECORDS_MAX
}

impl Processor for Rekey {
    type Slot = RekeySlot;
    type Change = RekeyChange;

    fn name(&self) -> &'static str {
        "rekey"
    }

    fn inputs(&self) -> Vec<Input> {
        let input = |topic, records_max| Input::new(topic, Assigned::SameNumber, records_max);
        vec![input(Topic::BillsLines, BILL_RECORDS_MAX), input(Topic::Journal, JOURNAL_RECORDS_MAX)]
    }

    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::ReconState)
    }

    fn slots(&self) -> u32 {
        self.config.partitions()
    }

    fn open(&self, _slot: u32) -> RekeySlot {
        RekeySlot::default()
    }

    fn decide(&self, slot: &RekeySlot, window: Window) -> Result<Option<Decision<RekeyChange>>, Stop> {
        let empty = window.inputs.iter().all(|input| input.records.is_empty());
        if empty && !window.first {
            return Ok(None);
        }
        if window.batch != slot.changelog.sequence + 1 {
            let why = format!("window {}, expected {}", window.batch, slot.changelog.sequence + 1);
            return Err(Stop { slot: window.slot, at: Topic::ReconState.name().to_owned(), why });
        }
        let rekeying = self.read(slot, &window)?;
        if rekeying.may_wait() && !window.first && !is_full(&window) {
            return Ok(None);
        }
        let Rekeying { mut change, sides, items, .. } = rekeying;
        let header = header(&window);
        let mut records = Vec::new();
        for (partition, items) in sides {
            let head = slot.sent.get(&partition).copied().unwrap_or_default();
            change.sent.insert(partition, seal_sides(partition, &items, head, &header, &mut records));
        }
        let mut body = BodyBuilder::new();
        for item in change.items() {
            body.push(&item);
        }
        let sealed = body.seal(BatchHeader {
            sequence: window.batch,
            previous_hash: slot.changelog.previous_hash(),
            channel: channels(slot, &change),
            mark: change.marks(window.slot),
            ..header
        });
        change.changelog = slot.changelog.advanced(sealed.hash);
        records.push(OutRecord::new(TopicPartition::new(Topic::ReconState, window.slot), sealed.value));
        Ok(Some(Decision { change, records, consumed: Vec::new(), hash: sealed.hash, items, more: false }))
    }

    fn apply(&self, slot: &mut RekeySlot, change: RekeyChange) {
        slot.apply(change);
    }

    fn replay(&self, slot: &mut RekeySlot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let stop = |why: String| Stop::at(from.partition, from, record.offset, why);
        let opened = batch::open(&record.value).map_err(|e| stop(e.to_string()))?;
        if opened.header.slot != from.partition {
            return Err(stop(format!("batch of slot {}", opened.header.slot)));
        }
        if opened.header.sequence <= slot.changelog.sequence {
            return Ok(());
        }
        let head = slot.changelog.accept(&opened).map_err(|e| stop(e.to_string()))?;
        let change = RekeyChange::of_batch(&opened, head).map_err(stop)?;
        slot.apply(change);
        Ok(())
    }
}

/// What the headers of all batches of a window share.
fn header(window: &Window) -> BatchHeader {
    let input = window.inputs.iter().map(|input| InputRange {
        topic: input.from.topic.name().to_owned(),
        partition: input.from.partition,
        from: input.position,
        to: input.next,
    });
    BatchHeader {
        slot: window.slot,
        epoch: window.epoch,
        batch: window.batch,
        input: input.collect(),
        written_at_us: window.wall_us,
        ..BatchHeader::default()
    }
}

/// Last sequence to every partition after this window.
fn channels(slot: &RekeySlot, change: &RekeyChange) -> Vec<ChannelSequence> {
    let mut heads = slot.sent.clone();
    heads.extend(change.sent.iter().map(|(partition, head)| (*partition, *head)));
    let channel = |(partition, head): (u32, ChainHead)| ChannelSequence {
        partition,
        sequence: head.sequence,
        ..ChannelSequence::default()
    };
    heads.into_iter().map(channel).collect()
}

/// Writes items to one partition as one batch, or several when they pass the size of a body. Returns the new head.
fn seal_sides(
    partition: u32,
    items: &[SideItem],
    mut head: ChainHead,
    header: &BatchHeader,
    records: &mut Vec<OutRecord>,
) -> ChainHead {
    let to = TopicPartition::new(Topic::ReconSides, partition);
    let mut body = BodyBuilder::new();
    let mut seal = |body: BodyBuilder| {
        let sealed = body.seal(BatchHeader {
            sequence: head.sequence + 1,
            previous_hash: head.previous_hash(),
            ..header.clone()
        });
        head = head.advanced(sealed.hash);
        records.push(OutRecord::new(to, sealed.value));
    };
    for item in items {
        const TAG_BYTES_MAX: usize = 11;
        if !body.is_empty() && body.len() + item.encoded_len() + TAG_BYTES_MAX > BODY_BYTES_MAX {
            seal(std::mem::take(&mut body));
        }
        body.push(item);
    }
    if !body.is_empty() {
        seal(body);
    }
    head
}
