//! The life of a transaction:
//!
//! ```text
//! Open --commit--> Committing --last marker--> Committed
//!   \------abort---> Aborting ---last marker--> Aborted
//! ```
//!
//! Open ends by its owner's commit, by a late end request, by its time-out, or by a join or fence of its id.
//! Committing and Aborting are decided: nothing changes the outcome, only markers are still on their way, and
//! partitions without one stay held.

use super::partition::TransactionNo;
use crate::log::{OutRecord, Position, TopicPartition};
use std::collections::BTreeSet;

/// Phase of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not decided.
    Open,
    /// Decided; markers outstanding.
    Committing,
    /// Decided; markers outstanding.
    Aborting,
    /// Visible everywhere.
    Committed,
    /// Over; its records are invisible for ever.
    Aborted,
}

impl Phase {
    /// The phase after a decision.
    pub(super) const fn decided(commit: bool) -> Self {
        if commit { Self::Committing } else { Self::Aborting }
    }

    /// The phase after the last marker.
    pub(super) const fn finished(self) -> Self {
        match self {
            Self::Committing | Self::Committed => Self::Committed,
            Self::Open | Self::Aborting | Self::Aborted => Self::Aborted,
        }
    }

    /// Whether readers leave its records out.
    pub(super) const fn is_aborted(self) -> bool {
        matches!(self, Self::Aborting | Self::Aborted)
    }
}

/// What is kept of a transaction until its last marker is written.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Transactional id of its producer.
    pub(super) holder: String,
    /// Group of its positions.
    pub(super) group: String,
    /// Partitions that wait for a marker.
    pub(super) unmarked: BTreeSet<TopicPartition>,
    /// Positions that wait for the decision or for their marker; replaced by later ones of the same partition.
    pub(super) positions: Vec<(TopicPartition, Position)>,
    /// Records written.
    pub(super) records: u64,
}

/// A producer: one transactional id.
#[derive(Debug, Default)]
pub(super) struct Producer {
    /// Grows with every join and fence.
    pub(super) epoch: u64,
    /// Its transaction that has not finished.
    pub(super) transaction: Option<TransactionNo>,
    /// The process that owns it.
    pub(super) process: u64,
}

/// What happens at a moment of virtual time.
#[derive(Debug)]
pub(super) enum Event {
    /// A late end request arrives.
    End(LateEnd),
    /// The marker of a decided transaction reaches a partition, or its positions (`None`).
    Mark { no: TransactionNo, at: Option<TopicPartition> },
    /// A transaction has been open too long.
    TransactionTimeout { no: TransactionNo },
    /// A foreign producer gives up.
    ForeignEnd { no: TransactionNo },
    /// A member may have been silent too long.
    SessionTimeout { group: String, member: String, ticket: u64 },
    /// The positions of a group may expire, if it has had no member since this generation.
    PositionsExpire { group: String, generation: u64 },
    /// Everything up to this sequence is durable.
    Synced { sequence: u64 },
}

/// An end request under way.
#[derive(Debug)]
pub(super) struct LateEnd {
    pub(super) holder: String,
    pub(super) epoch: u64,
    /// The transaction it was sent for; the broker cannot tell, only the counters do.
    pub(super) no: TransactionNo,
    /// Records under way before it.
    pub(super) rest: Vec<OutRecord>,
    pub(super) commit: bool,
}

impl Unfinished {
    /// Whether nothing waits any more.
    pub(super) fn is_done(&self) -> bool {
        self.unmarked.is_empty() && self.positions.is_empty()
    }
}
