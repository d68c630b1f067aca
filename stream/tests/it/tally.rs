//! The processor under test: a tally. It reads numbers from `commands` and `credits`, writes one changelog batch a
//! window to `journal` and one record per number to `rejected`. Its inputs have no batch chain, so it keeps the hash of
//! the last record of each.

use schemas::batch::{self, BodyBuilder, ChainHead, Hash};
use schemas::topics::Topic;
use schemas::wire::ingest_state_item::Item;
use schemas::wire::{BatchHeader, IngestStateBody, IngestStateItem, InputRange, PositionHash, Tick};
use std::collections::BTreeMap;
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{
    Assigned, Changelog, Decision, Input, LastRead, Processor, PutPair, SlotState, Stop, Window, record_hash,
};

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
    last_read: BTreeMap<TopicPartition, LastRead>,
    dirty: Vec<u64>,
}

/// What a window changes.
pub struct Change {
    head: ChainHead,
    numbers: Vec<u64>,
    last_read: Vec<LastRead>,
}

impl SlotState for TallySlot {
    fn take_dirty(&mut self, put: &mut PutPair<'_>) {
        for number in std::mem::take(&mut self.dirty) {
            put(&number.to_be_bytes(), Some(&self.seen[&number].to_be_bytes()));
        }
        let last = self.canonical().into_iter().filter(|(key, _)| key.starts_with(b"last") || key == b"rest");
        last.for_each(|(key, value)| put(&key, Some(&value)));
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
        } else if let Some(topic) = key.strip_prefix(b"last") {
            let at = TopicPartition::new(Topic::by_index(topic[0]).unwrap(), self.slot);
            let (offset, hash) = (number(&value[..8]) as i64, value[8..].try_into().unwrap());
            self.last_read.insert(at, LastRead { at, offset, hash });
        } else {
            self.seen.insert(number(key), number(value));
        }
        Ok(())
    }
    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |(k, v): (&u64, &u64)| (k.to_be_bytes().to_vec(), v.to_be_bytes().to_vec());
        let mut all: Vec<_> = self.seen.iter().map(pair).collect();
        for LastRead { at, offset, hash } in self.last_read.values() {
            let key = [&b"last"[..], &[at.topic.index()]].concat();
            all.push((key, [&offset.to_be_bytes()[..], hash].concat()));
        }
        let numbers = [self.count, self.sum, self.head.sequence].map(u64::to_be_bytes).concat();
        all.push((b"rest".to_vec(), [numbers, self.head.hash.to_vec()].concat()));
        all
    }
    fn last_read(&self) -> Vec<LastRead> {
        self.last_read.values().copied().collect()
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
        let input = |topic| Input::new(topic, Assigned::SameNumber, 5);
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
            body.push(&IngestStateItem { item: Some(Item::Tick(tick)) });
            records
                .push(OutRecord::new(TopicPartition::new(Topic::Rejected, slot.slot), record.value.clone()));
            numbers.push(number);
        }
        let last = window.inputs.iter().filter_map(|input| Some((input.from, input.records.last()?)));
        let last_read: Vec<LastRead> = last
            .map(|(at, record)| LastRead { at, offset: record.offset, hash: record_hash(record) })
            .collect();
        for LastRead { at, offset, hash } in &last_read {
            let (topic, partition) = (at.topic.name().into(), at.partition);
            let position = PositionHash { topic, partition, offset: *offset, hash: hash.to_vec().into() };
            body.push(&IngestStateItem { item: Some(Item::PositionHash(position)) });
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
        records.insert(0, OutRecord::new(TopicPartition::new(Topic::Journal, slot.slot), sealed.value));
        let change = Change { head: slot.head.advanced(hash), numbers, last_read };
        Ok(Some(Decision { change, records, consumed: Vec::new(), hash, items: 1, more: false }))
    }

    fn apply(&self, slot: &mut TallySlot, change: Change) {
        for number in change.numbers {
            slot.count += 1;
            slot.sum += number;
            *slot.seen.entry(number).or_default() += 1;
            slot.dirty.push(number);
        }
        slot.last_read.extend(change.last_read.into_iter().map(|read| (read.at, read)));
        slot.head = change.head;
    }

    fn replay(&self, slot: &mut TallySlot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let wrong = |e: batch::BatchError| Stop::at(slot.slot, from, record.offset, e);
        let opened = batch::open(&record.value).map_err(wrong)?;
        if opened.header.sequence <= slot.head.sequence {
            return Ok(());
        }
        let head = slot.head.accept(&opened).map_err(wrong)?;
        let body: IngestStateBody = opened.body().map_err(wrong)?;
        let (mut numbers, mut last_read) = (Vec::new(), Vec::new());
        for item in body.item {
            match item.item {
                Some(Item::Tick(tick)) => numbers.push(tick.business_time_us as u64),
                Some(Item::PositionHash(read)) => {
                    let at = TopicPartition::new(Topic::by_name(&read.topic).unwrap(), read.partition);
                    let hash = read.hash.as_ref().try_into().unwrap();
                    last_read.push(LastRead { at, offset: read.offset, hash });
                }
                other => panic!("unexpected item {other:?}"),
            }
        }
        self.apply(slot, Change { head, numbers, last_read });
        Ok(())
    }
}
