//! Reading: from memory and from segments, limits, positions, waiting.

use super::*;

/// A log whose tail cache holds next to nothing.
fn uncached(directory: &Path) -> EmbeddedLog {
    let mut options = small();
    options.tail_cache_bytes = 1000;
    EmbeddedLog::open(directory, options).unwrap()
}

#[test]
fn memory_and_segments_give_the_same_records() {
    let directory = tempfile::tempdir().unwrap();
    let cold = tempfile::tempdir().unwrap();
    let mut options = small();
    options.tail_cache_bytes = 1 << 20;
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    commit(&log, 0..60);
    let without = uncached(cold.path());
    commit(&without, 0..60);
    let untimed = |log: &EmbeddedLog| {
        let mut found = records(log, JOURNAL);
        found.iter_mut().for_each(|record| record.timestamp_us = 0);
        found
    };
    assert_eq!(untimed(&log), untimed(&without));
    let offsets: Vec<Offset> = records(&without, JOURNAL).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..60).collect::<Vec<_>>());
    let entry = records(&without, JOURNAL).remove(33);
    assert_eq!((entry.key, entry.value), ("users:33:wallet".into(), "entry 33".into()));
    assert_eq!(entry.headers, [Header::text("traceparent", "00-33")]);
    assert_windows(&without, 60);
}

#[test]
fn one_frame_with_records_of_many_partitions_keeps_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = uncached(directory.path());
    let parts: Vec<TopicPartition> =
        (0..3).map(|number| TopicPartition::new(Topic::Credits, number)).collect();
    for frame in 0..10 {
        let mixed = (0..30_usize).map(|number| text(parts[number % 3], format!("{frame}:{number}")));
        log.append(mixed.collect()).unwrap();
    }
    for (number, of) in parts.iter().enumerate() {
        let expected =
            (0..10).flat_map(|frame| (0..10).map(move |row| format!("{frame}:{}", row * 3 + number)));
        assert_eq!(values(&log, *of), expected.collect::<Vec<_>>());
    }
}

#[test]
fn limits_hold_and_at_least_one_record_comes() {
    let directory = tempfile::tempdir().unwrap();
    let log = uncached(directory.path());
    log.append((0..10).map(|number| text(JOURNAL, format!("{number}").repeat(100))).collect()).unwrap();
    // records at most, bytes at most, records that come
    let rows = [
        (3, usize::MAX, 3),
        (10, 250, 2),
        (10, 300, 3),
        (10, 1, 1),
        (10, 0, 1),
        (0, 1000, 0),
        (99, 5000, 10),
    ];
    for (most, bytes, expected) in rows {
        let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
        let fetched = reader.poll(FetchLimit { records: most, bytes, wait: Duration::ZERO }).unwrap();
        let count: usize = fetched.iter().map(|fetch| fetch.records.len()).sum();
        assert_eq!(count, expected, "records {most}, bytes {bytes}");
        assert_eq!(reader.position(JOURNAL), Some(i64::try_from(expected).unwrap()));
    }
    let mut reader = log.reader(&[(JOURNAL, 4)], Isolation::Committed).unwrap();
    for offset in 4..10 {
        let fetched = reader.poll(limit(1)).unwrap();
        assert_eq!((fetched.len(), fetched[0].records[0].offset), (1, offset));
    }
    assert_eq!(reader.poll(limit(1)), Ok(Vec::new()));
}

#[test]
fn frames_bigger_than_a_segment_or_the_cache_and_empty_values_are_read_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let log = uncached(directory.path());
    let expected: Vec<String> =
        [5000, 0, 1, 9000, 0, 2500].into_iter().map(|bytes| "x".repeat(bytes)).collect();
    for value in &expected {
        log.append(vec![text(JOURNAL, value.clone())]).unwrap();
    }
    assert_eq!(values(&log, JOURNAL), expected);
    drop(log);
    assert_eq!(values(&open(directory.path()), JOURNAL), expected);
}

#[test]
fn every_partition_has_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let parts = [0, 1, 2].map(|number| TopicPartition::new(Topic::Journal, number));
    for of in parts {
        log.append((0..20).map(|number| text(of, format!("{number}"))).collect()).unwrap();
    }
    let mut reader = log.reader(&parts.map(|of| (of, 0)), Isolation::Committed).unwrap();
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(reader.poll(limit(5)).unwrap().iter().map(|fetch| fetch.from.partition));
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn positions_outside_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..3);
    let out = |offset| LogError::OutOfRange { at: JOURNAL, offset, low: 0, high: 3 };
    for offset in [-1, 4, i64::MAX] {
        assert_eq!(log.reader(&[(JOURNAL, offset)], Isolation::Committed).err(), Some(out(offset)));
    }
    let nowhere = TopicPartition::new(Topic::Journal, 3);
    assert_eq!(
        log.reader(&[(nowhere, 0)], Isolation::Committed).err(),
        Some(LogError::UnknownPartition(nowhere))
    );
    assert_eq!(log.watermarks(nowhere, Isolation::Committed), Err(LogError::UnknownPartition(nowhere)));
    let mut reader = log.reader(&[(JOURNAL, 3)], Isolation::Committed).unwrap();
    assert_eq!(reader.seek(JOURNAL, 9), Err(out(9)));
    assert_eq!(reader.seek(EVENTS, 0), Err(LogError::UnknownPartition(EVENTS)));
    assert_eq!(reader.position(EVENTS), None);
    reader.seek(JOURNAL, 1).unwrap();
    assert_eq!(drain(reader.as_mut()).len(), 2);
}

#[test]
fn a_reader_that_waits_is_woken_by_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut got = Vec::new();
            while got.len() < 20 {
                let fetched = reader.poll(FetchLimit { wait: MINUTE, ..limit(5) }).unwrap();
                got.extend(fetched.into_iter().flat_map(|fetch| fetch.records).map(|record| record.offset));
            }
            got
        });
        commit(&log, 0..20);
        assert_eq!(waiting.join().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn unsynced_records_are_read_at_once_and_durable_later() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    let sequence = commit(&log, 0..4);
    assert_windows(&log, 4);
    assert!(log.durable() < sequence);
    assert!(matches!(log.wait_durable(sequence, Duration::ZERO), Err(LogError::Retriable(_))));
    log.sync().unwrap();
    assert_eq!((log.durable(), log.wait_durable(sequence, Duration::ZERO)), (sequence, Ok(())));
}

#[test]
fn the_syncer_makes_everything_durable_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.sync_interval = Duration::from_millis(1);
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    for number in 0..30 {
        let sequence = commit(&log, number..number + 1);
        assert_eq!(log.wait_durable(sequence, MINUTE), Ok(()));
    }
}

/// One writer and three readers at once, over many segments, the cache too small for all of it.
#[test]
fn readers_keep_up_with_a_writer_or_fall_behind_and_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.segment_bytes = 16 << 10;
    options.tail_cache_bytes = 4 << 10;
    options.sync_interval = Duration::from_millis(1);
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    let windows = 2000;
    std::thread::scope(|scope| {
        let readers: Vec<_> = [1, 13, 500]
            .into_iter()
            .map(|most| {
                let mut reader = log.reader(&[(JOURNAL, 0), (EVENTS, 0)], Isolation::Committed).unwrap();
                scope.spawn(move || {
                    let (mut entries, mut events) = (Vec::new(), Vec::new());
                    while entries.len() + events.len() < 2 * windows {
                        for fetch in reader.poll(FetchLimit { wait: MINUTE, ..limit(most) }).unwrap() {
                            let to = if fetch.from == JOURNAL { &mut entries } else { &mut events };
                            to.extend(fetch.records);
                        }
                    }
                    (entries, events)
                })
            })
            .collect();
        commit(&log, 0..i64::try_from(windows).unwrap());
        for reader in readers {
            let (entries, events) = reader.join().unwrap();
            for (number, (entry, event)) in (0_i64..).zip(entries.iter().zip(&events)) {
                assert_eq!((entry.offset, event.offset), (number, number));
                assert_eq!(entry.value, format!("entry {number}"));
                assert_eq!(event.value, format!("event {number}"));
            }
        }
    });
    assert!(segments(directory.path()).len() > 10);
}

#[test]
fn a_damaged_run_is_reported_where_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..40);
    drop(log);
    drop(open(directory.path()));
    let mut options = small();
    options.scan_bytes = 0;
    let first = segments(directory.path()).remove(0);
    let mut spoilt = fs::read(&first).unwrap();
    let place = spoilt.windows(7).position(|bytes| bytes == b"entry 3").unwrap();
    spoilt[place] = b'X';
    fs::write(&first, spoilt).unwrap();
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
    let fetched = reader.poll(limit(100)).unwrap();
    assert_eq!(fetched[0].records.len(), 3);
    let named = |error: LogError| match error {
        LogError::Corrupt(why) => assert!(why.starts_with(&first.display().to_string()), "{why}"),
        other => panic!("{other}"),
    };
    named(reader.poll(limit(100)).unwrap_err());
    named(log.verify().unwrap_err());
}

#[test]
fn frames_in_used_memory_hold_what_is_theirs_and_leave_what_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    (options.segment_bytes, options.tail_cache_bytes) = (1 << 20, 20_000);
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    let value = |number: usize| format!("{number:>4}").repeat(250 - number % 50);
    let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
    let mut held = Vec::new();
    for number in 0..300 {
        log.append(vec![text(JOURNAL, value(number))]).unwrap();
        let fetched = reader.poll(limit(1)).unwrap().remove(0).records.remove(0);
        if number % 7 == 0 {
            held.push((number, fetched));
        }
    }
    for (number, record) in held {
        assert_eq!(record.value, value(number), "a record that was held");
    }
    assert_eq!(values(&log, JOURNAL), (0..300).map(value).collect::<Vec<_>>(), "what lies on the disk");
    let spare = lock(&log.core.state).spare_buffer(900);
    assert!((900..=1_800).contains(&spare.capacity()), "memory of frames that have left the cache");
    assert_eq!(lock(&log.core.state).spare_buffer(1 << 20).capacity(), 0, "none is big enough");
    assert_eq!(lock(&log.core.state).spare_buffer(1).capacity(), 0, "none is small enough");
}
