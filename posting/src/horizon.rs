//! The horizon of ids: how long an event is recognised when it comes again, and how long anything is known of it.
//!
//! Time comes as ticks. Every so often a mark says which batch was the first at or after a tick; when a mark is old
//! enough, the ids of batches before it are not recognised any more, which the journal says as an absolute value.
//!
//! An event whose id is not recognised may still be one that was booked before the horizon, but then it says that it
//! occurred before it: such an event is looked up among all ids that are kept, and where it may be older than those too, it
//! is parked ([`crate::parked`]).

use crate::overlay::Overlay;
use schemas::wire::{self, journal_item::Item};
use std::collections::VecDeque;

/// Business time between two marks is that for which ids are recognised, divided by this.
const MARKS: i64 = 168;
/// The same of older marks, and that for which ids are kept.
const OLD_MARKS: i64 = 400;
/// The least business time between two marks, microseconds.
const MARK_US_MIN: i64 = 1_000_000;
const DAY_US: i64 = 86_400_000_000;

/// What is recognised, and what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    /// Ids of earlier batches are not recognised.
    pub recognised_from: u64,
    /// Events that say they occurred at or before this time, microseconds, are looked up among all ids that are kept.
    pub recognised_after_us: i64,
    /// Nothing is known of ids of earlier batches.
    pub kept_from: u64,
    /// Events that say they occurred at or before this time, microseconds, and are not known, are parked.
    pub kept_after_us: i64,
    /// Business time, microseconds, and the first batch at or after it; oldest first.
    marks: VecDeque<(i64, u64)>,
}

impl Default for Horizon {
    fn default() -> Self {
        Self {
            recognised_from: 0,
            recognised_after_us: i64::MIN,
            kept_from: 0,
            kept_after_us: i64::MIN,
            marks: VecDeque::new(),
        }
    }
}

impl Horizon {
    /// Whether an event that occurred at that time may be one whose id is not recognised any more.
    #[must_use]
    pub const fn is_old(&self, occurred_at_us: i64) -> bool {
        occurred_at_us <= self.recognised_after_us
    }

    /// Whether an event that occurred at that time may be one of which nothing is known any more.
    #[must_use]
    pub const fn is_too_old(&self, occurred_at_us: i64) -> bool {
        occurred_at_us <= self.kept_after_us
    }

    /// The horizon after a window whose tick is `tick_us` and whose batch is `batch`; `None` = as it is.
    fn after(&self, tick_us: i64, batch: u64, terms: &Terms) -> Option<wire::IdHorizon> {
        let between = (terms.recognised_us / MARKS).max(MARK_US_MIN);
        let last = self.marks.back().map_or(i64::MIN, |(us, _)| *us);
        if tick_us == 0 || tick_us < last.saturating_add(between) {
            return None;
        }
        let newest = |age_us: i64| {
            let until = tick_us.saturating_sub(age_us);
            self.marks.iter().rev().find(|(us, _)| *us <= until).copied()
        };
        let recognised = newest(terms.recognised_us).filter(|(_, batch)| *batch > self.recognised_from);
        let kept = newest(terms.kept_us).filter(|(_, batch)| *batch > self.kept_from);
        // An event may have said that it occurred later than it came.
        let until = |us: i64| us.saturating_add(terms.ahead_us);
        let mut to = Self {
            recognised_from: recognised.map_or(self.recognised_from, |(_, batch)| batch),
            recognised_after_us: recognised.map_or(self.recognised_after_us, |(us, _)| until(us)),
            kept_from: kept.map_or(self.kept_from, |(_, batch)| batch),
            kept_after_us: kept.map_or(self.kept_after_us, |(us, _)| until(us)),
            marks: self.marks.clone(),
        };
        to.marks.push_back((tick_us, batch));
        to.thin((terms.kept_us / OLD_MARKS).max(MARK_US_MIN));
        Some(to.to_wire())
    }

    /// Drops marks of what is not kept, and of what is not recognised all but one in `between` microseconds.
    fn thin(&mut self, between: i64) {
        let (recognised, kept) = (self.recognised_from, self.kept_from);
        let mut last = i64::MIN;
        self.marks.retain(|(us, batch)| {
            let stays = *batch >= kept && (*batch >= recognised || *us >= last.saturating_add(between));
            if stays {
                last = *us;
            }
            stays
        });
    }

    pub(crate) fn to_wire(&self) -> wire::IdHorizon {
        let mark = |(business_time_us, batch): &(i64, u64)| wire::IdMark {
            business_time_us: *business_time_us,
            batch: *batch,
        };
        wire::IdHorizon {
            recognised_from: self.recognised_from,
            recognised_after_us: self.recognised_after_us,
            kept_from: self.kept_from,
            kept_after_us: self.kept_after_us,
            mark: self.marks.iter().map(mark).collect(),
        }
    }

    /// What a journal item or a checkpoint says.
    #[must_use]
    pub fn from_wire(wire: &wire::IdHorizon) -> Self {
        Self {
            recognised_from: wire.recognised_from,
            recognised_after_us: wire.recognised_after_us,
            kept_from: wire.kept_from,
            kept_after_us: wire.kept_after_us,
            marks: wire.mark.iter().map(|mark| (mark.business_time_us, mark.batch)).collect(),
        }
    }
}

/// How long ids are recognised and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Business time for which an event is recognised whatever it says of itself, microseconds.
    pub recognised_us: i64,
    /// Business time for which anything is known of it, microseconds; not below the other.
    pub kept_us: i64,
    /// How far the time of an event may lie ahead of when it comes, microseconds.
    pub ahead_us: i64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { recognised_us: 7 * DAY_US, kept_us: 400 * DAY_US, ahead_us: 2 * DAY_US }
    }
}

/// Journals a mark, and with it what is not recognised and not kept any more, where it is time.
pub fn advance(o: &mut Overlay<'_>) {
    let Some(to) = o.base.ids.horizon().after(o.tick_us, o.batch, &o.config.ids) else { return };
    o.journal(Item::IdHorizon(to));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const TERMS: Terms = Terms { recognised_us: 2 * DAY_US, kept_us: 10 * DAY_US, ahead_us: HOUR_US };

    /// A batch an hour, from hour 1 and batch 1 on.
    fn after(hours: i64) -> Horizon {
        let mut horizon = Horizon::default();
        for hour in 1..=hours {
            if let Some(to) = horizon.after(hour * HOUR_US, hour as u64, &TERMS) {
                horizon = Horizon::from_wire(&to);
                assert_eq!(Horizon::from_wire(&horizon.to_wire()), horizon);
            }
        }
        horizon
    }

    #[test]
    fn nothing_is_forgotten_within_the_horizon() {
        let horizon = after(48);
        assert_eq!((horizon.recognised_from, horizon.kept_from), (0, 0));
        assert!(!horizon.is_old(i64::MIN + 1) && !horizon.is_too_old(i64::MIN + 1));
    }

    #[test]
    fn what_is_older_is_forgotten_by_batch_and_time_together() {
        let horizon = after(49);
        assert_eq!(horizon.recognised_from, 1);
        let horizon = after(100);
        // Batch 52 came at hour 52, 48 hours before; what came before it may say it occurred until an hour later.
        assert_eq!((horizon.recognised_from, horizon.kept_from), (52, 0));
        assert!(horizon.is_old(53 * HOUR_US) && !horizon.is_old(53 * HOUR_US + 1));
        let horizon = after(500);
        assert_eq!(horizon.recognised_from, 452);
        assert!((236..=260).contains(&horizon.kept_from), "{horizon:?}");
        assert!(horizon.is_too_old((horizon.kept_from as i64 + 1) * HOUR_US));
        assert!(horizon.marks.len() < 48 + 2 * 200, "{} marks", horizon.marks.len());
    }

    #[test]
    fn time_that_stands_still_makes_no_mark() {
        let horizon = after(1);
        assert_eq!(horizon.after(HOUR_US, 2, &TERMS), None);
        assert_eq!(horizon.after(0, 2, &TERMS), None);
    }
}
