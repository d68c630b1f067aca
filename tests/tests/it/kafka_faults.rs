//! The whole pipeline on a real broker while the network fails: auditor and accountant agree after each failure.

use crate::main_job::{judged, send};
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::forty_five::{self, MORNING};
use ledgerflow_tests::proxy::{
    ADD_PARTITIONS_TO_TXN, Action, Api, END_TXN, PRODUCE, Proxy, Rule, TXN_OFFSET_COMMIT,
};
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use std::path::Path;
use stream::kafka::{KafkaLog, Options};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const SECOND: i64 = 1_000_000;
/// Steps within which something must come about.
const STEPS_MAX: u32 = 20_000;

fn world(options: Options, dir: &Path, members: usize) -> World {
    let setup = Setup { time_zone: "Asia/Shanghai".into(), compaction: true, ..Setup::new(COUNTS) };
    let log = KafkaLog::open(options).unwrap();
    World::kafka(&Cast::new(setup), log, dir, members, parse_instant(MORNING).unwrap())
}

/// Steps until something holds.
fn step_until(world: &mut World, what: &str, mut holds: impl FnMut(&mut World) -> bool) {
    for _ in 0..STEPS_MAX {
        if holds(world) {
            return;
        }
        world.step();
    }
    panic!("{what}: not after {STEPS_MAX} steps");
}

/// The connection is lost at each request of a transaction, before the broker has got it and after.
#[test]
fn connections_cut_in_the_middle_of_commits() {
    const PLACES: [Api; 4] = [ADD_PARTITIONS_TO_TXN, PRODUCE, TXN_OFFSET_COMMIT, END_TXN];
    let (broker, day, dir) = (Broker::shared(), forty_five::day(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(&broker);
    let options = Options { bootstrap: proxy.bootstrap(), ..broker.fresh_options(COUNTS).unwrap() };
    let mut world = world(options, dir.path(), 1);
    world.import(&source(), day.bill.as_bytes());
    let cuts = PLACES.into_iter().flat_map(|api| [(api, Action::CutBefore), (api, Action::CutAfter)]);
    let share = day.events.len().div_ceil(2 * PLACES.len());
    let mut chunks = day.events.chunks(share);
    for (number, (api, action)) in (0..).zip(cuts) {
        // Transactional producers are named by their id; the number spreads the cuts over processors and windows.
        proxy.arm(Rule { api, client: "-1".to_owned(), skip: number, action });
        send(&mut world, chunks.next().unwrap_or_default());
        step_until(&mut world, "a cut", |_| proxy.armed() == 0);
        world.run_for(SECOND / 4);
        let (matched, _) = judged(&world);
        println!("{api} {action:?}: {matched} matched");
    }
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}
