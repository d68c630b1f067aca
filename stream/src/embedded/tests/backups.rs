//! Backup while the log runs, check, restore.

use super::super::{restore, verify_backup};
use super::*;

#[test]
fn a_backup_opens_as_the_log_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..50);
    log.clean(&[(EVENTS, 20)]).unwrap().wait().unwrap();
    let to = tempfile::tempdir().unwrap();
    let report = log.backup(to.path()).unwrap();
    let before = all(&log);
    commit(&log, 50..60);
    assert_eq!(verify_backup(to.path()), Ok(report.clone()));
    assert!(report.sequence <= log.durable());
    let read = EmbeddedLog::open_read_only(to.path()).unwrap();
    assert_eq!((all(&read), read.last_sequence()), (before.clone(), report.sequence));
    let second = tempfile::tempdir().unwrap();
    read.backup(second.path()).unwrap();
    drop(read);
    assert_eq!(all(&open(second.path())), before);
    assert_eq!(verify_backup(to.path()), Ok(report));
    let copy = open(to.path());
    assert_eq!(all(&copy), before);
    commit(&copy, 50..55);
    drop(copy);
    assert_windows(&open(to.path()), 55);
    assert_windows(&log, 60);
    // In use as a log, it is no backup any more.
    assert!(matches!(verify_backup(to.path()), Err(LogError::Corrupt(_))));
}

#[test]
fn a_backup_taken_while_writing_holds_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.sync_interval = Duration::from_millis(1);
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    commit(&log, 0..5);
    let copies: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| commit(&log, 5..800));
        for copy in &copies {
            log.backup(copy.path()).unwrap();
        }
        writing.join().unwrap();
    });
    let mut before = 5;
    for copy in &copies {
        verify_backup(copy.path()).unwrap();
        let copy = open(copy.path());
        let windows = position(&copy).unwrap().offset;
        assert!(windows >= before);
        assert_windows(&copy, windows);
        before = windows;
    }
}

#[test]
fn restoring_gives_the_log_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..50);
    let (backup, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = log.backup(backup.path()).unwrap();
    assert_eq!(restore(backup.path(), &to.path().join("deeper")), Ok(report));
    assert_eq!(all(&open(&to.path().join("deeper"))), all(&log));
    let full = LogError::Io(format!("{} is not empty", to.path().display()));
    assert_eq!(restore(backup.path(), to.path()), Err(full.clone()));
    assert_eq!(log.backup(to.path()), Err(full));
}

#[test]
fn a_backup_with_any_file_changed_or_missing_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..30);
    let backup = tempfile::tempdir().unwrap();
    let report = log.backup(backup.path()).unwrap();
    let names: Vec<String> = report.files.into_iter().map(|file| file.name).collect();
    assert!(names.len() > 3);
    for name in names.iter().map(String::as_str).chain(["backup.manifest"]) {
        let path = backup.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut spoilt = whole.clone();
        spoilt[whole.len() / 2] ^= 4;
        for changed in [Some(&spoilt[..]), Some(&whole[..whole.len() - 1]), None] {
            match changed {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let to = tempfile::tempdir().unwrap();
            let last_byte_is_a_line_end =
                name == "backup.manifest" && changed == Some(&whole[..whole.len() - 1]);
            assert_eq!(restore(backup.path(), to.path()).is_ok(), last_byte_is_a_line_end, "{name}");
        }
        fs::write(&path, whole).unwrap();
    }
    verify_backup(backup.path()).unwrap();
}
