//! Settlement against a model that keeps every entry, over random journals and random windows; and the same state
//! however it was rebuilt.

use crate::journal::{Journal, SATURDAY, aligned, at, tick};
use crate::world::{CHART, Out, World, config};
use proptest::prelude::*;
use schemas::balance_json::DailyBalance;
use schemas::batch;
use schemas::chart::Chart;
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{BalancesBody, JournalBody};
use settlement::{SettlementConfig, Slot};
use std::collections::BTreeMap;
use stream::log::TopicPartition;
use stream::processor::{Processor, SlotState};

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// Book between two accounts; the date is a place among the days that may be booked now.
    Book { from: u8, to: u8, amount: u32, date: prop::sample::Index },
    /// Business time goes on by hours.
    Tick { hours: u8 },
    /// The oldest open day is aligned, if its closings may start.
    Align,
    /// The batch ends here.
    Seal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..7, 0_u8..7, 1_u32..1000, any::<prop::sample::Index>())
            .prop_map(|(from, to, amount, date)| Step::Book { from, to, amount, date }),
        1 => (0_u8..20).prop_map(|hours| Step::Tick { hours }),
        1 => Just(Step::Align),
        3 => Just(Step::Seal),
    ]
}

fn account(n: u8) -> String {
    if n == 0 { "bank:icbc".into() } else { format!("users:{n}:wallet") }
}

/// Settings whose closings take several batches.
fn small_steps() -> SettlementConfig {
    SettlementConfig { closings_per_batch: 2, ..config(1) }
}

/// Builds the journal that posting could have written: dates between the newest aligned day and the last open one (an
/// ingest slot dates back one day at most, and has switched before that day aligns), the next alignment only after the
/// closings of the one before.
fn history(steps: &[Step]) -> Journal {
    let mut world = World::new(small_steps());
    let (mut items, mut hours) = (Vec::new(), 0_i64);
    for step in steps.iter().chain([&Step::Seal]) {
        let closing = world.slots[0].head().closing;
        let aligning = items.iter().any(|item| matches!(item, Item::Aligned(_)));
        let oldest = closing.aligned().map_or(SATURDAY, |day| day.0 + i32::from(aligning));
        let latest = closing.latest_open().map_or(SATURDAY + 1, |day| day.0);
        match step {
            Step::Book { from, to, amount, date } if from != to => {
                let amount = i128::from(*amount);
                let day = oldest + i32::try_from(date.index((latest - oldest + 1) as usize)).unwrap();
                let legs = [(account(*from), -amount), (account(*to), amount)];
                let legs: Vec<_> = legs.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
                items.push(world.journals[0].booked(day, &legs));
            }
            Step::Book { .. } => {}
            Step::Tick { hours: more } => {
                hours += i64::from(*more);
                items.push(tick(at(SATURDAY, hours)));
            }
            Step::Align => {
                let next = closing.through.map_or(SATURDAY, |day| day.0 + 1);
                if closing.progress.is_none() && !aligning {
                    items.push(aligned(next));
                }
            }
            Step::Seal => {
                world.journals[0].batch(std::mem::take(&mut items));
                world.window(0, 1, 0, false).unwrap();
            }
        }
    }
    world.journals.remove(0)
}

/// Every entry of the first `batches` batches: account -> (date, signed amount) in order.
fn entries(journal: &Journal, batches: usize) -> BTreeMap<String, Vec<(i32, i128)>> {
    let mut all: BTreeMap<String, Vec<(i32, i128)>> = BTreeMap::new();
    for record in &journal.records[..batches] {
        let body: JournalBody = batch::open(&record.value).unwrap().body().unwrap();
        for item in body.item {
            let Some(Item::Decision(decision)) = item.item else { continue };
            for entry in decision.entry {
                let signed = entry.after() - entry.before();
                all.entry(entry.account.clone()).or_default().push((decision.accounting_date, signed));
            }
        }
    }
    all
}

fn sum(entries: &[(i32, i128)], until: i32) -> i128 {
    entries.iter().filter(|(date, _)| *date <= until).map(|(_, amount)| amount).sum()
}

/// What a reader of the published topics knows.
#[derive(Default)]
struct Reader {
    balances: BTreeMap<String, i128>,
    /// account -> day -> revision -> closing.
    dailies: BTreeMap<String, BTreeMap<String, BTreeMap<u32, i128>>>,
    reported: usize,
}

impl Reader {
    fn read(&mut self, out: &Out) {
        for record in out.of(Topic::Balances) {
            let body = <BalancesBody as prost::Message>::decode(record.value.clone()).unwrap();
            for balance in body.balance {
                self.balances.insert(balance.account, i128::from(balance.balance.unwrap()));
            }
        }
        for record in out.of(Topic::BalancesDaily) {
            let daily: DailyBalance<'_> = serde_json::from_slice(&record.value).unwrap();
            let revisions =
                self.dailies.entry(daily.account.to_string()).or_default().entry(daily.day.clone());
            let revisions = revisions.or_default();
            assert_eq!(daily.revision as usize, revisions.len() + 1, "revisions have no gap");
            revisions.insert(daily.revision, daily.debit_minus_credit_minor.parse().unwrap());
        }
        self.reported += out.reports();
    }

    /// The as-of rule of `balances.daily`: newest day at or before, highest revision of it.
    fn closing(&self, account: &str, day: i32) -> i128 {
        let days = self.dailies.get(account);
        let newest = days.and_then(|days| days.range(..=Day(day).to_string()).next_back());
        newest.and_then(|(_, revisions)| revisions.values().next_back()).copied().unwrap_or(0)
    }
}

fn pairs(slot: &Slot) -> Vec<(Vec<u8>, Vec<u8>)> {
    slot.canonical()
}

/// Reads a journal in windows of the given sizes (over and over) and checks every window against the model.
fn run(journal: Journal, cuts: &[(usize, usize)]) -> World {
    let mut world = World::new(small_steps());
    world.journals[0] = journal;
    let mut reader = Reader::default();
    let mut cuts = cuts.iter().cycle();
    while world.read[0] < world.journals[0].records.len() {
        let (records, reports) = *cuts.next().unwrap();
        let Some(out) = world.window(0, records, reports, false).unwrap() else { continue };
        reader.read(&out);
        check(&world, &reader);
    }
    world
}

fn check(world: &World, reader: &Reader) {
    let truth = entries(&world.journals[0], world.read[0]);
    let (slot, rules) = (&world.slots[0], world.settlement.rules());
    for (account, entries) in &truth {
        // Published through: the position passed these entries, so their balance is out.
        assert_eq!(reader.balances.get(account), Some(&sum(entries, i32::MAX)), "{account}");
        let own = slot.account(account, "CNY").unwrap();
        let last_date = entries.iter().map(|(date, _)| *date).max().unwrap();
        assert_eq!((own.dual.last_date.0, own.seq as usize), (last_date, entries.len()));
        assert_eq!(own.dual.previous, sum(entries, last_date - 1));
        for day in last_date - 1..last_date + 2 {
            assert_eq!(own.dual.closing(Day(day)), Some(sum(entries, day)), "{account} {day}");
        }
    }
    let counted = rules.trial_balance(slot);
    assert!(counted.values().all(|sum| *sum == Some(0)));
    assert!(slot.sums().all(|(asset, sum)| sum == counted.get(asset).copied().unwrap_or(Some(0))));
    let Some(through) = slot.head().closing.through else { return };
    for (account, entries) in &truth {
        let closing = sum(entries, through.0);
        assert_eq!(reader.closing(account, through.0), closing, "{account}: closing of {through}");
    }
    assert_eq!(
        reader.reported,
        usize::try_from(through.0 - SATURDAY + 1).unwrap(),
        "one report for each day"
    );
}

fn topics() -> (TopicPartition, TopicPartition) {
    (TopicPartition::new(Topic::Journal, 0), TopicPartition::new(Topic::DaysAligned, 0))
}

/// A slot rebuilt from the inputs of `world` from (journal, reports) on; `reports_first` is the order of the two.
fn replayed(world: &World, mut slot: Slot, from: (usize, usize), reports_first: bool) -> Slot {
    let (journal, reports) = topics();
    let replay_reports = |slot: &mut Slot| {
        for record in &world.reports[from.1..world.reports_read] {
            world.settlement.replay(slot, reports, record).unwrap();
        }
    };
    if reports_first {
        replay_reports(&mut slot);
    }
    for record in &world.journals[0].records[from.0..world.read[0]] {
        world.settlement.replay(&mut slot, journal, record).unwrap();
    }
    if !reports_first {
        replay_reports(&mut slot);
    }
    slot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn balances_and_closings_are_those_of_the_entries(
        steps in prop::collection::vec(step(), 1..120),
        cuts in prop::collection::vec((1_usize..8, 0_usize..3), 1..6),
    ) {
        run(history(&steps), &cuts);
    }

    #[test]
    fn a_state_is_the_same_however_it_was_rebuilt(
        steps in prop::collection::vec(step(), 1..100),
        cuts in prop::collection::vec((1_usize..8, 0_usize..3), 1..6),
        other_cuts in prop::collection::vec((1_usize..8, 0_usize..3), 1..6),
        stop in any::<prop::sample::Index>(),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let mut live = run(history(&steps), &cuts);
        live.drain(0);
        let mut other = run(history(&steps), &other_cuts);
        other.drain(0);
        prop_assert_eq!(pairs(&live.slots[0]), pairs(&other.slots[0]), "other windows");
        for reports_first in [true, false] {
            let slot = replayed(&live, live.settlement.open(0), (0, 0), reports_first);
            prop_assert_eq!(pairs(&slot), pairs(&live.slots[0]), "replay");
            prop_assert_eq!(slot.position_hash(), live.slots[0].position_hash());
        }

        // A checkpoint somewhere, of dirty pairs only, loaded in any order; then the tail, from before the checkpoint.
        let at = stop.index(live.read[0]);
        let mut half = World::new(small_steps());
        half.journals[0] = history(&steps);
        let mut store = BTreeMap::new();
        for n in 0..at {
            half.window(0, 1, n % 2, false).unwrap();
            if n % 3 == 0 || n + 1 == at {
                half.slots[0].take_dirty(&mut |key, value| {
                    store.insert(key.to_vec(), value.unwrap().to_vec());
                });
                prop_assert_eq!(half.slots[0].dirty_bytes(), 0);
            }
        }
        let mut restored = live.settlement.open(0);
        let mut all: Vec<_> = store.into_iter().collect();
        let turn = shuffle.index(all.len().max(1));
        all.rotate_left(if at > 0 { turn } else { 0 });
        for (key, value) in &all {
            restored.load(key, value).unwrap();
        }
        if at > 0 {
            prop_assert_eq!(pairs(&restored), pairs(&half.slots[0]), "checkpoint");
        }
        let from = (half.read[0].saturating_sub(2), half.reports_read.saturating_sub(1));
        let restored = replayed(&live, restored, from, true);
        prop_assert_eq!(pairs(&restored), pairs(&live.slots[0]), "checkpoint and tail");
    }
}

#[test]
fn a_checkpoint_that_left_an_account_out_is_not_used() {
    let mut world = World::new(config(1));
    world.journals[0].book(SATURDAY, &[("bank:icbc", 1), ("users:1:wallet", -1)]).tick(at(SATURDAY, 9));
    world.window(0, 1, 0, false).unwrap();
    let pairs = world.slots[0].canonical();
    for left_out in 0..2 {
        let mut slot = world.settlement.open(0);
        for (n, (key, value)) in pairs.iter().enumerate() {
            if n != left_out {
                slot.load(key, value).unwrap();
            }
        }
        let (journal, _) = topics();
        let stop = world.settlement.replay(&mut slot, journal, &world.journals[0].records[1]).unwrap_err();
        assert_eq!(stop.at, "checkpoint");
        assert!(stop.why.contains("of 2 accounts"), "{}", stop.why);
    }
    let mut slot = world.settlement.open(0);
    for (key, value) in [(&b"x"[..], &b""[..]), (b"a12", b""), (b"h", b"\xff"), (b"a\0\0\0\0", b"\xff")] {
        assert!(slot.load(key, value).is_err(), "{key:?}");
    }
    let yen_only = Chart::parse(&CHART.replace("CNY: { exponent: 2 }", "")).unwrap();
    let other = settlement::Settlement::new(SettlementConfig { chart: yen_only, ..config(1) }).unwrap();
    assert!(other.open(0).load(&pairs[0].0, &pairs[0].1).unwrap_err().contains("CNY"));
}

#[test]
fn another_batch_in_the_place_of_one_read_is_found() {
    let mut world = World::new(config(1));
    world.journals[0].tick(at(SATURDAY, 9)).tick(at(SATURDAY, 10));
    world.drain(0);
    let mut other = Journal::new(0);
    other.tick(at(SATURDAY, 9)).tick(at(SATURDAY, 11));
    let (journal, _) = topics();
    let read = &mut world.slots[0];
    assert!(
        world.settlement.replay(read, journal, &world.journals[0].records[1]).is_ok(),
        "read before, the same"
    );
    let stop = world.settlement.replay(read, journal, &other.records[1]).unwrap_err();
    assert_eq!(stop.why, "batch at sequence 2 is not the one read before");
}
