//! The books, running or at rest: the same questions to the same states.

use super::audit::Audits;
use crate::archive::{self, Archiving};
use crate::basis;
use crate::mirror::Mirrored;
use crate::retention::Retention;
use crate::runtime::{Pipeline, Processors, Setup};
use crate::traces::Tracer;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::processor::IngestProcessor;
use posting::Posting;
use reconcile::join::Join;
use reconcile::rekey::Rekey;
use settlement::Settlement;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::embedded::EmbeddedLog;
use stream::log::Log;
use stream::mutex::lock;
use stream::processor::Processor;
use stream::worker::{Checkpoints, DiskCheckpoints, MemoryCheckpoints, Now, Options, Progress, Worker};

/// Name of the checkpoint folder in the data directory.
pub const STORE: &str = "store";

/// A worker that is restored when it is first asked and will not work.
struct Rested<P: Processor> {
    worker: Mutex<Held<P>>,
}

enum Held<P: Processor> {
    /// Nobody has asked yet; `None` = it could not be made.
    Not(Option<P>),
    Made(Box<Made<P>>),
}

struct Made<P: Processor> {
    worker: Worker<P>,
    /// When it was last restored, monotonic microseconds.
    restored_us: i64,
    /// When that was last kept as checkpoints.
    kept_us: i64,
}

/// For how long what an observer has seen counts as now.
const NOW_US: i64 = 200_000;

/// How states are restored that nobody works on.
struct Restoring {
    log: Arc<dyn Log>,
    checkpoints: Box<dyn Fn(&'static str) -> anyhow::Result<Box<dyn Checkpoints>> + Send + Sync>,
    options: Options,
}

/// States that are restored for the questions that need them.
pub struct Resting {
    how: Restoring,
    ingest: Rested<IngestProcessor>,
    posting: Rested<Posting>,
    settlement: Rested<Settlement>,
    rekey: Rested<Rekey>,
    join: Rested<Join>,
}

/// Who answers.
pub enum Answering {
    /// A running pipeline.
    Running(Box<Pipeline>),
    /// States restored for this question.
    Resting(Box<Resting>),
}

/// The books.
pub struct Books {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The same, where it is the embedded one.
    pub embedded: Option<Arc<EmbeddedLog>>,
    /// What the processors are made from.
    pub setup: Setup,
    /// What its records are archived with; `None` = they are not.
    pub archiving: Option<Archiving>,
    /// Who answers.
    pub answering: Answering,
    /// What keeps records from being given up.
    pub retention: Retention,
    /// What the last audit here came to.
    pub audits: Audits,
    /// The mirror of balances.
    pub mirrored: Mirrored,
    /// Where this process sends spans; `None` = it does not trace.
    pub traces: Option<Tracer>,
}

/// Opens the checkpoint store of a processor below a data directory.
pub fn checkpoints(
    dir: &Path,
    log: &Arc<dyn Log>,
) -> impl Fn(&'static str) -> anyhow::Result<Box<dyn Checkpoints>> + Send + Sync + use<> {
    let (store, log): (PathBuf, _) = (dir.join(STORE), Arc::clone(log));
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
            /// Each worker answers about its own slots.
            ///
            /// # Errors
            /// A worker has ended or does not answer, or the states cannot be restored.
            pub fn $name<R: Send + 'static>(
                &self,
                question: impl Fn(&Worker<$processor>) -> R + Send + Sync + 'static,
            ) -> anyhow::Result<Vec<R>> {
                match &self.answering {
                    Answering::Running(pipeline) => pipeline
                        .$name
                        .ask(question)
                        .with_context(|| format!("{} does not answer", stringify!($name))),
                    Answering::Resting(resting) => Ok(vec![resting.$name.ask(&resting.how, question)?]),
                }
            })*
        }
    };
}

ask! {
    /// Asks ingest.
    ingest: IngestProcessor;
    /// Asks posting.
    posting: Posting;
    /// Asks settlement.
    settlement: Settlement;
    /// Asks the re-keying half of reconcile.
    rekey: Rekey;
    /// Asks the joining half of reconcile.
    join: Join;
}

impl Books {
    /// The books of an embedded log on which nothing runs. `only_read`: from the log alone, and no checkpoint is written
    /// either.
    ///
    /// # Errors
    /// A wrong configuration, or one that does not go with these books.
    pub fn at_rest(embedded: Arc<EmbeddedLog>, setup: Setup, only_read: bool) -> anyhow::Result<Self> {
        let log: Arc<dyn Log> = Arc::clone(&embedded) as Arc<dyn Log>;
        let on_disk = checkpoints(embedded.directory(), &log);
        let checkpoints = move |name: &'static str| match only_read {
            true => Ok(Box::new(MemoryCheckpoints::default()) as Box<dyn Checkpoints>),
            false => on_disk(name),
        };
        let how = Restoring { log, checkpoints: Box::new(checkpoints), options: Options::default() };
        Ok(Self { embedded: Some(embedded), ..Self::resting(setup, how)? })
    }

    /// The books of a log on which others may work: states are restored from it up to the committed positions, and kept
    /// in `dir`, so that the next question reads less.
    ///
    /// # Errors
    /// A wrong configuration, or one that does not go with these books.
    pub fn observing(log: Arc<dyn Log>, setup: Setup, dir: &Path) -> anyhow::Result<Self> {
        let checkpoints = Box::new(checkpoints(dir, &log));
        let options = Options { observing: true, ..Options::default() };
        Self::resting(setup, Restoring { log, checkpoints, options })
    }

    fn resting(setup: Setup, how: Restoring) -> anyhow::Result<Self> {
        let Processors { ingest, posting, settlement, rekey, join } = setup.processors()?;
        basis::check(how.log.as_ref(), &setup)?;
        let (log, archiving) = archive::below(Arc::clone(&how.log), &setup)?;
        let how = Restoring { log: Arc::clone(&log), ..how };
        let resting = Resting {
            how,
            ingest: Rested::of(ingest),
            posting: Rested::of(posting),
            settlement: Rested::of(settlement),
            rekey: Rested::of(rekey),
            join: Rested::of(join),
        };
        let answering = Answering::Resting(Box::new(resting));
        let (retention, audits) = (Retention::default(), Audits::default());
        let (mirrored, traces) = (Mirrored::Off, None);
        Ok(Self { log, embedded: None, setup, archiving, answering, retention, audits, mirrored, traces })
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

impl<P: Processor> Rested<P> {
    fn of(processor: P) -> Self {
        Self { worker: Mutex::new(Held::Not(Some(processor))) }
    }

    fn ask<R>(&self, how: &Restoring, question: impl Fn(&Worker<P>) -> R) -> anyhow::Result<R> {
        let mut held = lock(&self.worker);
        if let Held::Not(processor) = &mut *held {
            let processor = processor.take().context("the state could not be restored")?;
            let worker = how.worker(processor)?;
            *held = Held::Made(Box::new(Made { worker, restored_us: i64::MIN, kept_us: i64::MIN }));
        }
        let Held::Made(made) = &mut *held else { bail!("the state could not be restored") };
        let Made { worker, restored_us, kept_us } = &mut **made;
        let now_us = clock::monotonic_us();
        if how.options.observing && worker.restored() && now_us.saturating_sub(*restored_us) >= NOW_US {
            worker.observe_again();
        }
        if !worker.restored() {
            how.restore(worker)?;
            *restored_us = now_us;
            if how.options.observing && now_us.saturating_sub(*kept_us) >= how.options.checkpoint_us {
                worker.keep_observed(Now::read(&BusinessClock::Wall))?;
                *kept_us = now_us;
            }
        }
        Ok(question(worker))
    }
}

/// Tries of a restore that has to wait for something.
const RESTORE_TRIES: u32 = 100;
/// Between two of them.
const RESTORE_PAUSE: Duration = Duration::from_millis(20);

impl Restoring {
    fn worker<P: Processor>(&self, processor: P) -> anyhow::Result<Worker<P>> {
        let (log, checkpoints) = (Arc::clone(&self.log), (self.checkpoints)(processor.name())?);
        Ok(Worker::new(processor, log, "1", self.options.clone(), checkpoints))
    }

    fn restore<P: Processor>(&self, worker: &mut Worker<P>) -> anyhow::Result<()> {
        let (name, slots) = (worker.processor().name(), worker.processor().slots());
        let now = Now::read(&BusinessClock::Wall);
        let (progress, mut tries) = (progress(name, slots), 0);
        loop {
            match worker.step(now)? {
                Progress::Restored { .. } => break,
                Progress::Restoring { .. } => progress.inc(1),
                Progress::Waiting(why) | Progress::Rejoin(why) if tries < RESTORE_TRIES => {
                    tracing::debug!(processor = name, why, "restoring");
                    tries += 1;
                    std::thread::sleep(RESTORE_PAUSE);
                }
                Progress::Waiting(why) | Progress::Rejoin(why) => {
                    bail!("{name} could not be restored: {why}")
                }
                other => bail!("{name}: unexpected while restoring: {other:?}"),
            }
        }
        progress.finish_and_clear();
        Ok(())
    }
}

/// Slots read so far, on standard error where that is a terminal.
fn progress(name: &'static str, slots: u32) -> ProgressBar {
    let progress = ProgressBar::new(u64::from(slots)).with_message(name);
    match ProgressStyle::with_template("reading {msg}: {pos} of {len} slots, {elapsed}") {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
