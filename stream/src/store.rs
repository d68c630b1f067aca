//! The local checkpoint store of one slot: what makes a restart quick, never what makes it right.
//!
//! A checkpoint is a label (how much of the log it holds) and the slot's pairs at that moment, kept as sorted
//! files, oldest first: at most one base, then deltas with the pairs changed since. The log is the truth: a
//! checkpoint that is torn, corrupt, another slot's or another version's is refused whole, with its reason, and
//! the caller drops it ([`Store::clear`]) and restores from the log.
//!
//! Phases: [`Store::open`] -> [`Store::latest`] -> [`Store::load`] (or [`Store::clear`]) -> [`Store::write`] …
//!
//! Order relied on, each step durable before the next: data file; the log up to the label (rule 13: checkpoint <=
//! durable); manifest under a temporary name; rename; removal of files no manifest names. A crash between any
//! two leaves the old checkpoint or the new one, and strays that the next open removes.
//!
//! Bounds: deltas are merged into a new base when they outweigh it, and among themselves when there are more
//! than [`DELTAS_MAX`]; reading and merging hold one block of every file. Pairs of a failed write are kept for
//! the next one up to [`UNWRITTEN_BYTES_MAX`]. The directory belongs to one store at a time: whoever opens it holds
//! its lock ([`lock`]), and when a slot moves to another worker, that one waits for it.

mod file;
mod kept_runs;
mod manifest;
mod pairs;
pub mod runs;
mod thread;

pub use manifest::Label;
pub use pairs::DirtyPairs;
pub use thread::{CheckpointThread, JOBS_MAX, Job, NotTaken, Report, WaitDurable};

use crate::clock;
use crate::faults::{self, Crash};
use crate::files::{Files, Opening, SystemFiles, make_directories, write_all_at};
use file::{Merged, PairWriter};
use manifest::{FileEntry, Kind, Manifest};
use runs::{ClosedRuns, Damaged, Run, Settled};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use thiserror::Error;

/// Version of the manifest and of the files.
pub const FORMAT: u32 = 1;
/// Name of the file that a store locks.
const LOCK: &str = "lock";
/// Deltas beyond this are merged among themselves.
pub const DELTAS_MAX: usize = 16;
/// The newest deltas that such a merge takes at least.
const DELTAS_MERGED_MIN: usize = 8;
/// Pairs that failed writes may leave behind; beyond it the store writes nothing until it is opened again.
pub const UNWRITTEN_BYTES_MAX: usize = 256 * 1024 * 1024;

const _: () = assert!(1 < DELTAS_MERGED_MIN && DELTAS_MERGED_MIN <= DELTAS_MAX);

/// Why a checkpoint is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another program version wrote it.
    #[error("{file} has format version {found}, this program reads {FORMAT}")]
    Format {
        /// File.
        file: String,
        /// Version found.
        found: u32,
    },
    /// The manifest is torn or changed.
    #[error("manifest line {line}: expected {expected}")]
    Manifest {
        /// Line, counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The manifest names a file that is not there.
    #[error("{file} is missing")]
    Missing {
        /// File.
        file: String,
    },
    /// A file is longer or shorter than it was.
    #[error("{file} has {found} bytes, the manifest says {expected}")]
    Size {
        /// File.
        file: String,
        /// Bytes it must have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A block does not match its checksum, or the file as a whole does not match its own.
    #[error("{file} is corrupt in block {block}")]
    Corrupt {
        /// File.
        file: String,
        /// Block, counted from 0.
        block: u64,
    },
    /// A run is not what it was written as.
    #[error("{file}: {why}")]
    Run {
        /// File.
        file: String,
        /// What is wrong.
        why: Damaged,
    },
    /// It belongs elsewhere.
    #[error("it is of {processor} slot {slot}")]
    OtherSlot {
        /// Processor it is of.
        processor: String,
        /// Slot it is of.
        slot: u32,
    },
    /// The state does not take a pair.
    #[error("the state refuses a pair: {0}")]
    Pair(String),
}

/// What a store cannot do.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Reading or writing failed (disk full included). Pairs handed over are kept for the next write.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is a checkpoint and it must not be used: drop the state loaded so far, call [`Store::clear`],
    /// restore from the log.
    #[error("checkpoint in {dir} refused: {why}")]
    Refused {
        /// Directory.
        dir: PathBuf,
        /// Why.
        why: Refusal,
    },
    /// The log did not become durable up to the label; the old checkpoint counts.
    #[error("checkpoint not written, the log is not durable: {0}")]
    NotDurable(String),
    /// There is a checkpoint that was neither loaded nor cleared: pairs written now would mix with it.
    #[error("checkpoint in {0} was neither loaded nor cleared")]
    Unread(PathBuf),
    /// Writing failed until [`UNWRITTEN_BYTES_MAX`] was passed. The old checkpoint counts; restart to go on.
    #[error("checkpoints in {0} are suspended after failed writes; the next restart replays more of the log")]
    Suspended(PathBuf),
    /// A fault point crashed this thread.
    #[error(transparent)]
    Crash(#[from] Crash),
}

impl StoreError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn refused(dir: &Path, why: Refusal) -> Self {
        Self::Refused { dir: dir.to_owned(), why }
    }
}

/// How a store writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether files are synced; the simulation, which crashes no kernel, goes without.
    pub sync: bool,
    /// Deltas below this many bytes are not worth a new base.
    pub merge_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync: true, merge_bytes_min: 8 * 1024 * 1024 }
    }
}

/// Label of the checkpoint in a folder, which is read and left as it is; `None` = there is none.
///
/// # Errors
/// [`StoreError::Refused`] when its manifest is torn or another version's, [`StoreError::Io`].
pub fn label_in(dir: &Path) -> Result<Option<Label>, StoreError> {
    Ok(manifest_in(dir)?.map(|manifest| manifest.label))
}

fn manifest_in(dir: &Path) -> Result<Option<Manifest>, StoreError> {
    let path = dir.join(manifest::NAME);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened
            .and_then(|file| file.take(manifest::BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|why| StoreError::io(&path, why))?,
    };
    Manifest::parse(&bytes).map(Some).map_err(|why| StoreError::refused(dir, why))
}

/// What a write did.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Pairs in the new delta.
    pub pairs: u64,
    /// Bytes of the new delta.
    pub bytes: u64,
    /// Bytes written by merging.
    pub merged_bytes: u64,
    /// Bytes of the whole checkpoint.
    pub total_bytes: u64,
    /// The closed runs from now on, where they have changed.
    pub closed: Option<ClosedRuns>,
    /// How long it took, waiting for the log included.
    pub elapsed_us: i64,
}

/// Where a [`Damaged`] run becomes a refusal, before its file is known.
impl From<Damaged> for Refusal {
    fn from(why: Damaged) -> Self {
        Self::Run { file: "an open run".to_owned(), why }
    }
}

/// Checkpoints of one slot of one processor, in a directory of its own.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    processor: String,
    slot: u32,
    options: Options,
    files: Arc<dyn Files>,
    manifest: Option<Manifest>,
    /// Whether the pairs of `manifest` are in the caller's state.
    read: bool,
    number_next: u64,
    unwritten: DirtyPairs,
    unwritten_rows: Settled,
    /// Closed runs that the state has, by number; and the highest age in each.
    opened: BTreeMap<u64, (Weak<Run>, u64)>,
    suspended: bool,
}

impl Store {
    /// Opens (and makes) the directory of a slot. Reads nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path, processor: &str, slot: u32, options: Options) -> Result<Self, StoreError> {
        Self::open_with(dir, (processor, slot), options, Arc::new(SystemFiles))
    }

    pub(crate) fn open_with(
        dir: &Path,
        (processor, slot): (&str, u32),
        options: Options,
        files: Arc<dyn Files>,
    ) -> Result<Self, StoreError> {
        let made = make_directories(files.as_ref(), dir, options.sync);
        made.map_err(|why| StoreError::io(dir, why))?;
        let mut number_next = 1;
        for name in names(dir)? {
            if let Some(entry) = FileEntry::from_name(&name) {
                number_next = number_next.max(entry.number.saturating_add(1));
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            processor: processor.to_owned(),
            slot,
            options,
            files,
            manifest: None,
            read: false,
            number_next,
            unwritten: DirtyPairs::default(),
            unwritten_rows: Settled::default(),
            opened: BTreeMap::new(),
            suspended: false,
        })
    }

    /// The slot.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// The newest checkpoint's label; `None` = there is none. Strays of an earlier crash are removed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is one and it must not be used, [`StoreError::Io`].
    pub fn latest(&mut self) -> Result<Option<Label>, StoreError> {
        if !self.read {
            self.manifest = self.read_manifest()?;
            self.remove_strays()?;
            self.read = self.manifest.is_none();
        }
        Ok(self.manifest.as_ref().map(|manifest| manifest.label.clone()))
    }

    /// Hands every pair of the newest checkpoint to `put`, ascending by key, and returns their number.
    ///
    /// # Errors
    /// [`StoreError::Refused`] also when `put` refuses a pair: what was put so far must be thrown away.
    pub fn load(
        &mut self,
        mut put: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
    ) -> Result<u64, StoreError> {
        self.latest()?;
        let files = self.pair_files();
        let refuse = |why| StoreError::refused(&self.dir, why);
        let mut merged = Merged::open(&self.dir, &files)?;
        let mut pairs = 0;
        while let Some(pair) = merged.next().map_err(refuse)? {
            if let Some(value) = pair.value {
                put(pair.key, value).map_err(|why| refuse(Refusal::Pair(why)))?;
                pairs += 1;
            }
        }
        self.read = true;
        Ok(pairs)
    }

    /// Removes every checkpoint; the next write holds all pairs it is given and nothing else.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn clear(&mut self) -> Result<(), StoreError> {
        let path = self.dir.join(manifest::NAME);
        match self.files.remove(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&path, why)),
            _ => self.sync_dir()?,
        }
        self.manifest = None;
        self.remove_strays()?;
        self.unwritten.clear();
        self.unwritten_rows = Settled::default();
        self.opened.clear();
        self.suspended = false;
        self.read = true;
        Ok(())
    }

    fn pair_files(&self) -> Vec<FileEntry> {
        let files = self.manifest.iter().flat_map(|manifest| &manifest.files);
        files.filter(|file| matches!(file.kind, Kind::Base | Kind::Delta)).copied().collect()
    }

    /// Writes a checkpoint: `pairs` are those changed since the one before (all of them after
    /// [`Store::clear`]); they are taken and the buffer comes back empty. `settled`: rows added since then. `wait_durable`
    /// is called when the data is on the disk and before it counts.
    ///
    /// # Errors
    /// Any [`StoreError`]: a checkpoint counts whole, this one or the one before, and pairs that are in neither
    /// are kept for the next write. After [`StoreError::Unread`] they are still the caller's.
    pub fn write(
        &mut self,
        label: &Label,
        pairs: &mut DirtyPairs,
        settled: Settled,
        wait_durable: impl FnOnce() -> Result<(), String>,
    ) -> Result<Written, StoreError> {
        let started_us = clock::monotonic_us();
        if !self.read {
            return Err(StoreError::Unread(self.dir.clone()));
        }
        if self.suspended {
            pairs.clear();
            return Err(StoreError::Suspended(self.dir.clone()));
        }
        if self.unwritten.is_empty() {
            std::mem::swap(&mut self.unwritten, pairs);
        } else {
            self.unwritten.append(pairs);
        }
        pairs.clear();
        self.unwritten_rows.append(settled);
        let result = self.write_delta(label, wait_durable);
        let (closed, gone_before) = (self.unwritten_rows.closes, self.unwritten_rows.gone_before);
        let carried = !self.unwritten_rows.carried.is_empty();
        if result.is_ok() {
            self.unwritten.clear();
            self.unwritten_rows = Settled::default();
            std::mem::swap(&mut self.unwritten, pairs);
        } else if self.unwritten.bytes() + self.unwritten_rows.bytes() > UNWRITTEN_BYTES_MAX {
            self.unwritten = DirtyPairs::default();
            self.unwritten_rows = Settled::default();
            self.suspended = true;
        }
        let mut written = result?;
        written.merged_bytes = self.merge()?;
        let gone = self.drop_gone(gone_before)?;
        let mut merged_bytes = 0;
        // What is merged may be of one size with older ones.
        while let Some(bytes) = self.merge_closed()? {
            merged_bytes += bytes;
        }
        if closed > 0 || merged_bytes > 0 || gone || carried {
            written.closed = Some(self.closed_runs(closed)?);
            written.merged_bytes += merged_bytes;
        }
        let files = self.manifest.iter().flat_map(|manifest| &manifest.files);
        written.total_bytes = files.map(|file| file.bytes).sum();
        written.elapsed_us = clock::monotonic_us() - started_us;
        Ok(written)
    }

    fn write_delta(
        &mut self,
        label: &Label,
        wait_durable: impl FnOnce() -> Result<(), String>,
    ) -> Result<Written, StoreError> {
        faults::hit(faults::CHECKPOINT_BEFORE_WRITE)?;
        let mut files = self.manifest.as_ref().map(|manifest| manifest.files.clone()).unwrap_or_default();
        let mut written = Written::default();
        if !self.unwritten.is_empty() {
            let kind = if self.pair_files().is_empty() { Kind::Base } else { Kind::Delta };
            let entry = self.take_number(kind);
            let delta = self.write_sorted(entry).map_err(|why| self.io_of(&entry.name(), why))?;
            written = Written { pairs: delta.pairs, bytes: delta.bytes, ..written };
            files.push(delta);
        }
        self.write_runs(&mut files)?;
        faults::hit(faults::CHECKPOINT_AFTER_DATA)?;
        wait_durable().map_err(StoreError::NotDurable)?;
        self.replace_manifest(label.clone(), files)?;
        Ok(written)
    }

    fn write_sorted(&self, entry: FileEntry) -> io::Result<FileEntry> {
        let mut writer = PairWriter::create(&self.files, &self.dir, entry)?;
        for pair in self.unwritten.sorted() {
            if entry.kind == Kind::Delta || pair.value.is_some() {
                writer.put(pair)?;
            }
        }
        writer.finish(self.options.sync)
    }

    /// Makes `files` the checkpoint and removes what it no longer names.
    fn replace_manifest(&mut self, label: Label, files: Vec<FileEntry>) -> Result<(), StoreError> {
        let (processor, slot) = (self.processor.clone(), self.slot);
        let manifest = Manifest { processor, slot, label, files };
        let temporary = self.dir.join(manifest::TEMPORARY);
        self.write_text(&temporary, &manifest.render()).map_err(|why| StoreError::io(&temporary, why))?;
        // The data files' names must be on the disk before a manifest that counts on them.
        self.sync_dir()?;
        faults::hit(faults::CHECKPOINT_BEFORE_RENAME)?;
        let path = self.dir.join(manifest::NAME);
        self.files.rename(&temporary, &path).map_err(|why| StoreError::io(&path, why))?;
        self.sync_dir()?;
        self.manifest = Some(manifest);
        faults::hit(faults::CHECKPOINT_AFTER_MANIFEST)?;
        self.remove_strays()
    }

    /// Merges where deltas outweigh the base or are many. Returns the bytes written.
    fn merge(&mut self) -> Result<u64, StoreError> {
        let Some(manifest) = &self.manifest else { return Ok(0) };
        let (label, runs) = (manifest.label.clone(), manifest.files.iter());
        let runs: Vec<FileEntry> =
            runs.filter(|file| matches!(file.kind, Kind::Open | Kind::Closed)).copied().collect();
        let mut files = self.pair_files();
        let (base, deltas): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.kind == Kind::Base);
        let weight = |files: &[FileEntry]| files.iter().map(|file| file.bytes).sum::<u64>();
        let outweighed = weight(&deltas) > weight(&base).max(self.options.merge_bytes_min);
        let from = match (outweighed, deltas.len() > DELTAS_MAX) {
            (true, _) => 0,
            (false, true) => newest_run(&files),
            (false, false) => return Ok(0),
        };
        let merged = self.merge_files(files.get(from..).unwrap_or_default(), from == 0)?;
        faults::hit(faults::CHECKPOINT_AFTER_MERGE)?;
        files.truncate(from);
        files.push(merged);
        files.extend(runs);
        self.replace_manifest(label, files)?;
        Ok(merged.bytes)
    }

    fn merge_files(&mut self, files: &[FileEntry], to_base: bool) -> Result<FileEntry, StoreError> {
        let entry = self.take_number(if to_base { Kind::Base } else { Kind::Delta });
        let failed = |why| self.io_of(&entry.name(), why);
        let mut merged = Merged::open(&self.dir, files)?;
        let mut writer = PairWriter::create(&self.files, &self.dir, entry).map_err(failed)?;
        while let Some(pair) = merged.next().map_err(|why| StoreError::refused(&self.dir, why))? {
            if !to_base || pair.value.is_some() {
                writer.put(pair).map_err(failed)?;
            }
        }
        writer.finish(self.options.sync).map_err(failed)
    }

    fn take_number(&mut self, kind: Kind) -> FileEntry {
        let entry = FileEntry::new(kind, self.number_next);
        self.number_next = self.number_next.saturating_add(1);
        entry
    }

    fn read_manifest(&self) -> Result<Option<Manifest>, StoreError> {
        let Some(manifest) = manifest_in(&self.dir)? else { return Ok(None) };
        let refuse = |why| StoreError::refused(&self.dir, why);
        if (manifest.processor.as_str(), manifest.slot) != (self.processor.as_str(), self.slot) {
            return Err(refuse(Refusal::OtherSlot { processor: manifest.processor, slot: manifest.slot }));
        }
        Ok(Some(manifest))
    }

    /// Removes files of ours that the manifest does not name. Files of others stay.
    fn remove_strays(&self) -> Result<(), StoreError> {
        for name in names(&self.dir)? {
            let named = |entry: FileEntry| {
                self.manifest
                    .iter()
                    .flat_map(|manifest| &manifest.files)
                    .any(|file| file.name() == entry.name())
            };
            let stray =
                name == manifest::TEMPORARY || FileEntry::from_name(&name).is_some_and(|entry| !named(entry));
            if stray {
                let path = self.dir.join(&name);
                self.files.remove(&path).map_err(|why| StoreError::io(&path, why))?;
            }
        }
        Ok(())
    }

    fn write_text(&self, path: &Path, text: &str) -> io::Result<()> {
        let file = self.files.open(path, Opening::Emptied)?;
        write_all_at(self.files.as_ref(), &file, text.as_bytes(), 0)?;
        if self.options.sync { self.files.sync(&file) } else { Ok(()) }
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        if !self.options.sync {
            return Ok(());
        }
        self.files.sync_directory(&self.dir).map_err(|why| StoreError::io(&self.dir, why))
    }

    fn io_of(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::io(&self.dir.join(name), source)
    }
}

/// Where the newest deltas begin that are worth merging among themselves: at least [`DELTAS_MERGED_MIN`], and
/// older ones as long as they are no heavier than all newer ones together.
fn newest_run(files: &[FileEntry]) -> usize {
    let (mut from, mut bytes) = (files.len(), 0_u64);
    for (index, file) in files.iter().enumerate().rev() {
        let taken = files.len() - from;
        if file.kind == Kind::Base || (taken >= DELTAS_MERGED_MIN && file.bytes > bytes) {
            break;
        }
        bytes = bytes.saturating_add(file.bytes);
        from = index;
    }
    from
}

/// The lock of a slot's directory, which is made; `None` = another worker has it. It ends with the file that is given,
/// however the process ends.
///
/// # Errors
/// [`StoreError::Io`].
pub fn lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join(LOCK);
    make_directories(&SystemFiles, dir, true).map_err(|why| StoreError::io(dir, why))?;
    let file = SystemFiles.open(&path, Opening::Kept);
    let file = file.map_err(|why| StoreError::io(&path, why))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(StoreError::io(&path, why)),
    }
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|why| StoreError::io(dir, why))? {
        let entry = entry.map_err(|why| StoreError::io(dir, why))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
