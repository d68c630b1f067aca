//! A journal partition made by hand: batches in chain order, entries with the figures they must have.

use bytes::Bytes;
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::wire::journal_item::Item;
use schemas::wire::{self, BatchHeader, JournalItem, Side};
use std::collections::BTreeMap;
use stream::log::Record;

/// 2026-11-21, a Saturday.
pub const SATURDAY: i32 = 20_778;
pub const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// A journal partition under construction.
pub struct Journal {
    slot: u32,
    head: ChainHead,
    /// (account, asset) -> sequence and balance of the last entry.
    heads: BTreeMap<(String, String), (u64, i128)>,
    pub records: Vec<Record>,
}

/// Changes a batch before it is sealed.
type Spoil<'a> = &'a dyn Fn(&mut BatchHeader);

impl Journal {
    pub fn new(slot: u32) -> Self {
        Self { slot, head: ChainHead::default(), heads: BTreeMap::new(), records: Vec::new() }
    }

    /// An entry that continues its account; debits are above zero.
    pub fn entry(&mut self, account: &str, asset: &str, signed: i128) -> wire::Entry {
        let head = self.heads.entry((account.into(), asset.into())).or_insert((0, 0));
        let before = head.1;
        *head = (head.0 + 1, before + signed);
        let side = if signed > 0 { Side::Debit } else { Side::Credit };
        let mut entry = wire::Entry {
            account: account.into(),
            asset: asset.into(),
            side: side.into(),
            seq: head.0,
            ..wire::Entry::default()
        };
        entry.set_figures(signed.abs(), before, before + signed);
        entry
    }

    /// A booked event in CNY: (account, signed amount) for every leg.
    pub fn booked(&mut self, day: i32, legs: &[(&str, i128)]) -> Item {
        let entry = legs.iter().map(|(account, signed)| self.entry(account, "CNY", *signed)).collect();
        Item::Decision(decision(day, entry))
    }

    /// Appends a batch.
    pub fn batch(&mut self, items: Vec<Item>) -> &mut Self {
        self.spoiled_batch(items, &|_| ())
    }

    /// Appends a batch whose header was changed before it was sealed.
    pub fn spoiled_batch(&mut self, items: Vec<Item>, spoil: Spoil<'_>) -> &mut Self {
        let mut body = BodyBuilder::new();
        for item in items {
            body.push(&JournalItem { item: Some(item) });
        }
        let sequence = self.head.sequence + 1;
        let mut header = BatchHeader {
            slot: self.slot,
            epoch: 1,
            batch: sequence,
            sequence,
            previous_hash: self.head.previous_hash(),
            ..BatchHeader::default()
        };
        spoil(&mut header);
        let sealed = body.seal(header);
        self.head = self.head.advanced(sealed.hash);
        self.push_value(sealed.value);
        self
    }

    /// Appends a value as it is. Offsets leave gaps, as commit markers do.
    pub fn push_value(&mut self, value: Bytes) {
        let offset = 2 * i64::try_from(self.records.len()).unwrap();
        self.records.push(Record { offset, timestamp_us: 0, key: Bytes::new(), value, headers: vec![] });
    }

    /// Shorthands for a batch of one item.
    pub fn book(&mut self, day: i32, legs: &[(&str, i128)]) -> &mut Self {
        let item = self.booked(day, legs);
        self.batch(vec![item])
    }

    pub fn tick(&mut self, us: i64) -> &mut Self {
        self.batch(vec![tick(us)])
    }

    pub fn aligned(&mut self, day: i32) -> &mut Self {
        self.batch(vec![aligned(day)])
    }
}

pub fn decision(day: i32, entry: Vec<wire::Entry>) -> wire::Decision {
    wire::Decision {
        outcome: wire::Outcome::Booked.into(),
        accounting_date: day,
        book: "main".into(),
        entry,
        ..wire::Decision::default()
    }
}

pub fn tick(us: i64) -> Item {
    Item::Tick(wire::Tick { business_time_us: us, ingest_slot: 0, lane: vec![] })
}

pub fn aligned(day: i32) -> Item {
    Item::Aligned(wire::Aligned { book: "main".into(), date: day })
}

/// `hour` o'clock UTC of a day, microseconds.
pub fn at(day: i32, hour: i64) -> i64 {
    i64::from(day) * DAY_US + hour * 3_600 * 1_000_000
}
