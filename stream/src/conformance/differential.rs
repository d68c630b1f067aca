//! A seeded random case: any order of appends, commits, refused commits, take-overs, readings and seeks on the
//! log and on a model that a reader of this file can check by eye; everything is compared.

use super::exam::{
    COUNTS, Content, Exam, Failure, Verdict, aborted, content, expect, fenced, member, position, same,
    written,
};
use super::{Case, Need};
use crate::log::{
    Fetch, Header, Isolation, Member, Offset, OutRecord, Position, Reader, Session, TopicPartition,
    Transaction,
};
use crate::sim::Prng;
use bytes::Bytes;
use schemas::topics::Topic;
use std::collections::BTreeMap;

pub(super) const CASES: &[Case] = &[Case::new(
    "random_against_model",
    "Random calls end as the model says: the same records in the same order, the same positions, the same refusals.",
    Need::Nothing,
    random_against_model,
)];

const SEEDS: u64 = 4;
const CALLS: usize = 150;
const PLACES: [TopicPartition; 5] = [
    TopicPartition::new(Topic::Commands, 0),
    TopicPartition::new(Topic::Commands, 7),
    TopicPartition::new(Topic::Journal, 0),
    TopicPartition::new(Topic::Events2, 1),
    TopicPartition::new(Topic::Flow, 0),
];
const GROUPS: [&str; 2] = ["posting", "settlement"];

/// What the log must hold.
#[derive(Debug, Default)]
struct Model {
    records: BTreeMap<TopicPartition, Vec<Content>>,
    positions: BTreeMap<(usize, TopicPartition), Position>,
}

impl Model {
    fn write(&mut self, records: &[OutRecord]) {
        for record in records {
            self.records.entry(record.to).or_default().push(written(record));
        }
    }
}

/// One run: the model beside what the calls so far have left in hand.
struct Run<'a, 'h> {
    exam: &'a mut Exam<'h>,
    prng: Prng,
    /// Prefix of the group names, so that the seeds' groups are apart on one log.
    seed: u64,
    model: Model,
    /// The owner of each group.
    owners: Vec<Option<Box<dyn Session>>>,
    reader: Box<dyn Reader>,
    /// What the reader has read of each partition, with offsets.
    read: BTreeMap<TopicPartition, Vec<(Offset, Content)>>,
}

fn random_against_model(exam: &mut Exam<'_>) -> Verdict {
    let mut model = Model::default();
    for seed in 1..=SEEDS {
        let mut start = Vec::new();
        let mut read = BTreeMap::new();
        for at in PLACES {
            let low = exam.log().watermarks(at, Isolation::Committed)?.low;
            start.push((at, low));
            read.insert(at, Vec::new());
        }
        let reader = exam.log().reader(&start, Isolation::Committed)?;
        let owners = GROUPS.iter().map(|_| None).collect();
        model.positions.clear();
        let mut run = Run { exam, prng: Prng::new(seed), seed, model, owners, reader, read };
        for call in 0..CALLS {
            run.call().map_err(|failure| Failure(format!("seed {seed}, call {call}: {}", failure.0)))?;
        }
        run.compare().map_err(|failure| Failure(format!("seed {seed}, at the end: {}", failure.0)))?;
        model = run.model;
    }
    Ok(())
}

impl Run<'_, '_> {
    fn call(&mut self) -> Verdict {
        match self.prng.below(20) {
            0..=4 => self.append(),
            5..=9 => self.commit(),
            10 => self.commit_to_unknown(),
            11 => self.commit_under_a_wrong_generation(),
            12 => self.take_over(),
            13..=16 => self.poll(),
            17 => self.seek(),
            18 => self.compare_positions(),
            _ => self.compare(),
        }
    }

    fn place(&mut self) -> TopicPartition {
        let index = self.prng.index(PLACES.len());
        PLACES.get(index).copied().unwrap_or(TopicPartition::new(Topic::Flow, 0))
    }

    fn bytes(&mut self, length_max: u64) -> Bytes {
        let length = self.prng.below(length_max + 1);
        (0..length).map(|_| u8::try_from(self.prng.below(256)).unwrap_or(0)).collect()
    }

    fn record(&mut self) -> OutRecord {
        let to = self.place();
        let headers = (0..self.prng.below(3))
            .map(|n| Header { name: Bytes::from(format!("h{n}")), value: self.bytes(12) })
            .collect();
        OutRecord { to, key: self.bytes(8), value: self.bytes(200), headers }
    }

    fn records(&mut self) -> Vec<OutRecord> {
        (0..self.prng.below(6)).map(|_| self.record()).collect()
    }

    fn positions(&mut self) -> Vec<(TopicPartition, Position)> {
        let mut moved: BTreeMap<TopicPartition, Position> = BTreeMap::new();
        for _ in 0..self.prng.below(3) {
            let offset = i64::try_from(self.prng.below(1000)).unwrap_or(0);
            let metadata = format!("{:x}", self.prng.next_u64());
            moved.insert(self.place(), position(offset, &metadata));
        }
        moved.into_iter().collect()
    }

    fn member(&self, group: usize) -> Member {
        let name = GROUPS.get(group).copied().unwrap_or_default();
        member(&format!("{name}-{}", self.seed), "a", COUNTS.internal)
    }

    /// A random group and its owner, who joins if there is none.
    fn owner(&mut self) -> Result<(usize, Box<dyn Session>), Failure> {
        let group = self.prng.index(GROUPS.len());
        let held = self.owners.get_mut(group).and_then(Option::take);
        let session = match held {
            Some(session) => session,
            None => self.exam.join(&self.member(group))?,
        };
        Ok((group, session))
    }

    fn keep(&mut self, group: usize, session: Box<dyn Session>) {
        if let Some(owner) = self.owners.get_mut(group) {
            *owner = Some(session);
        }
    }

    fn append(&mut self) -> Verdict {
        let records = self.records();
        self.exam.log().append(records.clone())?;
        self.model.write(&records);
        Ok(())
    }

    fn commit(&mut self) -> Verdict {
        let (group, mut session) = self.owner()?;
        let (records, positions) = (self.records(), self.positions());
        self.exam.commit(session.as_mut(), records.clone(), positions.clone())?;
        self.model.write(&records);
        for (at, position) in positions {
            self.model.positions.insert((group, at), position);
        }
        self.keep(group, session);
        Ok(())
    }

    fn commit_to_unknown(&mut self) -> Verdict {
        let (group, mut session) = self.owner()?;
        let (mut records, positions) = (self.records(), self.positions());
        let mut lost = self.record();
        lost.to.partition = 1000;
        records.insert(self.prng.index(records.len() + 1), lost);
        let outcome = self.exam.attempt(session.as_mut(), records, positions)?;
        self.keep(group, session);
        aborted("commit to an unknown partition", &outcome)
    }

    fn commit_under_a_wrong_generation(&mut self) -> Verdict {
        let (group, mut session) = self.owner()?;
        let generation = self.exam.assigned(session.as_mut())?.generation.wrapping_sub(1);
        let positions = vec![(self.place(), position(1, "stale"))];
        let records = self.records();
        let outcome = session.commit(Transaction { generation, records, positions });
        self.keep(group, session);
        aborted("commit under an ended generation", &outcome)
    }

    fn take_over(&mut self) -> Verdict {
        let (group, mut old) = self.owner()?;
        let generation = self.exam.assigned(old.as_mut())?.generation;
        let new = self.exam.join(&self.member(group))?;
        let (records, positions) = (vec![self.record()], self.positions());
        let outcome = old.commit(Transaction { generation, records, positions });
        drop(old);
        self.keep(group, new);
        fenced("commit after a take-over", &outcome)
    }

    fn poll(&mut self) -> Verdict {
        let limit = self.exam.at_most(1 + self.prng.index(20));
        let fetches = self.reader.poll(limit)?;
        self.take(fetches);
        Ok(())
    }

    fn take(&mut self, fetches: Vec<Fetch>) {
        for fetch in fetches {
            let read = self.read.entry(fetch.from).or_default();
            read.extend(fetch.records.iter().map(|record| (record.offset, content(record))));
        }
    }

    /// A poll may end with another partition's markers.
    fn read_past_markers(&mut self, at: TopicPartition) -> Verdict {
        let high = self.exam.log().watermarks(at, Isolation::Committed)?.high;
        for _ in 0..self.exam.abilities.patience {
            if self.reader.position(at) == Some(high) {
                break;
            }
            let fetches = self.reader.poll(self.exam.wide())?;
            self.take(fetches);
        }
        Ok(())
    }

    fn seek(&mut self) -> Verdict {
        let at = self.place();
        let read = self.read.entry(at).or_default();
        if read.is_empty() {
            return Ok(());
        }
        let kept = self.prng.index(read.len());
        let offset = read.get(kept).map_or(0, |(offset, _)| *offset);
        read.truncate(kept);
        self.reader.seek(at, offset)?;
        Ok(())
    }

    fn compare_positions(&mut self) -> Verdict {
        for group in 0..GROUPS.len() {
            let found = self.exam.log().committed(&self.member(group).group, &PLACES)?;
            let expected: Vec<Option<Position>> =
                PLACES.iter().map(|at| self.model.positions.get(&(group, *at)).cloned()).collect();
            same("positions", &found, &expected)?;
        }
        Ok(())
    }

    /// Reads on to the end; then what was read, seeks and all, is what the model holds.
    fn compare(&mut self) -> Verdict {
        let read: usize = self.read.values().map(Vec::len).sum();
        let held: usize = self.model.records.values().map(Vec::len).sum();
        let fetches = self.exam.fetch(self.reader.as_mut(), held.saturating_sub(read))?;
        self.take(fetches);
        for at in PLACES {
            self.read_past_markers(at)?;
        }
        for at in PLACES {
            let found = self.read.get(&at).map(Vec::as_slice).unwrap_or_default();
            let grows = found.iter().zip(found.iter().skip(1)).all(|((one, _), (next, _))| one < next);
            expect(grows, format!("offsets of {at} do not grow"))?;
            let found: Vec<&Content> = found.iter().map(|(_, content)| content).collect();
            let held = self.model.records.get(&at).map(Vec::as_slice).unwrap_or_default();
            same(&format!("records of {at}"), &found, &held.iter().collect())?;
            let high = self.exam.log().watermarks(at, Isolation::Committed)?.high;
            same("position at the end", &self.reader.position(at), &Some(high))?;
        }
        self.compare_positions()
    }
}
