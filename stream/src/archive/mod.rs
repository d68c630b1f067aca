//! The archive: records that the log has given up, in files that never change.
//!
//! `DIR/TOPIC/PARTITION/FIRST-NEXT.records` holds the committed records of a partition from one offset until another; the next
//! file begins where it ends. What is archived is committed, so a reader of committed records sees the same in both
//! ([`Archived`]), and offsets stay what they are.
//!
//! Phases of a file ([`Archive::take`]): written under another name -> synced -> read again and checked, byte by byte ->
//! renamed -> its folder synced. Whatever a crash leaves under the other name is no file, and goes with the next one.
//!
//! Relied on: one process writes at a time (by lock), and a file is never changed once it has its name. Opening an archive
//! reads nothing; the names of a partition's files are read when they are needed, an index when its file is. Memory: one
//! block a reader and partition, and 16 bytes for each block of the file it is in.

mod archived;
mod file;
mod format;
#[cfg(test)]
mod tests;
mod write;

pub use archived::Archived;
pub use file::{Checked, Named};
pub use format::FORMAT;
pub use write::{See, Taken, Taking};

use crate::files::{Files, SystemFiles};
use crate::log::{FetchLimit, Isolation, Log, LogError, Offset, Record, TopicPartition, Watermarks};
use crate::mutex::lock;
use file::OpenFile;
use schemas::batch::Hash;
use schemas::sha256::sha256;
use schemas::topics::{Retention, Topic};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the first record of a topic is waited for.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Files of a partition, in order.
type Names = Arc<[Named]>;

/// An archive in a directory. Nothing of it is read before it is needed, so it may come and go.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    identity: Hash,
    topics: Vec<Topic>,
    files: Arc<dyn Files>,
    names: Mutex<BTreeMap<TopicPartition, Names>>,
}

/// Topics that an archive holds: those that are kept for ever.
#[must_use]
pub fn topics() -> Vec<Topic> {
    Topic::ALL.iter().copied().filter(|topic| topic.retention() == Retention::Forever).collect()
}

/// Which books a log holds: the hash of the first record of `books` and of when it was written. `None` = it has none yet.
///
/// # Errors
/// The log's own; [`LogError::Archive`] where that record is gone.
pub fn identity(log: &dyn Log) -> Result<Option<Hash>, LogError> {
    let at = TopicPartition::new(Topic::Books, 0);
    let bounds = log.watermarks(at, Isolation::Committed)?;
    if bounds.low > 0 {
        let why = format!("{at} begins at offset {}: which books these are cannot be told", bounds.low);
        return Err(LogError::Archive(why));
    }
    if bounds.high == 0 {
        return Ok(None);
    }
    let mut reader = log.reader(&[(at, 0)], Isolation::Committed)?;
    let limit = FetchLimit { records: 1, bytes: 1, wait: FIRST_WAIT };
    while reader.position(at).is_some_and(|position| position < bounds.high) {
        let before = reader.position(at);
        let fetches = reader.poll(limit)?;
        if let Some(first) = fetches.iter().flat_map(|fetch| &fetch.records).next() {
            let of = [first.timestamp_us.to_le_bytes().as_slice(), &first.key, &first.value].concat();
            return Ok(Some(sha256(&of)));
        }
        if reader.position(at) == before {
            return Err(LogError::Retriable(format!("{at} cannot be read yet")));
        }
    }
    Ok(None)
}

impl Archive {
    /// The archive of the books of that identity, in a directory that may not be there yet.
    #[must_use]
    pub fn new(root: &Path, identity: Hash, topics: Vec<Topic>) -> Self {
        Self::with(root, identity, topics, Arc::new(SystemFiles))
    }

    pub(crate) fn with(root: &Path, identity: Hash, topics: Vec<Topic>, files: Arc<dyn Files>) -> Self {
        Self { root: root.to_path_buf(), identity, topics, files, names: Mutex::default() }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Topics that it holds.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    fn covers(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }

    fn folder(&self, at: TopicPartition) -> PathBuf {
        self.root.join(at.topic.name()).join(at.partition.to_string())
    }

    /// Reads the names of a partition's files.
    ///
    /// # Errors
    /// [`LogError::Archive`]: the directory cannot be read, or two files do not join.
    pub fn list(&self, at: TopicPartition) -> Result<Arc<[Named]>, LogError> {
        let folder = self.folder(at);
        let wrong = |why: io::Error| LogError::Archive(format!("{}: {why}", folder.display()));
        let mut names = match fs::read_dir(&folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => {
                let paths = entries.map_err(wrong)?.map(|entry| entry.map(|entry| entry.path()));
                let paths = paths.collect::<io::Result<Vec<_>>>().map_err(wrong)?;
                paths.iter().filter_map(|path| Named::parse(path)).collect()
            }
        };
        names.sort();
        for pair in names.windows(2) {
            if let [one, two] = pair
                && one.next != two.first
            {
                let (path, next) = (two.path.display(), one.next);
                let what = if two.first > next { "records between are missing" } else { "they overlap" };
                let why = format!("{path}: the file before it ends at offset {next}: {what}");
                return Err(LogError::Archive(why));
            }
        }
        let names: Names = names.into();
        lock(&self.names).insert(at, Arc::clone(&names));
        Ok(names)
    }

    /// Offsets that the files of a partition hold, as far as their names were read; `None` = there is none.
    ///
    /// # Errors
    /// As [`Archive::list`].
    pub fn bounds(&self, at: TopicPartition) -> Result<Option<Watermarks>, LogError> {
        let known = lock(&self.names).get(&at).cloned().filter(|names| !names.is_empty());
        let names = match known {
            Some(names) => names,
            None => self.list(at)?,
        };
        Ok(bounds_of(&names))
    }

    /// The last record that is archived of a partition.
    ///
    /// # Errors
    /// [`LogError::Archive`]: the file that holds it is damaged.
    pub fn last(&self, at: TopicPartition) -> Result<Option<Record>, LogError> {
        match self.list(at)?.last() {
            Some(named) => OpenFile::open(named, self.identity, at)?.last(),
            None => Ok(None),
        }
    }

    /// Whether the log goes on where the files end, or before.
    ///
    /// # Errors
    /// [`LogError::Archive`] names both ends.
    pub fn joins(&self, at: TopicPartition, bounds: Watermarks) -> Result<(), LogError> {
        match self.bounds(at)? {
            Some(held) if held.high > bounds.high => Err(self.ahead(at, held, bounds.high)),
            None if bounds.low == 0 => Ok(()),
            Some(held) if held.high >= bounds.low => Ok(()),
            held => Err(self.gap(at, held, bounds.low)),
        }
    }

    /// Whether the archive holds a partition from `from` until `low`, where the log goes on. It may hold more: a backup of the
    /// log is older than what was archived since.
    fn reaches(&self, at: TopicPartition, from: Offset, bounds: Watermarks) -> Result<(), LogError> {
        let Watermarks { low, high } = bounds;
        let mut held = self.bounds(at)?;
        if held.is_none_or(|held| held.high < low || from < held.low) {
            held = bounds_of(&self.list(at)?);
        }
        match held {
            Some(held) if from < held.low => {
                Err(LogError::OutOfRange { at, offset: from, low: held.low, high })
            }
            Some(held) if held.high >= low => Ok(()),
            other => Err(self.gap(at, other, low)),
        }
    }

    fn ahead(&self, at: TopicPartition, held: Watermarks, high: Offset) -> LogError {
        let (dir, end) = (self.root.display(), held.high);
        LogError::Archive(format!(
            "{dir} holds {at} up to offset {end}, the log ends at {high}: a part of the log is lost, or it was restored from a backup that is older than the archive. Take the files of {at} that end above {high} away, and keep them"
        ))
    }

    fn gap(&self, at: TopicPartition, held: Option<Watermarks>, low: Offset) -> LogError {
        let dir = self.root.display();
        let holds = match held {
            Some(held) => format!("holds it from {} to {}", held.low, held.high),
            None if self.root.is_dir() => "holds nothing of it".to_owned(),
            None => "is not there".to_owned(),
        };
        LogError::Archive(format!("the log holds {at} from offset {low} on, and archive.dir {dir} {holds}"))
    }

    /// Where a partition begins that the log holds from `low` on. Where the archive is away or does not reach the log this is
    /// 0: whoever reads there is told.
    fn begins(&self, at: TopicPartition, low: Offset) -> Offset {
        if low == 0 || !self.covers(at.topic) {
            return low;
        }
        let held = self.bounds(at).unwrap_or_else(|why| {
            tracing::warn!(%at, %why, "the archive is not whole");
            None
        });
        held.map_or(0, |held| held.low.min(low))
    }

    /// An error of the log with the bounds that it has together with the archive.
    fn explained(&self, error: LogError) -> LogError {
        match error {
            LogError::OutOfRange { at, offset, low, high } => {
                LogError::OutOfRange { at, offset, low: self.begins(at, low), high }
            }
            other => other,
        }
    }

    /// The file that holds an offset.
    fn file(&self, at: TopicPartition, offset: Offset) -> Result<OpenFile, LogError> {
        let find =
            |names: &[Named]| names.iter().find(|named| (named.first..named.next).contains(&offset)).cloned();
        let known = lock(&self.names).get(&at).and_then(|names| find(names));
        let named = match known {
            Some(named) => Some(named),
            None => find(&self.list(at)?),
        };
        let none = || LogError::Archive(format!("{} holds no {at}@{offset}", self.root.display()));
        OpenFile::open(&named.ok_or_else(none)?, self.identity, at)
    }

    /// Reads a file through and holds it against its checksums and its hash; `see` has a look at each record.
    ///
    /// # Errors
    /// [`LogError::Archive`]: file, offset and what is wrong; or what `see` says.
    pub fn check(
        &self,
        at: TopicPartition,
        named: &Named,
        see: &mut dyn FnMut(&Record) -> Result<(), String>,
    ) -> Result<Checked, LogError> {
        OpenFile::open(named, self.identity, at)?.check(see)
    }
}

fn bounds_of(names: &[Named]) -> Option<Watermarks> {
    Some(Watermarks { low: names.first()?.first, high: names.last()?.next })
}
