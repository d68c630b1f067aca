//! The embedded log: one process, no server, one directory.
//!
//! A segmented append log. All topics share one write-ahead order; a commit is one frame, appended by the caller's
//! own thread, visible in the process at once, durable with the next group sync (`sync_interval`). Readers are served
//! from memory while the frame is among the newest `tail_cache_bytes`, else from the segment.
//!
//! Limits: one writer process per directory (by lock), segments below 1 GiB, frames below 512 MiB. Memory besides
//! the tail cache: 32 bytes for a partition's share of a frame in the open segment, 24 bytes for a partition
//! in a closed segment. README.md in this folder has the format on disk, the measurements behind the choice, and
//! what a power cut may take.

mod backup;
mod cleaning;
mod core;
mod format;
mod group;
mod index;
mod meta;
mod reader;
mod recovery;
mod segment;
mod state;
#[cfg(test)]
mod tests;

pub use backup::{BackupFile, BackupReport, Left, restore, take_what_is_left, verify_backup};
pub use cleaning::{CleanReport, Cleaning};
pub use meta::{check_counts, made_as, owner};

use self::cleaning::Given;
use self::core::{Core, CoreParts, NotWritten, SEGMENT_BYTES_MAX};
use self::index::SegmentIndex;
use self::meta::{Durable, Lock, Meta};
use self::reader::EmbeddedReader;
use self::recovery::{Recovered, Recovery};
use self::segment::io_error;
use self::state::ClosedSegment;
use crate::files::{self, Files, SystemFiles};
use crate::log::{
    Features, Isolation, Log, LogError, Member, Offset, OutRecord, Position, Reader, Session, TopicPartition,
    Watermarks,
};
use crate::mutex::lock;
use schemas::topics::{PartitionCounts, Topic};
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Told once, with the cause, when the log stops itself. It may be called with locks held: it must not call the log.
/// A process for which unsynced commits must never be believed ends itself here.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// How a log is run. Only `counts` is fixed for the life of the directory.
#[derive(Clone)]
pub struct Options {
    /// Partition counts; an existing directory must have been made with the same.
    pub counts: PartitionCounts,
    /// Bytes after which a new segment begins; at most 1 GiB.
    pub segment_bytes: u64,
    /// Least time between two group syncs.
    pub sync_interval: Duration,
    /// Bytes of newest frames kept in memory for readers.
    pub tail_cache_bytes: usize,
    /// Bytes of newest segments that are read and checked whole when the log is opened (the last two always are).
    pub scan_bytes: u64,
    /// Share of a closed segment, in percent, that must be reclaimable before cleaning rewrites it.
    pub clean_percent: u64,
    /// Told when the log stops itself.
    pub on_failure: Option<OnFailure>,
}

impl Options {
    /// The defaults: 64 MiB segments and tail cache, a sync every 20 ms, 256 MiB checked at opening.
    #[must_use]
    pub fn new(counts: PartitionCounts) -> Self {
        Self {
            counts,
            segment_bytes: 64 << 20,
            sync_interval: Duration::from_millis(20),
            tail_cache_bytes: 64 << 20,
            scan_bytes: 256 << 20,
            clean_percent: 20,
            on_failure: None,
        }
    }
}

/// An open log. Dropping it syncs, stops its threads and frees the directory; sessions and readers that outlive
/// it get an error.
pub struct EmbeddedLog {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl EmbeddedLog {
    /// Opens the log in `directory`, or makes one there.
    ///
    /// # Errors
    /// [`LogError::InUse`] while another process (or another handle of this one) has it;
    /// [`LogError::Corrupt`] with file and place; [`LogError::Io`] when the partition counts are not those it was
    /// made with, when it holds other files and no log, or what the file system says; [`LogError::Lost`] when what was durable is not there.
    pub fn open(directory: &Path, options: Options) -> Result<Self, LogError> {
        Self::open_with(directory, options, Arc::new(SystemFiles))
    }

    fn open_with(directory: &Path, mut options: Options, files: Arc<dyn Files>) -> Result<Self, LogError> {
        options.segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        holds_nothing_else(directory)?;
        let segments = directory.join("segments");
        files::make_directories(files.as_ref(), &segments, true)
            .map_err(|error| io_error("create", &segments, &error))?;
        let held = Lock::exclusive(directory, files.as_ref())?;
        let meta = known_meta(directory, &segments, &options, files.as_ref())?;
        let manifest = directory.join(backup::MANIFEST);
        if manifest.exists() {
            // From now on the directory is a log and no longer what the manifest says.
            files.remove(&manifest).map_err(|error| io_error("remove", &manifest, &error))?;
        }
        let found = Recovery {
            segments,
            options: &options,
            files: files.as_ref(),
            log_id: meta.log_id,
            durable: meta.durable,
            read_only: false,
        };
        let recovered = found.run()?;
        Self::start(directory, options, files, meta, (recovered, held, false))
    }

    /// Opens a log for reading while nobody writes to it. Nothing in the directory is changed but the lock.
    ///
    /// # Errors
    /// As [`EmbeddedLog::open`]; [`LogError::Io`] when there is no log.
    pub fn open_read_only(directory: &Path) -> Result<Self, LogError> {
        Self::open_for_reading(directory, false)
    }

    /// `left`: what is there is taken for the log, whatever was durable once.
    fn open_for_reading(directory: &Path, left: bool) -> Result<Self, LogError> {
        let path = directory.join("meta");
        let absent = || LogError::Io(format!("{} holds no embedded log", directory.display()));
        let meta = Meta::load(&path)?.ok_or_else(absent)?;
        let held = Lock::shared(directory)?;
        let options = Options::new(meta.counts);
        let found = Recovery {
            segments: directory.join("segments"),
            options: &options,
            files: &SystemFiles,
            log_id: meta.log_id,
            durable: meta.durable.filter(|_| !left),
            read_only: true,
        };
        let recovered = found.run()?;
        Self::start(directory, options, Arc::new(SystemFiles), meta, (recovered, held, true))
    }

    fn start(
        directory: &Path,
        options: Options,
        files: Arc<dyn Files>,
        meta: Meta,
        (recovered, held, read_only): (Recovered, Lock, bool),
    ) -> Result<Self, LogError> {
        let (chores, work) = channel();
        let core = Arc::new(Core::new(CoreParts {
            root: directory.to_path_buf(),
            options,
            files,
            meta,
            read_only,
            writer: recovered.writer,
            state: recovered.state,
            chores: chores.clone(),
        }));
        let mut log = Self { core: Arc::clone(&core), threads: Vec::new(), _lock: held };
        if read_only {
            return Ok(log);
        }
        ask_for_indexes(&chores, recovered.unindexed);
        let syncer = Arc::clone(&core);
        log.spawn("log-sync", move || syncer.keep_syncing())?;
        log.spawn("log-chores", move || cleaning::keep_house(&core, &work))?;
        // A mark that finds no room is not missed.
        let _ = log.core.mark(log.core.durable());
        let (segment, sequence) = {
            let writer = lock(&log.core.writer);
            (writer.segment, writer.sequence)
        };
        log.core.note(Durable { segment, sequence });
        Ok(log)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads
            .push(thread.map_err(|error| LogError::Io(format!("cannot start thread {name}: {error}")))?);
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.core.root
    }

    /// Partition counts it was made with.
    #[must_use]
    pub fn counts(&self) -> PartitionCounts {
        self.core.layout().counts()
    }

    /// Whether it was made with these partition counts.
    ///
    /// # Errors
    /// Names the settings that differ, both values of each, and what to do.
    pub fn check_counts(&self, wanted: PartitionCounts) -> Result<(), LogError> {
        meta::check_counts(self.directory(), self.counts(), wanted)
    }

    /// Sequence of the last commit, durable or not.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        lock(&self.core.writer).sequence
    }

    /// Bytes of all segments on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let writer = lock(&self.core.writer);
        let closed = lock(&self.core.state).closed_bytes();
        closed + writer.len
    }

    /// Makes everything written so far durable, now. Returns the sequence that is.
    ///
    /// # Errors
    /// [`LogError::Io`]; a failed sync stops the log.
    pub fn sync(&self) -> Result<u64, LogError> {
        self.core.sync()
    }

    /// Gives up the records of [`schemas::topics::Retention::BelowReaders`] and `Compacted` topics below the given
    /// offsets, which must be at or below every reader's position; topics kept for ever are left out. The low
    /// watermarks rise at once; the disk space comes back in the background ([`Cleaning::wait`]).
    ///
    /// # Errors
    /// Unknown partition; [`LogError::Io`] (also when there is no room for the frame that notes the new watermarks).
    pub fn clean(&self, below: &[(TopicPartition, Offset)]) -> Result<Cleaning, LogError> {
        cleaning::start(&self.core, below, Given::Passed)
    }

    /// The same for records that an archive holds ([`crate::archive`]), also of topics kept for ever: whoever calls has read
    /// them there, and they are on its disk.
    ///
    /// # Errors
    /// As [`EmbeddedLog::clean`].
    pub fn give_up_archived(&self, below: &[(TopicPartition, Offset)]) -> Result<Cleaning, LogError> {
        cleaning::start(&self.core, below, Given::Archived)
    }

    /// Copies the log as of now, once it is durable, to a directory that is empty or absent. Every frame is checked.
    /// Commits go on.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] with file and place where the log is damaged, [`LogError::Io`]; nothing is left there then.
    pub fn backup(&self, to: &Path) -> Result<BackupReport, LogError> {
        backup::backup(&self.core, to)
    }

    /// Reads every frame of every segment and checks it. Returns the bytes read. Cleaning waits meanwhile.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] with file and place.
    pub fn verify(&self) -> Result<u64, LogError> {
        let _nobody_replaces_segments = lock(&self.core.maintenance);
        let (mut segments, open) = {
            let writer = lock(&self.core.writer);
            let state = lock(&self.core.state);
            let open = state.open();
            let (header, path) = (open.header, open.path.clone());
            let open = ClosedSegment { header, path, bytes: writer.len, last_sequence: writer.sequence };
            (state.segments().map(Arc::clone).collect::<Vec<_>>(), open)
        };
        segments.push(Arc::new(open));
        let mut bytes = 0;
        for segment in segments {
            let file =
                fs::File::open(&segment.path).map_err(|error| io_error("open", &segment.path, &error))?;
            SegmentIndex::scanned(&segment.path, &file, segment.bytes, &segment.header)?;
            bytes += segment.bytes;
        }
        Ok(bytes)
    }
}

/// What may lie in a directory that has no `meta` file: what a start that was cut short leaves, what a process keeps beside
/// its log, and what a new file system has.
const BESIDE: [&str; 6] = ["lock", "segments", "meta.new", "store", "ledgerflow.sock", "lost+found"];

/// A log is made in an empty directory only: anything else that lies there is somebody's.
fn holds_nothing_else(directory: &Path) -> Result<(), LogError> {
    if directory.join("meta").exists() {
        return Ok(());
    }
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("list", directory, &error)),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut others: Vec<_> = names.filter(|name| BESIDE.iter().all(|known| name != known)).collect();
    others.sort();
    let Some(other) = others.first() else { return Ok(()) };
    Err(LogError::Io(format!(
        "{} is no data directory: it holds {} and no log. Name a folder that is empty or not there yet",
        directory.display(),
        other.display()
    )))
}

/// Reads `meta`, or writes it in a new directory.
fn known_meta(
    directory: &Path,
    segments: &Path,
    options: &Options,
    files: &dyn Files,
) -> Result<Meta, LogError> {
    let path = directory.join("meta");
    match Meta::load(&path)? {
        Some(meta) => {
            meta::check_counts(directory, meta.counts, options.counts)?;
            if meta.topics < Topic::ALL.len() {
                meta.store(files, &path)?;
            }
            Ok(meta)
        }
        None => {
            let mut entries = fs::read_dir(segments).map_err(|error| io_error("list", segments, &error))?;
            if entries.next().is_some() {
                let why = "it has segments and no meta file: a copy that was cut short?";
                return Err(LogError::Corrupt(format!("{}: {why}", directory.display())));
            }
            made_for_good(directory, files)?;
            let log_id = std::collections::hash_map::RandomState::new().build_hasher().finish();
            let meta = Meta { log_id, counts: options.counts, topics: Topic::ALL.len(), durable: None };
            meta.store(files, &path)?;
            Ok(meta)
        }
    }
}

/// The directory's own name must survive a crash as well as what is in it; whoever died before `meta` was there may not have
/// synced it. Who may not read what it lies in has not made it.
fn made_for_good(directory: &Path, files: &dyn Files) -> Result<(), LogError> {
    let above = files::around(directory);
    match files.sync_directory(above) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            Err(io_error("sync", above, &error))
        }
        _ => Ok(()),
    }
}

fn ask_for_indexes(chores: &Sender<cleaning::Chore>, unindexed: Vec<(Arc<ClosedSegment>, SegmentIndex)>) {
    for (segment, index) in unindexed {
        // The receiver is moved into its thread right after this.
        let _ = chores.send(cleaning::Chore::Index(segment, index));
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        let _ = self.core.chores.send(cleaning::Chore::Stop);
        self.core.stop_syncing();
        if !self.core.read_only {
            self.core.close();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(log = %self.core.root.display(), "a thread of the log had panicked");
            }
        }
    }
}

impl Log for EmbeddedLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        Ok(topic.partition_count(self.counts()))
    }

    fn watermarks(&self, at: TopicPartition, _: Isolation) -> Result<Watermarks, LogError> {
        self.core.check_alive()?;
        let bounds = lock(&self.core.state).bounds(at)?;
        Ok(Watermarks { low: bounds.low, high: bounds.next })
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        self.core.check_alive()?;
        let state = lock(&self.core.state);
        at.iter().map(|of| self.core.layout().place(*of).map(|_| state.committed(group, *of))).collect()
    }

    fn reader(&self, start: &[(TopicPartition, Offset)], _: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(&self.core, start)?))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        Ok(Box::new(group::EmbeddedSession::join(&self.core, member)?))
    }

    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        records.iter().try_for_each(|record| self.core.layout().place(record.to).map(drop))?;
        self.core.write(&records, Vec::new(), &[], || Ok(())).map_err(NotWritten::into_error)
    }

    fn durable(&self) -> u64 {
        self.core.durable()
    }

    fn written(&self) -> u64 {
        self.core.written()
    }

    fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError> {
        self.core.wait_durable(sequence, wait)
    }

    fn fence(&self, _: &str) -> Result<(), LogError> {
        // A commit is one append: no transaction is ever left open.
        self.core.check_alive()
    }

    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        self.core.check_alive()?;
        Ok(lock(&self.core.groups).members(group))
    }

    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        self.core.check_alive()?;
        self.core.layout().place(at).map(|_| Vec::new())
    }

    fn features(&self) -> Features {
        Features { compaction: false }
    }

    fn check_retention(&self, _: Topic) -> Result<Result<(), String>, LogError> {
        // Cleaning never touches a topic kept for ever, but for what an archive holds.
        self.core.check_alive().map(Ok)
    }
}
