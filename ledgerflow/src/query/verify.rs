//! `verify`: rebuilds every slot from the log alone and compares it, byte by byte, with the state in use.

use super::books::Books;
use super::rebuild::{self, Begin, Held, held};
use super::{Answer, Ending};
use crate::cli::output::Table;
use stream::log::Log;
use stream::processor::Processor;

/// `verify`; `since_snapshot`: of each slot only what came after its newest snapshot is read.
pub(super) fn verify(books: &Books, since_snapshot: bool) -> anyhow::Result<Answer> {
    let fresh = books.setup.processors()?;
    let mut table =
        Table::new("verify", &["processor", "slot", "pairs", "batch", "records_replayed", "from", "equal"]);
    let log = books.log.as_ref();
    let begin = if since_snapshot { Begin::Snapshot } else { Begin::First };
    let mut equal = compare(log, &fresh.ingest, books.ingest(held)?, begin, &mut table)?;
    equal &= compare(log, &fresh.posting, books.posting(held)?, begin, &mut table)?;
    equal &= compare(log, &fresh.settlement, books.settlement(held)?, begin, &mut table)?;
    equal &= compare(log, &fresh.rekey, books.rekey(held)?, begin, &mut table)?;
    equal &= compare(log, &fresh.join, books.join(held)?, begin, &mut table)?;
    let mut answer = Answer::tables(vec![table]);
    answer.ending = if equal { Ending::Done } else { Ending::Wrong };
    answer.message = Some(if equal { "store = replay" } else { "a state differs from its replay" }.into());
    Ok(answer)
}

fn compare<P: Processor>(
    log: &dyn Log,
    processor: &P,
    all: Vec<Vec<Held>>,
    begin: Begin,
    table: &mut Table,
) -> anyhow::Result<bool> {
    let mut all_equal = true;
    for held in all.into_iter().flatten() {
        let rebuilt = rebuild::slot(log, processor, &held, begin)?;
        let equal = rebuilt.hash() == held.hash;
        all_equal &= equal;
        table.row([
            processor.name().into(),
            held.slot.into(),
            held.pairs.into(),
            held.label.batch.into(),
            rebuilt.records.into(),
            rebuilt.from().into(),
            equal.into(),
        ]);
    }
    Ok(all_equal)
}
