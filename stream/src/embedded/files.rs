//! Writing, syncing and truncating, as one seam: the file system, or (in tests) a file system that fails on command.
//! Reading is not part of it: a failed read spoils nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The operations whose failure the log has to survive.
pub(super) trait Files: Send + Sync {
    /// Writes some of `bytes` at `at`; may write fewer.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Makes the file's bytes durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()>;
    /// Puts a file in another's place.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The file system as it is.
#[derive(Debug)]
pub(super) struct SystemFiles;

impl Files for SystemFiles {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        file.write_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Writes all of `bytes` at `at`.
///
/// # Errors
/// What the file system says; some of the bytes may be in the file then.
pub(super) fn write_all_at(files: &dyn Files, file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match files.write_at(file, bytes, at) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes")),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a small file so that after a crash it is there whole or not at all: temporary name, sync, rename, sync of
/// the directory.
///
/// # Errors
/// What the file system says.
pub(super) fn replace(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = File::create(&temporary)?;
    write_all_at(files, &file, bytes, 0)?;
    files.sync(&file)?;
    files.rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => files.sync_directory(directory),
        None => Ok(()),
    }
}
