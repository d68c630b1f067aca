//! Bytes of a frame: one frame is one commit, written by one append.
//!
//! A frame is a fixed part, tables (runs, positions, bounds) and a body. The records of a commit are grouped by
//! partition; such a group is a run: consecutive offsets, contiguous bytes, a checksum of its own, so that a reader
//! of one partition reads nothing else. The frame's checksum covers the fixed part and the tables, and through
//! the runs' checksums every byte of the body. It starts from the log's identity: a frame of another log does not pass.
//!
//! Integers are little-endian. Bounds: [`FRAME_BYTES_MAX`], [`METADATA_BYTES_MAX`], 65,535 headers a record.
//! README.md in this folder has the layout as a table.

use crate::log::{Header, Offset, OutRecord, Position, Record, TopicPartition};
use bytes::{Buf, BufMut, Bytes};
use schemas::topics::Topic;

/// The format this build reads and writes.
pub(super) const FORMAT: u16 = 1;
/// First bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"LFfr";
/// Bytes of a frame before its tables.
pub(super) const FIXED_BYTES: usize = 56;
/// Bytes of one row of the table of runs.
const RUN_BYTES: usize = 25;
/// Bytes of one row of the table of positions, its texts not counted.
const POSITION_BYTES: usize = 17;
/// Bytes of one row of the table of bounds.
const BOUNDS_BYTES: usize = 21;
/// Most bytes of one frame.
pub(super) const FRAME_BYTES_MAX: usize = 512 << 20;
/// Most bytes of the metadata of a position.
pub(super) const METADATA_BYTES_MAX: usize = 1024;
/// Flag: the frame begins a segment and holds every position and every partition's bounds.
pub(super) const SNAPSHOT: u16 = 1;
/// Flag: the frame only says how far the log was durable; it has the sequence of the frame before it.
pub(super) const MARK: u16 = 2;

const _: () = assert!(FRAME_BYTES_MAX <= (u32::MAX / 4) as usize, "places in a segment are u32");

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameFault {
    #[error("the frame is cut short")]
    Short,
    #[error("there is no frame here")]
    Magic,
    #[error("the checksum of the frame does not match")]
    Checksum,
    #[error("frame format version {0} is not known, this build knows {FORMAT}")]
    Version(u16),
    #[error("{0}")]
    Content(&'static str),
    /// What should stand before a segment is not there.
    #[error("{0}")]
    Gap(String),
}

/// Records of one partition in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Offset of the first record.
    pub first: Offset,
    /// When the frame was written, microseconds since 1970-01-01T00:00:00Z.
    pub wall_us: i64,
    /// Where the run begins; counted from the start of its frame in a [`Head`], of its segment elsewhere.
    pub at: u32,
    /// Bytes.
    pub len: u32,
    /// Records.
    pub count: u32,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

impl Run {
    /// Offset after the last record.
    pub(super) fn next(&self) -> Offset {
        self.first.saturating_add(i64::from(self.count))
    }
}

/// First offset held and next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub low: Offset,
    pub next: Offset,
}

/// A committed position with the group it belongs to.
pub(super) type GroupPosition = (String, TopicPartition, Position);

/// Everything of a frame but its body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub flags: u16,
    pub sequence: u64,
    /// Sequence up to which the log was durable when this frame was written.
    pub durable: u64,
    pub wall_us: i64,
    pub runs: Vec<(TopicPartition, Run)>,
    pub positions: Vec<GroupPosition>,
    pub bounds: Vec<(TopicPartition, Bounds)>,
    /// Bytes of fixed part and tables.
    pub head_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl Head {
    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// Bytes of a frame's head and body as its fixed part states them.
///
/// # Errors
/// There is no frame, or its stated size is beyond the bounds. The checksum is not looked at.
pub(super) fn stated_bytes(fixed: &[u8]) -> Result<(usize, usize), FrameFault> {
    if fixed.len() < FIXED_BYTES {
        return Err(FrameFault::Short);
    }
    let (Some(magic), Some(mut sizes)) = (fixed.get(..4), fixed.get(8..16)) else {
        return Err(FrameFault::Short);
    };
    if magic != FRAME_MAGIC {
        return Err(FrameFault::Magic);
    }
    let tables = sizes.get_u32_le() as usize;
    let body = sizes.get_u32_le() as usize;
    if tables > FRAME_BYTES_MAX || body > FRAME_BYTES_MAX {
        return Err(FrameFault::Content("the stated size is beyond the bound"));
    }
    Ok((FIXED_BYTES + tables, body))
}

/// Decodes and checks a head from bytes that begin with a frame.
///
/// # Errors
/// See [`FrameFault`].
pub(super) fn decode_head(bytes: &[u8], log_id: u64) -> Result<Head, FrameFault> {
    let (head_bytes, body_bytes) = stated_bytes(bytes)?;
    let head = bytes.get(..head_bytes).ok_or(FrameFault::Short)?;
    let (fixed, mut tables) = head.split_at_checked(FIXED_BYTES).ok_or(FrameFault::Short)?;
    let (covered, mut stored) = fixed.split_at_checked(FIXED_BYTES - 4).ok_or(FrameFault::Short)?;
    if head_checksum(log_id, covered, tables) != stored.get_u32_le() {
        return Err(FrameFault::Checksum);
    }
    let mut fields = covered.get(4..).ok_or(FrameFault::Short)?;
    let version = fields.get_u16_le();
    if version != FORMAT {
        return Err(FrameFault::Version(version));
    }
    let flags = fields.get_u16_le();
    fields.advance(8);
    let (sequence, durable, wall_us) = (fields.get_u64_le(), fields.get_u64_le(), fields.get_i64_le());
    let (runs, positions, bounds) = (fields.get_u32_le(), fields.get_u32_le(), fields.get_u32_le());
    let mut found = Head { flags, sequence, durable, wall_us, head_bytes, body_bytes, ..Head::default() };
    let cut = FrameFault::Content("a table of the frame is cut short");
    take_runs(&mut tables, runs, &mut found).ok_or(cut.clone())?;
    take_positions(&mut tables, positions, &mut found).ok_or(cut.clone())?;
    take_bounds(&mut tables, bounds, &mut found).ok_or(cut)?;
    if !tables.is_empty() {
        return Err(FrameFault::Content("bytes left after the tables of the frame"));
    }
    Ok(found)
}

fn head_checksum(log_id: u64, fixed: &[u8], tables: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), fixed), tables)
}

fn take_runs(tables: &mut &[u8], count: u32, head: &mut Head) -> Option<()> {
    let mut at = head.head_bytes;
    for _ in 0..count {
        let of = take_partition(tables)?;
        let first = tables.try_get_i64_le().ok()?;
        let count = tables.try_get_u32_le().ok()?;
        let len = tables.try_get_u32_le().ok()?;
        let crc = tables.try_get_u32_le().ok()?;
        first.checked_add(i64::from(count)).filter(|_| first >= 0 && count > 0)?;
        let place = u32::try_from(at).ok()?;
        head.runs.push((of, Run { first, wall_us: head.wall_us, at: place, len, count, crc }));
        at = at.checked_add(len as usize)?;
    }
    (at == head.frame_bytes()).then_some(())
}

fn take_positions(tables: &mut &[u8], count: u32, head: &mut Head) -> Option<()> {
    for _ in 0..count {
        let group = take_text(tables)?;
        let of = take_partition(tables)?;
        let offset = tables.try_get_i64_le().ok()?;
        let metadata = take_text(tables)?;
        head.positions.push((group, of, Position { offset, metadata }));
    }
    Some(())
}

fn take_bounds(tables: &mut &[u8], count: u32, head: &mut Head) -> Option<()> {
    for _ in 0..count {
        let of = take_partition(tables)?;
        let low = tables.try_get_i64_le().ok()?;
        let next = tables.try_get_i64_le().ok()?;
        head.bounds.push((of, Bounds { low, next }));
    }
    Some(())
}

pub(super) fn take_partition(from: &mut &[u8]) -> Option<TopicPartition> {
    let topic = Topic::by_index(from.try_get_u8().ok()?)?;
    Some(TopicPartition::new(topic, from.try_get_u32_le().ok()?))
}

pub(super) fn put_partition(to: &mut Vec<u8>, of: TopicPartition) {
    to.put_u8(of.topic.index());
    to.put_u32_le(of.partition);
}

fn take_text(from: &mut &[u8]) -> Option<String> {
    let len = usize::from(from.try_get_u16_le().ok()?);
    let (text, rest) = from.split_at_checked(len)?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// A text longer than 65,535 bytes is cut by the callers' own bounds before it comes here.
fn put_text(to: &mut Vec<u8>, text: &str) {
    to.put_u16_le(u16::try_from(text.len()).unwrap_or(u16::MAX));
    to.put_slice(text.as_bytes());
}

/// A commit before its place in the log is known: everything that costs time (copying, checksums of runs) is done,
/// offsets and sequence are filled in by [`Draft::seal`] under the write lock.
#[derive(Debug)]
pub(super) struct Draft {
    buffer: Vec<u8>,
    flags: u16,
    wall_us: i64,
    head_bytes: usize,
    /// Runs with `first` still 0 and `at` counted from the start of the frame.
    runs: Vec<(TopicPartition, Run)>,
    positions: u32,
    bounds: u32,
}

/// A frame ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    /// All its bytes.
    pub bytes: Bytes,
    /// Bytes of memory they take.
    pub memory: usize,
    /// Its runs; `at` counts from the start of the frame.
    pub runs: Vec<(TopicPartition, Run)>,
}

/// What goes into a frame besides records.
#[derive(Debug, Default)]
pub(super) struct Extras<'a> {
    pub flags: u16,
    pub positions: &'a [GroupPosition],
    pub bounds: &'a [(TopicPartition, Bounds)],
}

impl Extras<'_> {
    /// Bytes of the tables of positions and bounds.
    fn bytes(&self) -> usize {
        let positions = self.positions.iter();
        let positions: usize = positions
            .map(|(group, _, position)| group.len() + position.metadata.len() + POSITION_BYTES)
            .sum();
        positions + self.bounds.len() * BOUNDS_BYTES
    }
}

impl Draft {
    /// Bytes of the frame of a commit, at most.
    pub(super) fn bytes(records: &[OutRecord], extras: &Extras<'_>) -> usize {
        let body: usize = records.iter().map(record_bytes).sum();
        FIXED_BYTES + records.len() * RUN_BYTES + extras.bytes() + body
    }

    /// Lays a commit out. `records` keep their order within a partition.
    ///
    /// # Errors
    /// The text says which bound of the format the commit passes.
    pub(super) fn new(records: &[OutRecord], extras: &Extras<'_>, wall_us: i64) -> Result<Self, String> {
        Self::new_in(Vec::new(), records, extras, wall_us)
    }

    /// The same in memory that was used before; what is in `buffer` goes.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub(super) fn new_in(
        mut buffer: Vec<u8>,
        records: &[OutRecord],
        extras: &Extras<'_>,
        wall_us: i64,
    ) -> Result<Self, String> {
        let mut order: Vec<&OutRecord> = records.iter().collect();
        order.sort_by_key(|record| record.to);
        let groups: Vec<&[&OutRecord]> = order.chunk_by(|a, b| a.to == b.to).collect();
        let body: usize = records.iter().map(record_bytes).sum();
        let runs_end = FIXED_BYTES + groups.len() * RUN_BYTES;
        // All of it at once: a buffer that grew at its end would copy the whole frame.
        buffer.clear();
        buffer.reserve_exact(runs_end + extras.bytes() + body);
        buffer.resize(runs_end, 0);
        put_positions(&mut buffer, extras.positions)?;
        for (of, bounds) in extras.bounds {
            put_partition(&mut buffer, *of);
            buffer.put_i64_le(bounds.low);
            buffer.put_i64_le(bounds.next);
        }
        let head_bytes = buffer.len();
        if head_bytes.saturating_add(body) > FRAME_BYTES_MAX {
            return Err(format!("the commit has {body} bytes, {FRAME_BYTES_MAX} is the most"));
        }
        let mut runs = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(run) = put_run(&mut buffer, group, wall_us)? {
                runs.push(run);
            }
        }
        let count = |len: usize| u32::try_from(len).map_err(|_| "too many rows in one commit".to_owned());
        let (positions, bounds) = (count(extras.positions.len())?, count(extras.bounds.len())?);
        Ok(Self { buffer, flags: extras.flags, wall_us, head_bytes, runs, positions, bounds })
    }

    /// A frame that holds runs copied from another frame, for cleaning; [`Draft::copy_run`] adds them.
    /// `runs` counts the runs that will come, `bytes` their bytes.
    pub(super) fn for_copies(runs: usize, bytes: usize, wall_us: i64) -> Self {
        let head_bytes = FIXED_BYTES + runs * RUN_BYTES;
        let mut buffer = Vec::with_capacity(head_bytes + bytes);
        buffer.resize(head_bytes, 0);
        let runs = Vec::with_capacity(runs);
        Self { buffer, flags: 0, wall_us, head_bytes, runs, positions: 0, bounds: 0 }
    }

    /// Takes over a run with its bytes as they are.
    pub(super) fn copy_run(&mut self, of: TopicPartition, run: Run, bytes: &[u8]) {
        let at = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.runs.push((of, Run { at, ..run }));
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of the frame.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Gives the frame its place: `next` is asked once per run, in partition order.
    pub(super) fn seal(
        mut self,
        log_id: u64,
        sequence: u64,
        durable: u64,
        next: impl Fn(TopicPartition, &Run) -> Offset,
    ) -> Sealed {
        let mut table = Vec::with_capacity(self.runs.len() * RUN_BYTES);
        for (of, run) in &mut self.runs {
            run.first = next(*of, run);
            put_partition(&mut table, *of);
            table.put_i64_le(run.first);
            table.put_u32_le(run.count);
            table.put_u32_le(run.len);
            table.put_u32_le(run.crc);
        }
        let mut fixed = Vec::with_capacity(FIXED_BYTES);
        fixed.put_slice(&FRAME_MAGIC);
        fixed.put_u16_le(FORMAT);
        fixed.put_u16_le(self.flags);
        fixed.put_u32_le(size(self.head_bytes - FIXED_BYTES));
        fixed.put_u32_le(size(self.buffer.len() - self.head_bytes));
        fixed.put_u64_le(sequence);
        fixed.put_u64_le(durable);
        fixed.put_i64_le(self.wall_us);
        fixed.put_u32_le(size(self.runs.len()));
        fixed.put_u32_le(self.positions);
        fixed.put_u32_le(self.bounds);
        if let Some(place) = self.buffer.get_mut(FIXED_BYTES..FIXED_BYTES + table.len()) {
            place.copy_from_slice(&table);
        }
        let tables = self.buffer.get(FIXED_BYTES..self.head_bytes).unwrap_or_default();
        fixed.put_u32_le(head_checksum(log_id, &fixed, tables));
        if let Some(place) = self.buffer.get_mut(..FIXED_BYTES) {
            place.copy_from_slice(&fixed);
        }
        let memory = self.buffer.capacity();
        Sealed { bytes: Bytes::from(self.buffer), memory, runs: self.runs }
    }
}

/// Sizes here are below [`FRAME_BYTES_MAX`], which fits.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn put_positions(buffer: &mut Vec<u8>, positions: &[GroupPosition]) -> Result<(), String> {
    for (group, of, position) in positions {
        if group.len() > METADATA_BYTES_MAX || position.metadata.len() > METADATA_BYTES_MAX {
            return Err(format!("{of}: metadata of a position may have {METADATA_BYTES_MAX} bytes"));
        }
        put_text(buffer, group);
        put_partition(buffer, *of);
        buffer.put_i64_le(position.offset);
        put_text(buffer, &position.metadata);
    }
    Ok(())
}

fn record_bytes(record: &OutRecord) -> usize {
    let headers: usize = record.headers.iter().map(|h| 6 + h.name.len() + h.value.len()).sum();
    10 + record.key.len() + record.value.len() + headers
}

fn put_run(
    buffer: &mut Vec<u8>,
    group: &[&OutRecord],
    wall_us: i64,
) -> Result<Option<(TopicPartition, Run)>, String> {
    let Some(of) = group.first().map(|record| record.to) else { return Ok(None) };
    let start = buffer.len();
    for record in group {
        put_record(buffer, record)?;
    }
    let bytes = buffer.get(start..).unwrap_or_default();
    let run = Run {
        first: 0,
        wall_us,
        at: size(start),
        len: size(bytes.len()),
        count: size(group.len()),
        crc: crc32c::crc32c(bytes),
    };
    Ok(Some((of, run)))
}

fn put_record(buffer: &mut Vec<u8>, record: &OutRecord) -> Result<(), String> {
    let long = |what: &str| format!("{}: {what} is beyond the bound of the log", record.to);
    buffer.put_u32_le(u32::try_from(record.key.len()).map_err(|_| long("a key"))?);
    buffer.put_u32_le(u32::try_from(record.value.len()).map_err(|_| long("a value"))?);
    buffer.put_u16_le(u16::try_from(record.headers.len()).map_err(|_| long("the number of headers"))?);
    buffer.put_slice(&record.key);
    buffer.put_slice(&record.value);
    for header in &record.headers {
        buffer.put_u16_le(u16::try_from(header.name.len()).map_err(|_| long("a header's name"))?);
        buffer.put_u32_le(u32::try_from(header.value.len()).map_err(|_| long("a header"))?);
        buffer.put_slice(&header.name);
        buffer.put_slice(&header.value);
    }
    Ok(())
}

/// The next record of a run. Key, value and headers share `rest`'s buffer; `None` = the bytes are not a record.
pub(super) fn take_record(rest: &mut Bytes, offset: Offset, timestamp_us: i64) -> Option<Record> {
    let key = rest.try_get_u32_le().ok()? as usize;
    let value = rest.try_get_u32_le().ok()? as usize;
    let headers = rest.try_get_u16_le().ok()?;
    let key = take_bytes(rest, key)?;
    let value = take_bytes(rest, value)?;
    let mut found = Vec::with_capacity(usize::from(headers.min(64)));
    for _ in 0..headers {
        let name = usize::from(rest.try_get_u16_le().ok()?);
        let value = rest.try_get_u32_le().ok()? as usize;
        found.push(Header { name: take_bytes(rest, name)?, value: take_bytes(rest, value)? });
    }
    Some(Record { offset, timestamp_us, key, value, headers: found })
}

/// Bytes of the value of the next record of a run.
pub(super) fn value_bytes(rest: &[u8]) -> usize {
    rest.get(4..8).map_or(0, |mut len| len.get_u32_le() as usize)
}

fn take_bytes(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    match len {
        0 => Some(Bytes::new()),
        _ => (len <= rest.len()).then(|| rest.split_to(len)),
    }
}
