//! A deadline for every client call: librdkafka can hang where it should time out, and a process that hangs holds its
//! slots and keeps readers behind its open transaction. Past the deadline the process ends, and its successor takes over.

use crate::clock::monotonic_us;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// Exit status of a process that one of its calls has outlived.
pub const EXIT_STATUS: i32 = 75;

const LOOK: Duration = Duration::from_millis(100);

struct Call {
    what: &'static str,
    until_us: i64,
}

#[derive(Default)]
struct Calls {
    next: u64,
    open: BTreeMap<u64, Call>,
    watched: bool,
}

static CALLS: LazyLock<Mutex<Calls>> = LazyLock::new(Mutex::default);

fn calls() -> std::sync::MutexGuard<'static, Calls> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the watch of one call when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Watched(u64);

impl Drop for Watched {
    fn drop(&mut self) {
        calls().open.remove(&self.0);
    }
}

/// Watches a call until the guard is dropped.
pub fn watch(what: &'static str, within: Duration) -> Watched {
    let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
    let mut calls = calls();
    calls.next += 1;
    let number = calls.next;
    calls.open.insert(number, Call { what, until_us: monotonic_us().saturating_add(within_us) });
    if !calls.watched {
        calls.watched =
            std::thread::Builder::new().name("kafka-deadline".to_owned()).spawn(keep_looking).is_ok();
    }
    Watched(number)
}

fn keep_looking() {
    loop {
        std::thread::sleep(LOOK);
        let now_us = monotonic_us();
        let late = calls().open.values().find(|call| call.until_us < now_us).map(|call| call.what);
        if let Some(what) = late {
            tracing::error!(
                call = what,
                "a call to Kafka's client has not returned in time, the process ends"
            );
            std::process::exit(EXIT_STATUS);
        }
    }
}
