//! What a window of journal batches and bill chunks becomes: side items by partition, or nothing yet. Pure.

use super::TICK_EVERY_US;
use super::state::{RekeyChange, RekeySlot, count_staged, staged_on};
use crate::match_key::{MatchKey, partition_of_key};
use prost::Message;
use schemas::batch::{self, FORMAT};
use schemas::topics::Topic;
use schemas::wire::journal_item::Item as JournalItemKind;
use schemas::wire::side_item::Item as SideItemKind;
use schemas::wire::{
    BillChunk, BillProgress, Entry, EventKey, FileReleased, JournalItem, OurSide, Outcome, PositionHash,
    SideItem, TheirSide, Tick, side_item,
};
use schemas::wire_read::WireError;
use schemas::wire_walk::Walk;
use std::collections::BTreeMap;
use stream::log::Record;
use stream::processor::record_hash;

/// A window being decided: the slot's state and what this window changes in it.
pub(super) struct Rekeying<'a> {
    slot: u32,
    partitions: u32,
    base: &'a RekeySlot,
    /// Changes so far, chain heads of `recon.sides` and the changelog excepted: those come with sealing.
    pub(super) change: RekeyChange,
    /// Items to write, by partition of `recon.sides`.
    pub(super) sides: BTreeMap<u32, Vec<SideItem>>,
    tick: Option<Tick>,
    /// Whether nothing but ticks was read: reading them again costs next to nothing.
    only_time: bool,
    /// Records and sides counted.
    pub(super) items: u64,
}

/// What every entry of one decision or credit has in common.
struct Origin<'a> {
    event: &'a Option<EventKey>,
    accounting_date: i32,
    occurred_at_us: i64,
    batch: u64,
}

impl<'a> Rekeying<'a> {
    /// Nothing read yet.
    pub(super) fn new(slot: u32, partitions: u32, base: &'a RekeySlot) -> Self {
        let change = RekeyChange::default();
        Self { slot, partitions, base, change, sides: BTreeMap::new(), tick: None, only_time: true, items: 0 }
    }

    /// Takes one journal batch.
    pub(super) fn journal(&mut self, record: &Record) -> Result<(), String> {
        let opened = batch::open(&record.value).map_err(|e| e.to_string())?;
        if opened.header.slot != self.slot {
            return Err(format!("batch of slot {}, expected {}", opened.header.slot, self.slot));
        }
        let head = self.change.journal.unwrap_or(self.base.journal);
        self.change.journal = Some(head.accept(&opened).map_err(|e| e.to_string())?);
        opened.expect_count(batch::items(&opened.body).count()).map_err(|e| e.to_string())?;
        for item in batch::items(&opened.body) {
            let item = item.map_err(|e| e.to_string())?;
            if goes_on(item).map_err(|e| e.to_string())? {
                let item = JournalItem::decode(item).map_err(|e| e.to_string())?;
                self.journal_item(opened.header.batch, item.item);
            } else {
                self.only_time = false;
            }
        }
        Ok(())
    }

    fn journal_item(&mut self, batch: u64, item: Option<JournalItemKind>) {
        self.only_time &= matches!(item, Some(JournalItemKind::Tick(_) | JournalItemKind::HeldTick(_)));
        match item {
            Some(JournalItemKind::Decision(decision)) if decision.outcome() == Outcome::Booked => {
                let origin = Origin {
                    event: &decision.event,
                    accounting_date: decision.accounting_date,
                    occurred_at_us: decision.occurred_at_us,
                    batch,
                };
                for entry in &decision.entry {
                    self.entry(&origin, entry);
                }
            }
            Some(JournalItemKind::Received(received)) => {
                let origin = Origin {
                    event: &received.event,
                    accounting_date: received.accounting_date,
                    occurred_at_us: received.occurred_at_us,
                    batch,
                };
                if let Some(entry) = &received.entry {
                    self.entry(&origin, entry);
                }
            }
            Some(JournalItemKind::Tick(tick)) => self.latest(tick),
            Some(JournalItemKind::Aligned(aligned)) => {
                let aligned = side_item::Aligned { book: aligned.book, date: aligned.date };
                self.broadcast(SideItemKind::Aligned(aligned));
            }
            _ => {}
        }
    }

    /// Only the latest business time of a window goes on.
    fn latest(&mut self, tick: Tick) {
        if self.tick.as_ref().is_none_or(|known| known.business_time_us <= tick.business_time_us) {
            self.tick = Some(tick);
        }
    }

    fn entry(&mut self, origin: &Origin<'_>, entry: &Entry) {
        let Some(matched) = &entry.r#match else { return };
        let mut matched = matched.clone();
        // A rule may leave out what the entry itself says.
        matched.gross = matched.gross.or_else(|| Some(entry.amount().into()));
        if matched.asset.is_empty() {
            matched.asset.clone_from(&entry.asset);
        }
        let partition = partition_of_key(&MatchKey::of_ours(&matched).text(), self.partitions);
        let ours = OurSide {
            r#match: Some(matched),
            event: origin.event.clone(),
            leg: entry.leg,
            accounting_date: origin.accounting_date,
            occurred_at_us: origin.occurred_at_us,
            journal_partition: self.slot,
            journal_batch: origin.batch,
            entry_account: entry.account.clone(),
            entry_seq: entry.seq,
        };
        self.to(partition, SideItemKind::Ours(ours));
    }

    /// Takes one chunk of a bill.
    pub(super) fn bill(&mut self, record: &Record) -> Result<(), String> {
        let chunk = BillChunk::decode(record.value.clone()).map_err(|e| e.to_string())?;
        if chunk.format != FORMAT {
            return Err(format!("format version {}, this program reads {FORMAT}", chunk.format));
        }
        let file = chunk.file.ok_or("chunk without a file")?;
        self.change.position = Some(PositionHash {
            topic: Topic::BillsLines.name().to_owned(),
            partition: self.slot,
            offset: record.offset,
            hash: record_hash(record).to_vec().into(),
        });
        let known = self.change.bills.get(&file.id).or_else(|| self.base.bills.get(&file.id));
        let mut progress =
            known.cloned().unwrap_or_else(|| BillProgress { file: file.id.clone(), ..Default::default() });
        if progress.ended || chunk.chunk < progress.next_chunk {
            return Ok(());
        }
        if chunk.chunk > progress.next_chunk {
            let (found, expected) = (chunk.chunk, progress.next_chunk);
            return Err(format!("file {}: chunk {found}, expected {expected}", file.id));
        }
        for line in chunk.line {
            let theirs = TheirSide {
                file: file.id.clone(),
                provider: file.provider.clone(),
                account: file.account.clone(),
                day: file.day,
                line: Some(line),
            };
            let partition = partition_of_key(&MatchKey::of_theirs(&theirs).text(), self.partitions);
            count_staged(&mut progress, partition);
            self.to(partition, SideItemKind::Theirs(theirs));
        }
        progress.next_chunk += 1;
        if let Some(end) = chunk.end {
            progress.ended = true;
            for partition in 0..self.partitions {
                let staged = staged_on(&progress, partition);
                let released = FileReleased { file: Some(file.clone()), end: Some(end.clone()), staged };
                self.to(partition, SideItemKind::Released(released));
            }
        }
        self.change.bills.insert(file.id, progress);
        Ok(())
    }

    /// Ends the window: its latest tick follows everything else, when one is due.
    pub(super) fn end(&mut self) {
        let due = |tick: &Tick| {
            let told = self.base.tick.as_ref().map(|told| told.business_time_us);
            told.is_none_or(|told| tick.business_time_us >= told.saturating_add(TICK_EVERY_US))
        };
        if let Some(tick) = self.tick.take().filter(due) {
            self.broadcast(SideItemKind::Tick(tick.clone()));
            self.change.tick = Some(tick);
        }
    }

    /// Whether what was read may be read again later, together with more: it is time, and not due to be told.
    pub(super) fn may_wait(&self) -> bool {
        self.only_time && self.sides.is_empty() && self.change.position.is_none()
    }

    fn to(&mut self, partition: u32, item: SideItemKind) {
        self.items += 1;
        let item = SideItem { item: Some(item), journal_partition: 0 };
        self.sides.entry(partition).or_default().push(item);
    }

    fn broadcast(&mut self, item: SideItemKind) {
        for partition in 0..self.partitions {
            let item = SideItem { item: Some(item.clone()), journal_partition: self.slot + 1 };
            self.sides.entry(partition).or_default().push(item);
        }
    }
}

/// Keys of `JournalItem`, and of entry and match below it.
mod keys {
    use schemas::wire_walk::bytes_key;

    pub(super) const DECISION: u64 = bytes_key(1);
    pub(super) const RECEIVED: u64 = bytes_key(2);
    pub(super) const TICK: u64 = bytes_key(5);
    pub(super) const ALIGNED: u64 = bytes_key(8);
    pub(super) const HELD_TICK: u64 = bytes_key(15);
    pub(super) const DECISION_ENTRY: u64 = bytes_key(15);
    pub(super) const RECEIVED_ENTRY: u64 = bytes_key(13);
    pub(super) const ENTRY_MATCH: u64 = bytes_key(12);
}

/// Whether an encoded item of the journal has something that goes on or is a tick: most entries have no match. Only such
/// items are decoded.
fn goes_on(item: &[u8]) -> Result<bool, WireError> {
    let mut walk = Walk::new(item);
    while let Some(key) = walk.key()? {
        let found = match key {
            keys::TICK | keys::HELD_TICK | keys::ALIGNED => true,
            keys::DECISION => has_match(walk.bytes()?, keys::DECISION_ENTRY)?,
            keys::RECEIVED => has_match(walk.bytes()?, keys::RECEIVED_ENTRY)?,
            _ => walk.skip(key).map(|()| false)?,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an entry of a message, there under the key `entry`, has a match.
fn has_match(message: &[u8], entry: u64) -> Result<bool, WireError> {
    let mut walk = Walk::new(message);
    while let Some(key) = walk.key()? {
        if key != entry {
            walk.skip(key)?;
            continue;
        }
        let mut walk = Walk::new(walk.bytes()?);
        while let Some(key) = walk.key()? {
            if key == keys::ENTRY_MATCH {
                return Ok(true);
            }
            walk.skip(key)?;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::wire::journal_item::Item;
    use schemas::wire::{Aligned, Clearing, Decision, Match, Received, Resolution};

    #[test]
    fn what_goes_on_is_seen_without_decoding() {
        let plain = || Entry { account: "a".into(), leg: 7, previous_batch: 3, ..Entry::default() };
        let matched = || Entry { r#match: Some(Match::default()), ..plain() };
        let decision = |entry: Vec<Entry>| {
            Item::Decision(Decision { entry, subject: "s".into(), detail: "d".into(), ..Decision::default() })
        };
        let received = |entry| Item::Received(Received { entry, item_check: 1, ..Received::default() });
        for (item, expected) in [
            (decision(vec![]), false),
            (decision(vec![plain(), plain()]), false),
            (decision(vec![plain(), matched()]), true),
            (decision(vec![matched(), plain()]), true),
            (received(None), false),
            (received(Some(plain())), false),
            (received(Some(matched())), true),
            (Item::Tick(Tick::default()), true),
            (Item::HeldTick(Tick::default()), true),
            (Item::Aligned(Aligned::default()), true),
            (Item::Clearing(Clearing { entry: Some(matched()), ..Clearing::default() }), false),
            (Item::Resolution(Resolution::default()), false),
        ] {
            let item = JournalItem { item: Some(item) };
            assert_eq!(goes_on(&item.encode_to_vec()), Ok(expected), "{item:?}");
        }
    }
}
