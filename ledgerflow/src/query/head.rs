//! `head`: one hash for all that lies in the journal, to be kept where nobody can change it.

use super::books::Books;
use super::history::take;
use super::journal::find_batch;
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::head::HeadAsked;
use anyhow::Context;
use schemas::head::Head;
use schemas::hex;

/// `head`.
pub(super) fn head(books: &Books) -> anyhow::Result<Answer> {
    let (_, head) = take(books, &mut |_, _, _| Ok(()))?;
    let mut one = Table::new("head", &["head", "partitions", "batches"]);
    one.row([hex::text(&head.hash()).into(), head.partitions.len().into(), head.batches().into()]);
    let mut all = Table::new("partitions", &["partition", "batches", "offset", "batch_hash", "root"]);
    for (partition, of) in (0..).zip(&head.partitions) {
        let last = match of.batches {
            0 => None,
            batch => Some(
                find_batch(books.log.as_ref(), partition, batch)?
                    .with_context(|| format!("journal/{partition} has lost its batch {batch}"))?,
            ),
        };
        all.row([
            partition.into(),
            of.batches.into(),
            last.as_ref().map(|last| last.offset).into(),
            last.as_ref().map(|last| hex::text(&last.hash)).into(),
            hex::text(&of.root).into(),
        ]);
    }
    Ok(Answer { ending: Ending::Done, ..Answer::tables(vec![one, all]) })
}

/// What a head is called in answers.
pub(super) fn name(asked: &HeadAsked) -> String {
    hex::text(&asked.hash())
}

/// Whether two heads are of equally many partitions.
pub(super) fn fits(head: &Head, partitions: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        head.partitions.len() == partitions,
        "the head is of a journal of {} partitions, this one has {partitions}",
        head.partitions.len()
    );
    Ok(())
}
