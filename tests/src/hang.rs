//! A worker that hangs in the middle of a window: everything is decided, and nothing of the commit is sent yet, or on a
//! simulated log the first of its records. Others go on, for as long as the test likes, and then the worker does too, with
//! what it held in its hands.
//!
//! The step runs on a thread of its own, but never while anybody else does: the two hand over to each other. So a seed
//! does the same again.

use crate::member::Seat;
use schemas::topics::Topic;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use stream::log::{
    Assignment, CommitOutcome, Features, Isolation, Log, LogError, Member, Offset, OutRecord, Position,
    Reader, Session, TopicPartition, Transaction, Watermarks,
};
use stream::sim::Halfway;
use stream::worker::{Now, Progress, WorkerError};

/// Where in a commit a worker hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Before anything of it is sent.
    Before,
    /// Some records are written, their transaction is open. A commit without records has no such place.
    Halfway,
}

/// Where a process's commits pass. Open unless a hang is asked for.
#[derive(Clone, Default, Debug)]
pub struct Gate(Arc<Mutex<Option<Closed>>>);

#[derive(Debug)]
struct Closed {
    at: Where,
    hangs: Sender<()>,
    go_on: Receiver<()>,
}

impl Gate {
    fn is_closed(&self, at: Where) -> bool {
        self.0.lock().unwrap().as_ref().is_some_and(|closed| closed.at == at)
    }

    fn pass(&self, at: Where) {
        let closed = self.0.lock().unwrap().take_if(|closed| closed.at == at);
        if let Some(Closed { hangs, go_on, .. }) = closed {
            // A test that has failed does not wait, and drops its end.
            let _ = hangs.send(());
            let _ = go_on.recv();
        }
    }
}

impl Halfway for Gate {
    fn is_wanted(&self) -> bool {
        self.is_closed(Where::Halfway)
    }

    fn stop(&self) {
        self.pass(Where::Halfway);
    }
}

/// How a step ended.
pub type Outcome = Result<Progress, WorkerError>;

/// A step that has not ended.
pub struct Hung {
    go_on: Sender<()>,
    thread: JoinHandle<(Box<dyn Seat>, Outcome)>,
}

impl Hung {
    /// Lets a worker take a step, up to that place in its commit. The other answer is of a step without a commit.
    pub fn step(
        mut seat: Box<dyn Seat>,
        gate: &Gate,
        at: Where,
        now: Now,
    ) -> Result<Self, (Box<dyn Seat>, Outcome)> {
        let ((hangs, hanging), (go_on, goes_on)) = (channel(), channel());
        *gate.0.lock().unwrap() = Some(Closed { at, hangs, go_on: goes_on });
        let opened = gate.clone();
        let thread = std::thread::spawn(move || {
            let outcome = seat.step(now);
            opened.0.lock().unwrap().take();
            (seat, outcome)
        });
        let hung = Self { go_on, thread };
        match hanging.recv() {
            Ok(()) => Ok(hung),
            // The step has ended and taken its end of the channel with it.
            Err(_) => Err(hung.go_on()),
        }
    }

    /// Lets it go on to the end of its step.
    pub fn go_on(self) -> (Box<dyn Seat>, Outcome) {
        let _ = self.go_on.send(());
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A log whose commits pass a gate.
pub struct GatedLog {
    log: Arc<dyn Log>,
    gate: Gate,
}

impl GatedLog {
    /// The log behind a gate.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, gate: Gate) -> Self {
        Self { log, gate }
    }
}

impl Log for GatedLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }
    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        self.log.watermarks(at, isolation)
    }
    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        self.log.committed(group, at)
    }
    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(start, isolation)
    }
    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        let session = self.log.join(member)?;
        Ok(Box::new(GatedSession { session, gate: self.gate.clone() }))
    }
    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        self.log.append(records)
    }
    fn durable(&self) -> u64 {
        self.log.durable()
    }

    fn written(&self) -> u64 {
        self.log.written()
    }
    fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError> {
        self.log.wait_durable(sequence, wait)
    }
    fn fence(&self, transactional_id: &str) -> Result<(), LogError> {
        self.log.fence(transactional_id)
    }
    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        self.log.members(group)
    }
    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        self.log.holders(at)
    }
    fn features(&self) -> Features {
        self.log.features()
    }
    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError> {
        self.log.check_retention(topic)
    }
}

struct GatedSession {
    session: Box<dyn Session>,
    gate: Gate,
}

impl Session for GatedSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        self.session.assignment()
    }
    fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        self.gate.pass(Where::Before);
        self.session.commit(transaction)
    }
}
