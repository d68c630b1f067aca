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

#[test]
fn damage_is_named_by_file_and_place_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..30);
    let backup = tempfile::tempdir().unwrap();
    log.backup(backup.path()).unwrap();
    let segment = backup.path().join("segments/0000000001.seg");
    let whole = fs::read(&segment).unwrap();
    let mut spoilt = whole.clone();
    let place = whole.len() - 10;
    spoilt[place] ^= 4;
    fs::write(&segment, &spoilt).unwrap();
    let to = tempfile::tempdir().unwrap();
    let refused = restore(backup.path(), to.path()).unwrap_err().to_string();
    let (file, rest) = refused.split_once(" at byte ").unwrap_or_else(|| panic!("{refused}"));
    assert_eq!(file, format!("corrupt log: {}", segment.display()));
    let at: usize = rest.split(':').next().unwrap().parse().unwrap();
    assert!(at > 0 && at <= place, "the frame at {at} holds byte {place}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    fs::write(&segment, &whole[..place]).unwrap();
    let refused = restore(backup.path(), to.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("{} at byte {place}: it ends there", segment.display())), "{refused}");
    fs::write(&segment, &whole).unwrap();
    // A frame that was damaged before the copy was made: the manifest agrees with it and the frame does not.
    let manifest = backup.path().join("backup.manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    let (before, after) = (crc32c::crc32c(&whole), crc32c::crc32c(&spoilt));
    let text = text.replace(&format!("{before:08x}"), &format!("{after:08x}"));
    let (covered, _) = text.rsplit_once("crc32c ").unwrap();
    fs::write(&manifest, format!("{covered}crc32c {:08x}\n", crc32c::crc32c(covered.as_bytes()))).unwrap();
    fs::write(&segment, &spoilt).unwrap();
    let refused = restore(backup.path(), to.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("{} at byte ", segment.display())), "{refused}");
}

#[test]
fn a_damaged_log_gives_no_backup_and_is_named_by_file_and_place() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..50);
    log.sync().unwrap();
    let (damaged, whole) = (segments(directory.path()).remove(1), segments(directory.path()).remove(0));
    let bytes = fs::read(&damaged).unwrap();
    let (at, len, _) = frames(&damaged)[2];
    let place = |at: u64| usize::try_from(at).unwrap();
    // In the segment's header, in a frame's head, in its body.
    for (spoilt, said) in [(20, 0), (at + 20, at), (at + len - 1, at)] {
        let mut changed = bytes.clone();
        changed[place(spoilt)] ^= 1;
        fs::write(&damaged, changed).unwrap();
        let to = tempfile::tempdir().unwrap();
        for target in [to.path().to_path_buf(), to.path().join("absent")] {
            let LogError::Corrupt(why) = log.backup(&target).unwrap_err() else { panic!("not corrupt") };
            assert!(why.starts_with(&format!("{} at byte {said}: ", damaged.display())), "{why}");
        }
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    }
    fs::write(&damaged, &bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    log.backup(to.path()).unwrap();
    assert_eq!(
        fs::read(to.path().join("segments").join(whole.file_name().unwrap())).unwrap(),
        fs::read(whole).unwrap()
    );
}

#[test]
fn a_backup_within_the_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..5);
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(directory.path(), outside.path().join("link")).unwrap();
    let inside = [
        directory.path().join("backups/today"),
        outside.path().join("link/copy"),
        directory.path().to_owned(),
    ];
    for to in inside {
        let LogError::Io(why) = log.backup(&to).unwrap_err() else { panic!("not io") };
        assert!(why.contains("lies in the data directory"), "{why}");
    }
    assert!(!directory.path().join("backups").exists() && !directory.path().join("copy").exists());
    log.backup(&outside.path().join("copy")).unwrap();
}
