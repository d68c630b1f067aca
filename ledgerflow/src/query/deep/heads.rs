//! Heads held against the journal as it is now.

use super::finding::{Findings, Kind, Place};
use crate::cli::output::{Cell, Table};
use crate::head::HeadAsked;
use crate::query::head::{fits, name};
use crate::query::history::Histories;
use schemas::head::Head;
use schemas::topics::Topic;
use stream::log::TopicPartition;

/// What becomes of one partition of a head.
enum Judged {
    Same,
    /// The journal has fewer batches.
    Cut {
        has: u64,
    },
    Other,
}

/// Compares every head; what is not as a head says is a finding, unless the chain itself says more of it already.
///
/// # Errors
/// A head is of another number of partitions.
pub(super) fn compare(
    histories: &Histories,
    asked: &[HeadAsked],
    found: &mut Findings,
) -> anyhow::Result<Table> {
    let mut table = Table::new("heads", &["head", "holds", "batches"]);
    let files: Vec<&Head> = asked.iter().filter_map(known).collect();
    for head in &files {
        fits(head, histories.partitions.len())?;
    }
    for of in asked {
        let (holds, batches): (bool, Cell) = match of {
            HeadAsked::Known(head) => (same(histories, head), head.batches().into()),
            HeadAsked::Hash(hash) => {
                let head = histories.find(hash);
                (head.is_some(), head.map(|head| head.batches()).into())
            }
        };
        table.row([name(of).into(), holds.into(), batches]);
        if !holds && known(of).is_none() && !found.of_journal(None) {
            let what = format!(
                "the journal never was what head {} was taken of: that was cut, or altered and computed again; the file of the \
                 head says in which partition, and whether no more has happened than that a writer's clock was set back",
                name(of)
            );
            found.add(Kind::Recomputed, None, what);
        }
    }
    for partition in 0..histories.partitions.len() {
        partition_of(histories, partition, &files, found);
    }
    Ok(table)
}

const fn known(asked: &HeadAsked) -> Option<&Head> {
    match asked {
        HeadAsked::Known(head) => Some(head),
        HeadAsked::Hash(_) => None,
    }
}

fn same(histories: &Histories, head: &Head) -> bool {
    (0..histories.partitions.len())
        .all(|partition| matches!(judge(histories, partition, head), Some((_, Judged::Same))))
}

/// How a partition is as a head says, with the number of batches that it covers there.
fn judge(histories: &Histories, partition: usize, head: &Head) -> Option<(u64, Judged)> {
    let (history, of) = (histories.partitions.get(partition)?, head.partitions.get(partition)?);
    let judged = match history.at(of.batches) {
        None => Judged::Cut { has: history.leaves().len() as u64 },
        Some(now) if now == *of => Judged::Same,
        Some(_) => Judged::Other,
    };
    Some((of.batches, judged))
}

/// The heads of one partition: the largest that holds and the smallest that does not say between which batches it lies.
fn partition_of(histories: &Histories, partition: usize, known: &[&Head], found: &mut Findings) {
    let number = u32::try_from(partition).unwrap_or(u32::MAX);
    if found.of_journal(Some(number)) {
        return;
    }
    let at = TopicPartition::new(Topic::Journal, number);
    let (mut good, mut bad, mut cut) = (0, None, None);
    for (batches, judged) in known.iter().filter_map(|head| judge(histories, partition, head)) {
        match judged {
            Judged::Same => good = good.max(batches),
            Judged::Other => bad = Some(bad.map_or(batches, |bad: u64| bad.min(batches))),
            Judged::Cut { has } => cut = cut.max(Some((batches, has))),
        }
    }
    if let Some(bad) = bad {
        let what = format!(
            "the chain is whole, but a head names other batches: one of the batches {} to {bad} was altered, and all after \
             it computed again",
            good.saturating_add(1)
        );
        found.add(Kind::Recomputed, Some(Place::batch(at, good.saturating_add(1))), what);
    }
    if let Some((named, has)) = cut {
        let what = format!("the chain ends at batch {has}; a head names batch {named}");
        found.add(Kind::Cut, Some(Place::batch(at, has.saturating_add(1))), what);
    }
}
