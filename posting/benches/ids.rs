//! Ids at scale: one slot that remembers so many of them, written to runs as it does in service, then asked.
//!
//! `make bench-ids IDS=100000000` (5.2 GB of disk for as many). Prints one line a figure; BENCHMARKS.md says what it was.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::float_arithmetic)]

use posting::effects::Effect;
use posting::ids::{IdKey, IdRecord};
use posting::state::{Change, Slot};
use schemas::wire::{BatchHeader, Outcome};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use stream::clock::monotonic_us;
use stream::processor::SlotState;
use stream::store::{DirtyPairs, Label, Options, Store};

/// Ids of a window.
const WINDOW: u64 = 4_096;
/// Ids between two checkpoints.
const CHECKPOINT: u64 = 1 << 17;
/// Look-ups of a measurement.
const LOOK_UPS: u64 = 2_000_000;

/// A key like one of SHA-256: SplitMix64 of the number, twice.
fn key(n: u64) -> IdKey {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let (a, b) = (mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), mix(n ^ 0xd1b5_4a32_d192_ed03));
    let mut key = [0; 16];
    key[..8].copy_from_slice(&a.to_be_bytes());
    key[8..].copy_from_slice(&b.to_be_bytes());
    key
}

fn window(slot: &mut Slot, batch: u64, ids: std::ops::Range<u64>) {
    let record = |n: u64| IdRecord {
        body: key(!n),
        outcome: Outcome::Booked,
        reason: None,
        decider: 0,
        batch,
        home_batch: batch,
    };
    let effects = ids.map(|n| Effect::Id { key: key(n), record: record(n) }).collect();
    let header = BatchHeader { sequence: batch, batch, ..BatchHeader::default() };
    slot.apply(Change { header, hash: [0; 32], effects, rows: Vec::new() });
}

fn label(batch: u64) -> Label {
    Label { generation: 0, epoch: 1, batch, hash: [0; 32], positions: Vec::new(), changelog_offset: 0 }
}

/// Fills the slot; microseconds of it that went into checkpoints, which in service have a thread of their own.
fn fill(slot: &mut Slot, store: &mut Store, count: u64) -> i64 {
    let (mut pairs, mut batch, mut writing) = (DirtyPairs::default(), 0, 0);
    let mut from = 0;
    while from < count {
        let to = (from + WINDOW).min(count);
        batch += 1;
        window(slot, batch, from..to);
        if to % CHECKPOINT < WINDOW || to == count {
            let started = monotonic_us();
            slot.take_dirty(&mut |key, value| pairs.put(key, value));
            let settled = slot.take_settled(false);
            let written = store.write(&label(batch), &mut pairs, settled, || Ok(())).unwrap();
            written.closed.into_iter().for_each(|closed| slot.adopt(closed));
            writing += monotonic_us() - started;
        }
        from = to;
    }
    writing
}

/// Nanoseconds a look-up, one after the other.
fn look_ups(slot: &Slot, keys: impl Iterator<Item = u64>) -> f64 {
    let keys: Vec<IdKey> = keys.map(key).collect();
    let started = monotonic_us();
    for key in &keys {
        black_box(slot.ids.get(black_box(key)));
    }
    (monotonic_us() - started) as f64 * 1000.0 / keys.len() as f64
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn disk_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn ask(slot: &Slot, count: u64) {
    let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
    for round in 1..=3 {
        let new = look_ups(slot, (0..LOOK_UPS).map(|n| count + round * LOOK_UPS + n));
        let known = look_ups(slot, (0..LOOK_UPS / 20).map(|n| spread(round * LOOK_UPS + n)));
        println!("round {round}: a new id {new:.0} ns, a known one {known:.0} ns");
    }
    let perhaps = slot.ids.perhaps_in_runs((0..LOOK_UPS).map(|n| key(2 * count + n)));
    println!("read in vain for {perhaps} of {LOOK_UPS} new ids");
}

fn main() {
    let count = std::env::var("IDS").ok().and_then(|ids| ids.parse().ok()).unwrap_or(2_000_000_u64);
    let dir = std::env::var("IDS_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let dir = dir.join(format!("ledgerflow-ids-{}", std::process::id()));
    let mut slot = Slot::new(0);
    let mut store = Store::open(&dir, "posting", 0, Options::default()).unwrap();
    store.latest().unwrap();
    let (before, started) = (resident_mib(), monotonic_us());
    let writing = fill(&mut slot, &mut store, count);
    let all = monotonic_us() - started;
    println!("{count} ids, {} ns each to remember", (all - writing) as u64 * 1000 / count);
    println!("checkpoints took {} ns each, merges included", writing as u64 * 1000 / count);
    let (memory, disk) = slot.ids.places();
    println!("{memory} in memory, {disk} on disk in {} runs", slot.ids.runs());
    println!(
        "filters and indices: {} bytes, {:.2} an id",
        slot.ids.filter_bytes(),
        slot.ids.filter_bytes() as f64 / disk as f64
    );
    println!("resident: {} MiB more than before", resident_mib().saturating_sub(before));
    println!("disk: {} bytes, {:.1} an id", disk_bytes(&dir), disk_bytes(&dir) as f64 / count as f64);
    ask(&slot, count);
    drop((slot, store));
    let (mut slot, started) = (Slot::new(0), monotonic_us());
    let mut store = Store::open(&dir, "posting", 0, Options::default()).unwrap();
    store.load(|key, value| slot.load(key, value)).unwrap();
    let closed = store.load_runs(|key, value| slot.load_row(key, value)).unwrap();
    slot.adopt(closed);
    println!("a restart reads them in {} ms", (monotonic_us() - started) / 1000);
    println!("a known id after it: {:.0} ns", look_ups(&slot, (0..100_000).map(|n| n * 7 % count)));
    std::fs::remove_dir_all(&dir).unwrap();
}
