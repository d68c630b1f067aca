//! Checkpoints on a disk that fails: what is no good and cannot be removed is not read again.

use schemas::topics::PartitionCounts;
use std::sync::Arc;
use stream::log::Log;
use stream::sim::{SimDisk, SimLog, SimSettings};
use stream::store::Label;
use stream::worker::{Changes, Checkpoints, DiskCheckpoints};

fn label(batch: u64) -> Label {
    Label { generation: 0, epoch: 1, batch, hash: [1; 32], positions: Vec::new(), changelog_offset: 0 }
}

fn saved(checkpoints: &mut DiskCheckpoints, batch: u64) {
    let mut changes = Changes::default();
    changes.pairs.put(b"key", Some(b"value"));
    checkpoints.save(0, label(batch), changes, 0).unwrap();
}

#[test]
fn a_checkpoint_that_cannot_be_removed_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(dir.path());
    let log: Arc<dyn Log> =
        Arc::new(SimLog::new(SimSettings::new(1, PartitionCounts { events: 1, internal: 1 })));
    let opened = || DiskCheckpoints::simulated(&disk, "tally", Arc::clone(&log));
    let mut checkpoints = opened();
    assert_eq!(checkpoints.latest(0), None);
    saved(&mut checkpoints, 1);
    drop(checkpoints);

    let mut checkpoints = opened();
    assert_eq!(checkpoints.latest(0), Some(label(1)));
    disk.fail_after(Some(0));
    assert!(!checkpoints.discard(0));
    assert_eq!(checkpoints.latest(0), None, "it lies there still");
    disk.fail_after(None);
    assert_eq!(checkpoints.latest(0), None, "and is removed as soon as it can be");
    saved(&mut checkpoints, 2);
    drop(checkpoints);
    assert_eq!(opened().latest(0), Some(label(2)));
}
