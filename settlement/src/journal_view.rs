//! What settlement reads of a journal batch: the wire types of `journal.proto` with the fields it needs and no
//! others. Unknown fields are stepped over by the decoder, and texts stay slices of the record, so that an entry costs
//! no allocation. A test holds these tags against the full types.

use bytes::Bytes;
use schemas::amount_wire;
use schemas::dates::Day;
use schemas::wire::{Side, Tick};

/// `JournalBody`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct JournalView {
    /// Items in order; those without a field that matters here are `None` inside.
    #[prost(message, repeated, tag = "1")]
    pub item: Vec<ItemView>,
}

/// `JournalItem`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ItemView {
    /// What it is.
    #[prost(oneof = "Item", tags = "1, 2, 3, 5, 8")]
    pub item: Option<Item>,
}

/// The items that settlement reads.
#[derive(Clone, PartialEq, ::prost::Oneof)]
pub enum Item {
    /// What became of a command.
    #[prost(message, tag = "1")]
    Decision(DecisionView),
    /// A credit of another partition, booked.
    #[prost(message, tag = "2")]
    Received(ReceivedView),
    /// The netted counter-entry of credits.
    #[prost(message, tag = "3")]
    Clearing(ClearingView),
    /// Business time.
    #[prost(message, tag = "5")]
    Tick(Tick),
    /// A day is complete in this journal.
    #[prost(message, tag = "8")]
    Aligned(AlignedView),
}

/// `Decision`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct DecisionView {
    /// Days since 1970-01-01.
    #[prost(sint32, tag = "8")]
    pub accounting_date: i32,
    /// Book.
    #[prost(bytes = "bytes", tag = "12")]
    pub book: Bytes,
    /// Legs booked here.
    #[prost(message, repeated, tag = "15")]
    pub entry: Vec<EntryView>,
}

/// `Received`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReceivedView {
    /// Days since 1970-01-01.
    #[prost(sint32, tag = "6")]
    pub accounting_date: i32,
    /// Book.
    #[prost(bytes = "bytes", tag = "10")]
    pub book: Bytes,
    /// The leg booked.
    #[prost(message, optional, tag = "13")]
    pub entry: Option<EntryView>,
}

/// `Clearing`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ClearingView {
    /// Book.
    #[prost(bytes = "bytes", tag = "4")]
    pub book: Bytes,
    /// Days since 1970-01-01.
    #[prost(sint32, tag = "5")]
    pub accounting_date: i32,
    /// The netted entry; absent when it nets to zero.
    #[prost(message, optional, tag = "9")]
    pub entry: Option<EntryView>,
}

/// `Aligned`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct AlignedView {
    /// Book.
    #[prost(bytes = "bytes", tag = "1")]
    pub book: Bytes,
    /// Days since 1970-01-01.
    #[prost(sint32, tag = "2")]
    pub date: i32,
}

/// `Entry`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct EntryView {
    /// Account.
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// Asset.
    #[prost(bytes = "bytes", tag = "2")]
    pub asset: Bytes,
    /// Side.
    #[prost(enumeration = "Side", tag = "3")]
    pub side: i32,
    /// Amount, low half.
    #[prost(uint64, tag = "4")]
    pub amount_lo: u64,
    /// Amount, high half.
    #[prost(sint64, tag = "5")]
    pub amount_hi: i64,
    /// Sequence on the account.
    #[prost(uint64, tag = "6")]
    pub seq: u64,
    /// Balance before, low half.
    #[prost(uint64, tag = "7")]
    pub before_lo: u64,
    /// Balance before, high half.
    #[prost(sint64, tag = "8")]
    pub before_hi: i64,
    /// Balance after, low half.
    #[prost(uint64, tag = "9")]
    pub after_lo: u64,
    /// Balance after, high half.
    #[prost(sint64, tag = "10")]
    pub after_hi: i64,
}

impl EntryView {
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

impl Item {
    /// Book, accounting date and entries of an item that books something.
    #[must_use]
    pub fn booked(&self) -> Option<(&Bytes, Day, &[EntryView])> {
        let (book, date, entries) = match self {
            Self::Decision(d) => (&d.book, d.accounting_date, d.entry.as_slice()),
            Self::Received(r) => (&r.book, r.accounting_date, r.entry.as_slice()),
            Self::Clearing(c) => (&c.book, c.accounting_date, c.entry.as_slice()),
            Self::Tick(_) | Self::Aligned(_) => return None,
        };
        if entries.is_empty() { None } else { Some((book, Day(date), entries)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use schemas::wire::{self, journal_item};

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
        let view = JournalView::decode(Bytes::from(body.encode_to_vec())).unwrap();
        assert_eq!(view.item.len(), body.item.len(), "items that are not read still count");
        let booked: Vec<_> = view.item.iter().filter_map(|i| i.item.as_ref()?.booked()).collect();
        let dates: Vec<_> =
            booked.iter().map(|(book, date, entries)| (&book[..], date.0, entries.len())).collect();
        assert_eq!(dates, [(&b"main"[..], 20_778, 2), (b"b2", 20_779, 1), (b"b3", -3, 1)]);
        let seqs: Vec<u64> =
            booked.iter().flat_map(|(_, _, entries)| entries.iter().map(|e| e.seq)).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
        let first = &booked[0].2[0];
        assert_eq!((&first.account[..], &first.asset[..]), (&b"users:1:wallet"[..], &b"CNY"[..]));
        assert_eq!((first.signed(), first.before(), first.after()), (Some(-5), -(1 << 70), -(1 << 70) - 5));
        let rest: Vec<_> = view.item.iter().map(|i| i.item.clone()).collect();
        assert_eq!(rest[3], None);
        assert_eq!(rest[4], Some(Item::Tick(Tick { business_time_us: 77, ingest_slot: 2, lane: vec![] })));
        let aligned = AlignedView { book: Bytes::from_static(b"main"), date: 20_778 };
        assert_eq!(rest[5], Some(Item::Aligned(aligned)));
        assert_eq!(rest[6], None);
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
