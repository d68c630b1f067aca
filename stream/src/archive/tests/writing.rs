//! Taking records: what is there already, what a crash leaves, what a failing disk does.

use super::*;
use crate::faults::{self, Point};
use crate::files::tests::crash_states::{Budget, Disk, explore};
use crate::files::tests::recorded::Recorder;
use crate::files::{Files, Opening, SystemFiles};
use std::fs::{self, File};
use std::io;
use std::sync::Mutex;

#[test]
fn only_what_is_new_is_taken_and_files_keep_to_their_size() {
    let (dir, sim) = (scratch(), sim());
    let archive = archive(dir.path());
    assert_eq!(take(&archive, &sim, JOURNAL, SMALL_FILE).unwrap(), []);
    append(&sim, JOURNAL, 2_000, 1_000);
    let first = take(&archive, &sim, JOURNAL, 1 << 20).unwrap();
    assert!(first.len() == 2 && first.iter().all(|taken| taken.checked.bytes < 1_500_000), "{first:?}");
    assert_eq!(take(&archive, &sim, JOURNAL, 1 << 20).unwrap(), []);
    append(&sim, JOURNAL, 5, 1_000);
    let second = take(&archive, &sim, JOURNAL, 1 << 20).unwrap();
    assert_eq!((second.len(), second[0].named.first, second[0].checked.records), (1, 2_000, 5));
    assert_eq!(archive.bounds(JOURNAL).unwrap().unwrap().high, 2_005);
}

#[test]
fn what_was_not_taken_in_time_is_taken_next_time() {
    let (dir, sim) = (scratch(), sim());
    let archive = archive(dir.path());
    append(&sim, JOURNAL, 1_000, 1_000);
    let taking = archive.taking().unwrap();
    let taken = taking.take(&sim, JOURNAL, 1, &mut |_| Ok(()), &mut || false).unwrap();
    assert_eq!(taken.len(), 1);
    let rest = taking.take(&sim, JOURNAL, 1 << 30, &mut |_| Ok(()), &mut || true).unwrap();
    assert_eq!((rest[0].named.first, rest[0].named.next), (taken[0].named.next, 1_000));
}

#[test]
fn one_process_writes_at_a_time() {
    let dir = scratch();
    let archive = archive(dir.path());
    let held = archive.taking().unwrap();
    assert!(said(archive.taking()).ends_with("another process is writing it"));
    drop(held);
    archive.taking().unwrap();
}

#[test]
fn what_is_refused_is_not_archived() {
    let (dir, sim) = (scratch(), sim());
    let archive = archive(dir.path());
    append(&sim, JOURNAL, 5, 10);
    let taking = archive.taking().unwrap();
    let refuse =
        &mut |record: &crate::log::Record| if record.offset == 3 { Err("no".to_owned()) } else { Ok(()) };
    assert_eq!(said(taking.take(&sim, JOURNAL, 1 << 20, refuse, &mut || true)), "archive: journal/1@3: no");
    assert_eq!(archive.list(JOURNAL).unwrap().len(), 0);
}

#[test]
fn files_of_another_history_are_not_gone_on_with() {
    let (dir, one, other) = (scratch(), sim(), sim());
    append(&one, JOURNAL, 5, 10);
    append(&other, JOURNAL, 4, 10);
    append(&other, JOURNAL, 4, 11);
    let archive = archive(dir.path());
    take(&archive, &one, JOURNAL, 1 << 20).unwrap();
    let why = said(take(&archive, &other, JOURNAL, 1 << 20));
    assert!(why.contains("record 4 of journal/1 is another one than in the log"), "{why}");
    other.truncate(JOURNAL, 5).unwrap();
    // Nobody can tell any more; the chain of a changelog does.
    take(&archive, &other, JOURNAL, 1 << 20).unwrap();
}

/// Dies at a point, and is begun again.
#[test]
fn a_crash_at_any_point_leaves_an_archive_that_goes_on() {
    for point in [faults::ARCHIVE_AFTER_WRITE, faults::ARCHIVE_AFTER_RENAME] {
        let (dir, sim) = (scratch(), sim());
        let archive = archive(dir.path());
        append(&sim, JOURNAL, 30, 100);
        for nth in 0..3_u32 {
            let mut left = nth + 1;
            let armed = faults::arm_thread(move |at: Point, _| {
                left -= u32::from(at == point && left > 0);
                at == point && left == 0
            });
            let died = take(&archive, &sim, JOURNAL, SMALL_FILE);
            drop(armed);
            assert!(matches!(died, Err(LogError::Io(_))), "{died:?}");
        }
        take(&archive, &sim, JOURNAL, SMALL_FILE).unwrap();
        let whole = read(&sim, JOURNAL, 0).unwrap();
        sim.truncate(JOURNAL, 30).unwrap();
        let log = Archived::new(Arc::new(sim.clone()), Arc::new(archive));
        assert_eq!(read(&log, JOURNAL, 0).unwrap(), whole);
        let left = fs::read_dir(dir.path().join("journal/1")).unwrap();
        assert!(left.flatten().all(|entry| entry.path().extension().unwrap() == "records"));
    }
}

/// A disk on which an operation fails, counted from 1, or keeps another byte than it was given.
#[derive(Debug)]
struct Failing {
    left: Mutex<u32>,
    lies: bool,
}

impl Failing {
    fn pass(&self) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        *left = left.wrapping_sub(1);
        if *left == 0 && !self.lies { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }
}

impl Files for Failing {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        self.pass().and_then(|()| SystemFiles.open(path, how))
    }
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.pass()?;
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut().filter(|_| *self.left.lock().unwrap() == 0) {
            *last ^= 1;
        }
        SystemFiles.write_at(file, &bytes, at)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.sync(file))
    }
    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.truncate(file, len))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.remove(path))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.create_directory(path))
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.remove_directory(path))
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.pass().and_then(|()| SystemFiles.sync_directory(path))
    }
}

#[test]
fn a_disk_that_fails_anywhere_is_an_error_and_the_next_run_goes_on() {
    let mut failed = 0;
    for nth in 1.. {
        let (dir, sim) = (scratch(), sim());
        append(&sim, JOURNAL, 8, 100);
        let files = Arc::new(Failing { left: Mutex::new(nth), lies: false });
        let archive = Archive::with(dir.path(), IDENTITY, crate::archive::topics(), files);
        match take(&archive, &sim, JOURNAL, SMALL_FILE) {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("No space left"), "{nth}: {error}"),
        }
        failed += 1;
        take(&archive, &sim, JOURNAL, SMALL_FILE).unwrap();
        let whole = read(&sim, JOURNAL, 0).unwrap();
        sim.truncate(JOURNAL, 8).unwrap();
        let log = Archived::new(Arc::new(sim.clone()), Arc::new(archive));
        assert_eq!(read(&log, JOURNAL, 0).unwrap(), whole);
    }
    assert!(failed > 20, "{failed}");
}

/// What a disk keeps is read again before it has its name.
#[test]
fn a_file_that_the_disk_kept_otherwise_is_none() {
    let mut found = 0;
    for nth in 1..40 {
        let (dir, sim) = (scratch(), sim());
        append(&sim, JOURNAL, 8, 100);
        let files = Arc::new(Failing { left: Mutex::new(nth), lies: true });
        let archive = Archive::with(dir.path(), IDENTITY, crate::archive::topics(), files);
        found += usize::from(take(&archive, &sim, JOURNAL, SMALL_FILE).is_err());
        for named in archive.list(JOURNAL).unwrap().iter() {
            archive.check(JOURNAL, named, &mut |_| Ok(())).unwrap();
        }
        take(&archive, &sim, JOURNAL, SMALL_FILE).unwrap();
        assert_eq!(archive.bounds(JOURNAL).unwrap().unwrap().high, 8, "{nth}");
    }
    assert!(found >= 4, "{found}");
}

/// Whatever a power cut leaves: what was said to be archived is there and whole, and the next run goes on.
#[test]
fn after_a_power_cut_what_was_told_as_archived_is_there() {
    let (top, sim) = (scratch(), sim());
    append(&sim, JOURNAL, 3, 100);
    let recorder = Recorder::new(top.path(), &[], None);
    let files = Arc::clone(&recorder) as Arc<dyn Files>;
    let archive = Archive::with(&top.path().join("a"), IDENTITY, crate::archive::topics(), files);
    recorder.watch(|| [0, 0]);
    let mut told = 0;
    for _ in 0..2 {
        take(&archive, &sim, JOURNAL, SMALL_FILE).unwrap();
        told += 3;
        recorder.watch(move || [told, 0]);
        append(&sim, JOURNAL, 3, 100);
    }
    let (events, acknowledged) = recorder.history();
    let budget = Budget { states_a_cut: 400, seed: 1 };
    let explored = explore(&Disk::default(), (&events, acknowledged), budget, |state, acknowledged| {
        let top = scratch();
        state.make(top.path());
        let archive = super::archive(&top.path().join("a"));
        let held = archive.bounds(JOURNAL).map_err(|error| error.to_string())?;
        let high = held.map_or(0, |held| u64::try_from(held.high).unwrap());
        if high < acknowledged[0] {
            return Err(format!("told {}, there is {high}", acknowledged[0]));
        }
        take(&archive, &sim, JOURNAL, SMALL_FILE).map_err(|error| error.to_string())?;
        for named in archive
            .list(JOURNAL)
            .unwrap()
            .iter()
            .filter(|of| of.next <= i64::try_from(acknowledged[0]).unwrap())
        {
            archive.check(JOURNAL, named, &mut |_| Ok(())).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    explored.unwrap();
}
