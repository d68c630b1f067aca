//! Batches of commands offered on a schedule, and how long each window of posting takes: from when the first batch that it
//! reads was due until what it writes is durable.

use super::commands::Made;
use crate::measure::latency::{Percentiles, percentiles};
use anyhow::{Context, anyhow};
use schemas::batch;
use schemas::topics::Topic;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::{FetchLimit, Isolation, Log, Offset, OutRecord, Record, TopicPartition};

/// When each batch is due, microseconds from the begin: by home, then by offset.
pub(super) struct Schedule {
    due_us: Vec<Vec<i64>>,
    in_order: Vec<(i64, Made)>,
}

impl Schedule {
    /// A batch is due with the last of its commands, of which there are `rate` a second.
    pub(super) fn of(made: Vec<Made>, rate: u64, homes: u32) -> Self {
        let (mut due_us, mut commands) = (vec![Vec::new(); homes as usize], 0_u64);
        let due = |made: Made| {
            commands += made.commands;
            let at_us = u128::from(commands) * 1_000_000 / u128::from(rate.max(1));
            let at_us = i64::try_from(at_us).unwrap_or(i64::MAX);
            due_us.get_mut(made.home as usize)?.push(at_us);
            Some((at_us, made))
        };
        let in_order = made.into_iter().filter_map(due).collect();
        Self { due_us, in_order }
    }

    fn due_us(&self, home: u32, offset: Offset) -> Option<i64> {
        self.due_us.get(home as usize)?.get(usize::try_from(offset).ok()?).copied()
    }
}

/// Offers everything; percentiles of the windows that read commands. The log has none before, and posting runs.
/// `worked_off` waits until everything is decided.
pub(super) fn windows(
    log: &EmbeddedLog,
    schedule: &Schedule,
    worked_off: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Percentiles> {
    let (stop, begin_us) = (AtomicBool::new(false), clock::monotonic_us());
    std::thread::scope(|scope| {
        let followed = scope.spawn(|| follow(log, schedule, begin_us, &stop));
        let offered = offer(log, schedule, begin_us).and_then(|()| worked_off());
        stop.store(true, Ordering::Release);
        let took_us = followed.join().map_err(|_| anyhow!("the follower of the journal panicked"))?;
        offered.and(took_us).map(percentiles)
    })
}

/// One append a millisecond, of what is due by then.
fn offer(log: &EmbeddedLog, schedule: &Schedule, begin_us: i64) -> anyhow::Result<()> {
    let mut left = schedule.in_order.as_slice();
    while !left.is_empty() {
        let now_us = clock::monotonic_us() - begin_us;
        let (due, later) = left.split_at(left.partition_point(|(due_us, _)| *due_us <= now_us));
        if !due.is_empty() {
            log.append(due.iter().map(|(_, made)| record(made)).collect()).context("offering commands")?;
        }
        left = later;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A batch as a record of its home.
pub(super) fn record(made: &Made) -> OutRecord {
    OutRecord::new(TopicPartition::new(Topic::Commands, made.home), made.value.clone())
}

/// Microseconds that each window took.
fn follow(
    log: &EmbeddedLog,
    schedule: &Schedule,
    begin_us: i64,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<i64>> {
    let journal = |home| (TopicPartition::new(Topic::Journal, home), 0);
    let start: Vec<_> = (0..log.counts().internal).map(journal).collect();
    let mut reader = log.reader(&start, Isolation::Committed)?;
    let limit = FetchLimit { records: 1_024, bytes: 8 << 20, wait: Duration::from_millis(2) };
    // By the write-ahead sequence that must be durable.
    let (mut waiting, mut took_us) = (VecDeque::new(), Vec::new());
    loop {
        let ends = stop.load(Ordering::Acquire);
        let fetches = reader.poll(limit)?;
        let idle = fetches.is_empty();
        for fetch in fetches {
            let due = |record: &Record| first_due(schedule, fetch.from.partition, record).transpose();
            for due_us in fetch.records.iter().filter_map(due) {
                waiting.push_back((log.last_sequence(), begin_us + due_us?));
            }
        }
        let (durable, now_us) = (log.durable(), clock::monotonic_us());
        while let Some((_, due_us)) = waiting.pop_front_if(|(sequence, _)| *sequence <= durable) {
            took_us.push(now_us - due_us);
        }
        if ends && idle && waiting.is_empty() {
            return Ok(took_us);
        }
    }
}

/// When the first batch of commands was due that a window has read, if it has read one.
fn first_due(schedule: &Schedule, home: u32, record: &Record) -> anyhow::Result<Option<i64>> {
    let header = batch::open(&record.value)?.header;
    let commands = header.input.iter().find(|range| range.topic == Topic::Commands.name());
    let read = commands.filter(|range| range.to > range.from);
    read.map(|range| schedule.due_us(home, range.from).context("commands that were not offered")).transpose()
}
