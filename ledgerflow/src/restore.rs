//! `ledgerflow restore`: a data directory from a backup, or from what is left of a log, and what is in it.
//!
//! The backup is checked whole before the first byte is copied. Checkpoints are not taken along: they are of their own
//! time, the log is the truth, and the first start rebuilds every state from it (ARCHITECTURE rule 1). Those that lie beside
//! the backup are named, with how far they were and how far the log is. A start on a log of which a part is lost is
//! refused here, too, and is told the ways to go on.

use crate::cli::output::Table;
use crate::config::Settings;
use crate::query::books::STORE;
use crate::query::{Answer, Ending};
use anyhow::{Context, bail};
use schemas::balance_json::{DayState, FlowStatus};
use schemas::dates::format_instant;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stream::clock;
use stream::embedded::{self, EmbeddedLog, Left};
use stream::log::{Isolation, Log, LogError, TopicPartition};
use stream::store::{self, Label};
use stream::worker::{Metadata, contradiction};

/// Days that are listed; there may be years of them.
const DAYS_SHOWN: usize = 7;

/// Whether a directory is a backup that nobody has opened for writing: opening one removes this file.
#[must_use]
pub fn is_backup(dir: &Path) -> bool {
    dir.join("backup.manifest").exists()
}

/// A log that cannot be opened, for people: where a part of it is lost, with the ways to go on.
#[must_use]
pub fn refused(dir: &Path, error: LogError) -> anyhow::Error {
    match error {
        LogError::Lost(_) => anyhow::anyhow!("{error}. {}", ways_on(dir)),
        other => other.into(),
    }
}

fn ways_on(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Nothing is changed. Put back what is missing, or make books of a backup: `ledgerflow restore BACKUP --dir \
         ANOTHER`. Without a backup, `ledgerflow restore {dir} --accept-loss --dir ANOTHER` takes what is left of the log \
         and says what is missing"
    )
}

/// Refuses a log that ends before its checkpoints: a checkpoint counts only once its windows are durable, so that what
/// they hold was acknowledged and is gone.
///
/// # Errors
/// Names the first checkpoint that the log cannot have led to, and the ways to go on.
pub fn reaches_checkpoints(log: &EmbeddedLog) -> anyhow::Result<()> {
    let dir = log.directory();
    for (processor, slot) in slots(&dir.join(STORE)) {
        // A checkpoint that cannot be read says nothing; the worker drops it.
        let Ok(Some(label)) = store::label_in(&slot) else { continue };
        let name = file_name(&processor);
        if let Some(why) = contradiction(&label, committed(log, &name, &label)?.as_ref()) {
            bail!("{name}, slot {}: {why}. {}", number(&slot), ways_on(dir));
        }
    }
    Ok(())
}

/// Restores `backup` into `dir`, which must be absent or empty. `accept_loss`: where it is no backup, what is left of the
/// log there is taken.
///
/// # Errors
/// `dir` holds something, or what the file system says. A damaged backup is an answer.
pub fn restore(settings: &Settings, backup: &Path, dir: &Path, accept_loss: bool) -> anyhow::Result<Answer> {
    let left = match accept_loss && !is_backup(backup) {
        true => embedded::take_what_is_left(backup, dir),
        false => embedded::restore(backup, dir).map(|taken| Left { durable: Some(taken.sequence), taken }),
    };
    let Left { taken: report, durable } = match left {
        Err(LogError::Corrupt(why)) => {
            let what = if accept_loss { "what is left" } else { "the backup" };
            let message = format!("{what} is damaged, nothing is restored: {why}");
            return Ok(Answer::says(Ending::Wrong, message));
        }
        left => left?,
    };
    let log = EmbeddedLog::open_read_only(dir)?;
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    let (counts, written_us) = (log.counts(), newest_us(&log)?);
    let mut table = Table::new("restored", &["field", "value"]);
    table.row(["backup".into(), backup.display().to_string().into()]);
    table.row(["directory".into(), dir.display().to_string().into()]);
    table.row(["last commit".into(), report.sequence.into()]);
    if accept_loss {
        table.row(["last commit known to be durable".into(), durable.into()]);
        let lost = durable.map(|durable| durable.saturating_sub(report.sequence));
        table.row(["commits lost at least".into(), lost.into()]);
    }
    table.row(["written at".into(), written_us.map(format_instant).into()]);
    table.row(["age".into(), written_us.map(|us| age(clock::wall_us().saturating_sub(us))).into()]);
    table.row(["files".into(), report.files.len().into()]);
    table.row(["bytes".into(), bytes.into()]);
    table
        .row(["partitions".into(), format!("events {}, internal {}", counts.events, counts.internal).into()]);
    let (days, dropped) = (days(&log)?, checkpoints(&log, &backup.join(STORE))?);
    let mut message = String::new();
    if !dropped.rows.is_empty() {
        message +=
            "checkpoints beside the backup are of their own time and are not taken: the log is the truth\n";
    }
    if accept_loss {
        message += "what is missing was acknowledged: send the events of that time again, from before the last commit \
                    that is here; those that are booked are told as duplicates\n";
    }
    if counts != settings.partition_counts() {
        message += &format!(
            "the configuration must say partitions: {{events: {}, internal: {}}} to run on it\n",
            counts.events, counts.internal
        );
    }
    message +=
        &format!("`ledgerflow run --dir {}` rebuilds all states from the log and goes on", dir.display());
    Ok(Answer { message: Some(message), ..Answer::tables(vec![table, days, dropped]) })
}

/// When the newest record was written.
fn newest_us(log: &dyn Log) -> anyhow::Result<Option<i64>> {
    let mut newest = None;
    for topic in Topic::ALL {
        for partition in 0..log.partitions(*topic)? {
            let at = TopicPartition::new(*topic, partition);
            let bounds = log.watermarks(at, Isolation::Committed)?;
            if bounds.high > bounds.low {
                newest = newest.max(crate::retention::written_us(log, at, bounds.high - 1)?);
            }
        }
    }
    Ok(newest)
}

/// The newest business days and their state.
fn days(log: &dyn Log) -> anyhow::Result<Table> {
    let mut days: BTreeMap<(String, String), DayState> = BTreeMap::new();
    crate::measure::recount::each(log, Topic::Flow, &mut |fetch| {
        for record in &fetch.records {
            let flow = FlowStatus::parse(&record.value).context("flow")?;
            days.insert((flow.day, flow.book), flow.state);
        }
        Ok(())
    })?;
    let mut table = Table::new("days", &["day", "book", "state"]);
    let skip = days.len().saturating_sub(DAYS_SHOWN);
    for ((day, book), state) in days.into_iter().skip(skip) {
        let state = serde_json::to_value(state)?.as_str().unwrap_or_default().to_owned();
        table.row([day.into(), book.into(), state.into()]);
    }
    Ok(table)
}

/// What lies in the checkpoint folder of a backup, against the log.
fn checkpoints(log: &dyn Log, store: &Path) -> anyhow::Result<Table> {
    let columns = ["processor", "slot", "window_of_checkpoint", "window_of_log", "checkpoint_is"];
    let mut table = Table::new("checkpoints not taken", &columns);
    for (processor, slot) in slots(store) {
        let (name, number) = (file_name(&processor), number(&slot));
        match store::label_in(&slot) {
            Ok(None) => {}
            Ok(Some(label)) => {
                let held = committed(log, &name, &label)?;
                let batch = held.as_ref().map(|held| held.batch);
                table.row([
                    name.into(),
                    number.into(),
                    label.batch.into(),
                    batch.into(),
                    verdict(&label, held).into(),
                ]);
            }
            Err(error) => {
                let cells = [None, None, Some(error.to_string())];
                table.row([name.into(), number.into()].into_iter().chain(cells.map(Into::into)));
            }
        }
    }
    Ok(table)
}

/// Folders of processors and slots below a checkpoint folder, in order.
fn slots(store: &Path) -> Vec<(PathBuf, PathBuf)> {
    let processors = folders(store).into_iter();
    processors.flat_map(|of| folders(&of).into_iter().map(move |slot| (of.clone(), slot))).collect()
}

/// The slot's number without leading zeros.
fn number(slot: &Path) -> String {
    let name = file_name(slot);
    name.parse::<u32>().map_or_else(|_| name.clone(), |number| number.to_string())
}

/// The last window of the checkpoint's slot that the log knows.
fn committed(log: &dyn Log, group: &str, label: &Label) -> anyhow::Result<Option<Metadata>> {
    let inputs: Vec<TopicPartition> = label.positions.iter().map(|(at, _)| *at).collect();
    let positions = log.committed(group, &inputs)?;
    Ok(positions.into_iter().flatten().next().and_then(|position| Metadata::parse(&position.metadata)))
}

fn verdict(label: &Label, held: Option<Metadata>) -> &'static str {
    match held {
        None => "of a slot the log does not know",
        Some(held) if label.batch > held.batch => "newer than the log",
        Some(held) if label.batch < held.batch => "older than the log",
        Some(held) if label.hash != held.hash => "of another history",
        Some(_) => "of the log's time",
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A length of time for people, its two largest units.
fn age(us: i64) -> String {
    let seconds = us.max(0) / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        for (seconds, want) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d 0 h"),
            (90 * 86_400 + 7_200, "90 d 2 h"),
        ] {
            assert_eq!(age(seconds * 1_000_000 + 999_999), want);
        }
    }

    #[test]
    fn a_checkpoint_is_told_by_window_and_hash() {
        let label = Label {
            generation: 0,
            epoch: 1,
            batch: 7,
            hash: [1; 32],
            positions: Vec::new(),
            changelog_offset: 0,
        };
        let held = |batch, hash| {
            Some(Metadata { epoch: 1, batch, hash: [hash; 32], transactional_id: String::new() })
        };
        for (held, want) in [
            (None, "of a slot the log does not know"),
            (held(6, 1), "newer than the log"),
            (held(8, 1), "older than the log"),
            (held(7, 2), "of another history"),
            (held(7, 1), "of the log's time"),
        ] {
            assert_eq!(verdict(&label, held), want);
        }
    }
}
