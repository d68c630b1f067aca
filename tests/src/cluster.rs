//! Three brokers of one's own, with each record on all of them and two that must have it: what a cluster is in production.
//!
//! Each is broker and controller. One may be killed and run again while the other two go on.

use crate::broker::{Broker, free_ports};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

/// Brokers.
pub const BROKERS: usize = 3;
/// Partitions of the topics in which the brokers keep positions and transactions, as [`Broker`] sets them.
const INTERNAL_PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose loss is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The leader of a topic's partition; the name is that on the cluster.
    Leader(&'a str, i32),
    /// The coordinator of a consumer group.
    Group(&'a str),
    /// The coordinator of a transactional id.
    Transaction(&'a str),
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    brokers: [Broker; BROKERS],
}

impl Cluster {
    /// Starts one.
    ///
    /// # Panics
    /// A broker does not come up.
    #[must_use]
    pub fn start() -> Self {
        let controllers: [u16; BROKERS] = free_ports();
        let voters = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}"));
        let voters = format!("controller.quorum.voters={}", voters.collect::<Vec<_>>().join(","));
        let mut ids = 1..;
        let mut brokers = controllers.map(|controller| {
            let id = format!("node.id={}", ids.next().unwrap_or(0));
            let lines = [
                &*id,
                &*voters,
                "offsets.topic.replication.factor=3",
                "transaction.state.log.replication.factor=3",
                "transaction.state.log.min.isr=2",
                "share.coordinator.state.topic.replication.factor=3",
                "share.coordinator.state.topic.min.isr=2",
                "broker.session.timeout.ms=6000",
            ];
            Broker::of(controller, &lines)
        });
        // One alone has no quorum: all are started before any is waited for.
        brokers.iter_mut().for_each(Broker::launch);
        brokers.iter_mut().for_each(Broker::wait);
        let cluster = Self { brokers };
        cluster.wait_in_sync();
        cluster
    }

    /// `host:port,host:port,host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers.each_ref().map(Broker::bootstrap).join(",")
    }

    /// A broker, from 0.
    pub fn broker(&mut self, number: usize) -> &mut Broker {
        &mut self.brokers[number]
    }

    fn client(&self) -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().unwrap()
    }

    /// Which broker that is at the moment, from 0; `None` while nobody is.
    #[must_use]
    pub fn at(&self, place: Place<'_>) -> Option<usize> {
        let of_name = |name: &str| java_hash(name).wrapping_abs() % INTERNAL_PARTITIONS;
        let (topic, partition) = match place {
            Place::Leader(topic, partition) => (topic, partition),
            Place::Group(name) => ("__consumer_offsets", of_name(name)),
            Place::Transaction(id) => ("__transaction_state", of_name(id)),
        };
        let metadata = self.client().fetch_metadata(Some(topic), PATIENCE).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let leader = partitions.iter().find(|found| found.id() == partition)?.leader();
        usize::try_from(leader - 1).ok()
    }

    /// Waits until every partition is on all brokers again: then one of them may be lost.
    ///
    /// # Panics
    /// It is not after some minutes.
    pub fn wait_in_sync(&self) {
        for _ in 0..600 {
            let metadata = self.client().fetch_metadata(None, PATIENCE).ok();
            let in_sync = metadata.is_some_and(|all| {
                all.brokers().len() == BROKERS
                    && all
                        .topics()
                        .iter()
                        .flat_map(|topic| topic.partitions())
                        .all(|of| of.isr().len() == of.replicas().len())
            });
            if in_sync {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("the brokers are not in sync");
    }
}

/// What Java's `String.hashCode` gives; the brokers place groups and ids by it.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::java_hash;

    /// s\[0\]*31^(n-1) + ... + s\[n-1\], in 32 bits.
    #[test]
    fn names_are_hashed_as_java_does() {
        for (text, hash) in [("", 0), ("a", 97), ("hello", 99_162_322), ("posting", -391_201_982)] {
            assert_eq!(java_hash(text), hash, "{text}");
        }
    }
}
