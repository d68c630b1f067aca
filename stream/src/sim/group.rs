//! One consumer group: who its members are, which slots they share, which positions it has committed.
//!
//! Order relied on: slots are shared by range over the members in the order of their names, as Kafka's range
//! assignor does with static members. The generation grows at every coming and going.

use crate::log::{Assignment, Position, TopicPartition};
use std::collections::BTreeMap;

/// Number of a session, over all groups.
pub(super) type Ticket = u64;

#[derive(Debug)]
struct Seat {
    ticket: Ticket,
    seen_us: i64,
}

/// How a session stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the member.
    Seated,
    /// It has lost its seat, and nobody else has taken it.
    Gone,
    /// Another session has taken the member's name.
    Replaced,
}

/// A consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) generation: u64,
    slots: u32,
    seats: BTreeMap<String, Seat>,
    pub(super) positions: BTreeMap<TopicPartition, Position>,
    /// Those that have expired.
    pub(super) expired: BTreeMap<TopicPartition, Position>,
}

impl Group {
    /// Seats `ticket` as `name`, over whoever sat there. Where members are static, whoever comes back to its own seat
    /// begins no new generation (KIP-345). True if one began.
    pub(super) fn sit(&mut self, name: &str, ticket: Ticket, slots: u32, now_us: i64, fixed: bool) -> bool {
        let before = self.seats.insert(name.to_owned(), Seat { ticket, seen_us: now_us });
        let begins = before.is_none() || !fixed || self.slots != slots;
        self.slots = slots;
        self.generation += u64::from(begins);
        begins
    }

    /// Empties the seat if it is still that session's. True if it was.
    pub(super) fn leave(&mut self, name: &str, ticket: Ticket) -> bool {
        if self.standing(name, ticket) != Standing::Seated {
            return false;
        }
        self.seats.remove(name);
        self.generation += 1;
        true
    }

    pub(super) fn standing(&self, name: &str, ticket: Ticket) -> Standing {
        match self.seats.get(name) {
            Some(seat) if seat.ticket == ticket => Standing::Seated,
            Some(_) => Standing::Replaced,
            None => Standing::Gone,
        }
    }

    /// The session that sits there.
    pub(super) fn ticket(&self, name: &str) -> Option<Ticket> {
        self.seats.get(name).map(|seat| seat.ticket)
    }

    /// Notes a sign of life.
    pub(super) fn see(&mut self, name: &str, ticket: Ticket, now_us: i64) {
        if let Some(seat) = self.seats.get_mut(name).filter(|seat| seat.ticket == ticket) {
            seat.seen_us = now_us;
        }
    }

    /// When the session was last heard of, while it sits.
    pub(super) fn seen_us(&self, name: &str, ticket: Ticket) -> Option<i64> {
        self.seats.get(name).filter(|seat| seat.ticket == ticket).map(|seat| seat.seen_us)
    }

    /// Names of those who sit, sorted.
    pub(super) fn members(&self) -> Vec<String> {
        self.seats.keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The range of slots of `name`: every member gets `slots / members`, the first ones one more.
    pub(super) fn assignment(&self, name: &str) -> Assignment {
        let members = u32::try_from(self.seats.len()).unwrap_or(u32::MAX).max(1);
        let mine = self.seats.keys().position(|seated| seated == name);
        let slots = mine.and_then(|place| u32::try_from(place).ok()).map_or_else(Vec::new, |place| {
            let (each, more) = (self.slots / members, self.slots % members);
            let first = place * each + place.min(more);
            let count = each + u32::from(place < more);
            (first..first + count).collect()
        });
        Assignment { generation: self.generation, slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_shared_by_range() {
        let rows = [
            (4, vec!["a"], "a:[0, 1, 2, 3]"),
            (4, vec!["a", "b"], "a:[0, 1] b:[2, 3]"),
            (5, vec!["b", "a", "c"], "a:[0, 1] b:[2, 3] c:[4]"),
            (2, vec!["a", "b", "c"], "a:[0] b:[1] c:[]"),
            (0, vec!["a"], "a:[]"),
        ];
        for (slots, names, shares) in rows {
            let mut group = Group::default();
            for (ticket, name) in (1..).zip(&names) {
                group.sit(name, ticket, slots, 0, false);
            }
            let mut sorted = names.clone();
            sorted.sort_unstable();
            let shared: Vec<String> =
                sorted.iter().map(|name| format!("{name}:{:?}", group.assignment(name).slots)).collect();
            assert_eq!(shared.join(" "), shares, "{slots} slots among {names:?}");
            assert_eq!(group.generation, u64::try_from(names.len()).unwrap());
        }
    }

    #[test]
    fn a_seat_taken_over_is_not_the_first_sessions_to_leave() {
        let mut group = Group::default();
        group.sit("a", 1, 2, 0, false);
        assert!(group.sit("a", 2, 2, 0, false));
        assert_eq!(group.standing("a", 1), Standing::Replaced);
        assert!(!group.leave("a", 1));
        assert!(group.leave("a", 2));
        assert_eq!(group.standing("a", 2), Standing::Gone);
    }

    #[test]
    fn a_static_member_that_comes_back_begins_no_generation() {
        let mut group = Group::default();
        assert!(group.sit("a", 1, 2, 0, true));
        assert!(group.sit("b", 2, 2, 0, true));
        assert!(!group.sit("a", 3, 2, 0, true));
        assert_eq!((group.generation, group.standing("a", 1)), (2, Standing::Replaced));
        assert!(group.sit("a", 4, 3, 0, true), "another number of slots");
    }
}
