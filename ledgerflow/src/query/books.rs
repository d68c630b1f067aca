//! The books, running or at rest: the same questions to the same states.

use crate::retention::Retention;
use crate::runtime::{Pipeline, Processors, Setup};
use anyhow::{Context, bail};
use ingest::processor::IngestProcessor;
use posting::Posting;
use reconcile::join::Join;
use reconcile::rekey::Rekey;
use settlement::Settlement;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::clock::BusinessClock;
use stream::embedded::EmbeddedLog;
use stream::log::Log;
use stream::processor::Processor;
use stream::worker::{Checkpoints, DiskCheckpoints, MemoryCheckpoints, Now, Options, Progress, Worker};

/// Name of the checkpoint folder in the data directory.
pub const STORE: &str = "store";

/// Workers that have restored their slots and will not work.
pub struct Resting {
    ingest: Worker<IngestProcessor>,
    posting: Worker<Posting>,
    settlement: Worker<Settlement>,
    rekey: Worker<Rekey>,
    join: Worker<Join>,
}

/// Who answers.
pub enum Answering {
    /// A running pipeline.
    Running(Box<Pipeline>),
    /// States restored for this question.
    Resting(Mutex<Box<Resting>>),
}

/// The books of one data directory.
pub struct Books {
    /// The log.
    pub log: Arc<EmbeddedLog>,
    /// What the processors are made from.
    pub setup: Setup,
    /// Who answers.
    pub answering: Answering,
    /// What keeps records from being given up.
    pub retention: Retention,
}

/// Opens the checkpoint store of a processor below a data directory.
pub fn checkpoints(
    dir: &Path,
    log: &Arc<EmbeddedLog>,
) -> impl Fn(&'static str) -> anyhow::Result<Box<dyn Checkpoints>> + use<> {
    let (store, log): (PathBuf, Arc<dyn Log>) = (dir.join(STORE), Arc::clone(log) as Arc<dyn Log>);
    move |name| {
        let open = DiskCheckpoints::open(&store, name, Arc::clone(&log));
        Ok(Box::new(open.with_context(|| format!("checkpoints of {name}"))?))
    }
}

macro_rules! ask {
    ($($(#[$doc:meta])* $name:ident: $processor:ty;)*) => {
        impl Books {
            $($(#[$doc])*
            ///
            /// # Errors
            /// The worker has ended or does not answer.
            pub fn $name<R: Send + 'static>(
                &self,
                question: impl FnOnce(&Worker<$processor>) -> R + Send + 'static,
            ) -> anyhow::Result<R> {
                match &self.answering {
                    Answering::Running(pipeline) => pipeline
                        .$name
                        .ask(question)
                        .with_context(|| format!("{} does not answer", stringify!($name))),
                    Answering::Resting(resting) => Ok(question(&lock(resting).$name)),
                }
            })*
        }
    };
}

ask! {
    /// Asks ingest.
    ingest: IngestProcessor;
    /// Asks settlement.
    settlement: Settlement;
    /// Asks the re-keying half of reconcile.
    rekey: Rekey;
    /// Asks the joining half of reconcile.
    join: Join;
}

impl Books {
    /// Restores all states of a directory on which nothing runs. `only_read`: from the log alone, and no checkpoint is
    /// written either.
    ///
    /// # Errors
    /// A wrong configuration, a log that cannot be read, a worker that cannot be restored.
    pub fn at_rest(log: Arc<EmbeddedLog>, setup: Setup, only_read: bool) -> anyhow::Result<Self> {
        let Processors { ingest, posting, settlement, rekey, join } = setup.processors()?;
        let dir = log.directory().to_owned();
        let on_disk = checkpoints(&dir, &log);
        let store = |name| match only_read {
            true => Ok(Box::new(MemoryCheckpoints::default()) as Box<dyn Checkpoints>),
            false => on_disk(name),
        };
        let resting = Resting {
            ingest: restored(ingest, &log, &store)?,
            posting: restored(posting, &log, &store)?,
            settlement: restored(settlement, &log, &store)?,
            rekey: restored(rekey, &log, &store)?,
            join: restored(join, &log, &store)?,
        };
        let answering = Answering::Resting(Mutex::new(Box::new(resting)));
        Ok(Self { log, setup, answering, retention: Retention::default() })
    }

    /// Asks posting's workers, each about its own slots.
    ///
    /// # Errors
    /// One of them has ended, or they do not answer.
    pub fn posting<R: Send + 'static>(
        &self,
        question: impl Fn(&Worker<Posting>) -> R + Send + Sync + 'static,
    ) -> anyhow::Result<Vec<R>> {
        match &self.answering {
            Answering::Running(pipeline) => pipeline.posting.ask(question).context("posting does not answer"),
            Answering::Resting(resting) => Ok(vec![question(&lock(resting).posting)]),
        }
    }

    /// The running pipeline, if there is one.
    #[must_use]
    pub fn pipeline(&self) -> Option<&Pipeline> {
        match &self.answering {
            Answering::Running(pipeline) => Some(pipeline),
            Answering::Resting(_) => None,
        }
    }
}

fn lock(resting: &Mutex<Box<Resting>>) -> MutexGuard<'_, Box<Resting>> {
    resting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn restored<P: Processor>(
    processor: P,
    log: &Arc<EmbeddedLog>,
    store: &impl Fn(&'static str) -> anyhow::Result<Box<dyn Checkpoints>>,
) -> anyhow::Result<Worker<P>> {
    let name = processor.name();
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let mut worker = Worker::new(processor, shared, "1", Options::default(), store(name)?);
    let now = Now::read(&BusinessClock::Wall);
    let mut tries = 0;
    while tries < 100 {
        match worker.step(now)? {
            Progress::Restored { .. } => return Ok(worker),
            Progress::Restoring { .. } => continue,
            Progress::Waiting(why) | Progress::Rejoin(why) => tracing::debug!(why, "restoring"),
            other => bail!("{name}: unexpected while restoring: {other:?}"),
        }
        tries += 1;
    }
    bail!("{name} could not be restored")
}
