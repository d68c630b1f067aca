//! A worker on its own thread, and questions to it.

use std::sync::atomic::{AtomicBool, Ordering};
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

type Question<P> = Box<dyn FnOnce(&Worker<P>) + Send>;

/// Handle of a worker's thread.
pub struct WorkerThread<P: Processor> {
    name: &'static str,
    questions: Sender<Question<P>>,
    stop: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<Failure>>>,
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
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            faults::name_thread(name);
            if let Err(error) = run(worker, &clock, &stop_seen, &asked) {
                tracing::error!(processor = name, %error, "worker ended");
                *failed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Failure { processor: name, error });
            }
        })?;
        Ok(Self { name, questions, stop, failure, thread: Some(thread) })
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
) -> Result<(), WorkerError> {
    let name = worker.processor().name();
    while !stop.load(Ordering::Acquire) {
        for question in asked.try_iter() {
            question(&worker);
        }
        match worker.step(Now::read(clock))? {
            Progress::Committed { .. } | Progress::Idle => {}
            Progress::Restored { replayed } => {
                tracing::info!(processor = name, slots = worker.slots().len(), replayed, "restored");
            }
            Progress::Waiting(why) => {
                tracing::info!(processor = name, why, "waiting");
                std::thread::sleep(Duration::from_millis(100));
            }
            Progress::Aborted(why) => {
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
