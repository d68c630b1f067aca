//! The trace of one `POST /v1/events`: a span of the call, and one for each event that is sent, whose context goes with it
//! as the header `traceparent`.
//!
//! A call that comes with a `traceparent` is recorded as that says. Of the others a share is (`traces.sample`). An event with
//! a context of its own keeps it where the call has none: its producer's trace goes on.

use super::Tracer;
use super::context::Context;
use super::span::Span;
use super::stage::place;
use crate::query::events::Sent;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::collections::BTreeMap;
use stream::clock::wall_us;

/// Shares are of a million.
const MILLION: u64 = 1_000_000;
/// Scope of the spans.
const SCOPE: &str = "http";

/// A call.
pub struct Call {
    tracer: Tracer,
    /// What the call came with.
    incoming: Option<Context>,
    /// The call's own span, where it is recorded.
    own: Option<Context>,
    begun_us: i64,
    sending_us: i64,
    /// Events that are recorded, by their place in the call.
    producers: BTreeMap<usize, Producer>,
}

struct Producer {
    context: Context,
    parent: [u8; 8],
    source: String,
    id: String,
}

impl Call {
    /// A call that begins now, with the value of its header `traceparent`.
    pub(super) fn begin(tracer: &Tracer, incoming: Option<&[u8]>) -> Self {
        let incoming = incoming.and_then(Context::parse);
        let recorded = incoming.map_or_else(|| tracer.draws(), |incoming| incoming.sampled);
        let trace = || incoming.map_or_else(random, |incoming| incoming.trace);
        let own = recorded.then(|| Context { trace: trace(), span: random(), sampled: true });
        let begun_us = wall_us();
        let (tracer, producers) = (tracer.clone(), BTreeMap::new());
        Self { tracer, incoming, own, begun_us, sending_us: begun_us, producers }
    }

    /// The `traceparent` that goes with an event; `own` is the one that it has. `None` = it goes as it is.
    pub fn event(&mut self, index: usize, own: Option<&str>, source: &str, id: &str) -> Option<String> {
        let own = own.and_then(|text| Context::parse(text.as_bytes()));
        let parent = match (self.incoming, own) {
            (Some(incoming), None) if !incoming.sampled => return Some(incoming.to_text()),
            (Some(incoming), _) if incoming.sampled => self.own?,
            (_, Some(own)) if own.sampled => own,
            (None, None) => self.own?,
            _ => return None,
        };
        let context = Context { span: random(), ..parent };
        let (source, id) = (source.to_owned(), id.to_owned());
        self.producers.insert(index, Producer { context, parent: parent.span, source, id });
        Some(context.to_text())
    }

    /// The events are about to be sent.
    pub fn sends(&mut self) {
        self.sending_us = wall_us();
    }

    /// The events are durable, and lie there.
    pub fn sent(&mut self, places: &[Sent]) {
        let ended_us = wall_us();
        let mut spans = Vec::new();
        for (index, producer) in std::mem::take(&mut self.producers) {
            let Some(sent) = places.get(index) else { continue };
            let lane = schemas::topics::Topic::LANES.get(usize::from(sent.lane));
            let destination = lane.map(|lane| self.tracer.topic(*lane)).unwrap_or_default();
            let mut attributes = self.tracer.messaging("send", &destination);
            attributes.extend([
                KeyValue::new("messaging.destination.partition.id", sent.partition.to_string()),
                KeyValue::new("cloudevents.event_id", producer.id),
                KeyValue::new("cloudevents.event_source", producer.source),
                KeyValue::new("ledgerflow.event_at", place(sent.lane.into(), sent.partition, sent.offset)),
            ]);
            spans.push(Span {
                context: producer.context,
                parent: Some(producer.parent),
                kind: SpanKind::Producer,
                name: format!("send {destination}").into(),
                scope: SCOPE,
                begun_us: self.sending_us,
                ended_us,
                attributes,
                failed: false,
            });
        }
        self.tracer.ended(spans);
    }

    /// The call is answered.
    pub fn answered(self, status: u16) {
        let Some(context) = self.own else { return };
        self.tracer.ended(vec![Span {
            context,
            parent: self.incoming.map(|incoming| incoming.span),
            kind: SpanKind::Server,
            name: "POST /v1/events".into(),
            scope: SCOPE,
            begun_us: self.begun_us,
            ended_us: wall_us(),
            attributes: vec![
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("http.route", "/v1/events"),
                KeyValue::new("url.path", "/v1/events"),
                KeyValue::new("url.scheme", "http"),
                KeyValue::new("http.response.status_code", i64::from(status)),
            ],
            failed: status >= 500,
        }]);
    }
}

impl Tracer {
    /// Whether a call without a context begins a trace.
    fn draws(&self) -> bool {
        // Of 64 bits the last part that a million does not divide evenly is of no account.
        u64::from_be_bytes(random()) % MILLION < u64::from(self.sample())
    }
}

/// Random bytes, not all zero. Where the system has none to give, an id repeats, and traces are told apart less well.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if bytes == [0; N] { [1; N] } else { bytes }
}
