//! The table `mirror` of `status`: how far behind Redis is, slot by slot, and whether it answers.

use super::follow::Known;
use super::server::{Away, Server, Watermark};
use super::told::{Board, Row, View};
use super::url::RedisUrl;
use crate::cli::output::Table;
use crate::measure::behind::behind_each;
use schemas::dates::format_instant;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::clock;
use stream::log::{Isolation, Log, LogError, TopicPartition};

const COLUMNS: [&str; 7] =
    ["slot", "state", "behind_records", "journal_batch", "age_seconds", "away_since", "why"];

/// As the mirror in this process tells it.
///
/// # Errors
/// The log is away.
pub fn here(board: &Board, log: &dyn Log) -> Result<Table, LogError> {
    let View { away, hindered, slots } = board.view();
    let told = |(slot, row): (u32, Row)| {
        let row = match (&away, &hindered) {
            (Some((_, why)), _) => Row { state: "Redis is away", why: Some(why.clone()), ..row },
            (None, Some(why)) => Row { state: "waiting", why: Some(why.clone()), ..row },
            (None, None) => row,
        };
        (slot, row)
    };
    let slots: BTreeMap<u32, Row> = slots.into_iter().map(told).collect();
    let since = away.as_ref().map(|(since_us, _)| *since_us);
    if slots.is_empty() {
        let state = if away.is_some() { "Redis is away" } else { "no slot is here" };
        return Ok(nothing(state, since, away.map(|(_, why)| why)));
    }
    table(slots, since, log)
}

/// As Redis tells it of all slots.
///
/// # Errors
/// The log is away.
pub fn elsewhere(url: &RedisUrl, prefix: &str, log: &dyn Log) -> Result<Table, LogError> {
    match marks(url, prefix, log.partitions(Topic::Balances)?) {
        Ok((marks, replication_id)) => {
            let mut rows = BTreeMap::new();
            for (slot, mark) in marks {
                let bounds =
                    log.watermarks(TopicPartition::new(Topic::Balances, slot), Isolation::Committed)?;
                let known =
                    Known { replication_id: &replication_id, bounds, other_record: false, written: None };
                rows.insert(slot, row(mark.as_ref(), &known));
            }
            table(rows, None, log)
        }
        Err(why) => Ok(nothing("Redis does not answer", None, Some(why.to_string()))),
    }
}

type Marks = Vec<(u32, Option<Watermark>)>;

fn marks(url: &RedisUrl, prefix: &str, slots: u32) -> Result<(Marks, String), Away> {
    let mut server = Server::connect(url, prefix)?;
    let marks = (0..slots).map(|slot| Ok((slot, server.watermark(slot)?))).collect::<Result<_, Away>>()?;
    Ok((marks, server.replication_id().to_owned()))
}

/// What a watermark says, or why it says nothing.
fn row(mark: Option<&Watermark>, known: &Known<'_>) -> Row {
    use super::follow::{Beginning, beginning};
    match (mark, beginning(mark, known)) {
        (Some(mark), Beginning::Resume) => Row::of(mark, Some(mark.offset)),
        (_, Beginning::Rebuild(why) | Beginning::Replace(why)) => {
            Row { state: "to be rebuilt", why: Some(why.to_owned()), ..Row::default() }
        }
        (None, Beginning::Resume) => Row::default(),
    }
}

fn nothing(state: &str, since_us: Option<i64>, why: Option<String>) -> Table {
    let mut table = Table::new("mirror", &COLUMNS);
    let (none, since) = (None::<i64>, since_us.map(format_instant));
    table.row([none.into(), state.into(), none.into(), none.into(), none.into(), since.into(), why.into()]);
    table
}

fn table(slots: BTreeMap<u32, Row>, since_us: Option<i64>, log: &dyn Log) -> Result<Table, LogError> {
    let place = |slot: u32| TopicPartition::new(Topic::Balances, slot);
    let view = View { slots, ..View::default() };
    let behind = behind_each(log, &view.reached(log)?)?;
    let (now_us, mut table) = (clock::wall_us(), Table::new("mirror", &COLUMNS));
    for (slot, row) in view.slots {
        let age = row.mirrored_us.map(|at_us| (now_us.saturating_sub(at_us) / 1_000_000).max(0));
        table.row([
            slot.into(),
            row.state.into(),
            behind.get(&place(slot)).copied().into(),
            row.journal_batch.into(),
            age.into(),
            since_us.map(format_instant).into(),
            row.why.into(),
        ]);
    }
    Ok(table)
}
