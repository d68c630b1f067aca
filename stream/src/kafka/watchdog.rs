//! A deadline for every client call: librdkafka can hang where it should time out, and a process that hangs holds its
//! slots and keeps readers behind its open transaction. Past the deadline the process ends, and its successor takes over.

use crate::clock::monotonic_us;
use crate::mutex::lock;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};
use std::thread::Thread;
use std::time::Duration;

/// Exit status of a process that one of its calls has outlived.
pub const EXIT_STATUS: i32 = 75;

const LOOK: Duration = Duration::from_millis(100);

struct Call {
    what: &'static str,
    caller: Thread,
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
    lock(&CALLS)
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
    let until_us = monotonic_us().saturating_add(within_us);
    calls.open.insert(number, Call { what, caller: std::thread::current(), until_us });
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
        if let Some(late) = calls().open.values().find(|call| call.until_us < now_us) {
            end(late);
        }
    }
}

fn end(late: &Call) -> ! {
    const MESSAGE: &str = "a call to Kafka's client has not returned in time, the process ends";
    let caller = late.caller.name().unwrap_or("unnamed");
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(call = late.what, caller, "{MESSAGE}");
    } else {
        eprintln!("{MESSAGE}: {} of thread {caller}", late.what);
    }
    std::process::exit(EXIT_STATUS);
}
