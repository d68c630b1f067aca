//! The independent auditor: reads the topics from the beginning and checks what must hold of them.
//!
//! It shares no code with the ledger: of the wire contracts it uses the generated types and the topic registry, of the
//! log its reader; opening a batch, checksum, Merkle root, figures and days are written here a second time, on purpose
//! in another way.
//!
//! Phases of a step: ingest's changelog with the events of its windows -> each journal with the commands and credits
//! that its windows read -> what lies ahead -> edge topics -> reconciliation. Every defect is a [`Finding`] with its
//! exact place; only a log that cannot be read is an error.
//!
//! Limits: memory grows with accounts (about 200 bytes each, 24 more for each business day that is not closed twice over),
//! event keys (47 to 94 bytes each in tables, up to 115 of the process, [`AuditLimit::ids`]), order numbers and match keys
//! of [`AuditLimit::order_days`] and what is in flight. Each topic has a reader of its own.
//!
//! Order relied on: records of one commit to one partition keep their order; a changelog batch is in the same commit
//! as everything it names. So *wrong* means that no later record can make it right; *open* means that its counterpart
//! may still come. With [`AuditLimit::quiesced`] nothing can come any more and open is wrong. *Noted* means that the books
//! are right as they are, and that somebody must look at what was sent.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod accounts;
mod amount;
mod announced;
mod auditor;
mod case_json;
mod cases;
mod chain;
mod channel;
mod conservation;
mod crc;
mod cut;
mod days;
mod edges;
mod envelope;
mod figure;
mod finding;
mod ids;
mod ingest;
mod limits;
mod look;
mod merkle;
mod outcome;
mod pairs;
mod posting;
mod proposals;
mod published;
mod recon;
mod report;
mod source;
mod suspense;
mod velocity;

pub use auditor::Auditor;
pub use conservation::Conservation;
pub use finding::{Check, CheckResult, Finding, NamedFinding, Shown};
pub use look::{AssetTotal, Look};
pub use outcome::Outcomes;
pub use report::{ClearingPair, Coverage, DayTotal, Report};

use schemas::topics::PartitionCounts;
use stream::log::{Log, LogError};

/// What an audit covers and how much it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimit {
    /// Everything is at rest: what is in flight, pending or unread is wrong.
    pub quiesced: bool,
    /// Whether event keys are kept, to find a key with two outcomes or at two homes, and duplicates without an original.
    pub ids: bool,
    /// Whether settlement runs: balances, closings and closed days are checked.
    pub settlement: bool,
    /// Whether reconcile runs: both sides are checked.
    pub reconcile: bool,
    /// Whether order numbers (16 bytes each) and match keys (about 200) are kept, to check that matches and breaks are what
    /// the sides come to.
    pub orders: bool,
    /// Business days for which they are kept; a case of an older one is not judged.
    pub order_days: u16,
    /// Findings kept of every check; all are counted.
    pub findings_max: usize,
    /// Commands, and batches of credits, read ahead of each journal partition.
    pub read_ahead: usize,
    /// Account changes of a partition that may wait for settlement.
    pub changes_max: usize,
    /// Records of a partition in one step.
    pub step_records: usize,
    /// Value bytes of one poll.
    pub fetch_bytes: usize,
}

impl Default for AuditLimit {
    fn default() -> Self {
        Self {
            quiesced: false,
            ids: true,
            settlement: true,
            reconcile: true,
            orders: true,
            order_days: 100,
            findings_max: 20,
            read_ahead: 50_000,
            changes_max: 4_000_000,
            step_records: 64,
            fetch_bytes: 4 << 20,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records read.
    pub records: u64,
    /// Nothing more to read for the moment.
    pub at_end: bool,
}

/// Why an audit could not be made. What it finds is not an error but a [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The partition counts are not those of the log.
    #[error("topic {topic} has {found} partitions, expected {expected}")]
    Partitions {
        /// Topic.
        topic: &'static str,
        /// Expected by the counts given.
        expected: u32,
        /// Found.
        found: u32,
    },
}

/// Audits a log from its beginning to the ends it has when this is called (and whatever those windows name).
///
/// # Errors
/// The log cannot be read, or its partitions are not those of `counts`.
pub fn audit(log: &dyn Log, counts: PartitionCounts, limit: AuditLimit) -> Result<Report, AuditError> {
    Auditor::new(log, counts, limit)?.run(|_| ())
}

#[cfg(test)]
mod tests;
