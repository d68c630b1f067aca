//! A slot's state, rebuilt from the log alone up to the window after which a state in use stands.

use crate::measure::recount::advance;
use anyhow::{Context, bail};
use schemas::batch::Hash;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::processor::{Changelog, Processor, SlotState};
use stream::snapshot::{self, Owner, Snapshot};
use stream::store::Label;
use stream::worker::Worker;

/// A state in use, in short.
pub(super) struct Held {
    pub(super) slot: u32,
    pub(super) hash: Hash,
    pub(super) pairs: u64,
    pub(super) label: Label,
}

/// The states of a worker's slots.
pub(super) fn held<P: Processor>(worker: &Worker<P>) -> Vec<Held> {
    let slots = worker.slots().into_iter();
    let of = |slot| {
        let (_, hash) = snapshot::hashed(worker.slot(slot)?);
        Some(Held { slot, hash: hash.hash(), pairs: hash.pairs(), label: worker.label(slot)? })
    };
    slots.filter_map(of).collect()
}

/// Where a rebuild begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the first record; where that is gone, with the newest snapshot.
    First,
    /// With the newest snapshot; where there is none, with the first record.
    Snapshot,
}

/// What a rebuild came to.
pub(super) struct Rebuilt<S> {
    pub(super) state: S,
    pub(super) records: u64,
    /// Offset after the last record of the slot's own changelog; 0 where it has none.
    pub(super) changelog_offset: Offset,
    /// The snapshot it began with.
    pub(super) snapshot: Option<Snapshot>,
}

impl<S: SlotState> Rebuilt<S> {
    pub(super) fn hash(&self) -> Hash {
        snapshot::hashed(&self.state).1.hash()
    }

    /// Where it began, for people.
    pub(super) fn from(&self) -> String {
        self.snapshot
            .as_ref()
            .map_or_else(|| "first record".to_owned(), |of| format!("snapshot {}", of.label.batch))
    }
}

/// Rebuilds a slot.
///
/// # Errors
/// The log is away; a record cannot be replayed; the first records are gone, and no snapshot holds them.
pub(super) fn slot<P: Processor>(
    log: &dyn Log,
    processor: &P,
    upto: &Held,
    begin: Begin,
) -> anyhow::Result<Rebuilt<P::Slot>> {
    let changelog = match processor.changelog() {
        Changelog::Own(topic) => Some(TopicPartition::new(topic, upto.slot)),
        Changelog::Inputs => None,
    };
    let sources: Vec<TopicPartition> = match changelog {
        Some(at) => vec![at],
        None => upto.label.positions.iter().map(|(at, _)| *at).collect(),
    };
    let mut gone = None;
    for at in &sources {
        gone = gone.or((log.watermarks(*at, Isolation::Committed)?.low > 0).then_some(*at));
    }
    let mut rebuilt =
        Rebuilt { state: processor.open(upto.slot), records: 0, changelog_offset: 0, snapshot: None };
    if gone.is_some() || begin == Begin::Snapshot {
        rebuilt.snapshot = newest(log, processor, upto, &mut rebuilt.state)?;
    }
    if let (Some(at), None) = (gone, &rebuilt.snapshot) {
        bail!(
            "slot {} of {}: the first records of {at} are gone, and no snapshot holds them",
            upto.slot,
            processor.name()
        );
    }
    let label = rebuilt.snapshot.as_ref().map(|of| of.label.clone());
    match changelog {
        // One batch a window: the first `batch` records are what the state holds.
        Some(at) => {
            let (from, before) = label.map_or((0, 0), |label| (label.changelog_offset, label.batch));
            rebuilt.changelog_offset = from;
            let wanted = upto.label.batch.saturating_sub(before);
            replay(log, processor, &mut rebuilt, (at, from), &mut |seen, _| seen < wanted)?;
        }
        None => {
            for (at, end) in &upto.label.positions {
                let from = label.as_ref().and_then(|of| of.positions.iter().find(|(of, _)| of == at));
                let from = from.map_or(0, |(_, from)| *from);
                replay(log, processor, &mut rebuilt, (*at, from), &mut |_, offset| offset < *end)?;
            }
            rebuilt.changelog_offset = 0;
        }
    }
    Ok(rebuilt)
}

/// The newest snapshot of a slot that is not ahead of a state in use, loaded.
fn newest<P: Processor>(
    log: &dyn Log,
    processor: &P,
    upto: &Held,
    state: &mut P::Slot,
) -> anyhow::Result<Option<Snapshot>> {
    let owner = Owner { processor: processor.name(), slot: upto.slot };
    let mut found = snapshot::find(log, owner)?.into_iter();
    let Some(found) = found.find(|of| of.label.batch <= upto.label.batch) else { return Ok(None) };
    if let Err(why) = snapshot::load(log, owner, &found, state)? {
        bail!("{}@{}: snapshot of slot {} of {}: {why}", found.at, found.first, owner.slot, owner.processor);
    }
    Ok(Some(found))
}

/// Replays records from an offset on, for as long as they are wanted: told are the number of those before, and the offset.
fn replay<P: Processor>(
    log: &dyn Log,
    processor: &P,
    into: &mut Rebuilt<P::Slot>,
    (at, from): (TopicPartition, Offset),
    wanted: &mut dyn FnMut(u64, Offset) -> bool,
) -> anyhow::Result<()> {
    let bounds = log.watermarks(at, Isolation::Committed)?;
    let mut reader = log.reader(&[(at, from.max(bounds.low))], Isolation::Committed)?;
    let mut seen = 0;
    while reader.position(at).is_some_and(|position| position < bounds.high) {
        let fetches = advance(reader.as_mut(), at, 4_096, 8 << 20)?;
        for record in fetches.iter().flat_map(|fetch| &fetch.records) {
            if !wanted(seen, record.offset) {
                return Ok(());
            }
            processor.replay(&mut into.state, at, record).context("replay")?;
            seen += 1;
            into.records += 1;
            into.changelog_offset = record.offset + 1;
        }
    }
    Ok(())
}
