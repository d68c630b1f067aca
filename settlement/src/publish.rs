//! Records that a window writes: balances, daily balances, reports, flow, announcements.
//!
//! Balances go out in the order in which the window first met their accounts, closings in the order in which they were
//! made. `balances` and `balances.daily` go to the slot's own partition.

use crate::config::BALANCES_BYTES_MAX;
use crate::days::Announced;
use crate::decide::{Draft, Rules};
use crate::dual::{Account, DualBalance};
use crate::lines::{Line, Lines, on};
use crate::names::Name;
use bytes::Bytes;
use schemas::amount_wire;
use schemas::balance_json::{Balance, CompleteUntil, DailyBalance, DayState, FORMAT, FlowStatus, NormalSide};
use schemas::dates::{Day, format_instant};
use schemas::days::{DayAligned, DayAnnouncement};
use schemas::money;
use schemas::topics::Topic;
use schemas::wire;
use schemas::wire_write::Fields;
use serde::Serialize;
use stream::log::{OutRecord, TopicPartition};

/// Where a record was made: it stands in every balance.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Book.
    pub book: &'a str,
    /// Generation of the books.
    pub generation: u32,
    /// Settlement slot.
    pub slot: u32,
    /// Journal batch.
    pub batch: u64,
}

/// A figure as people see it.
struct Shown {
    major: String,
    minor: String,
}

impl Shown {
    fn on(side: NormalSide, debit_minus_credit: i128, exponent: u8) -> Self {
        let figure = on(side, debit_minus_credit);
        Self { major: money::format(figure, exponent), minor: figure.to_string() }
    }
}

impl Rules {
    /// Side on which an account normally has its balance. The ledger's own accounts are in no chart: money on its way
    /// in is owed to us (debit), money on its way out and in suspense is owed by us (credit).
    #[must_use]
    pub fn normal_side(&self, account: &str) -> NormalSide {
        if account.starts_with("clearing:in:") {
            return NormalSide::Debit;
        }
        if account.starts_with("clearing:") || account.starts_with("suspense:") {
            return NormalSide::Credit;
        }
        self.config.chart.resolve(account).map_or(NormalSide::Debit, |class| class.normal.into())
    }

    /// A balance as JSON has it.
    #[must_use]
    pub fn balance<'a>(&'a self, name: &'a Name, account: &Account, origin: Origin<'a>) -> Balance<'a> {
        let asset = self.assets.get(name.asset()).unwrap_or_default();
        self.shown(name.account(), asset, &account.dual, account.seq, origin)
    }

    fn line<'a>(&'a self, name: &'a Name, of: &'a Account) -> Line<'a> {
        let (account, (asset, exponent)) =
            (name.account(), self.assets.get(name.asset()).unwrap_or_default());
        Line { account, asset, exponent, side: self.normal_side(account), dual: &of.dual, seq: of.seq }
    }

    /// A balance of a [`wire::BalancesBody`] as JSON has it. `None` = its asset is not in the chart.
    #[must_use]
    pub fn balance_of<'a>(
        &'a self,
        body: &wire::BalancesBody,
        balance: &'a wire::Balance,
    ) -> Option<Balance<'a>> {
        let asset = self.assets.get(self.assets.number(balance.asset.as_bytes())?)?;
        let dual = DualBalance {
            current: amount_wire::value(balance.balance),
            previous: amount_wire::value(balance.previous),
            last_date: Day(balance.last_date),
        };
        let (book, generation) = (balance.book.as_str(), body.generation);
        let origin = Origin { book, generation, slot: body.slot, batch: body.journal_batch };
        Some(self.shown(&balance.account, asset, &dual, balance.seq, origin))
    }

    fn shown<'a>(
        &self,
        account: &'a str,
        (asset, exponent): (&'a str, u8),
        dual: &DualBalance,
        seq: u64,
        origin: Origin<'a>,
    ) -> Balance<'a> {
        let side = self.normal_side(account);
        let now = Shown::on(side, dual.current, exponent);
        let previous = Shown::on(side, dual.previous, exponent);
        Balance {
            format: FORMAT,
            account: account.into(),
            asset: asset.into(),
            balance: now.major,
            balance_minor: now.minor,
            debit_minus_credit_minor: dual.current.to_string(),
            normal_side: side,
            exponent,
            seq,
            last_date: dual.last_date.to_string(),
            previous_balance: previous.major,
            previous_balance_minor: previous.minor,
            book: origin.book.into(),
            generation: origin.generation,
            slot: origin.slot,
            journal_batch: origin.batch,
        }
    }

    /// A closing balance as JSON has it.
    #[must_use]
    pub fn daily<'a>(
        &'a self,
        name: &'a Name,
        day: Day,
        revision: u32,
        closing: i128,
        origin: Origin<'a>,
    ) -> DailyBalance<'a> {
        let (asset, exponent) = self.assets.get(name.asset()).unwrap_or_default();
        let side = self.normal_side(name.account());
        let shown = Shown::on(side, closing, exponent);
        DailyBalance {
            format: FORMAT,
            account: name.account().into(),
            asset: asset.into(),
            day: day.to_string(),
            revision,
            balance: shown.major,
            balance_minor: shown.minor,
            debit_minus_credit_minor: closing.to_string(),
            normal_side: side,
            exponent,
            book: origin.book.into(),
            generation: origin.generation,
            slot: origin.slot,
            journal_batch: origin.batch,
        }
    }
}

impl Draft<'_> {
    fn origin(&self, batch: u64) -> Origin<'_> {
        let (book, generation) = (self.rules.config.book.as_str(), self.head.generation);
        Origin { book, generation, slot: self.base.slot, batch }
    }

    /// Every record of this window. `first` = first window of a new owner: it repeats the newest announcement, which
    /// an earlier run with another calendar or bound may not have made.
    pub(crate) fn records(&self, first: bool) -> Vec<OutRecord> {
        let mut records = Vec::new();
        if self.head.journal != self.base.head.journal {
            if self.rules.config.compaction {
                self.balance_records(&mut records);
            } else {
                self.balance_batches(&mut records);
            }
        }
        self.daily_records(&mut records);
        for day in &self.reported {
            records.push(self.report_record(*day));
        }
        if self.base.slot == 0 {
            self.day_records(first, &mut records);
        }
        records
    }

    fn balance_records(&self, records: &mut Vec<OutRecord>) {
        let to = TopicPartition::new(Topic::Balances, self.base.slot);
        let origin = self.origin(self.head.batch);
        let mut lines = Lines::new(origin, self.touched.len());
        for touched in self.touched.iter().filter(|touched| touched.booked) {
            let Some(name) = self.name(touched.index) else { continue };
            lines.push(self.rules.line(name, &touched.account));
        }
        lines.into_records(to, records);
        let complete = CompleteUntil {
            format: FORMAT,
            kind: "complete_until".into(),
            generation: origin.generation,
            slot: origin.slot,
            journal_batch: origin.batch,
            business_time: self.head.time.highest_us.map(format_instant),
        };
        records.push(json(to, format!("complete_until|{}", origin.slot), &complete));
    }

    /// One record, more only past [`BALANCES_BYTES_MAX`]. It is there even when no balance changed: it says how far
    /// the slot is complete.
    fn balance_batches(&self, records: &mut Vec<OutRecord>) {
        let to = TopicPartition::new(Topic::Balances, self.base.slot);
        let origin = self.origin(self.head.batch);
        let head = || {
            let mut body = Vec::with_capacity(BALANCES_BYTES_MAX.min(64 * (self.touched.len() + 1)));
            write_head(&mut Fields::new(&mut body), origin);
            body
        };
        let mut body = head();
        for touched in self.touched.iter().filter(|touched| touched.booked) {
            let Some(name) = self.name(touched.index) else { continue };
            let (asset, _) = self.rules.assets.get(name.asset()).unwrap_or_default();
            let texts = name.bytes().len() + asset.len() + origin.book.len();
            if body.len() + texts + FIGURES_BYTES_MAX > BALANCES_BYTES_MAX {
                records.push(OutRecord::new(to, std::mem::replace(&mut body, head()).into()));
            }
            let write = |balance: &mut Fields<'_>| {
                write_balance(balance, name, asset, &touched.account, origin.book);
            };
            Fields::new(&mut body).message(BALANCE, write);
        }
        records.push(OutRecord::new(to, body.into()));
    }

    fn daily_records(&self, records: &mut Vec<OutRecord>) {
        let to = TopicPartition::new(Topic::BalancesDaily, self.base.slot);
        for figure in &self.dailies {
            let Some(name) = self.name(figure.index) else { continue };
            let origin = self.origin(figure.batch);
            let daily = self.rules.daily(name, figure.day, figure.revision, figure.closing, origin);
            let key = format!("{}|{}|{}|{}", daily.account, daily.asset, daily.day, daily.revision);
            records.push(json(to, key, &daily));
        }
    }

    fn report_record(&self, day: Day) -> OutRecord {
        let report = DayAligned::new(self.rules.config.book.as_str(), day, self.base.slot);
        let key = format!("{}|{day}|{}", report.book, report.slot);
        keyed(TopicPartition::new(Topic::DaysAligned, 0), key, report.encode())
    }

    /// Slot 0: days closed, then days announced.
    fn day_records(&self, first: bool, records: &mut Vec<OutRecord>) {
        for day in &self.closed {
            records.push(self.flow_record(*day, DayState::Closed));
        }
        let calendar = &self.rules.config.calendar;
        let Some(now) = self.head.days().announced(calendar) else { return };
        let before = self.base.head.days().announced(calendar);
        let mut day = before.map_or(now.first, |before| before.newest.next());
        if first && day > now.newest {
            self.announce(now.newest, records);
        }
        while day <= now.newest {
            self.announce(day, records);
            self.flow_of_announcement(now, day, records);
            day = day.next();
        }
    }

    fn announce(&self, day: Day, records: &mut Vec<OutRecord>) {
        let ingest_slots = self.rules.config.partitions.events;
        let announcement = DayAnnouncement::new(self.rules.config.book.as_str(), day, ingest_slots);
        let (key, value) = (format!("{}|{day}", announcement.book), announcement.encode());
        for slot in 0..ingest_slots {
            records.push(keyed(TopicPartition::new(Topic::Days, slot), key.clone(), value.clone()));
        }
    }

    fn flow_of_announcement(&self, announced: Announced, day: Day, records: &mut Vec<OutRecord>) {
        let before = day.previous();
        if before >= announced.first && self.head.reports.closed.is_none_or(|closed| before > closed) {
            records.push(self.flow_record(before, DayState::Cutting));
        }
        records.push(self.flow_record(day, DayState::Open));
    }

    fn flow_record(&self, day: Day, state: DayState) -> OutRecord {
        let slots = self.rules.config.partitions.internal;
        let status = FlowStatus {
            format: FORMAT,
            kind: "day".into(),
            book: self.rules.config.book.clone(),
            day: day.to_string(),
            state,
            since: self.head.time.highest_us.map(format_instant),
            slots,
            aligned: self.head.reports.aligned(day, slots),
        };
        let key = format!("{}|{}", status.book, status.day);
        json(TopicPartition::new(Topic::Flow, 0), key, &status)
    }
}

fn json<T: Serialize>(to: TopicPartition, key: String, value: &T) -> OutRecord {
    // The types written here are structs of texts and numbers: writing them cannot fail.
    keyed(to, key, serde_json::to_vec(value).unwrap_or_default().into())
}

fn keyed(to: TopicPartition, key: String, value: Bytes) -> OutRecord {
    OutRecord::new(to, value).keyed(Bytes::from(key.into_bytes()))
}

/// Number of `balance` in `BalancesBody`.
const BALANCE: u32 = 5;
/// Most bytes of a balance besides its texts: two amounts of 24 bytes, a sequence, a date, eight keys, ten lengths.
const FIGURES_BYTES_MAX: usize = 2 * 24 + 10 + 5 + 8 + 10 * 3;

/// `BalancesBody` without its balances.
fn write_head(body: &mut Fields<'_>, origin: Origin<'_>) {
    body.uint(1, FORMAT.into());
    body.uint(2, origin.generation.into());
    body.uint(3, origin.slot.into());
    body.uint(4, origin.batch);
}

/// `Balance` of `balances.proto`, written without a copy of its texts.
fn write_balance(balance: &mut Fields<'_>, name: &Name, asset: &str, account: &Account, book: &str) {
    balance.bytes(1, name.bytes());
    balance.text(2, asset);
    balance.amount(3, account.dual.current);
    balance.uint(4, account.seq);
    balance.sint(5, account.dual.last_date.0.into());
    balance.amount(6, account.dual.previous);
    balance.text(7, book);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn a_balance_is_written_as_the_generated_type_would(
            account in "[a-z:]{0,40}",
            seq in any::<u64>(),
            current in prop_oneof![any::<i128>(), Just(0), Just(-1), Just(i128::MAX), Just(i128::MIN)],
            previous in prop_oneof![any::<i128>(), Just(0), Just(i128::from(u64::MAX))],
            last_date in any::<i32>(),
        ) {
            let name = Name::new(&account, 0);
            let dual = DualBalance { current, previous, last_date: Day(last_date) };
            let mut out = Vec::new();
            let account_now = Account { dual, seq, ..Account::EMPTY };
            write_balance(&mut Fields::new(&mut out), &name, "CNY", &account_now, "main");
            let expected = wire::Balance {
                account,
                asset: "CNY".into(),
                balance: Some(current.into()),
                seq,
                last_date,
                previous: Some(previous.into()),
                book: "main".into(),
            };
            prop_assert!(out.len() < FIGURES_BYTES_MAX + expected.account.len() + "CNYmain".len());
            prop_assert_eq!(out, expected.encode_to_vec());
        }

        #[test]
        fn a_head_is_written_as_the_generated_type_would(generation: u32, slot: u32, batch: u64) {
            let mut out = Vec::new();
            write_head(&mut Fields::new(&mut out), Origin { book: "main", generation, slot, batch });
            let expected =
                wire::BalancesBody { format: FORMAT, generation, slot, journal_batch: batch, balance: vec![] };
            prop_assert_eq!(out, expected.encode_to_vec());
        }
    }
}
