//! What the fuzz targets run (`posting/fuzz`), and a short form of them: the committed corpus, and inputs from seeds.
//!
//! [`decide_bytes`]: any bytes as records, to a slot that has lived. [`decide_history`]: bytes as the choices of a history.
//! Neither may panic; what is decided must hold.

use crate::cluster::{Cluster, Page, differing_keys};
use crate::histories::{History, seeds};
use crate::{script, watch};
use bytes::Bytes;
use posting::state::Slot;
use prost::Message;
use schemas::batch::{ChainHead, FORMAT, checksum, items};
use schemas::topics::Topic;
use schemas::wire::{Batch, BatchHeader, Command, OpenGroup};
use std::collections::BTreeSet;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{InputRecords, SlotState};

/// The slot that is asked.
const SLOT: u32 = 0;

thread_local! {
    static LIVED: Cluster = lived();
}

/// What the slot has lived through, in the words of [`crate::script`]: it holds something of every kind. Of partitions 1
/// and 2 answers are still to come, and partition 0 has not read all that they sent.
const LIFE: &str = "
partitions 3
ingest 2
tick 1000000
event a1 users@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
event a2 users@0 | debit users@0:wallet 10.00 CNY | hold 60
event a3 users@0 | debit bank@0:main 1.00 CNY ; credit fees@0:card 1.00 CNY | propose anna
event a4 users@0 | | limit users@0:wallet CNY least -5.00
event a5 users@0 | | freeze merchants@0:payable debit
event a6 cards@0 | debit cards@0:main 1.00 CNY ; credit bank@0:main 1.00 CNY
event a7 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | reverse a1
event a8 users@0 | | close users@0b:wallet
event a9 users@0 | debit users@0:wallet 2.00 CNY ; credit merchants@1:payable 2.00 CNY
-> booked
event b1 bank@1 | debit bank@1:main 3.00 CNY ; credit users@0b:wallet 3.00 CNY
event b2 bank@1 | debit bank@1:main 3.00 CNY ; credit users@0:wallet 3.00 CNY | ingest 1
-> booked
tick 2000000
pause 1
pause 2
event c1 orders@0 | debit users@0:wallet 5.00 CNY ; debit users@1:credit 5.00 CNY ; credit purses@2:cash 10.00 CNY
event c2 users@0 | debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY | capture z9
event c3 users@0 | | reverse z8
-> pending
";

fn lived() -> Cluster {
    let cluster = script::cluster_after("lived", LIFE);
    let kinds: BTreeSet<u8> =
        cluster.slots[SLOT as usize].canonical().iter().map(|(key, _)| key[0]).collect();
    assert!(b"aghilmprsuv".iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    cluster
}

/// A record that the slot is asked to read.
struct Asked {
    topic: Topic,
    value: Bytes,
}

/// Records written one after the other: a byte that says what it is, two of its length, and its bytes.
fn records(cluster: &Cluster, mut data: &[u8]) -> Vec<Asked> {
    let mut records = Vec::new();
    let mut heads = cluster.slots[SLOT as usize].commands.clone();
    while let [kind, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (bytes, after) = rest.split_at(length);
        data = after;
        let topic = if kind & 1 == 0 { Topic::Commands } else { Topic::Credits };
        let bytes = Bytes::copy_from_slice(bytes);
        let value = match (kind >> 1) & 3 {
            0 => bytes,
            _ if topic == Topic::Commands => {
                let from = u32::from(kind >> 3) % cluster.ingest_slots;
                sealed(from, bytes, Some(heads.entry(from).or_default()))
            }
            _ => sealed(u32::from(kind >> 3) % cluster.partitions(), bytes, None),
        };
        records.push(Asked { topic, value });
    }
    records
}

/// A batch of these bytes, as the next of its chain.
fn sealed(slot: u32, body: Bytes, chain: Option<&mut ChainHead>) -> Bytes {
    let head = chain.as_ref().map_or_else(ChainHead::default, |head| **head);
    let header = BatchHeader {
        format: FORMAT,
        slot,
        epoch: 1,
        batch: 1,
        sequence: head.sequence + 1,
        previous_hash: head.previous_hash(),
        count: items(&body).filter(Result::is_ok).count() as u32,
        checksum: checksum(&body),
        ..BatchHeader::default()
    };
    let encoded = header.encode_to_vec();
    if let Some(chain) = chain {
        *chain = chain.advanced(schemas::batch::sha256(&encoded));
    }
    Batch { header: encoded.into(), body }.encode_to_vec().into()
}

fn input(records: &[Asked], topic: Topic, position: Offset) -> InputRecords<'static> {
    let of_topic = records.iter().filter(|record| record.topic == topic);
    let records: Vec<Record> = (position..)
        .zip(of_topic)
        .map(|(offset, record)| Record {
            offset,
            timestamp_us: 0,
            key: Bytes::new(),
            value: record.value.clone(),
            headers: Vec::new(),
        })
        .collect();
    let next = position + records.len() as Offset;
    InputRecords {
        from: TopicPartition::new(topic, SLOT),
        position,
        next,
        drained: true,
        records: records.into(),
    }
}

/// The pairs of a slot. The command of an event that waits is kept as it came, and rebuilt from its decision: what ingest
/// would not write, such as a field that this version does not know or an operation that names no event, is not the same
/// then. So of the command only what it is about is compared.
fn pairs(slot: &Slot) -> Vec<(Vec<u8>, Vec<u8>)> {
    let without_form = |(key, value): (Vec<u8>, Vec<u8>)| {
        if key[0] != b'g' {
            return (key, value);
        }
        let group = OpenGroup::decode(&value[..]).unwrap();
        let Command { event, subject, body_hash, leg, .. } = Command::decode(group.command).unwrap();
        let command = Command { event, subject, body_hash, leg, ..Command::default() };
        (key, OpenGroup { command: command.encode_to_vec().into(), ..group }.encode_to_vec())
    };
    slot.canonical().into_iter().map(without_form).collect()
}

/// Any bytes as records of one window: the slot stops, or decides. A decision is the same a second time, its batch sums
/// to zero, and replays to the state that it leaves.
pub fn decide_bytes(data: &[u8]) {
    LIVED.with(|cluster| {
        let asked = records(cluster, data);
        let decide = || {
            cluster.decide_on(SLOT, |window| {
                for read in &mut window.inputs {
                    *read = input(&asked, read.from.topic, read.position);
                }
            })
        };
        let Ok(decision) = decide() else { return assert!(decide().is_err()) };
        let again = decide().unwrap();
        assert_eq!(decision.as_ref().map(|d| &d.records), again.as_ref().map(|d| &d.records));
        let Some(decision) = decision else { return };
        watch::balances(&Page::of(&decision.records.last().unwrap().value));
        let (live, replayed) = cluster.would_leave(SLOT, decision);
        assert!(pairs(&live) == pairs(&replayed), "{:02x?}", differing_keys(&live, &replayed));
    });
}

/// Bytes as the choices of a history, each window of which is watched, and which the model checks at its end.
pub fn decide_history(data: &[u8]) {
    History::of_tape(data).played_from_tape();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Rng;
    use std::path::{Path, PathBuf};

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
    }

    /// Runs every file of a target's corpus.
    fn run_corpus(target: &str, run: fn(&[u8])) {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            named(&file.display().to_string(), || run(&data));
        }
    }

    /// Says which input it is that does not hold.
    fn named(what: &str, run: impl FnOnce()) {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|cause| {
            eprintln!("{what} does not hold");
            std::panic::resume_unwind(cause)
        });
    }

    fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
        (0..length).map(|_| rng.below(256) as u8).collect()
    }

    #[test]
    fn every_input_of_the_corpus_holds() {
        run_corpus("decide_bytes", decide_bytes);
        run_corpus("decide_history", decide_history);
    }

    #[test]
    fn histories_from_random_bytes_hold() {
        for seed in seeds(500) {
            let mut rng = Rng::new(seed);
            let length = rng.below(300) as usize;
            let tape = bytes(&mut rng, length);
            named(&format!("the tape of seed {seed}"), || decide_history(&tape));
        }
    }

    /// Records that were valid, with a few bytes changed.
    #[test]
    fn records_with_changed_bytes_stop_the_slot_or_are_decided() {
        let valid: Vec<Vec<u8>> = std::fs::read_dir(corpus("decide_bytes"))
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        for seed in 0..4 * seeds(750).end {
            let mut rng = Rng::new(seed);
            let mut data = rng.pick(&valid).clone();
            for _ in 0..rng.below(4) {
                let at = rng.below(data.len().max(1) as u64) as usize;
                if let Some(byte) = data.get_mut(at) {
                    *byte = if rng.percent(50) { *byte ^ (1 << rng.below(8)) } else { rng.below(256) as u8 };
                }
            }
            named(&format!("the records of seed {seed}"), || decide_bytes(&data));
        }
    }

    /// Writes valid records that come after the history as inputs: what a corpus begins with.
    #[test]
    #[ignore = "writes files"]
    fn first_inputs() {
        let write = |name: String, data: Vec<u8>| {
            std::fs::create_dir_all(corpus("decide_bytes")).unwrap();
            std::fs::write(corpus("decide_bytes").join(name), data).unwrap();
        };
        let before = lived();
        let framed = |kind: u8, body: &[u8]| {
            [&[kind][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
        };
        for more in 1..60 {
            let later = History::on(lived(), more, 60);
            let mut data = Vec::new();
            let read = before.credits[SLOT as usize].0.len() - before.unread(SLOT);
            for (topic, logs, skipped) in
                [(0, &later.commands, before.commands[SLOT as usize].0.len()), (1, &later.credits, read)]
            {
                for written in logs[SLOT as usize].0.iter().skip(skipped).take(2) {
                    let opened = schemas::batch::open(&written.value).unwrap();
                    let kind = topic | 2 | (opened.header.slot as u8) << 3;
                    if opened.body.len() < 4_000 {
                        data.extend(framed(kind, &opened.body));
                    }
                }
            }
            if !data.is_empty() {
                write(format!("history-{more}"), data);
            }
        }
    }
}
