//! What the records of a window say of events whose traces are recorded. Nothing is written here.
//!
//! Ingest and posting write the event's `traceparent` into their records, so their steps are read from what a window
//! commits. Settlement and re-keying do not: theirs are read from the journal as it comes in. Of an event that is not
//! recorded only the flag is looked at; the others are decoded by the generated types.

use super::context::Context;
use super::span::{Event, Place, Step, span_id};
use crate::query::outcomes::word;
use prost::Message;
use schemas::batch;
use schemas::cloudevents;
use schemas::rejection::Faults;
use schemas::topics::Topic;
use schemas::wire::{Command, Decision, EventKey, Outcome, Received};
use schemas::wire_read::{Field, Value, fields};
use schemas::wire_walk::Walk;
use stream::log::{OutRecord, header};

/// A step on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The context that the event's record names.
    pub context: Context,
    /// Span of the step.
    pub span: [u8; 8],
    /// Span of the step before.
    pub parent: [u8; 8],
    /// The event.
    pub event: Event,
    /// The slot's partition.
    pub partition: u32,
    /// Topic that brought it.
    pub topic: Topic,
    /// Where the event lies; `None` = the records do not say.
    pub place: Option<Place>,
    /// What became of it, and the reason code where there is one.
    pub outcome: Option<(&'static str, String)>,
}

/// Keys of the fields that are looked at without decoding.
mod keys {
    use schemas::wire_walk::bytes_key;

    pub(super) const COMMAND: u64 = bytes_key(1);
    pub(super) const COMMAND_TRACE: u64 = bytes_key(16);
    pub(super) const DECISION: u64 = bytes_key(1);
    pub(super) const DECISION_TRACE: u64 = bytes_key(24);
    pub(super) const RECEIVED: u64 = bytes_key(2);
    pub(super) const RECEIVED_TRACE: u64 = bytes_key(16);
}

/// The body of a batch, unchecked: it is this process's own, or its reader checks it.
fn body(record: &[u8]) -> &[u8] {
    let body = |field| match field {
        Ok(Field { tag: 2, value: Value::Bytes(body) }) => Some(body),
        _ => None,
    };
    fields(record).find_map(body).unwrap_or_default()
}

/// The messages under `kind` in the items of a batch whose `traceparent`, there under `trace`, is recorded.
fn recorded(record: &[u8], kind: u64, trace: u64) -> impl Iterator<Item = (Context, &[u8])> {
    batch::items(body(record)).map_while(Result::ok).filter_map(move |item| {
        let message = field(item, kind)?;
        Some((Context::sampled(field(message, trace)?)?, message))
    })
}

/// The bytes of a field; nothing of the others is looked at. `None` = it is not there, or this is no message.
fn field(message: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut walk = Walk::new(message);
    while let Some(key) = walk.key().ok()? {
        if key == wanted {
            return walk.bytes().ok();
        }
        walk.skip(key).ok()?;
    }
    None
}

fn event(key: Option<EventKey>) -> Event {
    key.map(|EventKey { source, id }| Event { source, id }).unwrap_or_default()
}

fn lane(lane: u32) -> Topic {
    usize::try_from(lane).ok().and_then(|lane| Topic::LANES.get(lane).copied()).unwrap_or(Topic::Events1)
}

/// The steps that ingest commits with these records.
pub fn of_ingest(records: &[OutRecord], steps: &mut Vec<Stepped>) {
    for record in records {
        match record.to.topic {
            Topic::Commands => {
                let commands = recorded(&record.value, keys::COMMAND, keys::COMMAND_TRACE);
                steps.extend(commands.filter_map(|(context, message)| taken(context, message)));
            }
            Topic::Rejected => steps.extend(set_aside(record)),
            _ => {}
        }
    }
}

fn taken(context: Context, message: &[u8]) -> Option<Stepped> {
    let command = Command::decode(message).ok()?;
    let place = (command.lane, command.event_partition, command.event_offset);
    Some(ingested(context, event(command.event), place, ("forwarded", String::new())))
}

/// A dead letter. Its context is that of its header: what cannot be read has no other.
fn set_aside(record: &OutRecord) -> Option<Stepped> {
    let context = Context::sampled(header(&record.headers, "traceparent")?)?;
    let text = |name| Some(std::str::from_utf8(header(&record.headers, name)?).ok()?.to_owned());
    let topic = text("__streams.errors.topic")?;
    let lane = Topic::LANES.iter().position(|lane| lane.name() == topic)?;
    let place = (
        u32::try_from(lane).ok()?,
        text("__streams.errors.partition")?.parse().ok()?,
        text("__streams.errors.offset")?.parse().ok()?,
    );
    let named = record.headers.iter().map(|header| (header.name.as_ref(), header.value.as_ref()));
    let read = cloudevents::read(named, &record.value, usize::MAX, &mut Faults::default());
    let event = read.map(|event| Event { source: event.source.into_owned(), id: event.id.into_owned() });
    let reason = text("ledgerflow-reason").unwrap_or_default();
    Some(ingested(context, event.unwrap_or_default(), place, ("dead-lettered", reason)))
}

/// Ingest's step on the event that lies there.
fn ingested(context: Context, event: Event, place: Place, outcome: (&'static str, String)) -> Stepped {
    Stepped {
        context,
        span: span_id(context, &event, Step::Taken, place.1, Some(place)),
        parent: context.span,
        event,
        partition: place.1,
        topic: lane(place.0),
        place: Some(place),
        outcome: Some(outcome),
    }
}

/// The steps that posting commits with these records.
pub fn of_posting(records: &[OutRecord], steps: &mut Vec<Stepped>) {
    for record in records.iter().filter(|record| record.to.topic == Topic::Journal) {
        let slot = record.to.partition;
        for (context, message) in recorded(&record.value, keys::DECISION, keys::DECISION_TRACE) {
            let decision = Decision::decode(message).ok();
            steps.extend(decision.and_then(|decision| decided(context, decision, slot)));
        }
        for (context, message) in recorded(&record.value, keys::RECEIVED, keys::RECEIVED_TRACE) {
            let Some(received) = Received::decode(message).ok() else { continue };
            add_leg(steps, received_at(context, received, slot));
        }
    }
}

/// Legs of one event come one after the other, and are one step.
fn add_leg(steps: &mut Vec<Stepped>, stepped: Stepped) {
    if steps.last().is_none_or(|other| other.span != stepped.span) {
        steps.push(stepped);
    }
}

/// The span of posting's step that a decision is.
fn decision_span(context: Context, event: &Event, decision: &Decision, slot: u32) -> [u8; 8] {
    match decision.outcome() {
        Outcome::Booked => span_id(context, event, Step::Decided, slot, None),
        Outcome::Pending => span_id(context, event, Step::Asked, slot, None),
        // Nothing follows from these, and they may be many.
        _ => span_id(context, event, Step::Decided, slot, Some(place(decision))),
    }
}

const fn place(decision: &Decision) -> Place {
    (decision.lane, decision.event_partition, decision.event_offset)
}

fn decided(context: Context, decision: Decision, slot: u32) -> Option<Stepped> {
    let outcome = decision.outcome();
    // What is pending again was told as pending when it came.
    let again = outcome == Outcome::Pending && decision.concludes;
    if outcome == Outcome::Unspecified || again {
        return None;
    }
    let (place, event) = (place(&decision), event(decision.event.clone()));
    let (parent, topic) = match decision.forwarded_from.checked_sub(1) {
        Some(home) => (span_id(context, &event, Step::Asked, home, None), Topic::Credits),
        // It waited for other partitions, whose answers came by credits.
        None if decision.concludes => (span_id(context, &event, Step::Asked, slot, None), Topic::Credits),
        None => (span_id(context, &event, Step::Taken, place.1, Some(place)), Topic::Commands),
    };
    Some(Stepped {
        context,
        span: decision_span(context, &event, &decision, slot),
        parent,
        event,
        partition: slot,
        topic,
        place: Some(place),
        outcome: Some((word(outcome), decision.reason)),
    })
}

fn received_at(context: Context, received: Received, slot: u32) -> Stepped {
    let event = event(received.event);
    Stepped {
        context,
        span: span_id(context, &event, Step::Received, slot, None),
        parent: span_id(context, &event, Step::Decided, received.from, None),
        event,
        partition: slot,
        topic: Topic::Credits,
        place: None,
        outcome: Some((word(Outcome::Booked), received.suspense_reason)),
    }
}

/// The steps of `step`, settlement's or re-keying's, on what a record of the journal has booked.
pub fn of_journal(record: &[u8], slot: u32, step: Step, steps: &mut Vec<Stepped>) {
    let matched = step == Step::Sided;
    for (context, message) in recorded(record, keys::DECISION, keys::DECISION_TRACE) {
        let Some(decision) = Decision::decode(message).ok() else { continue };
        if decision.entry.iter().any(|entry| !matched || entry.r#match.is_some()) {
            let event = event(decision.event.clone());
            let parent = decision_span(context, &event, &decision, slot);
            steps.push(followed(context, event, step, slot, parent, Some(place(&decision))));
        }
    }
    for (context, message) in recorded(record, keys::RECEIVED, keys::RECEIVED_TRACE) {
        let Some(received) = Received::decode(message).ok() else { continue };
        if received.entry.is_some_and(|entry| !matched || entry.r#match.is_some()) {
            let event = event(received.event);
            let parent = span_id(context, &event, Step::Received, slot, None);
            add_leg(steps, followed(context, event, step, slot, parent, None));
        }
    }
}

fn followed(
    context: Context,
    event: Event,
    step: Step,
    slot: u32,
    parent: [u8; 8],
    place: Option<Place>,
) -> Stepped {
    let span = span_id(context, &event, step, slot, None);
    Stepped { context, span, parent, event, partition: slot, topic: Topic::Journal, place, outcome: None }
}
