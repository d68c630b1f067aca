//! Delimited text (CSV, TSV) that a mapping describes.
//!
//! Phases: preamble -> header -> rows -> tail -> end. Blank lines are left out. Nothing after the first wrong line is
//! read. Bounds: one row of at most [`crate::lines::LINE_BYTES_MAX`] bytes in memory, however many lines it has; any number of
//! rows; one pass. Order relied on: none; columns are found by name.
//!
//! A file without a tail states nothing about itself: that it is whole cannot be told.

mod record;
mod row;
mod tail;

use crate::bill::Bill;
use crate::lines::Lines;
use crate::mapping::{Ignore, Mapping, Preamble};
use crate::quarantine::{BillError, Quarantine, QuarantineReason, excerpt};
use record::Record;
use row::Row;
use schemas::dates::Day;
use schemas::wire::{BillEnd, BillLine};
use std::io::Read;
use std::sync::Arc;
use tail::Sums;

/// Reads one file by its mapping.
pub struct MappedBill<R: Read> {
    mapping: Arc<Mapping>,
    lines: Lines<R>,
    record: Record,
    header: Header,
    account: String,
    sums: Sums,
    rows: u64,
    first_day: Option<Day>,
    end: Option<BillEnd>,
}

/// Where the mapping's columns stand in a file.
struct Header {
    /// By place in [`Mapping::columns`], places in a row, counted from 0.
    places: Vec<usize>,
    /// How many fields a row has.
    width: usize,
    /// The name of each.
    names: Vec<String>,
}

impl<R: Read> MappedBill<R> {
    /// Reads up to the header. `account` is that of every row if the mapping names no field for it.
    ///
    /// # Errors
    /// The content cannot be read, or its header is not what the mapping says.
    pub fn open(mapping: Arc<Mapping>, content: R, account: &str) -> Result<Self, BillError> {
        let mut lines = Lines::open(content, mapping.charset)?;
        to_header(&mut lines, &mapping.preamble)?;
        let mut record = Record::new(&mapping);
        record.read(&mut lines)?;
        let header = Header::parse(&record, &mapping)?;
        let sums = Sums::new(&mapping);
        let account = account.to_owned();
        Ok(Self { mapping, lines, record, header, account, sums, rows: 0, first_day: None, end: None })
    }

    fn step(&mut self) -> Result<Option<BillLine>, BillError> {
        loop {
            if !self.lines.advance()? {
                self.end = Some(self.end_of_file()?);
                return Ok(None);
            }
            let text = self.lines.text()?;
            if text.trim().is_empty() {
                continue;
            }
            if let Some(tail) = self.mapping.tail.as_ref().filter(|tail| text.starts_with(&tail.begins)) {
                let gate = tail::read(tail, &self.mapping, &mut self.lines, &mut self.record, &self.sums)?;
                self.end = Some(gate.end(self.rows));
                return Ok(None);
            }
            self.record.read(&mut self.lines)?;
            let row = Row::new(&self.mapping, &self.header, &self.record)?;
            if row.is_skipped() {
                self.sums.add(&self.mapping, &row, None)?;
                continue;
            }
            let (line, day) = row.read(&self.account)?;
            self.sums.add(&self.mapping, &row, Some(&line.kind))?;
            self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
            self.rows += 1;
            return Ok(Some(line));
        }
    }

    /// Where no tail is expected, this is how a file ends.
    fn end_of_file(&self) -> Result<BillEnd, Quarantine> {
        match &self.mapping.tail {
            None => Ok(BillEnd { accepted: true, lines: self.rows, ..BillEnd::default() }),
            Some(tail) => {
                let (line, begins) = (self.lines.number(), &tail.begins);
                let detail =
                    format!("the file ends after line {line}, expected a line that begins with {begins:?}");
                Err(Quarantine::new(QuarantineReason::NoTotals, detail))
            }
        }
    }
}

impl<R: Read> Bill for MappedBill<R> {
    fn next_line(&mut self) -> Result<Option<BillLine>, BillError> {
        if self.end.is_some() { Ok(None) } else { self.step() }
    }

    fn end(&self) -> Option<&BillEnd> {
        self.end.as_ref()
    }

    fn first_day(&self) -> Option<Day> {
        self.first_day
    }
}

/// Moves to the header: the first line after the preamble that is not blank.
fn to_header<R: Read>(lines: &mut Lines<R>, preamble: &Preamble) -> Result<(), BillError> {
    while lines.advance()? {
        let (number, text) = (lines.number(), lines.text()?);
        let before = match preamble {
            Preamble::Lines(count) => number <= *count,
            Preamble::Prefix(prefix) => text.starts_with(prefix),
        };
        if !before && !text.trim().is_empty() {
            return Ok(());
        }
    }
    let detail = format!("the file ends after line {} without a header", lines.number());
    Err(Quarantine::new(QuarantineReason::Empty, detail).into())
}

impl Header {
    fn parse(record: &Record, mapping: &Mapping) -> Result<Self, Quarantine> {
        let line = record.line();
        let wrong = |reason, what: &str, name: &str| {
            Quarantine::new(reason, format!("line {line}: {what} {:?}", excerpt(name)))
        };
        let names: Vec<String> =
            record.fields().map(|name| name.map(str::to_owned)).collect::<Result<_, _>>()?;
        let mut places = vec![None; mapping.columns.len()];
        for (at, name) in names.iter().enumerate() {
            let used = mapping.columns.iter().position(|column| column == name);
            let Some(place) = used.and_then(|used| places.get_mut(used)) else {
                let ignored = match &mapping.ignore {
                    Ignore::All => true,
                    Ignore::Columns(columns) => columns.contains(name),
                };
                if ignored {
                    continue;
                }
                return Err(wrong(QuarantineReason::UnknownHeader, "unknown header", name));
            };
            if place.replace(at).is_some() {
                return Err(wrong(QuarantineReason::RepeatedHeader, "repeated header", name));
            }
        }
        let found = places.iter().zip(&mapping.columns);
        let found = found.map(|(place, name)| {
            place.ok_or_else(|| wrong(QuarantineReason::MissingHeader, "no header", name))
        });
        Ok(Self { places: found.collect::<Result<_, _>>()?, width: names.len(), names })
    }
}
