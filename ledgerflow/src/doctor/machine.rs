//! The machine: the data directory, room on its disk, open files, the clock.

use super::{Finding, Verdict, bounded, quoted};
use crate::config::Settings;
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};
use schemas::topics::Topic;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Below it the disk is filling up.
const FREE_LOW: u64 = 10 * GIB;
/// Below it the log ends soon.
const FREE_LEAST: u64 = GIB;
/// Files that a process has open beside those of partitions: segments, sockets, connections.
const OTHER_FILES: u64 = 512;
/// Files that a partition may take.
const FILES_OF_PARTITION: u64 = 2;

const _: () = assert!(FREE_LEAST < FREE_LOW);

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let dir = settings.log.dir.as_path();
    let limit = getrlimit(Resource::Nofile);
    let partitions: u32 =
        Topic::ALL.iter().map(|topic| topic.partition_count(settings.partition_counts())).sum();
    let free = statvfs(existing(dir).as_path()).map(|held| held.f_bavail.saturating_mul(held.f_frsize));
    vec![
        of_directory(dir, &Directory::seen(dir)),
        of_disk(dir, free.map_err(|error| error.to_string())),
        of_files(limit.current, limit.maximum, files_needed(partitions)),
        of_clock(synchronised()),
    ]
}

/// What is seen of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Directory {
    /// It is not there; whether this user can make it.
    Missing { makes: bool },
    /// Something else has its name.
    Other,
    /// It is there.
    There { mode: u32, writable: bool },
    /// It cannot be looked at.
    Hidden(String),
}

impl Directory {
    fn seen(dir: &Path) -> Self {
        let writable = |dir: &Path| access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        match std::fs::metadata(dir) {
            Ok(of) if of.is_dir() => {
                Self::There { mode: of.permissions().mode() & 0o7777, writable: writable(dir) }
            }
            Ok(_) => Self::Other,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::Missing { makes: writable(&existing(dir)) }
            }
            Err(error) => Self::Hidden(error.to_string()),
        }
    }
}

/// The directory, or the nearest one above it that is there.
fn existing(dir: &Path) -> PathBuf {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    whole.ancestors().find(|above| above.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn of_directory(dir: &Path, seen: &Directory) -> Finding {
    let name = dir.display().to_string();
    let word = quoted(&name);
    let finding = |verdict, found: String, remedy: String| {
        Finding::new("data directory", verdict, format!("{name} {found}"), remedy)
    };
    match seen {
        Directory::Missing { makes: true } => {
            finding(Verdict::Good, "is not there yet, a start makes it".to_owned(), String::new())
        }
        Directory::Missing { makes: false } => finding(
            Verdict::Wrong,
            "is not there, and this user cannot make it".to_owned(),
            format!("as root: install -d -m 700 -o USER {word}"),
        ),
        Directory::Other => {
            finding(Verdict::Wrong, "is no directory".to_owned(), "log.dir: another path".to_owned())
        }
        Directory::Hidden(why) => finding(
            Verdict::Wrong,
            format!("cannot be looked at: {why}"),
            format!("as root: chown USER {word}; the folders above it need x for USER"),
        ),
        Directory::There { writable: false, .. } => finding(
            Verdict::Wrong,
            "cannot be written by this user".to_owned(),
            format!("as root: chown -R USER {word}"),
        ),
        Directory::There { mode, writable: true } => {
            let (verdict, who) = match mode {
                mode if mode & 0o002 != 0 => (Verdict::Wrong, ": everybody may change the books"),
                mode if mode & 0o005 != 0 => (Verdict::Warning, ": everybody may read the books"),
                _ => (Verdict::Good, ""),
            };
            finding(verdict, format!("has mode {mode:04o}{who}"), format!("chmod 700 {word}"))
        }
    }
}

fn of_disk(dir: &Path, free: Result<u64, String>) -> Finding {
    let remedy = || {
        format!(
            "make room on the file system of {}, or log.dir: a path on a larger one",
            quoted(&dir.display().to_string())
        )
    };
    match free {
        Err(why) => Finding::new("free disk", Verdict::Unknown, why, format!("df {}", dir.display())),
        Ok(bytes) => {
            let verdict = match bytes {
                ..FREE_LEAST => Verdict::Wrong,
                FREE_LEAST..FREE_LOW => Verdict::Warning,
                FREE_LOW.. => Verdict::Good,
            };
            Finding::new("free disk", verdict, size(bytes), remedy())
        }
    }
}

/// Bytes for people, rounded down.
fn size(bytes: u64) -> String {
    if bytes >= FREE_LOW { format!("{} GiB", bytes / GIB) } else { format!("{} MiB", bytes / MIB) }
}

fn files_needed(partitions: u32) -> u64 {
    u64::from(partitions).saturating_mul(FILES_OF_PARTITION).saturating_add(OTHER_FILES)
}

/// `None` = no limit. A start raises the soft limit to the hard one.
fn of_files(soft: Option<u64>, hard: Option<u64>, needed: u64) -> Finding {
    let shown = |limit: Option<u64>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
    let reaches = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    let verdict = match (reaches(soft), reaches(hard)) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Warning,
        (false, false) => Verdict::Wrong,
    };
    let found = match hard {
        hard if hard == soft => format!("{} may be open, {needed} needed", shown(soft)),
        hard => format!("{} may be open, at most {}, {needed} needed", shown(soft), shown(hard)),
    };
    let remedy =
        format!("LimitNOFILE={needed} in the unit of systemd, or ulimit -n {needed} before the start");
    Finding::new("open files", verdict, found, remedy)
}

/// What the machine says of its clock.
fn synchronised() -> Result<String, String> {
    let asked = || Command::new("timedatectl").args(["show", "-p", "NTPSynchronized", "--value"]).output();
    match bounded(asked) {
        None => Err("timedatectl does not answer".to_owned()),
        Some(Err(why)) => Err(format!("timedatectl: {why}")),
        Some(Ok(said)) if said.status.success() => {
            Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
        }
        Some(Ok(said)) => {
            let why = String::from_utf8_lossy(&said.stderr);
            Err(format!("timedatectl: {}", why.lines().next().unwrap_or_default().trim()))
        }
    }
}

fn of_clock(told: Result<String, String>) -> Finding {
    const ELSEWHERE: &str = "chronyc tracking, or ntpq -p; in a container ask its host";
    let (verdict, found, remedy) = match told.as_deref() {
        Ok("yes") => (Verdict::Good, "synchronised".to_owned(), ""),
        Ok("no") => {
            let found = "not synchronised: business days begin when this clock says so";
            (Verdict::Warning, found.to_owned(), "timedatectl set-ntp true")
        }
        Ok(other) => (Verdict::Unknown, format!("timedatectl says {other:?}"), ELSEWHERE),
        Err(why) => (Verdict::Unknown, why.to_owned(), ELSEWHERE),
    };
    Finding::new("clock", verdict, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Good, Unknown, Warning, Wrong};

    #[test]
    fn a_directory_is_for_its_owner_alone() {
        let there = |mode| Directory::There { mode, writable: true };
        for (seen, verdict, found, remedy) in [
            (there(0o700), Good, "my books has mode 0700", ""),
            (there(0o770), Good, "my books has mode 0770", ""),
            (
                there(0o755),
                Warning,
                "my books has mode 0755: everybody may read the books",
                "chmod 700 'my books'",
            ),
            (
                there(0o777),
                Wrong,
                "my books has mode 0777: everybody may change the books",
                "chmod 700 'my books'",
            ),
            (
                Directory::There { mode: 0o700, writable: false },
                Wrong,
                "my books cannot be written by this user",
                "as root: chown -R USER 'my books'",
            ),
            (Directory::Missing { makes: true }, Good, "my books is not there yet, a start makes it", ""),
            (
                Directory::Missing { makes: false },
                Wrong,
                "my books is not there, and this user cannot make it",
                "as root: install -d -m 700 -o USER 'my books'",
            ),
            (Directory::Other, Wrong, "my books is no directory", "log.dir: another path"),
        ] {
            let want = Finding::new("data directory", verdict, found, remedy);
            assert_eq!(of_directory(Path::new("my books"), &seen), want);
        }
    }

    #[test]
    fn a_directory_is_seen_as_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        let (books, file) = (dir.path().join("books"), dir.path().join("file"));
        std::fs::create_dir(&books).expect("books");
        std::fs::set_permissions(&books, std::fs::Permissions::from_mode(0o750)).expect("mode");
        std::fs::write(&file, "").expect("file");
        assert_eq!(Directory::seen(&books), Directory::There { mode: 0o750, writable: true });
        assert_eq!(Directory::seen(&file), Directory::Other);
        assert_eq!(Directory::seen(&books.join("a/b")), Directory::Missing { makes: true });
        assert_eq!(existing(&books.join("a/b")), books);
    }

    #[test]
    fn room_on_the_disk() {
        for (free, verdict, found) in [
            (FREE_LOW, Good, "10 GiB"),
            (FREE_LOW - 1, Warning, "10239 MiB"),
            (FREE_LEAST, Warning, "1024 MiB"),
            (FREE_LEAST - 1, Wrong, "1023 MiB"),
            (0, Wrong, "0 MiB"),
        ] {
            let of = of_disk(Path::new("/books"), Ok(free));
            assert_eq!((of.verdict, of.found.as_str()), (verdict, found));
            assert_eq!(of.remedy.is_empty(), verdict == Good);
        }
        assert_eq!(of_disk(Path::new("/books"), Err("no".to_owned())).verdict, Unknown);
    }

    #[test]
    fn open_files_are_measured_against_the_partitions() {
        let needed = files_needed(100);
        assert_eq!(needed, 712);
        for (soft, hard, verdict, found) in [
            (Some(712), Some(712), Good, "712 may be open, 712 needed"),
            (None, None, Good, "any number may be open, 712 needed"),
            (Some(711), Some(4096), Warning, "711 may be open, at most 4096, 712 needed"),
            (Some(256), Some(711), Wrong, "256 may be open, at most 711, 712 needed"),
        ] {
            let of = of_files(soft, hard, needed);
            assert_eq!((of.verdict, of.found.as_str()), (verdict, found));
            let told = "LimitNOFILE=712 in the unit of systemd, or ulimit -n 712 before the start";
            assert_eq!(of.remedy, if verdict == Good { "" } else { told });
        }
    }

    #[test]
    fn a_clock_that_nobody_sets_is_told() {
        for (told, verdict) in [
            (Ok("yes"), Good),
            (Ok("no"), Warning),
            (Ok(""), Unknown),
            (Err("timedatectl: No such file or directory"), Unknown),
        ] {
            let of = of_clock(told.map(str::to_owned).map_err(str::to_owned));
            assert_eq!(of.verdict, verdict, "{told:?}");
            assert_eq!(of.remedy.is_empty(), verdict == Good, "{told:?}");
        }
    }
}
