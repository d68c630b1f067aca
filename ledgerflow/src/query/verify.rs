//! `verify`: rebuilds every slot from the log alone and compares it, byte by byte, with the state in use.

use super::books::Books;
use super::rebuild::{self, Begin, COLUMNS};
use super::{Answer, Ending};
use crate::cli::output::Table;

/// `verify`; `since_snapshot`: of each slot only what came after its newest snapshot is read.
pub(super) fn verify(books: &Books, since_snapshot: bool) -> anyhow::Result<Answer> {
    let (mut table, mut equal) = (Table::new("verify", &COLUMNS), true);
    let begin = if since_snapshot { Begin::Snapshot } else { Begin::First };
    rebuild::each(books, begin, &mut |compared| {
        equal &= compared.equal;
        table.row(compared.cells());
        Ok(())
    })?;
    let mut answer = Answer::tables(vec![table]);
    answer.ending = if equal { Ending::Done } else { Ending::Wrong };
    answer.message = Some(if equal { "store = replay" } else { "a state differs from its replay" }.into());
    Ok(answer)
}
