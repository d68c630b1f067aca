//! Opening: what a killed process, a power cut, a changed configuration and a damaged disk leave behind.

use super::super::format::FORMAT;
use super::super::take_what_is_left;
use super::*;

#[test]
fn a_log_opened_again_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..40);
    let (before, sequence) = (all(&log), log.last_sequence());
    assert!(segments(directory.path()).len() > 3);
    drop(log);
    for _ in 0..2 {
        let log = open(directory.path());
        assert_eq!(all(&log), before);
        assert_eq!((log.last_sequence(), log.durable()), (sequence, sequence));
    }
    let log = open(directory.path());
    commit(&log, 40..41);
    assert_windows(&log, 41);
}

#[test]
fn a_torn_last_frame_is_dropped_whichever_byte_it_ends_at() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    commit(&log, 0..5);
    let path = segments(directory.path()).pop().unwrap();
    let (at, bytes, _) = *frames(&path).last().unwrap();
    for cut in at..at + bytes {
        let copy = image(directory.path());
        let last = segments(copy.path()).pop().unwrap();
        File::options().write(true).open(&last).unwrap().set_len(cut).unwrap();
        let torn = open(copy.path());
        assert_windows(&torn, 4);
        commit(&torn, 4..6);
        drop(torn);
        assert_windows(&open(copy.path()), 6);
    }
}

#[test]
fn a_last_frame_with_any_byte_changed_is_dropped_while_nothing_says_it_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    commit(&log, 0..3);
    let path = segments(directory.path()).pop().unwrap();
    let (at, bytes, _) = *frames(&path).last().unwrap();
    let whole = fs::read(&path).unwrap();
    for place in at..at + bytes {
        let copy = image(directory.path());
        let mut spoilt = whole.clone();
        spoilt[usize::try_from(place).unwrap()] ^= 0x10;
        fs::write(segments(copy.path()).pop().unwrap(), &spoilt).unwrap();
        assert_windows(&open(copy.path()), 2);
    }
}

/// The syncer notes what it has synced with a mark, and so does closing: how many marks stand behind the last commit
/// depends on which of them comes first. Here each number of them is made by hand. A mark repeats the sequence
/// before it, so that with it nothing is lost; every other frame holds what the mark behind it says is durable.
#[test]
fn damage_before_durable_frames_is_refused_with_file_and_place() {
    for marks in 1..4 {
        let directory = tempfile::tempdir().unwrap();
        let log = open_quiet(directory.path(), small());
        commit(&log, 0..30);
        for _ in 1..marks {
            log.core.mark(log.sync().unwrap()).unwrap();
        }
        let sequence = log.last_sequence();
        drop(log);
        let mut opened = 0;
        for (number, path) in segments(directory.path()).into_iter().enumerate() {
            let mut before = None;
            for (at, bytes, of) in frames(&path) {
                let copy = image(directory.path());
                let spoilt = segments(copy.path()).remove(number);
                let mut whole = fs::read(&spoilt).unwrap();
                whole[usize::try_from(at + bytes / 2).unwrap()] ^= 0x01;
                fs::write(&spoilt, whole).unwrap();
                match EmbeddedLog::open(copy.path(), small()) {
                    Err(LogError::Corrupt(why)) => {
                        assert!(why.contains(&format!("{} at byte {at}", spoilt.display())), "{why}");
                    }
                    Err(other) => panic!("{other}"),
                    Ok(log) => {
                        let mark = before == Some(of);
                        assert!(mark && of == sequence, "{} at byte {at} of {marks}", spoilt.display());
                        assert_windows(&log, 30);
                        opened += 1;
                    }
                }
                before = Some(of);
            }
        }
        assert_eq!(opened, marks);
    }
}

#[test]
fn a_missing_or_foreign_segment_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for at in [directory.path(), other.path()] {
        commit(&open(at), 0..30);
    }
    let refused = |copy: &Path| match EmbeddedLog::open(copy, small()) {
        Err(LogError::Corrupt(why)) => why,
        other => panic!("{:?}", other.map(|log| log.last_sequence())),
    };
    for missing in [0, 1] {
        let copy = image(directory.path());
        fs::remove_file(segments(copy.path()).remove(missing)).unwrap();
        let why = refused(copy.path());
        let due = missing + 1;
        assert!(why.ends_with(&format!("segment {} where {due} is due", due + 1)), "{why}");
    }
    let copy = image(directory.path());
    fs::copy(segments(other.path()).remove(1), segments(copy.path()).remove(1)).unwrap();
    let why = refused(copy.path());
    assert!(why.ends_with("the segment is another log's"), "{why}");
    let copy = image(directory.path());
    fs::remove_file(copy.path().join("meta")).unwrap();
    let why = refused(copy.path());
    assert!(why.contains("no meta file"), "{why}");
}

/// A log whose last commits were durable, with something of it taken away by `lose`.
#[track_caller]
fn assert_lost(of: &Path, named: &str, left: u64, lose: impl Fn(&Path)) -> tempfile::TempDir {
    let copy = image(of);
    lose(copy.path());
    let before: Vec<_> = segments(copy.path()).into_iter().map(|path| fs::read(path).unwrap()).collect();
    let opened = [EmbeddedLog::open(copy.path(), small()), EmbeddedLog::open_read_only(copy.path())];
    for refused in opened {
        let Some(LogError::Lost(why)) = refused.err() else { panic!("{named} is not missed") };
        assert!(
            why.contains(named) && why.ends_with(&format!("what is left ends with commit {left}")),
            "{why}"
        );
    }
    let after: Vec<_> = segments(copy.path()).into_iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "something was changed");
    copy
}

fn remove_all(of: &Path) {
    segments(of).into_iter().for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn a_log_that_ends_before_what_was_durable_is_refused_and_what_is_left_can_be_taken() {
    let directory = tempfile::tempdir().unwrap();
    commit(&open(directory.path()), 0..30);
    let all = segments(directory.path());
    let (newest, before) = (all.last().unwrap(), &all[all.len() - 2]);
    let name = newest.file_name().unwrap().to_str().unwrap();
    let left = frames(before).last().unwrap().2;
    let lost = assert_lost(directory.path(), name, left, |copy| {
        fs::remove_file(segments(copy).pop().unwrap()).unwrap();
    });
    // Back to an earlier end, as an older copy of the file has it.
    let (at, _, sequence) = *frames(newest).last().unwrap();
    let earlier = frames(newest).into_iter().rev().find(|(_, _, of)| *of < sequence).unwrap();
    assert!(at > earlier.0);
    assert_lost(directory.path(), name, earlier.2, |copy| {
        let file = File::options().write(true).open(segments(copy).pop().unwrap()).unwrap();
        file.set_len(earlier.0 + earlier.1).unwrap();
    });
    assert_lost(directory.path(), name, 0, remove_all);

    let to = tempfile::tempdir().unwrap();
    let taken = take_what_is_left(lost.path(), to.path()).unwrap();
    assert_eq!((taken.taken.sequence, taken.durable), (left, Some(sequence)));
    let log = open(to.path());
    let windows = position(&log).unwrap().offset;
    assert!(windows < 30);
    assert_windows(&log, windows);
    commit(&log, windows..31);
    drop(log);
    assert_windows(&open(to.path()), 31);
    assert!(matches!(EmbeddedLog::open(lost.path(), small()).err(), Some(LogError::Lost(_))));
}

/// A process that is killed closes nothing: what it knows is what was noted when its last segment was synced.
#[test]
fn a_segment_that_was_synced_is_missed_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    commit(&log, 0..30);
    log.sync().unwrap();
    let all = segments(directory.path());
    let name = all.last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let left = frames(&all[all.len() - 2]).last().unwrap().2;
    assert_lost(directory.path(), &name, left, |copy| {
        fs::remove_file(segments(copy).pop().unwrap()).unwrap()
    });
    assert_windows(&open(image(directory.path()).path()), 30);
}

/// The only segment, lost before it was ever closed.
#[test]
fn the_only_segment_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..1);
    assert_lost(directory.path(), "0000000001.seg", 0, remove_all);
}

/// What a power cut may leave of the frames behind the last sync: each of them whole, or not at all, or in part.
#[test]
fn an_unsynced_tail_may_be_torn_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.segment_bytes = 1 << 20;
    let log = open_quiet(directory.path(), options);
    commit(&log, 0..4);
    log.sync().unwrap();
    let durable = log.durable();
    commit(&log, 4..9);
    let path = segments(directory.path()).pop().unwrap();
    let unsynced = frames(&path).into_iter().filter(|(_, _, sequence)| *sequence > durable);
    for (number, (at, bytes, _)) in unsynced.enumerate() {
        let copy = image(directory.path());
        let last = segments(copy.path()).pop().unwrap();
        let mut torn = fs::read(&last).unwrap();
        // The frames behind it have reached the disk, this one's second half has not.
        let (half, end) = (usize::try_from(at + bytes / 2).unwrap(), usize::try_from(at + bytes).unwrap());
        torn[half..end].fill(0);
        fs::write(&last, torn).unwrap();
        assert_windows(&open(copy.path()), 4 + i64::try_from(number).unwrap());
    }
}

#[test]
fn a_segment_torn_right_after_it_was_begun_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    commit(&log, 0..1);
    let meta = fs::read(directory.path().join("meta")).unwrap();
    while segments(directory.path()).len() < 3 {
        let next = position(&log).unwrap().offset;
        commit(&log, next..next + 1);
    }
    let windows = position(&log).unwrap().offset - 1;
    let last = segments(directory.path()).pop().unwrap();
    let (at, bytes, _) = frames(&last)[0];
    for cut in [0, 1, at - 1, at, at + 1, at + bytes - 1] {
        let copy = image(directory.path());
        // Power was cut before the segment was synced, and so before that was noted.
        fs::write(copy.path().join("meta"), &meta).unwrap();
        File::options().write(true).open(segments(copy.path()).pop().unwrap()).unwrap().set_len(cut).unwrap();
        let torn = open(copy.path());
        assert_windows(&torn, windows);
        commit(&torn, windows..windows + 30);
        drop(torn);
        assert_windows(&open(copy.path()), windows + 30);
    }
}

#[test]
fn side_files_may_be_missing_or_spoilt() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small();
    options.scan_bytes = 0;
    let log = open(directory.path());
    commit(&log, 0..60);
    let before = all(&log);
    drop(log);
    // The second opening has written the side-files of all closed segments.
    drop(open(directory.path()));
    let indexes = || {
        let paths = segments(directory.path()).into_iter().map(|path| path.with_extension("idx"));
        paths.filter(|path| path.exists()).collect::<Vec<_>>()
    };
    assert_eq!(indexes().len(), segments(directory.path()).len() - 1);
    let log = EmbeddedLog::open(directory.path(), options.clone()).unwrap();
    assert_eq!(all(&log), before);
    drop(log);
    fs::remove_file(&indexes()[0]).unwrap();
    fs::write(&indexes()[1], b"spoilt").unwrap();
    let log = EmbeddedLog::open(directory.path(), options).unwrap();
    assert_eq!(all(&log), before);
}

#[test]
fn another_partition_count_is_refused_with_both() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let mut options = small();
    options.counts.internal = 16;
    let refused = EmbeddedLog::open(directory.path(), options).err().unwrap().to_string();
    let both = "partitions.internal: it was made with 3, now it is 16. Partition counts are fixed";
    assert!(refused.contains(both), "{refused}");
}

#[test]
fn another_format_is_refused_by_number() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..3);
    drop(log);
    let bytes = |copy: &Path| {
        let files = segments(copy).into_iter().chain([copy.join("meta")]);
        files.map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    // Nothing is changed by it.
    let refused = |copy: &Path| {
        let before = bytes(copy);
        let why = match EmbeddedLog::open(copy, small()) {
            Err(LogError::Corrupt(why)) => why,
            other => panic!("{:?}", other.map(|log| log.last_sequence())),
        };
        assert_eq!(bytes(copy), before);
        why
    };
    // A frame, with a checksum that fits.
    let copy = image(directory.path());
    let path = segments(copy.path()).pop().unwrap();
    let (at, bytes, _) = frames(&path)[1];
    let (at, end) = (usize::try_from(at).unwrap(), usize::try_from(at + bytes).unwrap());
    let mut spoilt = fs::read(&path).unwrap();
    let id = read_header(&path, &File::open(&path).unwrap()).unwrap().unwrap().log_id;
    let tables = u32::from_le_bytes(spoilt[at + 8..at + 12].try_into().unwrap()) as usize;
    spoilt[at + 4..at + 6].copy_from_slice(&9_u16.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), &spoilt[at..at + 52]);
    let checksum = crc32c::crc32c_append(checksum, &spoilt[at + 56..(at + 56 + tables).min(end)]);
    spoilt[at + 52..at + 56].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, spoilt).unwrap();
    let why = refused(copy.path());
    assert!(
        why.ends_with(&format!("frame format version 9 is not known, this build knows {FORMAT}")),
        "{why}"
    );
    // A segment.
    let copy = image(directory.path());
    let path = segments(copy.path()).pop().unwrap();
    let mut spoilt = fs::read(&path).unwrap();
    spoilt[4..6].copy_from_slice(&7_u16.to_le_bytes());
    let checksum = crc32c::crc32c(&spoilt[..48]);
    spoilt[48..52].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, spoilt).unwrap();
    let why = refused(copy.path());
    assert!(why.ends_with("segment format version 7 is not known, this build knows 1"), "{why}");
    // The meta file.
    let copy = image(directory.path());
    let meta = fs::read_to_string(copy.path().join("meta")).unwrap();
    fs::write(copy.path().join("meta"), meta.replace("format 1", "format 3")).unwrap();
    let why = refused(copy.path());
    assert!(why.ends_with("format 3 is not known, this build knows 1"), "{why}");
    fs::write(copy.path().join("meta"), meta.replace("internal 3", "internal 4")).unwrap();
    let why = refused(copy.path());
    assert!(why.ends_with("the checksum does not match"), "{why}");
}

#[test]
fn a_second_owner_is_refused_with_path_and_process() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let in_use =
        LogError::InUse { path: directory.path().display().to_string(), pid: std::process::id().to_string() };
    assert_eq!(EmbeddedLog::open(directory.path(), small()).err(), Some(in_use.clone()));
    assert_eq!(EmbeddedLog::open_read_only(directory.path()).err(), Some(in_use.clone()));
    commit(&log, 0..3);
    drop(log);
    let first = EmbeddedLog::open_read_only(directory.path()).unwrap();
    let second = EmbeddedLog::open_read_only(directory.path()).unwrap();
    assert_windows(&first, 3);
    assert_windows(&second, 3);
    assert_eq!(EmbeddedLog::open(directory.path(), small()).err(), Some(in_use));
    drop((first, second));
    assert_windows(&open(directory.path()), 3);
}

#[test]
fn reading_only_changes_nothing_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_quiet(directory.path(), small());
    commit(&log, 0..20);
    let copy = image(directory.path());
    let last = segments(copy.path()).pop().unwrap();
    let torn = fs::metadata(&last).unwrap().len() - 1;
    File::options().write(true).open(&last).unwrap().set_len(torn).unwrap();
    let log = EmbeddedLog::open_read_only(copy.path()).unwrap();
    assert_windows(&log, 19);
    assert_eq!(log.counts(), COUNTS);
    let refused = LogError::Io(format!("{} is open for reading only", copy.path().display()));
    assert_eq!(log.append(vec![text(JOURNAL, "entry")]), Err(refused.clone()));
    assert_eq!(log.clean(&[]).err(), Some(refused.clone()));
    // A member has its slots, to restore them, and commits nothing.
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    let transaction =
        Transaction { generation, records: vec![text(JOURNAL, "entry")], positions: Vec::new() };
    assert_eq!(session.commit(transaction), CommitOutcome::Aborted(refused.to_string()));
    drop(session);
    drop(log);
    assert_eq!(fs::metadata(&last).unwrap().len(), torn);
    let nothing = tempfile::tempdir().unwrap();
    assert!(EmbeddedLog::open_read_only(nothing.path()).is_err());
    assert_eq!(fs::read_dir(nothing.path()).unwrap().count(), 0);
}

#[test]
fn what_outlives_the_log_gets_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
    drop(log);
    let closed = format!("{} is closed", directory.path().display());
    assert_eq!(session.commit(window(generation, 0)), CommitOutcome::Aborted(closed.clone()));
    assert_eq!(reader.poll(limit(1)), Err(LogError::Io(closed)));
    assert_windows(&open(directory.path()), 0);
}

#[test]
fn a_meta_file_may_know_fewer_topics_and_not_more() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    commit(&log, 0..3);
    drop(log);
    let meta = directory.path().join("meta");
    let whole = fs::read_to_string(&meta).unwrap();
    let topics = whole.split_once("durable ").unwrap().0.to_owned();
    let store = |lines: String| {
        let checksum = crc32c::crc32c(lines.as_bytes());
        fs::write(&meta, format!("{lines}crc32c {checksum:08x}\n")).unwrap();
    };
    // Written by an older build, which knew no `breaks`.
    store(topics.split_once("topic breaks").unwrap().0.to_owned());
    assert_windows(&open(directory.path()), 3);
    assert_eq!(fs::read_to_string(&meta).unwrap(), whole);
    store(format!("{topics}topic cases 3\n"));
    let refused = EmbeddedLog::open(directory.path(), small()).err().unwrap().to_string();
    assert!(refused.ends_with("topic cases is not known to this build"), "{refused}");
}

#[test]
fn a_folder_with_other_files_does_not_become_a_log() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::write(directory.path().join("notes.md"), "mine").unwrap();
    let LogError::Io(why) = EmbeddedLog::open(directory.path(), small()).err().unwrap() else { panic!() };
    assert!(why.contains("is no data directory: it holds notes.md"), "{why}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    fs::remove_file(directory.path().join("notes.md")).unwrap();
    commit(&open(directory.path()), 0..3);
    // What comes later to a log does it no harm.
    fs::write(directory.path().join("notes.md"), "mine").unwrap();
    assert_windows(&open(directory.path()), 3);
}
