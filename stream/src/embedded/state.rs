//! What readers see: bounds of partitions, where runs are, the newest frames in memory, committed positions.
//!
//! One mutex guards it; it is held for look-ups and for publishing a written frame, never during input or output.
//! Memory: the tail cache is bounded in bytes, and so are the buffers it has given up ([`SPARE_BYTES_MAX`]); each run
//! of the open segment takes 32 bytes; each partition of a closed segment 24 bytes; rows of closed segments are read
//! from their side-files and [`LOADED_MAX`] are kept.

use super::format::{Bounds, GroupPosition, Run, Sealed};
use super::index::{SegmentIndex, placed};
use super::segment::SegmentHeader;
use crate::log::{LogError, Offset, Position, TopicPartition};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Closed segments whose index and file are kept open.
const LOADED_MAX: usize = 8;
/// Bytes of memory kept for frames to come, in at most [`SPARE_MAX`] pieces.
const SPARE_BYTES_MAX: usize = 16 << 20;
/// Pieces of memory kept for frames to come.
const SPARE_MAX: usize = 16;
/// What a cached run costs beside its bytes, counted against the cache's bound.
const CACHED_RUN_BYTES: usize = 128;

/// Numbers every partition of every topic from 0.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    counts: PartitionCounts,
    first: Vec<usize>,
    total: usize,
}

impl Layout {
    pub(super) fn new(counts: PartitionCounts) -> Self {
        let mut first = Vec::with_capacity(Topic::ALL.len());
        let mut total = 0;
        for topic in Topic::ALL {
            first.push(total);
            total += topic.partition_count(counts) as usize;
        }
        Self { counts, first, total }
    }

    pub(super) fn counts(&self) -> PartitionCounts {
        self.counts
    }

    /// # Errors
    /// There is no such partition.
    pub(super) fn place(&self, of: TopicPartition) -> Result<usize, LogError> {
        if of.partition >= of.topic.partition_count(self.counts) {
            return Err(LogError::UnknownPartition(of));
        }
        let first = self.first.get(usize::from(of.topic.index()));
        first.map(|first| first + of.partition as usize).ok_or(LogError::UnknownPartition(of))
    }

    /// Every partition, in order.
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        Topic::ALL.iter().flat_map(|topic| {
            (0..topic.partition_count(self.counts)).map(|number| TopicPartition::new(*topic, number))
        })
    }
}

/// A run with its bytes.
#[derive(Debug, Clone)]
pub(super) struct CachedRun {
    pub run: Run,
    pub bytes: Bytes,
}

/// A frame in the tail cache.
#[derive(Debug)]
struct CachedFrame {
    /// Bytes counted against the cache's bound.
    counted: usize,
    /// Partitions that have a run of it.
    places: Vec<usize>,
    bytes: Bytes,
}

/// Offsets of one partition in one closed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: Offset,
    next: Offset,
    segment: u32,
}

#[derive(Debug, Default)]
struct Partition {
    low: Offset,
    next: Offset,
    /// The newest runs, in memory.
    tail: VecDeque<CachedRun>,
    /// Runs of the open segment.
    open: Vec<Run>,
    /// Closed segments that hold records of this partition, ascending.
    spans: Vec<Span>,
}

/// A closed segment.
#[derive(Debug, Clone)]
pub(super) struct ClosedSegment {
    pub header: SegmentHeader,
    pub path: PathBuf,
    pub bytes: u64,
    /// Sequence of its last frame.
    pub last_sequence: u64,
}

/// A closed segment with file and index at hand.
#[derive(Debug)]
pub(super) struct LoadedSegment {
    pub file: File,
    pub index: SegmentIndex,
}

/// The segment that takes new frames.
#[derive(Debug, Clone)]
pub(super) struct OpenSegment {
    pub header: SegmentHeader,
    pub path: PathBuf,
    pub file: Arc<File>,
}

/// Where the run with an offset is.
#[derive(Debug)]
pub(super) enum Place {
    /// Nothing has this offset yet.
    End,
    /// In memory.
    Tail(CachedRun),
    /// In the open segment.
    Open(OpenSegment, Run),
    /// In a closed segment.
    Closed(Arc<ClosedSegment>, Option<Arc<LoadedSegment>>),
}

/// Positions by group.
pub(super) type Positions = BTreeMap<String, BTreeMap<TopicPartition, Position>>;

#[derive(Debug)]
pub(super) struct State {
    layout: Layout,
    partitions: Vec<Partition>,
    positions: Positions,
    segments: BTreeMap<u32, Arc<ClosedSegment>>,
    open: OpenSegment,
    loaded: VecDeque<(u32, Arc<LoadedSegment>)>,
    /// Frames in the tail cache, oldest first.
    frames: VecDeque<CachedFrame>,
    /// Memory of frames that have left the tail cache, for the next ones: new memory would have to be cleared by the
    /// kernel first.
    spare: VecDeque<Vec<u8>>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    /// Readers that wait for news.
    pub waiting: usize,
}

impl State {
    pub(super) fn new(layout: Layout, open: OpenSegment, tail_bytes_max: usize) -> Self {
        let partitions = (0..layout.total).map(|_| Partition::default()).collect();
        Self {
            layout,
            partitions,
            positions: Positions::new(),
            segments: BTreeMap::new(),
            open,
            loaded: VecDeque::new(),
            frames: VecDeque::new(),
            spare: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max,
            waiting: 0,
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn open(&self) -> &OpenSegment {
        &self.open
    }

    /// Closed segments, ascending.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Arc<ClosedSegment>> {
        self.segments.values()
    }

    /// # Errors
    /// There is no such partition.
    pub(super) fn bounds(&self, of: TopicPartition) -> Result<Bounds, LogError> {
        let place = self.layout.place(of)?;
        let partition = self.partitions.get(place).ok_or(LogError::UnknownPartition(of))?;
        Ok(Bounds { low: partition.low, next: partition.next })
    }

    /// # Errors
    /// There is no such partition, or it does not hold the offset and the offset is not its end.
    pub(super) fn check_offset(&self, of: TopicPartition, offset: Offset) -> Result<(), LogError> {
        let Bounds { low, next } = self.bounds(of)?;
        match (low..=next).contains(&offset) {
            true => Ok(()),
            false => Err(LogError::OutOfRange { at: of, offset, low, high: next }),
        }
    }

    /// Offset the next record of the partition at `place` will have.
    pub(super) fn next_of(&self, of: TopicPartition) -> Offset {
        self.bounds(of).map_or(0, |bounds| bounds.next)
    }

    /// Bounds of every partition that is not as it was at the beginning.
    pub(super) fn all_bounds(&self) -> Vec<(TopicPartition, Bounds)> {
        let bounds = self.partitions.iter().map(|partition| (partition.low, partition.next));
        let moved = self.layout.partitions().zip(bounds).filter(|(_, bounds)| *bounds != (0, 0));
        moved.map(|(of, (low, next))| (of, Bounds { low, next })).collect()
    }

    /// Every position of every group.
    pub(super) fn all_positions(&self) -> Vec<GroupPosition> {
        let groups = self.positions.iter();
        let rows = groups
            .flat_map(|(group, held)| held.iter().map(move |(of, at)| (group.clone(), *of, at.clone())));
        rows.collect()
    }

    pub(super) fn committed(&self, group: &str, of: TopicPartition) -> Option<Position> {
        self.positions.get(group)?.get(&of).cloned()
    }

    pub(super) fn put_positions(&mut self, positions: impl IntoIterator<Item = GroupPosition>) {
        for (group, of, position) in positions {
            match self.positions.get_mut(&group) {
                Some(held) => drop(held.insert(of, position)),
                None => drop(self.positions.insert(group, BTreeMap::from([(of, position)]))),
            }
        }
    }

    /// Raises bounds; they never fall.
    ///
    /// # Errors
    /// There is no such partition.
    pub(super) fn raise_bounds(&mut self, bounds: &[(TopicPartition, Bounds)]) -> Result<(), LogError> {
        for (of, bounds) in bounds {
            let place = self.layout.place(*of)?;
            if let Some(partition) = self.partitions.get_mut(place) {
                partition.low = partition.low.max(bounds.low);
                partition.next = partition.next.max(bounds.next);
            }
        }
        Ok(())
    }

    /// Takes note of a run that was found on disk. `gaps` = records may be missing before it (cleaned segments).
    ///
    /// # Errors
    /// The text says how the run does not follow what is held.
    pub(super) fn advance(&mut self, of: TopicPartition, run: &Run, gaps: bool) -> Result<(), String> {
        let place = self.layout.place(of).map_err(|error| error.to_string())?;
        let partition = self.partitions.get_mut(place).ok_or("partition unknown")?;
        if run.first < partition.next || (run.first > partition.next && !gaps) {
            return Err(format!("{of}: records from offset {} where {} is due", run.first, partition.next));
        }
        partition.next = run.next();
        Ok(())
    }

    /// Enters the segment that takes new frames, as it was found on disk.
    pub(super) fn adopt_open(&mut self, open: OpenSegment, index: &SegmentIndex) {
        for (of, run) in index.runs() {
            let partition = self.layout.place(*of).ok().and_then(|place| self.partitions.get_mut(place));
            if let Some(partition) = partition {
                partition.open.push(*run);
            }
        }
        self.open = open;
    }

    /// Forgets all positions, before a snapshot is taken over.
    pub(super) fn clear_positions(&mut self) {
        self.positions.clear();
    }

    /// Closed segments that hold records below the low watermark of their partition.
    pub(super) fn reclaimable(&self) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for partition in &self.partitions {
            let below = partition.spans.iter().take_while(|span| span.first < partition.low);
            found.extend(below.map(|span| span.segment));
        }
        found
    }

    /// Makes a written frame visible. `at` is its place in the open segment.
    pub(super) fn publish(&mut self, frame: &Sealed, at: u64) {
        let mut places = Vec::with_capacity(frame.runs.len());
        for ((of, run), (_, on_disk)) in frame.runs.iter().zip(placed(at, &frame.runs)) {
            let Ok(place) = self.layout.place(*of) else { continue };
            let Some(partition) = self.partitions.get_mut(place) else { continue };
            let start = run.at as usize;
            partition.next = run.next();
            partition.open.push(on_disk);
            partition.tail.push_back(CachedRun {
                run: on_disk,
                bytes: frame.bytes.slice(start..start + run.len as usize),
            });
            places.push(place);
        }
        let counted = frame.memory + places.len() * CACHED_RUN_BYTES;
        self.frames.push_back(CachedFrame { counted, places, bytes: frame.bytes.clone() });
        self.tail_bytes += counted;
        while self.tail_bytes > self.tail_bytes_max {
            let Some(CachedFrame { counted, places, bytes }) = self.frames.pop_front() else { break };
            self.tail_bytes -= counted;
            for place in places {
                if let Some(partition) = self.partitions.get_mut(place) {
                    partition.tail.pop_front();
                }
            }
            self.keep_spare(bytes);
        }
    }

    /// Keeps the memory of a frame that has left the cache, unless a reader still holds some of it.
    fn keep_spare(&mut self, frame: Bytes) {
        let Ok(mut buffer) = frame.try_into_mut() else { return };
        buffer.clear();
        self.spare.push_back(buffer.into());
        let bytes = |spare: &VecDeque<Vec<u8>>| spare.iter().map(Vec::capacity).sum::<usize>();
        while self.spare.len() > SPARE_MAX || bytes(&self.spare) > SPARE_BYTES_MAX {
            self.spare.pop_front();
        }
    }

    /// Memory for a frame of that many bytes: some that was used before and is not much too big, or none.
    pub(super) fn spare_buffer(&mut self, bytes: usize) -> Vec<u8> {
        let fits = bytes..=bytes.saturating_mul(2);
        let fitting = self.spare.iter().enumerate().filter(|(_, spare)| fits.contains(&spare.capacity()));
        let best = fitting.min_by_key(|(_, spare)| spare.capacity()).map(|(at, _)| at);
        best.and_then(|at| self.spare.remove(at)).unwrap_or_default()
    }

    /// Closes the open segment and goes on in `open`.
    pub(super) fn roll(
        &mut self,
        open: OpenSegment,
        bytes: u64,
        last_sequence: u64,
    ) -> (Arc<ClosedSegment>, SegmentIndex) {
        let mut runs = Vec::new();
        let all: Vec<TopicPartition> = self.layout.partitions().collect();
        for (of, partition) in all.into_iter().zip(&mut self.partitions) {
            runs.extend(std::mem::take(&mut partition.open).into_iter().map(|run| (of, run)));
        }
        let closed = std::mem::replace(&mut self.open, open);
        let segment =
            Arc::new(ClosedSegment { header: closed.header, path: closed.path, bytes, last_sequence });
        let index = SegmentIndex::new(runs);
        self.add_segment(Arc::clone(&segment), &index);
        (segment, index)
    }

    /// Enters a closed segment; its runs are at or after everything entered before.
    pub(super) fn add_segment(&mut self, segment: Arc<ClosedSegment>, index: &SegmentIndex) {
        let number = segment.header.first;
        for (of, first, next) in index.spans() {
            let Ok(place) = self.layout.place(of) else { continue };
            if let Some(partition) = self.partitions.get_mut(place) {
                partition.spans.push(Span { first, next, segment: number });
                partition.next = partition.next.max(next);
            }
        }
        self.segments.insert(number, segment);
    }

    /// Puts a cleaned segment in the place of those it was made from.
    pub(super) fn replace_segments(&mut self, segment: Arc<ClosedSegment>, index: &SegmentIndex) {
        let (first, last) = (segment.header.first, segment.header.last);
        self.segments.retain(|number, _| !(first..=last).contains(number));
        self.loaded.retain(|(number, _)| !(first..=last).contains(number));
        for partition in &mut self.partitions {
            partition.spans.retain(|span| !(first..=last).contains(&span.segment));
        }
        self.add_segment(segment, index);
        for partition in &mut self.partitions {
            partition.spans.sort_unstable_by_key(|span| span.segment);
        }
    }

    /// Keeps a loaded segment at hand, if it is still in use.
    pub(super) fn keep_loaded(&mut self, segment: &ClosedSegment, loaded: Arc<LoadedSegment>) {
        let number = segment.header.first;
        if self.segments.get(&number).is_some_and(|held| held.header == segment.header) {
            self.loaded.retain(|(held, _)| *held != number);
            self.loaded.push_back((number, loaded));
            if self.loaded.len() > LOADED_MAX {
                self.loaded.pop_front();
            }
        }
    }

    /// Finds the run that holds an offset.
    ///
    /// # Errors
    /// Unknown partition; out of range; [`LogError::Corrupt`] when nothing holds an offset that is within bounds.
    pub(super) fn locate(&mut self, of: TopicPartition, offset: Offset) -> Result<Place, LogError> {
        self.check_offset(of, offset)?;
        let place = self.layout.place(of)?;
        let partition = self.partitions.get(place).ok_or(LogError::UnknownPartition(of))?;
        if offset >= partition.next {
            return Ok(Place::End);
        }
        let cached = partition.tail.partition_point(|cached| cached.run.first <= offset);
        if let Some(cached) = cached.checked_sub(1).and_then(|before| partition.tail.get(before)) {
            return Ok(Place::Tail(cached.clone()));
        }
        let open = partition.open.partition_point(|run| run.first <= offset);
        if let Some(run) = open.checked_sub(1).and_then(|before| partition.open.get(before)) {
            return Ok(Place::Open(self.open.clone(), *run));
        }
        let span = partition.spans.partition_point(|span| span.first <= offset);
        let span = span.checked_sub(1).and_then(|before| partition.spans.get(before)).copied();
        let segment =
            span.filter(|span| offset < span.next).and_then(|span| self.segments.get(&span.segment));
        let Some(segment) = segment.map(Arc::clone) else {
            return Err(LogError::Corrupt(format!("{of}: no segment holds offset {offset}")));
        };
        Ok(Place::Closed(Arc::clone(&segment), self.loaded(segment.header.first)))
    }

    fn loaded(&mut self, number: u32) -> Option<Arc<LoadedSegment>> {
        let at = self.loaded.iter().position(|(held, _)| *held == number)?;
        let found = self.loaded.remove(at)?;
        let loaded = Arc::clone(&found.1);
        self.loaded.push_back(found);
        Some(loaded)
    }

    /// Bytes of all segments but the open one.
    pub(super) fn closed_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}
