//! A log that goes on where files end.

use super::*;
use std::fs;

#[test]
fn records_come_from_files_and_then_from_the_log() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 40, 100);
    let whole = read(&sim, JOURNAL, 0).unwrap();
    let log = given_up(dir.path(), &sim, JOURNAL, 23);
    assert_eq!(log.watermarks(JOURNAL, Isolation::Committed).unwrap().low, 0);
    append(&sim, JOURNAL, 3, 100);
    let all = read(&log, JOURNAL, 0).unwrap();
    assert_eq!(all[..40], whole);
    assert_eq!(all.len(), 43);
    for from in 0..43 {
        assert_eq!(read(&log, JOURNAL, from).unwrap(), all[usize::try_from(from).unwrap()..], "{from}");
    }
}

#[test]
fn a_reader_moves_over_the_border_and_back() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 20, 50);
    let log = given_up(dir.path(), &sim, JOURNAL, 12);
    let one = FetchLimit { records: 1, ..LIMIT };
    let mut reader = log.reader(&[(JOURNAL, 15)], Isolation::Committed).unwrap();
    for to in [15, 3, 11, 12, 0, 19, 5] {
        reader.seek(JOURNAL, to).unwrap();
        assert_eq!(reader.position(JOURNAL), Some(to));
        assert_eq!(reader.poll(one).unwrap()[0].records[0].offset, to);
        assert_eq!(reader.position(JOURNAL), Some(to + 1));
    }
    let beyond = reader.seek(JOURNAL, 21);
    assert!(matches!(beyond, Err(LogError::OutOfRange { low: 0, high: 20, .. })), "{beyond:?}");
}

#[test]
fn what_is_held_back_stays_so_on_both_sides_of_the_border() {
    let (dir, sim) = (scratch(), sim());
    let other = TopicPartition::new(Topic::Journal, 2);
    append(&sim, JOURNAL, 20, 50);
    append(&sim, other, 5, 50);
    let log = given_up(dir.path(), &sim, JOURNAL, 12);
    let mut reader = log.reader(&[(JOURNAL, 0), (other, 0)], Isolation::Committed).unwrap();
    reader.hold(JOURNAL, true).unwrap();
    let fetched = reader.poll(LIMIT).unwrap();
    assert!(fetched.len() == 1 && fetched[0].from == other && fetched[0].records.len() == 5);
    assert_eq!(reader.poll(LIMIT).unwrap(), []);
    reader.seek(JOURNAL, 13).unwrap();
    assert_eq!(reader.poll(LIMIT).unwrap(), []);
    reader.seek(JOURNAL, 11).unwrap();
    assert_eq!(reader.poll(LIMIT).unwrap(), []);
    reader.hold(JOURNAL, false).unwrap();
    let mut offsets = Vec::new();
    while reader.position(JOURNAL) != Some(20) {
        let records = reader.poll(FetchLimit { records: 2, ..LIMIT }).unwrap().into_iter();
        offsets.extend(records.flat_map(|fetch| fetch.records).map(|record| record.offset));
    }
    assert_eq!(offsets, (11..20).collect::<Vec<_>>());
}

/// Everything that a reader was to read next is given up while it reads.
#[test]
fn a_reader_that_is_overtaken_goes_on_in_the_files() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 30, 50);
    let log = given_up(dir.path(), &sim, JOURNAL, 5);
    let mut reader = log.reader(&[(JOURNAL, 2)], Isolation::Committed).unwrap();
    let (mut offsets, mut low) = (Vec::new(), 5);
    while reader.position(JOURNAL) != Some(30) {
        let records = reader.poll(FetchLimit { records: 2, ..LIMIT }).unwrap().into_iter();
        offsets.extend(records.flat_map(|fetch| fetch.records).map(|record| record.offset));
        low = (low + 4).min(30);
        sim.truncate(JOURNAL, low).unwrap();
    }
    assert_eq!(offsets, (2..30).collect::<Vec<_>>());
}

#[test]
fn a_gap_between_files_and_log_names_both_ends() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 20, 50);
    let log = given_up(dir.path(), &sim, JOURNAL, 12);
    append(&sim, JOURNAL, 20, 50);
    sim.truncate(JOURNAL, 25).unwrap();
    let why = said(read(&log, JOURNAL, 0));
    assert!(why.contains("the log holds journal/1 from offset 25 on, and archive.dir"), "{why}");
    assert!(why.ends_with("holds it from 0 to 20"), "{why}");
    // Above the gap nobody asks.
    assert_eq!(read(&log, JOURNAL, 25).unwrap().len(), 15);
    assert!(said(take(&archive(dir.path()), &sim, JOURNAL, 1000)).contains("from offset 25 on"));
}

#[test]
fn an_archive_that_is_away_is_named() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 20, 50);
    let _ = given_up(&dir.path().join("a"), &sim, JOURNAL, 12);
    let away = |path: &str| {
        let archive = Archive::new(&dir.path().join(path), IDENTITY, crate::archive::topics());
        Archived::new(Arc::new(sim.clone()), Arc::new(archive))
    };
    let log = away("b");
    assert_eq!(log.watermarks(JOURNAL, Isolation::Committed).unwrap().low, 0);
    assert!(said(read(&log, JOURNAL, 0)).ends_with("b is not there"));
    log.check_end().unwrap();
    fs::create_dir(dir.path().join("c")).unwrap();
    assert!(said(read(&away("c"), JOURNAL, 3)).ends_with("c holds nothing of it"));
    assert!(said(take(&archive(&dir.path().join("c")), &sim, JOURNAL, 1)).contains("holds nothing of it"));
    assert_eq!(read(&away("c"), JOURNAL, 12).unwrap().len(), 8);
}

#[test]
fn a_damaged_block_is_named_when_it_is_read_and_nothing_after_it() {
    // In the offset of its first record, and in that record's value, which only the checksum knows.
    for place in [90, 130] {
        let (dir, sim) = (scratch(), sim());
        append(&sim, JOURNAL, 20, 50);
        let log = given_up(dir.path(), &sim, JOURNAL, 20);
        let names = archive(dir.path()).list(JOURNAL).unwrap();
        assert!(names.len() > 3, "{names:?}");
        let named = &names[2];
        let mut bytes = fs::read(&named.path).unwrap();
        bytes[place] ^= 1;
        fs::write(&named.path, bytes).unwrap();
        let mut reader = log.reader(&[(JOURNAL, 0)], Isolation::Committed).unwrap();
        let mut offsets = Vec::new();
        let why = loop {
            match reader.poll(LIMIT) {
                Ok(got) => {
                    offsets.extend(got.into_iter().flat_map(|f| f.records).map(|record| record.offset));
                }
                Err(error) => break error.to_string(),
            }
            assert!(offsets.len() < 20, "the damage at {place} was read");
        };
        assert_eq!(offsets, (0..named.first).collect::<Vec<_>>());
        assert!(why.contains(&format!("{}: offset {}: ", named.path.display(), named.first)), "{why}");
        assert_eq!(read(&log, JOURNAL, named.next).unwrap().len(), 20 - usize::try_from(named.next).unwrap());
    }
}

#[test]
fn files_that_do_not_join_are_named() {
    let (dir, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 20, 50);
    let _ = given_up(dir.path(), &sim, JOURNAL, 20);
    let names = archive(dir.path()).list(JOURNAL).unwrap();
    fs::remove_file(&names[1].path).unwrap();
    let why = said(archive(dir.path()).list(JOURNAL));
    assert!(why.contains(&names[2].path.display().to_string()), "{why}");
    assert!(
        why.ends_with(&format!("ends at offset {}: records between are missing", names[0].next)),
        "{why}"
    );
}

/// The log was put back to a time that is older than the archive's.
#[test]
fn an_archive_that_is_ahead_of_the_log_is_named() {
    let (dir, newer, older) = (scratch(), sim(), sim());
    append(&newer, JOURNAL, 20, 50);
    append(&older, JOURNAL, 15, 50);
    let _ = given_up(dir.path(), &newer, JOURNAL, 12);
    older.truncate(JOURNAL, 12).unwrap();
    let log = Archived::new(Arc::new(older.clone()), Arc::new(archive(dir.path())));
    for why in [said(log.check_end()), said(take(&archive(dir.path()), &older, JOURNAL, 1))] {
        assert!(why.contains("holds journal/1 up to offset 20, the log ends at 15"), "{why}");
    }
    // What is read is the log's own.
    assert_eq!(read(&log, JOURNAL, 0).unwrap().len(), 15);
}

#[test]
fn topics_that_are_not_archived_are_passed_on() {
    let (dir, sim) = (scratch(), sim());
    let commands = TopicPartition::new(Topic::Commands, 0);
    append(&sim, commands, 5, 10);
    sim.truncate(commands, 2).unwrap();
    let log = Archived::new(Arc::new(sim), Arc::new(archive(dir.path())));
    assert_eq!(log.watermarks(commands, Isolation::Committed).unwrap().low, 2);
    let refused = log.reader(&[(commands, 0)], Isolation::Committed).err();
    assert!(matches!(refused, Some(LogError::OutOfRange { low: 2, .. })), "{refused:?}");
}
