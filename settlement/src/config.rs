//! What settlement is told: chart, partition counts, book and calendar, bounds.

use schemas::batch::BODY_BYTES_MAX;
use schemas::chart::Chart;
use schemas::dates::Calendar;
use schemas::shards::PARTITIONS_MAX;
use schemas::topics::PartitionCounts;
use thiserror::Error;

/// Most closings (besides revisions) that one window publishes with the default settings.
pub const CLOSINGS_PER_WINDOW_MAX: usize = 50_000;
/// Accounts an alignment under way looks at after each journal batch.
pub const CLOSINGS_PER_BATCH_DEFAULT: usize = 25_000;
/// A window stops reading once it holds this many closings, so it ends below twice as many.
const _: () = assert!(2 * CLOSINGS_PER_BATCH_DEFAULT <= CLOSINGS_PER_WINDOW_MAX);
/// Most journal records in one window.
pub const JOURNAL_RECORDS_MAX_DEFAULT: usize = 64;
/// Most records of `days.aligned` in one window.
pub const ALIGNED_RECORDS_MAX: usize = 1_024;
/// Balances are split into records below this many bytes.
pub const BALANCES_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Settings of settlement.
///
/// `partitions`, `book` and `closings_per_batch` are part of the books: the state is a function of the journal and of
/// them, so they change only with a generation. `calendar` may change between runs: the newest announcement is repeated by
/// every new owner of slot 0.
#[derive(Debug, Clone)]
pub struct SettlementConfig {
    /// Chart of accounts: normal sides and exponents.
    pub chart: Chart,
    /// `events` = ingest slots, `internal` = settlement slots.
    pub partitions: PartitionCounts,
    /// The one book.
    pub book: String,
    /// When the book's days begin.
    pub calendar: Calendar,
    /// Whether the log keeps the newest record per key: one JSON record per account instead of one batch per window.
    pub compaction: bool,
    /// Accounts an alignment under way looks at after each journal batch.
    pub closings_per_batch: usize,
    /// Most journal records in one window.
    pub journal_records_max: usize,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A partition count outside its range.
    #[error("partitions.{name}: {found}, expected 1 to {PARTITIONS_MAX}")]
    Partitions {
        /// Setting.
        name: &'static str,
        /// Value found.
        found: u32,
    },
    /// No name for the book, or one that would break a key.
    #[error("book: {0:?}, expected a name without '|'")]
    Book(String),
    /// More assets than an account can name.
    #[error("chart: expected at most 65,535 assets")]
    Assets,
    /// A bound that must be above zero.
    #[error("{0}: expected a number above zero")]
    Zero(&'static str),
}

impl SettlementConfig {
    /// Settings with the default bounds.
    #[must_use]
    pub fn new(
        chart: Chart,
        partitions: PartitionCounts,
        book: impl Into<String>,
        calendar: Calendar,
        compaction: bool,
    ) -> Self {
        Self {
            chart,
            partitions,
            book: book.into(),
            calendar,
            compaction,
            closings_per_batch: CLOSINGS_PER_BATCH_DEFAULT,
            journal_records_max: JOURNAL_RECORDS_MAX_DEFAULT,
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let counts = [("events", self.partitions.events), ("internal", self.partitions.internal)];
        for (name, found) in counts {
            if found == 0 || found > PARTITIONS_MAX {
                return Err(ConfigError::Partitions { name, found });
            }
        }
        if self.book.is_empty() || self.book.contains('|') {
            return Err(ConfigError::Book(self.book.clone()));
        }
        if self.closings_per_batch == 0 {
            return Err(ConfigError::Zero("closings_per_batch"));
        }
        if self.journal_records_max == 0 {
            return Err(ConfigError::Zero("journal_records_max"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named() {
        let chart =
            "version: 1\nassets: { CNY: { exponent: 2 } }\naccounts: [{ pattern: bank, normal: debit }]";
        let good = |change: &dyn Fn(&mut SettlementConfig)| {
            let partitions = PartitionCounts { events: 1, internal: 16 };
            let calendar = Calendar::new("UTC", "00:00").unwrap();
            let mut config =
                SettlementConfig::new(Chart::parse(chart).unwrap(), partitions, "main", calendar, false);
            change(&mut config);
            config.check().map_err(|e| e.to_string())
        };
        type Change<'a> = &'a dyn Fn(&mut SettlementConfig);
        let rows: &[(Change<'_>, &str)] = &[
            (&|c| c.partitions.events = 0, "partitions.events: 0, expected 1 to 256"),
            (&|c| c.partitions.internal = 257, "partitions.internal: 257, expected 1 to 256"),
            (&|c| c.book = "a|b".into(), "book: \"a|b\", expected a name without '|'"),
            (&|c| c.closings_per_batch = 0, "closings_per_batch: expected a number above zero"),
            (&|c| c.journal_records_max = 0, "journal_records_max: expected a number above zero"),
        ];
        for (change, expected) in rows {
            assert_eq!(good(*change), Err((*expected).to_owned()));
        }
        assert_eq!(good(&|_| ()), Ok(()));
    }
}
