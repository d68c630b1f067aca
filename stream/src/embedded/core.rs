//! The one write-ahead order: writing a frame, rolling to the next segment, group sync.
//!
//! Phases of a commit: lay out (no lock) -> write lock: admitted?, room?, seal, write -> state lock: publish ->
//! tell the syncer. Lock order: sync, writer, then groups or state; nobody holds two of the last.
//! A write that fails is cut off again; when that fails too, or a sync fails, the log is poisoned: nothing is
//! believed and nothing is written any more until the directory is opened again.

use super::Options;
use super::cleaning::Chore;
use super::format::{Bounds, Draft, Extras, GroupPosition, MARK, SNAPSHOT, Sealed};
use super::group::Groups;
use super::meta::{Durable, Meta};
use super::segment::{HEADER_BYTES, SegmentHeader, begin_segment, io_error, segment_path};
use super::state::{Layout, OpenSegment, State};
use crate::clock;
use crate::faults::{self, Point};
use crate::files::{Files, write_all_at};
use crate::log::{LogError, OutRecord, TopicPartition};
use crate::mutex::lock;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Bytes of one segment at most, unless a single frame is bigger.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(
    SEGMENT_BYTES_MAX as usize + super::format::FRAME_BYTES_MAX < u32::MAX as usize,
    "places in a segment are u32"
);

/// What the write lock guards.
#[derive(Debug)]
pub(super) struct Writer {
    pub file: Arc<File>,
    pub path: PathBuf,
    pub segment: u32,
    /// Bytes of the open segment up to the end of its last frame.
    pub len: u64,
    /// Sequence of the last frame.
    pub sequence: u64,
    /// Whether the open segment holds more than its snapshot.
    pub used: bool,
    /// Closed segments that have not been synced yet.
    pub unsynced: Vec<Arc<File>>,
    /// Whether a name in the directory has not been synced yet.
    pub names_changed: bool,
}

/// What the syncer waits for.
#[derive(Debug, Default)]
struct Pending {
    unsynced: bool,
    stop: bool,
}

/// Why a frame was not written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// Nothing of it is in the log.
    Refused(LogError),
    /// It could not be cut off again.
    Unknown(LogError),
}

impl NotWritten {
    /// The reason alone.
    pub(super) fn into_error(self) -> LogError {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}

/// The log without its owner's handle.
pub(super) struct Core {
    pub root: PathBuf,
    pub options: Options,
    pub files: Arc<dyn Files>,
    pub log_id: u64,
    pub read_only: bool,
    /// The `meta` file as it was written last.
    pub meta: Mutex<Meta>,
    layout: Layout,
    pub writer: Mutex<Writer>,
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub groups: Mutex<Groups>,
    pub chores: Sender<Chore>,
    /// Held by whoever replaces or copies closed segments.
    pub maintenance: Mutex<()>,
    pub closed: AtomicBool,
    syncing: Mutex<()>,
    pending: Mutex<Pending>,
    pending_changed: Condvar,
    durable: AtomicU64,
    durable_lock: Mutex<()>,
    durable_changed: Condvar,
    failure: OnceLock<String>,
}

/// What a core is made of once the directory has been read.
pub(super) struct CoreParts {
    pub root: PathBuf,
    pub options: Options,
    pub files: Arc<dyn Files>,
    pub meta: Meta,
    pub read_only: bool,
    pub writer: Writer,
    pub state: State,
    pub chores: Sender<Chore>,
}

impl Core {
    pub(super) fn new(parts: CoreParts) -> Self {
        let durable = parts.writer.sequence;
        Self {
            root: parts.root,
            options: parts.options,
            files: parts.files,
            log_id: parts.meta.log_id,
            read_only: parts.read_only,
            meta: Mutex::new(parts.meta),
            layout: parts.state.layout().clone(),
            writer: Mutex::new(parts.writer),
            state: Mutex::new(parts.state),
            changed: Condvar::new(),
            groups: Mutex::new(Groups::default()),
            chores: parts.chores,
            maintenance: Mutex::new(()),
            closed: AtomicBool::new(false),
            syncing: Mutex::new(()),
            pending: Mutex::new(Pending::default()),
            pending_changed: Condvar::new(),
            durable: AtomicU64::new(durable),
            durable_lock: Mutex::new(()),
            durable_changed: Condvar::new(),
            failure: OnceLock::new(),
        }
    }

    /// Partitions of every topic.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Folder of the segments.
    pub(super) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// # Errors
    /// The log was poisoned or closed; the text names the cause.
    pub(super) fn check_alive(&self) -> Result<(), LogError> {
        if let Some(cause) = self.failure.get() {
            return Err(LogError::Io(cause.clone()));
        }
        match self.closed.load(Ordering::Acquire) {
            true => Err(LogError::Io(format!("{} is closed", self.root.display()))),
            false => Ok(()),
        }
    }

    /// # Errors
    /// As [`Core::check_alive`], or the log was opened for reading.
    pub(super) fn check_writable(&self) -> Result<(), LogError> {
        self.check_alive()?;
        match self.read_only {
            true => Err(LogError::Io(format!("{} is open for reading only", self.root.display()))),
            false => Ok(()),
        }
    }

    /// Ends all use of the log until it is opened again.
    fn poison(&self, cause: &LogError) {
        let text = format!("the log is stopped: {cause}");
        tracing::error!(log = %self.root.display(), cause = %text, "embedded log stopped");
        if self.failure.set(text.clone()).is_ok()
            && let Some(on_failure) = &self.options.on_failure
        {
            on_failure(&text);
        }
        self.wake_everybody();
    }

    /// Passes a fault point. A crash there is the log's end, as the process's death would be: whoever is waiting
    /// is told so, and nothing is believed until the directory is opened again.
    ///
    /// # Errors
    /// [`LogError::Io`] naming the point.
    pub(super) fn pass(&self, point: Point) -> Result<(), LogError> {
        faults::hit(point).map_err(|crash| {
            let error = LogError::Io(crash.to_string());
            self.poison(&error);
            error
        })
    }

    pub(super) fn wake_everybody(&self) {
        drop(lock(&self.state));
        self.changed.notify_all();
        drop(lock(&self.durable_lock));
        self.durable_changed.notify_all();
    }

    /// Writes one frame and makes it visible. `admit` is asked under the write lock, before anything is written.
    ///
    /// # Errors
    /// See [`NotWritten`]; `admit`'s own error as it is.
    pub(super) fn write<E: From<NotWritten>>(
        &self,
        records: &[OutRecord],
        positions: Vec<GroupPosition>,
        bounds: &[(TopicPartition, Bounds)],
        admit: impl FnOnce() -> Result<(), E>,
    ) -> Result<u64, E> {
        let refused = |error: LogError| E::from(NotWritten::Refused(error));
        self.check_writable().map_err(refused)?;
        let extras = Extras { flags: 0, positions: &positions, bounds };
        let buffer = lock(&self.state).spare_buffer(Draft::bytes(records, &extras));
        let draft = Draft::new_in(buffer, records, &extras, clock::wall_us());
        let draft = draft.map_err(|why| refused(LogError::Io(why)))?;
        let mut writer = lock(&self.writer);
        self.check_writable().map_err(refused)?;
        admit()?;
        if writer.used && writer.len + draft.len() as u64 > self.options.segment_bytes {
            self.roll(&mut writer).map_err(refused)?;
        }
        let (sequence, at) = (writer.sequence + 1, writer.len);
        let frame = self.seal(draft, sequence);
        self.pass(faults::EMBEDDED_BEFORE_APPEND).map_err(refused)?;
        self.append(&mut writer, &frame)?;
        self.pass(faults::EMBEDDED_AFTER_APPEND).map_err(NotWritten::Unknown)?;
        writer.sequence = sequence;
        writer.used = true;
        let mut state = lock(&self.state);
        state.publish(&frame, at);
        state.put_positions(positions);
        let raised = state.raise_bounds(bounds);
        let waiting = state.waiting > 0;
        drop(state);
        drop(writer);
        if waiting {
            self.changed.notify_all();
        }
        self.ask_for_sync();
        raised.map_err(refused).map(|()| sequence)
    }

    fn seal(&self, draft: Draft, sequence: u64) -> Sealed {
        let state = lock(&self.state);
        draft.seal(self.log_id, sequence, self.durable(), |of, _| state.next_of(of))
    }

    /// Appends bytes to the open segment, or leaves it as it was.
    fn append(&self, writer: &mut Writer, frame: &Sealed) -> Result<(), NotWritten> {
        let Err(error) = write_all_at(self.files.as_ref(), &writer.file, &frame.bytes, writer.len) else {
            writer.len += frame.bytes.len() as u64;
            return Ok(());
        };
        let error = io_error("write", &writer.path, &error);
        match self.files.truncate(&writer.file, writer.len) {
            Ok(()) => {
                tracing::warn!(%error, "a commit was not written and has been cut off again");
                Err(NotWritten::Refused(error))
            }
            Err(cut) => {
                let both = LogError::Io(format!("{error}; and cutting it off failed: {cut}"));
                self.poison(&both);
                Err(NotWritten::Unknown(both))
            }
        }
    }

    /// Goes on in a new segment, which begins with a snapshot of positions and bounds.
    fn roll(&self, writer: &mut Writer) -> Result<(), LogError> {
        self.pass(faults::EMBEDDED_BEFORE_ROLL)?;
        let number = writer.segment + 1;
        let path = segment_path(&self.segments(), number);
        let header = SegmentHeader {
            log_id: self.log_id,
            first: number,
            last: number,
            base: writer.sequence,
            cleaned: None,
        };
        let frame = {
            let state = lock(&self.state);
            snapshot(&state, self.log_id, writer.sequence + 1, self.durable())?
        };
        let file = begin_segment(self.files.as_ref(), &path, &header, &frame.bytes)
            .map_err(|error| io_error("begin segment", &path, &error))?;
        let file = Arc::new(file);
        let open = OpenSegment { header, path: path.clone(), file: Arc::clone(&file) };
        let (closed, index) = lock(&self.state).roll(open, writer.len, writer.sequence);
        // A receiver is missing only while the log is being closed; the index is then built at the next opening.
        let _ = self.chores.send(Chore::Index(closed, index));
        let before = std::mem::replace(&mut writer.file, file);
        writer.unsynced.push(before);
        writer.names_changed = true;
        writer.path = path;
        writer.segment = number;
        writer.len = (HEADER_BYTES + frame.bytes.len()) as u64;
        writer.sequence += 1;
        writer.used = false;
        self.pass(faults::EMBEDDED_AFTER_ROLL)
    }

    /// Sequence up to which everything is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Sequence of the newest frame.
    pub(super) fn written(&self) -> u64 {
        lock(&self.writer).sequence
    }

    /// Waits until `sequence` is durable.
    ///
    /// # Errors
    /// The log was poisoned or closed; [`LogError::Retriable`] when `wait` passed.
    pub(super) fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError> {
        let held = lock(&self.durable_lock);
        let goes_on = |(): &mut ()| self.durable() < sequence && self.check_alive().is_ok();
        drop(self.durable_changed.wait_timeout_while(held, wait, goes_on));
        if self.durable() >= sequence {
            return Ok(());
        }
        self.check_alive()?;
        Err(LogError::Retriable(format!("commit {sequence} is not durable yet, {} is", self.durable())))
    }

    fn ask_for_sync(&self) {
        let mut pending = lock(&self.pending);
        if !pending.unsynced {
            pending.unsynced = true;
            drop(pending);
            self.pending_changed.notify_all();
        }
    }

    /// Syncs everything written so far and returns the sequence that is durable with it.
    ///
    /// # Errors
    /// The sync failed: the log is poisoned.
    pub(super) fn sync(&self) -> Result<u64, LogError> {
        let _one_at_a_time = lock(&self.syncing);
        self.check_writable()?;
        self.pass(faults::EMBEDDED_BEFORE_SYNC)?;
        lock(&self.pending).unsynced = false;
        let (end, open, closed, names) = {
            let mut writer = lock(&self.writer);
            let closed = std::mem::take(&mut writer.unsynced);
            let names = std::mem::take(&mut writer.names_changed);
            let end = Durable { segment: writer.segment, sequence: writer.sequence };
            (end, (Arc::clone(&writer.file), writer.path.clone()), closed, names)
        };
        let files = self.files.as_ref();
        let synced = closed.iter().try_for_each(|file| files.sync(file)).and_then(|()| files.sync(&open.0));
        let synced =
            synced.and_then(|()| if names { files.sync_directory(&self.segments()) } else { Ok(()) });
        if let Err(error) = synced {
            let error = io_error("sync", &open.1, &error);
            self.poison(&error);
            return Err(error);
        }
        self.pass(faults::EMBEDDED_AFTER_SYNC)?;
        self.durable.fetch_max(end.sequence, Ordering::AcqRel);
        drop(lock(&self.durable_lock));
        self.durable_changed.notify_all();
        if names {
            self.note(end);
        }
        Ok(end.sequence)
    }

    /// Makes closed segments durable to their last byte, where they are not: one that is by its sequence may have a mark
    /// behind it that is not.
    ///
    /// # Errors
    /// As [`Core::sync`].
    pub(super) fn sync_closed(&self) -> Result<(), LogError> {
        // Who is syncing has taken them from the writer and is not through yet.
        drop(lock(&self.syncing));
        if !lock(&self.writer).unsynced.is_empty() {
            return self.sync().map(drop);
        }
        self.failure.get().map_or(Ok(()), |cause| Err(LogError::Io(cause.clone())))
    }

    /// Writes into `meta` how far the log is durable, so that a segment that is lost is missed at the next opening. A
    /// note that finds no room is made up for by the next one.
    pub(super) fn note(&self, durable: Durable) {
        let mut meta = lock(&self.meta);
        if meta.durable == Some(durable) {
            return;
        }
        let noted = Meta { durable: Some(durable), ..*meta };
        match noted.store(self.files.as_ref(), &self.root.join("meta")) {
            Ok(()) => *meta = noted,
            Err(error) => tracing::warn!(%error, "how far the log is durable was not noted"),
        }
    }

    /// Notes in the log how far it is durable, when no frame that could say so has come since. Recovery tells by
    /// such notes an unsynced tail, which may be dropped, from damage to what was durable.
    pub(super) fn mark(&self, synced: u64) -> Result<(), LogError> {
        let mut writer = lock(&self.writer);
        if writer.sequence != synced {
            return Ok(());
        }
        let extras = Extras { flags: MARK, ..Extras::default() };
        let draft = Draft::new(&[], &extras, clock::wall_us()).map_err(LogError::Io)?;
        let frame = draft.seal(self.log_id, synced, synced, |_, run| run.first);
        self.append(&mut writer, &frame).map_err(NotWritten::into_error)
    }

    /// Body of the syncer's thread: at most one sync an interval, none while there is nothing to sync.
    pub(super) fn keep_syncing(&self) {
        faults::name_thread("log");
        loop {
            let pending = lock(&self.pending);
            let pending =
                self.pending_changed.wait_while(pending, |pending| !pending.unsynced && !pending.stop);
            if pending.unwrap_or_else(PoisonError::into_inner).stop {
                return;
            }
            match self.sync().map(|synced| self.mark(synced)) {
                // A mark that found no room is not missed: the next frame says the same.
                Ok(_) => {}
                Err(_) => return,
            }
            let pending = lock(&self.pending);
            drop(self.pending_changed.wait_timeout_while(pending, self.options.sync_interval, |p| !p.stop));
        }
    }

    /// Ends [`Core::keep_syncing`].
    pub(super) fn stop_syncing(&self) {
        lock(&self.pending).stop = true;
        self.pending_changed.notify_all();
    }

    /// Syncs, notes it, and lets nobody write any more.
    pub(super) fn close(&self) {
        let synced = self.sync().and_then(|synced| self.mark(synced).and_then(|()| self.sync()));
        if let Err(error) = synced
            && !self.read_only
        {
            tracing::warn!(log = %self.root.display(), %error, "the log was closed without a last sync");
        }
        let writer = lock(&self.writer);
        if self.durable() == writer.sequence && self.failure.get().is_none() {
            self.note(Durable { segment: writer.segment, sequence: writer.sequence });
        }
        self.closed.store(true, Ordering::Release);
        drop(writer);
        self.wake_everybody();
    }
}

/// The first frame of a segment.
///
/// # Errors
/// The positions are beyond the bounds of a frame.
pub(super) fn snapshot(state: &State, log_id: u64, sequence: u64, durable: u64) -> Result<Sealed, LogError> {
    let (positions, bounds) = (state.all_positions(), state.all_bounds());
    let extras = Extras { flags: SNAPSHOT, positions: &positions, bounds: &bounds };
    let draft = Draft::new(&[], &extras, clock::wall_us()).map_err(LogError::Io)?;
    Ok(draft.seal(log_id, sequence, durable, |_, run| run.first))
}
