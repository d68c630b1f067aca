//! `snapshot`: writes the states of all slots to topic `snapshots`, each only after it was rebuilt from the log and found
//! equal to the state in use, byte by byte.
//!
//! A rebuild begins with the slot's snapshot before, so that the first one reads everything and each later one what came
//! since. On the embedded log the two newest of each slot stay, and older ones are given up; on Kafka compaction does that.

use super::books::Books;
use super::rebuild::{self, Begin, COLUMNS, Compared};
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::clock;
use stream::log::{Log, Offset, TopicPartition};
use stream::snapshot::{self, Snapshot};

/// How long the parts of a snapshot may take to be durable.
const DURABLE_WAIT: Duration = Duration::from_secs(60);

/// What a round came to.
struct Round<'a> {
    log: &'a dyn Log,
    table: Table,
    all_equal: bool,
    written: u64,
    /// By partition of `snapshots`: the first record that must stay.
    keep: BTreeMap<TopicPartition, Offset>,
}

/// `snapshot`; `from_first`: every state is rebuilt from the first record on.
pub(super) fn snapshot(books: &Books, from_first: bool) -> anyhow::Result<Answer> {
    let columns: Vec<&str> = COLUMNS.into_iter().chain(["parts"]).collect();
    let begin = if from_first { Begin::First } else { Begin::Snapshot };
    let (log, table) = (books.log.as_ref(), Table::new("snapshots", &columns));
    let mut round = Round { log, table, all_equal: true, written: 0, keep: BTreeMap::new() };
    rebuild::each(books, begin, &mut |compared| round.take(compared))?;
    if let Some(embedded) = books.embedded.as_ref().filter(|_| round.written > 0) {
        books.retention.give_up(embedded, round.keep)?;
    }
    let said = match round.all_equal {
        true => format!("store = replay; {} snapshots written", round.written),
        false => "a state differs from its replay: no snapshot of it was written".to_owned(),
    };
    let ending = if round.all_equal { Ending::Done } else { Ending::Wrong };
    Ok(Answer { message: Some(said), ending, ..Answer::tables(vec![round.table]) })
}

impl Round<'_> {
    /// Takes a snapshot of a slot, unless it differs, has committed nothing, or has not moved since the one before.
    fn take(&mut self, mut compared: Compared) -> anyhow::Result<()> {
        let before = match compared.snapshots.take() {
            Some(before) => before,
            None => snapshot::find(self.log, compared.owner)?,
        };
        let batch = compared.label.batch;
        let is_there = before.iter().any(|of| of.label.batch == batch);
        let mut parts = None;
        if compared.equal && batch > 0 && !is_there {
            let turn = before.first().map_or(0, |of| 1 - of.turn.min(1));
            let (Compared { owner, state, label, .. }, stamp) = (&compared, (turn, clock::wall_us()));
            parts = Some(snapshot::write(self.log, *owner, label, state, stamp, DURABLE_WAIT)?);
            self.written += 1;
        }
        // The newest of before stays beside the one that was written now.
        self.keep(&before, usize::from(parts.is_none()));
        self.all_equal &= compared.equal;
        self.table.row(compared.cells().into_iter().chain([parts.map_or(Cell::None, Cell::from)]));
        Ok(())
    }

    /// Notes that a slot's snapshots down to the one of that number stay.
    fn keep(&mut self, before: &[Snapshot], number: usize) {
        let Some(oldest) = before.get(number).or(before.last()) else { return };
        let keep = self.keep.entry(oldest.at).or_insert(oldest.first);
        *keep = (*keep).min(oldest.first);
    }
}
