//! The workers of one processor in this process: members of one group, which share its slots, each on its own thread.
//!
//! A slot has one worker, so what an account may do is decided in one place; more workers let more cores decide.

use super::worker_thread::{ANSWER_WAIT, Blocked, Failure, Work, WorkerThread};
use super::{Deadline, OpenCheckpoints};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use stream::clock::BusinessClock;
use stream::log::Log;
use stream::processor::{Processor, Stop};
use stream::worker::{Options, Worker};

/// Where the workers wait for each other once they have joined, so that nobody restores a slot that the next one takes.
struct Gathering {
    missing: Mutex<u32>,
    all_are_there: Condvar,
}

/// How long the others are waited for: one of them may not come at all.
const GATHERING_WAIT: Duration = Duration::from_secs(1);

impl Gathering {
    fn arrive(&self) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(1);
        self.all_are_there.notify_all();
        drop(self.all_are_there.wait_timeout_while(missing, GATHERING_WAIT, |missing| *missing > 0));
    }
}

/// Threads of one processor.
pub struct Workers<P: Processor> {
    threads: Vec<WorkerThread<P>>,
}

impl<P> Workers<P>
where
    P: Processor + Clone + 'static,
    P::Slot: 'static,
    P::Change: 'static,
{
    /// Starts `count` workers; each joins and restores on its own thread.
    ///
    /// # Errors
    /// A checkpoint store that cannot be opened, a thread that cannot be started.
    pub fn spawn(
        count: NonZero<u32>,
        log: &Arc<dyn Log>,
        processor: &P,
        options: &Options,
        clock: &BusinessClock,
        checkpoints: &OpenCheckpoints<'_>,
    ) -> anyhow::Result<Self> {
        let gathering =
            Arc::new(Gathering { missing: Mutex::new(count.get()), all_are_there: Condvar::new() });
        let start = |number: u32| {
            let store = checkpoints(processor.name())?;
            let name = number.to_string();
            let worker = Worker::new(processor.clone(), Arc::clone(log), &name, options.clone(), store);
            let gathering = Arc::clone(&gathering);
            WorkerThread::spawn_after(worker, clock.clone(), move |worker| {
                worker.join()?;
                gathering.arrive();
                Ok(())
            })
        };
        Ok(Self { threads: (1..=count.get()).map(start).collect::<anyhow::Result<_>>()? })
    }
}

impl<P: Processor + 'static> Workers<P> {
    /// The threads.
    pub fn each(&self) -> impl Iterator<Item = &WorkerThread<P>> {
        self.threads.iter()
    }

    /// Asks every worker between two of its windows; no two of them answer for the same slot. `None` when one of them
    /// has ended or they do not answer in time.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl Fn(&Worker<P>) -> R + Send + Sync + 'static,
    ) -> Option<Vec<R>> {
        let wait = Deadline::after(ANSWER_WAIT);
        let question = Arc::new(question);
        loop {
            let (mut slots, mut answers, mut twice) = (BTreeSet::new(), Vec::new(), false);
            for thread in &self.threads {
                let question = Arc::clone(&question);
                let (owned, answer) =
                    thread.ask_within(wait.left(), move |worker| (worker.slots(), question(worker)))?;
                twice |= owned.into_iter().any(|slot| !slots.insert(slot));
                answers.push(answer);
            }
            if !twice {
                return Some(answers);
            }
            // A slot is moving: the worker that it leaves has not noticed yet.
            if wait.left().is_zero() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether every slot is restored.
    #[must_use]
    pub fn ready(&self) -> bool {
        let slots = self.ask(|worker| (worker.slots().len(), worker.processor().slots() as usize));
        slots.is_some_and(|slots| {
            let owned: usize = slots.iter().map(|(owned, _)| owned).sum();
            slots.first().is_some_and(|(_, of)| owned == *of)
        })
    }

    /// Workers that have ended by themselves.
    pub fn failures(&self) -> impl Iterator<Item = Failure> {
        self.threads.iter().filter_map(WorkerThread::failure)
    }

    /// Workers whose windows are not written now.
    pub fn blocked(&self) -> impl Iterator<Item = Blocked> {
        self.threads.iter().filter_map(WorkerThread::blocked)
    }

    /// Slots that cannot go on.
    #[must_use]
    pub fn stopped(&self) -> Vec<Stop> {
        self.ask(|worker| worker.stopped()).into_iter().flatten().flatten().collect()
    }

    /// What they have done together.
    #[must_use]
    pub fn work(&self) -> Work {
        self.threads.iter().map(WorkerThread::work).fold(Work::default(), Work::and)
    }

    /// Asks all to end after their current windows.
    pub fn request_stop(&self) {
        self.threads.iter().for_each(WorkerThread::request_stop);
    }
}
