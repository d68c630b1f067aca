//! The table against a map of everything that was ever decided, through pages, runs, restarts and a horizon that moves.

use super::*;
use crate::ids::id_key;
use crate::state::Slot;
use proptest::prelude::*;
use schemas::reason::Reason;
use stream::processor::SlotState;
use stream::store::runs::{Source, merge};

/// Newest record of every key.
type Model = BTreeMap<IdKey, IdRecord>;

fn key(n: u16) -> IdKey {
    id_key("/shop", &n.to_string())
}

fn record(n: u16, batch: u64, outcome: Outcome) -> IdRecord {
    let reason = (outcome == Outcome::Refused).then_some(Reason::InsufficientFunds);
    IdRecord { body: [n as u8; 16], outcome, reason, decider: 3, batch, home_batch: batch }
}

/// A checkpoint as the store keeps one.
#[derive(Default)]
struct Kept {
    pending: BTreeMap<IdKey, IdRecord>,
    open: Vec<Arc<Run>>,
    closed: Vec<Arc<Run>>,
    rest: wire::IdsRest,
}

fn run(bytes: Vec<u8>) -> Arc<Run> {
    Arc::new(Run::open(Source::Memory(bytes), true).unwrap())
}

fn merged(runs: &[Arc<Run>]) -> Arc<Run> {
    run(merge(&runs.iter().map(|run| &**run).collect::<Vec<_>>(), Vec::new()).unwrap().0)
}

impl Kept {
    /// Takes a checkpoint of a table; with `told` it hears at once which runs there are.
    fn take(&mut self, table: &mut IdTable, told: bool) {
        for (key, record) in table.take_dirty() {
            match record {
                Some(record) => self.pending.insert(key, record),
                None => self.pending.remove(&key),
            };
        }
        let settled = table.take_settled(false);
        let closes = settled.closes;
        if let Some((bytes, ..)) = settled.write(|| Ok(Vec::new())).unwrap() {
            self.open.push(run(bytes));
        }
        if closes > 0 && !self.open.is_empty() {
            self.closed.push(merged(&std::mem::take(&mut self.open)));
        }
        self.rest = table.to_wire();
        if told {
            table.adopt(ClosedRuns { runs: self.closed.clone(), closed: closes });
        }
    }

    fn restart(&self, rows: usize) -> IdTable {
        let mut table = IdTable::with_pages(rows);
        self.pending.iter().for_each(|(key, record)| table.load(*key, *record));
        for open in &self.open {
            let mut scan = open.scan();
            while let Some((key, value)) = scan.next().unwrap() {
                table.load_row(&key, value).unwrap();
            }
        }
        table.load_rest(&self.rest);
        table.adopt(ClosedRuns { runs: self.closed.clone(), closed: 0 });
        table
    }
}

fn holds(table: &IdTable, model: &Model, horizon: &Horizon) {
    for n in 0..40 {
        let known = model.get(&key(n)).copied();
        let from = |batch| known.filter(|r| r.outcome == Outcome::Pending || r.home_batch >= batch);
        assert_eq!(table.get(&key(n)), from(horizon.recognised_from), "{n}");
        assert_eq!(table.known(&key(n)), from(horizon.kept_from), "{n}");
    }
    let pending = |r: &&IdRecord| r.outcome == Outcome::Pending;
    assert_eq!(table.pending(), model.values().filter(pending).count() as u64);
    let mut all = model.clone();
    all.retain(|_, r| r.outcome == Outcome::Pending || r.home_batch >= horizon.kept_from);
    assert_eq!(table.sorted(), all);
}

#[derive(Debug, Clone)]
enum Step {
    Decide(u16, Outcome),
    Checkpoint { told: bool },
    Restart,
    Recognise(u8),
    Keep(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Booked),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Pending),
    ];
    prop_oneof![
        12 => (0_u16..40, outcome).prop_map(|(n, outcome)| Step::Decide(n, outcome)),
        3 => any::<bool>().prop_map(|told| Step::Checkpoint { told }),
        1 => Just(Step::Restart),
        1 => (0_u8..9).prop_map(Step::Recognise),
        1 => (0_u8..20).prop_map(Step::Keep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_id_is_answered_wherever_it_lies(rows in 1_usize..9, steps in prop::collection::vec(step(), 1..120)) {
        let mut table = IdTable::with_pages(rows);
        let (mut model, mut kept, mut horizon, mut batch) = (Model::new(), Kept::default(), Horizon::default(), 0);
        // What the last checkpoint holds, and what was done since: a restart does that again, as the journal does.
        let mut since: Vec<(IdKey, IdRecord)> = Vec::new();
        for step in steps {
            batch += 1;
            match step {
                Step::Decide(n, outcome) => {
                    let before = table.get(&key(n));
                    // What is decided stands as long as it is recognised; what is pending may be decided.
                    if before.is_some_and(|before| before.outcome != Outcome::Pending) {
                        continue;
                    }
                    let record = match before {
                        Some(before) => IdRecord { outcome, ..before },
                        None => record(n, batch, outcome),
                    };
                    table.set(key(n), record);
                    model.insert(key(n), record);
                    since.push((key(n), record));
                }
                Step::Checkpoint { told } => {
                    kept.take(&mut table, told);
                    since.clear();
                }
                Step::Restart => {
                    table = kept.restart(rows);
                    table.move_horizon(horizon.clone());
                    since.iter().for_each(|(key, record)| table.set(*key, *record));
                }
                Step::Recognise(age) => {
                    horizon.recognised_from = horizon.recognised_from.max(batch - batch.min(age.into()));
                    table.move_horizon(horizon.clone());
                }
                Step::Keep(age) => {
                    let from = (batch - batch.min(u64::from(age))).min(horizon.recognised_from);
                    horizon.kept_from = horizon.kept_from.max(from);
                    table.move_horizon(horizon.clone());
                }
            }
            holds(&table, &model, &horizon);
        }
        let settled = table.take_settled(true);
        let mut whole = Kept { rest: table.to_wire(), closed: settled.carried.clone(), ..Kept::default() };
        whole.open.extend(settled.write(|| Ok(Vec::new())).unwrap().map(|(bytes, ..)| run(bytes)));
        whole.pending.extend(table.all_pending());
        holds(&whole.restart(rows), &model, &horizon);
    }
}

#[test]
fn a_run_that_cannot_be_read_makes_the_table_say_so() {
    let mut table = IdTable::with_pages(4);
    (0..4).for_each(|n| table.set(key(n), record(n, 1, Outcome::Booked)));
    let (mut bytes, ..) = table.take_settled(false).write(|| Ok(Vec::new())).unwrap().unwrap();
    bytes[40] ^= 1;
    table.adopt(ClosedRuns { runs: vec![run(bytes)], closed: 1 });
    let slot = Slot { ids: table, ..Slot::new(0) };
    assert_eq!(slot.damaged(), None);
    assert_eq!(slot.ids.get(&key(0)), None);
    assert!(slot.damaged().unwrap().contains("block 0 does not match its checksum"));
}

#[test]
fn memory_holds_two_pages_at_most_however_many_ids_there_are() {
    let mut table = IdTable::with_pages(100);
    let mut kept = Kept::default();
    for n in 0..5000 {
        table.set(key(n), record(n, n.into(), Outcome::Booked));
        if n % 30 == 0 {
            kept.take(&mut table, true);
        }
        assert!(table.places().0 < 100 + 30, "{:?}", table.places());
    }
    assert_eq!((table.len(), table.booked()), (5000, 5000));
    assert!(table.places().1 >= 4870);
    assert!((0..5000).all(|n| table.get(&key(n)).is_some()));
    assert_eq!((table.get(&key(5000)), table.damaged()), (None, None));
}
