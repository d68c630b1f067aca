//! The topics `journal` and `balances` as clients read them: partition by partition, on from where they are, up to the
//! committed end of the moment at which they ask.

use super::books::Books;
use super::record::{Account, Balance, Batch, Entry, Part};
use bytes::Bytes;
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{self, EventKey, JournalBody, Side};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{FetchLimit, Isolation, Log, LogError, Reader, Record, TopicPartition};

const LIMIT: FetchLimit = FetchLimit { records: 500, bytes: 4 << 20, wait: Duration::from_millis(20) };
/// How long what is committed may take to come.
const PATIENCE_US: i64 = 60_000_000;

fn entry(entry: &wire::Entry) -> Entry {
    let amount = if entry.side() == Side::Credit { -entry.amount() } else { entry.amount() };
    let account = (entry.account.clone(), entry.asset.clone());
    Entry { account, seq: entry.seq, amount, after: entry.after() }
}

fn id(event: Option<EventKey>) -> String {
    event.unwrap_or_default().id
}

/// What a reader takes from a journal record.
///
/// # Errors
/// It is no journal batch.
pub fn journal_batch(value: &Bytes) -> Result<Batch, LogError> {
    let opened = batch::open(value).map_err(|error| LogError::Corrupt(error.to_string()))?;
    let body: JournalBody = opened.body().map_err(|error| LogError::Corrupt(error.to_string()))?;
    let mut seen =
        Batch { number: opened.header.sequence, hash: opened.hash, parts: Vec::new(), outcomes: Vec::new() };
    for item in body.item.into_iter().filter_map(|item| item.item) {
        let part = |event: String, decided: bool, entries: &[wire::Entry]| Part {
            event,
            decided,
            entries: entries.iter().map(entry).collect(),
        };
        match item {
            Item::Decision(d) => {
                let (outcome, event) = (d.outcome(), id(d.event.clone()));
                // What is decided for another partition has its outcome there.
                if d.forwarded_from == 0 {
                    seen.outcomes.push((event.clone(), outcome));
                }
                seen.parts.push(part(event, true, &d.entry));
            }
            Item::Resolution(r) => {
                let outcome = r.outcome();
                seen.outcomes.push((id(r.event), outcome));
            }
            Item::Received(r) => seen.parts.push(part(id(r.event), false, r.entry.as_slice())),
            Item::Clearing(c) => seen.parts.push(part(String::new(), true, c.entry.as_slice())),
            _ => {}
        }
    }
    seen.parts.retain(|part| !part.entries.is_empty());
    Ok(seen)
}

/// Reads one partition on. Dropping it forgets where it was.
struct Partition {
    at: TopicPartition,
    isolation: Isolation,
    reader: Option<Box<dyn Reader>>,
}

impl Partition {
    const fn new(topic: Topic, partition: u32, isolation: Isolation) -> Self {
        Self { at: TopicPartition::new(topic, partition), isolation, reader: None }
    }

    /// Records up to the end that the partition has now. After an error it goes on where the last record was taken.
    fn read_on(
        &mut self,
        log: &dyn Log,
        take: &mut dyn FnMut(&Record) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let bounds = log.watermarks(self.at, self.isolation)?;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(log.reader(&[(self.at, bounds.low)], self.isolation)?),
        };
        let until = monotonic_us() + PATIENCE_US;
        while reader.position(self.at).is_none_or(|position| position < bounds.high) {
            for record in reader.poll(LIMIT)?.iter().flat_map(|fetch| &fetch.records) {
                take(record)?;
            }
            if monotonic_us() > until {
                return Err(LogError::Retriable(format!("{} does not come to {}", self.at, bounds.high)));
            }
        }
        Ok(())
    }
}

/// A reader of one partition of the journal.
pub struct Journal(Partition);

impl Journal {
    /// From the first batch on; `isolation` is [`Isolation::Committed`] for whoever wants the truth.
    #[must_use]
    pub const fn new(partition: u32, isolation: Isolation) -> Self {
        Self(Partition::new(Topic::Journal, partition, isolation))
    }

    /// What has come since.
    ///
    /// # Errors
    /// The log is away. What was read until then is lost for this reader: it begins again.
    pub fn read_on(&mut self, log: &dyn Log) -> Result<Vec<Arc<Batch>>, LogError> {
        let mut batches = Vec::new();
        self.0.read_on(log, &mut |record| {
            batches.push(Arc::new(journal_batch(&record.value)?));
            Ok(())
        })?;
        Ok(batches)
    }
}

/// A reader of one partition of `balances` on a log with key compaction, which keeps the newest balance of each account.
pub struct Published {
    partition: Partition,
    newest: BTreeMap<Account, Balance>,
    complete: Vec<Balance>,
}

impl Published {
    /// From the first record on.
    #[must_use]
    pub const fn new(partition: u32) -> Self {
        let partition = Partition::new(Topic::Balances, partition, Isolation::Committed);
        Self { partition, newest: BTreeMap::new(), complete: Vec::new() }
    }

    /// Balances at the last mark of completeness.
    ///
    /// # Errors
    /// The log is away.
    pub fn read_on(&mut self, log: &dyn Log) -> Result<Vec<Balance>, LogError> {
        let (newest, complete) = (&mut self.newest, &mut self.complete);
        self.partition.read_on(log, &mut |record| {
            if record.key.starts_with(b"complete_until|") {
                *complete = newest.values().cloned().collect();
                return Ok(());
            }
            let corrupt = |error: &dyn std::fmt::Display| LogError::Corrupt(error.to_string());
            let read: schemas::balance_json::Balance<'_> =
                serde_json::from_slice(&record.value).map_err(|error| corrupt(&error))?;
            let net = read.debit_minus_credit_minor.parse().map_err(|error| corrupt(&error))?;
            let account = (read.account.into_owned(), read.asset.into_owned());
            newest.insert(account.clone(), Balance { account, seq: read.seq, net });
            Ok(())
        })?;
        Ok(complete.clone())
    }
}

/// The journal as it lies in a log now.
///
/// # Errors
/// The log is away.
pub fn books(log: &dyn Log) -> Result<Books, LogError> {
    let partitions = 0..log.partitions(Topic::Journal)?;
    let read = partitions.map(|partition| Journal::new(partition, Isolation::Committed).read_on(log));
    Ok(Books::of(read.collect::<Result<_, _>>()?))
}
