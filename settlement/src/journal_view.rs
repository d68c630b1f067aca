//! What settlement reads of a journal batch: the fields of `journal.proto` that it needs and no others, read in place.
//! Texts stay slices of the record, so that an entry costs no allocation; unknown fields and items are stepped over. A
//! test holds the field numbers against the generated types.

use schemas::amount_wire;
use schemas::dates::Day;
use schemas::wire::Side;
use schemas::wire_read::{Field, WireError, fields};

/// `JournalItem`, as far as settlement reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'b> {
    /// A `Decision`, `Received` or `Clearing`. Its entries are in the list given to [`Item::read`]; there may be none.
    Booking {
        /// Book.
        book: &'b [u8],
        /// Accounting date of its entries.
        date: Day,
    },
    /// Business time, microseconds since 1970-01-01T00:00:00Z.
    Tick(i64),
    /// A day is complete in this journal.
    Aligned {
        /// Book.
        book: &'b [u8],
        /// Day.
        date: Day,
    },
    /// Anything else.
    Other,
}

/// Field numbers of an item that books: its book, its accounting date, its entries.
struct BookingTags {
    book: u32,
    date: u32,
    entry: u32,
}

const DECISION: BookingTags = BookingTags { book: 12, date: 8, entry: 15 };
const RECEIVED: BookingTags = BookingTags { book: 10, date: 6, entry: 13 };
const CLEARING: BookingTags = BookingTags { book: 4, date: 5, entry: 9 };

impl<'b> Item<'b> {
    /// Reads one item; its entries, in order, take the place of what is in `entries`.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn read(item: &'b [u8], entries: &mut Vec<EntryView<'b>>) -> Result<Self, WireError> {
        entries.clear();
        let mut read = Self::Other;
        for field in fields(item) {
            let field = field?;
            read = match field.tag {
                1 => Self::booking(field.bytes()?, &DECISION, entries)?,
                2 => Self::booking(field.bytes()?, &RECEIVED, entries)?,
                3 => Self::booking(field.bytes()?, &CLEARING, entries)?,
                5 => Self::tick(field.bytes()?)?,
                8 => Self::aligned(field.bytes()?)?,
                _ => read,
            };
        }
        Ok(read)
    }

    fn booking(
        message: &'b [u8],
        tags: &BookingTags,
        entries: &mut Vec<EntryView<'b>>,
    ) -> Result<Self, WireError> {
        entries.clear();
        let (mut book, mut date) = (&[][..], 0);
        for field in fields(message) {
            let field = field?;
            if field.tag == tags.entry {
                entries.push(EntryView::read(field.bytes()?)?);
            } else if field.tag == tags.book {
                book = field.bytes()?;
            } else if field.tag == tags.date {
                date = field.sint32()?;
            }
        }
        Ok(Self::Booking { book, date: Day(date) })
    }

    fn tick(message: &[u8]) -> Result<Self, WireError> {
        let mut business_time_us = 0;
        for field in fields(message) {
            let field = field?;
            if field.tag == 1 {
                business_time_us = field.int()?;
            }
        }
        Ok(Self::Tick(business_time_us))
    }

    fn aligned(message: &'b [u8]) -> Result<Self, WireError> {
        let (mut book, mut date) = (&[][..], 0);
        for field in fields(message) {
            let field = field?;
            match field.tag {
                1 => book = field.bytes()?,
                2 => date = field.sint32()?,
                _ => {}
            }
        }
        Ok(Self::Aligned { book, date: Day(date) })
    }
}

/// `Entry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryView<'b> {
    /// Account.
    pub account: &'b [u8],
    /// Asset.
    pub asset: &'b [u8],
    /// Side.
    pub side: i32,
    /// Amount, low half.
    pub amount_lo: u64,
    /// Amount, high half.
    pub amount_hi: i64,
    /// Sequence on the account.
    pub seq: u64,
    /// Balance before, low half.
    pub before_lo: u64,
    /// Balance before, high half.
    pub before_hi: i64,
    /// Balance after, low half.
    pub after_lo: u64,
    /// Balance after, high half.
    pub after_hi: i64,
}

impl<'b> EntryView<'b> {
    fn read(message: &'b [u8]) -> Result<Self, WireError> {
        let mut entry = Self::default();
        for field in fields(message) {
            entry.take(&field?)?;
        }
        Ok(entry)
    }

    fn take(&mut self, field: &Field<'b>) -> Result<(), WireError> {
        match field.tag {
            1 => self.account = field.bytes()?,
            2 => self.asset = field.bytes()?,
            3 => self.side = field.int32()?,
            4 => self.amount_lo = field.uint()?,
            5 => self.amount_hi = field.sint()?,
            6 => self.seq = field.uint()?,
            7 => self.before_lo = field.uint()?,
            8 => self.before_hi = field.sint()?,
            9 => self.after_lo = field.uint()?,
            10 => self.after_hi = field.sint()?,
            _ => {}
        }
        Ok(())
    }
}

impl EntryView<'_> {
    /// Amount in minor units.
    #[must_use]
    pub const fn amount(&self) -> i128 {
        amount_wire::join(self.amount_lo, self.amount_hi)
    }

    /// Balance before, debits minus credits.
    #[must_use]
    pub const fn before(&self) -> i128 {
        amount_wire::join(self.before_lo, self.before_hi)
    }

    /// Balance after, debits minus credits.
    #[must_use]
    pub const fn after(&self) -> i128 {
        amount_wire::join(self.after_lo, self.after_hi)
    }

    /// The amount with its sign: debit above zero, credit below. `None` without a side, or not above zero.
    #[must_use]
    pub fn signed(&self) -> Option<i128> {
        let amount = self.amount();
        match Side::try_from(self.side) {
            Ok(Side::Debit) if amount > 0 => Some(amount),
            Ok(Side::Credit) if amount > 0 => Some(-amount),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost::Message;
    use schemas::batch;
    use schemas::wire::{self, Tick, journal_item};

    fn entry(seq: u64) -> wire::Entry {
        let mut entry = wire::Entry {
            account: format!("users:{seq}:wallet"),
            asset: "CNY".into(),
            side: Side::Credit.into(),
            seq,
            leg: 3,
            r#match: Some(wire::Match { order: "o".into(), ..wire::Match::default() }),
            previous_batch: 9,
            ..wire::Entry::default()
        };
        entry.set_figures(5, -(1 << 70), -(1 << 70) - 5);
        entry
    }

    fn full_items() -> Vec<journal_item::Item> {
        use journal_item::Item;
        vec![
            Item::Decision(wire::Decision {
                event: Some(wire::EventKey { source: "s".into(), id: "1".into() }),
                accounting_date: 20_778,
                value_date: 1,
                book: "main".into(),
                rule: "r".into(),
                entry: vec![entry(1), entry(2)],
                detail: "d".into(),
                ..wire::Decision::default()
            }),
            Item::Received(wire::Received {
                accounting_date: 20_779,
                value_date: 1,
                book: "b2".into(),
                entry: Some(entry(3)),
                intended_account: "x".into(),
                ..wire::Received::default()
            }),
            Item::Clearing(wire::Clearing {
                accounting_date: -3,
                book: "b3".into(),
                peer: 7,
                entry: Some(entry(4)),
                ..wire::Clearing::default()
            }),
            Item::Resolution(wire::Resolution { accounting_date: 5, ..wire::Resolution::default() }),
            Item::Tick(Tick { business_time_us: 77, ingest_slot: 2, lane: vec![] }),
            Item::Aligned(wire::Aligned { book: "main".into(), date: 20_778 }),
            Item::Held(wire::Held { from: 1, sequence: 2, item: Bytes::from_static(b"x"), dropped: false }),
        ]
    }

    #[test]
    fn the_view_reads_what_the_full_types_wrote() {
        let body = wire::JournalBody {
            item: full_items().into_iter().map(|item| wire::JournalItem { item: Some(item) }).collect(),
        };
        let encoded = body.encode_to_vec();
        let read = |item| {
            let mut entries = Vec::new();
            (Item::read(item, &mut entries).unwrap(), entries)
        };
        let view: Vec<_> = batch::items(&encoded).map(|item| read(item.unwrap())).collect();
        assert_eq!(view.len(), body.item.len(), "items that are not read still count");
        let booked: Vec<_> = view
            .iter()
            .filter_map(|(item, entries)| match item {
                Item::Booking { book, date } => Some((*book, *date, entries)),
                _ => None,
            })
            .collect();
        let dates: Vec<_> =
            booked.iter().map(|(book, date, entries)| (*book, date.0, entries.len())).collect();
        assert_eq!(dates, [(&b"main"[..], 20_778, 2), (b"b2", 20_779, 1), (b"b3", -3, 1)]);
        let seqs: Vec<u64> =
            booked.iter().flat_map(|(_, _, entries)| entries.iter().map(|e| e.seq)).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
        let first = &booked[0].2[0];
        assert_eq!((first.account, first.asset), (&b"users:1:wallet"[..], &b"CNY"[..]));
        assert_eq!((first.signed(), first.before(), first.after()), (Some(-5), -(1 << 70), -(1 << 70) - 5));
        let rest: Vec<_> = view.iter().map(|(item, _)| *item).collect();
        assert_eq!(rest[3], Item::Other);
        assert_eq!(rest[4], Item::Tick(77));
        assert_eq!(rest[5], Item::Aligned { book: b"main", date: Day(20_778) });
        assert_eq!(rest[6], Item::Other);
    }

    #[test]
    fn an_amount_needs_a_side_and_a_size() {
        for (side, amount, expected) in [
            (Side::Debit, 5, Some(5)),
            (Side::Credit, 5, Some(-5)),
            (Side::Unspecified, 5, None),
            (Side::Debit, 0, None),
            (Side::Credit, -5, None),
        ] {
            let (amount_lo, amount_hi) = amount_wire::split(amount);
            let entry = EntryView { side: side.into(), amount_lo, amount_hi, ..EntryView::default() };
            assert_eq!(entry.signed(), expected);
        }
    }
}
