//! Groups: slots by range, generations, fencing, positions.

use super::*;

fn member(name: &str, slots: u32) -> Member {
    Member {
        group: "posting".into(),
        name: name.into(),
        transactional_id: format!("ledgerflow-{name}"),
        slots,
    }
}

#[test]
fn slots_go_by_range_to_the_live_members() {
    let rows: [(u32, usize, &[&[u32]]); 4] = [
        (4, 1, &[&[0, 1, 2, 3]]),
        (5, 2, &[&[0, 1, 2], &[3, 4]]),
        (2, 3, &[&[0], &[1], &[]]),
        (16, 3, &[&[0, 1, 2, 3, 4, 5], &[6, 7, 8, 9, 10], &[11, 12, 13, 14, 15]]),
    ];
    for (slots, members, expected) in rows {
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path());
        let mut sessions: Vec<_> =
            ["a", "b", "c"][..members].iter().map(|name| log.join(&member(name, slots)).unwrap()).collect();
        let found: Vec<Vec<u32>> =
            sessions.iter_mut().map(|session| session.assignment().unwrap().slots).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn whoever_comes_or_leaves_ends_the_generation() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut first = log.join(&member("a", 3)).unwrap();
    let alone = first.assignment().unwrap();
    assert_eq!(alone.slots, [0, 1, 2]);
    let second = log.join(&member("b", 3)).unwrap();
    let shared = first.assignment().unwrap();
    assert!(shared.generation > alone.generation);
    assert_eq!(shared.slots, [0, 1]);
    let old =
        format!("the commit is of generation {}, the group is at {}", alone.generation, shared.generation);
    assert_eq!(first.commit(window(alone.generation, 0)), CommitOutcome::Aborted(old));
    assert_windows(&log, 0);
    assert!(matches!(first.commit(window(shared.generation, 0)), CommitOutcome::Committed { .. }));
    drop(second);
    assert_eq!(first.assignment().unwrap().slots, [0, 1, 2]);
    assert!(first.assignment().unwrap().generation > shared.generation);
    assert_windows(&log, 1);
}

#[test]
fn the_next_owner_of_an_id_or_a_name_fences_the_one_before() {
    let elsewhere = Member { group: "ingest".into(), ..member("a", 3) };
    let renamed = Member { transactional_id: "ledgerflow-9".into(), ..member("a", 3) };
    let moved = Member { name: "z".into(), ..member("a", 3) };
    for next in [member("a", 3), elsewhere, renamed, moved] {
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path());
        let mut old = log.join(&member("a", 3)).unwrap();
        let generation = old.assignment().unwrap().generation;
        assert!(matches!(old.commit(window(generation, 0)), CommitOutcome::Committed { .. }));
        let mut new = log.join(&next).unwrap();
        assert!(matches!(old.commit(window(generation, 1)), CommitOutcome::Fenced(_)));
        assert!(matches!(old.assignment(), Err(LogError::Fenced(_))));
        // The fenced session's end does not touch its successor.
        drop(old);
        let assignment = new.assignment().unwrap();
        assert_eq!(assignment.slots, [0, 1, 2]);
        assert_windows(&log, 1);
    }
}

#[test]
fn a_transaction_that_cannot_be_written_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    let nowhere = TopicPartition::new(Topic::Journal, 3);
    let at = |offset, metadata: String| Position { offset, metadata };
    let mut unknown = window(generation, 0);
    unknown.records.push(text(nowhere, "entry"));
    let mut unknown_position = window(generation, 0);
    unknown_position.positions.push((nowhere, at(0, String::new())));
    let mut negative = window(generation, 0);
    negative.positions.push((COMMANDS, at(-1, String::new())));
    let mut long = window(generation, 0);
    long.positions.push((COMMANDS, at(1, "m".repeat(1025))));
    let rows = [
        (unknown, "journal/3 does not exist"),
        (unknown_position, "journal/3 does not exist"),
        (negative, "commands/1: position -1 is below zero"),
        (long, "commands/1: metadata of a position may have 1024 bytes"),
    ];
    for (transaction, why) in rows {
        assert_eq!(session.commit(transaction), CommitOutcome::Aborted(why.to_owned()));
    }
    assert_windows(&log, 0);
    assert_eq!(log.append(vec![text(nowhere, "event")]), Err(LogError::UnknownPartition(nowhere)));
    assert_eq!(log.committed("posting", &[nowhere]), Err(LogError::UnknownPartition(nowhere)));
    assert!(matches!(session.commit(window(generation, 0)), CommitOutcome::Committed { .. }));
    assert_windows(&log, 1);
}

#[test]
fn positions_are_kept_by_group_through_segments_and_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for (group, offset) in [("posting", 7), ("settlement", 5)] {
        let who = Member { group: group.into(), transactional_id: group.into(), ..posting() };
        let mut session = log.join(&who).unwrap();
        let generation = session.assignment().unwrap().generation;
        let metadata = format!("1:{offset}:é");
        let positions = vec![(COMMANDS, Position { offset, metadata })];
        let committed = session.commit(Transaction { generation, records: Vec::new(), positions });
        assert!(matches!(committed, CommitOutcome::Committed { .. }));
    }
    for number in 0..40 {
        log.append(vec![text(EVENTS, format!("event {number} {}", "x".repeat(100)))]).unwrap();
    }
    assert!(segments(directory.path()).len() > 2);
    drop(log);
    let log = open(directory.path());
    for (group, offset) in [("posting", 7), ("settlement", 5)] {
        let held = log.committed(group, &[JOURNAL, COMMANDS]).unwrap();
        assert_eq!(held, [None, Some(Position { offset, metadata: format!("1:{offset}:é") })]);
    }
    assert_eq!(log.committed("nobody", &[COMMANDS]), Ok(vec![None]));
}
