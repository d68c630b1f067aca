//! What is wrong with a history, by name and with the operations that show it. Names are those of Jepsen and Elle where they
//! have one.
//!
//! Bound: memory and time grow with what was seen, times its logarithm.

mod cycles;
mod reads;
mod writes;

use super::books::Books;
use super::record::{Asked, Operation};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A class of anomalies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An acknowledged event has no outcome at rest, or is booked without some of its entries.
    Lost,
    /// An event is booked twice, or has entries that nobody asked for.
    Duplicate,
    /// Somebody saw a batch, an entry or an outcome that is not in the journal at rest (Adya's G1a).
    Aborted,
    /// Somebody saw a part of a batch, or of what an event has in one partition (Adya's G1b).
    Torn,
    /// What somebody saw does not sum to zero.
    Fractured,
    /// A process was shown less than before.
    Backward,
    /// A reader does not see what somebody was told of before it began.
    Stale,
    /// Entries of an account, or batches of a partition, in another order than that of the journal at rest, or with a gap.
    Order,
    /// A cycle of events, each ahead of the next one on some account (Adya's G0).
    G0,
    /// The same, where one of them was sent after its sender was told of another (Adya's G1c).
    G1c,
    /// A cycle with one read that missed something (Adya's G-single, read skew).
    GSingle,
    /// A cycle with several reads that missed something (Adya's G2).
    G2,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Its class.
    pub kind: Kind,
    /// Operations that show it, by index in the history.
    pub operations: Vec<usize>,
    /// What it is, for people.
    pub told: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of operations {:?}: {}", self.kind, self.operations, self.told)
    }
}

/// What was found so far: of one class the first that an operation shows.
#[derive(Default)]
struct Found {
    anomalies: Vec<Anomaly>,
    told: BTreeSet<(Kind, Option<usize>)>,
}

impl Found {
    fn tell(&mut self, kind: Kind, operations: &[usize], told: impl Into<String>) {
        if self.told.insert((kind, operations.last().copied())) {
            self.anomalies.push(Anomaly { kind, operations: operations.to_vec(), told: told.into() });
        }
    }
}

/// The operations that asked for each event.
type Senders<'a> = BTreeMap<&'a str, Vec<usize>>;

fn senders(history: &[Operation]) -> Senders<'_> {
    let mut all = Senders::new();
    for (index, operation) in history.iter().enumerate() {
        if let Asked::Book { event, .. } = &operation.asked {
            all.entry(event).or_default().push(index);
        }
    }
    all
}

/// Holds a history, in the order in which its operations ended, against the journal at rest.
#[must_use]
pub fn check(history: &[Operation], books: &Books) -> Vec<Anomaly> {
    let (mut found, senders) = (Found::default(), senders(history));
    writes::check(history, books, &senders, &mut found);
    reads::check(history, books, &mut found);
    cycles::check(history, books, &senders, &mut found);
    found.anomalies
}
