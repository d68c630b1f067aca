//! Overdrafts of single legs: how far below zero a leg may take its account, whatever the account's own limit says.
//!
//! A leg's overdraft never makes a limit stricter, and counts only where the leg takes from its account. Of several legs of an
//! event that take from one account the largest counts, as what is judged is where the account stands after all of them.
//! Bounded by the legs of an event. Order relied on: none.

use crate::accounts::{Range, Terms};
use schemas::amount_wire::value;
use schemas::wire::{Amount, LegOverdraft, Side};

/// How far below zero a leg may take its account, on the account's normal side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overdraft {
    /// Minor units.
    UpTo(i128),
    /// As far as it wants.
    Unlimited,
}

impl Overdraft {
    /// As a leg has it on the wire.
    #[must_use]
    pub fn of_wire(up_to: Option<Amount>, unlimited: bool) -> Option<Self> {
        if unlimited { Some(Self::Unlimited) } else { up_to.map(|up_to| Self::UpTo(value(Some(up_to)))) }
    }

    /// As a leg has it on the wire.
    #[must_use]
    pub fn to_wire(overdraft: Option<Self>) -> (Option<Amount>, bool) {
        match overdraft {
            None => (None, false),
            Some(Self::UpTo(minor)) => (Some(minor.into()), false),
            Some(Self::Unlimited) => (None, true),
        }
    }

    /// The one that a decision says of a leg, as the leg has it on the wire.
    #[must_use]
    pub fn in_decision(said: &[LegOverdraft], leg: u32) -> (Option<Amount>, bool) {
        said.iter()
            .find(|said| said.leg == leg)
            .map_or((None, false), |said| (said.overdraft, said.unlimited))
    }

    /// The largest of those of an account's legs.
    pub fn largest(of: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        of.flatten().max()
    }
}

impl Terms {
    /// The same where a leg that takes from the account brings an overdraft.
    #[must_use]
    pub fn with_overdraft(self, overdraft: Option<Overdraft>) -> Self {
        let least = match overdraft {
            None => return self,
            Some(Overdraft::UpTo(minor)) => minor.saturating_neg(),
            Some(Overdraft::Unlimited) => i128::MIN,
        };
        let (Range { lowest, highest }, least) = (self.range, self.signed(least));
        let range = match self.normal {
            Side::Credit => Range { lowest, highest: highest.max(least) },
            _ => Range { lowest: lowest.min(least), highest },
        };
        Self { range, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdraft_is_never_stricter_and_moves_one_limit_alone() {
        let (low, high) = (i128::MIN, i128::MAX);
        let up_to = |minor| Some(Overdraft::UpTo(minor));
        let rows = [
            // A wallet that holds 100 at least and 500 at most.
            (Side::Credit, (-500, -100), None, (-500, -100)),
            (Side::Credit, (-500, -100), up_to(0), (-500, 0)),
            (Side::Credit, (-500, -100), up_to(30), (-500, 30)),
            (Side::Credit, (-500, -100), Some(Overdraft::Unlimited), (-500, high)),
            (Side::Credit, (-500, 40), up_to(30), (-500, 40)),
            (Side::Credit, (-500, high), up_to(30), (-500, high)),
            (Side::Credit, (-500, -100), up_to(high), (-500, high)),
            (Side::Debit, (100, 500), up_to(30), (-30, 500)),
            (Side::Debit, (-40, 500), up_to(30), (-40, 500)),
            (Side::Debit, (100, 500), Some(Overdraft::Unlimited), (low, 500)),
            // Nobody writes one below zero.
            (Side::Debit, (100, 500), up_to(-200), (100, 500)),
            (Side::Debit, (100, 500), up_to(low), (100, 500)),
        ];
        for (normal, (lowest, highest), overdraft, (low, high)) in rows {
            let found = Terms::plain(normal, Range { lowest, highest }).with_overdraft(overdraft).range;
            assert_eq!(found, Range { lowest: low, highest: high }, "{normal:?} {overdraft:?}");
        }
    }

    #[test]
    fn the_largest_counts_and_none_is_smaller_than_any() {
        let (small, large) = (Overdraft::UpTo(3), Overdraft::UpTo(7));
        assert_eq!(Overdraft::largest([None, Some(large), Some(small)].into_iter()), Some(large));
        assert_eq!(
            Overdraft::largest([Some(large), Some(Overdraft::Unlimited)].into_iter()),
            Some(Overdraft::Unlimited)
        );
        assert_eq!(Overdraft::largest([None, None].into_iter()), None);
    }

    #[test]
    fn an_overdraft_survives_the_wire() {
        for overdraft in
            [None, Some(Overdraft::UpTo(0)), Some(Overdraft::UpTo(i128::MAX)), Some(Overdraft::Unlimited)]
        {
            let (up_to, unlimited) = Overdraft::to_wire(overdraft);
            assert_eq!(Overdraft::of_wire(up_to, unlimited), overdraft);
            let said = LegOverdraft { leg: 3, overdraft: up_to, unlimited };
            assert_eq!(Overdraft::in_decision(&[said], 3), (up_to, unlimited));
            assert_eq!(Overdraft::in_decision(&[said], 2), (None, false));
        }
    }
}
