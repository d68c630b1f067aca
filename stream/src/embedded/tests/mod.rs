//! Tests of the embedded log, by subject; here is what they share.

mod backups;
mod cleaning;
mod faults;
mod frames;
mod membership;
mod opening;
mod power_cuts;
mod reading;

use super::segment::{SegmentScan, Step, read_header};
use super::{EmbeddedLog, Options};
use crate::files::{Files, Opening, SystemFiles};
use crate::log::*;
use crate::mutex::lock;
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const EVENTS: TopicPartition = TopicPartition::new(Topic::Events1, 0);
const COMMANDS: TopicPartition = TopicPartition::new(Topic::Commands, 1);
const JOURNAL: TopicPartition = TopicPartition::new(Topic::Journal, 1);
const MINUTE: Duration = Duration::from_secs(60);

/// Small segments; a sync at once after the first commit and then none until the log is closed or asked.
fn small() -> Options {
    let mut options = Options::new(COUNTS);
    options.segment_bytes = 2048;
    options.sync_interval = Duration::from_secs(3600);
    options
}

fn open(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(directory, small()).unwrap()
}

/// The same, with the first sync behind it: until it is closed or asked, nothing more is noted as durable.
fn open_quiet(directory: &Path, options: Options) -> EmbeddedLog {
    let log = EmbeddedLog::open(directory, options).unwrap();
    quieten(&log);
    log
}

/// Has the syncer do its first sync now, and not in the middle of what the test does.
fn quieten(log: &EmbeddedLog) {
    let sequence = log.append(vec![text(TopicPartition::new(Topic::Flow, 0), "open")]).unwrap();
    log.wait_durable(sequence, MINUTE).unwrap();
}

fn text(to: TopicPartition, value: impl Into<String>) -> OutRecord {
    OutRecord::new(to, Bytes::from(value.into()))
}

fn posting() -> Member {
    Member { group: "posting".into(), name: "a".into(), transactional_id: "ledgerflow-0".into(), slots: 3 }
}

/// A window: one journal entry, the command it came from taken up to `number`.
fn window(generation: u64, number: i64) -> Transaction {
    let mut entry = text(JOURNAL, format!("entry {number}")).keyed(format!("users:{number}:wallet"));
    entry.headers.push(Header::text("traceparent", format!("00-{number}")));
    Transaction {
        generation,
        records: vec![text(EVENTS, format!("event {number}")), entry],
        positions: vec![(COMMANDS, Position { offset: number + 1, metadata: format!("1:{number}:ab") })],
    }
}

/// Commits windows `numbers` as one member.
fn commit(log: &EmbeddedLog, numbers: std::ops::Range<i64>) -> u64 {
    let mut session = log.join(&posting()).unwrap();
    let generation = session.assignment().unwrap().generation;
    let mut last = 0;
    for number in numbers {
        match session.commit(window(generation, number)) {
            CommitOutcome::Committed { sequence } => last = sequence,
            other => panic!("window {number}: {other:?}"),
        }
    }
    last
}

fn limit(records: usize) -> FetchLimit {
    FetchLimit { records, bytes: usize::MAX, wait: Duration::ZERO }
}

fn drain(reader: &mut dyn Reader) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let fetched = reader.poll(limit(7)).unwrap();
        if fetched.is_empty() {
            return all;
        }
        all.extend(fetched.into_iter().flat_map(|fetch| fetch.records));
    }
}

fn records(log: &EmbeddedLog, of: TopicPartition) -> Vec<Record> {
    let low = log.watermarks(of, Isolation::Committed).unwrap().low;
    drain(log.reader(&[(of, low)], Isolation::Committed).unwrap().as_mut())
}

fn values(log: &EmbeddedLog, of: TopicPartition) -> Vec<String> {
    let text = |record: Record| String::from_utf8(record.value.to_vec()).unwrap();
    records(log, of).into_iter().map(text).collect()
}

fn position(log: &EmbeddedLog) -> Option<Position> {
    log.committed("posting", &[COMMANDS]).unwrap().remove(0)
}

/// That the log holds exactly windows 0 to `windows`, in journal and position.
#[track_caller]
fn assert_windows(log: &EmbeddedLog, windows: i64) {
    let entries: Vec<String> = (0..windows).map(|number| format!("entry {number}")).collect();
    assert_eq!(values(log, JOURNAL), entries);
    assert_eq!(position(log).map(|at| at.offset), (windows > 0).then_some(windows));
}

/// Everything a reader can see, to compare two logs.
fn all(log: &EmbeddedLog) -> Vec<(TopicPartition, Watermarks, Vec<Record>, Option<Position>)> {
    let mut found = Vec::new();
    for topic in Topic::ALL {
        for number in 0..log.partitions(*topic).unwrap() {
            let of = TopicPartition::new(*topic, number);
            let bounds = log.watermarks(of, Isolation::Committed).unwrap();
            let position = log.committed("posting", &[of]).unwrap().remove(0);
            found.push((of, bounds, records(log, of), position));
        }
    }
    found
}

/// The directory as a killed process leaves it.
fn image(of: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("segments")).unwrap();
    fs::copy(of.join("meta"), copy.path().join("meta")).unwrap();
    for entry in fs::read_dir(of.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        // The log's own thread may have renamed a side-file in between.
        let copied = fs::copy(&path, copy.path().join("segments").join(path.file_name().unwrap()));
        assert!(copied.is_ok() || path.extension().is_some_and(|extension| extension != "seg"));
    }
    copy
}

fn segments(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of.join("segments")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// Place, size and sequence of every frame of a segment.
fn frames(path: &Path) -> Vec<(u64, u64, u64)> {
    let file = File::open(path).unwrap();
    let header = read_header(path, &file).unwrap().unwrap();
    let mut scan = SegmentScan::new(path, &file, file.metadata().unwrap().len(), &header);
    let mut found = Vec::new();
    loop {
        match scan.step().unwrap() {
            Step::Frame(at, head) => found.push((at, head.frame_bytes() as u64, head.sequence)),
            Step::End => return found,
            Step::Bad(at, fault) => panic!("{}@{at}: {fault}", path.display()),
        }
    }
}

/// What the file system is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Write,
    Sync,
    Truncate,
    Rename,
    Remove,
    SyncDirectory,
}

/// How it answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// With this error.
    Error(i32),
    /// Writes that many bytes and then has no space.
    Short(usize),
}

/// A file system that fails on command.
#[derive(Debug, Default)]
struct Failing {
    /// While it is there, every such operation is answered so.
    standing: Mutex<Vec<(Operation, Answer)>>,
    /// Operations until the process counts as dead: from then on nothing reaches the disk.
    until_dead: Mutex<Option<u64>>,
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

impl Failing {
    fn fail(&self, operation: Operation, answer: Answer) {
        self.standing.lock().unwrap().push((operation, answer));
    }

    fn heal(&self) {
        self.standing.lock().unwrap().clear();
    }

    fn ask(&self, operation: Operation) -> Result<Option<usize>, io::Error> {
        if let Some(left) = self.until_dead.lock().unwrap().as_mut() {
            match *left {
                0 => return Err(io::Error::from_raw_os_error(EIO)),
                // The last thing the dying process does is half a write.
                1 if operation == Operation::Write => {
                    *left = 0;
                    return Ok(Some(usize::MAX));
                }
                _ => *left -= 1,
            }
        }
        let mut standing = self.standing.lock().unwrap();
        match standing.iter_mut().find(|(on, _)| *on == operation) {
            None => Ok(None),
            Some((_, Answer::Error(number))) => Err(io::Error::from_raw_os_error(*number)),
            Some((_, answer @ Answer::Short(_))) => {
                let Answer::Short(bytes) = std::mem::replace(answer, Answer::Error(ENOSPC)) else {
                    return Ok(None);
                };
                Ok(Some(bytes))
            }
        }
    }
}

/// Nothing is really synced: no machine dies here.
impl Files for Failing {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        if how != Opening::Existing {
            self.ask(Operation::Create)?;
        }
        SystemFiles.open(path, how)
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        let most = self.ask(Operation::Write)?;
        let bytes = match most {
            None => bytes,
            Some(usize::MAX) => &bytes[..bytes.len() / 2],
            Some(most) => &bytes[..most.min(bytes.len())],
        };
        SystemFiles.write_at(file, bytes, at)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        self.ask(Operation::Sync).map(drop)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.ask(Operation::Truncate)?;
        SystemFiles.truncate(file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Operation::Rename)?;
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::Remove)?;
        SystemFiles.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::Create)?;
        SystemFiles.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.ask(Operation::Remove)?;
        SystemFiles.remove_directory(path)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.ask(Operation::SyncDirectory).map(drop)
    }
}

fn open_failing(directory: &Path, options: Options) -> (EmbeddedLog, Arc<Failing>) {
    let failing = Arc::new(Failing::default());
    let files = Arc::clone(&failing);
    let log = EmbeddedLog::open_with(directory, options, files).unwrap();
    (log, failing)
}
