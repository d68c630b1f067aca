//! Event keys of all homes: what became of each, and which were decided at more than one home.
//!
//! Home is chosen by an event's routing key, and each home knows its own events alone. So an id that is sent again under
//! another key is decided once more. Each decision is right by itself; that there are two is noted
//! ([`Check::IdReused`](crate::Check::IdReused)).
//!
//! Bounded by event keys: 16 bytes of SHA-256 of the key and 24 of state, 47 to 94 bytes each with the table's slack,
//! whatever the number of homes; in parts, so that growing takes one of them twice for a moment (up to 115 of the process,
//! with the program's allocator). A key of another home costs an entry more, behind the first. An entry stays until what
//! every home has read lies beyond the time for which anything is known of it, so that homes need not be read at one
//! speed. A home's marks of business time are 40 bytes each, one an hour with the default of 7 days.
//!
//! Order relied on: none between homes. When something was decided is told by the marks of its home's journal, about 168 in
//! the time for which ids are recognised, so the same two decisions are noted or not, whichever was read first.

use crate::finding::{Check, Finding, Findings};
use crate::outcome::event_name;
use rustc_hash::FxHashMap;
use schemas::wire::{EventKey, IdHorizon, Outcome};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Parts of the table; the first byte of a key says which. More of them leave the allocator more that is too small.
const PARTS: usize = 16;

/// First 16 bytes of SHA-256 over source and id, each preceded by its length.
pub type KeyDigest = [u8; 16];

/// Digest of an event key.
#[must_use]
pub fn key_digest(event: Option<&EventKey>) -> KeyDigest {
    let mut hasher = Sha256::new();
    for text in event.iter().flat_map(|e| [&e.source, &e.id]) {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let hash: crate::merkle::Hash = hasher.finalize().into();
    hash.first_chunk::<16>().copied().unwrap_or_default()
}

/// First 8 bytes of a body hash.
#[must_use]
pub fn body_mark(body_hash: &[u8]) -> u64 {
    let mut mark = 0_u64;
    for byte in body_hash.iter().take(8) {
        mark = mark << 8 | u64::from(*byte);
    }
    mark
}

/// What is known of an event at one home.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// See [`body_mark`].
    pub body: u64,
    /// What became of it.
    pub decided: Decided,
    /// Where it came.
    pub came: Came,
}

/// Outcome of an original, and the partition and batch that hold its decision, in 64 bits: 53 of batch, 8 of partition
/// (there are at most 256), 3 of outcome.
#[derive(Debug, Clone, Copy)]
pub struct Decided(u64);

impl Decided {
    /// It is decided there.
    #[must_use]
    pub fn new(outcome: i32, partition: u32, batch: u64) -> Self {
        let outcome = u64::try_from(outcome).unwrap_or(0);
        Self(batch << 11 | (u64::from(partition) & 0xff) << 3 | outcome & 7)
    }

    /// While it is pending the decision lies nowhere.
    #[must_use]
    pub fn pending() -> Self {
        Self::new(Outcome::Pending as i32, 0, 0)
    }

    /// Outcome as on the wire.
    #[must_use]
    pub fn outcome(self) -> i32 {
        i32::try_from(self.0 & 7).unwrap_or(0)
    }

    /// Whether it is still to be decided.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self.outcome() == Outcome::Pending as i32
    }

    /// Partition and batch.
    #[must_use]
    pub fn lies(self) -> (u32, u64) {
        (u32::try_from(self.0 >> 3 & 0xff).unwrap_or(0), self.0 >> 11)
    }
}

/// Where an event came: 55 bits of the batch of home's journal, 8 of home, and whether it said that it is older than what
/// is recognised at sight, and was looked up among all that is kept.
#[derive(Debug, Clone, Copy)]
pub struct Came(u64);

impl Came {
    /// It came to that home with that batch.
    #[must_use]
    pub fn new(home: u32, batch: u64, old: bool) -> Self {
        Self(batch << 9 | (u64::from(home) & 0xff) << 1 | u64::from(old))
    }

    /// Partition of its home.
    #[must_use]
    pub fn home(self) -> u32 {
        u32::try_from(self.0 >> 1 & 0xff).unwrap_or(0)
    }

    /// Batch of home's journal.
    #[must_use]
    pub const fn batch(self) -> u64 {
        self.0 >> 9
    }

    const fn is_old(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A home's business time, and what is remembered there from then on.
#[derive(Debug, Clone, Copy)]
struct Mark {
    batch: u64,
    time_us: i64,
    recognised_after_us: i64,
    kept_after_us: i64,
    kept_from: u64,
}

/// Before the first tick nobody knows what time it is, and nothing is forgotten.
const BEGINNING: Mark =
    Mark { batch: 0, time_us: 0, recognised_after_us: i64::MIN, kept_after_us: i64::MIN, kept_from: 0 };

/// Marks of one home by batch, as far as an entry may ask for them.
#[derive(Debug, Clone, Default)]
struct Times(VecDeque<Mark>);

impl Times {
    /// What was in force when a batch was decided.
    fn before(&self, batch: u64) -> Mark {
        let after = self.0.partition_point(|mark| mark.batch < batch);
        after.checked_sub(1).and_then(|last| self.0.get(last)).copied().unwrap_or(BEGINNING)
    }

    fn last(&self) -> Mark {
        self.0.back().copied().unwrap_or(BEGINNING)
    }

    /// The first batch of which anything may be asked by a home that has come to `floor_us`.
    fn cut(&self, floor_us: i64) -> u64 {
        self.0.iter().rev().find(|mark| mark.kept_after_us <= floor_us).map_or(0, |mark| mark.kept_from)
    }

    fn drop_before(&mut self, cut: u64) {
        while self.0.get(1).is_some_and(|mark| mark.batch < cut) {
            self.0.pop_front();
        }
    }
}

fn part_of(key: &KeyDigest) -> usize {
    usize::from(key[0]) % PARTS
}

/// Event keys of all homes.
#[derive(Debug)]
pub struct Ids {
    kept: bool,
    parts: Vec<FxHashMap<KeyDigest, Known>>,
    /// Entries of keys of which another home has the first one.
    more: BTreeMap<(KeyDigest, u32), Known>,
    homes: Vec<Times>,
    floor_us: i64,
    reused: u64,
    /// The first of them by time: when the later one was decided, place, what.
    noted: BTreeSet<(i64, String, String)>,
    noted_max: usize,
}

impl Ids {
    /// Of so many partitions; not `kept`: nothing is, and nothing is found.
    #[must_use]
    pub fn new(partitions: u32, kept: bool, noted_max: usize) -> Self {
        Self {
            kept,
            parts: vec![FxHashMap::default(); PARTS],
            more: BTreeMap::new(),
            homes: vec![Times::default(); partitions as usize],
            floor_us: i64::MIN,
            reused: 0,
            noted: BTreeSet::new(),
            noted_max,
        }
    }

    /// Whether event keys are kept.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.kept
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(FxHashMap::len).sum::<usize>() + self.more.len()
    }

    /// What is known of an event at a home.
    #[must_use]
    pub fn get(&self, key: &KeyDigest, home: u32) -> Option<Known> {
        let first = self.part(key)?.get(key).filter(|known| known.came.home() == home);
        let known = first.or_else(|| self.more.get(&(*key, home))).copied()?;
        let kept_from = self.homes.get(home as usize).map_or(0, |times| times.last().kept_from);
        (known.came.batch() >= kept_from || known.decided.is_pending()).then_some(known)
    }

    /// An event is an original at its home.
    pub fn insert(&mut self, event: Option<&EventKey>, key: KeyDigest, known: Known, found: &mut Findings) {
        found.holds(Check::IdReused, 1);
        let home = known.came.home();
        let other = |other: &Known| other.came.home() != home;
        let first = self.part(&key).and_then(|part| part.get(&key)).copied().filter(other);
        let more: Vec<Known> = match self.more.is_empty() {
            true => Vec::new(),
            false => self.more.range((key, 0)..=(key, u32::MAX)).map(|(_, k)| *k).filter(other).collect(),
        };
        for before in first.into_iter().chain(more) {
            self.compare(event, before, known);
        }
        if first.is_some() || self.more.contains_key(&(key, home)) {
            self.more.insert((key, home), known);
        } else if let Some(part) = self.parts.get_mut(part_of(&key)) {
            part.insert(key, known);
        }
    }

    /// An event that was pending at its home is decided.
    pub fn decide(&mut self, key: &KeyDigest, home: u32, decided: Decided) {
        let first = self.parts.get_mut(part_of(key)).and_then(|part| part.get_mut(key));
        let known = match first {
            Some(known) if known.came.home() == home => Some(known),
            _ => self.more.get_mut(&(*key, home)),
        };
        if let Some(known) = known {
            known.decided = decided;
        }
    }

    /// A home's batch says what is remembered from now on.
    pub fn remembers(&mut self, home: u32, batch: u64, to: &IdHorizon) {
        let Some(times) = self.homes.get_mut(home as usize) else { return };
        let time_us = to.mark.last().map_or(times.last().time_us, |mark| mark.business_time_us);
        let (recognised_after_us, kept_after_us) = (to.recognised_after_us, to.kept_after_us);
        times.0.push_back(Mark {
            batch,
            time_us,
            recognised_after_us,
            kept_after_us,
            kept_from: to.kept_from,
        });
        let floor_us = self.homes.iter().map(|times| times.last().kept_after_us).min().unwrap_or(i64::MIN);
        if floor_us > self.floor_us {
            self.floor_us = floor_us;
            self.forget();
        }
    }

    /// Says which ids were decided at more than one home.
    pub fn report(&self, found: &mut Findings) {
        let finding =
            |(_, place, what): &(i64, String, String)| Finding { place: place.clone(), what: what.clone() };
        found.noted(Check::IdReused, self.reused, self.noted.iter().map(finding));
    }

    /// Bytes of the tables: an entry and a byte beside it for each place, of which seven eighths can be taken.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let each = size_of::<(KeyDigest, Known)>() + 1;
        self.parts.iter().map(|part| part.capacity() / 7 * 8 * each).sum()
    }

    fn part(&self, key: &KeyDigest) -> Option<&FxHashMap<KeyDigest, Known>> {
        self.parts.get(part_of(key))
    }

    /// Notes two decisions on one key where the later event would have been recognised at the home of the earlier one.
    fn compare(&mut self, event: Option<&EventKey>, one: Known, other: Known) {
        let at = |known: Known| {
            let times = self.homes.get(known.came.home() as usize);
            times.map_or(BEGINNING, |times| times.before(known.came.batch()))
        };
        let in_order = |known: Known| (at(known).time_us, known.came.home());
        let (earlier, later) = if in_order(one) <= in_order(other) { (one, other) } else { (other, one) };
        let then = at(later);
        let after_us = if later.came.is_old() { then.kept_after_us } else { then.recognised_after_us };
        if at(earlier).time_us <= after_us {
            return;
        }
        self.reused += 1;
        let (mut low, mut high) = (one.came, other.came);
        if low.home() > high.home() {
            (low, high) = (high, low);
        }
        let place = format!("journal/{} batch {} {}", low.home(), low.batch(), event_name(event));
        let body = if one.body == other.body { "the same body" } else { "another body" };
        let what = format!(
            "its home is {} by one key, and {} by another (journal/{} batch {}), with {body}",
            low.home(),
            high.home(),
            high.home(),
            high.batch()
        );
        self.noted.insert((then.time_us, place, what));
        if self.noted.len() > self.noted_max {
            self.noted.pop_last();
        }
    }

    /// Drops what no home can ask for any more.
    fn forget(&mut self) {
        let cuts: Vec<u64> = self.homes.iter().map(|times| times.cut(self.floor_us)).collect();
        let stays = |known: &Known| {
            let cut = cuts.get(known.came.home() as usize).copied().unwrap_or(0);
            known.came.batch() >= cut || known.decided.is_pending()
        };
        self.parts.iter_mut().for_each(|part| part.retain(|_, known| stays(known)));
        self.more.retain(|_, known| stays(known));
        self.homes.iter_mut().zip(&cuts).for_each(|(times, cut)| times.drop_before(*cut));
    }
}
