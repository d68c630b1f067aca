//! What the fuzz targets run (`posting/fuzz`), and a short form of them: the committed corpus, and inputs from seeds.
//!
//! [`decide_bytes`]: any bytes as records, to a slot that has lived. [`decide_history`]: bytes as the choices of a history.
//! Neither may panic; what is decided must hold.

use crate::cluster::{Cluster, Page};
use crate::histories::{History, seeds};
use crate::watch;
use bytes::Bytes;
use prost::Message;
use schemas::batch::{ChainHead, FORMAT, checksum, items};
use schemas::topics::Topic;
use schemas::wire::{Batch, BatchHeader};
use std::collections::BTreeSet;
use stream::log::{Offset, Record, TopicPartition};
use stream::processor::{InputRecords, SlotState};

/// The slot that is asked, and how many actions it has lived through.
const SLOT: u32 = 0;
const ACTIONS: usize = 170;
/// The search for a history begins with this seed.
const FIRST_SEED: u64 = 0;

thread_local! {
    static LIVED: (u64, Cluster) = lived();
}

/// The first history after which the slot has something of everything: holds, events that wait, proposals, cases, limits,
/// accounts closed or frozen, velocity, something given back.
fn lived() -> (u64, Cluster) {
    let all = (FIRST_SEED..).map(|seed| (seed, History::new(seed).after(ACTIONS)));
    let has_everything = |(_, cluster): &(u64, Cluster)| {
        let slot = &cluster.slots[SLOT as usize];
        let kinds: BTreeSet<u8> = slot.canonical().iter().map(|(key, _)| key[0]).collect();
        b"aghilmprsuv".iter().all(|kind| kinds.contains(kind))
    };
    all.into_iter().find(has_everything).unwrap()
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

/// Any bytes as records of one window: the slot stops, or decides. A decision is the same a second time, its batch sums
/// to zero, and replays to the state that it leaves.
pub fn decide_bytes(data: &[u8]) {
    LIVED.with(|(_, cluster)| {
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
        assert_eq!(live.canonical(), replayed.canonical());
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
        let (seed, lived) = lived();
        eprintln!("the slot has lived through the history of seed {seed}");
        let framed = |kind: u8, body: &[u8]| {
            [&[kind][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
        };
        for more in 1..60 {
            let later = History::new(seed).then_with(ACTIONS, more);
            let mut data = Vec::new();
            let read = lived.credits[SLOT as usize].0.len() - lived.unread(SLOT);
            for (topic, logs, before) in
                [(0, &later.commands, lived.commands[SLOT as usize].0.len()), (1, &later.credits, read)]
            {
                for written in logs[SLOT as usize].0.iter().skip(before).take(2) {
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
