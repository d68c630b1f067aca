//! The company's ledger while the demo runs: the pipeline on its log, its clock, and questions to it. All workers are
//! threads of this process, on Kafka too: the demo moves the business clock that they share.

use super::PATIENCE;
use super::bill::Cases;
use super::provider::Provider;
use super::report::Account;
use super::traffic::Sent;
use crate::basis;
use crate::config::Settings;
use crate::measure::latency::Due;
use crate::query::bill::append_bill;
use crate::query::books::checkpoints;
use crate::query::journal::{self, last_entries};
use crate::runtime::{Pipeline, Setup, Share, Start};
use anyhow::{Context, bail};
use reconcile::import::Import;
use reconcile::join::CaseFilter;
use schemas::balance_json::DayState;
use schemas::chart::Chart;
use schemas::dates::Day;
use schemas::shards::PartitionMap;
use schemas::topics::{PartitionCounts, Topic};
use settlement::query::DayStatus;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::embedded::EmbeddedLog;
use stream::log::{Log, Offset, OutRecord, TopicPartition};

/// The book's zone.
const ZONE: &str = "Asia/Shanghai";
/// How far business time moves in a step while the demo waits: time must pass for a day to close.
const STEP_US: i64 = 1_000_000;
/// Entries shown of an account.
const ENTRIES: usize = 3;

/// The log that the ledger lies on.
#[derive(Clone)]
pub(super) struct LedgerLog {
    pub(super) log: Arc<dyn Log>,
    /// The same, where it is the embedded one.
    pub(super) embedded: Option<Arc<EmbeddedLog>>,
}

impl LedgerLog {
    /// An embedded one in `dir`.
    pub(super) fn embedded(settings: &Settings, dir: &Path) -> anyhow::Result<Self> {
        let embedded = Arc::new(EmbeddedLog::open(dir, settings.embedded())?);
        Ok(Self { log: Arc::clone(&embedded) as Arc<dyn Log>, embedded: Some(embedded) })
    }

    /// Write-ahead sequence of the newest record; 0 where what is acknowledged is as durable as it gets.
    pub(super) fn last_sequence(&self) -> u64 {
        self.embedded.as_ref().map_or(0, |embedded| embedded.last_sequence())
    }
}

/// The pipeline, its log and its clock.
pub(super) struct Company {
    log: LedgerLog,
    pipeline: Pipeline,
    clock_us: Arc<AtomicI64>,
    chart: Chart,
    map: PartitionMap,
    counts: PartitionCounts,
    /// Next offset of each lane and partition.
    offsets: BTreeMap<(u32, u32), Offset>,
    sent: u64,
    /// End of the first day, microseconds since 1970-01-01T00:00:00Z.
    pub(super) midnight_us: i64,
}

impl Company {
    /// Starts the pipeline on a new log, with business time two hours before the end of `day` and checkpoints in `dir`.
    pub(super) fn open(settings: &Settings, log: LedgerLog, dir: &Path, day: Day) -> anyhow::Result<Self> {
        let counts = settings.partition_counts();
        let mut setup = Setup { compaction: log.log.features().compaction, ..Setup::new(counts) };
        ZONE.clone_into(&mut setup.time_zone);
        let midnight_us = setup.calendar()?.begin_us(day.next())?;
        let clock_us = Arc::new(AtomicI64::new(midnight_us - super::BEFORE_US));
        basis::open(log.log.as_ref(), &setup)?;
        let store = checkpoints(dir, &log.log);
        let (share, clock) = (Share::whole(), BusinessClock::Set(Arc::clone(&clock_us)));
        let start = Start {
            log: &log.log,
            share: &share,
            clock: &clock,
            checkpoints: &store,
            traces: None,
            observed: None,
        };
        let pipeline = Pipeline::start(&setup.processors()?, &settings.workers(), &start)?;
        let chart = setup.read_chart()?;
        let map = PartitionMap::even(counts.internal).context("partitions")?;
        let offsets = BTreeMap::new();
        Ok(Self { log, pipeline, clock_us, chart, map, counts, offsets, sent: 0, midnight_us })
    }

    pub(super) const fn counts(&self) -> PartitionCounts {
        self.counts
    }

    /// Decimals of each asset.
    pub(super) fn exponents(&self) -> BTreeMap<String, u8> {
        self.chart.assets.iter().map(|(code, asset)| (code.clone(), asset.exponent)).collect()
    }

    pub(super) fn log(&self) -> LedgerLog {
        self.log.clone()
    }

    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn now_us(&self) -> i64 {
        self.clock_us.load(Ordering::Acquire)
    }

    /// Moves business time, never back.
    pub(super) fn set_clock(&self, us: i64) {
        self.clock_us.fetch_max(us, Ordering::AcqRel);
    }

    pub(super) fn wait_ready(&self) -> anyhow::Result<()> {
        self.until("starting", Duration::from_secs(30), || Ok(self.pipeline.ready().then_some(())))
    }

    /// Appends events in one write.
    pub(super) fn send(&mut self, events: Vec<Sent>) -> anyhow::Result<()> {
        self.sent += events.len() as u64;
        let mut records = Vec::with_capacity(events.len());
        for Sent { lane, partition, value } in events {
            let topic = usize::try_from(lane).ok().and_then(|lane| Topic::LANES.get(lane).copied());
            let topic = topic.context("no such lane")?;
            *self.offsets.entry((lane, partition)).or_insert(0) += 1;
            records.push(OutRecord::new(TopicPartition::new(topic, partition), value));
        }
        self.log.log.append(records).context("sending events")?;
        Ok(())
    }

    /// Notes that the events sent next are due at `due_us`.
    pub(super) fn note_due(&self, due: &Due, due_us: i64) {
        for lane in 0..3 {
            for partition in 0..self.counts.events {
                let next = self.offsets.get(&(lane, partition)).copied().unwrap_or(0);
                due.note(lane, partition, next, due_us);
            }
        }
    }

    /// Waits until everything sent has been worked off.
    pub(super) fn drain(&self, wait: Duration) -> anyhow::Result<()> {
        const WHAT: &str = "working off what was sent";
        if self.log.embedded.is_none() {
            return self.drain_on_kafka(WHAT, wait);
        }
        if self.pipeline.drain(wait)? {
            return Ok(());
        }
        self.stuck(WHAT)
    }

    /// On Kafka commit markers stand behind the last record, so what counts is that there are no records: seen several
    /// times in a row, as stages are asked one after the other.
    fn drain_on_kafka(&self, what: &str, wait: Duration) -> anyhow::Result<()> {
        const ROUNDS: u32 = 4;
        let mut quiet = 0;
        self.until(what, wait, || {
            let lag = self.pipeline.lag()?;
            // A stage that does not answer now has no figure.
            let all = lag.len() == self.pipeline.stages().count() && lag.values().all(|lag| *lag == 0);
            quiet = if all { quiet + 1 } else { 0 };
            Ok((quiet == ROUNDS).then_some(()))
        })
    }

    pub(super) fn wait_durable(&self) -> anyhow::Result<()> {
        self.log.log.wait_durable(self.log.last_sequence(), PATIENCE)?;
        Ok(())
    }

    fn stuck<T>(&self, what: &str) -> anyhow::Result<T> {
        let (failures, stopped) = (self.pipeline.failures(), self.pipeline.stopped_slots());
        bail!("{what}: not done in time; failures {failures:?}, stopped {stopped:?}")
    }

    fn until<T>(
        &self,
        what: &str,
        wait: Duration,
        mut done: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let until_us =
            clock::monotonic_us().saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        loop {
            if let Some(answer) = done()? {
                return Ok(answer);
            }
            if clock::monotonic_us() > until_us || !self.pipeline.failures().is_empty() {
                return self.stuck(what);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets business time pass until `day` is closed; the days of the book.
    pub(super) fn wait_closed(&self, day: Day, wait: Duration) -> anyhow::Result<Vec<DayStatus>> {
        self.until("closing the day", wait, || {
            self.set_clock(self.now_us() + STEP_US);
            let days = self.pipeline.settlement.ask(|worker| {
                worker.slot(0).map(|slot| worker.processor().rules().days(slot)).unwrap_or_default()
            });
            let days = days.unwrap_or_default().concat();
            let closed = |status: &DayStatus| status.day == day && status.state == DayState::Closed;
            Ok(days.iter().any(closed).then_some(days))
        })
    }

    /// Imports a bill, as `ledgerflow bill` does.
    pub(super) fn import(&self, provider: Provider, path: &Path) -> anyhow::Result<()> {
        let import = Import::open_path(&provider.source(), path, None, self.counts.internal)?;
        let end = import.end();
        if !end.accepted {
            bail!("{}: quarantined: {}: {}", path.display(), end.reason, end.detail);
        }
        append_bill(self.log.log.as_ref(), import).context("importing the bill")?;
        Ok(())
    }

    /// Cases of the bills of `day`, and the event id of the first order that agrees.
    pub(super) fn cases(&self, day: Day) -> anyhow::Result<(Cases, String)> {
        let filter = CaseFilter { day: Some(day), ..CaseFilter::default() };
        let asked = self.pipeline.join.ask(move |worker| {
            let (mut breaks, mut matches) = (Vec::new(), Vec::new());
            for slot in worker.slots().into_iter().filter_map(|slot| worker.slot(slot)) {
                breaks.extend(worker.processor().breaks(slot, &filter));
                matches.extend(worker.processor().matches(slot, &filter));
            }
            (breaks, matches)
        });
        let asked = asked.context("reconcile does not answer")?;
        let (breaks, matches): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let mut matches = matches.concat();
        reconcile::join::sort(&mut matches);
        let mut paid = matches.iter().filter(|case| case.refund.is_empty());
        let first = paid.find_map(|case| Some(case.ours.as_ref()?.event_id.clone()));
        let mut cases = Cases::new();
        for case in breaks.into_iter().flatten().chain(matches) {
            let provider = Provider::by_name(&case.provider).context("a case of a provider without bills")?;
            cases.entry((provider, case.kind)).or_default().push((case.order, case.refund));
        }
        cases.values_mut().for_each(|cases| cases.sort());
        Ok((cases, first.context("no order of the day is matched")?))
    }

    /// An account's balance and its last entries.
    pub(super) fn account(&self, name: &str) -> anyhow::Result<Account> {
        const ASSET: &str = "CNY";
        let slot = self.map.partition_of(self.chart.shard_key(name));
        let asked = name.to_owned();
        let balance = self.pipeline.settlement.ask(move |worker| {
            let slot = worker.slot(slot)?;
            let balances = worker.processor().rules().balances_of(slot, &asked);
            let found = balances.into_iter().find(|balance| balance.asset == ASSET)?;
            Some((found.balance, found.normal_side))
        });
        let balance = balance.into_iter().flatten().flatten().next();
        let (balance, normal_side) = balance.with_context(|| format!("{name} has no balance"))?;
        let asked = name.to_owned();
        let figures = self.pipeline.posting.ask(move |worker| worker.slot(slot)?.figures_of(&asked, ASSET));
        let figures = figures
            .into_iter()
            .flatten()
            .flatten()
            .next()
            .with_context(|| format!("{name} has no entries"))?;
        let from = journal::From { batch: figures.last_batch, below: u64::MAX };
        let entries = last_entries(self.log.log.as_ref(), slot, name, ASSET, from, ENTRIES)?;
        Ok(Account { name: name.to_owned(), balance, normal_side, seq: figures.seq, entries })
    }

    /// Stops the pipeline in order and gives its log.
    pub(super) fn stop(self) -> anyhow::Result<LedgerLog> {
        let failures = self.pipeline.stop(Duration::from_secs(10))?;
        if let Some(failure) = failures.first() {
            bail!("{} failed: {}", failure.processor, failure.error);
        }
        Ok(self.log)
    }
}
