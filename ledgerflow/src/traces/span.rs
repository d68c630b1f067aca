//! A span before it is exported: whose it is, when it was, what it says.
//!
//! Ids of spans that follow from records are computed, not drawn: records stay as they are and name only the span that
//! wrote the event, so whoever reads a record must find the id of the stage before by itself. Names are those of the
//! semantic conventions for HTTP (stable), messaging and CloudEvents (both in development), version 1.37.

use super::context::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// What a stage does with an event. Its number is part of the span's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ingest made a command of it, or set it aside.
    Taken = 1,
    /// Posting asked another partition to decide.
    Asked = 2,
    /// Posting decided.
    Decided = 3,
    /// Posting booked a leg that another partition sent.
    Received = 4,
    /// Settlement published the balances.
    Published = 5,
    /// Re-keying sent the entry to where it is matched.
    Sided = 6,
}

/// Where an event lies: lane, partition, offset.
pub type Place = (u32, u32, i64);

/// An event as the records name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// `CloudEvents` source.
    pub source: String,
    /// `CloudEvents` id.
    pub id: String,
}

/// The id of the span of a step on an event in a partition: the first 8 bytes of a SHA-256. `place` is given where the same
/// event may come to the same step again, as a duplicate does.
#[must_use]
pub fn span_id(context: Context, event: &Event, step: Step, partition: u32, place: Option<Place>) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(b"ledgerflow span 1");
    hash.update(context.trace);
    hash.update(context.span);
    hash.update([step as u8]);
    hash.update(partition.to_be_bytes());
    if let Some((lane, partition, offset)) = place {
        hash.update(lane.to_be_bytes());
        hash.update(partition.to_be_bytes());
        hash.update(offset.to_be_bytes());
    }
    // A length before the text that another follows: no two events are the same bytes.
    hash.update((event.source.len() as u64).to_be_bytes());
    hash.update(&event.source);
    hash.update(&event.id);
    let hash: [u8; 32] = hash.finalize().into();
    let id = hash.first_chunk().copied().unwrap_or_default();
    if id == [0; 8] { [1; 8] } else { id }
}

/// A span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its trace and its own id.
    pub context: Context,
    /// The span it follows from; `None` = it begins the trace.
    pub parent: Option<[u8; 8]>,
    /// What its part in the trace is.
    pub kind: SpanKind,
    /// Name, of which there are few.
    pub name: Cow<'static, str>,
    /// Which part of the program it is of.
    pub scope: &'static str,
    /// Wall clock, microseconds since 1970-01-01T00:00:00Z.
    pub begun_us: i64,
    /// The same; not before `begun_us`.
    pub ended_us: i64,
    /// What it says.
    pub attributes: Vec<KeyValue>,
    /// Whether the program failed at it. An event that is refused is no failure.
    pub failed: bool,
}

fn time(us: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

impl From<Span> for SpanData {
    fn from(span: Span) -> Self {
        let Context { trace, span: id, .. } = span.context;
        Self {
            span_context: SpanContext::new(
                TraceId::from_bytes(trace),
                SpanId::from_bytes(id),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            // Whether it ended in this process is not known, but for the producers of a call.
            parent_span_is_remote: span.parent.is_some() && span.kind != SpanKind::Producer,
            span_kind: span.kind,
            name: span.name,
            start_time: time(span.begun_us),
            end_time: time(span.ended_us.max(span.begun_us)),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: InstrumentationScope::builder(span.scope)
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}
