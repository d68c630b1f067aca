//! Status: what runs, how far it is, what stands in its way, whether it is ready.

use super::books::Books;
use super::figures::{self, Figures, StageFigures};
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::runtime::Role;
use schemas::dates::format_instant;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::{Isolation, Offset, TopicPartition};
use stream::processor::{Processor, SlotState, Stop};
use stream::worker::Worker;

/// State of a stage that works.
pub const RUNNING: &str = "running";

/// `status`.
pub(super) fn status(books: &Books) -> anyhow::Result<Answer> {
    let Some(pipeline) = books.pipeline() else { return at_rest(books) };
    let failed: BTreeMap<&str, String> =
        pipeline.failures().into_iter().map(|f| (f.processor, f.error.to_string())).collect();
    let stopped = pipeline.stopped_slots();
    let blocked: BTreeMap<&str, String> =
        pipeline.blocked().into_iter().map(|blocked| (blocked.processor, blocked.why)).collect();
    let stages = pipeline.stages().map(|stage| {
        let name = stage.name();
        let state = match failed.get(name) {
            Some(error) => format!("ended: {error}"),
            None if stopped.iter().any(|(other, _)| *other == name) => "slot stopped".into(),
            None => blocked.get(name).cloned().unwrap_or_else(|| RUNNING.into()),
        };
        let (slots, done) = (stage.slots().len() as u64, Some(figures::done(stage)));
        StageFigures { name: name.to_owned(), slots, state, done, ..StageFigures::default() }
    });
    let figures = figures::gather(books, stages.collect(), &figures::reached(pipeline))?;
    let slowest = figures.stages.iter().max_by_key(|stage| stage.lag.records);
    let message = match slowest.filter(|stage| stage.lag.records > 0) {
        Some(stage) => format!("slowest stage: {}, {} records behind", stage.name, stage.lag.records),
        None => "everything is read".into(),
    };
    let mut answer = told_of(books, figures)?;
    answer.message = Some(message);
    tell_stopped(&mut answer, stopped);
    Ok(answer)
}

/// What figures and slots have to say.
fn told_of(books: &Books, figures: Figures) -> anyhow::Result<Answer> {
    let mut stages = Table::new("stages", &["stage", "slots", "state", "behind_records"]);
    for stage in &figures.stages {
        let (name, state) = (stage.name.as_str().into(), stage.state.as_str().into());
        stages.row([name, stage.slots.into(), state, stage.lag.records.into()]);
    }
    let mut answer = Answer::tables(vec![stages]);
    answer.tables.extend(figures.tables());
    let notes = [alarms(books)?, held_ticks(books)?, books.mirrored.table(books)?];
    answer.tables.extend(notes.into_iter().flatten());
    answer.figures = Some(Box::new(figures));
    Ok(answer)
}

/// What an operator should know of posting's slots; no table when that is nothing.
fn alarms(books: &Books) -> anyhow::Result<Option<Table>> {
    let alarms = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| Some((slot, worker.slot(slot)?.alarms())));
        slots.flat_map(|(slot, all)| all.into_iter().map(move |alarm| (slot, alarm))).collect::<Vec<_>>()
    })?;
    let mut alarms: Vec<_> = alarms.into_iter().flatten().collect();
    alarms.sort();
    let mut table = None;
    for (slot, alarm) in alarms {
        let table = table.get_or_insert_with(|| Table::new("alarms", &["stage", "slot", "alarm"]));
        table.row(["posting".into(), slot.into(), alarm.into()]);
    }
    Ok(table)
}

/// Ticks of business time that were too far ahead to be believed; no table when there are none.
fn held_ticks(books: &Books) -> anyhow::Result<Option<Table>> {
    let mut table = Table::new("held ticks", &["slot", "held", "last", "business_time"]);
    let held = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|number| worker.slot(number));
        let held = slots.filter(|slot| slot.held_ticks > 0);
        held.map(|slot| (slot.slot, slot.held_ticks, slot.held_tick_us, slot.tick_us)).collect::<Vec<_>>()
    })?;
    let mut held: Vec<_> = held.into_iter().flatten().collect();
    held.sort_unstable();
    for (slot, count, last_us, time_us) in &held {
        let (last, time) = (format_instant(*last_us), format_instant(*time_us));
        table.row([(*slot).into(), (*count).into(), last.into(), time.into()]);
    }
    Ok((!held.is_empty()).then_some(table))
}

/// A table of the slots that cannot go on; with one of them something is wrong.
fn tell_stopped(answer: &mut Answer, stopped: Vec<(&'static str, Stop)>) {
    if stopped.is_empty() {
        return;
    }
    let mut table = Table::new("stopped slots", &["stage", "slot", "at", "why"]);
    for (stage, stop) in stopped {
        table.row([stage.into(), stop.slot.into(), stop.at.into(), stop.why.into()]);
    }
    answer.tables.push(table);
    answer.ending = Ending::Wrong;
}

/// A restored worker that does not work: its slots, those that cannot go on, up to where its inputs are worked off.
type Rested = (usize, Vec<Stop>, Vec<(TopicPartition, Offset)>);

fn rested<P: Processor>(worker: &Worker<P>) -> Rested {
    (worker.slots().len(), worker.stopped(), worker.worked_off())
}

/// The workers of one stage.
fn together(workers: Vec<Rested>) -> Rested {
    workers.into_iter().fold(Rested::default(), |(slots, mut stopped, mut reached), worker| {
        stopped.extend(worker.1);
        reached.extend(worker.2);
        (slots + worker.0, stopped, reached)
    })
}

/// `status` where nothing runs, or elsewhere: how far each stage is, and what a start would stop at.
fn at_rest(books: &Books) -> anyhow::Result<Answer> {
    let all: [(&'static str, Rested); 5] = [
        ("ingest", together(books.ingest(rested)?)),
        ("posting", together(books.posting(rested)?)),
        ("settlement", together(books.settlement(rested)?)),
        ("rekey", together(books.rekey(rested)?)),
        ("join", together(books.join(rested)?)),
    ];
    let (mut stages, mut stopped, mut all_reached) = (Vec::new(), Vec::new(), figures::Reached::new());
    for (stage, (slots, stops, reached)) in all {
        let state = match (&books.embedded, stops.is_empty()) {
            (_, false) => "slot stopped",
            (Some(_), true) => "at rest",
            (None, true) => "as committed",
        };
        let (name, state, slots) = (stage.to_owned(), state.to_owned(), slots as u64);
        stages.push(StageFigures { name, slots, state, ..StageFigures::default() });
        all_reached.insert(stage, reached);
        stopped.extend(stops.into_iter().map(|stop| (stage, stop)));
    }
    let mut answer = told_of(books, figures::gather(books, stages, &all_reached)?)?;
    answer.message = Some("nothing runs on this directory".into());
    if books.embedded.is_none() {
        answer.tables.push(members(books)?);
        answer.message = None;
    }
    tell_stopped(&mut answer, stopped);
    Ok(answer)
}

/// Who works on Kafka, on whatever machine.
fn members(books: &Books) -> anyhow::Result<Table> {
    let mut table = Table::new("members", &["stage", "workers", "names"]);
    for stage in Role::ALL.iter().flat_map(|role| role.groups()) {
        let names = books.log.members(stage)?;
        table.row([(*stage).into(), names.len().into(), names.join(", ").into()]);
    }
    Ok(table)
}

/// What the stages that run here have done.
pub(super) fn work(books: &Books) -> anyhow::Result<Answer> {
    let columns =
        ["stage", "windows", "aborted", "items", "records_read", "records_written", "behind_records"];
    let mut table = Table::new("work", &columns);
    let Some(pipeline) = books.pipeline() else {
        return Ok(Answer::says(Ending::Failed, "nothing runs on this directory"));
    };
    let lag = pipeline.lag()?;
    for (stage, work) in pipeline.work() {
        table.row([
            stage.into(),
            work.windows.into(),
            work.aborted.into(),
            work.items.into(),
            work.records_read.into(),
            work.records_written.into(),
            lag.get(stage).copied().unwrap_or(0).into(),
        ]);
    }
    Ok(Answer::tables(vec![table]))
}

/// `health`.
pub(super) fn health(books: &Books) -> Answer {
    match books.pipeline() {
        Some(pipeline) if !pipeline.blocked().is_empty() => Answer::says(Ending::Wrong, "cannot write"),
        Some(pipeline) if pipeline.ready() && pipeline.failures().is_empty() => {
            match pipeline.stopped_slots().len() {
                0 => Answer::says(Ending::Done, "ready"),
                stopped => Answer::says(
                    Ending::Wrong,
                    format!("{stopped} slots are stopped, see `ledgerflow status`"),
                ),
            }
        }
        Some(_) => Answer::says(Ending::Wrong, "not ready"),
        None => Answer::says(Ending::Wrong, "nothing runs on this directory"),
    }
}

/// Whether this process is ready, stage by stage.
pub(super) fn ready(books: &Books) -> anyhow::Result<Answer> {
    let mut table = Table::new("stages", &["stage", "slots", "restored", "last_commit_seconds"]);
    let Some(pipeline) = books.pipeline() else {
        books.log.watermarks(TopicPartition::new(Topic::Journal, 0), Isolation::Committed)?;
        return Ok(Answer::tables(vec![table]));
    };
    let (work, now_us) = (pipeline.work(), stream::clock::monotonic_us());
    for stage in pipeline.stages() {
        let committed_us = work.get(stage.name()).map_or(0, |work| work.committed_us);
        let age = (committed_us > 0).then(|| now_us.saturating_sub(committed_us).max(0) / 1_000_000);
        table.row([stage.name().into(), stage.slots().len().into(), stage.ready().into(), age.into()]);
    }
    let health = health(books);
    Ok(Answer { tables: vec![table], ..health })
}
