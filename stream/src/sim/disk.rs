//! A simulated disk for checkpoints: real files, and at a power cut what was not synced is there in part or not at all.
//!
//! What is relied on is what [`crate::files`] relies on: synced bytes stay, names stay once their directory was synced, and
//! names change in the order in which they were changed. A power cut keeps a part of the changes since then, drawn at
//! random: the first so many names, and of each file some of the bytes at its end, or zeros in their place. Nothing is
//! really synced: the kernel goes on.

use super::Prng;
use crate::files::{Files, Opening, SystemFiles, around};
use crate::mutex::lock;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What power cuts and a bad disk have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Power cuts.
    pub power_cuts: u64,
    /// Changes of names that were lost.
    pub names_lost: u64,
    /// Files whose last bytes were lost, or are zeros.
    pub files_torn: u64,
    /// Files of which a bit has changed by itself.
    pub bits_flipped: u64,
    /// Operations that failed.
    pub failed: u64,
}

impl DiskCounters {
    /// Adds another disk's counts.
    pub const fn add(&mut self, other: &Self) {
        self.power_cuts += other.power_cuts;
        self.names_lost += other.names_lost;
        self.files_torn += other.files_torn;
        self.bits_flipped += other.bits_flipped;
        self.failed += other.failed;
    }

    /// Every counter with its name.
    #[must_use]
    pub const fn each(&self) -> [(&'static str, u64); 5] {
        [
            ("power_cuts", self.power_cuts),
            ("names_lost", self.names_lost),
            ("files_torn", self.files_torn),
            ("bits_flipped", self.bits_flipped),
            ("failed", self.failed),
        ]
    }
}

/// A change of names that is not synced.
#[derive(Debug)]
enum Named {
    Made(PathBuf),
    /// With what lay there before.
    Renamed(PathBuf, PathBuf, Option<Vec<u8>>),
    /// With what it held.
    Removed(PathBuf, Vec<u8>),
}

impl Named {
    /// The directory that must be synced.
    fn directory(&self) -> &Path {
        match self {
            Self::Made(path) | Self::Renamed(_, path, _) | Self::Removed(path, _) => around(path),
        }
    }

    fn undo(self) -> io::Result<()> {
        match self {
            Self::Made(path) => fs::remove_file(path),
            Self::Renamed(from, to, before) => {
                fs::rename(&to, from)?;
                before.map_or(Ok(()), |bytes| fs::write(to, bytes))
            }
            Self::Removed(path, bytes) => fs::write(path, bytes),
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    /// Oldest first.
    names: Vec<Named>,
    /// Bytes that are synced, by the number of a file that has more.
    synced: BTreeMap<u64, u64>,
    /// So many operations go well yet.
    fails_after: Option<u64>,
    counters: DiskCounters,
}

/// A directory that forgets what was not synced. Clones are the same.
#[derive(Debug, Clone)]
pub struct SimDisk {
    dir: PathBuf,
    pending: Arc<Mutex<Pending>>,
}

impl SimDisk {
    /// On a directory that nobody else uses.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), pending: Arc::default() }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What has happened to it.
    #[must_use]
    pub fn counters(&self) -> DiskCounters {
        lock(&self.pending).counters
    }

    /// From the operation on that follows so many others, every one fails, until the next power cut; `None` = none.
    pub fn fail_after(&self, operations: Option<u64>) {
        lock(&self.pending).fails_after = operations;
    }

    /// The power goes, and comes back. Whoever had files open is gone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn cut_power(&self, prng: &mut Prng) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        pending.counters.power_cuts += 1;
        pending.fails_after = None;
        let kept = prng.index(pending.names.len() + 1);
        for lost in pending.names.split_off(kept).into_iter().rev() {
            pending.counters.names_lost += 1;
            lost.undo()?;
        }
        let synced = std::mem::take(&mut pending.synced);
        for path in self.files()? {
            let file = File::options().read(true).write(true).open(&path)?;
            let found = file.metadata()?;
            let Some(synced) = synced.get(&found.ino()).filter(|synced| **synced < found.len()) else {
                continue;
            };
            pending.counters.files_torn += 1;
            let left = synced + prng.below(found.len() - synced + 1);
            file.set_len(left)?;
            if prng.below(2) == 0 {
                file.set_len(found.len())?;
            }
        }
        pending.names.clear();
        Ok(())
    }

    /// A bit of one file changes by itself; `false` = there is none with a byte.
    ///
    /// # Errors
    /// What the file system says.
    pub fn flip_a_bit(&self, prng: &mut Prng) -> io::Result<bool> {
        let mut files = self.files()?;
        files.retain(|path| path.metadata().is_ok_and(|found| found.len() > 0));
        let Some(path) = files.get(prng.index(files.len().max(1))) else { return Ok(false) };
        let file = File::options().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        let (at, mut byte) = (prng.below(bytes), [0_u8; 1]);
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ (1 << prng.below(8))], at)?;
        lock(&self.pending).counters.bits_flipped += 1;
        Ok(true)
    }

    /// Every file, in the order of their names.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let (mut found, mut open) = (Vec::new(), vec![self.dir.clone()]);
        while let Some(dir) = open.pop() {
            if !dir.is_dir() {
                continue;
            }
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let all = if entry.file_type()?.is_dir() { &mut open } else { &mut found };
                all.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Everything on it is gone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear(&self) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        pending.names.clear();
        pending.synced.clear();
        pending.fails_after = None;
        self.files()?.into_iter().try_for_each(fs::remove_file)
    }

    fn note(&self, named: Named) {
        lock(&self.pending).names.push(named);
    }

    /// An operation begins; whether it goes well.
    fn begin(&self) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        match &mut pending.fails_after {
            None => return Ok(()),
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                return Ok(());
            }
        }
        pending.counters.failed += 1;
        Err(io::Error::other("the disk fails"))
    }

    /// What lies there will lie there no more: its content, and nobody waits for its bytes.
    fn leaves(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let bytes = content(path)?;
        if bytes.is_some() {
            lock(&self.pending).synced.remove(&fs::metadata(path)?.ino());
        }
        Ok(bytes)
    }
}

/// What a file holds; `None` = it is not there.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map(|_| Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files for SimDisk {
    fn open(&self, path: &Path, how: Opening) -> io::Result<File> {
        self.begin()?;
        let is_new = !path.exists();
        let file = SystemFiles.open(path, how)?;
        if is_new {
            self.note(Named::Made(path.to_owned()));
        }
        if is_new || how == Opening::Emptied {
            lock(&self.pending).synced.insert(file.metadata()?.ino(), 0);
        }
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.begin()?;
        let number = file.metadata()?.ino();
        let mut pending = lock(&self.pending);
        let synced = pending.synced.entry(number).or_insert(at);
        *synced = at.min(*synced);
        drop(pending);
        SystemFiles.write_at(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.begin()?;
        lock(&self.pending).synced.remove(&file.metadata()?.ino());
        Ok(())
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.begin()?;
        SystemFiles.truncate(file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin()?;
        let before = self.leaves(to)?;
        SystemFiles.rename(from, to)?;
        self.note(Named::Renamed(from.to_owned(), to.to_owned(), before));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin()?;
        let bytes = self.leaves(path)?;
        SystemFiles.remove(path)?;
        bytes.into_iter().for_each(|bytes| self.note(Named::Removed(path.to_owned(), bytes)));
        Ok(())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.begin()?;
        SystemFiles.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.begin()?;
        SystemFiles.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.begin()?;
        lock(&self.pending).names.retain(|named| named.directory() != path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::replace;

    fn disk() -> (tempfile::TempDir, SimDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(dir.path());
        (dir, disk)
    }

    #[test]
    fn what_is_synced_stays_and_nothing_else_must() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let (dir, disk) = disk();
            let path = dir.path().join("value");
            replace(&disk, &path, b"one").unwrap();
            disk.cut_power(&mut Prng::new(seed)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one", "all of it was synced");

            let file = disk.open(&dir.path().join("new"), Opening::Emptied).unwrap();
            disk.write_at(&file, b"two", 0).unwrap();
            disk.rename(&dir.path().join("new"), &path).unwrap();
            disk.cut_power(&mut Prng::new(seed)).unwrap();
            seen.insert(fs::read(&path).unwrap());
            assert_eq!(disk.counters().power_cuts, 2);
        }
        // The old one, and the new one whole, cut, or with zeros.
        for value in [&b"one"[..], b"two", b"t", b"", b"t\0\0", b"\0\0\0"] {
            assert!(seen.remove(value), "never {value:?}");
        }
        assert!(seen.iter().all(|value| [&b"tw"[..], b"tw\0"].contains(&value.as_slice())), "{seen:?}");
    }

    #[test]
    fn what_was_removed_comes_back_while_its_directory_is_not_synced() {
        let mut back = 0;
        for seed in 0..20 {
            let (dir, disk) = disk();
            let path = dir.path().join("value");
            replace(&disk, &path, b"one").unwrap();
            disk.remove(&path).unwrap();
            disk.cut_power(&mut Prng::new(seed)).unwrap();
            back += u64::from(path.exists());
            disk.sync_directory(dir.path()).unwrap();
        }
        assert!(0 < back && back < 20, "{back} of 20");
    }

    #[test]
    fn a_disk_that_fails_does_so_until_the_power_is_cut() {
        let (dir, disk) = disk();
        let path = dir.path().join("value");
        disk.fail_after(Some(1));
        let file = disk.open(&path, Opening::New).unwrap();
        assert!(disk.write_at(&file, b"one", 0).is_err() && disk.sync(&file).is_err());
        disk.cut_power(&mut Prng::new(1)).unwrap();
        replace(&disk, &path, b"one").unwrap();
        assert_eq!(disk.counters().failed, 2);
    }

    #[test]
    fn a_bit_changes() {
        let (dir, disk) = disk();
        let mut prng = Prng::new(1);
        assert!(!disk.flip_a_bit(&mut prng).unwrap());
        replace(&disk, &dir.path().join("a"), b"one").unwrap();
        assert!(disk.flip_a_bit(&mut prng).unwrap());
        let changed = fs::read(dir.path().join("a")).unwrap();
        let bits: u32 = changed.iter().zip(b"one").map(|(now, before)| (now ^ before).count_ones()).sum();
        assert_eq!((bits, disk.counters().bits_flipped), (1, 1));
    }
}
