//! Files, the writer, and the log with an archive below it.

mod conforming;
mod files;
mod reading;
mod writing;

use super::{Archive, Archived, Taken, Taking};
use crate::files::tests::scratch;
use crate::log::{Fetch, FetchLimit, Header, Isolation, Log, LogError, Offset, OutRecord, TopicPartition};
use crate::sim::{SimLog, SimSettings};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const JOURNAL: TopicPartition = TopicPartition::new(Topic::Journal, 1);
const IDENTITY: [u8; 32] = [7; 32];
const LIMIT: FetchLimit = FetchLimit { records: 10, bytes: 1 << 20, wait: Duration::ZERO };
/// Files are closed after one block.
const SMALL_FILE: u64 = 200;

fn sim() -> SimLog {
    SimLog::new(SimSettings::new(1, COUNTS))
}

fn archive(dir: &Path) -> Archive {
    Archive::new(dir, IDENTITY, super::topics())
}

fn value(number: usize, bytes: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); bytes])
}

/// Appends records of that many bytes, each with a key, every other one with headers.
fn append(log: &dyn Log, at: TopicPartition, count: usize, bytes: usize) {
    for number in 0..count {
        let mut record = OutRecord::new(at, value(number, bytes)).keyed(format!("key-{number}"));
        if number % 2 == 0 {
            record.headers = vec![Header::text("a", number.to_string()), Header::text("", "")];
        }
        log.append(vec![record]).unwrap();
    }
}

fn take(
    archive: &Archive,
    log: &dyn Log,
    at: TopicPartition,
    file_bytes: u64,
) -> Result<Vec<Taken>, LogError> {
    let taking: Taking<'_> = archive.taking()?;
    let taken = taking.take(log, at, file_bytes, &mut |_| Ok(()), &mut || true)?;
    if !archive.list(at)?.is_empty() {
        taking.settle(at)?;
    }
    Ok(taken)
}

/// A log with the records of a partition archived and given up below `low`.
fn given_up(dir: &Path, sim: &SimLog, at: TopicPartition, low: Offset) -> Archived {
    let archive = Arc::new(archive(dir));
    take(&archive, sim, at, SMALL_FILE).unwrap();
    sim.truncate(at, low).unwrap();
    Archived::new(Arc::new(sim.clone()), archive)
}

/// Everything from an offset on.
fn read(log: &dyn Log, at: TopicPartition, from: Offset) -> Result<Vec<crate::log::Record>, LogError> {
    let high = log.watermarks(at, Isolation::Committed)?.high;
    let mut reader = log.reader(&[(at, from)], Isolation::Committed)?;
    let mut out = Vec::new();
    while reader.position(at).unwrap() < high {
        let fetches: Vec<Fetch> = reader.poll(LIMIT)?;
        out.extend(fetches.into_iter().flat_map(|fetch| fetch.records));
    }
    Ok(out)
}

fn said<T: std::fmt::Debug>(result: Result<T, LogError>) -> String {
    match result {
        Err(error @ LogError::Archive(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn which_books_a_log_holds_is_told_by_the_first_record_of_books() {
    let (one, other) = (sim(), SimLog::new(SimSettings::new(2, COUNTS)));
    assert_eq!(super::identity(&one).unwrap(), None);
    let books = TopicPartition::new(Topic::Books, 0);
    append(&one, books, 2, 5);
    append(&other, books, 1, 6);
    let (of_one, of_other) = (super::identity(&one).unwrap(), super::identity(&other).unwrap());
    assert!(of_one.is_some() && of_other.is_some() && of_one != of_other);
    one.truncate(books, 1).unwrap();
    assert!(said(super::identity(&one)).contains("books/0 begins at offset 1"));
    drop(scratch());
}
