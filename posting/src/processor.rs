//! Posting bound to its topics: reads `credits` and `commands`, writes `journal`, `credits`, `rejected`.

use crate::channels::Outgoing;
use crate::config::PostingConfig;
use crate::decide::Ahead;
use crate::effects::Effect;
use crate::outbox::Outbox;
use crate::overlay::Overlay;
use crate::state::{Change, Slot};
use crate::views::CommandItemView;
use crate::{
    adjustment, decide, gaps, groups, holds, horizon, markers, receive, recheck, resend, reversal, room,
};
use bytes::Bytes;
use prost::Message;
use schemas::batch::{self, BODY_BYTES_MAX, BatchError, Opened};
use schemas::topics::Topic;
use schemas::wire::{
    BatchHeader, ChainMark, ChannelSequence, ChartVersion, EdgeCount, InputRange, JournalBody, Tick,
    journal_item::Item,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream::log::{Offset, OutRecord, Record, TopicPartition};
use stream::processor::{
    self, Assigned, Changelog, ChannelEnd, Input, InputRecords, LookBack, Processor, Stop, Window,
};

/// Name of the processor and of its consumer group.
pub const NAME: &str = "posting";
/// Most records of one input in one window.
const RECORDS_MAX: usize = 256;
/// Bytes of a window that credits, which are read first, may take; the rest is for commands, ticks and markers.
const CREDITS_BYTES_MAX: usize = BODY_BYTES_MAX / 2;

/// So many items are read before they are judged, so that what they look up is fetched together.
pub const AHEAD: usize = 32;

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
        NAME
    }

    fn inputs(&self) -> Vec<Input> {
        [Topic::Credits, Topic::Commands]
            .map(|topic| Input::new(topic, Assigned::SameNumber, RECORDS_MAX))
            .to_vec()
    }

    fn changelog(&self) -> Changelog {
        Changelog::Own(Topic::Journal)
    }

    fn slots(&self) -> u32 {
        self.config.map.partitions()
    }

    fn open(&self, slot: u32) -> Slot {
        Slot::with_id_pages(slot, self.config.id_page_rows)
    }

    fn looks_back(&self, slot: &Slot, window: &Window<'_>) -> Vec<LookBack> {
        let credits = window.inputs.iter().find(|input| input.from.topic == Topic::Credits);
        let old = credits.and_then(|credits| recheck::looks_back(slot, credits, CREDITS_BYTES_MAX));
        old.into_iter().chain(resend::looks_back(slot)).chain(reversal::looks_back(slot)).collect()
    }

    fn glean(&self, _slot: u32, sought: &LookBack, batch: &Opened) -> Result<Vec<Bytes>, String> {
        match sought.end {
            ChannelEnd::Taken(from) => recheck::checks_taken(from, sought, batch),
            ChannelEnd::Sent(to) => resend::items_sent(to, sought, batch),
            ChannelEnd::Batch(event) => reversal::decision_of(event, batch),
        }
    }

    fn decide(
        &self,
        slot: &Slot,
        mut window: Window<'_>,
    ) -> Result<Option<processor::Decision<Change>>, Stop> {
        if !window.first && window.inputs.iter().all(|input| input.records.is_empty()) {
            return Ok(None);
        }
        let mut overlay = Overlay::new(slot, &self.config, window.batch, input_bytes(&window));
        overlay.looked_back = std::mem::take(&mut window.looked_back);
        if slot.chart_hash != self.config.chart_hash {
            let hash = Bytes::copy_from_slice(&self.config.chart_hash);
            overlay.journal(Item::Chart(ChartVersion { version: self.config.chart.version, hash }));
        }
        let mut read = Read { reserved: reserved(&self.config, &window), ..Read::default() };
        for input in &window.inputs {
            read.input(&mut overlay, input, slot)?;
        }
        if !window.first && read.records == 0 {
            return Ok(None);
        }
        let journal = TopicPartition::new(Topic::Journal, slot.slot);
        groups::conclude(&mut overlay).map_err(|why| stop(slot, journal, 0, &why))?;
        holds::expire(&mut overlay);
        adjustment::expire(&mut overlay);
        gaps::ask(&mut overlay);
        horizon::advance(&mut overlay);
        overlay.close_window().map_err(|r| stop(slot, journal, 0, &r.detail))?;
        resend::sending(&mut overlay).map_err(|why| stop(slot, journal, 0, &why))?;
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
        let (mut effects, batch) = (Vec::new(), opened.header.batch);
        for item in body.item {
            // A newer program may have written it: a state without it would be wrong, and nobody would know.
            let unknown = || wrong(BatchError::Decode("an item of a kind this program does not know".into()));
            let item = item.item.ok_or_else(unknown)?;
            Effect::of(item, slot.slot, batch, &mut effects);
        }
        slot.apply(Change { header: opened.header, hash: opened.hash, effects, rows: Vec::new() });
        Ok(())
    }
}

fn stop(slot: &Slot, from: TopicPartition, offset: Offset, why: &str) -> Stop {
    Stop::at(slot.slot, from, offset, why)
}

/// Bytes that the window will read, about.
fn input_bytes(window: &Window) -> usize {
    let records = window.inputs.iter().flat_map(|input| &input.records);
    records.map(|record| record.value.len()).sum::<usize>().min(CREDITS_BYTES_MAX + BODY_BYTES_MAX)
}

/// What the window has read so far.
#[derive(Default)]
struct Read {
    ranges: Vec<InputRange>,
    consumed: Vec<(TopicPartition, Offset)>,
    bytes: usize,
    records: usize,
    /// Bytes of the journal batch that credits leave to commands.
    reserved: usize,
    /// Something that could be taken was left for want of room.
    full: bool,
}

/// In every other window the first record of commands has its place beside any credits: where the two do not fit
/// together, they take turns.
fn reserved(config: &PostingConfig, window: &Window<'_>) -> usize {
    let commands = window.inputs.iter().find(|input| input.from.topic == Topic::Commands);
    match commands.and_then(|commands| commands.records.first()) {
        Some(record)
            if window.batch % 2 == 1 && window.inputs.iter().all(|input| !input.records.is_empty()) =>
        {
            room::most(config, Topic::Commands, &record.value, 0)
        }
        _ => 0,
    }
}

impl Read {
    /// Takes records of one input until the window, or the input's share of it, or the journal batch is full; the rest
    /// waits. The first record of a window is always taken, and of either input in every other window; except that
    /// credits wait for what the journal says of items that came before.
    fn input(&mut self, overlay: &mut Overlay<'_>, input: &InputRecords, slot: &Slot) -> Result<(), Stop> {
        let mut next = input.position;
        let bytes_max = if input.from.topic == Topic::Credits { CREDITS_BYTES_MAX } else { BODY_BYTES_MAX };
        for (index, record) in input.records.iter().enumerate() {
            if index > 0 && self.bytes + record.value.len() > bytes_max {
                self.full = true;
                break;
            }
            let turn = if input.from.topic == Topic::Credits { self.reserved } else { 0 };
            let first = self.records == 0 && turn == 0;
            let reserved = turn + if slot.groups.is_empty() { 0 } else { room::CONCLUDE_BYTES };
            if !first && !room::fits(overlay, input.from.topic, &record.value, reserved) {
                self.full = true;
                break;
            }
            let wrong = |why: String| stop(slot, input.from, record.offset, &why);
            let opened = batch::open(&record.value).map_err(|e| wrong(e.to_string()))?;
            if input.from.topic == Topic::Credits && recheck::waits(overlay, &opened) {
                break;
            }
            let taken = match input.from.topic {
                Topic::Commands => take_commands(overlay, &opened),
                _ => take_credits(overlay, &opened),
            };
            taken.map_err(wrong)?;
            self.bytes += record.value.len();
            self.records += 1;
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
    overlay.commands.insert(from, head);
    let mut items = batch::items(&opened.body);
    let (mut some, mut count) = (Vec::with_capacity(AHEAD), 0);
    loop {
        some.clear();
        items.by_ref().take(AHEAD).try_for_each(|item| command_item(item, &mut some))?;
        if some.is_empty() {
            return opened.expect_count(count).map_err(|e| e.to_string());
        }
        count += some.len();
        judge_some(overlay, &some, from)?;
    }
}

fn command_item<'a>(
    item: Result<&'a [u8], BatchError>,
    to: &mut Vec<CommandItemView<'a>>,
) -> Result<(), String> {
    let item = item.map_err(|e| e.to_string())?;
    CommandItemView::read_to(item, to).map_err(|e| format!("a command item {e}"))
}

/// Judges these of ingest slot `from`, in order; the commands among them are looked up together first.
///
/// # Errors
/// What breaks the protocol, in words.
pub fn judge_some(overlay: &mut Overlay<'_>, some: &[CommandItemView<'_>], from: u32) -> Result<(), String> {
    let commands = some.iter().filter_map(|item| match item {
        CommandItemView::Command(command) => Some(command),
        _ => None,
    });
    let ahead = Ahead::of(overlay, commands);
    let mut ahead = ahead.each();
    for item in some {
        match item {
            CommandItemView::Command(_) => {
                ahead.next().map_or(Ok(()), |command| decide::command(overlay, command, from))?;
            }
            CommandItemView::Tick(encoded) => {
                let tick = Tick::decode(*encoded).map_err(|e| format!("a tick does not decode: {e}"))?;
                overlay.tick(encoded, tick.business_time_us);
            }
            CommandItemView::DayMarker(marker) => markers::of_ingest(overlay, from, marker.clone())?,
        }
    }
    Ok(())
}

fn take_credits(overlay: &mut Overlay<'_>, opened: &Opened) -> Result<(), String> {
    let (from, partitions) = (opened.header.slot, overlay.config.map.partitions());
    if from >= partitions {
        return Err(format!("a batch of partition {from}, but there are {partitions}"));
    }
    let mut items = batch::items(&opened.body);
    let mut count = 0;
    loop {
        let read = |item: Result<_, BatchError>| receive::view(from, item.map_err(|e| e.to_string())?);
        let mut some: Vec<_> = items.by_ref().take(AHEAD).map(read).collect::<Result<_, String>>()?;
        if some.is_empty() {
            return opened.expect_count(count).map_err(|e| e.to_string());
        }
        count += some.len();
        receive::fetch(overlay, &mut some);
        some.into_iter()
            .try_for_each(|(encoded, item)| receive::channel_item(overlay, from, encoded, item))?;
    }
}

/// Seals the window: credits batches, refusals, and last the journal batch that names them all.
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
    let (mut records, mut channel) = seal_credits(slot, &header, sent);
    count_taken(&overlay, &mut channel);
    let mark = marks(&overlay);
    let items = overlay.journal.count();
    let sealed = overlay.journal.seal(BatchHeader {
        sequence: slot.journal.sequence + 1,
        previous_hash: slot.journal.previous_hash(),
        channel: channel.into_values().collect(),
        edge: edge_counts(overlay.refusals.len()),
        mark,
        ..header
    });
    records.append(&mut overlay.refusals);
    records.push(OutRecord::new(TopicPartition::new(Topic::Journal, slot.slot), sealed.value));
    processor::Decision {
        items: items.into(),
        change: Change {
            header: sealed.header,
            hash: sealed.hash,
            effects: overlay.effects,
            rows: overlay.rows,
        },
        records,
        consumed: read.consumed,
        hash: sealed.hash,
        more: read.full,
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

/// Up to where the window has taken each chain that it reads.
#[must_use]
pub fn marks(overlay: &Overlay<'_>) -> Vec<ChainMark> {
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
    sent: BTreeMap<u32, Outbox>,
) -> (Vec<OutRecord>, BTreeMap<u32, ChannelSequence>) {
    let unchanged = |(to, out): (&u32, &Outgoing)| {
        (*to, ChannelSequence { partition: *to, sequence: out.sequence, ..Default::default() })
    };
    let mut channels: BTreeMap<u32, ChannelSequence> = slot.outgoing.iter().map(unchanged).collect();
    let mut records = Vec::new();
    for (to, outbox) in sent {
        let head = slot.outgoing.get(&to).map(|out| out.chain).unwrap_or_default();
        let (values, channel) = outbox.seal(header, head, to);
        let at = TopicPartition::new(Topic::Credits, to);
        records.extend(values.into_iter().map(|value| OutRecord::new(at, value)));
        channels.insert(to, channel);
    }
    (records, channels)
}

/// Adds to the channels how far each was taken.
fn count_taken(overlay: &Overlay<'_>, channels: &mut BTreeMap<u32, ChannelSequence>) {
    let unchanged = overlay.base.incoming.iter().filter(|(from, _)| !overlay.incoming.contains_key(from));
    for (from, incoming) in unchanged.chain(&overlay.incoming).filter(|(_, incoming)| incoming.mark > 0) {
        let none = ChannelSequence { partition: *from, ..ChannelSequence::default() };
        channels.entry(*from).or_insert(none).taken = incoming.mark;
    }
}
