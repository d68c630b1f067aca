//! Where the runs of a segment are: one row per run, not per record (32 bytes a run plus its partition).
//!
//! The index of a closed segment lives in a side-file (`.idx`) and is read when somebody reads that segment. A
//! side-file that is missing, damaged, or of another rewriting of the segment is built again by a scan.

use super::format::{FORMAT, Run, put_partition, take_partition};
use super::segment::{SegmentHeader, SegmentScan, Step, corrupt, index_path};
use crate::files::{Files, replace};
use crate::log::{LogError, Offset, TopicPartition};
use bytes::{Buf, BufMut};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const INDEX_MAGIC: [u8; 4] = *b"LFix";
const INDEX_HEADER_BYTES: usize = 48;
const ROW_BYTES: usize = 37;

/// Runs of one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SegmentIndex {
    /// Sorted by partition, then offset.
    runs: Vec<(TopicPartition, Run)>,
}

impl SegmentIndex {
    /// An index of these runs in any order.
    pub(super) fn new(mut runs: Vec<(TopicPartition, Run)>) -> Self {
        runs.sort_unstable_by_key(|(of, run)| (*of, run.first));
        Self { runs }
    }

    /// The run that holds this offset.
    pub(super) fn find(&self, of: TopicPartition, offset: Offset) -> Option<Run> {
        let after = self.runs.partition_point(|(at, run)| (*at, run.first) <= (of, offset));
        let (at, run) = self.runs.get(after.checked_sub(1)?)?;
        (*at == of && offset < run.next()).then_some(*run)
    }

    /// First and next offset of every partition that has runs here.
    pub(super) fn spans(&self) -> impl Iterator<Item = (TopicPartition, Offset, Offset)> + '_ {
        self.runs.chunk_by(|a, b| a.0 == b.0).filter_map(|runs| {
            let ((of, first), (_, last)) = (runs.first()?, runs.last()?);
            Some((*of, first.first, last.next()))
        })
    }

    /// Every run.
    pub(super) fn runs(&self) -> &[(TopicPartition, Run)] {
        &self.runs
    }

    /// The side-file's bytes for a segment of this header and length.
    fn encode(&self, segment: &SegmentHeader, segment_bytes: u64, last: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(INDEX_HEADER_BYTES + self.runs.len() * ROW_BYTES + 4);
        bytes.put_slice(&INDEX_MAGIC);
        bytes.put_u16_le(FORMAT);
        bytes.put_u16_le(0);
        bytes.put_u64_le(segment.log_id);
        bytes.put_u32_le(segment.first);
        bytes.put_u64_le(segment.rewriting());
        bytes.put_u64_le(segment_bytes);
        bytes.put_u64_le(last);
        bytes.put_u32_le(u32::try_from(self.runs.len()).unwrap_or(u32::MAX));
        for (of, run) in &self.runs {
            put_partition(&mut bytes, *of);
            bytes.put_i64_le(run.first);
            bytes.put_i64_le(run.wall_us);
            bytes.put_u32_le(run.at);
            bytes.put_u32_le(run.len);
            bytes.put_u32_le(run.count);
            bytes.put_u32_le(run.crc);
        }
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes
    }

    /// The index and the segment's last sequence; `None` = these are not the bytes for this segment.
    fn decode(bytes: &[u8], segment: &SegmentHeader, segment_bytes: u64) -> Option<(Self, u64)> {
        let (covered, mut stored) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(covered) != stored.get_u32_le() {
            return None;
        }
        let mut fields = covered.strip_prefix(&INDEX_MAGIC)?;
        let known = fields.try_get_u16_le().ok()? == FORMAT
            && fields.try_get_u16_le().ok()? == 0
            && fields.try_get_u64_le().ok()? == segment.log_id
            && fields.try_get_u32_le().ok()? == segment.first
            && fields.try_get_u64_le().ok()? == segment.rewriting()
            && fields.try_get_u64_le().ok()? == segment_bytes;
        if !known {
            return None;
        }
        let last = fields.try_get_u64_le().ok()?;
        let count = fields.try_get_u32_le().ok()? as usize;
        let mut runs = Vec::with_capacity(count.min(fields.len() / ROW_BYTES));
        for _ in 0..count {
            let of = take_partition(&mut fields)?;
            let first = fields.try_get_i64_le().ok()?;
            let wall_us = fields.try_get_i64_le().ok()?;
            let at = fields.try_get_u32_le().ok()?;
            let len = fields.try_get_u32_le().ok()?;
            let count = fields.try_get_u32_le().ok()?;
            let crc = fields.try_get_u32_le().ok()?;
            runs.push((of, Run { first, wall_us, at, len, count, crc }));
        }
        fields.is_empty().then(|| (Self::new(runs), last))
    }

    /// Writes the side-file.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn store(
        &self,
        files: &dyn Files,
        path: &Path,
        segment: &SegmentHeader,
        segment_bytes: u64,
        last: u64,
    ) -> io::Result<()> {
        replace(files, &index_path(path), &self.encode(segment, segment_bytes, last))
    }

    /// The side-file of a segment, if it is there, whole, and of this very segment; with the last sequence.
    pub(super) fn stored(path: &Path, segment: &SegmentHeader, segment_bytes: u64) -> Option<(Self, u64)> {
        let bytes = fs::read(index_path(path)).ok()?;
        Self::decode(&bytes, segment, segment_bytes)
    }

    /// Builds the index of a closed segment from its frames; with the last sequence.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] with file and place when a frame is not whole.
    pub(super) fn scanned(
        path: &Path,
        file: &File,
        len: u64,
        segment: &SegmentHeader,
    ) -> Result<(Self, u64), LogError> {
        let mut scan = SegmentScan::new(path, file, len, segment);
        let mut runs = Vec::new();
        loop {
            match scan.step()? {
                Step::Frame(at, head) => runs.extend(placed(at, &head.runs)),
                Step::End => return Ok((Self::new(runs), scan.sequence())),
                Step::Bad(at, fault) => return Err(corrupt(path, at, fault)),
            }
        }
    }
}

/// Runs of a frame at `at`, with their places counted from the start of the segment.
pub(super) fn placed(
    at: u64,
    runs: &[(TopicPartition, Run)],
) -> impl Iterator<Item = (TopicPartition, Run)> + '_ {
    let frame = u32::try_from(at).unwrap_or(u32::MAX);
    runs.iter().map(move |(of, run)| (*of, Run { at: run.at.saturating_add(frame), ..*run }))
}
