//! Cases with several threads on one log. They assert what holds in every interleaving, never a time.

use super::exam::{Exam, Failure, Verdict, expect, member, partition, record, same, texts};
use super::{Case, Need};
use crate::log::{
    CommitOutcome, FetchLimit, Isolation, Log, LogError, OutRecord, Reader, Session, Transaction,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "writers_keep_their_order",
        "Appends and transactions of several threads on the same partitions: each writer's records stay in order, none is lost or doubled.",
        Need::Nothing,
        writers_keep_their_order,
    ),
    Case::new(
        "commits_are_seen_whole",
        "A commit seen on one partition is seen on every partition that is looked at afterwards.",
        Need::WholeCommits,
        commits_are_seen_whole,
    ),
];

/// Records that each writer writes, over two partitions.
const RECORDS: usize = 120;

fn write_appends(log: &dyn Log, writer: &str) -> Result<(), LogError> {
    for n in 0..RECORDS {
        log.append((0..2).map(|p| record(partition(p), format!("{writer} {n:>4}"))).collect())?;
    }
    Ok(())
}

/// The session's generation, once it is known.
fn generation(session: &mut dyn Session, patience: u32) -> Result<u64, LogError> {
    let mut tries = 0;
    loop {
        match session.assignment() {
            Err(LogError::Retriable(_)) if tries < patience => tries += 1,
            other => return Ok(other?.generation),
        }
    }
}

fn write_transactions(log: &dyn Log, writer: &str, patience: u32) -> Result<(), LogError> {
    let mut session = log.join(&member(writer, "a", 8))?;
    for n in 0..RECORDS {
        let records: Vec<OutRecord> =
            (0..2).map(|p| record(partition(p), format!("{writer} {n:>4}"))).collect();
        let mut tries = 0;
        loop {
            let generation = generation(session.as_mut(), patience)?;
            let transaction = Transaction { generation, records: records.clone(), positions: vec![] };
            tries += 1;
            match session.commit(transaction) {
                CommitOutcome::Committed { .. } => break,
                CommitOutcome::Aborted(_) if tries <= patience => {}
                other => return Err(LogError::Io(format!("commit {n} of {writer}: {other:?}"))),
            }
        }
    }
    Ok(())
}

fn writers_keep_their_order(exam: &mut Exam<'_>) -> Verdict {
    let (log, patience) = (exam.log(), exam.abilities.patience);
    let ended: Vec<Result<(), LogError>> = std::thread::scope(|scope| {
        let writers = [
            scope.spawn(move || write_appends(log, "append-1")),
            scope.spawn(move || write_appends(log, "append-2")),
            scope.spawn(move || write_transactions(log, "commit-1", patience)),
            scope.spawn(move || write_transactions(log, "commit-2", patience)),
        ];
        let lost = || Err(LogError::Io("a writer's thread died".to_owned()));
        writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| lost())).collect()
    });
    for end in ended {
        end?;
    }
    let expected: Vec<String> = (0..RECORDS).map(|n| format!("{n:>4}")).collect();
    for number in 0..2 {
        let mut by_writer: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in texts(&exam.read(partition(number), Isolation::Committed, 4 * RECORDS)?) {
            let (writer, n) = text.split_once(' ').unwrap_or((&text, ""));
            by_writer.entry(writer.to_owned()).or_default().push(n.to_owned());
        }
        same("writers", &by_writer.len(), &4)?;
        for (writer, found) in by_writer {
            same(&format!("records of {writer} on partition {number}"), &found, &expected)?;
        }
    }
    Ok(())
}

fn commits_are_seen_whole(exam: &mut Exam<'_>) -> Verdict {
    let log = exam.log();
    let writing = AtomicBool::new(true);
    let mut readers = Vec::new();
    for number in 0..4 {
        readers.push(exam.reader(partition(number), Isolation::Committed)?);
    }
    let mut seen = [0_usize; 4];
    let watched = std::thread::scope(|scope| -> Verdict {
        let writer = scope.spawn(|| {
            let ended = write_wide(log);
            writing.store(false, Ordering::Release);
            ended
        });
        let mut verdict = Ok(());
        while writing.load(Ordering::Acquire) && verdict.is_ok() {
            verdict = look_once(&mut readers, &mut seen);
        }
        let ended = writer.join().map_err(|_| Failure("the writer's thread died".to_owned()))?;
        ended?;
        verdict
    });
    watched?;
    look_once(&mut readers, &mut seen)?;
    same("records seen in the end", &seen, &[RECORDS; 4])
}

fn write_wide(log: &dyn Log) -> Result<(), LogError> {
    let mut session = log.join(&member("posting", "a", 8))?;
    let generation = session.assignment()?.generation;
    for n in 0..RECORDS {
        let records = (0..4).map(|p| record(partition(p), format!("{n}"))).collect();
        match session.commit(Transaction { generation, records, positions: vec![] }) {
            CommitOutcome::Committed { .. } => {}
            other => return Err(LogError::Io(format!("commit {n}: {other:?}"))),
        }
    }
    Ok(())
}

/// Reads the partitions one after the other, in the order in which a commit names them: a later look may see more
/// commits, never fewer.
fn look_once(readers: &mut [Box<dyn Reader>], seen: &mut [usize; 4]) -> Verdict {
    let limit = FetchLimit { records: 100_000, bytes: 64 << 20, wait: Duration::ZERO };
    let mut least = 0;
    for (number, (reader, count)) in readers.iter_mut().zip(seen.iter_mut()).enumerate() {
        loop {
            let more: usize = reader.poll(limit)?.iter().map(|fetch| fetch.records.len()).sum();
            *count += more;
            if more == 0 {
                break;
            }
        }
        expect(
            *count >= least,
            format!("partition {number} shows {count} commits, another showed {least} before"),
        )?;
        least = (*count).max(least);
    }
    Ok(())
}
