//! Sending events, and those that were not booked.

use super::books::Books;
use super::outcomes::{Awaited, ends};
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::measure::recount::{next_record, range};
use anyhow::{Context, bail};
use bytes::Bytes;
use schemas::principal::HEADER;
use schemas::shards::stable_hash;
use schemas::topics::Topic;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use stream::log::{Header, Isolation, Log, Offset, OutRecord, Record, TopicPartition, header};
use stream::mutex::lock;

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

/// The header with the W3C trace context of an event.
pub const TRACEPARENT: &str = "traceparent";

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

/// Why that principal may not send to a lane: what others write there would be in the name of the one whose it is.
#[must_use]
pub fn not_admitted(books: &Books, lane: u8, principal: &str) -> Option<String> {
    let writers = books.setup.ingest.writers.get(usize::from(lane))?;
    let theirs = || format!("lane {lane} is {writers}'s alone (kafka.writers)");
    (!writers.admits(principal)).then(theirs)
}

/// `send`: appends events to a lane, with the header `traceparent` of the same place and the principal that sends them,
/// and waits until they are durable.
pub(super) fn send(
    books: &Books,
    lane: u8,
    events: &[Text],
    traceparents: &[Option<String>],
    principal: &str,
) -> anyhow::Result<Answer> {
    let topic = *Topic::LANES.get(usize::from(lane)).context("lane: expected 0, 1 or 2")?;
    let partitions = books.setup.counts.events;
    if let Some(why) = not_admitted(books, lane, principal) {
        bail!(why);
    }
    // Nobody else writes this header, and ingest believes it only where nobody else can.
    let stated = (!principal.is_empty()).then(|| Header::text(HEADER, principal.to_owned()));
    let sending = lock(&SENDING);
    let from = ends(books.log.as_ref())?;
    let mut next: BTreeMap<u32, Offset> = BTreeMap::new();
    let mut begin = BTreeMap::new();
    let mut records = Vec::with_capacity(events.len());
    let mut sent = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
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
        begin.entry(partition).or_insert(offset);
        next.insert(partition, offset + 1);
        sent.push(Sent { lane, partition, offset });
        let traceparent = traceparents.get(index).cloned().flatten();
        let traceparent = traceparent.map(|text| Header::text(TRACEPARENT, text));
        let headers = traceparent.into_iter().chain(stated.clone()).collect();
        records.push(OutRecord { headers, ..OutRecord::new(to, Bytes::copy_from_slice(text)) });
    }
    // Others write to the same topics on Kafka: there the places are those where the events are found.
    let ours = if books.embedded.is_none() { records.clone() } else { Vec::new() };
    let sequence = books.log.append(records)?;
    drop(sending);
    books.log.wait_durable(sequence, std::time::Duration::from_secs(10))?;
    if books.embedded.is_none() {
        find(books.log.as_ref(), &begin, &ours, &mut sent)?;
    }
    let message = format!("{} events accepted", sent.len());
    let awaited = Awaited { sent, asked: Vec::new(), from };
    Ok(Answer { awaited: Some(awaited), ..Answer::says(Ending::Done, message) })
}

/// Looks up where each of these records lies, from the offset on that its partition ended at before they were appended.
/// Which of several equal ones is ours makes no difference: they are the same event.
fn find(
    log: &dyn Log,
    begin: &BTreeMap<u32, Offset>,
    records: &[OutRecord],
    sent: &mut [Sent],
) -> anyhow::Result<()> {
    for (partition, from) in begin {
        let mut awaited: BTreeMap<&[u8], VecDeque<&mut Sent>> = BTreeMap::new();
        for (record, sent) in
            records.iter().zip(sent.iter_mut()).filter(|(r, _)| r.to.partition == *partition)
        {
            awaited.entry(record.value.as_ref()).or_default().push_back(sent);
        }
        let Some(at) = records.iter().map(|record| record.to).find(|to| to.partition == *partition) else {
            continue;
        };
        let until = log.watermarks(at, Isolation::Uncommitted)?.high;
        let mut reader = log.reader(&[(at, *from)], Isolation::Uncommitted)?;
        while !awaited.is_empty() {
            let record = next_record(reader.as_mut(), at, until)?;
            let record = record.with_context(|| format!("events that were accepted are not on {at}"))?;
            let Some(places) = awaited.get_mut(record.value.as_ref()) else { continue };
            if let Some(place) = places.pop_front() {
                place.offset = record.offset;
            }
            if places.is_empty() {
                awaited.remove(record.value.as_ref());
            }
        }
    }
    Ok(())
}

/// What ingest does with an event that it cannot make a command of.
const DEAD_LETTERED: &str = "dead-lettered";

/// A record of `rejected`, as its headers describe it.
pub(super) struct Rejected {
    /// Its own place.
    pub(super) at: String,
    /// What became of the event.
    pub(super) kind: &'static str,
    /// Reason code.
    pub(super) reason: String,
    /// For people.
    pub(super) detail: String,
    topic: String,
    partition: Option<u32>,
    offset: Option<Offset>,
}

impl Rejected {
    pub(super) fn of(from: TopicPartition, record: &Record) -> Self {
        let text =
            |name| String::from_utf8_lossy(header(&record.headers, name).unwrap_or_default()).into_owned();
        let refusal = header(&record.headers, "ledgerflow-kind") == Some(b"refusal");
        Self {
            at: format!("{}@{}", from.partition, record.offset),
            kind: if refusal { "refused" } else { DEAD_LETTERED },
            reason: text("ledgerflow-reason"),
            detail: text("__streams.errors.message"),
            topic: text("__streams.errors.topic"),
            partition: text("__streams.errors.partition").parse().ok(),
            offset: text("__streams.errors.offset").parse().ok(),
        }
    }

    /// Whether ingest set it aside: it has the event's own bytes.
    pub(super) fn is_dead_letter(&self) -> bool {
        self.kind == DEAD_LETTERED
    }

    /// Where the event lies.
    pub(super) fn place(&self) -> String {
        format!("{}/{}@{}", self.topic, self.partition.unwrap_or(0), self.offset.unwrap_or(0))
    }

    /// Where the event lies, when that is a lane.
    pub(super) fn sent(&self) -> Option<Sent> {
        let lane = Topic::LANES.iter().position(|topic| topic.name() == self.topic)?;
        Some(Sent { lane: u8::try_from(lane).ok()?, partition: self.partition?, offset: self.offset? })
    }
}

/// `rejected list`.
///
/// Without a reason to look for, the newest of each partition are enough; else all are read, and no more of them kept
/// than are shown.
pub(super) fn rejected(
    books: &Books,
    reason: Option<&str>,
    summary: bool,
    limit: usize,
) -> anyhow::Result<Answer> {
    let log = books.log.as_ref();
    let tail = if reason.is_none() && !summary { i64::try_from(limit).unwrap_or(i64::MAX) } else { i64::MAX };
    let mut newest: BTreeMap<(i64, u32, Offset), Rejected> = BTreeMap::new();
    let mut counts: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
    let mut total = 0;
    for partition in 0..log.partitions(Topic::Rejected)? {
        let at = TopicPartition::new(Topic::Rejected, partition);
        let bounds = log.watermarks(at, Isolation::Committed)?;
        let from = bounds.high.saturating_sub(tail).max(bounds.low);
        total += from - bounds.low;
        range(log, at, from, bounds.high, &mut |fetch| {
            for record in &fetch.records {
                let rejected = Rejected::of(at, record);
                if reason.is_some_and(|wanted| wanted != rejected.reason) {
                    continue;
                }
                total += 1;
                *counts.entry((rejected.kind, rejected.reason.clone())).or_default() += 1;
                newest.insert((record.timestamp_us, partition, record.offset), rejected);
                if newest.len() > limit {
                    newest.pop_first();
                }
            }
            Ok(())
        })?;
    }
    if summary {
        let mut table = Table::new("rejected", &["outcome", "reason", "count"]);
        for ((kind, reason), count) in counts {
            table.row([kind.into(), reason.into(), count.into()]);
        }
        return Ok(Answer::tables(vec![table]));
    }
    let shown = newest.len();
    let mut table = Table::new("rejected", &["position", "outcome", "reason", "detail", "event_at"]);
    for r in newest.into_values() {
        let place = r.place();
        table.row([r.at.into(), r.kind.into(), r.reason.into(), r.detail.into(), place.into()]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = Some(format!("{shown} of {total} rejected events"));
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
    let Some(record) = record_at(books.log.as_ref(), at, offset)? else {
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

/// The record at an offset, if it is there.
pub(super) fn record_at(log: &dyn Log, at: TopicPartition, offset: Offset) -> anyhow::Result<Option<Record>> {
    if at.partition >= log.partitions(at.topic)? {
        return Ok(None);
    }
    let bounds = log.watermarks(at, Isolation::Committed)?;
    if !(bounds.low..bounds.high).contains(&offset) {
        return Ok(None);
    }
    let mut reader = log.reader(&[(at, offset)], Isolation::Committed)?;
    Ok(next_record(reader.as_mut(), at, bounds.high)?.filter(|record| record.offset == offset))
}
