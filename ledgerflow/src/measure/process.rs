//! CPU seconds and memory of this process, read from `/proc`.

use std::collections::BTreeMap;

/// Clock ticks a second in `/proc/*/stat`: fixed at 100 on Linux for user space (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_S: u64 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU time, milliseconds, user and system.
    pub cpu_ms: u64,
    /// The same per thread name.
    pub threads: BTreeMap<String, u64>,
    /// Largest resident memory, MiB.
    pub rss_mib: u64,
}

/// What another process has used; nothing where it is gone.
#[must_use]
pub fn of(pid: u32) -> Usage {
    let proc = format!("/proc/{pid}");
    Usage { cpu_ms: cpu_of(&proc), threads: threads_of(&proc), rss_mib: rss_of(&proc) }
}

/// CPU time of the process so far, milliseconds, user and system.
#[must_use]
pub fn cpu_ms() -> u64 {
    cpu_of("/proc/self")
}

fn cpu_of(proc: &str) -> u64 {
    std::fs::read_to_string(format!("{proc}/stat")).ok().and_then(|stat| ticks(&stat)).unwrap_or(0) * 1000
        / TICKS_PER_S
}

/// CPU time per thread name, milliseconds.
#[must_use]
pub fn thread_cpu_ms() -> BTreeMap<String, u64> {
    threads_of("/proc/self")
}

fn threads_of(proc: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir(format!("{proc}/task")) else { return all };
    for task in tasks.flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(name, _)| name);
        if let (Some(name), Some(ticks)) = (name, ticks(&stat)) {
            *all.entry(name.to_owned()).or_insert(0) += ticks * 1000 / TICKS_PER_S;
        }
    }
    all
}

/// Largest resident memory so far, MiB.
#[must_use]
pub fn rss_mib() -> u64 {
    rss_of("/proc/self")
}

fn rss_of(proc: &str) -> u64 {
    status_kib(proc, "VmHWM:").unwrap_or(0) / 1024
}

/// A figure of `/proc/*/status`, KiB.
fn status_kib(proc: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("{proc}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().split(' ').next()?.parse().ok()
}

/// Resident memory now, bytes; `None` where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    status_kib("/proc/self", "VmRSS:").map(|kib| kib * 1024)
}

/// Files and sockets that are open; `None` where the system does not tell. The folder that is read counts too.
#[must_use]
pub fn open_files() -> Option<u64> {
    std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64)
}

/// Files and sockets that may be open; `None` = no limit.
#[must_use]
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Lets this process have as many files open as the system allows it: the soft limit becomes the hard one.
///
/// # Errors
/// What the system says.
pub fn raise_open_files() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

/// Fields 14 and 15 of a stat line: user and system time. The name (field 2) may hold spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0";
        assert_eq!(ticks(stat), Some(333));
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        assert!(rss_mib() > 0);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        let before = open_files().expect("told");
        let opened: Vec<_> = (0..20).map(|_| std::fs::File::open("/proc/self/stat").expect("file")).collect();
        assert!(open_files().is_some_and(|files| files >= before.min(20)), "{} are open", opened.len());
        assert!(open_files_max().is_none_or(|most| most > before));
    }
}
