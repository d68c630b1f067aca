//! Entries per second of decide and apply on one core. Run it with `--ignored --nocapture`; it judges nothing.

use crate::journal::{Journal, SATURDAY, at, tick};
use crate::world::{World, config};
use schemas::batch;
use schemas::wire::journal_item::Item;
use schemas::wire::{Decision, EventKey, JournalBody};
use stream::clock::monotonic_us;
use stream::processor::{Processor, SlotState};

/// Decisions as posting writes them, with what settlement does not read.
fn filled(item: Item, n: u64) -> Item {
    let Item::Decision(decision) = item else { return item };
    Item::Decision(Decision {
        event: Some(EventKey { source: "/shop/payments".into(), id: format!("evt-{n:012}") }),
        r#type: "com.example.transfer".into(),
        body_hash: vec![7; 16].into(),
        occurred_at_us: at(SATURDAY, 9),
        value_date: SATURDAY,
        rule: "transfer".into(),
        rule_version: 1,
        event_offset: 1_000_000,
        subject: format!("users:{n}"),
        ..decision
    })
}

/// 2 entries an event, 1,000 events a batch, accounts by a linear congruence.
fn journal(events: u64, accounts: u64) -> Journal {
    let mut journal = Journal::new(0);
    let mut n = 1_u64;
    let mut pick = || {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (n >> 33) % accounts
    };
    for batch in 0..events / 1_000 {
        let mut items = Vec::with_capacity(1_001);
        for event in 0..1_000 {
            let (payer, payee) = (format!("users:{}:wallet", pick()), format!("users:{}:wallet", pick()));
            let item = journal.booked(SATURDAY, &[(&payer, 5), (&payee, -5)]);
            items.push(filled(item, batch * 1_000 + event));
        }
        items.push(tick(at(SATURDAY, 9)));
        journal.batch(items);
    }
    journal
}

#[test]
#[ignore = "prints a figure and judges nothing"]
fn entries_per_second() {
    for (events, accounts) in [(400_000, 20_000), (1_000_000, 1_000_000)] {
        let mut world = World::new(config(1));
        world.journals[0] = journal(events, accounts);
        let body: JournalBody = batch::open(&world.journals[0].records[0].value).unwrap().body().unwrap();
        assert_eq!(body.item.len(), 1_001);
        let bytes: usize = world.journals[0].records.iter().map(|record| record.value.len()).sum();
        let (mut items, mut out_bytes) = (0, 0);
        let start = monotonic_us();
        while world.read[0] < world.journals[0].records.len() {
            let out = world.window(0, 8, 0, false).unwrap().unwrap();
            out_bytes += out.records.iter().map(|record| record.value.len()).sum::<usize>();
            items += 2 * 1_000 * out.consumed;
        }
        let live_us = monotonic_us() - start;
        let from = stream::log::TopicPartition::new(schemas::topics::Topic::Journal, 0);
        let mut replayed = world.settlement.open(0);
        let start = monotonic_us();
        for record in &world.journals[0].records {
            world.settlement.replay(&mut replayed, from, record).unwrap();
        }
        let replay_us = monotonic_us() - start;
        assert_eq!(replayed.canonical().len(), world.slots[0].canonical().len());
        println!(
            "{accounts} accounts: {} entries/s decide + apply, {} entries/s replay, {} journal bytes, {} balance \
             bytes per event",
            items as i64 * 1_000_000 / live_us,
            items as i64 * 1_000_000 / replay_us,
            bytes / events as usize,
            out_bytes / events as usize,
        );
    }
}
