//! Segments: files of frames, numbered from 1 without a gap, each with a header that says which numbers it covers.
//!
//! A file written by cleaning covers a span of numbers in place of the files it was made from. Frames stand in
//! sequence order, within a segment and over all of them; a gap in sequences is legal only in a cleaned segment.

use super::format::{FIXED_BYTES, FORMAT, FRAME_MAGIC, FrameFault, Head, MARK, decode_head, stated_bytes};
use crate::files::{Files, Opening, write_all_at};
use crate::log::LogError;
use bytes::{Buf, BufMut};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 4] = *b"LFsg";
/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 52;
/// Flag: made by cleaning.
const CLEANED: u16 = 1;
/// Bytes read at once when a segment is gone through.
const WINDOW_BYTES: usize = 1 << 20;

/// What stands at the front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Identity of the log.
    pub log_id: u64,
    /// First number covered; the file has this name.
    pub first: u32,
    /// Last number covered.
    pub last: u32,
    /// Sequence of the frame before the first.
    pub base: u64,
    /// For a cleaned segment: the sequence of the last frame it once held, and the sequence at which it was
    /// cleaned, which tells rewritings of a file apart.
    pub cleaned: Option<(u64, u64)>,
}

impl SegmentHeader {
    /// Which rewriting of the file this is; 0 = as first written.
    pub(super) fn rewriting(&self) -> u64 {
        self.cleaned.map_or(0, |(_, at)| at)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.put_slice(&SEGMENT_MAGIC);
        bytes.put_u16_le(FORMAT);
        bytes.put_u16_le(if self.cleaned.is_some() { CLEANED } else { 0 });
        bytes.put_u64_le(self.log_id);
        bytes.put_u32_le(self.first);
        bytes.put_u32_le(self.last);
        bytes.put_u64_le(self.base);
        let (end, at) = self.cleaned.unwrap_or_default();
        bytes.put_u64_le(end);
        bytes.put_u64_le(at);
        bytes.put_u32_le(crc32c::crc32c(&bytes));
        bytes
    }

    /// # Errors
    /// See [`FrameFault`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FrameFault> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(FrameFault::Short)?;
        let (mut fields, mut stored) = bytes.split_at_checked(HEADER_BYTES - 4).ok_or(FrameFault::Short)?;
        let checksum = crc32c::crc32c(fields);
        let (magic, rest) = fields.split_at_checked(4).ok_or(FrameFault::Short)?;
        if magic != SEGMENT_MAGIC {
            return Err(FrameFault::Magic);
        }
        fields = rest;
        if checksum != stored.get_u32_le() {
            return Err(FrameFault::Checksum);
        }
        let (version, flags) = (fields.get_u16_le(), fields.get_u16_le());
        if version != FORMAT {
            return Err(FrameFault::Version(version));
        }
        let (log_id, first, last) = (fields.get_u64_le(), fields.get_u32_le(), fields.get_u32_le());
        let (base, end, at) = (fields.get_u64_le(), fields.get_u64_le(), fields.get_u64_le());
        let cleaned = (flags & CLEANED != 0).then_some((end, at));
        Ok(Self { log_id, first, last, base, cleaned })
    }
}

/// Name of the segment that begins with this number.
pub(super) fn segment_path(directory: &Path, first: u32) -> PathBuf {
    directory.join(format!("{first:010}.seg"))
}

/// Name of its index.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// Begins a segment file: header, then `frame`.
///
/// # Errors
/// What the file system says; the file is removed again then.
pub(super) fn begin_segment(
    files: &dyn Files,
    path: &Path,
    header: &SegmentHeader,
    frame: &[u8],
) -> io::Result<File> {
    let file = files.open(path, Opening::Emptied)?;
    let mut bytes = header.encode();
    bytes.extend_from_slice(frame);
    match write_all_at(files, &file, &bytes, 0) {
        Ok(()) => Ok(file),
        Err(error) => {
            let removed = files.remove(path);
            removed.and(Err(error))
        }
    }
}

/// What the next step through a segment found.
#[derive(Debug)]
pub(super) enum Step {
    /// A frame at this place.
    Frame(u64, Head),
    /// The end, right after the last frame.
    End,
    /// Bytes that are not the frame that should be here.
    Bad(u64, FrameFault),
}

/// Goes through a segment frame by frame.
#[derive(Debug)]
pub(super) struct SegmentScan<'a> {
    path: &'a Path,
    file: &'a File,
    len: u64,
    log_id: u64,
    gaps: bool,
    at: u64,
    sequence: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> SegmentScan<'a> {
    /// A scan of the frames in the first `len` bytes of the file that has this header.
    pub(super) fn new(path: &'a Path, file: &'a File, len: u64, header: &SegmentHeader) -> Self {
        Self {
            path,
            file,
            len,
            log_id: header.log_id,
            gaps: header.cleaned.is_some(),
            at: HEADER_BYTES as u64,
            sequence: header.base,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// Sequence of the last good frame.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// `len` bytes at `at`; `None` = the file is shorter.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, LogError> {
        if at.saturating_add(len as u64) > self.len {
            return Ok(None);
        }
        let held = at >= self.window_at
            && at.saturating_add(len as u64) <= self.window_at.saturating_add(self.window.len() as u64);
        if !held {
            let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
            self.window.resize(len.max(WINDOW_BYTES).min(left), 0);
            self.window_at = at;
            self.file
                .read_exact_at(&mut self.window, at)
                .map_err(|error| io_error("read", self.path, &error))?;
        }
        let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(start..start.saturating_add(len)))
    }

    /// The next frame, checked whole: head, runs and sequence.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn step(&mut self) -> Result<Step, LogError> {
        let at = self.at;
        if at == self.len {
            return Ok(Step::End);
        }
        let head = match self.head_at(at)? {
            Ok(head) => head,
            Err(fault) => return Ok(Step::Bad(at, fault)),
        };
        if let Err(fault) = self.check_body(at, &head)? {
            return Ok(Step::Bad(at, fault));
        }
        let mark = head.flags & MARK != 0;
        let follows = match (mark, self.gaps) {
            (true, _) => head.sequence == self.sequence,
            (false, true) => head.sequence > self.sequence,
            (false, false) => head.sequence == self.sequence.saturating_add(1),
        };
        if !follows {
            return Ok(Step::Bad(
                at,
                FrameFault::Content("the frame's sequence does not follow the one before"),
            ));
        }
        self.sequence = head.sequence;
        self.at = at + head.frame_bytes() as u64;
        Ok(Step::Frame(at, head))
    }

    fn head_at(&mut self, at: u64) -> Result<Result<Head, FrameFault>, LogError> {
        let log_id = self.log_id;
        let Some(fixed) = self.bytes(at, FIXED_BYTES)? else { return Ok(Err(FrameFault::Short)) };
        let (head_bytes, body_bytes) = match stated_bytes(fixed) {
            Ok(stated) => stated,
            Err(fault) => return Ok(Err(fault)),
        };
        if at.saturating_add((head_bytes + body_bytes) as u64) > self.len {
            return Ok(Err(FrameFault::Short));
        }
        let Some(head) = self.bytes(at, head_bytes)? else { return Ok(Err(FrameFault::Short)) };
        Ok(decode_head(head, log_id))
    }

    fn check_body(&mut self, at: u64, head: &Head) -> Result<Result<(), FrameFault>, LogError> {
        for (_, run) in &head.runs {
            let Some(bytes) = self.bytes(at + u64::from(run.at), run.len as usize)? else {
                return Ok(Err(FrameFault::Short));
            };
            if crc32c::crc32c(bytes) != run.crc {
                return Ok(Err(FrameFault::Content("the checksum of a run does not match")));
            }
        }
        Ok(Ok(()))
    }

    /// Looks for frames behind a bad place. The answer is the highest sequence that one of them says was durable
    /// when it was written; `None` = there is no frame with a higher sequence.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn durable_claim_after(&mut self, bad: u64) -> Result<Option<u64>, LogError> {
        let mut claim = None;
        let mut at = bad.saturating_add(1);
        while at.saturating_add(FIXED_BYTES as u64) <= self.len {
            let left = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let Some(bytes) = self.bytes(at, left)? else { break };
            let Some(found) = bytes.windows(FRAME_MAGIC.len()).position(|four| four == FRAME_MAGIC) else {
                at += (left - FRAME_MAGIC.len() + 1) as u64;
                continue;
            };
            at += found as u64;
            if let Ok(head) = self.head_at(at)?
                && head.sequence >= self.sequence
            {
                claim = claim.max(Some(head.durable));
            }
            at += 1;
        }
        Ok(claim)
    }
}

/// The header of an open segment file.
///
/// # Errors
/// The outer error is the file system's, the inner one says what is wrong with the bytes.
pub(super) fn read_header(path: &Path, file: &File) -> Result<Result<SegmentHeader, FrameFault>, LogError> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(FrameFault::Short)),
        Err(error) => Err(io_error("read", path, &error)),
    }
}

/// An input or output error with what was done to which file.
pub(super) fn io_error(what: &str, path: &Path, error: &io::Error) -> LogError {
    LogError::Io(format!("cannot {what} {}: {error}", path.display()))
}

/// Bytes that are not what they should be.
pub(super) fn corrupt(path: &Path, at: u64, why: impl std::fmt::Display) -> LogError {
    LogError::Corrupt(format!("{} at byte {at}: {why}", path.display()))
}
