//! The steps of one worker: noted as it reads, told when its window is committed, and never otherwise.
//!
//! This sits beside the measuring of commits, around the worker's log: the worker knows nothing of it, and what it writes is
//! the same with and without. What is aborted, fenced or of unknown outcome is not told; a restore commits nothing. A step
//! begins when the newest record of its window was read, so it never begins before the step that wrote that record.
//!
//! Bound: [`NOTED_MAX`] steps that are read and not committed.

use super::Tracer;
use super::span::{Span, Step};
use super::window::{self, Stepped};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use stream::clock::wall_us;
use stream::log::{Fetch, Log, Offset, TopicPartition, Transaction};
use stream::mutex::lock;
use stream::worker::Metadata;

/// Most steps that are noted until their window is committed; further ones are counted as dropped. Two full windows of
/// batches are fewer.
const NOTED_MAX: usize = 65_536;

/// Where the steps of a processor stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// In the commands that ingest writes.
    Commands,
    /// In the journal that posting writes.
    Decisions,
    /// In the journal as it is read.
    Journal(Step),
}

/// A step that was read and is not committed.
struct Noted {
    at: TopicPartition,
    offset: Offset,
    step: Stepped,
}

impl Noted {
    /// Whether a window whose inputs end there takes it.
    fn before(&self, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        ends.get(&self.at).is_some_and(|end| self.offset < *end)
    }
}

/// Steps of a window that is not committed yet.
#[derive(Default)]
pub struct Sealed {
    spans: Vec<Span>,
    ends: BTreeMap<TopicPartition, Offset>,
}

/// Follows one worker.
pub struct Stage {
    tracer: Tracer,
    log: Arc<dyn Log>,
    processor: &'static str,
    source: Source,
    /// When the newest records were read, wall clock, microseconds since 1970-01-01T00:00:00Z.
    read_us: AtomicI64,
    noted: Mutex<VecDeque<Noted>>,
}

impl Stage {
    /// Follows a worker of a processor on this log; `None` = its records name no trace.
    pub(super) fn new(tracer: &Tracer, log: &Arc<dyn Log>, processor: &'static str) -> Option<Self> {
        let source = match processor {
            "ingest" => Source::Commands,
            "posting" => Source::Decisions,
            "settlement" => Source::Journal(Step::Published),
            "rekey" => Source::Journal(Step::Sided),
            _ => return None,
        };
        let (tracer, log) = (tracer.clone(), Arc::clone(log));
        let (read_us, noted) = (AtomicI64::new(0), Mutex::new(VecDeque::new()));
        Some(Self { tracer, log, processor, source, read_us, noted })
    }

    fn noted(&self) -> MutexGuard<'_, VecDeque<Noted>> {
        lock(&self.noted)
    }

    /// The worker reads its inputs from the start, or after a restore: what it has read before does not count.
    pub fn begins_anew(&self) {
        self.noted().clear();
    }

    /// The worker goes back to an offset.
    pub fn went_back(&self, to: TopicPartition, offset: Offset) {
        self.noted().retain(|noted| noted.at != to || noted.offset < offset);
    }

    /// Notes what was read of the worker's inputs.
    pub fn read(&self, fetches: &[Fetch]) {
        if fetches.is_empty() {
            return;
        }
        self.read_us.store(wall_us(), Ordering::Relaxed);
        let Source::Journal(step) = self.source else { return };
        let (mut noted, mut steps) = (self.noted(), Vec::new());
        for fetch in fetches.iter().filter(|fetch| fetch.from.topic == schemas::topics::Topic::Journal) {
            for record in &fetch.records {
                window::of_journal(&record.value, fetch.from.partition, step, &mut steps);
                let (at, offset) = (fetch.from, record.offset);
                let room = NOTED_MAX.saturating_sub(noted.len());
                self.tracer.dropped(steps.len().saturating_sub(room));
                noted.extend(steps.drain(..).take(room).map(|step| Noted { at, offset, step }));
            }
        }
    }

    /// Looks through a window that is about to be committed.
    pub fn sealed(&self, transaction: &Transaction) -> Sealed {
        let (mut steps, mut ends) = (Vec::new(), BTreeMap::new());
        match self.source {
            Source::Commands => window::of_ingest(&transaction.records, &mut steps),
            Source::Decisions => window::of_posting(&transaction.records, &mut steps),
            Source::Journal(_) => {
                let noted = self.noted();
                if !noted.is_empty() {
                    ends.extend(transaction.positions.iter().map(|(at, position)| (*at, position.offset)));
                    steps.extend(noted.iter().filter(|noted| noted.before(&ends)).map(|n| n.step.clone()));
                }
            }
        }
        if steps.is_empty() {
            return Sealed::default();
        }
        let batches: BTreeMap<u32, i64> = transaction
            .positions
            .iter()
            .filter_map(|(at, position)| Some((at.partition, batch(&position.metadata)?)))
            .collect();
        let begun_us = self.read_us.load(Ordering::Relaxed);
        let batch = |step: &Stepped| batches.get(&step.partition).copied();
        let spans = steps.into_iter().map(|step| self.span(begun_us, batch(&step), step)).collect();
        Sealed { spans, ends }
    }

    /// The window is committed: its spans are told once `sequence` is durable.
    pub fn committed(&self, Sealed { spans, ends }: Sealed, sequence: u64) {
        if !ends.is_empty() {
            self.noted().retain(|noted| !noted.before(&ends));
        }
        if !spans.is_empty() {
            self.tracer.committed(&self.log, sequence, spans);
        }
    }

    fn span(&self, begun_us: i64, batch: Option<i64>, step: Stepped) -> Span {
        let destination = self.tracer.topic(step.topic);
        let mut attributes = self.tracer.messaging("process", &destination);
        attributes.extend([
            KeyValue::new("messaging.consumer.group.name", self.processor),
            KeyValue::new("messaging.destination.partition.id", step.partition.to_string()),
            KeyValue::new("cloudevents.event_id", step.event.id),
            KeyValue::new("cloudevents.event_source", step.event.source),
        ]);
        if let Some((lane, partition, offset)) = step.place {
            attributes.push(KeyValue::new("ledgerflow.event_at", place(lane, partition, offset)));
        }
        attributes.extend(batch.map(|batch| KeyValue::new("ledgerflow.batch", batch)));
        if let Some((outcome, reason)) = step.outcome {
            attributes.push(KeyValue::new("ledgerflow.outcome", outcome));
            if !reason.is_empty() {
                attributes.push(KeyValue::new("ledgerflow.reason", reason));
            }
        }
        let context = super::context::Context { span: step.span, ..step.context };
        Span {
            context,
            parent: Some(step.parent),
            kind: SpanKind::Consumer,
            name: format!("process {destination}").into(),
            scope: self.processor,
            begun_us,
            ended_us: begun_us,
            attributes,
            failed: false,
        }
    }
}

/// Where an event lies, as `trace` and `rejected` write it.
pub(super) fn place(lane: u32, partition: u32, offset: i64) -> String {
    format!("events.p{lane}/{partition}@{offset}")
}

/// Number of the window that a position was committed with.
fn batch(metadata: &str) -> Option<i64> {
    i64::try_from(Metadata::parse(metadata)?.batch).ok()
}
