//! Balances of a window as JSON, one record each, in one piece of memory.
//!
//! There is one for every account that a window has touched, more than anything else that is written: so the texts are put
//! together here, in the order of the fields of [`schemas::balance_json::Balance`], and not by way of that struct. A test
//! holds the two against each other.

use crate::dual::DualBalance;
use crate::publish::Origin;
use bytes::Bytes;
use schemas::balance_json::{FORMAT, NormalSide};
use schemas::dates::Day;
use stream::log::{OutRecord, TopicPartition};

/// About as many bytes as a record has.
const RECORD_BYTES: usize = 448;

/// One balance, in the terms of the books.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) account: &'a str,
    pub(crate) asset: &'a str,
    pub(crate) exponent: u8,
    pub(crate) side: NormalSide,
    pub(crate) dual: &'a DualBalance,
    pub(crate) seq: u64,
}

/// See the module.
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where each record's key begins, its value begins, and its value ends.
    places: Vec<(usize, usize, usize)>,
    /// What all records of the window end with.
    tail: Vec<u8>,
    /// The day whose text was made last.
    date: Option<(Day, String)>,
}

impl Lines {
    pub(crate) fn new(origin: Origin<'_>, records: usize) -> Self {
        let mut tail = Vec::new();
        tail.extend_from_slice(br#","book":"#);
        put_text(&mut tail, origin.book);
        put_number(&mut tail, r#","generation":"#, origin.generation.into());
        put_number(&mut tail, r#","slot":"#, origin.slot.into());
        put_number(&mut tail, r#","journal_batch":"#, origin.batch);
        tail.push(b'}');
        let (buffer, places) = (Vec::with_capacity(records * RECORD_BYTES), Vec::with_capacity(records));
        Self { buffer, places, tail, date: None }
    }

    pub(crate) fn push(&mut self, line: Line<'_>) {
        let out = &mut self.buffer;
        let key = out.len();
        out.extend_from_slice(line.account.as_bytes());
        out.push(b'|');
        out.extend_from_slice(line.asset.as_bytes());
        let value = out.len();
        put_number(out, r#"{"format":"#, FORMAT.into());
        out.extend_from_slice(br#","account":"#);
        put_text(out, line.account);
        out.extend_from_slice(br#","asset":"#);
        put_text(out, line.asset);
        let (current, previous) = (line.dual.current, line.dual.previous);
        put_amount(out, [r#","balance":""#, r#"","balance_minor":""#], on(line.side, current), line.exponent);
        out.extend_from_slice(br#"","debit_minus_credit_minor":""#);
        put_minor(out, current);
        out.extend_from_slice(match line.side {
            NormalSide::Debit => br#"","normal_side":"debit","exponent":"#.as_slice(),
            NormalSide::Credit => br#"","normal_side":"credit","exponent":"#.as_slice(),
        });
        put_number(out, "", line.exponent.into());
        put_number(out, r#","seq":"#, line.seq);
        out.extend_from_slice(br#","last_date":""#);
        put_date(out, &mut self.date, line.dual.last_date);
        let names = [r#"","previous_balance":""#, r#"","previous_balance_minor":""#];
        put_amount(out, names, on(line.side, previous), line.exponent);
        out.push(b'"');
        out.extend_from_slice(&self.tail);
        self.places.push((key, value, out.len()));
    }

    /// The records, in the order in which they were pushed.
    pub(crate) fn into_records(self, to: TopicPartition, records: &mut Vec<OutRecord>) {
        let all = Bytes::from(self.buffer);
        records.extend(
            self.places.into_iter().map(|(key, value, end)| {
                OutRecord::new(to, all.slice(value..end)).keyed(all.slice(key..value))
            }),
        );
    }
}

/// Debits minus credits, shown on `side`. The minimum of i128 is no balance (see [`crate::dual`]).
pub(crate) const fn on(side: NormalSide, debit_minus_credit: i128) -> i128 {
    match side {
        NormalSide::Debit => debit_minus_credit,
        NormalSide::Credit => debit_minus_credit.saturating_neg(),
    }
}

fn put_number(out: &mut Vec<u8>, name: &str, number: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A JSON text with its quotes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // Writing a text into memory cannot fail.
        let _written = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// A figure in major units, then in minor units, each behind its name; without the last quote.
fn put_amount(out: &mut Vec<u8>, names: [&str; 2], figure: i128, exponent: u8) {
    let [major, minor] = names;
    let mut buffer = itoa::Buffer::new();
    let digits = digits(&mut buffer, figure);
    let sign: &[u8] = if figure < 0 { b"-" } else { b"" };
    out.extend_from_slice(major.as_bytes());
    out.extend_from_slice(sign);
    put_point(out, digits.as_bytes(), exponent.into());
    out.extend_from_slice(minor.as_bytes());
    out.extend_from_slice(sign);
    out.extend_from_slice(digits.as_bytes());
}

fn put_minor(out: &mut Vec<u8>, figure: i128) {
    if figure < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits(&mut itoa::Buffer::new(), figure).as_bytes());
}

fn digits(buffer: &mut itoa::Buffer, figure: i128) -> &str {
    let size = figure.unsigned_abs();
    match u64::try_from(size) {
        Ok(size) => buffer.format(size),
        Err(_) => buffer.format(size),
    }
}

/// Digits of minor units as major units, as [`schemas::money::format`] has them.
fn put_point(out: &mut Vec<u8>, digits: &[u8], exponent: usize) {
    if exponent == 0 {
        out.extend_from_slice(digits);
        return;
    }
    let whole = digits.len().saturating_sub(exponent);
    let (whole, fraction) = digits.split_at_checked(whole).unwrap_or_default();
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    out.push(b'.');
    out.extend(std::iter::repeat_n(b'0', exponent.saturating_sub(fraction.len())));
    out.extend_from_slice(fraction);
}

fn put_date(out: &mut Vec<u8>, known: &mut Option<(Day, String)>, day: Day) {
    let (_, text) = match known {
        Some(known) if known.0 == day => known,
        known => known.insert((day, day.to_string())),
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::balance_json::Balance;
    use schemas::money;
    use schemas::topics::Topic;

    /// As the struct is written, by way of texts of its own.
    fn expected(line: &Line<'_>, origin: Origin<'_>) -> Vec<u8> {
        let sign = |figure: i128| if line.side == NormalSide::Credit { -figure } else { figure };
        let (now, previous) = (sign(line.dual.current), sign(line.dual.previous));
        let balance = Balance {
            format: FORMAT,
            account: line.account.into(),
            asset: line.asset.into(),
            balance: money::format(now, line.exponent),
            balance_minor: now.to_string(),
            debit_minus_credit_minor: line.dual.current.to_string(),
            normal_side: line.side,
            exponent: line.exponent,
            seq: line.seq,
            last_date: line.dual.last_date.to_string(),
            previous_balance: money::format(previous, line.exponent),
            previous_balance_minor: previous.to_string(),
            book: origin.book.into(),
            generation: origin.generation,
            slot: origin.slot,
            journal_batch: origin.batch,
        };
        serde_json::to_vec(&balance).unwrap()
    }

    fn figure() -> impl Strategy<Value = i128> {
        let all = (i128::MIN + 1)..=i128::MAX;
        prop_oneof![
            -2_000_i128..2_000,
            all,
            Just(0),
            Just(i128::from(u64::MAX)),
            Just(i128::from(u64::MAX) + 1)
        ]
    }

    proptest! {
        #[test]
        fn a_line_is_what_the_struct_would_be(
            lines in prop::collection::vec(
                (".{0,12}|[a-z:]{1,40}", figure(), figure(), 0_u8..=18, any::<bool>(), any::<u64>(), -800_000_i32..800_000),
                0..6,
            ),
            book in ".{0,8}",
            generation: u32,
            slot in 0_u32..64,
            batch: u64,
        ) {
            let origin = Origin { book: &book, generation, slot, batch };
            let duals: Vec<DualBalance> = lines.iter().map(|(_, current, previous, _, _, _, date)| {
                DualBalance { current: *current, previous: *previous, last_date: Day(*date) }
            }).collect();
            let (mut written, mut wanted) = (Lines::new(origin, 2), Vec::new());
            for (line, dual) in lines.iter().zip(&duals) {
                let (account, _, _, exponent, credit, seq, _) = line;
                let side = if *credit { NormalSide::Credit } else { NormalSide::Debit };
                let line = Line { account, asset: "CNY", exponent: *exponent, side, dual, seq: *seq };
                wanted.push((format!("{account}|CNY").into_bytes(), expected(&line, origin)));
                written.push(line);
            }
            let (mut records, to) = (Vec::new(), TopicPartition::new(Topic::Balances, slot));
            written.into_records(to, &mut records);
            let found: Vec<_> = records.iter().map(|of| (of.key.to_vec(), of.value.to_vec())).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
