//! One ingest slot: its windows against the events they read, the commands and the dead letters they wrote.
//!
//! A window is judged when its changelog batch, every command batch that it names and its dead letters were read.
//! Sets are compared by count and by an order-free sum over (lane, offset), so that one event lost and another sent
//! twice is found without keeping either. Bounded by windows not yet judged.

use crate::chain::Chains;
use crate::finding::{Check, Findings, Place};
use schemas::topics::Topic;
use schemas::wire::{BatchHeader, Command, IngestCounts};
use std::collections::{BTreeMap, BTreeSet};

/// A set of events: how many, and the sum of their marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSet {
    /// How many.
    pub count: u64,
    sum: u128,
}

impl EventSet {
    /// Adds the event at an offset of a lane.
    pub fn add(&mut self, lane: u32, offset: i64) {
        let seed = u64::from(lane).wrapping_shl(60) ^ offset.cast_unsigned();
        let mark = u128::from(mix(seed)) << 64 | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d));
        self.count += 1;
        self.sum = self.sum.wrapping_add(mark);
    }
}

/// Finaliser of splitmix64.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug, Default)]
struct Window {
    place: Option<Place>,
    ranges: Vec<(u32, i64, i64)>,
    /// Events found in the ranges; `None` when retention has taken some.
    events: Option<EventSet>,
    /// Increase of the stated counters: received, forwarded, dead-lettered.
    stated: [u64; 3],
    accounted: EventSet,
    commands: u64,
    dead: u64,
    heads: Vec<(u32, u64)>,
}

/// What was read of one ingest slot.
#[derive(Debug, Default)]
pub struct IngestSlot {
    slot: u32,
    /// Last changelog batch read.
    pub batch: u64,
    windows: BTreeMap<u64, Window>,
    dead_early: BTreeSet<(u32, i64)>,
    lane_ends: BTreeMap<u32, i64>,
    last_offsets: BTreeMap<(u32, u32), i64>,
    counts: [u64; 3],
    /// Newest command head named per partition.
    pub heads: BTreeMap<u32, u64>,
    /// Events found, by reading them.
    pub events: u64,
    /// Commands found.
    pub commands: u64,
    /// Dead letters found.
    pub dead: u64,
    uncovered: u64,
    judged: u64,
}

/// A changelog window as read.
#[derive(Debug)]
pub struct WindowRead<'w> {
    /// Place of the changelog batch.
    pub place: Place,
    /// Its header.
    pub header: &'w BatchHeader,
    /// Counters, where the window journals them.
    pub counts: Option<&'w IngestCounts>,
    /// Heads of the command chains it wrote.
    pub heads: Vec<(u32, u64)>,
    /// Events of its ranges; `None` when retention has taken some.
    pub events: Option<EventSet>,
}

impl IngestSlot {
    /// Nothing read yet of this slot.
    #[must_use]
    pub fn new(slot: u32) -> Self {
        Self { slot, ..Self::default() }
    }

    /// Stated counters so far: received, forwarded, dead-lettered.
    #[must_use]
    pub const fn stated(&self) -> [u64; 3] {
        self.counts
    }

    /// Windows and dead letters that wait for something.
    #[must_use]
    pub fn open(&self) -> u64 {
        (self.windows.len() + self.dead_early.len()) as u64
    }

    /// Windows that could not be judged.
    #[must_use]
    pub const fn uncovered(&self) -> u64 {
        self.uncovered
    }

    /// Takes a window of the changelog.
    pub fn window(
        &mut self,
        read: WindowRead<'_>,
        chains: &Chains,
        rejected_whole: bool,
        found: &mut Findings,
    ) {
        let number = read.header.batch;
        self.batch = self.batch.max(number);
        let stated = self.count(&read, found);
        let ranges: Vec<_> = lane_ranges(read.header).collect();
        for (lane, _, to) in &ranges {
            self.lane_ends.insert(*lane, *to);
        }
        self.heads.extend(read.heads.iter().copied());
        if let Some(events) = read.events {
            self.events += events.count;
            found.that(Check::IngestCounts, events.count == stated[0], || {
                (
                    read.place,
                    format!("counts {} received in this window, its ranges hold {}", stated[0], events.count),
                )
            });
        } else {
            self.events = self.events.wrapping_add(stated[0]);
            found.uncovered(Check::IngestCounts, 1);
        }
        let window = self.windows.entry(number).or_default();
        window.place = Some(read.place);
        window.events = read.events;
        window.stated = stated;
        window.heads = read.heads;
        for (lane, from, to) in ranges.iter().filter(|(_, from, to)| from < to) {
            let early: Vec<_> = self.dead_early.range((*lane, *from)..(*lane, *to)).copied().collect();
            for (lane, offset) in early {
                self.dead_early.remove(&(lane, offset));
                window.accounted.add(lane, offset);
                window.dead += 1;
            }
        }
        window.ranges = ranges;
        self.judge(number, chains, rejected_whole, found);
    }

    fn count(&mut self, read: &WindowRead<'_>, found: &mut Findings) -> [u64; 3] {
        let Some(counts) = read.counts else { return [0; 3] };
        let now = [counts.received, counts.forwarded, counts.dead_lettered];
        let by_lane: u64 = counts.received_by_lane.iter().fold(0, |sum, n| sum.wrapping_add(*n));
        let adds_up = now[0] == now[1].wrapping_add(now[2]) && by_lane == now[0];
        found.that(Check::IngestCounts, adds_up, || {
            let [received, forwarded, dead] = now;
            (
                read.place,
                format!(
                    "received {received} (by lane {by_lane}), forwarded {forwarded}, dead-lettered {dead}"
                ),
            )
        });
        let [a, b, c] = self.counts;
        let delta = [now[0].wrapping_sub(a), now[1].wrapping_sub(b), now[2].wrapping_sub(c)];
        self.counts = now;
        delta
    }

    /// Takes a command of this slot's chain to `partition`.
    pub fn command(
        &mut self,
        place: Place,
        partition: u32,
        batch: u64,
        command: &Command,
        found: &mut Findings,
    ) {
        let lane = command.lane;
        let last = self.last_offsets.insert((partition, lane), command.event_offset).unwrap_or(-1);
        let ordered = command.event_partition == self.slot && command.event_offset > last;
        found.that(Check::IngestOrder, ordered, || {
            let (from, offset) = (command.event_partition, command.event_offset);
            (
                place,
                format!(
                    "slot {}: event lane {lane} partition {from} offset {offset} after {last}",
                    self.slot
                ),
            )
        });
        self.commands += 1;
        let window = self.windows.entry(batch).or_default();
        window.accounted.add(lane, command.event_offset);
        window.commands += 1;
    }

    /// Takes a dead letter of this slot.
    pub fn dead_letter(
        &mut self,
        place: Place,
        (lane, offset): (u32, i64),
        chains: &Chains,
        whole: bool,
        found: &mut Findings,
    ) {
        self.dead += 1;
        let covers =
            |w: &Window| w.ranges.iter().any(|(l, from, to)| *l == lane && (*from..*to).contains(&offset));
        let number = self.windows.iter().find(|(_, w)| covers(w)).map(|(number, _)| *number);
        if let Some(number) = number {
            if let Some(window) = self.windows.get_mut(&number) {
                window.accounted.add(lane, offset);
                window.dead += 1;
            }
            self.judge(number, chains, whole, found);
        } else if self.lane_ends.get(&lane).is_none_or(|end| offset >= *end) {
            let first = self.dead_early.insert((lane, offset));
            found.that(Check::IngestWindow, first, || (place, "a second dead letter of one event"));
        } else if self.uncovered > 0 {
            found.uncovered(Check::IngestWindow, 1);
        } else {
            let what =
                format!("dead letter of lane {lane} offset {offset}, an event accounted for without it");
            found.wrong(Check::IngestWindow, place, what);
        }
    }

    /// A command batch of window `batch` was read: judges the windows it may have completed.
    pub fn judge_upto(&mut self, batch: u64, chains: &Chains, rejected_whole: bool, found: &mut Findings) {
        let numbers: Vec<u64> = self.windows.range(..=batch).map(|(number, _)| *number).collect();
        for number in numbers {
            self.judge(number, chains, rejected_whole, found);
        }
    }

    fn judge(&mut self, number: u64, chains: &Chains, rejected_whole: bool, found: &mut Findings) {
        let Some(window) = self.windows.get(&number) else { return };
        let Some(place) = window.place else { return };
        let (mut reached, mut covered) = (true, true);
        for (partition, sequence) in &window.heads {
            let chain = chains.get(Topic::Commands, *partition, self.slot).filter(|c| c.first > 0);
            reached &= chain.is_some_and(|c| c.sequence >= *sequence);
            covered &= chain.is_none_or(|c| c.first <= *sequence);
        }
        let dead_missing = window.dead < window.stated[2];
        if !reached || (dead_missing && rejected_whole && covered) {
            return;
        }
        self.judged += 1;
        if !covered || dead_missing {
            self.uncovered += 1;
            found.uncovered(Check::IngestWindow, 1);
        } else {
            window.compare(self.slot, place, found);
        }
        self.windows.remove(&number);
    }

    /// Windows that could not be judged yet. `gone(p)` = retention has taken all of this slot's chain to partition p.
    pub fn report(&self, ended: bool, gone: impl Fn(u32) -> bool, found: &mut Findings) {
        for (number, window) in &self.windows {
            let (commands, dead) = (window.commands, window.dead);
            match window.place {
                Some(_) if window.heads.iter().any(|(partition, _)| gone(*partition)) => {
                    found.uncovered(Check::IngestWindow, 1);
                }
                Some(place) => {
                    let [received, forwarded, letters] = window.stated;
                    let what = format!(
                        "{received} events, {forwarded} commands and {letters} dead letters stated, found {commands} and {dead}"
                    );
                    found.overdue(ended, Check::IngestWindow, place, what);
                }
                None => {
                    let name = format!("ingest.state/{} batch {number}", self.slot);
                    let what = format!("{commands} commands of a window that the changelog does not hold");
                    found.overdue(ended, Check::IngestWindow, name, what);
                }
            }
        }
        for (lane, offset) in &self.dead_early {
            let name = format!("events.p{lane}/{}@{offset}", self.slot);
            found.overdue(ended, Check::IngestWindow, name, "dead letter of an event that no window read");
        }
    }
}

impl Window {
    fn compare(&self, slot: u32, place: Place, found: &mut Findings) {
        let (events, is) = (self.events, self.accounted);
        let same = events.map_or(is.count == self.stated[0], |events| events == is);
        found.that(Check::IngestWindow, same, || {
            let read = events.map_or(self.stated[0], |e| e.count);
            let what = format!("slot {slot} read {read} events and accounts for {}", is.count);
            let which = if read == is.count { ", not the same ones" } else { "" };
            (place, format!("{what}{which} ({} commands, {} dead letters)", self.commands, self.dead))
        });
        let [_, forwarded, dead] = self.stated;
        found.that(Check::IngestCounts, (self.commands, self.dead) == (forwarded, dead), || {
            let (commands, letters) = (self.commands, self.dead);
            (
                place,
                format!(
                    "counts {forwarded} commands and {dead} dead letters, found {commands} and {letters}"
                ),
            )
        });
    }
}

/// Lane, from and to of the event ranges that a window read.
pub fn lane_ranges(header: &BatchHeader) -> impl Iterator<Item = (u32, i64, i64)> {
    header.input.iter().filter_map(|range| {
        let lane = Topic::LANES.iter().position(|lane| lane.name() == range.topic)?;
        Some((u32::try_from(lane).ok()?, range.from, range.to))
    })
}
