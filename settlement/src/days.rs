//! Business time and business days as settlement knows them.
//!
//! Two facts come from the journal: business time (the highest tick believed) and how far days are aligned here. One
//! comes from `days.aligned`: how far days are closed everywhere. The days announced are computed from these
//! ([`Days::announced`]), so they are the same whatever order the two inputs were read in.

use schemas::balance_json::DayState;
use schemas::dates::{Calendar, Day};
use std::collections::{BTreeMap, BTreeSet};

/// Business time from ticks: takes the highest, never back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BusinessTime {
    /// Business day of the first tick, under the calendar in force when it was read.
    pub first_day: Option<Day>,
    /// Highest tick believed, microseconds since 1970-01-01T00:00:00Z.
    pub highest_us: Option<i64>,
    /// Ticks outside the calendar.
    pub held: u64,
    /// The last of them.
    pub held_us: Option<i64>,
}

impl BusinessTime {
    /// Takes a tick that posting believed. One outside the calendar is held and counted.
    pub fn tick(&mut self, us: i64, calendar: &Calendar) {
        if self.highest_us.is_some_and(|highest| us <= highest) {
            return;
        }
        match calendar.day_of(us) {
            Ok(day) => {
                self.first_day.get_or_insert(day);
                self.highest_us = Some(us);
            }
            Err(_) => self.hold(us),
        }
    }

    fn hold(&mut self, us: i64) {
        self.held = self.held.saturating_add(1);
        self.held_us = Some(us);
    }
}

/// Which settlement slot has reported which day (slot 0 only).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reports {
    /// Newest day that every slot has reported.
    pub closed: Option<Day>,
    /// Slots that have reported a later day.
    pub open: BTreeMap<Day, BTreeSet<u32>>,
}

impl Reports {
    /// Takes a report; returns the days it closed. A report of a closed day, or a second one, changes nothing.
    pub fn take(&mut self, day: Day, slot: u32, slots: u32) -> Vec<Day> {
        if self.closed.is_some_and(|closed| day <= closed) {
            return Vec::new();
        }
        self.open.entry(day).or_default().insert(slot);
        let mut closed_now = Vec::new();
        while let Some(first) = self.open.first_entry() {
            if first.get().len() < slots as usize {
                break;
            }
            let (day, _) = first.remove_entry();
            self.closed = Some(day);
            closed_now.push(day);
        }
        closed_now
    }

    /// How many slots have reported `day`.
    #[must_use]
    pub fn aligned(&self, day: Day, slots: u32) -> u32 {
        if self.closed.is_some_and(|closed| day <= closed) {
            return slots;
        }
        self.open.get(&day).map_or(0, |reported| u32::try_from(reported.len()).unwrap_or(u32::MAX))
    }
}

/// Days announced: first to newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// First day of the books.
    pub first: Day,
    /// Newest day announced.
    pub newest: Day,
}

/// The days of a book as slot 0 sees them.
#[derive(Debug, Clone, Copy)]
pub struct Days<'a> {
    /// Business time.
    pub time: &'a BusinessTime,
    /// Reports of all slots.
    pub reports: &'a Reports,
    /// Newest day aligned in slot 0's own journal; the day after it must have been announced.
    pub aligned: Option<Day>,
}

impl Days<'_> {
    /// What is announced now: the days that business time has reached, but T+2 only after T is closed (rule 7: the
    /// dual balance holds for two open days). `None` before the first tick. Never goes back.
    #[must_use]
    pub fn announced(&self, calendar: &Calendar) -> Option<Announced> {
        let first = self.time.first_day?;
        let reached = calendar.day_of(self.time.highest_us?).ok()?;
        let two_open =
            self.reports.closed.map_or(first.next(), |closed| closed.next().next()).max(first.next());
        let newest = reached.min(two_open).max(first);
        // A day aligned or closed says that the next one was announced, whatever the calendar says by now.
        let known = self.aligned.max(self.reports.closed).map(Day::next);
        Some(Announced { first, newest: known.map_or(newest, |known| newest.max(known)) })
    }

    /// State of a day that was announced.
    #[must_use]
    pub fn state(&self, announced: Announced, day: Day) -> DayState {
        if self.reports.closed.is_some_and(|closed| day <= closed) {
            DayState::Closed
        } else if day < announced.newest {
            DayState::Cutting
        } else {
            DayState::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600 * 1_000_000;

    fn utc() -> Calendar {
        Calendar::new("UTC", "00:00").unwrap()
    }

    #[test]
    fn time_takes_the_highest_tick_and_holds_what_no_calendar_has() {
        const NEVER: i64 = i64::MAX / HOUR_US;
        // Hours in, then highest hour, held ticks.
        let rows: &[(&[i64], i64, u64)] = &[
            (&[1], 1, 0),
            (&[1_000_000], 1_000_000, 0),
            (&[1, 2, 3], 3, 0),
            (&[3, 2, 1], 3, 0),
            // How far is too far was judged before.
            (&[1, 1_000_000, 2], 1_000_000, 0),
            (&[NEVER, 1], 1, 1),
            (&[1, NEVER, NEVER, 2], 2, 2),
        ];
        for (hours, highest, held) in rows {
            let mut time = BusinessTime::default();
            for hour in *hours {
                time.tick(hour * HOUR_US, &utc());
            }
            assert_eq!((time.highest_us, time.held), (Some(highest * HOUR_US), *held), "{hours:?}");
            assert_eq!(time.held_us, (*held > 0).then_some(NEVER * HOUR_US), "{hours:?}");
        }
    }

    #[test]
    fn at_most_two_days_are_open() {
        // First day, day reached, closed, aligned here -> newest announced.
        let rows = [
            (10, 10, None, None, 10),
            (10, 11, None, None, 11),
            (10, 12, None, None, 11),
            (10, 12, None, Some(10), 11),
            (10, 12, Some(10), Some(10), 12),
            (10, 20, Some(10), Some(10), 12),
            (10, 20, Some(11), Some(11), 13),
            (10, 12, Some(11), Some(11), 12),
            // The calendar was moved back meanwhile: what happened stays.
            (10, 11, Some(11), Some(12), 13),
        ];
        for (first, reached, closed, aligned, newest) in rows {
            let time = BusinessTime {
                first_day: Some(Day(first)),
                highest_us: Some(i64::from(reached) * 24 * HOUR_US),
                ..BusinessTime::default()
            };
            let reports = Reports { closed: closed.map(Day), ..Reports::default() };
            let days = Days { time: &time, reports: &reports, aligned: aligned.map(Day) };
            let announced = days.announced(&utc()).unwrap();
            assert_eq!(announced, Announced { first: Day(first), newest: Day(newest) }, "reached {reached}");
            assert_eq!(days.state(announced, Day(newest)), DayState::Open);
            let before = if closed == Some(newest - 1) { DayState::Closed } else { DayState::Cutting };
            assert_eq!(days.state(announced, Day(newest - 1)), before);
        }
    }

    #[test]
    fn a_day_closes_when_the_last_slot_reports() {
        let mut reports = Reports::default();
        assert_eq!(reports.take(Day(10), 0, 3), []);
        assert_eq!(reports.take(Day(10), 2, 3), []);
        assert_eq!(reports.take(Day(10), 2, 3), [], "a second report of one slot is one report");
        assert_eq!((reports.aligned(Day(10), 3), reports.closed), (2, None));
        assert_eq!(reports.take(Day(10), 1, 3), [Day(10)]);
        assert_eq!((reports.aligned(Day(10), 3), reports.closed), (3, Some(Day(10))));
        assert_eq!(reports.take(Day(10), 1, 3), []);
        assert!(reports.open.is_empty());
    }
}
