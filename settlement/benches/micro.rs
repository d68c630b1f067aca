//! What a window of settlement costs: decode, check and publish (`decide`), `replay`. `make bench-micro`.
#![allow(clippy::unwrap_used)] // a measurement that cannot be made ends

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use schemas::batch::{BodyBuilder, ChainHead, Hash};
use schemas::chart::Chart;
use schemas::dates::Calendar;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{BatchHeader, Decision, Entry, EventKey, JournalItem, Outcome, Side, journal_item::Item};
use settlement::{Settlement, SettlementConfig, Slot};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{Record, TopicPartition};
use stream::processor::{self, InputRecords, Processor, Window};

const CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, unlimited: true }
"#;
/// Slot 0 has a second input and the days; slot 1 has the journal alone.
const SLOT: u32 = 1;
/// 2026-11-21.
const DAY: i32 = 20_778;
/// Events of a journal batch, each with two entries.
const EVENTS: u64 = 1_000;
/// Windows applied before anything is measured.
const WARM: u64 = 100;
const CUSTOMERS: u64 = 100_000;

/// What posting writes, batch after batch.
struct Journal {
    seed: u64,
    events: u64,
    head: ChainHead,
    /// Customer -> sequence and balance of the last entry.
    accounts: BTreeMap<u64, (u64, i128)>,
}

impl Journal {
    const fn new() -> Self {
        let head = ChainHead { sequence: 0, hash: [0; 32] };
        Self { seed: 1, events: 0, head, accounts: BTreeMap::new() }
    }

    fn entry(&mut self, signed: i128) -> Entry {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let customer = (self.seed >> 33) % CUSTOMERS;
        let known = self.accounts.entry(customer).or_default();
        let before = known.1;
        *known = (known.0 + 1, before + signed);
        let side = if signed > 0 { Side::Debit } else { Side::Credit };
        let mut entry = Entry {
            account: format!("users:{customer}:wallet"),
            asset: "CNY".into(),
            side: side.into(),
            seq: known.0,
            ..Entry::default()
        };
        entry.set_figures(signed.abs(), before, before + signed);
        entry
    }

    fn booked(&mut self) -> Item {
        self.events += 1;
        Item::Decision(Decision {
            event: Some(EventKey { source: "/shop".into(), id: format!("t-{}", self.events) }),
            r#type: "transfer".into(),
            subject: "users:1".into(),
            body_hash: Bytes::from_static(&[7; 16]),
            outcome: Outcome::Booked.into(),
            occurred_at_us: 1_795_233_600_000_000,
            accounting_date: DAY,
            value_date: DAY,
            book: "main".into(),
            rule: "transfer".into(),
            rule_version: 1,
            event_offset: 1_000_000,
            entry: vec![self.entry(1_250), self.entry(-1_250)],
            ..Decision::default()
        })
    }

    fn record(&mut self) -> Record {
        let mut body = BodyBuilder::new();
        for _ in 0..EVENTS {
            body.push(&JournalItem { item: Some(self.booked()) });
        }
        let (sequence, previous_hash) = (self.head.sequence + 1, self.head.previous_hash());
        let header = BatchHeader {
            slot: SLOT,
            epoch: 1,
            batch: sequence,
            sequence,
            previous_hash,
            ..Default::default()
        };
        let sealed = body.seal(header);
        self.head = self.head.advanced(sealed.hash);
        let offset = sequence.cast_signed() - 1;
        Record { offset, timestamp_us: 0, key: Bytes::new(), value: sealed.value, headers: Vec::new() }
    }
}

fn window(journal: &Record) -> Window<'static> {
    let (from, position) = (TopicPartition::new(Topic::Journal, SLOT), journal.offset);
    let read = InputRecords {
        from,
        position,
        next: position + 1,
        records: vec![journal.clone()].into(),
        drained: true,
    };
    Window {
        slot: SLOT,
        epoch: 1,
        batch: 1,
        previous_hash: Hash::default(),
        first: false,
        business_us: 0,
        wall_us: 0,
        inputs: vec![read],
        looked_back: Vec::new(),
    }
}

/// A slot and the journal it follows.
struct Rig {
    settlement: Settlement,
    slot: Slot,
    journal: Journal,
}

impl Rig {
    fn new() -> Self {
        let counts = PartitionCounts { events: 1, internal: 2 };
        let calendar = Calendar::new("UTC", "00:00").unwrap();
        let config = SettlementConfig::new(Chart::parse(CHART).unwrap(), counts, "main", calendar, false);
        let settlement = Settlement::new(config).unwrap();
        let mut rig = Self { slot: settlement.open(SLOT), settlement, journal: Journal::new() };
        for _ in 0..WARM {
            let record = rig.journal.record();
            let decided = rig.decide(&record);
            rig.settlement.apply(&mut rig.slot, decided.change);
        }
        rig
    }

    fn decide(&self, journal: &Record) -> processor::Decision<<Settlement as Processor>::Change> {
        self.settlement.decide(&self.slot, window(journal)).unwrap().unwrap()
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut rig = Rig::new();
    let record = rig.journal.record();
    let bytes: usize = rig.decide(&record).records.iter().map(|record| record.value.len()).sum();
    println!(
        "{} bytes read and {} written an event",
        record.value.len() as u64 / EVENTS,
        bytes as u64 / EVENTS
    );

    let mut group = criterion.benchmark_group("settlement/journal batch of 1000 transfers");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("decode, decide, encode", |bencher| bencher.iter(|| rig.decide(&record)));
    // Making what is replayed takes longer than replaying it, and is not measured.
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    group.bench_function("replay", |bencher| {
        bencher.iter_custom(|times| {
            let mut us = 0;
            let from = TopicPartition::new(Topic::Journal, SLOT);
            for _ in 0..times {
                let record = rig.journal.record();
                let start = monotonic_us();
                rig.settlement.replay(&mut rig.slot, from, &record).unwrap();
                us += monotonic_us() - start;
            }
            Duration::from_micros(us.unsigned_abs())
        });
    });
    group.finish();
    criterion.final_summary();
}
