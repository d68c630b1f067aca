//! Checkpoints against a map, through merges, crashes at every step, torn and flipped bytes.

use super::*;
use crate::log::TopicPartition;
use proptest::prelude::*;
use schemas::topics::Topic;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

const SMALL: Options = Options { sync: false, merge_bytes_min: 512 };

fn label(batch: u64) -> Label {
    let at = |topic, offset| (TopicPartition::new(topic, 3), offset);
    Label {
        generation: 0,
        epoch: 2,
        batch,
        hash: [batch as u8; 32],
        positions: vec![at(Topic::Credits, batch as i64), at(Topic::Commands, 7)],
        changelog_offset: batch as i64 * 3,
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, "posting", 3, SMALL).expect("open")
}

fn fresh(dir: &Path) -> Store {
    let mut store = open(dir);
    assert_eq!(store.latest().expect("latest"), None);
    store
}

fn write(store: &mut Store, batch: u64, changes: &Changes) -> Result<Written, StoreError> {
    let mut pairs = DirtyPairs::default();
    for (key, value) in changes {
        pairs.put(key, value.as_deref());
    }
    let written = store.write(&label(batch), &mut pairs, Settled::default(), || Ok(()));
    assert_eq!(pairs.is_empty(), changes.is_empty() || !matches!(written, Err(StoreError::Unread(_))));
    written
}

fn load(store: &mut Store) -> Result<Model, StoreError> {
    let mut model = Model::new();
    let pairs = store.load(|key, value| {
        assert_eq!(model.insert(key.to_vec(), value.to_vec()), None, "a key twice");
        Ok(())
    })?;
    assert_eq!(pairs, model.len() as u64);
    Ok(model)
}

fn apply(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn files(dir: &Path) -> Vec<String> {
    names(dir).expect("names")
}

/// `count` accounts from `first`, each with a balance that names the batch.
fn accounts(first: u32, count: u32, batch: u64) -> Changes {
    (first..first + count)
        .map(|number| {
            (format!("users:{number}:wallet").into_bytes(), Some(format!("balance {batch}").into_bytes()))
        })
        .collect()
}

#[test]
fn what_is_written_is_read_with_its_label() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    let first = accounts(1, 1000, 1);
    let second =
        vec![(b"users:1:wallet".to_vec(), None), (b"users:2:wallet".to_vec(), Some(vec![0; 200_000]))];
    let written = write(&mut store, 1, &first).expect("first");
    assert_eq!((written.pairs, written.merged_bytes), (1000, 0));
    assert_eq!(written.total_bytes, written.bytes);
    let mut model = Model::new();
    apply(&mut model, &first);
    apply(&mut model, &second);
    write(&mut store, 2, &second).expect("second");
    for mut store in [store, open(dir.path())] {
        assert_eq!(store.latest().expect("latest"), Some(label(2)));
        assert_eq!(load(&mut store).expect("load"), model);
    }
}

#[test]
fn a_label_moves_on_without_changes() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    write(&mut store, 1, &Vec::new()).expect("empty from the start");
    assert_eq!(files(dir.path()), ["manifest"]);
    write(&mut store, 2, &accounts(1, 1, 2)).expect("first pair");
    write(&mut store, 3, &Vec::new()).expect("no change");
    assert_eq!(files(dir.path()), ["base-1", "manifest"]);
    assert_eq!(open(dir.path()).latest().expect("latest"), Some(label(3)));
}

#[test]
fn deltas_that_outweigh_the_base_become_the_base() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    let mut model = Model::new();
    let mut merged = 0;
    for batch in 1..=40 {
        let changes = accounts(batch as u32 % 7 * 10, 10, batch);
        apply(&mut model, &changes);
        merged += u64::from(write(&mut store, batch, &changes).expect("write").merged_bytes > 0);
        assert!(files(dir.path()).len() <= DELTAS_MAX + 2);
    }
    assert!(merged > 2, "{merged} merges");
    assert_eq!(load(&mut open(dir.path())).expect("load"), model);
}

#[test]
fn many_small_deltas_on_a_large_base_are_merged_among_themselves() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    let base = accounts(0, 5000, 0);
    let mut model = Model::new();
    apply(&mut model, &base);
    write(&mut store, 1, &base).expect("base");
    for batch in 2..200 {
        let changes =
            vec![(format!("users:{}:wallet", batch % 50).into_bytes(), (batch % 3 > 0).then(Vec::new))];
        apply(&mut model, &changes);
        write(&mut store, batch, &changes).expect("write");
        assert!(files(dir.path()).len() <= DELTAS_MAX + 2);
    }
    assert!(files(dir.path()).contains(&"base-1".to_owned()), "the base was rewritten for a few bytes");
    assert_eq!(load(&mut open(dir.path())).expect("load"), model);
}

#[test]
fn a_new_manifest_waits_until_the_log_is_durable() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    write(&mut store, 1, &accounts(1, 3, 1)).expect("write");
    let manifest = || fs::read_to_string(dir.path().join("manifest")).expect("manifest");
    let before = manifest();
    let mut pairs = DirtyPairs::default();
    pairs.put(b"users:4:wallet", Some(b"balance 2"));
    let refused = store.write(&label(2), &mut pairs, Settled::default(), || {
        assert_eq!(manifest(), before, "the manifest counts before the log is durable");
        Err("fsync failed".to_owned())
    });
    assert!(matches!(refused, Err(StoreError::NotDurable(why)) if why == "fsync failed"));
    assert_eq!(open(dir.path()).latest().expect("latest"), Some(label(1)));
    let written = write(&mut store, 3, &accounts(5, 1, 3)).expect("write");
    assert_eq!(written.pairs, 2, "the pairs of the failed write go out with the next");
    assert_eq!(load(&mut open(dir.path())).expect("load").len(), 5);
}

#[test]
fn nothing_is_written_beside_a_checkpoint_that_was_not_read() {
    let dir = tempfile::tempdir().expect("dir");
    write(&mut fresh(dir.path()), 1, &accounts(1, 3, 1)).expect("write");
    let mut store = open(dir.path());
    assert!(matches!(write(&mut store, 2, &accounts(9, 1, 2)), Err(StoreError::Unread(_))));
    store.latest().expect("latest");
    assert!(matches!(write(&mut store, 2, &accounts(9, 1, 2)), Err(StoreError::Unread(_))));
    store.clear().expect("clear");
    write(&mut store, 2, &accounts(9, 1, 2)).expect("write");
    assert_eq!(load(&mut open(dir.path())).expect("load").len(), 1);
}

#[test]
fn a_checkpoint_of_another_slot_processor_or_version_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    write(&mut fresh(dir.path()), 1, &accounts(1, 3, 1)).expect("write");
    let refusal = |processor, slot| {
        let mut store = Store::open(dir.path(), processor, slot, SMALL).expect("open");
        store.latest().expect_err("refused").to_string()
    };
    assert!(refusal("posting", 4).ends_with("refused: it is of posting slot 3"));
    assert!(refusal("settlement", 3).ends_with("refused: it is of posting slot 3"));
    let path = dir.path().join("manifest");
    let text = fs::read_to_string(&path).expect("manifest").replacen("checkpoint 1", "checkpoint 2", 1);
    let body = text.rsplit_once("crc").expect("crc").0;
    fs::write(&path, format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()))).expect("write");
    assert!(refusal("posting", 3).ends_with("manifest has format version 2, this program reads 1"));
}

#[test]
fn a_pair_the_state_refuses_refuses_the_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    write(&mut fresh(dir.path()), 1, &accounts(1, 3, 1)).expect("write");
    let refused = open(dir.path()).load(|_, _| Err("unknown tag".to_owned()));
    assert!(
        matches!(refused, Err(StoreError::Refused { why: Refusal::Pair(why), .. }) if why == "unknown tag")
    );
}

#[test]
fn strays_are_removed_and_foreign_files_stay() {
    let dir = tempfile::tempdir().expect("dir");
    write(&mut fresh(dir.path()), 1, &accounts(1, 3, 1)).expect("write");
    for name in ["base-7", "delta-9", "manifest.new", "notes.txt", "delta-x"] {
        fs::write(dir.path().join(name), "stray").expect("stray");
    }
    let mut store = open(dir.path());
    assert_eq!(load(&mut store).expect("load").len(), 3);
    assert_eq!(files(dir.path()), ["base-1", "delta-x", "manifest", "notes.txt"]);
    write(&mut store, 2, &accounts(4, 1, 2)).expect("numbers of strays are not used again");
    assert!(files(dir.path()).contains(&"delta-10".to_owned()));
}

/// Batches of changes that make the store write a base, deltas, and merge twice.
fn eventful() -> Vec<Changes> {
    (1..=9_u64)
        .map(|batch| {
            let mut changes = accounts(batch as u32 * 3, 12, batch);
            changes.push((format!("users:{}:wallet", batch * 3 - 3).into_bytes(), None));
            changes
        })
        .collect()
}

#[test]
fn a_crash_at_any_step_leaves_the_old_checkpoint_or_the_new_one() {
    let mut models = vec![Model::new()];
    for changes in eventful() {
        let mut model = models.last().expect("model").clone();
        apply(&mut model, &changes);
        models.push(model);
    }
    let mut crashes: BTreeMap<&str, u32> = BTreeMap::new();
    for point in faults::ALL.iter().copied().filter(|point| point.name().starts_with("checkpoint.")) {
        for nth in 1..=12 {
            let dir = tempfile::tempdir().expect("dir");
            let mut store = fresh(dir.path());
            let acknowledged = Rc::new(Cell::new(0));
            let mut hits = 0;
            let armed = faults::arm_thread(move |at, _| {
                hits += u32::from(at == point);
                at == point && hits == nth
            });
            for (batch, changes) in (1_u64..).zip(eventful()) {
                match write(&mut store, batch, &changes) {
                    Ok(_) => acknowledged.set(batch),
                    Err(StoreError::Crash(at)) => {
                        assert_eq!(at, Crash(point));
                        *crashes.entry(point.name()).or_default() += 1;
                        break;
                    }
                    Err(why) => panic!("{why}"),
                }
            }
            drop(armed);
            let mut store = open(dir.path());
            let batch = store.latest().expect("latest").map_or(0, |label| label.batch);
            let known = acknowledged.get();
            assert!(batch == known || batch == known + 1, "{point} {nth}: {batch} after {known}");
            assert_eq!(load(&mut store).expect("load"), models[batch as usize], "{point} {nth}");
            write(&mut store, 99, &accounts(1, 1, 99)).expect("goes on");
        }
    }
    let points = faults::ALL.iter().filter(|point| point.name().starts_with("checkpoint.")).count();
    assert_eq!(crashes.len(), points, "every point was crashed at: {crashes:?}");
    assert!(crashes.values().all(|times| *times >= 2), "{crashes:?}");
}

/// A store with a base and deltas; its files.
fn whole(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut store =
        Store::open(dir, "posting", 3, Options { merge_bytes_min: 1 << 20, ..SMALL }).expect("open");
    store.latest().expect("latest");
    for (batch, changes) in (1..).zip(eventful().into_iter().take(3)) {
        write(&mut store, batch, &changes).expect("write");
    }
    files(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).expect("read"))).collect()
}

fn refused(dir: &Path) -> Refusal {
    match load(&mut open(dir)) {
        Err(StoreError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_cut_anywhere_refuses_the_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    let files = whole(dir.path());
    assert_eq!(files.len(), 4, "base, two deltas, manifest");
    for (name, bytes) in &files {
        let path = dir.path().join(name);
        for length in (0..bytes.len()).step_by(3) {
            fs::write(&path, &bytes[..length]).expect("cut");
            let why = refused(dir.path());
            let manifest = matches!(why, Refusal::Manifest { .. });
            assert!(manifest == (name == "manifest"), "{name} cut to {length}: {why}");
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(bytes);
        fs::write(&path, longer).expect("doubled");
        refused(dir.path());
        if name != "manifest" {
            fs::remove_file(&path).expect("remove");
            assert_eq!(refused(dir.path()), Refusal::Missing { file: name.clone() });
        }
        fs::write(&path, bytes).expect("whole again");
    }
    assert_eq!(open(dir.path()).latest().expect("latest"), Some(label(3)));
    load(&mut open(dir.path())).expect("whole again");
}

#[test]
fn a_flipped_bit_anywhere_refuses_the_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    for (name, bytes) in whole(dir.path()) {
        let path = dir.path().join(&name);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, flipped).expect("flip");
            refused(dir.path());
        }
        fs::write(&path, bytes).expect("whole again");
    }
}

#[test]
fn files_of_equal_size_in_each_others_place_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    write(&mut store, 1, &accounts(100, 50, 1)).expect("base");
    write(&mut store, 2, &accounts(100, 2, 2)).expect("delta");
    write(&mut store, 3, &accounts(100, 2, 3)).expect("delta");
    let [two, three] = ["delta-2", "delta-3"].map(|name| dir.path().join(name));
    let bytes = [&two, &three].map(|path| fs::read(path).expect("read"));
    assert_eq!(bytes[0].len(), bytes[1].len());
    fs::write(&two, &bytes[1]).expect("swap");
    fs::write(&three, &bytes[0]).expect("swap");
    refused(dir.path());
}

#[test]
fn a_manifest_left_out_is_no_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    whole(dir.path());
    fs::remove_file(dir.path().join("manifest")).expect("remove");
    assert_eq!(load(&mut fresh(dir.path())).expect("load"), Model::new());
    assert!(files(dir.path()).is_empty());
}

#[test]
fn failed_writes_keep_their_pairs() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    write(&mut store, 1, &accounts(1, 3, 1)).expect("write");
    // A directory where the next data file should be makes creating it fail.
    let obstacle = dir.path().join("delta-2");
    fs::create_dir(&obstacle).expect("obstacle");
    assert!(matches!(write(&mut store, 2, &accounts(4, 2, 2)), Err(StoreError::Io { .. })));
    fs::remove_dir(&obstacle).expect("out of the way");
    assert_eq!(write(&mut store, 3, &accounts(5, 2, 3)).expect("write").pairs, 3);
    let mut want = Model::new();
    for (number, count, batch) in [(1, 3, 1), (4, 2, 2), (5, 2, 3)] {
        apply(&mut want, &accounts(number, count, batch));
    }
    assert_eq!(load(&mut open(dir.path())).expect("load"), want);
}

#[test]
fn the_thread_writes_and_gives_the_store_back() {
    let dir = tempfile::tempdir().expect("dir");
    let thread = CheckpointThread::spawn("posting").expect("thread");
    let (durable, wait) = std::sync::mpsc::channel::<()>();
    let wait_durable: WaitDurable = Box::new(move || wait.recv().map_err(|why| why.to_string()));
    let mut pairs = DirtyPairs::default();
    pairs.put(b"users:1:wallet", Some(b"balance 1"));
    thread
        .submit(Job {
            store: fresh(dir.path()),
            label: label(1),
            pairs,
            settled: Settled::default(),
            wait_durable,
        })
        .expect("taken");
    assert!(thread.poll().is_none(), "finished before the log was durable");
    let waiting: Vec<tempfile::TempDir> = (0..=JOBS_MAX).map(|_| tempfile::tempdir().expect("dir")).collect();
    let refused = waiting.iter().any(|dir| {
        let (store, pairs) = (fresh(dir.path()), DirtyPairs::default());
        let job = Job {
            store,
            label: label(1),
            pairs,
            settled: Settled::default(),
            wait_durable: Box::new(|| Ok(())),
        };
        matches!(thread.submit(job), Err(NotTaken::Busy(_)))
    });
    assert!(refused, "more jobs were taken than may wait");
    durable.send(()).expect("durable");
    let reports = thread.finish();
    assert!(reports.len() >= JOBS_MAX);
    let first = reports.into_iter().next().expect("report");
    assert_eq!(first.result.expect("written").pairs, 1);
    assert_eq!((first.label, first.pairs.is_empty(), first.store.slot()), (label(1), true, 3));
    assert_eq!(load(&mut open(dir.path())).expect("load").len(), 1);
}

fn changes() -> impl Strategy<Value = Vec<(bool, Changes)>> {
    let key = proptest::collection::vec(0_u8..4, 0..5);
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..40));
    let batch = proptest::collection::vec((key, value), 0..30);
    proptest::collection::vec((proptest::bool::weighted(0.2), batch), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn deltas_merges_and_restarts_equal_a_map(batches in changes()) {
        let dir = tempfile::tempdir().expect("dir");
        let mut store = fresh(dir.path());
        let mut model = Model::new();
        for (batch, (restart, changes)) in (1..).zip(&batches) {
            apply(&mut model, changes);
            write(&mut store, batch, changes).expect("write");
            if *restart {
                store = open(dir.path());
                prop_assert_eq!(store.latest().expect("latest"), Some(label(batch)));
                prop_assert_eq!(&load(&mut store).expect("load"), &model);
            }
        }
        prop_assert_eq!(load(&mut open(dir.path())).expect("load"), model);
    }
}

// Runs beside the pairs.

type RowModel = BTreeMap<runs::RowKey, u64>;

fn row_key(n: u64) -> runs::RowKey {
    *schemas::batch::sha256(&n.to_be_bytes()).first_chunk().expect("16 bytes")
}

/// Rows of a batch, one of them a newer version of one of the batch before; every third batch fills a page.
fn rows_of(batch: u64) -> Settled {
    let mut settled = Settled::default();
    for n in 4 * batch..4 * batch + 5 {
        settled.put(&row_key(n), &batch.to_le_bytes(), batch);
    }
    settled.closes = if batch.is_multiple_of(3) { batch / 3 } else { 0 };
    settled
}

fn rows_until(batch: u64) -> RowModel {
    (1..=batch).flat_map(|batch| (4 * batch..4 * batch + 5).map(move |n| (row_key(n), batch))).collect()
}

fn write_rows(store: &mut Store, batch: u64) -> Result<Written, StoreError> {
    let mut pairs = DirtyPairs::default();
    pairs.put(b"batch", Some(&batch.to_le_bytes()));
    store.write(&label(batch), &mut pairs, rows_of(batch), || Ok(()))
}

/// Every row, those of closed runs found one by one and by reading them all.
fn load_rows(store: &mut Store) -> Result<RowModel, StoreError> {
    let number = |value: &[u8]| u64::from_le_bytes(value.try_into().expect("8 bytes"));
    let mut rows = RowModel::new();
    load(store)?;
    let closed = store.load_runs(|key, value| {
        assert_eq!(rows.insert(*key, number(value)), None, "a row twice");
        Ok(())
    })?;
    for run in closed.runs.iter().rev() {
        let mut scan = run.scan();
        while let Some((key, value)) = scan.next().expect("whole") {
            rows.entry(key).or_insert(number(value));
            assert_eq!(run.get(&key, number), Ok(Some(number(value))));
        }
    }
    Ok(rows)
}

#[test]
fn a_crash_at_any_step_leaves_the_rows_of_the_checkpoint_that_counts() {
    for point in faults::ALL.iter().copied().filter(|point| point.name().starts_with("checkpoint.")) {
        for nth in 1..=40 {
            let dir = tempfile::tempdir().expect("dir");
            let mut store = fresh(dir.path());
            let mut hits = 0;
            let armed = faults::arm_thread(move |at, _| {
                hits += u32::from(at == point);
                at == point && hits == nth
            });
            let crashed = (1..=40).find(|batch| match write_rows(&mut store, *batch) {
                Err(StoreError::Crash(_)) => true,
                written => {
                    assert!(written.is_ok(), "{written:?}");
                    false
                }
            });
            drop(armed);
            let mut store = open(dir.path());
            let batch = store.latest().expect("latest").map_or(0, |label| label.batch);
            let last = crashed.unwrap_or(41);
            assert!(batch == last || batch + 1 == last, "{point} {nth}: {batch} after {last}");
            assert_eq!(load_rows(&mut store).expect("load"), rows_until(batch), "{point} {nth}");
            (batch + 1..batch + 8).for_each(|batch| drop(write_rows(&mut store, batch).expect("goes on")));
            assert_eq!(
                load_rows(&mut open(dir.path())).expect("load"),
                rows_until(batch + 7),
                "{point} {nth}"
            );
        }
    }
}

#[test]
fn rows_whose_write_failed_go_out_with_the_next_one() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    for batch in 1..=9 {
        let refused = batch % 2 == 0;
        let not_durable = || if refused { Err("not yet".to_owned()) } else { Ok(()) };
        let mut pairs = DirtyPairs::default();
        let written = store.write(&label(batch), &mut pairs, rows_of(batch), not_durable);
        assert_eq!(written.is_err(), refused);
    }
    assert_eq!(load_rows(&mut open(dir.path())).expect("load"), rows_until(9));
}

#[test]
fn runs_are_merged_dropped_and_carried_to_another_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    let mut closed = ClosedRuns::default();
    for batch in 1..=200 {
        closed = write_rows(&mut store, batch).expect("write").closed.unwrap_or(closed);
    }
    assert!((2..=12).contains(&closed.runs.len()), "{} runs of 66 pages", closed.runs.len());
    assert_eq!(load_rows(&mut open(dir.path())).expect("load"), rows_until(200));
    // A state whose checkpoint is another's now brings along what it has.
    store.clear().expect("clear");
    let mut settled = rows_of(201);
    settled.carried = closed.runs.clone();
    let written = store.write(&label(201), &mut DirtyPairs::default(), settled, || Ok(())).expect("write");
    assert_eq!(written.closed.expect("told").runs.len(), closed.runs.len() + 1);
    let mut rows = rows_until(201);
    rows.retain(|key, _| load_rows(&mut open(dir.path())).expect("load").contains_key(key));
    assert!(rows.len() > 4 * 199, "{} rows", rows.len());
    // What nobody wants any more leaves the disk, run by run.
    let mut settled = rows_of(202);
    settled.gone_before = 200;
    let written = store.write(&label(202), &mut DirtyPairs::default(), settled, || Ok(())).expect("write");
    let left = written.closed.expect("told").runs;
    assert!(!left.is_empty() && left.iter().all(|run| run.ages().1 >= 200), "{} runs", left.len());
}

#[test]
fn a_run_that_is_not_what_it_was_is_refused_or_never_believed() {
    let dir = tempfile::tempdir().expect("dir");
    let mut store = fresh(dir.path());
    (1..=4).for_each(|batch| drop(write_rows(&mut store, batch).expect("write")));
    for name in
        files(dir.path()).into_iter().filter(|name| name.starts_with("open") || name.starts_with("closed"))
    {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).expect("read");
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).expect("cut");
            let refused = load_rows(&mut open(dir.path()));
            assert!(matches!(refused, Err(StoreError::Refused { .. })), "{name} cut to {cut}: {refused:?}");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        fs::write(&path, &flipped).expect("flip");
        let refused = load_rows(&mut open(dir.path()));
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{name}: {refused:?}");
        fs::write(&path, &whole).expect("mend");
    }
    assert_eq!(load_rows(&mut open(dir.path())).expect("load"), rows_until(4));
}
