//! From configuration texts to the five processors.

use super::Processors;
use crate::archive::Place;
use anyhow::Context;
use ingest::config::{IngestConfig, IngestSettings};
use ingest::rules::Rules;
use reconcile::bill::BillFormat;
use reconcile::config::{ProviderSettings, WECHAT};
use reconcile::import::BillSource;
use schemas::chart::Chart;
use schemas::dates::{Calendar, TICK_AHEAD_US_MAX_DEFAULT};
use schemas::shards::PartitionMap;
use schemas::topics::PartitionCounts;
use std::collections::BTreeMap;

/// Chart of accounts used when none is configured.
pub const DEFAULT_CHART: &str = include_str!("../../defaults/accounts.yaml");
/// Posting rules used when none are configured.
pub const DEFAULT_RULES: &str = include_str!("../../defaults/rules.yaml");

/// A source of bills that is not configured, or none named where there are several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; bill sources are: {known}", self.wanted.as_ref().map_or_else(
    || "no bill source is named and there are several".to_owned(),
    |wanted| format!("there is no bill source {wanted:?}"),
))]
pub struct NoSource {
    wanted: Option<String>,
    known: String,
}

/// The source of a configuration that has none.
fn any_wechat() -> BillSource {
    BillSource {
        name: WECHAT.to_owned(),
        provider: WECHAT.to_owned(),
        account: String::new(),
        format: BillFormat::WechatTradeBill,
    }
}

/// What the processors are made from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Text of `accounts.yaml` and the name to give in errors.
    pub chart: (String, String),
    /// Text of `rules.yaml` and the name to give in errors.
    pub rules: (String, String),
    /// Partition counts.
    pub counts: PartitionCounts,
    /// Book.
    pub book: String,
    /// IANA time zone of the book.
    pub time_zone: String,
    /// When its days begin, `HH:MM`.
    pub cut_off: String,
    /// How far a tick of business time may lie ahead of the highest one a partition has taken, microseconds.
    pub tick_ahead_us_max: i64,
    /// Business time after which a proposed adjustment is over, microseconds.
    pub proposal_us: i64,
    /// How long ids of events are recognised and kept.
    pub ids: posting::horizon::Terms,
    /// Ids of a page in memory ([`posting::id_table`]).
    pub id_page_rows: usize,
    /// Settings of ingest.
    pub ingest: IngestSettings,
    /// Providers of bills that are not known without a setting.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// Sources of bills by name.
    pub sources: BTreeMap<String, BillSource>,
    /// Whether the log keeps the newest record per key.
    pub compaction: bool,
    /// Where records are archived that the log need not keep; `None` = nowhere.
    pub archive: Option<Place>,
}

impl Setup {
    /// The defaults: chart and rules that come with the program, book `main` with civil days of UTC.
    #[must_use]
    pub fn new(counts: PartitionCounts) -> Self {
        Self {
            chart: (DEFAULT_CHART.to_owned(), "built-in accounts.yaml".to_owned()),
            rules: (DEFAULT_RULES.to_owned(), "built-in rules.yaml".to_owned()),
            counts,
            book: "main".to_owned(),
            time_zone: "UTC".to_owned(),
            cut_off: "00:00".to_owned(),
            tick_ahead_us_max: TICK_AHEAD_US_MAX_DEFAULT,
            proposal_us: posting::config::PROPOSAL_US_DEFAULT,
            ids: posting::horizon::Terms::default(),
            id_page_rows: posting::id_table::PAGE_ROWS,
            ingest: IngestSettings::default(),
            providers: BTreeMap::new(),
            sources: BTreeMap::from([(WECHAT.to_owned(), any_wechat())]),
            compaction: false,
            archive: None,
        }
    }

    /// The source of that name, or the only one there is.
    ///
    /// # Errors
    /// Names those that there are.
    pub fn source(&self, name: Option<&str>) -> Result<&BillSource, NoSource> {
        let only = (self.sources.len() == 1).then(|| self.sources.values().next()).flatten();
        let found = name.map_or(only, |name| self.sources.get(name));
        found.ok_or_else(|| NoSource {
            wanted: name.map(str::to_owned),
            known: self.sources.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The calendar of the book.
    ///
    /// # Errors
    /// Unknown zone or cut-off.
    pub fn calendar(&self) -> anyhow::Result<Calendar> {
        Calendar::new(&self.time_zone, &self.cut_off).context("book")
    }

    /// The chart.
    ///
    /// # Errors
    /// Names file, line and what was expected.
    pub fn read_chart(&self) -> anyhow::Result<Chart> {
        Chart::parse(&self.chart.0).with_context(|| self.chart.1.clone())
    }

    /// Settlement alone: what it shows balances by.
    ///
    /// # Errors
    /// Names file or setting and what was expected.
    pub fn settlement(&self) -> anyhow::Result<settlement::Settlement> {
        let (chart, calendar) = (self.read_chart()?, self.calendar()?);
        let config = settlement::SettlementConfig::new(
            chart,
            self.counts,
            self.book.clone(),
            calendar,
            self.compaction,
        );
        Ok(settlement::Settlement::new(config)?)
    }

    /// The five processors.
    ///
    /// # Errors
    /// Names file or setting and what was expected.
    pub fn processors(&self) -> anyhow::Result<Processors> {
        let chart = self.read_chart()?;
        let calendar = self.calendar()?;
        let map = PartitionMap::even(self.counts.internal)
            .with_context(|| format!("partitions.internal: {}, expected 1 to 256", self.counts.internal))?;
        let rules = Rules::parse(&self.rules.0, &chart).with_context(|| self.rules.1.clone())?;
        let ingest = IngestConfig {
            slots: self.counts.events,
            map: map.clone(),
            chart: chart.clone(),
            rules,
            book: self.book.clone(),
            calendar,
            generation: 0,
            settings: self.ingest.clone(),
        };
        let posting = posting::PostingConfig {
            tick_ahead_us_max: self.tick_ahead_us_max,
            proposal_us: self.proposal_us,
            ids: self.ids,
            id_page_rows: self.id_page_rows,
            ..posting::PostingConfig::new(&self.chart.0, map, self.counts.events)
                .with_context(|| self.chart.1.clone())?
        };
        let recon = reconcile::config::Config::new(self.counts.internal, &chart, &self.providers)?;
        Ok(Processors {
            ingest: ingest::processor::IngestProcessor::new(ingest)?,
            posting: posting::Posting::new(posting),
            settlement: self.settlement()?,
            rekey: reconcile::rekey::Rekey::new(recon.clone()),
            join: reconcile::join::Join::new(recon),
        })
    }
}
