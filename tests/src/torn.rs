//! Checkpoints of a simulated machine as files: what befalls them when their worker dies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use stream::sim::{DiskCounters, Prng, SimDisk};
use tempfile::TempDir;

/// A disk of its own; its files go with the last clone.
#[derive(Debug, Clone)]
pub struct Torn {
    /// What checkpoints are written to.
    pub disk: SimDisk,
    _dir: Arc<TempDir>,
}

/// Where files are in memory, if there is such a place: nothing of them must outlive the test.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

impl Default for Torn {
    fn default() -> Self {
        let dir = TempDir::new_in(place()).or_else(|_| TempDir::new()).unwrap();
        Self { disk: SimDisk::new(dir.path()), _dir: Arc::new(dir) }
    }
}

impl Torn {
    /// Its worker has died: its process alone, or the machine, whose power comes back, now and then with a bit that has
    /// changed. Now and then the disk fails some time later, until the next death.
    pub fn suffer(&self, prng: &mut Prng) {
        self.disk.fail_after(None);
        let kind = prng.below(4);
        if kind > 0 {
            self.disk.cut_power(prng).unwrap();
        }
        if kind > 2 {
            self.disk.flip_a_bit(prng).unwrap();
        }
        if prng.below(3) == 0 {
            self.disk.fail_after(Some(prng.below(80)));
        }
    }

    /// What befell it.
    #[must_use]
    pub fn counters(&self) -> DiskCounters {
        self.disk.counters()
    }
}
