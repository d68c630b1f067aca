//! A file system that fails: full, short, broken, and a process that dies at every step.

use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_full_disk_aborts_the_commit_and_the_log_goes_on_when_there_is_room() {
    for answer in [Answer::Error(ENOSPC), Answer::Short(1), Answer::Short(60), Answer::Short(150)] {
        let directory = tempfile::tempdir().unwrap();
        let (log, failing) = open_failing(directory.path(), small());
        commit(&log, 0..2);
        let mut session = log.join(&posting()).unwrap();
        let generation = session.assignment().unwrap().generation;
        failing.fail(Operation::Write, answer);
        let CommitOutcome::Aborted(why) = session.commit(window(generation, 2)) else { panic!("{answer:?}") };
        assert!(why.contains(&directory.path().display().to_string()), "{why}");
        assert!(why.contains("No space left on device"), "{why}");
        let refused = log.append(vec![text(EVENTS, "event")]);
        assert!(matches!(refused, Err(LogError::Io(why)) if why.contains("No space left on device")));
        assert_windows(&log, 2);
        assert_windows(&open(image(directory.path()).path()), 2);
        failing.heal();
        assert!(matches!(session.commit(window(generation, 2)), CommitOutcome::Committed { .. }));
        assert_windows(&log, 3);
        drop((session, log));
        assert_windows(&open(directory.path()), 3);
    }
}

#[test]
fn a_full_disk_at_the_turn_of_a_segment_aborts_the_commit_too() {
    let directory = tempfile::tempdir().unwrap();
    let (log, failing) = open_failing(directory.path(), small());
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    let mut committed = 0;
    for attempt in 0..120 {
        if attempt % 3 == 0 {
            failing.fail(Operation::Write, Answer::Short(attempt));
        }
        match session.commit(window(generation, committed)) {
            CommitOutcome::Committed { .. } => committed += 1,
            CommitOutcome::Aborted(_) => assert_eq!(attempt % 3, 0),
            other => panic!("{other:?}"),
        }
        failing.heal();
    }
    assert_eq!(committed, 80);
    assert_windows(&log, 80);
    drop((session, log));
    assert!(segments(directory.path()).len() > 5);
    assert_windows(&open(directory.path()), 80);
}

#[test]
fn a_commit_that_cannot_be_cut_off_again_is_unknown_and_stops_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut options = small();
    let heard = Arc::clone(&told);
    options.on_failure = Some(Arc::new(move |cause: &str| heard.lock().unwrap().push(cause.to_owned())));
    let (log, failing) = open_failing(directory.path(), options);
    commit(&log, 0..2);
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    failing.fail(Operation::Write, Answer::Short(100));
    failing.fail(Operation::Truncate, Answer::Error(EIO));
    let CommitOutcome::Unknown(why) = session.commit(window(generation, 2)) else { panic!("not unknown") };
    assert!(why.contains("No space left on device") && why.contains("Input/output error"), "{why}");
    failing.heal();
    let stopped = LogError::Io(format!("the log is stopped: {why}"));
    assert_eq!(session.commit(window(generation, 2)), CommitOutcome::Aborted(stopped.to_string()));
    assert_stopped(&log, &stopped);
    assert_eq!(*told.lock().unwrap(), [stopped.to_string()]);
    drop((session, log));
    assert_windows(&open(directory.path()), 2);
}

#[track_caller]
fn assert_stopped(log: &EmbeddedLog, stopped: &LogError) {
    assert_eq!(log.append(vec![text(EVENTS, "event")]), Err(stopped.clone()));
    assert_eq!(log.join(&posting()).err().as_ref(), Some(stopped));
    assert_eq!(log.reader(&[(JOURNAL, 0)], Isolation::Committed).err().as_ref(), Some(stopped));
    assert_eq!(log.watermarks(JOURNAL, Isolation::Committed), Err(stopped.clone()));
    assert_eq!(log.committed("posting", &[COMMANDS]), Err(stopped.clone()));
    assert_eq!(log.wait_durable(u64::MAX, MINUTE), Err(stopped.clone()));
    assert_eq!(log.sync(), Err(stopped.clone()));
}

#[test]
fn a_failed_sync_stops_the_log_for_good_and_wakes_everybody() {
    for operation in [Operation::Sync, Operation::SyncDirectory] {
        let directory = tempfile::tempdir().unwrap();
        let told = Arc::new(AtomicU64::new(0));
        let mut options = small();
        let heard = Arc::clone(&told);
        options.on_failure = Some(Arc::new(move |_: &str| {
            heard.fetch_add(1, Ordering::SeqCst);
        }));
        options.sync_interval = Duration::from_millis(1);
        let (log, failing) = open_failing(directory.path(), options);
        let durable = commit(&log, 0..2);
        log.wait_durable(durable, MINUTE).unwrap();
        let mut reader = log.reader(&[(COMMANDS, 0)], Isolation::Committed).unwrap();
        failing.fail(operation, Answer::Error(EIO));
        let mut last = 0;
        for number in 2..40 {
            // The directory is synced when a segment was begun; later commits may find the log stopped already.
            last = log.append(vec![text(EVENTS, format!("{number}").repeat(40))]).unwrap_or(last);
        }
        let LogError::Io(why) = log.wait_durable(u64::MAX, MINUTE).unwrap_err() else { panic!("not io") };
        assert!(why.contains("Input/output error") && why.contains("cannot sync"), "{why}");
        let stopped = LogError::Io(why);
        assert_eq!(reader.poll(FetchLimit { wait: MINUTE, ..limit(1) }), Err(stopped.clone()));
        failing.heal();
        assert_stopped(&log, &stopped);
        assert!(log.durable() < last || last == 0);
        drop((reader, log));
        assert_eq!(told.load(Ordering::SeqCst), 1);
        assert_windows(&open(directory.path()), 2);
    }
}

/// The process dies at one operation on files after another, half a write being its last deed, until it survives them
/// all: what was acknowledged is there after opening, nothing else is, and the log works.
#[test]
fn a_process_that_dies_at_any_operation_keeps_every_acknowledged_commit() {
    for step in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let mut options = small();
        options.sync_interval = Duration::from_millis(1);
        let (log, failing) = open_failing(directory.path(), options);
        *failing.until_dead.lock().unwrap() = Some(step);
        let mut session = log.join(&posting()).unwrap();
        let generation = session.assignment().unwrap().generation;
        let mut acknowledged = 0;
        for number in 0..60 {
            match session.commit(window(generation, number)) {
                CommitOutcome::Committed { .. } => acknowledged += 1,
                CommitOutcome::Aborted(_) | CommitOutcome::Unknown(_) => break,
                CommitOutcome::Fenced(why) => panic!("{why}"),
            }
            if number == 30 {
                // May find the process dead.
                let _ = log.clean(&[(EVENTS, 20)]);
            }
        }
        drop((session, log));
        let survived = *failing.until_dead.lock().unwrap() > Some(0);
        let after = open(directory.path());
        assert_windows(&after, acknowledged);
        let low = after.watermarks(EVENTS, Isolation::Committed).unwrap().low;
        let events: Vec<String> = (low..acknowledged).map(|number| format!("event {number}")).collect();
        assert_eq!(values(&after, EVENTS), events);
        commit(&after, acknowledged..acknowledged + 20);
        drop(after);
        assert_windows(&open(directory.path()), acknowledged + 20);
        if survived {
            assert!(step > 60 && acknowledged == 60, "{step} operations");
            return;
        }
    }
}

/// A limit on the size of files, in a child process that ignores the signal for it.
#[test]
fn a_real_file_that_takes_no_more_bytes() {
    const CHILD: &str = "LEDGERFLOW_TEST_FILE_LIMIT";
    if let Some(directory) = std::env::var_os(CHILD) {
        return fill_to_the_limit(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let name = std::thread::current().name().unwrap().to_owned();
    let ended = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -S -f 64; exec "$0" --exact "$1""#])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{:?} {output}", ended.status.signal());
    assert!(output.contains("1 passed"), "{output}");
    let log = open(directory.path());
    let events = values(&log, EVENTS);
    assert!(events.len() > 10);
    assert_eq!(events.last().unwrap(), "there is room again");
    log.verify().unwrap();
}

fn fill_to_the_limit(directory: &Path) {
    let log = EmbeddedLog::open(directory, Options::new(COUNTS)).unwrap();
    let mut written = 0;
    let why = loop {
        match log.append(vec![text(EVENTS, format!("event {written} {}", "x".repeat(1500)))]) {
            Ok(_) => written += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(why.contains("File too large"), "{why}");
    assert_eq!(values(&log, EVENTS).len(), written);
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    let sequence = log.append(vec![text(EVENTS, "there is room again")]).unwrap();
    log.wait_durable(sequence, MINUTE).unwrap();
}
