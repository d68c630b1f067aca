//! Writes checkpoints off the hot thread.
//!
//! A job owns its slot's store while it runs and its report gives the store back, so a slot has at most one
//! checkpoint under way and nothing is locked. Bounds: [`JOBS_MAX`] jobs wait; more are handed back at once.

use super::runs::Settled;
use super::{DirtyPairs, Label, Store, StoreError, Written};
use crate::faults;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

/// Jobs that wait for the one under way.
pub const JOBS_MAX: usize = 16;

/// Waits until everything in a checkpoint is durable in the log; the text says why it is not.
pub type WaitDurable = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// A checkpoint to be written.
pub struct Job {
    /// Where to.
    pub store: Store,
    /// What of the log it holds.
    pub label: Label,
    /// Pairs changed since the checkpoint before.
    pub pairs: DirtyPairs,
    /// Rows added since then.
    pub settled: Settled,
    /// Called before the new manifest counts.
    pub wait_durable: WaitDurable,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("store", &self.store).field("label", &self.label).finish_non_exhaustive()
    }
}

/// How a job ended.
#[derive(Debug)]
pub struct Report {
    /// The slot's store, for the next job.
    pub store: Store,
    /// What of the log the checkpoint holds.
    pub label: Label,
    /// The buffer, empty, for the next pairs.
    pub pairs: DirtyPairs,
    /// What was written. After an error the pairs are kept in the store and go out with the next checkpoint.
    pub result: Result<Written, StoreError>,
}

impl Job {
    /// Writes the checkpoint on this thread. The simulation calls it; the worker submits it.
    #[must_use]
    pub fn run(self) -> Report {
        let Self { mut store, label, mut pairs, settled, wait_durable } = self;
        let result = store.write(&label, &mut pairs, settled, wait_durable);
        Report { store, label, pairs, result }
    }
}

/// A job that was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// [`JOBS_MAX`] jobs wait. Try again later.
    Busy(Box<Job>),
    /// The thread has ended; it only does so when it panicked.
    Gone(Box<Job>),
}

/// The thread.
#[derive(Debug)]
pub struct CheckpointThread {
    jobs: SyncSender<Box<Job>>,
    reports: Receiver<Report>,
    thread: JoinHandle<()>,
}

impl CheckpointThread {
    /// Starts it for a processor.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(processor: &'static str) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Box<Job>>(JOBS_MAX);
        let (done, reports) = channel();
        let thread =
            std::thread::Builder::new().name(format!("{processor}.checkpoint")).spawn(move || {
                faults::name_thread(processor);
                for job in waiting {
                    if done.send(job.run()).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { jobs, reports, thread })
    }

    /// Hands a job over without waiting.
    ///
    /// # Errors
    /// [`NotTaken`] gives the job back.
    pub fn submit(&self, job: Job) -> Result<(), NotTaken> {
        self.jobs.try_send(Box::new(job)).map_err(|why| match why {
            TrySendError::Full(job) => NotTaken::Busy(job),
            TrySendError::Disconnected(job) => NotTaken::Gone(job),
        })
    }

    /// The next finished job, without waiting.
    #[must_use]
    pub fn poll(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Finishes every job and ends the thread.
    #[must_use]
    pub fn finish(self) -> Vec<Report> {
        drop(self.jobs);
        let reports = self.reports.iter().collect();
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
        reports
    }
}
