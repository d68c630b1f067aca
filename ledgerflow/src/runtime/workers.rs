//! The workers of one processor in this process: members of one group, which share its slots, each on its own thread.
//!
//! A slot has one worker, so what an account may do is decided in one place; more workers let more cores decide.

use super::timed::{Durations, TimedLog};
use super::worker_thread::{ANSWER_WAIT, Blocked, Failure, Work, WorkerThread};
use super::{Deadline, Role, Start};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use stream::log::{Offset, TopicPartition};
use stream::mutex::lock;
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
        let mut missing = lock(&self.missing);
        *missing = missing.saturating_sub(1);
        self.all_are_there.notify_all();
        drop(self.all_are_there.wait_timeout_while(missing, GATHERING_WAIT, |missing| *missing > 0));
    }
}

/// Threads of one processor; none where it does not run in this process.
pub struct Workers<P: Processor> {
    name: &'static str,
    threads: Vec<WorkerThread<P>>,
    /// Whether all of the processor's slots are these workers'.
    alone: bool,
    durations: Durations,
}

impl<P> Workers<P>
where
    P: Processor + Clone + 'static,
    P::Slot: 'static,
    P::Change: 'static,
{
    /// Starts `count` workers where the process has the role; each joins and restores on its own thread.
    ///
    /// # Errors
    /// A checkpoint store that cannot be opened, a thread that cannot be started.
    pub fn spawn(
        role: Role,
        count: NonZero<u32>,
        processor: &P,
        options: &Options,
        start: &Start<'_>,
    ) -> anyhow::Result<Self> {
        let count = if start.share.has(role) { count.get() } else { 0 };
        let gathering = Arc::new(Gathering { missing: Mutex::new(count), all_are_there: Condvar::new() });
        let durations = Durations::default();
        let spawn = |number: u32| {
            let store = (start.checkpoints)(processor.name())?;
            let (name, log) = (start.share.worker(number), Arc::clone(start.log));
            let inputs = processor.inputs().into_iter().map(|input| input.topic).collect();
            let stage = start.traces.and_then(|tracer| tracer.follow(&log, processor.name()));
            let log = Arc::new(TimedLog::new(log, inputs, durations.clone()).followed(stage));
            let worker = Worker::new(processor.clone(), log, &name, options.clone(), store);
            let gathering = Arc::clone(&gathering);
            WorkerThread::spawn_after(worker, start.clock.clone(), move |worker| {
                worker.join()?;
                gathering.arrive();
                Ok(())
            })
        };
        let threads = (1..=count).map(spawn).collect::<anyhow::Result<_>>()?;
        Ok(Self { name: processor.name(), threads, alone: start.share.is_whole(), durations })
    }
}

impl<P: Processor + 'static> Workers<P> {
    /// Asks every worker between two of its windows; no two of them answer for the same slot. `None` when one of them
    /// has ended or they do not answer in time.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl Fn(&Worker<P>) -> R + Send + Sync + 'static,
    ) -> Option<Vec<R>> {
        self.ask_within(Deadline::after(ANSWER_WAIT), question)
    }

    /// As [`Self::ask`], with another bound than the usual one.
    pub fn ask_within<R: Send + 'static>(
        &self,
        wait: Deadline,
        question: impl Fn(&Worker<P>) -> R + Send + Sync + 'static,
    ) -> Option<Vec<R>> {
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

    fn places(&self, wait: Deadline, of: fn(&Worker<P>) -> Places) -> Places {
        self.threads
            .iter()
            .flat_map(|thread| thread.ask_within(wait.left(), of).unwrap_or_default())
            .collect()
    }
}

type Places = Vec<(TopicPartition, Offset)>;

/// How far the workers of a processor are.
#[derive(Debug, Clone, Default)]
pub struct Reached {
    /// Slots assigned to them.
    pub owned: usize,
    /// Slots of these that are restored.
    pub restored: usize,
    /// Slots of these that cannot go on.
    pub stopped: usize,
    /// Up to where the inputs of the restored slots are worked off.
    pub worked_off: Places,
}

/// What can be asked of the workers of any processor.
pub trait Stage {
    /// Name of the processor.
    fn name(&self) -> &'static str;
    /// Whether it runs in this process.
    fn runs(&self) -> bool;
    /// Whether every worker has restored its slots, and every slot is restored where they are all in this process.
    fn ready(&self) -> bool;
    /// Slots restored here, ascending.
    fn slots(&self) -> Vec<u32>;
    /// Committed positions of the inputs.
    fn positions(&self, wait: Deadline) -> Places;
    /// Up to where the inputs are worked off.
    fn worked_off(&self, wait: Deadline) -> Places;
    /// How far they are; `None` when one of them has ended or they do not answer in time.
    fn reached(&self, wait: Deadline) -> Option<Reached>;
    /// How long their commits have taken.
    fn durations(&self) -> &Durations;
    /// Workers that have ended by themselves.
    fn failures(&self) -> Vec<Failure>;
    /// Workers whose windows are not written now.
    fn blocked(&self) -> Vec<Blocked>;
    /// Slots that cannot go on.
    fn stopped(&self) -> Vec<Stop>;
    /// What the workers have done together.
    fn work(&self) -> Work;
    /// Asks all to end after their current windows.
    fn request_stop(&self);
    /// Asks all to end and waits for that. Returns whether all have ended.
    fn end_within(&self, wait: Deadline) -> bool;
}

impl<P: Processor + 'static> Stage for Workers<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self) -> bool {
        !self.threads.is_empty()
    }

    fn ready(&self) -> bool {
        let all = self.ask(|worker| (worker.restored(), worker.slots().len(), worker.processor().slots()));
        let Some(all) = all else { return false };
        let owned: usize = all.iter().map(|(_, owned, _)| owned).sum();
        all.iter().all(|(restored, ..)| *restored)
            && (!self.alone || all.first().is_some_and(|(_, _, of)| owned == *of as usize))
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.ask(Worker::slots).into_iter().flatten().flatten().collect();
        slots.sort_unstable();
        slots
    }

    fn positions(&self, wait: Deadline) -> Places {
        self.places(wait, Worker::positions)
    }

    fn worked_off(&self, wait: Deadline) -> Places {
        self.places(wait, Worker::worked_off)
    }

    fn reached(&self, wait: Deadline) -> Option<Reached> {
        let all =
            self.ask_within(wait, |worker| (worker.owned(), worker.stopped().len(), worker.worked_off()))?;
        Some(all.into_iter().fold(Reached::default(), |mut sum, ((owned, restored), stopped, places)| {
            sum.owned += owned;
            sum.restored += restored;
            sum.stopped += stopped;
            sum.worked_off.extend(places);
            sum
        }))
    }

    fn durations(&self) -> &Durations {
        &self.durations
    }

    fn failures(&self) -> Vec<Failure> {
        self.threads.iter().filter_map(WorkerThread::failure).collect()
    }

    fn blocked(&self) -> Vec<Blocked> {
        self.threads.iter().filter_map(WorkerThread::blocked).collect()
    }

    fn stopped(&self) -> Vec<Stop> {
        self.ask(Worker::stopped).into_iter().flatten().flatten().collect()
    }

    fn work(&self) -> Work {
        self.threads.iter().map(WorkerThread::work).fold(Work::default(), Work::and)
    }

    fn request_stop(&self) {
        self.threads.iter().for_each(WorkerThread::request_stop);
    }

    fn end_within(&self, wait: Deadline) -> bool {
        self.request_stop();
        let ended: Vec<bool> = self.threads.iter().map(|thread| thread.end_within(wait.left())).collect();
        ended.into_iter().all(|ended| ended)
    }
}
