//! Posting bound to its topics: reads `credits` and `commands`, writes `journal`, `credits`, `rejected`.

use crate::config::PostingConfig;
use crate::decide;
use crate::overlay::Overlay;
use crate::state::{Change, Slot};
use bytes::Bytes;
use prost::Message;
use schemas::batch::{self, BODY_BYTES_MAX, BatchError, BodyBuilder, ChainHead, Opened};
use schemas::topics::Topic;
use schemas::wire::{
    BatchHeader, ChainMark, ChannelSequence, ChartVersion, CommandsBody, CreditItem, Decision, EdgeCount,
    InputRange, JournalBody, Outcome, command_item, journal_item::Item,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream::log::{Header, Offset, OutRecord, Record, TopicPartition};
use stream::processor::{self, Assigned, Changelog, Input, InputRecords, Processor, SlotState, Stop, Window};

/// Most records of one input in one window.
const RECORDS_MAX: usize = 256;
/// Bytes of a window that credits, which are read first, may take; the rest is for commands, ticks and markers.
const CREDITS_BYTES_MAX: usize = BODY_BYTES_MAX / 2;

/// The posting processor.
#[derive(Debug, Clone)]
pub struct Posting {
    config: Arc<PostingConfig>,
}

impl Posting {
    /// A processor of that configuration.
    #[must_use]
    pub fn new(config: PostingConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl Processor for Posting {
    type Slot = Slot;
    type Change = Change;

    fn name(&self) -> &'static str {
        "posting"
    }

    fn inputs(&self) -> Vec<Input> {
        [Topic::Credits, Topic::Commands]
            .map(|topic| Input { topic, assigned: Assigned::SameNumber, records_max: RECORDS_MAX })
            .to_vec()
    }

    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::Journal)
    }

    fn slots(&self) -> u32 {
        self.config.map.partitions()
    }

    fn open(&self, slot: u32) -> Slot {
        Slot::new(slot, Arc::clone(&self.config))
    }

    fn decide(&self, slot: &Slot, window: Window) -> Result<Option<processor::Decision<Change>>, Stop> {
        if !window.first && window.inputs.iter().all(|input| input.records.is_empty()) {
            return Ok(None);
        }
        let mut overlay = Overlay::new(slot, &self.config, window.batch);
        if slot.chart_hash != self.config.chart_hash {
            let hash = Bytes::copy_from_slice(&self.config.chart_hash);
            overlay.journal(Item::Chart(ChartVersion { version: self.config.chart.version, hash }));
        }
        let mut read = Read::default();
        for input in &window.inputs {
            read.input(&mut overlay, input, slot)?;
        }
        overlay
            .close_window()
            .map_err(|r| stop(slot, TopicPartition::new(Topic::Journal, slot.slot), 0, &r.detail))?;
        Ok(Some(seal(slot, overlay, &window, read)))
    }

    fn apply(&self, slot: &mut Slot, change: Change) {
        slot.apply(change);
    }

    fn replay(&self, slot: &mut Slot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        let wrong = |e: BatchError| stop(slot, from, record.offset, &e.to_string());
        let opened = batch::open(&record.value).map_err(wrong)?;
        if opened.header.sequence <= slot.journal.sequence {
            return Ok(());
        }
        slot.journal.accept(&opened).map_err(wrong)?;
        let body: JournalBody = opened.body().map_err(wrong)?;
        opened.expect_count(body.item.len()).map_err(wrong)?;
        slot.apply(Change { header: opened.header, hash: opened.hash, items: body.item });
        Ok(())
    }
}

fn stop(slot: &Slot, from: TopicPartition, offset: Offset, why: &str) -> Stop {
    Stop::at(slot.slot, from, offset, why)
}

/// What the window has read so far.
#[derive(Default)]
struct Read {
    ranges: Vec<InputRange>,
    consumed: Vec<(TopicPartition, Offset)>,
    bytes: usize,
}

impl Read {
    /// Takes records of one input until the window, or the input's share of it, is full; the rest waits. One
    /// record is always taken, so that no input waits for another.
    fn input(&mut self, overlay: &mut Overlay<'_>, input: &InputRecords, slot: &Slot) -> Result<(), Stop> {
        let mut next = input.position;
        let bytes_max = if input.from.topic == Topic::Credits { CREDITS_BYTES_MAX } else { BODY_BYTES_MAX };
        for (index, record) in input.records.iter().enumerate() {
            if index > 0 && self.bytes + record.value.len() > bytes_max {
                break;
            }
            let opened = batch::open(&record.value).map_err(|e| e.to_string());
            let taken = opened.and_then(|opened| match input.from.topic {
                Topic::Commands => take_commands(overlay, &opened),
                _ => take_credits(overlay, &opened),
            });
            taken.map_err(|why| stop(slot, input.from, record.offset, &why))?;
            self.bytes += record.value.len();
            next = if index + 1 == input.records.len() { input.next } else { record.offset + 1 };
        }
        if input.records.is_empty() {
            next = input.next;
        }
        self.consumed.push((input.from, next));
        self.ranges.push(InputRange {
            topic: input.from.topic.name().to_owned(),
            partition: input.from.partition,
            from: input.position,
            to: next,
        });
        Ok(())
    }
}

fn take_commands(overlay: &mut Overlay<'_>, opened: &Opened) -> Result<(), String> {
    let from = opened.header.slot;
    let slots = overlay.config.ingest_slots;
    if from >= slots {
        return Err(format!("a batch of ingest slot {from}, but there are {slots}"));
    }
    let known = overlay.commands.get(&from).or_else(|| overlay.base.commands.get(&from)).copied();
    let head = known.unwrap_or_default().accept(opened).map_err(|e| e.to_string())?;
    let body: CommandsBody = opened.body().map_err(|e| e.to_string())?;
    opened.expect_count(body.item.len()).map_err(|e| e.to_string())?;
    overlay.commands.insert(from, head);
    for item in body.item {
        match item.item {
            Some(command_item::Item::Command(command)) => decide::command(overlay, command, from)?,
            Some(command_item::Item::Tick(tick)) => overlay.journal(Item::Tick(tick)),
            Some(command_item::Item::DayMarker(marker)) => decide::ingest_marker(overlay, from, marker)?,
            None => return Err("a command item is empty or of a kind this version does not know".into()),
        }
    }
    Ok(())
}

fn take_credits(overlay: &mut Overlay<'_>, opened: &Opened) -> Result<(), String> {
    let (from, partitions) = (opened.header.slot, overlay.config.map.partitions());
    if from >= partitions {
        return Err(format!("a batch of partition {from}, but there are {partitions}"));
    }
    let items = batch::split_items(&opened.body).map_err(|e| e.to_string())?;
    opened.expect_count(items.len()).map_err(|e| e.to_string())?;
    items.iter().try_for_each(|item| decide::channel_item(overlay, from, item))
}

/// Encodes the window: credits batches, refusals, and last the journal batch that names them all.
fn seal(slot: &Slot, mut overlay: Overlay<'_>, window: &Window, read: Read) -> processor::Decision<Change> {
    let header = BatchHeader {
        slot: slot.slot,
        epoch: window.epoch,
        batch: window.batch,
        input: read.ranges,
        written_at_us: window.wall_us,
        ..BatchHeader::default()
    };
    let sent = std::mem::take(&mut overlay.sent);
    let (mut records, channel) = seal_credits(slot, &header, sent);
    let refusals = refusals(slot, &overlay, window.batch);
    let mut journal = BodyBuilder::new();
    overlay.items.iter().for_each(|item| journal.push(item));
    let sealed = journal.seal(BatchHeader {
        sequence: slot.journal.sequence + 1,
        previous_hash: slot.journal.previous_hash(),
        channel,
        edge: edge_counts(refusals.len()),
        mark: marks(&overlay),
        ..header
    });
    records.extend(refusals);
    records.push(OutRecord::new(TopicPartition::new(Topic::Journal, slot.slot), sealed.value));
    processor::Decision {
        items: overlay.items.len() as u64,
        change: Change { header: sealed.header, hash: sealed.hash, items: overlay.items },
        records,
        consumed: read.consumed,
        hash: sealed.hash,
    }
}

fn edge_counts(refusals: usize) -> Vec<EdgeCount> {
    let records = u32::try_from(refusals).unwrap_or(u32::MAX);
    if records == 0 {
        Vec::new()
    } else {
        vec![EdgeCount { topic: Topic::Rejected.name().to_owned(), records }]
    }
}

fn marks(overlay: &Overlay<'_>) -> Vec<ChainMark> {
    let commands = overlay.commands.iter().map(|(slot, head)| ChainMark {
        topic: Topic::Commands.name().to_owned(),
        slot: *slot,
        sequence: head.sequence,
        hash: Bytes::copy_from_slice(&head.hash),
    });
    let credits = overlay.incoming.iter().map(|(slot, channel)| ChainMark {
        topic: Topic::Credits.name().to_owned(),
        slot: *slot,
        sequence: channel.mark,
        hash: Bytes::copy_from_slice(&channel.hash),
    });
    commands.chain(credits).collect()
}

fn seal_credits(
    slot: &Slot,
    header: &BatchHeader,
    sent: BTreeMap<u32, Vec<CreditItem>>,
) -> (Vec<OutRecord>, Vec<ChannelSequence>) {
    let mut channels: BTreeMap<u32, ChannelSequence> = slot
        .outgoing
        .iter()
        .map(|(to, out)| {
            (*to, ChannelSequence { partition: *to, sequence: out.sequence, ..Default::default() })
        })
        .collect();
    let mut records = Vec::new();
    for (to, items) in sent {
        let mut head = slot.outgoing.get(&to).map(|out| out.chain).unwrap_or_default();
        let last = items.last().map_or(0, |item| item.sequence);
        let mut body = BodyBuilder::new();
        let mut flush = |body: BodyBuilder, head: &mut ChainHead| {
            let sealed = body.seal(BatchHeader {
                sequence: head.sequence + 1,
                previous_hash: head.previous_hash(),
                ..header.clone()
            });
            *head = head.advanced(sealed.hash);
            records.push(OutRecord::new(TopicPartition::new(Topic::Credits, to), sealed.value));
        };
        for item in items {
            if !body.is_empty() && body.len() + item.encoded_len() > BODY_BYTES_MAX {
                flush(std::mem::take(&mut body), &mut head);
            }
            body.push(&item);
        }
        flush(body, &mut head);
        let batch_hash = Bytes::copy_from_slice(&head.hash);
        let channel =
            ChannelSequence { partition: to, sequence: last, batch_sequence: head.sequence, batch_hash };
        channels.insert(to, channel);
    }
    (records, channels.into_values().collect())
}

/// What posting writes to `rejected`, as JSON.
#[derive(serde::Serialize)]
struct RefusalJson<'a> {
    format: u32,
    kind: &'static str,
    source: &'a str,
    id: &'a str,
    r#type: &'a str,
    subject: &'a str,
    reason: &'a str,
    detail: &'a str,
    retryable: bool,
    lane: u32,
    event_partition: u32,
    event_offset: i64,
    posting_slot: u32,
    posting_batch: u64,
}

fn refusals(slot: &Slot, overlay: &Overlay<'_>, batch: u64) -> Vec<OutRecord> {
    let refused = overlay.items.iter().filter_map(|item| match &item.item {
        Some(Item::Decision(d)) if d.outcome() == Outcome::Refused => Some(d),
        _ => None,
    });
    refused.map(|decision| refusal_record(slot.slot, decision, batch)).collect()
}

fn refusal_record(slot: u32, decision: &Decision, batch: u64) -> OutRecord {
    let (source, id) = decision.event.as_ref().map_or(("", ""), |e| (e.source.as_str(), e.id.as_str()));
    let json = RefusalJson {
        format: 1,
        kind: "refusal",
        source,
        id,
        r#type: &decision.r#type,
        subject: &decision.subject,
        reason: &decision.reason,
        detail: &decision.detail,
        retryable: decision.retryable,
        lane: decision.lane,
        event_partition: decision.event_partition,
        event_offset: decision.event_offset,
        posting_slot: slot,
        posting_batch: batch,
    };
    let value = serde_json::to_vec(&json).unwrap_or_default();
    let lane = usize::try_from(decision.lane).ok().and_then(|lane| Topic::LANES.get(lane));
    let mut headers = vec![
        Header::text("__streams.errors.exception", decision.reason.clone()),
        Header::text("__streams.errors.message", decision.detail.clone()),
        Header::text("__streams.errors.topic", lane.map_or("", |topic| topic.name())),
        Header::text("__streams.errors.partition", decision.event_partition.to_string()),
        Header::text("__streams.errors.offset", decision.event_offset.to_string()),
        Header::text("ledgerflow-kind", "refusal"),
        Header::text("ledgerflow-reason", decision.reason.clone()),
        Header::text("ledgerflow-retryable", decision.retryable.to_string()),
    ];
    if !decision.traceparent.is_empty() {
        headers.push(Header::text("traceparent", decision.traceparent.clone()));
    }
    OutRecord {
        to: TopicPartition::new(Topic::Rejected, slot),
        key: Bytes::from(format!("{source}|{id}")),
        value: Bytes::from(value),
        headers,
    }
}

/// Whether restoring from the journal alone gives this state: the pairs that differ, by key.
#[must_use]
pub fn differing_keys(a: &Slot, b: &Slot) -> Vec<Vec<u8>> {
    let (a, b) = (a.canonical(), b.canonical());
    let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) = (a.into_iter().collect(), b.into_iter().collect());
    let keys = a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key));
    keys.cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}
