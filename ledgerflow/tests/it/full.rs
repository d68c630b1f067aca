//! A disk that takes no more: the process says so, ends with its own code, loses nothing that it has acknowledged, and
//! goes on when there is room.
//!
//! The file size limit (`ulimit -f`) stands for the full disk: it refuses writes in the same place and needs no
//! file system of its own. One test has such a file system, where the machine gives it one.

use crate::company::{Company, PATIENCE, Running, within};
use crate::traffic::{Batch, Traffic};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The segment of this size takes no more; it is smaller than a segment may get, so no other begins.
const LIMIT_KIB: u32 = 600;
const SHORT_OF_PATIENCE: &str = "
log: {segment_mib: 1, sync_interval_ms: 5, full_seconds: 1}
partitions: {events: 2, internal: 3}
checkpoint: {seconds: 1}
retention: {interval_seconds: 1, free_percent: 1}
accounts: accounts.yaml
";

/// Sends until the process has ended because the disk is full, as the system says in these words. Gives what was not taken.
fn sent_until_full(mut full: Running, traffic: &mut Traffic, words: &str) -> Vec<Batch> {
    let (mut rest, mut taken) = (Vec::new(), 0);
    let ended = within(PATIENCE, || {
        let ended = full.ended();
        if ended.is_none() {
            let batch = traffic.batch(25, 200);
            if traffic.send(&full, &batch) {
                taken += 1;
            } else {
                rest.push(batch);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        ended
    });
    let said = full.err();
    assert_eq!(ended.and_then(|status| status.code()), Some(5), "{ended:?}: {said}");
    assert!(taken > 0 && !rest.is_empty(), "{taken} batches taken, {} not: {said}", rest.len());
    assert!(said.contains(words), "the system's words: {said}");
    assert!(said.contains("Nothing that was acknowledged is lost; make room"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    rest
}

/// There is room: it goes on, takes the rest, and the books are right.
fn goes_on(company: &Company, traffic: &mut Traffic, rest: &[Batch]) {
    let running = company.run();
    for batch in rest {
        assert!(traffic.send(&running, batch), "{}", running.err());
    }
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    company.is_whole();
    traffic.is_booked_once(&company.books());
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
}

#[test]
fn a_full_disk_ends_the_process_by_its_own_code_and_loses_nothing() {
    let company = Company::with(SHORT_OF_PATIENCE);
    let mut traffic = Traffic::new(41);
    let rest =
        sent_until_full(company.run_limited(&format!("-S -f {LIMIT_KIB}")), &mut traffic, "File too large");
    goes_on(&company, &mut traffic, &rest);
}

/// Set in the process that may mount a file system.
const INSIDE: &str = "LEDGERFLOW_FULL_INSIDE";
const ITSELF: &str = "full::a_file_system_that_is_full_ends_the_process_and_loses_nothing";

#[test]
fn a_file_system_that_is_full_ends_the_process_and_loses_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        return in_a_namespace();
    }
    let company = Company::with(SHORT_OF_PATIENCE);
    let disk = Disk::mounted(&company.books(), "4m");
    let mut traffic = Traffic::new(47);
    let rest = sent_until_full(company.run(), &mut traffic, "No space left on device");
    disk.mount("remount,size=64m").unwrap();
    goes_on(&company, &mut traffic, &rest);
}

/// Runs the test once more where it may mount a file system, without being root; says so where that cannot be had.
fn in_a_namespace() {
    let unshare = |command: &mut Command| {
        let ended = command.output();
        let said = |out: &std::process::Output| {
            String::from_utf8_lossy(&[&*out.stdout, &*out.stderr].concat()).into_owned()
        };
        ended
            .map_err(|why| why.to_string())
            .and_then(|out| out.status.success().then(|| said(&out)).ok_or_else(|| said(&out)))
    };
    let place = tempfile::tempdir().unwrap();
    let tried =
        unshare(Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs"]).arg(place.path()));
    if let Err(why) = tried {
        // Past the test harness, which keeps what a test that passes has said.
        let _ = writeln!(std::io::stdout(), "skipped: {ITSELF}: no file system of its own: {}", why.trim());
        return;
    }
    let mut again = Command::new("unshare");
    again.arg("-rm").arg(std::env::current_exe().unwrap()).args([ITSELF, "--exact", "--nocapture"]);
    let said = unshare(again.env(INSIDE, "1")).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("1 passed"), "{said}");
}

/// A file system in memory, mounted there until this goes.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path, size: &str) -> Self {
        std::fs::create_dir(at).unwrap();
        let disk = Self(at.to_owned());
        disk.mount(&format!("size={size}")).unwrap();
        disk
    }

    fn mount(&self, options: &str) -> Result<(), String> {
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0).output();
        let out = out.map_err(|why| why.to_string())?;
        out.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with the namespace in any case; the folder below it can be removed only without it.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_that_gets_room_in_time_is_gone_on_from_in_place() {
    let patient = SHORT_OF_PATIENCE.replace("full_seconds: 1", "full_seconds: 3600");
    let company = Company::with(&patient);
    let mut traffic = Traffic::new(43);
    let full = company.run_limited(&format!("-S -f {LIMIT_KIB}"));
    let refused = within(PATIENCE, || {
        let batch = traffic.batch(25, 200);
        (!traffic.send(&full, &batch)).then_some(batch)
    });
    let refused = refused.unwrap_or_else(|| panic!("never full: {}", full.err()));
    // It says so while it waits.
    let said =
        within(PATIENCE, || Some(company.cli(&["health"])).filter(|said| said.err.contains("cannot write")));
    said.unwrap_or_else(|| panic!("never blocked: {}", full.err())).ends(3);
    let stages = company.cli(&["status"]).out;
    assert!(stages.contains("cannot write") && stages.contains("File too large"), "{stages}");
    full.allow_files_of_any_size();
    let taken = within(PATIENCE, || traffic.send(&full, &refused).then_some(()));
    assert!(taken.is_some(), "{}", full.err());
    let settled = within(PATIENCE, || traffic.is_settled(&full).then_some(()));
    assert!(settled.is_some(), "{}", full.err());
    let ready = within(PATIENCE, || (company.cli(&["health"]).code == Some(0)).then_some(()));
    assert!(ready.is_some(), "{}", full.err());
    full.stop();
    company.is_whole();
    traffic.is_booked_once(&company.books());
}
