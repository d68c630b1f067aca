//! From a directory to a log: which segments there are, what they hold, where the last whole frame ends.
//!
//! A bad frame, or a segment that does not follow the one before, is a torn tail if nothing behind it says that it was
//! durable: then it and everything behind it was never acknowledged as durable and is dropped, with a line in the log.
//! If a frame behind it says so (every frame notes how far the log was durable when it was written), or the segment was
//! written by cleaning, it is damage: [`LogError::Corrupt`] with file and place, and nothing is changed. `meta` notes too
//! how far the log was durable when it was opened and closed and whenever a segment was begun: a log that ends before that
//! is [`LogError::Lost`].
//!
//! The newest `scan_bytes` of segments, and always the last two, are read and checked whole; older ones are taken
//! from their side-files, and their runs are checked when somebody reads them.

use super::core::Writer;
use super::format::{FORMAT, FrameFault, Head, MARK, SNAPSHOT};
use super::index::{SegmentIndex, placed};
use super::meta::Durable;
use super::segment::{
    HEADER_BYTES, SegmentHeader, SegmentScan, Step, begin_segment, corrupt, index_path, io_error,
    read_header, segment_path,
};
use super::state::{ClosedSegment, Layout, OpenSegment, State};
use super::{Options, core};
use crate::files::{Files, Opening};
use crate::log::LogError;
use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What recovery needs to know.
pub(super) struct Recovery<'a> {
    pub segments: PathBuf,
    pub options: &'a Options,
    pub files: &'a dyn Files,
    pub log_id: u64,
    /// Where it has been durable for certain.
    pub durable: Option<Durable>,
    pub read_only: bool,
}

/// What it found.
pub(super) struct Recovered {
    pub state: State,
    pub writer: Writer,
    /// Closed segments whose side-file is missing.
    pub unindexed: Vec<(Arc<ClosedSegment>, SegmentIndex)>,
    /// Which of the segments found were read, not taken from their side-files: nobody vouches for them.
    scanned: Vec<usize>,
}

/// A segment file.
struct Found {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes that count; below the file's when a torn tail is left out.
    len: u64,
    header: Result<SegmentHeader, FrameFault>,
}

/// A place from which on the log is not what it should be.
struct Fault {
    segment: usize,
    at: u64,
    why: FrameFault,
    /// Sequence of the last frame before it.
    sequence: u64,
}

/// The log as far as it has been gone through.
struct Progress {
    state: State,
    sequence: u64,
    last: u32,
    /// Whether the positions are complete.
    whole: bool,
    unindexed: Vec<(Arc<ClosedSegment>, SegmentIndex)>,
    scanned: Vec<usize>,
}

impl Recovery<'_> {
    /// Goes through the directory.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] with file and place; what the file system says.
    pub(super) fn run(&self) -> Result<Recovered, LogError> {
        let mut found = self.list()?;
        loop {
            if found.is_empty() {
                self.reaches(None)?;
                return self.begin();
            }
            match self.go_through(&found)? {
                Ok(recovered) => {
                    self.reaches(Some(&recovered.writer))?;
                    self.make_durable(&found, &recovered.scanned)?;
                    return Ok(recovered);
                }
                Err(fault) => self.drop_tail(&mut found, &fault)?,
            }
        }
    }

    /// Whether the log goes as far as it was durable once.
    ///
    /// # Errors
    /// [`LogError::Lost`] naming the file that is missing or too short.
    fn reaches(&self, end: Option<&Writer>) -> Result<(), LogError> {
        let Some(durable) = self.durable else { return Ok(()) };
        let left = end.map_or(0, |writer| writer.sequence);
        if left >= durable.sequence {
            return Ok(());
        }
        let newest = segment_path(&self.segments, durable.segment);
        let what = if end.is_some_and(|writer| writer.segment >= durable.segment) {
            "ends before"
        } else {
            "is gone with"
        };
        Err(LogError::Lost(format!(
            "{} {what} commit {}, which was durable; what is left ends with commit {left}",
            newest.display(),
            durable.sequence
        )))
    }

    /// Segment files in order, without what a crash of cleaning left behind.
    fn list(&self) -> Result<Vec<Found>, LogError> {
        let entries =
            fs::read_dir(&self.segments).map_err(|error| io_error("list", &self.segments, &error))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| io_error("list", &self.segments, &error))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("seg") => paths.push(path),
                Some("tmp" | "new") => self.remove(&path)?,
                _ => {}
            }
        }
        paths.sort_unstable();
        let mut found: Vec<Found> = Vec::with_capacity(paths.len());
        let mut covered = 0;
        for path in paths {
            let segment = self.open_segment(path)?;
            let name =
                segment.path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if name.is_some_and(|number: u32| number <= covered) {
                self.remove(&segment.path)?;
                self.remove(&index_path(&segment.path))?;
                continue;
            }
            if let Ok(header) = segment.header {
                covered = if header.cleaned.is_some() { header.last } else { 0 };
            }
            found.push(segment);
        }
        Ok(found)
    }

    fn open_segment(&self, path: PathBuf) -> Result<Found, LogError> {
        let file = match self.read_only {
            true => File::open(&path),
            false => self.files.open(&path, Opening::Existing),
        };
        let file = file.map_err(|error| io_error("open", &path, &error))?;
        let len = file.metadata().map_err(|error| io_error("read", &path, &error))?.len();
        let header = match read_header(&path, &file)? {
            Err(FrameFault::Version(version)) => {
                let why =
                    format_args!("segment format version {version} is not known, this build knows {FORMAT}");
                return Err(corrupt(&path, 0, why));
            }
            header => header,
        };
        Ok(Found { path, file: Arc::new(file), len, header })
    }

    fn remove(&self, path: &Path) -> Result<(), LogError> {
        if self.read_only {
            return Ok(());
        }
        match self.files.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", path, &error))
            }
            _ => Ok(()),
        }
    }

    /// The first segment of a new log.
    fn begin(&self) -> Result<Recovered, LogError> {
        if self.read_only {
            return Err(LogError::Io(format!("{} holds no segment", self.segments.display())));
        }
        let path = segment_path(&self.segments, 1);
        let header = SegmentHeader { log_id: self.log_id, first: 1, last: 1, base: 0, cleaned: None };
        let nothing = File::open(&self.segments).map_err(|error| io_error("open", &self.segments, &error))?;
        let open = OpenSegment { header, path: path.clone(), file: Arc::new(nothing) };
        let mut state = self.empty_state(open);
        let frame = core::snapshot(&state, self.log_id, 1, 0)?;
        let file = begin_segment(self.files, &path, &header, &frame.bytes);
        let file = Arc::new(file.map_err(|error| io_error("begin segment", &path, &error))?);
        self.files.sync(&file).map_err(|error| io_error("sync", &path, &error))?;
        self.files
            .sync_directory(&self.segments)
            .map_err(|error| io_error("sync", &self.segments, &error))?;
        let open = OpenSegment { header, path, file };
        state.adopt_open(open.clone(), &SegmentIndex::default());
        let len = (HEADER_BYTES + frame.bytes.len()) as u64;
        Ok(Recovered {
            state,
            writer: writer(&open, len, 1, false),
            unindexed: Vec::new(),
            scanned: Vec::new(),
        })
    }

    fn empty_state(&self, open: OpenSegment) -> State {
        State::new(Layout::new(self.options.counts), open, self.options.tail_cache_bytes)
    }

    fn go_through(&self, found: &[Found]) -> Result<Result<Recovered, Fault>, LogError> {
        let Some(newest) = found.last() else { return self.begin().map(Ok) };
        let header = SegmentHeader { log_id: self.log_id, first: 0, last: 0, base: 0, cleaned: None };
        let open = OpenSegment { header, path: newest.path.clone(), file: Arc::clone(&newest.file) };
        let state = self.empty_state(open);
        let (unindexed, scanned) = (Vec::new(), Vec::new());
        let mut progress = Progress { state, sequence: 0, last: 0, whole: true, unindexed, scanned };
        let scan_from = self.scan_from(found);
        let mut recovered = None;
        for (number, segment) in found.iter().enumerate() {
            let fault = |at, why| Fault { segment: number, at, why, sequence: progress.sequence };
            let header = match &segment.header {
                Ok(header) => *header,
                Err(why) => return Ok(Err(fault(0, why.clone()))),
            };
            if let Err(gap) = self.check_place(segment, &header, &progress)? {
                return Ok(Err(fault(0, gap)));
            }
            let newest = number + 1 == found.len();
            let stored = (number < scan_from)
                .then(|| SegmentIndex::stored(&segment.path, &header, segment.len))
                .flatten();
            match stored {
                Some((index, last)) => progress.take_stored(segment, header, &index, last),
                None => match self.scan(segment, header, newest, &mut progress)? {
                    Ok(used) => {
                        progress.scanned.push(number);
                        recovered = Some((header, used));
                    }
                    Err((at, why)) => {
                        let sequence = progress.sequence;
                        return Ok(Err(Fault { segment: number, at, why, sequence }));
                    }
                },
            }
        }
        let Some((header, used)) = recovered.filter(|_| progress.whole) else {
            return Err(corrupt(&newest.path, 0, "no snapshot of the positions is left"));
        };
        let open = OpenSegment { header, path: newest.path.clone(), file: Arc::clone(&newest.file) };
        let writer = writer(&open, newest.len, progress.sequence, used);
        let Progress { state, unindexed, scanned, .. } = progress;
        Ok(Ok(Recovered { state, writer, unindexed, scanned }))
    }

    /// From which segment on everything is read and checked.
    fn scan_from(&self, found: &[Found]) -> usize {
        let mut bytes = 0;
        let mut from = found.len().saturating_sub(2);
        for (number, segment) in found.iter().enumerate().rev() {
            bytes += segment.len;
            if bytes > self.options.scan_bytes {
                break;
            }
            from = from.min(number);
        }
        from
    }

    /// Whether a segment follows what has been gone through. The inner error is a gap: a power cut may take the end of a
    /// segment, or its name, and leave the next one, which was begun before either was synced.
    fn check_place(
        &self,
        segment: &Found,
        header: &SegmentHeader,
        so_far: &Progress,
    ) -> Result<Result<(), FrameFault>, LogError> {
        if header.log_id != self.log_id {
            return Err(corrupt(&segment.path, 0, "the segment is another log's"));
        }
        let due = so_far.last + 1;
        let why = format!("segment {} where {due} is due", header.first);
        if header.first < due || segment.path != segment_path(&self.segments, header.first) {
            return Err(corrupt(&segment.path, 0, why));
        }
        if header.first > due {
            return Ok(Err(FrameFault::Gap(why)));
        }
        let why = format!("it begins after commit {} where {} is due", header.base, so_far.sequence);
        match header.base.cmp(&so_far.sequence) {
            Ordering::Less => Err(corrupt(&segment.path, 0, why)),
            Ordering::Equal => Ok(Ok(())),
            Ordering::Greater => Ok(Err(FrameFault::Gap(why))),
        }
    }

    /// Reads and checks a segment. The inner error is the place and the reason of a bad frame; else whether it
    /// holds more than its snapshot.
    fn scan(
        &self,
        segment: &Found,
        header: SegmentHeader,
        newest: bool,
        progress: &mut Progress,
    ) -> Result<Result<bool, (u64, FrameFault)>, LogError> {
        let mut scan = SegmentScan::new(&segment.path, &segment.file, segment.len, &header);
        let mut runs = Vec::new();
        let mut used = false;
        if header.cleaned.is_some() {
            progress.whole = false;
        }
        let mut begun = header.cleaned.is_some();
        loop {
            match scan.step()? {
                Step::Frame(at, head) if !begun && head.flags & SNAPSHOT == 0 => {
                    return Ok(Err((at, FrameFault::Content("the segment does not begin with a snapshot"))));
                }
                Step::Frame(at, head) => {
                    begun = true;
                    used |= head.flags & (SNAPSHOT | MARK) == 0;
                    runs.extend(placed(at, &head.runs));
                    let gaps = header.cleaned.is_some();
                    progress.take_frame(head, gaps).map_err(|why| corrupt(&segment.path, at, why))?;
                }
                Step::End if !begun => return Ok(Err((HEADER_BYTES as u64, FrameFault::Short))),
                Step::End => break,
                Step::Bad(at, FrameFault::Version(version)) => {
                    return Err(corrupt(&segment.path, at, FrameFault::Version(version)));
                }
                Step::Bad(at, why) => return Ok(Err((at, why))),
            }
        }
        progress.take_scanned(segment, header, SegmentIndex::new(runs), newest);
        Ok(Ok(used))
    }

    /// Drops an unsynced tail, or refuses to.
    fn drop_tail(&self, found: &mut Vec<Found>, fault: &Fault) -> Result<(), LogError> {
        let mut claim = None;
        let mut whole_once = false;
        for (number, segment) in found.iter().enumerate().skip(fault.segment) {
            let header =
                SegmentHeader { log_id: self.log_id, first: 0, last: 0, base: fault.sequence, cleaned: None };
            let mut scan = SegmentScan::new(&segment.path, &segment.file, segment.len, &header);
            let from = if number == fault.segment { fault.at } else { 0 };
            claim = claim.max(scan.durable_claim_after(from)?);
            whole_once |= segment.header.as_ref().is_ok_and(|header| {
                header.cleaned.is_some() || SegmentIndex::stored(&segment.path, header, segment.len).is_some()
            });
        }
        let Some(bad) = found.get(fault.segment) else { return Ok(()) };
        let noted = self.durable.map(|durable| durable.sequence);
        // Cleaning and side-files come only after a sync.
        if whole_once || claim.max(noted).is_some_and(|durable| durable > fault.sequence) {
            return Err(corrupt(&bad.path, fault.at, &fault.why));
        }
        let dropped = found.iter().skip(fault.segment).map(|segment| segment.len).sum::<u64>() - fault.at;
        tracing::warn!(
            file = %bad.path.display(), at = fault.at, dropped_bytes = dropped, last_commit = fault.sequence,
            why = %fault.why, "a torn tail that was never durable is dropped"
        );
        for segment in found.drain(fault.segment + 1..).rev() {
            self.remove(&segment.path)?;
        }
        // Without its snapshot a segment is of no use.
        if fault.at <= HEADER_BYTES as u64 {
            if let Some(segment) = found.pop() {
                self.remove(&segment.path)?;
            }
        } else if let Some(segment) = found.last_mut() {
            segment.len = fault.at;
            if !self.read_only {
                self.files
                    .truncate(&segment.file, fault.at)
                    .map_err(|error| io_error("truncate", &segment.path, &error))?;
            }
        }
        Ok(())
    }

    /// What is taken for true from here on has to survive a crash: a process that was killed has left bytes in memory only.
    fn make_durable(&self, found: &[Found], scanned: &[usize]) -> Result<(), LogError> {
        if self.read_only {
            return Ok(());
        }
        for segment in scanned.iter().filter_map(|number| found.get(*number)) {
            self.files.sync(&segment.file).map_err(|error| io_error("sync", &segment.path, &error))?;
        }
        let synced = self.files.sync_directory(&self.segments);
        synced.map_err(|error| io_error("sync", &self.segments, &error))
    }
}

impl Progress {
    fn take_stored(&mut self, segment: &Found, header: SegmentHeader, index: &SegmentIndex, last: u64) {
        self.whole = false;
        self.sequence = header.cleaned.map_or(last, |(end, _)| end);
        self.last = header.last;
        let closed = closed(segment, header, self.sequence);
        self.state.add_segment(Arc::new(closed), index);
    }

    fn take_frame(&mut self, head: Head, gaps: bool) -> Result<(), String> {
        if head.flags & SNAPSHOT != 0 {
            self.state.clear_positions();
            self.whole = true;
        }
        self.state.raise_bounds(&head.bounds).map_err(|error| error.to_string())?;
        head.runs.iter().try_for_each(|(of, run)| self.state.advance(*of, run, gaps))?;
        self.state.put_positions(head.positions);
        self.sequence = head.sequence;
        Ok(())
    }

    fn take_scanned(&mut self, segment: &Found, header: SegmentHeader, index: SegmentIndex, newest: bool) {
        self.last = header.last;
        if let Some((end, _)) = header.cleaned {
            self.sequence = end;
        }
        if newest {
            let (path, file) = (segment.path.clone(), Arc::clone(&segment.file));
            self.state.adopt_open(OpenSegment { header, path, file }, &index);
            return;
        }
        let closed = Arc::new(closed(segment, header, self.sequence));
        self.state.add_segment(Arc::clone(&closed), &index);
        if SegmentIndex::stored(&segment.path, &header, segment.len).is_none() {
            self.unindexed.push((closed, index));
        }
    }
}

fn closed(segment: &Found, header: SegmentHeader, last_sequence: u64) -> ClosedSegment {
    ClosedSegment { header, path: segment.path.clone(), bytes: segment.len, last_sequence }
}

fn writer(open: &OpenSegment, len: u64, sequence: u64, used: bool) -> Writer {
    Writer {
        file: Arc::clone(&open.file),
        path: open.path.clone(),
        segment: open.header.last,
        len,
        sequence,
        used,
        unsynced: Vec::new(),
        names_changed: false,
    }
}
