//! The figures of `status`: what has been done, what lies before each processor, lanes, days and breaks, as plain data at
//! one moment. A reader who keeps two of them has what was done between.
//!
//! Bounds: the newest [`DAYS_MAX`] days; a reader of the log for each processor that has something before it.

use super::books::Books;
use crate::cli::output::{Cell, Table};
use crate::measure::behind::{Backlog, backlog_each};
use crate::runtime::{Pipeline, Stage};
use schemas::recon_json::CaseKind;
use schemas::topics::Topic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stream::clock::{monotonic_us, wall_us};
use stream::log::{Log, LogError, Offset, TopicPartition};

/// Most days that are told; `days` tells all.
pub const DAYS_MAX: usize = 5;

/// Topics of the lanes, highest first.
const LANES: [Topic; ingest::lanes::LANES] = [Topic::Events0, Topic::Events1, Topic::Events2];

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// When they were asked for, wall clock in microseconds.
    pub at_us: i64,
    /// For how long the process that does the work has run, microseconds; `None` = whoever answers does none of it.
    pub up_us: Option<i64>,
    /// What is not known to whoever answers, and who knows it.
    pub unknown: Option<String>,
    /// Processors, in the order of the flow.
    pub stages: Vec<StageFigures>,
    /// Of each slot the processor that is furthest behind.
    pub slots: Vec<SlotFigures>,
    /// Lanes of ingest, highest first.
    pub lanes: Vec<LaneFigures>,
    /// What became of events.
    pub events: EventFigures,
    /// The newest business days, oldest first.
    pub days: Vec<DayFigures>,
    /// Cases of reconciliation by kind.
    pub cases: Vec<(String, u64)>,
    /// Entries that wait for their bill.
    pub waiting: u64,
}

/// What lies before a reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagFigures {
    /// Records that are not worked off.
    pub records: i64,
    /// For how long the oldest of them has waited, microseconds; 0 = there is none.
    pub oldest_us: i64,
}

impl LagFigures {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            oldest_us: self.oldest_us.max(other.oldest_us),
        }
    }

    fn of(backlog: Backlog, now_us: i64) -> Self {
        let oldest_us = backlog.oldest_us.map_or(0, |oldest_us| now_us.saturating_sub(oldest_us).max(0));
        Self { records: backlog.records, oldest_us }
    }

    /// Seconds with three places.
    fn seconds(self) -> Cell {
        Cell::amount(thousandths(self.oldest_us / 1_000))
    }
}

/// A processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFigures {
    /// Its name.
    pub name: String,
    /// Slots that are restored.
    pub slots: u64,
    /// `running`, or why it is not.
    pub state: String,
    /// What lies before it.
    pub lag: LagFigures,
    /// What it has done; `None` = the work is done elsewhere, or nowhere.
    pub done: Option<DoneFigures>,
}

/// What a processor has done since its process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneFigures {
    /// Items decided and committed: events, journal items, entries.
    pub items: u64,
    /// Windows committed.
    pub commits: u64,
    /// How long all those commits took together, microseconds.
    pub commits_us: u64,
    /// How long ago the last one was, microseconds; `None` = there was none.
    pub last_us: Option<i64>,
}

/// The processor that is furthest behind in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFigures {
    /// Partition of its inputs.
    pub slot: u32,
    /// The processor and the topic that it is behind on; `None` = everything is worked off.
    pub slowest: Option<(String, String)>,
    /// How far.
    pub lag: LagFigures,
}

/// A lane of ingest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneFigures {
    /// Its topic.
    pub topic: String,
    /// What waits in it, over all partitions; the records are its depth.
    pub lag: LagFigures,
    /// Events read from it since the books began.
    pub received: u64,
}

/// What became of events since the books began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFigures {
    /// Read by ingest.
    pub received: u64,
    /// Made commands of.
    pub forwarded: u64,
    /// Not to be read or mapped.
    pub dead_lettered: u64,
    /// Whose verdict another partition still owes.
    pub pending: u64,
    /// Ids that are remembered.
    pub ids: u64,
    /// Account balances.
    pub accounts: u64,
    /// Size of the embedded log, bytes.
    pub log_bytes: Option<u64>,
}

/// A business day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayFigures {
    /// Its date.
    pub day: String,
    /// Its state, as `days` has it.
    pub state: String,
    /// Slots that have closed it.
    pub slots_closed: u64,
    /// Of so many.
    pub slots: u64,
}

/// Up to where the inputs of each processor are worked off.
pub(super) type Reached = BTreeMap<&'static str, Vec<(TopicPartition, Offset)>>;

/// Up to where the processors of a pipeline are.
pub(super) fn reached(pipeline: &Pipeline) -> Reached {
    let mut reached = Reached::new();
    for ((name, at), position) in pipeline.worked_off() {
        reached.entry(name).or_default().push((at, position));
    }
    reached
}

/// Gathers them; the stages come without their lag.
///
/// # Errors
/// A worker does not answer, the states cannot be restored, or the log is away.
pub(super) fn gather(books: &Books, stages: Vec<StageFigures>, reached: &Reached) -> anyhow::Result<Figures> {
    let lags = lags(books.log.as_ref(), reached)?;
    let (events, received) = events(books)?;
    let (at_us, running_us) = (wall_us(), monotonic_us());
    let (cases, waiting) = cases(books)?;
    let pipeline = books.pipeline();
    let elsewhere = pipeline.is_none() && books.embedded.is_none();
    Ok(Figures {
        at_us,
        up_us: pipeline.map(|_| running_us),
        unknown: elsewhere.then(|| {
            "not in the topics: rates and commits of processors; each process tells its own (metrics.listen)"
                .to_owned()
        }),
        stages: stages.into_iter().map(|stage| with_lag(stage, &lags)).collect(),
        slots: slots(&lags),
        lanes: lanes(&lags, received),
        events,
        days: days(books)?,
        cases,
        waiting,
    })
}

/// Lags by processor and input.
type Lags = BTreeMap<&'static str, BTreeMap<TopicPartition, LagFigures>>;

fn lags(log: &dyn Log, reached: &Reached) -> Result<Lags, LogError> {
    let of_one = |places: &Vec<_>| {
        let (backlogs, now_us) = (backlog_each(log, places)?, wall_us());
        Ok(backlogs.into_iter().map(|(at, backlog)| (at, LagFigures::of(backlog, now_us))).collect())
    };
    reached.iter().map(|(name, places)| Ok((*name, of_one(places)?))).collect()
}

fn with_lag(stage: StageFigures, lags: &Lags) -> StageFigures {
    let all = lags.get(stage.name.as_str()).into_iter().flat_map(BTreeMap::values);
    let lag = all.fold(LagFigures::default(), |sum, lag| sum.and(*lag));
    StageFigures { lag, ..stage }
}

/// Of each slot the input whose oldest record has waited longest.
fn slots(lags: &Lags) -> Vec<SlotFigures> {
    let mut slots: BTreeMap<u32, SlotFigures> = BTreeMap::new();
    for (name, inputs) in lags {
        for (at, lag) in inputs {
            let slot = slots
                .entry(at.partition)
                .or_insert_with(|| SlotFigures { slot: at.partition, ..SlotFigures::default() });
            if (lag.oldest_us, lag.records) > (slot.lag.oldest_us, slot.lag.records) {
                slot.slowest = Some(((*name).to_owned(), at.topic.name().to_owned()));
                slot.lag = *lag;
            }
        }
    }
    slots.into_values().collect()
}

fn lanes(lags: &Lags, received: [u64; LANES.len()]) -> Vec<LaneFigures> {
    let lane = |(topic, received): (Topic, u64)| {
        let inputs = lags.get("ingest").into_iter().flatten().filter(|(at, _)| at.topic == topic);
        let lag = inputs.fold(LagFigures::default(), |sum, (_, lag)| sum.and(*lag));
        LaneFigures { topic: topic.name().to_owned(), lag, received }
    };
    LANES.into_iter().zip(received).map(lane).collect()
}

/// What became of events, and how many came on each lane.
fn events(books: &Books) -> anyhow::Result<(EventFigures, [u64; LANES.len()])> {
    let counts = books.ingest(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.map(|slot| slot.counts().clone()).collect::<Vec<_>>()
    })?;
    let mut events = EventFigures {
        log_bytes: books.embedded.as_ref().map(|log| log.disk_bytes()),
        ..EventFigures::default()
    };
    let mut received = [0; LANES.len()];
    for counts in counts.iter().flatten() {
        events.received += counts.received;
        events.forwarded += counts.forwarded;
        events.dead_lettered += counts.dead_lettered;
        received.iter_mut().zip(&counts.received_by_lane).for_each(|(sum, count)| *sum += count);
    }
    let counts = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.map(|slot| (slot.accounts.len(), slot.ids.len(), slot.ids.pending())).collect::<Vec<_>>()
    })?;
    for (accounts, ids, pending) in counts.into_iter().flatten() {
        events.accounts += accounts as u64;
        events.ids += ids;
        events.pending += pending;
    }
    Ok((events, received))
}

/// The newest days; none where slot 0 of settlement is elsewhere.
fn days(books: &Books) -> anyhow::Result<Vec<DayFigures>> {
    let days = books.settlement(|worker| {
        let slot = worker.slot(0)?;
        Some(worker.processor().rules().days(slot))
    })?;
    let days = days.into_iter().flatten().next().unwrap_or_default();
    let newest = days.into_iter().rev().take(DAYS_MAX).map(|day| {
        let state = serde_json::to_value(day.state)?.as_str().unwrap_or_default().to_owned();
        let (slots_closed, slots) = (u64::from(day.aligned), u64::from(day.slots));
        Ok(DayFigures { day: day.day.to_string(), state, slots_closed, slots })
    });
    let mut newest = newest.collect::<anyhow::Result<Vec<_>>>()?;
    newest.reverse();
    Ok(newest)
}

/// Cases by kind, and how many entries wait for a bill.
fn cases(books: &Books) -> anyhow::Result<(Vec<(String, u64)>, u64)> {
    let of_workers = books.join(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.fold(reconcile::join::Summary::default(), |sum, slot| sum.with(&slot.summary()))
    })?;
    let total = of_workers.iter().fold(reconcile::join::Summary::default(), |sum, of| sum.with(of));
    let cases = CaseKind::ALL.iter().map(|kind| (kind.name().to_owned(), total.count(*kind))).collect();
    Ok((cases, total.waiting))
}

/// What a stage that runs here has done.
pub(super) fn done(stage: &dyn Stage) -> DoneFigures {
    let work = stage.work();
    let last_us = (work.windows > 0).then(|| monotonic_us().saturating_sub(work.committed_us).max(0));
    DoneFigures {
        items: work.items,
        commits: work.windows,
        commits_us: stage.durations().spent_us(),
        last_us,
    }
}

/// Thousandths with their point.
fn thousandths(of: i64) -> String {
    format!("{}.{:03}", of / 1_000, of % 1_000)
}

impl Figures {
    /// The same as tables, for programs.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.events.table(), self.work(), self.slowest()];
        let mut lanes =
            Table::new("lanes", &["lane", "topic", "behind_records", "behind_seconds", "received"]);
        for (number, lane) in self.lanes.iter().enumerate() {
            lanes.row([
                number.into(),
                lane.topic.as_str().into(),
                lane.lag.records.into(),
                lane.lag.seconds(),
                lane.received.into(),
            ]);
        }
        let mut days = Table::new("days", &["day", "state", "slots_closed", "slots"]);
        for day in &self.days {
            let (name, state) = (day.day.as_str().into(), day.state.as_str().into());
            days.row([name, state, day.slots_closed.into(), day.slots.into()]);
        }
        let mut cases = Table::new("cases", &["kind", "count"]);
        for (kind, count) in &self.cases {
            cases.row([kind.as_str().into(), (*count).into()]);
        }
        cases.row(["waiting for a bill".into(), self.waiting.into()]);
        tables.extend([lanes, days, cases]);
        tables
    }

    fn work(&self) -> Table {
        let columns =
            ["stage", "behind_seconds", "items", "commits", "commit_seconds", "last_commit_seconds"];
        let mut table = Table::new("work", &columns);
        for stage in &self.stages {
            let done = stage.done.as_ref();
            let mean = done.filter(|done| done.commits > 0).map(|done| done.commits_us / done.commits);
            let seconds = |us: i64| Cell::amount(thousandths(us / 1_000));
            let mean = mean.and_then(|us| i64::try_from(us).ok());
            table.row([
                stage.name.as_str().into(),
                stage.lag.seconds(),
                done.map(|done| done.items).into(),
                done.map(|done| done.commits).into(),
                mean.map_or(Cell::None, seconds),
                done.and_then(|done| done.last_us).map_or(Cell::None, seconds),
            ]);
        }
        table
    }

    fn slowest(&self) -> Table {
        let columns = ["slot", "stage", "topic", "behind_records", "behind_seconds"];
        let mut table = Table::new("slowest", &columns);
        for slot in &self.slots {
            let (stage, topic) = slot.slowest.clone().unzip();
            let lag = [slot.lag.records.into(), slot.lag.seconds()];
            table.row([slot.slot.into(), stage.into(), topic.into()].into_iter().chain(lag));
        }
        table
    }
}

impl EventFigures {
    fn table(&self) -> Table {
        let mut table = Table::new("events", &["figure", "value", "unit"]);
        let on_disk = self.log_bytes.map(|bytes| ("log on disk", bytes, "bytes"));
        let rows = [
            ("received", self.received, "events"),
            ("forwarded to posting", self.forwarded, "events"),
            ("dead-lettered", self.dead_lettered, "events"),
            ("waiting for a verdict", self.pending, "events"),
            ("event ids remembered", self.ids, "ids"),
            ("account balances", self.accounts, "balances"),
        ];
        for (figure, value, unit) in rows.into_iter().chain(on_disk) {
            table.row([figure.into(), value.into(), unit.into()]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_slot_the_longest_wait_is_told_and_a_lane_is_the_sum_of_its_partitions() {
        let at = TopicPartition::new;
        let lag = |records, oldest_us| LagFigures { records, oldest_us };
        let lags: Lags = [
            ("ingest", [(at(Topic::Events1, 0), lag(900, 10)), (at(Topic::Events1, 1), lag(100, 30))].into()),
            ("posting", [(at(Topic::Commands, 0), lag(2, 20)), (at(Topic::Credits, 1), lag(0, 0))].into()),
            ("settlement", [(at(Topic::Journal, 2), lag(0, 0))].into()),
        ]
        .into();
        let told = |slot: SlotFigures| (slot.slot, slot.slowest.unzip(), slot.lag.records);
        let of = |stage: &str, topic: &str| (Some(stage.to_owned()), Some(topic.to_owned()));
        let want =
            [(0, of("posting", "commands"), 2), (1, of("ingest", "events.p1"), 100), (2, (None, None), 0)];
        assert_eq!(slots(&lags).into_iter().map(told).collect::<Vec<_>>(), want);
        let depths: Vec<_> =
            lanes(&lags, [1, 2, 3]).into_iter().map(|lane| (lane.lag, lane.received)).collect();
        assert_eq!(depths, [(lag(0, 0), 1), (lag(1_000, 30), 2), (lag(0, 0), 3)]);
    }
}
