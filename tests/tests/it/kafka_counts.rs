//! What the auditor has read against a consumer that shares nothing with us: Kafka's own, on the console.

use crate::main_job::{judged, send_and_lose};
use audit::AuditLimit;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::broker::{Broker, console_counts};
use ledgerflow_tests::forty_five::{self, MORNING};
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use std::collections::BTreeMap;
use stream::kafka::KafkaLog;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 2 };
const SECOND: i64 = 1_000_000;

/// The main job with deaths in the middle of transactions: of each partition the auditor has read as many records as the
/// console shows, and none that was not committed.
#[test]
fn the_auditor_has_read_what_kafkas_own_consumer_reads() {
    let (broker, day, dir) = (Broker::shared(), forty_five::day(), tempfile::tempdir().unwrap());
    let setup = Setup { time_zone: "Asia/Shanghai".into(), compaction: true, ..Setup::new(COUNTS) };
    let options = broker.fresh_options(COUNTS).unwrap();
    let (prefix, log) = (options.prefix.clone(), KafkaLog::open(options).unwrap());
    let mut world = World::kafka(&Cast::new(setup), log, dir.path(), 1, parse_instant(MORNING).unwrap());
    send_and_lose(&mut world, &day);
    world.import(&source(), day.bill.as_bytes());
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));

    let limit = AuditLimit { quiesced: true, ..AuditLimit::default() };
    let report = audit::audit(world.log(), COUNTS, limit).unwrap();
    let mut audited: BTreeMap<&str, BTreeMap<u32, u64>> = BTreeMap::new();
    for range in &report.coverage {
        assert_eq!(range.from, 0, "{range:?}");
        let partitions = audited.entry(range.topic).or_default();
        if range.records > 0 {
            partitions.insert(range.partition, range.records);
        }
    }
    let names: Vec<&str> = audited.keys().copied().collect();
    let topics: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    let shown = console_counts(&broker.bootstrap(), &topics);
    let console: BTreeMap<&str, BTreeMap<u32, u64>> = names.into_iter().zip(shown).collect();
    assert_eq!(console, audited);
    let full = audited.values().filter(|partitions| !partitions.is_empty()).count();
    assert!(full >= 14, "{full} of {} topics hold records", audited.len());
}
