//! From the YAML of a mapping to the mapping, every field judged.

use super::file::{
    AmountsEntry, FeeEntry, FieldEntry, FieldsEntry, File, GrossEntry, IgnoreEntry, PreambleEntry, RowsEntry,
    SignEntry, SkipEntry, TailEntry, TimeEntry, TotalEntry,
};
use super::{
    AmountStyle, COLUMNS_MAX, Fee, Gross, Ignore, Mapping, MappingError, Pattern, Preamble, Rows, Sign, Skip,
    TAIL_LINES_MAX, Tail, TailForm, Text, Time, Total,
};
use crate::bill::{NUMBER_BYTES_MAX, PAYMENT, REFUND};
use crate::charset::Charset;
use jiff::Timestamp;
use jiff::fmt::strtime;
use schemas::ids;
use schemas::yaml::{YamlError, is_empty};
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

/// The version of the format that is read.
const VERSION: u32 = 1;
/// Blanks that surround a value and do not belong to it.
const TRIM: &str = " \t";

type Judged<T> = Result<T, MappingError>;

/// A refusal at the place of `entry`.
fn at<T>(entry: &Spanned<T>, field: &str, why: impl std::fmt::Display) -> MappingError {
    refused(entry.referenced.line(), field, why)
}

fn refused(line: u64, field: &str, why: impl std::fmt::Display) -> MappingError {
    let place = if line == 0 { String::new() } else { format!("line {line}: ") };
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    MappingError { line, message: format!("{place}{field}{why}") }
}

pub(super) fn mapping(yaml: &str) -> Judged<Mapping> {
    if is_empty(yaml) {
        return Err(refused(1, "", "the file is empty, expected version and fields"));
    }
    let file: File = serde_saphyr::from_str(yaml).map_err(|e| {
        let YamlError { line, why, .. } = e.into();
        refused(line.max(1), "", why)
    })?;
    if file.version.value != VERSION {
        return Err(at(&file.version, "version", format!("{}, expected {VERSION}", file.version.value)));
    }
    let mut reading = Reading { columns: Vec::new(), trim: file.trim.unwrap_or_else(|| TRIM.to_owned()) };
    let (delimiter, quote) = delimiters(file.delimiter, file.quote)?;
    let charset = file.encoding.map_or(Ok(Charset::Utf8), charset)?;
    let sign = match file.sign {
        SignEntry::Unsigned => Sign::Unsigned,
        SignEntry::NegativeRefunds => Sign::NegativeRefunds,
    };
    let fields = reading.fields(file.fields, sign)?;
    let skip = file.skip.into_iter().map(|entry| reading.skip(entry)).collect::<Judged<Vec<_>>>()?;
    let tail = file.tail.map(|entry| reading.tail(entry)).transpose()?;
    let ignore = ignore(file.ignore, &reading.columns)?;
    Ok(Mapping {
        digest: Sha256::digest(yaml).into(),
        charset,
        delimiter,
        quote,
        preamble: file.preamble.map_or(Ok(Preamble::Lines(0)), preamble)?,
        ignore,
        order: fields.order,
        provider_order: fields.provider_order,
        kind: fields.kind,
        refund: fields.refund,
        asset: fields.asset,
        gross: fields.gross,
        fee: fields.fee,
        status: fields.status,
        time: fields.time,
        account: fields.account,
        sign,
        amounts: file.amounts.map_or_else(|| Ok(AmountStyle::default()), amounts)?,
        skip,
        tail,
        columns: reading.columns,
        trim: reading.trim,
    })
}

fn charset(entry: Spanned<String>) -> Judged<Charset> {
    let expected = "expected a label such as utf-8, gbk, gb18030, utf-16le, latin1";
    let known = Charset::of_label(&entry.value);
    known.ok_or_else(|| at(&entry, "encoding", format!("{:?}, {expected}", entry.value)))
}

/// Delimiter and quote, which cannot be the same.
fn delimiters(
    delimiter: Option<Spanned<String>>,
    quote: Option<Spanned<String>>,
) -> Judged<(u8, Option<u8>)> {
    let delimiter = delimiter.map_or(Ok(b','), |entry| byte(&entry, "delimiter"))?;
    let quote = match quote {
        Some(entry) if entry.value == "none" => None,
        Some(entry) => match byte(&entry, "quote")? {
            same if same == delimiter => {
                return Err(at(&entry, "quote", "expected another character than the delimiter"));
            }
            quote => Some(quote),
        },
        None if delimiter == b'"' => None,
        None => Some(b'"'),
    };
    Ok((delimiter, quote))
}

fn byte(entry: &Spanned<String>, field: &str) -> Judged<u8> {
    match entry.value.as_bytes() {
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'\n' | b'\r') => {
            Ok(*byte)
        }
        _ => Err(at(
            entry,
            field,
            format!("{:?}, expected one ASCII character, no letter and no digit", entry.value),
        )),
    }
}

fn preamble(entry: Spanned<PreambleEntry>) -> Judged<Preamble> {
    match (&entry.value.lines, &entry.value.prefix) {
        (Some(lines), None) if *lines <= TAIL_LINES_MAX as u32 => Ok(Preamble::Lines(*lines)),
        (None, Some(prefix)) if !prefix.is_empty() => Ok(Preamble::Prefix(prefix.clone())),
        _ => Err(at(&entry, "preamble", format!("expected `lines` up to {TAIL_LINES_MAX} or `prefix`"))),
    }
}

fn amounts(entry: Spanned<AmountsEntry>) -> Judged<AmountStyle> {
    let one = |text: &Option<String>, field: &str| {
        let Some(text) = text else { return Ok(None) };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) => Ok(Some(one)),
            _ => Err(at(&entry, field, format!("{text:?}, expected one character"))),
        }
    };
    let decimal = one(&entry.value.decimal, "amounts.decimal")?.unwrap_or('.');
    let thousands = one(&entry.value.thousands, "amounts.thousands")?;
    let minor = entry.value.minor.map(|minor| u8::try_from(minor).unwrap_or(u8::MAX));
    let style = AmountStyle { decimal, thousands, minor };
    style.check().map_err(|why| at(&entry, "amounts", why))?;
    Ok(style)
}

fn ignore(entry: Option<Spanned<IgnoreEntry>>, columns: &[String]) -> Judged<Ignore> {
    let Some(entry) = entry else { return Ok(Ignore::Columns(Vec::new())) };
    match &entry.value {
        IgnoreEntry::All(all) if all == "*" => Ok(Ignore::All),
        IgnoreEntry::All(other) => {
            Err(at(&entry, "ignore", format!("{other:?}, expected \"*\" or a list of header names")))
        }
        IgnoreEntry::Columns(ignored) => match ignored.iter().find(|name| columns.contains(name)) {
            Some(used) => Err(at(&entry, "ignore", format!("{used:?} is used, expected other header names"))),
            None => Ok(Ignore::Columns(ignored.clone())),
        },
    }
}

/// The fields of a row.
struct Fields {
    order: Text,
    provider_order: Option<Text>,
    kind: Option<Text>,
    refund: Option<Text>,
    asset: Text,
    gross: Gross,
    fee: Option<Fee>,
    status: Option<Text>,
    time: Time,
    account: Option<Text>,
}

/// A mapping while it is read: the header names met so far.
struct Reading {
    columns: Vec<String>,
    trim: String,
}

impl Reading {
    /// The place of a header name.
    fn column(&mut self, line: u64, field: &str, name: &str) -> Judged<usize> {
        let trim: Vec<char> = self.trim.chars().collect();
        if name.is_empty() || name.trim_matches(&trim[..]) != name {
            let why = format!("{name:?}, expected a header name without blanks around it");
            return Err(refused(line, field, why));
        }
        if let Some(known) = self.columns.iter().position(|known| known == name) {
            return Ok(known);
        }
        if self.columns.len() == COLUMNS_MAX {
            return Err(refused(line, field, format!("expected at most {COLUMNS_MAX} columns")));
        }
        self.columns.push(name.to_owned());
        Ok(self.columns.len() - 1)
    }

    fn fields(&mut self, entry: Spanned<FieldsEntry>, sign: Sign) -> Judged<Fields> {
        let line = entry.referenced.line();
        let entry = entry.value;
        let mut text = |entry: Option<Spanned<FieldEntry>>, field: &str| {
            entry.map(|entry| self.text(entry, field)).transpose()
        };
        let order = text(Some(entry.order), "fields.order")?;
        let provider_order = text(entry.provider_order, "fields.provider_order")?;
        let refund = text(entry.refund, "fields.refund")?;
        let status = text(entry.status, "fields.status")?;
        let account = text(entry.account, "fields.account")?;
        let asset = self.asset(entry.asset)?;
        let kind = entry.kind.map(|entry| self.kind(entry)).transpose()?;
        let gross = self.gross(entry.gross)?;
        let fee = entry.fee.map(|entry| self.fee(entry)).transpose()?;
        let time = self.time(entry.time)?;
        let told = kind.is_some() || sign == Sign::NegativeRefunds || matches!(gross, Gross::Sides { .. });
        if !told {
            let expected =
                "expected it, or `sign: negative_refunds`, or `credit` and `debit` under fields.gross";
            return Err(refused(line, "fields.kind", expected));
        }
        if sign == Sign::NegativeRefunds && matches!(gross, Gross::Sides { .. }) {
            return Err(refused(
                line,
                "fields.gross",
                "sign: negative_refunds with `credit` and `debit`, expected one of them",
            ));
        }
        let order = order.ok_or_else(|| refused(line, "fields.order", "expected a column"))?;
        Ok(Fields { order, provider_order, kind, refund, asset, gross, fee, status, time, account })
    }

    fn text(&mut self, entry: Spanned<FieldEntry>, field: &str) -> Judged<Text> {
        let line = entry.referenced.line();
        match entry.value {
            FieldEntry { column: Some(column), value: None, map, upper } => {
                let column = self.column(line, field, &column)?;
                if map.as_ref().is_some_and(std::collections::BTreeMap::is_empty) {
                    return Err(refused(line, field, "map: expected at least one value"));
                }
                Ok(Text::Column { column, map, upper })
            }
            FieldEntry { column: None, value: Some(value), map: None, upper: false } => {
                if value.is_empty() || value.len() > NUMBER_BYTES_MAX {
                    return Err(refused(
                        line,
                        field,
                        format!("value: expected 1 to {NUMBER_BYTES_MAX} bytes"),
                    ));
                }
                Ok(Text::Same(value))
            }
            _ => {
                Err(refused(line, field, "expected `column` (with `map` or `upper`, if need be) or `value`"))
            }
        }
    }

    /// What is told of a kind is a payment or a refund.
    fn kind(&mut self, entry: Spanned<FieldEntry>) -> Judged<Text> {
        let line = entry.referenced.line();
        let kind = self.text(entry, "fields.kind")?;
        let values: Vec<&String> = match &kind {
            Text::Same(value) => vec![value],
            Text::Column { map: Some(map), .. } => map.values().collect(),
            Text::Column { map: None, .. } => Vec::new(),
        };
        match values.into_iter().find(|value| ![PAYMENT, REFUND].contains(&value.as_str())) {
            Some(other) => {
                Err(refused(line, "fields.kind", format!("{other:?}, expected {PAYMENT} or {REFUND}")))
            }
            None => Ok(kind),
        }
    }

    fn asset(&mut self, entry: Spanned<FieldEntry>) -> Judged<Text> {
        let line = entry.referenced.line();
        let asset = self.text(entry, "fields.asset")?;
        match &asset {
            Text::Same(value) if !ids::is_asset(value) => {
                Err(refused(line, "fields.asset", format!("{value:?}, expected an asset code such as CNY")))
            }
            _ => Ok(asset),
        }
    }

    fn gross(&mut self, entry: Spanned<GrossEntry>) -> Judged<Gross> {
        let (line, field) = (entry.referenced.line(), "fields.gross");
        match entry.value {
            GrossEntry { column: Some(column), credit: None, debit: None } => {
                Ok(Gross::Column(self.column(line, field, &column)?))
            }
            GrossEntry { column: None, credit: Some(credit), debit: Some(debit) } if credit != debit => {
                let credit = self.column(line, field, &credit)?;
                Ok(Gross::Sides { credit, debit: self.column(line, field, &debit)? })
            }
            _ => Err(refused(line, field, "expected `column`, or `credit` and `debit`")),
        }
    }

    fn fee(&mut self, entry: Spanned<FeeEntry>) -> Judged<Fee> {
        let column = self.column(entry.referenced.line(), "fields.fee", &entry.value.column)?;
        Ok(Fee { column, absolute: entry.value.absolute })
    }

    /// The format is tried on a moment, which must come back with its date.
    fn time(&mut self, entry: Spanned<TimeEntry>) -> Judged<Time> {
        let (line, TimeEntry { column, format }) = (entry.referenced.line(), entry.value);
        let column = self.column(line, "fields.time", &column)?;
        // 2026-11-21T09:30:05Z: no part of the date could be taken for another.
        let moment = Timestamp::from_second(1_795_253_405).unwrap_or_default();
        let moment = moment.to_zoned(jiff::tz::TimeZone::UTC);
        let back = strtime::format(&format, &moment)
            .and_then(|text| strtime::parse(&format, text)?.to_date())
            .is_ok_and(|date| date == moment.date());
        if !back {
            let why = format!("{format:?}, expected a date such as %Y-%m-%d %H:%M:%S");
            return Err(refused(line, "fields.time.format", why));
        }
        Ok(Time { column, format })
    }

    fn skip(&mut self, entry: Spanned<SkipEntry>) -> Judged<Skip> {
        let column = self.column(entry.referenced.line(), "skip", &entry.value.column)?;
        if entry.value.values.is_empty() {
            return Err(at(&entry, "skip.values", "expected at least one value"));
        }
        Ok(Skip { column, values: entry.value.values })
    }

    fn tail(&mut self, entry: Spanned<TailEntry>) -> Judged<Tail> {
        let line = entry.referenced.line();
        let TailEntry { begins, lines, header, ignore, totals } = entry.value;
        if begins.is_empty() {
            return Err(refused(
                line,
                "tail.begins",
                "expected what the line after the last row begins with",
            ));
        }
        if totals.is_empty() {
            return Err(refused(line, "tail.totals", "expected at least one total"));
        }
        if header != lines.is_empty() || lines.len() > TAIL_LINES_MAX || (!header && !ignore.is_empty()) {
            let why = format!(
                "expected `header: true` (with `ignore`, if need be) or 1 to {TAIL_LINES_MAX} `lines`"
            );
            return Err(refused(line, "tail", why));
        }
        let totals = totals.into_iter().map(|(name, entry)| {
            let total = self.total(&name, entry)?;
            Ok((name, total))
        });
        let totals = totals.collect::<Judged<Vec<_>>>()?;
        let form = if header { TailForm::Header { ignore } } else { patterns(line, &lines, &totals)? };
        Ok(Tail { begins, form, totals })
    }

    fn total(&mut self, name: &str, entry: Spanned<TotalEntry>) -> Judged<Total> {
        let (line, field) = (entry.referenced.line(), format!("tail.totals.{name}"));
        let (sum, of) = match entry.value {
            TotalEntry { count: Some(of), sum: None, of: None } => (None, of),
            TotalEntry { count: None, sum: Some(sum), of } => {
                (Some(self.column(line, &field, &sum)?), of.unwrap_or(RowsEntry::All))
            }
            _ => return Err(refused(line, &field, "expected `count: all`, or `sum` and a header name")),
        };
        let of = match of {
            RowsEntry::All => Rows::All,
            RowsEntry::Read => Rows::Read,
            RowsEntry::Payments => Rows::Payments,
            RowsEntry::Refunds => Rows::Refunds,
        };
        Ok(Total { sum, of })
    }
}

/// Every total has one place, and every place a total.
fn patterns(line: u64, lines: &[String], totals: &[(String, Total)]) -> Judged<TailForm> {
    let patterns =
        lines.iter().map(|text| Pattern::parse(text).map_err(|why| refused(line, "tail.lines", why)));
    let patterns = patterns.collect::<Judged<Vec<_>>>()?;
    let places: Vec<&str> = patterns.iter().flat_map(Pattern::totals).collect();
    for (name, _) in totals {
        if places.iter().filter(|place| *place == name).count() != 1 {
            return Err(refused(line, "tail.lines", format!("expected {{{name}}} once")));
        }
    }
    match places.into_iter().find(|place| !totals.iter().any(|(name, _)| name == place)) {
        Some(place) => {
            Err(refused(line, "tail.lines", format!("{{{place}}}, expected a name under tail.totals")))
        }
        None => Ok(TailForm::Lines(patterns)),
    }
}
