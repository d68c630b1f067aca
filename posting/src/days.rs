//! Counting towards the close of a day (ARCHITECTURE rule 7): tallies per peer and day, markers seen and sent.

use schemas::wire::{self, AssetSum, DayMarker, DayTally, MarkerSeen, day_tally};
use std::collections::{BTreeMap, BTreeSet};

pub use schemas::wire::day_tally::Kind;

/// What a tally counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    /// Commands read, credits sent, credits read.
    pub kind: Kind,
    /// Ingest slot or partition.
    pub peer: u32,
    /// Accounting date, days since 1970-01-01.
    pub date: i32,
    /// Book.
    pub book: String,
}

/// Number and sums so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Items.
    pub count: u64,
    /// Sum per asset, minor units, modulo 2^128: a control total, so that no amount which a source sends can
    /// keep a day from being counted. Both ends count alike.
    pub sum: BTreeMap<String, i128>,
}

impl Tally {
    /// Counts one item.
    pub fn add<'a>(&mut self, amounts: impl IntoIterator<Item = (&'a str, i128)>) {
        self.count += 1;
        for (asset, amount) in amounts {
            match self.sum.get_mut(asset) {
                Some(sum) => *sum = sum.wrapping_add(amount),
                None => {
                    self.sum.insert(asset.to_owned(), amount);
                }
            }
        }
    }

    /// Sums as on the wire, sorted by asset, zeros left out.
    #[must_use]
    pub fn wire_sums(&self) -> Vec<AssetSum> {
        let not_zero = self.sum.iter().filter(|(_, sum)| **sum != 0);
        not_zero.map(|(asset, sum)| AssetSum { asset: asset.clone(), sum: Some((*sum).into()) }).collect()
    }

    /// Whether a marker states exactly these figures.
    #[must_use]
    pub fn agrees(&self, marker: &DayMarker) -> bool {
        let mut stated = marker.sum.clone();
        stated.retain(|s| schemas::amount_wire::value(s.sum) != 0);
        stated.sort_by(|a, b| a.asset.cmp(&b.asset));
        self.count == marker.count && self.wire_sums() == stated
    }
}

impl TallyKey {
    /// Journal item of this tally.
    #[must_use]
    pub fn to_wire(&self, tally: &Tally) -> DayTally {
        DayTally {
            kind: self.kind as i32,
            peer: self.peer,
            book: self.book.clone(),
            date: self.date,
            count: tally.count,
            sum: tally.wire_sums(),
        }
    }

    /// Key and figures of a journal item.
    #[must_use]
    pub fn from_wire(wire: DayTally) -> (Self, Tally) {
        let kind = day_tally::Kind::try_from(wire.kind).unwrap_or(Kind::Unspecified);
        let sum = wire.sum.into_iter().map(|s| (s.asset, schemas::amount_wire::value(s.sum))).collect();
        (Self { kind, peer: wire.peer, date: wire.date, book: wire.book }, Tally { count: wire.count, sum })
    }
}

/// Markers of the days that are not yet aligned, per book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookDays {
    /// (date, ingest slot) whose marker was read.
    pub ingest_seen: BTreeSet<(i32, u32)>,
    /// (date, partition) whose marker was read.
    pub partitions_seen: BTreeSet<(i32, u32)>,
    /// Last date whose own marker went out.
    pub sent: Option<i32>,
    /// Last date aligned.
    pub aligned: Option<i32>,
}

impl BookDays {
    /// Whether the marker of `date`, or of a later day, of ingest slot or partition `from` was read.
    #[must_use]
    pub fn marked(&self, credits: bool, date: i32, from: u32) -> bool {
        let seen = if credits { &self.partitions_seen } else { &self.ingest_seen };
        self.aligned.is_some_and(|aligned| date <= aligned)
            || seen.range((date, 0)..).any(|(_, peer)| *peer == from)
    }

    /// Whether every ingest slot's marker of `date` is in.
    #[must_use]
    pub fn all_ingest_in(&self, date: i32, ingest_slots: u32) -> bool {
        self.ingest_seen.range((date, 0)..=(date, u32::MAX)).count() >= ingest_slots as usize
    }

    /// Whether every other partition's marker of `date` is in.
    #[must_use]
    pub fn all_partitions_in(&self, date: i32, partitions: u32) -> bool {
        self.partitions_seen.range((date, 0)..=(date, u32::MAX)).count() + 1 >= partitions as usize
    }

    /// As in a checkpoint.
    #[must_use]
    pub fn to_wire(&self, book: &str) -> wire::BookDays {
        let seen = |markers: &BTreeSet<(i32, u32)>| {
            markers.iter().map(|(date, peer)| MarkerSeen { date: *date, peer: *peer }).collect()
        };
        wire::BookDays {
            book: book.to_owned(),
            ingest_seen: seen(&self.ingest_seen),
            partitions_seen: seen(&self.partitions_seen),
            sent: self.sent,
            aligned: self.aligned,
        }
    }

    /// The book and its markers of a checkpoint.
    #[must_use]
    pub fn from_wire(wire: wire::BookDays) -> (String, Self) {
        let pairs = |seen: &[MarkerSeen]| seen.iter().map(|s| (s.date, s.peer)).collect();
        let (ingest_seen, partitions_seen) = (pairs(&wire.ingest_seen), pairs(&wire.partitions_seen));
        (wire.book, Self { ingest_seen, partitions_seen, sent: wire.sent, aligned: wire.aligned })
    }

    /// Makes `date` the last one aligned and forgets its markers.
    pub fn align(&mut self, date: i32) {
        self.aligned = Some(date);
        self.ingest_seen.retain(|(d, _)| *d > date);
        self.partitions_seen.retain(|(d, _)| *d > date);
    }

    /// The date an item is booked on: its own, or the day after the last own marker when that has gone out.
    /// Returns (accounting date, carried from or 0).
    #[must_use]
    pub fn date_of(&self, date: i32, back_dated: bool) -> (i32, i32) {
        match self.sent {
            Some(sent) if date <= sent && !back_dated => (sent.saturating_add(1), date),
            _ => (date, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_own_marker_an_item_is_carried_to_the_next_day() {
        let days = BookDays { sent: Some(100), ..BookDays::default() };
        assert_eq!(days.date_of(100, false), (101, 100));
        assert_eq!(days.date_of(99, false), (101, 99));
        assert_eq!(days.date_of(101, false), (101, 0));
        assert_eq!(days.date_of(100, true), (100, 0));
        assert_eq!(BookDays::default().date_of(100, false), (100, 0));
    }

    #[test]
    fn a_marker_must_state_count_and_sums() {
        let mut tally = Tally::default();
        tally.add([("CNY", 5), ("USD", 7)]);
        tally.add([("CNY", -5)]);
        let marker = |count, sums: &[(&str, i128)]| DayMarker {
            count,
            sum: sums.iter().map(|(a, s)| AssetSum { asset: (*a).into(), sum: Some((*s).into()) }).collect(),
            ..DayMarker::default()
        };
        assert!(tally.agrees(&marker(2, &[("USD", 7)])));
        assert!(tally.agrees(&marker(2, &[("USD", 7), ("CNY", 0)])));
        assert!(!tally.agrees(&marker(1, &[("USD", 7)])));
        assert!(!tally.agrees(&marker(2, &[("USD", 8)])));
        assert!(!tally.agrees(&marker(2, &[])));
        tally.add([("USD", i128::MAX)]);
        assert!(tally.agrees(&marker(3, &[("USD", i128::MIN + 6)])), "modulo 2^128");
    }
}
