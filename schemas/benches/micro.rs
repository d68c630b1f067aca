//! What it costs to decode an event and to decode and encode a batch: `make bench-micro`.
#![allow(clippy::unwrap_used)] // a measurement that cannot be made ends

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use schemas::batch::{self, BodyBuilder};
use schemas::body_hash::{AmountFields, Canonical};
use schemas::cloudevents;
use schemas::json::Document;
use schemas::rejection::Faults;
use schemas::wire::{
    BatchHeader, Decision, Entry, EventKey, JournalBody, JournalItem, Outcome, Side, journal_item::Item,
};
use std::hint::black_box;

const EVENT: &[u8] = br#"{"specversion":"1.0","id":"t-1000000","source":"/shop/payments","type":"transfer","subject":"users:424242","time":"2026-11-21T04:00:00Z","datacontenttype":"application/json","data":{"from":"users:424242:wallet","to":"users:171717:wallet","asset":"CNY","amount":"12.50"}}"#;
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Items of a batch.
const ITEMS: u64 = 1_000;

fn entry(account: u64, side: Side, seq: u64) -> Entry {
    let mut entry = Entry {
        account: format!("users:{account}:wallet"),
        asset: "CNY".into(),
        side: side.into(),
        seq,
        previous_batch: seq,
        ..Entry::default()
    };
    entry.set_figures(1_250, 100_000, 101_250);
    entry
}

/// A booked transfer of two legs, as posting writes it.
fn decision(n: u64) -> JournalItem {
    JournalItem {
        item: Some(Item::Decision(Decision {
            event: Some(EventKey { source: "/shop/payments".into(), id: format!("t-{n}") }),
            r#type: "transfer".into(),
            subject: format!("users:{n}"),
            body_hash: Bytes::from_static(&[7; 16]),
            outcome: Outcome::Booked.into(),
            occurred_at_us: 1_795_233_600_000_000,
            accounting_date: 20_778,
            value_date: 20_778,
            book: "main".into(),
            rule: "transfer".into(),
            rule_version: 1,
            event_offset: 1_000_000,
            entry: vec![entry(n, Side::Debit, 3), entry(n + 1, Side::Credit, 5)],
            ..Decision::default()
        })),
    }
}

fn sealed(items: &[JournalItem]) -> Bytes {
    let mut body = BodyBuilder::new();
    items.iter().for_each(|item| body.push(item));
    body.seal(BatchHeader { slot: 1, epoch: 1, batch: 1, sequence: 1, ..BatchHeader::default() }).value
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schemas/decode event");
    group.throughput(Throughput::Elements(1));
    group.bench_function("JSON", |bencher| {
        bencher.iter(|| drop(black_box(Document::parse(black_box(EVENT), EVENT_BYTES_MAX).unwrap())));
    });
    group.bench_function("CloudEvent", |bencher| {
        bencher.iter(|| {
            cloudevents::read([], black_box(EVENT), EVENT_BYTES_MAX, &mut Faults::default()).unwrap()
        });
    });
    let (amounts, mut canonical) = (AmountFields::new(["amount"]), Canonical::default());
    group.bench_function("CloudEvent and body hash", |bencher| {
        bencher.iter(|| {
            let event =
                cloudevents::read([], black_box(EVENT), EVENT_BYTES_MAX, &mut Faults::default()).unwrap();
            canonical.body_hash(&event.kind, event.subject.as_deref(), event.data(), &amounts)
        });
    });
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let items: Vec<JournalItem> = (0..ITEMS).map(decision).collect();
    let value = sealed(&items);
    let mut group = criterion.benchmark_group("schemas/journal batch of 1000 transfers");
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("encode and seal", |bencher| bencher.iter(|| sealed(black_box(&items))));
    group.bench_function("open", |bencher| bencher.iter(|| batch::open(black_box(&value)).unwrap()));
    group.bench_function("open and decode", |bencher| {
        bencher.iter(|| batch::open(black_box(&value)).unwrap().body::<JournalBody>().unwrap());
    });
    group.bench_function("open and split into items", |bencher| {
        bencher.iter(|| {
            batch::items(&batch::open(black_box(&value)).unwrap().body)
                .map(|item| item.unwrap().len())
                .sum::<usize>()
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    events(&mut criterion);
    batches(&mut criterion);
    criterion.final_summary();
}
