//! `ledgerflow run`: the whole pipeline on one data directory, or one processor on Kafka, until it is told to stop.
//!
//! Phases: lock and open the log -> start the workers -> listen on the socket -> watch (signals, failures; bills,
//! retention and the mirror of balances beside it) -> stop in order. A worker that ends by itself ends the process: what
//! supervises it starts it again, and everything restores from the log. So does a log that takes no more ([`NoRoom`]),
//! after a while.
//!
//! Bound: from the signal to the end it is `shutdown_seconds`, whatever is under way. Whoever needs the books takes a
//! share of them and lets go of the lock at once, so that no question keeps the end waiting; what is still asked then is
//! not answered. The last word has [`end_in_time`].

use crate::archive;
use crate::basis;
use crate::config::{LogKind, Settings};
use crate::mirror::{Board, Mirror, Mirrored};
use crate::query::audit::Audits;
use crate::query::books::{Answering, Books, checkpoints};
use crate::query::{self, Answer, Ending, Question};
use crate::retention::Retention;
use crate::runtime::{Failure, Pipeline, Share, Stage, Start};
use crate::traces::Tracer;
use crate::{http, restore, signals, socket};
use anyhow::Context;
use schemas::principal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::faults;
use stream::log::Log;

/// How often signals and workers are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often bill folders are looked at, microseconds.
const BILLS_US: i64 = 5_000_000;

/// Nothing can be written for too long: the disk is full, most likely.
#[derive(Debug, thiserror::Error)]
#[error(
    "{processor} could not write for {seconds} s: {why}. Nothing that was acknowledged is lost; make room, then start \
     again"
)]
pub struct NoRoom {
    processor: &'static str,
    seconds: u32,
    why: String,
}

/// A worker that ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{} ended: {}", .0.processor, .0.error)]
pub struct Ended(pub Failure);

/// Runs the whole pipeline on the embedded log until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration, the log, or a worker that failed.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    serve(settings, &settings.log.dir, || start(settings).map(|(books, _)| books))
}

/// Starts books with a pipeline and serves them, with a socket in `dir`, until SIGTERM or SIGINT.
///
/// # Errors
/// As `start`, or a worker that failed.
pub fn serve(
    settings: &Settings,
    dir: &Path,
    start: impl FnOnce() -> anyhow::Result<Books>,
) -> anyhow::Result<()> {
    let all_of_it = Duration::from_secs(u64::from(settings.shutdown_seconds));
    let stop = stopping_by_signal()?;
    end_in_time(Arc::clone(&stop), all_of_it * 19 / 20)?;
    // A processor's process on Kafka has the states of its own partitions only: `ledgerflow http` serves there.
    let bound = match settings.log.kind {
        LogKind::Embedded => http::Bound::new(&settings.http)?,
        LogKind::Kafka => None,
    };
    let bound_for_metrics = http::bind_metrics(settings)?;
    let mut books = start()?;
    if !settings.redis.url.is_empty() && books.pipeline().is_some_and(|pipeline| pipeline.settlement.runs()) {
        books.mirrored = Mirrored::Here(Board::default());
    }
    let books = Arc::new(books);
    let mirror = Mirror::start(&settings.redis, &books)?;
    let shared = Shared(Arc::new(RwLock::new(Some(Arc::clone(&books)))));
    let server = listen(dir, &shared)?;
    let asked = shared.clone();
    let source: http::Source = Arc::new(move || asked.books().ok_or_else(|| http::STOPPING.to_owned()));
    let start = |bound| http::Server::start(bound, &settings.http, Arc::clone(&source), dir);
    let http = bound.map(start).transpose()?;
    let start = |bound| http::serve_metrics(bound, settings, Arc::clone(&source), dir);
    let metrics = bound_for_metrics.map(start).transpose()?;
    keep_house(settings.clone(), shared.clone())?;
    tracing::info!(dir = %dir.display(), "ledgerflow runs");
    let watched = watch(settings, &books, &stop);
    tracing::info!("stopping");
    shared.close();
    drop((server, http, metrics));
    // What cannot be written now is worked off after the next start.
    let full = watched.as_ref().is_err_and(|why| why.is::<NoRoom>());
    let wait = if full { Duration::ZERO } else { all_of_it * 8 / 10 };
    let failures = stop_in_order(&books, mirror, wait, all_of_it / 20)?;
    watched?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(Ended(failure).into());
    }
    tracing::info!("stopped");
    Ok(())
}

/// What SIGTERM and SIGINT set.
fn stopping_by_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = signals::stopped_by(signals::PROCESS)?;
    // A limit on file sizes (`ulimit -f`) then answers a write as a full disk does, and does not kill.
    let limited = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, limited).context("signal handler")?;
    Ok(stop)
}

/// Stops the workers within `wait`, then the log, spans and the mirror, the last two within `rest` each. Gives the workers
/// that had ended by themselves.
fn stop_in_order(
    books: &Books,
    mirror: Option<Mirror>,
    wait: Duration,
    rest: Duration,
) -> anyhow::Result<Vec<Failure>> {
    let failures = match books.pipeline() {
        Some(pipeline) => pipeline.stop(wait)?,
        None => Vec::new(),
    };
    if let Some(log) = &books.embedded {
        log.sync()?;
    }
    if let Some(tracer) = &books.traces {
        tracer.end_within(rest);
    }
    if let Some(mirror) = mirror {
        mirror.end_within(rest);
    }
    Ok(failures)
}

/// Ends the process with exit code 0 when `stop` was set so long ago: what is still under way is left as it is. Every
/// commit is whole, and what nobody was told is read or asked again.
///
/// # Errors
/// No thread.
pub(crate) fn end_in_time(stop: Arc<AtomicBool>, wait: Duration) -> anyhow::Result<()> {
    let wait_for_it = move || {
        while !stop.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(wait);
        tracing::warn!("ending before everything has ended; the rest is read at the next start");
        std::process::exit(0);
    };
    std::thread::Builder::new().name("end".into()).spawn(wait_for_it).context("thread")?;
    Ok(())
}

/// Opens the log and starts the workers.
///
/// # Errors
/// The configuration or the log.
pub fn start(settings: &Settings) -> anyhow::Result<(Books, PathBuf)> {
    let dir = settings.log.dir.clone();
    let setup = settings.setup()?;
    // Wrong charts and rules are told before anything is opened.
    let processors = setup.processors()?;
    let traces = Tracer::start(settings)?;
    let mut options = settings.embedded();
    options.on_failure = Some(Arc::new(|why| {
        // Commits that may not be on the disk must never be believed: the process ends and restores.
        tracing::error!(why, "the log has failed, ending");
        std::process::exit(1);
    }));
    let log = EmbeddedLog::open(&dir, options).map_err(|error| restore::refused(&dir, error))?;
    restore::reaches_checkpoints(&log)?;
    let log = Arc::new(log);
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    basis::open(shared.as_ref(), &setup)?;
    let (shared, archiving) = archive::below_workers(shared, &setup)?;
    let store = checkpoints(&dir, &shared);
    let (share, clock) = (Share::whole(), settings.clock());
    let start = Start {
        log: &shared,
        share: &share,
        clock: &clock,
        checkpoints: &store,
        traces: traces.as_ref(),
        observed: None,
    };
    let pipeline = Pipeline::start(&processors, &settings.workers(), &start)?;
    let answering = Answering::Running(Box::new(pipeline));
    let (retention, mirrored) = (Retention::default(), Mirrored::Off);
    let (embedded, audits) = (Some(log), Audits::default());
    let books =
        Books { log: shared, embedded, setup, archiving, answering, retention, audits, mirrored, traces };
    Ok((books, dir))
}

/// The books, for as long as the pipeline is not stopping.
#[derive(Clone)]
struct Shared(Arc<RwLock<Option<Arc<Books>>>>);

impl Shared {
    fn books(&self) -> Option<Arc<Books>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn listen(dir: &Path, shared: &Shared) -> anyhow::Result<socket::Server> {
    let shared = shared.clone();
    socket::Server::start(dir, move |line, uid| {
        let answer = match (serde_json::from_str::<Question>(line), shared.books()) {
            _ if faults::hit(faults::SERVE_BEFORE_ANSWER).is_err() => {
                Answer::says(Ending::Failed, "armed not to answer")
            }
            // On Kafka nothing that a command says of itself is believed.
            (Ok(question), Some(books)) if books.embedded.is_some() => {
                query::answer(&books, &question.by(principal::of_user(uid)))
            }
            (Ok(question), Some(books)) => query::answer(&books, &question),
            (Err(error), _) => Answer::says(Ending::Failed, format!("not a question: {error}")),
            (_, None) => Answer::says(Ending::Failed, "the pipeline is stopping"),
        };
        serde_json::to_string(&answer).unwrap_or_default()
    })
}

/// Returns when the process is told to stop.
///
/// # Errors
/// A worker has ended by itself, or nothing can be written for too long ([`NoRoom`]).
fn watch(settings: &Settings, books: &Books, stop: &AtomicBool) -> anyhow::Result<()> {
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
        let failures = books.pipeline().map(Pipeline::failures).unwrap_or_default();
        if let Some(failure) = failures.into_iter().next() {
            return Err(Ended(failure).into());
        }
        // A cluster that is away comes back; a full disk does not by itself.
        if books.embedded.is_none() {
            continue;
        }
        let blocked = books.pipeline().map(Pipeline::blocked).unwrap_or_default();
        if let Some(blocked) = blocked.into_iter().min_by_key(|blocked| blocked.since_us) {
            let seconds = settings.log.full_seconds;
            if clock::monotonic_us().saturating_sub(blocked.since_us) >= i64::from(seconds) * 1_000_000 {
                return Err(NoRoom { processor: blocked.processor, seconds, why: blocked.why }.into());
            }
        }
    }
    Ok(())
}

/// Starts what is done now and then: looking for bills, letting go of records.
fn keep_house(settings: Settings, shared: Shared) -> anyhow::Result<()> {
    let mut bills = Bills::default();
    let (mut cleaned_us, mut looked_us) = (clock::monotonic_us(), i64::MIN);
    let clean_us = i64::from(settings.retention.interval_seconds) * 1_000_000;
    let keep = move || {
        while let Some(books) = shared.books() {
            let now = clock::monotonic_us();
            if !settings.bills.sources.is_empty()
                && now.saturating_sub(looked_us) >= BILLS_US
                && imports_bills(&books)
            {
                looked_us = now;
                bills.look(&settings, &books);
            }
            if let Some(pipeline) = books.pipeline()
                && settings.retention.enabled
                && now - cleaned_us >= clean_us
            {
                cleaned_us = now;
                clean(&settings, &books, pipeline);
            }
            drop(books);
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new().name("house".into()).spawn(keep).context("thread")?;
    Ok(())
}

/// Whether this process looks for bills: of several that reconcile, one does, the owner of the first slot. Which files were
/// imported before is known once the joining half is restored.
fn imports_bills(books: &Books) -> bool {
    let owns_it = |pipeline: &Pipeline| pipeline.rekey.slots().first() == Some(&0);
    books.pipeline().is_some_and(|pipeline| pipeline.ready() && owns_it(pipeline))
}

/// Lets go of records that every reader has passed, and of those that are old enough.
fn clean(settings: &Settings, books: &Books, pipeline: &Pipeline) {
    let Some(log) = &books.embedded else { return };
    let ages = settings.ages(clock::wall_us());
    if let Err(error) = books.retention.clean(log, &pipeline.positions(), &ages) {
        tracing::warn!(%error, "retention");
    }
}

/// Bill files already imported, by path, size and time of change; and why others could not be: these are tried again.
#[derive(Default)]
struct Bills {
    seen: BTreeSet<(PathBuf, u64, i64)>,
    failed: BTreeMap<PathBuf, String>,
}

impl Bills {
    fn look(&mut self, settings: &Settings, books: &Books) {
        for source in &settings.bills.sources {
            let Ok(files) = std::fs::read_dir(&source.dir) else {
                tracing::warn!(source = source.name, dir = %source.dir.display(), "bill folder cannot be read");
                continue;
            };
            let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
            paths.sort();
            for path in paths {
                self.import(books, &source.name, path);
            }
        }
    }

    fn import(&mut self, books: &Books, source: &str, path: PathBuf) {
        use std::os::unix::fs::MetadataExt;
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let version = (path.clone(), metadata.len(), metadata.mtime());
        if hidden || !metadata.is_file() || self.seen.contains(&version) {
            return;
        }
        let file = path.display().to_string();
        let question = Question::Bill { file: file.clone(), source: Some(source.to_owned()), day: None };
        let answer = query::answer(books, &question);
        let why = answer.message.unwrap_or_default();
        if answer.ending == Ending::Failed {
            // A log that is away or lets nobody write comes back. It is told once.
            if self.failed.insert(path, why.clone()).as_ref() != Some(&why) {
                tracing::warn!(source, file, why, "bill not imported, it is tried again");
            }
            return;
        }
        self.failed.remove(&path);
        self.seen.insert(version);
        match answer.ending {
            Ending::Done => tracing::info!(source, file, "bill imported"),
            _ => tracing::warn!(source, file, why, "bill not accepted"),
        }
    }
}
