//! Retention: records below the low watermark leave the disk by rewriting closed segments without them.
//!
//! Phases: a frame raises the low watermarks -> sync -> plan -> per rewriting: write `.tmp`, sync, rename over the
//! first of the segments it stands for, sync the directory, remove the others. A crash at any step leaves the
//! old files or the new one; what a new one covers is removed at the next opening. Offsets stay as they are. Topics
//! kept for ever lose nothing but what an archive holds ([`Given::Archived`]): their runs are copied byte for byte. Positions
//! are not copied: the open segment begins with a durable snapshot of all of them before any older segment is rewritten.
//!
//! Runs on the log's own thread; commits and readers are held up only while a file changes its name.

use super::core::{Core, NotWritten};
use super::format::{Bounds, Draft, Head, Run, Sealed};
use super::index::{SegmentIndex, placed};
use super::segment::{SegmentHeader, SegmentScan, Step, corrupt, index_path, io_error, segment_path};
use super::state::ClosedSegment;
use crate::faults;
use crate::files::{Opening, write_all_at};
use crate::log::{LogError, Offset, TopicPartition};
use crate::mutex::lock;
use schemas::topics::Retention;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;
/// Small neighbours that are put together although nothing in them is to be dropped.
const MERGED_MIN: usize = 8;

/// Work for the log's own thread.
pub(super) enum Chore {
    /// Write the side-file of a segment.
    Index(Arc<ClosedSegment>, SegmentIndex),
    /// Rewrite what is worth it.
    Clean(SyncSender<Result<CleanReport, LogError>>),
    /// End.
    Stop,
}

/// What cleaning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanReport {
    /// Segments rewritten or put together.
    pub segments: u64,
    /// Bytes they had.
    pub bytes_before: u64,
    /// Bytes that are left of them.
    pub bytes_after: u64,
}

/// A cleaning under way.
#[derive(Debug)]
pub struct Cleaning {
    report: Receiver<Result<CleanReport, LogError>>,
}

impl Cleaning {
    /// Waits for its end.
    ///
    /// # Errors
    /// [`LogError::Io`] (disk full included: everything is then as before), [`LogError::Corrupt`] when a segment to
    /// be rewritten is damaged, [`LogError::Retriable`] when the log was closed meanwhile.
    pub fn wait(self) -> Result<CleanReport, LogError> {
        let closed = |_| LogError::Retriable("the log was closed before cleaning ended".to_owned());
        self.report.recv().map_err(closed)?
    }
}

/// What is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Records that every reader has passed; topics kept for ever are left out.
    Passed,
    /// Records that an archive holds, of any topic.
    Archived,
}

/// Raises low watermarks and asks for the rewriting.
///
/// # Errors
/// Unknown partition; the frame that says so was not written.
pub(super) fn start(
    core: &Core,
    below: &[(TopicPartition, Offset)],
    given: Given,
) -> Result<Cleaning, LogError> {
    core.check_writable()?;
    let mut raised = Vec::new();
    for (of, offset) in below {
        let bounds = lock(&core.state).bounds(*of)?;
        let low = (*offset).min(bounds.next);
        let may_go = given == Given::Archived || of.topic.retention() != Retention::Forever;
        if may_go && low > bounds.low {
            raised.push((*of, Bounds { low, next: bounds.next }));
        }
    }
    if !raised.is_empty() {
        core.write(&[], Vec::new(), &raised, || Ok(())).map_err(NotWritten::into_error)?;
    }
    let (sender, report) = sync_channel(1);
    let closed = |_| LogError::Io(format!("{} is closed", core.root.display()));
    core.chores.send(Chore::Clean(sender)).map_err(closed)?;
    Ok(Cleaning { report })
}

/// Body of the log's own thread.
pub(super) fn keep_house(core: &Core, chores: &Receiver<Chore>) {
    faults::name_thread("log");
    while let Ok(chore) = chores.recv() {
        match chore {
            Chore::Index(segment, index) => {
                if let Err(error) = store_index(core, &segment, &index) {
                    tracing::warn!(%error, "a side-file was not written; it is built again when it is needed");
                }
            }
            Chore::Clean(report) => {
                // Nobody may be waiting for the answer.
                let _ = report.send(clean(core));
            }
            Chore::Stop => return,
        }
    }
}

/// A side-file must not speak for a segment that a crash may still tear.
fn store_index(core: &Core, segment: &ClosedSegment, index: &SegmentIndex) -> Result<(), LogError> {
    let _nobody_replaces_it = lock(&core.maintenance);
    core.sync_closed()?;
    if !lock(&core.state).segments().any(|held| held.header == segment.header) {
        return Ok(());
    }
    index
        .store(core.files.as_ref(), &segment.path, &segment.header, segment.bytes, segment.last_sequence)
        .map_err(|error| io_error("write", &index_path(&segment.path), &error))
}

/// A closed segment with what would be left of it.
struct Candidate {
    segment: Arc<ClosedSegment>,
    left: u64,
    worth: bool,
}

fn clean(core: &Core) -> Result<CleanReport, LogError> {
    let _nobody_copies = lock(&core.maintenance);
    let (segments, reclaimable, lows): (Vec<Arc<ClosedSegment>>, _, _) = {
        let state = lock(&core.state);
        let lows = state.all_bounds().into_iter().map(|(of, bounds)| (of, bounds.low)).collect();
        (state.segments().map(Arc::clone).collect(), state.reclaimable(), lows)
    };
    // From here on these watermarks are durable, and so is the snapshot in a segment newer than all of these.
    let synced = core.sync()?;
    let plan = Plan { core, lows, synced };
    let mut report = CleanReport::default();
    let mut batch: Vec<Candidate> = Vec::new();
    for segment in segments {
        let candidate = match reclaimable.contains(&segment.header.first) {
            true => plan.weigh(segment)?,
            false => Candidate { left: segment.bytes, segment, worth: false },
        };
        let small = candidate.left <= core.options.segment_bytes / 2;
        let room =
            batch.iter().map(|held| held.left).sum::<u64>() + candidate.left <= core.options.segment_bytes;
        if !(room && (small || candidate.worth)) {
            plan.rewrite(std::mem::take(&mut batch), &mut report)?;
        }
        if small || candidate.worth {
            batch.push(candidate);
        }
    }
    plan.rewrite(batch, &mut report)?;
    Ok(report)
}

/// What one cleaning goes by.
struct Plan<'a> {
    core: &'a Core,
    lows: BTreeMap<TopicPartition, Offset>,
    /// Sequence that was durable when it began.
    synced: u64,
}

impl Plan<'_> {
    fn wanted(&self, of: TopicPartition, run: &Run) -> bool {
        self.lows.get(&of).is_none_or(|low| run.next() > *low)
    }

    fn weigh(&self, segment: Arc<ClosedSegment>) -> Result<Candidate, LogError> {
        let index = match SegmentIndex::stored(&segment.path, &segment.header, segment.bytes) {
            Some((index, _)) => index,
            None => {
                let file = open(&segment.path)?;
                SegmentIndex::scanned(&segment.path, &file, segment.bytes, &segment.header)?.0
            }
        };
        let bytes = |wanted: bool| -> u64 {
            let runs = index.runs().iter().filter(|(of, run)| self.wanted(*of, run) == wanted);
            runs.map(|(_, run)| u64::from(run.len)).sum()
        };
        let (kept, dropped) = (bytes(true), bytes(false));
        // Heads of frames go with their runs.
        let left = segment.bytes.saturating_mul(kept) / (kept + dropped).max(1);
        let saved = (segment.bytes - left).saturating_mul(100);
        let worth = dropped > 0 && saved >= segment.bytes.saturating_mul(self.core.options.clean_percent);
        Ok(Candidate { left, segment, worth })
    }

    fn rewrite(&self, batch: Vec<Candidate>, report: &mut CleanReport) -> Result<(), LogError> {
        if !(batch.iter().any(|candidate| candidate.worth) || batch.len() >= MERGED_MIN) {
            return Ok(());
        }
        self.core.check_writable()?;
        let sources: Vec<Arc<ClosedSegment>> = batch.into_iter().map(|candidate| candidate.segment).collect();
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return Ok(()) };
        let before = sources.iter().map(|source| source.header.rewriting() + 1).max().unwrap_or(0);
        let header = SegmentHeader {
            log_id: self.core.log_id,
            first: first.header.first,
            last: last.header.last,
            base: first.header.base,
            cleaned: Some((last.last_sequence, self.synced.max(before))),
        };
        let temporary = segment_path(&self.core.segments(), header.first).with_extension("tmp");
        let (bytes, index) = match self.write_kept(&sources, &header, &temporary) {
            Ok(written) => written,
            Err(error) => {
                // The next opening removes it, if this does not.
                let _ = self.core.files.remove(&temporary);
                return Err(error);
            }
        };
        report.segments += sources.len() as u64;
        report.bytes_before += sources.iter().map(|source| source.bytes).sum::<u64>();
        report.bytes_after += bytes;
        put_in_place(self.core, &sources, &header, (&temporary, bytes), &index)
    }

    /// Writes what is wanted of the sources to a new file and syncs it.
    fn write_kept(
        &self,
        sources: &[Arc<ClosedSegment>],
        header: &SegmentHeader,
        path: &Path,
    ) -> Result<(u64, SegmentIndex), LogError> {
        let file = self.core.files.open(path, Opening::Emptied);
        let file = file.map_err(|error| io_error("create", path, &error))?;
        let bytes = header.encode();
        let mut out = Output { core: self.core, path, file, bytes, written: 0, runs: Vec::new() };
        for source in sources {
            let from = open(&source.path)?;
            let mut scan = SegmentScan::new(&source.path, &from, source.bytes, &source.header);
            loop {
                self.core.check_alive()?;
                match scan.step()? {
                    Step::Frame(at, head) => {
                        if let Some(frame) = self.kept(source, &mut scan, at, &head)? {
                            out.put(&frame)?;
                        }
                    }
                    Step::End => break,
                    Step::Bad(at, fault) => return Err(corrupt(&source.path, at, fault)),
                }
            }
        }
        out.finish()
    }

    /// A frame with those of its runs that are wanted, if there are any.
    fn kept(
        &self,
        source: &ClosedSegment,
        scan: &mut SegmentScan<'_>,
        at: u64,
        head: &Head,
    ) -> Result<Option<Sealed>, LogError> {
        let kept: Vec<_> = head.runs.iter().filter(|(of, run)| self.wanted(*of, run)).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let body = kept.iter().map(|(_, run)| run.len as usize).sum();
        let mut draft = Draft::for_copies(kept.len(), body, head.wall_us);
        for (of, run) in kept {
            let bytes = scan.bytes(at + u64::from(run.at), run.len as usize)?;
            draft.copy_run(*of, *run, bytes.ok_or_else(|| corrupt(&source.path, at, "cut short"))?);
        }
        Ok(Some(draft.seal(self.core.log_id, head.sequence, head.durable, |_, run| run.first)))
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    File::open(path).map_err(|error| io_error("open", path, &error))
}

/// A file being written.
struct Output<'a> {
    core: &'a Core,
    path: &'a Path,
    file: File,
    /// Gathered, not yet written.
    bytes: Vec<u8>,
    written: u64,
    runs: Vec<(TopicPartition, Run)>,
}

impl Output<'_> {
    fn put(&mut self, frame: &Sealed) -> Result<(), LogError> {
        let at = self.written + self.bytes.len() as u64;
        self.runs.extend(placed(at, &frame.runs));
        self.bytes.extend_from_slice(&frame.bytes);
        match self.bytes.len() >= GATHERED_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        write_all_at(self.core.files.as_ref(), &self.file, &self.bytes, self.written)
            .map_err(|error| io_error("write", self.path, &error))?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, SegmentIndex), LogError> {
        self.flush()?;
        self.core.files.sync(&self.file).map_err(|error| io_error("sync", self.path, &error))?;
        Ok((self.written, SegmentIndex::new(self.runs)))
    }
}

fn put_in_place(
    core: &Core,
    sources: &[Arc<ClosedSegment>],
    header: &SegmentHeader,
    (temporary, bytes): (&Path, u64),
    index: &SegmentIndex,
) -> Result<(), LogError> {
    let files = core.files.as_ref();
    let path = segment_path(&core.segments(), header.first);
    let last_sequence = sources.last().map_or(0, |source| source.last_sequence);
    let segment = Arc::new(ClosedSegment { header: *header, path: path.clone(), bytes, last_sequence });
    core.pass(faults::EMBEDDED_CLEAN_BEFORE_DELETE)?;
    {
        let mut state = lock(&core.state);
        files.rename(temporary, &path).map_err(|error| io_error("rename", temporary, &error))?;
        state.replace_segments(Arc::clone(&segment), index);
    }
    // The new name has to be durable before the files go that it stands for.
    files.sync_directory(&core.segments()).map_err(|error| io_error("sync", &core.segments(), &error))?;
    // The rename has removed the first of them already.
    core.pass(faults::EMBEDDED_CLEAN_AFTER_DELETE)?;
    let gone: Vec<PathBuf> = sources.iter().skip(1).map(|source| source.path.clone()).collect();
    for path in gone {
        files.remove(&path).map_err(|error| io_error("remove", &path, &error))?;
        // A side-file without its segment is not looked at.
        let _ = files.remove(&index_path(&path));
        core.pass(faults::EMBEDDED_CLEAN_AFTER_DELETE)?;
    }
    index
        .store(files, &path, header, bytes, last_sequence)
        .map_err(|error| io_error("write", &index_path(&path), &error))
}
