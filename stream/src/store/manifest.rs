//! The manifest: which files make a checkpoint, and what of the log it holds.
//!
//! A text a person can read, one fact a line, the last line the CRC-32C of the lines before it:
//!
//! ```text
//! ledgerflow checkpoint 1
//! processor posting
//! slot 3
//! generation 0
//! epoch 2
//! batch 1234
//! hash 5f0c… (64 hex digits)
//! changelog_offset 5678
//! position commands 3 999
//! file base 4 123456 1f2e3d4c 1000
//! file delta 5 4567 00aabbcc 10
//! crc 0badcafe
//! ```
//!
//! A `file` line is kind, number, bytes, CRC-32C, pairs; files stand oldest first, a base first if there is one. Of a run
//! (kinds `open` and `closed`, see [`super::runs`]) the checksum is that of its end, and its pairs are its rows.

use super::{FORMAT, Refusal};
use crate::log::{Offset, TopicPartition};
use schemas::batch::Hash;
use schemas::hex;
use schemas::topics::Topic;
use std::fmt::Write;

/// Name of the manifest's file.
pub(super) const NAME: &str = "manifest";
/// Where a new manifest is written before it takes the old one's name.
pub(super) const TEMPORARY: &str = "manifest.new";
/// A manifest is never longer: about a hundred lines.
pub(super) const BYTES_MAX: u64 = 1024 * 1024;

/// What of the log a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Generation of the figures (rule 12).
    pub generation: u64,
    /// Owner epoch of the last window in it.
    pub epoch: u64,
    /// Number of the last window in it.
    pub batch: u64,
    /// That window's hash, as in the position metadata.
    pub hash: Hash,
    /// Input positions after that window: partition and next offset to read.
    pub positions: Vec<(TopicPartition, Offset)>,
    /// Where replay of the changelog goes on: offset after the last changelog record in it.
    pub changelog_offset: Offset,
}

/// What a checkpoint file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All pairs up to its age, no removals.
    Base,
    /// Changes since the files before it.
    Delta,
    /// A run whose rows a restart loads.
    Open,
    /// A run whose rows a restart leaves where they are.
    Closed,
}

/// One checkpoint file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileEntry {
    pub kind: Kind,
    pub number: u64,
    pub bytes: u64,
    pub crc: u32,
    pub pairs: u64,
}

impl FileEntry {
    /// A file that is yet to be written.
    pub const fn new(kind: Kind, number: u64) -> Self {
        Self { kind, number, bytes: 0, crc: 0, pairs: 0 }
    }

    /// Its name in the directory.
    pub fn name(&self) -> String {
        format!("{}-{}", self.kind.name(), self.number)
    }

    /// Kind and number of a file of ours; `None` for any other name.
    pub fn from_name(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let entry = Self::new(Kind::by_name(kind)?, number.parse().ok()?);
        (entry.name() == name).then_some(entry)
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Delta => "delta",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Self::Base, Self::Delta, Self::Open, Self::Closed].into_iter().find(|kind| kind.name() == name)
    }
}

/// Which files make a checkpoint, and what of the log it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub processor: String,
    pub slot: u32,
    pub label: Label,
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Its text.
    pub fn render(&self) -> String {
        let label = &self.label;
        let mut text = format!(
            "ledgerflow checkpoint {FORMAT}\nprocessor {}\nslot {}\ngeneration {}\nepoch {}\nbatch {}\nhash {}\n",
            self.processor,
            self.slot,
            label.generation,
            label.epoch,
            label.batch,
            hex::text(&label.hash)
        );
        let _ = writeln!(text, "changelog_offset {}", label.changelog_offset);
        for (at, offset) in &label.positions {
            let _ = writeln!(text, "position {} {} {offset}", at.topic.name(), at.partition);
        }
        for file in &self.files {
            let (kind, number) = (file.kind.name(), file.number);
            let _ = writeln!(text, "file {kind} {number} {} {:08x} {}", file.bytes, file.crc, file.pairs);
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    /// The manifest whose text that is.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let lines = checked_lines(bytes)?;
        let mut lines = Lines { lines: &lines, line: 0 };
        let format = lines.number::<u32>("ledgerflow checkpoint")?;
        if format != FORMAT {
            return Err(Refusal::Format { file: NAME.to_owned(), found: format });
        }
        let processor = lines.value("processor")?.to_owned();
        let slot = lines.number("slot")?;
        let mut label = Label {
            generation: lines.number("generation")?,
            epoch: lines.number("epoch")?,
            batch: lines.number("batch")?,
            hash: lines.hash()?,
            positions: Vec::new(),
            changelog_offset: lines.number("changelog_offset")?,
        };
        while lines.is("position") {
            label.positions.push(lines.position()?);
        }
        let mut files = Vec::new();
        while lines.is("file") {
            files.push(lines.file()?);
        }
        lines.end()?;
        Ok(Self { processor, slot, label, files })
    }
}

/// The lines before the checksum, which must be right. The format is read even where the rest is another
/// version's, so that it is refused as what it is.
fn checked_lines(bytes: &[u8]) -> Result<Vec<&str>, Refusal> {
    let refuse = |line, expected: &'static str| Refusal::Manifest { line, expected };
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(1, "text"))?;
    let body = text.strip_suffix('\n').ok_or_else(|| refuse(1, "a whole last line"))?;
    let (body, last) = body.rsplit_once('\n').ok_or_else(|| refuse(1, "more than one line"))?;
    let lines: Vec<&str> = body.split('\n').collect();
    let stated = last.strip_prefix("crc ").filter(|stated| stated.len() == 8);
    let stated = stated.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let covered = bytes.get(..=body.len()).unwrap_or_default();
    if stated != Some(crc32c::crc32c(covered)) {
        return Err(refuse(lines.len() + 1, "the checksum of the lines above"));
    }
    Ok(lines)
}

/// Takes lines one after the other and names the one that is wrong.
struct Lines<'a> {
    lines: &'a [&'a str],
    line: usize,
}

impl<'a> Lines<'a> {
    fn is(&self, key: &str) -> bool {
        self.rest(key).is_some()
    }

    fn rest(&self, key: &str) -> Option<&'a str> {
        self.lines.get(self.line)?.strip_prefix(key)?.strip_prefix(' ')
    }

    fn value(&mut self, key: &'static str) -> Result<&'a str, Refusal> {
        let value = self.rest(key);
        self.line += 1;
        value.ok_or(Refusal::Manifest { line: self.line, expected: key })
    }

    fn number<T: std::str::FromStr>(&mut self, key: &'static str) -> Result<T, Refusal> {
        let value = self.value(key)?;
        value.parse().map_err(|_| Refusal::Manifest { line: self.line, expected: key })
    }

    fn hash(&mut self) -> Result<Hash, Refusal> {
        let text = self.value("hash")?;
        let wrong = Refusal::Manifest { line: self.line, expected: "hash" };
        hex::hash(text).ok_or(wrong)
    }

    fn position(&mut self) -> Result<(TopicPartition, Offset), Refusal> {
        let value = self.value("position")?;
        let mut parts = value.split(' ');
        let topic = parts.next().and_then(Topic::by_name);
        let partition = parts.next().and_then(|part| part.parse().ok());
        let offset = parts.next().and_then(|part| part.parse().ok());
        match (topic, partition, offset, parts.next()) {
            (Some(topic), Some(partition), Some(offset), None) => {
                Ok((TopicPartition::new(topic, partition), offset))
            }
            _ => Err(Refusal::Manifest { line: self.line, expected: "position" }),
        }
    }

    fn file(&mut self) -> Result<FileEntry, Refusal> {
        let value = self.value("file")?;
        let mut parts = value.split(' ');
        let kind = parts.next().and_then(Kind::by_name);
        let number = parts.next().and_then(|part| part.parse().ok());
        let bytes = parts.next().and_then(|part| part.parse().ok());
        let crc = parts.next().and_then(|part| u32::from_str_radix(part, 16).ok());
        let pairs = parts.next().and_then(|part| part.parse().ok());
        match (kind, number, bytes, crc, pairs, parts.next()) {
            (Some(kind), Some(number), Some(bytes), Some(crc), Some(pairs), None) => {
                Ok(FileEntry { kind, number, bytes, crc, pairs })
            }
            _ => Err(Refusal::Manifest { line: self.line, expected: "file" }),
        }
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.line < self.lines.len() {
            return Err(Refusal::Manifest { line: self.line + 1, expected: "position, file or crc" });
        }
        Ok(())
    }
}
