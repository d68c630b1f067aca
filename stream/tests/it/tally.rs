//! The processor under test: a tally. It reads numbers from `commands` and `credits`, writes one changelog batch a
//! window to `journal` and one record per number to `rejected`.

use schemas::batch::{self, BodyBuilder, ChainHead, Hash};
use schemas::topics::Topic;
use schemas::wire::{BatchHeader, InputRange, JournalBody, JournalItem, Tick, journal_item::Item};
use std::collections::BTreeMap;
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, Processor, PutPair, SlotState, Stop, Window};

/// Slots of the tally.
pub const SLOTS: u32 = 3;

/// Numbers seen, how often.
#[derive(Default)]
pub struct TallySlot {
    slot: u32,
    head: ChainHead,
    count: u64,
    sum: u64,
    seen: BTreeMap<u64, u64>,
    dirty: Vec<u64>,
}

/// What a window changes.
pub struct Change {
    head: ChainHead,
    numbers: Vec<u64>,
}

impl SlotState for TallySlot {
    fn take_dirty(&mut self, put: &mut PutPair<'_>) {
        for number in std::mem::take(&mut self.dirty) {
            put(&number.to_be_bytes(), Some(&self.seen[&number].to_be_bytes()));
        }
        let (_, rest) = self.canonical().pop().unwrap();
        put(b"rest", Some(&rest));
    }
    fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 16
    }
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        if key == b"rest" {
            (self.count, self.sum) = (number(&value[..8]), number(&value[8..16]));
            self.head.sequence = number(&value[16..24]);
            self.head.hash.copy_from_slice(&value[24..]);
        } else {
            self.seen.insert(number(key), number(value));
        }
        Ok(())
    }
    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |(k, v): (&u64, &u64)| (k.to_be_bytes().to_vec(), v.to_be_bytes().to_vec());
        let mut all: Vec<_> = self.seen.iter().map(pair).collect();
        let numbers = [self.count, self.sum, self.head.sequence].map(u64::to_be_bytes).concat();
        all.push((b"rest".to_vec(), [numbers, self.head.hash.to_vec()].concat()));
        all
    }
}

/// Counts and sums what it reads.
pub struct TallyProcessor;

impl Processor for TallyProcessor {
    type Slot = TallySlot;
    type Change = Change;

    fn name(&self) -> &'static str {
        "tally"
    }
    fn inputs(&self) -> Vec<Input> {
        let input = |topic| Input { topic, assigned: Assigned::SameNumber, records_max: 5 };
        vec![input(Topic::Commands), input(Topic::Credits)]
    }
    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::Journal)
    }
    fn slots(&self) -> u32 {
        SLOTS
    }
    fn open(&self, slot: u32) -> TallySlot {
        TallySlot { slot, ..TallySlot::default() }
    }

    fn decide(&self, slot: &TallySlot, window: Window) -> Result<Option<Decision<Change>>, Stop> {
        if !window.first && window.inputs.iter().all(|input| input.records.is_empty()) {
            return Ok(None);
        }
        let mut body = BodyBuilder::new();
        let mut numbers = Vec::new();
        let mut records = Vec::new();
        for record in window.inputs.iter().flat_map(|input| &input.records) {
            let number = u64::from_be_bytes(record.value.as_ref().try_into().unwrap());
            let tick = Tick { business_time_us: number as i64, ..Tick::default() };
            body.push(&JournalItem { item: Some(Item::Tick(tick)) });
            records
                .push(OutRecord::new(TopicPartition::new(Topic::Rejected, slot.slot), record.value.clone()));
            numbers.push(number);
        }
        let sealed = body.seal(BatchHeader {
            slot: slot.slot,
            epoch: window.epoch,
            batch: window.batch,
            sequence: slot.head.sequence + 1,
            previous_hash: slot.head.previous_hash(),
            input: window
                .inputs
                .iter()
                .map(|i| InputRange {
                    topic: i.from.topic.name().into(),
                    partition: i.from.partition,
                    from: i.position,
                    to: i.next,
                })
                .collect(),
            ..BatchHeader::default()
        });
        let hash: Hash = sealed.hash;
        records.push(OutRecord::new(TopicPartition::new(Topic::Journal, slot.slot), sealed.value));
        let change = Change { head: slot.head.advanced(hash), numbers };
        Ok(Some(Decision { change, records, consumed: Vec::new(), hash, items: 1 }))
    }

    fn apply(&self, slot: &mut TallySlot, change: Change) {
        for number in change.numbers {
            slot.count += 1;
            slot.sum += number;
            *slot.seen.entry(number).or_default() += 1;
            slot.dirty.push(number);
        }
        slot.head = change.head;
    }

    fn replay(&self, slot: &mut TallySlot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let wrong = |e: batch::BatchError| Stop::at(slot.slot, from, record.offset, e);
        let opened = batch::open(&record.value).map_err(wrong)?;
        if opened.header.sequence <= slot.head.sequence {
            return Ok(());
        }
        let head = slot.head.accept(&opened).map_err(wrong)?;
        let body: JournalBody = opened.body().map_err(wrong)?;
        let numbers = body.item.iter().map(|item| match &item.item {
            Some(Item::Tick(tick)) => tick.business_time_us as u64,
            _ => panic!("unexpected item"),
        });
        self.apply(slot, Change { head, numbers: numbers.collect() });
        Ok(())
    }
}
