//! `ledgerflow run`: the whole pipeline on one data directory until it is told to stop.
//!
//! Phases: lock and open the log -> start the workers -> listen on the socket -> watch (signals, failures, bills,
//! retention) -> stop in order. A worker that ends by itself ends the process: what supervises it starts it again,
//! and everything restores from the log.

use crate::config::Settings;
use crate::query::books::{Answering, Books, checkpoints};
use crate::query::{self, Answer, Ending, Question};
use crate::retention::Retention;
use crate::runtime::Pipeline;
use crate::socket;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::Log;

/// How often signals and workers are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often bill folders are looked at, microseconds.
const BILLS_US: i64 = 5_000_000;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration, the log, or a worker that failed.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signal handler")?;
    }
    let (books, _) = start(settings)?;
    let books = Arc::new(RwLock::new(Some(books)));
    let server = listen(settings, &books)?;
    tracing::info!(dir = %settings.log.dir.display(), "ledgerflow runs");
    let watched = watch(settings, &books, &stop);
    drop(server);
    let taken = books.write().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Books { log, answering: Answering::Running(pipeline), .. }) = taken else { return watched };
    tracing::info!("stopping");
    // The rest of the time is for the last checkpoints and the last sync.
    let wait = Duration::from_millis(u64::from(settings.shutdown_seconds) * 700);
    let failures = pipeline.stop(wait)?;
    log.sync()?;
    watched?;
    if let Some(failure) = failures.first() {
        bail!("{}: {}", failure.processor, failure.error);
    }
    tracing::info!("stopped");
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
    let mut options = settings.embedded();
    options.on_failure = Some(Arc::new(|why| {
        // Commits that may not be on the disk must never be believed: the process ends and restores.
        tracing::error!(why, "the log has failed, ending");
        std::process::exit(1);
    }));
    let log = Arc::new(EmbeddedLog::open(&dir, options)?);
    let shared: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
    let store = checkpoints(&dir, &log);
    let pipeline = Pipeline::start(shared, processors, &settings.workers(), &settings.clock(), &store)?;
    let answering = Answering::Running(Box::new(pipeline));
    Ok((Books { log, setup, answering, retention: Retention::default() }, dir))
}

type Shared = Arc<RwLock<Option<Books>>>;

fn listen(settings: &Settings, books: &Shared) -> anyhow::Result<socket::Server> {
    let books = Arc::clone(books);
    socket::Server::start(&settings.log.dir, move |line| {
        let books = books.read().unwrap_or_else(PoisonError::into_inner);
        let answer = match (serde_json::from_str::<Question>(line), books.as_ref()) {
            (Ok(question), Some(books)) => query::answer(books, &question),
            (Err(error), _) => Answer::says(Ending::Failed, format!("not a question: {error}")),
            (_, None) => Answer::says(Ending::Failed, "the pipeline is stopping"),
        };
        serde_json::to_string(&answer).unwrap_or_default()
    })
}

fn watch(settings: &Settings, books: &Shared, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut bills = Bills::default();
    let (mut cleaned_us, mut looked_us) = (clock::monotonic_us(), i64::MIN);
    let clean_us = i64::from(settings.retention.interval_seconds) * 1_000_000;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
        let guard = books.read().unwrap_or_else(PoisonError::into_inner);
        let Some(books) = guard.as_ref() else { return Ok(()) };
        let Some(pipeline) = books.pipeline() else { return Ok(()) };
        if let Some(failure) = pipeline.failures().first() {
            bail!("{} ended: {}", failure.processor, failure.error);
        }
        let now = clock::monotonic_us();
        if now.saturating_sub(looked_us) >= BILLS_US {
            looked_us = now;
            bills.look(settings, books);
        }
        if settings.retention.enabled && now - cleaned_us >= clean_us {
            cleaned_us = now;
            clean(books, pipeline);
        }
    }
    Ok(())
}

/// Lets go of records that every reader has passed.
fn clean(books: &Books, pipeline: &Pipeline) {
    if let Err(error) = books.retention.clean(&books.log, &pipeline.positions()) {
        tracing::warn!(%error, "retention");
    }
}

/// Bill files already imported, by path, size and time of change.
#[derive(Default)]
struct Bills {
    seen: BTreeSet<(PathBuf, u64, i64)>,
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
        if hidden
            || !metadata.is_file()
            || !self.seen.insert((path.clone(), metadata.len(), metadata.mtime()))
        {
            return;
        }
        let file = path.display().to_string();
        let question = Question::Bill { file: file.clone(), source: source.to_owned(), day: None };
        let answer = query::answer(books, &question);
        match answer.ending {
            Ending::Done => tracing::info!(source, file, "bill imported"),
            _ => tracing::warn!(source, file, why = answer.message, "bill not accepted"),
        }
    }
}
