//! A worker on its own thread, and questions to it.
//!
//! Whatever ends the thread without being asked to, an error or a panic, is its [`Failure`]. Nothing here waits without
//! a bound: a worker that hangs is left behind.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::clock::{BusinessClock, monotonic_us};
use stream::faults;
use stream::mutex::lock;
use stream::processor::Processor;
use stream::worker::{Now, Progress, Worker, WorkerError};
use thiserror::Error;

/// Why a worker ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Cause {
    /// It could not go on.
    #[error(transparent)]
    Error(#[from] WorkerError),
    /// A fault of the program: the text is what the panic said.
    #[error("panicked: {0}")]
    Panic(String),
}

/// A worker that ended by itself.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Processor.
    pub processor: &'static str,
    /// Why.
    pub error: Cause,
}

/// A worker whose windows are not written, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Processor.
    pub processor: &'static str,
    /// When the first of them was aborted, monotonic clock, microseconds.
    pub since_us: i64,
    /// Why the newest was.
    pub why: String,
}

/// What a worker has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Windows committed.
    pub windows: u64,
    /// Windows aborted and decided again.
    pub aborted: u64,
    /// Items decided, as the processor counts them.
    pub items: u64,
    /// Positions of its inputs, added up.
    pub records_read: u64,
    /// Records written.
    pub records_written: u64,
    /// When a window was last committed, microseconds of the monotonic clock; 0 = never.
    pub committed_us: i64,
}

impl Work {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            aborted: self.aborted + other.aborted,
            items: self.items + other.items,
            records_read: self.records_read + other.records_read,
            records_written: self.records_written + other.records_written,
            committed_us: if self.committed_us > other.committed_us {
                self.committed_us
            } else {
                other.committed_us
            },
        }
    }
}

/// Counted by the worker's thread, read by others.
#[derive(Debug, Default)]
struct Counters {
    windows: AtomicU64,
    aborted: AtomicU64,
    items: AtomicU64,
    records_written: AtomicU64,
    committed_us: AtomicI64,
}

impl Counters {
    fn committed(&self, items: u64, records: usize) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        self.records_written.fetch_add(records as u64, Ordering::Relaxed);
        self.committed_us.store(monotonic_us(), Ordering::Relaxed);
    }
}

/// What a worker's thread tells others.
#[derive(Debug, Default)]
struct Told {
    failure: Mutex<Option<Failure>>,
    blocked: Mutex<Option<Blocked>>,
    counters: Counters,
}

impl Told {
    /// A window was written; `aborted` = how many before it were not.
    fn committed(&self, name: &str, aborted: u32, items: u64, records: usize) {
        self.counters.committed(items, records);
        if aborted > 0 {
            *lock(&self.blocked) = None;
            tracing::info!(processor = name, aborted, "windows are written again");
        }
    }

    /// A window was not written. The first of a row is told, and then one in [`TOLD_EVERY`].
    fn aborted(&self, processor: &'static str, aborted: u32, why: String) {
        self.counters.aborted.fetch_add(1, Ordering::Relaxed);
        if aborted % TOLD_EVERY == 1 {
            tracing::warn!(processor, why, aborted, "window aborted, deciding it again");
        }
        let mut blocked = lock(&self.blocked);
        let since_us = blocked.as_ref().map_or_else(monotonic_us, |blocked| blocked.since_us);
        *blocked = Some(Blocked { processor, since_us, why });
    }
}

type Question<P> = Box<dyn FnOnce(&Worker<P>) + Send>;

/// Handle of a worker's thread.
pub struct WorkerThread<P: Processor> {
    name: &'static str,
    questions: Sender<Question<P>>,
    stop: Arc<AtomicBool>,
    told: Arc<Told>,
    /// Closed by the thread's last act.
    ended: Mutex<Receiver<Infallible>>,
}

/// How long a question waits for its answer (a worker answers between two windows, or two slots that it restores).
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Pause after an aborted window, longer with each in a row.
const ABORT_PAUSE: Duration = Duration::from_millis(50);
const ABORT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Of so many aborted windows in a row one is told.
const TOLD_EVERY: u32 = 10;

impl<P> WorkerThread<P>
where
    P: Processor + 'static,
    P::Slot: 'static,
{
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(worker: Worker<P>, clock: BusinessClock) -> anyhow::Result<Self> {
        Self::spawn_after(worker, clock, |_| Ok(()))
    }

    /// As [`Self::spawn`]; the thread does `first` before its first step.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn_after(
        mut worker: Worker<P>,
        clock: BusinessClock,
        first: impl FnOnce(&mut Worker<P>) -> Result<(), WorkerError> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let name = worker.processor().name();
        let (questions, asked) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::new(Told::default());
        let (ends, ended) = channel();
        let (stop_seen, tells) = (Arc::clone(&stop), Arc::clone(&told));
        let tells_of_work = Arc::clone(&told);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _closed_at_the_end: Sender<Infallible> = ends;
            faults::name_thread(name);
            let works = move || {
                first(&mut worker)?;
                run(worker, &clock, &stop_seen, &asked, &tells_of_work)
            };
            let error = match catch_unwind(AssertUnwindSafe(works)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Cause::Error(error),
                Err(panic) => Cause::Panic(said(panic.as_ref())),
            };
            tracing::error!(processor = name, %error, "worker ended");
            *lock(&tells.failure) = Some(Failure { processor: name, error });
        })?;
        Ok(Self { name, questions, stop, told, ended: Mutex::new(ended) })
    }
}

impl<P: Processor + 'static> WorkerThread<P> {
    /// Name of the processor.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs `question` on the worker's thread between two windows. `None` when the worker has ended or does not
    /// answer in time.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Worker<P>) -> R + Send + 'static,
    ) -> Option<R> {
        self.ask_within(ANSWER_WAIT, question)
    }

    /// As [`Self::ask`], with another bound than the usual one.
    pub fn ask_within<R: Send + 'static>(
        &self,
        wait: Duration,
        question: impl FnOnce(&Worker<P>) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = channel();
        let question: Question<P> = Box::new(move |worker| {
            // Nobody waits any more: the answer is not needed.
            let _ = answer.send(question(worker));
        });
        self.questions.send(question).ok()?;
        answered.recv_timeout(wait).ok()
    }

    /// Why it ended by itself, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.told.failure).clone()
    }

    /// Whether and why its windows are not written now.
    #[must_use]
    pub fn blocked(&self) -> Option<Blocked> {
        lock(&self.told.blocked).clone()
    }

    /// What it has done since it was started, but for what it has read, which its positions tell.
    #[must_use]
    pub fn work(&self) -> Work {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.told.counters;
        Work {
            windows: of(&counters.windows),
            aborted: of(&counters.aborted),
            items: of(&counters.items),
            records_read: 0,
            records_written: of(&counters.records_written),
            committed_us: counters.committed_us.load(Ordering::Relaxed),
        }
    }

    /// Asks it to end after its current window.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks it to end and waits for that. Returns whether it has ended.
    pub fn end_within(&self, wait: Duration) -> bool {
        self.request_stop();
        let ended = lock(&self.ended);
        ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn run<P: Processor>(
    mut worker: Worker<P>,
    clock: &BusinessClock,
    stop: &AtomicBool,
    asked: &Receiver<Question<P>>,
    told: &Told,
) -> Result<(), WorkerError> {
    let name = worker.processor().name();
    let mut aborted = 0;
    while !stop.load(Ordering::Acquire) {
        for question in asked.try_iter() {
            question(&worker);
        }
        match worker.step(Now::read(clock))? {
            Progress::Restoring { .. } | Progress::Idle => {}
            Progress::Committed { items, records, .. } => {
                told.committed(name, std::mem::take(&mut aborted), items, records);
            }
            Progress::Restored { replayed } => {
                tracing::info!(processor = name, slots = worker.slots().len(), replayed, "restored");
            }
            Progress::Waiting(why) => {
                tracing::info!(processor = name, why, "waiting");
                std::thread::sleep(Duration::from_millis(100));
            }
            Progress::Aborted(why) => {
                aborted += 1;
                told.aborted(name, aborted, why);
                std::thread::sleep(ABORT_PAUSE.saturating_mul(aborted).min(ABORT_PAUSE_MAX));
            }
            Progress::Rejoin(why) => tracing::warn!(processor = name, why, "joining again"),
        }
    }
    for question in asked.try_iter() {
        question(&worker);
    }
    worker.checkpoint_all(Now::read(clock))
}
