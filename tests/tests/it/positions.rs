//! Positions beside a log that is not the one that was read: each processor stops the slot that would go on wrongly, names
//! the place, and the others go on.

use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::{self, BillRow};
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use std::path::Path;
use stream::log::{CommitOutcome, Member, OutRecord, Position, TopicPartition, Transaction};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const EVENING: &str = "2026-03-15T23:59:30Z";
const MORNING: &str = "2026-03-16T00:00:30Z";
const GROUPS: [&str; 5] = ["ingest", "posting", "settlement", "rekey", "join"];

fn world(dir: &Path) -> World {
    World::embedded(&Cast::new(Setup::new(COUNTS)), dir, parse_instant(EVENING).unwrap())
}

/// Two days with events on every lane and partition and a bill, worked off.
fn two_days(dir: &Path) -> World {
    let mut world = world(dir);
    for day in [EVENING, MORNING] {
        world.advance_business(parse_instant(day).unwrap());
        for number in 0..12 {
            let wallet = format!("users:{number}:wallet");
            let id = format!("{day}-{number}");
            let legs = ("funding:main", wallet.as_str());
            let event = Event::transfer(&id, &format!("users:{number}"), day, legs, "1.00");
            world.send(number % 3, number as u32 / 3, event.to_bytes());
        }
        world.run_for(2_000_000);
    }
    let (time, order) = ("2026-03-15 12:00:00".to_owned(), "order-1".to_owned());
    let row = BillRow { time, order, refund: None, cents: 100, fee_cents: 1 };
    world.import(&bill::source(), &bill::text(&[row]));
    world.come_to_rest();
    world
}

/// The last record of a partition that has one.
fn last(world: &World, topic: Topic, partition: impl Fn(u32) -> bool) -> (TopicPartition, i64) {
    let records = world.read(topic).into_iter().filter(|(at, _)| partition(at.partition));
    records.map(|(at, record)| (at, record.offset)).last().unwrap()
}

/// Records and positions of a log on another one, a blank behind the values of the records named.
fn copy(from: &World, to: &World, changed: &[(TopicPartition, i64)]) {
    let mut records = Vec::new();
    for topic in Topic::ALL {
        for (at, record) in from.read(*topic) {
            let mut value = record.value.to_vec();
            value.extend(changed.contains(&(at, record.offset)).then_some(b' '));
            let (key, headers) = (record.key, record.headers);
            records.push(OutRecord { to: at, key, value: value.into(), headers });
        }
    }
    to.log().append(records).unwrap();
    for group in GROUPS {
        let all = Topic::ALL.iter().flat_map(|topic| {
            (0..topic.partition_count(COUNTS)).map(|number| TopicPartition::new(*topic, number))
        });
        let held = |at| Some((at, from.log().committed(group, &[at]).unwrap().remove(0)?));
        let positions: Vec<(TopicPartition, Position)> = all.filter_map(held).collect();
        let (group, name) = (group.to_owned(), "copy".to_owned());
        let mut session =
            to.log().join(&Member { transactional_id: group.clone(), group, name, slots: 1 }).unwrap();
        let generation = session.assignment().unwrap().generation;
        let outcome = session.commit(Transaction { generation, records: Vec::new(), positions });
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
}

#[test]
fn a_log_that_is_the_same_is_read_on() {
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = two_days(dir.path());
    let mut after = world(second.path());
    copy(&before, &after, &[]);
    assert!(after.restored() == before.states());
    after.come_to_rest();
    assert_eq!(after.stopped(), []);
}

#[test]
fn a_record_that_is_another_stops_the_slot_that_has_read_it() {
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = two_days(dir.path());
    let mut after = world(second.path());
    let event = last(&before, Topic::Events1, |partition| partition == 0);
    let day = last(&before, Topic::Days, |partition| partition == 1);
    let chunk = last(&before, Topic::BillsLines, |_| true);
    let report = last(&before, Topic::DaysAligned, |_| true);
    copy(&before, &after, &[event, day, chunk, report]);
    after.stops_expected = true;
    after.restored();
    let place = |(at, offset): (TopicPartition, i64)| format!("{at}@{offset}");
    let found: Vec<_> =
        after.stopped().into_iter().map(|(processor, stop)| (processor, stop.slot, stop.at)).collect();
    let expected = [
        ("ingest", 0, place(event)),
        ("ingest", 1, place(day)),
        // It rebuilds from this very topic, so it cannot tell which record is another.
        ("settlement", 0, report.0.to_string()),
        ("rekey", chunk.0.partition, place(chunk)),
    ];
    assert_eq!(found, expected);
}

/// A state that comes from a checkpoint has not read the record again, and knows it all the same.
#[test]
fn a_record_that_is_another_is_found_behind_a_checkpoint() {
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut before = two_days(dir.path());
    before.checkpoint_all();
    let mut after = world(second.path());
    let mut copying = std::process::Command::new("cp");
    copying.arg("-r").arg(dir.path().join("checkpoints")).arg(second.path());
    assert!(copying.status().unwrap().success());
    let event = last(&before, Topic::Events1, |partition| partition == 0);
    let report = last(&before, Topic::DaysAligned, |_| true);
    copy(&before, &after, &[event, report]);
    after.stops_expected = true;
    after.restored();
    let found: Vec<_> =
        after.stopped().into_iter().map(|(processor, stop)| (processor, stop.slot, stop.at)).collect();
    let place = |(at, offset): (TopicPartition, i64)| format!("{at}@{offset}");
    assert_eq!(found, [("ingest", 0, place(event)), ("settlement", 0, place(report))]);
}
