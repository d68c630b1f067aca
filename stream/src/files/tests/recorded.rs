//! Files that write down what they are asked to change, in order, each change with what had been acknowledged before it.
//!
//! They do it too, so that reading finds it; but nothing is really synced. The file `lock` is left out: what counts is who
//! holds it, and nobody does after a crash.

use crate::files::{Files, Opening, SystemFiles};
use crate::mutex::lock;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Numbers that whoever is tested has told others: they hold, whenever the power goes from then on.
pub(crate) type Acknowledged = [u64; 2];

/// A file, whatever its name is at the moment.
pub(crate) type FileId = usize;

/// One change. Paths count from the recorder's top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Create(FileId, PathBuf),
    Write(FileId, u64, Arc<[u8]>),
    Truncate(FileId, u64),
    Sync(FileId),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    CreateDirectory(PathBuf),
    RemoveDirectory(PathBuf),
    SyncDirectory(PathBuf),
}

/// A change and what was acknowledged before it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub change: Change,
    pub acknowledged: Acknowledged,
}

/// A sync that is answered and not done: of files, or of directories, whose path the function knows.
#[derive(Clone, Copy)]
pub(crate) enum Swallowed {
    File(fn(&str) -> bool),
    Directory(fn(&str) -> bool),
}

type Watch = Box<dyn Fn() -> Acknowledged + Send>;

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    /// Files by inode. An inode that is used again is another file.
    ids: BTreeMap<u64, FileId>,
    paths: BTreeMap<FileId, String>,
    acknowledged: Acknowledged,
    watch: Option<Watch>,
    swallowed: Option<Swallowed>,
    dead: bool,
    /// Bytes that the next write takes, before it finds no room.
    room: Option<usize>,
}

/// The recorder.
pub(crate) struct Recorder {
    top: PathBuf,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder of {}", self.top.display())
    }
}

impl Recorder {
    /// A recorder of what happens below `top`. What lies there has these numbers, in the order of paths.
    pub(crate) fn new(top: &Path, there: &[PathBuf], swallowed: Option<Swallowed>) -> Arc<Self> {
        let mut inner = Inner { swallowed, ..Inner::default() };
        for (id, path) in there.iter().enumerate() {
            inner.ids.insert(fs::metadata(top.join(path)).unwrap().ino(), id);
            inner.paths.insert(id, path.display().to_string());
        }
        Arc::new(Self { top: top.to_owned(), inner: Mutex::new(inner) })
    }

    /// Asks, before each change, what is acknowledged by now.
    pub(crate) fn watch(&self, watch: impl Fn() -> Acknowledged + Send + 'static) {
        lock(&self.inner).watch = Some(Box::new(watch));
    }

    /// From now on nothing reaches the disk.
    pub(crate) fn kill(&self) {
        lock(&self.inner).dead = true;
    }

    /// Another process may begin.
    pub(crate) fn revive(&self) {
        lock(&self.inner).dead = false;
    }

    /// The next write finds room for this many bytes.
    pub(crate) fn full_after(&self, bytes: usize) {
        lock(&self.inner).room = Some(bytes);
    }

    /// What has happened, and what is acknowledged at its end.
    pub(crate) fn history(&self) -> (Vec<Event>, Acknowledged) {
        let mut inner = lock(&self.inner);
        inner.hear();
        (inner.events.clone(), inner.acknowledged)
    }

    fn path(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.top).unwrap().to_owned()
    }

    /// Does something and writes it down, in one.
    fn change<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<(T, Option<Change>)>) -> io::Result<T> {
        let mut inner = lock(&self.inner);
        if inner.dead {
            return Err(io::Error::from_raw_os_error(5));
        }
        inner.hear();
        let (done, change) = act(&mut inner)?;
        let acknowledged = inner.acknowledged;
        inner.events.extend(change.map(|change| Event { change, acknowledged }));
        Ok(done)
    }
}

impl Inner {
    fn hear(&mut self) {
        let told = self.watch.as_ref().map_or([0; 2], |watch| watch());
        for (known, told) in self.acknowledged.iter_mut().zip(told) {
            *known = told.max(*known);
        }
    }

    fn id(&self, file: &File) -> Option<FileId> {
        self.ids.get(&file.metadata().unwrap().ino()).copied()
    }

    fn swallows(&self, path: &str, directory: bool) -> bool {
        match self.swallowed {
            Some(Swallowed::File(is)) => !directory && is(path),
            Some(Swallowed::Directory(is)) => directory && is(path),
            None => false,
        }
    }

    fn opened(&mut self, file: &File, path: PathBuf, was_there: bool, how: Opening) -> Option<Change> {
        if was_there {
            let id = self.id(file).unwrap();
            return (how == Opening::Emptied).then_some(Change::Truncate(id, 0));
        }
        let id = self.paths.len();
        self.ids.insert(file.metadata().unwrap().ino(), id);
        self.paths.insert(id, path.display().to_string());
        Some(Change::Create(id, path))
    }
}

impl Files for Recorder {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        self.change(|inner| {
            let was_there = path.exists();
            let file = SystemFiles.open(path, how)?;
            if path.file_name().is_some_and(|name| name == "lock") {
                inner.ids.remove(&file.metadata()?.ino());
                return Ok((file, None));
            }
            let change = inner.opened(&file, self.path(path), was_there, how);
            Ok((file, change))
        })
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.change(|inner| {
            let room = match inner.room {
                None => bytes.len(),
                Some(0) => {
                    inner.room = None;
                    return Err(io::Error::from_raw_os_error(28));
                }
                Some(room) => {
                    inner.room = Some(0);
                    room.min(bytes.len())
                }
            };
            let written = SystemFiles.write_at(file, &bytes[..room], at)?;
            Ok((written, inner.id(file).map(|id| Change::Write(id, at, bytes[..written].into()))))
        })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.change(|inner| {
            let id = inner.id(file).unwrap();
            let swallowed = inner.swallows(&inner.paths[&id], false);
            Ok(((), (!swallowed).then_some(Change::Sync(id))))
        })
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.change(|inner| {
            SystemFiles.truncate(file, len)?;
            Ok(((), inner.id(file).map(|id| Change::Truncate(id, len))))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let id = inner.id(&File::open(from)?).unwrap();
            SystemFiles.rename(from, to)?;
            let (from, to) = (self.path(from), self.path(to));
            inner.paths.insert(id, to.display().to_string());
            Ok(((), Some(Change::Rename(from, to))))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|_| {
            SystemFiles.remove(path)?;
            Ok(((), Some(Change::Remove(self.path(path)))))
        })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|_| {
            SystemFiles.create_directory(path)?;
            Ok(((), Some(Change::CreateDirectory(self.path(path)))))
        })
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|_| {
            SystemFiles.remove_directory(path)?;
            Ok(((), Some(Change::RemoveDirectory(self.path(path)))))
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            File::open(path)?;
            let path = self.path(path);
            let swallowed = inner.swallows(&path.display().to_string(), true);
            Ok(((), (!swallowed).then_some(Change::SyncDirectory(path))))
        })
    }
}

/// The file system, but that nothing is synced: for what no power cut follows.
#[derive(Debug)]
pub(crate) struct Unsynced;

impl Files for Unsynced {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        SystemFiles.open(path, how)
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        SystemFiles.write_at(file, bytes, at)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        SystemFiles.truncate(file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove_directory(path)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
