//! The beginning of every changelog in an archive: a restore from snapshots and what came later, and one from the files alone,
//! are byte-equal, also when processes die, transactions stay open and the log is away.

use crate::snapshots::{COUNTS, EVENING, MORNING, begins, bill, newest, traffic};
use ledgerflow::runtime::Setup;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::sim::Faults;

fn world(seed: u64, faults: Faults) -> World {
    World::simulated(&Cast::new(Setup::new(COUNTS)), seed, faults, 2, parse_instant(EVENING).unwrap())
}

/// Two rounds of snapshots between three of traffic, everything archived, and gone from the log what lies below the first.
fn given_up(dir: &std::path::Path, seed: u64, faults: Faults) -> (World, BTreeMap<TopicPartition, Offset>) {
    let mut world = world(seed, faults);
    traffic(&mut world, EVENING);
    bill(&mut world, "order-1");
    world.come_to_rest();
    assert_eq!(world.snapshot_all(), 14);
    let low = begins(world.log(), &newest(world.log()));
    world.clock_stands = false;
    world.sim().set_faults(faults);
    traffic(&mut world, MORNING);
    bill(&mut world, "order-2");
    world.come_to_rest();
    world.snapshot_all();
    world.clock_stands = false;
    world.sim().set_faults(faults);
    traffic(&mut world, "2026-03-16T00:05:00Z");
    world.come_to_rest();
    assert!(world.archive_all(dir) > low.len());
    for (at, offset) in &low {
        world.sim().truncate(*at, *offset).unwrap();
    }
    assert!(low.values().filter(|offset| **offset > 0).count() >= 10, "{low:?}");
    (world, low)
}

fn lose_snapshots(world: &World) {
    for slot in 0..COUNTS.internal {
        let at = TopicPartition::new(Topic::Snapshots, slot);
        let high = world.sim().watermarks(at, Isolation::Committed).unwrap().high;
        world.sim().truncate(at, high).unwrap();
    }
}

/// However a state is restored, it is the one in use.
fn is_restored(seed: u64, faults: Faults) {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, low) = given_up(dir.path(), seed, faults);
    let before = world.states();
    world.lose_all_checkpoints();
    let used = world.snapshots_used();
    assert!(world.restored() == before, "from snapshots");
    // Some were restored so before: their processes had died.
    let used = (used + 14, Vec::new());
    assert_eq!((world.snapshots_used(), world.stopped()), used);
    for (at, offset) in &low {
        assert_eq!(world.sim().watermarks(*at, Isolation::Committed).unwrap().low, *offset);
    }
    lose_snapshots(&world);
    world.lose_all_checkpoints();
    assert!(world.restored() == before, "from the files alone");
    assert_eq!((world.snapshots_used(), world.stopped()), used);
    // They go on, and what is new is archived too.
    world.clock_stands = false;
    world.sim().set_faults(faults);
    traffic(&mut world, "2026-03-16T00:10:00Z");
    world.come_to_rest();
    assert!(world.archive_all(dir.path()) > 0);
    let before = world.states();
    world.lose_all_checkpoints();
    assert!(world.restored() == before, "after more");
}

#[test]
fn what_is_restored_from_snapshots_or_from_files_is_what_was() {
    is_restored(7, Faults::NONE);
}

#[test]
fn so_it_is_under_every_fault() {
    for seed in 0..4 {
        is_restored(seed, Faults::ALL);
    }
}

/// The files of the journal are away: a restore that needs them says so, one that does not goes on.
#[test]
fn without_its_files_a_slot_is_restored_from_its_snapshot_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, _) = given_up(dir.path(), 7, Faults::NONE);
    let before = world.states();
    std::fs::rename(dir.path().join("journal"), dir.path().join("away")).unwrap();
    world.lose_all_checkpoints();
    assert!(world.restored() == before);
    assert_eq!(world.snapshots_used(), 14);
    lose_snapshots(&world);
    world.stops_expected = true;
    world.lose_all_checkpoints();
    world.restored();
    let stopped = world.stopped();
    let posting: Vec<_> = stopped.iter().filter(|(name, _)| *name == "posting").collect();
    assert_eq!(posting.len(), 3, "{stopped:?}");
    for (_, stop) in posting {
        assert!(stop.why.contains("archive: ") && stop.why.contains("/journal/"), "{stop}");
    }
}
