//! `archive`: copies what is kept for ever into files, and gives up on the log what these hold and no restart needs there.
//!
//! Phases, partition by partition: take what is not archived yet -> (all partitions taken) how far each may be given up ->
//! files that hold that and were not read in this round are read and checked -> their names made durable -> given up.
//! So nothing goes that no file holds which was read again. A round ends in time ([`ROUND_US`]); the next one goes on.

mod chains;
mod needed;
#[cfg(test)]
mod tests;

use super::books::Books;
use super::{Answer, Ending};
use crate::archive::Archiving;
use crate::cli::output::{Cell, Table};
use chains::Chains;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use stream::archive::{Named, Taken, Taking};
use stream::clock::monotonic_us;
use stream::faults;
use stream::log::{Isolation, LogError, Offset, Record, TopicPartition};

/// Topics whose records are given up. The others that are archived have a few records a day.
const GIVEN_UP: [Topic; 6] = [
    Topic::IngestState,
    Topic::Journal,
    Topic::BalancesDaily,
    Topic::BillsRaw,
    Topic::ReconState,
    Topic::ReconSides,
];
/// How long a round begins new files, microseconds: whoever asks through the socket waits for ten minutes.
const ROUND_US: i64 = 480_000_000;
/// What a command without an archive says.
const NOWHERE: &str = "archive.dir is not set: it names the folder that records are archived in";
const COLUMNS: [&str; 8] = [
    "topic",
    "partition",
    "archived_from",
    "archived_to",
    "new_files",
    "new_records",
    "new_bytes",
    "given_up_to",
];

/// What `archive` is asked to do.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Give up what is archived and not needed on the log.
    give_up: bool,
    /// Only say what would be done.
    dry_run: bool,
}

/// A partition in a round.
struct Part {
    at: TopicPartition,
    /// Offsets that files hold; with a dry run, those that they would.
    from: Offset,
    to: Offset,
    taken: Vec<Taken>,
    given_up_to: Option<Offset>,
}

/// `archive`.
pub(super) fn archive(books: &Books, give_up: bool, dry_run: bool) -> anyhow::Result<Answer> {
    let asked = Asked { give_up, dry_run };
    let Some(archiving) = &books.archiving else { return Ok(Answer::says(Ending::Failed, NOWHERE)) };
    let until_us = monotonic_us().saturating_add(ROUND_US);
    let taking = if asked.dry_run { None } else { Some(archiving.archive.taking()?) };
    let mut parts = Vec::new();
    for at in partitions(archiving)? {
        parts.extend(match &taking {
            Some(taking) => taken(archiving, taking, at, until_us)?,
            None => would_take(archiving, at)?,
        });
    }
    if asked.give_up {
        let below = may_go(&needed::needed(books)?, archiving, &parts)?;
        if let Some(taking) = &taking {
            read_again(archiving, taking, &parts, &below)?;
            faults::hit(faults::ARCHIVE_BEFORE_GIVE_UP)?;
            let_go(books, archiving, &below)?;
        }
        for part in parts.iter_mut().filter(|part| below.contains_key(&part.at)) {
            part.given_up_to = match asked.dry_run {
                true => below.get(&part.at).copied(),
                false => Some(archiving.log.watermarks(part.at, Isolation::Uncommitted)?.low),
            };
        }
    }
    Ok(answer(&parts, asked, monotonic_us() >= until_us))
}

fn answer(parts: &[Part], asked: Asked, ended_early: bool) -> Answer {
    let mut table = Table::new("archive", &COLUMNS);
    let (mut records, mut bytes) = (0, 0);
    for part in parts.iter().filter(|part| part.to > part.from) {
        let new_records: u64 = part.taken.iter().map(|taken| taken.checked.records).sum();
        let new_bytes: u64 = part.taken.iter().map(|taken| taken.checked.bytes).sum();
        (records, bytes) = (records + new_records, bytes + new_bytes);
        table.row([
            part.at.topic.name().into(),
            part.at.partition.into(),
            part.from.into(),
            part.to.into(),
            part.taken.len().into(),
            new_records.into(),
            new_bytes.into(),
            part.given_up_to.map_or(Cell::None, Cell::from),
        ]);
    }
    let mut said = match asked.dry_run {
        true => "nothing was done: this is what would be".to_owned(),
        false => format!("{records} records archived in {bytes} bytes, read again and whole"),
    };
    if ended_early {
        said.push_str("; more is to be archived: run it again");
    }
    Answer { message: Some(said), ..Answer::tables(vec![table]) }
}

/// Every partition that is archived.
fn partitions(archiving: &Archiving) -> Result<Vec<TopicPartition>, LogError> {
    let mut all = Vec::new();
    for topic in archiving.archive.topics() {
        let count = archiving.log.partitions(*topic)?;
        all.extend((0..count).map(|partition| TopicPartition::new(*topic, partition)));
    }
    Ok(all)
}

/// Takes what is new of a partition; `None` = it has nothing.
fn taken(
    archiving: &Archiving,
    taking: &Taking<'_>,
    at: TopicPartition,
    until_us: i64,
) -> anyhow::Result<Option<Part>> {
    let archive = &archiving.archive;
    let mut chains = Chains::of(at.topic);
    if let Some(last) = archive.last(at)? {
        chains
            .goes_on_from(&last)
            .map_err(|why| LogError::Archive(format!("{at}@{}: {why}", last.offset)))?;
    }
    let in_time = &mut || monotonic_us() < until_us;
    let taken = match in_time() {
        true => {
            let see = &mut |record: &Record| chains.see(record);
            taking.take(archiving.log.as_ref(), at, archiving.file_bytes, see, in_time)?
        }
        false => Vec::new(),
    };
    let held = archive.bounds(at)?;
    Ok(held.map(|held| Part { at, from: held.low, to: held.high, taken, given_up_to: None }))
}

fn would_take(archiving: &Archiving, at: TopicPartition) -> anyhow::Result<Option<Part>> {
    let bounds = archiving.log.watermarks(at, Isolation::Committed)?;
    let held = archiving.archive.bounds(at)?;
    let from = held.map_or(bounds.low, |held| held.low);
    let to = held.map_or(bounds.high, |held| held.high.max(bounds.high));
    Ok(Some(Part { at, from, to, taken: Vec::new(), given_up_to: None }))
}

/// How far each partition may be given up beyond what is; `needed` = from where on the log is.
fn may_go(
    needed: &BTreeMap<TopicPartition, Offset>,
    archiving: &Archiving,
    parts: &[Part],
) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    let mut below = BTreeMap::new();
    for part in parts.iter().filter(|part| GIVEN_UP.contains(&part.at.topic)) {
        // The newest record stays.
        let to = needed.get(&part.at).map_or(part.to - 1, |needed| part.to.min(*needed));
        if to > archiving.log.watermarks(part.at, Isolation::Committed)?.low {
            below.insert(part.at, to);
        }
    }
    Ok(below)
}

/// Reads every file that holds what is about to go, unless it was written, and so read, in this round.
fn read_again(
    archiving: &Archiving,
    taking: &Taking<'_>,
    parts: &[Part],
    below: &BTreeMap<TopicPartition, Offset>,
) -> anyhow::Result<()> {
    let files = parts.iter().flat_map(|part| &part.taken).map(|taken| &taken.named.path);
    let read: BTreeSet<&PathBuf> = files.collect();
    for (at, to) in below {
        let low = archiving.log.watermarks(*at, Isolation::Committed)?.low;
        let holds = |named: &&Named| named.next > low && named.first < *to && !read.contains(&named.path);
        for named in archiving.archive.list(*at)?.iter().filter(holds) {
            archiving.archive.check(*at, named, &mut |_| Ok(()))?;
        }
        taking.settle(*at)?;
    }
    Ok(())
}

fn let_go(
    books: &Books,
    archiving: &Archiving,
    below: &BTreeMap<TopicPartition, Offset>,
) -> anyhow::Result<()> {
    if let Some(embedded) = &books.embedded {
        if let Some(cleaning) = books.retention.give_up_archived(embedded, below.clone())? {
            cleaning.wait()?;
        }
    } else if let Some(give_up) = &archiving.give_up {
        below.iter().try_for_each(|(at, to)| give_up(*at, *to))?;
    }
    Ok(())
}

/// `archive --verify`: every file, held against its hash, its neighbours and the chain of its batches.
pub(super) fn verify(books: &Books) -> anyhow::Result<Answer> {
    let Some(archiving) = &books.archiving else { return Ok(Answer::says(Ending::Failed, NOWHERE)) };
    let mut table = Table::new("archive", &["topic", "partition", "from", "to", "files", "records", "bytes"]);
    let mut wrong = None;
    for at in partitions(archiving)? {
        match verified(archiving, at) {
            Ok(Some(row)) => table.row(row),
            Ok(None) => {}
            Err(LogError::Archive(why)) => {
                wrong = Some(why);
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (ending, said) = match wrong {
        Some(why) => (Ending::Wrong, why),
        None => (Ending::Done, "every file is whole, and joins the one before it and the log".to_owned()),
    };
    Ok(Answer { message: Some(said), ending, ..Answer::tables(vec![table]) })
}

/// A partition's files; `None` = it has none, and the log needs none.
fn verified(archiving: &Archiving, at: TopicPartition) -> Result<Option<[Cell; 7]>, LogError> {
    let archive = &archiving.archive;
    let names = archive.list(at)?;
    archive.joins(at, archiving.log.watermarks(at, Isolation::Uncommitted)?)?;
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return Ok(None) };
    let (mut chains, mut records, mut bytes) = (Chains::of(at.topic), 0, 0);
    for named in names.iter() {
        let checked = archive.check(at, named, &mut |record| chains.see(record))?;
        (records, bytes) = (records + checked.records, bytes + checked.bytes);
    }
    Ok(Some([
        at.topic.name().into(),
        at.partition.into(),
        first.first.into(),
        last.next.into(),
        names.len().into(),
        records.into(),
        bytes.into(),
    ]))
}
