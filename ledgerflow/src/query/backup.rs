//! A copy of the directory of a log that runs.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::Table;
use std::path::Path;
use stream::log::LogError;

/// `backup`.
pub(super) fn backup(books: &Books, to: &str) -> anyhow::Result<Answer> {
    let Some(log) = &books.embedded else {
        let why = "a backup is of the embedded log; topics on Kafka are kept by its replicas";
        return Ok(Answer::says(Ending::Failed, why));
    };
    let report = match log.backup(Path::new(to)) {
        Err(LogError::Corrupt(why)) => {
            let message = format!("the log is damaged, no backup is made: {why}");
            return Ok(Answer::says(Ending::Wrong, message));
        }
        report => report?,
    };
    let mut table = Table::new("backup", &["directory", "last_commit", "files", "bytes"]);
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    table.row([to.into(), report.sequence.into(), report.files.len().into(), bytes.into()]);
    Ok(Answer::tables(vec![table]))
}
