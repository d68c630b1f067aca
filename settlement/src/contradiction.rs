//! Why a slot stops: its input contradicts itself or what the slot knows. Nothing is guessed past one of these.

use schemas::batch::BatchError;
use schemas::dates::Day;
use schemas::ids::AccountIdError;
use schemas::versioned::RecordError;
use thiserror::Error;

/// Which entry a contradiction is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName {
    /// Account.
    pub account: String,
    /// Asset.
    pub asset: String,
    /// Sequence the entry states.
    pub seq: u64,
}

impl std::fmt::Display for EntryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "account {} {} seq {}", self.account, self.asset, self.seq)
    }
}

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// The envelope, the chain or the count does not hold.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch of another slot's journal.
    #[error("journal of slot {slot} holds a batch of slot {found}")]
    ForeignBatch {
        /// Slot read.
        slot: u32,
        /// Writer named in the batch.
        found: u32,
    },
    /// A batch read before has another hash now.
    #[error("batch at sequence {sequence} is not the one read before")]
    AnotherBatch {
        /// Its sequence.
        sequence: u64,
    },
    /// Not the configured book.
    #[error("book {found:?}, configured is {book:?}")]
    Book {
        /// Book found.
        found: String,
        /// Book configured.
        book: String,
    },
    /// An asset that the chart does not have.
    #[error("{entry}: asset is not in the chart")]
    Asset {
        /// Entry.
        entry: EntryName,
    },
    /// Not an account name.
    #[error("{entry}: {why}")]
    Account {
        /// Entry.
        entry: EntryName,
        /// What is wrong.
        why: AccountIdError,
    },
    /// A sequence left out or repeated.
    #[error("{entry}: expected seq {expected}")]
    Sequence {
        /// Entry.
        entry: EntryName,
        /// Next sequence of the account.
        expected: u64,
    },
    /// The balance before the entry is not the account's.
    #[error(
        "{entry}: balance before is stated as {stated}, here it is {own} (debits - credits, minor units)"
    )]
    Before {
        /// Entry.
        entry: EntryName,
        /// Figure in the entry.
        stated: i128,
        /// The account's balance.
        own: i128,
    },
    /// The balance after the entry is not before plus amount.
    #[error(
        "{entry}: balance after is stated as {stated}, it comes to {own} (debits - credits, minor units)"
    )]
    After {
        /// Entry.
        entry: EntryName,
        /// Figure in the entry.
        stated: i128,
        /// Balance before plus the signed amount.
        own: i128,
    },
    /// No side, or an amount that is not above zero.
    #[error("{entry}: amount {amount} without a side, or not above zero")]
    Amount {
        /// Entry.
        entry: EntryName,
        /// Amount stated, minor units.
        amount: i128,
    },
    /// A balance outside 128 bits.
    #[error("{entry}: balance is out of range")]
    OutOfRange {
        /// Entry.
        entry: EntryName,
    },
    /// Dated into a day that cannot be open yet.
    #[error(
        "{entry} is dated {date}, but nothing after {latest} may be booked before earlier closings are out"
    )]
    TooEarly {
        /// Entry.
        entry: EntryName,
        /// Its accounting date.
        date: Day,
        /// Last day that may be open.
        latest: Day,
    },
    /// `aligned` for a day that is not the next.
    #[error("aligned({found}) follows aligned({previous})")]
    AlignedOrder {
        /// Day found.
        found: Day,
        /// Day aligned before.
        previous: Day,
    },
    /// `aligned` while the closings of the day before are still going out.
    #[error("aligned({found}) while the closings of {closing} are not out")]
    StillClosing {
        /// Day found.
        found: Day,
        /// Day whose closings are going out.
        closing: Day,
    },
    /// The dual balance no longer holds the closing asked for.
    #[error("account {account} {asset}: closing of {day} asked for, but it is booked up to {last_date}")]
    ClosingLost {
        /// Account.
        account: String,
        /// Asset.
        asset: String,
        /// Day to close.
        day: Day,
        /// Last date booked.
        last_date: Day,
    },
    /// A record of `days.aligned` that is none.
    #[error(transparent)]
    Report(#[from] RecordError),
    /// A report of a slot that does not exist.
    #[error("report of slot {slot}, there are {slots}")]
    ReportSlot {
        /// Slot named.
        slot: u32,
        /// Number of slots.
        slots: u32,
    },
    /// More accounts than the state can number.
    #[error("more accounts than 2^32")]
    TooManyAccounts,
    /// A checkpoint that left accounts out.
    #[error("the checkpoint holds {found} of {stated} accounts")]
    Checkpoint {
        /// Accounts loaded.
        found: usize,
        /// Accounts it should have held.
        stated: usize,
    },
    /// A topic that is no input.
    #[error("topic {0} is no input of settlement")]
    Topic(&'static str),
}
