//! Both halves over topics in memory: appends, windows of any size in any order, restore from what was written.

use prost::Message;
use reconcile::bill::BillFormat;
use reconcile::config::Config;
use reconcile::decimal::Decimal;
use reconcile::import::{BillSource, Import, partition_of_file};
use reconcile::join::{Join, JoinSlot, Summary};
use reconcile::rekey::Rekey;
use schemas::batch::{BodyBuilder, ChainHead, FORMAT, Hash};
use schemas::chart::Chart;
use schemas::dates::{Day, parse_instant};
use schemas::recon_json::{Case, CaseState};
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{
    BatchHeader, BillChunk, BillEnd, BillFile, BillLine, Decision, Entry, EventKey, JournalItem, Match,
    Outcome,
};
use std::collections::BTreeMap;
use std::io::Cursor;
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, InputRecords, Processor, SlotState, Stop, Window};

pub const PARTITIONS: u32 = 3;
pub const ACCOUNT: &str = "1900000109";
/// Noon of 2019-02-19 in Shanghai.
pub const NOON: &str = "2019-02-19T04:00:00Z";

pub fn config() -> Config {
    let yaml = "version: 1\nassets:\n  CNY: { exponent: 2 }\n  JPY: { exponent: 0 }\naccounts:\n  - { pattern: \"a:**\", normal: debit }\n";
    Config::new(PARTITIONS, &Chart::parse(yaml).unwrap(), &BTreeMap::new()).unwrap()
}

/// Records by partition; offsets leave gaps, as commit markers do.
#[derive(Default)]
pub struct Topics(BTreeMap<TopicPartition, Vec<Record>>);

impl Topics {
    pub fn append(&mut self, record: OutRecord) {
        let records = self.0.entry(record.to).or_default();
        let offset = records.last().map_or(0, |last| last.offset + 2);
        let (key, value, headers) = (record.key, record.value, record.headers);
        records.push(Record { offset, timestamp_us: 0, key, value, headers });
    }

    pub fn read(&self, topic: Topic, partition: u32) -> &[Record] {
        self.0.get(&TopicPartition::new(topic, partition)).map_or(&[], Vec::as_slice)
    }
}

/// Runs one processor window by window.
pub struct Driver<P: Processor> {
    pub processor: P,
    pub slots: Vec<P::Slot>,
    next: BTreeMap<TopicPartition, i64>,
    batch: Vec<u64>,
    hash: Vec<Hash>,
    epoch: u64,
}

impl<P: Processor> Driver<P> {
    pub fn new(processor: P) -> Self {
        let slots: Vec<P::Slot> = (0..processor.slots()).map(|slot| processor.open(slot)).collect();
        let count = slots.len();
        Self {
            processor,
            slots,
            next: BTreeMap::new(),
            batch: vec![0; count],
            hash: vec![[0; 32]; count],
            epoch: 1,
        }
    }

    pub fn window(&self, slot: u32, topics: &Topics, records_max: usize, first: bool) -> Window<'static> {
        let inputs = self.processor.inputs().into_iter().map(|input| {
            assert_eq!(input.assigned, Assigned::SameNumber);
            let from = TopicPartition::new(input.topic, slot);
            let position = self.next.get(&from).copied().unwrap_or(0);
            let all = topics.read(input.topic, slot).iter().filter(|r| r.offset >= position);
            let records: Vec<Record> = all.take(records_max).cloned().collect();
            let next = records.last().map_or(position, |last| last.offset + 1);
            InputRecords { from, position, next, records: records.into(), drained: true }
        });
        Window {
            slot,
            epoch: self.epoch,
            batch: self.batch[slot as usize] + 1,
            previous_hash: self.hash[slot as usize],
            first,
            business_us: 0,
            wall_us: 0,
            inputs: inputs.collect(),
            looked_back: Vec::new(),
        }
    }

    /// One window; `false` when there was nothing to do. What waits is offered again with more, as by the worker.
    pub fn step(&mut self, slot: u32, topics: &mut Topics, records_max: usize) -> Result<bool, Stop> {
        let at = slot as usize;
        let (mut offered, mut more) = (0, records_max);
        let (decision, positions) = loop {
            let window = self.window(slot, topics, more, false);
            let positions: Vec<_> = window.inputs.iter().map(|input| (input.from, input.next)).collect();
            let records = window.inputs.iter().map(|input| input.records.len()).sum();
            match self.processor.decide(&self.slots[at], window)? {
                Some(decision) => break (decision, positions),
                None if records == offered => return Ok(false),
                None => (offered, more) = (records, more + records_max),
            }
        };
        assert!(decision.consumed.is_empty());
        decision.records.into_iter().for_each(|record| topics.append(record));
        self.next.extend(positions);
        self.batch[at] += 1;
        self.hash[at] = decision.hash;
        self.processor.apply(&mut self.slots[at], decision.change);
        Ok(true)
    }

    /// What a slot rebuilds to from the log alone, and from its own checkpoint taken pair by pair.
    pub fn assert_restores(&mut self, topics: &Topics) {
        for slot in 0..self.processor.slots() {
            let mut restored = self.processor.open(slot);
            match self.processor.changelog() {
                Changelog::Own(topic) => {
                    let from = TopicPartition::new(topic, slot);
                    for record in topics.read(topic, slot) {
                        self.processor.replay(&mut restored, from, record).unwrap();
                    }
                }
                Changelog::Inputs => {
                    for input in self.processor.inputs() {
                        let from = TopicPartition::new(input.topic, slot);
                        let until = self.next.get(&from).copied().unwrap_or(0);
                        let records = topics.read(input.topic, slot).iter();
                        for record in records.take_while(|r| r.offset < until) {
                            self.processor.replay(&mut restored, from, record).unwrap();
                            // A record whose effect is already there changes nothing.
                            self.processor.replay(&mut restored, from, record).unwrap();
                        }
                    }
                }
            }
            let live = self.slots[slot as usize].canonical();
            assert_eq!(restored.canonical(), live, "{} slot {slot}", self.processor.name());
            assert!(live.is_sorted());
            let mut loaded = self.processor.open(slot);
            for (key, value) in live.iter().rev() {
                loaded.load(key, value).unwrap();
            }
            assert_eq!(loaded.canonical(), live);
        }
    }
}

/// Keeps the pairs that `take_dirty` gives, as a checkpoint does.
pub fn checkpoint(slot: &mut impl SlotState, pairs: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    slot.take_dirty(&mut |key, value| {
        match value {
            Some(value) => pairs.insert(key.to_vec(), value.to_vec()),
            None => pairs.remove(key),
        };
    });
}

/// An entry of ours: what a posting rule puts into `match`, and when it happened.
#[derive(Debug, Clone)]
pub struct Ours {
    pub id: String,
    pub matched: Match,
    pub occurred_at: String,
}

pub fn journal_item(ours: &Ours) -> JournalItem {
    let mut entry = Entry {
        account: "a:1".into(),
        asset: ours.matched.asset.clone(),
        seq: 1,
        r#match: Some(ours.matched.clone()),
        ..Entry::default()
    };
    entry.set_figures(i128::from(ours.matched.gross.unwrap_or_default()), 0, 0);
    let decision = Decision {
        event: Some(EventKey { source: "/shop".into(), id: ours.id.clone() }),
        outcome: Outcome::Booked.into(),
        occurred_at_us: parse_instant(&ours.occurred_at).unwrap(),
        accounting_date: Day::parse("2019-02-19").unwrap().0,
        entry: vec![entry],
        ..Decision::default()
    };
    JournalItem { item: Some(Item::Decision(decision)) }
}

/// Both processors and the topics between.
pub struct Flow {
    pub topics: Topics,
    pub rekey: Driver<Rekey>,
    pub join: Driver<Join>,
    journal: Vec<ChainHead>,
}

impl Flow {
    pub fn new() -> Self {
        Self {
            topics: Topics::default(),
            rekey: Driver::new(Rekey::new(config())),
            join: Driver::new(Join::new(config())),
            journal: vec![ChainHead::default(); PARTITIONS as usize],
        }
    }

    /// Writes one journal batch.
    pub fn journal(&mut self, partition: u32, items: &[JournalItem]) {
        let head = &mut self.journal[partition as usize];
        let mut body = BodyBuilder::new();
        items.iter().for_each(|item| body.push(item));
        let sealed = body.seal(BatchHeader {
            slot: partition,
            epoch: 1,
            batch: head.sequence + 1,
            sequence: head.sequence + 1,
            previous_hash: head.previous_hash(),
            ..BatchHeader::default()
        });
        *head = head.advanced(sealed.hash);
        self.topics.append(OutRecord::new(TopicPartition::new(Topic::Journal, partition), sealed.value));
    }

    pub fn book(&mut self, partition: u32, ours: &Ours) {
        self.journal(partition, &[journal_item(ours)]);
    }

    /// Imports a file as the edge does.
    pub fn import(&mut self, source: &BillSource, content: &[u8]) {
        let import = Import::open(source, "bill.csv", Cursor::new(content), None, PARTITIONS).unwrap();
        for record in import.records() {
            self.topics.append(record.unwrap());
        }
    }

    /// Every window there is, one record at a time or more.
    pub fn run(&mut self, records_max: usize) {
        self.try_run(records_max).unwrap();
    }

    pub fn try_run(&mut self, records_max: usize) -> Result<(), Stop> {
        let mut moved = true;
        while moved {
            moved = false;
            for slot in 0..PARTITIONS {
                moved |= self.rekey.step(slot, &mut self.topics, records_max)?;
                moved |= self.join.step(slot, &mut self.topics, records_max)?;
            }
        }
        Ok(())
    }

    /// Newest record per case on a topic, as a reader of the compacted topic has it.
    pub fn published(&self, topic: Topic) -> BTreeMap<String, Case> {
        let mut out: BTreeMap<String, Case> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for record in self.topics.read(topic, partition) {
                let case: Case = serde_json::from_slice(&record.value).unwrap();
                assert_eq!(record.key, case.case_id.as_bytes());
                if let Some(known) = out.get(&case.case_id) {
                    assert!(known.revision < case.revision, "{known:?} then {case:?}");
                }
                out.insert(case.case_id.clone(), case);
            }
        }
        out
    }

    /// Cases in force: `order/kind/refund case`, sorted. Checked to be the same in the topics, the queries and the
    /// counts.
    pub fn in_force(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut summary = Summary::default();
        for topic in [Topic::Matches, Topic::Breaks] {
            let cases = self.published(topic).into_values();
            out.extend(cases.filter(|case| case.state == CaseState::Open).map(|case| line(&case)));
        }
        out.sort();
        let mut asked = Vec::new();
        for slot in &self.join.slots {
            asked.extend(self.asked(slot));
            summary = summary.with(&slot.summary());
        }
        asked.sort();
        assert_eq!(out, asked, "topics and queries differ");
        assert_eq!(summary.cases.values().sum::<u64>(), out.len() as u64);
        out
    }

    fn asked(&self, slot: &JoinSlot) -> Vec<String> {
        let all = Default::default();
        let join = &self.join.processor;
        join.breaks(slot, &all).iter().chain(&join.matches(slot, &all)).map(line).collect()
    }
}

/// A case in one line.
pub fn line(case: &Case) -> String {
    format!("{}/{}/{} #{} {}", case.order, case.order_kind, case.refund, case.occurrence, case.kind.name())
}

pub fn source() -> BillSource {
    BillSource {
        name: "wechat-folder".into(),
        provider: "wechat".into(),
        account: String::new(),
        format: BillFormat::WechatTradeBill,
    }
}

/// The entry that agrees with a line, fee rounded half up.
pub fn agreeing(line: &BillLine, exponent: u8) -> Match {
    let fee = Decimal::of_wire(line.fee.as_ref()).unwrap();
    Match {
        provider: "wechat".into(),
        account: line.account.clone(),
        order: line.order.clone(),
        kind: line.kind.clone(),
        refund: line.refund.clone(),
        gross: Decimal::of_wire(line.gross.as_ref()).unwrap().exact_minor(exponent).map(Into::into),
        fee: fee.round(exponent, Default::default()).map(|rounded| rounded.minor.into()),
        status: line.status.clone(),
        asset: line.asset.clone(),
    }
}

/// A bill file made of lines, without text: its chunks of `chunk_lines` lines each.
pub struct MadeBill {
    pub name: String,
    pub day: &'static str,
    pub accepted: bool,
    pub lines: Vec<BillLine>,
}

impl MadeBill {
    pub fn file(&self) -> BillFile {
        BillFile {
            id: self.name.clone(),
            source: "wechat-folder".into(),
            name: self.name.clone(),
            provider: "wechat".into(),
            account: ACCOUNT.into(),
            day: Day::parse(self.day).unwrap().0,
        }
    }

    pub fn chunks(&self, chunk_lines: usize) -> Vec<OutRecord> {
        let to = TopicPartition::new(Topic::BillsLines, partition_of_file(&self.name, PARTITIONS));
        let mut parts: Vec<Vec<BillLine>> = self.lines.chunks(chunk_lines).map(<[_]>::to_vec).collect();
        parts.push(Vec::new());
        let last = parts.len() - 1;
        let reason = if self.accepted { "" } else { "control_totals" };
        let end = BillEnd {
            accepted: self.accepted,
            reason: reason.into(),
            lines: self.lines.len() as u64,
            ..BillEnd::default()
        };
        let chunk = |(number, line): (usize, Vec<BillLine>)| BillChunk {
            format: FORMAT,
            file: Some(self.file()),
            chunk: number as u32,
            line,
            end: (number == last).then(|| end.clone()),
        };
        let records = parts.into_iter().enumerate().map(chunk);
        records.map(|chunk| OutRecord::new(to, chunk.encode_to_vec().into())).collect()
    }
}

/// `asset amount fee status`, `-` = absent, as one of our entries.
pub fn ours_of(text: &str, order: &str, id: &str) -> Ours {
    let parts: Vec<&str> = text.split(' ').collect();
    let [asset, amount, fee, status] = parts[..] else { panic!("{text:?}") };
    let minor = |text: &str| Decimal::parse(text).unwrap().exact_minor(2).unwrap();
    let status = if status == "-" { "" } else { status };
    let matched = Match {
        provider: "wechat".into(),
        account: ACCOUNT.into(),
        order: order.into(),
        kind: "payment".into(),
        refund: String::new(),
        gross: Some(minor(amount).into()),
        fee: (fee != "-").then(|| minor(fee).into()),
        status: status.into(),
        asset: asset.into(),
    };
    Ours { id: id.into(), matched, occurred_at: NOON.into() }
}

/// The same as a line of a bill.
pub fn theirs_of(text: &str, order: &str, number: u32) -> BillLine {
    let parts: Vec<&str> = text.split(' ').collect();
    let [asset, amount, fee, status] = parts[..] else { panic!("{text:?}") };
    BillLine {
        line: number,
        provider_order: format!("420000-{order}"),
        order: order.into(),
        kind: "payment".into(),
        asset: asset.into(),
        gross: Some(Decimal::parse(amount).unwrap().to_wire()),
        fee: Some(Decimal::parse(fee).unwrap().to_wire()),
        status: status.into(),
        time: "2019-02-19 12:00:00".into(),
        account: ACCOUNT.into(),
        ..BillLine::default()
    }
}
