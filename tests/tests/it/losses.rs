//! What a log promises to keep is lost in the middle of the traffic, under every fault: positions expire, a partition loses
//! its beginning, a record is gone. Whoever needs it stops and says so, nobody else does, and nothing is booked in its
//! stead. When it is put back, as from a backup, everything goes on and the books are right; but for a single record that was
//! passed before it was missed.

use crate::simulation::{Harm, assert_none, number, run_all};
use ledgerflow_tests::plan::PROCESSORS;
use ledgerflow_tests::proof::Proof;
use ledgerflow_tests::world::World;
use schemas::topics::Topic;
use std::collections::BTreeSet;
use stream::log::{Isolation, Log, Offset, TopicPartition};
use stream::processor::Stop;
use stream::sim::Prng;

/// Who reads a partition, as input or as its changelog; the slots have its number. Snapshots and what is published to others
/// nobody must read.
const READ_BY: [(Topic, &[&str]); 10] = [
    (Topic::Events0, &["ingest"]),
    (Topic::Events1, &["ingest"]),
    (Topic::IngestState, &["ingest"]),
    (Topic::Commands, &["posting"]),
    (Topic::Credits, &["posting"]),
    (Topic::Journal, &["posting", "settlement", "rekey"]),
    (Topic::BillsLines, &["rekey"]),
    (Topic::ReconState, &["rekey"]),
    (Topic::ReconSides, &["join"]),
    (Topic::Events2, &["ingest"]),
];
/// Of these a single record is missed: batches are chained.
const CHAINED: [Topic; 3] = [Topic::Commands, Topic::Journal, Topic::ReconSides];
const KINDS: [&str; 3] = ["positions", "beginning", "record"];

/// What was lost.
pub struct Loss {
    what: &'static str,
    /// For whom a stop is right.
    readers: BTreeSet<&'static str>,
    /// Which slot of each; all of them where it is none.
    slot: Option<u32>,
    record: Option<LostRecord>,
}

/// A single record.
struct LostRecord {
    at: TopicPartition,
    offset: Offset,
    /// Who had not worked it off.
    unread_by: Vec<&'static str>,
}

impl LostRecord {
    fn is_unread(world: &World, at: TopicPartition, offset: Offset, reader: &str) -> bool {
        let position = world.sim().committed_at(reader, at);
        position.is_none_or(|position| position <= offset)
    }

    /// Whether somebody has gone on behind it without it.
    fn was_passed(&self, world: &World) -> bool {
        self.unread_by.iter().any(|reader| !Self::is_unread(world, self.at, self.offset, reader))
    }
}

/// What came of it.
pub struct Found {
    pub what: &'static str,
    /// Whether somebody stopped.
    pub stopped: bool,
    /// Whether nobody has passed it: all goes on when it is put back.
    pub mended: bool,
}

impl Loss {
    /// Something drawn at random is lost; `None` where there is nothing yet.
    pub fn cause(world: &mut World, prng: &mut Prng) -> Option<Self> {
        let what = KINDS[prng.index(KINDS.len())];
        let loss = match what {
            "positions" => Self::positions(world, prng),
            "beginning" => Self::beginning(world, prng),
            _ => Self::record(world, prng),
        }?;
        (world.stops_expected, world.damaged) = (true, true);
        Some(loss)
    }

    fn positions(world: &World, prng: &mut Prng) -> Option<Self> {
        let name = PROCESSORS[prng.index(PROCESSORS.len())];
        let readers = BTreeSet::from([name]);
        world.sim().expire_positions(name).then_some(Self {
            what: "positions",
            readers,
            slot: None,
            record: None,
        })
    }

    fn beginning(world: &World, prng: &mut Prng) -> Option<Self> {
        let (topic, readers) = READ_BY[prng.index(READ_BY.len())];
        let at = Self::partition(world, topic, prng);
        if Topic::LANES.contains(&topic) {
            // A slot that has read nothing yet begins with the events that are there.
            world.sim().committed_at("ingest", at)?;
        }
        let bounds = world.sim().watermarks(at, Isolation::Committed).ok()?;
        let low = bounds.low
            + 1
            + prng.below((bounds.high - bounds.low).try_into().ok().filter(|n| *n > 0)?) as i64;
        world.sim().truncate(at, low).unwrap();
        let readers = readers.iter().copied().collect();
        Some(Self { what: "beginning", readers, slot: Some(at.partition), record: None })
    }

    fn record(world: &World, prng: &mut Prng) -> Option<Self> {
        let topic = CHAINED[prng.index(CHAINED.len())];
        let (_, readers) = READ_BY.iter().find(|(of, _)| *of == topic)?;
        let at = Self::partition(world, topic, prng);
        let all = world.sim().visible(topic);
        let mine: Vec<i64> =
            all.iter().filter(|(of, _)| *of == at).map(|(_, record)| record.offset).collect();
        let offset = *mine.get(prng.index(mine.len().max(1)))?;
        let unread = |reader: &&str| LostRecord::is_unread(world, at, offset, reader);
        let unread_by = readers.iter().copied().filter(unread).collect();
        world.sim().lose(at, offset).then(|| Self {
            what: "record",
            readers: readers.iter().copied().collect(),
            slot: Some(at.partition),
            record: Some(LostRecord { at, offset, unread_by }),
        })
    }

    fn partition(world: &World, topic: Topic, prng: &mut Prng) -> TopicPartition {
        let partitions = topic.partition_count(world.counts());
        TopicPartition::new(topic, prng.below(u64::from(partitions)) as u32)
    }

    /// At rest nobody has stopped who did not need it; then it is put back, and everybody starts anew. A record is missed
    /// when the next one of its chain comes. Where others' records lay in between, its reader has passed it, and only a
    /// backup of log and positions together would help.
    pub fn put_back(self, world: &mut World) -> Found {
        let stopped = !self.stops(world).is_empty();
        let passed = self.record.as_ref().is_some_and(|record| record.was_passed(world));
        world.sim().put_back();
        if self.what == "positions" {
            // A slot that had published nothing has begun anew: checkpoints of before are of another time.
            world.lose_all_checkpoints();
        }
        world.damaged = false;
        world.stops_expected = passed;
        world.crash_all();
        world.run_for(40_000_000);
        Found { what: self.what, stopped, mended: !passed }
    }

    /// Who has stopped: nobody who did not need it.
    fn stops(&self, world: &World) -> Vec<(&'static str, Stop)> {
        let stopped = world.stopped();
        for (name, stop) in &stopped {
            let may = self.readers.contains(name) && self.slot.is_none_or(|slot| slot == stop.slot);
            assert!(may, "{} of {:?} {:?}: {name} stopped: {stop}", self.what, self.readers, self.slot);
        }
        stopped
    }
}

#[test]
fn what_the_log_loses_stops_whoever_needs_it_under_every_fault() {
    let first = number("SEED").unwrap_or(0);
    let count = (number("SEEDS").unwrap_or(2_000) / 10).max(1);
    let harm = Harm { loss: true, ..Harm::default() };
    let test = "losses::what_the_log_loses_stops_whoever_needs_it_under_every_fault";
    let (shown, failed) = run_all(first..first + count, harm, test);
    let mut proof = Proof::of("simulation, losses");
    println!("{count} seeds, lost and stopped for it: {:?}", shown.losses);
    proof.count("seeds", count);
    proof.count("losses", shown.losses.values().map(|[times, _]| times).sum());
    proof.count("of them that stopped a slot", shown.losses.values().map(|[_, stops]| stops).sum());
    assert_none(&failed);
    let never = shown.log.never();
    for counter in ["positions_expired", "truncations", "records_lost", "out_of_range"] {
        assert!(count < 100 || !never.contains(&counter), "never shown: {counter}");
    }
    for kind in KINDS.into_iter().filter(|_| count >= 100) {
        let [times, stops] = shown.losses.get(kind).copied().unwrap_or_default();
        assert!(times > 0 && stops > 0, "{kind}: lost {times} times, stopped for it {stops} times");
    }
}
