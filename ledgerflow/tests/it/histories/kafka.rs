//! On Kafka: clients append events and read outcomes from the journal, readers read `journal` and `balances` as committed
//! consumers, two processes share the partitions of posting, and two those of settlement. Processes are killed, with a transaction
//! open too, and stand still beyond their session, and so does the broker.

use super::{PAUSE, Run, Workload, acknowledged, is_right, runs, write};
use crate::company::{PATIENCE, Running, within};
use crate::follower::Follower;
use crate::kafka::{OnKafka, SLOTS};
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::histories::bank::Order;
use ledgerflow_tests::histories::read::{self, Journal, Published};
use ledgerflow_tests::histories::record::{Asked, Ended, Seen};
use ledgerflow_tests::proof::Proof;
use rustix::process::Signal;
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::Outcome;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use stream::faults;
use stream::kafka::KafkaLog;
use stream::log::{Isolation, Log, OutRecord, TopicPartition};
use stream::sim::Prng;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: SLOTS };
/// Processes: folder and processor.
const PROCESSES: [(&str, &str); 6] = [
    ("one", "ingest"),
    ("one", "posting"),
    ("one", "settlement"),
    ("one", "reconcile"),
    ("two", "posting"),
    ("two", "settlement"),
];
/// So many of them are first ones, the others share their partitions.
const FIRST: usize = 4;
/// Those of them that die with a transaction open: readers of `journal` and `balances` must never see it.
const WRITERS: [usize; 4] = [1, 2, 4, 5];
/// It is one of so many first windows in which such a process dies.
const HITS_MAX: u64 = 8;
/// What clients send.
const CLIENTS: [Workload; 3] = [Workload::Bank, Workload::Bank, Workload::Append];
/// How long something stands still: longer than the session of 2 s.
const STILL: Duration = Duration::from_secs(3);

/// A client that sends, and finds out from the journal what became of it.
struct Client<'a> {
    log: &'a dyn Log,
    journal: Vec<Journal>,
    known: BTreeMap<String, Outcome>,
}

impl<'a> Client<'a> {
    fn new(log: &'a dyn Log) -> Self {
        Self { log, journal: Self::journal(), known: BTreeMap::new() }
    }

    fn journal() -> Vec<Journal> {
        (0..SLOTS).map(|partition| Journal::new(partition, Isolation::Committed)).collect()
    }

    fn book(&mut self, order: &Order, prng: &mut Prng) -> Ended {
        let topic = Topic::LANES[prng.index(Topic::LANES.len())];
        let to = TopicPartition::new(topic, u32::try_from(prng.below(u64::from(COUNTS.events))).unwrap());
        let sent = self.log.append(vec![OutRecord::new(to, order.event.to_bytes().into())]);
        // Which error it is says nothing of what the broker has.
        if sent.and_then(|sequence| self.log.wait_durable(sequence, PATIENCE)).is_err() {
            return Ended::Info;
        }
        let became = within(PATIENCE, || self.became(&order.event.id));
        Ended::Ok(became.map_or(Seen::Accepted, Seen::Became))
    }

    /// Reads on. Of an event that came again it may have known before.
    fn became(&mut self, event: &str) -> Option<Outcome> {
        for journal in &mut self.journal {
            // A reader that failed has to begin again.
            let Ok(batches) = journal.read_on(self.log) else {
                self.journal = Self::journal();
                return None;
            };
            let outcomes = batches.iter().flat_map(|batch| &batch.outcomes);
            let ended = outcomes.filter(|(_, outcome)| [Outcome::Booked, Outcome::Refused].contains(outcome));
            self.known.extend(ended.cloned());
        }
        self.known.get(event).copied()
    }
}

/// Reads the journal: on and on, or from its beginning each time.
fn read_journal(run: &Run, log: &dyn Log, anew: bool) {
    let mut process = run.recorder.process();
    let mut readers: BTreeMap<u32, Journal> = BTreeMap::new();
    while !run.is_over() {
        for partition in 0..SLOTS {
            if anew {
                readers.clear();
            }
            let again = !readers.contains_key(&partition);
            let reader = readers.entry(partition);
            let reader = reader.or_insert_with(|| Journal::new(partition, Isolation::Committed));
            let asked = Asked::Journal { partition, again };
            let ended = run.recorder.run(&mut process, asked, || match reader.read_on(log) {
                Ok(batches) => Ended::Ok(Seen::Batches(batches)),
                Err(_) => Ended::Info,
            });
            if ended != "ok" {
                readers.clear();
            }
        }
        std::thread::sleep(if anew { 10 * PAUSE } else { PAUSE });
    }
}

/// Reads the balances of all partitions on and on.
fn read_balances(run: &Run, log: &dyn Log) {
    let mut process = run.recorder.process();
    let mut readers: BTreeMap<u32, Published> = BTreeMap::new();
    while !run.is_over() {
        for partition in 0..SLOTS {
            let reader = readers.entry(partition).or_insert_with(|| Published::new(partition));
            let asked = Asked::Balances { partition: Some(partition) };
            let ended = run.recorder.run(&mut process, asked, || match reader.read_on(log) {
                Ok(shown) => Ended::Ok(Seen::Balances(shown)),
                Err(_) => Ended::Info,
            });
            if ended != "ok" {
                readers.clear();
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// What a nemesis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Kill,
    KillInTransaction,
    Pause,
    PauseBroker,
    KillBroker,
}

const DEEDS: [Deed; 5] =
    [Deed::Kill, Deed::KillInTransaction, Deed::Pause, Deed::PauseBroker, Deed::KillBroker];

struct Nemesis<'a> {
    on: &'a OnKafka,
    broker: &'a mut Broker,
    processes: BTreeMap<usize, Running>,
    done: BTreeMap<Deed, u64>,
    restarts: u64,
}

impl<'a> Nemesis<'a> {
    fn new(on: &'a OnKafka, broker: &'a mut Broker) -> Self {
        let done = DEEDS.into_iter().map(|deed| (deed, 0)).collect();
        let mut nemesis = Self { on, broker, processes: BTreeMap::new(), done, restarts: 0 };
        nemesis.tend();
        nemesis.restarts = 0;
        nemesis.are_ready();
        nemesis
    }

    /// Starts what does not run, as whoever supervises does.
    fn tend(&mut self) {
        self.tend_others(None);
    }

    fn tend_others(&mut self, than: Option<usize>) {
        for (index, (place, role)) in PROCESSES.into_iter().enumerate() {
            if than != Some(index)
                && self.processes.get_mut(&index).is_none_or(|running| running.ended().is_some())
            {
                self.processes.remove(&index);
                self.processes.insert(index, self.on.company.process(place, role, None));
                self.restarts += 1;
            }
        }
    }

    /// Waits until all are ready; who ends over it is started again. That may happen more than once after a broker was away.
    fn are_ready(&mut self) {
        let ready = within(5 * PATIENCE, || {
            self.tend();
            let health = ledgerflow::query::Question::Health;
            let done = ledgerflow::query::Ending::Done;
            let all = self.processes.values();
            all.map(|running| running.ask(&health))
                .all(|answer| answer.is_some_and(|a| a.ending == done))
                .then_some(())
        });
        assert!(ready.is_some(), "{}", self.told());
    }

    fn told(&self) -> String {
        self.processes.values().map(Running::err).collect::<Vec<_>>().join("\n")
    }

    /// A process begins anew and dies with everything of a transaction sent and its end not asked for. Ticks alone give it
    /// windows, so the others are tended meanwhile.
    fn kill_in_transaction(&mut self, prng: &mut Prng) {
        let one = WRITERS[prng.index(WRITERS.len())];
        let (place, role) = PROCESSES[one];
        let fault = format!("{}:{role}:{}=kill", faults::KAFKA_BEFORE_END, 1 + prng.below(HITS_MAX));
        let on = self.on;
        let doomed = || on.company.process(place, role, Some(&fault));
        drop(self.processes.remove(&one));
        self.processes.insert(one, doomed());
        let died = within(5 * PATIENCE, || {
            let status = self.processes.get_mut(&one).unwrap().ended();
            if status.is_some_and(|status| status.signal() == Some(9)) {
                return Some(());
            }
            if status.is_some() {
                // It has ended over something else, such as a broker that was away.
                drop(self.processes.remove(&one));
                self.processes.insert(one, doomed());
            }
            self.tend_others(Some(one));
            None
        });
        assert!(died.is_some(), "{fault}: {}", self.told());
    }

    fn does(&mut self, deed: Deed, prng: &mut Prng) {
        let one = prng.index(PROCESSES.len());
        match deed {
            Deed::Kill => {
                let running = self.processes.get_mut(&one).unwrap();
                running.signal(Signal::KILL);
                running.wait(PATIENCE).unwrap();
            }
            Deed::KillInTransaction => self.kill_in_transaction(prng),
            Deed::Pause => {
                let running = &self.processes[&one];
                running.signal(Signal::STOP);
                std::thread::sleep(STILL);
                running.signal(Signal::CONT);
            }
            Deed::PauseBroker => {
                self.broker.signal("STOP");
                std::thread::sleep(STILL);
                self.broker.signal("CONT");
            }
            Deed::KillBroker => {
                self.broker.kill();
                self.broker.run();
            }
        }
        *self.done.entry(deed).or_default() += 1;
        std::thread::sleep(Duration::from_millis(300 + prng.below(1_200)));
        self.tend();
    }

    /// Waits until clients have been told outcomes of as many events again as there are clients: what was done is got over.
    fn clients_go_on(&mut self, run: &Run) {
        let told = || run.recorder.counts().of("book", "ok");
        let before = told();
        let on = within(5 * PATIENCE, || {
            self.tend();
            (told() >= before + CLIENTS.len() as u64).then_some(())
        });
        assert!(on.is_some(), "no client was told anything: {}", self.told());
    }

    /// Ends all processes once everything is worked off.
    fn stops(mut self) -> (BTreeMap<Deed, u64>, u64) {
        self.are_ready();
        let seconds: Vec<Running> = self.processes.split_off(&FIRST).into_values().collect();
        for mut running in seconds {
            running.signal(Signal::TERM);
            assert!(running.wait(PATIENCE).is_some(), "{}", running.err());
        }
        let first = self.processes.into_iter().map(|(index, running)| (PROCESSES[index].1, running));
        OnKafka::stop_in_turn(first.collect());
        (self.done, self.restarts)
    }
}

fn one(seed: u64, seconds: u64, proof: &mut Proof) {
    let mut broker = Broker::shared();
    let on = OnKafka::of(&broker, None, "");
    let options = broker.options(on.prefix(), COUNTS);
    let [sending, reading] = [(); 2].map(|()| KafkaLog::open(options.clone()).unwrap());
    let mut nemesis = Nemesis::new(&on, &mut broker);
    let mut follower = Follower::begin(&on.company).unwrap();
    let (run, mut prng) = (Run::new(seconds), Prng::new(seed));
    std::thread::scope(|scope| {
        let _over = run.over_at_last();
        let (run, sending, reading) = (&run, &sending, &reading);
        for (number, workload) in (0..).zip(CLIENTS) {
            let seed = seed.wrapping_mul(1_000) + number;
            let mut client = Client::new(sending);
            scope.spawn(move || write(run, workload, seed, |order, prng| client.book(order, prng)));
        }
        scope.spawn(move || read_journal(run, reading, false));
        scope.spawn(move || read_journal(run, reading, true));
        scope.spawn(move || read_balances(run, reading));
        let mut deck: Vec<Deed> = Vec::new();
        while !run.is_long_enough() || !deck.is_empty() || nemesis.done.values().any(|times| *times == 0) {
            if deck.is_empty() {
                deck = DEEDS.to_vec();
            }
            let deed = deck.swap_remove(prng.index(deck.len()));
            nemesis.does(deed, &mut prng);
            // Half of the time one thing comes upon the other.
            if prng.below(2) == 0 {
                nemesis.clients_go_on(run);
            }
        }
        nemesis.are_ready();
    });
    let events = acknowledged(&run.recorder);
    let settled = within(5 * PATIENCE, || {
        let books = read::books(&reading).ok()?;
        events.iter().all(|(event, legs)| books.is_settled(event, *legs)).then_some(())
    });
    let told = nemesis.told();
    follower.goes_on();
    let (done, restarts) = nemesis.stops();
    // Where a broker is away for longer than a reader waits, another auditor begins.
    follower.ends();
    on.company.is_whole();
    let books = read::books(&reading).unwrap();
    let times = |deed: Deed| done[&deed];
    let done = [
        ("kills", times(Deed::Kill)),
        ("kills in a transaction", times(Deed::KillInTransaction)),
        ("pauses", times(Deed::Pause)),
        ("broker pauses", times(Deed::PauseBroker)),
        ("broker kills", times(Deed::KillBroker)),
        ("restarts", restarts),
    ];
    let kinds: [(&str, &[&str]); 3] = [("book", &["ok"]), ("journal", &["ok"]), ("balances", &["ok"])];
    is_right("on Kafka", proof, &run, &books, &done, &kinds);
    assert!(settled.is_some(), "events without outcome or entries: {told}");
}

#[test]
fn on_kafka() {
    runs("kafka", "histories, Kafka", one);
}
