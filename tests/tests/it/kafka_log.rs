//! The suite that every log passes, on Kafka with a real broker.

use ledgerflow_tests::broker::Broker;
use schemas::topics::{PartitionCounts, Topic};
use std::time::Duration;
use stream::conformance::{Abilities, Harness, TimeOuts, run_some};
use stream::faults;
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::{Log, LogError, Member, Offset, TopicPartition, Transaction};

/// A member that is silent for longer is out.
const SESSION: Duration = Duration::from_secs(4);
const TRANSACTION: Duration = Duration::from_secs(16);

struct KafkaHarness {
    log: KafkaLog,
}

impl KafkaHarness {
    fn boxed(broker: &Broker, counts: PartitionCounts) -> Box<dyn Harness> {
        let options = Options {
            session_timeout: SESSION,
            step_timeout: SESSION,
            transaction_timeout: TRANSACTION,
            ..broker.fresh_options(counts).unwrap()
        };
        Box::new(Self { log: KafkaLog::open(options).unwrap() })
    }
}

impl Harness for KafkaHarness {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reopen: true,
            open_transactions: true,
            truncation: true,
            time_outs: Some(TimeOuts { session: SESSION, transaction: TRANSACTION }),
            whole_commits: false,
            wait: Duration::from_millis(40),
            patience: 300,
            ..Abilities::PLAIN
        }
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        self.log = KafkaLog::open(self.log.options().clone())?;
        Ok(())
    }

    fn leave_open(&mut self, member: &Member, mut transaction: Transaction) -> Result<(), LogError> {
        let mut session = self.log.join(member)?;
        transaction.generation = loop {
            match session.assignment() {
                Err(LogError::Retriable(_)) => {}
                other => break other?.generation,
            }
        };
        let _armed = faults::arm_thread(|point, _| point == faults::KAFKA_BEFORE_END);
        session.commit(transaction);
        Ok(())
    }

    fn truncate(&mut self, at: TopicPartition, low: Offset) -> Result<(), LogError> {
        topics::give_up(self.log.options(), at, low)
    }

    fn pass(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl Drop for KafkaHarness {
    fn drop(&mut self) {
        topics::delete(self.log.options(), Topic::ALL).unwrap();
    }
}

/// `CASE=name` runs the cases of that name alone.
#[test]
fn the_kafka_log_conforms() {
    let wanted = std::env::var("CASE").ok();
    let broker = Broker::shared();
    let mut make = |counts| KafkaHarness::boxed(&broker, counts);
    let report = run_some(&mut make, &|name| wanted.as_deref().is_none_or(|wanted| wanted == name));
    println!("{report}");
    assert_eq!(report.failed(), Vec::<&str>::new(), "\n{report}");
    if wanted.is_none() {
        assert_eq!(report.skipped(), ["open_names_its_holder", "commits_are_seen_whole"], "\n{report}");
    }
}
