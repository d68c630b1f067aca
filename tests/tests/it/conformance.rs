//! The suite that every log passes, on the embedded log with its real files.

use schemas::topics::PartitionCounts;
use stream::conformance::{Abilities, Harness, run_all};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, LogError};
use tempfile::TempDir;

struct EmbeddedHarness {
    dir: TempDir,
    counts: PartitionCounts,
    /// Absent only while it is opened anew.
    log: Option<EmbeddedLog>,
}

impl EmbeddedHarness {
    fn boxed(counts: PartitionCounts) -> Box<dyn Harness> {
        let dir = tempfile::tempdir().unwrap();
        let log = Some(EmbeddedLog::open(dir.path(), Options::new(counts)).unwrap());
        Box::new(Self { dir, counts, log })
    }
}

impl Harness for EmbeddedHarness {
    fn log(&self) -> &dyn Log {
        self.log.as_ref().unwrap()
    }

    fn abilities(&self) -> Abilities {
        Abilities { reopen: true, ..Abilities::PLAIN }
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        self.log = None;
        self.log = Some(EmbeddedLog::open(self.dir.path(), Options::new(self.counts))?);
        Ok(())
    }
}

#[test]
fn the_embedded_log_conforms() {
    let report = run_all(&mut EmbeddedHarness::boxed);
    println!("{report}");
    assert_eq!(report.failed(), Vec::<&str>::new(), "\n{report}");
    assert!(!report.skipped().contains(&"reopen_keeps_everything"), "\n{report}");
}
