//! What changes files, as one seam for the embedded log, the checkpoint store and the archive: the file system, or (in tests)
//! one that fails on command and one that writes down what it is asked. Reading is not part of it: a failed read spoils
//! nothing.
//!
//! What is relied on is what POSIX promises and no more. Bytes are on the disk when their file was synced, names when
//! their directory was; until then any part of them may be. A rename is there whole or not at all.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
pub(crate) mod tests;

/// What opening a file for writing may do to what lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The file is there and stays as it is.
    Existing,
    /// The file is made where it is not there.
    Kept,
    /// The file is made; it is an error that it is there.
    New,
    /// The file is made, or emptied.
    Emptied,
}

/// The operations that change something, whose failure the caller has to survive.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, how: Opening) -> io::Result<File>;
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
    /// Makes a directory in one that is there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The file system as it is.
#[derive(Debug)]
pub(crate) struct SystemFiles;

impl Files for SystemFiles {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true);
        let options = match how {
            Opening::Existing => &mut options,
            Opening::Kept => options.create(true).truncate(false),
            Opening::New => options.create_new(true),
            Opening::Emptied => options.create(true).truncate(true),
        };
        options.open(path)
    }

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

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Writes all of `bytes` at `at`.
///
/// # Errors
/// What the file system says; some of the bytes may be in the file then.
pub(crate) fn write_all_at(files: &dyn Files, file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
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
pub(crate) fn replace(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = files.open(&temporary, Opening::Emptied)?;
    write_all_at(files, &file, bytes, 0)?;
    files.sync(&file)?;
    files.rename(&temporary, path)?;
    files.sync_directory(around(path))
}

/// Makes a directory and those that it lies in, as far as they are not there. With `synced` each name is durable before
/// the next directory is made in it.
///
/// # Errors
/// What the file system says.
pub(crate) fn make_directories(files: &dyn Files, path: &Path, synced: bool) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = around(path);
    if above != path {
        make_directories(files, above, synced)?;
    }
    match files.create_directory(path) {
        // Another one has made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    if synced { files.sync_directory(above) } else { Ok(()) }
}

/// The directory that a path lies in.
pub(crate) fn around(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// A file that is written from its beginning on, nothing gathered.
#[derive(Debug)]
pub(crate) struct FileWriter {
    files: Arc<dyn Files>,
    file: File,
    at: u64,
}

impl FileWriter {
    /// A new file; it is an error that it is there.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn create(files: &Arc<dyn Files>, path: &Path) -> io::Result<Self> {
        let file = files.open(path, Opening::New)?;
        Ok(Self { files: Arc::clone(files), file, at: 0 })
    }

    /// Bytes written.
    pub(crate) const fn bytes(&self) -> u64 {
        self.at
    }

    /// Makes them durable.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.files.sync(&self.file)
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.files.write_at(&self.file, bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
