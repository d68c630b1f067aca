//! What settlement reads of a journal batch: the fields of `journal.proto` that it needs and no others, read in place.
//! Texts stay slices of the record, so that an entry costs no allocation; unknown fields and items are stepped over. A
//! test holds the field numbers against the generated types.

use schemas::amount_wire;
use schemas::dates::Day;
use schemas::wire::Side;
use schemas::wire_read::WireError;
use schemas::wire_walk::{Walk, bytes_key, varint_key};

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

/// Keys of an item that books: its book, its accounting date, its entries.
struct BookingKeys {
    book: u64,
    date: u64,
    entry: u64,
}

const DECISION: BookingKeys = BookingKeys { book: bytes_key(12), date: varint_key(8), entry: bytes_key(15) };
const RECEIVED: BookingKeys = BookingKeys { book: bytes_key(10), date: varint_key(6), entry: bytes_key(13) };
const CLEARING: BookingKeys = BookingKeys { book: bytes_key(4), date: varint_key(5), entry: bytes_key(9) };

/// Keys of `JournalItem`.
mod item_keys {
    use schemas::wire_walk::bytes_key;

    pub(super) const DECISION: u64 = bytes_key(1);
    pub(super) const RECEIVED: u64 = bytes_key(2);
    pub(super) const CLEARING: u64 = bytes_key(3);
    pub(super) const TICK: u64 = bytes_key(5);
    pub(super) const ALIGNED: u64 = bytes_key(8);
}

impl<'b> Item<'b> {
    /// Reads one item; its entries, in order, are added to `entries`.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn read(item: &'b [u8], entries: &mut Vec<EntryView<'b>>) -> Result<Self, WireError> {
        let first = entries.len();
        let (mut walk, mut read) = (Walk::new(item), Self::Other);
        while let Some(key) = walk.key()? {
            read = match key {
                item_keys::DECISION => Self::booking(walk.bytes()?, &DECISION, entries, first)?,
                item_keys::RECEIVED => Self::booking(walk.bytes()?, &RECEIVED, entries, first)?,
                item_keys::CLEARING => Self::booking(walk.bytes()?, &CLEARING, entries, first)?,
                item_keys::TICK => Self::tick(walk.bytes()?)?,
                item_keys::ALIGNED => Self::aligned(walk.bytes()?)?,
                _ => walk.skip(key).map(|()| read)?,
            };
        }
        Ok(read)
    }

    #[inline]
    fn booking(
        message: &'b [u8],
        keys: &BookingKeys,
        entries: &mut Vec<EntryView<'b>>,
        first: usize,
    ) -> Result<Self, WireError> {
        entries.truncate(first);
        let (mut walk, mut book, mut date) = (Walk::new(message), &[][..], Day(0));
        while let Some(key) = walk.key()? {
            if key == keys.entry {
                entries.push(EntryView::read(walk.bytes()?)?);
            } else if key == keys.book {
                book = walk.bytes()?;
            } else if key == keys.date {
                date = day(&mut walk)?;
            } else {
                walk.skip(key)?;
            }
        }
        Ok(Self::Booking { book, date })
    }

    fn tick(message: &[u8]) -> Result<Self, WireError> {
        const TIME: u64 = varint_key(1);
        let (mut walk, mut business_time_us) = (Walk::new(message), 0);
        while let Some(key) = walk.key()? {
            match key {
                TIME => business_time_us = walk.uint()?.cast_signed(),
                _ => walk.skip(key)?,
            }
        }
        Ok(Self::Tick(business_time_us))
    }

    fn aligned(message: &'b [u8]) -> Result<Self, WireError> {
        const BOOK: u64 = bytes_key(1);
        const DATE: u64 = varint_key(2);
        let (mut walk, mut book, mut date) = (Walk::new(message), &[][..], Day(0));
        while let Some(key) = walk.key()? {
            match key {
                BOOK => book = walk.bytes()?,
                DATE => date = day(&mut walk)?,
                _ => walk.skip(key)?,
            }
        }
        Ok(Self::Aligned { book, date })
    }
}

/// A `sint32`: the low 32 bits of its varint count, as for the generated types.
#[allow(clippy::cast_possible_truncation)]
fn day(walk: &mut Walk<'_>) -> Result<Day, WireError> {
    let value = walk.uint()? as u32;
    Ok(Day((value >> 1).cast_signed() ^ -((value & 1).cast_signed())))
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

/// Keys of `Entry`.
mod entry_keys {
    use schemas::wire_walk::{bytes_key, varint_key};

    pub(super) const ACCOUNT: u64 = bytes_key(1);
    pub(super) const ASSET: u64 = bytes_key(2);
    pub(super) const SIDE: u64 = varint_key(3);
    pub(super) const AMOUNT_LO: u64 = varint_key(4);
    pub(super) const AMOUNT_HI: u64 = varint_key(5);
    pub(super) const SEQ: u64 = varint_key(6);
    pub(super) const BEFORE_LO: u64 = varint_key(7);
    pub(super) const BEFORE_HI: u64 = varint_key(8);
    pub(super) const AFTER_LO: u64 = varint_key(9);
    pub(super) const AFTER_HI: u64 = varint_key(10);
}

impl<'b> EntryView<'b> {
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // an enumeration is its low 32 bits
    fn read(message: &'b [u8]) -> Result<Self, WireError> {
        let (mut walk, mut entry) = (Walk::new(message), Self::default());
        while let Some(key) = walk.key()? {
            match key {
                entry_keys::ACCOUNT => entry.account = walk.bytes()?,
                entry_keys::ASSET => entry.asset = walk.bytes()?,
                entry_keys::SIDE => entry.side = (walk.uint()? as u32).cast_signed(),
                entry_keys::AMOUNT_LO => entry.amount_lo = walk.uint()?,
                entry_keys::AMOUNT_HI => entry.amount_hi = walk.sint()?,
                entry_keys::SEQ => entry.seq = walk.uint()?,
                entry_keys::BEFORE_LO => entry.before_lo = walk.uint()?,
                entry_keys::BEFORE_HI => entry.before_hi = walk.sint()?,
                entry_keys::AFTER_LO => entry.after_lo = walk.uint()?,
                entry_keys::AFTER_HI => entry.after_hi = walk.sint()?,
                _ => walk.skip(key)?,
            }
        }
        Ok(entry)
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
