//! When the last balance that an event has changed can be read.
//!
//! A decision names the legs that live in other partitions; each is booked there later, as `Received` under the same
//! channel and sequence. Settlement says of each partition up to which journal batch its balances are out. An event is
//! readable when that holds for the batch of its decision and for the batches of all its legs.
//!
//! Order relied on: within a partition of `journal` and within one of `balances`, none between them. Bound: the events
//! under way, and the legs received whose decision has not been read.

use schemas::wire::{Decision, JournalBody, Outcome, Received, journal_item::Item};
use std::collections::BTreeMap;

/// Number of an event under way.
type Number = u64;

/// A leg on its way: sender, receiver, sequence on that channel.
type Leg = (u32, u32, u64);

/// An event of which not every balance is out.
#[derive(Debug)]
struct UnderWay<T> {
    /// What is told of it once they are.
    due: T,
    /// Its decision and its legs elsewhere whose balances are not out.
    open: usize,
}

/// What was read of `journal` and `balances`. `T` is what the caller knows of an event, such as when it was due.
#[derive(Debug)]
pub struct Readable<T> {
    events: BTreeMap<Number, UnderWay<T>>,
    last: Number,
    /// Legs decided and not received; `None` = nobody waits for the event.
    sent: BTreeMap<Leg, Option<Number>>,
    /// Legs received whose decision was not read, and the batch that holds them.
    received: BTreeMap<Leg, u64>,
    /// Events that wait for the balances of a slot's batch.
    waiting: BTreeMap<(u32, u64), Vec<Number>>,
    /// Batch up to which a slot's balances are out.
    published: BTreeMap<u32, u64>,
}

impl<T> Default for Readable<T> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            last: 0,
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            waiting: BTreeMap::new(),
            published: BTreeMap::new(),
        }
    }
}

impl<T> Readable<T> {
    /// Events of which some balance is not out.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.events.len()
    }

    /// Takes a journal batch of a slot. `due` tells of a booked event; one without is not waited for. Returns what was told of
    /// events that are readable by now.
    pub fn journal(
        &mut self,
        slot: u32,
        batch: u64,
        body: &JournalBody,
        due: impl Fn(&Decision) -> Option<T>,
    ) -> Vec<T> {
        let mut done = Vec::new();
        for item in body.item.iter().filter_map(|item| item.item.as_ref()) {
            match item {
                Item::Decision(decision) if decision.outcome() == Outcome::Booked => {
                    self.decision(slot, batch, decision, due(decision), &mut done);
                }
                Item::Received(received) => self.received(slot, batch, received, &mut done),
                _ => {}
            }
        }
        done
    }

    /// The balances of a slot are out up to a journal batch. Returns what was told of events that are readable by now.
    pub fn balances(&mut self, slot: u32, batch: u64) -> Vec<T> {
        let published = self.published.entry(slot).or_default();
        *published = batch.max(*published);
        let mut done = Vec::new();
        while let Some((place, _)) = self.waiting.range((slot, 0)..=(slot, batch)).next() {
            let place = *place;
            for event in self.waiting.remove(&place).unwrap_or_default() {
                self.out(event, &mut done);
            }
        }
        done
    }

    fn decision(&mut self, slot: u32, batch: u64, decision: &Decision, due: Option<T>, done: &mut Vec<T>) {
        let event = due.map(|due| {
            self.last += 1;
            self.events.insert(self.last, UnderWay { due, open: 1 + decision.remote.len() });
            self.last
        });
        for remote in &decision.remote {
            let leg = (slot, remote.partition, remote.sequence);
            match (self.received.remove(&leg), event) {
                (Some(batch), Some(event)) => self.wait(remote.partition, batch, event, done),
                (Some(_), None) => {}
                (None, event) => drop(self.sent.insert(leg, event)),
            }
        }
        if let Some(event) = event {
            self.wait(slot, batch, event, done);
        }
    }

    fn received(&mut self, slot: u32, batch: u64, received: &Received, done: &mut Vec<T>) {
        let leg = (received.from, slot, received.sequence);
        match self.sent.remove(&leg) {
            Some(Some(event)) => self.wait(slot, batch, event, done),
            Some(None) => {}
            None => drop(self.received.insert(leg, batch)),
        }
    }

    /// An event waits for the balances of a batch, unless they are out.
    fn wait(&mut self, slot: u32, batch: u64, event: Number, done: &mut Vec<T>) {
        if self.published.get(&slot).is_some_and(|published| *published >= batch) {
            self.out(event, done);
        } else {
            self.waiting.entry((slot, batch)).or_default().push(event);
        }
    }

    fn out(&mut self, event: Number, done: &mut Vec<T>) {
        let Some(under_way) = self.events.get_mut(&event) else { return };
        under_way.open -= 1;
        if under_way.open == 0 {
            done.extend(self.events.remove(&event).map(|event| event.due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::wire::{JournalItem, RemoteLeg};

    fn batch(items: Vec<Item>) -> JournalBody {
        JournalBody { item: items.into_iter().map(|item| JournalItem { item: Some(item) }).collect() }
    }

    /// Booked in its own partition, with legs sent to partitions under sequences.
    fn booked(offset: i64, remote: &[(u32, u64)]) -> Item {
        let remote = remote.iter().map(|(partition, sequence)| RemoteLeg {
            partition: *partition,
            sequence: *sequence,
            ..RemoteLeg::default()
        });
        let outcome = Outcome::Booked.into();
        Item::Decision(Decision {
            outcome,
            event_offset: offset,
            remote: remote.collect(),
            ..Decision::default()
        })
    }

    fn received(from: u32, sequence: u64) -> Item {
        Item::Received(Received { from, sequence, ..Received::default() })
    }

    /// An event is due at its offset; those below 0 are nobody's.
    fn due(decision: &Decision) -> Option<i64> {
        (decision.event_offset >= 0).then_some(decision.event_offset)
    }

    #[test]
    fn an_event_is_readable_with_its_last_leg() {
        let mut all = Readable::default();
        assert!(
            all.journal(0, 7, &batch(vec![booked(70, &[(1, 5), (2, 9)]), booked(71, &[])]), due).is_empty()
        );
        assert_eq!(all.balances(0, 7), [71], "it has no leg elsewhere");
        assert!(all.journal(1, 3, &batch(vec![received(0, 5)]), due).is_empty());
        assert!(all.balances(1, 3).is_empty(), "a leg is still on its way");
        // Other slots, channels and sequences are none of its.
        assert!(
            all.journal(2, 4, &batch(vec![received(0, 8), received(1, 9), booked(-1, &[(0, 1)])]), due)
                .is_empty()
        );
        assert!(all.balances(2, 4).is_empty());
        assert!(all.journal(2, 5, &batch(vec![received(0, 9)]), due).is_empty());
        assert!(all.balances(2, 4).is_empty(), "its batch is not out");
        assert_eq!(all.balances(2, 6), [70]);
        assert_eq!(all.under_way(), 0);
    }

    #[test]
    fn partitions_are_read_in_any_order() {
        // The two journal batches and the two balances of an event with one leg elsewhere, read in every order that
        // keeps each topic's own partition in order: only the last one makes it readable.
        let step = |all: &mut Readable<i64>, number: usize| match number {
            0 => all.journal(0, 1, &batch(vec![booked(42, &[(1, 1)])]), due),
            1 => all.journal(1, 1, &batch(vec![received(0, 1)]), due),
            2 => all.balances(0, 1),
            _ => all.balances(1, 1),
        };
        let mut orders = 0;
        for code in 0..256_usize {
            let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
            if (0..4).any(|number| !order.contains(&number)) {
                continue;
            }
            orders += 1;
            let mut all = Readable::default();
            let found: Vec<Vec<i64>> = order.iter().map(|number| step(&mut all, *number)).collect();
            assert_eq!(found, [vec![], vec![], vec![], vec![42]], "{order:?}");
            assert_eq!(all.under_way(), 0);
        }
        assert_eq!(orders, 24);
    }
}
