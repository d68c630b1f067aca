//! The end request of a transaction that reaches the broker late, when a later transaction of the same member is open: no
//! transaction may be committed, lost or torn by it. What readers see is held against what the session said.
//!
//! A round is two transactions. The first one's end request is held on its way while the connection is cut; the client
//! sends it again and the transaction ends. Then the second one begins, and the held request is let go in the middle of
//! it. `ROUNDS` gives that many hundred rounds (20 rounds).

use bytes::Bytes;
use ledgerflow_tests::broker::Broker;
use ledgerflow_tests::proof::Proof;
use ledgerflow_tests::proxy::{self, Action, Api, PRODUCE, Proxy, Rule};
use schemas::topics::{PartitionCounts, Topic};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::kafka::{KafkaLog, Options};
use stream::log::{
    CommitOutcome, FetchLimit, Isolation, Log, LogError, Member, OutRecord, Position, Session,
    TopicPartition, Transaction,
};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 2 };
const ROUNDS_DEFAULT: u64 = 20;
const INPUT: TopicPartition = TopicPartition::new(Topic::Commands, 0);
/// More than a broker keeps with a position: a transaction with it is aborted.
const METADATA_TOO_LONG: usize = 5_000;

/// What a round does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    /// Whether the first and the second transaction can be committed.
    good: [bool; 2],
    /// How many requests of this key of the second transaction pass before the held one is let go.
    before: (Api, u32),
    /// What must have been answered first.
    after: Option<Api>,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "a late commit before an abort",
        good: [true, false],
        before: (proxy::END_TXN, 0),
        after: Some(PRODUCE),
    },
    Kind {
        name: "a late commit between two records",
        good: [true, true],
        before: (PRODUCE, 1),
        after: Some(PRODUCE),
    },
    Kind {
        name: "a late abort between two records",
        good: [false, true],
        before: (PRODUCE, 1),
        after: Some(PRODUCE),
    },
    Kind {
        name: "a late commit before a commit",
        good: [true, true],
        before: (proxy::END_TXN, 0),
        after: Some(PRODUCE),
    },
];

/// What a session said of a transaction, and what tells whether it is committed where the session did not know.
#[derive(Debug)]
struct Said {
    kind: &'static str,
    outcome: CommitOutcome,
    position: i64,
    committed: bool,
}

struct Scene {
    proxy: Proxy,
    member: Member,
    /// Through the proxy.
    log: KafkaLog,
    /// Past it.
    plain: KafkaLog,
    session: Option<Box<dyn Session>>,
    said: BTreeMap<i64, Said>,
}

impl Scene {
    fn new(broker: &Broker, keeps_tainted: bool) -> Self {
        let plain = broker.fresh_options(COUNTS).unwrap();
        let proxy = Proxy::start(broker);
        let options = Options {
            bootstrap: proxy.bootstrap(),
            keeps_tainted,
            // Nothing is aborted by time.
            transaction_timeout: Duration::from_secs(60),
            ..plain.clone()
        };
        let member = Member {
            group: "posting".to_owned(),
            name: "1".to_owned(),
            transactional_id: "late".to_owned(),
            slots: COUNTS.internal,
        };
        let (log, plain) = (KafkaLog::open(options).unwrap(), KafkaLog::open(plain).unwrap());
        Self { proxy, member, log, plain, session: None, said: BTreeMap::new() }
    }

    fn session(&mut self) -> (&mut dyn Session, u64) {
        let session = self.session.get_or_insert_with(|| {
            loop {
                match self.log.join(&self.member) {
                    Err(LogError::Retriable(_)) => {}
                    joined => break joined.unwrap(),
                }
            }
        });
        loop {
            match session.assignment() {
                Err(LogError::Retriable(_)) => {}
                assignment => return (session.as_mut(), assignment.unwrap().generation),
            }
        }
    }

    /// One record to each of two partitions, and the next position.
    fn commit(&mut self, kind: &'static str, good: bool) {
        let number = i64::try_from(self.said.len()).unwrap() + 1;
        let record = |partition| {
            let at = TopicPartition::new(Topic::Journal, partition);
            OutRecord::new(at, Bytes::from(number.to_string()))
        };
        let metadata = "m".repeat(if good { 10 } else { METADATA_TOO_LONG });
        let positions = vec![(INPUT, Position { offset: number, metadata })];
        let (session, generation) = self.session();
        let transaction = Transaction { generation, records: vec![record(0), record(1)], positions };

        let outcome = session.commit(transaction);
        if matches!(outcome, CommitOutcome::Unknown(_) | CommitOutcome::Fenced(_)) {
            self.session = None;
            // Taking the id ends what is open.
            self.session();
        }
        let committed = match outcome {
            CommitOutcome::Committed { .. } => true,
            CommitOutcome::Aborted(_) | CommitOutcome::Fenced(_) => false,
            CommitOutcome::Unknown(_) => self.position() == number,
        };
        self.said.insert(number, Said { kind, outcome, position: number, committed });
    }

    fn position(&self) -> i64 {
        loop {
            match self.plain.committed(&self.member.group, &[INPUT]) {
                Err(LogError::Unstable { .. } | LogError::Retriable(_)) => {}
                found => return found.unwrap()[0].as_ref().map_or(0, |position| position.offset),
            }
        }
    }

    fn round(&mut self, kind: Kind) {
        self.session();
        let rule =
            |(api, skip), action| Rule { api, skip, client: self.member.transactional_id.clone(), action };
        self.proxy.arm(rule((proxy::END_TXN, 0), Action::Hold));
        self.commit(kind.name, kind.good[0]);
        assert_eq!(self.proxy.armed(), 0, "{}: no end request was held", kind.name);
        let rule =
            |(api, skip), action| Rule { api, skip, client: self.member.transactional_id.clone(), action };
        if !kind.good[1] {
            // The refusal does not come before the records are written.
            self.proxy.arm(rule((proxy::TXN_OFFSET_COMMIT, 0), Action::AnswerAfter(PRODUCE)));
        }
        self.proxy.arm(rule(kind.before, Action::Release { after: kind.after }));
        self.commit(kind.name, kind.good[1]);
        // A transaction that failed sooner leaves its rules behind, and what is held.
        self.proxy.disarm();
        self.proxy.release();
    }

    /// What readers see that the session did not say.
    fn wrong(&mut self) -> Vec<String> {
        self.session = None;
        self.plain.fence(&self.member.transactional_id).unwrap();
        let mut seen: BTreeMap<i64, [u32; 2]> = BTreeMap::new();
        for partition in 0..COUNTS.internal {
            for number in committed(&self.plain, TopicPartition::new(Topic::Journal, partition)) {
                seen.entry(number).or_default()[partition as usize] += 1;
            }
        }
        let last = self.said.values().rev().find(|said| said.committed).map_or(0, |said| said.position);
        let mut wrong = Vec::new();
        if self.position() != last {
            wrong.push(format!("position {}, committed {last}", self.position()));
        }
        for (number, said) in &self.said {
            let (found, wanted) = (seen.remove(number).unwrap_or_default(), [u32::from(said.committed); 2]);
            if found != wanted {
                wrong.push(format!("{}: {:?}, seen {found:?}", said.kind, said.outcome));
            }
        }
        wrong
    }
}

/// The numbers that readers of a partition see.
fn committed(log: &KafkaLog, at: TopicPartition) -> Vec<i64> {
    let goal = log.watermarks(at, Isolation::Uncommitted).unwrap().high;
    let mut reader = log.reader(&[(at, 0)], Isolation::Committed).unwrap();
    let limit = FetchLimit { records: 1_000, bytes: 1 << 20, wait: Duration::from_millis(50) };
    let mut all = Vec::new();
    while reader.position(at).unwrap() < goal {
        let records = reader.poll(limit).unwrap().into_iter().flat_map(|fetch| fetch.records);
        all.extend(records.map(|record| std::str::from_utf8(&record.value).unwrap().parse::<i64>().unwrap()));
    }
    all
}

fn rounds() -> u64 {
    let asked = std::env::var("ROUNDS").ok().map(|text| text.parse::<u64>().unwrap());
    asked.map_or(ROUNDS_DEFAULT, |rounds| rounds * 100)
}

#[test]
fn a_late_end_request_changes_nothing() {
    let broker = Broker::shared();
    let mut scene = Scene::new(&broker, false);
    let mut proof = Proof::of("late ends, Kafka");
    let kinds = KINDS.iter().cycle().take(usize::try_from(rounds()).unwrap());
    kinds.for_each(|kind| scene.round(*kind));
    assert_eq!(scene.wrong(), Vec::<String>::new());
    let released = scene.proxy.released();
    assert_eq!(released.len() as u64, rounds());
    proof.count("late ends", rounds());
    assert!(released.iter().all(|error| *error != 0), "the broker acted on a late request: {released:?}");
}

/// As long as nothing fails, nothing is made anew.
#[test]
fn a_producer_stays_while_nothing_fails() {
    let broker = Broker::shared();
    let mut scene = Scene::new(&broker, false);
    scene.commit("first", true);
    let taken = scene.proxy.answered(proxy::INIT_PRODUCER_ID);
    (0..20).for_each(|_| scene.commit("later", true));
    assert_eq!(scene.proxy.answered(proxy::INIT_PRODUCER_ID), taken);
    assert_eq!(scene.wrong(), Vec::<String>::new());
}

/// The client keeps quiet about a loss that it has told of twice in half a minute.
#[test]
fn a_loss_like_those_before_is_seen_too() {
    let broker = Broker::shared();
    let mut scene = Scene::new(&broker, false);
    for _ in 0..4 {
        let (api, client) = (proxy::INIT_PRODUCER_ID, scene.member.transactional_id.clone());
        scene.proxy.arm(Rule { api, client, skip: 0, action: Action::CutBefore });
    }
    scene.round(KINDS[0]);
    assert_eq!(scene.wrong(), Vec::<String>::new());
    assert!(scene.proxy.released().iter().all(|error| *error != 0));
}

/// The first test sees what the rule prevents.
#[test]
fn without_the_rule_a_late_end_request_does_harm() {
    let broker = Broker::shared();
    let mut scene = Scene::new(&broker, true);
    KINDS.iter().for_each(|kind| scene.round(*kind));
    let wrong = scene.wrong();
    println!("{wrong:#?}\nanswers: {:?}", scene.proxy.released());
    for kind in &KINDS[..2] {
        assert!(wrong.iter().any(|what| what.starts_with(kind.name)), "{}: {wrong:?}", kind.name);
    }
}
