//! Which dates an event gets: accounting date, value date, and whether it is booked back.
//!
//! The begins of the days around the one in force are known beforehand, so that time zones are looked up only for
//! events of other days.

use crate::config::{IngestConfig, LateEvents};
use crate::state::Days;
use schemas::dates::{Calendar, DateError, Day};

/// Which dates an event gets, for one day in force.
pub(crate) struct Dating {
    pub(crate) days: Days,
    /// Begin of the day before, of the day in force and of the day after, microseconds; `None` outside the years
    /// that the calendar covers.
    bounds_us: Option<[i64; 3]>,
}

/// Dates of an event.
pub(crate) struct Dates {
    pub(crate) accounting: Day,
    pub(crate) value: Day,
    pub(crate) back_dated: bool,
}

impl Dating {
    pub(crate) fn new(days: Days, calendar: &Calendar) -> Self {
        let begin = |day| calendar.begin_us(day).ok();
        let three =
            || Some([begin(days.current.previous())?, begin(days.current)?, begin(days.current.next())?]);
        Self { days, bounds_us: three() }
    }

    fn day_of(&self, us: i64, calendar: &Calendar) -> Result<Day, DateError> {
        match self.bounds_us {
            Some([_, begin, end]) if begin <= us && us < end => Ok(self.days.current),
            Some([begin, end, _]) if begin <= us && us < end => Ok(self.days.current.previous()),
            _ => calendar.day_of(us),
        }
    }

    /// Events of the day before are booked back into it, if it was announced here and the book wants that; all
    /// others count in the day in force. The value date is the event's own day.
    pub(crate) fn dates(&self, us: i64, config: &IngestConfig) -> Result<Dates, DateError> {
        let value = self.day_of(us, &config.calendar)?;
        let Days { first, current } = self.days;
        let back_dated = config.settings.late_events == LateEvents::BackDate
            && value == current.previous()
            && value >= first
            && value < current;
        Ok(Dates { accounting: if back_dated { value } else { current }, value, back_dated })
    }
}
