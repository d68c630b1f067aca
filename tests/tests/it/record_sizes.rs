//! Sizes of records: what posting makes of full batches of commands stays below Kafka's limit of a message.

use ingest::config::{COMMANDS_BODY_BYTES_MAX, SEAL_BYTES};
use ingest::rules::LEGS_MAX;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::books::Books;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::batch;
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::json;
use stream::log::Record;
use stream::sim::Faults;

/// Kafka's default limit of a message is 1,048,588 bytes with its framing.
const RECORD_BYTES_MAX: usize = 1_000_000;
const NOON: &str = "2026-03-15T12:00:00Z";
const SECOND: i64 = 1_000_000;

/// An event with as many legs as there may be; accounts of `segment` and a number, so that every leg has its own.
fn event(number: usize, segment: &str, amount: &str) -> Event {
    let leg = |leg: usize| {
        let account = format!("bank:{segment}{}", (number * 7 + leg) % 1_000);
        let side = ["debit", "credit"][leg % 2];
        json!({ "account": account, "side": side, "asset": "CNY", "amount": amount })
    };
    Event {
        id: format!("e{number}"),
        kind: "transfer",
        subject: format!("users:{number}"),
        time: NOON.into(),
        data: json!({ "legs": (0..LEGS_MAX).map(leg).collect::<Vec<_>>() }),
    }
}

fn largest(records: &[Record]) -> usize {
    records.iter().map(|record| record.key.len() + record.value.len()).max().unwrap()
}

/// Batch after batch of full events: each worked off before the next comes, or all waiting at once.
fn work_off(internal: u32, events: usize, segment: &str, amount: &str) {
    [true, false].into_iter().for_each(|at_once| work_off_as(at_once, internal, events, segment, amount));
}

fn work_off_as(at_once: bool, internal: u32, events: usize, segment: &str, amount: &str) {
    let counts = PartitionCounts { events: 1, internal };
    let cast = Cast::new(Setup::new(counts));
    let mut world = World::simulated(&cast, 1, Faults::NONE, 1, parse_instant(NOON).unwrap());
    world.run_for(SECOND);
    for round in 0..3 {
        for number in 0..events {
            world.send(1, 0, event(round * events + number, segment, amount).to_bytes());
        }
        if !at_once {
            world.run_for(SECOND);
        }
    }
    world.run_for(3 * SECOND);
    Books::read(&world).assert_kept(&world);
    let read = |topic| world.read(topic).into_iter().map(|(_, record)| record).collect::<Vec<_>>();
    let commands = read(Topic::Commands);
    let bodies = commands.iter().map(|record| batch::open(&record.value).unwrap().body.len());
    let fullest = bodies.max().unwrap();
    assert!((SEAL_BYTES..=COMMANDS_BODY_BYTES_MAX).contains(&fullest), "commands of {fullest} bytes");
    for topic in Topic::ALL {
        let records = read(*topic);
        if !records.is_empty() {
            let bytes = largest(&records);
            assert!(bytes < RECORD_BYTES_MAX, "{} has a record of {bytes} bytes", topic.name());
        }
    }
}

#[test]
fn records_stay_below_the_limit_of_kafka() {
    // The shortest names and amounts grow most from a command's leg to an entry with its balances.
    work_off(1, 160, "", "0.01");
    work_off(1, 130, "", "99999999999999999999999999999.99");
    work_off(3, 480, "", "0.01");
    // The longest names.
    work_off(1, 26, &"x".repeat(119), "0.01");
    work_off(3, 78, &"x".repeat(119), "0.01");
}
