//! One sorted run: rows of one width, ascending by key, written once and never changed; found by a read of one block.
//!
//! Layout: `LFRN`, format version (u32), bytes of a value (u32), 0 (u32); then blocks of [`BLOCK_BYTES`], each with as many
//! whole rows (key, value) as fit, zeros, and the CRC-32C of (block number, the bytes before it); then the first 8 bytes
//! of each block's first key; then the filter; then the footer. Numbers are little-endian, keys as they are.
//!
//! Phases: [`RunWriter::new`] -> [`RunWriter::put`] … -> [`RunWriter::finish`]; [`Run::open`] -> [`Run::get`].
//!
//! Bounds: a writer and a scan hold one block; an open run holds 8 bytes for each block and, where it is asked for, its
//! filter (16 bits a row).

use super::filter::Filter;
use super::{Damaged, RowKey};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"LFRN";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 16;
/// What a file system reads at once.
pub(super) const BLOCK_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;
const KEY_BYTES: usize = size_of::<RowKey>();
const FOOTER_BYTES: usize = 44;

/// Where a run's bytes are.
#[derive(Debug)]
pub enum Source {
    /// On the disk. The file may lose its name while it is open.
    File(File),
    /// In memory: for checkpoints that are kept there.
    Memory(Vec<u8>),
}

impl Source {
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(to, at),
            Self::Memory(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..at.checked_add(to.len())?));
                to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// What the footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Rows.
    pub rows: u64,
    /// Lowest age of a row, and highest.
    pub ages: (u64, u64),
    /// Bytes of a value.
    width: u32,
    index_bytes: u64,
    filter_bytes: u64,
}

impl Shape {
    fn row_bytes(&self) -> usize {
        KEY_BYTES + self.width as usize
    }

    fn rows_a_block(&self) -> usize {
        (BLOCK_BYTES - CRC_BYTES) / self.row_bytes()
    }

    fn blocks(&self) -> u64 {
        self.rows.div_ceil(self.rows_a_block() as u64)
    }

    fn index_at(&self) -> u64 {
        HEADER_BYTES as u64 + self.blocks() * BLOCK_BYTES as u64
    }

    /// Rows of a block; the last one may have fewer than the others.
    fn rows_of(&self, block: u64) -> usize {
        let before = block * self.rows_a_block() as u64;
        usize::try_from(self.rows.saturating_sub(before)).unwrap_or(usize::MAX).min(self.rows_a_block())
    }

    fn encode(&self, to: &mut Vec<u8>) {
        for number in [self.rows, self.ages.0, self.ages.1, self.index_bytes, self.filter_bytes] {
            to.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(width: u32, bytes: &[u8]) -> Option<Self> {
        let (numbers, _) = bytes.as_chunks::<8>();
        let [rows, low, high, index_bytes, filter_bytes] = numbers else { return None };
        let [rows, low, high] = [rows, low, high].map(|bytes| u64::from_le_bytes(*bytes));
        let [index_bytes, filter_bytes] = [index_bytes, filter_bytes].map(|bytes| u64::from_le_bytes(*bytes));
        Some(Self { rows, ages: (low, high), width, index_bytes, filter_bytes })
    }

    fn is_whole(&self, length: u64) -> bool {
        let tail = self.index_bytes.checked_add(self.filter_bytes);
        self.row_bytes() <= BLOCK_BYTES - CRC_BYTES
            && self.rows <= length
            && self.index_bytes == self.blocks() * 8
            && tail.and_then(|tail| tail.checked_add(self.index_at() + FOOTER_BYTES as u64)) == Some(length)
    }
}

/// First 8 bytes of a key as a number that sorts as they do.
fn prefix(key: &RowKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn block_crc(block: u64, payload: &[u8]) -> [u8; CRC_BYTES] {
    crc32c::crc32c_append(crc32c::crc32c(&block.to_le_bytes()), payload).to_le_bytes()
}

/// Writes a run from its lowest key to its highest.
pub struct RunWriter<W> {
    to: W,
    shape: Shape,
    filter: Filter,
    index: Vec<u64>,
    block: Vec<u8>,
}

impl<W: Write> RunWriter<W> {
    /// Begins a run of at most `rows` rows with values of `width` bytes.
    ///
    /// # Errors
    /// Writing fails, or a row is larger than a block.
    pub fn new(mut to: W, width: u32, rows: usize) -> io::Result<Self> {
        let shape = Shape { width, ages: (u64::MAX, 0), ..Shape::default() };
        if shape.row_bytes() > BLOCK_BYTES - CRC_BYTES {
            return Err(io::Error::other("a row is larger than a block"));
        }
        to.write_all(&[MAGIC, FORMAT.to_le_bytes(), width.to_le_bytes(), [0; 4]].concat())?;
        let block = Vec::with_capacity(BLOCK_BYTES);
        Ok(Self { to, shape, filter: Filter::new(rows), index: Vec::new(), block })
    }

    /// Adds a row with a key above that of the one before. `ages`: of this row, or of the run it comes from.
    ///
    /// # Errors
    /// Writing fails, or the value has another width.
    pub fn put(&mut self, key: &RowKey, value: &[u8], ages: (u64, u64)) -> io::Result<()> {
        if value.len() != self.shape.width as usize {
            return Err(io::Error::other("a value of another width"));
        }
        if self.block.is_empty() {
            self.index.push(prefix(key));
        }
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.filter.insert(key);
        self.shape.rows += 1;
        let (low, high) = self.shape.ages;
        self.shape.ages = (low.min(ages.0), high.max(ages.1));
        if self.block.len() + self.shape.row_bytes() > BLOCK_BYTES - CRC_BYTES {
            self.close_block()
        } else {
            Ok(())
        }
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let number = self.index.len() as u64 - 1;
        self.block.resize(BLOCK_BYTES - CRC_BYTES, 0);
        let crc = block_crc(number, &self.block);
        self.block.extend_from_slice(&crc);
        self.to.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Ends the run; what was written to comes back, with its shape and the checksum of its end.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self) -> io::Result<(W, Shape, u32)> {
        self.close_block()?;
        let mut tail = Vec::with_capacity(self.index.len() * 8 + self.filter.bytes() + FOOTER_BYTES);
        self.index.iter().for_each(|first| tail.extend_from_slice(&first.to_le_bytes()));
        self.filter.encode(&mut tail);
        self.shape.index_bytes = self.index.len() as u64 * 8;
        self.shape.filter_bytes = self.filter.bytes() as u64;
        self.shape.encode(&mut tail);
        let crc = crc32c::crc32c(&tail);
        tail.extend_from_slice(&crc.to_le_bytes());
        self.to.write_all(&tail)?;
        self.to.flush()?;
        Ok((self.to, self.shape, crc))
    }
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    source: Arc<Source>,
    shape: Shape,
    checksum: u32,
    index: Arc<Vec<u64>>,
    filter: Option<Filter>,
}

impl Run {
    /// Opens a run and reads its end; with `filtered` its filter too.
    ///
    /// # Errors
    /// [`Damaged`]: reading fails, or it is not what it was written as.
    pub fn open(source: Source, filtered: bool) -> Result<Self, Damaged> {
        let length = match &source {
            Source::File(file) => file.metadata().map_err(Damaged::io)?.len(),
            Source::Memory(bytes) => bytes.len() as u64,
        };
        let at_end = length.checked_sub(FOOTER_BYTES as u64).ok_or(Damaged::SHORT)?;
        let mut header = [0; HEADER_BYTES];
        source.read_at(&mut header, 0).map_err(Damaged::io)?;
        let mut footer = [0; FOOTER_BYTES];
        source.read_at(&mut footer, at_end).map_err(Damaged::io)?;
        let (words, _) = header.as_chunks::<4>();
        let [magic, format, width, _] = words else { return Err(Damaged::SHORT) };
        if *magic != MAGIC {
            return Err(Damaged::Other("it is no run".to_owned()));
        }
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(Damaged::Other(format!(
                "it has format version {found}, this program reads {FORMAT}"
            )));
        }
        let (numbers, crc) = footer.split_at(FOOTER_BYTES - CRC_BYTES);
        let shape = Shape::decode(u32::from_le_bytes(*width), numbers).ok_or(Damaged::SHORT)?;
        if !shape.is_whole(length) {
            return Err(Damaged::Other("its end does not fit its length".to_owned()));
        }
        let mut tail =
            vec![0; usize::try_from(shape.index_bytes + shape.filter_bytes).map_err(|_| Damaged::SHORT)?];
        source.read_at(&mut tail, shape.index_at()).map_err(Damaged::io)?;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&tail), numbers);
        if checksum.to_le_bytes() != *crc {
            return Err(Damaged::Other("its end does not match its checksum".to_owned()));
        }
        let (index, filter) = tail.split_at(usize::try_from(shape.index_bytes).map_err(|_| Damaged::SHORT)?);
        let (index, _) = index.as_chunks::<8>();
        let index = Arc::new(index.iter().map(|first| u64::from_le_bytes(*first)).collect());
        let filter = filtered.then(|| Filter::decode(filter));
        Ok(Self { source: Arc::new(source), shape, checksum, index, filter })
    }

    /// Rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.shape.rows
    }

    /// What its footer says.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Checksum of its end, which tells it from others.
    #[must_use]
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.shape.width
    }

    /// Lowest age of a row, and highest.
    #[must_use]
    pub const fn ages(&self) -> (u64, u64) {
        self.shape.ages
    }

    /// Whether its filter is in memory.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// The same run without its filter: it takes less memory, and every look-up reads a block.
    #[must_use]
    pub fn unfiltered(&self) -> Self {
        let (source, index) = (Arc::clone(&self.source), Arc::clone(&self.index));
        Self { source, index, filter: None, ..*self }
    }

    /// Bytes it takes in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.len() * 8 + self.filter.as_ref().map_or(0, Filter::bytes)
    }

    /// Whether it may hold a key, as its filter says.
    #[inline]
    #[must_use]
    pub fn may_hold(&self, key: &RowKey) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(key))
    }

    /// Hands the value of a key to `found`, if the run has it.
    ///
    /// # Errors
    /// [`Damaged`]: reading fails, or the block does not match its checksum.
    pub fn get<T>(&self, key: &RowKey, found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Damaged> {
        if !self.may_hold(key) {
            return Ok(None);
        }
        let prefix = prefix(key);
        // Of two blocks that begin alike the key may be in either, and at the end of the one before.
        let first = self.index.partition_point(|first| *first < prefix).saturating_sub(1);
        let last = self.index.partition_point(|first| *first <= prefix);
        let mut block = [0; BLOCK_BYTES];
        for number in first..last {
            let rows = self.block(number as u64, &mut block)?;
            let mut rows = rows.chunks_exact(self.shape.row_bytes());
            if let Some(row) = rows.find(|row| row.starts_with(key)) {
                return Ok(row.get(KEY_BYTES..).map(found));
            }
        }
        Ok(None)
    }

    /// Reads a block and checks it: its rows.
    fn block<'b>(&self, number: u64, to: &'b mut [u8; BLOCK_BYTES]) -> Result<&'b [u8], Damaged> {
        let at = HEADER_BYTES as u64 + number * BLOCK_BYTES as u64;
        self.source.read_at(to, at).map_err(Damaged::io)?;
        let (payload, crc) = to.split_at(BLOCK_BYTES - CRC_BYTES);
        if block_crc(number, payload) != *crc {
            return Err(Damaged::Other(format!("block {number} does not match its checksum")));
        }
        payload.get(..self.shape.rows_of(number) * self.shape.row_bytes()).ok_or(Damaged::SHORT)
    }

    /// Reads all its rows, ascending.
    #[must_use]
    pub fn scan(&self) -> Scan<'_> {
        Scan { run: self, block: [0; BLOCK_BYTES], number: 0, at: 0, end: 0 }
    }

    /// Its bytes as they stand in its file.
    ///
    /// # Errors
    /// Reading fails.
    pub fn copy_to(&self, mut to: impl Write) -> io::Result<u64> {
        match &*self.source {
            Source::Memory(bytes) => to.write_all(bytes).map(|()| bytes.len() as u64),
            Source::File(file) => {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut file.take(u64::MAX), &mut to)
            }
        }
    }
}

/// Rows of a run, one after the other.
#[derive(Debug)]
pub struct Scan<'r> {
    run: &'r Run,
    block: [u8; BLOCK_BYTES],
    number: u64,
    /// Bytes of the block that were handed out, and bytes of rows in it.
    at: usize,
    end: usize,
}

impl Scan<'_> {
    /// The next key and its value; `None` at the end.
    ///
    /// # Errors
    /// [`Damaged`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(RowKey, &[u8])>, Damaged> {
        if self.at == self.end {
            if self.number == self.run.shape.blocks() {
                return Ok(None);
            }
            self.end = self.run.block(self.number, &mut self.block)?.len();
            (self.number, self.at) = (self.number + 1, 0);
        }
        let row = self.block.get(self.at..self.at + self.run.shape.row_bytes()).ok_or(Damaged::SHORT)?;
        self.at += row.len();
        let (key, value) = row.split_first_chunk().ok_or(Damaged::SHORT)?;
        Ok(Some((*key, value)))
    }
}
