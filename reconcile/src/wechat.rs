//! WeChat Pay trade bills (交易账单): ALL, SUCCESS and REFUND, today's layouts and those before 2019.
//!
//! Format as in the provider's document "下载交易账单": a header line, one row per payment or refund with every
//! value behind a backtick, the tail's header, one row of control totals.
//!
//! Phases: header -> rows -> tail header -> totals -> end. Nothing after the first wrong line is read.
//! Bounds: one line in memory ([`crate::lines::LINE_BYTES_MAX`]); any number of rows; one pass.
//! Order relied on: none; columns are found by name, and a value may hold commas and quotes, because fields are cut
//! at ",`" alone.
//!
//! What a row becomes: 交易状态 `REFUND` and `REVOKED` are refunds (every row of a REFUND bill is), any other is a
//! payment with that state. A payment's amount is 订单金额 (总金额 before 2019), a refund's is 申请退款金额
//! (退款金额), both without coupons taken off: what the customer's order says.

mod columns;
mod totals;

use crate::bill::{self, Bill, NUMBER_BYTES_MAX, PAYMENT, REFUND, local_day};
use crate::charset::Charset;
use crate::columns::Named;
use crate::decimal::Decimal;
use crate::lines::{Lines, WITHOUT_TOTALS};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt};
use columns::{COLUMNS_MAX, Column, Header};
use schemas::dates::Day;
use schemas::ids;
use schemas::wire::{BillEnd, BillLine};
use std::io::Read;
use totals::{Totals, begins_tail};

/// Reads one trade bill.
pub struct WechatBill<R: Read> {
    lines: Lines<R>,
    header: Header,
    totals: Totals,
    rows: u64,
    first_day: Option<Day>,
    end: Option<BillEnd>,
}

impl<R: Read> WechatBill<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The content cannot be read, or its header is not a trade bill's.
    pub fn open(content: R) -> Result<Self, BillError> {
        let mut lines = Lines::open(content, Charset::Utf8)?;
        if !lines.advance()? || lines.text()?.trim().is_empty() {
            return Err(Quarantine::new(QuarantineReason::Empty, "line 1: no header").into());
        }
        let header = Header::parse(lines.text()?)?;
        let totals = Totals::new(header.layout);
        Ok(Self { lines, header, totals, rows: 0, first_day: None, end: None })
    }

    /// Rows read so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Which layout the header has.
    #[must_use]
    pub const fn layout(&self) -> &'static str {
        self.header.layout.name
    }

    /// Unpacked bytes looked at so far; at the end, the length of the unpacked file.
    #[must_use]
    pub const fn scanned(&self) -> u64 {
        self.lines.scanned()
    }

    fn read_tail(&mut self) -> Result<BillEnd, BillError> {
        let order = self.totals.tail(self.lines.number(), self.lines.text()?)?;
        self.lines.must_advance(", the totals' header")?;
        let number = self.lines.number();
        let text = self.lines.text()?;
        let text = text.strip_prefix('`').ok_or_else(|| {
            let detail = format!("line {number}: the totals do not begin with a backtick");
            Quarantine::new(QuarantineReason::MalformedTotals, detail)
        })?;
        let fields: Vec<&str> = text.split(",`").collect();
        let gate = self.totals.compare(number, &order, &fields)?;
        self.lines.end_after_totals()?;
        Ok(gate.end(self.rows))
    }
}

impl<R: Read> Bill for WechatBill<R> {
    fn next_line(&mut self) -> Result<Option<BillLine>, BillError> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.lines.must_advance(WITHOUT_TOTALS)?;
        if begins_tail(self.lines.text()?) {
            self.end = Some(self.read_tail()?);
            return Ok(None);
        }
        let row = Row::split(self.lines.number(), self.lines.text()?, &self.header)?;
        self.totals.add(row.line, |column| row.amount(column))?;
        let (line, day) = row.read()?;
        self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
        self.rows += 1;
        Ok(Some(line))
    }

    fn end(&self) -> Option<&BillEnd> {
        self.end.as_ref()
    }

    fn first_day(&self) -> Option<Day> {
        self.first_day
    }
}

/// A row cut into fields.
struct Row<'a> {
    line: u32,
    header: &'a Header,
    fields: [&'a str; COLUMNS_MAX],
}

impl<'a> Row<'a> {
    fn split(line: u32, text: &'a str, header: &'a Header) -> Result<Self, Quarantine> {
        let first = header.first().map_or("", Named::name);
        let values = text
            .strip_prefix('`')
            .ok_or_else(|| Quarantine::field(line, first, "the row does not begin with a backtick"))?;
        let fields = header.fields(line, values.split(",`"))?;
        Ok(Self { line, header, fields })
    }

    fn get(&self, column: Column) -> Option<&'a str> {
        self.fields.get(self.header.place(column)?).copied()
    }

    fn wrong(&self, column: Column, why: impl std::fmt::Display) -> Quarantine {
        Quarantine::field(self.line, column.name(), why)
    }

    /// An amount; `None` when the layout has no such column.
    fn amount(&self, column: Column) -> Result<Option<Decimal>, Quarantine> {
        let Some(text) = self.get(column) else { return Ok(None) };
        let read =
            Decimal::parse(text).map_err(|e| self.wrong(column, format!("{:?}: {e}", excerpt(text))))?;
        Ok(Some(read))
    }

    fn number(&self, column: Column) -> Result<String, Quarantine> {
        bill::number(self.get(column).unwrap_or_default()).map_err(|why| self.wrong(column, why))
    }

    /// Refund number; the provider writes `0` where there is none.
    fn refund_number(&self) -> Result<String, Quarantine> {
        match self.get(Column::Refund) {
            None | Some("" | "0") => Ok(String::new()),
            Some(_) => self.number(Column::Refund),
        }
    }

    /// A refund counts from when it was asked for: the day a bill is for. Its success may come days later.
    fn time(&self, refund: bool) -> Result<(String, Day), Quarantine> {
        let mut column = Column::Time;
        if refund {
            let times = [Column::RefundAppliedAt, Column::RefundSucceededAt];
            let written = |c: &Column| self.get(*c).is_some_and(|text| !text.is_empty());
            column = times.into_iter().find(written).unwrap_or(Column::Time);
        }
        let text = self.get(column).unwrap_or_default();
        let day = local_day(text)
            .ok_or_else(|| self.wrong(column, format!("{:?} is not YYYY-MM-DD HH:MM:SS", excerpt(text))))?;
        Ok((text.to_owned(), day))
    }

    fn state(&self, column: Column) -> Result<&'a str, Quarantine> {
        let text = self.get(column).unwrap_or_default();
        let code = !text.is_empty()
            && text.len() <= NUMBER_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if code { Ok(text) } else { Err(self.wrong(column, format!("{:?} is not a state", excerpt(text)))) }
    }

    fn read(&self) -> Result<(BillLine, Day), Quarantine> {
        let layout = self.header.layout;
        let state = self.state(Column::TradeState)?;
        let refund = layout.refunds_only || matches!(state, "REFUND" | "REVOKED");
        if refund && self.header.place(layout.refund_amount).is_none() {
            let why = format!("{state:?} in a bill of layout {}, which has no refunds", layout.name);
            return Err(self.wrong(Column::TradeState, why));
        }
        let (amount, status) = if refund {
            (layout.refund_amount, self.state(Column::RefundState)?)
        } else {
            (layout.payment_amount, state)
        };
        let asset = self.get(Column::Currency).unwrap_or_default();
        if !ids::is_asset(asset) {
            return Err(self.wrong(Column::Currency, format!("{:?} is not a currency", excerpt(asset))));
        }
        let (time, day) = self.time(refund)?;
        let line = BillLine {
            line: self.line,
            provider_order: self.number(Column::ProviderOrder)?,
            order: self.number(Column::Order)?,
            kind: if refund { REFUND } else { PAYMENT }.to_owned(),
            refund: if refund { self.refund_number()? } else { String::new() },
            asset: asset.to_owned(),
            gross: self.amount(amount)?.map(Decimal::to_wire),
            fee: self.amount(Column::Fee)?.map(Decimal::to_wire),
            status: status_of(status),
            time,
            account: self.number(Column::Merchant)?,
        };
        Ok((line, day))
    }
}

/// The provider's state in our words; what has no word of ours is lower-cased.
fn status_of(state: &str) -> String {
    match state {
        "FAIL" => "failed".to_owned(),
        "CHANGE" => "abnormal".to_owned(),
        "REFUNDCLOSE" => "closed".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_in_our_words() {
        for (state, word) in
            [("SUCCESS", "success"), ("PROCESSING", "processing"), ("FAIL", "failed"), ("CHANGE", "abnormal")]
        {
            assert_eq!(status_of(state), word);
        }
    }
}
