//! All settlement slots over hand-made journals, with `days.aligned` between them and no log: windows are cut as the
//! test says.

use crate::journal::Journal;
use schemas::balance_json::{DailyBalance, FlowStatus};
use schemas::batch::Hash;
use schemas::chart::Chart;
use schemas::dates::Calendar;
use schemas::days::DayAnnouncement;
use schemas::topics::{PartitionCounts, Topic};
use settlement::{Settlement, SettlementConfig, Slot};
use stream::log::{OutRecord, Record, TopicPartition};
use stream::processor::{InputRecords, Processor, SlotState, Stop, Window};

pub const CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
  JPY: { exponent: 0 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "0" } }
  - { pattern: "bank:**", normal: debit, unlimited: true }
"#;

pub fn config(slots: u32) -> SettlementConfig {
    let chart = Chart::parse(CHART).unwrap();
    let partitions = PartitionCounts { events: 2, internal: slots };
    let calendar = Calendar::new("UTC", "00:00").unwrap();
    SettlementConfig::new(chart, partitions, "main", calendar, false)
}

/// What a window gave.
#[derive(Debug, Default)]
pub struct Out {
    pub records: Vec<OutRecord>,
    /// Journal records consumed.
    pub consumed: usize,
}

impl Out {
    pub fn of(&self, topic: Topic) -> Vec<&OutRecord> {
        self.records.iter().filter(|record| record.to.topic == topic).collect()
    }

    /// `account day revision amount` of every daily record, minor units on the normal side.
    pub fn dailies(&self) -> Vec<String> {
        let text = |record: &&OutRecord| {
            let daily: DailyBalance<'_> = serde_json::from_slice(&record.value).unwrap();
            let key = format!("{}|{}|{}|{}", daily.account, daily.asset, daily.day, daily.revision);
            assert_eq!(record.key, key.as_bytes());
            format!("{} {} r{} {}", daily.account, daily.day, daily.revision, daily.balance_minor)
        };
        self.of(Topic::BalancesDaily).iter().map(text).collect()
    }

    /// `partition day` of every announcement.
    pub fn announced(&self) -> Vec<String> {
        let text = |record: &&OutRecord| {
            let day = DayAnnouncement::parse(&record.value).unwrap();
            assert_eq!((day.book.as_str(), day.ingest_slots), ("main", 2));
            format!("{} {}", record.to.partition, day.day)
        };
        self.of(Topic::Days).iter().map(text).collect()
    }

    /// `day STATE aligned/slots` of every flow record.
    pub fn flow(&self) -> Vec<String> {
        let text = |record: &&OutRecord| {
            let flow: FlowStatus = serde_json::from_slice(&record.value).unwrap();
            assert!(flow.since.is_some());
            format!("{} {:?} {}/{}", flow.day, flow.state, flow.aligned, flow.slots)
        };
        self.of(Topic::Flow).iter().map(text).collect()
    }

    pub fn reports(&self) -> usize {
        self.of(Topic::DaysAligned).len()
    }
}

/// Slots, journals, and how far each is read.
pub struct World {
    pub settlement: Settlement,
    pub slots: Vec<Slot>,
    pub journals: Vec<Journal>,
    /// `days.aligned`.
    pub reports: Vec<Record>,
    /// Journal records read by each slot.
    pub read: Vec<usize>,
    /// Reports read by slot 0.
    pub reports_read: usize,
}

impl World {
    pub fn new(config: SettlementConfig) -> Self {
        let slots = config.partitions.internal;
        let settlement = Settlement::new(config).unwrap();
        Self {
            slots: (0..slots).map(|slot| settlement.open(slot)).collect(),
            journals: (0..slots).map(Journal::new).collect(),
            read: vec![0; slots as usize],
            settlement,
            reports: Vec::new(),
            reports_read: 0,
        }
    }

    /// One window of a slot over at most so many journal records and reports.
    pub fn window(
        &mut self,
        slot: u32,
        journal: usize,
        reports: usize,
        first: bool,
    ) -> Result<Option<Out>, Stop> {
        let at = slot as usize;
        let mut inputs = Vec::new();
        if slot == 0 {
            let from = TopicPartition::new(Topic::DaysAligned, 0);
            inputs.push(input(from, &self.reports, self.reports_read, reports));
        }
        let from = TopicPartition::new(Topic::Journal, slot);
        inputs.push(input(from, &self.journals[at].records, self.read[at], journal));
        let given = inputs.last().unwrap().records.len();
        let reports_given = if slot == 0 { inputs[0].records.len() } else { 0 };
        let window = Window {
            slot,
            epoch: 1,
            batch: 1,
            previous_hash: Hash::default(),
            first,
            business_us: 0,
            wall_us: 0,
            inputs,
            looked_back: Vec::new(),
        };
        let Some(decision) = self.settlement.decide(&self.slots[at], window)? else { return Ok(None) };
        let unread = |(_, offset): &(TopicPartition, i64)| {
            self.journals[at].records[self.read[at]..].iter().position(|r| r.offset == *offset).unwrap()
        };
        let consumed = decision.consumed.first().map_or(given, unread);
        self.read[at] += consumed;
        self.reports_read += reports_given;
        self.settlement.apply(&mut self.slots[at], decision.change);
        assert_eq!(
            self.slots[at].position_hash(),
            Some(decision.hash),
            "what the position says of the state"
        );
        for record in decision.records.iter().filter(|record| record.to.topic == Topic::DaysAligned) {
            let offset = 3 * i64::try_from(self.reports.len()).unwrap();
            let (key, value) = (record.key.clone(), record.value.clone());
            self.reports.push(Record { offset, timestamp_us: 0, key, value, headers: vec![] });
        }
        Ok(Some(Out { records: decision.records, consumed }))
    }

    /// Everything that a slot can read now, in one or more windows.
    pub fn drain(&mut self, slot: u32) -> Out {
        let mut all = Out::default();
        while let Some(out) = self.window(slot, usize::MAX, usize::MAX, false).unwrap() {
            all.records.extend(out.records);
            all.consumed += out.consumed;
        }
        all
    }
}

fn input(from: TopicPartition, records: &[Record], read: usize, most: usize) -> InputRecords<'_> {
    let end = read.saturating_add(most).min(records.len());
    let next = records.get(end).map_or_else(|| records.last().map_or(0, |r| r.offset + 1), |r| r.offset);
    let position = records.get(read).map_or(next, |r| r.offset);
    let drained = end == records.len();
    InputRecords { from, position, next, records: records[read..end].into(), drained }
}
