//! Checkpoints on disk go with their slot: one worker has them open at a time, and the next begins where the last
//! one's checkpoint ends. One that the log cannot have led to stops its slot: something of the log is lost.

use crate::ground::{Ground, Member};
use schemas::topics::Topic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use stream::worker::{Checkpoints, DiskCheckpoints, Now, Progress};

fn store(ground: &Ground, dir: &Path) -> Box<dyn Checkpoints> {
    Box::new(DiskCheckpoints::open(dir, "tally", ground.log.clone()).unwrap())
}

/// Steps `member` until its slots are restored, while `other` takes its steps on a thread of its own. Gives the
/// records that were replayed.
fn restored_beside(now: Now, member: &mut Member, other: &mut Member) -> u64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                other.worker.step(now).unwrap();
            }
        });
        let replayed = replayed(now, member);
        done.store(true, Ordering::Relaxed);
        replayed
    })
}

fn replayed(now: Now, member: &mut Member) -> u64 {
    loop {
        if let Progress::Restored { replayed } = member.worker.step(now).unwrap() {
            return replayed;
        }
    }
}

/// A member with some batches behind it, all of them in its checkpoints below `dir`.
fn checkpointed(ground: &mut Ground, dir: &Path) -> Member {
    let mut member = ground.member_with("a", store(ground, dir));
    for _ in 0..5 {
        ground.send();
        ground.rest(&mut [&mut member]);
    }
    member.worker.checkpoint_all(ground.now()).unwrap();
    member
}

#[test]
fn a_slot_that_moves_takes_its_checkpoint_along() {
    let (mut ground, dir) = (Ground::embedded(), tempfile::tempdir().unwrap());
    let mut a = checkpointed(&mut ground, dir.path());
    ground.send();
    ground.rest(&mut [&mut a]);

    // Slot 2 moves to `b` with one batch after its checkpoint, and comes back with one more.
    let mut b = ground.member_with("b", store(&ground, dir.path()));
    assert_eq!(restored_beside(ground.now(), &mut b, &mut a), 1);
    ground.send();
    assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
    b.worker.checkpoint_all(ground.now()).unwrap();
    ground.send();
    ground.rest(&mut [&mut a, &mut b]);
    drop(b);
    assert_eq!(replayed(ground.now(), &mut a), 1);
    assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);

    // What `a` checkpoints from here on is whole, though it had the slot before.
    ground.send();
    ground.rest(&mut [&mut a]);
    a.worker.checkpoint_all(ground.now()).unwrap();
    let state = |member: &Member| [0, 1, 2].map(|slot| canonical(member, slot));
    let before = state(&a);
    drop(a);
    let mut again = ground.member_with("a", store(&ground, dir.path()));
    assert_eq!(replayed(ground.now(), &mut again), 0);
    assert_eq!(state(&again), before);
    ground.assert_each_once();
}

fn canonical(member: &Member, slot: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    use stream::processor::SlotState;
    member.worker.slot(slot).unwrap().canonical()
}

/// The worker before hangs and keeps the checkpoint open: the slot goes on without it, from the log.
#[test]
fn a_checkpoint_that_is_not_let_go_costs_a_replay_and_nothing_else() {
    let (mut ground, dir) = (Ground::embedded(), tempfile::tempdir().unwrap());
    let mut a = checkpointed(&mut ground, dir.path());
    let mut b = ground.member_with("b", store(&ground, dir.path()));
    let batches = ground.read(Topic::Journal).into_iter().filter(|(slot, _)| *slot == 2).count() as u64;
    assert_eq!(replayed(ground.now(), &mut b), batches);
    ground.send();
    assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
    ground.assert_each_once();
}

/// Checkpoints of a log that knew more: of the log as it was before its end was lost, or of another one.
#[test]
fn a_checkpoint_ahead_of_the_log_stops_its_slot_and_is_kept() {
    let (mut ground, dir) = (Ground::embedded(), tempfile::tempdir().unwrap());
    drop(checkpointed(&mut ground, dir.path()));
    let label = |slot: u32| stream::store::label_in(&dir.path().join(format!("tally/{slot:03}"))).unwrap();
    let ahead = [0, 1, 2].map(label);
    for windows in [0, 1, 9] {
        let mut shorter = Ground::embedded();
        let mut member = shorter.member("a");
        for _ in 0..windows {
            shorter.send();
            shorter.rest(&mut [&mut member]);
        }
        drop(member);
        let mut member = shorter.member_with("b", store(&shorter, dir.path()));
        shorter.restore(&mut member);
        let stopped = member.worker.stopped();
        // The longer log is another one too, and nothing of it stands where the checkpoint's window is due.
        let said = if windows == 0 { "knows no window" } else { "the log ends with window" };
        match windows {
            9 => assert_eq!(stopped, [], "a checkpoint that is behind costs a replay"),
            _ => {
                assert_eq!(stopped.len(), 3, "{stopped:?}");
                assert!(stopped.iter().all(|stop| stop.why.contains(said)), "{stopped:?}");
                assert_eq!([0, 1, 2].map(label), ahead);
            }
        }
    }
}
