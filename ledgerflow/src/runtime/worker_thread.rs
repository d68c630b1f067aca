//! A worker on its own thread, and questions to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::clock::BusinessClock;
use stream::faults;
use stream::processor::Processor;
use stream::worker::{Now, Progress, Worker, WorkerError};

/// A worker that ended by itself.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Processor.
    pub processor: &'static str,
    /// Why.
    pub error: WorkerError,
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
}

/// Counted by the worker's thread, read by others.
#[derive(Debug, Default)]
struct Counters {
    windows: AtomicU64,
    aborted: AtomicU64,
    items: AtomicU64,
    records_written: AtomicU64,
}

impl Counters {
    fn committed(&self, items: u64, records: usize) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        self.records_written.fetch_add(records as u64, Ordering::Relaxed);
    }
}

type Question<P> = Box<dyn FnOnce(&Worker<P>) + Send>;

/// Handle of a worker's thread.
pub struct WorkerThread<P: Processor> {
    name: &'static str,
    questions: Sender<Question<P>>,
    stop: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<Failure>>>,
    counters: Arc<Counters>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How long a question waits for its answer (a worker that restores answers between slots only).
const ANSWER_WAIT: Duration = Duration::from_secs(10);

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
        let name = worker.processor().name();
        let (questions, asked) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let failure = Arc::new(Mutex::new(None));
        let (stop_seen, failed) = (Arc::clone(&stop), Arc::clone(&failure));
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            faults::name_thread(name);
            if let Err(error) = run(worker, &clock, &stop_seen, &asked, &counted) {
                tracing::error!(processor = name, %error, "worker ended");
                *failed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Failure { processor: name, error });
            }
        })?;
        Ok(Self { name, questions, stop, failure, counters, thread: Some(thread) })
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
        let (answer, answered) = channel();
        let question: Question<P> = Box::new(move |worker| {
            // Nobody waits any more: the answer is not needed.
            let _ = answer.send(question(worker));
        });
        self.questions.send(question).ok()?;
        answered.recv_timeout(ANSWER_WAIT).ok()
    }

    /// Why it ended by itself, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has done since it was started, but for what it has read, which its positions tell.
    #[must_use]
    pub fn work(&self) -> Work {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Work {
            windows: of(&self.counters.windows),
            aborted: of(&self.counters.aborted),
            items: of(&self.counters.items),
            records_read: 0,
            records_written: of(&self.counters.records_written),
        }
    }

    /// Asks it to end after its current window.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks it to end and waits for it.
    #[must_use]
    pub fn join(mut self) -> Option<Failure> {
        self.request_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(processor = self.name, "worker thread panicked");
        }
        self.failure()
    }
}

fn run<P: Processor>(
    mut worker: Worker<P>,
    clock: &BusinessClock,
    stop: &AtomicBool,
    asked: &Receiver<Question<P>>,
    counters: &Counters,
) -> Result<(), WorkerError> {
    let name = worker.processor().name();
    while !stop.load(Ordering::Acquire) {
        for question in asked.try_iter() {
            question(&worker);
        }
        match worker.step(Now::read(clock))? {
            Progress::Idle => {}
            Progress::Committed { items, records, .. } => counters.committed(items, records),
            Progress::Restored { replayed } => {
                tracing::info!(processor = name, slots = worker.slots().len(), replayed, "restored");
            }
            Progress::Waiting(why) => {
                tracing::info!(processor = name, why, "waiting");
                std::thread::sleep(Duration::from_millis(100));
            }
            Progress::Aborted(why) => {
                counters.aborted.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(processor = name, why, "window aborted, deciding it again");
                std::thread::sleep(Duration::from_millis(50));
            }
            Progress::Rejoin(why) => tracing::warn!(processor = name, why, "joining again"),
        }
    }
    for question in asked.try_iter() {
        question(&worker);
    }
    worker.checkpoint_all(Now::read(clock))
}
