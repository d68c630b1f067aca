//! `receipt`: what an event came to, proved against a head.

use super::books::Books;
use super::envelope::Whole;
use super::head::{fits, name};
use super::history::{Histories, take};
use super::outcomes::word;
use super::trace::find;
use super::{Answer, Ending};
use crate::head::HeadAsked;
use crate::receipt::{Event, FORMAT, Proved, Receipt, Says, read};
use anyhow::{Context, bail, ensure};
use prost::Message;
use schemas::batch::Hash;
use schemas::head::Head;
use schemas::inclusion;
use schemas::receipt::Proof;
use schemas::wire::{JournalItem, Outcome};
use std::collections::BTreeSet;

/// What is looked for.
struct Wanted<'a> {
    id: &'a str,
    source: Option<&'a str>,
}

/// An item of the journal that is about the event.
struct Found {
    partition: u32,
    batch: u64,
    index: usize,
    item: Vec<u8>,
    items: u32,
    batch_hash: Hash,
    item_path: Vec<Hash>,
    event: Event,
    says: Says,
}

impl Wanted<'_> {
    /// What a batch holds of it.
    fn of(&self, partition: u32, batch: u64, whole: &Whole) -> anyhow::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (index, item) in whole.items.iter().enumerate() {
            if find(item, self.id.as_bytes()).is_none() {
                continue;
            }
            let decoded = JournalItem::decode(item.clone())
                .with_context(|| format!("journal/{partition} batch {batch} item {index}"))?;
            let Some((event, says)) = read(&decoded) else { continue };
            if event.id != self.id || self.source.is_some_and(|source| source != event.source) {
                continue;
            }
            let item_path = inclusion::path(&whole.leaves, index).context("an item has no leaf")?;
            let (items, batch_hash, item) = (whole.header.count, whole.hash, item.to_vec());
            found.push(Found { partition, batch, index, item, items, batch_hash, item_path, event, says });
        }
        Ok(found)
    }
}

/// `receipt`.
pub(super) fn receipt(
    books: &Books,
    id: &str,
    source: Option<&str>,
    account: Option<&str>,
    asked: Option<&HeadAsked>,
) -> anyhow::Result<Answer> {
    let (wanted, mut found) = (Wanted { id, source }, Vec::new());
    let mut see = |partition: u32, batch: u64, whole: &Whole| {
        found.extend(wanted.of(partition, batch, whole)?);
        Ok(())
    };
    let (histories, head) = match asked {
        None => take(books, &mut see)?,
        Some(asked) => {
            let histories = Histories::read(books.log.as_ref(), &mut see)?;
            let head = head_of(&histories, asked)?;
            (histories, head)
        }
    };
    let sources: BTreeSet<&str> = found.iter().map(|found| found.event.source.as_str()).collect();
    if sources.len() > 1 {
        let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
        bail!("several sources have an event {id:?}: {sources}; name one with --source");
    }
    let Some(event) = found.first().map(|found| found.event.clone()) else {
        return Ok(Answer::says(Ending::NotFound, format!("the journal has nothing on event {id:?}")));
    };
    let told = told(found, account);
    if told.is_empty() {
        let account = account.unwrap_or_default();
        return Ok(Answer::says(
            Ending::NotFound,
            format!("event {id:?} books nothing on account {account:?}"),
        ));
    }
    let proofs: Vec<Proved> =
        told.into_iter().map(|found| prove(&histories, &head, found)).collect::<Result<_, _>>()?;
    let receipt = Receipt { receipt: FORMAT, head: head.hash(), event, proofs };
    let document = serde_json::to_string_pretty(&receipt)? + "\n";
    let sizes: Vec<String> = receipt.proofs.iter().map(|proved| proved.proof.bytes().to_string()).collect();
    let message = format!("items with their proofs: {} bytes", sizes.join(" + "));
    Ok(Answer { document: Some(document), message: Some(message), ..Answer::tables(Vec::new()) })
}

/// What books; where nothing does, what was decided; where nothing is, what is known; of that, what is on the account.
fn told(found: Vec<Found>, account: Option<&str>) -> Vec<Found> {
    let undecided = [Outcome::Pending, Outcome::Duplicate].map(word);
    let known = |found: &Found| {
        let books = !found.says.entries.is_empty();
        (books, !undecided.contains(&found.says.outcome.as_str()))
    };
    let best = found.iter().map(known).max();
    let on_account = |found: &Found| {
        account.is_none_or(|account| found.says.entries.iter().any(|line| line.account == account))
    };
    found.into_iter().filter(|found| Some(known(found)) == best).filter(on_account).collect()
}

/// The head that was asked for, as the journal has it.
fn head_of(histories: &Histories, asked: &HeadAsked) -> anyhow::Result<Head> {
    let wrong = || {
        format!(
            "the journal is not what head {} was taken of; `ledgerflow verify --deep --head` says more",
            name(asked)
        )
    };
    match asked {
        HeadAsked::Hash(hash) => histories.find(hash).with_context(wrong),
        HeadAsked::Known(head) => {
            fits(head, histories.partitions.len())?;
            let mut both = histories.partitions.iter().zip(&head.partitions);
            ensure!(both.all(|(history, of)| history.at(of.batches) == Some(*of)), wrong());
            Ok(head.clone())
        }
    }
}

fn prove(histories: &Histories, head: &Head, found: Found) -> anyhow::Result<Proved> {
    let Found { partition, batch, index, item, items, batch_hash, item_path, says, .. } = found;
    let place = usize::try_from(partition)?;
    let of = head.partitions.get(place).context("the head does not have the partition")?;
    ensure!(
        batch <= of.batches,
        "journal/{partition} batch {batch} came after the head, which ends at batch {}: take a later head",
        of.batches
    );
    let leaves = histories.partitions.get(place).map(|history| history.leaves()).unwrap_or_default();
    let leaves =
        leaves.get(..usize::try_from(of.batches)?).context("the journal is shorter than the head")?;
    let at = usize::try_from(batch)?.checked_sub(1).context("a batch has number 0")?;
    let proof = Proof {
        partition,
        batch,
        index: u32::try_from(index)?,
        items,
        batches: of.batches,
        partitions: u32::try_from(head.partitions.len())?,
        item,
        batch_hash,
        item_path,
        batch_path: inclusion::path(leaves, at).context("the batch has no leaf")?,
        partition_path: head.path(partition).context("the partition has no leaf")?,
    };
    Ok(Proved { says, proof })
}
