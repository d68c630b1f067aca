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

/// How far a tick of business time may lie ahead of the highest one by default, microseconds: 31 days. A pipeline that
/// stood still for a month still goes on by itself; a clock that is years off is not believed.
pub const TICK_AHEAD_US_MAX_DEFAULT: i64 = 31 * 24 * 3_600 * 1_000_000;

/// What a partition makes of a tick of business time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickFate {
    /// It is the highest now.
    Taken,
    /// Not above the highest: time never goes back.
    Passed,
    /// Too far ahead to be true: it is held and counted, not believed.
    Held,
}

/// Judges a tick against the highest one taken so far. The first is taken, for want of anything to hold it against.
#[must_use]
pub const fn tick_fate(us: i64, highest_us: Option<i64>, ahead_us_max: i64) -> TickFate {
    match highest_us {
        None => TickFate::Taken,
        Some(highest) if us <= highest => TickFate::Passed,
        Some(highest) if us > highest.saturating_add(ahead_us_max) => TickFate::Held,
        Some(_) => TickFate::Taken,
    }
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
    if let Some(us) = plain_utc(text.as_bytes()) {
        return Ok(us);
    }
    let wrong = || DateError::Instant(text.chars().take(48).collect());
    if text.len() > 48 {
        return Err(wrong());
    }
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|_| wrong())
}

/// The form that nearly all events have, read without looking further: `YYYY-MM-DDTHH:MM:SS`, a fraction of one to
/// six digits or none, `Z`. `None` = look further. A test holds it against the full reader.
fn plain_utc(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1] = *date_time
    else {
        return None;
    };
    let two = |tens, ones| Some(digit(tens)? * 10 + digit(ones)?);
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(n0, n1)?, two(s0, s1)?);
    // The years before and after, leap seconds, and what is no time at all, are for the full reader.
    if !(1..=9998).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of_civil(year, month, day)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000 + fraction_us(rest)?)
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

/// Microseconds of `Z` or `.` with one to six digits and `Z`.
fn fraction_us(text: &[u8]) -> Option<i64> {
    let digits = match text {
        [b'Z'] => return Some(0),
        [b'.', digits @ .., b'Z'] if (1..=6).contains(&digits.len()) => digits,
        _ => return None,
    };
    let value = digits.iter().try_fold(0, |value, byte| Some(value * 10 + digit(*byte)?))?;
    Some(digits.iter().fold(1_000_000, |unit, _| unit / 10) * value)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; `None` when the month has no such day. Years begin in
/// March here, so that the leap day is the last of its year (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`).
fn days_of_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
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

    /// IANA name of the time zone, as the database writes it.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        self.zone.iana_name().unwrap_or_default()
    }

    /// Time of day at which a business day begins, `HH:MM`.
    #[must_use]
    pub fn cut_off(&self) -> String {
        format!("{:02}:{:02}", self.cut_off.hour(), self.cut_off.minute())
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
    use proptest::prelude::*;

    /// What the full reader says, the quick one left aside.
    fn fully_read(text: &str) -> Option<i64> {
        text.parse::<Timestamp>().map(Timestamp::as_microsecond).ok()
    }

    proptest! {
        #[test]
        fn the_quick_reader_of_instants_says_what_the_full_one_says(
            year in prop_oneof![0_u32..10_000, 1890_u32..2110], month in 0_u32..14, day in 0_u32..33, hour in 0_u32..26,
            minute in 0_u32..62, second in 0_u32..62, fraction in "(\\.[0-9]{0,8})?", end in "[Zz+]|\\+08:00",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{end}");
            if let Some(us) = plain_utc(text.as_bytes()) {
                prop_assert_eq!(Some(us), fully_read(&text), "{}", text);
            }
            prop_assert_eq!(parse_instant(&text).ok(), fully_read(&text), "{}", text);
        }
    }

    #[test]
    fn every_day_has_its_quick_reading() {
        for days in (-25_567..40_000).step_by(1) {
            let text = format!("{}T23:59:58.5Z", Day(days));
            let expected = (i64::from(days) * 86_400 + 86_398) * 1_000_000 + 500_000;
            assert_eq!(plain_utc(text.as_bytes()), Some(expected), "{text}");
        }
        for odd in
            ["2026-02-29T00:00:00Z", "2026-11-21t00:00:00Z", "2026-11-21 00:00:00Z", "2026-11-21T00:00:0Z"]
        {
            assert_eq!(plain_utc(odd.as_bytes()), None, "{odd}");
        }
    }

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
    fn a_tick_is_taken_passed_or_held() {
        for (us, highest_us, fate) in [
            (i64::MIN, None, TickFate::Taken),
            (i64::MAX, None, TickFate::Taken),
            (10, Some(10), TickFate::Passed),
            (9, Some(10), TickFate::Passed),
            (11, Some(10), TickFate::Taken),
            (15, Some(10), TickFate::Taken),
            (16, Some(10), TickFate::Held),
            (i64::MAX, Some(i64::MIN), TickFate::Held),
            (i64::MAX, Some(i64::MAX - 1), TickFate::Taken),
        ] {
            assert_eq!(tick_fate(us, highest_us, 5), fate, "{us} after {highest_us:?}");
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
