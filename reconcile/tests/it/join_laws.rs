//! What holds for any order of arrival and any cut into windows.

use crate::flow::{Flow, MadeBill, Ours, PARTITIONS, ours_of, theirs_of};
use proptest::prelude::*;
use schemas::wire::journal_item::Item;
use schemas::wire::{Aligned, JournalItem, Tick};
use stream::log::OutRecord;

const DAYS: [&str; 2] = ["2019-02-19", "2019-02-20"];
const CONTENTS: [&str; 5] = [
    "CNY 1.00 0.01 success",
    "CNY 1.00 0.02 success",
    "CNY 2.00 0.01 success",
    "CNY 1.00 0.01 processing",
    "JPY 1.00 0.01 success",
];

/// A day of entries and bills: order and content by number.
#[derive(Debug, Clone)]
struct Case {
    entries: Vec<(u8, usize, usize, u32)>,
    bills: Vec<(usize, bool, Vec<Line>)>,
}

/// Order and content.
type Line = (u8, usize);

fn case() -> impl Strategy<Value = Case> {
    let entry = (0_u8..6, 0..CONTENTS.len(), 0..DAYS.len(), 0..PARTITIONS);
    let line = (0_u8..6, 0..CONTENTS.len());
    let bill = (0..DAYS.len(), prop::bool::weighted(0.8), prop::collection::vec(line, 0..8));
    (prop::collection::vec(entry, 0..10), prop::collection::vec(bill, 0..4))
        .prop_map(|(entries, bills)| Case { entries, bills })
}

/// One thing that arrives: an entry, or a chunk of a bill.
#[derive(Clone)]
enum Arrival {
    Entry(u32, Ours),
    Chunk(OutRecord),
    Time(u32, i64),
}

fn arrivals(case: &Case, chunk_lines: usize) -> Vec<Vec<Arrival>> {
    let mut queues: Vec<Vec<Arrival>> = Vec::new();
    for (number, (order, content, day, partition)) in case.entries.iter().enumerate() {
        let mut ours = ours_of(CONTENTS[*content], &format!("o-{order}"), &format!("e-{number}"));
        ours.occurred_at = format!("{}T04:00:00Z", DAYS[*day]);
        queues.push(vec![Arrival::Entry(*partition, ours)]);
    }
    for (number, (day, accepted, lines)) in case.bills.iter().enumerate() {
        let line = |(at, (order, content)): (usize, &(u8, usize))| {
            theirs_of(CONTENTS[*content], &format!("o-{order}"), at as u32 + 2)
        };
        let lines = lines.iter().enumerate().map(line).collect();
        let bill = MadeBill { name: format!("f-{number}"), day: DAYS[*day], accepted: *accepted, lines };
        queues.push(bill.chunks(chunk_lines).into_iter().map(Arrival::Chunk).collect());
    }
    queues.push(vec![Arrival::Time(0, 5), Arrival::Time(1, 7), Arrival::Time(0, 6)]);
    queues
}

fn arrive(flow: &mut Flow, arrival: Arrival) {
    match arrival {
        Arrival::Entry(partition, ours) => flow.book(partition, &ours),
        Arrival::Chunk(chunk) => flow.topics.append(chunk),
        Arrival::Time(partition, time) => {
            let tick = Tick { business_time_us: time, ..Tick::default() };
            let aligned = Aligned { book: "main".into(), date: 17_000 };
            let items = [Item::Tick(tick), Item::Aligned(aligned)];
            flow.journal(partition, &items.map(|item| JournalItem { item: Some(item) }));
        }
    }
}

/// Runs a case: `picks` chooses who arrives next and which processors move in between, by how much.
fn run(case: &Case, chunk_lines: usize, picks: &[(usize, u32, usize)]) -> Flow {
    let mut flow = Flow::new();
    let mut queues = arrivals(case, chunk_lines);
    let mut picks = picks.iter().cycle();
    while !queues.is_empty() {
        let (pick, slot, records) = *picks.next().unwrap();
        let at = pick % queues.len();
        let arrival = queues[at].remove(0);
        if queues[at].is_empty() {
            queues.remove(at);
        }
        arrive(&mut flow, arrival);
        if pick % 3 != 0 {
            flow.rekey.step(slot, &mut flow.topics, records).unwrap();
        }
        if pick % 2 != 0 {
            flow.join.step((slot + 1) % PARTITIONS, &mut flow.topics, records).unwrap();
        }
    }
    flow.run(picks.next().unwrap().2);
    flow
}

fn picks() -> impl Strategy<Value = Vec<(usize, u32, usize)>> {
    prop::collection::vec((0_usize..1_000, 0..PARTITIONS, 1_usize..9), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn arrival_order_and_windows_do_not_matter(
        case in case(), first in picks(), second in picks(), chunk_lines in 1_usize..5,
    ) {
        let mut one = run(&case, 3, &first);
        let mut other = run(&case, chunk_lines, &second);
        prop_assert_eq!(one.in_force(), other.in_force());
        let waiting = |flow: &Flow| -> u64 { flow.join.slots.iter().map(|s| s.summary().waiting).sum() };
        prop_assert_eq!(waiting(&one), waiting(&other));
        for flow in [&mut one, &mut other] {
            flow.rekey.assert_restores(&flow.topics);
            flow.join.assert_restores(&flow.topics);
        }
    }

    #[test]
    fn every_line_and_entry_is_in_one_case_at_most(case in case(), first in picks()) {
        let flow = run(&case, 3, &first);
        let entries = case.entries.len() as u64;
        let lines: u64 = case.bills.iter().filter(|bill| bill.1).map(|bill| bill.2.len() as u64).sum();
        let (mut ours, mut theirs) = (0, 0);
        for slot in &flow.join.slots {
            let filter = Default::default();
            let join = &flow.join.processor;
            for case in join.breaks(slot, &filter).iter().chain(&join.matches(slot, &filter)) {
                ours += u64::from(case.ours.is_some());
                theirs += u64::from(case.theirs.is_some());
            }
            ours += slot.summary().waiting;
        }
        prop_assert_eq!(ours, entries);
        prop_assert!(theirs <= lines, "{theirs} of {lines}");
    }
}
