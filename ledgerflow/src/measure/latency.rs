//! Latency of an event: from the moment it was due to be sent until the balance of its last entry, in whichever
//! partition that lies, can be read and is durable. A thread of its own follows `journal` and `balances`.

use super::readable::Readable;
use schemas::balance_json::CompleteUntil;
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::{BalancesBody, Decision, JournalBody};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::clock;
use stream::log::{FetchLimit, Isolation, Log, LogError, Offset, Record, TopicPartition};
use stream::mutex::lock;

/// How long the end waits for balances that are still to come.
const LAST_WAIT_US: i64 = 10_000_000;

/// Due times by first offset.
type Chunks = Vec<(Offset, i64)>;

/// When the events of each (lane, partition) were due, by first offset.
#[derive(Debug, Default)]
pub struct Due {
    chunks: Mutex<BTreeMap<(u32, u32), Chunks>>,
}

impl Due {
    /// Events from `first` on were due at `due_us` (wall clock).
    pub fn note(&self, lane: u32, partition: u32, first: Offset, due_us: i64) {
        let mut chunks = lock(&self.chunks);
        chunks.entry((lane, partition)).or_default().push((first, due_us));
    }

    fn of(&self, lane: u32, partition: u32, offset: Offset) -> Option<Sent> {
        let chunks = lock(&self.chunks);
        let chunks = chunks.get(&(lane, partition))?;
        let after = chunks.partition_point(|(first, _)| *first <= offset);
        chunks.get(after.checked_sub(1)?).map(|(_, due_us)| Sent { lane, due_us: *due_us })
    }
}

/// An event that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    lane: u32,
    due_us: i64,
}

/// An event whose last balance is durable and can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its lane.
    pub lane: u32,
    /// When it was due to be sent, microseconds since 1970-01-01T00:00:00Z.
    pub due_us: i64,
    /// How long that took since, microseconds.
    pub took_us: i64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// Events measured.
    pub count: usize,
    /// Median.
    pub p50_us: i64,
    /// 99 of 100 are at or below.
    pub p99_us: i64,
    /// Worst.
    pub max_us: i64,
}

/// Percentiles by nearest rank.
#[must_use]
pub fn percentiles(mut values: Vec<i64>) -> Percentiles {
    values.sort_unstable();
    let rank = |percent: usize| {
        let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
        values.get(at).copied().unwrap_or(0)
    };
    Percentiles { count: values.len(), p50_us: rank(50), p99_us: rank(99), max_us: rank(100) }
}

/// Follows the log until stopped.
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(Vec<Seen>, usize), LogError>>,
}

impl Monitor {
    /// Starts at the present end of `journal` and `balances`. `appended` tells the newest write-ahead sequence.
    ///
    /// # Errors
    /// The log fails.
    pub fn start(
        log: Arc<dyn Log>,
        due: Arc<Due>,
        appended: impl Fn() -> u64 + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut start = Vec::new();
        for topic in [Topic::Journal, Topic::Balances] {
            for partition in 0..log.partitions(topic)? {
                let at = TopicPartition::new(topic, partition);
                start.push((at, log.watermarks(at, Isolation::Committed)?.high));
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("latency".into()).spawn(move || {
            let mut follow = Follow {
                log: log.as_ref(),
                due: &due,
                readable: Readable::default(),
                pending: VecDeque::new(),
                done: Vec::new(),
            };
            let mut reader = log.reader(&start, Isolation::Committed)?;
            let limit = FetchLimit { records: 1_024, bytes: 8 << 20, wait: Duration::from_millis(5) };
            let mut until = None;
            loop {
                if stopped.load(Ordering::Acquire) && until.is_none() {
                    until = Some(clock::monotonic_us() + LAST_WAIT_US);
                }
                let fetches = reader.poll(limit)?;
                let idle = fetches.is_empty();
                for fetch in fetches {
                    for record in &fetch.records {
                        follow.see(fetch.from, record, appended());
                    }
                }
                follow.settle();
                let all = follow.pending.is_empty() && follow.readable.under_way() == 0;
                if until.is_some_and(|until| idle && (all || clock::monotonic_us() > until)) {
                    return Ok((follow.done, follow.readable.under_way()));
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops once every event decided so far is measured; latencies in microseconds.
    ///
    /// # Errors
    /// The log failed meanwhile, or balances did not come.
    pub fn finish(self) -> anyhow::Result<Vec<i64>> {
        Ok(self.finish_each()?.into_iter().map(|seen| seen.took_us).collect())
    }

    /// The same, with lane and due time of each.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_each(self) -> anyhow::Result<Vec<Seen>> {
        self.stop.store(true, Ordering::Release);
        match self.thread.join().map(|result| result.map_err(anyhow::Error::from)) {
            Ok(Ok((seen, 0))) => Ok(seen),
            Ok(Ok((_, missing))) => anyhow::bail!("{missing} events never had all their balances"),
            Ok(Err(error)) => Err(error),
            Err(_) => anyhow::bail!("the latency monitor panicked"),
        }
    }
}

struct Follow<'a> {
    log: &'a dyn Log,
    due: &'a Due,
    readable: Readable<Sent>,
    /// Events whose last balance is out and waits for this write-ahead sequence to be durable.
    pending: VecDeque<(u64, Vec<Sent>)>,
    done: Vec<Seen>,
}

impl Follow<'_> {
    fn see(&mut self, at: TopicPartition, record: &Record, appended: u64) {
        let value = &record.value;
        let done = match at.topic {
            Topic::Journal => self.journal(at.partition, value),
            _ if self.log.features().compaction => self.complete(record),
            _ => self.balances(value),
        };
        if let Some(done) = done.filter(|done| !done.is_empty()) {
            self.pending.push_back((appended, done));
        }
    }

    fn journal(&mut self, slot: u32, value: &bytes::Bytes) -> Option<Vec<Sent>> {
        let opened = batch::open(value).ok()?;
        let body: JournalBody = opened.body().ok()?;
        let due = |d: &Decision| self.due.of(d.lane, d.event_partition, d.event_offset);
        Some(self.readable.journal(slot, opened.header.batch, &body, due))
    }

    fn balances(&mut self, value: &bytes::Bytes) -> Option<Vec<Sent>> {
        let body = <BalancesBody as prost::Message>::decode(value.clone()).ok()?;
        Some(self.readable.balances(body.slot, body.journal_batch))
    }

    /// Where every balance is a record of its own, another one says up to where they are all out.
    fn complete(&mut self, record: &Record) -> Option<Vec<Sent>> {
        let said = record.key.starts_with(b"complete_until|").then_some(record.value.as_ref())?;
        let complete: CompleteUntil = serde_json::from_slice(said).ok()?;
        Some(self.readable.balances(complete.slot, complete.journal_batch))
    }

    fn settle(&mut self) {
        let durable = self.log.durable();
        let now = clock::wall_us();
        while self.pending.front().is_some_and(|(sequence, _)| *sequence <= durable) {
            let sent = self.pending.pop_front().map(|(_, sent)| sent).unwrap_or_default();
            let seen = |Sent { lane, due_us }| Seen { lane, due_us, took_us: now - due_us };
            self.done.extend(sent.into_iter().map(seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let p = percentiles((1..=200).rev().collect());
        assert_eq!((p.count, p.p50_us, p.p99_us, p.max_us), (200, 100, 198, 200));
        assert_eq!(percentiles(Vec::new()), Percentiles::default());
        assert_eq!(percentiles(vec![7]).p50_us, 7);
    }

    #[test]
    fn an_event_is_due_with_its_chunk() {
        let due = Due::default();
        due.note(1, 0, 0, 100);
        due.note(1, 0, 10, 200);
        assert_eq!(due.of(1, 0, 9), Some(Sent { lane: 1, due_us: 100 }));
        assert_eq!(due.of(1, 0, 10), Some(Sent { lane: 1, due_us: 200 }));
        assert_eq!(due.of(0, 0, 9), None);
    }
}
