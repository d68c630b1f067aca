//! Each fault by itself: what it does, and that its counter says so. [`exactly_once`] runs them all together.

mod exactly_once;

use super::*;
use schemas::topics::PartitionCounts;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const IN: TopicPartition = TopicPartition::new(Topic::Events0, 0);
const OUT: TopicPartition = TopicPartition::new(Topic::Commands, 0);
const OTHER: TopicPartition = TopicPartition::new(Topic::Commands, 1);

fn quiet() -> SimLog {
    SimLog::new(SimSettings::new(7, COUNTS))
}

fn member(name: &str) -> Member {
    Member {
        group: "posting".into(),
        name: name.into(),
        transactional_id: format!("posting.{name}"),
        slots: 4,
    }
}

fn record(to: TopicPartition, text: &str) -> OutRecord {
    OutRecord::new(to, bytes::Bytes::from(text.to_owned()))
}

/// Commits one record to [`OUT`] and one to [`OTHER`], and the position of [`IN`].
fn commit(session: &mut dyn Session, text: &str, position: Offset) -> CommitOutcome {
    let generation = session.assignment().unwrap().generation;
    let records = vec![record(OUT, text), record(OTHER, text)];
    let positions = vec![(IN, Position { offset: position, metadata: text.into() })];
    session.commit(Transaction { generation, records, positions })
}

fn seen(log: &SimLog, at: TopicPartition) -> String {
    let of = |(from, record): (TopicPartition, Record)| {
        (from == at).then(|| String::from_utf8(record.value.to_vec()).unwrap())
    };
    log.visible(at.topic).into_iter().filter_map(of).collect::<Vec<_>>().join(" ")
}

fn position(log: &SimLog) -> String {
    match log.committed("posting", &[IN]) {
        Ok(held) => held.into_iter().flatten().map(|p| p.metadata).collect(),
        Err(LogError::Unstable { holder, .. }) => format!("unstable: {holder}"),
        Err(other) => other.to_string(),
    }
}

fn polled(reader: &mut dyn Reader) -> usize {
    let limit = FetchLimit { records: 100, bytes: 1 << 20, wait: Duration::ZERO };
    reader.poll(limit).unwrap().iter().map(|fetch| fetch.records.len()).sum()
}

/// What a committed reader sees of both outputs, and the committed position, in one line.
fn state(log: &SimLog) -> String {
    format!("{} | {} | {}", seen(log, OUT), seen(log, OTHER), position(log))
}

#[test]
fn every_fault_of_a_commit_ends_as_it_says() {
    use CommitFault::{Abort, CrashAfterEnd, Late, UnknownAborted, UnknownCommitted, UnknownLost};
    let (none, held, there) = ("a | a | a", "a | a | unstable: posting.a", "a b | a b | b");
    let late = |commit| Late { delay_us: 300_000, commit };
    // fault; outcome; seen at once, after 400 ms, after 6 s; counter that says so
    let rows = [
        (Abort, "Aborted", none, none, none, "commits_aborted"),
        (UnknownCommitted, "Unknown", there, there, there, "unknown_committed"),
        (UnknownAborted, "Unknown", none, none, none, "unknown_aborted"),
        (UnknownLost, "Unknown", held, held, none, "transactions_timed_out"),
        (late(true), "Unknown", held, there, there, "late_committed"),
        (late(false), "Unknown", held, none, none, "late_aborted"),
        (CrashAfterEnd, "Unknown", there, there, there, "crashes_after_end"),
    ];
    for (fault, outcome, at_once, soon, in_the_end, counter) in rows {
        let log = quiet();
        let mut session = log.process().join(&member("a")).unwrap();
        assert!(matches!(commit(session.as_mut(), "a", 1), CommitOutcome::Committed { sequence: 1 }));
        log.plan("posting.a", fault);
        let found = format!("{:?}", commit(session.as_mut(), "b", 2));
        assert!(found.starts_with(outcome), "{fault:?}: {found}");
        assert_eq!(state(&log), at_once, "{fault:?} at once");
        log.advance(400_000);
        assert_eq!(state(&log), soon, "{fault:?} after 400 ms");
        log.advance(5_600_000);
        assert_eq!(state(&log), in_the_end, "{fault:?} after 6 s");
        assert!(log.unfinished().is_empty(), "{fault:?}");
        let counted: Vec<_> =
            log.counters().each().into_iter().filter(|(name, _)| *name == counter).collect();
        assert_eq!(counted, [(counter, 1)], "{fault:?}");
    }
}

#[test]
fn a_process_that_dies_inside_a_commit_reaches_the_log_no_more() {
    let log = quiet();
    let process = log.process();
    let mut session = process.join(&member("a")).unwrap();
    let mut reader = process.reader(&[(IN, 0)], Isolation::Committed).unwrap();
    log.plan("posting.a", CommitFault::CrashBeforeEnd);
    assert!(matches!(commit(session.as_mut(), "b", 2), CommitOutcome::Unknown(_)));
    assert!(process.is_dead() && !log.is_dead());
    let limit = FetchLimit { records: 1, bytes: 1, wait: Duration::ZERO };
    assert!(matches!(reader.poll(limit), Err(LogError::Retriable(_))));
    assert!(matches!(session.assignment(), Err(LogError::Retriable(_))));
    assert!(matches!(process.append(vec![record(IN, "x")]), Err(LogError::Retriable(_))));
    assert!(process.join(&member("a")).is_err());
    let dead = session.commit(Transaction { records: vec![record(OUT, "ghost")], ..Transaction::default() });
    assert!(matches!(dead, CommitOutcome::Unknown(_)));
    drop(session);
    log.advance(10_000_000);
    assert_eq!(state(&log), " |  | ");
    let counters = log.counters();
    assert_eq!((counters.crashes_before_end, counters.sessions_timed_out), (1, 1));
}

#[test]
fn a_crash_between_commits_leaves_the_seat_until_the_session_times_out() {
    let log = quiet();
    let process = log.process();
    let mut dies = process.join(&member("a")).unwrap();
    let mut lives = log.join(&member("b")).unwrap();
    commit(dies.as_mut(), "a", 1);
    assert!(log.crash("posting.a"));
    assert!(!log.crash("posting.a") && !log.crash("nobody"));
    assert!(process.is_dead());
    drop(dies);
    assert_eq!(lives.assignment().unwrap().slots, [2, 3]);
    for _ in 0..3 {
        log.advance(900_000);
        lives.assignment().unwrap();
    }
    assert_eq!(lives.assignment().unwrap().slots, [0, 1, 2, 3]);
    assert_eq!(log.counters().crashes_between, 1);
}

#[test]
fn a_process_dies_by_its_handle_with_all_its_sessions() {
    let log = quiet();
    let process = log.process();
    let mut one = process.join(&member("a")).unwrap();
    let mut two = process.join(&member("b")).unwrap();
    let mut other = log.join(&member("c")).unwrap();
    assert!(process.die() && !process.die() && !log.die());
    assert!(one.assignment().is_err() && two.assignment().is_err());
    assert_eq!(other.assignment().unwrap().slots.len(), 1, "the dead hold their seats until they time out");
    assert_eq!(log.counters().crashes_between, 1);
}

#[test]
fn a_session_whose_transaction_timed_out_is_fenced() {
    let log = quiet();
    let mut session = log.join(&member("a")).unwrap();
    log.plan("posting.a", CommitFault::UnknownLost);
    commit(session.as_mut(), "a", 1);
    log.advance(5_000_000);
    assert!(matches!(commit(session.as_mut(), "b", 1), CommitOutcome::Fenced(_)));
    assert_eq!(state(&log), " |  | ");
}

#[test]
fn join_and_fence_stop_a_late_end() {
    for by_fence in [false, true] {
        let log = quiet();
        let mut session = log.join(&member("a")).unwrap();
        log.plan("posting.a", CommitFault::Late { delay_us: 1_000_000, commit: true });
        commit(session.as_mut(), "late", 1);
        let _next = (!by_fence).then(|| log.join(&member("a")).unwrap());
        if by_fence {
            log.fence("posting.a").unwrap();
        }
        log.advance(2_000_000);
        assert_eq!(state(&log), " |  | ");
        let counters = log.counters();
        assert_eq!(counters.late_fenced, 1);
        assert_eq!(
            (counters.aborted_by_join, counters.aborted_by_fence),
            (u64::from(!by_fence), u64::from(by_fence))
        );
        assert!(matches!(session.commit(Transaction::default()), CommitOutcome::Fenced(_)));
        assert_eq!(log.counters().commits_fenced, 1);
    }
}

#[test]
fn a_late_end_hits_a_later_transaction_of_a_session_that_went_on() {
    let log = quiet();
    let mut session = log.join(&member("a")).unwrap();
    log.plan("posting.a", CommitFault::Late { delay_us: 1_000_000, commit: true });
    assert!(matches!(commit(session.as_mut(), "1", 1), CommitOutcome::Unknown(_)));
    assert!(matches!(commit(session.as_mut(), "1", 1), CommitOutcome::Committed { .. }));
    assert!(seen(&log, OUT).starts_with("1 1"), "went into the transaction still open: {}", seen(&log, OUT));
    log.plan("posting.a", CommitFault::UnknownLost);
    assert!(matches!(commit(session.as_mut(), "2", 2), CommitOutcome::Unknown(_)));
    assert_eq!(position(&log), "unstable: posting.a");
    log.advance(1_500_000);
    assert_eq!(position(&log), "2", "ended by an end request that was not its own");
    let counters = log.counters();
    assert_eq!((counters.reused_after_unknown, counters.late_misdirected), (1, 1));
}

#[test]
fn a_late_end_that_finds_nothing_open_does_nothing() {
    let log = quiet();
    let mut session = log.join(&member("a")).unwrap();
    log.plan("posting.a", CommitFault::Late { delay_us: 1_000_000, commit: false });
    commit(session.as_mut(), "1", 1);
    commit(session.as_mut(), "2", 2);
    let before = state(&log);
    log.advance(1_500_000);
    assert_eq!(state(&log), before);
    assert_eq!(log.counters().late_void, 1);
}

#[test]
fn several_producers_interleave_on_a_partition_and_hold_it_back() {
    let mut split = SimCounters::default();
    for seed in 0..20 {
        let log = SimLog::new(SimSettings::new(seed, COUNTS));
        let mut session = log.join(&member("a")).unwrap();
        log.plan("posting.a", CommitFault::Late { delay_us: 1_000, commit: true });
        let records = vec![record(OUT, "a1"), record(OUT, "a2")];
        session.commit(Transaction { records, ..Transaction::default() });
        log.append(vec![record(OUT, "b")]).unwrap();
        let mut reader = log.reader(&[(OUT, 0)], Isolation::Committed).unwrap();
        assert_eq!(polled(reader.as_mut()), 0);
        let marks = |isolation| log.watermarks(OUT, isolation).unwrap().high;
        assert_eq!(marks(Isolation::Committed), 0);
        assert!(marks(Isolation::Uncommitted) > 1);
        log.advance(1_000);
        assert_eq!(polled(reader.as_mut()), 3);
        assert_eq!(reader.position(OUT), Some(4), "three records and a marker");
        let interleaved = log.counters().interleaved == 1;
        assert_eq!(seen(&log, OUT), if interleaved { "a1 b a2" } else { "a1 a2 b" });
        assert_eq!(log.counters().held_by_open, 1);
        split.add(&log.counters());
    }
    assert!(split.late_split > 0 && split.late_split < 20 && split.interleaved == split.late_split);
}

#[test]
fn markers_of_a_commit_may_come_one_by_one() {
    let faults = Faults { slow_markers: 1000, ..Faults::NONE };
    let log = SimLog::new(SimSettings::new(3, COUNTS).with_faults(faults));
    let mut session = log.join(&member("a")).unwrap();
    assert!(matches!(commit(session.as_mut(), "a", 1), CommitOutcome::Committed { .. }));
    assert_eq!(state(&log), " |  | unstable: posting.a");
    let mut states = vec![state(&log)];
    for _ in 0..1000 {
        log.advance(1_000);
        if states.last() != Some(&state(&log)) {
            states.push(state(&log));
        }
    }
    assert_eq!(states.len(), 4, "one partition after the other: {states:?}");
    assert_eq!(states.last().unwrap(), "a | a | a");
    assert_eq!(log.counters().slow_markers, 1);
    commit(session.as_mut(), "b", 2);
    commit(session.as_mut(), "c", 3);
    assert!(
        seen(&log, OUT).starts_with("a b"),
        "the producer's next transaction waits for the last one's markers"
    );
}

#[test]
fn foreign_records_take_offsets_and_are_never_seen() {
    let faults = Faults { foreign: 1000, ..Faults::NONE };
    let log = SimLog::new(SimSettings::new(5, COUNTS).with_faults(faults));
    let mut session = log.join(&member("a")).unwrap();
    for n in 0..10 {
        commit(session.as_mut(), &n.to_string(), n);
    }
    log.advance(1_000_000);
    assert_eq!(seen(&log, OUT), "0 1 2 3 4 5 6 7 8 9");
    let high = |at| log.watermarks(at, Isolation::Committed).unwrap().high;
    assert_eq!(high(OUT) + high(OTHER), 60, "20 records and markers of ours, 10 of theirs");
    let counters = log.counters();
    assert_eq!((counters.foreign_records, counters.aborted_records), (10, 10));
    assert_eq!((counters.commit_markers, counters.abort_markers), (20, 10));
}

#[test]
fn a_slow_partition_shows_its_end_later() {
    let faults = Faults { slow_partition: 1000, ..Faults::NONE };
    let log = SimLog::new(SimSettings::new(5, COUNTS));
    log.append(vec![record(IN, "before")]).unwrap();
    log.set_faults(faults);
    log.append(vec![record(IN, "slow")]).unwrap();
    log.set_faults(Faults::NONE);
    log.append(vec![record(IN, "behind it")]).unwrap();
    let mut reader = log.reader(&[(IN, 0)], Isolation::Committed).unwrap();
    assert_eq!(polled(reader.as_mut()), 1);
    assert_eq!((reader.position(IN), log.watermarks(IN, Isolation::Committed).unwrap().high), (Some(1), 3));
    log.advance(1_000_000);
    assert_eq!(polled(reader.as_mut()), 2);
    assert_eq!((log.counters().slow_partitions, log.counters().slow_reads), (1, 1));
}

#[test]
fn polls_are_cut_short_and_the_log_is_away() {
    let faults = Faults { short_read: 1000, away: 300, ..Faults::NONE };
    let log = quiet();
    log.append((0..50).map(|n| record(IN, &n.to_string())).collect()).unwrap();
    let mut reader = log.reader(&[(IN, 0)], Isolation::Committed).unwrap();
    log.set_faults(faults);
    let limit = FetchLimit { records: 4, bytes: 1 << 20, wait: Duration::ZERO };
    let (mut got, mut away) = (0, 0);
    while got < 50 {
        match reader.poll(limit) {
            Ok(fetches) => got += fetches.iter().map(|fetch| fetch.records.len()).sum::<usize>(),
            Err(LogError::Retriable(_)) => away += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let counters = log.counters();
    assert!(counters.short_reads > 1 && counters.away == away && away > 0, "{counters:?}");
}

#[test]
fn a_full_disk_takes_nothing_until_there_is_room() {
    let log = SimLog::new(SimSettings::new(1, COUNTS).with_faults(Faults { full: 1_000, ..Faults::NONE }));
    let mut session = log.join(&member("a")).unwrap();
    let outcome = commit(session.as_mut(), "full", 1);
    assert!(matches!(&outcome, CommitOutcome::Aborted(why) if why.contains("no space")), "{outcome:?}");
    assert!(matches!(log.append(vec![record(OUT, "full")]), Err(LogError::Retriable(_))));
    assert_eq!((log.counters().refused_full, seen(&log, OUT)), (2, String::new()));
    log.set_faults(Faults::NONE);
    assert!(matches!(commit(session.as_mut(), "room", 1), CommitOutcome::Committed { .. }));
    assert_eq!(seen(&log, OUT), "room");
}

#[test]
fn an_append_whose_answer_is_lost_is_written() {
    let log =
        SimLog::new(SimSettings::new(1, COUNTS).with_faults(Faults { lost_reply: 1_000, ..Faults::NONE }));
    assert!(matches!(log.append(vec![record(OUT, "a")]), Err(LogError::Retriable(_))));
    assert!(matches!(log.append(vec![record(OUT, "a")]), Err(LogError::Retriable(_))));
    assert_eq!((log.counters().lost_replies, log.counters().appends), (2, 2));
    assert_eq!(seen(&log, OUT), "a a");
}

#[test]
fn a_silent_member_loses_its_slots_and_takes_them_again_in_a_new_generation() {
    let log = quiet();
    let mut silent = log.join(&member("a")).unwrap();
    let mut other = log.join(&member("b")).unwrap();
    let before = silent.assignment().unwrap();
    assert_eq!((before.slots.as_slice(), before.generation), ([0, 1].as_slice(), 2));
    log.advance(1_900_000);
    assert_eq!(other.assignment().unwrap().slots, [2, 3]);
    log.advance(200_000);
    assert_eq!(other.assignment().unwrap(), Assignment { generation: 3, slots: vec![0, 1, 2, 3] });
    let positions = vec![(IN, Position { offset: 1, metadata: String::new() })];
    let stale = silent.commit(Transaction { generation: 2, records: vec![record(OUT, "x")], positions });
    assert!(matches!(stale, CommitOutcome::Aborted(_)));
    assert_eq!(silent.assignment().unwrap(), Assignment { generation: 4, slots: vec![0, 1] });
    assert!(matches!(commit(silent.as_mut(), "y", 1), CommitOutcome::Committed { .. }));
    assert_eq!(seen(&log, OUT), "y");
    let counters = log.counters();
    assert_eq!((counters.sessions_timed_out, counters.commits_stale, counters.rebalances), (1, 1, 4));
}

#[test]
fn leaving_is_at_once_or_static_membership() {
    for leave_on_drop in [true, false] {
        let log = SimLog::new(SimSettings { leave_on_drop, ..SimSettings::new(1, COUNTS) });
        let mut stays = log.join(&member("a")).unwrap();
        drop(log.join(&member("b")).unwrap());
        assert_eq!(stays.assignment().unwrap().slots.len(), if leave_on_drop { 4 } else { 2 });
        assert_eq!(log.leave("posting", "b"), !leave_on_drop);
        assert_eq!(stays.assignment().unwrap().slots.len(), 4);
    }
}

#[test]
fn positions_vanish_by_hand_and_after_a_group_has_been_empty_long_enough() {
    let settings = SimSettings { positions_retention_us: Some(10_000_000), ..SimSettings::new(1, COUNTS) };
    let log = SimLog::new(settings);
    let mut session = log.join(&member("a")).unwrap();
    commit(session.as_mut(), "a", 1);
    drop(session);
    log.advance(9_000_000);
    let mut session = log.join(&member("a")).unwrap();
    log.advance(1_500_000);
    assert_eq!(position(&log), "a", "a member came before they expired");
    commit(session.as_mut(), "b", 1);
    drop(session);
    log.advance(10_000_000);
    assert_eq!(position(&log), "");
    let mut session = log.join(&member("a")).unwrap();
    commit(session.as_mut(), "c", 1);
    assert!(log.expire_positions("posting"));
    assert!(!log.expire_positions("posting"));
    assert_eq!(position(&log), "");
    assert_eq!(log.counters().positions_expired, 2);
}

#[test]
fn truncation_stops_at_an_open_transaction() {
    let log = quiet();
    log.append(vec![record(OUT, "0"), record(OUT, "1")]).unwrap();
    let mut session = log.join(&member("a")).unwrap();
    log.plan("posting.a", CommitFault::UnknownLost);
    commit(session.as_mut(), "open", 1);
    log.truncate(OUT, 100).unwrap();
    assert_eq!(log.watermarks(OUT, Isolation::Uncommitted).unwrap(), Watermarks { low: 2, high: 3 });
    assert!(log.reader(&[(OUT, 1)], Isolation::Committed).is_err());
    log.fence("posting.a").unwrap();
    log.truncate(OUT, 4).unwrap();
    assert_eq!(log.watermarks(OUT, Isolation::Committed).unwrap(), Watermarks { low: 4, high: 4 });
    let counters = log.counters();
    assert_eq!((counters.truncations, counters.out_of_range), (2, 1));
}

#[test]
fn a_lost_record_leaves_its_offset() {
    let log = quiet();
    log.append(vec![record(OUT, "0"), record(OUT, "1"), record(OUT, "2")]).unwrap();
    assert!(log.lose(OUT, 1));
    assert!(!log.lose(OUT, 1) && !log.lose(OUT, 3) && !log.lose(OUT, -1), "there is none");
    let left: Vec<_> = log.visible(Topic::Commands).iter().map(|(_, r)| r.offset).collect();
    assert_eq!(left, [0, 2]);
    assert_eq!(log.watermarks(OUT, Isolation::Committed).unwrap(), Watermarks { low: 0, high: 3 });
    let mut session = log.join(&member("a")).unwrap();
    log.plan("posting.a", CommitFault::UnknownLost);
    commit(session.as_mut(), "open", 1);
    assert!(!log.lose(OUT, 3), "it is not committed");
    assert_eq!(log.counters().records_lost, 1);
}

#[test]
fn the_wall_clock_jumps_and_time_outs_do_not_notice() {
    let log = quiet();
    let start = log.wall_us();
    log.append(vec![record(IN, "0")]).unwrap();
    let _session = log.join(&member("a")).unwrap();
    log.jump(-3_600_000_000);
    log.append(vec![record(IN, "1")]).unwrap();
    log.jump(86_400_000_000);
    log.advance(1_000_000);
    log.append(vec![record(IN, "2")]).unwrap();
    let times: Vec<i64> = log.visible(Topic::Events0).iter().map(|(_, r)| r.timestamp_us - start).collect();
    assert_eq!(times, [0, -3_600_000_000, 82_801_000_000]);
    let counters = log.counters();
    assert_eq!((counters.time_jumps, counters.sessions_timed_out), (2, 0));
}

#[test]
fn durable_follows_the_sync_delay() {
    let log = SimLog::new(SimSettings { sync_delay_us: 20_000, ..SimSettings::new(1, COUNTS) });
    let first = log.append(vec![record(IN, "0")]).unwrap();
    log.advance(15_000);
    let second = log.append(vec![record(IN, "1")]).unwrap();
    assert!(matches!(log.wait_durable(first, Duration::ZERO), Err(LogError::Retriable(_))));
    log.advance(5_000);
    assert_eq!(log.durable(), first);
    log.advance(15_000);
    assert_eq!(log.durable(), second);
    log.wait_durable(second, Duration::ZERO).unwrap();
}

#[test]
fn retention_and_features_are_as_set() {
    let features = Features { compaction: false };
    let log = SimLog::new(SimSettings { features, ..SimSettings::new(1, COUNTS) });
    assert_eq!(log.features(), features);
    assert_eq!(log.check_retention(Topic::Journal), Ok(Ok(())));
    log.set_retention_fault(Topic::Journal, Some("retention.ms=1 must be -1".into()));
    assert_eq!(log.check_retention(Topic::Journal), Ok(Err("retention.ms=1 must be -1".into())));
    log.set_retention_fault(Topic::Journal, None);
    assert_eq!(log.check_retention(Topic::Journal), Ok(Ok(())));
}

#[test]
fn metadata_over_its_bound_is_refused() {
    let log = quiet();
    let mut session = log.join(&member("a")).unwrap();
    let found = commit(session.as_mut(), &"m".repeat(1025), 1);
    assert!(matches!(found, CommitOutcome::Aborted(_)), "{found:?}");
    assert_eq!(state(&log), " |  | ");
}
