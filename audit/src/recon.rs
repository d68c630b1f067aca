//! The two sides of reconciliation: journal entries with a match and staged bill lines against `recon.sides`.
//!
//! Bounded by entries not yet re-keyed, files, and (for matches and breaks) 16 bytes per order number of the last
//! business days ([`crate::AuditLimit::order_days`]): a case of an older day is not judged.

use crate::amount::date_days;
use crate::cases::Cases;
use crate::chain::Chains;
use crate::finding::{Check, Findings, Place};
use crate::merkle::sha256;
use crate::outcome::event_name;
use prost::Message;
use rustc_hash::FxHashSet;
use schemas::topics::Topic;
use schemas::wire::{
    BatchHeader, BillChunk, BillEnd, Decision, Entry, EventKey, FileReleased, Match, OurSide, Received,
    SideSent, TheirSide,
};
use std::collections::{BTreeMap, VecDeque};

/// What an entry's event says of it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'d> {
    event: Option<&'d EventKey>,
    date: i32,
    occurred_at_us: i64,
}

impl<'d> Source<'d> {
    /// Of an entry decided here.
    #[must_use]
    pub const fn decision(d: &'d Decision) -> Self {
        Self { event: d.event.as_ref(), date: d.accounting_date, occurred_at_us: d.occurred_at_us }
    }

    /// Of an entry received from another partition.
    #[must_use]
    pub const fn received(r: &'d Received) -> Self {
        Self { event: r.event.as_ref(), date: r.accounting_date, occurred_at_us: r.occurred_at_us }
    }
}

/// One of our sides as both the journal and `recon.sides` state it.
#[derive(Debug, Clone, PartialEq)]
struct Ours {
    matched: Option<Match>,
    event: Option<EventKey>,
    leg: u32,
    date: i32,
    occurred_at_us: i64,
}

/// Journal batch, account, seq, leg.
type OurKey = (u64, String, u64, u32);

#[derive(Debug)]
enum Waiting {
    Journal(Place, Ours),
    Sides(Place, Ours),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LineSet {
    count: u64,
    sum: u128,
}

impl LineSet {
    fn add(&mut self, line: &[u8]) {
        let hash = sha256(line);
        self.count += 1;
        self.sum =
            self.sum.wrapping_add(hash.first_chunk::<16>().map_or(0, |first| u128::from_be_bytes(*first)));
    }
}

#[derive(Debug, Default)]
struct File {
    staged: LineSet,
    theirs: LineSet,
    theirs_by_partition: BTreeMap<u32, u64>,
    released: BTreeMap<u32, u64>,
    next_chunk: u32,
    end: Option<BillEnd>,
    covered: bool,
    judged: bool,
}

/// End of the journal range of a window, and the heads of the chains it wrote.
type Due = (i64, Vec<(u32, u64)>);

/// What was read of both sides.
#[derive(Debug, Default)]
pub struct Recon {
    ours: BTreeMap<u32, BTreeMap<OurKey, Waiting>>,
    due: BTreeMap<u32, VecDeque<Due>>,
    heads: BTreeMap<u32, BTreeMap<u32, u64>>,
    files: BTreeMap<String, File>,
    /// Order numbers of sides, by the accounting date of an entry or the day of a bill.
    pub(crate) orders: BTreeMap<i32, FxHashSet<u128>>,
    /// Order numbers of this day and of those before it are gone.
    orders_gone: Option<i32>,
    named: VecDeque<Named>,
    pub(crate) cases: Cases,
    order_days: i32,
    active: bool,
}

/// A match or a break that waits for the side it names.
#[derive(Debug)]
struct Named {
    mark: u128,
    /// Earliest day that it states, days since 1970-01-01.
    day: Option<i32>,
    place: Place,
}

fn order_mark(order: &str, refund: &str) -> u128 {
    let hash = sha256(format!("{}:{order}:{refund}", order.len()).as_bytes());
    hash.first_chunk::<16>().map_or(0, |first| u128::from_be_bytes(*first))
}

impl Recon {
    /// Nothing read. `active` = reconcile runs; `order_days` = business days for which matches and breaks are checked.
    #[must_use]
    pub fn new(active: bool, order_days: u16) -> Self {
        Self { active, order_days: order_days.into(), cases: Cases::new(order_days), ..Self::default() }
    }

    /// Notes a side's order number, and lets go of those that are too old.
    fn order(&mut self, ours: bool, day: i32, (order, refund): (&str, &str)) {
        if self.order_days == 0 || self.orders_gone.is_some_and(|gone| day <= gone) {
            return;
        }
        self.orders.entry(day).or_default().insert(order_mark(order, refund));
        // By our own days alone: what a bill calls its day moves nothing.
        while ours
            && let Some(oldest) = self.orders.first_entry()
            && i64::from(*oldest.key()) + i64::from(self.order_days) <= i64::from(day)
        {
            self.orders_gone = Some(*oldest.key());
            oldest.remove();
        }
    }

    /// A journal entry; those without a match are none of ours.
    pub fn entry(&mut self, partition: u32, place: Place, entry: &Entry, source: &Source<'_>) {
        if entry.r#match.is_none() || !self.active {
            return;
        }
        let ours = Ours {
            matched: entry.r#match.clone(),
            event: source.event.cloned(),
            leg: entry.leg,
            date: source.date,
            occurred_at_us: source.occurred_at_us,
        };
        let key = (place.batch, entry.account.clone(), entry.seq, entry.leg);
        let waiting = self.ours.entry(partition).or_default();
        if let Some(Waiting::Sides(_, side)) = waiting.get(&key) {
            if *side == ours {
                waiting.remove(&key);
            }
            return;
        }
        waiting.insert(key, Waiting::Journal(place, ours));
    }

    /// One of our sides read; `journal_read` = last batch of its journal partition that was read.
    pub fn our_side(&mut self, place: Place, side: &OurSide, journal_read: u64, found: &mut Findings) {
        if let Some(m) = &side.r#match {
            self.order(true, side.accounting_date, (&m.order, &m.refund));
        }
        self.cases.our_side(place, side);
        let key = (side.journal_batch, side.entry_account.clone(), side.entry_seq, side.leg);
        let ours = Ours {
            matched: side.r#match.clone(),
            event: side.event.clone(),
            leg: side.leg,
            date: side.accounting_date,
            occurred_at_us: side.occurred_at_us,
        };
        let waiting = self.ours.entry(side.journal_partition).or_default();
        let named = || {
            format!(
                "{place} {} {} seq {}",
                event_name(side.event.as_ref()),
                side.entry_account,
                side.entry_seq
            )
        };
        match waiting.remove(&key) {
            Some(Waiting::Journal(_, entry)) => {
                found.that(Check::ReconOurs, entry == ours, || (named(), "differs from its journal entry"))
            }
            Some(early @ Waiting::Sides(..)) => {
                waiting.insert(key, early);
                found.wrong(Check::ReconOurs, named(), "is there twice");
            }
            None if journal_read >= side.journal_batch => {
                let batch = side.journal_batch;
                let what = format!(
                    "is there twice, or journal/{} batch {batch} has no such entry",
                    side.journal_partition
                );
                found.wrong(Check::ReconOurs, named(), what);
            }
            None => {
                waiting.insert(key, Waiting::Sides(place, ours));
            }
        }
    }

    /// A window of the re-keying changelog: what it read of the journal and which chains it wrote.
    pub fn window(&mut self, header: &BatchHeader, sent: &[SideSent]) {
        let heads = self.heads.entry(header.slot).or_default();
        heads.extend(sent.iter().map(|s| (s.partition, s.sequence)));
        let journal = header.input.iter().find(|r| r.topic == Topic::Journal.name());
        if let Some(range) = journal {
            let heads = heads.iter().map(|(to, sequence)| (*to, *sequence)).collect();
            self.due.entry(header.slot).or_default().push_back((range.to, heads));
        }
    }

    /// Judges entries whose window has been written and read.
    pub fn judge(&mut self, chains: &Chains, found: &mut Findings) {
        for (slot, due) in &mut self.due {
            let reached = |(_, heads): &Due| {
                let read = |to: u32| chains.get(Topic::ReconSides, to, *slot).map_or(0, |c| c.sequence);
                heads.iter().all(|(to, sequence)| read(*to) >= *sequence)
            };
            let mut passed = None;
            while due.front().is_some_and(reached) {
                passed = due.pop_front().map(|(to, _)| to);
            }
            let (Some(to), Some(waiting)) = (passed, self.ours.get_mut(slot)) else { continue };
            waiting.retain(|key, one| match one {
                Waiting::Journal(place, ours) if place.offset < to => {
                    let name = format!("{place} {} {} seq {}", event_name(ours.event.as_ref()), key.1, key.2);
                    found.wrong(
                        Check::ReconOurs,
                        name,
                        "its window was re-keyed and it is not on recon.sides",
                    );
                    false
                }
                _ => true,
            });
        }
    }

    /// A chunk of a bill. `whole` = its partition was read from its first record.
    pub fn chunk(&mut self, place: Place, whole: bool, chunk: &BillChunk, found: &mut Findings) {
        let Some(bill) = &chunk.file else {
            found.wrong(Check::ReconTheirs, place, "chunk without a file");
            return;
        };
        let file = self.files.entry(bill.id.clone()).or_default();
        if chunk.chunk < file.next_chunk {
            return; // staged again: re-keying takes each chunk once
        }
        file.covered = (file.next_chunk > 0 && file.covered) || (whole && chunk.chunk == 0);
        found.that(Check::ReconTheirs, chunk.chunk == file.next_chunk || !whole, || {
            (place, format!("file {} chunk {} where {} is due", bill.id, chunk.chunk, file.next_chunk))
        });
        file.next_chunk = chunk.chunk.saturating_add(1);
        for line in &chunk.line {
            file.staged.add(&line.encode_to_vec());
        }
        if let Some(end) = &chunk.end {
            // A file that is set aside states what it had; its lines lie in `bills.raw` alone.
            let whole = end.lines == file.staged.count || !end.accepted;
            found.that(Check::ReconTheirs, whole || !file.covered, || {
                (
                    place,
                    format!("file {} states {} lines, {} are staged", bill.id, end.lines, file.staged.count),
                )
            });
            file.end = Some(end.clone());
        }
    }

    /// One of their sides read on a partition of `recon.sides`.
    pub fn their_side(&mut self, place: Place, side: &TheirSide, found: &mut Findings) {
        let Some(line) = &side.line else {
            found.wrong(Check::ReconTheirs, place, "side without a line");
            return;
        };
        self.order(false, side.day, (&line.order, &line.refund));
        self.cases.their_side(place, side);
        let file = self.files.entry(side.file.clone()).or_default();
        if file.judged {
            let what = format!("file {} line {} after the file was released", side.file, line.line);
            found.wrong(Check::ReconTheirs, place, what);
            return;
        }
        file.theirs.add(&line.encode_to_vec());
        *file.theirs_by_partition.entry(place.at.partition).or_default() += 1;
    }

    /// A file's gate read on a partition of `recon.sides`.
    pub fn released(&mut self, place: Place, released: &FileReleased, partitions: u32, found: &mut Findings) {
        self.cases.released(place, released);
        let id = released.file.as_ref().map(|f| f.id.clone()).unwrap_or_default();
        let file = self.files.entry(id.clone()).or_default();
        let partition = place.at.partition;
        let lines = file.theirs_by_partition.get(&partition).copied().unwrap_or(0);
        let first = file.released.insert(partition, released.staged).is_none();
        found.that(Check::ReconReleased, first && lines == released.staged, || {
            let again = if first { "" } else { "again, " };
            (place, format!("file {id} released {again}with {} lines, {lines} are here", released.staged))
        });
        let lines = released.end.as_ref().map_or(0, |end| end.lines);
        if file.released.len() as u64 == u64::from(partitions) && !file.judged {
            file.judged = true;
            let total = file.released.values().fold(0_u64, |sum, n| sum.wrapping_add(*n));
            let accepted = released.end.as_ref().is_some_and(|end| end.accepted);
            found.that(Check::ReconReleased, total == lines || !accepted, || {
                (place, format!("file {id} has {lines} lines, {total} are released"))
            });
        }
    }

    /// A match or a break names a side by order and refund number; `day` = the earliest day that it states.
    pub fn names(&mut self, place: Place, (order, refund): (&str, &str), day: Option<i32>) {
        if self.order_days > 0 {
            self.named.push_back(Named { mark: order_mark(order, refund), day, place });
        }
    }

    /// Holds named sides against those read so far; called when both topics were read as far as they go.
    pub fn judge_named(&mut self, found: &mut Findings) {
        let (orders, gone) = (&self.orders, self.orders_gone);
        let (mut hold, mut old) = (0, 0);
        self.named.retain(|named| {
            let known = orders.values().rev().any(|day| day.contains(&named.mark));
            let too_old = !known && gone.is_some_and(|gone| named.day.is_none_or(|day| day <= gone));
            (hold, old) = (hold + u64::from(known), old + u64::from(too_old));
            !known && !too_old
        });
        found.holds(Check::ReconNamed, hold);
        found.uncovered(Check::ReconNamed, old);
    }

    /// What is unfinished. `journal_read(p)` = last journal batch read.
    pub fn report(&self, ended: bool, journal_read: impl Fn(u32) -> u64, found: &mut Findings) {
        for (partition, waiting) in &self.ours {
            for ((batch, account, seq, _), one) in waiting {
                match one {
                    Waiting::Journal(place, ours) => {
                        let name = format!("{place} {} {account} seq {seq}", event_name(ours.event.as_ref()));
                        found.overdue(ended, Check::ReconOurs, name, "is not on recon.sides");
                    }
                    Waiting::Sides(place, _) => {
                        let what = format!(
                            "{account} seq {seq}: journal/{partition} batch {batch} has no such entry"
                        );
                        found.overdue(
                            ended || journal_read(*partition) >= *batch,
                            Check::ReconOurs,
                            place,
                            what,
                        );
                    }
                }
            }
        }
        for (id, file) in &self.files {
            file.report(id, ended, found);
        }
        self.cases.report(ended, found);
        for Named { place, .. } in &self.named {
            found.overdue(ended, Check::ReconNamed, place, "names a side that is not on recon.sides");
        }
    }
}

impl File {
    fn report(&self, id: &str, ended: bool, found: &mut Findings) {
        if !self.covered {
            found.uncovered(Check::ReconTheirs, 1);
            return;
        }
        let dropped = self.end.as_ref().is_some_and(|end| !end.accepted) && self.theirs.count == 0;
        if (self.theirs == self.staged || dropped) && (self.judged || self.end.is_none()) {
            found.holds(Check::ReconTheirs, self.staged.count);
            return;
        }
        if self.theirs != self.staged {
            let (staged, theirs) = (self.staged.count, self.theirs.count);
            let which = if staged == theirs { ", not the same ones" } else { "" };
            let what = format!("{staged} lines staged, {theirs} on recon.sides{which}");
            found.overdue(
                ended || (self.judged && self.end.is_some()),
                Check::ReconTheirs,
                format_args!("file {id}"),
                what,
            );
        } else {
            let what = format!("is released on {} partitions only", self.released.len());
            found.overdue(ended, Check::ReconReleased, format_args!("file {id}"), what);
        }
    }
}

/// Earliest day that a match or break states: its own, or its entry's.
#[must_use]
pub fn named_day(value: &serde_json::Value) -> Option<i32> {
    let ours = value.get("ours").and_then(|ours| ours.get("accounting_date"));
    let days = [value.get("day"), ours].into_iter().flatten();
    days.filter_map(|day| date_days(day.as_str()?)).min()
}

/// Order and refund number that a match or break names, wherever its JSON has them.
#[must_use]
pub fn named_order(value: &serde_json::Value) -> Option<(&str, &str)> {
    let places = [Some(value), value.get("key"), value.get("ours"), value.get("theirs"), value.get("line")];
    places.into_iter().flatten().find_map(|object| {
        let order = object.get("order")?.as_str()?;
        Some((order, object.get("refund").and_then(serde_json::Value::as_str).unwrap_or("")))
    })
}
