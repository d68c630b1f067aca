//! What a pipeline without any event writes: business time has to be told, and must not fill the disk.

use ledgerflow::runtime::Setup;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Retention, Topic};
use std::collections::BTreeMap;

/// Partitions as they are without a configuration.
const COUNTS: PartitionCounts = PartitionCounts { events: 4, internal: 8 };
const BEGIN: &str = "2026-03-15T09:00:00Z";

/// Most bytes on the disk for each tick of business time, before anything is given up.
const DISK_BYTES_MAX: u64 = 24_000;
/// Most of these in topics that are kept for ever.
const KEPT_BYTES_MAX: u64 = 9_000;

/// Most of these in `recon.state`, which is written once a minute.
const RESTING_BYTES_MAX: u64 = 200;

/// Bytes of values by topic.
fn written(world: &World) -> BTreeMap<&'static str, u64> {
    let bytes = |topic: &Topic| world.read(*topic).iter().map(|(_, record)| record.value.len() as u64).sum();
    Topic::ALL.iter().map(|topic| (topic.name(), bytes(topic))).collect()
}

#[test]
fn an_idle_pipeline_writes_little() {
    const TICKS: u64 = 120;
    let setup = Setup::new(COUNTS);
    let tick_us = i64::from(setup.ingest.tick_ms) * 1_000;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::embedded(&Cast::new(setup), dir.path(), parse_instant(BEGIN).unwrap());
    // The first day is announced and every chain has begun.
    world.run_for(5 * tick_us);
    let (disk, before) = (world.disk_bytes(), written(&world));
    world.run_for(TICKS as i64 * tick_us);
    let mut told = written(&world);
    told.iter_mut().for_each(|(topic, bytes)| *bytes = (*bytes - before[topic]) / TICKS);
    let forever = |topic: &&Topic| topic.retention() != Retention::BelowReaders;
    let kept: u64 = Topic::ALL.iter().filter(forever).map(|topic| told[topic.name()]).sum();
    let disk = (world.disk_bytes() - disk) / TICKS;
    // A batch of nothing but time waits for the next minute.
    assert!(told["recon.state"] <= RESTING_BYTES_MAX, "re-keying does not rest: {told:?}");
    assert!(told["commands"] > 0 && told["journal"] > 0, "ticks are told: {told:?}");
    assert!(kept <= KEPT_BYTES_MAX && disk <= DISK_BYTES_MAX, "{disk} on the disk, {kept} kept, of {told:?}");
}
