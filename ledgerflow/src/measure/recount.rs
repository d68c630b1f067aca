//! Counting again from the topics what became of every event, independent of the processors' counters.

use anyhow::Context;
use schemas::amount_wire::join;
use schemas::batch;
use schemas::topics::{Retention, Topic};
use schemas::wire::{Entry, JournalBody, Outcome, Side, journal_item::Item};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::clock;
use stream::log::{
    Fetch, FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition, header,
};

/// How long the next record of a partition that is known to have more may take: a server may have to be reached first.
const READ_WAIT_US: i64 = 10_000_000;
/// How long one poll for it waits; a position that moves over markers ends none.
const POLL_WAIT: Duration = Duration::from_millis(20);

/// What lies in the topics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recount {
    /// Booked at their home or for it.
    pub booked: u64,
    /// Repeated with the same body.
    pub duplicate: u64,
    /// Refused by posting, per reason code.
    pub refused: BTreeMap<String, u64>,
    /// Dead-lettered by ingest, per reason code.
    pub dead_lettered: BTreeMap<String, u64>,
    /// Forwarded, verdict still to come.
    pub pending: i64,
    /// Events booked, by accounting date (days since 1970-01-01).
    pub by_day: BTreeMap<i32, u64>,
    /// Of these, booked back into the day before.
    pub back_dated: u64,
    /// Entries.
    pub entries: u64,
    /// Debits per asset, minor units.
    pub debits: BTreeMap<String, i128>,
    /// Debits minus credits per asset.
    pub difference: BTreeMap<String, i128>,
}

impl Recount {
    /// Events that have their outcome.
    #[must_use]
    pub fn accounted_for(&self) -> u64 {
        let refused: u64 = self.refused.values().sum();
        let dead: u64 = self.dead_lettered.values().sum();
        self.booked + self.duplicate + refused + dead
    }

    /// Whether debits equal credits in every asset.
    #[must_use]
    pub fn sum_zero(&self) -> bool {
        self.difference.values().all(|difference| *difference == 0)
    }

    fn entry(&mut self, entry: &Entry) -> anyhow::Result<()> {
        self.entries += 1;
        let amount = join(entry.amount_lo, entry.amount_hi);
        let (signed, debit) = if entry.side() == Side::Credit { (-amount, 0) } else { (amount, amount) };
        for (sums, add) in [(&mut self.difference, signed), (&mut self.debits, debit)] {
            if !sums.contains_key(&entry.asset) {
                sums.insert(entry.asset.clone(), 0);
            }
            if let Some(sum) = sums.get_mut(&entry.asset) {
                *sum = sum.checked_add(add).context("a sum leaves the 128-bit range")?;
            }
        }
        Ok(())
    }

    fn item(&mut self, item: &Item) -> anyhow::Result<()> {
        match item {
            Item::Decision(d) => {
                d.entry.iter().try_for_each(|entry| self.entry(entry))?;
                if d.outcome() == Outcome::Booked {
                    *self.by_day.entry(d.accounting_date).or_default() += 1;
                    self.back_dated += u64::from(d.back_dated);
                }
                self.pending -= i64::from(d.concludes);
                if d.forwarded_from == 0 {
                    match d.outcome() {
                        Outcome::Booked => self.booked += 1,
                        Outcome::Duplicate => self.duplicate += 1,
                        Outcome::Refused => *self.refused.entry(d.reason.clone()).or_default() += 1,
                        Outcome::Pending => self.pending += 1,
                        Outcome::Unspecified => anyhow::bail!("a decision without outcome"),
                    }
                }
                Ok(())
            }
            Item::Resolution(r) => {
                self.pending -= 1;
                match r.outcome() {
                    Outcome::Booked => self.booked += 1,
                    _ => *self.refused.entry(r.reason.clone()).or_default() += 1,
                }
                Ok(())
            }
            Item::Received(r) => r.entry.iter().try_for_each(|entry| self.entry(entry)),
            Item::Clearing(c) => c.entry.iter().try_for_each(|entry| self.entry(entry)),
            _ => Ok(()),
        }
    }
}

/// Reads `journal` and `rejected` from their first record to their present end.
///
/// # Errors
/// The log fails or a record is damaged.
pub fn recount(log: &dyn Log) -> anyhow::Result<Recount> {
    let mut all = Recount::default();
    each(log, Topic::Journal, &mut |fetch| {
        for record in &fetch.records {
            let opened = batch::open(&record.value)?;
            let body: JournalBody = opened.body()?;
            body.item.iter().filter_map(|item| item.item.as_ref()).try_for_each(|item| all.item(item))?;
        }
        Ok(())
    })?;
    each(log, Topic::Rejected, &mut |fetch| {
        for record in &fetch.records {
            // Refusals of posting lie here too and are counted from the journal.
            if header(&record.headers, "ledgerflow-kind") != Some(b"refusal") {
                let reason = header(&record.headers, "ledgerflow-reason").unwrap_or_default();
                *all.dead_lettered.entry(String::from_utf8_lossy(reason).into_owned()).or_default() += 1;
            }
        }
        Ok(())
    })?;
    Ok(all)
}

/// The next record of a reader's partition below an offset that lies within what is committed, if there is one.
///
/// # Errors
/// The log is away, or does not give what it has.
pub(crate) fn next_record(
    reader: &mut dyn Reader,
    at: TopicPartition,
    until: Offset,
) -> Result<Option<Record>, LogError> {
    while reader.position(at).is_some_and(|position| position < until) {
        let first = advance(reader, at, 1, 1)?.into_iter().flat_map(|fetch| fetch.records).next();
        if let Some(record) = first {
            return Ok((record.offset < until).then_some(record));
        }
    }
    Ok(None)
}

/// Reads on in a partition that has more: records, or nothing where only markers are passed.
///
/// # Errors
/// The log is away, or does not give what it has.
pub(crate) fn advance(
    reader: &mut dyn Reader,
    at: TopicPartition,
    records: usize,
    bytes: usize,
) -> Result<Vec<Fetch>, LogError> {
    let limit = FetchLimit { records, bytes, wait: POLL_WAIT };
    let (before, until_us) = (reader.position(at), clock::monotonic_us().saturating_add(READ_WAIT_US));
    loop {
        let fetches = reader.poll(limit)?;
        if !fetches.is_empty() || reader.position(at) != before {
            return Ok(fetches);
        }
        if clock::monotonic_us() >= until_us {
            let position = before.unwrap_or_default();
            return Err(LogError::Retriable(format!("{at} cannot be read beyond {position}")));
        }
    }
}

/// Whether a partition that is read from an offset on holds what was there: of a topic that is kept for ever nothing may be
/// passed over in silence.
///
/// # Errors
/// [`LogError::Archive`]: its first records are gone, and there is no archive.
pub(crate) fn holds(at: TopicPartition, from: Offset, low: Offset) -> Result<(), LogError> {
    if from >= low || at.topic.retention() != Retention::Forever {
        return Ok(());
    }
    Err(LogError::Archive(format!(
        "{at} begins at offset {low}: records before it were given up, and archive.dir names no archive of them"
    )))
}

/// Every committed record of a topic, partition by partition.
///
/// # Errors
/// The log fails, or `see` does; the first records of a topic that is kept for ever are gone.
pub fn each(
    log: &dyn Log,
    topic: Topic,
    see: &mut dyn FnMut(&Fetch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for partition in 0..log.partitions(topic)? {
        let at = TopicPartition::new(topic, partition);
        let bounds = log.watermarks(at, Isolation::Committed)?;
        holds(at, 0, bounds.low)?;
        range(log, at, bounds.low, bounds.high, see)?;
    }
    Ok(())
}

/// Every committed record of a partition from one offset on, or from the first that is kept, until another.
///
/// # Errors
/// The log fails, or `see` does; of a topic that is kept for ever they are gone.
pub fn range(
    log: &dyn Log,
    at: TopicPartition,
    from: Offset,
    until: Offset,
    see: &mut dyn FnMut(&Fetch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let low = log.watermarks(at, Isolation::Committed)?.low;
    if from.max(low) >= until {
        return Ok(());
    }
    holds(at, from, low)?;
    let from = from.max(low);
    let mut reader = log.reader(&[(at, from)], Isolation::Committed)?;
    while reader.position(at).is_some_and(|position| position < until) {
        let mut fetches = advance(reader.as_mut(), at, 4_096, 8 << 20)?;
        for fetch in &mut fetches {
            fetch.records.retain(|record| record.offset < until);
            see(fetch)?;
        }
    }
    Ok(())
}
