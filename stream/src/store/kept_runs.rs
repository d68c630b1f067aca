//! Runs of a slot in its directory: written with a checkpoint, merged, opened. The manifest names them as it names the
//! files of pairs.

use super::manifest::{FileEntry, Kind};
use super::runs::{self, ClosedRuns, Damaged, Failed, RowKey, Run, Shape, Source, merged};
use super::{Refusal, Store, StoreError, faults};
use crate::files::FileWriter;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes gathered before they are written.
const GATHERED_BYTES: usize = 1 << 18;

impl Store {
    /// Hands every row of the open runs to `put`, of rows with one key the newest only, and opens the closed runs.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_runs(
        &mut self,
        mut put: impl FnMut(&RowKey, &[u8]) -> Result<(), String>,
    ) -> Result<ClosedRuns, StoreError> {
        self.latest()?;
        let mut open = Vec::new();
        for entry in self.runs(Kind::Open) {
            open.push(self.open_run(entry, false)?);
        }
        let refuse = |why| StoreError::refused(&self.dir, why);
        merged(&open.iter().map(|run| &**run).collect::<Vec<_>>(), |key, value, _| {
            put(key, value).map_err(Refusal::Pair)
        })
        .map_err(refuse)?;
        self.closed_runs(0)
    }

    /// The closed runs, oldest first. Those that were open stay open.
    pub(super) fn closed_runs(&mut self, closed: u64) -> Result<ClosedRuns, StoreError> {
        let entries = self.runs(Kind::Closed);
        let mut runs = Vec::with_capacity(entries.len());
        for entry in &entries {
            let known = self.opened.get(&entry.number);
            let run = match known.and_then(|(run, _)| run.upgrade()) {
                Some(run) => run,
                // One that was known, and is not held any more, is held without its filter.
                None => self.open_run(*entry, known.is_none())?,
            };
            self.opened.insert(entry.number, (Arc::downgrade(&run), run.ages().1));
            runs.push(run);
        }
        self.opened.retain(|number, _| entries.iter().any(|entry| entry.number == *number));
        Ok(ClosedRuns { runs, closed })
    }

    fn runs(&self, kind: Kind) -> Vec<FileEntry> {
        let files = self.manifest.iter().flat_map(|manifest| &manifest.files);
        files.filter(|file| file.kind == kind).copied().collect()
    }

    fn open_run(&self, entry: FileEntry, filtered: bool) -> Result<Arc<Run>, StoreError> {
        let name = entry.name();
        let path = self.dir.join(&name);
        let file = match File::open(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::refused(&self.dir, Refusal::Missing { file: name }));
            }
            opened => opened.map_err(|why| StoreError::io(&path, why))?,
        };
        let found = file.metadata().map_err(|why| StoreError::io(&path, why))?.len();
        if found != entry.bytes {
            let why = Refusal::Size { file: name, expected: entry.bytes, found };
            return Err(StoreError::refused(&self.dir, why));
        }
        let damaged = |why: Damaged| StoreError::refused(&self.dir, Refusal::Run { file: entry.name(), why });
        let run = Run::open(Source::File(file), filtered).map_err(damaged)?;
        if run.rows() != entry.pairs {
            return Err(damaged(Damaged::Other("it holds another number of rows".to_owned())));
        }
        Ok(Arc::new(run))
    }

    /// Writes what is not written yet as runs, behind those there are; merges the open ones where a page is full, or
    /// where they are many.
    pub(super) fn write_runs(&mut self, files: &mut Vec<FileEntry>) -> Result<(), StoreError> {
        for run in &self.unwritten_rows.carried {
            let entry = FileEntry::new(Kind::Closed, self.number_next);
            self.number_next = self.number_next.saturating_add(1);
            let path = self.dir.join(entry.name());
            let file = FileWriter::create(&self.files, &path).map_err(|why| StoreError::io(&path, why))?;
            let mut to = io::BufWriter::with_capacity(GATHERED_BYTES, file);
            run.copy_to(&mut to).map_err(|why| StoreError::io(&path, why))?;
            let file = to.into_inner().map_err(|why| StoreError::io(&path, why.into_error()))?;
            files.push(self.finished(entry, &file, run.shape(), run.checksum())?);
        }
        if !self.unwritten_rows.is_empty() {
            let entry = self.take_number(Kind::Open);
            let path = self.dir.join(entry.name());
            let written = self.unwritten_rows.write(|| FileWriter::create(&self.files, &path));
            if let Some((file, shape, crc)) = written.map_err(|why| StoreError::io(&path, why))? {
                files.push(self.finished(entry, &file, shape, crc)?);
            }
        }
        let open: Vec<FileEntry> = files.iter().filter(|file| file.kind == Kind::Open).copied().collect();
        let closes = self.unwritten_rows.closes > 0;
        if !open.is_empty() && (closes || open.len() > runs::OPEN_MAX) {
            let merged = self.merge_runs(&open, if closes { Kind::Closed } else { Kind::Open })?;
            files.retain(|file| file.kind != Kind::Open);
            files.push(merged);
        }
        Ok(())
    }

    /// Drops closed runs that hold nothing of an age from `before` on.
    pub(super) fn drop_gone(&mut self, before: u64) -> Result<bool, StoreError> {
        let gone = |file: &FileEntry| {
            file.kind == Kind::Closed
                && self.opened.get(&file.number).is_some_and(|(_, newest)| *newest < before)
        };
        let Some(manifest) = &self.manifest else { return Ok(false) };
        let left: Vec<FileEntry> = manifest.files.iter().filter(|file| !gone(file)).copied().collect();
        if left.len() == manifest.files.len() {
            return Ok(false);
        }
        self.replace_manifest(manifest.label.clone(), left)?;
        Ok(true)
    }

    /// Merges the newest closed runs, where they are of one size and enough of them. The bytes written, if there were.
    pub(super) fn merge_closed(&mut self) -> Result<Option<u64>, StoreError> {
        let closed = self.runs(Kind::Closed);
        let rows: Vec<u64> = closed.iter().map(|run| run.pairs).collect();
        let Some((manifest, from)) = self.manifest.as_ref().zip(runs::worth_merging(&rows)) else {
            return Ok(None);
        };
        let (label, mut files) = (manifest.label.clone(), manifest.files.clone());
        let sources = closed.get(from..).unwrap_or_default();
        let merged = self.merge_runs(sources, Kind::Closed)?;
        faults::hit(faults::CHECKPOINT_AFTER_MERGE)?;
        // Where the first of them stood: older ones stand before, open ones are newer than all.
        let at = files.iter().position(|file| sources.first() == Some(file)).unwrap_or(files.len());
        files.insert(at, merged);
        files.retain(|file| !sources.contains(file));
        self.replace_manifest(label, files)?;
        Ok(Some(merged.bytes))
    }

    fn merge_runs(&mut self, sources: &[FileEntry], kind: Kind) -> Result<FileEntry, StoreError> {
        let mut opened = Vec::with_capacity(sources.len());
        for entry in sources {
            opened.push(self.open_run(*entry, false)?);
        }
        let runs: Vec<&Run> = opened.iter().map(|run| &**run).collect();
        let entry = self.take_number(kind);
        let path = self.dir.join(entry.name());
        let file = FileWriter::create(&self.files, &path).map_err(|why| StoreError::io(&path, why))?;
        let (file, shape, crc) = match runs::merge(&runs, io::BufWriter::with_capacity(GATHERED_BYTES, file))
        {
            Ok((to, shape, crc)) => {
                (to.into_inner().map_err(|why| StoreError::io(&path, why.into_error()))?, shape, crc)
            }
            Err(Failed::Io(why)) => return Err(StoreError::io(&path, why)),
            Err(Failed::Damaged(why)) => {
                return Err(StoreError::refused(&self.dir, Refusal::Run { file: "a run".to_owned(), why }));
            }
        };
        self.finished(entry, &file, shape, crc)
    }

    /// A run that is written: on the disk, and what the manifest says of it.
    fn finished(
        &self,
        entry: FileEntry,
        file: &FileWriter,
        shape: Shape,
        crc: u32,
    ) -> Result<FileEntry, StoreError> {
        let io = |why| self.io_of(&entry.name(), why);
        if self.options.sync {
            file.sync().map_err(io)?;
        }
        Ok(FileEntry { bytes: file.bytes(), crc, pairs: shape.rows, ..entry })
    }
}
