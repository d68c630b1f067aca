//! How far behind the readers of some partitions are, in time: how long ago was written what they have not committed yet.
//!
//! The log tells where a partition ends and how far its group has committed. Each look notes the ends; the first end that
//! is not passed yet says since when its records wait. So a look costs two questions a partition and reads nothing.

use crate::log::{Isolation, Log, LogError, Offset, TopicPartition};
use schemas::topics::Topic;
use std::collections::VecDeque;

/// A partition whose reader has not moved for so long is stopped or away, not slow: nothing that is held back would help.
const STOPPED_US: i64 = 1_000_000;
/// Ends noted of a partition at most; where its reader is further behind, ends in between are forgotten.
const NOTED_MAX: usize = 256;

/// Who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Consumer group.
    pub group: &'static str,
    /// Topic that it reads, all partitions.
    pub topic: Topic,
}

/// See the module.
#[derive(Debug)]
pub struct Delay {
    watched: Vec<(&'static str, Vec<Place>)>,
}

#[derive(Debug)]
struct Place {
    at: TopicPartition,
    /// Ends of the partition that are not passed, with the moment each was first seen, oldest first.
    ends: VecDeque<(i64, Offset)>,
    position: Offset,
    moved_us: i64,
}

impl Delay {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`].
    pub fn new(log: &dyn Log, watched: &[Watched], now_us: i64) -> Result<Self, LogError> {
        let of = |one: &Watched| {
            let places = (0..log.partitions(one.topic)?).map(|partition| Place {
                at: TopicPartition::new(one.topic, partition),
                ends: VecDeque::new(),
                position: 0,
                moved_us: now_us,
            });
            Ok((one.group, places.collect()))
        };
        Ok(Self { watched: watched.iter().map(of).collect::<Result<_, LogError>>()? })
    }

    /// How far the slowest of them is behind, microseconds, monotonic clock. A look can only tell what changed since the
    /// one before: it is as exact as looks are close.
    ///
    /// # Errors
    /// [`LogError::Unstable`] where the log cannot tell just now; or the log is away.
    pub fn look(&mut self, log: &dyn Log, now_us: i64) -> Result<i64, LogError> {
        let mut slowest = 0;
        for (group, places) in &mut self.watched {
            for place in places.iter_mut() {
                place.note_end(log.watermarks(place.at, Isolation::Committed)?.high, now_us);
            }
            let at: Vec<TopicPartition> = places.iter().map(|place| place.at).collect();
            let committed = log.committed(group, &at)?;
            for (place, position) in places.iter_mut().zip(committed) {
                place.passed(position.map_or(0, |position| position.offset), now_us);
                slowest = slowest.max(place.behind_us(now_us));
            }
        }
        Ok(slowest)
    }
}

impl Place {
    fn note_end(&mut self, end: Offset, now_us: i64) {
        let newest = self.ends.back().map_or(self.position, |(_, end)| *end);
        if end <= newest {
            return;
        }
        if self.ends.len() >= NOTED_MAX {
            self.ends.pop_back();
        }
        self.ends.push_back((now_us, end));
    }

    /// The reader has committed up to `position`. An end may be a commit marker's, which a position need not step over.
    fn passed(&mut self, position: Offset, now_us: i64) {
        if position != self.position {
            (self.position, self.moved_us) = (position, now_us);
        }
        while self.ends.front().is_some_and(|(_, end)| *end <= position.saturating_add(1)) {
            self.ends.pop_front();
        }
        if self.ends.is_empty() {
            self.moved_us = now_us;
        }
    }

    fn behind_us(&self, now_us: i64) -> i64 {
        match self.ends.front() {
            Some((noted_us, _)) if now_us.saturating_sub(self.moved_us) < STOPPED_US => {
                now_us.saturating_sub(*noted_us)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{CommitOutcome, Member, OutRecord, Position, Session, Transaction};
    use crate::sim::{Faults, SimLog, SimSettings};
    use schemas::topics::PartitionCounts;

    const WATCHED: [Watched; 1] = [Watched { group: "posting", topic: Topic::Commands }];

    fn log() -> SimLog {
        let counts = PartitionCounts { events: 1, internal: 2 };
        SimLog::new(SimSettings::new(1, counts).with_faults(Faults::NONE))
    }

    fn at(partition: u32) -> TopicPartition {
        TopicPartition::new(Topic::Commands, partition)
    }

    fn write(log: &SimLog, partition: u32, records: usize) {
        log.append(vec![OutRecord::new(at(partition), "x".into()); records]).expect("written");
    }

    fn reader(log: &SimLog) -> Box<dyn Session> {
        let named = |text: &str| text.to_owned();
        let member =
            Member { group: named("posting"), name: named("1"), transactional_id: named("t"), slots: 2 };
        log.join(&member).expect("joined")
    }

    fn commit(log: &SimLog, session: &mut dyn Session, partition: u32, offset: Offset) {
        let generation = loop {
            match session.assignment() {
                Ok(assignment) => break assignment.generation,
                Err(_) => log.advance(100_000),
            }
        };
        let positions = vec![(at(partition), Position { offset, metadata: String::new() })];
        let outcome = session.commit(Transaction { generation, records: Vec::new(), positions });
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    #[test]
    fn the_oldest_end_that_is_not_passed_tells() {
        let log = log();
        let mut session = reader(&log);
        let mut delay = Delay::new(&log, &WATCHED, 0).expect("watched");
        let mut look = |now_us: i64| delay.look(&log, now_us).expect("looked");
        assert_eq!(look(0), 0);
        write(&log, 0, 10);
        assert_eq!(look(10_000), 0, "seen just now");
        write(&log, 0, 10);
        write(&log, 1, 10);
        assert_eq!(look(30_000), 20_000);
        commit(&log, session.as_mut(), 0, 10);
        assert_eq!(look(35_000), 5_000, "what came first is passed");
        commit(&log, session.as_mut(), 0, 20);
        assert_eq!(look(50_000), 20_000, "the other partition");
        commit(&log, session.as_mut(), 1, 10);
        assert_eq!(look(60_000), 0);
    }

    #[test]
    fn one_that_does_not_move_is_stopped_not_late() {
        let log = log();
        let mut session = reader(&log);
        let mut delay = Delay::new(&log, &WATCHED, 0).expect("watched");
        let mut look = |now_us: i64| delay.look(&log, now_us).expect("looked");
        write(&log, 0, 10);
        assert_eq!((look(0), look(999_999), look(1_000_000)), (0, 999_999, 0));
        // It moves again, and is late until it has passed what lay there.
        commit(&log, session.as_mut(), 0, 5);
        assert_eq!(look(1_100_000), 1_100_000);
        commit(&log, session.as_mut(), 0, 10);
        assert_eq!(look(1_200_000), 0);
    }

    #[test]
    fn a_reader_far_behind_takes_no_more_memory() {
        let log = log();
        let mut delay = Delay::new(&log, &WATCHED, 0).expect("watched");
        for look in 0..1_000 {
            write(&log, 0, 1);
            delay.look(&log, look).expect("looked");
        }
        assert!(
            delay.watched.iter().flat_map(|(_, places)| places).all(|place| place.ends.len() <= NOTED_MAX)
        );
    }
}
