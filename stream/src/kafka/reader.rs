//! Reads consecutive records: one queue for each partition, so that a partition that is held back keeps what was fetched
//! of it and the others go on.
//!
//! A reader belongs to no group. Its position is the client's own: past commit markers and aborted records, which it
//! knows from the end of the partition that the client reports.

use super::acls::Operation;
use super::ffi::{Bell, PartitionReader, Polled};
use super::{Quiet, errors, watchdog};
use crate::clock::monotonic_us;
use crate::log::{
    Fetch, FetchLimit, Isolation, LogError, Offset, Reader, Record, TopicPartition, Watermarks,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of a partition, asked of the log.
pub(super) type Bounds = dyn Fn(TopicPartition, Isolation) -> Result<Watermarks, LogError> + Send;

struct Part {
    at: TopicPartition,
    /// The topic's name on the cluster.
    name: String,
    // Stopped before the client goes.
    queue: PartitionReader,
    /// Taken from the queue and not yet handed out.
    waiting: VecDeque<Record>,
    /// Next offset, as far as records were handed out.
    position: Offset,
    /// Next offset, as far as the queue was taken.
    taken: Offset,
    held: bool,
}

impl Part {
    /// Takes from the queue, unless enough waits.
    fn fill(&mut self, bounds: &Bounds) -> Result<(), LogError> {
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let (at, name, mut found) = (self.at, &self.name, Ok(()));
        let (waiting, taken) = (&mut self.waiting, &mut self.taken);
        self.queue.take(|polled| match polled {
            Polled::Record(record) => {
                *taken = record.offset + 1;
                waiting.push_back(record);
            }
            Polled::End(offset) => *taken = offset.max(*taken),
            Polled::OutOfRange => found = Err(None),
            Polled::Error(code, text) => {
                let lacking = errors::lacking(code, Operation::Read, name);
                let text = format!("{at}: {text} ({code}){lacking}");
                found = Err(Some(if errors::is_final(code) {
                    LogError::Io(text)
                } else {
                    LogError::Retriable(text)
                }));
            }
        });
        if self.waiting.is_empty() {
            self.position = self.taken;
        }
        match found {
            Ok(()) => Ok(()),
            Err(Some(LogError::Retriable(why))) => {
                tracing::debug!(why, "reading");
                Ok(())
            }
            Err(Some(error)) => Err(error),
            Err(None) => {
                let Watermarks { low, high } = bounds(at, Isolation::Uncommitted)?;
                Err(LogError::OutOfRange { at, offset: self.position, low, high })
            }
        }
    }

    /// Hands out what fits.
    fn hand_out(&mut self, records: &mut usize, bytes: &mut usize, first: bool) -> Vec<Record> {
        let mut out = Vec::new();
        while *records > 0
            && let Some(next) = self.waiting.front()
            && (next.value.len() <= *bytes || (first && out.is_empty()))
            && let Some(record) = self.waiting.pop_front()
        {
            *records -= 1;
            *bytes = bytes.saturating_sub(record.value.len());
            self.position = record.offset + 1;
            out.push(record);
        }
        if self.waiting.is_empty() {
            self.position = self.taken;
        }
        out
    }
}

/// See the module.
pub(super) struct KafkaReader {
    // Dropped in this order: partitions before the client that they are read with.
    parts: Vec<Part>,
    client: BaseConsumer<Quiet>,
    bell: Arc<Bell>,
    bounds: Box<Bounds>,
    /// Where the next poll begins, so that no partition starves.
    next: usize,
    deadline: Duration,
}

impl KafkaReader {
    pub(super) fn start(
        client: BaseConsumer<Quiet>,
        from: &[(TopicPartition, String, Offset)],
        bounds: Box<Bounds>,
        deadline: Duration,
    ) -> Result<Self, LogError> {
        let bell = Arc::new(Bell::default());
        let mut parts = Vec::with_capacity(from.len());
        for (at, name, offset) in from {
            let Watermarks { low, high } = bounds(*at, Isolation::Uncommitted)?;
            if *offset < low || *offset > high {
                return Err(LogError::OutOfRange { at: *at, offset: *offset, low, high });
            }
            let partition = i32::try_from(at.partition).map_err(|_| LogError::UnknownPartition(*at))?;
            let queue = PartitionReader::start(client.client().native_ptr(), name, partition, *offset, &bell);
            let queue = queue.map_err(|why| LogError::Io(format!("{at}: {why}")))?;
            let (position, taken) = (*offset, *offset);
            let (at, name) = (*at, name.clone());
            parts.push(Part { at, name, queue, waiting: VecDeque::new(), position, taken, held: false });
        }
        Ok(Self { parts, client, bell, bounds, next: 0, deadline })
    }

    fn part(&mut self, at: TopicPartition) -> Result<&mut Part, LogError> {
        self.parts.iter_mut().find(|part| part.at == at).ok_or(LogError::UnknownPartition(at))
    }

    /// Grows with every position.
    fn reached(&self) -> Offset {
        self.parts.iter().map(|part| part.position).sum()
    }

    /// What is there now.
    fn take(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let (mut records, mut bytes, mut out) = (limit.records, limit.bytes, Vec::new());
        let parts = self.parts.len();
        for step in 0..parts {
            let at = (self.next + step) % parts;
            let Some(part) = self.parts.get_mut(at).filter(|part| !part.held) else { continue };
            let mut got: Vec<Record> = Vec::new();
            loop {
                part.fill(&self.bounds)?;
                let more = part.hand_out(&mut records, &mut bytes, out.is_empty() && got.is_empty());
                if more.is_empty() {
                    break;
                }
                got.extend(more);
            }
            if !got.is_empty() {
                out.push(Fetch { from: part.at, records: got });
            }
        }
        self.next = if parts == 0 { 0 } else { (self.next + 1) % parts };
        Ok(out)
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let _watched = watchdog::watch("poll", self.deadline.saturating_add(limit.wait));
        let wait_us = i64::try_from(limit.wait.as_micros()).unwrap_or(i64::MAX);
        let until_us = monotonic_us().saturating_add(wait_us);
        let reached = self.reached();
        loop {
            // Serves log lines and errors of the client.
            drop(self.client.poll(Duration::ZERO));
            let got = self.take(limit)?;
            let left_us = until_us.saturating_sub(monotonic_us());
            // Past markers and aborted records it has got further too, and somebody may wait for that end.
            if !got.is_empty() || left_us <= 0 || self.reached() != reached {
                return Ok(got);
            }
            self.bell.wait(Duration::from_micros(u64::try_from(left_us).unwrap_or(0)));
        }
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        self.parts.iter().find(|part| part.at == at).map(|part| part.position)
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        let deadline = self.deadline;
        let Watermarks { low, high } = (self.bounds)(at, Isolation::Uncommitted)?;
        let part = self.part(at)?;
        if offset < low || offset > high {
            return Err(LogError::OutOfRange { at, offset, low, high });
        }
        let _watched = watchdog::watch("seek", deadline);
        part.queue.seek(offset).map_err(|why| LogError::Retriable(format!("seek {at}: {why}")))?;
        part.waiting.clear();
        (part.position, part.taken) = (offset, offset);
        Ok(())
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        self.part(at)?.held = held;
        Ok(())
    }
}
