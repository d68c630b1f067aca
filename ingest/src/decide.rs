//! What a window comes to. Pure: reads the slot's state and the window, writes neither.
//!
//! First the plan (which days are announced, how much of each lane is taken, whether a tick is due), because every
//! batch names the input ranges; then markers, events lane by lane, the tick (the first events come behind a tick, too); then everything is sealed, the batch
//! of `ingest.state` last.

use crate::command::Command;
use crate::config::IngestConfig;
use crate::dating::{Dates, Dating};
use crate::dead_letter::dead_letter;
use crate::lanes::LANES;
use crate::mapping::{Mapped, map_event};
use crate::outgoing::Commands;
use crate::plan::{Plan, position_after};
use crate::principals::Writers;
use crate::rules::Rule;
use crate::state::{Change, Days, IngestSlot};
use crate::state::{day_count_item, last_read_item, sent_item};
use crate::totals::Totals;
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::body_hash::{BodyHash, Canonical};
use schemas::cloudevents::{self, Event};
use schemas::dates::Day;
use schemas::json::Space;
use schemas::reason::Reason;
use schemas::rejection::{Faults, Rejection};
use schemas::topics::Topic;
use schemas::wire::command_item::Item as Outgoing;
use schemas::wire::ingest_state_item::Item;
use schemas::wire::{BatchHeader, ChannelSequence, CommandItem, DayMarker, DaySwitch, EdgeCount};
use schemas::wire::{IngestCounts, IngestStateItem, InputRange, LaneProgress, Tick};
use std::collections::BTreeMap;
use stream::log::{Offset, OutRecord, Record, TopicPartition};
use stream::processor::{Decision, InputRecords, LastRead, Stop, Window, record_hash};

/// Judges a window.
pub(crate) fn decide(
    config: &IngestConfig,
    state: &IngestSlot,
    window: &Window,
) -> Result<Option<Decision<Change>>, Stop> {
    check_head(state, window)?;
    let plan = Plan::of(config, state, window)?;
    if plan.is_idle() && !window.first {
        return Ok(None);
    }
    let mut draft = Draft::new(config, state, window, &plan);
    for day in &plan.switches {
        draft.switch_to(*day);
    }
    // Whoever reads the first events of this slot knows what time it is.
    if state.tick.is_none() && plan.taken != [0; LANES] {
        draft.first_tick();
    }
    for (lane, taken) in plan.taken.iter().enumerate() {
        let Some(input) = plan.lanes.get(lane).copied().flatten() else { continue };
        for record in input.records.iter().take(*taken) {
            draft.event(lane, input.from, record);
        }
    }
    if plan.tick_due {
        draft.tick(&plan);
    }
    Ok(Some(draft.seal(&plan)))
}

fn check_head(state: &IngestSlot, window: &Window) -> Result<(), Stop> {
    if window.batch == state.head.sequence + 1 && window.previous_hash == state.head.hash {
        return Ok(());
    }
    Err(Stop {
        slot: window.slot,
        at: format!("window {}", window.batch),
        why: format!("the state is that of window {}, or of another history", state.head.sequence),
    })
}

/// The window being decided.
struct Draft<'w> {
    config: &'w IngestConfig,
    state: &'w IngestSlot,
    window: &'w Window<'w>,
    /// What every batch of the window carries.
    header: BatchHeader,
    dating: Option<Dating>,
    items: Vec<Item>,
    commands: Commands,
    totals: Totals<'w>,
    rejected: Vec<OutRecord>,
    counts: IngestCounts,
    tick: Option<Tick>,
    // Buffers that serve one event after another.
    canonical: Canonical,
    mapped: Mapped<'w>,
    space: Space,
}

/// An event that became a command; its legs are in [`Draft::mapped`].
struct Judged<'w> {
    rule: &'w Rule,
    body_hash: BodyHash,
    dates: Dates,
    /// Partition of its home.
    home: u32,
}

impl<'w> Draft<'w> {
    fn new(config: &'w IngestConfig, state: &'w IngestSlot, window: &'w Window<'w>, plan: &Plan<'_>) -> Self {
        let range = |(input, taken): (&InputRecords, usize)| InputRange {
            topic: input.from.topic.name().into(),
            partition: input.from.partition,
            from: input.position,
            to: position_after(input, taken),
        };
        let header = BatchHeader {
            generation: config.generation,
            slot: window.slot,
            epoch: window.epoch,
            batch: window.batch,
            input: plan.inputs().map(range).collect(),
            written_at_us: window.wall_us,
            ..BatchHeader::default()
        };
        let mut counts = state.counts.clone();
        counts.received_by_lane.resize(LANES, 0);
        let partitions = config.map.partitions();
        let events = plan.taken.iter().sum();
        Self {
            config,
            state,
            window,
            header,
            dating: state.days(&config.book).map(|days| Dating::new(days, &config.calendar)),
            items: Vec::new(),
            commands: Commands::new(&state.sent, partitions, events, &config.chart),
            totals: Totals::new(state, &config.book, partitions),
            rejected: Vec::new(),
            counts,
            tick: None,
            canonical: Canonical::default(),
            mapped: Mapped::default(),
            space: Space::default(),
        }
    }

    fn send(&mut self, partition: u32, item: &CommandItem) {
        self.commands.push(partition, &self.header, |body| body.push(item));
    }

    fn partitions(&self) -> std::ops::Range<u32> {
        0..self.config.map.partitions()
    }

    /// Ends the day in force, if there is one, with a marker on every commands partition.
    fn switch_to(&mut self, day: Day) {
        let book = &self.config.book;
        let before = self.dating.as_ref().map(|dating| dating.days);
        if let Some(Days { current, .. }) = before {
            for partition in self.partitions() {
                let total = self.state.day_totals.get(&(book.clone(), current, partition));
                let (count, sum) = total.map_or((0, Vec::new()), |total| (total.count, total.wire_sums()));
                let marker = DayMarker { book: book.clone(), date: current.0, count, sum, last_sequence: 0 };
                self.send(partition, &CommandItem { item: Some(Outgoing::DayMarker(marker)) });
            }
        }
        let days = Days { first: before.map_or(day, |days| days.first), current: day };
        self.dating = Some(Dating::new(days, &self.config.calendar));
        self.items.push(Item::DaySwitch(DaySwitch { book: book.clone(), date: day.0 }));
    }

    /// One event: a command to its home, or a dead letter.
    fn event(&mut self, lane: usize, from: TopicPartition, record: &Record) {
        self.counts.received += 1;
        if let Some(received) = self.counts.received_by_lane.get_mut(lane) {
            *received += 1;
        }
        let mut faults = Faults::default();
        let writers = self.config.settings.writers.get(lane).unwrap_or(&Writers::Anyone);
        let headers = record.headers.iter().map(|header| (header.name.as_ref(), header.value.as_ref()));
        let headers = headers.filter(|(name, _)| !writers.is_door_header(name));
        let bytes_max = self.config.settings.event_bytes_max;
        let space = std::mem::take(&mut self.space);
        let event = cloudevents::read_in(space, headers, &record.value, bytes_max, &mut faults);
        let judged = event.as_ref().and_then(|event| Some((event, self.judge(event, &mut faults)?)));
        match (faults.into_first(), judged) {
            (None, Some((event, judged))) => {
                self.counts.forwarded += 1;
                let principal = writers.principal(&record.headers);
                self.send_command((lane, record.offset), event, &judged, principal);
            }
            (rejection, _) => self.reject(from, record, rejection),
        }
        self.space = event.map(Event::into_space).unwrap_or_default();
    }

    fn reject(&mut self, from: TopicPartition, record: &Record, rejection: Option<Rejection>) {
        let rejection = rejection.unwrap_or_else(|| Rejection {
            reason: Reason::Internal,
            detail: "neither a command nor a fault".into(),
        });
        let slot = self.window.slot % self.config.map.partitions();
        let to = TopicPartition::new(Topic::Rejected, slot);
        self.counts.dead_lettered += 1;
        self.rejected.push(dead_letter(to, from, record, rejection));
    }

    /// Maps an event and finds its dates and its home; good only if `faults` is empty afterwards.
    fn judge(&mut self, event: &Event<'_>, faults: &mut Faults) -> Option<Judged<'w>> {
        let config = self.config;
        self.check_future(event, faults);
        let dates = match self.dating.as_ref()?.dates(event.time_us, config) {
            Ok(dates) => Some(dates),
            Err(error) => {
                faults.note(Reason::BadField, || format!("time: {error}"));
                None
            }
        };
        let Some(rule) = config.rules.for_type(&event.kind) else {
            faults.note(Reason::UnknownType, || format!("type: {}", schemas::rejection::quote(&event.kind)));
            return None;
        };
        map_event(rule, (&config.rules, &config.chart), event.data(), &mut self.mapped, faults);
        let hash =
            self.canonical.body_hash(&event.kind, event.subject.as_deref(), event.data(), &rule.amounts);
        let body_hash = hash.unwrap_or_else(|error| {
            faults.note(Reason::BadField, || error.to_string());
            [0; 16]
        });
        let dates = dates.filter(|_| faults.is_empty())?;
        let home = config.map.partition_of(event.routing_key());
        if !dates.back_dated {
            self.totals.count(home, dates.accounting, &self.mapped);
        }
        Some(Judged { rule, body_hash, dates, home })
    }

    fn send_command(
        &mut self,
        (lane, offset): (usize, Offset),
        event: &Event<'_>,
        judged: &Judged<'_>,
        principal: &str,
    ) {
        let Judged { rule, body_hash, dates, home } = judged;
        let command = Command {
            source: &event.source,
            id: &event.id,
            kind: &event.kind,
            subject: event.subject.as_deref().unwrap_or_default(),
            body_hash: *body_hash,
            occurred_at_us: event.time_us,
            accounting_date: dates.accounting.0,
            value_date: dates.value.0,
            back_dated: dates.back_dated,
            book: &self.config.book,
            rule: &rule.kind,
            rule_version: self.config.rules.version,
            mapped: &self.mapped,
            lane: u32::try_from(lane).unwrap_or(u32::MAX),
            event_partition: self.window.slot,
            event_offset: offset,
            traceparent: event.traceparent.as_deref().unwrap_or_default(),
            principal,
        };
        self.commands.push(*home, &self.header, |body| body.push_with(|item| command.write_item(item)));
    }

    fn check_future(&self, event: &Event<'_>, faults: &mut Faults) {
        let bound_ms = self.config.settings.future_bound_ms;
        let bound_us = i64::try_from(bound_ms).unwrap_or(i64::MAX).saturating_mul(1000);
        if bound_ms > 0 && event.time_us > self.window.business_us.saturating_add(bound_us) {
            faults.note(Reason::BadField, || {
                let time = schemas::dates::format_instant(event.time_us);
                format!("time: {time} is more than {} s ahead of business time", bound_ms / 1000)
            });
        }
    }

    /// Business time to every commands partition, of no lane anything being read yet.
    fn first_tick(&mut self) {
        let (business_time_us, ingest_slot) = (self.window.business_us, self.window.slot);
        let tick = Tick { business_time_us, ingest_slot, lane: Vec::new() };
        let item = CommandItem { item: Some(Outgoing::Tick(tick)) };
        for partition in self.partitions() {
            self.send(partition, &item);
        }
    }

    /// Business time to every commands partition. A lane of which nothing was left unread is read up to now.
    fn tick(&mut self, plan: &Plan<'_>) {
        let now = self.window.business_us;
        let before = self.state.tick.as_ref().map_or(&[][..], |tick| tick.lane.as_slice());
        let progress = |lane: usize| {
            let before = before.get(lane).map_or(i64::MIN, |lane| lane.read_until_us);
            let read = plan.lanes.get(lane).copied().flatten().is_some_and(|input| {
                input.drained && plan.taken.get(lane).is_some_and(|taken| *taken == input.records.len())
            });
            let read_until_us = if read { now.max(before) } else { before };
            LaneProgress { lane: u32::try_from(lane).unwrap_or(u32::MAX), read_until_us }
        };
        let lane = (0..LANES).map(progress).collect();
        let tick = Tick { business_time_us: now, ingest_slot: self.window.slot, lane };
        let item = CommandItem { item: Some(Outgoing::Tick(tick.clone())) };
        for partition in self.partitions() {
            self.send(partition, &item);
        }
        self.tick = Some(tick);
    }

    /// Seals every batch, `ingest.state` last.
    fn seal(mut self, plan: &Plan<'_>) -> Decision<Change> {
        let mut records = Vec::new();
        let mut heads = self.state.sent.clone();
        let mut items = std::mem::take(&mut self.items);
        if let Some(Dating { days, .. }) = &self.dating {
            let changed = self.totals.changed();
            items.extend(
                changed.map(|(at, total)| day_count_item(&self.config.book, days.current, at, &total)),
            );
        }
        for (partition, batches, head) in std::mem::take(&mut self.commands).finish(&self.header) {
            records.extend(batches);
            heads.insert(partition, head);
            items.push(sent_item(partition, head));
        }
        let consumed = self.consumed(plan, &mut items);
        if self.counts.received > self.state.counts.received {
            items.push(Item::Counts(self.counts.clone()));
        }
        items.extend(self.tick.take().map(Item::Tick));
        let rejected = u32::try_from(self.rejected.len()).unwrap_or(u32::MAX);
        records.append(&mut self.rejected);
        let (state_record, head) = self.state_batch(&items, &heads, rejected);
        records.push(state_record);
        let taken = plan.inputs().map(|(_, taken)| taken as u64).sum();
        let change = Change { head, items, held_back: plan.held_back };
        Decision { change, records, consumed, hash: head.hash, items: taken, more: false }
    }

    /// Positions of inputs of which something is left; notes the last record read of each input.
    fn consumed(&self, plan: &Plan<'_>, items: &mut Vec<Item>) -> Vec<(TopicPartition, Offset)> {
        let mut consumed = Vec::new();
        for (input, taken) in plan.inputs() {
            if taken < input.records.len() {
                consumed.push((input.from, position_after(input, taken)));
            }
            if let Some(last) = taken.checked_sub(1).and_then(|last| input.records.get(last)) {
                let read = LastRead { at: input.from, offset: last.offset, hash: record_hash(last) };
                items.push(last_read_item(&read));
            }
        }
        consumed
    }

    fn state_batch(
        &self,
        items: &[Item],
        heads: &BTreeMap<u32, ChainHead>,
        rejected: u32,
    ) -> (OutRecord, ChainHead) {
        let channel = |(partition, head): (&u32, &ChainHead)| ChannelSequence {
            partition: *partition,
            sequence: head.sequence,
            ..ChannelSequence::default()
        };
        let edge = EdgeCount { topic: Topic::Rejected.name().into(), records: rejected };
        let header = BatchHeader {
            sequence: self.window.batch,
            previous_hash: self.state.head.previous_hash(),
            channel: heads.iter().map(channel).collect(),
            edge: (rejected > 0).then_some(edge).into_iter().collect(),
            ..self.header.clone()
        };
        let mut body = BodyBuilder::new();
        for item in items {
            body.push(&IngestStateItem { item: Some(item.clone()) });
        }
        let sealed = body.seal(header);
        let head = self.state.head.advanced(sealed.hash);
        (OutRecord::new(TopicPartition::new(Topic::IngestState, self.window.slot), sealed.value), head)
    }
}
