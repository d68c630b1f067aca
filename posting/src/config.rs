//! What posting is told at start.

use crate::accounts::{ChartTerms, Terms};
use crate::{horizon, id_table};
use schemas::batch::{Hash, sha256};
use schemas::chart::{AccountClass, Chart};
use schemas::dates::TICK_AHEAD_US_MAX_DEFAULT;
use schemas::ids;
use schemas::shards::PartitionMap;

/// Most legs of one command. Ingest holds the same bound; a command above it is refused `too_many_legs`.
pub const LEGS_MAX: usize = 64;
/// Largest amount, in minor units, of a leg that leaves its partition (2^100, about 10^30). With
/// [`CLEARING_MAX`] it keeps every sum of a window exact, at the sender and, in other windows, at the receiver.
pub const CROSSING_MAX: i128 = 1 << 100;
/// Largest balance of a clearing account, either side, minor units.
pub const CLEARING_MAX: i128 = 1 << 126;
/// Items of one channel that may wait for an earlier one; past it they are dropped and counted.
pub const HELD_MAX: usize = 1_024;
/// Item checks remembered per channel, to tell a second delivery from another item under the same sequence.
pub const RECENT_CHECKS: usize = 256;

/// Business time after which items that are missing are asked for again, microseconds; doubled each time.
pub const RESEND_AFTER_US: i64 = 10_000_000;
/// How often that time is doubled.
pub const RESEND_DOUBLINGS_MAX: u32 = 6;

/// Business time after which an event that waits for answers of other partitions is refused, unless said otherwise,
/// microseconds.
pub const GROUP_TIMEOUT_US_DEFAULT: i64 = 10_000_000;

/// Business time after which a proposed adjustment is over, unless said otherwise, microseconds.
pub const PROPOSAL_US_DEFAULT: i64 = 7 * 86_400_000_000;

/// Largest body of a batch on `credits`. What its receiver makes of it is part of one record of `journal`.
pub const CREDITS_BODY_BYTES_MAX: usize = 256 * 1024;
/// The same where accounts have rules about velocity, as what is counted of each stands in that record too.
pub const CREDITS_BODY_BYTES_COUNTED: usize = 64 * 1024;

/// Configuration of posting.
#[derive(Debug, Clone)]
pub struct PostingConfig {
    /// Chart of accounts.
    pub chart: Chart,
    /// What the chart says of each class in each asset.
    pub terms: ChartTerms,
    /// SHA-256 of the chart's text; journalled when it changes.
    pub chart_hash: Hash,
    /// Shards to partitions; its partition count is the number of slots.
    pub map: PartitionMap,
    /// Number of ingest slots.
    pub ingest_slots: u32,
    /// How far a tick of business time may lie ahead of the highest one, microseconds. It may change between runs: what
    /// was made of a tick is in the journal.
    pub tick_ahead_us_max: i64,
    /// Business time after which an event that waits for answers of other partitions is refused, microseconds. It may
    /// change between runs: the deadline of each is in the journal.
    pub group_timeout_us: i64,
    /// Business time after which a proposed adjustment is over, microseconds. It may change between runs: the end of each
    /// is in the journal.
    pub proposal_us: i64,
    /// How long ids are recognised and kept. It may change between runs: what is forgotten is in the journal.
    pub ids: horizon::Terms,
    /// Ids of a page in memory ([`id_table`]).
    pub id_page_rows: usize,
}

impl PostingConfig {
    /// Configuration from a chart's text.
    ///
    /// # Errors
    /// The chart's own error, with line.
    pub fn new(
        chart_yaml: &str,
        map: PartitionMap,
        ingest_slots: u32,
    ) -> Result<Self, schemas::chart::ChartError> {
        let chart = Chart::parse(chart_yaml)?;
        let (terms, chart_hash) = (ChartTerms::of(&chart), sha256(chart_yaml.as_bytes()));
        let (tick_ahead_us_max, group_timeout_us) = (TICK_AHEAD_US_MAX_DEFAULT, GROUP_TIMEOUT_US_DEFAULT);
        let proposal_us = PROPOSAL_US_DEFAULT;
        Ok(Self {
            chart,
            terms,
            chart_hash,
            map,
            ingest_slots,
            tick_ahead_us_max,
            group_timeout_us,
            proposal_us,
            ids: horizon::Terms::default(),
            id_page_rows: id_table::PAGE_ROWS,
        })
    }

    /// Largest body of a batch on `credits`.
    #[must_use]
    pub fn credits_body_bytes_max(&self) -> usize {
        if self.chart.velocity_rules_max() > 0 { CREDITS_BODY_BYTES_COUNTED } else { CREDITS_BODY_BYTES_MAX }
    }

    /// Where an account lives; `None` when the chart has no such account.
    #[must_use]
    pub fn partition_of(&self, account: &str) -> Option<u32> {
        self.chart.resolve(account).map(|class| self.partition_in(class, account))
    }

    /// Where an account's balance lives and what the chart says of it in that asset; `None` when the chart has no
    /// such account or asset, or it may not hold the asset.
    #[must_use]
    pub fn place(&self, account: &str, asset: &str) -> Option<(u32, Terms)> {
        let (number, class) = self.chart.resolve_numbered(account)?;
        let terms = *self.terms.get(number, asset)?;
        Some((self.partition_in(class, account), terms))
    }

    fn partition_in(&self, class: &AccountClass, account: &str) -> u32 {
        match self.map.partitions() {
            1 => 0,
            _ => self.map.partition_of(ids::prefix(account, class.shard_segments)),
        }
    }
}

// A window nets at most 2^25 crossing legs of one channel, and any order of its dates, without leaving 128 bits.
const _: () = assert!(CLEARING_MAX / CROSSING_MAX >= 1 << 25 && CLEARING_MAX <= i128::MAX / 2 + 1);
