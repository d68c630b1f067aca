//! The journal at rest, as histories are held against it: batches by partition, versions by account, outcomes by event.

use super::record::{Account, Batch};
use schemas::wire::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an entry has made of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// Number of the entry.
    pub(super) seq: u64,
    /// Id of the event; empty for entries of the ledger's own.
    pub(super) event: String,
    /// Balance after it.
    pub(super) after: i128,
    /// Partition of the journal.
    pub(super) partition: u32,
    /// Whether its partition decided it.
    pub(super) decided: bool,
}

/// What became of an event, and where the journal says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Became {
    pub(super) outcome: Outcome,
    pub(super) partition: u32,
    pub(super) batch: u64,
}

/// The journal at rest.
#[derive(Debug, Clone, Default)]
pub struct Books {
    partitions: Vec<Vec<Arc<Batch>>>,
    accounts: BTreeMap<Account, Vec<Version>>,
    outcomes: BTreeMap<String, Vec<Became>>,
    booked: BTreeMap<String, Vec<(Account, i128)>>,
}

impl Books {
    /// Takes the batches of every partition, from its first on.
    #[must_use]
    pub fn of(partitions: Vec<Vec<Arc<Batch>>>) -> Self {
        let mut books = Self::default();
        for (partition, batch) in (0..).zip(&partitions).flat_map(|(p, all)| all.iter().map(move |b| (p, b)))
        {
            for (event, outcome) in &batch.outcomes {
                let became = Became { outcome: *outcome, partition, batch: batch.number };
                books.outcomes.entry(event.clone()).or_default().push(became);
            }
            for part in &batch.parts {
                for entry in &part.entries {
                    let version = Version {
                        seq: entry.seq,
                        event: part.event.clone(),
                        after: entry.after,
                        partition,
                        decided: part.decided,
                    };
                    books.accounts.entry(entry.account.clone()).or_default().push(version);
                    if !part.event.is_empty() {
                        let leg = (entry.account.clone(), entry.amount);
                        books.booked.entry(part.event.clone()).or_default().push(leg);
                    }
                }
            }
        }
        books.partitions = partitions;
        books
    }

    /// A batch of a partition.
    pub(super) fn batch(&self, partition: u32, number: u64) -> Option<&Batch> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Some(self.partitions.get(usize::try_from(partition).ok()?)?.get(index)?)
    }

    /// Versions of an account in the order in which they lie there.
    pub(super) fn versions(&self, account: &Account) -> &[Version] {
        self.accounts.get(account).map_or(&[], Vec::as_slice)
    }

    /// The version that an entry of that number has made.
    pub(super) fn version(&self, account: &Account, seq: u64) -> Option<&Version> {
        self.versions(account).get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    /// Every account that was booked.
    pub(super) const fn accounts(&self) -> &BTreeMap<Account, Vec<Version>> {
        &self.accounts
    }

    /// What the journal says of an event.
    pub(super) fn became(&self, event: &str) -> &[Became] {
        self.outcomes.get(event).map_or(&[], Vec::as_slice)
    }

    /// Entries of an event.
    pub(super) fn booked(&self, event: &str) -> &[(Account, i128)] {
        self.booked.get(event).map_or(&[], Vec::as_slice)
    }

    /// Ids of all events that are booked or have entries.
    pub(super) fn events(&self) -> BTreeSet<&str> {
        self.outcomes.keys().chain(self.booked.keys()).map(String::as_str).collect()
    }

    /// Whether an event has its outcome and, where it is booked, so many entries.
    #[must_use]
    pub fn is_settled(&self, event: &str, entries: usize) -> bool {
        let ended = |outcome| self.became(event).iter().any(|became| became.outcome == outcome);
        ended(Outcome::Refused) || ended(Outcome::Booked) && self.booked(event).len() >= entries
    }

    /// Batches in all.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }
}
