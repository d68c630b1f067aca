//! The suite on the simulated log.

use super::*;
use crate::sim::{CommitFault, SimLog, SimSettings};

/// A simulated log without random faults.
struct SimHarness {
    log: SimLog,
}

impl Harness for SimHarness {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            open_transactions: true,
            truncation: true,
            time_outs: Some(TimeOuts {
                session: Duration::from_secs(2),
                transaction: Duration::from_secs(5),
            }),
            ..Abilities::PLAIN
        }
    }

    fn leave_open(&mut self, member: &Member, mut transaction: Transaction) -> Result<(), LogError> {
        let mut session = self.log.join(member)?;
        transaction.generation = session.assignment()?.generation;
        self.log.plan(&member.transactional_id, CommitFault::UnknownLost);
        session.commit(transaction);
        Ok(())
    }

    fn truncate(&mut self, at: TopicPartition, low: Offset) -> Result<(), LogError> {
        self.log.truncate(at, low)
    }

    fn pass(&mut self, time: Duration) {
        self.log.advance(i64::try_from(time.as_micros()).unwrap());
    }
}

#[test]
fn the_simulated_log_conforms() {
    let report =
        run_all(&mut |counts| Box::new(SimHarness { log: SimLog::new(SimSettings::new(1, counts)) }));
    assert_eq!(report.failed(), Vec::<&str>::new(), "\n{report}");
    assert_eq!(report.skipped(), ["reopen_keeps_everything"], "\n{report}");
}
