//! A new owner goes on only where the log is still the one that was read: the record before each position is the same,
//! and the position lies within the log.

use crate::ground::{COUNTS, Ground, Member as GroundMember};
use crate::tally::SLOTS;
use bytes::Bytes;
use schemas::topics::Topic;
use stream::log::{CommitOutcome, Member, OutRecord, TopicPartition, Transaction};
use stream::sim::SimSettings;

const GROUP: &str = "tally";

fn grounds() -> [Ground; 2] {
    [Ground::sim(SimSettings::new(4, COUNTS)), Ground::embedded()]
}

fn commands(slot: u32) -> TopicPartition {
    TopicPartition::new(Topic::Commands, slot)
}

/// Three windows on every slot, worked off.
fn worked_off(ground: &mut Ground) {
    let mut member = ground.member("a");
    for _ in 0..3 {
        ground.send();
        ground.rest(&mut [&mut member]);
    }
}

/// The same changelog and positions beside inputs that were written anew: slot, place and value of each record give its
/// new value; `None` = it is left out.
fn made_anew(from: &Ground, to: &Ground, change: impl Fn(u32, usize, Bytes) -> Option<Bytes>) {
    written_anew(from, to, change, Vec::new(), None);
}

/// The same with some more records in the transaction that writes the changelog; that of slot `lacks` without its last record.
fn written_anew(
    from: &Ground,
    to: &Ground,
    change: impl Fn(u32, usize, Bytes) -> Option<Bytes>,
    mut records: Vec<OutRecord>,
    lacks: Option<u32>,
) {
    let mut places = [0; SLOTS as usize];
    for (slot, record) in from.read(Topic::Commands) {
        let place = &mut places[slot as usize];
        if let Some(value) = change(slot, *place, record.value) {
            to.log.append(vec![OutRecord::new(commands(slot), value)]).unwrap();
        }
        *place += 1;
    }
    for topic in [Topic::Journal, Topic::Rejected] {
        let mut of = from.read(topic);
        if topic == Topic::Journal
            && let Some(last) = of.iter().rposition(|(slot, _)| Some(*slot) == lacks)
        {
            of.remove(last);
        }
        records.extend(
            of.into_iter()
                .map(|(slot, record)| OutRecord::new(TopicPartition::new(topic, slot), record.value)),
        );
    }
    let inputs: Vec<TopicPartition> = [Topic::Commands, Topic::Credits]
        .into_iter()
        .flat_map(|topic| (0..SLOTS).map(move |slot| TopicPartition::new(topic, slot)))
        .collect();
    let held = from.log.committed(GROUP, &inputs).unwrap();
    let positions = inputs.into_iter().zip(held).map(|(at, held)| (at, held.unwrap())).collect();
    let name = "copy".to_owned();
    let who = Member { group: GROUP.into(), transactional_id: name.clone(), name, slots: SLOTS };
    let mut session = to.log.join(&who).unwrap();
    let generation = session.assignment().unwrap().generation;
    let outcome = session.commit(Transaction { generation, records, positions });
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

#[test]
fn inputs_made_anew_stop_the_slot_whose_last_record_is_another() {
    for (mut ground, mut anew) in grounds().into_iter().zip(grounds()) {
        worked_off(&mut ground);
        // Slot 0: a record in the middle, which nobody looks at again. Slot 1: the last one. Slot 2: none.
        made_anew(&ground, &anew, |slot, place, value| match (slot, place) {
            (0, 1) | (1, 2) => Some(Bytes::copy_from_slice(&99_u64.to_be_bytes())),
            _ => Some(value),
        });
        assert_one_stops(&mut anew, 1, "commands/1@2", "not the one that was read");
    }
}

#[test]
fn inputs_that_are_the_same_are_read_on() {
    for (mut ground, mut anew) in grounds().into_iter().zip(grounds()) {
        worked_off(&mut ground);
        made_anew(&ground, &anew, |_, _, value| Some(value));
        let mut member = anew.member("a");
        assert_eq!(anew.rest(&mut [&mut member]), [vec![0, 1, 2]]);
    }
}

#[test]
fn a_position_beyond_the_end_stops_the_slot() {
    for (mut ground, mut anew) in grounds().into_iter().zip(grounds()) {
        worked_off(&mut ground);
        made_anew(&ground, &anew, |slot, place, value| (slot != 2 || place < 1).then_some(value));
        assert_one_stops(&mut anew, 2, "commands/2@3", "out of range, the log holds 0 to 1");
    }
}

/// Where a log marks its commits in the partitions, there may be no record in the place of the one that was read.
#[test]
fn a_place_without_a_record_stops_the_slot() {
    let [mut ground, _] = grounds();
    let [mut anew, _] = grounds();
    worked_off(&mut ground);
    // Slot 1: the second of two records is committed with the changelog, and the mark of that comes third.
    let second = OutRecord::new(commands(1), Bytes::from_static(&[0; 8]));
    let first_only = |slot, place, value| (slot != 1 || place < 1).then_some(value);
    written_anew(&ground, &anew, first_only, vec![second], None);
    assert_one_stops(&mut anew, 1, "commands/1@2", "is not there any more");
}

/// Retention may take what was read, and nothing else.
#[test]
fn what_retention_has_taken_is_believed_and_what_it_should_not_have_taken_is_not() {
    for mut ground in grounds() {
        worked_off(&mut ground);
        ground.send();
        ground.give_up(commands(0), 3);
        let mut member = ground.member("a");
        assert_eq!(ground.rest(&mut [&mut member]), [vec![0, 1, 2]]);
        ground.assert_each_once();
        ground.send();
        ground.send();
        ground.give_up(commands(1), 5);
        assert_one_stops(&mut ground, 1, "commands/1@4", "out of range, the log holds 5 to 6");
    }
}

/// Before the first window nothing names a position: the beginning is where reading begins, and it must be there.
#[test]
fn a_first_start_behind_what_is_gone_stops_the_slot() {
    for mut ground in grounds() {
        ground.send();
        ground.send();
        ground.give_up(commands(1), 1);
        assert_one_stops(
            &mut ground,
            1,
            "commands/1@1",
            "has read nothing yet, and what came before is gone",
        );
    }
}

/// A worker that reads on meets what must not have been taken: the slot stops, its worker and the other slots go on.
#[test]
fn what_is_gone_when_it_is_to_be_read_stops_its_slot_alone() {
    for mut ground in grounds() {
        let mut member = ground.member("a");
        ground.send();
        ground.rest(&mut [&mut member]);
        ground.send();
        ground.send();
        ground.give_up(commands(1), 2);
        for _ in 0..20 {
            member.worker.step(ground.now()).unwrap();
            ground.pass(10_000);
        }
        let [stop] = &member.worker.stopped()[..] else { panic!("{:?}", member.worker.stopped()) };
        assert_eq!((stop.slot, stop.at.as_str()), (1, "commands/1@1"));
        assert_eq!(stop.why, "what is read next is gone, the log holds 2 to 3");
        let positions = ground.log.committed(GROUP, &[commands(0), commands(1), commands(2)]).unwrap();
        assert_eq!(positions.iter().flatten().map(|held| held.offset).collect::<Vec<_>>(), [3, 1, 3]);
    }
}

/// The committed positions name the batch that was written with them.
#[test]
fn a_changelog_without_its_last_batch_stops_the_slot() {
    for (mut ground, mut anew) in grounds().into_iter().zip(grounds()) {
        worked_off(&mut ground);
        written_anew(&ground, &anew, |_, _, value| Some(value), Vec::new(), Some(1));
        assert_one_stops(&mut anew, 1, "journal/1", "the changelog ends with batch");
    }
}

/// Without positions nobody knows up to where the inputs are in the changelog.
#[test]
fn positions_that_are_lost_stop_every_slot() {
    let [mut ground, _] = grounds();
    worked_off(&mut ground);
    assert!(ground.sim.as_ref().unwrap().expire_positions(GROUP));
    let mut member = ground.member("a");
    ground.restore(&mut member);
    assert_all_stop(&member, "but no position is committed");
}

#[test]
fn a_changelog_that_is_not_kept_stops_every_slot() {
    let [mut ground, _] = grounds();
    worked_off(&mut ground);
    let sim = ground.sim.clone().unwrap();
    sim.set_retention_fault(Topic::Journal, Some("retention.ms: found 1, expected -1".to_owned()));
    let mut member = ground.member("a");
    ground.restore(&mut member);
    assert_all_stop(&member, "retention.ms: found 1, expected -1");
    drop(member);
    sim.set_retention_fault(Topic::Journal, None);
    let mut member = ground.member("a");
    assert_eq!(ground.rest(&mut [&mut member]), [vec![0, 1, 2]]);
}

#[track_caller]
fn assert_all_stop(member: &GroundMember, why: &str) {
    let stopped = member.worker.stopped();
    let places: Vec<_> = stopped.iter().map(|stop| (stop.slot, stop.at.as_str())).collect();
    assert_eq!(places, [(0, "journal/0"), (1, "journal/1"), (2, "journal/2")]);
    assert!(stopped.iter().all(|stop| stop.why.contains(why)), "{stopped:?}");
}

#[track_caller]
fn assert_one_stops(ground: &mut Ground, slot: u32, at: &str, why: &str) {
    let mut member = ground.member("a");
    ground.restore(&mut member);
    let stopped = member.worker.stopped();
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert_eq!((stopped[0].slot, stopped[0].at.as_str()), (slot, at));
    assert!(stopped[0].why.contains(why), "{}", stopped[0].why);
}
