//! The whole pipeline on a real broker: the main job, workers that die, members that share the slots.

use crate::main_job::{judged, send, send_and_lose};
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::forty_five::{self, MORNING};
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use stream::faults::{self, Point};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const SECOND: i64 = 1_000_000;

fn world(broker: &Broker, dir: &Path, members: usize) -> World {
    let setup = Setup { time_zone: "Asia/Shanghai".into(), compaction: true, ..Setup::new(COUNTS) };
    let log = broker.fresh(COUNTS).unwrap();
    World::kafka(&Cast::new(setup), log, dir, members, parse_instant(MORNING).unwrap())
}

/// Everybody dies in the middle of the traffic, and no checkpoint is left: the same 45 pairs.
#[test]
fn the_main_job_on_kafka() {
    let (broker, day, dir) = (Broker::shared(), forty_five::day(), tempfile::tempdir().unwrap());
    let mut world = world(&broker, dir.path(), 1);
    send_and_lose(&mut world, &day);
    world.import(&source(), day.bill.as_bytes());
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

/// Two members of each processor; workers die at one point after the other, in the middle of transactions too.
#[test]
fn members_that_die_at_any_point_on_kafka() {
    let (broker, day, dir) = (Broker::shared(), forty_five::day(), tempfile::tempdir().unwrap());
    let mut world = world(&broker, dir.path(), 2);
    world.import(&source(), day.bill.as_bytes());
    let wanted = |point: &&Point| point.name().starts_with("worker.") || point.name().starts_with("kafka.");
    let points: Vec<Point> = faults::ALL.iter().filter(wanted).copied().collect();
    let share = day.events.len().div_ceil(points.len());
    for (events, point) in day.events.chunks(share).zip(points) {
        let crashed = Rc::new(Cell::new(false));
        let noted = Rc::clone(&crashed);
        let armed = faults::arm_thread(move |hit, _| hit == point && !noted.replace(true));
        send(&mut world, events);
        let mut steps = 0;
        while !crashed.get() {
            world.step();
            steps += 1;
            assert!(steps < 20_000, "no crash at {point}");
        }
        drop(armed);
    }
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
    assert!(world.restarts > 0);
}
