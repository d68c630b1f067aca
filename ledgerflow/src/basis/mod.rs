//! The basis of the books: settings that may not change once books are open, held against topic `books`.
//!
//! Whoever is going to write opens the books ([`open`]): reads the topic to its end, compares, appends what is new, reads
//! and compares again. The log puts the records in one order, so that of two who open at once only one can have its way.
//! Whoever only asks compares ([`check`]) and writes nothing: a slip in a question's configuration binds nobody.
//!
//! Because it lies in the log, the basis comes along with a backup, and lies where all processes of a cluster see it.

mod change;

pub use change::{BasisError, in_force, keeps};

use crate::measure::recount::range;
use crate::runtime::Setup;
use anyhow::{Context, bail};
use schemas::basis::{AccountBasis, AssetBasis, Basis, FORMAT};
use schemas::topics::Topic;
use std::time::Duration;
use stream::log::{Isolation, Log, OutRecord, TopicPartition};

/// Where the records lie.
const AT: TopicPartition = TopicPartition::new(Topic::Books, 0);
/// How long the log may take to keep a record.
const WAIT: Duration = Duration::from_secs(30);

/// Opens the books for writing under a setup. New assets and patterns are noted.
///
/// # Errors
/// A [`BasisError`], with the chart's name where it is about the chart: the setup does not go with these books, and
/// nothing may be started on them. Else a wrong chart, a record that cannot be read, or the log.
pub fn open(log: &dyn Log, setup: &Setup) -> anyhow::Result<()> {
    let ours = of(setup)?;
    if held_against(log, setup, &ours)? {
        return Ok(());
    }
    let record = OutRecord::new(AT, ours.encode()).keyed(ours.book.clone());
    let sequence = log.append(vec![record]).context("topic books")?;
    log.wait_durable(sequence, WAIT).context("topic books")?;
    if !held_against(log, setup, &ours)? {
        bail!("topic books: what was appended is not there: start again");
    }
    Ok(())
}

/// Whether a setup goes with the books. Writes nothing.
///
/// # Errors
/// As [`open`].
pub fn check(log: &dyn Log, setup: &Setup) -> anyhow::Result<()> {
    held_against(log, setup, &of(setup)?).map(drop)
}

/// Whether the books already say all that `ours` says.
fn held_against(log: &dyn Log, setup: &Setup, ours: &Basis) -> anyhow::Result<bool> {
    let Some(held) = in_force(records(log)?) else { return Ok(false) };
    match keeps(&held, ours) {
        Ok(()) => Ok(keeps(ours, &held).is_ok()),
        Err(why) if why.is_of_chart() => Err(why).context(setup.chart.1.clone()),
        Err(why) => Err(why.into()),
    }
}

/// What a setup opens books with.
fn of(setup: &Setup) -> anyhow::Result<Basis> {
    let (chart, calendar) = (setup.read_chart()?, setup.calendar()?);
    let assets =
        chart.assets.into_iter().map(|(code, asset)| AssetBasis { asset: code, exponent: asset.exponent });
    let accounts = chart.classes.into_iter().map(|class| AccountBasis {
        pattern: class.pattern,
        normal: class.normal.into(),
        shard_segments: class.shard_segments,
    });
    Ok(Basis {
        format: FORMAT,
        book: setup.book.clone(),
        time_zone: calendar.time_zone().to_owned(),
        cut_off: calendar.cut_off(),
        assets: assets.collect(),
        accounts: accounts.collect(),
    })
}

/// Every record up to the present end, in order. A topic that is not read to there is an error, never an empty one.
fn records(log: &dyn Log) -> anyhow::Result<Vec<Basis>> {
    let bounds = log.watermarks(AT, Isolation::Committed)?;
    if bounds.low > 0 {
        bail!("{AT} begins at offset {}: what the books were opened with is gone", bounds.low);
    }
    let mut found = Vec::new();
    range(log, AT, 0, bounds.high, &mut |fetch| {
        for record in &fetch.records {
            let basis =
                Basis::parse(&record.value).with_context(|| format!("{AT} offset {}", record.offset))?;
            found.push(basis);
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
