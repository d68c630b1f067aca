//! An audit that goes on (`audit --follow`): one auditor in this process, on a thread of its own, for all who ask.
//!
//! The first question for a look starts it at the beginning of every topic; it ends when nobody has asked for
//! [`IDLE_US`], or for three times as long as looks are apart. It reads on between questions, so a question waits for one
//! step, and now and then for a whole report: what a look does not judge is judged then. Retention waits for what it has
//! not read.

use super::audit::{self, Audits};
use super::books::Books;
use super::seen::Seen;
use super::{Answer, Ending};
use crate::retention::Hold;
use ::audit::{AuditError, AuditLimit, Auditor, Look, NamedFinding, Report};
use anyhow::{Context, bail};
use schemas::dates::format_instant;
use schemas::topics::PartitionCounts;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use stream::clock;
use stream::log::{Log, LogError};
use stream::mutex::lock;

/// How long nobody may ask before it ends, microseconds.
const IDLE_US: i64 = 60_000_000;
/// How long it pauses where there is nothing to read.
const PAUSE: Duration = Duration::from_millis(100);
/// How far apart whole reports are between looks, microseconds.
const REPORT_US: i64 = 60_000_000;

/// The last finding that was told: which auditor told it ([`Seen::auditor`]), and its number there.
type Told = (i64, u64);

/// A question to the thread, and where its answer goes.
enum Asked {
    /// With the last finding that was told, and how long after it nobody may ask, microseconds.
    Look(Told, i64, Sender<Result<Seen, String>>),
    Report(Sender<Result<Report, String>>),
}

/// The thread with the auditor.
#[derive(Debug)]
pub struct Follower {
    ask: Option<Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    fn start(books: &Books) -> anyhow::Result<Self> {
        let (ask, asks) = channel();
        let (log, counts, hold) = (Arc::clone(&books.log), books.setup.counts, books.retention.hold());
        let audits = books.audits.telling();
        let run = move || {
            if let Err(why) = follow(log.as_ref(), counts, &hold, &audits, &asks) {
                fail(&asks, &why.to_string());
            }
        };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(run).context("thread")?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It ends after its step when nobody can ask any more.
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells the next who asks why there is no auditor.
fn fail(asks: &Receiver<Asked>, why: &str) {
    // Nobody may be listening any more.
    let _ = match asks.recv_timeout(Duration::from_micros(IDLE_US.unsigned_abs())) {
        Ok(Asked::Look(_, _, reply)) => reply.send(Err(why.to_owned())).is_ok(),
        Ok(Asked::Report(reply)) => reply.send(Err(why.to_owned())).is_ok(),
        Err(_) => false,
    };
}

/// What whole reports have found beyond the looks.
#[derive(Default)]
struct Judged {
    at_us: Option<i64>,
    records: u64,
    wrong: u64,
    noted: u64,
    first: Option<NamedFinding>,
}

impl Judged {
    fn take(&mut self, report: &Report, records: u64) {
        let (wrong, noted) = audit::counted(report);
        let (at_us, first) = (Some(clock::monotonic_us()), report.first.clone());
        *self = Self { at_us, records, wrong, noted, first };
    }

    fn is_due(&self, look: &Look) -> bool {
        let since = self.at_us.map_or(i64::MAX, |at| clock::monotonic_us().saturating_sub(at));
        let unnamed = !look.passed() && look.wrong == 0 && self.wrong == 0;
        unnamed || (since >= REPORT_US && self.records != look.records)
    }
}

fn seen(auditor: &Auditor<'_>, at_end: bool, began_us: i64, told: Told, judged: &mut Judged) -> Seen {
    let mut look = auditor.look();
    if judged.is_due(&look) {
        judged.take(&auditor.report(), look.records);
    }
    look.wrong = look.wrong.max(judged.wrong);
    look.first = look.first.or_else(|| judged.first.clone());
    let time = format_instant(clock::wall_us());
    // What another auditor has told says nothing of what this one found.
    let told = if told.0 == began_us { told.1 } else { 0 };
    let findings = auditor.found_since(told);
    Seen { time, auditor: began_us, at_end, look, noted: judged.noted, findings }
}

/// Reads until nobody asks any more.
fn follow(
    log: &dyn Log,
    counts: PartitionCounts,
    hold: &Hold,
    audits: &Audits,
    asks: &Receiver<Asked>,
) -> Result<(), AuditError> {
    let mut auditor = Auditor::new(log, counts, AuditLimit::default())?;
    let (mut judged, began_us) = (Judged::default(), clock::wall_us());
    let mut until_us = clock::monotonic_us().saturating_add(IDLE_US);
    loop {
        let (at_end, pause) = match auditor.step() {
            Ok(progress) if progress.at_end => (true, PAUSE),
            Ok(_) => (false, Duration::ZERO),
            // What was read is kept. Only looks for the ends of what is there fail so, and they come again.
            Err(AuditError::Log(LogError::Retriable(why))) => {
                tracing::debug!(why, "the audit goes on when the log is back");
                (false, PAUSE)
            }
            Err(why) => return Err(why),
        };
        hold.reached(auditor.positions());
        match asks.recv_timeout(pause) {
            Ok(Asked::Look(told, idle_us, reply)) => {
                until_us = until_us.max(clock::monotonic_us().saturating_add(idle_us));
                let seen = seen(&auditor, at_end, began_us, told, &mut judged);
                audits.ended(seen.look.wrong, seen.noted);
                // Whoever asked may have gone.
                let _ = reply.send(Ok(seen));
            }
            Ok(Asked::Report(reply)) => {
                let report = auditor.report();
                judged.take(&report, auditor.look().records);
                audits.ended(judged.wrong, judged.noted);
                let _ = reply.send(Ok(report));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                if clock::monotonic_us() > until_us {
                    return Ok(());
                }
            }
        }
    }
}

/// Asks the auditor that follows these books; starts one where there is none.
fn ask<T>(books: &Books, question: impl Fn(Sender<Result<T, String>>) -> Asked) -> anyhow::Result<T> {
    // One that has just ended because nobody asked is started again.
    for _ in 0..2 {
        let (reply, told) = channel();
        {
            let mut follower = lock(books.audits.follower());
            if follower.as_ref().is_none_or(Follower::has_ended) {
                *follower = Some(Follower::start(books)?);
            }
            let ask = follower.as_ref().and_then(|follower| follower.ask.as_ref());
            if ask.is_none_or(|ask| ask.send(question(reply)).is_err()) {
                continue;
            }
        }
        if let Ok(answer) = told.recv() {
            return answer.map_err(anyhow::Error::msg);
        }
    }
    bail!("the auditor has ended; the next question starts one again")
}

/// One look, as a document of JSON; the next comes in `every_s`.
pub(super) fn look(books: &Books, told: Told, every_s: u32) -> anyhow::Result<Answer> {
    let idle_us = IDLE_US.max(i64::from(every_s).saturating_mul(3_000_000));
    let seen = ask(books, |reply| Asked::Look(told, idle_us, reply))?;
    let ending = if seen.look.passed() { Ending::Done } else { Ending::Wrong };
    let document = Some(serde_json::to_string(&seen)?);
    Ok(Answer { ending, document, ..Answer::tables(Vec::new()) })
}

/// The whole report up to here.
pub(super) fn report(books: &Books) -> anyhow::Result<Answer> {
    Ok(audit::answer(&ask(books, Asked::Report)?))
}
