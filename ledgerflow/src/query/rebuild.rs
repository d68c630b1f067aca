//! Slots' states, rebuilt from the log alone up to the window after which the states in use stand, and compared with them.

use super::books::Books;
use crate::cli::output::Cell;
use crate::measure::recount::range;
use anyhow::{Context, bail};
use schemas::batch::Hash;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::processor::{Changelog, Processor};
use stream::snapshot::{self, Canonical, Owner, Snapshot};
use stream::store::Label;
use stream::worker::Worker;

/// Where a rebuild begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the first record; where that is gone, with the newest snapshot.
    First,
    /// With the newest snapshot; where there is none, with the first record.
    Snapshot,
}

/// Names of the cells of [`Compared::cells`].
pub(super) const COLUMNS: [&str; 7] =
    ["processor", "slot", "pairs", "batch", "records_replayed", "from", "equal"];

/// A state in use, in short.
pub(super) struct Held {
    pub(super) slot: u32,
    pub(super) hash: Hash,
    pub(super) pairs: usize,
    /// What of the log it holds.
    pub(super) label: Label,
}

/// What is done with each slot.
pub(super) trait PerSlot {
    /// Looks at one slot.
    ///
    /// # Errors
    /// Its own.
    fn see<P: Processor>(&mut self, log: &dyn Log, processor: &P, held: Held) -> anyhow::Result<()>;
}

/// A state that was rebuilt, beside the one in use.
pub(super) struct Compared {
    pub(super) owner: Owner<'static>,
    /// What was rebuilt.
    pub(super) state: Canonical,
    /// What of the log it holds.
    pub(super) label: Label,
    /// Whether the state in use is the same.
    pub(super) equal: bool,
    /// The slot's snapshots, the newest first, where they were looked for.
    pub(super) snapshots: Option<Vec<Snapshot>>,
    /// Pairs of the state in use.
    pairs: usize,
    records: u64,
    /// Window of the snapshot it began with.
    from: Option<u64>,
}

impl Compared {
    /// What is told of it, under [`COLUMNS`].
    pub(super) fn cells(&self) -> [Cell; 7] {
        let from = self.from.map_or_else(|| "first record".to_owned(), |window| format!("snapshot {window}"));
        [
            self.owner.processor.into(),
            self.owner.slot.into(),
            self.pairs.into(),
            self.label.batch.into(),
            self.records.into(),
            from.into(),
            self.equal.into(),
        ]
    }
}

/// Rebuilds every slot of every processor and shows each, one after the other.
///
/// # Errors
/// The log is away; a record cannot be replayed; the first records are gone, and no snapshot holds them; or `see` fails.
pub(super) fn each(
    books: &Books,
    begin: Begin,
    see: &mut dyn FnMut(Compared) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    each_slot(books, &mut Comparing { begin, see })
}

/// Compares each slot and shows it.
struct Comparing<'s> {
    begin: Begin,
    see: &'s mut dyn FnMut(Compared) -> anyhow::Result<()>,
}

impl PerSlot for Comparing<'_> {
    fn see<P: Processor>(&mut self, log: &dyn Log, processor: &P, held: Held) -> anyhow::Result<()> {
        (self.see)(compared(log, processor, held, self.begin)?)
    }
}

/// Every slot of every processor, one after the other.
///
/// # Errors
/// The log is away; or what is done with one fails.
pub(super) fn each_slot(books: &Books, see: &mut impl PerSlot) -> anyhow::Result<()> {
    let (fresh, log) = (books.setup.processors()?, books.log.as_ref());
    all_of(log, &fresh.ingest, books.ingest(held)?, see)?;
    all_of(log, &fresh.posting, books.posting(held)?, see)?;
    all_of(log, &fresh.settlement, books.settlement(held)?, see)?;
    all_of(log, &fresh.rekey, books.rekey(held)?, see)?;
    all_of(log, &fresh.join, books.join(held)?, see)
}

/// The states of a worker's slots.
fn held<P: Processor>(worker: &Worker<P>) -> Vec<Held> {
    let slots = worker.slots().into_iter();
    let of = |slot| {
        let state = Canonical::of(worker.slot(slot)?);
        Some(Held { slot, hash: state.hash, pairs: state.pairs.len(), label: worker.label(slot)? })
    };
    slots.filter_map(of).collect()
}

fn all_of<P: Processor>(
    log: &dyn Log,
    processor: &P,
    all: Vec<Vec<Held>>,
    see: &mut impl PerSlot,
) -> anyhow::Result<()> {
    all.into_iter().flatten().try_for_each(|held| see.see(log, processor, held))
}

/// Whose slot it is, and its own changelog, where it has one.
pub(super) fn of<P: Processor>(processor: &P, held: &Held) -> (Owner<'static>, Option<TopicPartition>) {
    let changelog = match processor.changelog() {
        Changelog::Own(topic) => Some(TopicPartition::new(topic, held.slot)),
        Changelog::Inputs => None,
    };
    (Owner { processor: processor.name(), slot: held.slot }, changelog)
}

fn compared<P: Processor>(
    log: &dyn Log,
    processor: &P,
    held: Held,
    begin: Begin,
) -> anyhow::Result<Compared> {
    let (owner, changelog) = of(processor, &held);
    let gone = gone(log, changelog, &held.label)?;
    let looks = gone.is_some() || begin == Begin::Snapshot;
    let snapshots = if looks { Some(snapshot::find(log, owner)?) } else { None };
    let not_ahead = |of: &&Snapshot| of.label.batch <= held.label.batch;
    let first = snapshots.iter().flatten().find(not_ahead);
    let mut state = begin_with(log, processor, owner, (gone, first))?;
    let from = first.map(|of| of.label.batch);
    let between = (first.map(|of| &of.label), &held.label);
    let (records, changelog_offset) = replay(log, processor, &mut state, changelog, between)?;
    let state = Canonical::of(&state);
    let (equal, pairs) = (state.hash == held.hash, held.pairs);
    let label = Label { changelog_offset, ..held.label };
    Ok(Compared { owner, state, label, equal, snapshots, pairs, records, from })
}

/// The state that a rebuild begins with: that of a snapshot, or an empty one.
///
/// # Errors
/// `gone`: the first records of that partition are, and there is no snapshot; it cannot be read, or is not whole.
pub(super) fn begin_with<P: Processor>(
    log: &dyn Log,
    processor: &P,
    owner: Owner<'_>,
    (gone, first): (Option<TopicPartition>, Option<&Snapshot>),
) -> anyhow::Result<P::Slot> {
    let (name, slot) = (owner.processor, owner.slot);
    if let (Some(at), None) = (gone, first) {
        bail!(
            "slot {slot} of {name}: the first records of {at} are gone, and no snapshot or archive (archive.dir) holds them"
        );
    }
    let mut state = processor.open(slot);
    if let Some(of) = first
        && let Err(why) = snapshot::load(log, owner, of, &mut state)?
    {
        bail!("{}@{}: snapshot of slot {slot} of {name}: {why}", of.at, of.first);
    }
    Ok(state)
}

/// A partition that the slot is rebuilt from and whose first records are gone.
pub(super) fn gone(
    log: &dyn Log,
    changelog: Option<TopicPartition>,
    label: &Label,
) -> anyhow::Result<Option<TopicPartition>> {
    let inputs = label.positions.iter().map(|(at, _)| *at).filter(|_| changelog.is_none());
    for at in changelog.into_iter().chain(inputs) {
        if log.watermarks(at, Isolation::Committed)?.low > 0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Replays what lies between two labels; without the first, everything up to the second. How many records that were, and
/// the offset after the last one of the slot's own changelog; 0 where it has none.
pub(super) fn replay<P: Processor>(
    log: &dyn Log,
    processor: &P,
    state: &mut P::Slot,
    changelog: Option<TopicPartition>,
    (from, upto): (Option<&Label>, &Label),
) -> anyhow::Result<(u64, Offset)> {
    let (mut records, mut offset) = (0, from.map_or(0, |label| label.changelog_offset));
    if let Some(at) = changelog {
        // One batch a window: the first `batch` records are what the state holds.
        let wanted = upto.batch.saturating_sub(from.map_or(0, |label| label.batch));
        let high = log.watermarks(at, Isolation::Committed)?.high;
        range(log, at, offset, high, &mut |fetch| {
            let left = usize::try_from(wanted - records).unwrap_or(usize::MAX);
            for record in fetch.records.iter().take(left) {
                processor.replay(state, at, record).context("replay")?;
                (records, offset) = (records + 1, record.offset + 1);
            }
            Ok(())
        })?;
        return Ok((records, offset));
    }
    for (at, end) in &upto.positions {
        let begins = from.and_then(|label| label.positions.iter().find(|(of, _)| of == at));
        let begins = begins.map_or(0, |(_, offset)| *offset);
        range(log, *at, begins, *end, &mut |fetch| {
            records += fetch.records.len() as u64;
            let mut all = fetch.records.iter();
            all.try_for_each(|record| processor.replay(state, *at, record)).context("replay")
        })?;
    }
    Ok((records, 0))
}
