//! One row of a delimited file, cut into fields by `csv-core`. A field in quotes may hold line ends.

use crate::lines::{LINE_BYTES_MAX, Lines};
use crate::mapping::{COLUMNS_MAX, Mapping};
use crate::quarantine::{BillError, Quarantine, QuarantineReason};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use std::io::Read;

/// A row.
pub(super) struct Record {
    reader: Reader,
    trim: Vec<char>,
    line: u32,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    count: usize,
}

impl Record {
    pub(super) fn new(mapping: &Mapping) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(mapping.delimiter).terminator(Terminator::Any(b'\n'));
        match mapping.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        let (text, ends) = (vec![0; LINE_BYTES_MAX], vec![0; COLUMNS_MAX]);
        let trim = mapping.trim.chars().collect();
        Self { reader: builder.build(), trim, line: 0, text, text_len: 0, ends, count: 0 }
    }

    /// Line on which it begins, counted from 1.
    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// How many fields it has.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Reads the row that begins on the current line.
    pub(super) fn read<R: Read>(&mut self, lines: &mut Lines<R>) -> Result<(), BillError> {
        (self.line, self.text_len, self.count) = (lines.number(), 0, 0);
        loop {
            if self.take(lines.text()?.as_bytes())? || self.take(b"\n")? {
                return Ok(());
            }
            if !lines.advance()? {
                let detail = format!("line {}: a quote is open to the end of the file", self.line);
                return Err(Quarantine::new(QuarantineReason::MalformedRow, detail).into());
            }
        }
    }

    /// Takes a part of the row; `true` at its end.
    fn take(&mut self, mut input: &[u8]) -> Result<bool, Quarantine> {
        loop {
            let text = self.text.get_mut(self.text_len..).unwrap_or_default();
            let ends = self.ends.get_mut(self.count..).unwrap_or_default();
            let (result, read, written, fields) = self.reader.read_record(input, text, ends);
            input = input.get(read..).unwrap_or_default();
            self.text_len += written;
            self.count += fields;
            let line = self.line;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => return Ok(true),
                ReadRecordResult::InputEmpty if input.is_empty() => return Ok(false),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    let detail = format!("line {line}: a row of more than {LINE_BYTES_MAX} bytes");
                    return Err(Quarantine::new(QuarantineReason::LineTooLong, detail));
                }
                ReadRecordResult::OutputEndsFull => {
                    let detail = format!("line {line}: more than {COLUMNS_MAX} fields");
                    return Err(Quarantine::new(QuarantineReason::MalformedRow, detail));
                }
            }
        }
    }

    /// A field, counted from 0, without the blanks around it; empty when there is none.
    pub(super) fn field(&self, at: usize) -> Result<&str, Quarantine> {
        let before = at.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or(0);
        let end = self.ends.get(at).copied().filter(|_| at < self.count).unwrap_or(before);
        let text = std::str::from_utf8(self.text.get(before..end).unwrap_or_default());
        text.map(|text| text.trim_matches(&self.trim[..])).map_err(|_| {
            let detail = format!("line {}, field {}: not UTF-8", self.line, at.saturating_add(1));
            Quarantine::new(QuarantineReason::NotUtf8, detail)
        })
    }

    /// All fields in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = Result<&str, Quarantine>> {
        (0..self.count).map(|at| self.field(at))
    }

    /// Without the blanks around it.
    pub(super) fn trimmed<'a>(&self, text: &'a str) -> &'a str {
        text.trim_matches(&self.trim[..])
    }
}
