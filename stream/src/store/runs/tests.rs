//! Runs against a map: written, found, scanned, merged; cut and flipped.

use super::*;
use proptest::prelude::*;
use schemas::batch::sha256;
use std::collections::BTreeMap;

type Model = BTreeMap<RowKey, [u8; 4]>;

fn key(n: u32) -> RowKey {
    *sha256(&n.to_be_bytes()).first_chunk().unwrap()
}

/// Row of `n` as of `age`.
fn settled(numbers: impl IntoIterator<Item = u32>, age: u64, model: &mut Model) -> Settled {
    let mut settled = Settled::default();
    for n in numbers {
        let value = (n ^ age as u32).to_le_bytes();
        settled.put(&key(n), &value, age);
        model.insert(key(n), value);
    }
    settled
}

fn bytes_of(settled: &Settled) -> Vec<u8> {
    settled.write(|| Ok(Vec::new())).unwrap().unwrap().0
}

fn open(bytes: Vec<u8>, filtered: bool) -> Run {
    Run::open(Source::Memory(bytes), filtered).unwrap()
}

fn value(run: &Run, n: u32) -> Option<[u8; 4]> {
    run.get(&key(n), |value| value.try_into().unwrap()).unwrap()
}

fn rows(run: &Run) -> Model {
    let mut rows = Model::new();
    let mut scan = run.scan();
    while let Some((key, value)) = scan.next().unwrap() {
        assert!(rows.last_key_value().is_none_or(|(last, _)| *last < key), "not ascending");
        rows.insert(key, value.try_into().unwrap());
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_run_holds_what_was_put_and_nothing_else(counts in prop::collection::vec(1_u32..900, 1..5)) {
        let (mut model, mut runs) = (Model::new(), Vec::new());
        for (age, count) in (1..).zip(&counts) {
            // Some keys of the run before, in another version, and one of them twice.
            let of_run = (age as u32 * 300..age as u32 * 300 + count).chain([age as u32 * 300]);
            let mut of_it = Model::new();
            let settled = settled(of_run, age, &mut of_it);
            let run = open(bytes_of(&settled), age % 2 == 0);
            prop_assert_eq!(run.rows(), of_it.len() as u64);
            prop_assert_eq!(run.ages(), (age, age));
            prop_assert_eq!(rows(&run), of_it.clone());
            model.extend(of_it);
            runs.push(run);
        }
        let (bytes, ..) = merge(&runs.iter().collect::<Vec<_>>(), Vec::new()).unwrap();
        let run = open(bytes, true);
        prop_assert_eq!(run.ages(), (1, counts.len() as u64));
        prop_assert_eq!(rows(&run), model.clone());
        for n in 0..3000 {
            prop_assert_eq!(value(&run, n), model.get(&key(n)).copied());
            prop_assert_eq!(value(&run.unfiltered(), n), model.get(&key(n)).copied());
        }
    }

    #[test]
    fn a_run_that_is_cut_or_changed_is_never_read_as_another(at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
        let mut model = Model::new();
        let bytes = bytes_of(&settled(0..500, 1, &mut model));
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        if cut { changed.truncate(at) } else { changed[at] ^= 1 << bit }
        if let Ok(run) = Run::open(Source::Memory(changed), true) {
            for n in 0..600 {
                let found = run.get(&key(n), <[u8]>::to_vec);
                let right = model.get(&key(n)).map(|value| value.to_vec());
                prop_assert!(found == Ok(right) || found.is_err(), "{n} with a changed byte {at}");
            }
        }
    }
}

#[test]
fn keys_that_begin_alike_are_found_in_whichever_block_they_are() {
    let alike = |n: u64| -> RowKey {
        let mut key = [7; 16];
        key[8..].copy_from_slice(&n.to_be_bytes());
        key
    };
    let mut settled = Settled::default();
    (0..1000_u64).for_each(|n| settled.put(&alike(2 * n), &n.to_le_bytes(), n));
    let run = open(bytes_of(&settled), false);
    for n in 0..1000 {
        assert_eq!(run.get(&alike(2 * n), <[u8]>::to_vec).unwrap(), Some(n.to_le_bytes().to_vec()));
        assert_eq!(run.get(&alike(2 * n + 1), <[u8]>::to_vec).unwrap(), None);
    }
    assert_eq!(run.get(&[6; 16], <[u8]>::to_vec).unwrap(), None);
    assert_eq!(run.get(&[8; 16], <[u8]>::to_vec).unwrap(), None);
    assert_eq!(run.ages(), (0, 999));
}

#[test]
fn runs_of_one_size_are_merged_when_there_are_enough() {
    assert_eq!(worth_merging(&[]), None);
    assert_eq!(worth_merging(&[9, 9, 9]), None);
    assert_eq!(worth_merging(&[9, 9, 9, 9]), Some(0));
    assert_eq!(worth_merging(&[100, 9, 9, 9, 9]), Some(1));
    assert_eq!(worth_merging(&[9, 9, 9, 9, 1000]), None);
    assert_eq!(worth_merging(&[ROWS_MERGED_MAX, 1, 1]), None);
    assert_eq!(worth_merging(&[1 << 24; 4]), None, "too many rows");
    // A slot that fills page after page has few runs.
    let mut runs: Vec<u64> = Vec::new();
    for page in 1..=1000 {
        runs.push(130);
        while let Some(from) = worth_merging(&runs) {
            let sum = runs.split_off(from).iter().sum();
            runs.push(sum);
        }
        assert!(runs.len() <= 16, "{} runs after {page} pages", runs.len());
        assert_eq!(runs.iter().sum::<u64>(), page * 130);
    }
}
