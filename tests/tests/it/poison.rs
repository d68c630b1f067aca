//! A record that nobody can read, in the middle of the traffic, under every fault: it stops the slot that reads it, and no
//! other; when it is taken out, everything that waited goes on and the books are right.

use crate::simulation::{Harm, assert_none, number, run_all};
use bytes::Bytes;
use ledgerflow_tests::proof::Proof;
use ledgerflow_tests::world::World;
use schemas::topics::Topic;
use std::collections::BTreeSet;
use stream::log::{Offset, OutRecord, Record, TopicPartition};
use stream::sim::Prng;

/// Topics between processors, and who reads each. What a slot writes for itself is not among them: there only its owner
/// appends.
const READ_BY: [(Topic, &str); 6] = [
    (Topic::Commands, "posting"),
    (Topic::Credits, "posting"),
    (Topic::BillsLines, "rekey"),
    (Topic::ReconSides, "join"),
    (Topic::Days, "ingest"),
    (Topic::DaysAligned, "settlement"),
];

/// Where it lies.
pub struct Poison {
    at: TopicPartition,
    value: &'static [u8],
    reader: &'static str,
}

impl Poison {
    /// Appends it to a topic and partition drawn at random.
    pub fn put(world: &mut World, prng: &mut Prng) -> Self {
        let (topic, reader) = READ_BY[prng.index(READ_BY.len())];
        let partitions = topic.partition_count(world.counts());
        let at = TopicPartition::new(topic, prng.below(u64::from(partitions)) as u32);
        let value = [&b"poison"[..], b"\x0a\x02\x08\x07", b"{}", &[0xff; 40]][prng.index(4)];
        world.stops_expected = true;
        world.append(vec![OutRecord::new(at, Bytes::from_static(value))]);
        Self { at, value, reader }
    }

    /// Where it lies: twice, where the answer to the first append was lost.
    fn offsets(&self, world: &World) -> Vec<Offset> {
        let all = world.sim().visible(self.at.topic).into_iter();
        let mine = all.filter(|(at, record)| *at == self.at && record.value == self.value);
        mine.map(|(_, record)| record.offset).collect()
    }

    /// Its slot has stopped and names it, every other one is at the end of what it reads.
    pub fn stops_its_slot_alone(&self, world: &World) {
        let (stopped, offset) = (world.stopped(), self.offsets(world)[0]);
        let slots: BTreeSet<(&str, u32)> = stopped.iter().map(|(name, stop)| (*name, stop.slot)).collect();
        assert_eq!(
            slots,
            BTreeSet::from([(self.reader, self.at.partition)]),
            "{}@{offset}: {stopped:?}",
            self.at
        );
        let (_, stop) = &stopped[0];
        assert_eq!(stop.at, format!("{}@{offset}", self.at), "{stop}");
        for (topic, reader) in READ_BY {
            for partition in 0..topic.partition_count(world.counts()) {
                if (reader, partition) == (self.reader, self.at.partition) {
                    continue;
                }
                let at = TopicPartition::new(topic, partition);
                let position = world.log().committed(reader, &[at]).unwrap().remove(0);
                let read = position.map_or(0, |position| position.offset);
                let unread = |(of, record): &(TopicPartition, Record)| *of == at && record.offset >= read;
                let unread = world.sim().visible(topic).into_iter().filter(unread).count();
                assert_eq!(unread, 0, "{reader} has read {at} up to {read}");
            }
        }
    }

    /// Takes it out, as an operator would, and starts everybody anew.
    pub fn is_taken_out(&self, world: &mut World) {
        for offset in self.offsets(world) {
            assert!(world.sim().lose(self.at, offset));
        }
        world.stops_expected = false;
        world.crash_all();
    }
}

#[test]
fn a_record_that_nobody_can_read_stops_its_slot_alone_under_every_fault() {
    let first = number("SEED").unwrap_or(0);
    let count = (number("SEEDS").unwrap_or(2_000) / 20).max(1);
    let harm = Harm { poison: true, ..Harm::default() };
    let test = "poison::a_record_that_nobody_can_read_stops_its_slot_alone_under_every_fault";
    let (shown, failed) = run_all(first..first + count, harm, test);
    let mut proof = Proof::of("simulation, poison");
    let counts = [("seeds", count), ("restarts", shown.restarts), ("days closed", shown.days_closed)];
    counts.into_iter().for_each(|(what, times)| proof.count(what, times));
    assert_none(&failed);
    assert!(
        count < 100 || shown.days_closed * 10 > count * 9,
        "{} days of {count} were closed",
        shown.days_closed
    );
}
