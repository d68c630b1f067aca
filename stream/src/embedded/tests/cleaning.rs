//! Retention: what is given up is gone, everything else stays where it is.

use super::*;

/// Windows committed, events below `below` given up.
fn cleaned(directory: &Path, windows: i64, below: Offset) -> (EmbeddedLog, super::super::CleanReport) {
    let log = open(directory);
    commit(&log, 0..windows);
    let report = log.clean(&[(EVENTS, below), (JOURNAL, below)]).unwrap().wait().unwrap();
    (log, report)
}

fn assert_cleaned(log: &EmbeddedLog, windows: i64, below: Offset) {
    assert_windows(log, windows);
    let events: Vec<String> = (below..windows).map(|number| format!("event {number}")).collect();
    assert_eq!(values(log, EVENTS), events);
    let bounds = log.watermarks(EVENTS, Isolation::Committed).unwrap();
    assert_eq!(bounds, Watermarks { low: below, high: windows });
    let journal = log.watermarks(JOURNAL, Isolation::Committed).unwrap();
    assert_eq!(journal, Watermarks { low: 0, high: windows });
    let out = LogError::OutOfRange { at: EVENTS, offset: below - 1, low: below, high: windows };
    assert_eq!(log.reader(&[(EVENTS, below - 1)], Isolation::Committed).err(), Some(out));
}

#[test]
fn events_go_and_the_journal_stays() {
    for below in [1, 17, 99, 100] {
        let directory = tempfile::tempdir().unwrap();
        let (log, report) = cleaned(directory.path(), 100, below);
        assert_cleaned(&log, 100, below);
        assert!(report.bytes_after <= report.bytes_before);
        drop(log);
        let log = open(directory.path());
        assert_cleaned(&log, 100, below);
        commit(&log, 100..130);
        assert_cleaned(&log, 130, below);
        log.verify().unwrap();
    }
}

#[test]
fn space_comes_back_and_segments_are_put_together() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for number in 0..100 {
        log.append(vec![text(EVENTS, format!("event {number} {}", "x".repeat(200)))]).unwrap();
    }
    commit(&log, 0..3);
    let before = (log.disk_bytes(), segments(directory.path()).len());
    let report = log.clean(&[(EVENTS, 95)]).unwrap().wait().unwrap();
    assert!(report.segments > 10, "{report:?}");
    assert!(report.bytes_before - report.bytes_after > before.0 / 5 * 4);
    assert!(log.disk_bytes() < before.0 / 5);
    assert!(segments(directory.path()).len() < before.1 / 3);
    assert_eq!(values(&log, EVENTS).len(), 8);
    assert_windows(&log, 3);
    // What is left is not worth another rewriting.
    let again = log.clean(&[(EVENTS, 95)]).unwrap().wait().unwrap();
    assert_eq!(again, super::super::CleanReport::default());
}

#[test]
fn cleaning_again_and_again_while_writing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path());
    let mut windows = 0;
    for round in 0..12 {
        commit(&log, windows..windows + 25);
        windows += 25;
        log.clean(&[(EVENTS, windows - 10)]).unwrap().wait().unwrap();
        assert_cleaned(&log, windows, windows - 10);
        if round % 4 == 3 {
            drop(log);
            log = open(directory.path());
            assert_cleaned(&log, windows, windows - 10);
        }
    }
    // Segments that are left half full are put together: their number is bounded by the bytes that are left.
    let held = segments(directory.path()).len() as u64;
    assert!(held <= 2 * log.disk_bytes() / 2048 + 8, "{held} segments, {} bytes", log.disk_bytes());
}

#[test]
fn a_reader_goes_on_through_cleaning_and_is_told_when_it_is_overtaken() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.tail_cache_bytes = 0;
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    commit(&log, 0..100);
    let mut journal = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
    let mut events = log.reader(&[(EVENTS, 0)], Isolation::Committed).unwrap();
    let mut slow = log.reader(&[(EVENTS, 0)], Isolation::Committed).unwrap();
    let (mut entries, mut taken) = (0, 0);
    for below in [10, 40, 41, 90] {
        while entries < below {
            entries += journal.poll(limit(3)).unwrap().iter().map(|fetch| fetch.records.len()).sum::<usize>();
        }
        while taken < below {
            taken += events.poll(limit(1)).unwrap().iter().map(|fetch| fetch.records.len()).sum::<usize>();
        }
        assert_eq!(slow.poll(limit(1)).is_ok(), below == 10);
        log.clean(&[(EVENTS, i64::try_from(below).unwrap())]).unwrap().wait().unwrap();
    }
    let out = LogError::OutOfRange { at: EVENTS, offset: 1, low: 90, high: 100 };
    assert_eq!(slow.poll(limit(1)), Err(out));
    assert_eq!(drain(journal.as_mut()).len() + entries, 100);
    assert_eq!(drain(events.as_mut()).len() + taken, 100);
}

#[test]
fn cleaning_and_reading_and_writing_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.tail_cache_bytes = 0;
    options.sync_interval = Duration::from_millis(1);
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    std::thread::scope(|scope| {
        let mut journal = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
        let reading = scope.spawn(move || {
            let mut entries = Vec::new();
            while entries.len() < 600 {
                let fetched = journal.poll(FetchLimit { wait: MINUTE, ..limit(2) }).unwrap();
                entries.extend(fetched.into_iter().flat_map(|fetch| fetch.records));
            }
            entries
        });
        let cleaner = &log;
        let cleaning = scope.spawn(move || {
            for _ in 0..20 {
                let high = cleaner.watermarks(EVENTS, Isolation::Committed).unwrap().high;
                cleaner.clean(&[(EVENTS, high)]).unwrap().wait().unwrap();
            }
        });
        commit(&log, 0..600);
        cleaning.join().unwrap();
        for (number, entry) in (0_i64..).zip(reading.join().unwrap()) {
            assert_eq!((entry.offset, entry.value), (number, format!("entry {number}").into()));
        }
    });
    assert_windows(&log, 600);
    log.verify().unwrap();
}

/// Every operation on files during cleaning may be the last one.
#[test]
fn a_crash_at_any_step_of_cleaning_loses_nothing_that_is_wanted() {
    let mut steps = 0;
    for step in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let (log, failing) = open_failing(directory.path(), small());
        commit(&log, 0..60);
        log.sync().unwrap();
        *failing.until_dead.lock().unwrap() = Some(step);
        let ended = log.clean(&[(EVENTS, 50)]).and_then(super::super::Cleaning::wait);
        let copy = image(directory.path());
        for _ in 0..2 {
            let after = open(copy.path());
            assert_windows(&after, 60);
            let low = after.watermarks(EVENTS, Isolation::Committed).unwrap().low;
            assert!(low == 0 || low == 50, "low {low} after {step} operations");
            let events: Vec<String> = (low..60).map(|number| format!("event {number}")).collect();
            assert_eq!(values(&after, EVENTS), events);
            after.verify().unwrap();
        }
        let leftover = fs::read_dir(copy.path().join("segments")).unwrap();
        let leftover = leftover.filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            path.extension().is_some_and(|extension| extension == "tmp" || extension == "new")
        });
        assert_eq!(leftover.count(), 0);
        if ended.is_ok() && failing.until_dead.lock().unwrap().is_some_and(|left| left > 0) {
            steps = step;
            break;
        }
    }
    assert!(steps > 20, "{steps} operations");
}

#[test]
fn cleaning_that_finds_no_room_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (log, failing) = open_failing(directory.path(), small());
    commit(&log, 0..60);
    log.sync().unwrap();
    let low = log.clean(&[(EVENTS, 30)]).unwrap();
    low.wait().unwrap();
    failing.fail(Operation::Write, Answer::Error(ENOSPC));
    assert!(matches!(log.clean(&[(EVENTS, 50)]), Err(LogError::Io(_))));
    assert_cleaned(&log, 60, 30);
    failing.heal();
    log.clean(&[(EVENTS, 50)]).unwrap().wait().unwrap();
    assert_cleaned(&log, 60, 50);
}

/// What an archive holds goes from topics that are kept for ever too, and from nothing else of them.
#[test]
fn the_journal_goes_where_it_is_archived() {
    for below in [1, 17, 99, 100] {
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path());
        commit(&log, 0..100);
        let before = log.disk_bytes();
        log.give_up_archived(&[(JOURNAL, below)]).unwrap().wait().unwrap();
        assert!(log.disk_bytes() < before || below < 17, "{before}");
        let is_gone = |log: &EmbeddedLog, windows: i64| {
            let entries: Vec<String> = (below..windows).map(|number| format!("entry {number}")).collect();
            assert_eq!(values(log, JOURNAL), entries);
            assert_eq!(values(log, EVENTS).len(), usize::try_from(windows).unwrap());
            let bounds = log.watermarks(JOURNAL, Isolation::Committed).unwrap();
            assert_eq!(bounds, Watermarks { low: below, high: windows });
        };
        is_gone(&log, 100);
        drop(log);
        let log = open(directory.path());
        is_gone(&log, 100);
        commit(&log, 100..110);
        // Retention goes on without it.
        log.clean(&[(EVENTS, 0), (JOURNAL, 110)]).unwrap().wait().unwrap();
        is_gone(&log, 110);
        log.verify().unwrap();
        let backup = directory.path().with_extension("backup");
        log.backup(&backup).unwrap();
        is_gone(&EmbeddedLog::open_read_only(&backup).unwrap(), 110);
        fs::remove_dir_all(backup).unwrap();
    }
}
