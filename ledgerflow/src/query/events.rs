//! Sending events, their outcomes, and those that were not booked.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::each;
use anyhow::{Context, bail};
use bytes::Bytes;
use schemas::shards::stable_hash;
use schemas::topics::Topic;
use schemas::wire::{Outcome, journal_item::Item};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use stream::log::{Isolation, Log, Offset, OutRecord, Record, TopicPartition, header};

/// Bytes of an event as they travel to the pipeline's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Utf8(String),
    /// Anything else, unchanged.
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|e| Self::Bytes(e.into_bytes()), Self::Utf8)
    }
}

/// Where an event was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sent {
    /// Lane.
    pub lane: u8,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: Offset,
}

/// One sender at a time: the places of its events are read from the log's end before they are appended.
static SENDING: Mutex<()> = Mutex::new(());

/// Partition for an event: by `partitionkey` or `subject` where they can be read, else 0. Nothing relies on it.
fn partition_of(text: &[u8], partitions: u32) -> u32 {
    let event: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let field =
        |name: &str| event.as_ref().and_then(|e| e.get(name)).and_then(|v| v.as_str()).map(stable_hash_of);
    let hash = field("partitionkey").or_else(|| field("subject")).unwrap_or(0);
    u32::try_from(hash % u64::from(partitions.max(1))).unwrap_or(0)
}

fn stable_hash_of(text: &str) -> u64 {
    stable_hash(text.as_bytes())
}

/// `send`: appends events to a lane and waits until they are durable.
pub(super) fn send(books: &Books, lane: u8, events: &[Text]) -> anyhow::Result<Answer> {
    let topic = *Topic::LANES.get(usize::from(lane)).context("lane: expected 0, 1 or 2")?;
    let partitions = books.setup.counts.events;
    let sending = SENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = BTreeMap::new();
    let mut records = Vec::with_capacity(events.len());
    let mut sent = Vec::with_capacity(events.len());
    for event in events {
        let text = match event {
            Text::Utf8(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        };
        let partition = partition_of(text, partitions);
        let to = TopicPartition::new(topic, partition);
        let offset = match next.get(&partition) {
            Some(offset) => *offset,
            None => books.log.watermarks(to, Isolation::Uncommitted)?.high,
        };
        next.insert(partition, offset + 1);
        sent.push(Sent { lane, partition, offset });
        records.push(OutRecord::new(to, Bytes::copy_from_slice(text)));
    }
    let sequence = books.log.append(records)?;
    drop(sending);
    books.log.wait_durable(sequence, std::time::Duration::from_secs(10))?;
    let message = format!("{} events accepted", sent.len());
    Ok(Answer { sent, ..Answer::says(Ending::Done, message) })
}

/// Outcomes of events at the given places; those without one yet are left out.
pub(super) fn outcomes(books: &Books, sent: &[Sent]) -> anyhow::Result<Answer> {
    let wanted: std::collections::BTreeSet<Sent> = sent.iter().copied().collect();
    let mut found: BTreeMap<Sent, (String, String, String)> = BTreeMap::new();
    let mut pending: BTreeMap<(String, String), Sent> = BTreeMap::new();
    each(books.log.as_ref(), Topic::Journal, &mut |fetch| {
        for record in &fetch.records {
            let body: schemas::wire::JournalBody = schemas::batch::open(&record.value)?.body()?;
            for item in body.item {
                match item.item {
                    Some(Item::Decision(d)) if d.forwarded_from == 0 => {
                        let lane = u8::try_from(d.lane).unwrap_or(u8::MAX);
                        let at = Sent { lane, partition: d.event_partition, offset: d.event_offset };
                        if !wanted.contains(&at) {
                            continue;
                        }
                        let event = d.event.clone().unwrap_or_default();
                        let outcome = d.outcome();
                        if outcome == Outcome::Pending {
                            pending.insert((event.source, event.id.clone()), at);
                        }
                        found.insert(at, (event.id, word(outcome).to_owned(), reason(&d.reason, &d.detail)));
                    }
                    Some(Item::Resolution(r)) => {
                        let event = r.event.clone().unwrap_or_default();
                        if let Some(at) = pending.remove(&(event.source, event.id.clone())) {
                            found.insert(at, (event.id, word(r.outcome()).to_owned(), r.reason.clone()));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    each(books.log.as_ref(), Topic::Rejected, &mut |fetch| {
        for record in &fetch.records {
            let rejected = Rejected::of(fetch.from, record);
            if let Some(at) = rejected.sent().filter(|at| wanted.contains(at) && !found.contains_key(at)) {
                let reason = reason(&rejected.reason, &rejected.detail);
                found.insert(at, (String::new(), "dead-lettered".to_owned(), reason));
            }
        }
        Ok(())
    })?;
    // A forwarded command still waits for its verdict: that is no outcome yet.
    found.retain(|_, (_, outcome, _)| outcome != "pending");
    let mut table = Table::new("outcomes", &["lane", "partition", "offset", "event", "outcome", "reason"]);
    for (at, (event, outcome, reason)) in &found {
        table.row([
            Cell::from(u32::from(at.lane)),
            at.partition.into(),
            at.offset.into(),
            event.clone().into(),
            outcome.clone().into(),
            reason.clone().into(),
        ]);
    }
    Ok(Answer { sent: found.into_keys().collect(), ..Answer::tables(vec![table]) })
}

/// Name of an outcome on the command line.
pub(super) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Booked => "booked",
        Outcome::Refused => "refused",
        Outcome::Duplicate => "duplicate",
        Outcome::Pending => "pending",
        Outcome::Unspecified => "unknown",
    }
}

fn reason(code: &str, detail: &str) -> String {
    if detail.is_empty() { code.to_owned() } else { format!("{code}: {detail}") }
}

struct Rejected {
    at: String,
    kind: &'static str,
    reason: String,
    detail: String,
    topic: String,
    partition: Option<u32>,
    offset: Option<Offset>,
}

impl Rejected {
    fn of(from: TopicPartition, record: &Record) -> Self {
        let text =
            |name| String::from_utf8_lossy(header(&record.headers, name).unwrap_or_default()).into_owned();
        let refusal = header(&record.headers, "ledgerflow-kind") == Some(b"refusal");
        Self {
            at: format!("{}@{}", from.partition, record.offset),
            kind: if refusal { "refused" } else { "dead-lettered" },
            reason: text("ledgerflow-reason"),
            detail: text("__streams.errors.message"),
            topic: text("__streams.errors.topic"),
            partition: text("__streams.errors.partition").parse().ok(),
            offset: text("__streams.errors.offset").parse().ok(),
        }
    }

    fn sent(&self) -> Option<Sent> {
        let lane = Topic::LANES.iter().position(|topic| topic.name() == self.topic)?;
        Some(Sent { lane: u8::try_from(lane).ok()?, partition: self.partition?, offset: self.offset? })
    }
}

/// `rejected list`.
pub(super) fn rejected(
    books: &Books,
    reason: Option<&str>,
    summary: bool,
    limit: usize,
) -> anyhow::Result<Answer> {
    let mut all = Vec::new();
    let mut counts: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
    each(books.log.as_ref(), Topic::Rejected, &mut |fetch| {
        for record in &fetch.records {
            let rejected = Rejected::of(fetch.from, record);
            if reason.is_some_and(|wanted| wanted != rejected.reason) {
                continue;
            }
            *counts.entry((rejected.kind, rejected.reason.clone())).or_default() += 1;
            all.push((record.timestamp_us, rejected));
        }
        Ok(())
    })?;
    if summary {
        let mut table = Table::new("rejected", &["outcome", "reason", "count"]);
        for ((kind, reason), count) in counts {
            table.row([kind.into(), reason.into(), count.into()]);
        }
        return Ok(Answer::tables(vec![table]));
    }
    all.sort_by(|a, b| (a.0, &a.1.at).cmp(&(b.0, &b.1.at)));
    let total = all.len();
    let mut table = Table::new("rejected", &["position", "outcome", "reason", "detail", "event_at"]);
    for (_, r) in all.into_iter().skip(total.saturating_sub(limit)) {
        let place = format!("{}/{}@{}", r.topic, r.partition.unwrap_or(0), r.offset.unwrap_or(0));
        table.row([r.at.into(), r.kind.into(), r.reason.into(), r.detail.into(), place.into()]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = Some(format!("{} of {total} rejected events", total.min(limit)));
    Ok(answer)
}

/// `rejected show`.
pub(super) fn rejected_one(books: &Books, position: &str) -> anyhow::Result<Answer> {
    let parsed =
        position.split_once('@').and_then(|(p, o)| Some((p.parse().ok()?, o.parse::<Offset>().ok()?)));
    let Some((partition, offset)) = parsed else {
        bail!("{position:?} is not a position such as 0@17");
    };
    let at = TopicPartition::new(Topic::Rejected, partition);
    let bounds = books.log.watermarks(at, Isolation::Committed)?;
    if !(bounds.low..bounds.high).contains(&offset) {
        return Ok(Answer::says(Ending::NotFound, format!("no rejected event at {position}")));
    }
    let mut reader = books.log.reader(&[(at, offset)], Isolation::Committed)?;
    let limit = stream::log::FetchLimit { records: 1, bytes: 1, wait: std::time::Duration::ZERO };
    let record = reader.poll(limit)?.into_iter().flat_map(|fetch| fetch.records).find(|r| r.offset == offset);
    let Some(record) = record else {
        return Ok(Answer::says(Ending::NotFound, format!("no rejected event at {position}")));
    };
    let mut table = Table::new("rejected event", &["field", "value"]);
    for header in &record.headers {
        let (name, value) = (String::from_utf8_lossy(&header.name), String::from_utf8_lossy(&header.value));
        table.row([name.into_owned().into(), value.into_owned().into()]);
    }
    let code = String::from_utf8_lossy(header(&record.headers, "ledgerflow-reason").unwrap_or_default())
        .into_owned();
    if let Some(reason) = schemas::reason::Reason::by_code(&code) {
        table.row(["meaning".into(), reason.meaning().into()]);
        table.row(["remedy".into(), reason.remedy().into()]);
    }
    table.row(["key".into(), String::from_utf8_lossy(&record.key).into_owned().into()]);
    let value = String::from_utf8(record.value.to_vec()).unwrap_or_else(|_| format!("{:?}", record.value));
    table.row(["value".into(), value.into()]);
    Ok(Answer::tables(vec![table]))
}
