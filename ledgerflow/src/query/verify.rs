//! `verify`: rebuilds every slot from the log alone and compares it, byte by byte, with the state in use.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::measure::recount::advance;
use anyhow::Context;
use schemas::batch::sha256;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::processor::{Changelog, Processor, SlotState};
use stream::worker::Worker;

/// A slot's state in short: digest of its canonical pairs, their number, and up to where it holds.
struct Snapshot {
    slot: u32,
    digest: [u8; 32],
    pairs: usize,
    batch: u64,
    positions: Vec<(TopicPartition, Offset)>,
}

fn digest<S: SlotState>(state: &S) -> ([u8; 32], usize) {
    let pairs = state.canonical();
    let mut all = Vec::new();
    for (key, value) in &pairs {
        for part in [key, value] {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
    }
    (sha256(&all), pairs.len())
}

fn snapshots<P: Processor>(worker: &Worker<P>) -> Vec<Snapshot> {
    let slots = worker.slots().into_iter();
    slots
        .filter_map(|slot| {
            let (digest, pairs) = digest(worker.slot(slot)?);
            let (batch, positions) = worker.mark(slot)?;
            Some(Snapshot { slot, digest, pairs, batch, positions })
        })
        .collect()
}

/// `verify`.
pub(super) fn verify(books: &Books) -> anyhow::Result<Answer> {
    let fresh = books.setup.processors()?;
    let mut table =
        Table::new("verify", &["processor", "slot", "pairs", "batch", "records_replayed", "equal"]);
    let log = books.log.as_ref();
    let mut equal = compare(log, &fresh.ingest, books.ingest(snapshots)?, &mut table)?;
    equal &= compare(log, &fresh.posting, books.posting(snapshots)?, &mut table)?;
    equal &= compare(log, &fresh.settlement, books.settlement(snapshots)?, &mut table)?;
    equal &= compare(log, &fresh.rekey, books.rekey(snapshots)?, &mut table)?;
    equal &= compare(log, &fresh.join, books.join(snapshots)?, &mut table)?;
    let mut answer = Answer::tables(vec![table]);
    answer.ending = if equal { Ending::Done } else { Ending::Wrong };
    answer.message = Some(if equal { "store = replay" } else { "a state differs from its replay" }.into());
    Ok(answer)
}

fn compare<P: Processor>(
    log: &dyn Log,
    processor: &P,
    snapshots: Vec<Vec<Snapshot>>,
    table: &mut Table,
) -> anyhow::Result<bool> {
    let mut all = true;
    for snapshot in snapshots.into_iter().flatten() {
        let (state, records) = rebuild(log, processor, &snapshot)?;
        let (rebuilt, _) = digest(&state);
        let equal = rebuilt == snapshot.digest;
        all &= equal;
        table.row([
            processor.name().into(),
            snapshot.slot.into(),
            snapshot.pairs.into(),
            snapshot.batch.into(),
            records.into(),
            equal.into(),
        ]);
    }
    Ok(all)
}

fn rebuild<P: Processor>(log: &dyn Log, processor: &P, upto: &Snapshot) -> anyhow::Result<(P::Slot, u64)> {
    let mut state = processor.open(upto.slot);
    let mut records = 0;
    match processor.changelog() {
        // One batch a window: the first `batch` records are what the state holds.
        Changelog::Own(topic) => {
            let at = TopicPartition::new(topic, upto.slot);
            records += replay(log, processor, &mut state, at, &mut |seen, _| seen < upto.batch)?;
        }
        Changelog::Inputs => {
            for (at, end) in &upto.positions {
                records += replay(log, processor, &mut state, *at, &mut |_, offset| offset < *end)?;
            }
        }
    }
    Ok((state, records))
}

fn replay<P: Processor>(
    log: &dyn Log,
    processor: &P,
    state: &mut P::Slot,
    at: TopicPartition,
    wanted: &mut dyn FnMut(u64, Offset) -> bool,
) -> anyhow::Result<u64> {
    let bounds = log.watermarks(at, Isolation::Committed)?;
    let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed)?;
    let mut seen = 0;
    while reader.position(at).is_some_and(|position| position < bounds.high) {
        let fetches = advance(reader.as_mut(), at, 4_096, 8 << 20)?;
        for record in fetches.iter().flat_map(|fetch| &fetch.records) {
            if !wanted(seen, record.offset) {
                return Ok(seen);
            }
            processor.replay(state, at, record).context("replay")?;
            seen += 1;
        }
    }
    Ok(seen)
}
