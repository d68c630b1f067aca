//! The `meta` file (what the log is made as, and how far it was durable) and the `lock` file (who owns the log).

use super::format::FORMAT;
use super::segment::io_error;
use crate::files::{Files, Opening, SystemFiles, replace, write_all_at};
use crate::log::LogError;
use rustix::fs::{FlockOperation, flock};
use schemas::topics::{PartitionCounts, Topic};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

const FIRST_LINE: &str = "ledgerflow embedded log";

/// What was fixed when the log was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Identity: checksums of frames start from it.
    pub log_id: u64,
    /// Partition counts.
    pub counts: PartitionCounts,
    /// How many topics, from the first of [`Topic::ALL`], the file names.
    pub topics: usize,
    /// How far the log is known to have been durable; `None` in a log that has not begun, or of an older build.
    pub durable: Option<Durable>,
}

/// A point up to which the log has been on the disk: it ends there or later, or a part of it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Durable {
    /// Number of the segment that was the newest.
    pub segment: u32,
    /// Sequence of the last commit that was durable then.
    pub sequence: u64,
}

impl Meta {
    /// The file's text; its last line is a checksum of the lines before.
    fn text(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nformat {FORMAT}\nid {:016x}\nevents {}\ninternal {}\n",
            self.log_id, self.counts.events, self.counts.internal
        );
        for topic in Topic::ALL {
            let _ = writeln!(text, "topic {} {}", topic.name(), topic.partition_count(self.counts));
        }
        if let Some(durable) = self.durable {
            let _ = writeln!(text, "durable {} {}", durable.segment, durable.sequence);
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {checksum:08x}");
        text
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn store(&self, files: &dyn Files, path: &Path) -> Result<(), LogError> {
        replace(files, path, self.text().as_bytes()).map_err(|error| io_error("write", path, &error))
    }

    /// The stored meta; `None` = there is no such file.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when it is damaged, of another format, or names topics this build does not know.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, LogError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path, &error)),
        };
        Self::parse(&text).map(Some).map_err(|why| LogError::Corrupt(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err("this is not the meta file of an embedded log".to_owned());
        }
        let version = field(lines.next(), "format")?;
        if version != FORMAT.to_string() {
            return Err(format!("format {version} is not known, this build knows {FORMAT}"));
        }
        let (covered, stored) = text.trim_end().rsplit_once("crc32c ").ok_or("the checksum is missing")?;
        if format!("{:08x}", crc32c::crc32c(covered.as_bytes())) != stored {
            return Err("the checksum does not match".to_owned());
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text} is not a count"));
        let id = field(lines.next(), "id")?;
        let log_id = u64::from_str_radix(id, 16).map_err(|_| format!("{id} is not an identity"))?;
        let events = number(field(lines.next(), "events")?)?;
        let internal = number(field(lines.next(), "internal")?)?;
        let mut topics = 0;
        let mut durable = None;
        for line in lines {
            if let Some(noted) = line.strip_prefix("durable ") {
                durable =
                    Some(Durable::parse(noted).ok_or_else(|| format!("{noted} is no segment and commit"))?);
                continue;
            }
            if !line.starts_with("topic ") {
                break;
            }
            let name = field(Some(line), "topic")?.split(' ').next().unwrap_or_default();
            if Topic::ALL.get(topics).map(|topic| topic.name()) != Some(name) {
                return Err(format!("topic {name} is not known to this build"));
            }
            topics += 1;
        }
        Ok(Self { log_id, counts: PartitionCounts { events, internal }, topics, durable })
    }
}

/// What a directory was made as; `None` = there is no log in it. Nothing is locked or changed.
///
/// # Errors
/// As [`Meta::load`].
pub fn made_as(directory: &Path) -> Result<Option<PartitionCounts>, LogError> {
    Ok(Meta::load(&directory.join("meta"))?.map(|meta| meta.counts))
}

/// The process that has a directory, as its lock file names it; `None` = nobody has it. Nothing is left changed.
///
/// # Errors
/// What the file system says.
pub fn owner(directory: &Path) -> Result<Option<String>, LogError> {
    let path = directory.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", &path, &error)),
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        drop(Lock { file: Some(file) });
        return Ok(None);
    }
    match in_use(directory, file) {
        LogError::InUse { pid, .. } => Ok(Some(pid)),
        other => Err(other),
    }
}

/// Compares the counts of a log, fixed when it was made, with those of the configuration.
///
/// # Errors
/// Each that differs is named with both.
pub fn check_counts(path: &Path, made: PartitionCounts, wanted: PartitionCounts) -> Result<(), LogError> {
    let pairs = [
        ("partitions.events", made.events, wanted.events),
        ("partitions.internal", made.internal, wanted.internal),
    ];
    let differing = pairs.into_iter().filter(|(_, made, wanted)| made != wanted);
    let said: Vec<String> = differing
        .map(|(setting, made, wanted)| format!("{setting}: it was made with {made}, now it is {wanted}"))
        .collect();
    if said.is_empty() {
        return Ok(());
    }
    Err(LogError::Io(format!(
        "{}: {}. Partition counts are fixed when the log is made. Set them back, or make new books in another folder",
        path.display(),
        said.join("; ")
    )))
}

impl Durable {
    fn parse(text: &str) -> Option<Self> {
        let (segment, sequence) = text.split_once(' ')?;
        Some(Self { segment: segment.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Result<&'a str, String> {
    line.and_then(|line| line.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix(' '))
        .ok_or_else(|| format!("the line `{name}` is missing"))
}

/// Holds the directory until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: Option<File>,
}

impl Drop for Lock {
    /// Closing would do, were it not for a child process that is just being started and still has the file open.
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Closing follows.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

impl Lock {
    /// Takes the directory for the one process that writes.
    ///
    /// # Errors
    /// [`LogError::InUse`] with the owner's process id as the lock file has it.
    pub(super) fn exclusive(directory: &Path, files: &dyn Files) -> Result<Self, LogError> {
        let path = directory.join("lock");
        let file = files.open(&path, Opening::Kept).map_err(|error| io_error("open", &path, &error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(in_use(directory, file));
        }
        sign(files, &file).map_err(|error| io_error("write", &path, &error))?;
        Ok(Self { file: Some(file) })
    }

    /// Takes the directory for reading, which only a writer hinders. A directory whose lock file cannot be opened
    /// (a backup on read-only media) has no writer.
    ///
    /// # Errors
    /// [`LogError::InUse`] while a writer lives.
    pub(super) fn shared(directory: &Path) -> Result<Self, LogError> {
        let path = directory.join("lock");
        let Ok(file) = SystemFiles.open(&path, Opening::Kept).or_else(|_| File::open(&path)) else {
            return Ok(Self { file: None });
        };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            return Err(in_use(directory, file));
        }
        // Only a writer's id matters; a reader's tells a writer that comes meanwhile whom to wait for.
        let _ = sign(&SystemFiles, &file);
        Ok(Self { file: Some(file) })
    }
}

fn sign(files: &dyn Files, file: &File) -> io::Result<()> {
    files.truncate(file, 0)?;
    write_all_at(files, file, std::process::id().to_string().as_bytes(), 0)
}

fn in_use(directory: &Path, file: File) -> LogError {
    let mut pid = String::new();
    let read = file.take(20).read_to_string(&mut pid);
    if read.is_err() || pid.trim().is_empty() {
        pid = "unknown".to_owned();
    }
    LogError::InUse { path: directory.display().to_string(), pid: pid.trim().to_owned() }
}
