//! Operations of clients: who asked what and when, and what came of it.
//!
//! A *process* is one client for as long as it knows what became of all that it asked. Whoever does not know goes on
//! as another process, so that an operation of a process begins after the one before it has ended.

use schemas::batch::Hash;
use schemas::wire::Outcome;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use stream::clock::monotonic_us;

/// Account and asset.
pub type Account = (String, String);

/// One entry as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was booked.
    pub account: Account,
    /// Its number on the account.
    pub seq: u64,
    /// Minor units; a debit is above zero.
    pub amount: i128,
    /// Balance after it, debits minus credits.
    pub after: i128,
}

/// What an event, or the ledger itself, has in one item of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Id of the event; empty for entries of the ledger's own, such as clearing.
    pub event: String,
    /// Whether this partition decided it; else it came by a channel.
    pub decided: bool,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// A journal batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its number in its partition, from 1.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// What it books.
    pub parts: Vec<Part>,
    /// What it says that has become of events, by id.
    pub outcomes: Vec<(String, Outcome)>,
}

/// A balance as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Of what.
    pub account: Account,
    /// Number of the last entry in it.
    pub seq: u64,
    /// Debits minus credits, minor units.
    pub net: i128,
}

/// An entry in a list that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number on the account.
    pub seq: u64,
    /// Id of the event.
    pub event: String,
    /// Balance after it, debits minus credits, minor units.
    pub after: i128,
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// That an event be booked, with these legs; debits are above zero.
    Book {
        /// Its id.
        event: String,
        /// Accounts and amounts.
        legs: Vec<(Account, i128)>,
    },
    /// What lies in a partition of the journal up to its committed end, on from what the process has seen of it.
    Journal {
        /// Which.
        partition: u32,
        /// From the first batch on, whatever it has seen.
        again: bool,
    },
    /// Every balance, of one partition or of all.
    Balances {
        /// Which.
        partition: Option<u32>,
    },
    /// The newest entries of an account.
    Entries {
        /// Which.
        account: Account,
    },
}

impl Asked {
    /// A word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Book { .. } => "book",
            Self::Journal { .. } => "journal",
            Self::Balances { .. } => "balances",
            Self::Entries { .. } => "entries",
        }
    }
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The event was taken; nothing was told of its outcome.
    Accepted,
    /// What became of the event.
    Became(Outcome),
    /// Batches, in order.
    Batches(Vec<Arc<Batch>>),
    /// Balances.
    Balances(Vec<Balance>),
    /// Entries, the newest last.
    Entries(Vec<Listed>),
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Ok(Seen),
    /// It was not done, and will not be.
    Fail,
    /// Nobody knows.
    Info,
}

impl Ended {
    /// A word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ok(Seen::Accepted) => "accepted",
            Self::Ok(_) => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// One operation. Times are microseconds on one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Whose.
    pub process: u32,
    /// When it began.
    pub invoked_us: i64,
    /// When it had ended.
    pub ended_us: i64,
    /// What was asked.
    pub asked: Asked,
    /// What came of it.
    pub ended: Ended,
}

/// What all clients of a run write down.
#[derive(Debug, Default)]
pub struct Recorder {
    operations: Mutex<Vec<Operation>>,
    processes: AtomicU32,
}

impl Recorder {
    /// Nobody has asked anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A process that nobody was before.
    pub fn process(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Does an operation and writes it down. Afterwards `process` is another one where nobody knows what it came to.
    pub fn run(&self, process: &mut u32, asked: Asked, act: impl FnOnce() -> Ended) -> &'static str {
        let invoked_us = monotonic_us();
        let ended = act();
        let (ended_us, name) = (monotonic_us(), ended.name());
        let unknown = ended == Ended::Info;
        let operation = Operation { process: *process, invoked_us, ended_us, asked, ended };
        self.operations.lock().unwrap().push(operation);
        if unknown {
            *process = self.process();
        }
        name
    }

    /// Everything so far, in the order in which it ended.
    #[must_use]
    pub fn history(&self) -> Vec<Operation> {
        let mut all = self.operations.lock().unwrap().clone();
        all.sort_by_key(|operation| (operation.ended_us, operation.process));
        all
    }

    /// How many operations of each kind ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in self.operations.lock().unwrap().iter() {
            *counts.0.entry((operation.asked.name(), operation.ended.name())).or_default() += 1;
        }
        counts
    }
}

/// Operations by kind and result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(&'static str, &'static str), u64>);

impl Counts {
    /// How many operations of a kind ended so.
    #[must_use]
    pub fn of(&self, asked: &str, ended: &str) -> u64 {
        self.0.get(&(asked, ended)).copied().unwrap_or(0)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter().map(|((asked, ended), count)| format!("{asked} {ended} {count}"));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}
