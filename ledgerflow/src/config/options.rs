//! What the settings make of the program: options of its parts as those take them.

use super::{
    BillFormat, BillSource, ClockMode, Instant, Lanes, LateEvents, LogKind, Mapped, Provider, Retention,
    Rounding, Settings, Window,
};
use crate::archive::Place;
use crate::retention::Ages;
use crate::runtime::{self, DEFAULT_CHART, DEFAULT_RULES, Setup, worker_name};
use anyhow::Context;
use ingest::config as ingest_config;
use ingest::principals::Writers;
use posting::horizon::Terms;
use reconcile::config::ProviderSettings;
use reconcile::mapping::Mapping;
use reconcile::{bill, decimal, import};
use schemas::topics::PartitionCounts;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::throttle::{self, Throttle};

const MIB: u64 = 1024 * 1024;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

fn mib(count: u32) -> u64 {
    u64::from(count) * MIB
}

fn mib_usize(count: u32) -> usize {
    usize::try_from(mib(count)).unwrap_or(usize::MAX)
}

impl Settings {
    /// Partition counts of all topics.
    #[must_use]
    pub const fn partition_counts(&self) -> PartitionCounts {
        PartitionCounts { events: self.partitions.events, internal: self.partitions.internal }
    }

    /// What the processors are made from; reads the chart, the rules and the mappings of bills.
    ///
    /// # Errors
    /// A file that cannot be read, by name; a mapping that is wrong. What is in chart and rules is judged when the
    /// processors are made.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        let ingest = &self.ingest;
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let built_in = Setup::new(self.partition_counts());
        let sources = self.bills.sources.iter().map(BillSource::settings);
        let sources = sources.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        Ok(Setup {
            chart: read_or(self.accounts.as_deref(), DEFAULT_CHART, "accounts")?,
            rules: read_or(self.rules.as_deref(), DEFAULT_RULES, "rules")?,
            book: self.book.name.0.clone(),
            time_zone: self.book.time_zone.0.clone(),
            cut_off: self.book.cut_off.0.clone(),
            tick_ahead_us_max: i64::from(self.business_clock.ahead_days_max) * DAY_US,
            proposal_us: i64::from(self.posting.proposal_days) * DAY_US,
            ids: Terms {
                recognised_us: i64::from(self.posting.id_days) * DAY_US,
                kept_us: i64::from(self.posting.id_days_kept.max(self.posting.id_days)) * DAY_US,
                ahead_us: i64::from(ingest.future_seconds_max) * 1_000_000,
            },
            ingest: ingest_config::IngestSettings {
                tick_ms: ingest.tick_ms,
                event_bytes_max: count(ingest.event_bytes_max),
                lane_weights: ingest.lane_weights.0,
                lane_floor: count(ingest.lane_floor),
                window_records: count(ingest.window_records),
                late_events: match ingest.late_events {
                    LateEvents::BackDate => ingest_config::LateEvents::BackDate,
                    LateEvents::Today => ingest_config::LateEvents::Today,
                },
                future_bound_ms: u64::from(ingest.future_seconds_max) * 1000,
                writers: self.writers(),
            },
            providers: self.reconcile.providers.iter().map(Provider::settings).collect(),
            sources: if sources.is_empty() { built_in.sources.clone() } else { sources },
            compaction: self.log.kind == LogKind::Kafka,
            archive: self
                .archive
                .dir
                .clone()
                .map(|dir| Place { dir, file_bytes: mib(self.archive.file_mib) }),
            ..built_in
        })
    }

    /// Who may write to each lane of events, highest first. On the embedded log only this program does.
    #[must_use]
    pub fn writers(&self) -> [Writers; 3] {
        let Lanes { high, normal, low } = &self.kafka.writers;
        match self.log.kind {
            LogKind::Embedded => [Writers::Doors, Writers::Doors, Writers::Doors],
            LogKind::Kafka => [high, normal, low].map(|lane| lane.0.clone()),
        }
    }

    /// Business time, beginning now.
    #[must_use]
    pub fn clock(&self) -> BusinessClock {
        match (self.business_clock.mode, self.business_clock.at) {
            (ClockMode::Offset, Some(Instant(at))) => {
                BusinessClock::Offset(at.saturating_sub(clock::wall_us()))
            }
            (ClockMode::Set, Some(Instant(at))) => BusinessClock::set_at(at),
            _ => BusinessClock::Wall,
        }
    }

    /// How the embedded log is run.
    #[must_use]
    pub fn embedded(&self) -> stream::embedded::Options {
        let mut options = stream::embedded::Options::new(self.partition_counts());
        options.segment_bytes = mib(self.log.segment_mib);
        options.sync_interval = Duration::from_millis(u64::from(self.log.sync_interval_ms));
        options.tail_cache_bytes = mib_usize(self.log.cache_mib);
        options.scan_bytes = mib(self.log.scan_mib);
        options.clean_percent = u64::from(self.retention.free_percent);
        options
    }

    /// How the workers are run: the one place that says so, for `run`, `bench` and `demo`.
    #[must_use]
    pub fn workers(&self) -> runtime::Windows {
        let one = |window| stream::worker::Options { pool: self.pool(1), ..self.worker(window) };
        let posting = self.worker(&self.windows.posting);
        runtime::Windows {
            ingest: stream::worker::Options { throttle: self.throttle(), ..one(&self.windows.ingest) },
            posting: stream::worker::Options { pool: self.pool(self.posting.workers), ..posting },
            settlement: one(&self.windows.settlement),
            reconcile: one(&self.windows.reconcile),
            posting_workers: NonZero::new(self.posting.workers).unwrap_or(NonZero::<u32>::MIN),
        }
    }

    /// What holds the low lane back.
    fn throttle(&self) -> Option<Arc<Throttle>> {
        let slower_percent = self.ingest.low_lane_slows_percent;
        (slower_percent > 0).then(|| Arc::new(Throttle::new(throttle::Settings { slower_percent })))
    }

    /// Names that workers of a processor may have on Kafka, `workers` to a process.
    fn pool(&self, workers: u32) -> Vec<String> {
        if self.log.kind == LogKind::Embedded {
            return Vec::new();
        }
        let of = |member: u32| (1..=workers).map(move |number| worker_name(&member.to_string(), number));
        (1..=self.kafka.members).flat_map(of).collect()
    }

    /// How long what no processor reads is kept, counted back from `now_us`.
    #[must_use]
    pub const fn ages(&self, now_us: i64) -> Ages {
        let Retention { rejected_days, published_days, .. } = self.retention;
        Ages { now_us, rejected_days, published_days }
    }

    /// How a worker with this window is run.
    #[must_use]
    pub fn worker(&self, window: &Window) -> stream::worker::Options {
        stream::worker::Options {
            window_us: i64::from(window.ms) * 1000,
            poll_bytes: mib_usize(window.read_mib),
            checkpoint_us: i64::from(self.checkpoint.seconds) * 1_000_000,
            checkpoint_bytes: mib_usize(self.checkpoint.mib),
            ..stream::worker::Options::default()
        }
    }
}

impl BillSource {
    fn settings(&self) -> anyhow::Result<(String, import::BillSource)> {
        let source = import::BillSource {
            name: self.name.clone(),
            provider: self.provider.clone(),
            account: self.account.clone(),
            format: self.format.format().with_context(|| format!("bill source {}", self.name))?,
        };
        Ok((self.name.clone(), source))
    }
}

impl BillFormat {
    /// The format, with its mapping read.
    fn format(&self) -> anyhow::Result<bill::BillFormat> {
        Ok(match self {
            Self::WechatTrade => bill::BillFormat::WechatTradeBill,
            Self::AlipayDetail => bill::BillFormat::AlipayDetail,
            Self::Mapped(Mapped { mapping }) => {
                let name = mapping.display().to_string();
                let text = std::fs::read_to_string(mapping).with_context(|| format!("mapping: {name}"))?;
                bill::BillFormat::Mapped(Arc::new(Mapping::parse(&text).context(name)?))
            }
        })
    }
}

impl Provider {
    fn settings(&self) -> (String, ProviderSettings) {
        let fee_rounding = match self.fee_rounding {
            Rounding::HalfUp => decimal::Rounding::HalfUp,
            Rounding::HalfEven => decimal::Rounding::HalfEven,
            Rounding::Down => decimal::Rounding::Down,
        };
        (self.name.clone(), ProviderSettings { zone: self.time_zone.0.clone(), fee_rounding })
    }
}

/// The text of a file, or the one that is built in, and the name to give in errors.
fn read_or(path: Option<&Path>, built_in: &str, setting: &str) -> anyhow::Result<(String, String)> {
    let Some(path) = path else { return Ok((built_in.to_owned(), format!("built-in {setting}.yaml"))) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("{setting}: {name}"))?;
    Ok((text, name))
}
