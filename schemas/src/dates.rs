//! Business days and instants.
//!
//! An instant is microseconds since 1970-01-01T00:00:00Z (i64). A business day is days since 1970-01-01 (i32).
//! A book's day T runs from its cut-off on T to its cut-off on T+1, in the book's time zone; with cut-off 00:00
//! that is the civil day.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::TimeZone,
};
use std::fmt;
use thiserror::Error;

/// A business day: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

/// Why a text is not a day, an instant, a time zone or a cut-off.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DateError {
    /// Not `YYYY-MM-DD`.
    #[error("{0:?} is not a day such as \"2026-11-21\"")]
    Day(String),
    /// Not RFC 3339.
    #[error("{0:?} is not an RFC 3339 time such as \"2026-11-21T09:30:00Z\"")]
    Instant(String),
    /// Unknown IANA time zone.
    #[error("{0:?} is not an IANA time zone such as \"Asia/Shanghai\"")]
    Zone(String),
    /// Not `HH:MM`.
    #[error("{0:?} is not a cut-off time such as \"00:00\"")]
    CutOff(String),
    /// Outside the years this library covers.
    #[error("time is out of range")]
    OutOfRange,
}

const EPOCH: Date = Date::constant(1970, 1, 1);

impl Day {
    /// Reads `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`DateError::Day`].
    pub fn parse(text: &str) -> Result<Self, DateError> {
        let wrong = || DateError::Day(text.chars().take(32).collect());
        if text.len() != 10 {
            return Err(wrong());
        }
        let date: Date = text.parse().map_err(|_| wrong())?;
        Ok(Self::of_date(date))
    }

    fn of_date(date: Date) -> Self {
        // A span between two dates in days is exact and below 8 million.
        Self(date.since((jiff::Unit::Day, EPOCH)).map_or(0, |span| span.get_days()))
    }

    fn date(self) -> Option<Date> {
        EPOCH.checked_add(self.0.checked_abs().map(|_| self.0)?.days()).ok()
    }

    /// The day after, saturating.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The day before, saturating.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "day {}", self.0),
        }
    }
}

/// Reads an RFC 3339 time (with offset) into microseconds since the epoch; finer digits are cut.
///
/// # Errors
/// [`DateError::Instant`].
pub fn parse_instant(text: &str) -> Result<i64, DateError> {
    let wrong = || DateError::Instant(text.chars().take(48).collect());
    if text.len() > 48 {
        return Err(wrong());
    }
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|_| wrong())
}

/// Writes microseconds since the epoch as RFC 3339 in UTC.
#[must_use]
pub fn format_instant(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| format!("{us}us"), |t| t.to_string())
}

/// When a book's days begin.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    cut_off: Time,
}

impl Calendar {
    /// `zone` is an IANA name, `cut_off` is `HH:MM`.
    ///
    /// # Errors
    /// [`DateError::Zone`], [`DateError::CutOff`].
    pub fn new(zone: &str, cut_off: &str) -> Result<Self, DateError> {
        let zone = TimeZone::get(zone).map_err(|_| DateError::Zone(zone.to_owned()))?;
        let wrong = || DateError::CutOff(cut_off.to_owned());
        let cut_off = Time::strptime("%H:%M", cut_off).map_err(|_| wrong())?;
        Ok(Self { zone, cut_off })
    }

    /// The business day that holds an instant.
    ///
    /// # Errors
    /// [`DateError::OutOfRange`].
    pub fn day_of(&self, us: i64) -> Result<Day, DateError> {
        let at = Timestamp::from_microsecond(us).map_err(|_| DateError::OutOfRange)?;
        let civil = self.zone.to_datetime(at);
        let day = Day::of_date(civil.date());
        // Compare instants, not civil times: around a daylight change the cut-off may fall on another instant.
        if us < self.begin_us(day)? { Ok(day.previous()) } else { Ok(day) }
    }

    /// First instant of a business day. A cut-off that a daylight change skips falls on the next instant that
    /// exists; one that happens twice is the first.
    ///
    /// # Errors
    /// [`DateError::OutOfRange`].
    pub fn begin_us(&self, day: Day) -> Result<i64, DateError> {
        let date = day.date().ok_or(DateError::OutOfRange)?;
        let zoned = self
            .zone
            .to_ambiguous_zoned(date.to_datetime(self.cut_off))
            .compatible()
            .map_err(|_| DateError::OutOfRange)?;
        Ok(zoned.timestamp().as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        parse_instant(text).unwrap()
    }

    #[test]
    fn days_read_and_write() {
        assert_eq!(Day::parse("1970-01-01").unwrap(), Day(0));
        assert_eq!(Day::parse("2019-02-19").unwrap().to_string(), "2019-02-19");
        assert_eq!(Day::parse("2020-02-29").unwrap().next().to_string(), "2020-03-01");
        for bad in ["2019-02-30", "2019-2-3", "", "20190219", "2019-02-19T"] {
            assert!(Day::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_book_s_day_follows_its_zone_and_cut_off() {
        let rows = [
            ("Asia/Shanghai", "00:00", "2019-02-18T15:59:59.999999Z", "2019-02-18"),
            ("Asia/Shanghai", "00:00", "2019-02-18T16:00:00Z", "2019-02-19"),
            ("Asia/Shanghai", "05:30", "2019-02-18T21:29:59Z", "2019-02-18"),
            ("Asia/Shanghai", "05:30", "2019-02-18T21:30:00Z", "2019-02-19"),
            ("UTC", "00:00", "1969-12-31T23:59:59Z", "1969-12-31"),
            // 2026-03-08 in New York has 23 hours: 02:00 to 03:00 is missing.
            ("America/New_York", "02:30", "2026-03-08T07:29:59Z", "2026-03-07"),
            ("America/New_York", "02:30", "2026-03-08T07:30:00Z", "2026-03-08"),
        ];
        for (zone, cut_off, at, day) in rows {
            let calendar = Calendar::new(zone, cut_off).unwrap();
            assert_eq!(calendar.day_of(us(at)).unwrap().to_string(), day, "{zone} {cut_off} {at}");
        }
        assert!(Calendar::new("Mars/Base", "00:00").is_err());
        assert!(Calendar::new("UTC", "25:00").is_err());
    }

    #[test]
    fn days_join_without_gap() {
        let calendar = Calendar::new("America/New_York", "00:00").unwrap();
        for day in 20_000..20_800 {
            let begin = calendar.begin_us(Day(day)).unwrap();
            assert_eq!(calendar.day_of(begin).unwrap(), Day(day));
            assert_eq!(calendar.day_of(begin - 1).unwrap(), Day(day - 1));
        }
    }
}
