//! Three brokers, each record on all of them, two of which must have it: any one may die, and nothing is lost. The processes
//! are supervised: with a coordinator a group may lose its members, who are then started again.
//!
//! Phases of a round: events are sent -> the leader of a partition or a coordinator is killed -> events are sent until they
//! are decided, which is when posting is back -> the broker is run again, and in sync.

use crate::company::{PATIENCE, within};
use crate::kafka::{OnKafka, soak};
use crate::traffic::Traffic;
use ledgerflow_tests::cluster::{BROKERS, Cluster};
use ledgerflow_tests::proof::Proof;
use schemas::topics::Topic;

/// Microseconds within which posting should be back.
const BACK_US: i64 = 15_000_000;

/// With `ROUNDS`, fifty brokers die, without it two.
#[test]
fn a_broker_that_dies_takes_nothing_with_it() {
    let rounds = if soak() { 50 } else { 2 };
    let mut cluster = Cluster::start();
    let on = OnKafka::on_three(&cluster.bootstrap());
    let options = ledgerflow::kafka::options(on.settings()).unwrap();
    let (mut proof, mut traffic) = (Proof::of("brokers lost"), Traffic::new(11));
    let running = on.company.launch(None);
    let ready = || within(PATIENCE, || (on.company.cli(&["health"]).code == Some(0)).then_some(()));
    assert!(ready().is_some(), "{}", running.err());
    for round in 0..rounds {
        on.sends_again(&mut traffic, 2);
        // The leader of the journal, then each of them in turn: coordinators lie on all three.
        let leader = (round % 2 == 0).then(|| cluster.leader_of(&options, Topic::Journal)).flatten();
        let number = leader.unwrap_or(round % BROKERS);
        println!("round {} of {rounds}: broker {number}", round + 1);
        cluster.broker(number).kill();
        let died_us = stream::clock::monotonic_us();
        on.sends_again(&mut traffic, 2);
        on.settles(&traffic, &|| running.err());
        let us = stream::clock::monotonic_us() - died_us;
        println!("posting is back after {} ms", us / 1_000);
        proof.count("brokers killed", 1);
        proof.count("of them with posting back later than 15 s", u64::from(us > BACK_US));
        cluster.broker(number).run();
        cluster.wait_in_step(&options);
    }
    on.sends_again(&mut traffic, 2);
    let bill = on.company.write("bill.csv", traffic.bill());
    on.company.cli(&["bill", &bill.display().to_string()]).ends(0);
    let matched = traffic.billed as u64;
    let reconciled = within(PATIENCE, || (on.company.cases()["matched"] == matched).then_some(()));
    assert!(reconciled.is_some(), "{:?}, {matched} lines", on.company.cases());
    running.stop();
    on.stop(on.processes(), &traffic);
    on.is_right(&traffic);
}
