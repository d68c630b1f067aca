//! Several runs written as one: ascending by key, of rows with one key the newest.

use super::{Damaged, RowKey, Run, RunWriter, Scan, Shape};
use std::io;

/// Where a scan stands: its next row.
struct Cursor<'r> {
    scan: Scan<'r>,
    ages: (u64, u64),
    row: Option<(RowKey, Vec<u8>)>,
}

impl Cursor<'_> {
    fn advance(&mut self) -> Result<(), Damaged> {
        let Some((key, value)) = self.scan.next()? else {
            self.row = None;
            return Ok(());
        };
        match &mut self.row {
            Some((at, held)) => {
                *at = key;
                held.clear();
                held.extend_from_slice(value);
            }
            none => *none = Some((key, value.to_vec())),
        }
        Ok(())
    }
}

/// Hands the rows of `runs`, which stand oldest first, to `each`, with the ages of the run that a row is from.
///
/// # Errors
/// [`Damaged`], and what `each` says.
pub fn merged<E: From<Damaged>>(
    runs: &[&Run],
    mut each: impl FnMut(&RowKey, &[u8], (u64, u64)) -> Result<(), E>,
) -> Result<(), E> {
    let mut cursors = Vec::with_capacity(runs.len());
    // Newest first: of equal keys the first one counts.
    for run in runs.iter().rev() {
        let mut cursor = Cursor { scan: run.scan(), ages: run.ages(), row: None };
        cursor.advance()?;
        cursors.push(cursor);
    }
    loop {
        let lowest = cursors.iter().filter_map(|cursor| cursor.row.as_ref().map(|(key, _)| *key)).min();
        let Some(lowest) = lowest else { return Ok(()) };
        let mut taken = false;
        for cursor in &mut cursors {
            let Some((key, value)) = cursor.row.as_ref().filter(|(key, _)| *key == lowest) else { continue };
            if !taken {
                each(key, value, cursor.ages)?;
                taken = true;
            }
            cursor.advance()?;
        }
    }
}

/// Why a merge failed.
#[derive(Debug)]
pub enum Failed {
    /// A run cannot be read.
    Damaged(Damaged),
    /// The new one cannot be written.
    Io(io::Error),
}

impl From<Damaged> for Failed {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes the rows of `runs`, which stand oldest first, as one run.
///
/// # Errors
/// [`Failed`].
pub fn merge<W: io::Write>(runs: &[&Run], to: W) -> Result<(W, Shape, u32), Failed> {
    let rows: u64 = runs.iter().map(|run| run.rows()).sum();
    let width = runs.first().map_or(0, |run| run.width());
    let mut writer = RunWriter::new(to, width, usize::try_from(rows).unwrap_or(usize::MAX))?;
    merged(runs, |key, value, ages| writer.put(key, value, ages).map_err(Failed::Io))?;
    Ok(writer.finish()?)
}
