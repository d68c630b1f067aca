//! What a window of posting costs: decode, judge and seal (`decide`), `apply`, `replay`. `make bench-micro`.
//!
//! One slot of eight with 100,000 customers and what some windows have made of them: seven of eight payees live
//! elsewhere, so most transfers cross. Credits that other slots send do not come in.
#![allow(clippy::unwrap_used)] // a measurement that cannot be made ends

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use posting::state::Slot;
use posting::{Posting, PostingConfig};
use schemas::batch::{self, BodyBuilder, ChainHead, sha256};
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::{
    BatchHeader, Command, CommandItem, CommandsBody, EventKey, Leg, Side, command_item::Item,
};
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{Decision, InputRecords, Processor, Window};

const CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "1000000000000" } }
"#;
const PARTITIONS: u32 = 8;
const SLOT: u32 = 0;
/// Commands of a window.
const COMMANDS: u64 = 1_000;
/// Windows applied before anything is measured.
const WARM: u64 = 20;
const CUSTOMERS: u64 = 100_000;

/// What ingest writes for one home, batch after batch.
struct Ingest {
    map: PartitionMap,
    seed: u64,
    events: u64,
    head: ChainHead,
}

impl Ingest {
    fn new() -> Self {
        Self { map: PartitionMap::even(PARTITIONS).unwrap(), seed: 1, events: 0, head: ChainHead::default() }
    }

    fn customer(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % CUSTOMERS
    }

    fn command(&mut self) -> Command {
        let (mut payer, payee) = (self.customer(), self.customer());
        while self.map.partition_of(&format!("users:{payer}")) != SLOT {
            payer = self.customer();
        }
        self.events += 1;
        let leg = |customer: u64, side: Side| Leg {
            account: format!("users:{customer}:wallet"),
            asset: "CNY".into(),
            side: side.into(),
            amount: Some(1_250_i128.into()),
            ..Leg::default()
        };
        let id = format!("t-{}", self.events);
        Command {
            body_hash: Bytes::copy_from_slice(&sha256(id.as_bytes())[..16]),
            event: Some(EventKey { source: "/shop".into(), id }),
            r#type: "transfer".into(),
            subject: format!("users:{payer}"),
            occurred_at_us: 1_795_233_600_000_000,
            accounting_date: 20_778,
            value_date: 20_778,
            book: "main".into(),
            rule: "transfer".into(),
            rule_version: 1,
            leg: vec![leg(payer, Side::Debit), leg(payee, Side::Credit)],
            lane: 1,
            event_offset: self.events.cast_signed(),
            ..Command::default()
        }
    }

    /// The next record of `commands`.
    fn record(&mut self) -> Record {
        let mut body = BodyBuilder::new();
        for _ in 0..COMMANDS {
            body.push(&CommandItem { item: Some(Item::Command(self.command())) });
        }
        let sequence = self.head.sequence + 1;
        let previous_hash = self.head.previous_hash();
        let header =
            BatchHeader { epoch: 1, batch: sequence, sequence, previous_hash, ..BatchHeader::default() };
        let sealed = body.seal(header);
        self.head = self.head.advanced(sealed.hash);
        record(self.head.sequence.cast_signed() - 1, sealed.value)
    }
}

fn record(offset: Offset, value: Bytes) -> Record {
    Record { offset, timestamp_us: 0, key: Bytes::new(), value, headers: Vec::new() }
}

/// The window that reads one record of `commands` and nothing else.
fn window(batch: u64, previous_hash: batch::Hash, commands: &Record) -> Window<'static> {
    let (credits, at) =
        (TopicPartition::new(Topic::Credits, SLOT), TopicPartition::new(Topic::Commands, SLOT));
    let nothing =
        InputRecords { from: credits, position: 0, next: 0, records: Vec::new().into(), drained: true };
    let (position, records) = (commands.offset, vec![commands.clone()]);
    let read =
        InputRecords { from: at, position, next: position + 1, records: records.into(), drained: true };
    Window {
        slot: SLOT,
        epoch: 1,
        batch,
        previous_hash,
        first: false,
        business_us: 0,
        wall_us: 0,
        inputs: vec![nothing, read],
        looked_back: Vec::new(),
    }
}

/// A slot and how far it is.
struct Rig {
    posting: Posting,
    slot: Slot,
    ingest: Ingest,
    batch: u64,
    hash: batch::Hash,
}

type Decided = Decision<<Posting as Processor>::Change>;

impl Rig {
    fn new() -> Self {
        let ingest = Ingest::new();
        let posting = Posting::new(PostingConfig::new(CHART, ingest.map.clone(), 1).unwrap());
        let mut rig = Self { slot: posting.open(SLOT), posting, ingest, batch: 0, hash: [0; 32] };
        for _ in 0..WARM {
            let commands = rig.ingest.record();
            let decided = rig.decide(&commands);
            rig.apply(decided);
        }
        rig
    }

    fn decide(&self, commands: &Record) -> Decided {
        self.posting.decide(&self.slot, window(self.batch + 1, self.hash, commands)).unwrap().unwrap()
    }

    fn apply(&mut self, decided: Decided) {
        self.batch += 1;
        self.hash = decided.hash;
        self.posting.apply(&mut self.slot, decided.change);
    }
}

/// The journal record of a decision: the last that it writes.
fn journal(decided: &Decided, batch: u64) -> Record {
    let last = decided.records.iter().rfind(|record| record.to.topic == Topic::Journal).unwrap();
    record(batch.cast_signed(), last.value.clone())
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut rig = Rig::new();
    let commands = rig.ingest.record();
    let decided = rig.decide(&commands);
    assert!(
        decided.records.iter().all(|record| record.to.topic != Topic::Rejected),
        "every transfer is booked"
    );
    let bytes: usize = decided.records.iter().map(|record| record.value.len()).sum();
    println!("{} bytes written a command", bytes as u64 / COMMANDS);

    let mut group = criterion.benchmark_group("posting/window of 1000 transfers");
    group.throughput(Throughput::Elements(COMMANDS));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| batch::open(&commands.value).unwrap().body::<CommandsBody>().unwrap());
    });
    group.bench_function("decode, decide, encode", |bencher| bencher.iter(|| rig.decide(&commands)));
    // Making what is applied takes longer than applying it, and is not measured.
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    group.bench_function("apply", |bencher| {
        bencher.iter_custom(|times| {
            let mut us = 0;
            for _ in 0..times {
                let commands = rig.ingest.record();
                let decided = rig.decide(&commands);
                let start = monotonic_us();
                rig.apply(decided);
                us += monotonic_us() - start;
            }
            Duration::from_micros(us.unsigned_abs())
        });
    });
    group.bench_function("replay", |bencher| {
        bencher.iter_custom(|times| {
            let mut us = 0;
            let at = TopicPartition::new(Topic::Journal, SLOT);
            for _ in 0..times {
                let commands = rig.ingest.record();
                let decided = rig.decide(&commands);
                let record = journal(&decided, rig.batch);
                (rig.batch, rig.hash) = (rig.batch + 1, decided.hash);
                let start = monotonic_us();
                rig.posting.replay(&mut rig.slot, at, &record).unwrap();
                us += monotonic_us() - start;
            }
            Duration::from_micros(us.unsigned_abs())
        });
    });
    group.finish();
    criterion.final_summary();
}
