//! Announced business days: topic `days`, one partition for each ingest slot, and the states of days on `flow`.
//!
//! Order relied on: both are written by one settlement slot, a day's announcement and its state in one commit. A day is
//! announced again when that slot has a new owner. Bounded by books and ingest slots.

use crate::amount::{self, date_text};
use crate::finding::{Check, Findings, Place};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct AnnouncementJson<'a> {
    #[serde(borrow)]
    book: Cow<'a, str>,
    #[serde(borrow)]
    day: Cow<'a, str>,
    ingest_slots: u32,
}

/// Days of one book, days since 1970-01-01.
#[derive(Debug, Default)]
struct BookDays {
    /// First and newest day announced to each ingest slot.
    slots: BTreeMap<u32, (i32, i32)>,
    /// First and newest day that `flow` has told of.
    told: Option<(i32, i32)>,
}

impl BookDays {
    fn first(&self) -> Option<i32> {
        self.slots.values().map(|(first, _)| *first).min()
    }

    fn newest(&self) -> Option<i32> {
        self.slots.values().map(|(_, newest)| *newest).max()
    }
}

/// Days announced, by book.
#[derive(Debug, Default)]
pub struct Announced {
    books: BTreeMap<String, BookDays>,
}

impl Announced {
    /// Takes a record of `days`; `slots` = number of ingest slots.
    pub fn announcement(&mut self, place: Place, value: &[u8], slots: u32, found: &mut Findings) {
        let read = serde_json::from_slice::<AnnouncementJson<'_>>(value).ok();
        let date = read.as_ref().and_then(|read| amount::date_days(&read.day));
        let (Some(read), Some(date)) = (read, date) else {
            return found.wrong(
                Check::Format,
                place,
                "not an announcement: expected book, day and ingest_slots",
            );
        };
        let book = self.books.entry(read.book.into_owned()).or_default();
        let first = book.first().unwrap_or(date);
        let (begun, newest) = book.slots.get(&place.at.partition).copied().unwrap_or((date, date));
        let follows = date == newest || date == newest.saturating_add(1);
        found.that(Check::DayAnnounced, follows && begun == first && read.ingest_slots == slots, || {
            let (day, after) = (date_text(date), date_text(newest));
            let what = format!(
                "announces {day} to {} of {slots} ingest slots, after {after}; the first day of the books is {}",
                read.ingest_slots,
                date_text(first)
            );
            (place, what)
        });
        book.slots.insert(place.at.partition, (begun, newest.max(date)));
    }

    /// A day's state on `flow`. `opens` = its announcement; `is_closed(date)` = told as closed before this record.
    pub fn told(
        &mut self,
        place: Place,
        (book, date): (&str, i32),
        opens: bool,
        is_closed: impl Fn(i32) -> bool,
        found: &mut Findings,
    ) {
        let days = self.books.entry(book.to_owned()).or_default();
        let (first, newest) = days.told.unwrap_or((date, date));
        let before = date.saturating_sub(2);
        if opens {
            found.that(Check::DayAnnounced, before < first || is_closed(before), || {
                let (day, before) = (date_text(date), date_text(before));
                (place, format!("book {book:?}: {day} is announced and {before} is not closed"))
            });
        }
        days.told = Some((first.min(date), newest.max(date)));
    }

    /// What is unfinished. `booked` = (book, accounting date) of all entries.
    pub fn report<'b>(
        &self,
        slots: u32,
        booked: impl Iterator<Item = (&'b str, i32)>,
        ended: bool,
        found: &mut Findings,
    ) {
        for (book, days) in &self.books {
            let Some(newest) = days.newest() else { continue };
            let name = || format!("book {book:?} {}", date_text(newest));
            let untold =
                (0..slots).filter(|slot| days.slots.get(slot).is_none_or(|(_, told)| *told < newest));
            for slot in untold {
                found.overdue(
                    ended,
                    Check::DayAnnounced,
                    format!("days/{slot} {}", name()),
                    "is not announced there",
                );
            }
            if days.told.is_none_or(|(_, told)| told < newest) {
                found.overdue(ended, Check::DayAnnounced, name(), "is announced and not on flow");
            }
        }
        for (book, date) in booked {
            let days = self.books.get(book);
            let (first, newest) = (days.and_then(BookDays::first), days.and_then(BookDays::newest));
            let name = || format!("book {book:?} {}", date_text(date));
            match (first, newest) {
                (Some(first), Some(newest)) if first <= date && date <= newest => {
                    found.holds(Check::DayAnnounced, 1);
                }
                // Days are announced one after the other: it cannot come any more.
                (Some(first), _) if date < first => {
                    found.wrong(
                        Check::DayAnnounced,
                        name(),
                        "is booked, and the first day announced is later",
                    );
                }
                _ => found.overdue(ended, Check::DayAnnounced, name(), "is booked and not announced"),
            }
        }
    }
}
