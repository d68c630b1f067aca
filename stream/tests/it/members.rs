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
        ground.send();
        ground.rest(&mut [&mut a]);
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
