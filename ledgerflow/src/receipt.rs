//! Receipts of events: what items of the journal say, with the proof that they lie there.
//!
//! What a receipt says in words is compared with what the proved bytes say: nothing is shown that is not proved.

use crate::cli::output::{Cell, Table};
use crate::head::read_file;
use crate::query::outcomes::{why, word};
use crate::query::{Answer, Ending};
use anyhow::Context;
use prost::Message;
use schemas::batch::Hash;
use schemas::dates::Day;
use schemas::hex;
use schemas::receipt::Proof;
use schemas::wire::{Entry, EventKey, JournalItem, Side, journal_item::Item};
use serde::{Deserialize, Serialize};
use std::path::Path;
use thiserror::Error;

/// Version of the file.
pub const FORMAT: u32 = 1;

/// A receipt, as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`FORMAT`].
    pub receipt: u32,
    /// Hash of the head that everything below is proved against.
    #[serde(with = "hex::digits")]
    pub head: Hash,
    /// The event.
    pub event: Event,
    /// What it came to, one for each item of the journal.
    pub proofs: Vec<Proved>,
}

/// Source and id of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// CloudEvents source.
    pub source: String,
    /// CloudEvents id.
    pub id: String,
}

/// An item of the journal, in words and proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// What the item says.
    pub says: Says,
    /// That it lies in the journal.
    pub proof: Proof,
}

/// What an item says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Says {
    /// What became of the event there: `booked`, `refused`, `duplicate`, `pending`; `received` = its leg from another
    /// partition is booked.
    pub outcome: String,
    /// Why it was refused, or why a leg went to suspense.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Business day, `YYYY-MM-DD`.
    pub accounting_date: String,
    /// Entries in this partition.
    pub entries: Vec<Line>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Account.
    pub account: String,
    /// Asset.
    pub asset: String,
    /// `debit` or `credit`.
    pub side: String,
    /// Amount in minor units of the asset, as a decimal text.
    pub minor_units: String,
    /// Number of the entry on its account and asset.
    pub seq: u64,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Another version.
    #[error("it has format {0}, this program reads {FORMAT}")]
    Format(u32),
    /// There is nothing in it.
    #[error("it has no proof")]
    Nothing,
    /// The hashes lead elsewhere.
    #[error(
        "proof {place} does not lead to that head: its item is not in the journal that the head was taken of"
    )]
    Head {
        /// Which proof, counted from 1.
        place: usize,
    },
    /// The item is none, or of another event.
    #[error("proof {place} is of something else than the receipt's event")]
    Event {
        /// Which proof, counted from 1.
        place: usize,
    },
    /// The words are not the item's.
    #[error("proof {place} is of something else than the receipt says in words")]
    Words {
        /// Which proof, counted from 1.
        place: usize,
    },
}

/// The event of an item, and what it says of it; `None` = it books nothing for an event and decides on none.
#[must_use]
pub fn read(item: &JournalItem) -> Option<(Event, Says)> {
    let event = |key: &Option<EventKey>| key.clone().map(|EventKey { source, id }| Event { source, id });
    match item.item.as_ref()? {
        Item::Decision(d) => {
            let says = Says {
                outcome: word(d.outcome()).to_owned(),
                reason: why(&d.reason, &d.detail),
                accounting_date: Day(d.accounting_date).to_string(),
                entries: d.entry.iter().map(line).collect(),
            };
            Some((event(&d.event)?, says))
        }
        Item::Received(r) => {
            let says = Says {
                outcome: "received".to_owned(),
                reason: why(&r.suspense_reason, &r.intended_account),
                accounting_date: Day(r.accounting_date).to_string(),
                entries: r.entry.iter().map(line).collect(),
            };
            Some((event(&r.event)?, says))
        }
        _ => None,
    }
}

fn line(entry: &Entry) -> Line {
    Line {
        account: entry.account.clone(),
        asset: entry.asset.clone(),
        side: if entry.side() == Side::Credit { "credit" } else { "debit" }.to_owned(),
        minor_units: entry.amount().to_string(),
        seq: entry.seq,
    }
}

impl Receipt {
    /// Whether everything in it is proved against `head`.
    ///
    /// # Errors
    /// [`Refused`], for the first proof that fails.
    pub fn check(&self, head: &Hash) -> Result<(), Refused> {
        if self.receipt != FORMAT {
            return Err(Refused::Format(self.receipt));
        }
        if self.proofs.is_empty() {
            return Err(Refused::Nothing);
        }
        for (place, Proved { says, proof }) in (1..).zip(&self.proofs) {
            if proof.head() != Some(*head) {
                return Err(Refused::Head { place });
            }
            let read = JournalItem::decode(&proof.item[..]).ok().and_then(|item| read(&item));
            let (event, said) = read.ok_or(Refused::Event { place })?;
            if event != self.event {
                return Err(Refused::Event { place });
            }
            if said != *says {
                return Err(Refused::Words { place });
            }
        }
        Ok(())
    }

    /// What it says, one row an entry.
    fn table(&self) -> Table {
        let columns = [
            "outcome",
            "reason",
            "account",
            "asset",
            "side",
            "minor_units",
            "seq",
            "date",
            "partition",
            "batch",
        ];
        let mut table = Table::new("proved", &columns);
        for Proved { says, proof } in &self.proofs {
            let lines: Vec<Option<&Line>> = match &says.entries[..] {
                [] => vec![None],
                lines => lines.iter().map(Some).collect(),
            };
            for line in lines {
                table.row([
                    says.outcome.as_str().into(),
                    says.reason.as_str().into(),
                    line.map(|line| line.account.as_str()).into(),
                    line.map(|line| line.asset.as_str()).into(),
                    line.map(|line| line.side.as_str()).into(),
                    line.map(|line| Cell::amount(line.minor_units.as_str())).into(),
                    line.map(|line| line.seq).into(),
                    says.accounting_date.as_str().into(),
                    proof.partition.into(),
                    proof.batch.into(),
                ]);
            }
        }
        table
    }
}

/// `receipt --check`.
///
/// # Errors
/// The file cannot be read, or is no receipt.
pub fn check_file(file: &Path, head: &Hash) -> anyhow::Result<Answer> {
    let text = read_file(file)?;
    let name = file.display();
    let receipt: Receipt = serde_json::from_str(&text).with_context(|| format!("{name} is no receipt"))?;
    let Event { source, id } = &receipt.event;
    Ok(match receipt.check(head) {
        Ok(()) => {
            let message = format!("proved against head {}: event {id:?} of {source:?}", hex::text(head));
            Answer { message: Some(message), ..Answer::tables(vec![receipt.table()]) }
        }
        Err(refused) => Answer::says(Ending::Wrong, format!("{name} proves nothing: {refused}")),
    })
}

#[cfg(test)]
mod tests;
