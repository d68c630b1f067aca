//! `ledgerflow http`: the HTTP API over all partitions, by a process that runs no processor.
//!
//! Events are appended to the lanes as any producer does. States are read from the topics; each question reads on from what
//! the one before it has seen. Nothing but checkpoints of that is kept, and losing them costs time only.

use super::{hold, options, reach};
use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::mirror::Mirrored;
use crate::query::books::Books;
use crate::{http, serve};
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::kafka::KafkaLog;

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
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signal handler")?;
    }
    // The cluster may be away.
    serve::end_in_time(
        Arc::clone(&stop),
        Duration::from_secs(u64::from(settings.shutdown_seconds)) * 19 / 20,
    )?;
    let dir = settings.log.dir.join(FOLDER);
    let _held = hold(&dir)?;
    let books = Arc::new(books(settings, &dir)?);
    let served =
        http::Server::start(bound, &settings.http, Arc::new(move || Some(Arc::clone(&books))), &dir)?;
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(LOOK);
    }
    drop(served);
    Ok(())
}

fn books(settings: &Settings, dir: &Path) -> anyhow::Result<Books> {
    let (setup, options) = (settings.setup()?, options(settings)?);
    let log = reach(u32::MAX, || KafkaLog::open_observing(options.clone()))?;
    let books = Books::observing(Arc::new(log), setup, dir)?;
    Ok(Books { mirrored: Mirrored::elsewhere(&settings.redis), ..books })
}
