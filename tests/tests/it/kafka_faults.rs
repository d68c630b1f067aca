//! The whole pipeline on a real broker while the network and the broker fail, and members are silent for longer than their
//! sessions: auditor and accountant agree after each.

use crate::main_job::{judged, send};
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::events::Event;
use ledgerflow_tests::forty_five::{self, MORNING};
use ledgerflow_tests::hang::Where;
use ledgerflow_tests::member::POOL;
use ledgerflow_tests::proof::Proof;
use ledgerflow_tests::proxy::{
    ADD_PARTITIONS_TO_TXN, Action, Api, END_TXN, PRODUCE, Proxy, Rule, TXN_OFFSET_COMMIT,
};
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use std::path::Path;
use std::time::Duration;
use stream::kafka::{KafkaLog, Options};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const SECOND: i64 = 1_000_000;
/// Steps within which something must come about.
const STEPS_MAX: u32 = 20_000;
/// A member that takes no step for longer is out.
const SILENCE: Duration = Duration::from_secs(4);
/// How long the broker is away, and how long in `make soak`.
const AWAY: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(60)];

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
    let (proxy, mut proof) = (Proxy::start(&broker), Proof::of("broker away"));
    let options = Options { bootstrap: proxy.bootstrap(), ..broker.fresh_options(COUNTS).unwrap() };
    let mut world = world(options, dir.path(), 1);
    world.import(&source(), day.bill.as_bytes());
    let cuts = PLACES.into_iter().flat_map(|api| [(api, Action::CutBefore), (api, Action::CutAfter)]);
    let share = day.events.len().div_ceil(2 * PLACES.len());
    let mut chunks = day.events.chunks(share);
    for (number, (api, action)) in (0..).zip(cuts) {
        // Transactional producers are named by their id; the number spreads the cuts over processors and windows.
        proxy.arm(Rule { api, client: "-1".to_owned(), skip: number, action });
        // Ticks go on, so that there are transactions however few windows the events make.
        world.clock_stands = false;
        send(&mut world, chunks.next().unwrap_or_default());
        step_until(&mut world, "a cut", |_| proxy.armed() == 0);
        world.run_for(SECOND / 4);
        let (matched, _) = judged(&world);
        println!("{api} {action:?}: {matched} matched");
        proof.count("connections cut", 1);
    }
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

fn away() -> Duration {
    AWAY[usize::from(std::env::var_os("ROUNDS").is_some())]
}

/// The pipeline with its broker away in the middle of the traffic, in two ways.
fn with_the_broker_away(
    broker: &mut Broker,
    go: impl FnOnce(&mut Broker),
    come: impl FnOnce(&mut Broker) + Send,
) {
    let mut proof = Proof::of("broker away");
    proof.count("times hung or killed", 1);
    let (day, dir) = (forty_five::day(), tempfile::tempdir().unwrap());
    // A call that takes longer ends the process: longer than the broker is away.
    let deadline = Duration::from_secs(30).max(away() * 2);
    let options = Options { deadline, ..broker.fresh_options(COUNTS).unwrap() };
    let mut world = world(options, dir.path(), 1);
    world.import(&source(), day.bill.as_bytes());
    let (before, after) = day.events.split_at(day.events.len() / 2);
    send(&mut world, before);
    (0..40).for_each(|_| world.step());
    go(broker);
    std::thread::scope(|scope| {
        let returns = scope.spawn(move || {
            std::thread::sleep(away());
            come(broker);
        });
        while !returns.is_finished() {
            world.step();
        }
    });
    send(&mut world, after);
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

#[test]
fn the_broker_hangs_for_a_while() {
    let mut broker = Broker::shared();
    with_the_broker_away(&mut broker, |broker| broker.signal("STOP"), |broker| broker.signal("CONT"));
}

#[test]
fn the_broker_is_killed_and_started_again() {
    let mut broker = Broker::shared();
    with_the_broker_away(&mut broker, Broker::kill, Broker::run);
}

/// With `ROUNDS`, fifty times that a slot moves in the middle of a window.
#[test]
fn members_that_hang_for_longer_than_their_session_write_nothing() {
    let (broker, soak) = (Broker::shared(), std::env::var_os("ROUNDS").is_some());
    let (moves, mut moved) = (if soak { 50 } else { 1 }, 0);
    let mut proof = Proof::of("hangs, Kafka");
    while moved < moves {
        let hung = everybody_hangs(&broker);
        proof.count("members hung", hung);
        moved += hung;
        println!("{moved} members have hung in a window and woken up too late");
    }
}

/// One member of each processor hangs with everything decided and nothing sent, until its slots are another's. What it
/// then sends is written by nobody. How many hung.
fn everybody_hangs(broker: &Broker) -> u64 {
    let (day, dir) = (forty_five::day(), tempfile::tempdir().unwrap());
    let options = Options { step_timeout: SILENCE, ..broker.fresh_options(COUNTS).unwrap() };
    let mut world = world(options, dir.path(), 2);
    world.import(&source(), day.bill.as_bytes());
    let mut chunks = day.events.chunks(1);
    // Downstream first: each needs what those before it write.
    let hanging: Vec<usize> = (0..world.workers()).step_by(2).rev().collect();
    for at in &hanging {
        let mut steps = 0;
        step_until(&mut world, "a window to hang in", |world| {
            if steps % 20 == 0 {
                send(world, chunks.next().unwrap_or_default());
            }
            steps += 1;
            world.hang_in_a_window(*at, Where::Before, i64::MAX / 2)
        });
    }
    for at in &hanging {
        let group = world.processor(*at);
        step_until(&mut world, group, |world| {
            !world.log().members(group).unwrap().contains(&POOL[0].to_owned())
        });
    }
    let rest: Vec<Event> = chunks.flatten().cloned().collect();
    send(&mut world, &rest);
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
    assert_eq!(world.woke_too_late, hanging.len() as u64);
    world.woke_too_late
}
