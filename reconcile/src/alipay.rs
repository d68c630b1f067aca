//! Alipay's merchant detail (业务明细): a ZIP of two CSV files in GBK, or the detail alone.
//!
//! Format as the provider's bill download (`alipay.data.dataservice.bill.downloadurl.query`, type `trade`) gives it: four
//! lines with `#`, the header, a row for each payment or refund, the end of the list, totals of both, the time of
//! export. The ZIP's other member is the summary; the members stand in either order and are told by their first line.
//!
//! Phases: directory -> summary, whole -> header of the detail -> rows -> totals -> end. Nothing after the first wrong
//! line is read. Bounds: one line and one piece of a member in memory ([`crate::lines`], [`crate::zipped`]).
//! Order relied on: none; columns are found by name. A value holds no comma: a row with one more is refused.
//!
//! What a row becomes: 交易 is a payment, 退款 a refund, whose amounts stand below zero. The amount is 订单金额, what
//! the customer's order says, the time 完成时间 (创建时间 of a refund is its payment's), the fee 服务费; both amounts
//! without their sign.

mod columns;
mod preamble;
mod summary;
mod totals;

use crate::bill::{self, Bill, PAYMENT, REFUND, local_day};
use crate::charset::Charset;
use crate::columns::Named;
use crate::decimal::Decimal;
use crate::gate::Gate;
use crate::lines::{Lines, WITHOUT_TOTALS};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt, member_name};
use crate::zipped::{self, Entry, Member};
use columns::{COLUMNS_MAX, Column, DETAIL, Header};
use schemas::dates::Day;
use schemas::wire::{BillEnd, BillLine};
use std::io::{self, Read, Seek, SeekFrom};
use summary::Summary;
use totals::Totals;

/// The only currency of these bills.
const ASSET: &str = "CNY";
/// State of every row: a bill has what has succeeded.
const STATUS: &str = "success";
/// A detail and a summary.
const MEMBERS_MAX: usize = 2;

/// The detail, alone or as a member.
enum Detail<R> {
    Alone(R),
    Member(Member<R>),
}

impl<R: Read> Read for Detail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Alone(content) => content.read(buffer),
            Self::Member(content) => content.read(buffer),
        }
    }
}

/// Reads one merchant detail.
pub struct AlipayBill<R: Read> {
    lines: Lines<Detail<R>>,
    /// Name of the member that is read; empty = the detail stands alone.
    member: String,
    summary: Option<Summary>,
    account: String,
    header: Header,
    totals: Totals,
    first_day: Option<Day>,
    end: Option<BillEnd>,
}

impl<R: Read> AlipayBill<R> {
    /// Reads the directory and the summary of a ZIP, then everything before the detail's rows.
    ///
    /// # Errors
    /// The content cannot be read or unpacked, or is no merchant detail.
    pub fn open(mut content: R) -> Result<Self, BillError>
    where
        R: Seek,
    {
        let mut first = Vec::with_capacity(zipped::MAGIC.len());
        content.by_ref().take(zipped::MAGIC.len() as u64).read_to_end(&mut first)?;
        content.seek(SeekFrom::Start(0))?;
        if first != zipped::MAGIC && first != zipped::MAGIC_EMPTY {
            let lines = Lines::open(Detail::Alone(content), Charset::Utf8OrGb18030)?;
            return Self::begin(lines, String::new(), None);
        }
        let (mut content, entries) = zipped::entries(content, MEMBERS_MAX)?;
        let (detail, summary) = tell_apart(&mut content, entries)?;
        let summary = match summary {
            Some(entry) => Some(read_summary(&mut content, &entry)?),
            None => None,
        };
        let lines = of_member(Detail::Member(detail.open(content)?));
        let lines = lines.map_err(|e| in_member(e, &detail.name))?;
        let member = detail.name.clone();
        Self::begin(lines, member, summary).map_err(|e| in_member(e, &detail.name))
    }

    fn begin(
        mut lines: Lines<Detail<R>>,
        member: String,
        summary: Option<Summary>,
    ) -> Result<Self, BillError> {
        let account = preamble::read(&mut lines, preamble::DETAIL)?.account;
        if let Some(summary) = summary.as_ref().filter(|summary| summary.account != account) {
            let detail = format!("account {account}, in the summary {}", summary.account);
            return Err(Quarantine::new(QuarantineReason::WrongAccount, detail).into());
        }
        let header = Header::parse(lines.number(), lines.text()?, &DETAIL)?;
        let totals = Totals::new(|column| header.place(column).is_some());
        Ok(Self { lines, member, summary, account, header, totals, first_day: None, end: None })
    }

    fn step(&mut self) -> Result<Option<BillLine>, BillError> {
        self.lines.must_advance(WITHOUT_TOTALS)?;
        let (line, text) = (self.lines.number(), self.lines.text()?);
        if text.starts_with('#') {
            preamble::ends_list(line, text)?;
            self.end = Some(self.read_totals()?);
            return Ok(None);
        }
        let row = Row { line, header: &self.header, fields: self.header.split(line, text)? };
        let refund = row.is_refund()?;
        self.totals.add(line, refund, |column| row.amount(column))?;
        let (line, day) = row.read(refund, &self.account)?;
        self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
        Ok(Some(line))
    }

    fn read_totals(&mut self) -> Result<BillEnd, BillError> {
        let mut gate = Gate::default();
        for (title, refunds) in [("#交易合计", false), ("#退款合计", true)] {
            self.lines.must_advance(WITHOUT_TOTALS)?;
            let (line, text) = (self.lines.number(), self.lines.text()?.trim());
            let rest = text.strip_prefix(title).map(|rest| rest.trim_start_matches(['：', ':']));
            let rest = rest.ok_or_else(|| {
                let detail = format!("line {line}: {:?}, expected {title}", excerpt(text));
                Quarantine::new(QuarantineReason::MalformedTotals, detail)
            })?;
            self.totals.compare_line(&mut gate, line, refunds, rest)?;
        }
        preamble::export_time(&mut self.lines)?;
        self.lines.end_after_totals()?;
        if let Some(summary) = &self.summary {
            for (column, text, stated) in &summary.stated {
                self.totals.compare_summary(&mut gate, &summary.place, *column, text, *stated)?;
            }
        }
        Ok(gate.end(self.totals.rows()))
    }
}

impl<R: Read> Bill for AlipayBill<R> {
    fn next_line(&mut self) -> Result<Option<BillLine>, BillError> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.step().map_err(|error| in_member(error, &self.member))
    }

    fn end(&self) -> Option<&BillEnd> {
        self.end.as_ref()
    }

    fn first_day(&self) -> Option<Day> {
        self.first_day
    }
}

fn of_member<R: Read>(content: R) -> Result<Lines<R>, BillError> {
    Lines::of_packed(content, Charset::Utf8OrGb18030, QuarantineReason::Zip)
}

/// The detail and the summary, by their first lines.
fn tell_apart<R: Read + Seek>(
    content: &mut R,
    entries: Vec<Entry>,
) -> Result<(Entry, Option<Entry>), BillError> {
    let (mut detail, mut summary) = (None, None);
    for entry in entries {
        let place = match first_line(content, &entry).map_err(|e| in_member(e, &entry.name))? {
            line if preamble::begins(&line, preamble::SUMMARY) => &mut summary,
            line if preamble::begins(&line, preamble::DETAIL) => &mut detail,
            line => {
                let (name, line) = (member_name(&entry.name), excerpt(&line));
                let detail = format!("member {name}: line 1: {line:?}, expected a detail or a summary");
                return Err(Quarantine::new(QuarantineReason::ZipMembers, detail).into());
            }
        };
        if place.is_some() {
            let detail = format!("member {}: a second of its kind", member_name(&entry.name));
            return Err(Quarantine::new(QuarantineReason::ZipMembers, detail).into());
        }
        *place = Some(entry);
    }
    let detail = detail.ok_or_else(|| {
        Quarantine::new(
            QuarantineReason::ZipMembers,
            format!("no member begins with # and {}", preamble::DETAIL),
        )
    })?;
    Ok((detail, summary))
}

fn first_line<R: Read + Seek>(content: &mut R, entry: &Entry) -> Result<String, BillError> {
    let mut lines = of_member(entry.open(content)?)?;
    Ok(if lines.advance()? { lines.text()?.to_owned() } else { String::new() })
}

fn read_summary<R: Read + Seek>(content: &mut R, entry: &Entry) -> Result<Summary, BillError> {
    let read = |content| Summary::read(&entry.name, &mut of_member(entry.open(content)?)?);
    read(content).map_err(|e| in_member(e, &entry.name))
}

/// The same error with the member's name; a total of the summary has it already.
fn in_member(error: BillError, member: &str) -> BillError {
    match error {
        BillError::Quarantine(why) if !member.is_empty() && !why.detail.starts_with("member ") => {
            let detail = format!("member {}: {}", member_name(member), why.detail);
            Quarantine::new(why.reason, detail).into()
        }
        other => other,
    }
}

/// A row cut into fields.
struct Row<'a> {
    line: u32,
    header: &'a Header,
    fields: [&'a str; COLUMNS_MAX],
}

impl<'a> Row<'a> {
    fn get(&self, column: Column) -> &'a str {
        self.header.place(column).and_then(|at| self.fields.get(at)).copied().unwrap_or_default()
    }

    fn wrong(&self, column: Column, why: impl std::fmt::Display) -> Quarantine {
        Quarantine::field(self.line, column.name(), why)
    }

    fn is_refund(&self) -> Result<bool, Quarantine> {
        match self.get(Column::Kind) {
            "交易" => Ok(false),
            "退款" => Ok(true),
            other => Err(self.wrong(Column::Kind, format!("{:?}, expected 交易 or 退款", excerpt(other)))),
        }
    }

    /// An amount; where nothing is written, nothing was paid.
    fn amount(&self, column: Column) -> Result<Decimal, Quarantine> {
        match self.get(column) {
            "" if column != Column::OrderAmount => Ok(Decimal::ZERO),
            text => Decimal::parse(text).map_err(|e| self.wrong(column, format!("{:?}: {e}", excerpt(text)))),
        }
    }

    fn number(&self, column: Column) -> Result<String, Quarantine> {
        bill::number(self.get(column)).map_err(|why| self.wrong(column, why))
    }

    fn refund_number(&self) -> Result<String, Quarantine> {
        if self.get(Column::Refund).is_empty() { Ok(String::new()) } else { self.number(Column::Refund) }
    }

    fn read(&self, refund: bool, account: &str) -> Result<(BillLine, Day), Quarantine> {
        let amount = self.amount(Column::OrderAmount)?;
        let (below, above) = (amount < Decimal::ZERO, amount > Decimal::ZERO);
        if (refund && above) || (!refund && below) {
            let sign = if refund { "a refund above zero" } else { "a payment below zero" };
            return Err(self.wrong(Column::OrderAmount, format!("{amount}, {sign}")));
        }
        let time = self.get(Column::CompletedAt);
        let day = local_day(time).ok_or_else(|| {
            self.wrong(Column::CompletedAt, format!("{:?} is not YYYY-MM-DD HH:MM:SS", excerpt(time)))
        })?;
        let line = BillLine {
            line: self.line,
            provider_order: self.number(Column::ProviderOrder)?,
            order: self.number(Column::Order)?,
            kind: if refund { REFUND } else { PAYMENT }.to_owned(),
            refund: if refund { self.refund_number()? } else { String::new() },
            asset: ASSET.to_owned(),
            gross: Some(amount.magnitude().to_wire()),
            fee: Some(self.amount(Column::Fee)?.magnitude().to_wire()),
            status: STATUS.to_owned(),
            time: time.to_owned(),
            account: account.to_owned(),
        };
        Ok((line, day))
    }
}
