//! A bill file onto the log.
//!
//! Bound: [`APPEND_BYTES`] of it in memory at a time. A file that was imported before changes nothing.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::Table;
use anyhow::Context;
use reconcile::import::Import;
use reconcile::join::Gate;
use schemas::dates::Day;
use schemas::wire::{BillEnd, BillFile};
use std::fs::File;
use std::path::Path;
use stream::log::{Log, OutRecord};

/// Bytes of one append of a bill import.
const APPEND_BYTES: usize = 4 << 20;

/// `bill`.
pub(super) fn bill(
    books: &Books,
    file: &str,
    source: Option<&str>,
    day: Option<&str>,
) -> anyhow::Result<Answer> {
    let source = match books.setup.source(source) {
        Ok(source) => source,
        Err(none) => return Ok(Answer::says(Ending::NotFound, none.to_string())),
    };
    let day = day.map(Day::parse).transpose()?;
    let import = Import::open_path(source, Path::new(file), day, books.setup.counts.internal)?;
    let (bill, end) = (import.file().clone(), import.end().clone());
    if let Some(known) = known_bill(books, &bill.id)? {
        return Ok(known);
    }
    let sequence = append_bill(books.log.as_ref(), import)?;
    books.log.wait_durable(sequence, std::time::Duration::from_secs(30)).context("waiting for the disk")?;
    Ok(told(&bill, &end))
}

/// Appends a bill piece by piece; the write-ahead sequence of the last.
///
/// # Errors
/// The file cannot be read or has changed, or the log is away.
pub(crate) fn append_bill(log: &dyn Log, import: Import<File>) -> anyhow::Result<u64> {
    let mut records: Vec<OutRecord> = Vec::new();
    let (mut bytes, mut sequence) = (0, 0);
    for record in import.records() {
        let record = record?;
        bytes += record.value.len();
        records.push(record);
        if bytes >= APPEND_BYTES {
            sequence = log.append(std::mem::take(&mut records))?;
            bytes = 0;
        }
    }
    if !records.is_empty() {
        sequence = log.append(records)?;
    }
    Ok(sequence)
}

/// Where a bill file stands.
fn told(bill: &BillFile, end: &BillEnd) -> Answer {
    let columns =
        ["file", "name", "source", "provider", "account", "day", "lines", "accepted", "reason", "detail"];
    let mut table = Table::new("bill", &columns);
    table.row([
        bill.id.chars().take(12).collect::<String>().into(),
        bill.name.as_str().into(),
        bill.source.as_str().into(),
        bill.provider.as_str().into(),
        bill.account.as_str().into(),
        // Where neither the file nor anybody said so there is none.
        (bill.day != 0).then(|| Day(bill.day).to_string()).into(),
        end.lines.into(),
        end.accepted.into(),
        end.reason.as_str().into(),
        end.detail.as_str().into(),
    ]);
    let mut answer = Answer::tables(vec![table]);
    if !end.accepted {
        answer.ending = Ending::Wrong;
        answer.message = Some("the file is quarantined: nothing of it is reconciled".into());
    }
    answer
}

/// What became of a file that was imported before: its first import counts, under the name and for the day it had then.
fn known_bill(books: &Books, id: &str) -> anyhow::Result<Option<Answer>> {
    let id = id.to_owned();
    let found = books.join(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let mut files = slots.flat_map(|slot| slot.files());
        files.find(|file| file.id == id && file.gate != Gate::Staged)
    })?;
    let Some(file) = found.into_iter().flatten().next() else { return Ok(None) };
    let bill = BillFile {
        id: file.id,
        source: file.source,
        name: file.name,
        provider: file.provider,
        account: file.account,
        day: file.day.unwrap_or_default().0,
    };
    let end = BillEnd {
        accepted: file.gate == Gate::Accepted,
        reason: file.reason,
        detail: file.detail,
        lines: file.lines,
        total: file.totals,
    };
    let mut answer = told(&bill, &end);
    let before = "this file was imported before; nothing changes";
    answer.message =
        Some(answer.message.map_or_else(|| before.to_owned(), |said| format!("{before}\n{said}")));
    Ok(Some(answer))
}
