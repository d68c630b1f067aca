//! What a window of ingest costs: read, map, route and seal events (`decide`). `make bench-micro`.
#![allow(clippy::unwrap_used)] // a measurement that cannot be made ends

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use ingest::config::{IngestConfig, IngestSettings};
use ingest::processor::IngestProcessor;
use ingest::rules::Rules;
use ingest::state::IngestSlot;
use schemas::chart::Chart;
use schemas::dates::{Calendar, Day, parse_instant};
use schemas::days::DayAnnouncement;
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use std::hint::black_box;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{InputRecords, Processor, Window};

const CHART: &str = include_str!("../../ledgerflow/defaults/accounts.yaml");
const RULES: &str = include_str!("../../ledgerflow/defaults/rules.yaml");
const NOON: &str = "2026-11-21T04:00:00Z";
const SLOT: u32 = 0;
/// Events of a window.
const EVENTS: u32 = 2_000;

fn processor() -> IngestProcessor {
    let chart = Chart::parse(CHART).unwrap();
    let rules = Rules::parse(RULES, &chart).unwrap();
    let config = IngestConfig {
        slots: 4,
        map: PartitionMap::even(8).unwrap(),
        chart,
        rules,
        book: "main".into(),
        calendar: Calendar::new("UTC", "00:00").unwrap(),
        generation: 0,
        settings: IngestSettings::default(),
    };
    IngestProcessor::new(config).unwrap()
}

fn record(offset: Offset, value: impl Into<Bytes>) -> Record {
    Record { offset, timestamp_us: 0, key: Bytes::new(), value: value.into(), headers: Vec::new() }
}

/// A transfer between two of 100,000 customers.
fn transfer(n: u32) -> String {
    let (from, to) = (n.wrapping_mul(2_654_435_761) % 100_000, n.wrapping_mul(40_503) % 100_000);
    format!(
        r#"{{"specversion":"1.0","id":"t-{n}","source":"/shop","type":"transfer","subject":"users:{from}","time":"{NOON}","data":{{"from":"users:{from}:wallet","to":"users:{to}:wallet","asset":"CNY","amount":"12.50"}}}}"#
    )
}

/// A window that has these announcements and these events on the normal lane.
fn window(slot: &IngestSlot, days: Vec<Record>, events: Vec<Record>) -> Window<'static> {
    let (head, mut inputs) = (slot.head(), Vec::new());
    let lanes = [(Topic::Events0, vec![]), (Topic::Events1, events), (Topic::Events2, vec![])];
    for (topic, records) in std::iter::once((Topic::Days, days)).chain(lanes) {
        let position = records.first().map_or(0, |first: &Record| first.offset);
        let next = records.last().map_or(0, |last| last.offset + 1);
        let from = TopicPartition::new(topic, SLOT);
        inputs.push(InputRecords { from, position, next, records: records.into(), drained: true });
    }
    Window {
        slot: SLOT,
        epoch: 1,
        batch: head.sequence + 1,
        previous_hash: head.hash,
        first: false,
        business_us: parse_instant(NOON).unwrap(),
        wall_us: 0,
        inputs,
        looked_back: Vec::new(),
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (processor, events) =
        (processor(), (0..EVENTS).map(|n| record(n.into(), transfer(n))).collect::<Vec<_>>());
    let mut slot = processor.open(SLOT);
    let today = DayAnnouncement::new("main", Day::parse("2026-11-21").unwrap(), 4).encode();
    let first = processor.decide(&slot, window(&slot, vec![record(0, today)], vec![])).unwrap().unwrap();
    processor.apply(&mut slot, first.change);
    let given = window(&slot, vec![], events);
    let decided = processor.decide(&slot, given.clone()).unwrap().unwrap();
    assert!(decided.records.iter().all(|record| record.to.topic != Topic::Rejected), "every event is good");
    let bytes: usize = decided.records.iter().map(|record| record.value.len()).sum();
    println!("{} bytes written an event", bytes / EVENTS as usize);

    let mut group = criterion.benchmark_group("ingest/window of 2000 transfers");
    group.throughput(Throughput::Elements(EVENTS.into()));
    group.bench_function("clone window", |bencher| bencher.iter(|| black_box(given.clone())));
    group.bench_function("decode, decide, encode", |bencher| {
        bencher.iter(|| processor.decide(&slot, given.clone()).unwrap().unwrap());
    });
    group.finish();
    criterion.final_summary();
}
