//! A row of a mapped file and what it becomes.

use super::Header;
use super::record::Record;
use crate::bill::{NUMBER_BYTES_MAX, PAYMENT, REFUND};
use crate::decimal::Decimal;
use crate::mapping::{Gross, Mapping, Sign, Text};
use crate::quarantine::{Quarantine, excerpt};
use jiff::fmt::strtime;
use schemas::dates::Day;
use schemas::ids;
use schemas::wire::BillLine;

/// A row that has as many fields as the header.
pub(super) struct Row<'a> {
    mapping: &'a Mapping,
    header: &'a Header,
    record: &'a Record,
}

impl<'a> Row<'a> {
    pub(super) fn new(
        mapping: &'a Mapping,
        header: &'a Header,
        record: &'a Record,
    ) -> Result<Self, Quarantine> {
        let (count, expected) = (record.len(), header.width);
        if count != expected {
            let at = header.names.get(count.min(expected.saturating_sub(1)));
            let why = format!("{count} fields where the header names {expected}");
            return Err(Quarantine::field(record.line(), at.map_or("", String::as_str), why));
        }
        Ok(Self { mapping, header, record })
    }

    fn get(&self, column: usize) -> Result<&'a str, Quarantine> {
        self.header.places.get(column).map_or(Ok(""), |at| self.record.field(*at))
    }

    fn wrong(&self, column: usize, why: impl std::fmt::Display) -> Quarantine {
        let name = self.mapping.columns.get(column).map_or("", String::as_str);
        Quarantine::field(self.record.line(), name, why)
    }

    /// Whether the mapping leaves it out.
    pub(super) fn is_skipped(&self) -> bool {
        let skips = self.mapping.skip.iter();
        let mut skips = skips.filter_map(|skip| Some((skip, self.get(skip.column).ok()?)));
        skips.any(|(skip, text)| skip.values.iter().any(|value| value == text))
    }

    /// The amount in a column; zero where nothing is written.
    pub(super) fn amount_or_zero(&self, column: usize) -> Result<Decimal, Quarantine> {
        if self.get(column)?.is_empty() { Ok(Decimal::ZERO) } else { self.amount(column) }
    }

    fn amount(&self, column: usize) -> Result<Decimal, Quarantine> {
        let text = self.get(column)?;
        let read = self.mapping.amounts.amount(text);
        read.map_err(|why| self.wrong(column, format!("{:?}: {why}", excerpt(text))))
    }

    /// The sum of a column and this row's amount.
    pub(super) fn added(&self, sum: Decimal, column: usize) -> Result<Decimal, Quarantine> {
        let added = sum.checked_add(self.amount_or_zero(column)?);
        added.ok_or_else(|| self.wrong(column, "the sum is out of range"))
    }

    /// A text as the mapping has it; empty where nothing is written.
    fn text(&self, text: &Text) -> Result<String, Quarantine> {
        let (column, map, upper) = match text {
            Text::Same(value) => return Ok(value.clone()),
            Text::Column { column, map, upper } => (*column, map, *upper),
        };
        let found = self.get(column)?;
        if found.len() > NUMBER_BYTES_MAX {
            return Err(self.wrong(column, format!("longer than {NUMBER_BYTES_MAX} bytes")));
        }
        let meant = match map {
            None => found,
            Some(map) => map
                .get(found)
                .ok_or_else(|| self.wrong(column, format!("{:?} is not in the map", excerpt(found))))?,
        };
        Ok(if upper { meant.to_uppercase() } else { meant.to_owned() })
    }

    fn optional(&self, text: &Option<Text>) -> Result<String, Quarantine> {
        text.as_ref().map_or_else(|| Ok(String::new()), |text| self.text(text))
    }

    /// An error in a field that the mapping has.
    fn wrong_text(&self, text: &Text, why: impl std::fmt::Display) -> Quarantine {
        match text {
            Text::Column { column, .. } => self.wrong(*column, why),
            Text::Same(_) => Quarantine::field(self.record.line(), "", why),
        }
    }

    fn present(&self, text: &Text) -> Result<String, Quarantine> {
        let found = self.text(text)?;
        if found.is_empty() { Err(self.wrong_text(text, "empty")) } else { Ok(found) }
    }

    /// The amount without its sign, and the kind if amount or side tell it.
    fn gross(&self) -> Result<(Decimal, Option<&'static str>, usize), Quarantine> {
        let (column, by_side) = match self.mapping.gross {
            Gross::Column(column) => (column, None),
            Gross::Sides { credit, debit } => {
                let (paid, refunded) = (self.amount_or_zero(credit)?, self.amount_or_zero(debit)?);
                match (paid.is_zero(), refunded.is_zero()) {
                    (false, true) => (credit, Some(PAYMENT)),
                    (true, false) => (debit, Some(REFUND)),
                    _ => return Err(self.wrong(credit, "expected an amount in one of the two columns")),
                }
            }
        };
        let amount = self.amount(column)?;
        let negative = amount < Decimal::ZERO;
        let by_sign = match self.mapping.sign {
            Sign::Unsigned if negative => {
                return Err(self.wrong(column, format!("{amount}, expected no minus")));
            }
            Sign::NegativeRefunds if !amount.is_zero() => Some(if negative { REFUND } else { PAYMENT }),
            _ => None,
        };
        Ok((amount.magnitude(), by_side.or(by_sign), column))
    }

    /// The kind by the field for it and by the amount, which must say the same.
    fn kind(&self, told: Option<&'static str>, amount: usize) -> Result<String, Quarantine> {
        let Some(field) = &self.mapping.kind else { return Ok(told.unwrap_or(PAYMENT).to_owned()) };
        let kind = self.text(field)?;
        if ![PAYMENT, REFUND].contains(&kind.as_str()) {
            let why = format!("{:?}, expected {PAYMENT} or {REFUND}", excerpt(&kind));
            return Err(self.wrong_text(field, why));
        }
        match told.filter(|told| *told != kind) {
            Some(told) => Err(self.wrong(amount, format!("a {told} where the row is a {kind}"))),
            None => Ok(kind),
        }
    }

    fn asset(&self) -> Result<String, Quarantine> {
        let asset = self.text(&self.mapping.asset)?;
        if ids::is_asset(&asset) {
            return Ok(asset);
        }
        Err(self.wrong_text(&self.mapping.asset, format!("{:?} is not a currency", excerpt(&asset))))
    }

    /// A fee that is not written is not known.
    fn fee(&self) -> Result<Option<Decimal>, Quarantine> {
        let Some(fee) = self.mapping.fee else { return Ok(None) };
        if self.get(fee.column)?.is_empty() {
            return Ok(None);
        }
        let amount = self.amount(fee.column)?;
        Ok(Some(if fee.absolute { amount.magnitude() } else { amount }))
    }

    fn time(&self) -> Result<(String, Day), Quarantine> {
        let time = &self.mapping.time;
        let text = self.get(time.column)?;
        let date = strtime::parse(&time.format, text).and_then(|found| found.to_date());
        let day = date.ok().and_then(|date| Day::parse(&date.to_string()).ok());
        let day = day
            .ok_or_else(|| self.wrong(time.column, format!("{:?} is not {}", excerpt(text), time.format)))?;
        Ok((text.to_owned(), day))
    }

    /// What it becomes, and its day; `account` is that of a row that names none.
    pub(super) fn read(&self, account: &str) -> Result<(BillLine, Day), Quarantine> {
        let mapping = self.mapping;
        let (gross, told, amount) = self.gross()?;
        let kind = self.kind(told, amount)?;
        let (time, day) = self.time()?;
        let line = BillLine {
            line: self.record.line(),
            provider_order: self.optional(&mapping.provider_order)?,
            order: self.present(&mapping.order)?,
            refund: if kind == REFUND { self.optional(&mapping.refund)? } else { String::new() },
            kind,
            asset: self.asset()?,
            gross: Some(gross.to_wire()),
            fee: self.fee()?.map(Decimal::to_wire),
            status: self.optional(&mapping.status)?.to_lowercase(),
            time,
            account: match &mapping.account {
                Some(field) => self.present(field)?,
                None => account.to_owned(),
            },
        };
        Ok((line, day))
    }
}
