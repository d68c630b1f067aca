//! Signals that end a process or a command that stays.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::clock::monotonic_us;

/// What ends a process of the pipeline.
pub const PROCESS: &[i32] = &[SIGTERM, SIGINT];
/// What ends a command that stays: its terminal may go too.
pub const COMMAND: &[i32] = &[SIGTERM, SIGINT, SIGHUP];
/// How often signals are looked at while a command pauses.
const LOOK: Duration = Duration::from_millis(50);

/// Told by a signal to stop, once one of these comes.
///
/// # Errors
/// The system takes no handler.
pub fn stopped_by(signals: &[i32]) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::clone(&stop)).context("signal handler")?;
    }
    Ok(stop)
}

/// Waits until so long after a moment of the monotonic clock; whether to go on then.
pub fn pause(since_us: i64, pause: Duration, stop: &AtomicBool) -> bool {
    let pause_us = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    while !stop.load(Ordering::Acquire) && monotonic_us().saturating_sub(since_us) < pause_us {
        std::thread::sleep(LOOK.min(pause));
    }
    !stop.load(Ordering::Acquire)
}
