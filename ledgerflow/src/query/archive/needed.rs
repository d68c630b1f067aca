//! From where on the log is needed: what a restart reads of it whose checkpoints are gone, and what readers have not passed.
//!
//! A restart begins with the newest whole snapshot of a slot, and with the one before where that is damaged. So of each slot
//! everything stays from the older of both on; a slot with fewer keeps everything.

use crate::query::books::Books;
use anyhow::Context;
use schemas::batch;
use std::collections::BTreeMap;
use std::time::Duration;
use stream::log::{Isolation, Log, LogError, Offset, Position, TopicPartition};
use stream::processor::{Assigned, Changelog, Processor};
use stream::snapshot::{self, Owner, Snapshot};
use stream::worker::{Metadata, contradiction};

/// How many of its newest snapshots a slot may have to begin with.
const SNAPSHOTS: usize = 2;
/// Tries to read positions that open transactions hold, and between two of them.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// By partition: the first offset that has to stay. Partitions that are not named no processor reads.
///
/// # Errors
/// The log's own, or settings that go with no processor.
pub(super) fn needed(books: &Books) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
    let (all, log) = (books.setup.processors()?, books.log.as_ref());
    let mut needed = Needed { log, first: BTreeMap::new() };
    needed.of(&all.ingest)?;
    needed.of(&all.posting)?;
    needed.of(&all.settlement)?;
    needed.of(&all.rekey)?;
    needed.of(&all.join)?;
    Ok(needed.first)
}

struct Needed<'a> {
    log: &'a dyn Log,
    first: BTreeMap<TopicPartition, Offset>,
}

impl Needed<'_> {
    fn from(&mut self, at: TopicPartition, offset: Offset) {
        let first = self.first.entry(at).or_insert(offset);
        *first = (*first).min(offset);
    }

    fn of<P: Processor>(&mut self, processor: &P) -> anyhow::Result<()> {
        for slot in 0..processor.slots() {
            let inputs = processor.inputs().into_iter();
            let inputs = inputs.filter(|input| input.assigned == Assigned::SameNumber || slot == 0);
            let inputs: Vec<_> = inputs.map(|input| TopicPartition::new(input.topic, slot)).collect();
            let own = match processor.changelog() {
                Changelog::Own(topic) => Some(TopicPartition::new(topic, slot)),
                Changelog::Inputs => None,
            };
            let committed = self.committed(processor.name(), &inputs)?;
            for (at, position) in inputs.iter().zip(&committed) {
                self.from(*at, position.as_ref().map_or(0, |position| position.offset));
            }
            let metadata = committed.iter().flatten().next().and_then(|held| Metadata::parse(&held.metadata));
            let begins = self.begins(Owner { processor: processor.name(), slot }, own, metadata.as_ref())?;
            match own {
                Some(at) => self.from(at, begins.map_or(0, |of| of.label.changelog_offset)),
                None => {
                    for at in inputs {
                        let positions = begins.as_ref().map_or(&[][..], |of| &of.label.positions);
                        let of = positions.iter().find(|(of, _)| *of == at);
                        self.from(at, of.map_or(0, |(_, offset)| *offset));
                    }
                }
            }
        }
        Ok(())
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> anyhow::Result<Vec<Option<Position>>> {
        for _ in 0..TRIES {
            match self.log.committed(group, at) {
                Err(LogError::Unstable { .. } | LogError::Retriable(_)) => std::thread::sleep(PAUSE),
                held => return Ok(held?),
            }
        }
        self.log.committed(group, at).with_context(|| format!("positions of {group}"))
    }

    /// The older of a slot's newest two snapshots, if it has two that a restart would take.
    fn begins(
        &self,
        owner: Owner<'_>,
        own: Option<TopicPartition>,
        committed: Option<&Metadata>,
    ) -> anyhow::Result<Option<Snapshot>> {
        let mut usable = Vec::new();
        for found in snapshot::find(self.log, owner)? {
            let is_of_the_log = contradiction(&found.label, committed).is_none()
                && match own {
                    Some(at) => self.ends_there(at, &found)?,
                    None => true,
                };
            if is_of_the_log {
                usable.push(found);
            }
            if usable.len() == SNAPSHOTS {
                return Ok(usable.pop());
            }
        }
        Ok(None)
    }

    /// Whether the changelog's batch before a snapshot's offset is the one that the snapshot names.
    fn ends_there(&self, at: TopicPartition, of: &Snapshot) -> anyhow::Result<bool> {
        let end = of.label.changelog_offset;
        if !(1..=self.log.watermarks(at, Isolation::Committed)?.high).contains(&end) {
            return Ok(false);
        }
        let mut reader = self.log.reader(&[(at, end - 1)], Isolation::Committed)?;
        let record = crate::measure::recount::next_record(reader.as_mut(), at, end)?;
        let hash = record.and_then(|record| batch::open(&record.value).ok()).map(|opened| opened.hash);
        Ok(hash == Some(of.label.hash))
    }
}
