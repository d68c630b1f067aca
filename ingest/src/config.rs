//! What ingest is configured with. Bounds are checked once, when the processor is made.

use crate::lanes::LaneShares;
use crate::principals::Writers;
use crate::rules::{LEGS_MAX, MATCH_TEXT_BYTES_MAX, Rules};
use schemas::batch::BODY_BYTES_MAX;
use schemas::chart::Chart;
use schemas::cloudevents::ATTRIBUTE_BYTES_MAX;
use schemas::dates::Calendar;
use schemas::ids;
use schemas::principal;
use schemas::shards::PartitionMap;
use serde::Deserialize;
use thiserror::Error;

/// Largest command that an event can become: its attributes, and its legs of which one carries a match.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a batch on `commands`. Posting writes what it makes of a batch as one record of `journal`, which
/// may have three times the bytes and still stays below Kafka's 1 MB.
pub const COMMANDS_BODY_BYTES_MAX: usize = 256 * 1024;
/// A body that has this much is sealed, so that no command makes it pass [`COMMANDS_BODY_BYTES_MAX`].
pub const SEAL_BYTES: usize = COMMANDS_BODY_BYTES_MAX - COMMAND_BYTES_MAX;
/// The same where accounts have rules about velocity: posting writes what it counts of each into that record too.
pub const SEAL_BYTES_COUNTED: usize = SEAL_BYTES / 4;
const _: () =
    assert!(COMMANDS_BODY_BYTES_MAX <= BODY_BYTES_MAX && COMMAND_BYTES_MAX < COMMANDS_BODY_BYTES_MAX);

/// Tags, lengths and figures of a leg and of a command, generously.
const FRAME_BYTES: usize = 128;
const _: () = assert!(
    LEGS_MAX * (ids::ACCOUNT_BYTES_MAX + ids::ASSET_BYTES_MAX + FRAME_BYTES)
        + 6 * MATCH_TEXT_BYTES_MAX
        + ids::SOURCE_BYTES_MAX
        + ids::EVENT_ID_BYTES_MAX
        + 5 * ATTRIBUTE_BYTES_MAX
        + ids::SOURCE_BYTES_MAX
        + ids::EVENT_ID_BYTES_MAX
        + 2 * principal::BYTES_MAX
        + 2 * FRAME_BYTES
        < COMMAND_BYTES_MAX
);

/// What happens to an event of the business day before the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateEvents {
    /// It is booked back into its own day, flagged `back_dated`.
    #[default]
    BackDate,
    /// It is booked in the current day; its own day is its value date.
    Today,
}

/// The settings under `ingest:` of `ledgerflow.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestSettings {
    /// Business time between ticks, milliseconds.
    pub tick_ms: u32,
    /// Largest event (value and headers), bytes.
    pub event_bytes_max: usize,
    /// Shares of the three lanes in a window, highest first.
    pub lane_weights: [u32; 3],
    /// Records that every lane gets in every window if it has them.
    pub lane_floor: usize,
    /// Most events of a window, all lanes together.
    pub window_records: usize,
    /// What happens to events of the day before.
    pub late_events: LateEvents,
    /// How far `time` may lie ahead of the business clock, milliseconds; 0 = no bound.
    pub future_bound_ms: u64,
    /// Who may write to each lane, highest first.
    #[serde(skip)]
    pub writers: [Writers; 3],
}

impl Default for IngestSettings {
    fn default() -> Self {
        let lanes = LaneShares::default();
        Self {
            tick_ms: 1_000,
            event_bytes_max: 64 * 1024,
            lane_weights: lanes.weights,
            lane_floor: lanes.floor,
            window_records: lanes.window_records,
            late_events: LateEvents::BackDate,
            future_bound_ms: 48 * 3600 * 1000,
            writers: Default::default(),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting}: {found}, expected {expected}")]
pub struct ConfigError {
    /// Name of the setting.
    pub setting: &'static str,
    /// Value found.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

/// Everything ingest needs to know.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Number of ingest slots = partitions of each lane.
    pub slots: u32,
    /// Which commands partition is home of which key; its partitions are those of every internal topic.
    pub map: PartitionMap,
    /// Assets and accounts.
    pub chart: Chart,
    /// Posting rules, read against `chart`.
    pub rules: Rules,
    /// The book that events are booked in.
    pub book: String,
    /// When that book's days begin.
    pub calendar: Calendar,
    /// Generation of the books.
    pub generation: u32,
    /// The rest.
    pub settings: IngestSettings,
}

impl IngestConfig {
    /// # Errors
    /// The first setting out of bounds, by name.
    pub fn check(&self) -> Result<(), ConfigError> {
        let settings = &self.settings;
        bounded("partitions.events", u64::from(self.slots), 1, 1 << 16)?;
        bounded("ingest.tick_ms", u64::from(settings.tick_ms), 10, 60_000)?;
        bounded("ingest.event_bytes_max", settings.event_bytes_max as u64, 256, 900 * 1024)?;
        for weight in settings.lane_weights {
            bounded("ingest.lane_weights", u64::from(weight), 1, 1_000_000)?;
        }
        bounded("ingest.lane_floor", settings.lane_floor as u64, 1, 1 << 16)?;
        bounded(
            "ingest.window_records",
            settings.window_records as u64,
            3 * settings.lane_floor as u64,
            1 << 20,
        )?;
        bounded("book", self.book.len() as u64, 1, 64)?;
        Ok(())
    }

    /// Shares of the lanes.
    #[must_use]
    pub const fn lanes(&self) -> LaneShares {
        let settings = &self.settings;
        LaneShares {
            weights: settings.lane_weights,
            floor: settings.lane_floor,
            window_records: settings.window_records,
        }
    }
}

fn bounded(setting: &'static str, found: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ConfigError { setting, found: found.to_string(), expected: format!("{least} to {most}") })
}
