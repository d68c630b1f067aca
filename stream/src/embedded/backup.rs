//! A copy of a running log, as it was at one durable sequence, and the way back.
//!
//! Order of the copy: closed segments, the prefix of the open one, `meta`, and last the manifest (sequence, sizes,
//! checksums). A folder without `meta` does not open as a log and one without a manifest does not restore, so that a
//! copy that was cut short is never taken for a log. Each segment is checked frame by frame as it was copied; damage
//! ends the backup, and what was copied is removed again.

use super::EmbeddedLog;
use super::core::Core;
use super::index::SegmentIndex;
use super::meta::{Durable, Meta};
use super::segment::{corrupt, index_path, io_error, read_header};
use crate::files::{Files, Opening, SystemFiles, around, make_directories, replace, write_all_at};
use crate::log::LogError;
use crate::mutex::lock;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the manifest.
pub(super) const MANIFEST: &str = "backup.manifest";
const FIRST_LINE: &str = "ledgerflow embedded log backup";
/// Version of the manifest; it stands behind the first line's words.
const FORMAT: u32 = 1;
const COPIED_BYTES: usize = 1 << 20;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Sequence of the last commit in it.
    pub sequence: u64,
    /// Files.
    pub files: Vec<BackupFile>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Path within the backup.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// CRC-32C of the bytes.
    pub crc32c: u32,
}

/// A file to be copied; open, so that cleaning cannot take it away.
struct Source {
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Copies a log. Commits go on meanwhile; cleaning waits.
///
/// # Errors
/// [`LogError::Corrupt`] with file and place where the log itself is damaged; [`LogError::Io`]: `to` is not empty, lies
/// in the log's own directory, or what the file system says. What was copied is removed again.
pub(super) fn backup(core: &Core, to: &Path) -> Result<BackupReport, LogError> {
    backup_with(core, core.files.as_ref(), to)
}

/// The same, with the copy's files as `files` writes them.
pub(super) fn backup_with(core: &Core, files: &dyn Files, to: &Path) -> Result<BackupReport, LogError> {
    core.check_alive()?;
    apart(&core.root, to)?;
    let _nobody_replaces_segments = lock(&core.maintenance);
    let segments = core.segments();
    let (end, sources) = cut(core)?;
    let sequence = end.sequence;
    if !core.read_only && core.durable() < sequence {
        core.sync()?;
    }
    let made = prepare(files, to)?;
    let report = copy_log((core, files), to, end, sources).inspect_err(|_| clear(files, to, made))?;
    tracing::info!(from = %segments.display(), to = %to.display(), sequence, "backup written");
    Ok(report)
}

fn copy_log(
    (core, seam): (&Core, &dyn Files),
    to: &Path,
    end: Durable,
    sources: Vec<Source>,
) -> Result<BackupReport, LogError> {
    let mut files = Vec::new();
    for source in sources {
        let path = source.path.clone();
        let file = copy(seam, source, to)?;
        check_frames(&path, &to.join(&file.name), file.bytes)?;
        files.push(file);
    }
    sync_directory(seam, &to.join("segments"))?;
    // As of the cut: the log's own may know of later segments by now.
    let path = to.join("meta");
    Meta { durable: Some(end), ..*lock(&core.meta) }.store(seam, &path)?;
    let meta = open_source("meta".to_owned(), path)?;
    let crc32c = walk(&meta.path, &meta.file, meta.bytes, |_, _| Ok(()))?;
    files.push(BackupFile { name: meta.name, bytes: meta.bytes, crc32c });
    let report = BackupReport { sequence: end.sequence, files };
    let path = to.join(MANIFEST);
    replace(seam, &path, report.text().as_bytes()).map_err(|error| io_error("write", &path, &error))?;
    Ok(report)
}

/// Checks every frame of a copied segment. Other files are nothing that a frame could be wrong in.
fn check_frames(named: &Path, copied: &Path, bytes: u64) -> Result<(), LogError> {
    if copied.extension().is_none_or(|extension| extension != "seg") {
        return Ok(());
    }
    let file = File::open(copied).map_err(|error| io_error("open", copied, &error))?;
    let header = read_header(named, &file)?.map_err(|fault| corrupt(named, 0, fault))?;
    SegmentIndex::scanned(named, &file, bytes, &header).map(drop)
}

/// A copy within the log's directory would be lost with it, and be taken for a part of it.
fn apart(root: &Path, to: &Path) -> Result<(), LogError> {
    let real = |path: &Path| path.canonicalize();
    let root = real(root).map_err(|error| io_error("read", root, &error))?;
    let to = std::path::absolute(to).map_err(|error| io_error("read", to, &error))?;
    // What is not there yet lies where the nearest folder lies that is.
    let there = to.ancestors().find_map(|path| real(path).ok());
    if there.is_some_and(|path| path.starts_with(&root)) {
        let (to, root) = (to.display(), root.display());
        return Err(LogError::Io(format!(
            "{to} lies in the data directory {root}: a backup needs another place"
        )));
    }
    Ok(())
}

/// Removes what was copied into a folder that was empty, so that the next try finds it as this one did.
fn clear(files: &dyn Files, to: &Path, made: bool) {
    let segments = to.join("segments");
    for entry in fs::read_dir(&segments).into_iter().flatten().flatten() {
        let _ = files.remove(&entry.path());
    }
    let _ = files.remove_directory(&segments);
    let _ = files.remove(&to.join("meta"));
    let _ = files.remove(&to.join(MANIFEST));
    if made {
        let _ = files.remove_directory(to);
    }
}

/// The last commit and what makes up the log to there.
fn cut(core: &Core) -> Result<(Durable, Vec<Source>), LogError> {
    let writer = lock(&core.writer);
    let closed: Vec<PathBuf> = lock(&core.state).segments().map(|segment| segment.path.clone()).collect();
    let mut sources = Vec::new();
    for path in closed {
        let index = index_path(&path);
        sources.push(open_source(name(&path), path)?);
        if index.exists() {
            sources.push(open_source(name(&index), index)?);
        }
    }
    let mut open = open_source(name(&writer.path), writer.path.clone())?;
    open.bytes = writer.len;
    sources.push(open);
    Ok((Durable { segment: writer.segment, sequence: writer.sequence }, sources))
}

fn name(path: &Path) -> String {
    format!("segments/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn open_source(name: String, path: PathBuf) -> Result<Source, LogError> {
    let file = File::open(&path).map_err(|error| io_error("open", &path, &error))?;
    let bytes = file.metadata().map_err(|error| io_error("read", &path, &error))?.len();
    Ok(Source { name, path, file, bytes })
}

/// The target must be absent or empty. Says whether it was absent.
fn prepare(files: &dyn Files, to: &Path) -> Result<bool, LogError> {
    let made = match fs::read_dir(to) {
        Ok(mut entries) => match entries.next() {
            None => false,
            Some(_) => return Err(LogError::Io(format!("{} is not empty", to.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error("list", to, &error)),
    };
    let segments = to.join("segments");
    make_directories(files, &segments, true).map_err(|error| io_error("create", &segments, &error))?;
    sync_directory(files, around(to))?;
    Ok(made)
}

fn sync_directory(files: &dyn Files, path: &Path) -> Result<(), LogError> {
    files.sync_directory(path).map_err(|error| io_error("sync", path, &error))
}

fn copy(files: &dyn Files, source: Source, to: &Path) -> Result<BackupFile, LogError> {
    let target = to.join(&source.name);
    let out = files.open(&target, Opening::New);
    let out = out.map_err(|error| io_error("create", &target, &error))?;
    let crc32c = walk(&source.path, &source.file, source.bytes, |at, bytes| {
        write_all_at(files, &out, bytes, at).map_err(|error| io_error("write", &target, &error))
    })?;
    files.sync(&out).map_err(|error| io_error("sync", &target, &error))?;
    Ok(BackupFile { name: source.name, bytes: source.bytes, crc32c })
}

/// Hands the first `len` bytes of a file out in pieces and returns their checksum.
fn walk(
    path: &Path,
    file: &File,
    len: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), LogError>,
) -> Result<u32, LogError> {
    let mut piece = vec![0; COPIED_BYTES];
    let (mut at, mut crc) = (0, 0);
    while at < len {
        let bytes = usize::try_from(len - at).unwrap_or(usize::MAX).min(COPIED_BYTES);
        let Some(piece) = piece.get_mut(..bytes) else { break };
        file.read_exact_at(piece, at).map_err(|error| io_error("read", path, &error))?;
        crc = crc32c::crc32c_append(crc, piece);
        take(at, piece)?;
        at += bytes as u64;
    }
    Ok(crc)
}

impl BackupReport {
    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE} {FORMAT}\nsequence {}\n", self.sequence);
        for file in &self.files {
            let _ = writeln!(text, "file {} {} {:08x}", file.name, file.bytes, file.crc32c);
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {checksum:08x}");
        text
    }

    /// The version that a text says it has, whatever else is in it.
    fn format_of(text: &str) -> Option<u32> {
        text.lines().next()?.strip_prefix(FIRST_LINE)?.strip_prefix(' ')?.parse().ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let (covered, stored) = text.trim_end().rsplit_once("crc32c ")?;
        let mut lines = covered.lines();
        if format!("{:08x}", crc32c::crc32c(covered.as_bytes())) != stored {
            return None;
        }
        lines.next()?;
        let sequence = lines.next()?.strip_prefix("sequence ")?.parse().ok()?;
        let mut files = Vec::new();
        for line in lines {
            let mut fields = line.strip_prefix("file ")?.split(' ');
            let (name, bytes, crc) = (fields.next()?, fields.next()?, fields.next()?);
            let plain =
                Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            files.push(BackupFile {
                name: plain.then(|| name.to_owned())?,
                bytes: bytes.parse().ok()?,
                crc32c: u32::from_str_radix(crc, 16).ok()?,
            });
        }
        Some(Self { sequence, files })
    }
}

/// Compares a backup with its manifest, every byte of it, and checks every frame.
///
/// # Errors
/// [`LogError::Corrupt`] naming the file, and the place in it where a frame tells, that is not what the manifest says,
/// or that there is no whole manifest: the backup was cut short, or somebody has opened it as a log.
pub fn verify_backup(directory: &Path) -> Result<BackupReport, LogError> {
    let path = directory.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = "there is no manifest: the backup was cut short, or is in use as a log";
            return Err(LogError::Corrupt(format!("{}: {why}", directory.display())));
        }
        Err(error) => return Err(io_error("read", &path, &error)),
    };
    let refused = |why: &str| LogError::Corrupt(format!("{}: {why}", path.display()));
    match BackupReport::format_of(&text) {
        Some(FORMAT) => {}
        Some(found) => {
            return Err(refused(&format!("format {found} is not known, this build knows {FORMAT}")));
        }
        None => return Err(refused("the manifest is damaged")),
    }
    let report = BackupReport::parse(&text).ok_or_else(|| refused("the manifest is damaged"))?;
    report.files.iter().try_for_each(|file| check(directory, file))?;
    Ok(report)
}

fn check(directory: &Path, file: &BackupFile) -> Result<(), LogError> {
    let path = directory.join(&file.name);
    if !path.is_file() {
        return Err(LogError::Corrupt(format!(
            "{}: the manifest names it and it is not there",
            path.display()
        )));
    }
    let source = open_source(file.name.clone(), path.clone())?;
    if source.bytes != file.bytes {
        let why = format_args!("it ends there, the manifest says {} bytes", file.bytes);
        return Err(corrupt(&path, source.bytes, why));
    }
    // The checksum of the file tells that it is damaged, a frame's own tells where.
    check_frames(&path, &path, source.bytes)?;
    if walk(&path, &source.file, source.bytes, |_, _| Ok(()))? != file.crc32c {
        return Err(LogError::Corrupt(format!("{}: it is not the file of the manifest", path.display())));
    }
    Ok(())
}

/// Makes a log directory from a backup that was found whole. What was copied is removed again when it fails.
///
/// # Errors
/// As [`verify_backup`]; [`LogError::Io`] when `to` is not empty, or what the file system says.
pub fn restore(backup: &Path, to: &Path) -> Result<BackupReport, LogError> {
    let report = verify_backup(backup)?;
    let made = prepare(&SystemFiles, to)?;
    copy_back(backup, to, &report).inspect_err(|_| clear(&SystemFiles, to, made))?;
    Ok(report)
}

/// What was left of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What was taken.
    pub taken: BackupReport,
    /// Sequence up to which the log was durable once, as it noted; `None` = an older build wrote no such note.
    pub durable: Option<u64>,
}

/// Makes a log directory from what is left of a log of which a part is lost ([`LogError::Lost`]). The damaged log stays
/// as it is.
///
/// # Errors
/// [`LogError::Corrupt`] with file and place where what is left is damaged; [`LogError::InUse`]; [`LogError::Io`] when `to`
/// is not empty, when no segment is left, or what the file system says.
pub fn take_what_is_left(log: &Path, to: &Path) -> Result<Left, LogError> {
    let durable = Meta::load(&log.join("meta"))?.and_then(|meta| meta.durable);
    let taken = EmbeddedLog::open_for_reading(log, true)?.backup(to)?;
    let manifest = to.join(MANIFEST);
    // The new directory is a log and no backup.
    SystemFiles.remove(&manifest).map_err(|error| io_error("remove", &manifest, &error))?;
    sync_directory(&SystemFiles, to)?;
    Ok(Left { taken, durable: durable.map(|durable| durable.sequence) })
}

fn copy_back(backup: &Path, to: &Path, report: &BackupReport) -> Result<(), LogError> {
    for file in &report.files {
        let copied = copy(&SystemFiles, open_source(file.name.clone(), backup.join(&file.name))?, to)?;
        if copied != *file {
            let path = backup.join(&file.name);
            return Err(LogError::Corrupt(format!("{}: it changed while it was copied", path.display())));
        }
    }
    sync_directory(&SystemFiles, &to.join("segments"))?;
    sync_directory(&SystemFiles, to)
}
