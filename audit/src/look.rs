//! A look at a running audit: the conservation equation at the cut that was read so far, and what is wrong by now.
//!
//! Cheap: slots, and pairs of slots with their assets; no account, no day and no finding is gone through. What
//! [`Auditor::report`] judges beyond it is unfinished business: closings, holds, files.

use crate::auditor::Auditor;
use crate::conservation::Conservation;
use crate::finding::NamedFinding;
use crate::posting::Total;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Debits and credits of one asset over all partitions and days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetTotal {
    /// Asset.
    pub asset: String,
    /// Minor units.
    pub debits: String,
    /// Minor units.
    pub credits: String,
}

/// What a look shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Records read so far.
    pub records: u64,
    /// Where every event went that ingest had taken in at this cut, by its changelog or by a command that was judged.
    pub conservation: Conservation,
    /// Received is the sum of what became of it.
    pub conserved: bool,
    /// By asset.
    pub assets: Vec<AssetTotal>,
    /// Debits equal credits in each of them, in every partition.
    pub balanced: bool,
    /// Pairs of partitions and asset that credits have gone between.
    pub clearing_pairs: u64,
    /// Of these, with credits in flight.
    pub in_flight: u64,
    /// The clearing accounts of each pair come to its credits in flight.
    pub cleared: bool,
    /// Findings that are wrong.
    pub wrong: u64,
    /// The first of them.
    pub first: Option<NamedFinding>,
}

impl Look {
    /// Nothing is wrong up to here.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.wrong == 0 && self.conserved && self.balanced && self.cleared
    }
}

impl Auditor<'_> {
    /// What the books come to at the cut that was read so far.
    #[must_use]
    pub fn look(&self) -> Look {
        let cut = self.cut(self.limit.quiesced);
        let mut conservation = cut.table;
        conservation.dead_lettered = cut.dead;
        if cut.holds.is_none() {
            // Commands whose window of ingest is not read yet are events that were received.
            conservation.dead_lettered = cut.dead_stated;
            let commands = conservation.commands.max(conservation.outcomes.decided());
            conservation.received = cut.dead_stated.wrapping_add(commands);
        }
        let (mut totals, mut balanced) = (BTreeMap::<&str, Total>::new(), true);
        for (asset, total) in self.posting.iter().flat_map(|posting| &posting.overall) {
            balanced &= total.debits == total.credits;
            totals.entry(asset).or_default().merge(total);
        }
        let total = |(asset, total): (&str, Total)| {
            let (debits, credits) = (total.debits.to_string(), total.credits.to_string());
            AssetTotal { asset: asset.to_owned(), debits, credits }
        };
        let pairs = || {
            self.clearing()
                .map(|(_, _, [sent, received, in_flight])| (sent.wrapping_add(received), in_flight))
        };
        Look {
            records: self.sources.iter().map(|(_, cursor)| cursor.records).sum(),
            conservation,
            conserved: cut.holds != Some(false),
            assets: totals.into_iter().map(total).collect(),
            balanced,
            clearing_pairs: pairs().count() as u64,
            in_flight: pairs().filter(|(_, in_flight)| *in_flight != 0).count() as u64,
            cleared: pairs().all(|(clearing, in_flight)| clearing == in_flight),
            wrong: self.found.wrong_total(),
            first: self.found.first().cloned(),
        }
    }

    /// Findings that are wrong and were made after the one of that number, in the order of reading.
    #[must_use]
    pub fn found_since(&self, number: u64) -> Vec<NamedFinding> {
        self.found.since(number)
    }
}
