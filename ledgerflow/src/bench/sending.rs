//! The events of a measurement on their way to a log.

use crate::cli::args::BenchPipeline;
use crate::generate::Transfers;
use crate::measure::latency::Due;
use anyhow::Context;
use bytes::Bytes;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::time::Duration;
use stream::clock;
use stream::log::{Log, Offset, OutRecord, TopicPartition};

/// Events of one preload append.
const PRELOAD_EVENTS: u64 = 1_000;
/// The lane that measurements use.
pub(super) const LANE: u32 = 1;

/// The only sender to the lane.
pub(super) struct Sending<'a> {
    log: &'a dyn Log,
    partitions: u32,
    transfers: Transfers,
    /// Next offset of each partition.
    offsets: BTreeMap<u32, Offset>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(options: &BenchPipeline, log: &'a dyn Log, partitions: u32) -> Self {
        let BenchPipeline { accounts, hot, duplicates, two_payers, .. } = *options;
        let transfers = Transfers::new(1, accounts, hot, duplicates).with_two_payers(two_payers);
        Self::of(transfers, log, partitions)
    }

    pub(super) const fn of(transfers: Transfers, log: &'a dyn Log, partitions: u32) -> Self {
        Self { log, partitions, transfers, offsets: BTreeMap::new() }
    }

    /// Sends so many at once.
    pub(super) fn preload(mut self, events: u64) -> anyhow::Result<()> {
        let time = schemas::dates::format_instant(clock::wall_us());
        let mut sent = 0;
        while sent < events {
            let now = PRELOAD_EVENTS.min(events - sent);
            self.send(now, &time)?;
            sent += now;
        }
        Ok(())
    }

    /// One send a millisecond, of as many events as are due by then.
    pub(super) fn on_schedule(mut self, rate: u64, total: u64, due: &Due) -> anyhow::Result<()> {
        let begin = clock::wall_us();
        let mut sent = 0;
        while sent < total {
            let elapsed_us = u64::try_from(clock::wall_us() - begin).unwrap_or(0);
            let should = u128::from(rate) * u128::from(elapsed_us) / 1_000_000;
            let should = u64::try_from(should).unwrap_or(u64::MAX).min(total);
            if should > sent {
                let after_us = u128::from(sent) * 1_000_000 / u128::from(rate.max(1));
                let due_us = begin + i64::try_from(after_us).unwrap_or(0);
                for partition in 0..self.partitions {
                    due.note(LANE, partition, self.offsets.get(&partition).copied().unwrap_or(0), due_us);
                }
                self.send(should - sent, &schemas::dates::format_instant(due_us))?;
                sent = should;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn send(&mut self, events: u64, time: &str) -> anyhow::Result<()> {
        let records = made(&mut self.transfers, Topic::Events1, self.partitions, events, time);
        for record in &records {
            *self.offsets.entry(record.to.partition).or_insert(0) += 1;
        }
        self.log.append(records).context("sending events")?;
        Ok(())
    }
}

/// So many events as records of a lane.
pub(super) fn made(
    transfers: &mut Transfers,
    lane: Topic,
    partitions: u32,
    events: u64,
    time: &str,
) -> Vec<OutRecord> {
    let record = |_| {
        let made = transfers.next(time);
        let partition = u32::try_from(made.key % u64::from(partitions.max(1))).unwrap_or(0);
        OutRecord::new(TopicPartition::new(lane, partition), Bytes::from(made.json))
    };
    (0..events).map(record).collect()
}
