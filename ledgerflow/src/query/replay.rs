//! `replay`: every slot from its first record on, held against each of its snapshots on the way and, at last, against the state
//! in use.

use super::books::Books;
use super::rebuild::{self, Held, PerSlot};
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use schemas::hex;
use stream::clock::monotonic_us;
use stream::log::Log;
use stream::processor::Processor;
use stream::snapshot::{self, Canonical, Owner};
use stream::store::Label;

const COLUMNS: [&str; 10] = [
    "processor",
    "slot",
    "batch",
    "records",
    "milliseconds",
    "from",
    "snapshots",
    "snapshots_equal",
    "state_hash",
    "equal",
];

struct Replay {
    table: Table,
    /// Snapshots that are not what the log says, and states.
    differ: Vec<String>,
}

/// `replay`.
pub(super) fn replay(books: &Books) -> anyhow::Result<Answer> {
    let mut all = Replay { table: Table::new("replay", &COLUMNS), differ: Vec::new() };
    rebuild::each_slot(books, &mut all)?;
    let mut answer = Answer::tables(vec![all.table]);
    answer.ending = if all.differ.is_empty() { Ending::Done } else { Ending::Wrong };
    answer.message = Some(if all.differ.is_empty() {
        "states and snapshots = replay".into()
    } else {
        format!("not what the log says: {}", all.differ.join("; "))
    });
    Ok(answer)
}

impl PerSlot for Replay {
    fn see<P: Processor>(&mut self, log: &dyn Log, processor: &P, held: Held) -> anyhow::Result<()> {
        let (owner, changelog) = rebuild::of(processor, &held);
        let mut snapshots = snapshot::find(log, owner)?;
        snapshots.retain(|of| of.label.batch <= held.label.batch);
        snapshots.sort_by_key(|of| of.label.batch);
        // Where the first records are gone, the oldest snapshot is what it begins with.
        let gone = rebuild::gone(log, changelog, &held.label)?;
        let rest = snapshots.split_off(usize::from(gone.is_some()).min(snapshots.len()));
        let first = snapshots.first();
        let mut state = rebuild::begin_with(log, processor, owner, (gone, first))?;
        let mut begun = first.map(|of| of.label.clone());
        let from =
            begun.as_ref().map_or_else(|| "first record".into(), |of| format!("snapshot {}", of.batch));
        let (mut records, mut us, mut equal) = (0, 0, 0);
        let mut upto = |state: &mut P::Slot, label: &Label| -> anyhow::Result<Canonical> {
            let started = monotonic_us();
            records += rebuild::replay(log, processor, state, changelog, (begun.as_ref(), label))?.0;
            us += monotonic_us() - started;
            begun = Some(label.clone());
            Ok(Canonical::of(state))
        };
        for snapshot in &rest {
            let same = upto(&mut state, &snapshot.label)?.hash == snapshot.state_hash;
            equal += u64::from(same);
            if !same {
                self.differ.push(format!("{}, snapshot {}", name(owner), snapshot.label.batch));
            }
        }
        let hash = upto(&mut state, &held.label)?.hash;
        if hash != held.hash {
            self.differ.push(format!("{}, the state in use", name(owner)));
        }
        self.table.row([
            owner.processor.into(),
            owner.slot.into(),
            held.label.batch.into(),
            records.into(),
            Cell::from(u64::try_from(us / 1_000)?),
            from.into(),
            Cell::from(rest.len() as u64),
            equal.into(),
            hex::text(&hash).into(),
            (hash == held.hash).into(),
        ]);
        Ok(())
    }
}

fn name(owner: Owner<'_>) -> String {
    format!("slot {} of {}", owner.slot, owner.processor)
}
