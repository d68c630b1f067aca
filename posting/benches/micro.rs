//! What a window of posting costs: decode, judge and seal (`decide`), `apply`, `replay`. `make bench-micro BENCH=posting`.
//!
//! First a slot that is alone, where each of so many accounts has been moved once: every transfer is booked there, both
//! legs. Then a slot of eight with 100,000 customers: seven of eight payees live elsewhere, so most transfers
//! cross; and the slot that takes what has crossed.
#![allow(clippy::unwrap_used)] // a measurement that cannot be made ends

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use posting::state::Slot;
use posting::{Posting, PostingConfig};
use schemas::batch::{self, BodyBuilder, ChainHead, sha256};
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::{
    BatchHeader, ChangeLimits, Command, CommandItem, CommandsBody, EventKey, Leg, LimitChange, Side,
    command::Operation, command_item::Item, limit_change::To,
};
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{Decision, InputRecords, Processor, Window};

/// A limit that is checked and never reached.
const OVERDRAFT: &str = r#"limit: { overdraft: "1000000000000" }"#;
/// The same on either side.
const BOTH: &str = r#"limit: { overdraft: "1000000000000", max_balance: "1000000000000" }"#;
/// The same, and what a wallet pays is counted.
const COUNTED: &str = r#"limit: { overdraft: "1000000000000" }, velocity: [{ side: debit, window_s: 86400, amount_max: "1000000000000", count_max: 1000000000 }]"#;
/// The slot that decides.
const SLOT: u32 = 0;
/// The slot that takes credits.
const OTHER: u32 = 1;
/// Commands of a window.
const COMMANDS: u64 = 1_000;
/// Microseconds since 1970-01-01T00:00:00Z.
const NOW_US: i64 = 1_795_233_600_000_000;

/// Who pays whom.
#[derive(Clone, Copy)]
struct Customers {
    count: u64,
    partitions: u32,
    /// Every transfer goes to the first of them.
    hot: bool,
}

/// What ingest writes for one home, batch after batch.
struct Ingest {
    of: Customers,
    map: PartitionMap,
    seed: u64,
    events: u64,
    head: ChainHead,
}

impl Ingest {
    fn new(of: Customers) -> Self {
        let map = PartitionMap::even(of.partitions).unwrap();
        Self { of, map, seed: 1, events: 0, head: ChainHead::default() }
    }

    fn customer(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % self.of.count
    }

    /// A payer who lives here, and a payee.
    fn pair(&mut self) -> (u64, u64) {
        let mut payer = self.customer();
        let payee = if self.of.hot { 0 } else { self.customer() };
        while self.map.partition_of(&format!("users:{payer}")) != SLOT || payer == payee {
            payer = self.customer();
        }
        (payer, payee)
    }

    fn transfer(&mut self, (payer, payee): (u64, u64)) -> Command {
        let leg = |customer: u64, side: Side| Leg {
            account: wallet(customer),
            asset: "CNY".into(),
            side: side.into(),
            amount: Some(1_250_i128.into()),
            ..Leg::default()
        };
        let leg = vec![leg(payer, Side::Debit), leg(payee, Side::Credit)];
        Command { r#type: "transfer".into(), rule: "transfer".into(), leg, ..self.event(payer) }
    }

    /// An event that gives a wallet a limit of its own.
    fn limits(&mut self, customer: u64) -> Command {
        let least = Some(LimitChange { to: Some(To::Figure((-100_000_000_000_000_i128).into())) });
        let most = Some(LimitChange { to: Some(To::Figure(100_000_000_000_000_i128.into())) });
        let change = ChangeLimits { account: wallet(customer), asset: "CNY".into(), least, most };
        let operation = Some(Operation::ChangeLimits(change));
        Command { r#type: "limits".into(), rule: "limits".into(), operation, ..self.event(customer) }
    }

    fn event(&mut self, customer: u64) -> Command {
        self.events += 1;
        let id = format!("t-{}", self.events);
        Command {
            body_hash: Bytes::copy_from_slice(&sha256(id.as_bytes())[..16]),
            event: Some(EventKey { source: "/shop".into(), id }),
            subject: format!("users:{customer}"),
            occurred_at_us: NOW_US,
            accounting_date: 20_778,
            value_date: 20_778,
            book: "main".into(),
            rule_version: 1,
            lane: 1,
            event_offset: self.events.cast_signed(),
            ..Command::default()
        }
    }

    /// The next record of `commands`.
    fn record(&mut self, mut command: impl FnMut(&mut Self) -> Command) -> Record {
        let mut body = BodyBuilder::new();
        for _ in 0..COMMANDS {
            body.push(&CommandItem { item: Some(Item::Command(command(self))) });
        }
        let sequence = self.head.sequence + 1;
        let previous_hash = self.head.previous_hash();
        let header =
            BatchHeader { epoch: 1, batch: sequence, sequence, previous_hash, ..BatchHeader::default() };
        let sealed = body.seal(header);
        self.head = self.head.advanced(sealed.hash);
        record(self.head.sequence.cast_signed() - 1, sealed.value)
    }

    fn transfers(&mut self) -> Record {
        self.record(|ingest| {
            let pair = ingest.pair();
            ingest.transfer(pair)
        })
    }
}

fn wallet(customer: u64) -> String {
    format!("users:{customer}:wallet")
}

fn record(offset: Offset, value: Bytes) -> Record {
    Record { offset, timestamp_us: 0, key: Bytes::new(), value, headers: Vec::new() }
}

/// A slot and how far it is.
struct Rig {
    posting: Posting,
    slot: Slot,
    batch: u64,
    hash: batch::Hash,
}

type Decided = Decision<<Posting as Processor>::Change>;

impl Rig {
    fn new(slot: u32, partitions: u32, class: &str) -> Self {
        let chart = format!(
            "version: 1\nassets:\n  CNY: {{ exponent: 2 }}\naccounts:\n  - {{ pattern: \"users:*:wallet\", normal: credit, {class} }}\n"
        );
        let map = PartitionMap::even(partitions).unwrap();
        let posting = Posting::new(PostingConfig::new(&chart, map, 1).unwrap());
        Self { slot: posting.open(slot), posting, batch: 0, hash: [0; 32] }
    }

    /// Decides the window that reads these records of one input and nothing else.
    fn decide(&self, topic: Topic, records: &[Record]) -> Decided {
        let input = |at: Topic| {
            let records = if at == topic { records.to_vec() } else { Vec::new() };
            let position = records.first().map_or(0, |first| first.offset);
            let next = records.last().map_or(0, |last| last.offset + 1);
            let from = TopicPartition::new(at, self.slot.slot);
            InputRecords { from, position, next, records: records.into(), drained: true }
        };
        let window = Window {
            slot: self.slot.slot,
            epoch: 1,
            batch: self.batch + 1,
            previous_hash: self.hash,
            first: false,
            business_us: 0,
            wall_us: 0,
            inputs: [Topic::Credits, Topic::Commands].map(input).to_vec(),
            looked_back: Vec::new(),
        };
        let decided = self.posting.decide(&self.slot, window).unwrap().unwrap();
        let refused = decided.records.iter().any(|record| record.to.topic == Topic::Rejected);
        assert!(!refused, "everything is booked");
        decided
    }

    fn apply(&mut self, decided: Decided) {
        self.batch += 1;
        self.hash = decided.hash;
        self.posting.apply(&mut self.slot, decided.change);
    }

    fn take(&mut self, commands: &Record) {
        let decided = self.decide(Topic::Commands, std::slice::from_ref(commands));
        self.apply(decided);
    }
}

/// What so many windows take, each with what it needs made before; [`Rig`] and [`Ingest`] go on.
fn timed(times: u64, mut window: impl FnMut() -> i64) -> Duration {
    let us: i64 = (0..times).map(|_| window()).sum();
    Duration::from_micros(us.unsigned_abs())
}

/// A slot alone: everyone has paid or been paid once, and so many have limits of their own.
fn alone(class: &str, customers: Customers, limited: u64) -> (Rig, Ingest) {
    let (mut rig, mut ingest) = (Rig::new(SLOT, customers.partitions, class), Ingest::new(customers));
    let mut customer = 0;
    while customer < customers.count {
        let commands = ingest.record(|ingest| {
            customer += 2;
            ingest.transfer((customer - 2, customer - 1))
        });
        rig.take(&commands);
    }
    let mut customer = 0;
    while customer < limited {
        let commands = ingest.record(|ingest| {
            customer += 1;
            ingest.limits(customer - 1)
        });
        rig.take(&commands);
    }
    (rig, ingest)
}

/// Transfers decided and applied, ids remembered, from bytes to sealed bytes.
fn alone_there(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("posting/1000 transfers");
    settings(&mut group);
    let among = |count: u64| Customers { count, partitions: 1, hot: false };
    let any = among(1_000_000);
    let hot = Customers { hot: true, ..any };
    for (name, class, customers, limited) in [
        ("among 10 thousand accounts", OVERDRAFT, among(10_000), 0),
        ("among 100 thousand accounts", OVERDRAFT, among(100_000), 0),
        ("among 1 million accounts", OVERDRAFT, any, 0),
        ("among 10 million accounts", OVERDRAFT, among(10_000_000), 0),
        ("to one hot account", OVERDRAFT, hot, 0),
        ("with limits on both sides", BOTH, any, 0),
        ("with own limits of 100,000 accounts", BOTH, any, 100_000),
        ("with velocity of the payers", COUNTED, any, 0),
    ] {
        // Made only where it is measured.
        let mut made = None;
        group.bench_function(name, |bencher| {
            let (rig, ingest) = made.get_or_insert_with(|| alone(class, customers, limited));
            bencher.iter_custom(|times| {
                timed(times, || {
                    let commands = ingest.transfers();
                    let start = monotonic_us();
                    rig.take(&commands);
                    monotonic_us() - start
                })
            });
        });
    }
    group.finish();
}

/// A slot of eight: most transfers cross.
fn crossing(criterion: &mut Criterion) {
    let customers = Customers { count: 100_000, partitions: 8, hot: false };
    let mut ingest = Ingest::new(customers);
    let mut rig = Rig::new(SLOT, customers.partitions, OVERDRAFT);
    (0..20).for_each(|_| rig.take(&ingest.transfers()));
    let mut group = criterion.benchmark_group("posting/window of 1000 transfers");
    settings(&mut group);
    let commands = ingest.transfers();
    let decided = rig.decide(Topic::Commands, std::slice::from_ref(&commands));
    let bytes: usize = decided.records.iter().map(|record| record.value.len()).sum();
    println!("{} bytes written a command", bytes as u64 / COMMANDS);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| batch::open(&commands.value).unwrap().body::<CommandsBody>().unwrap());
    });
    group.bench_function("decode, decide, encode", |bencher| {
        bencher.iter(|| rig.decide(Topic::Commands, std::slice::from_ref(&commands)));
    });
    rig.apply(decided);
    group.bench_function("apply", |bencher| {
        bencher.iter_custom(|times| {
            timed(times, || {
                let decided = rig.decide(Topic::Commands, &[ingest.transfers()]);
                let start = monotonic_us();
                rig.apply(decided);
                monotonic_us() - start
            })
        });
    });
    group.bench_function("replay", |bencher| {
        bencher.iter_custom(|times| {
            timed(times, || {
                let decided = rig.decide(Topic::Commands, &[ingest.transfers()]);
                // The journal is the last that a window writes.
                let written = decided.records.last().unwrap();
                let (at, record) = (written.to, record(rig.batch.cast_signed(), written.value.clone()));
                (rig.batch, rig.hash) = (rig.batch + 1, decided.hash);
                let start = monotonic_us();
                rig.posting.replay(&mut rig.slot, at, &record).unwrap();
                monotonic_us() - start
            })
        });
    });
    group.finish();
}

/// The slot that takes what has crossed, decided and applied.
fn received(criterion: &mut Criterion) {
    let customers = Customers { count: 100_000, partitions: 2, hot: false };
    let mut ingest = Ingest::new(customers);
    let [mut sender, mut receiver] =
        [SLOT, OTHER].map(|slot| Rig::new(slot, customers.partitions, OVERDRAFT));
    let mut offset = 0;
    let mut credits = || {
        let decided = sender.decide(Topic::Commands, &[ingest.transfers(), ingest.transfers()]);
        let sent = decided.records.iter().filter(|record| record.to.topic == Topic::Credits);
        let sent: Vec<Record> = (offset..).zip(sent).map(|(n, sent)| record(n, sent.value.clone())).collect();
        offset += sent.len() as Offset;
        sender.apply(decided);
        sent
    };
    let mut group = criterion.benchmark_group("posting/window of about 1000 credits");
    settings(&mut group);
    group.bench_function("received", |bencher| {
        bencher.iter_custom(|times| {
            timed(times, || {
                let records = credits();
                let start = monotonic_us();
                let decided = receiver.decide(Topic::Credits, &records);
                receiver.apply(decided);
                monotonic_us() - start
            })
        });
    });
    group.finish();
}

/// Making what is measured takes longer than what is measured.
fn settings(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Elements(COMMANDS));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    alone_there(&mut criterion);
    crossing(&mut criterion);
    received(&mut criterion);
    criterion.final_summary();
}
