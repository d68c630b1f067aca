//! The pipeline on the embedded log, in this process.

use super::sending::Sending;
use super::{Measured, Run, Stage, TRANSFER_RULES};
use crate::basis;
use crate::cli::args::BenchPipeline;
use crate::config::Settings;
use crate::generate::BENCH_CHART;
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::{process, recount};
use crate::query::books::checkpoints;
use crate::runtime::{Pipeline, Setup, Share, Start, Work};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::embedded::EmbeddedLog;
use stream::log::Log;

pub(super) fn pipeline(options: &BenchPipeline, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    let log = open(settings, options.partitions, dir)?;
    let bench = Bench { options, settings, dir, log };
    match options.rate {
        None => bench.throughput(),
        Some(rate) => bench.latency(rate),
    }
}

/// The log of a directory, with so many internal partitions where that is said.
pub(super) fn open(
    settings: &Settings,
    partitions: Option<u32>,
    dir: &Path,
) -> anyhow::Result<Arc<EmbeddedLog>> {
    let mut embedded = settings.embedded();
    embedded.counts.internal = partitions.unwrap_or(embedded.counts.internal);
    Ok(Arc::new(EmbeddedLog::open(dir, embedded)?))
}

/// The pipeline with the chart and rules of measurements.
pub(super) fn start(
    settings: &Settings,
    log: &Arc<EmbeddedLog>,
    dir: &Path,
    share: &Share,
) -> anyhow::Result<Pipeline> {
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let store = checkpoints(dir, &shared);
    let setup = Setup {
        chart: (BENCH_CHART.to_owned(), "chart of measurements".to_owned()),
        rules: (TRANSFER_RULES.to_owned(), "rules of measurements".to_owned()),
        ..Setup::new(log.counts())
    };
    basis::open(shared.as_ref(), &setup)?;
    let clock = BusinessClock::Wall;
    let start =
        Start { log: &shared, share, clock: &clock, checkpoints: &store, traces: None, observed: None };
    Pipeline::start(&setup.processors()?, &settings.workers(), &start)
}

/// Waits until every worker has restored its slots.
pub(super) fn wait_ready(pipeline: &Pipeline, wait: Duration) -> anyhow::Result<()> {
    let started = clock::monotonic_us();
    while !pipeline.ready() {
        if u128::try_from(clock::monotonic_us() - started).unwrap_or(0) > wait.as_micros() {
            bail!("the pipeline is not ready: {:?}", pipeline.failures());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// One measurement.
struct Bench<'a> {
    options: &'a BenchPipeline,
    settings: &'a Settings,
    dir: &'a Path,
    log: Arc<EmbeddedLog>,
}

impl Bench<'_> {
    fn start(&self) -> anyhow::Result<Pipeline> {
        start(self.settings, &self.log, self.dir, &Share::whole())
    }

    fn throughput(&self) -> anyhow::Result<Measured> {
        let events = self.options.events;
        Sending::new(self.options, self.log.as_ref(), self.log.counts().events).preload(events)?;
        self.log.wait_durable(self.log.last_sequence(), Duration::from_secs(60))?;
        let from = Point::now(&self.log, None);
        let pipeline = self.start()?;
        drain(&pipeline, Duration::from_secs(600))?;
        self.log.wait_durable(self.log.last_sequence(), Duration::from_secs(60))?;
        self.finish(pipeline, &from, events, None)
    }

    fn latency(&self, rate: u64) -> anyhow::Result<Measured> {
        let total =
            rate.checked_mul(self.options.seconds).context("--rate times --seconds: too many events")?;
        let pipeline = self.start()?;
        wait_ready(&pipeline, Duration::from_secs(30))?;
        // The first day is announced by then: what is measured is the steady state.
        std::thread::sleep(Duration::from_secs(1));
        let due = Arc::new(Due::default());
        let newest = Arc::clone(&self.log);
        let shared: Arc<dyn Log> = Arc::clone(&self.log) as Arc<dyn Log>;
        let monitor = Monitor::start(shared, Arc::clone(&due), move || newest.last_sequence())?;
        let from = Point::now(&self.log, Some(&pipeline));
        Sending::new(self.options, self.log.as_ref(), self.log.counts().events)
            .on_schedule(rate, total, &due)?;
        drain(&pipeline, Duration::from_secs(60))?;
        std::thread::sleep(Duration::from_millis(200));
        let latencies = percentiles(monitor.finish()?);
        self.finish(pipeline, &from, total, Some(latencies))
    }

    fn finish(
        &self,
        pipeline: Pipeline,
        from: &Point,
        events: u64,
        latencies: Option<Percentiles>,
    ) -> anyhow::Result<Measured> {
        let (to, rss_mib) = (Point::now(&self.log, Some(&pipeline)), process::rss_mib());
        let failures = pipeline.stop(Duration::from_secs(10))?;
        if let Some(failure) = failures.first() {
            bail!("{} failed: {}", failure.processor, failure.error);
        }
        let micros = u64::try_from(to.wall_us - from.wall_us).unwrap_or(1).max(1);
        let cpu_ms = to.cpu_ms - from.cpu_ms;
        let (stages, other_threads_cpu_ms) = stages(from, &to);
        Measured::of(
            self.options,
            self.settings,
            Run {
                log: "embedded",
                events,
                micros,
                cpu_ms,
                rss_mib,
                stages,
                other_threads_cpu_ms,
                bytes_per_event: Some(to.disk.saturating_sub(from.disk) / events.max(1)),
                latencies,
                counts: self.log.counts(),
                durability: format!("group fsync every {} ms, one disk", self.settings.log.sync_interval_ms),
                recount: recount::recount(self.log.as_ref())?,
            },
        )
    }
}

pub(super) fn drain(pipeline: &Pipeline, wait: Duration) -> anyhow::Result<()> {
    if pipeline.drain(wait)? {
        return Ok(());
    }
    bail!("the pipeline did not get through: {:?} {:?}", pipeline.failures(), pipeline.stopped_slots())
}

/// What has been used and done by a moment.
struct Point {
    wall_us: i64,
    cpu_ms: u64,
    disk: u64,
    threads: BTreeMap<String, u64>,
    work: BTreeMap<&'static str, Work>,
}

impl Point {
    fn now(log: &EmbeddedLog, pipeline: Option<&Pipeline>) -> Self {
        Self {
            wall_us: clock::monotonic_us(),
            cpu_ms: process::cpu_ms(),
            disk: log.disk_bytes(),
            threads: process::thread_cpu_ms(),
            work: pipeline.map(Pipeline::work).unwrap_or_default(),
        }
    }
}

/// What each processor did between two moments, and the CPU time of the threads that are no processor's.
fn stages(from: &Point, to: &Point) -> (BTreeMap<String, Stage>, BTreeMap<String, u64>) {
    let mut others = BTreeMap::new();
    for (name, cpu_ms) in &to.threads {
        others.insert(name.clone(), cpu_ms.saturating_sub(from.threads.get(name).copied().unwrap_or(0)));
    }
    let stages = to.work.iter().map(|(name, after)| {
        let before = from.work.get(name).copied().unwrap_or_default();
        let stage = Stage {
            cpu_ms: others.remove(*name).unwrap_or(0),
            windows: after.windows - before.windows,
            windows_aborted: after.aborted - before.aborted,
            items: after.items - before.items,
            records_read: after.records_read - before.records_read,
            records_written: after.records_written - before.records_written,
        };
        ((*name).to_owned(), stage)
    });
    let stages = stages.collect();
    others.retain(|_, cpu_ms| *cpu_ms > 0);
    (stages, others)
}
