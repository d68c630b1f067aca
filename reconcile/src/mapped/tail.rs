//! The control totals of a mapped file: summed over the rows, compared with the lines after the last row.

use super::record::Record;
use super::row::Row;
use crate::bill::{PAYMENT, REFUND};
use crate::decimal::Decimal;
use crate::gate::Gate;
use crate::lines::Lines;
use crate::mapping::{Mapping, Pattern, Rows, Tail, TailForm, Total};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt};
use std::io::Read;

/// How a file has ended whose totals are not all there.
const AMID: &str = ", amid its totals";

/// One sum for each total of the mapping, in its order.
pub(super) struct Sums(Vec<Decimal>);

impl Sums {
    pub(super) fn new(mapping: &Mapping) -> Self {
        Self(vec![Decimal::ZERO; mapping.tail.as_ref().map_or(0, |tail| tail.totals.len())])
    }

    /// Adds a row; `kind` is `None` where it is left out.
    pub(super) fn add(&mut self, mapping: &Mapping, row: &Row, kind: Option<&str>) -> Result<(), Quarantine> {
        let Some(tail) = &mapping.tail else { return Ok(()) };
        for ((_, total), sum) in tail.totals.iter().zip(&mut self.0) {
            if !counts(*total, kind) {
                continue;
            }
            *sum = match total.sum {
                Some(column) => row.added(*sum, column)?,
                None => sum.checked_add(Decimal::of_minor(1, 0)).unwrap_or(*sum),
            };
        }
        Ok(())
    }
}

fn counts(total: Total, kind: Option<&str>) -> bool {
    match total.of {
        Rows::All => true,
        Rows::Read => kind.is_some(),
        Rows::Payments => kind == Some(PAYMENT),
        Rows::Refunds => kind == Some(REFUND),
    }
}

/// Compares one total after the other.
struct Comparing<'a> {
    tail: &'a Tail,
    mapping: &'a Mapping,
    sums: &'a Sums,
    gate: Gate,
}

fn malformed(line: u32, what: impl std::fmt::Display) -> Quarantine {
    Quarantine::new(QuarantineReason::MalformedTotals, format!("line {line}: {what}"))
}

impl Comparing<'_> {
    fn total(&mut self, line: u32, name: &str, text: &str) -> Result<(), Quarantine> {
        let totals = self.tail.totals.iter().zip(&self.sums.0);
        let Some(((_, total), sum)) = totals.into_iter().find(|((known, _), _)| known == name) else {
            return Ok(());
        };
        let amounts = &self.mapping.amounts;
        let stated = if total.sum.is_some() { amounts.amount(text) } else { amounts.count(text) };
        let stated =
            stated.map_err(|why| malformed(line, format!("total {name}: {:?}: {why}", excerpt(text))))?;
        self.gate.compare(&format!("line {line}"), name, text, stated, *sum);
        Ok(())
    }
}

/// Reads the tail, whose first line is the current one, to the end of the file.
pub(super) fn read<R: Read>(
    tail: &Tail,
    mapping: &Mapping,
    lines: &mut Lines<R>,
    record: &mut Record,
    sums: &Sums,
) -> Result<Gate, BillError> {
    let mut comparing = Comparing { tail, mapping, sums, gate: Gate::default() };
    match &tail.form {
        TailForm::Lines(patterns) => by_lines(&mut comparing, patterns, lines, record)?,
        TailForm::Header { ignore } => by_header(&mut comparing, ignore, lines, record)?,
    }
    lines.end_after_totals()?;
    Ok(comparing.gate)
}

fn by_lines<R: Read>(
    comparing: &mut Comparing,
    patterns: &[Pattern],
    lines: &mut Lines<R>,
    record: &Record,
) -> Result<(), BillError> {
    for (index, pattern) in patterns.iter().enumerate() {
        if index > 0 {
            lines.must_advance(AMID)?;
        }
        let (line, text) = (lines.number(), lines.text()?);
        let found = pattern.find(text);
        let found = found.ok_or_else(|| {
            malformed(line, format!("{:?} is not line {} of the tail", excerpt(text), index + 1))
        })?;
        for (name, value) in found {
            comparing.total(line, name, record.trimmed(value))?;
        }
    }
    Ok(())
}

fn by_header<R: Read>(
    comparing: &mut Comparing,
    ignore: &[String],
    lines: &mut Lines<R>,
    record: &mut Record,
) -> Result<(), BillError> {
    record.read(lines)?;
    let line = record.line();
    let names: Vec<String> = record.fields().map(|name| name.map(str::to_owned)).collect::<Result<_, _>>()?;
    for (at, name) in names.iter().enumerate() {
        let known = comparing.tail.totals.iter().any(|(total, _)| total == name);
        if !known && !ignore.contains(name) {
            return Err(malformed(line, format!("unknown total {:?}", excerpt(name))).into());
        }
        if known && names.iter().take(at).any(|before| before == name) {
            return Err(malformed(line, format!("total {name} stands twice")).into());
        }
    }
    if let Some((name, _)) = comparing.tail.totals.iter().find(|(name, _)| !names.contains(name)) {
        return Err(malformed(line, format!("total {name} is missing")).into());
    }
    lines.must_advance(AMID)?;
    record.read(lines)?;
    let line = record.line();
    if record.len() != names.len() {
        let what = format!("{} totals where the tail names {}", record.len(), names.len());
        return Err(malformed(line, what).into());
    }
    for (name, value) in names.iter().zip(record.fields()) {
        comparing.total(line, name, value?)?;
    }
    Ok(())
}
