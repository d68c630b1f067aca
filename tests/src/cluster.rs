//! Three brokers of one's own, with each record on all of them and two that must have it: what a cluster is in production.
//!
//! Each is broker and controller. One may be killed and run again while the other two go on.

use crate::broker::{Broker, free_ports};
use schemas::topics::Topic;
use std::time::Duration;
use stream::kafka::Options;
use stream::kafka::cluster::{self, Partition, Seen};

/// Brokers.
pub const BROKERS: usize = 3;

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
        Self { brokers }
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

    /// Which broker leads a topic's first partition at the moment, from 0; `None` while none does.
    #[must_use]
    pub fn leader_of(&self, options: &Options, topic: Topic) -> Option<usize> {
        let seen = cluster::look(options).ok()?;
        let partitions =
            seen.topics.into_iter().find(|(of, _)| *of == topic).map(|(_, seen)| partitions(seen))?;
        usize::try_from(partitions.first()?.leader? - 1).ok()
    }

    /// Waits until every partition is on all brokers again: then one of them may be lost.
    ///
    /// # Panics
    /// It is not after some minutes.
    pub fn wait_in_step(&self, options: &Options) {
        for _ in 0..600 {
            let in_step = cluster::look(options).is_ok_and(|seen| {
                let mut all = seen.topics.into_iter().flat_map(|(_, seen)| partitions(seen));
                seen.brokers.len() == BROKERS && all.all(|of| of.in_step.len() == BROKERS)
            });
            if in_step {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("the brokers are not in step");
    }
}

fn partitions(seen: Seen) -> Vec<Partition> {
    match seen {
        Seen::Partitions(partitions) => partitions,
        _ => Vec::new(),
    }
}
