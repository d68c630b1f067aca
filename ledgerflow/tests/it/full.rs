//! A disk that takes no more: the process says so, ends with its own code, loses nothing that it has acknowledged, and
//! goes on when there is room.
//!
//! The file size limit (`ulimit -f`) stands for the full disk: it refuses writes in the same place and needs no
//! file system of its own.

use crate::company::{Company, PATIENCE, within};
use crate::traffic::Traffic;

/// The segment of this size takes no more; it is smaller than a segment may get, so no other begins.
const LIMIT_KIB: u32 = 600;
const SHORT_OF_PATIENCE: &str = "
log: {segment_mib: 1, sync_interval_ms: 5, full_seconds: 1}
partitions: {events: 2, internal: 3}
checkpoint: {seconds: 1}
retention: {interval_seconds: 1, free_percent: 1}
accounts: accounts.yaml
";

#[test]
fn a_full_disk_ends_the_process_by_its_own_code_and_loses_nothing() {
    let company = Company::with(SHORT_OF_PATIENCE);
    let mut traffic = Traffic::new(41);
    let mut full = company.run_limited(LIMIT_KIB);
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
    assert!(said.contains("File too large"), "the system's words: {said}");
    assert!(said.contains("Nothing that was acknowledged is lost; make room"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    // There is room.
    let running = company.run();
    for batch in &rest {
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
fn a_full_disk_that_gets_room_in_time_is_gone_on_from_in_place() {
    let patient = SHORT_OF_PATIENCE.replace("full_seconds: 1", "full_seconds: 3600");
    let company = Company::with(&patient);
    let mut traffic = Traffic::new(43);
    let full = company.run_limited(LIMIT_KIB);
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
