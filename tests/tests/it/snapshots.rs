//! Snapshots of slots in the log: a restore from a snapshot and what came after it is byte-equal, with the beginning of
//! every changelog gone.

use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::{self, BillRow};
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::BTreeMap;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::sim::Faults;
use stream::snapshot::{self, Owner, Snapshot};

pub const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
pub const EVENING: &str = "2026-03-15T23:59:30Z";
pub const MORNING: &str = "2026-03-16T00:00:30Z";
const SECOND: i64 = 1_000_000;
/// Processors, their slots and, where they have one, their own changelog.
const PROCESSORS: [(&str, u32, Option<Topic>); 5] = [
    ("ingest", 2, Some(Topic::IngestState)),
    ("posting", 3, Some(Topic::Journal)),
    ("settlement", 3, None),
    ("rekey", 3, Some(Topic::ReconState)),
    ("join", 3, None),
];

fn world() -> World {
    World::simulated(&Cast::new(Setup::new(COUNTS)), 7, Faults::NONE, 2, parse_instant(EVENING).unwrap())
}

/// A day's events on every lane and partition, worked off. Of wallets, one pays another on another partition.
pub fn traffic(world: &mut World, day: &str) {
    world.advance_business(parse_instant(day).unwrap());
    for number in 0..12 {
        let wallet = format!("users:{number}:wallet");
        let subject = format!("users:{number}");
        let fund =
            Event::transfer(&format!("{day}-{number}"), &subject, day, ("funding:main", &wallet), "5.00");
        world.send(number % 3, number as u32 / 3 % 2, fund.to_bytes());
    }
    world.run_for(SECOND);
    for number in 0..12 {
        let (from, to) = (format!("users:{number}:wallet"), format!("users:{}:wallet", (number + 5) % 12));
        let subject = format!("users:{number}");
        let pay = Event::transfer(&format!("{day}-pay-{number}"), &subject, day, (&from, &to), "1.25");
        world.send(1, number as u32 % 2, pay.to_bytes());
    }
    world.run_for(2 * SECOND);
}

pub fn bill(world: &mut World, order: &str) {
    let (time, order) = ("2026-03-15 12:00:00".to_owned(), order.to_owned());
    world.import(
        &bill::source(),
        &bill::text(&[BillRow { time, order, refund: None, cents: 100, fee_cents: 1 }]),
    );
    world.run_for(SECOND);
}

/// The newest snapshot of each slot, with the slot's own changelog.
pub fn newest(log: &dyn Log) -> Vec<(TopicPartition, Snapshot)> {
    let slots =
        PROCESSORS.into_iter().flat_map(|(name, slots, own)| (0..slots).map(move |slot| (name, slot, own)));
    let all = slots.filter_map(|(processor, slot, own)| {
        let found = snapshot::find(log, Owner { processor, slot }).unwrap().into_iter().next()?;
        Some((TopicPartition::new(own.unwrap_or(Topic::Snapshots), slot), found))
    });
    all.collect()
}

/// Where each changelog begins, once nothing is left of it that a snapshot holds.
pub fn begins(log: &dyn Log, all: &[(TopicPartition, Snapshot)]) -> BTreeMap<TopicPartition, Offset> {
    let mut low = BTreeMap::new();
    let mut at_most = |at: TopicPartition, offset: Offset| {
        let low = low.entry(at).or_insert(offset);
        *low = (*low).min(offset);
    };
    for (own, snapshot) in all {
        if own.topic != Topic::Snapshots {
            at_most(*own, snapshot.label.changelog_offset);
        }
        // Whoever has no changelog reads its inputs again.
        let again =
            |at: &TopicPartition| matches!(at.topic, Topic::Journal | Topic::ReconSides | Topic::DaysAligned);
        snapshot
            .label
            .positions
            .iter()
            .filter(|(at, _)| again(at))
            .for_each(|(at, offset)| at_most(*at, *offset));
    }
    low.into_iter().filter(|(at, _)| log.watermarks(*at, Isolation::Committed).unwrap().high > 0).collect()
}

#[test]
fn with_the_beginning_of_every_changelog_gone_the_states_are_those_that_were() {
    let mut world = world();
    traffic(&mut world, EVENING);
    bill(&mut world, "order-1");
    assert_eq!(world.snapshot_all(), 14);
    traffic(&mut world, MORNING);
    bill(&mut world, "order-2");
    let before = world.states();
    let all = newest(world.log());
    let low = begins(world.log(), &all);
    assert!(low.values().filter(|offset| **offset > 0).count() >= 10, "{low:?}");
    for (at, offset) in &low {
        world.sim().truncate(*at, *offset).unwrap();
    }
    world.lose_all_checkpoints();
    assert!(world.restored() == before);
    assert_eq!(world.snapshots_used(), 14);
    assert_eq!(world.stopped(), []);
    // And they go on, what was sent before is known, and the next restart has checkpoints.
    let restored = world.snapshots_used();
    world.run_for(SECOND);
    traffic(&mut world, MORNING);
    traffic(&mut world, "2026-03-16T00:05:00Z");
    world.checkpoint_all();
    let before = world.states();
    assert!(world.restored() == before);
    assert_eq!(world.snapshots_used(), restored);
}

#[test]
fn without_a_snapshot_the_slots_stop_and_say_what_is_missing() {
    let mut world = world();
    traffic(&mut world, EVENING);
    world.snapshot_all();
    let low = begins(world.log(), &newest(world.log()));
    for (at, offset) in low.iter().filter(|(at, _)| at.topic == Topic::Journal) {
        world.sim().truncate(*at, *offset).unwrap();
    }
    for slot in 0..COUNTS.internal {
        let at = TopicPartition::new(Topic::Snapshots, slot);
        let high = world.log().watermarks(at, Isolation::Committed).unwrap().high;
        world.sim().truncate(at, high).unwrap();
    }
    world.stops_expected = true;
    world.lose_all_checkpoints();
    world.restored();
    let stopped = world.stopped();
    let posting: Vec<_> = stopped.iter().filter(|(name, _)| *name == "posting").collect();
    assert_eq!(posting.len(), 3, "{stopped:?}");
    for (_, stop) in posting {
        assert!(stop.why.contains("neither a checkpoint nor a snapshot"), "{stop}");
    }
}

/// The newest snapshot has lost a part: the one before takes its place.
#[test]
fn a_snapshot_that_is_not_whole_is_passed_over() {
    let mut world = world();
    traffic(&mut world, EVENING);
    world.snapshot_all();
    traffic(&mut world, MORNING);
    let older = newest(world.log());
    world.snapshot_all();
    let damaged: Vec<_> =
        newest(world.log()).into_iter().filter(|(own, _)| own.topic == Topic::Journal).collect();
    for (_, snapshot) in &damaged {
        assert!(world.sim().lose(snapshot.at, snapshot.first));
    }
    let before = world.states();
    let low = begins(world.log(), &older);
    for (at, offset) in &low {
        world.sim().truncate(*at, *offset).unwrap();
    }
    world.lose_all_checkpoints();
    assert!(world.restored() == before);
    let left = newest(world.log());
    for (own, snapshot) in left.iter().filter(|(own, _)| own.topic == Topic::Journal) {
        assert!(damaged.iter().all(|(_, gone)| gone.last != snapshot.last), "{own}");
    }
}
