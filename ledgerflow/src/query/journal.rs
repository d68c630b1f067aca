//! Reading the journal by batch number, and following an account's entries backwards.
//!
//! Offsets grow with batch numbers and nothing more is known of them (commit markers take some on Kafka), so a
//! batch is found by bisection over offsets; on the embedded log the first guess is right.

use crate::measure::recount::{holds, next_record};
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::{Decision, Entry, JournalBody, JournalItem, journal_item::Item};
use stream::log::{Isolation, Log, LogError, Offset, Record, TopicPartition};
use thiserror::Error;

/// Why the journal cannot be read.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is not a batch.
    #[error("{at}: {why}")]
    Damaged {
        /// Place.
        at: String,
        /// What is wrong.
        why: String,
    },
}

/// A journal batch with its decoded items.
pub struct JournalBatch {
    /// Number.
    pub batch: u64,
    /// Offset of its record.
    pub offset: Offset,
    /// When it was written, microseconds since 1970-01-01T00:00:00Z.
    pub written_at_us: i64,
    /// SHA-256 of the record.
    pub hash: batch::Hash,
    /// Items.
    pub items: Vec<JournalItem>,
}

/// An entry with what it belongs to.
pub struct Booked {
    /// The entry.
    pub entry: Entry,
    /// Source and id of the event; empty for clearing.
    pub event: (String, String),
    /// CloudEvents type, or `clearing`.
    pub kind: String,
    /// Days since 1970-01-01.
    pub accounting_date: i32,
    /// When it happened, microseconds.
    pub occurred_at_us: i64,
    /// Batch that holds it.
    pub batch: u64,
}

fn decode(at: TopicPartition, record: &Record) -> Result<JournalBatch, JournalError> {
    let damaged = |e: batch::BatchError| JournalError::Damaged {
        at: format!("{at}@{}", record.offset),
        why: e.to_string(),
    };
    let opened = batch::open(&record.value).map_err(damaged)?;
    let body: JournalBody = opened.body().map_err(damaged)?;
    Ok(JournalBatch {
        batch: opened.header.batch,
        offset: record.offset,
        written_at_us: opened.header.written_at_us,
        hash: opened.hash,
        items: body.item,
    })
}

/// Batch `number` of a posting slot's journal.
///
/// # Errors
/// The log fails, or a record is damaged.
pub fn find_batch(log: &dyn Log, slot: u32, number: u64) -> Result<Option<JournalBatch>, JournalError> {
    let at = TopicPartition::new(Topic::Journal, slot);
    let bounds = log.watermarks(at, Isolation::Committed)?;
    let (mut low, mut high) = (bounds.low, bounds.high);
    let mut reader = log.reader(&[(at, low)], Isolation::Committed)?;
    let guess = low.saturating_add(i64::try_from(number).unwrap_or(i64::MAX)).saturating_sub(1);
    let mut probe = guess.clamp(low, high.max(low));
    while low < high {
        reader.seek(at, probe)?;
        let Some(record) = next_record(reader.as_mut(), at, high)? else {
            high = probe;
            probe = low + (high - low) / 2;
            continue;
        };
        let found = decode(at, &record)?;
        match found.batch.cmp(&number) {
            std::cmp::Ordering::Equal => return Ok(Some(found)),
            std::cmp::Ordering::Less => low = record.offset + 1,
            std::cmp::Ordering::Greater => high = probe,
        }
        probe = low + (high - low) / 2;
    }
    holds(at, 0, bounds.low)?;
    Ok(None)
}

/// Entries of one item, with what they belong to.
pub fn entries_of(item: &JournalItem, batch: u64) -> Vec<Booked> {
    match &item.item {
        Some(Item::Decision(d)) => d.entry.iter().map(|entry| of_decision(d, entry, batch)).collect(),
        Some(Item::Received(r)) => {
            let event = r.event.clone().unwrap_or_default();
            let booked = r.entry.iter().map(|entry| Booked {
                entry: entry.clone(),
                event: (event.source.clone(), event.id.clone()),
                kind: r.r#type.clone(),
                accounting_date: r.accounting_date,
                occurred_at_us: r.occurred_at_us,
                batch,
            });
            booked.collect()
        }
        Some(Item::Clearing(c)) => {
            let booked = c.entry.iter().map(|entry| Booked {
                entry: entry.clone(),
                event: (String::new(), String::new()),
                kind: "clearing".into(),
                accounting_date: c.accounting_date,
                occurred_at_us: 0,
                batch,
            });
            booked.collect()
        }
        _ => Vec::new(),
    }
}

fn of_decision(d: &Decision, entry: &Entry, batch: u64) -> Booked {
    let event = d.event.clone().unwrap_or_default();
    Booked {
        entry: entry.clone(),
        event: (event.source, event.id),
        kind: d.r#type.clone(),
        accounting_date: d.accounting_date,
        occurred_at_us: d.occurred_at_us,
        batch,
    }
}

/// Where entries are followed from.
#[derive(Debug, Clone, Copy)]
pub struct From {
    /// Batch that holds the first of them.
    pub batch: u64,
    /// Only those of a lower sequence number.
    pub below: u64,
}

/// The newest `limit` entries of an account in an asset, newest first, from a place on.
///
/// # Errors
/// The log fails, or a record is damaged.
pub fn last_entries(
    log: &dyn Log,
    slot: u32,
    account: &str,
    asset: &str,
    from: From,
    limit: usize,
) -> Result<Vec<Booked>, JournalError> {
    let mut out = Vec::new();
    let mut next = from.batch;
    while next > 0 && out.len() < limit {
        let Some(batch) = find_batch(log, slot, next)? else { break };
        let mut here: Vec<Booked> = batch
            .items
            .iter()
            .flat_map(|item| entries_of(item, batch.batch))
            .filter(|booked| booked.entry.account == account && booked.entry.asset == asset)
            .collect();
        // The first entry of the batch names the batch of the entry before it.
        let before = here.first().map_or(0, |booked| booked.entry.previous_batch);
        here.reverse();
        out.extend(here.into_iter().filter(|booked| booked.entry.seq < from.below));
        next = if before < next { before } else { 0 };
    }
    out.truncate(limit);
    Ok(out)
}
