//! `ledgerflow http`: the HTTP API over all partitions, by a process that runs no processor.
//!
//! Events are appended to the lanes as any producer does. States are read from the topics; each question reads on from what
//! the one before it has seen. While the cluster is not reached yet, it says so. Nothing but checkpoints of that is kept,
//! and losing them costs time only.

use super::{hold, options, reach};
use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::mirror::Mirrored;
use crate::query::books::Books;
use crate::traces::Tracer;
use crate::{http, serve, signals};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use stream::kafka::KafkaLog;
use stream::log::LogError;

/// Name of its folder in the data directory.
const FOLDER: &str = "http";
/// How often signals are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// A wrong configuration, topics that are missing, an address that cannot be bound.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let Some(bound) = http::Bound::new(&settings.http)? else {
        return Err(WrongUse(
            "http.listen: found nothing, expected an address such as 127.0.0.1:8080".to_owned(),
        )
        .into());
    };
    let stop = signals::stopped_by(signals::PROCESS)?;
    // The cluster may be away.
    serve::end_in_time(
        Arc::clone(&stop),
        Duration::from_secs(u64::from(settings.shutdown_seconds)) * 19 / 20,
    )?;
    let dir = settings.log.dir.join(FOLDER);
    let _held = hold(&dir)?;
    let found = Found::default();
    let asked = found.clone();
    let source: http::Source = Arc::new(move || asked.get());
    let stop_wait = Duration::from_secs(u64::from(settings.shutdown_seconds)) * 8 / 10;
    let traces = Tracer::start(settings)?;
    let served = http::Server::start_with(bound, &settings.http, (source, &dir), stop_wait)?;
    let books = Books { traces: traces.clone(), ..books(settings, &dir, &found)? };
    found.set(Ok(Arc::new(books)));
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
    }
    drop(served);
    if let Some(tracer) = traces {
        tracer.end_within(Duration::from_secs(u64::from(settings.shutdown_seconds)) / 10);
    }
    Ok(())
}

/// The books once they are opened, and until then what they wait for.
#[derive(Clone)]
struct Found(Arc<RwLock<Result<Arc<Books>, String>>>);

impl Default for Found {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Err("the cluster has not answered yet".to_owned()))))
    }
}

impl Found {
    fn get(&self) -> Result<Arc<Books>, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, found: Result<Arc<Books>, String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

fn books(settings: &Settings, dir: &Path, found: &Found) -> anyhow::Result<Books> {
    let (setup, options) = (settings.setup()?, options(settings)?);
    let open = || KafkaLog::open_observing(options.clone());
    let told = |why: &LogError| found.set(Err(format!("the cluster has not answered yet: {why}")));
    let log = reach(u32::MAX, || open().inspect_err(told))?;
    found.set(Err("the books are being opened".to_owned()));
    let books = Books::observing(Arc::new(log), setup, dir)?;
    Ok(Books { mirrored: Mirrored::elsewhere(&settings.redis), ..books })
}
