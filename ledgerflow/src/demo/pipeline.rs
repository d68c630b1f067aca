//! The company's ledger while the demo runs: the pipeline on the embedded log, its clock, and questions to it.

use super::PATIENCE;
use super::bill::Cases;
use super::report::Account;
use super::traffic::{PROVIDER_ACCOUNT, Sent};
use crate::basis;
use crate::config::Settings;
use crate::measure::latency::Due;
use crate::query::books::checkpoints;
use crate::query::journal::{self, last_entries};
use crate::runtime::{Pipeline, Setup, Share, Start};
use anyhow::{Context, bail};
use reconcile::bill::BillFormat;
use reconcile::import::{BillSource, Import};
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

/// The pipeline, its log and its clock.
pub(super) struct Company {
    log: Arc<EmbeddedLog>,
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
    /// Opens the log in `dir` and starts the pipeline, with business time two hours before the end of `day`.
    pub(super) fn open(settings: &Settings, dir: &Path, day: Day) -> anyhow::Result<Self> {
        let counts = settings.partition_counts();
        let mut setup = Setup::new(counts);
        ZONE.clone_into(&mut setup.time_zone);
        let midnight_us = setup.calendar()?.begin_us(day.next())?;
        let clock_us = Arc::new(AtomicI64::new(midnight_us - super::BEFORE_US));
        let log = Arc::new(EmbeddedLog::open(dir, settings.embedded())?);
        let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        basis::open(shared.as_ref(), &setup)?;
        let store = checkpoints(dir, &shared);
        let (share, clock) = (Share::whole(), BusinessClock::Set(Arc::clone(&clock_us)));
        let start = Start { log: &shared, share: &share, clock: &clock, checkpoints: &store };
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

    pub(super) fn log(&self) -> Arc<EmbeddedLog> {
        Arc::clone(&self.log)
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
        self.log.append(records).context("sending events")?;
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
        if self.pipeline.drain(wait)? {
            return Ok(());
        }
        self.stuck("working off what was sent")
    }

    pub(super) fn wait_durable(&self) -> anyhow::Result<()> {
        self.log.wait_durable(self.log.last_sequence(), PATIENCE)?;
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

    /// Imports a bill of the provider.
    pub(super) fn import(&self, path: &Path) -> anyhow::Result<()> {
        let source = BillSource {
            name: "wechat".into(),
            provider: "wechat".into(),
            account: PROVIDER_ACCOUNT.into(),
            format: BillFormat::WechatTradeBill,
        };
        let import = Import::open_path(&source, path, None, self.counts.internal)?;
        let end = import.end();
        if !end.accepted {
            bail!("{}: quarantined: {}: {}", path.display(), end.reason, end.detail);
        }
        for record in import.records() {
            self.log.append(vec![record?]).context("importing the bill")?;
        }
        Ok(())
    }

    /// Breaks of the bill of `day`, how many pairs agree, and the event id of the first of these.
    pub(super) fn cases(&self, day: Day) -> anyhow::Result<(Cases, u64, String)> {
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
        let first = matches.iter().find_map(|case| Some(case.ours.as_ref()?.event_id.clone()));
        let mut cases = Cases::new();
        for case in breaks.into_iter().flatten() {
            cases.entry(case.kind).or_default().push((case.order, case.refund));
        }
        cases.values_mut().for_each(|cases| cases.sort());
        Ok((cases, matches.len() as u64, first.context("no order of the day is matched")?))
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
        let entries = last_entries(self.log.as_ref(), slot, name, ASSET, from, ENTRIES)?;
        Ok(Account { name: name.to_owned(), balance, normal_side, seq: figures.seq, entries })
    }

    /// Stops the pipeline in order and gives its log.
    pub(super) fn stop(self) -> anyhow::Result<Arc<EmbeddedLog>> {
        let failures = self.pipeline.stop(Duration::from_secs(10))?;
        if let Some(failure) = failures.first() {
            bail!("{} failed: {}", failure.processor, failure.error);
        }
        Ok(self.log)
    }
}
