//! Gathers the values of a scrape from the books of this process.
//!
//! A processor that does not answer in time has no values in this scrape but that it does not answer; nor has the lag
//! while the log is away.

use super::dictionary as of;
use super::lag::{self, Lag, Places, in_time};
use super::samples::{Samples, Value};
use crate::measure::behind::Backlog;
use crate::measure::process;
use crate::mirror::{Mirrored, View};
use crate::query::audit::Audited;
use crate::query::books::Books;
use crate::runtime::{Deadline, Pipeline, Reached, Stage, Workers};
use crate::traces::Tracer;
use ingest::lanes::LANES;
use ingest::processor::IngestProcessor;
use ingest::state::IngestSlot;
use posting::Posting;
use reconcile::join::{Gate, Join};
use schemas::recon_json::CaseKind;
use settlement::Settlement;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{monotonic_us, wall_us};
use stream::log::{Offset, TopicPartition};
use stream::processor::Processor;
use stream::throttle::Reading;

/// How long a processor may take for an answer. Ten answers are asked for; with what the log may take ([`lag::WAIT`]) all is
/// over before the ten seconds are that Prometheus waits by default.
pub const WAIT: Duration = Duration::from_millis(600);
const _: () = assert!(10 * WAIT.as_millis() + lag::WAIT.as_millis() < 10_000);

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// What has become of spans since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// Taken by the collector.
    pub exported: u64,
    /// Dropped, as too many waited.
    pub overflowed: u64,
    /// Dropped, as the collector did not take them.
    pub refused: u64,
}

/// What this process has to tell; `dir` is its data directory.
#[must_use]
pub fn gather(books: &Books, dir: &Path) -> Samples {
    let mut samples = Samples::default();
    of_process(&mut samples);
    of_disk(&mut samples, dir);
    if let Some(log) = &books.embedded {
        samples.count(&of::LOG_BYTES, [], log.disk_bytes());
    }
    if let Some(spans) = books.traces.as_ref().map(Tracer::told) {
        samples.count(&of::SPANS_EXPORTED, [], spans.exported);
        samples.count(&of::SPANS_DROPPED, [&"queue"], spans.overflowed);
        samples.count(&of::SPANS_DROPPED, [&"collector"], spans.refused);
    }
    of_audit(&mut samples, books);
    let places = books.pipeline().map(|pipeline| of_pipeline(&mut samples, pipeline)).unwrap_or_default();
    let (mirror, log) = (of_mirror(&mut samples, books), Arc::clone(&books.log));
    let lag = in_time(lag::WAIT, move || Lag::ask(log.as_ref(), &places, mirror.as_ref()));
    samples.count(&of::LOG_UP, [], u64::from(lag.is_some()));
    if let Some(lag) = lag {
        of_lag(&mut samples, lag);
    }
    samples
}

fn of_audit(samples: &mut Samples, books: &Books) {
    if let Some(Audited { wrong, noted, ended_us }) = books.audits.last() {
        samples.count(&of::AUDIT_WRONG, [], wrong);
        samples.count(&of::AUDIT_NOTED, [], noted);
        samples.micros(&of::AUDIT_ENDED, [], ended_us);
    }
}

/// Up to where each stage is comes back.
fn of_pipeline(samples: &mut Samples, pipeline: &Pipeline) -> Vec<Places> {
    of_ingest(samples, &pipeline.ingest);
    if let Some(reading) = pipeline.throttle() {
        of_throttle(samples, reading);
    }
    of_posting(samples, &pipeline.posting);
    of_settlement(samples, &pipeline.settlement);
    of_reconcile(samples, &pipeline.join);
    let mut places = Vec::new();
    for stage in pipeline.stages() {
        of_work(samples, stage);
        places.extend(of_slots(samples, stage).map(|worked_off| (stage.name(), worked_off)));
    }
    places
}

fn of_process(samples: &mut Samples) {
    samples.count(&of::BUILD, [&env!("CARGO_PKG_VERSION")], 1);
    let cpu_us = i64::try_from(process::cpu_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
    samples.micros(&of::CPU, [], cpu_us);
    samples.micros(&of::STARTED, [], wall_us().saturating_sub(monotonic_us()));
    let figures = [
        (&of::MEMORY, process::resident_bytes()),
        (&of::FILES_OPEN, process::open_files()),
        (&of::FILES_MAX, process::open_files_max()),
    ];
    for (metric, figure) in figures {
        if let Some(figure) = figure {
            samples.count(metric, [], figure);
        }
    }
}

fn of_disk(samples: &mut Samples, dir: &Path) {
    if let Ok(held) = rustix::fs::statvfs(dir) {
        samples.count(&of::DISK_FREE, [], held.f_bavail.saturating_mul(held.f_frsize));
        samples.count(&of::DISK_SIZE, [], held.f_blocks.saturating_mul(held.f_frsize));
    }
}

/// What a stage has done.
fn of_work(samples: &mut Samples, stage: &dyn Stage) {
    let (name, work, now_us) = (stage.name(), stage.work(), monotonic_us());
    samples.count(&of::COMMITS, [&name], work.windows);
    samples.count(&of::ABORTED, [&name], work.aborted);
    samples.count(&of::ITEMS, [&name], work.items);
    samples.count(&of::WRITTEN, [&name], work.records_written);
    if work.windows > 0 {
        let age_us = now_us.saturating_sub(work.committed_us);
        samples.micros(&of::LAST_COMMIT, [&name], wall_us().saturating_sub(age_us));
    }
    let blocked = stage.blocked().into_iter().map(|blocked| now_us.saturating_sub(blocked.since_us)).max();
    samples.micros(&of::BLOCKED, [&name], blocked.unwrap_or(0));
    let durations = stage.durations();
    samples.put(&of::COMMIT_SECONDS, [&name], Value::Distribution(durations.commit.clone()));
    samples.put(&of::WINDOW_SECONDS, [&name], Value::Distribution(durations.window.clone()));
}

/// The slots of a stage, and up to where their inputs are worked off.
fn of_slots(samples: &mut Samples, stage: &dyn Stage) -> Option<Vec<(TopicPartition, Offset)>> {
    let (name, reached) = (stage.name(), stage.reached(Deadline::after(WAIT)));
    samples.count(&of::UP, [&name], u64::from(reached.is_some()));
    let Reached { owned, restored, stopped, worked_off } = reached?;
    for (metric, slots) in [(&of::OWNED, owned), (&of::RESTORED, restored), (&of::STOPPED, stopped)] {
        samples.count(metric, [&name], slots as u64);
    }
    Some(worked_off)
}

fn of_lag(samples: &mut Samples, lag: Lag) {
    for (name, backlogs) in lag.processors {
        for (at, backlog) in backlogs {
            let (topic, partition) = (at.topic.name(), at.partition);
            samples.put(&of::LAG_RECORDS, [&name, &topic, &partition], Value::Level(backlog.records));
            samples.micros(&of::LAG_SECONDS, [&name, &topic, &partition], age_us(backlog));
        }
    }
    for (at, backlog) in lag.mirror {
        samples.put(&of::MIRROR_RECORDS, [&at.partition], Value::Level(backlog.records));
        samples.micros(&of::MIRROR_SECONDS, [&at.partition], age_us(backlog));
    }
}

/// How long the oldest record waits.
fn age_us(backlog: Backlog) -> i64 {
    backlog.oldest_us.map_or(0, |oldest_us| wall_us().saturating_sub(oldest_us))
}

/// Asks every slot here; none where the workers do not answer.
fn each_slot<P: Processor + 'static, R: Send + 'static>(
    workers: &Workers<P>,
    tell: impl Fn(&P, &P::Slot) -> R + Send + Sync + 'static,
) -> Vec<(u32, R)> {
    let all = workers.ask_within(Deadline::after(WAIT), move |worker| {
        let slots = worker.slots().into_iter();
        let told = slots.filter_map(|slot| Some((slot, tell(worker.processor(), worker.slot(slot)?))));
        told.collect::<Vec<_>>()
    });
    all.into_iter().flatten().flatten().collect()
}

fn of_ingest(samples: &mut Samples, workers: &Workers<IngestProcessor>) {
    let figures = |_: &IngestProcessor, slot: &IngestSlot| (slot.counts().clone(), slot.held_back());
    for (slot, (counts, held_back)) in each_slot(workers, figures) {
        for lane in 0..LANES {
            let received = counts.received_by_lane.get(lane).copied().unwrap_or(0);
            samples.count(&of::RECEIVED, [&slot, &lane], received);
            samples.count(&of::HELD_BACK, [&slot, &lane], held_back.get(lane).copied().unwrap_or(0));
        }
        samples.count(&of::FORWARDED, [&slot], counts.forwarded);
        samples.count(&of::DEAD_LETTERED, [&slot], counts.dead_lettered);
    }
}

fn of_throttle(samples: &mut Samples, reading: Reading) {
    samples.count(&of::LOW_LANE_RATE, [], reading.per_s);
    for (metric, us) in [(&of::DOWNSTREAM, reading.behind_us), (&of::DOWNSTREAM_USUAL, reading.usual_us)] {
        if let Some(us) = us {
            samples.micros(metric, [], us);
        }
    }
}

fn of_posting(samples: &mut Samples, workers: &Workers<Posting>) {
    let figures = |_: &Posting, slot: &posting::state::Slot| {
        let ids = &slot.ids;
        let waiting: usize = slot.incoming.values().map(|channel| channel.held.len()).sum();
        let outcomes = [ids.booked(), ids.refused() + slot.conflicts, slot.duplicates];
        let pending = (ids.pending(), slot.holds.len(), slot.groups.parked().count());
        (outcomes, pending, ids.places(), slot.accounts.len(), slot.held_ticks, waiting)
    };
    for (slot, (outcomes, (pending, holds, parked), (in_memory, on_disk), accounts, held_ticks, waiting)) in
        each_slot(workers, figures)
    {
        for (outcome, count) in ["booked", "refused", "duplicate"].into_iter().zip(outcomes) {
            samples.count(&of::OUTCOMES, [&slot, &outcome], count);
        }
        samples.count(&of::PENDING, [&slot], pending);
        samples.count(&of::HOLDS, [&slot], holds as u64);
        samples.count(&of::PARKED, [&slot], parked as u64);
        samples.count(&of::IDS, [&slot, &"memory"], in_memory);
        samples.count(&of::IDS, [&slot, &"disk"], on_disk);
        samples.count(&of::ACCOUNTS, [&slot], accounts as u64);
        samples.count(&of::HELD_TICKS, [&slot], held_ticks);
        samples.count(&of::HELD_ITEMS, [&slot], waiting as u64);
    }
}

fn of_settlement(samples: &mut Samples, workers: &Workers<Settlement>) {
    let figures = |settlement: &Settlement, slot: &settlement::state::Slot| {
        let sums: Vec<_> = slot.sums().map(|(asset, sum)| (asset.to_owned(), sum)).collect();
        (sums, settlement.rules().complete_until(slot))
    };
    for (slot, (sums, complete)) in each_slot(workers, figures) {
        for (asset, sum) in sums {
            samples.put(&of::DIFFERENCE, [&slot, &asset], Value::Level(in_64_bits(sum)));
        }
        if let Some(us) = complete.business_time_us {
            samples.micros(&of::BUSINESS_TIME, [&slot], us);
        }
        if let Some(day) = complete.closed_through {
            samples.micros(&of::CLOSED_THROUGH, [&slot], i64::from(day.0).saturating_mul(DAY_US));
        }
    }
}

/// A sum as a metric has it: what is beyond 64 bits, or beyond 128, stands at the edge. Zero is only zero.
fn in_64_bits(sum: Option<i128>) -> i64 {
    let Some(sum) = sum else { return i64::MAX };
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

fn of_reconcile(samples: &mut Samples, workers: &Workers<Join>) {
    for (slot, summary) in each_slot(workers, |_, slot| slot.summary()) {
        for kind in CaseKind::ALL {
            samples.count(&of::CASES, [&slot, &kind.name()], summary.count(kind));
        }
        samples.count(&of::WAITING, [&slot], summary.waiting);
    }
    // Every slot knows every file; one of each worker tells.
    let gates = workers.ask_within(Deadline::after(WAIT), |worker| {
        let slot = worker.slots().first().and_then(|first| worker.slot(*first))?;
        Some(slot.files().into_iter().map(|file| file.gate).collect::<Vec<_>>())
    });
    let Some(gates) = gates.and_then(|workers| workers.into_iter().flatten().next()) else { return };
    for (name, gate) in
        [("staged", Gate::Staged), ("accepted", Gate::Accepted), ("quarantined", Gate::Quarantined)]
    {
        samples.count(&of::FILES, [&name], gates.iter().filter(|of| **of == gate).count() as u64);
    }
}

/// Where the mirror is comes back; `None` = there is none here.
fn of_mirror(samples: &mut Samples, books: &Books) -> Option<View> {
    let Mirrored::Here(board) = &books.mirrored else { return None };
    let view = board.view();
    samples.count(&of::MIRROR_UP, [], u64::from(view.away.is_none()));
    for (slot, row) in &view.slots {
        if let Some(us) = row.mirrored_us {
            samples.micros(&of::MIRROR_LAST, [slot], us);
        }
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_zero() {
        for (sum, level) in [
            (Some(0), 0),
            (Some(-1), -1),
            (Some(i128::from(i64::MAX) + 1), i64::MAX),
            (Some(i128::MIN), i64::MIN),
            // 2 to the 64: its lower half is zero.
            (Some(1 << 64), i64::MAX),
            (None, i64::MAX),
        ] {
            assert_eq!(in_64_bits(sum), level, "{sum:?}");
        }
    }
}
