//! The checker: one planted history for every class of anomaly, and serial ones in which there is nothing to find.

use super::books::Books;
use super::check::{Kind, check};
use super::record::{Account, Asked, Balance, Batch, Ended, Entry, Listed, Operation, Part, Seen};
use proptest::prelude::*;
use schemas::wire::Outcome;
use std::collections::BTreeMap;
use std::sync::Arc;

fn account(name: &str) -> Account {
    (name.to_owned(), "CNY".to_owned())
}

/// Account, seq, amount, balance after it.
type Line<'a> = (&'a str, u64, i128, i128);

fn part(event: &str, decided: bool, lines: &[Line<'_>]) -> Part {
    let entries = lines.iter().map(|(name, seq, amount, after)| Entry {
        account: account(name),
        seq: *seq,
        amount: *amount,
        after: *after,
    });
    Part { event: event.to_owned(), decided, entries: entries.collect() }
}

fn batch(number: u64, outcomes: &[(&str, Outcome)], parts: Vec<Part>) -> Batch {
    let outcomes = outcomes.iter().map(|(event, outcome)| ((*event).to_owned(), *outcome)).collect();
    Batch { number, hash: [u8::try_from(number % 251).unwrap(); 32], parts, outcomes }
}

fn books(partitions: &[Vec<Batch>]) -> Books {
    Books::of(partitions.iter().map(|all| all.iter().cloned().map(Arc::new).collect()).collect())
}

/// A run, with what is planted in it.
struct Story {
    partitions: Vec<Vec<Batch>>,
    history: Vec<Operation>,
}

impl Story {
    /// An operation ten microseconds long, behind those before it.
    fn did(&mut self, process: u32, asked: Asked, ended: Ended) {
        let invoked_us = self.history.last().map_or(0, |last| last.ended_us + 1);
        self.history.push(Operation { process, invoked_us, ended_us: invoked_us + 10, asked, ended });
    }

    fn books(&mut self, process: u32, event: &str, legs: &[(&str, i128)], seen: Seen) {
        let legs = legs.iter().map(|(name, amount)| (account(name), *amount)).collect();
        self.did(process, Asked::Book { event: event.to_owned(), legs }, Ended::Ok(seen));
    }

    fn reads(&mut self, process: u32, again: bool, batches: Vec<Batch>) {
        let batches = batches.into_iter().map(Arc::new).collect();
        self.did(process, Asked::Journal { partition: 0, again }, Ended::Ok(Seen::Batches(batches)));
    }

    fn lists(&mut self, process: u32, name: &str, listed: &[(u64, &str, i128)]) {
        let listed = listed.iter().map(|(seq, event, after)| Listed {
            seq: *seq,
            event: (*event).to_owned(),
            after: *after,
        });
        let seen = Seen::Entries(listed.collect());
        self.did(process, Asked::Entries { account: account(name) }, Ended::Ok(seen));
    }

    fn balances(&mut self, process: u32, shown: &[(&str, u64, i128)]) {
        let shown =
            shown.iter().map(|(name, seq, net)| Balance { account: account(name), seq: *seq, net: *net });
        let seen = Seen::Balances(shown.collect());
        self.did(process, Asked::Balances { partition: None }, Ended::Ok(seen));
    }

    /// Batches of the first partition.
    fn journal(&self) -> Vec<Batch> {
        self.partitions[0].clone()
    }

    /// What the reader of operation 2 saw.
    fn saw(&mut self, batches: Vec<Batch>) {
        self.history[2].ended = Ended::Ok(Seen::Batches(batches.into_iter().map(Arc::new).collect()));
    }
}

/// A and B live in partition 0, C in partition 1. `t1`: A pays B 5. `t2`: A pays C 10.
fn story() -> Story {
    let t1 = part("t1", true, &[("A", 1, 5, 5), ("B", 1, -5, -5)]);
    let t2 = part("t2", true, &[("A", 2, 10, 15)]);
    let first = vec![
        batch(1, &[("t1", Outcome::Booked)], vec![t1]),
        batch(2, &[("t2", Outcome::Booked)], vec![t2, part("", true, &[("out", 1, -10, -10)])]),
    ];
    let received = vec![part("t2", false, &[("C", 1, -10, -10)]), part("", true, &[("in", 1, 10, 10)])];
    let mut story = Story { partitions: vec![first, vec![batch(1, &[], received)]], history: Vec::new() };
    story.books(1, "t1", &[("A", 5), ("B", -5)], Seen::Became(Outcome::Booked));
    story.books(1, "t2", &[("A", 10), ("C", -10)], Seen::Became(Outcome::Booked));
    story.reads(2, true, story.journal());
    story.balances(3, &[("A", 2, 15), ("B", 1, -5), ("C", 1, -10), ("in", 1, 10), ("out", 1, -10)]);
    story.lists(2, "A", &[(1, "t1", 5), (2, "t2", 15)]);
    story
}

/// The story with something planted in it, and everything that must be found then, in any order.
#[track_caller]
fn finds(plant: impl FnOnce(&mut Story), want: &[(Kind, &[usize])]) {
    let mut story = story();
    plant(&mut story);
    let anomalies = check(&story.history, &books(&story.partitions));
    let mut found: Vec<(Kind, &[usize])> = anomalies.iter().map(|a| (a.kind, &a.operations[..])).collect();
    found.sort();
    assert_eq!(found, want, "{anomalies:#?}");
}

const BOOKED: Seen = Seen::Became(Outcome::Booked);

#[test]
fn a_right_history_shows_nothing() {
    finds(|_| {}, &[]);
    // Nobody knows of one that is booked, nor of one that is not; one that failed is not.
    let unsure = |story: &mut Story| {
        story.history[1].ended = Ended::Info;
        let legs = vec![(account("A"), 1), (account("B"), -1)];
        story.did(4, Asked::Book { event: "t3".to_owned(), legs: legs.clone() }, Ended::Info);
        story.did(5, Asked::Book { event: "t4".to_owned(), legs }, Ended::Fail);
    };
    finds(unsure, &[]);
}

#[test]
fn lost() {
    finds(|story| story.books(4, "t3", &[("A", 1), ("B", -1)], Seen::Accepted), &[(Kind::Lost, &[5])]);
    let without_an_entry = |story: &mut Story| {
        let asked = vec![(account("A"), 5), (account("B"), -5), (account("B"), -5)];
        story.history[0].asked = Asked::Book { event: "t1".to_owned(), legs: asked };
    };
    finds(without_an_entry, &[(Kind::Lost, &[0])]);
}

#[test]
fn duplicate() {
    let booked_by_two = |story: &mut Story| {
        story.partitions[1].push(batch(2, &[("t1", Outcome::Booked)], Vec::new()));
    };
    finds(booked_by_two, &[(Kind::Duplicate, &[0])]);
    let credited_twice = |story: &mut Story| {
        let again = vec![part("t2", false, &[("C", 2, -10, -20)]), part("", true, &[("in", 2, 10, 20)])];
        story.partitions[1].push(batch(2, &[], again));
    };
    // The read of balances lies between the two entries.
    finds(credited_twice, &[(Kind::Duplicate, &[1]), (Kind::GSingle, &[1, 3])]);
}

#[test]
fn aborted() {
    let another_batch = |story: &mut Story| {
        let mut seen = story.journal();
        seen[1].hash = [9; 32];
        story.saw(seen);
    };
    finds(another_batch, &[(Kind::Aborted, &[2])]);
    finds(|story| story.reads(2, false, vec![batch(3, &[], Vec::new())]), &[(Kind::Aborted, &[5])]);
    finds(|story| story.history[0].ended = Ended::Fail, &[(Kind::Aborted, &[0])]);
    finds(
        |story| story.history[0].ended = Ended::Ok(Seen::Became(Outcome::Refused)),
        &[(Kind::Aborted, &[0])],
    );
    let wrong = [("A", 2, 16), ("B", 1, -6), ("C", 1, -10), ("in", 1, 10), ("out", 1, -10)];
    finds(|story| story.balances(4, &wrong), &[(Kind::Aborted, &[5])]);
    finds(|story| story.lists(4, "A", &[(2, "t2", 15), (3, "t3", 16)]), &[(Kind::Aborted, &[5])]);
    let unsent = |story: &mut Story| {
        story.partitions[1].push(batch(2, &[("t9", Outcome::Refused)], Vec::new()));
    };
    finds(unsent, &[(Kind::Aborted, &[])]);
    let refused = |story: &mut Story| {
        story.partitions[0][0].outcomes[0].1 = Outcome::Refused;
        story.history[0].ended = Ended::Info;
        story.saw(story.journal());
    };
    finds(refused, &[(Kind::Aborted, &[0])]);
}

#[test]
fn torn() {
    let a_part_of_a_batch = |story: &mut Story| {
        let mut seen = story.journal();
        seen[0].parts[0].entries.pop();
        story.saw(seen);
    };
    finds(a_part_of_a_batch, &[(Kind::Torn, &[2]), (Kind::Fractured, &[2])]);
    let an_event_in_two_batches = |story: &mut Story| {
        let leg = story.partitions[0][0].parts[0].entries.pop().unwrap();
        let late = Part { event: "t1".to_owned(), decided: true, entries: vec![leg] };
        story.partitions[0][1].parts.push(late);
        story.saw(story.journal());
    };
    finds(an_event_in_two_batches, &[(Kind::Torn, &[2]), (Kind::Fractured, &[2])]);
    let the_first_of_two_entries = |story: &mut Story| {
        let t3 = part("t3", true, &[("A", 3, 2, 17), ("B", 2, -1, -6), ("B", 3, -1, -7)]);
        story.partitions[0].push(batch(3, &[("t3", Outcome::Booked)], vec![t3]));
        story.books(4, "t3", &[("A", 2), ("B", -1), ("B", -1)], BOOKED);
        story.lists(5, "B", &[(1, "t1", -5), (2, "t3", -6)]);
    };
    finds(the_first_of_two_entries, &[(Kind::Torn, &[6])]);
}

#[test]
fn fractured() {
    // The read has B's entry of `t1` and misses A's: that is read skew too.
    let skewed = [("B", 1, -5), ("C", 1, -10), ("in", 1, 10), ("out", 1, -10)];
    finds(|story| story.balances(4, &skewed), &[(Kind::Fractured, &[5]), (Kind::GSingle, &[0, 5])]);
    let wrong_at_rest = |story: &mut Story| {
        story.partitions[0][1].parts[1].entries[0].amount = -9;
        story.saw(story.journal());
    };
    finds(wrong_at_rest, &[(Kind::Fractured, &[2])]);
}

#[test]
fn backward() {
    let journal = |story: &mut Story| {
        let seen = story.journal()[..1].to_vec();
        story.reads(2, true, seen);
    };
    finds(journal, &[(Kind::Backward, &[5]), (Kind::Stale, &[1, 5])]);
    finds(|story| story.lists(2, "A", &[(1, "t1", 5)]), &[(Kind::Backward, &[5])]);
    let early = [("A", 1, 5), ("B", 1, -5)];
    finds(|story| story.balances(3, &early), &[(Kind::Backward, &[5])]);
    finds(|story| story.balances(4, &early), &[]);
    finds(|story| story.balances(3, &[]), &[(Kind::Backward, &[5])]);
}

#[test]
fn stale() {
    finds(|story| story.saw(story.journal()[..1].to_vec()), &[(Kind::Stale, &[1, 2])]);
    // Nobody had been told when it began.
    let meanwhile = |story: &mut Story| {
        story.saw(story.journal()[..1].to_vec());
        story.history[2].invoked_us = story.history[1].invoked_us;
    };
    finds(meanwhile, &[]);
}

#[test]
fn order() {
    finds(|story| story.saw(story.journal()[1..].to_vec()), &[(Kind::Order, &[2])]);
    finds(|story| story.lists(4, "A", &[(1, "t2", 5), (2, "t1", 15)]), &[(Kind::Order, &[5])]);
    finds(|story| story.lists(4, "A", &[(2, "t2", 15), (1, "t1", 5)]), &[(Kind::Order, &[5])]);
    let a_gap = |story: &mut Story| {
        let t3 = part("t3", true, &[("A", 4, 1, 16), ("B", 2, -1, -6)]);
        story.partitions[0].push(batch(3, &[("t3", Outcome::Booked)], vec![t3]));
        story.books(4, "t3", &[("A", 1), ("B", -1)], BOOKED);
    };
    finds(a_gap, &[(Kind::Order, &[])]);
}

#[test]
fn cycles_of_events() {
    // `t3` is before `t4` on X and behind it on Y.
    let dirty = |story: &mut Story| {
        let parts = vec![
            part("t4", true, &[("Y", 1, -1, -1)]),
            part("t3", true, &[("X", 1, 1, 1), ("Y", 2, -1, -2)]),
            part("t4", true, &[("X", 2, 1, 2)]),
        ];
        story.partitions[0].push(batch(3, &[("t3", Outcome::Booked), ("t4", Outcome::Booked)], parts));
        story.books(4, "t3", &[("X", 1), ("Y", -1)], BOOKED);
        story.books(5, "t4", &[("X", 1), ("Y", -1)], BOOKED);
    };
    finds(dirty, &[(Kind::G0, &[5, 6])]);
    // `t4` was sent by who had been told of `t3`, and lies before it.
    let circular = |sender: u32| {
        move |story: &mut Story| {
            let [t4, t3] = [("t4", 1), ("t3", 2)].map(|(event, seq)| {
                let after = i128::from(seq);
                part(event, true, &[("X", seq, 1, after), ("Y", seq, -1, -after)])
            });
            let outcomes = [("t3", Outcome::Booked), ("t4", Outcome::Booked)];
            story.partitions[0].push(batch(3, &outcomes, vec![t4, t3]));
            story.books(4, "t3", &[("X", 1), ("Y", -1)], BOOKED);
            story.books(sender, "t4", &[("X", 1), ("Y", -1)], BOOKED);
        }
    };
    finds(circular(4), &[(Kind::G1c, &[5, 6])]);
    finds(circular(5), &[]);
}

#[test]
fn cycles_of_reads() {
    let with_t3 = |story: &mut Story| {
        let t3 = part("t3", true, &[("X", 1, 1, 1), ("Y", 1, -1, -1)]);
        story.partitions[0].push(batch(3, &[("t3", Outcome::Booked)], vec![t3]));
        story.books(4, "t3", &[("X", 1), ("Y", -1)], BOOKED);
    };
    // One read misses `t3` and has what is before it; another one has `t3` and misses that.
    let two_readers = |story: &mut Story| {
        with_t3(story);
        story.balances(5, &[("X", 1, 1), ("Y", 1, -1)]);
    };
    finds(two_readers, &[(Kind::G2, &[0, 1, 3, 5, 6])]);
    let one_reader = |story: &mut Story| {
        with_t3(story);
        let skewed = [("A", 2, 15), ("B", 1, -5), ("out", 1, -10), ("X", 1, 1)];
        story.balances(5, &skewed);
    };
    finds(one_reader, &[(Kind::Fractured, &[6]), (Kind::GSingle, &[5, 6])]);
}

const PARTITIONS: usize = 2;
const ACCOUNTS: u8 = 6;

/// One thing after the other on a ledger of two partitions.
struct Serial {
    story: Story,
    accounts: BTreeMap<String, (u64, i128)>,
    /// By receiver: event, account, amount.
    on_their_way: [Vec<(String, String, i128)>; PARTITIONS],
    /// How many batches of each partition each reader has seen.
    seen: BTreeMap<(u32, usize), usize>,
}

impl Serial {
    fn book(&mut self, account: &str, amount: i128) -> Entry {
        let (seq, balance) = self.accounts.entry(account.to_owned()).or_default();
        (*seq, *balance) = (*seq + 1, *balance + amount);
        Entry { account: super::tests::account(account), seq: *seq, amount, after: *balance }
    }

    fn own(&mut self, account: String, amount: i128) -> Part {
        Part { event: String::new(), decided: true, entries: vec![self.book(&account, amount)] }
    }

    fn write(&mut self, partition: usize, outcomes: &[(&str, Outcome)], parts: Vec<Part>) {
        let number = self.story.partitions[partition].len() as u64 + 1;
        self.story.partitions[partition].push(batch(number, outcomes, parts));
    }

    fn transfer(&mut self, process: u32, (from, to): (u8, u8), amount: i128) {
        let (event, home) = (format!("e{}", self.story.history.len()), usize::from(from) % PARTITIONS);
        let (payer, payee) = (format!("u{from}"), format!("u{to}"));
        let mut entries = vec![self.book(&payer, amount)];
        let mut parts = Vec::new();
        if usize::from(to) % PARTITIONS == home {
            entries.push(self.book(&payee, -amount));
        } else {
            parts.push(self.own(format!("out{home}"), -amount));
            self.on_their_way[1 - home].push((event.clone(), payee.clone(), -amount));
        }
        parts.insert(0, Part { event: event.clone(), decided: true, entries });
        self.write(home, &[(&event, Outcome::Booked)], parts);
        self.story.books(process, &event, &[(&payer, amount), (&payee, -amount)], BOOKED);
    }

    fn receive(&mut self, partition: usize) {
        let credits = std::mem::take(&mut self.on_their_way[partition]);
        let sum: i128 = credits.iter().map(|(.., amount)| amount).sum();
        let mut parts = Vec::new();
        for (event, payee, amount) in credits {
            let entries = vec![self.book(&payee, amount)];
            parts.push(Part { event, decided: false, entries });
        }
        if sum != 0 {
            parts.push(self.own(format!("in{partition}"), -sum));
        }
        self.write(partition, &[], parts);
    }

    fn read(&mut self, process: u32, partition: usize, again: bool) {
        let seen = self.seen.entry((process, partition)).or_default();
        let from = if again { 0 } else { *seen };
        let batches = self.story.partitions[partition][from..].to_vec();
        *seen = self.story.partitions[partition].len();
        let batches = batches.into_iter().map(Arc::new).collect();
        let asked = Asked::Journal { partition: u32::try_from(partition).unwrap(), again };
        self.story.did(process, asked, Ended::Ok(Seen::Batches(batches)));
    }

    fn look(&mut self, process: u32, of: u8) {
        let shown = self.accounts.iter().map(|(name, (seq, net))| (name.clone(), *seq, *net));
        let shown: Vec<(String, u64, i128)> = shown.collect();
        let shown: Vec<(&str, u64, i128)> =
            shown.iter().map(|(name, seq, net)| (&**name, *seq, *net)).collect();
        self.story.balances(process, &shown);
        let (wanted, mut listed) = (format!("u{of}"), Vec::new());
        for part in self.story.partitions[usize::from(of) % PARTITIONS].iter().flat_map(|batch| &batch.parts)
        {
            for entry in part.entries.iter().filter(|entry| entry.account.0 == wanted) {
                listed.push((entry.seq, part.event.clone(), entry.after));
            }
        }
        let listed: Vec<(u64, &str, i128)> =
            listed.iter().map(|(seq, event, after)| (*seq, &**event, *after)).collect();
        self.story.lists(process, &wanted, &listed);
    }
}

proptest! {
    #[test]
    fn serial_histories_show_nothing(steps in prop::collection::vec(any::<[u8; 4]>(), 1..150)) {
        let story = Story { partitions: vec![Vec::new(); PARTITIONS], history: Vec::new() };
        let mut serial =
            Serial { story, accounts: BTreeMap::new(), on_their_way: Default::default(), seen: BTreeMap::new() };
        for [what, process, one, other] in &steps {
            let (process, partition) = (u32::from(process % 3), usize::from(one % 2));
            let (from, to) = (one % ACCOUNTS, (one % ACCOUNTS + 1 + other % (ACCOUNTS - 1)) % ACCOUNTS);
            match what % 8 {
                0..4 => serial.transfer(process, (from, to), i128::from(1 + other / 8)),
                4 => serial.receive(partition),
                5 => serial.read(process + 10, partition, other % 4 == 0),
                6 => serial.read(20 + u32::from(*other), partition, true),
                _ => serial.look(process + 30, from),
            }
        }
        (0..PARTITIONS).for_each(|partition| serial.receive(partition));
        prop_assert_eq!(check(&serial.story.history, &books(&serial.story.partitions)), Vec::new());
    }
}
