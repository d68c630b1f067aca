//! Credits on their way to an account: booked at their payers, and not yet at the partition where the account lives.
//!
//! They lie in its partition of `credits`, behind what the newest batch of `journal` has taken that the balance shown comes
//! from: balance and credits are of one moment, and nothing counts twice or not at all.

use super::books::Books;
use crate::measure::recount::next_record;
use anyhow::Context;
use schemas::batch;
use schemas::shards::PartitionMap;
use schemas::topics::Topic;
use schemas::wire::{Credit, CreditItem, CreditsBody, Side, credit_item};
use std::collections::BTreeMap;
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};

/// Offsets looked at first, back from where settlement stands: a batch and, on Kafka, a marker. Then twice as many, and so on.
const LOOKED_BACK: Offset = 2;

/// What is on its way to an account, by asset.
#[derive(Debug, Default)]
pub(super) struct InFlight(BTreeMap<String, i128>);

impl InFlight {
    /// To `account`. `settled` = up to where settlement had read each partition of `journal` when its balances were asked
    /// for.
    pub(super) fn to(books: &Books, account: &str, settled: &BTreeMap<u32, Offset>) -> anyhow::Result<Self> {
        let chart = books.setup.read_chart()?;
        let map = PartitionMap::even(books.setup.counts.internal).context("partitions.internal")?;
        let home = map.partition_of(chart.shard_key(account));
        let log = books.log.as_ref();
        match settled.get(&home) {
            Some(settled) if !quiet(log, home, *settled)? => {
                Ok(Self(pending(log, home, account, taken(log, home, *settled)?)?))
            }
            _ => Ok(Self::default()),
        }
    }

    /// In an asset: debits less credits, minor units.
    pub(super) fn of(&self, asset: &str) -> i128 {
        self.0.get(asset).copied().unwrap_or(0)
    }

    /// Assets of which something is on its way.
    pub(super) fn assets(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether nothing lies before posting and settlement in that partition. What posting has read is asked first: all of it is in
/// `journal` by then.
fn quiet(log: &dyn Log, home: u32, settled: Offset) -> anyhow::Result<bool> {
    let [credits, journal] = [Topic::Credits, Topic::Journal].map(|topic| TopicPartition::new(topic, home));
    let read = match log.committed(posting::processor::NAME, &[credits]) {
        Err(LogError::Unstable { .. }) => return Ok(false),
        positions => positions?.into_iter().next().flatten().map_or(0, |position| position.offset),
    };
    // A position need not step over the marker of the last commit, which only Kafka has.
    let slack = i64::from(log.features().compaction);
    let end = |at| log.watermarks(at, Isolation::Committed).map(|bounds| bounds.high.saturating_sub(slack));
    Ok(read >= end(credits)? && settled >= end(journal)?)
}

/// Up to where posting had read `credits` when it wrote the newest batch below `settled`.
fn taken(log: &dyn Log, home: u32, settled: Offset) -> anyhow::Result<Offset> {
    let (journal, credits) = (TopicPartition::new(Topic::Journal, home), Topic::Credits.name());
    let low = log.watermarks(journal, Isolation::Committed)?.low;
    let mut back = LOOKED_BACK;
    loop {
        let from = settled.saturating_sub(back).max(low);
        let mut reader = log.reader(&[(journal, from)], Isolation::Committed)?;
        let mut found = None;
        while let Some(record) = next_record(reader.as_mut(), journal, settled)? {
            let header = batch::open(&record.value)?.header;
            let range = header.input.iter().find(|range| range.topic == credits);
            found = range.map(|range| range.to).or(found);
        }
        match found {
            Some(taken) => return Ok(taken),
            None if from == low => {
                return Ok(log
                    .watermarks(TopicPartition::new(Topic::Credits, home), Isolation::Committed)?
                    .low);
            }
            None => back = back.saturating_mul(2),
        }
    }
}

/// What lies behind `from` for the account, by asset.
fn pending(log: &dyn Log, home: u32, account: &str, from: Offset) -> anyhow::Result<BTreeMap<String, i128>> {
    let at = TopicPartition::new(Topic::Credits, home);
    let high = log.watermarks(at, Isolation::Committed)?.high;
    let mut reader = log.reader(&[(at, from)], Isolation::Committed)?;
    let mut found: BTreeMap<String, i128> = BTreeMap::new();
    while let Some(record) = next_record(reader.as_mut(), at, high)? {
        let body: CreditsBody = batch::open(&record.value)?.body()?;
        for credit in body.item.into_iter().filter_map(credit).filter(|credit| credit.account == account) {
            let amount = i128::from(credit.amount.unwrap_or_default());
            let signed = if credit.side() == Side::Credit { -amount } else { amount };
            let net = found.entry(credit.asset).or_default();
            *net = net.checked_add(signed).context("what is on its way is too large")?;
        }
    }
    Ok(found)
}

fn credit(item: CreditItem) -> Option<Credit> {
    match item.item {
        Some(credit_item::Item::Credit(credit)) => Some(credit),
        _ => None,
    }
}
