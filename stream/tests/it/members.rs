//! Several members of one processor share its slots, on every log: they come to rest, slots move in the middle of
//! windows, and whoever has lost a slot writes nothing to it any more.

use crate::ground::{COUNTS, Ground};
use schemas::topics::Topic;
use std::collections::BTreeSet;
use stream::faults;
use stream::sim::{CommitFault, SimSettings};
use stream::worker::Progress;

#[test]
fn members_that_join_and_leave_come_to_rest_and_each_number_counts_once() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.send();
        assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);
        ground.send();
        assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
        ground.send();
        let mut c = ground.member("c");
        assert_eq!(ground.rest(&mut [&mut a, &mut b, &mut c]), [vec![0], vec![1], vec![2]]);
        ground.send();
        drop(b);
        // Where members are static, their slots wait for them until their session has timed out.
        for _ in 0..3 {
            ground.pass(1_000_000);
            ground.step(&mut a).unwrap();
            ground.step(&mut c).unwrap();
        }
        assert_eq!(ground.rest(&mut [&mut a, &mut c]), [vec![0, 1], vec![2]]);
        ground.assert_each_once();
    }
}

#[test]
fn a_slot_that_stays_goes_on_and_is_not_restored() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        // More than a window takes, so that some of what was read lies there when the other comes.
        (0..8).for_each(|_| ground.send());
        while !matches!(ground.step(&mut a), Ok(Progress::Committed { .. })) {}
        ground.step(&mut b).unwrap();
        // Two slots stay, one a step.
        let retaken = [ground.step(&mut a).unwrap(), ground.step(&mut a).unwrap()];
        assert_eq!(retaken, [Progress::Restoring { replayed: 0 }, Progress::Restored { replayed: 0 }]);
        ground.send();
        ground.rest(&mut [&mut a, &mut b]);
        ground.send();
        ground.rest(&mut [&mut a, &mut b]);
        let epochs = ground.epochs();
        assert_eq!(epochs, [BTreeSet::from([1]), BTreeSet::from([1]), BTreeSet::from([1, 2])]);
        ground.assert_each_once();
    }
}

#[test]
fn a_slot_that_was_another_s_in_between_is_restored() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.send();
        ground.rest(&mut [&mut a]);
        // While `a` takes no step, slot 2 goes to `b`, which commits, and comes back.
        ground.step(&mut b).unwrap();
        ground.send();
        while !matches!(ground.step(&mut b), Ok(Progress::Committed { .. })) {}
        drop(b);
        ground.pass(1_500_000);
        ground.step(&mut a).unwrap();
        ground.pass(1_500_000);
        assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);
        assert_eq!(ground.epochs()[2], BTreeSet::from([1, 2, 3]));
        ground.assert_each_once();
    }
}

/// After an unknown outcome a member needs another session, and not other slots. A static one does not even see
/// another generation: it must compare all the same.
#[test]
fn joining_anew_after_an_unknown_outcome_moves_no_slot() {
    for fault in [CommitFault::UnknownCommitted, CommitFault::UnknownAborted, CommitFault::UnknownLost] {
        for leave_on_drop in [true, false] {
            let mut ground = Ground::sim(SimSettings { leave_on_drop, ..SimSettings::new(5, COUNTS) });
            let sim = ground.sim.clone().unwrap();
            let (mut a, mut b) = (ground.member("a"), ground.member("b"));
            ground.rest(&mut [&mut a, &mut b]);
            ground.send();
            sim.plan("ledgerflow-tally-a", fault);
            let generations = sim.counters().rebalances + u64::from(leave_on_drop);
            assert!(matches!(ground.step(&mut a), Ok(Progress::Rejoin(_))), "{fault:?}");
            assert_eq!(b.worker.slots(), [2]);
            assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
            assert_eq!(sim.counters().rebalances, generations, "{fault:?}");
            assert_eq!(
                ground.epochs()[2],
                BTreeSet::from([1]),
                "{fault:?}: the other's slot is not disturbed"
            );
            ground.assert_each_once();
        }
    }
}

/// A member hangs between its decision and its commit, for longer than its session; the slots are another's by then.
#[test]
fn a_member_that_wakes_up_in_the_middle_of_a_window_writes_nothing() {
    for leave_on_drop in [true, false] {
        let mut ground = Ground::sim(SimSettings { leave_on_drop, ..SimSettings::new(9, COUNTS) });
        let sim = ground.sim.clone().unwrap();
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.rest(&mut [&mut a, &mut b]);
        ground.send();
        let hangs = sim.clone();
        let armed = faults::arm_thread(move |point, _| {
            if point == faults::WORKER_BEFORE_COMMIT {
                hangs.advance(2_500_000);
            }
            false
        });
        let written = ground.read(Topic::Journal).len();
        let late = ground.step(&mut a).unwrap();
        drop(armed);
        assert!(matches!(late, Progress::Aborted(_)), "{late:?}");
        assert_eq!(ground.read(Topic::Journal).len(), written);
        assert_eq!(sim.counters().commits_stale, 1);
        // The other member takes all slots before the first one asks again.
        assert_eq!(ground.rest(&mut [&mut b]), [vec![0, 1, 2]]);
        assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
        ground.assert_each_once();
    }
}

/// A member dies with its transaction open and never comes back; the log would hold the transaction for an hour. Gives
/// what the one that takes its slots over had to wait for.
fn waits_behind_the_dead(seed: u64, leave_on_drop: bool, fault: CommitFault) -> Vec<String> {
    let hour_us = 3_600_000_000;
    let settings = SimSettings::new(seed, COUNTS);
    let mut ground = Ground::sim(SimSettings { leave_on_drop, transaction_timeout_us: hour_us, ..settings });
    let sim = ground.sim.clone().unwrap();
    let (mut a, mut b) = (ground.member("a"), ground.member("b"));
    ground.rest(&mut [&mut a, &mut b]);
    ground.send();
    sim.plan("ledgerflow-tally-b", fault);
    assert!(matches!(ground.step(&mut b), Ok(Progress::Rejoin(_))));
    drop(b);
    let mut waits = Vec::new();
    for _ in 0..30 {
        ground.pass(100_000);
        if let Progress::Waiting(why) = ground.step(&mut a).unwrap() {
            waits.push(why);
        }
    }
    assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);
    let counters = sim.counters();
    assert_eq!((counters.aborted_by_fence, counters.transactions_timed_out), (waits.len() as u64, 0));
    // What it left open elsewhere keeps nobody from going on; readers there wait for its time-out.
    ground.pass(hour_us);
    ground.assert_each_once();
    waits
}

/// It is named, and fenced once it is no member any more.
#[test]
fn the_transaction_of_a_member_that_is_gone_for_good_is_fenced() {
    let by = "slot 2: an open transaction of ledgerflow-tally-b is in the way on";
    for leave_on_drop in [true, false] {
        // Records and positions are sent: the positions are in the way.
        let waits = waits_behind_the_dead(11, leave_on_drop, CommitFault::UnknownLost);
        assert_eq!(waits, [format!("{by} commands/2")]);
        // Some of the records are sent: those of the changelog are in the way, if it is among them.
        let seeds =
            (0..8).map(|seed| waits_behind_the_dead(seed, leave_on_drop, CommitFault::CrashBeforeEnd));
        let waits: Vec<String> = seeds.flatten().collect();
        assert!(!waits.is_empty());
        assert!(waits.iter().all(|why| why.starts_with(by)), "{waits:?}");
        assert!(waits.contains(&format!("{by} journal/2")), "{waits:?}");
    }
}

/// A member that lives is not fenced, however long it takes: the other waits.
#[test]
fn the_transaction_of_a_member_that_lives_is_waited_for() {
    let mut ground = Ground::sim(SimSettings::new(11, COUNTS));
    let sim = ground.sim.clone().unwrap();
    let mut a = ground.member("a");
    ground.send();
    ground.rest(&mut [&mut a]);
    ground.send();
    sim.plan("ledgerflow-tally-a", CommitFault::Late { delay_us: 1_500_000, commit: true });
    let late = ground.step(&mut a).unwrap();
    assert!(matches!(late, Progress::Rejoin(_)), "{late:?}");
    let mut b = ground.member("b");
    let mut waited = 0;
    while let Progress::Waiting(why) = ground.step(&mut b).unwrap() {
        assert!(why.contains("ledgerflow-tally-a is in the way"), "{why}");
        waited += 1;
    }
    assert!(waited > 100, "{waited}");
    assert_eq!((sim.counters().aborted_by_fence, sim.counters().late_committed), (0, 1));
    assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
    ground.assert_each_once();
}
