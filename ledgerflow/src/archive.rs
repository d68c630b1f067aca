//! The archive of the books: the log with the archive below it that the settings name.

use crate::runtime::Setup;
use std::path::PathBuf;
use std::sync::Arc;
use stream::archive::{self, Archive, Archived};
use stream::log::{Log, LogError, Offset, TopicPartition};

/// Where archived records lie, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Folder.
    pub dir: PathBuf,
    /// Bytes after which a new file begins.
    pub file_bytes: u64,
}

/// Gives up what lies below an offset, on a log that is somebody else's.
pub type GiveUp = dyn Fn(TopicPartition, Offset) -> Result<(), LogError> + Send + Sync;

/// What records are archived with.
pub struct Archiving {
    /// The log itself, without the archive below it.
    pub log: Arc<dyn Log>,
    /// The archive.
    pub archive: Arc<Archive>,
    /// Bytes after which a new file begins.
    pub file_bytes: u64,
    /// How records are given up; `None` = by [`crate::retention::Retention`], or not at all.
    pub give_up: Option<Box<GiveUp>>,
}

/// A log with the archive below it that the setup names; the log alone where it names none, or the books are not opened yet.
///
/// # Errors
/// The log's own; which books it holds cannot be told.
pub fn below(log: Arc<dyn Log>, setup: &Setup) -> Result<(Arc<dyn Log>, Option<Archiving>), LogError> {
    let Some(place) = &setup.archive else { return Ok((log, None)) };
    let Some(identity) = archive::identity(log.as_ref())? else { return Ok((log, None)) };
    let archive = Arc::new(Archive::new(&place.dir, identity, archive::topics()));
    let below = Archived::new(Arc::clone(&log), Arc::clone(&archive));
    let archiving = Archiving { log, archive, file_bytes: place.file_bytes, give_up: None };
    Ok((Arc::new(below), Some(archiving)))
}

/// The same for whoever works on the log: an archive that is ahead of it is of a time that the log has lost.
///
/// # Errors
/// As [`below`]; [`LogError::Archive`] names the partition and both ends.
pub fn below_workers(
    log: Arc<dyn Log>,
    setup: &Setup,
) -> Result<(Arc<dyn Log>, Option<Archiving>), LogError> {
    let (log, archiving) = below(log, setup)?;
    if let Some(of) = &archiving {
        Archived::new(Arc::clone(&of.log), Arc::clone(&of.archive)).check_end()?;
    }
    Ok((log, archiving))
}
